//! EST (RFC 7030, RFC 8951): request bytes to requests, replies to reply bytes.
