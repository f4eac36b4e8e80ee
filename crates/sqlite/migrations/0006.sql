-- Entries, by which devices are registered that their maker has written down before they came, and what
-- was registered by them.

CREATE TABLE entry (
    number            INTEGER PRIMARY KEY,
    kind              TEXT NOT NULL CHECK (kind = 'individual' OR kind = 'group'),
    name              TEXT NOT NULL,
    product           TEXT NOT NULL REFERENCES product,
    definition        TEXT NOT NULL,
    enabled           INTEGER NOT NULL CHECK (enabled = 0 OR enabled = 1),
    -- Sealed; NULL where devices come with certificates.
    primary_key       BLOB,
    secondary_key     BLOB,
    -- Subjects of the authorities that a group names, Names in DER.
    primary_subject   BLOB,
    secondary_subject BLOB,
    registered        INTEGER NOT NULL DEFAULT 0,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    version           INTEGER NOT NULL,
    UNIQUE (kind, name)
) STRICT;

CREATE INDEX entry_primary_subject ON entry (primary_subject) WHERE primary_subject IS NOT NULL;
CREATE INDEX entry_secondary_subject ON entry (secondary_subject)
    WHERE secondary_subject IS NOT NULL;

CREATE TABLE registration (
    number      INTEGER PRIMARY KEY,
    -- In lower case.
    id          TEXT NOT NULL UNIQUE,
    -- As the device wrote it: its key was derived from that.
    presented   TEXT NOT NULL,
    entry       INTEGER NOT NULL REFERENCES entry,
    -- One registration a device, one device a registration.
    device      INTEGER NOT NULL UNIQUE REFERENCES device,
    hub         TEXT NOT NULL,
    -- Whether the entry's key is what the device has, and not a certificate.
    shared_key  INTEGER NOT NULL CHECK (shared_key = 0 OR shared_key = 1),
    live        INTEGER NOT NULL CHECK (live = 0 OR live = 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    verified_at INTEGER,
    version     INTEGER NOT NULL
) STRICT;

-- A registration stays the same device's.
CREATE TRIGGER registration_keeps_its_device
BEFORE UPDATE OF id, device ON registration
WHEN NEW.id <> OLD.id OR NEW.device <> OLD.device
BEGIN
    SELECT RAISE(ABORT, 'a registration keeps its device');
END;
