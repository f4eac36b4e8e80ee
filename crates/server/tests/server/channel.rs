//! Channel binding: a request that was made for another connection is somebody else's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_registrar::product::{ChannelBinding, Product};
use rustls::version::{TLS12, TLS13};

use crate::support::{Connection, Device, Fleet, Reply, basic, post};

/// What RFC 9266 binds a connection to.
fn exporter(connection: &Connection) -> String {
    let (_, tls) = connection.tls.get_ref();
    STANDARD.encode(
        tls.export_keying_material([0_u8; 32], b"EXPORTER-Channel-Binding", Some(b""))
            .unwrap(),
    )
}

async fn enroll(
    fleet: &Fleet,
    connection: &mut Connection,
    product: &str,
    challenge_password: &str,
) -> Reply {
    let (token, _) = fleet.token(product, None).await;
    let authorization = basic(&format!("sn-{token}"), &token);
    let path = format!("/.well-known/est/{product}/simpleenroll");
    let csr = Device::new().csr("x", Some(challenge_password));
    connection
        .send(&post(&path, &[("Authorization", &authorization)], &csr))
        .await;
    connection.reply().await.unwrap()
}

#[tokio::test]
async fn on_tls_1_3_the_binding_of_this_connection_holds_and_any_other_is_refused() {
    let fleet = Fleet::start().await;
    let client = fleet.client().speaking(&TLS13);
    let mut connection = client.connect().await.unwrap();
    let right = exporter(&connection);
    enroll(&fleet, &mut connection, "thermo", &right)
        .await
        .certificate();

    let other = exporter(&client.connect().await.unwrap());
    for wrong in [other.as_str(), "a SCEP password", &right[..16]] {
        let reply = enroll(&fleet, &mut connection, "thermo", wrong).await;
        assert_eq!(
            (reply.status, reply.code()),
            (403, "channel-binding-mismatch"),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn on_tls_1_2_a_binding_is_refused_unless_the_product_looks_away() {
    let fleet = Fleet::start().await;
    let lenient = Product {
        channel_binding: ChannelBinding::Ignore,
        ..Product::named("lenient")
    };
    fleet.apply(lenient).await;
    let mut connection = fleet.client().speaking(&TLS12).connect().await.unwrap();
    let reply = enroll(&fleet, &mut connection, "thermo", "AAECAwQFBgcICQoL").await;
    assert_eq!(
        (reply.status, reply.code()),
        (400, "channel-binding-unsupported")
    );
    enroll(&fleet, &mut connection, "lenient", "AAECAwQFBgcICQoL")
        .await
        .certificate();
}
