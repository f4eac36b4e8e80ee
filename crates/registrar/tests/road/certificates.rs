//! What is certified comes from our records alone.

use imprint_pkix::certificate::Certificate;
use imprint_registrar::enroll::Channel;
use imprint_registrar::product::ChannelBinding;
use imprint_registrar::{Code, EnrollmentRequest};

use crate::support::*;

#[tokio::test]
async fn the_certificate_says_what_the_product_says() {
    let world = World::with(|product| {
        product.certificate.lifetime_days = 30;
        product.certificate.dns = "{device}.devices.example".into();
        product.certificate.uri = "https://fleet.example/devices/{device}".into();
    })
    .await;
    let key = Key::new();
    let token = world.token().await;
    let enrolled = world
        .enroll(&key, "stm32:0123456789ab0123456789ac", &token)
        .await
        .unwrap();
    let certificate = Certificate::parse(&enrolled.certificate).unwrap();
    let name = "thermo-stm32-0123456789ab0123456789ac";
    assert_eq!(certificate.common_name().as_deref(), Some(name));
    assert_eq!(certificate.not_before(), START.plus(-3_600));
    assert_eq!(certificate.not_after(), START.plus(30 * 86_400));
    assert_eq!(certificate.spki_der(), key.public().spki_der());
    let dns: Vec<_> = certificate.names().dns_names().collect();
    assert_eq!(dns, [format!("{name}.devices.example")]);
    let uris: Vec<_> = certificate.names().uris().collect();
    assert_eq!(uris, [format!("https://fleet.example/devices/{name}")]);
    assert_eq!(
        certificate.crl_url(),
        Some("http://ca.example/crl/issuing.crl")
    );
    assert_eq!(
        certificate.issuer_url(),
        Some("http://ca.example/ca/issuing.crt")
    );
    assert!(!certificate.is_ca());
    let (_, raw) = certificate.hardware_module().unwrap();
    assert_eq!(
        raw,
        [
            0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0x01, 0x23, 0x45, 0x67, 0x89, 0xac
        ]
    );
    assert_eq!(certificate.serial().len(), 20);
    assert!((500..=1_500).contains(&enrolled.certificate.len()));
}

#[tokio::test]
async fn a_channel_binding_must_be_that_of_the_connection() {
    use base64::Engine as _;
    let exporter = [9; 32];
    let right = base64::engine::general_purpose::STANDARD.encode(exporter);
    let strict = World::new().await;
    let lax = World::with(|product| product.channel_binding = ChannelBinding::Ignore).await;
    let tls13 = Channel::Tls13 { exporter };
    let rows = [
        (tls13, Some(right.as_str()), None),
        (tls13, None, None),
        (
            tls13,
            Some("c2NlcC1wYXNzd29yZA=="),
            Some(Code::ChannelBindingMismatch),
        ),
        (
            Channel::Tls12,
            Some(right.as_str()),
            Some(Code::ChannelBindingUnsupported),
        ),
        (Channel::Tls12, None, None),
    ];
    for (at, (channel, challenge, want)) in rows.into_iter().enumerate() {
        let hardware = format!("sn-{at}");
        for (world, want) in [(&strict, want), (&lax, None)] {
            let key = Key::new();
            let token = world.token().await;
            let request = EnrollmentRequest {
                channel,
                csr: key.csr("x", challenge),
                ..by_token(&key, &hardware, &token)
            };
            let outcome = world.ask(request).await;
            assert_eq!(outcome.err().map(|refusal| refusal.code), want, "row {at}");
        }
    }
}
