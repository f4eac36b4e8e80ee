-- How far each reader of the journal has come: a webhook, by its URL. Not told in the journal, for
-- that would be the next row to read.
CREATE TABLE cursor (
    name       TEXT PRIMARY KEY,
    number     INTEGER NOT NULL CHECK (number >= 0),
    updated_at INTEGER NOT NULL
) STRICT;
