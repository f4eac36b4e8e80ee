//! The door for devices that were written down before they came, with a key that the server has too:
//! Azure's DPS, over HTTPS, with a certification request.
//!
//! ```text
//! ENROLL            PUT /<idScope>/registrations/<id>/register    a signature by the shared key, the csr
//! CREDENTIAL_STORE  the chain that came with the registration
//! VERIFY            GET /v1/verify                                the new certificate in TLS
//! ```
//!
//! The shared key itself never leaves: it signs for one hour, by the server's time, which was learned
//! under the pinned root. The same key of the device's own gets the same certificate, so each step may
//! be repeated; after VERIFY the shared key is deleted.

use imprint_attest::SharedKey;
use imprint_device::{Action, Event, Key};
use imprint_dps::client::{Answer, AnswerError, Refused, http};
use imprint_dps::sas::Unsigned;
use imprint_dps::{ApiVersion, Call, Registration, RegistrationState, Request};
use imprint_est::client::{HttpRequest, Refusal};
use imprint_est::{RefusalNote, Retry, Secret};
use imprint_identity::UnixTime;
use rustls_pki_types::CertificateDer;

use crate::agent::Agent;
use crate::calls::{CallError, Enrolled};
use crate::perform::{Trouble, Who};
use crate::settings::SharedKeyEntry;
use crate::trust::Time;

impl Agent {
    /// ENROLL by an entry's shared key: a certificate for `key`.
    pub(crate) async fn shared_key_enroll(
        &mut self,
        action: &Action,
        key: Key,
        entry: &SharedKeyEntry,
    ) -> Result<Event, Trouble> {
        let csr = self.request(key, entry.registration_id.as_str())?;
        let call = Call {
            scope: entry.scope.clone(),
            registration_id: entry.registration_id.clone(),
            api_version: ApiVersion::new(ApiVersion::WITH_CSR).ok(),
            request: Request::Register(Registration {
                csr: Some(csr),
                ..Registration::default()
            }),
        };
        // After a power cut the time that was told is forgotten.
        let now = match self.time() {
            Time::Known(at) => at,
            Time::AtLeast(_) => self.learn_time().await?,
        };
        let token = signed(entry, now)?;
        let mut connection = self.line(Who::Stranger).await?;
        let asked = http(&call);
        let asked = HttpRequest {
            method: asked.method,
            path: asked.target,
            headers: asked.headers,
            body: asked.body,
        };
        let reply = connection.exchange(&asked, Some(&token), &self.server.trips);
        let reply = reply.await;
        self.answered(action)?;
        let reply = reply.map_err(CallError::Link)?;
        let header = |name: &str| reply.header(name);
        let answer = Answer::http(&call.request, reply.status, header, &reply.body);
        let answer = answer.map_err(unreadable)?;
        self.hand.line = Some((Who::Stranger, connection));
        match answer {
            Answer::Assigned(state) => self.assigned(*state),
            // Another server lets the device poll, and would then not know what to certify.
            Answer::Assigning { retry_after, .. } => {
                Ok(self.granted(Enrolled::Pending(retry_after)))
            }
            Answer::Refused(refused) => self.not_assigned(refused),
            Answer::State(_) | Answer::Challenge { .. } => {
                let what = "the register was answered by something else";
                Err(CallError::Unreadable(what.to_owned()).into())
            }
        }
    }

    fn assigned(&mut self, state: RegistrationState) -> Result<Event, Trouble> {
        let chain = state.issued_certificate_chain.unwrap_or_default();
        if chain.is_empty() {
            let what = "the device was registered, and no certificate came with that";
            return Err(CallError::Unreadable(what.to_owned()).into());
        }
        // What stands in the place of a connection profile: where the device's programs find their hub.
        let profile = serde_json::json!({
            "hub": state.assigned_hub,
            "device_id": state.device_id,
        });
        self.hand.profile = profile.to_string().into_bytes();
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Ok(self.granted(Enrolled::Granted(chain)))
    }

    fn not_assigned(&mut self, refused: Refused) -> Result<Event, Trouble> {
        let refusal = refusal(refused);
        let waits = |note: &RefusalNote| note.code == "approval-pending";
        if refusal.note.as_ref().is_some_and(waits) {
            let after = match refusal.retry() {
                Some(Retry::After(seconds)) => Some(seconds),
                _ => None,
            };
            return Ok(self.granted(Enrolled::Pending(after)));
        }
        Err(CallError::from(refusal).into())
    }
}

/// A signature for this registration and nothing else.
fn signed(entry: &SharedKeyEntry, now: UnixTime) -> Result<Secret, Trouble> {
    let key = SharedKey::new(entry.key.expose()).map_err(Trouble::SharedKey)?;
    let until = now.plus(SIGNED_FOR_SECONDS);
    let unsigned = Unsigned::registration(&entry.scope, &entry.registration_id, until);
    let token = unsigned.sign(&key.sign(&unsigned.to_sign()));
    Ok(Secret::new(token.as_bytes().to_vec()))
}

/// The same as EST would have brought it. Another server's refusal has no code of ours: then nothing is
/// final.
fn refusal(refused: Refused) -> Refusal {
    let note = refused.code().map(|code| RefusalNote {
        code: code.to_owned(),
        step: String::new(),
        retry: match refused.retry() {
            imprint_dps::Retry::After(seconds) => Retry::After(seconds),
            imprint_dps::Retry::Never => Retry::Never,
        },
    });
    Refusal {
        status: refused.status,
        note,
        retry_after: refused.retry_after,
        text: refused.message,
    }
}

fn unreadable(error: AnswerError) -> CallError {
    CallError::Unreadable(error.to_string())
}

/// As the vendor's SDKs do.
const SIGNED_FOR_SECONDS: i64 = 3_600;
