-- The registry. Times are seconds since 1970. States are the words of imprint-registrar.
--
-- The price of a row is its indices over random keys: every one dirties a page of its own. So rows
-- have numbers that only grow and point to each other by them, serial numbers begin with the time,
-- and only what must be looked up by a random key (a token's hash, a public key) has such an index.
-- Small columns stand before large ones: a look at a state reads no certificate.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The restore epoch, in every serial number. A restore moves it on.
INSERT INTO meta (name, value) VALUES ('epoch', 1);

CREATE TABLE product (
    name       TEXT PRIMARY KEY,
    definition TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE allowed (
    product  TEXT NOT NULL REFERENCES product,
    hardware TEXT NOT NULL,
    PRIMARY KEY (product, hardware)
) STRICT, WITHOUT ROWID;

CREATE TABLE device (
    number     INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    -- One name a piece of hardware.
    hardware   TEXT NOT NULL UNIQUE,
    product    TEXT NOT NULL REFERENCES product,
    strength   TEXT NOT NULL,
    state      TEXT NOT NULL
        CHECK (state IN ('pending', 'active', 'held', 'quarantined', 'revoked', 'decommissioned')),
    step       TEXT NOT NULL,
    released   INTEGER NOT NULL CHECK (released IN (0, 1)),
    reason     TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT;

-- One device a public key, for ever.
CREATE TABLE device_key (
    fingerprint BLOB PRIMARY KEY CHECK (length(fingerprint) = 32),
    device      INTEGER NOT NULL REFERENCES device
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    number       INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    hash         BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    product      TEXT NOT NULL REFERENCES product,
    bound        TEXT,
    state        TEXT NOT NULL
        CHECK (state IN ('dormant', 'minted', 'leased', 'spent', 'revoked')),
    lease_key    BLOB,
    lease_device INTEGER REFERENCES device,
    lease_since  INTEGER,
    lease_from   TEXT,
    minted_at    INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    spent_at     INTEGER,
    alarms       INTEGER NOT NULL,
    minted_by    TEXT NOT NULL,
    -- A token that serves, serves one key of one device; one that is open serves none.
    CHECK ((lease_key IS NULL) = (lease_device IS NULL)),
    CHECK (state NOT IN ('leased', 'spent') OR lease_key IS NOT NULL),
    CHECK (state NOT IN ('dormant', 'minted') OR lease_key IS NULL)
) STRICT;

-- A lease never moves from key to key, whatever the code above believes: it ends first.
CREATE TRIGGER token_serves_one_key
BEFORE UPDATE OF lease_key, lease_device ON token
WHEN OLD.lease_key IS NOT NULL AND NEW.lease_key IS NOT NULL
    AND (NEW.lease_key <> OLD.lease_key OR NEW.lease_device <> OLD.lease_device)
BEGIN
    SELECT RAISE(ABORT, 'a token serves one key');
END;

CREATE TABLE certificate (
    number            INTEGER PRIMARY KEY,
    serial            BLOB NOT NULL UNIQUE CHECK (length(serial) = 20),
    device            INTEGER NOT NULL REFERENCES device,
    state             TEXT NOT NULL
        CHECK (state IN ('intended', 'issued', 'active', 'superseded', 'revoked', 'void')),
    origin            TEXT NOT NULL,
    issuer            TEXT NOT NULL,
    not_before        INTEGER NOT NULL,
    not_after         INTEGER NOT NULL,
    intended_at       INTEGER NOT NULL,
    settled_at        INTEGER,
    verified_at       INTEGER,
    revoked_at        INTEGER,
    revocation_reason TEXT,
    -- Grows with every revocation of the issuer's certificates.
    revocation        INTEGER,
    generation        BLOB NOT NULL,
    request_key       BLOB NOT NULL CHECK (length(request_key) = 32),
    -- NULL: the request key.
    subject_key       BLOB CHECK (length(subject_key) = 32),
    asked_subject     BLOB NOT NULL,
    -- NULL once the certificate contains it, `to_be_signed_length` octets from `to_be_signed_at` on.
    to_be_signed        BLOB,
    to_be_signed_at     INTEGER,
    to_be_signed_length INTEGER NOT NULL,
    der               BLOB,
    sealed_key        BLOB,
    CHECK ((revoked_at IS NULL) = (revocation IS NULL)),
    CHECK ((revoked_at IS NOT NULL) = (state IN ('superseded', 'revoked'))),
    CHECK (state NOT IN ('issued', 'active') OR der IS NOT NULL)
) STRICT;

-- Revocation never reverses.
CREATE TRIGGER revocation_stays
BEFORE UPDATE OF state, revoked_at, revocation ON certificate
WHEN OLD.revoked_at IS NOT NULL
    AND (NEW.revoked_at IS NOT OLD.revoked_at OR NEW.revocation IS NOT OLD.revocation)
BEGIN
    SELECT RAISE(ABORT, 'revocation never reverses');
END;

CREATE INDEX certificate_of_device ON certificate (device);

-- At most one certificate in use.
CREATE UNIQUE INDEX certificate_in_use ON certificate (device) WHERE state = 'active';

CREATE INDEX certificate_revoked ON certificate (issuer, serial) WHERE revoked_at IS NOT NULL;
CREATE INDEX certificate_revocation ON certificate (issuer, revocation) WHERE revocation IS NOT NULL;
CREATE INDEX certificate_sealed_key ON certificate (number) WHERE sealed_key IS NOT NULL;

-- Who waits for an operator's approval (`until` is NULL) or has it.
CREATE TABLE approval (
    device     INTEGER NOT NULL REFERENCES device,
    key        BLOB NOT NULL CHECK (length(key) = 32),
    asked_at   INTEGER NOT NULL,
    until      INTEGER,
    token      INTEGER REFERENCES token,
    PRIMARY KEY (device, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE report (
    number   INTEGER PRIMARY KEY,
    subject  TEXT NOT NULL,
    at       INTEGER NOT NULL,
    step     TEXT NOT NULL,
    code     TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    address  TEXT NOT NULL
) STRICT;

CREATE INDEX report_of_subject ON report (subject);

CREATE TABLE refusal (
    number     INTEGER PRIMARY KEY,
    subject    TEXT NOT NULL,
    at         INTEGER NOT NULL,
    code       TEXT NOT NULL,
    step       TEXT NOT NULL,
    detail     TEXT NOT NULL,
    address    TEXT NOT NULL,
    credential TEXT NOT NULL,
    count      INTEGER NOT NULL
) STRICT;

CREATE INDEX refusal_of_subject ON refusal (subject);

CREATE TABLE crl (
    issuer      TEXT PRIMARY KEY,
    number      INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    through     INTEGER NOT NULL,
    der         BLOB NOT NULL
) STRICT;

-- List numbers only grow.
CREATE TRIGGER crl_number_grows
BEFORE UPDATE ON crl
WHEN NEW.number <= OLD.number
BEGIN
    SELECT RAISE(ABORT, 'list numbers only grow');
END;

CREATE TABLE journal (
    number  INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    actor   TEXT NOT NULL,
    detail  TEXT NOT NULL,
    hash    BLOB
) STRICT;

-- Append only: what is written is chained once and then stays.
CREATE TRIGGER journal_row_stays
BEFORE UPDATE ON journal
WHEN OLD.hash IS NOT NULL OR NEW.number <> OLD.number OR NEW.at <> OLD.at OR NEW.kind <> OLD.kind
    OR NEW.subject <> OLD.subject OR NEW.actor <> OLD.actor OR NEW.detail <> OLD.detail
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only');
END;

CREATE TRIGGER journal_row_is_kept
BEFORE DELETE ON journal
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only');
END;

-- Up to where the journal is chained.
CREATE TABLE chain (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL,
    hash   BLOB NOT NULL
) STRICT;

INSERT INTO chain (one, number, hash) VALUES (1, 0, zeroblob(32));
