//! Questions over MQTT: the user name says who asks, the topic what is asked.

use core::fmt;

use crate::name::{ApiVersion, IdScope, NameError, OperationId, RegistrationId, Rid};
use crate::request::{MAX_BODY, ParseError, Registration, Request};
use crate::uri;

/// The one filter to which a device subscribes, to be granted at most quality 1.
pub const SUBSCRIPTION: &str = "$dps/registrations/res/#";

/// The user name of a CONNECT:
/// `<idScope>/registrations/<registrationId>/api-version=<v>[&ClientVersion=<agent>]`.
///
/// With a password it is a SAS token's holder (see [`crate::sas`]); without, a client certificate has
/// to speak. `Display` writes the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Which fleet is meant.
    pub scope: IdScope,
    /// Which device is meant.
    pub registration_id: RegistrationId,
    /// Which version of the API it speaks.
    pub api_version: Option<ApiVersion>,
    /// What it says about its software: decoded, printable, at most 256 characters.
    pub client_version: Option<String>,
}

impl Login {
    /// Whether a user name is one of this API's: the rest may still be wrong.
    #[must_use]
    pub fn is_user_name(user_name: &str) -> bool {
        let mut levels = user_name.splitn(4, '/');
        levels.nth(1) == Some("registrations")
            && levels.nth(1).is_some_and(|query| !query.starts_with('?'))
    }

    /// Reads a user name and the client id that came with it.
    pub fn parse(client_id: &str, user_name: &str) -> Result<Self, LoginError> {
        if user_name.len() > MAX_USER_NAME {
            return Err(LoginError::Long);
        }
        let levels: Vec<&str> = user_name.splitn(4, '/').collect();
        let [scope, "registrations", id, query] = *levels.as_slice() else {
            return Err(LoginError::Form);
        };
        let decoded = |text| uri::decode(text).ok_or(LoginError::Form);
        let registration_id = RegistrationId::new(&decoded(id)?)?;
        if !client_id.eq_ignore_ascii_case(registration_id.as_str()) {
            return Err(LoginError::ClientId);
        }
        let api_version = uri::value(query, "api-version");
        let client_version = uri::value(query, "ClientVersion");
        let printable = |text: String| text.chars().filter(|c| !c.is_control()).take(256).collect();
        Ok(Self {
            scope: IdScope::new(&decoded(scope)?)?,
            registration_id,
            api_version: api_version.map(|text| ApiVersion::new(&text)).transpose()?,
            client_version: client_version.map(printable),
        })
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.api_version.as_ref();
        let version = version.map_or(ApiVersion::COMMON, ApiVersion::as_str);
        write!(
            f,
            "{}/registrations/{}/api-version={version}",
            self.scope, self.registration_id
        )?;
        match &self.client_version {
            Some(agent) => write!(f, "&ClientVersion={}", uri::encode(agent)),
            None => Ok(()),
        }
    }
}

/// No SDK sends half of it.
const MAX_USER_NAME: usize = 1_024;

/// What a topic asks, and how the answer will be known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The answer's `$rid`.
    pub rid: Rid,
    asks: Asks,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Asks {
    Register,
    /// The operation is read later, so that a bad one is answered under the question's `$rid`.
    Status(Result<OperationId, NameError>),
}

impl Question {
    /// Reads a topic that a device publishes to. Its `$rid` need not stand first. Without one
    /// nothing can be answered.
    pub fn parse(topic: &str) -> Result<Self, ParseError> {
        let question = topic
            .strip_prefix("$dps/registrations/")
            .filter(|_| topic.len() <= MAX_TOPIC)
            .ok_or(ParseError::NotFound)?;
        let (operation, query) = question.split_once("/?").ok_or(ParseError::NotFound)?;
        let value = |name| uri::pairs(query).find(|(found, _)| *found == name);
        let asks = match operation {
            "PUT/iotdps-register" => Asks::Register,
            "GET/iotdps-get-operationstatus" => {
                let text = value("operationId").map_or("", |(_, text)| text);
                let text = uri::decode(text).unwrap_or_default();
                Asks::Status(OperationId::new(&text))
            }
            _ => return Err(ParseError::NotFound),
        };
        let rid = Rid::new(value("$rid").map_or("", |(_, rid)| rid))?;
        Ok(Self { rid, asks })
    }

    /// What is asked, with what was published. The payload of a poll is not looked at: it is a
    /// blank, or the register once more.
    pub fn request(&self, id: &RegistrationId, payload: &[u8]) -> Result<Request, ParseError> {
        if payload.len() > MAX_BODY {
            return Err(ParseError::TooLarge);
        }
        match &self.asks {
            Asks::Register => Registration::parse(payload, id).map(Request::Register),
            Asks::Status(operation_id) => Ok(Request::OperationStatus {
                operation_id: operation_id.clone()?,
            }),
        }
    }
}

/// `$dps/registrations/GET/iotdps-get-operationstatus/?` and its two longest values.
const MAX_TOPIC: usize = 1_024;

/// The topic on which `request` is asked; `None` for what is not asked over MQTT.
pub(crate) fn topic(rid: &Rid, request: &Request) -> Option<String> {
    match request {
        Request::Register(_) => Some(format!(
            "$dps/registrations/PUT/iotdps-register/?$rid={rid}"
        )),
        Request::OperationStatus { operation_id } => Some(format!(
            "$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={operation_id}"
        )),
        Request::Lookup => None,
    }
}

/// The topic of an answer. One SDK finds `$rid` only behind the `?`, another splits at each `$`, a
/// third reads seconds as a decimal number: so it is this text and no other.
pub(crate) fn answer_topic(status: u16, rid: &Rid, retry_after: Option<u32>) -> String {
    let retry = retry_after.map(|seconds| format!("&retry-after={seconds}"));
    format!(
        "$dps/registrations/res/{status}/?$rid={rid}{}",
        retry.unwrap_or_default()
    )
}

/// Status, `$rid` and seconds in the topic of an answer: the device's side.
pub(crate) fn parse_answer_topic(topic: &str) -> Option<(u16, Rid, Option<u32>)> {
    let rest = topic.strip_prefix("$dps/registrations/res/")?;
    let (status, query) = rest.split_once("/?")?;
    let value = |name| uri::pairs(query).find(|(found, _)| *found == name);
    let (_, rid) = value("$rid")?;
    let retry_after = value("retry-after").and_then(|(_, text)| text.parse().ok());
    let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    let status = status.parse().ok().filter(|_| is_status)?;
    Some((status, Rid::new(rid).ok()?, retry_after))
}

/// Why a CONNECT names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// It has another form.
    #[error("the user name is not <idScope>/registrations/<registrationId>/api-version=...")]
    Form,
    /// It is too long.
    #[error("the user name is longer than {MAX_USER_NAME} bytes")]
    Long,
    /// The client id names another device.
    #[error("the client id is not the registrationId of the user name")]
    ClientId,
    /// One of the names is none.
    #[error("{0}")]
    Name(#[from] NameError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn login(version: &str, client: Option<&str>) -> Login {
        Login {
            scope: IdScope::new("0ne00111111").unwrap(),
            registration_id: RegistrationId::new("dev-1").unwrap(),
            api_version: ApiVersion::new(version).ok(),
            client_version: client.map(str::to_owned),
        }
    }

    #[test]
    fn user_names_are_read_as_each_sdk_writes_them() {
        let base = "0ne00111111/registrations/dev-1";
        for (client_id, user_name, want) in [
            (
                "dev-1",
                format!(
                    "{base}/api-version=2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0%20%283.11%3BLinux%29"
                ),
                login(
                    "2019-03-31",
                    Some("azure-iot-device-provisioning-py/2.14.0 (3.11;Linux)"),
                ),
            ),
            (
                "dev-1",
                format!("{base}/api-version=2019-03-31"),
                login("2019-03-31", None),
            ),
            (
                "dev-1",
                format!("{base}/api-version=2021-06-01&ClientVersion=1.15.0/x"),
                login("2021-06-01", Some("1.15.0/x")),
            ),
            (
                "DEV-1",
                "0NE00111111/registrations/Dev-1/api-version=2019-03-31".to_owned(),
                login("2019-03-31", None),
            ),
            ("dev-1", format!("{base}/"), login("", None)),
            (
                "dev-1",
                format!("{base}/api-version=2019-03-31&ClientVersion=a%0Ab"),
                login("2019-03-31", Some("ab")),
            ),
        ] {
            assert!(Login::is_user_name(&user_name), "{user_name}");
            assert_eq!(Login::parse(client_id, &user_name), Ok(want), "{user_name}");
        }
    }

    #[test]
    fn other_user_names_are_told_apart() {
        let long = format!(
            "s/registrations/d/api-version=1&ClientVersion={}",
            "x".repeat(1_024)
        );
        for (client_id, user_name, want) in [
            ("d", "", LoginError::Form),
            ("d", "s", LoginError::Form),
            ("d", "s/registrations/d", LoginError::Form),
            ("d", "s/Registrations/d/api-version=1", LoginError::Form),
            (
                "d",
                "?SDK=IoTDeviceSDK/Python&Platform=Unix&Metadata=()",
                LoginError::Form,
            ),
            (
                "d",
                "hub.example/d/?api-version=2019-10-01",
                LoginError::Form,
            ),
            ("d", "s/registrations/%zz/api-version=1", LoginError::Form),
            ("e", "s/registrations/d/api-version=1", LoginError::ClientId),
            ("", "s/registrations/d/api-version=1", LoginError::ClientId),
            (
                "d",
                "/registrations/d/api-version=1",
                NameError::Empty { what: "idScope" }.into(),
            ),
            (
                "d",
                "s/registrations/d#/api-version=1",
                NameError::Character {
                    what: "registrationId",
                }
                .into(),
            ),
            (
                "d",
                "s/registrations/d/api-version=%20",
                NameError::Character {
                    what: "api-version",
                }
                .into(),
            ),
            ("d", &*long, LoginError::Long),
        ] {
            assert_eq!(Login::parse(client_id, user_name), Err(want), "{user_name}");
        }
        // A hub's device that is called so.
        assert!(!Login::is_user_name(
            "hub.example/registrations/?api-version=2019-10-01"
        ));
        assert!(!Login::is_user_name(
            "hub.example/registrations/m/?api-version=2019-10-01"
        ));
    }

    #[test]
    fn topics_are_read_as_each_sdk_writes_them() {
        let id = RegistrationId::new("dev-1").unwrap();
        let status = Request::OperationStatus {
            operation_id: OperationId::new("5.a").unwrap(),
        };
        let register = Request::Register(Registration::default());
        for (topic, payload, rid, want) in [
            (
                "$dps/registrations/PUT/iotdps-register/?$rid=1",
                r#"{"registrationId":"dev-1"}"#,
                "1",
                &register,
            ),
            (
                "$dps/registrations/PUT/iotdps-register/?$rid=6a9e5c42-0b6c",
                "{}",
                "6a9e5c42-0b6c",
                &register,
            ),
            // Python and Node.js poll with a blank, C with the whole register.
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=5.a",
                " ",
                "2",
                &status,
            ),
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=5%2ea",
                r#"{"registrationId":"dev-1"}"#,
                "2",
                &status,
            ),
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?operationId=5.a&$rid=2",
                "",
                "2",
                &status,
            ),
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=5.a&x",
                "\0",
                "2",
                &status,
            ),
        ] {
            let question = Question::parse(topic).unwrap();
            assert_eq!(question.rid.as_str(), rid, "{topic}");
            assert_eq!(
                question.request(&id, payload.as_bytes()).as_ref(),
                Ok(want),
                "{topic}"
            );
        }
    }

    #[test]
    fn nothing_is_asked_on_another_topic() {
        let empty = ParseError::Name(NameError::Empty { what: "$rid" });
        let long = format!(
            "$dps/registrations/PUT/iotdps-register/?$rid=1&{}",
            "x".repeat(1_024)
        );
        for (topic, want) in [
            ("", ParseError::NotFound),
            ("telemetry", ParseError::NotFound),
            ("$aws/certificates/create/json", ParseError::NotFound),
            ("$dps/registrations/res/200/?$rid=1", ParseError::NotFound),
            (
                "$dps/registrations/POST/iotdps-register/?$rid=1",
                ParseError::NotFound,
            ),
            (
                "$dps/registrations/PUT/iotdps-register?$rid=1",
                ParseError::NotFound,
            ),
            (
                "$dps/registrations/PUT/iotdps-register/x/?$rid=1",
                ParseError::NotFound,
            ),
            (
                "$dps/registrations/PUT/iotdps-register/",
                ParseError::NotFound,
            ),
            ("$dps/registrations/PUT/iotdps-register/?", empty.clone()),
            (
                "$dps/registrations/PUT/iotdps-register/?$rid=",
                empty.clone(),
            ),
            ("$dps/registrations/PUT/iotdps-register/?rid=1", empty),
            (
                "$dps/registrations/PUT/iotdps-register/?$rid=a$b",
                NameError::Character { what: "$rid" }.into(),
            ),
            (&*long, ParseError::NotFound),
        ] {
            assert_eq!(Question::parse(topic), Err(want), "{topic}");
        }
    }

    #[test]
    fn a_poll_for_no_operation_can_still_be_answered() {
        let id = RegistrationId::new("dev-1").unwrap();
        for query in [
            "$rid=7",
            "$rid=7&operationId=",
            "$rid=7&operationId=a/b",
            "$rid=7&operationId=%z",
        ] {
            let topic = format!("$dps/registrations/GET/iotdps-get-operationstatus/?{query}");
            let question = Question::parse(&topic).unwrap();
            assert_eq!(question.rid.as_str(), "7");
            assert!(
                matches!(question.request(&id, b" "), Err(ParseError::Name(_))),
                "{query}"
            );
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_looked_into() {
        let id = RegistrationId::new("dev-1").unwrap();
        let long = vec![b' '; MAX_BODY + 1];
        for topic in [
            "$dps/registrations/PUT/iotdps-register/?$rid=1",
            "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=5.a",
        ] {
            let question = Question::parse(topic).unwrap();
            assert_eq!(question.request(&id, &long), Err(ParseError::TooLarge));
        }
    }

    #[test]
    fn an_answer_is_known_again_by_its_rid_which_stands_first() {
        let rid = Rid::new("6a9e").unwrap();
        for (status, retry_after, want) in [
            (200, None, "$dps/registrations/res/200/?$rid=6a9e"),
            (
                202,
                Some(3),
                "$dps/registrations/res/202/?$rid=6a9e&retry-after=3",
            ),
        ] {
            let topic = answer_topic(status, &rid, retry_after);
            assert_eq!(topic, want);
            assert_eq!(topic.matches('$').count(), 2);
            assert_eq!(
                parse_answer_topic(&topic),
                Some((status, rid.clone(), retry_after))
            );
        }
        for topic in [
            "$dps/registrations/res/200/",
            "$dps/registrations/res/200/?retry-after=1",
            "$dps/registrations/res/+20/?$rid=1",
            "$dps/registrations/res/2000/?$rid=1",
            "$dps/registrations/res//?$rid=1",
            "x",
        ] {
            assert_eq!(parse_answer_topic(topic), None, "{topic}");
        }
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(
            id in "[0-9A-Za-z._:-]{0,40}[0-9A-Za-z-]",
            client in proptest::option::of("[ -~ä/&=]{0,40}"),
            rid in "[0-9A-Za-z._~%-]{1,40}",
            operation in "[0-9A-Za-z._~-]{1,200}",
        ) {
            let login = Login {
                registration_id: RegistrationId::new(&id).unwrap(),
                client_version: client,
                ..login("2019-03-31", None)
            };
            prop_assert_eq!(Login::parse(&id, &login.to_string()), Ok(login.clone()));
            let rid = Rid::new(&rid).unwrap();
            let operation_id = OperationId::new(&operation).unwrap();
            for request in [Request::Register(Registration::default()), Request::OperationStatus { operation_id }] {
                let question = Question::parse(&topic(&rid, &request).unwrap()).unwrap();
                prop_assert_eq!(&question.rid, &rid);
                prop_assert_eq!(question.request(&login.registration_id, b"{}"), Ok(request));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,80}", topic in r"\$dps/registrations/[A-Za-z/?$=&-]{0,60}") {
            let _ = Login::parse(&text, &text);
            let _ = Question::parse(&topic);
            let _ = parse_answer_topic(&text);
        }
    }
}
