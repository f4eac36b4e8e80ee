//! Imprint's own routes for devices: the time, the connection profile, VERIFY, and a device's word
//! about its own trouble.
//!
//! ```text
//! GET  /v1/time      anybody             {"time","unix"}
//! GET  /v1/profile   certificate, token  {"device","product","endpoint","topic_prefix","groups",
//!                                         "attributes","quarantine","renew_after","server_time"}
//! GET  /v1/verify    certificate         {"id","product","hardware","state","step","serial",
//!                                         "not_after","server_time"}
//! POST /v1/tpm/...   a TPM               see `tpm.rs`
//! POST /v1/report    certificate, token  {"step","code","attempts"}, at most 1 KiB; answers 204
//! ```
//!
//! Moments are seconds since 1970. `renew_after` is null when the certificate has no end or the
//! device has none; `device` is null before the first enrollment.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use imprint_est::{HttpReply, Reply};
use imprint_identity::{DeviceId, Step, UnixTime};
use imprint_registrar::claims::Arrival;
use imprint_registrar::enroll::Shown;
use imprint_registrar::ledger::{CertificateRecord, Report};
use imprint_registrar::product::{Product, QuarantineRule, fill};
use imprint_registrar::refusal::{Code, Refusal};
use imprint_registrar::verify::{Holder, Member};
use imprint_registrar::{Ledger, Signer};
use serde::{Deserialize, Serialize};

use crate::devices::{Asked, Devices};
use crate::limits::REPORT;
use crate::listener::Peer;

impl<L: Ledger, S: Signer> Devices<L, S> {
    /// Answers one request below `/v1/`.
    pub(crate) async fn device(&self, asked: &Asked, peer: &Peer) -> HttpReply {
        let now = self.world.now();
        let path = asked.head.uri.path();
        let Some((allowed, path)) = ROUTES.into_iter().find(|(_, known)| *known == path) else {
            self.seen(asked, peer, now).await;
            return said(404, "not-found", "There is no such resource.", asked);
        };
        if asked.head.method.as_str() != allowed {
            self.seen(asked, peer, now).await;
            let text = format!("This resource takes {allowed} only.");
            let mut reply = said(405, "method-not-allowed", &text, asked);
            reply.headers.push(("Allow", allowed.to_owned()));
            return reply;
        }
        let answer = match path {
            "/v1/time" => self.time(asked, peer, now).await,
            "/v1/profile" => self.profile(asked, peer, now).await,
            "/v1/verify" => self.verify(asked, peer, now).await,
            "/v1/tpm/challenge" => self.tpm_challenge(asked, now).await,
            "/v1/tpm/enroll" => Box::pin(self.tpm_enroll(asked, peer, now)).await,
            _ => self.report(asked, peer, now).await,
        };
        answer.unwrap_or_else(|refusal| self.refuse(refusal).encode(asked.line_style()))
    }

    async fn time(&self, asked: &Asked, peer: &Peer, now: UnixTime) -> Result<HttpReply, Refusal> {
        self.seen(asked, peer, now).await;
        Ok(json(&Time {
            time: now.to_string(),
            unix: now.0,
        }))
    }

    async fn profile(
        &self,
        asked: &Asked,
        peer: &Peer,
        now: UnixTime,
    ) -> Result<HttpReply, Refusal> {
        let (device, product, certificate) = match self.caller(asked, peer, now).await? {
            Caller::Member(member) => (
                Some(member.device.id),
                member.product,
                Some(member.certificate),
            ),
            Caller::Holder(holder) => {
                let certificate = self.newest_certificate(&holder).await?;
                (
                    holder.device.map(|device| device.id),
                    holder.product,
                    certificate,
                )
            }
        };
        let name = device.as_ref().map(DeviceId::as_str);
        Ok(json(&Profile::of(
            name,
            &product,
            certificate.as_ref(),
            now,
        )))
    }

    /// The device's own record. There is no other way in than its certificate: to be asked this is
    /// what VERIFY means.
    async fn verify(
        &self,
        asked: &Asked,
        peer: &Peer,
        now: UnixTime,
    ) -> Result<HttpReply, Refusal> {
        let certificate = peer.certificate.as_ref().ok_or(Code::CredentialMissing)?;
        let name = peer.server_name.as_deref();
        let arrived = self
            .registrar
            .arrive(certificate, &peer.chain, name, &asked.origin, now);
        let member = match arrived.await? {
            Arrival::Member(member) => *member,
            // The first connection of a device with a registered CA's certificate.
            Arrival::Newcomer(newcomer) => {
                self.provision.newcomer(&newcomer, &asked.origin).await?
            }
            // For the word that the registrar has for it, and its note.
            Arrival::Claim(_) => {
                self.registrar
                    .member(certificate, &asked.origin, now)
                    .await?
            }
        };
        Ok(json(&Verified {
            id: member.device.id.as_str(),
            product: &member.product.name,
            hardware: member.device.hardware.text().as_str(),
            state: member.device.state.as_str(),
            step: member.device.step.name(),
            serial: member.certificate.serial.to_string(),
            not_after: member.certificate.not_after.0,
            server_time: now.0,
        }))
    }

    async fn report(
        &self,
        asked: &Asked,
        peer: &Peer,
        now: UnixTime,
    ) -> Result<HttpReply, Refusal> {
        // Who speaks comes first: a stranger learns nothing about what a report looks like.
        // And what it showed is counted, not what it calls itself: a token has names without end.
        let (subject, shown) = match self.caller(asked, peer, now).await? {
            Caller::Member(member) => {
                let name = member.device.id.as_str().to_owned();
                (name.clone(), name)
            }
            Caller::Holder(holder) => match &holder.device {
                Some(device) => (device.id.as_str().to_owned(), holder.token_id),
                None => (holder.hardware.text().as_str().to_owned(), holder.token_id),
            },
        };
        let said = Said::parse(&asked.body).map_err(|why| {
            Refusal::new(Code::ReportUnreadable)
                .detail(why)
                .about(subject.as_str())
        })?;
        {
            let mut rate = self
                .report_rate
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Err(seconds) = rate.check(&shown, now) {
                return Err(Refusal::new(Code::Busy).about(subject).after(seconds));
            }
        }
        let report = Report {
            subject,
            at: now,
            step: said.step,
            code: said.code,
            attempts: said.attempts,
            address: asked.origin.address.clone(),
        };
        self.registrar.report(report, now).await?;
        Ok(HttpReply {
            status: 204,
            headers: vec![("Content-Length", "0".to_owned())],
            body: Vec::new(),
        })
    }

    async fn caller(&self, asked: &Asked, peer: &Peer, now: UnixTime) -> Result<Caller, Refusal> {
        match asked.shown(peer)? {
            Shown::Token { text, hardware } => {
                self.seen(asked, peer, now).await;
                let (registrar, origin) = (&self.registrar, &asked.origin);
                let holder = registrar
                    .token_holder(&text, hardware.as_deref(), origin, now)
                    .await?;
                Ok(Caller::Holder(Box::new(holder)))
            }
            Shown::Certificate(shown) => {
                let member = self.registrar.member(&shown, &asked.origin, now).await?;
                Ok(Caller::Member(Box::new(member)))
            }
            Shown::Nothing | Shown::Operator { .. } | Shown::Vouched(_) => {
                Err(Code::CredentialMissing.into())
            }
        }
    }

    /// The certificate that the holder's key was given and has not used yet.
    async fn newest_certificate(
        &self,
        holder: &Holder,
    ) -> Result<Option<CertificateRecord>, Refusal> {
        let Some(device) = &holder.device else {
            return Ok(None);
        };
        let file = self
            .registrar
            .ledger()
            .device_get(device.id.as_str())
            .await?;
        let certificates = file.map(|file| file.certificates).unwrap_or_default();
        Ok(certificates.into_iter().find(|certificate| {
            certificate.state.is_live()
                && holder.key.is_none_or(|key| key == certificate.request_key)
        }))
    }
}

/// Every route below `/v1/`, with the method that it takes.
pub(crate) const ROUTES: [(&str, &str); 6] = [
    ("GET", "/v1/time"),
    ("GET", "/v1/profile"),
    ("GET", "/v1/verify"),
    ("POST", "/v1/report"),
    ("POST", "/v1/tpm/challenge"),
    ("POST", "/v1/tpm/enroll"),
];

/// Who asks.
enum Caller {
    /// A device, by its certificate.
    Member(Box<Member>),
    /// A device that has a token and has not used its certificate yet.
    Holder(Box<Holder>),
}

#[derive(Serialize)]
struct Time {
    time: String,
    unix: i64,
}

#[derive(Serialize)]
struct Profile<'a> {
    device: Option<&'a str>,
    product: &'a str,
    endpoint: String,
    topic_prefix: String,
    /// What the product gives each of its devices; a template may have given this one more.
    groups: &'a [String],
    attributes: &'a BTreeMap<String, String>,
    quarantine: &'static str,
    renew_after: Option<i64>,
    server_time: i64,
}

impl<'a> Profile<'a> {
    fn of(
        device: Option<&'a str>,
        product: &'a Product,
        certificate: Option<&CertificateRecord>,
        now: UnixTime,
    ) -> Self {
        let filled =
            |template: &str| fill(template, device.unwrap_or_default(), product.name.as_str());
        let connection = &product.connection;
        Self {
            device,
            product: &product.name,
            endpoint: filled(&connection.endpoint),
            topic_prefix: filled(&connection.topic_prefix),
            groups: &product.groups,
            attributes: &product.attributes,
            quarantine: match product.quarantine {
                QuarantineRule::Default => "default",
                QuarantineRule::Strict => "strict",
            },
            renew_after: certificate.and_then(renew_after),
            server_time: now.0,
        }
    }
}

/// Two thirds of the way through the certificate's life.
fn renew_after(certificate: &CertificateRecord) -> Option<i64> {
    let life = certificate.not_after.since(certificate.not_before);
    (certificate.not_after != UnixTime::NO_EXPIRY)
        .then(|| certificate.not_before.plus(life / 3 * 2).0)
}

#[derive(Serialize)]
struct Verified<'a> {
    id: &'a str,
    product: &'a str,
    hardware: &'a str,
    state: &'static str,
    step: &'static str,
    serial: String,
    not_after: i64,
    server_time: i64,
}

/// What a device says about its own trouble.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    step: Step,
    code: String,
    attempts: u32,
}

impl Said {
    /// Reads a report. Words and a number: there is no room for prose, or for what a stolen token
    /// would like an operator to read.
    fn parse(body: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire {
            step: String,
            code: String,
            attempts: u32,
        }
        if body.len() > REPORT {
            return Err(format!("it has more than {REPORT} bytes"));
        }
        let wire: Wire = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let step = wire
            .step
            .parse()
            .map_err(|()| "there is no such step".to_owned())?;
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !(1..=64).contains(&wire.code.len()) || !wire.code.bytes().all(letter) {
            return Err("a code has 1 to 64 letters, digits, '-' and '_'".to_owned());
        }
        Ok(Self {
            step,
            code: wire.code,
            attempts: wire.attempts,
        })
    }
}

pub(crate) fn json(value: &impl Serialize) -> HttpReply {
    // Strings, numbers and lists of them: there is nothing in these shapes that could fail.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let headers = vec![
        ("Content-Type", "application/json".to_owned()),
        ("Content-Length", body.len().to_string()),
    ];
    HttpReply {
        status: 200,
        headers,
        body,
    }
}

fn said(status: u16, code: &'static str, text: &str, asked: &Asked) -> HttpReply {
    let reply = Reply::Refused {
        status,
        retry_after: None,
        code,
        step: Step::Bootstrap.name(),
        text: text.to_owned(),
    };
    reply.encode(asked.line_style())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_two_words_and_a_number() {
        let rows: &[(&str, bool)] = &[
            (
                r#"{"step":"ENROLL","code":"token-leased","attempts":3}"#,
                true,
            ),
            (
                r#"{"step":"VERIFY","code":"CERT_NOT_IN_REGISTRY","attempts":0}"#,
                true,
            ),
            (r#"{"step":"enroll","code":"x","attempts":0}"#, false),
            (r#"{"step":"ENROLL","code":"","attempts":0}"#, false),
            (
                r#"{"step":"ENROLL","code":"call me at","attempts":0}"#,
                false,
            ),
            (r#"{"step":"ENROLL","code":"<b>","attempts":0}"#, false),
            (r#"{"step":"ENROLL","code":"x","attempts":-1}"#, false),
            (r#"{"step":"ENROLL","code":"x"}"#, false),
            (
                r#"{"step":"ENROLL","code":"x","attempts":0,"log":"..."}"#,
                false,
            ),
            ("[]", false),
            ("", false),
        ];
        for (body, good) in rows {
            assert_eq!(Said::parse(body.as_bytes()).is_ok(), *good, "{body}");
        }
        let padded = format!(
            r#"{{"step":"ENROLL","code":"x","attempts":0}}{}"#,
            " ".repeat(990)
        );
        assert!(padded.len() > REPORT && Said::parse(padded.as_bytes()).is_err());
    }
}
