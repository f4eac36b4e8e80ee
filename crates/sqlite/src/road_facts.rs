//! Recall: everything that bears on one request.

use imprint_identity::HardwareId;
use imprint_registrar::ledger::{Facts, FactsQuery};
use rusqlite::Connection;

use crate::approval::Place;
use crate::fault::Fault;
use crate::{allow, approval, certificate, device, product, token};

pub(crate) fn facts(db: &Connection, query: &FactsQuery) -> Result<Facts, Fault> {
    let token = match &query.token {
        Some(hash) => token::by_hash(db, hash)?.map(|token| token.record),
        None => None,
    };
    let shown = match &query.shown {
        Some(serial) => certificate::credential(db, serial)?,
        None => None,
    };
    let named = match &query.product {
        Some(name) => product::by_name(db, name)?,
        None => None,
    };
    let named_product_exists = named.is_some();
    let product = match (&shown, &token) {
        (Some((_, shown)), _) => Some(shown.product.clone()),
        (None, Some(token)) => match named {
            Some(named) if named.name == token.product => Some(named),
            _ => product::by_name(db, &token.product)?,
        },
        (None, None) => named,
    };

    let (number, shown) = shown.map_or((None, None), |(number, shown)| (Some(number), Some(shown)));
    let hardware = if let Some(shown) = &shown {
        Some(&shown.device.hardware)
    } else {
        let bound = token.as_ref().and_then(|token| token.bound.as_ref());
        query.asserted.as_ref().or(bound)
    };
    let hardware = hardware.map(HardwareId::text);
    let (number, device) = match (&shown, &hardware) {
        (Some(shown), _) => (number, Some(shown.device.clone())),
        (None, Some(hardware)) => device::by_hardware(db, hardware)?
            .map_or((None, None), |device| {
                (Some(device.number), Some(device.record))
            }),
        (None, None) => (None, None),
    };

    let mut facts = Facts {
        key_owner: device::key_owner(db, &query.key.0)?,
        allowed: match (&product, &hardware) {
            (Some(product), Some(hardware)) => allow::contains(db, &product.name, hardware)?,
            _ => false,
        },
        token,
        shown,
        product,
        named_product_exists,
        device,
        ..Facts::default()
    };
    if let Some(number) = number {
        facts.same = certificate::same(db, number, query.key, &query.generation)?
            .map(|certificate| certificate.record);
        let live = certificate::live(db, number)?;
        facts.live = live
            .into_iter()
            .map(|certificate| certificate.record)
            .collect();
        facts.approved_until = match approval::place(db, number, query.key)? {
            Some(Place::Approved { until }) => Some(until),
            _ => None,
        };
    }
    Ok(facts)
}
