//! The device's state machine and its power-loss-proof journal.
