-- Claims, pending certificates, things, registered CAs.
--
-- A certificate may have no device: a claim's own, and one that waits for its device to be registered.
-- SQLite can't take a NOT NULL away, so the table is made anew; every row keeps its number.

CREATE TABLE certificate_2 (
    number            INTEGER PRIMARY KEY,
    serial            BLOB NOT NULL UNIQUE CHECK (length(serial) = 20),
    -- NULL: a claim's certificate, or a pending one.
    device            INTEGER REFERENCES device,
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
    CHECK (state NOT IN ('issued', 'active') OR der IS NOT NULL),
    CHECK (device IS NOT NULL OR origin IN ('claim', 'claimed')),
    CHECK (device IS NULL OR origin <> 'claim')
) STRICT;

INSERT INTO certificate_2 (number, serial, device, state, origin, issuer, not_before, not_after,
                           intended_at, settled_at, verified_at, revoked_at, revocation_reason,
                           revocation, generation, request_key, subject_key, asked_subject,
                           to_be_signed, to_be_signed_at, to_be_signed_length, der, sealed_key)
SELECT number, serial, device, state, origin, issuer, not_before, not_after,
       intended_at, settled_at, verified_at, revoked_at, revocation_reason,
       revocation, generation, request_key, subject_key, asked_subject,
       to_be_signed, to_be_signed_at, to_be_signed_length, der, sealed_key
FROM certificate ORDER BY number;

DROP TABLE certificate;
ALTER TABLE certificate_2 RENAME TO certificate;

-- Revocation never reverses.
CREATE TRIGGER revocation_stays
BEFORE UPDATE OF state, revoked_at, revocation ON certificate
WHEN OLD.revoked_at IS NOT NULL
    AND (NEW.revoked_at IS NOT OLD.revoked_at OR NEW.revocation IS NOT OLD.revocation)
BEGIN
    SELECT RAISE(ABORT, 'revocation never reverses');
END;

-- Once a device's, always this device's.
CREATE TRIGGER certificate_keeps_its_device
BEFORE UPDATE OF device ON certificate
WHEN OLD.device IS NOT NULL AND NEW.device IS NOT OLD.device
BEGIN
    SELECT RAISE(ABORT, 'a certificate keeps its device');
END;

CREATE INDEX certificate_of_device ON certificate (device) WHERE device IS NOT NULL;

-- At most one certificate in use.
CREATE UNIQUE INDEX certificate_in_use ON certificate (device)
    WHERE state = 'active' AND device IS NOT NULL;

CREATE INDEX certificate_revoked ON certificate (issuer, serial) WHERE revoked_at IS NOT NULL;
CREATE INDEX certificate_revocation ON certificate (issuer, revocation) WHERE revocation IS NOT NULL;
CREATE INDEX certificate_sealed_key ON certificate (number) WHERE sealed_key IS NOT NULL;

CREATE TABLE claim (
    number          INTEGER PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    product         TEXT NOT NULL REFERENCES product,
    definition      TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('active', 'frozen', 'revoked')),
    reason          TEXT,
    granted         INTEGER NOT NULL DEFAULT 0,
    -- Certificates of it that wait for their registration.
    pending         INTEGER NOT NULL DEFAULT 0 CHECK (pending >= 0),
    -- What was done in the minute and the hour that began last: minutes and hours since 1970.
    asked_minute    INTEGER NOT NULL DEFAULT 0,
    asked           INTEGER NOT NULL DEFAULT 0,
    granted_minute  INTEGER NOT NULL DEFAULT 0,
    granted_in_it   INTEGER NOT NULL DEFAULT 0,
    unlisted_hour   INTEGER NOT NULL DEFAULT 0,
    unlisted_in_it  INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

CREATE TRIGGER revoked_claim_stays
BEFORE UPDATE OF state ON claim
WHEN OLD.state = 'revoked' AND NEW.state <> 'revoked'
BEGIN
    SELECT RAISE(ABORT, 'a revoked claim stays revoked');
END;

CREATE TABLE claim_certificate (
    number      INTEGER PRIMARY KEY,
    claim       INTEGER NOT NULL REFERENCES claim,
    -- NULL until it is signed.
    fingerprint BLOB UNIQUE CHECK (length(fingerprint) = 32),
    -- NULL: somebody else issued it.
    certificate INTEGER UNIQUE REFERENCES certificate,
    state       TEXT NOT NULL CHECK (state IN ('intended', 'active', 'revoked')),
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    der         BLOB,
    CHECK (state <> 'active' OR (fingerprint IS NOT NULL AND der IS NOT NULL))
) STRICT;

CREATE INDEX claim_certificate_of_claim ON claim_certificate (claim);

CREATE TRIGGER revoked_claim_certificate_stays
BEFORE UPDATE OF state ON claim_certificate
WHEN OLD.state = 'revoked' AND NEW.state <> 'revoked'
BEGIN
    SELECT RAISE(ABORT, 'a revoked claim certificate stays revoked');
END;

-- What the brake has counted: each hardware id once a kind.
CREATE TABLE claim_alarm (
    claim    INTEGER NOT NULL REFERENCES claim,
    kind     TEXT NOT NULL,
    hardware TEXT NOT NULL,
    PRIMARY KEY (claim, kind, hardware)
) STRICT, WITHOUT ROWID;

CREATE TABLE pending (
    number      INTEGER PRIMARY KEY,
    claim       INTEGER NOT NULL REFERENCES claim,
    key         BLOB NOT NULL CHECK (length(key) = 32),
    certificate INTEGER NOT NULL UNIQUE REFERENCES certificate ON UPDATE CASCADE,
    state       TEXT NOT NULL CHECK (state IN ('pending', 'registered', 'ended')),
    at          INTEGER NOT NULL,
    device      INTEGER REFERENCES device,
    template    TEXT,
    thing       TEXT,
    answer      BLOB,
    CHECK (state <> 'registered' OR (device IS NOT NULL AND answer IS NOT NULL))
) STRICT;

-- The same claim and key have one answer.
CREATE UNIQUE INDEX pending_of_key ON pending (claim, key) WHERE state <> 'ended';
CREATE INDEX pending_since ON pending (at) WHERE state = 'pending';

-- What was registered stays registered: one certificate, one device, one thing, one answer.
CREATE TRIGGER registration_stays
BEFORE UPDATE OF device, template, thing, answer ON pending
WHEN OLD.device IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a registration stays');
END;

CREATE TABLE template (
    name       TEXT PRIMARY KEY,
    product    TEXT NOT NULL REFERENCES product,
    definition TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE thing (
    number        INTEGER PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    -- One thing a device, one device a thing.
    device        INTEGER NOT NULL UNIQUE REFERENCES device,
    type          TEXT,
    billing_group TEXT,
    -- JSON: an array of names, an object of texts, an array of names.
    groups        TEXT NOT NULL,
    attributes    TEXT NOT NULL,
    policies      TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    version       INTEGER NOT NULL
) STRICT;

CREATE TABLE policy (
    name     TEXT PRIMARY KEY,
    document TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE registered_ca (
    name       TEXT PRIMARY KEY,
    subject    BLOB NOT NULL,
    der        BLOB NOT NULL UNIQUE,
    product    TEXT NOT NULL REFERENCES product,
    definition TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX registered_ca_of_subject ON registered_ca (subject);

-- A key that waits by a claim waits for one device.
CREATE INDEX approval_of_key ON approval (key);
