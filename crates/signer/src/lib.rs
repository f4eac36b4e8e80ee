//! The Signer on sealed key files.
