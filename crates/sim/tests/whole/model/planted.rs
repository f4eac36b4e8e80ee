//! Bugs of the kind that such a ledger could have, each as a few lines of SQL behind its back. A
//! model that misses one of them proves nothing.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use imprint_sim::tap::Call;
use rusqlite::{Connection, params};

/// What is wrong with the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// Intend leases a token that is leased already.
    LeaseIsNotConditional,
    /// Settle keeps the last signature and not the first.
    SettleOverwrites,
    /// The token is spent when the certificate is made, not when the device comes back.
    SpentAtSettle,
    /// Settle answers before its transaction is durable, and the transaction is lost.
    AnsweredBeforeDurable,
    /// Rebind opens the token and lets the former holder's certificates live.
    RebindRevokesNothing,
    /// The first use of a renewed certificate leaves the one before it in use.
    OldOneStaysInUse,
    /// What was revoked lives again when the device is seen.
    RevocationReverses,
    /// An intent is signed that is not on record.
    IntentIsForgotten,
}

impl Bug {
    pub(super) const ALL: &[Self] = &[
        Self::LeaseIsNotConditional,
        Self::SettleOverwrites,
        Self::SpentAtSettle,
        Self::AnsweredBeforeDurable,
        Self::RebindRevokesNothing,
        Self::OldOneStaysInUse,
        Self::RevocationReverses,
        Self::IntentIsForgotten,
    ];
}

/// Plants a bug: it writes to the database before and after the ledger's own transactions.
pub(super) struct Spoiler {
    bug: Bug,
    db: Mutex<Connection>,
}

impl Spoiler {
    /// The ledger is open already. Constraints that would stop the bug are part of the cure, so
    /// they go as well.
    pub(super) fn new(bug: Bug, database: &Path) -> Self {
        let db = Connection::open(database).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.execute_batch(
            "PRAGMA synchronous = OFF;
             DROP TRIGGER IF EXISTS token_serves_one_key;
             DROP TRIGGER IF EXISTS revocation_stays;
             DROP INDEX IF EXISTS certificate_in_use;
             CREATE TEMP TABLE kept (number INTEGER, state TEXT);",
        )
        .unwrap();
        Self {
            bug,
            db: Mutex::new(db),
        }
    }

    pub(super) fn before(&self, call: &Call) {
        let db = self.db.lock().unwrap();
        match (self.bug, call.name) {
            (Bug::LeaseIsNotConditional, "enrollment_intend") => {
                let Some(token) = call.token else { return };
                let open = "UPDATE token SET state = 'minted', lease_key = NULL,
                        lease_device = NULL, lease_since = NULL, lease_from = NULL
                    WHERE hash = ?1 AND state = 'leased'";
                db.execute(open, params![token.0]).unwrap();
            }
            (Bug::SettleOverwrites, "enrollment_settle") => unsettle(&db, call),
            (Bug::RebindRevokesNothing, "token_act")
            | (Bug::OldOneStaysInUse | Bug::RevocationReverses, "credential_verify") => {
                let which = if self.bug == Bug::RevocationReverses {
                    "state = 'revoked'"
                } else {
                    "state IN ('issued', 'active')"
                };
                let keep = format!(
                    "DELETE FROM kept;
                     INSERT INTO kept SELECT number, 'active' FROM certificate WHERE {which};"
                );
                db.execute_batch(&keep).unwrap();
            }
            _ => {}
        }
    }

    pub(super) fn after(&self, call: &Call) {
        let db = self.db.lock().unwrap();
        match (self.bug, call.name) {
            (Bug::SpentAtSettle, "enrollment_settle") => {
                let Some(serial) = call.serial else { return };
                let spend = "UPDATE token SET state = 'spent', spent_at = 1
                    WHERE state = 'leased' AND hash = (SELECT substr(generation, 2)
                        FROM certificate WHERE serial = ?1)";
                db.execute(spend, params![serial.0]).unwrap();
            }
            (Bug::AnsweredBeforeDurable, "enrollment_settle") => unsettle(&db, call),
            (Bug::RebindRevokesNothing, "token_act")
            | (Bug::OldOneStaysInUse | Bug::RevocationReverses, "credential_verify") => {
                db.execute_batch(
                    "UPDATE certificate SET state = 'active', revoked_at = NULL,
                        revocation = NULL, revocation_reason = NULL
                     WHERE der IS NOT NULL AND revoked_at IS NOT NULL
                        AND number IN (SELECT number FROM kept);",
                )
                .unwrap();
            }
            (Bug::IntentIsForgotten, "enrollment_intend") => {
                let Some(serial) = call.serial else { return };
                let forget = "UPDATE certificate SET to_be_signed = x'3000'
                    WHERE serial = ?1 AND state = 'intended'";
                db.execute(forget, params![serial.0]).unwrap();
            }
            _ => {}
        }
    }
}

/// As if the certificate had not been kept.
fn unsettle(db: &Connection, call: &Call) {
    let Some(serial) = call.serial else { return };
    let unsettle = "UPDATE certificate SET state = 'intended', settled_at = NULL, der = NULL,
            to_be_signed = coalesce(to_be_signed,
                substr(der, to_be_signed_at + 1, to_be_signed_length))
        WHERE serial = ?1 AND state = 'issued'";
    db.execute(unsettle, params![serial.0]).unwrap();
}
