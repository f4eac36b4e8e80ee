//! Evidence becomes proof: tokens and X.509 chains.
