//! The device on Linux: files, TLS, HTTP, and the device's state machine.
