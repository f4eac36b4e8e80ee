//! The pre-provisioning hook: asked before a device is registered, over HTTPS, signed like every
//! webhook of ours.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use imprint_claim::hook::{HookReply, HookRequest};
use imprint_pkix::pem;
use imprint_registrar::claims::Opening;
use imprint_registrar::claims::definition::{Hook, HookFailure};
use imprint_registrar::enroll::Origin;
use imprint_registrar::refusal::{Code, Refusal};
use imprint_registrar::{Ledger, Signer};

use super::{No, Provision};
use crate::outbound::{SIGNATURE, Target, key_for};

impl<L: Ledger, S: Signer> Provision<L, S> {
    /// Asks the template's hook, if it has one: `None` without, else what it overrides. One that
    /// does not answer as it should is handled as the template says: `refuse`, the default, or `allow`.
    pub(super) async fn ask_hook(
        &self,
        opening: &Opening,
        parameters: &BTreeMap<String, String>,
        client_id: &str,
        origin: &Origin,
    ) -> Result<Option<BTreeMap<String, String>>, No> {
        let hook = opening
            .template
            .as_ref()
            .and_then(|template| template.hook.as_ref());
        let Some(hook) = hook else {
            return Ok(None);
        };
        let refusal = match self.call_hook(hook, opening, parameters, client_id).await {
            Ok(HookReply::Allowed { overrides }) => return Ok(Some(overrides)),
            Ok(HookReply::Refused) => {
                return Err(No::new(Code::HookRefused, format!("{} said no", hook.url)));
            }
            Err(refusal) => refusal,
        };
        tracing::warn!(
            claim = opening.speaker().name(),
            template = opening.template_name(),
            policy = ?hook.on_failure,
            "the provisioning hook: {refusal}"
        );
        match hook.on_failure {
            HookFailure::Refuse => Err(refusal.into()),
            HookFailure::Allow => {
                // Who reads the journal shall see who came in without the hook's word.
                let note = refusal.about(opening.speaker().name());
                self.registrar.note(&note, origin, self.world.now());
                Ok(None)
            }
        }
    }

    async fn call_hook(
        &self,
        hook: &Hook,
        opening: &Opening,
        parameters: &BTreeMap<String, String>,
        client_id: &str,
    ) -> Result<HookReply, Refusal> {
        let failed =
            |why: String| Refusal::new(Code::HookFailed).detail(format!("{}: {why}", hook.url));
        let target: Target = hook.url.parse().map_err(|error| failed(chain(&error)))?;
        let body = HookRequest {
            claim_certificate_id: &opening.speaker().fingerprint().to_string(),
            certificate_id: &opening.certificate_id,
            certificate_pem: &pem::encode(pem::CERTIFICATE, &opening.certificate),
            template_arn: &format!("{ARN}{}", opening.template_name()),
            client_id,
            parameters,
        }
        .encode();
        let key = key_for(self.registrar.signer(), target.as_str()).await?;
        let signature = key.sign(self.world.now(), &body);
        let signature =
            HeaderValue::try_from(signature).map_err(|error| failed(error.to_string()))?;
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (SIGNATURE, signature),
        ];
        let answer = self.outbound.post(&target, &headers, body, PATIENCE).await;
        let answer = answer.map_err(|error| failed(chain(&error)))?;
        if answer.status != 200 {
            return Err(failed(format!("status {}", answer.status)));
        }
        HookReply::parse(&answer.body).map_err(|error| {
            Refusal::new(Code::HookReplyUnreadable).detail(format!("{}: {error}", hook.url))
        })
    }
}

/// An error with what caused it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

/// From the first packet to the last byte of the answer (AWS IoT developer guide, "Pre-provisioning
/// hooks": 5 seconds).
const PATIENCE: Duration = Duration::from_secs(5);
/// The vendor's form of a template's name. Account and region are nobody's here.
const ARN: &str = "arn:aws:iot:local:000000000000:provisioningtemplate/";
