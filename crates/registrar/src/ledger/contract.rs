//! The contract that every [`Ledger`](super::Ledger) keeps, as tests that an adapter runs.
