//! The hub to which devices are sent: this server. A device that connects has shown that what it was
//! given works, and that is all that it comes for: telemetry is acknowledged and goes nowhere.

use imprint_dps::hub::HubLogin;
use imprint_dps::sas;
use imprint_registrar::enroll::Origin;
use imprint_registrar::refusal::{Code, Refusal};
use imprint_registrar::verify::Member;
use imprint_registrar::{Ledger, Signer};

use super::{Dps, signature};

impl<L: Ledger, S: Signer> Dps<L, S> {
    /// Judges a device that comes to the hub with a SAS token. By that it is PROVISIONED.
    pub(crate) async fn at_hub(
        &self,
        login: &HubLogin,
        token: &str,
        origin: &Origin,
    ) -> Result<(), Refusal> {
        let now = self.world.now();
        let expected = sas::hub_resource(&login.hub, &login.device_id);
        let signature = signature(token, expected).map_err(|refusal| {
            let refusal = refusal.about(login.device_id.as_str());
            self.registrar.note(&refusal, origin, now);
            refusal
        })?;
        let (device, hub) = (&login.device_id, &login.hub);
        self.registrar
            .shared_key_member(device, hub, &signature, origin, now)
            .await
            .map(drop)
    }
}

/// Whether a device that has shown its certificate is the one that it says it is.
pub(crate) fn is_itself(login: &HubLogin, member: &Member) -> Result<(), Refusal> {
    let device = member.device.id.as_str();
    if login.device_id == device {
        return Ok(());
    }
    Err(Refusal::new(Code::RegistrationOther)
        .detail(format!("{device} called itself {:?}", login.device_id))
        .about(device))
}
