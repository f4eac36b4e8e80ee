//! What the server is told when it starts. The binary reads `imprint.toml` and fills this in.

use std::fmt;
use std::net::SocketAddr;

use zeroize::Zeroizing;

use crate::limits::Limits;
use crate::network::Network;
use crate::outbound::Roots;
use crate::webhooks::Webhook;
use crate::world::Chance;

/// Everything that can be set.
pub struct Config {
    /// Where devices come in; `None` switches the listener off. Port 0 takes a free one.
    pub https: Option<SocketAddr>,
    /// Where CA certificates and revocation lists are served in the clear.
    pub http: Option<SocketAddr>,
    /// Where devices come in over MQTT.
    pub mqtts: Option<SocketAddr>,
    /// Whether MQTT is spoken on `https` as well, with clients that ask for it by ALPN.
    pub mqtt_on_https: bool,
    /// Whether a device that is registered by its first MQTT connection is hung up on without an
    /// answer and has to connect again, as AWS does it. Only for clients that rely on it.
    pub just_in_time_hang_up: bool,
    /// Under which id scope devices register by their entries, as Azure's SDKs do.
    pub id_scope: String,
    /// The host to which those are sent afterwards: this server, by a name that they can reach it by.
    pub hub: String,
    /// Where operators come in.
    pub admin: Option<SocketAddr>,
    /// The certificate with which `https` and `admin` show themselves.
    pub identity: Identity,
    /// SHA-256 of each admin token's text.
    pub admin_tokens: Vec<[u8; 32]>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Who is told what happened.
    pub webhooks: Vec<Webhook>,
    /// Whose word counts for the certificates of those whom the server calls.
    pub outbound_roots: Roots,
    /// Whether connections from those begin with a PROXY header, version 1 or 2, on every listener.
    pub proxy_protocol: bool,
    /// Bounds.
    pub limits: Limits,
    /// With a source of chance, the server is rude on purpose (`--hostile`): it loses, repeats and
    /// delays. A seeded source replays the same rudeness.
    pub hostile: Option<Chance>,
}

/// A server certificate with its key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate and what is above it, DER, the server's own first, without the root.
    pub chain: Vec<Vec<u8>>,
    /// The private key, PKCS#8 DER.
    pub private_key: Zeroizing<Vec<u8>>,
}

/// The key is not printed.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// Neither the key nor the hashes of admin tokens are printed.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("https", &self.https)
            .field("http", &self.http)
            .field("mqtts", &self.mqtts)
            .field("mqtt_on_https", &self.mqtt_on_https)
            .field("just_in_time_hang_up", &self.just_in_time_hang_up)
            .field("id_scope", &self.id_scope)
            .field("hub", &self.hub)
            .field("admin", &self.admin)
            .field("identity", &self.identity)
            .field("admin_tokens", &self.admin_tokens.len())
            .field("trusted_proxies", &self.trusted_proxies)
            .field("webhooks", &self.webhooks)
            .field("outbound_roots", &self.outbound_roots)
            .field("proxy_protocol", &self.proxy_protocol)
            .field("limits", &self.limits)
            .field("hostile", &self.hostile.is_some())
            .finish()
    }
}
