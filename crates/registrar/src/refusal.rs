//! The closed catalogue of refusals: what, at which step, why, whether to ask again, what to do.

use std::fmt;

use imprint_identity::Step;

/// Why the road says no. The device gets code, step, retry and the public message; the operator
/// gets the detail as well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {}", self.detail.as_deref().unwrap_or(code.message()))]
pub struct Refusal {
    /// Which one of the catalogue.
    pub code: Code,
    /// When the device may ask again.
    pub retry: Retry,
    /// What only the operator may read: who holds the token and since when, and the like.
    pub detail: Option<String>,
    /// Whom it concerns, when that is known: a device's name or a hardware id. The key under which
    /// `imprint why` finds it.
    pub subject: Option<String>,
    /// What was shown: a token's public name or a certificate's serial number.
    pub credential: Option<String>,
    /// For `rate-limited`: milliseconds until this asker's turn. A door may keep it waiting for so
    /// long, and ask the road again.
    pub turn: Option<u64>,
}

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The cause passes: after so many seconds.
    After(u32),
    /// The same question will always get this answer; a person has to do something.
    Never,
}

/// Whose fault it is, and so how a protocol says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// No credential, or one that we have never heard of (HTTP 401).
    Credential,
    /// Known, and the answer is no (HTTP 403).
    Denied,
    /// The request itself is wrong (HTTP 400).
    Request,
    /// There is no such thing here (HTTP 404).
    Absent,
    /// Not now (HTTP 503 with Retry-After).
    Passing,
    /// A person has to approve first (EST: 202 with Retry-After).
    Waiting,
}

macro_rules! catalogue {
    ($($variant:ident $code:literal $class:ident $retry:expr, $step:ident, $message:literal, $hint:literal;)*) => {
        /// The codes. Stable: devices, scripts and dashboards compare them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $message] $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for machines.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Whose fault it is.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }

            /// When the device may ask again, unless the refusal knows better.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$variant => $retry,)* }
            }

            /// The step at which the device stands.
            #[must_use]
            pub const fn step(self) -> Step {
                match self { $(Self::$variant => Step::$step,)* }
            }

            /// What happened, in one sentence that strangers may read.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }

            /// What a person does next.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)* }
            }
        }
    };
}

const NEVER: Retry = Retry::Never;
const SOON: Retry = Retry::After(30);
const SLOWLY: Retry = Retry::After(3_600);

catalogue! {
    CredentialMissing "credential-missing" Credential NEVER, Enroll,
        "No credential was shown.",
        "Show a token (HTTP Basic: user = hardware id, password = token) or the device's certificate.";
    TokenMistyped "token-mistyped" Credential NEVER, Enroll,
        "The token is mistyped: it has the wrong length or its checksum does not fit.",
        "Type the token again, all six groups.";
    TokenUnknown "token-unknown" Credential NEVER, Enroll,
        "The token is not on record here.",
        "Check that the token was made by this server; make one with `imprint token new`.";
    TokenForOther "token-for-other" Denied NEVER, Enroll,
        "The token is bound to other hardware.",
        "Use the token that was made for this device, or make one with `imprint token new --hardware`.";
    TokenDormant "token-dormant" Passing SLOWLY, Enroll,
        "The token has not been armed yet.",
        "Arm it with `imprint token arm`.";
    TokenExpired "token-expired" Denied NEVER, Enroll,
        "The token expired before it was used.",
        "Make a new one with `imprint token new`.";
    TokenRevoked "token-revoked" Denied NEVER, Enroll,
        "The token has been revoked.",
        "Make a new one with `imprint token new` if this device should join.";
    TokenLeased "token-leased" Denied SLOWLY, Enroll,
        "The token is leased to another key.",
        "See who holds it with `imprint token show`; if that is the wrong one, `imprint token rebind`.";
    TokenSpent "token-spent" Denied NEVER, Enroll,
        "The token has been spent by another key.",
        "Make a new token bound to this hardware; if somebody else took it, `imprint token rebind`.";
    HardwareMissing "hardware-missing" Denied NEVER, Enroll,
        "Neither the device nor the token names a hardware id.",
        "Send the hardware id as the user name, or bind the token with `--hardware`.";
    HardwareInvalid "hardware-invalid" Request NEVER, Enroll,
        "The hardware id can't be read.",
        "Write it as source:value, as in stm32:... or custom:SN-1.";
    HardwareNotAllowed "hardware-not-allowed" Denied NEVER, Enroll,
        "This hardware is not on the product's allowlist.",
        "If it belongs to you, `imprint allow add --product P ID`; if not, somebody overbuilds.";
    IdentityTooWeak "identity-too-weak" Denied NEVER, Enroll,
        "The product wants a stronger proof of hardware identity.",
        "Enroll through a door that proves the hardware, or lower `minimum_strength`.";
    HardwareUnfit "hardware-unfit" Denied NEVER, Enroll,
        "The hardware id does not look like one of this product's.",
        "Compare it with the label; if it is right, mend `serial_pattern` in the product.";
    DoorClosed "door-closed" Denied SLOWLY, Enroll,
        "The product takes no new devices in by this door.",
        "Enroll through a door that is open, or add this one to `doors` in the product.";
    ProductUnknown "product-unknown" Absent NEVER, Enroll,
        "There is no such product here.",
        "Check the path's label; products come from `imprint apply`.";
    ProductMismatch "product-mismatch" Denied NEVER, Enroll,
        "The credential belongs to another product.",
        "Use the product's own path and credential.";
    DeviceExists "device-exists" Denied NEVER, Enroll,
        "A device with this hardware id is registered already.",
        "If it lost its key, `imprint device release`, or make a token bound to its hardware id.";
    DeviceQuarantined "device-quarantined" Denied SLOWLY, Verify,
        "The device has been put in quarantine.",
        "Find out why it was put there; `imprint device release` lets it in again.";
    DeviceRevoked "device-revoked" Denied NEVER, Verify,
        "The device has been revoked.",
        "`imprint device release` lets it enroll again with a new credential.";
    DeviceDecommissioned "device-decommissioned" Denied NEVER, Verify,
        "The device has been decommissioned.",
        "A decommissioned device stays out; `imprint device release` undoes it.";
    NameTaken "name-taken" Denied NEVER, Enroll,
        "Another device has the name that this one would get.",
        "Change the product's naming rule or the custom hardware id, so that names differ.";
    KeyInUse "key-in-use" Denied NEVER, Enroll,
        "This public key belongs to another device.",
        "Keys are never shared: look for cloned flash or a broken random generator.";
    KeyNotAccepted "key-not-accepted" Request NEVER, Enroll,
        "The product does not accept this type of key.",
        "Use a key type from the product's `keys`.";
    KeyUnsound "key-unsound" Request NEVER, Enroll,
        "The public key is weak or malformed.",
        "Make a new key with a sound random generator: P-256, P-384, Ed25519 or RSA 2048 to 4096.";
    CsrUnreadable "csr-unreadable" Request NEVER, Enroll,
        "The certification request can't be read.",
        "Send one PKCS#10 request in DER, as base64.";
    PossessionUnproven "possession-unproven" Request NEVER, Enroll,
        "The request's signature does not prove possession of its key.",
        "Sign the request with the private key that belongs to it.";
    SubjectDiffers "subject-differs" Request NEVER, Enroll,
        "The request names another subject than the certificate being renewed.",
        "Repeat the subject of the certificate (RFC 7030 section 4.2.2).";
    NamesDiffer "names-differ" Request NEVER, Enroll,
        "The request names other subject alternative names than the certificate being renewed.",
        "Repeat the names of the certificate, or send none.";
    ChannelBindingUnsupported "channel-binding-unsupported" Request NEVER, Enroll,
        "The request carries a channel binding that can't be checked on TLS 1.2.",
        "Use TLS 1.3, leave challengePassword out, or set the product's channel_binding to \"ignore\".";
    ChannelBindingMismatch "channel-binding-mismatch" Denied NEVER, Enroll,
        "The request's channel binding is not that of this connection.",
        "Make the request anew on each connection; otherwise somebody stands in between.";
    CertificateMissing "certificate-missing" Credential NEVER, Enroll,
        "Renewal needs the present certificate in TLS.",
        "Show the certificate that is to be renewed as the TLS client certificate.";
    CertificateUnreadable "certificate-unreadable" Denied NEVER, Verify,
        "The client certificate can't be read.",
        "Show an X.509 v3 certificate.";
    CertificateIssuerUnknown "certificate-issuer-unknown" Denied NEVER, Verify,
        "The client certificate is not from an authority of ours.",
        "Check which server the device belongs to.";
    CertificateExpired "certificate-expired" Denied NEVER, Verify,
        "The client certificate has expired.",
        "Enroll again: `imprint device release`, then a token for its hardware id.";
    CertificateNotYetValid "certificate-not-yet-valid" Passing SLOWLY, Verify,
        "The client certificate is not valid yet.",
        "One of the clocks is wrong; check the server's first.";
    CertNotInRegistry "CERT_NOT_IN_REGISTRY" Denied NEVER, Verify,
        "The client certificate is ours, but the registry does not know it.",
        "Put it on record with `imprint device adopt CERT`, if you know where it comes from.";
    CertificateSuperseded "certificate-superseded" Denied NEVER, Verify,
        "The certificate has been replaced by a newer one that is in use.",
        "Use the newer certificate; if the device lost it, `imprint device release`.";
    CertificateRevoked "certificate-revoked" Denied NEVER, Verify,
        "The certificate has been revoked.",
        "See `imprint why`; `imprint device release` lets the device enroll again.";
    ApprovalPending "approval-pending" Waiting Retry::After(60), Enroll,
        "An operator has to approve this device.",
        "`imprint device approve`.";
    ServerKeygenOff "server-keygen-off" Denied NEVER, Enroll,
        "This product's devices make their own keys.",
        "Make the key on the device; `server_keygen = true` in the product allows the other way.";
    ServerKeyGone "server-key-gone" Denied NEVER, Enroll,
        "The key that the server made has been wiped.",
        "`imprint device release`, then enroll with a new request key.";
    EnrollmentVoid "enrollment-void" Passing SOON, Enroll,
        "An operator has just voided this enrollment.",
        "Ask again; `imprint token show` tells what happened.";
    GuessingLimited "guessing-limited" Passing Retry::After(60), Enroll,
        "Too many wrong credentials came from here.",
        "Wait; if a factory shares this address, check for a station with old tokens.";
    ProfileUnsound "profile-unsound" Passing SLOWLY, Enroll,
        "The product's certificate profile would make an unsound certificate.",
        "Read the server's log and mend the product in the fleet file.";
    IssuerEnding "issuer-ending" Passing SLOWLY, Enroll,
        "The issuing authority can't sign: it is past its end or its time has not come.",
        "Check the server's clock and the issuing authority's validity.";
    LedgerUnavailable "ledger-unavailable" Passing SOON, Enroll,
        "The registry can't be reached.",
        "Look at the server's disk and log; devices go on by themselves.";
    SignerUnavailable "signer-unavailable" Passing SOON, Enroll,
        "The signing key can't be reached.",
        "Look at the server's log and the key's device; devices go on by themselves.";
    Busy "busy" Passing Retry::After(5), Enroll,
        "The server has too much to do.",
        "Nothing; devices come back by themselves.";
    RateLimited "rate-limited" Passing Retry::After(1), Enroll,
        "More devices ask to join than the fleet lets in at once.",
        "Nothing; each device is told when its turn comes. `limits` in the product sets the pace.";
    PacketUnreadable "packet-unreadable" Request NEVER, Bootstrap,
        "The MQTT packet can't be read.",
        "Speak MQTT 3.1.1 or 5; the server's log says what was wrong with the packet.";
    PacketTooLarge "packet-too-large" Request NEVER, Bootstrap,
        "The MQTT packet is larger than this server takes.",
        "Send less; MQTT 5 clients are told the maximum packet size when they connect.";
    PacketUnexpected "packet-unexpected" Request NEVER, Bootstrap,
        "The MQTT packet has no place here.",
        "Begin with one CONNECT; publish, subscribe and ping afterwards.";
    MqttUnsupported "mqtt-unsupported" Request NEVER, Bootstrap,
        "This server is no broker: it retains and shares nothing, and delivers nothing exactly once.",
        "Publish with QoS 0 or 1 and without the retain flag.";
    MqttLimit "mqtt-limit" Request NEVER, Bootstrap,
        "Too many requests came on one connection before the first was answered.",
        "Wait for each answer before asking the next.";
    MqttSilent "mqtt-silent" Passing SOON, Bootstrap,
        "The connection was silent for longer than its keep-alive.",
        "Send a ping in time, and read what the server sends.";
    TopicForbidden "topic-forbidden" Denied NEVER, Bootstrap,
        "Nothing may be published to this topic here.",
        "This server is no broker: publish to the provisioning topics and to nothing else.";
    ClaimOnlyProvisions "claim-only-provisions" Denied NEVER, Bootstrap,
        "This is a claim certificate: it provisions devices and does nothing else.",
        "Use it for the provisioning calls alone, then connect with the certificate that they give.";
    CertificatePending "certificate-pending" Denied NEVER, Register,
        "This certificate waits for its device to be registered and is good for nothing before.",
        "Register the thing with its ownership token, over the connection by the claim certificate.";
    ClaimUnknown "claim-unknown" Denied NEVER, Bootstrap,
        "There is no such claim here.",
        "See `imprint claim list`.";
    ClaimFrozen "claim-frozen" Denied SLOWLY, Bootstrap,
        "The claim has been frozen.",
        "See why with `imprint claim list`; thaw it there when nothing is wrong, else revoke it.";
    ClaimRevoked "claim-revoked" Denied NEVER, Bootstrap,
        "The claim, or this certificate of it, has been revoked.",
        "Give the device another bootstrap credential; devices provisioned before are not touched.";
    ClaimExpired "claim-expired" Denied NEVER, Bootstrap,
        "The claim certificate has expired.",
        "Allow for shelf time with `bootstrap_grace_days`, or give the device another credential.";
    ClaimUsedUp "claim-used-up" Denied SLOWLY, Register,
        "The claim has registered as many devices as it may.",
        "If more belong to you, raise its `limits.total`.";
    ClaimLimited "claim-limited" Passing Retry::After(60), Register,
        "The claim is used too fast.",
        "Nothing; devices come back by themselves. Its rate is `limits.per_minute`.";
    TemplateUnknown "template-unknown" Absent NEVER, Register,
        "There is no such provisioning template here.",
        "Check the topic's template name; templates come from `imprint apply`.";
    TemplateDisabled "template-disabled" Passing SLOWLY, Register,
        "The provisioning template is not enabled.",
        "Set `enabled = true` in the fleet file.";
    TemplateNotAllowed "template-not-allowed" Denied NEVER, Register,
        "The claim may not use this provisioning template.",
        "Add the template to the claim's `templates`, or use a template of its product.";
    OwnershipInvalid "ownership-invalid" Request NEVER, Register,
        "The certificate ownership token is not one that this claim was given, or has expired.",
        "Ask for a certificate again and use the token that comes with it.";
    OwnershipUsed "ownership-used" Denied NEVER, Register,
        "The certificate ownership token has registered another device or thing.",
        "Ask for a certificate on a new key; a token registers one thing.";
    ThingInvalid "thing-invalid" Request NEVER, Register,
        "The template makes a thing that the registry can't hold.",
        "Check the template and the device's parameters against the limits of names and attributes.";
    ThingDiffers "thing-differs" Denied NEVER, Register,
        "The thing is there already and differs from what the template says.",
        "Mend the thing or the parameters, or say what wins in the template's OverrideSettings.";
    ThingTaken "thing-taken" Denied NEVER, Register,
        "Another device is the thing of this name.",
        "Let the template name things by what tells devices apart, such as the serial number.";
    CaNotRegistered "CA_NOT_REGISTERED" Denied NEVER, Verify,
        "The client certificate is from a CA that is not registered here.",
        "Register the CA that issued it, or check which server the device belongs to.";
    CaDoesNotRegister "ca-does-not-register" Denied SLOWLY, Register,
        "The CA is registered, and does not take new devices in by itself.",
        "Set its `active` and `auto` in the fleet file.";
    SniMissing "sni-missing" Denied NEVER, Verify,
        "The CA's devices have to name this server in TLS, and this one did not.",
        "Let the device connect by a host name that the server's certificate has (SNI), or prove \
         possession of the CA's key.";
    PayloadUnreadable "payload-unreadable" Request NEVER, Register,
        "The message can't be read.",
        "Send what the topic's documentation says, in the format that the topic's last word names.";
    OwnershipMissing "ownership-missing" Request NEVER, Register,
        "The certificate ownership token is missing.",
        "Send the token that came with the certificate.";
    ParameterMissing "parameter-missing" Request NEVER, Register,
        "The template needs a parameter that the device did not send.",
        "Send it, or give it a default in the template.";
    ParametersInvalid "parameters-invalid" Request NEVER, Register,
        "The device's parameters don't fit the template.",
        "Check names and values against the template and the registry's limits.";
    TemplateInvalid "template-invalid" Passing SLOWLY, Register,
        "The provisioning template can't be used.",
        "Read the server's log and mend the template in the fleet file.";
    RegistryMissing "registry-missing" Passing SLOWLY, Register,
        "The template names a group, a type or a policy that the fleet does not have.",
        "Add it to the fleet file, or set `create_missing = true` in the template.";
    HookRefused "hook-refused" Denied NEVER, Register,
        "The provisioning hook said no.",
        "Ask whoever runs the hook; it decides for each device.";
    HookFailed "hook-failed" Passing SOON, Register,
        "The provisioning hook did not answer.",
        "Look at the hook's own log; it has five seconds to answer with status 200.";
    HookReplyUnreadable "hook-reply-unreadable" Passing SLOWLY, Register,
        "The provisioning hook's answer can't be read.",
        "Let the hook answer {\"allowProvisioning\": true} or false, and nothing but texts to override.";
    ScopeUnknown "scope-unknown" Absent NEVER, Bootstrap,
        "There is no such id scope here.",
        "Give the device the id scope that `imprint status` names.";
    UserNameUnreadable "user-name-unreadable" Credential NEVER, Bootstrap,
        "The MQTT user name can't be read.",
        "Let the vendor's SDK make it: `<idScope>/registrations/<registrationId>/api-version=...`.";
    SignatureUnreadable "signature-unreadable" Credential NEVER, Bootstrap,
        "The shared access signature can't be read.",
        "Let the vendor's SDK make it: `SharedAccessSignature sr=...&sig=...&se=...`.";
    SignatureExpired "signature-expired" Credential SOON, Bootstrap,
        "The shared access signature has expired.",
        "Check the device's clock; its SDK signs for an hour.";
    EntryUnknown "entry-unknown" Credential NEVER, Bootstrap,
        "No entry here is this device's.",
        "Compare registration id and key with the entries of `imprint entry list`.";
    EntryProofWrong "entry-proof-wrong" Credential NEVER, Bootstrap,
        "What the device shows is not what its entry names.",
        "Give the device its entry's key or certificate; a group's own key is never used as it is.";
    EntryDisabled "entry-disabled" Denied SLOWLY, Register,
        "The device's entry is disabled.",
        "`imprint entry enable` lets its devices in again.";
    TpmUnreadable "tpm-unreadable" Request NEVER, Bootstrap,
        "The TPM's keys can't be read.",
        "Send the TPM2B_PUBLIC structures of RSA-2048, P-256 or P-384 keys.";
    TpmOther "tpm-other" Credential NEVER, Bootstrap,
        "This is another TPM than the device's entry names.",
        "Compare the endorsement key with the entry's: a new board or a new TPM needs a new entry.";
    TpmKeyUnsound "tpm-key-unsound" Denied NEVER, Bootstrap,
        "The TPM's key does not have the attributes of its role, so that software may have made it.",
        "Make the keys in the TPM by the TCG's templates: fixed there, and restricted to their role.";
    TpmAnswerLate "tpm-answer-late" Credential SOON, Bootstrap,
        "The answer to the TPM's challenge came too late.",
        "Let the device begin again: it gets a new challenge, which is good for five minutes.";
    TpmUnknown "tpm-unknown" Denied NEVER, Enroll,
        "Nobody vouches for this TPM: neither the product's allowlist nor a maker that it names.",
        "`imprint allow add --product P tpm-ek:...`, or its maker's authority in the product's `tpm_makers`.";
    TpmAnswerWrong "tpm-answer-wrong" Credential NEVER, Enroll,
        "This is not what was sealed for the TPM: the attestation key is not in the TPM with this endorsement key.",
        "Activate the credential with the keys that it was asked for, in one TPM.";
    TpmNonceWrong "tpm-nonce-wrong" Denied SOON, Enroll,
        "The TPM's statement is about another nonce than the one that it was given.",
        "Let the device certify its key anew, over the nonce of this challenge.";
    TpmStatementWrong "tpm-statement-wrong" Denied NEVER, Enroll,
        "The TPM's statement is none, or not signed by the attestation key.",
        "Send what TPM2_Certify gave, unchanged; otherwise somebody makes statements up.";
    TpmKeyOther "tpm-key-other" Denied NEVER, Enroll,
        "The key that is to be certified is not the one that the TPM speaks of.",
        "Make the request with the key in the TPM; a key in software is not one.";
    RegistrationOther "registration-other" Denied NEVER, Register,
        "The registration id is not the one that the certificate or the request names.",
        "Use one registration id in the user name or path, in the message and as the certificate's CN.";
    RegistrationEnded "registration-ended" Denied NEVER, Verify,
        "The device's registration has ended.",
        "Let the device register again; `imprint why` says what ended it.";
    OperationUnknown "operation-unknown" Absent NEVER, Register,
        "There is no such registration operation.",
        "Let the device register again.";
    ReportUnreadable "report-unreadable" Request NEVER, Enroll,
        "The report can't be read.",
        "Send JSON of at most 1 KiB with the documented codes.";
}

impl Code {
    /// The code that this word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == word)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Refusal {
    /// The refusal as the catalogue has it.
    #[must_use]
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            retry: code.retry(),
            detail: None,
            subject: None,
            credential: None,
            turn: None,
        }
    }

    /// With what the operator should know.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With whom it concerns.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// With what was shown, unless that is said already.
    #[must_use]
    pub fn showing(mut self, credential: Option<String>) -> Self {
        self.credential = self.credential.or(credential);
        self
    }

    /// Asking again after so many seconds.
    #[must_use]
    pub const fn after(mut self, seconds: u32) -> Self {
        self.retry = Retry::After(seconds);
        self
    }
}

impl Refusal {
    /// It is not this asker's turn for so many milliseconds. Told in whole seconds, it comes back a
    /// little early and is kept at the door for the rest.
    #[must_use]
    pub fn turn(milliseconds: u64) -> Self {
        let seconds = u32::try_from(milliseconds / 1_000).unwrap_or(u32::MAX);
        Self {
            turn: Some(milliseconds),
            ..Self::new(Code::RateLimited).after(seconds.max(1))
        }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_its_own_word_and_says_what_to_do() {
        let mut seen = BTreeSet::new();
        for &code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} stands twice");
            assert_eq!(Code::from_word(code.as_str()), Some(code));
            assert!(code.message().ends_with('.'), "{code}: {}", code.message());
            assert!(code.hint().ends_with('.'), "{code}: {}", code.hint());
        }
    }

    #[test]
    fn no_final_answer_to_a_passing_cause() {
        for &code in Code::ALL {
            let passing = matches!(code.class(), Class::Passing | Class::Waiting);
            assert!(!passing || code.retry() != Retry::Never, "{code}");
        }
    }
}
