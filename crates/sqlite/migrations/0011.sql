-- Entries can be deleted, and scripts can come by the service API with a key of their own.

-- A row stays as long as registrations name it: without its keys, under a name that no entry can have,
-- and what was registered by it is over.
ALTER TABLE entry ADD COLUMN deleted_at INTEGER;

CREATE INDEX registration_entry ON registration (entry, id);

CREATE TABLE service_key (
    name       TEXT PRIMARY KEY,
    product    TEXT NOT NULL REFERENCES product,
    -- The name by which the server is reached: tokens are signed for it.
    host       TEXT NOT NULL,
    access     TEXT NOT NULL CHECK (access = 'read' OR access = 'write' OR access = 'keys'),
    -- Sealed.
    key        BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
