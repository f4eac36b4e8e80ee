//! Templates, filled: what a device becomes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use imprint_claim::{
    CertificateParameters, CertificateStatus, Evaluated, Format, Override as ClaimOverride, Policy,
    Registered, Reply, Template,
};
use imprint_identity::HardwareId;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::dn;
use imprint_registrar::claims::definition::Template as Document;
use imprint_registrar::claims::thing::{Override, PolicySpec, ThingSpec};
use imprint_registrar::claims::{JustInTime, Opening, Registration, device_name};
use imprint_registrar::product::Product;
use imprint_registrar::refusal::{Code, Refusal};

use super::No;

/// Templates as they were read, so that one is read once and not for each device.
#[derive(Default)]
pub(super) struct Templates(Mutex<HashMap<String, (String, Arc<Template>)>>);

impl Templates {
    /// What a device that came by claim becomes.
    pub(super) fn fill_claimed(
        &self,
        opening: &Opening,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Registration, No> {
        let hardware = self.hardware_claimed(opening, parameters)?;
        let Some(document) = &opening.template else {
            return by_product(&opening.product, hardware);
        };
        let certificate = CertificateParameters {
            id: opening.certificate_id.clone(),
            ..CertificateParameters::default()
        };
        let template = self.read(document)?;
        let evaluated = evaluate(&template, parameters, &certificate)?;
        by_template(evaluated, &opening.product, hardware)
    }

    /// The hardware that a device which came by claim says it is.
    pub(super) fn hardware_claimed(
        &self,
        opening: &Opening,
        parameters: &BTreeMap<String, String>,
    ) -> Result<HardwareId, No> {
        let Some(document) = &opening.template else {
            return hardware(parameters.get(PRODUCTS_OWN).map(String::as_str));
        };
        let template = self.read(document)?;
        let given = |name: &str| {
            let defaults = || template.parameters().find(|(known, _)| *known == name)?.1;
            parameters.get(name).map(String::as_str).or_else(defaults)
        };
        hardware(given(&document.hardware))
    }

    /// What a device that came with a registered CA's certificate becomes.
    pub(super) fn fill_newcomer(&self, newcomer: &JustInTime) -> Result<Registration, No> {
        let Some(document) = newcomer.template() else {
            return by_product(newcomer.product(), named_in(newcomer)?);
        };
        if document.hook.is_some() {
            // To pass it over would let in whom it would have refused.
            let why = "a hook can't be asked about a device that comes just in time";
            return Err(No::new(Code::TemplateInvalid, why));
        }
        let certificate = subject_of(newcomer.certificate(), newcomer.certificate_id());
        let hardware = match named_by(&document.hardware, &certificate) {
            Some(name) => hardware(Some(name))?,
            None => named_in(newcomer)?,
        };
        let template = self.read(document)?;
        let evaluated = evaluate(&template, &BTreeMap::new(), &certificate)?;
        by_template(evaluated, newcomer.product(), hardware)
    }

    fn read(&self, document: &Document) -> Result<Arc<Template>, No> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((body, template)) = known.get(&document.name)
            && *body == document.body
        {
            return Ok(Arc::clone(template));
        }
        let template = Template::parse(&document.body).map_err(|error| {
            let detail = format!("template {}: {error}", document.name);
            No::about(
                Refusal::new(Code::TemplateInvalid).detail(detail),
                &document.name,
            )
        })?;
        let template = Arc::new(template);
        if known.len() >= MOST_TEMPLATES {
            known.clear();
        }
        let entry = (document.body.clone(), Arc::clone(&template));
        known.insert(document.name.clone(), entry);
        Ok(template)
    }
}

/// A product is a template of its own: the thing has the device's name.
fn by_product(product: &Product, hardware: HardwareId) -> Result<Registration, No> {
    let name = device_name(product, &hardware)?;
    Ok(Registration {
        answer: answer(BTreeMap::new(), Some(name.as_str())),
        thing: Some(ThingSpec::named(name.as_str())),
        hardware,
    })
}

fn by_template(
    evaluated: Evaluated,
    product: &Product,
    hardware: HardwareId,
) -> Result<Registration, No> {
    let inactive = evaluated.certificate_status == CertificateStatus::Inactive;
    let policies = evaluated.policies.into_iter().map(policy).collect();
    let thing = match evaluated.thing {
        Some(thing) => Some(ThingSpec {
            name: match thing.name {
                Some(name) => name,
                None => device_name(product, &hardware)?.as_str().to_owned(),
            },
            thing_type: thing.thing_type,
            billing_group: thing.billing_group,
            groups: thing.groups,
            attributes: thing.attributes,
            policies,
            attributes_override: override_of(thing.overrides.attributes),
            thing_type_override: override_of(thing.overrides.thing_type),
            groups_override: override_of(thing.overrides.groups),
            inactive,
        }),
        None if inactive => {
            let why = "a certificate that stays inactive needs a thing to be held as";
            return Err(No::new(Code::TemplateInvalid, why));
        }
        None => None,
    };
    let name = thing.as_ref().map(|thing| thing.name.as_str());
    Ok(Registration {
        answer: answer(evaluated.device_configuration, name),
        hardware,
        thing,
    })
}

fn evaluate(
    template: &Template,
    parameters: &BTreeMap<String, String>,
    certificate: &CertificateParameters,
) -> Result<Evaluated, No> {
    template.evaluate(parameters, certificate).map_err(|error| {
        let code = Code::from_word(error.code()).unwrap_or(Code::ParametersInvalid);
        No::about(Refusal::new(code).detail(error.to_string()), error.about())
    })
}

/// The answer as it goes on record.
fn answer(device_configuration: BTreeMap<String, String>, thing: Option<&str>) -> Vec<u8> {
    let registered = Registered {
        device_configuration,
        thing_name: thing.map(str::to_owned),
    };
    Reply::Registered(registered).encode(Format::Json).to_vec()
}

fn hardware(text: Option<&str>) -> Result<HardwareId, No> {
    let text = text.ok_or_else(|| Refusal::new(Code::HardwareMissing))?;
    HardwareId::parse(text).map_err(|error| No::new(Code::HardwareInvalid, error.to_string()))
}

fn named_in(newcomer: &JustInTime) -> Result<HardwareId, No> {
    let missing = || No::new(Code::HardwareMissing, "the certificate names no hardware");
    newcomer.hardware().ok_or_else(missing)
}

/// The attribute of the subject that a template names as the hardware id, in the template language's
/// word for it.
fn named_by<'c>(parameter: &str, certificate: &'c CertificateParameters) -> Option<&'c str> {
    match parameter.strip_prefix("AWS::IoT::Certificate::")? {
        "CommonName" => certificate.common_name.as_deref(),
        "SerialNumber" => certificate.serial_number.as_deref(),
        "DistinguishedNameQualifier" => certificate.distinguished_name_qualifier.as_deref(),
        _ => None,
    }
}

fn subject_of(certificate: &Certificate, id: String) -> CertificateParameters {
    // X.520 numbers its attributes below 2.5.4.
    let attribute = |number: u32| {
        let kind = const_oid::ObjectIdentifier::from_arcs([2, 5, 4, number]).ok()?;
        dn::attribute(certificate.subject_der(), kind)
    };
    CertificateParameters {
        id,
        country: attribute(6),
        organization: attribute(10),
        organizational_unit: attribute(11),
        distinguished_name_qualifier: attribute(46),
        state_name: attribute(8),
        common_name: attribute(3),
        serial_number: attribute(5),
    }
}

fn policy(policy: Policy) -> PolicySpec {
    match policy {
        Policy::Named(name) => PolicySpec {
            name,
            document: None,
        },
        // What says the same has the same name, so that a thousand devices share one policy.
        Policy::Document(document) => PolicySpec {
            name: hex::encode(digest::digest(&digest::SHA256, document.as_bytes())),
            document: Some(document),
        },
    }
}

const fn override_of(setting: ClaimOverride) -> Override {
    match setting {
        ClaimOverride::DoNothing => Override::DoNothing,
        ClaimOverride::Replace => Override::Replace,
        ClaimOverride::Merge => Override::Merge,
        ClaimOverride::Fail => Override::Fail,
    }
}

/// The parameter of a product's own template.
const PRODUCTS_OWN: &str = "SerialNumber";
/// As many as AWS keeps; some 30 KiB each.
const MOST_TEMPLATES: usize = 256;
