//! Listeners: TLS, HTTP, the admin API; it introduces doors to the road.
//!
//! ```text
//! https ─ listener ─ tls ─┬─ est     RFC 7030, onto the road
//!                         ├─ dps     Azure's device API, onto the road
//!                         └─ device  /v1/time, /v1/profile, /v1/verify, /v1/report
//! mqtts ─ listener ─ tls ── mqtt     VERIFY by connecting
//!                           ├─ claim    reserved topics, onto the road
//!                           └─ dps      the same device API, and the hub behind it
//! http  ─ listener ─────── http     CA certificates and revocation lists, nothing else
//! admin ─ listener ─ tls ── admin    the operator's interface, /healthz, /readyz
//! ledger ── webhooks ──── outbound   what happened, to those whom an operator has named
//! ```
//!
//! TLS proves that a device holds its key and decides nothing else: every refusal is a sentence
//! over HTTP or MQTT and not an alert. The clock and chance are closures that the binary brings.

pub mod admin;
mod claim;
mod config;
mod crowd;
mod device;
mod devices;
mod dps;
mod est;
mod gate;
mod hostile;
mod http;
mod limits;
mod line;
mod listener;
mod mqtt;
mod network;
mod operators;
pub mod outbound;
mod proxy;
mod reply;
mod routes;
mod serve;
mod tls;
mod tpm;
mod webhooks;
mod world;

pub use config::{Config, Identity};
pub use limits::{Limits, MqttLimits};
pub use listener::Peer;
pub use network::{Network, NetworkError};
pub use routes::Route;
pub use serve::{Addresses, Running, Server, StartError};
pub use webhooks::{Kinds, KindsError, Webhook};
pub use world::{Chance, Clock, World};
