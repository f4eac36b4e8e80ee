//! `imprint.toml`: the server's settings, read once into one struct.
//!
//! Products are not here: they come from `imprint apply` alone. The environment can say where the
//! directory is (`IMPRINT_DIR`) and give the key that unseals (`IMPRINT_SEAL_KEY`), nothing else.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use imprint_pkix::certificate::is_http_url;
use imprint_registrar::Rate;
use imprint_server::{KindsError, Network, Webhook};
use serde::Deserialize;

use crate::toml_file;

/// The settings.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own in the file"
)]
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The fleet's name, as it stands in the authorities' certificates.
    pub(crate) name: String,
    /// The DNS names and IP addresses under which devices reach the server.
    pub(crate) hosts: Vec<String>,
    /// Where devices come in.
    pub(crate) https: Listener,
    /// Where CA certificates and revocation lists are served in the clear.
    pub(crate) http: Listener,
    /// Where devices come in over MQTT.
    #[serde(default)]
    pub(crate) mqtts: Listener,
    /// Whether the `https` listener speaks MQTT as well, with clients that ask for it by ALPN.
    #[serde(default)]
    pub(crate) mqtt_on_https: bool,
    /// Whether a device's first MQTT connection, by which it is registered, is hung up on.
    #[serde(default)]
    pub(crate) just_in_time_hang_up: bool,
    /// The id scope under which devices register with Azure's SDKs; left out: made of the root.
    #[serde(default)]
    pub(crate) id_scope: Option<String>,
    /// The host to which those are sent afterwards, without a port; left out: the first of the hosts.
    #[serde(default)]
    pub(crate) hub: Option<String>,
    /// Where operators come in.
    pub(crate) admin: Listener,
    /// The URL under which devices and relying parties reach the `http` listener.
    #[serde(default)]
    pub(crate) public_http: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed: addresses or networks.
    #[serde(default)]
    pub(crate) trusted_proxies: Vec<String>,
    /// Who is told what happened, and of which kinds of event.
    #[serde(default)]
    pub(crate) webhook: Vec<Hook>,
    /// A PEM file with the authorities whose word counts for those whom the server calls, in the
    /// directory or elsewhere; left out: those that the operating system trusts.
    #[serde(default)]
    pub(crate) outbound_ca: Option<PathBuf>,
    /// Whether connections from those begin with a PROXY header (version 1 or 2).
    #[serde(default)]
    pub(crate) proxy_protocol: bool,
    /// Days for which the server's own certificate is made; 0 for no expiry.
    #[serde(default = "default_server_days")]
    pub(crate) server_certificate_days: u32,
    /// `text` or `json`.
    #[serde(default)]
    pub(crate) log_format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, or directives such as `info,imprint_server=debug`.
    #[serde(default = "default_log_level")]
    pub(crate) log_level: String,
    /// Bounds for all devices together.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// Whether the keys are marked as not to be trusted.
    #[serde(default)]
    pub(crate) for_tests: bool,
}

/// Bounds for all devices together; products have their own in the fleet file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Newcomers that are let in each second, over all products; 0 for no limit.
    pub(crate) enrollments_per_second: u32,
    /// Newcomers that may come at once before that pace binds.
    pub(crate) burst: u32,
    /// Connections that are served at once on each listener. Each takes some 20 KiB.
    pub(crate) connections: usize,
    /// Of those, how many may come from one address (IPv6: one /64) that is no trusted proxy.
    pub(crate) connections_per_address: usize,
    /// Requests on the road at once.
    pub(crate) requests_in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let server = imprint_server::Limits::default();
        Self {
            enrollments_per_second: 0,
            burst: 10,
            connections: server.connections,
            connections_per_address: server.connections_per_address,
            requests_in_flight: server.requests_in_flight,
        }
    }
}

impl Limits {
    /// The pace of the whole fleet, if there is one.
    pub(crate) fn pace(&self) -> Option<Rate> {
        (self.enrollments_per_second > 0).then_some(Rate {
            per_second: self.enrollments_per_second,
            burst: self.burst,
        })
    }

    /// What the server is told.
    pub(crate) fn server(&self) -> imprint_server::Limits {
        imprint_server::Limits {
            connections: self.connections,
            connections_per_address: self.connections_per_address,
            requests_in_flight: self.requests_in_flight,
            ..imprint_server::Limits::default()
        }
    }
}

/// An address, or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Listener(pub(crate) Option<SocketAddr>);

impl TryFrom<String> for Listener {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address = text.parse().map_err(|_| {
            format!("{text:?} is no address; write it as \"0.0.0.0:8443\" or \"off\"")
        })?;
        Ok(Self(Some(address)))
    }
}

/// A receiver of events.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hook {
    /// Where they are posted: https://, or http:// to this machine itself.
    pub(crate) url: String,
    /// Which: `device-revoked`, or `device-*` for all that begin so; left out: all.
    #[serde(default)]
    pub(crate) kinds: Vec<String>,
}

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines, one object a line.
    Json,
}

impl Settings {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let settings: Self = toml_file::read(path)?;
        settings
            .check()
            .map_err(|what| anyhow::anyhow!("{}, {what}", path.display()))?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        check_name(&self.name).map_err(|reason| format!("`name`: {reason}"))?;
        check_hosts(&self.hosts).map_err(|reason| format!("`hosts`: {reason}"))?;
        if let Some(url) = &self.public_http {
            check_url(url).map_err(|reason| format!("`public_http`: {reason}"))?;
        }
        if let Some(scope) = &self.id_scope {
            check_scope(scope).map_err(|reason| format!("`id_scope`: {reason}"))?;
        }
        if let Some(hub) = &self.hub {
            let hub = std::slice::from_ref(hub);
            check_hosts(hub).map_err(|reason| format!("`hub`: {reason}"))?;
        }
        if self.server_certificate_days > 36_500 {
            return Err("`server_certificate_days`: use at most 36500, or 0 for no expiry".into());
        }
        let limits = &self.limits;
        if [
            limits.connections,
            limits.connections_per_address,
            limits.requests_in_flight,
        ]
        .contains(&0)
        {
            return Err("`limits`: nobody could come in with a bound of 0".into());
        }
        self.webhooks()?;
        self.proxies().map(|_| ())
    }

    /// The receivers of events, read.
    pub(crate) fn webhooks(&self) -> Result<Vec<Webhook>, String> {
        if self.webhook.len() > MOST_WEBHOOKS {
            return Err(format!(
                "`webhook`: use at most {MOST_WEBHOOKS}; one receiver can tell others"
            ));
        }
        let read = |hook: &Hook| {
            let twice = self.webhook.iter().filter(|other| other.url == hook.url);
            if twice.count() > 1 {
                return Err(format!("`webhook`: {:?} stands there twice", hook.url));
            }
            let url = hook.url.parse();
            let kinds: Result<_, KindsError> = hook.kinds.iter().map(|text| text.parse()).collect();
            Ok(Webhook {
                url: url.map_err(|error| format!("`webhook.url`: {error}"))?,
                kinds: kinds.map_err(|error| format!("`webhook.kinds`: {error}"))?,
            })
        };
        self.webhook.iter().map(read).collect()
    }

    /// The proxies, read.
    pub(crate) fn proxies(&self) -> Result<Vec<Network>, String> {
        let read = |text: &String| {
            text.parse()
                .map_err(|error| format!("`trusted_proxies`: {text:?}: {error}"))
        };
        self.trusted_proxies.iter().map(read).collect()
    }

    /// The URL that certificates point to, without a trailing slash: `public_http`; else the `http`
    /// listener by the first host that others can reach. Nothing where its port is a free one.
    pub(crate) fn public_http(&self) -> Option<String> {
        if let Some(url) = &self.public_http {
            return Some(url.trim_end_matches('/').to_owned());
        }
        public_http(self.http.0?, &self.hosts)
    }
}

/// The URL of the `http` listener, where nothing is configured: by the first host that others can
/// reach, else by an address of this machine. A host of one label will not do: it stands for other
/// machines elsewhere, and a certificate that points to one is faulted (and never signed).
pub(crate) fn public_http(http: SocketAddr, hosts: &[String]) -> Option<String> {
    if http.port() == 0 {
        return None;
    }
    let address = |host: &String| host.parse::<IpAddr>().ok();
    let local = |host: &&String| address(host).is_some_and(|address| address.is_loopback());
    let url = |host: &String| match address(host) {
        Some(IpAddr::V6(address)) => format!("http://[{address}]:{}", http.port()),
        _ => format!("http://{host}:{}", http.port()),
    };
    let others = hosts.iter().filter(|host| !local(host));
    others
        .chain(hosts.iter().filter(local))
        .map(url)
        .find(|url| is_http_url(url))
}

/// A name that fits into a certificate's CN with ` Issuing CA` behind it.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let length = name.chars().count();
    if !(1..=48).contains(&length) || name.trim() != name || name.chars().any(char::is_control) {
        return Err("use 1 to 48 printable characters, no blank at the ends".to_owned());
    }
    Ok(())
}

/// DNS names and addresses for the server's certificate.
pub(crate) fn check_hosts(hosts: &[String]) -> Result<(), String> {
    if !(1..=16).contains(&hosts.len()) {
        return Err("name 1 to 16 hosts; each makes the server's certificate longer".to_owned());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    for host in hosts {
        let name = host.strip_prefix("*.").unwrap_or(host);
        if host.parse::<IpAddr>().is_err() && !(host.len() <= 253 && name.split('.').all(label)) {
            return Err(format!(
                "{host:?} is neither a DNS name nor an IP address; give it without scheme or port"
            ));
        }
    }
    Ok(())
}

/// As devices' firmware has it: Azure's are `0ne` and eight more.
fn check_scope(scope: &str) -> Result<(), String> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !(1..=64).contains(&scope.len()) || !scope.bytes().all(inner) {
        return Err("use 1 to 64 of 0-9, A-Z, a-z, '-' and '_'".to_owned());
    }
    Ok(())
}

fn check_url(url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("http://").ok_or(
        "begin it with http://: revocation lists are fetched in the clear (RFC 5280 section 8)",
    )?;
    let printable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]%".contains(&byte);
    if rest.is_empty() || url.len() > 200 || !rest.bytes().all(printable) {
        return Err("use at most 200 characters, such as http://pki.example:8080".to_owned());
    }
    if !is_http_url(url) {
        return Err(
            "use a full host name or an address, such as http://pki.example:8080".to_owned(),
        );
    }
    Ok(())
}

/// Each has a task that looks at the journal four times a second.
const MOST_WEBHOOKS: usize = 16;

fn default_server_days() -> u32 {
    365
}

fn default_log_level() -> String {
    "info".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "name = \"Fleet\"\nhosts = [\"localhost\"]\nhttps = \"127.0.0.1:0\"\n\
        http = \"off\"\nadmin = \"127.0.0.1:0\"\n";

    fn settings(more: &str) -> Result<Settings, String> {
        let settings: Settings = toml_file::parse(&format!("{SMALLEST}{more}"))?;
        settings.check()?;
        Ok(settings)
    }

    #[test]
    fn the_smallest_settings_are_five_lines() {
        let settings = settings("").unwrap();
        assert_eq!(settings.http, Listener(None));
        assert_eq!(settings.log_level, "info");
    }

    #[test]
    fn mistakes_are_named_with_what_to_write() {
        for (more, want) in [
            (
                "htps = \"off\"",
                "line 6, column 1: unknown key `htps`; did you mean `https`?",
            ),
            ("mqtts = \"8883\"", "is no address"),
            ("public_http = \"https://x\"", "begin it with http://"),
            (
                "public_http = \"http://localhost:8080\"",
                "use a full host name or an address",
            ),
            ("trusted_proxies = [\"proxy\"]", "`trusted_proxies`"),
            (
                "[[webhook]]\nurl = \"http://hooks.example/\"",
                "`webhook.url`: \"http://hooks.example/\" can't be called: it is in the clear",
            ),
            (
                "[[webhook]]\nurl = \"https://a.example/\"\nkinds = [\"Device\"]",
                "`webhook.kinds`: \"Device\" is no kind of event",
            ),
            (
                "[[webhook]]\nurl = \"https://a.example/\"\nkind = [\"device-*\"]",
                "line 8, column 1: unknown key `kind` in [[webhook]]; did you mean `kinds`?",
            ),
            (
                "[[webhook]]\nurl = \"https://a/\"\n[[webhook]]\nurl = \"https://a/\"",
                "stands there twice",
            ),
            ("id_scope = \"0ne/1\"", "`id_scope`: use 1 to 64"),
            ("hub = \"localhost:8883\"", "`hub`: \"localhost:8883\""),
            ("log_format = \"xml\"", "line 6"),
            ("server_certificate_days = 40000", "36500"),
        ] {
            let error = settings(more).unwrap_err();
            assert!(error.contains(want), "{more}: {error}");
        }
    }

    #[test]
    fn certificates_point_to_a_host_that_others_reach_or_nowhere() {
        let hosts = |hosts: &[&str]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let at =
            |address: &str, names: &[&str]| public_http(address.parse().unwrap(), &hosts(names));
        assert_eq!(at("0.0.0.0:0", &["a.example"]), None);
        let url = at("0.0.0.0:8080", &["localhost", "127.0.0.1", "a.example"]);
        assert_eq!(url.as_deref(), Some("http://a.example:8080"));
        assert_eq!(
            at("[::]:80", &["2001:db8::1"]).as_deref(),
            Some("http://[2001:db8::1]:80")
        );
        assert_eq!(
            at("[::]:80", &["localhost", "127.0.0.1", "vm"]).as_deref(),
            Some("http://127.0.0.1:80")
        );
        assert_eq!(at("[::]:80", &["localhost", "*.a.example", "vm"]), None);
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (host, sound) in [
            ("a.example", true),
            ("*.a.example", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("a.example:8443", false),
            ("https://a", false),
            ("", false),
            ("a..b", false),
            ("*.", false),
        ] {
            assert_eq!(check_hosts(&[host.to_owned()]).is_ok(), sound, "{host}");
        }
    }
}
