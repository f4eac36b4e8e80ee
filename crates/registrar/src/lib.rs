//! Who joins, once: enroll, renew, verify, revoke, and what the ledger must remember.
