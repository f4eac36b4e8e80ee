//! The server as a whole.

use axum::Json;
use imprint_registrar::entries::definition::Attestation;
use imprint_registrar::ledger::EntryRecord;
use imprint_registrar::{Ledger, Signer};
use utoipa_axum::router::OpenApiRouter;

use super::views::StatusView;
use super::{Admin, ApiError, ErrorView, Office, on};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new().routes(on::<__path_status, _, _, _>(status::<L, S>))
}

/// What runs here, and for which products.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "server",
    responses((status = 200, body = StatusView), (status = "default", body = ErrorView)),
)]
async fn status<L: Ledger, S: Signer>(admin: Office<L, S>) -> Result<Json<StatusView>, ApiError> {
    let authorities = admin.registrar.authorities();
    let products = admin.registrar.ledger().product_list().await?;
    let entries = admin.registrar.ledger().entry_list().await?;
    Ok(Json(StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: admin.now().to_string(),
        issuing: authorities.issuing().name.clone(),
        public_http: authorities.public_http().map(ToOwned::to_owned),
        products: products.into_iter().map(|product| product.name).collect(),
        id_scope: admin.id_scope.clone(),
        hub: admin.hub.clone(),
        warnings: shared_keys(&entries),
    }))
}

/// A shared key is as good as the worst place where it is kept: with many of them, one breach of this
/// server's seal is many devices.
fn shared_keys(entries: &[EntryRecord]) -> Vec<String> {
    let mut devices: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in entries {
        if entry.entry.attestation == Attestation::SymmetricKey {
            let count = devices.entry(&entry.entry.product).or_default();
            *count = count.saturating_add(entry.registered);
        }
    }
    let many = devices.into_iter().filter(|(_, count)| *count >= MANY);
    many.map(|(product, count)| {
        format!(
            "{count} devices of {product} are known by symmetric keys: whoever unseals this ledger can \
             be any of them. Give new devices certificates."
        )
    })
    .collect()
}

/// Devices of one product with shared keys, from which on it is said.
const MANY: u64 = 5_000;

#[cfg(test)]
mod tests {
    use imprint_identity::UnixTime;
    use imprint_registrar::entries::definition::Entry;
    use imprint_registrar::ledger::{EntryKind, SealedKeys};

    use super::*;

    fn entry(product: &str, attestation: Attestation, registered: u64) -> EntryRecord {
        EntryRecord {
            entry: Entry {
                kind: EntryKind::Group,
                name: "line-1".into(),
                product: product.into(),
                attestation,
                device_id: None,
                strength: "asserted".into(),
            },
            enabled: true,
            keys: SealedKeys::default(),
            storage_key: None,
            registered,
            created_at: UnixTime(0),
            updated_at: UnixTime(0),
            version: 1,
        }
    }

    #[test]
    fn many_shared_keys_in_one_product_are_worth_a_warning() {
        let x509 = || Attestation::X509 {
            primary: String::new(),
            secondary: None,
        };
        let key = || Attestation::SymmetricKey;
        let few = [
            entry("a", key(), 4_999),
            entry("b", key(), 4_999),
            entry("a", x509(), 9_999),
        ];
        assert!(shared_keys(&few).is_empty());
        let many = [
            entry("a", key(), 4_999),
            entry("a", key(), 1),
            entry("b", key(), 1),
        ];
        let [warning] = &shared_keys(&many)[..] else {
            panic!("one product has too many")
        };
        assert!(warning.starts_with("5000 devices of a "), "{warning}");
    }
}
