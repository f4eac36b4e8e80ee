//! The Ledger on SQLite, the embedded default.
