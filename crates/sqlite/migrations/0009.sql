-- The chain's hashes, apart from the rows that they bind: a journal row is written once and its page
-- with it, and what a second's chaining adds is a few long rows at the end of a table of its own.

DROP TRIGGER journal_row_stays;
DROP TRIGGER journal_row_is_kept;

-- The hashes of consecutive rows from `first` on, 32 octets each.
CREATE TABLE link (
    first  INTEGER PRIMARY KEY,
    hashes BLOB NOT NULL
) STRICT;

INSERT INTO link (first, hashes)
SELECT number, hash FROM journal WHERE hash IS NOT NULL ORDER BY number;

ALTER TABLE journal DROP COLUMN hash;

CREATE TRIGGER journal_row_stays
BEFORE UPDATE ON journal
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only');
END;

CREATE TRIGGER journal_row_is_kept
BEFORE DELETE ON journal
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only');
END;

CREATE TRIGGER link_stays
BEFORE UPDATE ON link
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only');
END;

CREATE TRIGGER link_is_kept
BEFORE DELETE ON link
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only');
END;
