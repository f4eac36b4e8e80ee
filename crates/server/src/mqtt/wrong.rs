//! What is wrong with what a client sent, and how it is told: the one table for MQTT.

use imprint_registrar::refusal::{Class, Code, Refusal, Retry};
use mqtt_protocol_core::mqtt::packet::{Properties, ReasonString, UserProperty};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError,
};

/// Why a connection is closed from our side. MQTT 5 clients read it; the journal has a sample.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) refusal: Refusal,
    /// For a connection that stands.
    pub(super) reason: DisconnectReasonCode,
}

impl Wrong {
    pub(super) fn new(code: Code, reason: DisconnectReasonCode, detail: impl Into<String>) -> Self {
        Self {
            refusal: Refusal::new(code).detail(detail),
            reason,
        }
    }

    /// A packet that breaks the rules of its kind.
    pub(super) fn malformed(detail: &str) -> Self {
        let reason = DisconnectReasonCode::MalformedPacket;
        Self::new(Code::PacketUnreadable, reason, detail)
    }

    /// A packet that is well formed and in the wrong place.
    pub(super) fn unexpected(detail: impl Into<String>) -> Self {
        let reason = DisconnectReasonCode::ProtocolError;
        Self::new(Code::PacketUnexpected, reason, detail)
    }

    pub(super) fn unsupported(reason: DisconnectReasonCode, detail: &str) -> Self {
        Self::new(Code::MqttUnsupported, reason, detail)
    }

    /// What the codec complains about.
    pub(super) fn codec(error: MqttError) -> Self {
        let code = match error {
            MqttError::ProtocolError | MqttError::TopicAliasInvalid => Code::PacketUnexpected,
            MqttError::ReceiveMaximumExceeded => Code::MqttLimit,
            MqttError::PacketTooLarge => Code::PacketTooLarge,
            MqttError::UnsupportedProtocolVersion => Code::MqttUnsupported,
            _ => Code::PacketUnreadable,
        };
        let reason = match DisconnectReasonCode::from(error) {
            DisconnectReasonCode::UnspecifiedError => DisconnectReasonCode::MalformedPacket,
            reason => reason,
        };
        Self::new(code, reason, error.to_string())
    }
}

/// The return code of an MQTT 3.1.1 CONNACK.
pub(super) fn return_code(refusal: &Refusal) -> ConnectReturnCode {
    match refusal.code.class() {
        Class::Passing | Class::Waiting => ConnectReturnCode::ServerUnavailable,
        _ => ConnectReturnCode::NotAuthorized,
    }
}

/// The reason code of an MQTT 5 CONNACK.
pub(super) fn connect_reason(refusal: &Refusal) -> ConnectReasonCode {
    match (refusal.code, refusal.code.class()) {
        (Code::Busy, _) => ConnectReasonCode::ServerBusy,
        (_, Class::Passing | Class::Waiting) => ConnectReasonCode::ServerUnavailable,
        (Code::PacketUnreadable, _) => ConnectReasonCode::MalformedPacket,
        (Code::PacketUnexpected, _) => ConnectReasonCode::ProtocolError,
        (Code::PacketTooLarge, _) => ConnectReasonCode::PacketTooLarge,
        _ => ConnectReasonCode::NotAuthorized,
    }
}

/// What an MQTT 5 client reads beside the reason code: a sentence for people, and for machines the
/// same line that HTTP clients get in `Imprint-Refusal`.
pub(super) fn explanation(refusal: &Refusal) -> Properties {
    let code = refusal.code;
    let retry = match refusal.retry {
        Retry::After(seconds) => seconds.to_string(),
        Retry::Never => "never".to_owned(),
    };
    let line = format!("{code}; step={}; retry={retry}", code.step().name());
    let sentence = format!("{} {}", code.message(), code.hint());
    // Both are short text of ours: there is nothing in them that MQTT could not carry.
    let reason = ReasonString::new(sentence).map(Into::into);
    let note = UserProperty::new("Imprint-Refusal", line).map(Into::into);
    reason.into_iter().chain(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_can_be_told_and_keeps_the_operators_part_to_itself() {
        for &code in Code::ALL {
            let refusal = Refusal::new(code).detail("held by thermo-7");
            let told = format!("{:?}", explanation(&refusal));
            assert!(told.contains(code.as_str()), "{told}");
            assert!(!told.contains("thermo-7"), "{told}");
            let passing = matches!(code.class(), Class::Passing | Class::Waiting);
            assert_eq!(
                return_code(&refusal) == ConnectReturnCode::ServerUnavailable,
                passing,
                "{code}"
            );
        }
    }
}
