//! The vendor's records, from entries and into entries.

use aws_lc_rs::digest;
use imprint_dps::service::{
    AllocationPolicy, Attestation, AttestationType, Capabilities, EnrollmentGroup,
    IndividualEnrollment, KeyText, Keys, ProvisioningStatus, ReprovisionPolicy, Terms,
    X509Attestation, X509Certificate, X509Certificates,
};
use imprint_dps::{
    CertificateInfo, Etag, RegistrationId, RegistrationState, ServiceError, Status, Substatus,
};
use imprint_pkix::certificate::Certificate;
use imprint_pkix::{dn, pem};
use imprint_registrar::entries::definition::{Attestation as Proof, Entry};
use imprint_registrar::entries::{EntryKeys, EntryOrder};
use imprint_registrar::ledger::{EntryKind, EntryRecord, EntryRegistration};
use serde::Serialize;
use zeroize::Zeroizing;

use super::super::devices::der_of;
use super::{UNSUPPORTED, no, said};

/// One enrollment of either kind, as a script wrote it.
pub(super) struct Asked {
    pub(super) kind: EntryKind,
    pub(super) id: RegistrationId,
    pub(super) terms: Terms,
    device_id: Option<String>,
    attestation: Attestation,
}

impl From<IndividualEnrollment> for Asked {
    fn from(record: IndividualEnrollment) -> Self {
        Self {
            kind: EntryKind::Individual,
            id: record.registration_id,
            device_id: record.device_id.filter(|id| !id.is_empty()),
            attestation: record.attestation,
            terms: record.terms,
        }
    }
}

impl From<EnrollmentGroup> for Asked {
    fn from(record: EnrollmentGroup) -> Self {
        Self {
            kind: EntryKind::Group,
            id: record.enrollment_group_id,
            device_id: None,
            attestation: record.attestation,
            terms: record.terms,
        }
    }
}

impl Asked {
    /// What the desk is asked to do. What is not here is refused and never passed over: a script that
    /// asks for a hub by hash must not learn from its fleet that there is one.
    pub(super) fn order(
        self,
        product: &str,
        known: Option<&EntryRecord>,
        hub: &str,
    ) -> Result<EntryOrder, ServiceError> {
        if let Some(what) = unsupported(&self.terms, hub) {
            return Err(no(&UNSUPPORTED, what));
        }
        let (attestation, keys) = self.proof(known)?;
        Ok(EntryOrder {
            enabled: self.terms.provisioning_status == ProvisioningStatus::Enabled,
            entry: Entry {
                kind: self.kind,
                name: self.id.canonical(),
                product: product.to_owned(),
                attestation,
                device_id: self.device_id,
                // What the vendor's records don't say stays as an operator has set it.
                strength: known.map_or_else(
                    || "asserted".to_owned(),
                    |known| known.entry.strength.clone(),
                ),
            },
            keys,
        })
    }

    fn proof(&self, known: Option<&EntryRecord>) -> Result<(Proof, EntryKeys), ServiceError> {
        match self.attestation.kind {
            AttestationType::SymmetricKey => {
                let keys = self.attestation.symmetric_key.clone().unwrap_or_default();
                let bytes = |key: Option<KeyText>| Some(Zeroizing::new(key?.expose().to_vec()));
                let keys = EntryKeys {
                    primary: bytes(keys.primary_key),
                    secondary: bytes(keys.secondary_key),
                };
                Ok((Proof::SymmetricKey, keys))
            }
            AttestationType::X509 => Ok((self.certificates(known)?, EntryKeys::default())),
            AttestationType::Tpm | AttestationType::None => Err(no(
                &UNSUPPORTED,
                "Attestation by TPM can't be set up here yet.",
            )),
        }
    }

    fn certificates(&self, known: Option<&EntryRecord>) -> Result<Proof, ServiceError> {
        let x509 = self.attestation.x509.as_ref();
        let named = x509.and_then(|x509| match self.kind {
            EntryKind::Individual => x509.client_certificates.as_ref(),
            EntryKind::Group => x509.signing_certificates.as_ref(),
        });
        let Some(named) = named else {
            let what = match self.kind {
                EntryKind::Individual => "An individual enrollment names clientCertificates here.",
                EntryKind::Group => "A group names signingCertificates here.",
            };
            return Err(no(&UNSUPPORTED, what));
        };
        let text = |one: &Option<X509Certificate>| one.as_ref()?.certificate.clone();
        let primary = text(&named.primary).map(|text| pem_of(&text)).transpose()?;
        let secondary = text(&named.secondary)
            .map(|text| pem_of(&text))
            .transpose()?;
        // A record that was read may come back without what is only written.
        let on_record = known.map(|known| known.entry.attestation.clone());
        match (primary, on_record) {
            (Some(primary), _) => Ok(Proof::X509 { primary, secondary }),
            (None, Some(on_record @ Proof::X509 { .. })) if secondary.is_none() => Ok(on_record),
            (None, _) => Err(no(&UNSUPPORTED, "The primary certificate is missing.")),
        }
    }
}

fn pem_of(text: &str) -> Result<String, ServiceError> {
    let der = der_of(text, &[pem::CERTIFICATE]).map_err(|error| said(&error))?;
    Ok(pem::encode(pem::CERTIFICATE, &der))
}

/// What of these terms is not here.
fn unsupported(terms: &Terms, hub: &str) -> Option<&'static str> {
    let is_hub = |name: &String| name.eq_ignore_ascii_case(hub);
    let twin = terms.initial_twin.as_ref();
    let twin =
        twin.is_some_and(|twin| !twin.tags.is_empty() || !twin.properties.desired.is_empty());
    let usual = ReprovisionPolicy::default();
    if twin {
        Some("initialTwin is not here: the hub behind this server keeps no twins.")
    } else if terms.capabilities.is_some_and(|what| what.iot_edge) {
        Some("capabilities.iotEdge is not here: no device speaks for others.")
    } else if terms
        .iot_hub_host_name
        .as_ref()
        .is_some_and(|name| !is_hub(name))
        || terms
            .iot_hubs
            .as_ref()
            .is_some_and(|hubs| !hubs.iter().all(is_hub))
    {
        Some("There is one hub, `hub` in imprint.toml, and the record names another.")
    } else if terms
        .reprovision_policy
        .is_some_and(|policy| policy != usual)
    {
        Some("reprovisionPolicy: with one hub, a device that comes again stays, with what it has.")
    } else if terms.allocation_policy == Some(AllocationPolicy::Custom)
        || terms.custom_allocation_definition.is_some()
    {
        Some("allocationPolicy custom is not here: there is one hub.")
    } else if terms.credential_policy_name.is_some() {
        Some("credentialPolicyName is not here.")
    } else {
        None
    }
}

/// An enrollment of either kind, to be read.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Shown {
    Individual(Box<IndividualEnrollment>),
    Group(Box<EnrollmentGroup>),
}

/// `keys`: those that were made just now, for the only time.
pub(super) fn shown(
    record: &EntryRecord,
    registered: Option<RegistrationState>,
    keys: Option<&EntryKeys>,
    hub: &str,
) -> Option<Shown> {
    let id = RegistrationId::new(&record.entry.name).ok()?;
    let attestation = attestation(record, keys);
    let terms = Terms {
        capabilities: Some(Capabilities::default()),
        etag: Some(etag(record)),
        provisioning_status: if record.enabled {
            ProvisioningStatus::Enabled
        } else {
            ProvisioningStatus::Disabled
        },
        reprovision_policy: Some(ReprovisionPolicy::default()),
        allocation_policy: Some(AllocationPolicy::Hashed),
        iot_hubs: Some(vec![hub.to_owned()]),
        created: Some(record.created_at),
        last_updated: Some(record.updated_at),
        ..Terms::default()
    };
    Some(match record.entry.kind {
        EntryKind::Individual => Shown::Individual(Box::new(IndividualEnrollment {
            registration_id: id,
            device_id: record.entry.device_id.clone(),
            registration_state: registered.map(Box::new),
            attestation,
            terms,
        })),
        EntryKind::Group => Shown::Group(Box::new(EnrollmentGroup {
            enrollment_group_id: id,
            attestation,
            terms,
        })),
    })
}

/// How an entry's devices show who they are. Without keys, but for those that are given.
pub(super) fn attestation(record: &EntryRecord, keys: Option<&EntryKeys>) -> Attestation {
    let Proof::X509 { .. } = &record.entry.attestation else {
        let text = |key: &Option<Zeroizing<Vec<u8>>>| KeyText::new(key.as_ref()?);
        return Attestation {
            kind: AttestationType::SymmetricKey,
            symmetric_key: Some(keys.map_or_else(Keys::default, |keys| Keys {
                primary_key: text(&keys.primary),
                secondary_key: text(&keys.secondary),
            })),
            ..Attestation::default()
        };
    };
    let certificates = record.entry.attestation.certificates().unwrap_or_default();
    let mut certificates = certificates.iter().map(|one| X509Certificate {
        certificate: Some(pem::encode(pem::CERTIFICATE, one.der())),
        info: Some(info(one)),
    });
    let both = Some(X509Certificates {
        primary: certificates.next(),
        secondary: certificates.next(),
    });
    Attestation {
        kind: AttestationType::X509,
        x509: Some(match record.entry.kind {
            EntryKind::Individual => X509Attestation {
                client_certificates: both,
                ..X509Attestation::default()
            },
            EntryKind::Group => X509Attestation {
                signing_certificates: both,
                ..X509Attestation::default()
            },
        }),
        ..Attestation::default()
    }
}

fn info(certificate: &Certificate) -> CertificateInfo {
    let name = |der: &[u8]| format!("CN={}", dn::common_name(der).unwrap_or_default());
    let thumbprint = |algorithm| hex::encode_upper(digest::digest(algorithm, certificate.der()));
    CertificateInfo {
        subject_name: name(certificate.subject_der()),
        issuer_name: name(certificate.issuer_der()),
        // A name for the certificate, as the vendor has it; nothing is proven by it.
        sha1_thumbprint: thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        sha256_thumbprint: thumbprint(&digest::SHA256),
        not_before: Some(certificate.not_before()),
        not_after: Some(certificate.not_after()),
        serial_number: hex::encode_upper(certificate.serial()),
        version: 3,
    }
}

/// Which version of an entry this is: another one also after it was deleted and made again.
pub(super) fn etag(record: &EntryRecord) -> Etag {
    let entry = serde_json::to_vec(&record.entry).unwrap_or_default();
    let hash = hex::encode(digest::digest(&digest::SHA256, &entry));
    Etag::of(format_args!(
        "{:x}-{:x}-{}",
        record.created_at.0,
        record.version,
        hash.get(..8).unwrap_or_default()
    ))
}

/// The same tag that the device is told.
pub(super) fn etag_of_registration(registration: &EntryRegistration) -> Etag {
    Etag::of(format_args!("{}-{}", registration.id, registration.version))
}

/// A registration, to be read.
pub(super) fn state(id: &RegistrationId, registration: &EntryRegistration) -> RegistrationState {
    RegistrationState {
        registration_id: Some(id.clone()),
        created: Some(registration.created_at),
        assigned_hub: Some(registration.hub.clone()),
        device_id: Some(registration.device.as_str().to_owned()),
        status: if registration.live {
            Status::Assigned
        } else {
            Status::Unassigned
        },
        substatus: registration.live.then_some(Substatus::InitialAssignment),
        last_updated: Some(registration.updated_at),
        etag: Some(etag_of_registration(registration)),
        ..RegistrationState::default()
    }
}
