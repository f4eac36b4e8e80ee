//! The connection to a hub that follows a registration: by it a device shows that what it was given
//! works.
//!
//! Over MQTT 3.1.1, at the same port, told apart by the user name:
//! `<hub>/<deviceId>/?api-version=2019-10-01[&DeviceClientType=<agent>]`. The password is a SAS token
//! for `<hub>/devices/<deviceId>`, or a client certificate speaks.

use core::fmt;

use crate::name::{ApiVersion, NameError};
use crate::uri;

/// The user name of a hub's device. `Display` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubLogin {
    /// The hub's host name, as the device wrote it.
    pub hub: String,
    /// Its name there, 1 to 128 printable characters of ASCII without `/`. Case counts.
    pub device_id: String,
    /// Which version of the hub's API it speaks.
    pub api_version: Option<ApiVersion>,
    /// What it says about its software: decoded, printable, at most 256 characters.
    pub client_type: Option<String>,
}

impl HubLogin {
    /// Whether a user name is one for a hub: the rest may still be wrong.
    #[must_use]
    pub fn is_user_name(user_name: &str) -> bool {
        let mut levels = user_name.splitn(3, '/');
        let hub = levels.next().unwrap_or_default();
        is_host(hub) && levels.nth(1).is_some_and(|query| query.starts_with('?'))
    }

    /// Reads a user name and the client id that came with it.
    pub fn parse(client_id: &str, user_name: &str) -> Result<Self, HubLoginError> {
        if user_name.len() > MAX_USER_NAME {
            return Err(HubLoginError::Long);
        }
        let levels: Vec<&str> = user_name.splitn(3, '/').collect();
        let [hub, device_id, query] = *levels.as_slice() else {
            return Err(HubLoginError::Form);
        };
        let query = query.strip_prefix('?').ok_or(HubLoginError::Form)?;
        if !is_host(hub) || !is_device_id(device_id) {
            return Err(HubLoginError::Form);
        }
        if client_id != device_id {
            return Err(HubLoginError::ClientId);
        }
        let api_version = uri::value(query, "api-version");
        let client_type = uri::value(query, "DeviceClientType");
        let printable = |text: String| text.chars().filter(|c| !c.is_control()).take(256).collect();
        Ok(Self {
            hub: hub.to_owned(),
            device_id: device_id.to_owned(),
            api_version: api_version.map(|text| ApiVersion::new(&text)).transpose()?,
            client_type: client_type.map(printable),
        })
    }
}

impl fmt::Display for HubLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.api_version.as_ref();
        let version = version.map_or(API_VERSION, ApiVersion::as_str);
        write!(f, "{}/{}/?api-version={version}", self.hub, self.device_id)?;
        match &self.client_type {
            Some(agent) => write!(f, "&DeviceClientType={}", uri::encode(agent)),
            None => Ok(()),
        }
    }
}

/// The topic on which a device sends telemetry.
#[must_use]
pub fn telemetry_topic(device_id: &str) -> String {
    format!("devices/{device_id}/messages/events/")
}

/// The properties behind a telemetry topic of this device, as they stand there; `None` for any other
/// topic, such as another device's.
#[must_use]
pub fn telemetry<'t>(topic: &'t str, device_id: &str) -> Option<&'t str> {
    let rest = topic.strip_prefix("devices/")?.strip_prefix(device_id)?;
    let properties = rest.strip_prefix("/messages/events")?;
    if properties.is_empty() {
        return Some("");
    }
    properties.strip_prefix('/')
}

fn is_host(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

fn is_device_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
}

/// The version with which the SDKs connect.
const API_VERSION: &str = "2019-10-01";
/// No SDK sends half of it.
const MAX_USER_NAME: usize = 1_024;

/// Why a CONNECT names no hub's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubLoginError {
    /// It has another form.
    #[error("the user name is not <hub>/<deviceId>/?api-version=...")]
    Form,
    /// It is too long.
    #[error("the user name is longer than {MAX_USER_NAME} bytes")]
    Long,
    /// The client id names another device.
    #[error("the client id is not the deviceId of the user name")]
    ClientId,
    /// The version is none.
    #[error("{0}")]
    Name(#[from] NameError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hubs_device_is_read_as_the_sdk_writes_it() {
        let user_name = "hub.example/dev-1/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%28x%3By%29";
        let login = HubLogin {
            hub: "hub.example".into(),
            device_id: "dev-1".into(),
            api_version: ApiVersion::new("2019-10-01").ok(),
            client_type: Some("azure-iot-device-iothub-py/2.14.0(x;y)".into()),
        };
        assert!(HubLogin::is_user_name(user_name));
        assert_eq!(HubLogin::parse("dev-1", user_name), Ok(login));
    }

    #[test]
    fn other_user_names_are_told_apart() {
        let long = format!("h/d/?{}", "x".repeat(1_024));
        for (client_id, user_name, want) in [
            ("d", "", HubLoginError::Form),
            ("d", "h/d", HubLoginError::Form),
            ("d", "h/d/api-version=1", HubLoginError::Form),
            ("d", "h/d/m/?api-version=1", HubLoginError::Form),
            (
                "d",
                "0ne0/registrations/d/api-version=2019-03-31",
                HubLoginError::Form,
            ),
            (
                "d",
                "?SDK=IoTDeviceSDK/Python&Platform=Unix&Metadata=()",
                HubLoginError::Form,
            ),
            ("d", "/d/?", HubLoginError::Form),
            ("", "h//?", HubLoginError::Form),
            ("a b", "h/a b/?", HubLoginError::Form),
            ("D", "h/d/?api-version=1", HubLoginError::ClientId),
            (
                "d",
                "h/d/?api-version=a/b",
                NameError::Character {
                    what: "api-version",
                }
                .into(),
            ),
            ("d", &*long, HubLoginError::Long),
        ] {
            assert_eq!(
                HubLogin::parse(client_id, user_name),
                Err(want),
                "{user_name}"
            );
        }
        for user_name in [
            "",
            "0ne0/registrations/d/api-version=1",
            "?SDK=a/b/?c",
            "h/d/m/?x",
        ] {
            assert!(!HubLogin::is_user_name(user_name), "{user_name}");
        }
    }

    #[test]
    fn a_device_sends_telemetry_on_its_own_topic_alone() {
        for (topic, want) in [
            ("devices/d/messages/events/", Some("")),
            ("devices/d/messages/events", Some("")),
            (
                "devices/d/messages/events/%24.ct=application%2Fjson&a=b",
                Some("%24.ct=application%2Fjson&a=b"),
            ),
            ("devices/e/messages/events/", None),
            ("devices/d/x/messages/events/", None),
            ("devices/dd/messages/events/", None),
            ("devices/d/messages/eventsx", None),
            ("devices/d/messages/devicebound/", None),
            ("devices/d", None),
        ] {
            assert_eq!(telemetry(topic, "d"), want, "{topic}");
        }
        assert_eq!(telemetry(&telemetry_topic("d"), "d"), Some(""));
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(
            hub in "[a-z0-9.-]{1,60}",
            id in "[!-.0-~]{1,128}",
            client in proptest::option::of("[ -~ä]{0,40}"),
        ) {
            let login = HubLogin {
                hub,
                device_id: id.clone(),
                api_version: ApiVersion::new("2021-04-12").ok(),
                client_type: client,
            };
            let text = login.to_string();
            prop_assert!(HubLogin::is_user_name(&text));
            prop_assert_eq!(HubLogin::parse(&id, &text), Ok(login));
        }
    }
}
