//! Devices that register by their entries, as Azure's SDKs do.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_dps::sas::Unsigned;
use imprint_dps::{IdScope, RegistrationId};
use imprint_pkix::pem;
use imprint_registrar::entries::definition::{Attestation, Entry};
use imprint_registrar::entries::{EntryKeys, EntryOrder};
use imprint_registrar::ledger::{EntryKind, ServiceAccess};

use super::fleet::aws_chance;
use super::mqtt::{Came, packet, text};
use super::{Client, Connection, Fleet, Reply, request};

pub(crate) const SCOPE: &str = "0neTEST";

impl Fleet {
    /// A new entry's key.
    pub(crate) async fn entry(&self, kind: EntryKind, name: &str) -> Vec<u8> {
        let made = self.made(kind, name, Attestation::SymmetricKey).await;
        made.primary.unwrap().to_vec()
    }

    /// An entry that names a certificate.
    pub(crate) async fn entry_for(&self, kind: EntryKind, name: &str, certificate: &[u8]) {
        let attestation = Attestation::X509 {
            primary: pem::encode(pem::CERTIFICATE, certificate),
            secondary: None,
        };
        self.made(kind, name, attestation).await;
    }

    /// An entry that names a TPM.
    pub(crate) async fn entry_for_tpm(&self, name: &str, endorsement: &[u8]) {
        let attestation = Attestation::Tpm {
            endorsement_key: STANDARD.encode(endorsement),
            storage_root_key: None,
        };
        self.made(EntryKind::Individual, name, attestation).await;
    }

    async fn made(&self, kind: EntryKind, name: &str, attestation: Attestation) -> EntryKeys {
        let order = EntryOrder {
            entry: Entry {
                kind,
                name: name.to_owned(),
                product: "thermo".to_owned(),
                attestation,
                device_id: None,
                strength: "asserted".to_owned(),
            },
            enabled: true,
            keys: EntryKeys::default(),
        };
        let (chance, now) = (&aws_chance, self.now());
        let made = self.registrar.entry_new(order, "test", chance, now).await;
        made.unwrap().made
    }

    /// A SAS token for the registration of this id.
    pub(crate) fn token_to_register(&self, scope: &str, id: &str, key: &[u8]) -> String {
        let scope = IdScope::new(scope).unwrap();
        let id = RegistrationId::new(id).unwrap();
        signed(
            &Unsigned::registration(&scope, &id, self.now().plus(3_600)),
            key,
        )
    }

    /// A new service key for product thermo.
    pub(crate) async fn service_key(&self, name: &str, access: ServiceAccess) -> Vec<u8> {
        let (chance, now) = (&aws_chance, self.now());
        let made = self.registrar.service_key_new(
            name,
            "thermo",
            "localhost",
            access,
            "test",
            chance,
            now,
        );
        made.await.unwrap().1.to_vec()
    }

    /// A token by a service key, as the client for Node.js writes it: the host as it is, and seconds.
    pub(crate) fn service_token(&self, name: &str, key: &[u8]) -> String {
        service_token(name, key, "localhost", self.now().plus(3_600).0)
    }

    /// A SAS token for a device's hub.
    pub(crate) fn token_for_hub(&self, device: &str, key: &[u8]) -> String {
        let until = self.now().plus(3_600);
        signed(&Unsigned::hub("localhost", device, until), key)
    }

    /// Registers over HTTPS.
    pub(crate) async fn register(&self, client: &Client, id: &str, token: Option<&str>) -> Reply {
        let mut headers = vec![("Content-Type", "application/json; charset=utf-8")];
        headers.extend(token.map(|token| ("Authorization", token)));
        let path = format!("/{SCOPE}/registrations/{id}/register?api-version=2019-03-31");
        let body = format!(r#"{{"registrationId":"{id}"}}"#);
        client
            .once(&request("PUT", &path, &headers, body.as_bytes()))
            .await
    }

    /// A connection to `mqtts` and the answer to its CONNECT of MQTT 3.1.1: its return code.
    pub(crate) async fn comes(
        &self,
        client: &Client,
        id: &str,
        user: &str,
        password: Option<&str>,
    ) -> (Connection, u8) {
        let mut client = client.clone();
        client.address = self.mqtts();
        let mut connection = client.connect().await.unwrap();
        let (first, body) = connection.says(&login(id, user, password)).await.unwrap();
        assert_eq!(first, 0x20);
        (connection, body[1])
    }

    /// To register over MQTT.
    pub(crate) async fn comes_to_register(
        &self,
        client: &Client,
        id: &str,
        token: Option<&str>,
    ) -> (Connection, u8) {
        let user = format!("{SCOPE}/registrations/{id}/api-version=2019-03-31&ClientVersion=x");
        self.comes(client, id, &user, token).await
    }

    /// To its hub.
    pub(crate) async fn comes_to_hub(
        &self,
        client: &Client,
        device: &str,
        token: Option<&str>,
    ) -> (Connection, u8) {
        let user = format!("localhost/{device}/?api-version=2019-10-01&DeviceClientType=x");
        self.comes(client, device, &user, token).await
    }
}

impl Connection {
    /// What is published back.
    pub(crate) async fn published_back(&mut self) -> (String, serde_json::Value) {
        let (first, body): Came = self.came().await.unwrap();
        assert_eq!(first & 0xf0, 0x30, "{body:?}");
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
        let payload = serde_json::from_slice(&body[4 + length..]).unwrap();
        (topic, payload)
    }
}

/// CONNECT of MQTT 3.1.1 with a user name and perhaps a password, as the SDK for Python sends it.
fn login(client_id: &str, user: &str, password: Option<&str>) -> Vec<u8> {
    let flags = if password.is_some() { 0xc0 } else { 0x80 };
    let head = [&text("MQTT")[..], &[4, flags, 0, 60]].concat();
    let password = password.map(text).unwrap_or_default();
    packet(0x10, &[&head, &text(client_id), &text(user), &password])
}

fn signed(unsigned: &Unsigned, key: &[u8]) -> String {
    let signature = hmac(key, &unsigned.to_sign());
    unsigned.sign(&signature.try_into().unwrap()).to_string()
}

pub(crate) fn service_token(name: &str, key: &[u8], host: &str, until: i64) -> String {
    let signature = STANDARD.encode(hmac(key, format!("{host}\n{until}").as_bytes()));
    let signature = signature
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    format!("SharedAccessSignature sr={host}&sig={signature}&skn={name}&se={until}")
}

pub(crate) fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message).as_ref().to_vec()
}
