//! The reserved topics of claim provisioning (AWS IoT developer guide, "Reserved topics").

use core::fmt;

/// What is asked on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic<'t> {
    /// `$aws/certificates/create/<format>`: the server makes key and certificate.
    CreateKeys,
    /// `$aws/certificates/create-from-csr/<format>`: a certificate for the device's own key.
    CreateFromCsr,
    /// `$aws/provisioning-templates/<template>/provision/<format>`: the device becomes a thing.
    Register {
        /// The template's name, 1 to 36 of `[0-9A-Za-z_-]`.
        template: &'t str,
    },
}

/// How payloads are written: the last level of a topic on which is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// RFC 8259.
    Json,
    /// RFC 8949.
    Cbor,
}

impl Format {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Json, Self::Cbor];

    /// The topic's level.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Cbor => "cbor",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// A topic on which a device asks. `Display` writes its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call<'t> {
    /// What is asked.
    pub topic: Topic<'t>,
    /// How the payload is written, and how the reply will be.
    pub format: Format,
}

impl<'t> Call<'t> {
    /// Reads the name of a topic that somebody publishes to. Names are plain text, compared byte by
    /// byte: MQTT knows no escapes, so nothing can hide behind one.
    pub fn parse(name: &'t str) -> Result<Self, TopicError> {
        let levels = name.strip_prefix("$aws/").ok_or(TopicError::NotReserved)?;
        let levels: Vec<&str> = levels.split('/').take(LEVELS + 1).collect();
        let (topic, format) = match *levels.as_slice() {
            ["certificates", "create", format] => (Topic::CreateKeys, format),
            ["certificates", "create-from-csr", format] => (Topic::CreateFromCsr, format),
            ["provisioning-templates", template, "provision", format] => {
                (Topic::Register { template }, format)
            }
            [.., "accepted" | "rejected"] => return Err(TopicError::Reply),
            _ => return Err(TopicError::Unknown),
        };
        let format = Format::from_name(format).ok_or(TopicError::Unknown)?;
        match topic {
            Topic::Register { template } if !is_template_name(template) => {
                Err(TopicError::TemplateName)
            }
            _ => Ok(Self { topic, format }),
        }
    }

    /// Every topic on which can be asked, for one template.
    pub fn all(template: &'t str) -> impl Iterator<Item = Self> {
        let topics = [
            Topic::CreateKeys,
            Topic::CreateFromCsr,
            Topic::Register { template },
        ];
        topics
            .into_iter()
            .flat_map(|topic| Format::ALL.map(|format| Self { topic, format }))
    }

    /// Where the answer goes when it is yes.
    #[must_use]
    pub fn accepted(&self) -> String {
        format!("{self}/accepted")
    }

    /// Where the answer goes when it is no.
    #[must_use]
    pub fn rejected(&self) -> String {
        format!("{self}/rejected")
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = self.format.name();
        match self.topic {
            Topic::CreateKeys => write!(f, "$aws/certificates/create/{format}"),
            Topic::CreateFromCsr => write!(f, "$aws/certificates/create-from-csr/{format}"),
            Topic::Register { template } => {
                write!(
                    f,
                    "$aws/provisioning-templates/{template}/provision/{format}"
                )
            }
        }
    }
}

/// The most levels behind `$aws/`, replies not counted.
const LEVELS: usize = 4;

/// Why nothing is asked on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// It doesn't begin with `$aws/`.
    #[error("only the reserved topics below $aws/ are served")]
    NotReserved,
    /// It is one that the server publishes to.
    #[error("this topic carries the server's replies; devices only subscribe to it")]
    Reply,
    /// It is reserved and not one of provisioning's.
    #[error("there is no such topic here")]
    Unknown,
    /// The template's name has another form.
    #[error("a template is named with 1 to 36 of letters, digits, - and _")]
    TemplateName,
}

/// Whether a template may be named so (`CreateProvisioningTemplate` in the vendor's API model).
pub(crate) fn is_template_name(name: &str) -> bool {
    (1..=36).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Who publishes to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The device asks.
    Ask,
    /// The server answers.
    Answer,
}

/// A topic that has a meaning here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReservedTopic {
    /// Its name.
    pub name: String,
    /// Who publishes to it; the other side alone may subscribe.
    pub direction: Direction,
}

/// Every topic that has a meaning here, for one template: whoever draws up who may do what can't
/// forget one.
#[must_use]
pub fn reserved(template: &str) -> Vec<ReservedTopic> {
    Call::all(template)
        .flat_map(|call| {
            [
                (call.to_string(), Direction::Ask),
                (call.accepted(), Direction::Answer),
                (call.rejected(), Direction::Answer),
            ]
        })
        .map(|(name, direction)| ReservedTopic { name, direction })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn topics_are_read_as_the_developer_guide_names_them() {
        let register = |template| Topic::Register { template };
        for (name, topic, format) in [
            (
                "$aws/certificates/create/json",
                Topic::CreateKeys,
                Format::Json,
            ),
            (
                "$aws/certificates/create/cbor",
                Topic::CreateKeys,
                Format::Cbor,
            ),
            (
                "$aws/certificates/create-from-csr/json",
                Topic::CreateFromCsr,
                Format::Json,
            ),
            (
                "$aws/certificates/create-from-csr/cbor",
                Topic::CreateFromCsr,
                Format::Cbor,
            ),
            (
                "$aws/provisioning-templates/t-1/provision/json",
                register("t-1"),
                Format::Json,
            ),
            (
                "$aws/provisioning-templates/T_2/provision/cbor",
                register("T_2"),
                Format::Cbor,
            ),
        ] {
            let call = Call { topic, format };
            assert_eq!(Call::parse(name), Ok(call), "{name}");
            assert_eq!(call.to_string(), name);
            assert_eq!(call.accepted(), format!("{name}/accepted"));
            assert_eq!(call.rejected(), format!("{name}/rejected"));
        }
    }

    #[test]
    fn nothing_is_asked_on_another_topic() {
        use TopicError::{NotReserved, Reply, TemplateName, Unknown};
        for (name, want) in [
            ("", NotReserved),
            ("telemetry", NotReserved),
            ("aws/certificates/create/json", NotReserved),
            ("$AWS/certificates/create/json", NotReserved),
            ("/$aws/certificates/create/json", NotReserved),
            ("$aws", NotReserved),
            ("$aws/", Unknown),
            ("$aws/things/a/shadow/get", Unknown),
            ("$aws/certificates/create", Unknown),
            ("$aws/certificates/create/JSON", Unknown),
            ("$aws/certificates/create/json/", Unknown),
            ("$aws/certificates/create/xml", Unknown),
            ("$aws/certificates/create/+", Unknown),
            ("$aws//create/json", Unknown),
            ("$aws/provisioning-templates/t/provision", Unknown),
            ("$aws/provisioning-templates/t/provision/json/x", Unknown),
            (
                "$aws/provisioning-templates/t/provision/json/x/accepted",
                Unknown,
            ),
            ("$aws/certificates/create/json/accepted", Reply),
            ("$aws/certificates/create-from-csr/cbor/rejected", Reply),
            (
                "$aws/provisioning-templates/t/provision/json/accepted",
                Reply,
            ),
            ("$aws/provisioning-templates//provision/json", TemplateName),
            (
                "$aws/provisioning-templates/a b/provision/json",
                TemplateName,
            ),
            ("$aws/provisioning-templates/+/provision/json", TemplateName),
            (
                "$aws/provisioning-templates/a%2fb/provision/json",
                TemplateName,
            ),
        ] {
            assert_eq!(Call::parse(name), Err(want), "{name}");
        }
        let long = |length| {
            format!(
                "$aws/provisioning-templates/{}/provision/json",
                "t".repeat(length)
            )
        };
        assert!(Call::parse(&long(36)).is_ok());
        assert_eq!(Call::parse(&long(37)), Err(TemplateName));
    }

    #[test]
    fn the_list_of_reserved_topics_is_whole() {
        let topics = reserved("t");
        let count = |direction| topics.iter().filter(|t| t.direction == direction).count();
        assert_eq!((count(Direction::Ask), count(Direction::Answer)), (6, 12));
        for topic in &topics {
            match topic.direction {
                Direction::Ask => assert!(Call::parse(&topic.name).is_ok(), "{}", topic.name),
                Direction::Answer => assert_eq!(Call::parse(&topic.name), Err(TopicError::Reply)),
            }
        }
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(template in "[0-9A-Za-z_-]{1,36}") {
            for call in Call::all(&template) {
                let name = call.to_string();
                prop_assert_eq!(Call::parse(&name), Ok(call));
            }
        }

        #[test]
        fn what_parses_prints_the_same(name in r"\$aws/[a-z+#/-]{0,60}") {
            if let Ok(call) = Call::parse(&name) {
                prop_assert_eq!(call.to_string(), name);
            }
        }
    }
}
