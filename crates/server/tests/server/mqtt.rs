//! The `mqtts` listener, to the byte. Other people's clients are in `conformance/`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use imprint_registrar::Ledger as _;
use imprint_registrar::ledger::DeviceAct;
use tokio::io::AsyncWriteExt as _;

use crate::support::mqtt::{
    Came, DISCONNECT, PINGREQ, PINGRESP, connect, connect_with, packet, publish, subscribe, text,
    unsubscribe,
};
use crate::support::{Client, Connection, Device, Fleet, request, version_1_certificate};

const SOON: Duration = Duration::from_secs(3);

/// A client that shows this certificate at the `mqtts` listener.
fn client(fleet: &Fleet, device: &Device, certificate: &[u8]) -> Client {
    let mut client = fleet.client_as(device, certificate);
    client.address = fleet.mqtts();
    client
}

/// A device of the fleet, connected and accepted.
async fn member(fleet: &Fleet, level: u8) -> Connection {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let hardware = format!("m-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let (device, certificate) = fleet.enrolled(&hardware).await;
    let mut connection = client(fleet, &device, &certificate)
        .connect()
        .await
        .unwrap();
    let (first, body) = connection.says(&connect(level, "x")).await.unwrap();
    assert_eq!(
        (first, body[0], body[1]),
        (0x20, 0, 0),
        "accepted, and nothing was kept"
    );
    connection
}

/// The reason code and the code for machines of a DISCONNECT or CONNACK of MQTT 5.
fn reason((first, body): &Came) -> (u8, String) {
    let code = match first {
        0xe0 => body[0],
        0x20 => body[1],
        _ => panic!("neither a DISCONNECT nor a CONNACK: {first:#x} {body:?}"),
    };
    (code, word(body))
}

/// The catalogue's code in a packet's properties.
fn word(body: &[u8]) -> String {
    let told = String::from_utf8_lossy(body);
    let note = told.split("Imprint-Refusal").nth(1).unwrap_or_default();
    let note =
        note.trim_start_matches(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    // Two bytes of length stand before the text; the second one may be a letter.
    let note = note.split(';').next().unwrap_or_default();
    note.to_owned()
}

/// The samples of refusals that the journal has for the loopback's address, by code.
async fn noted(fleet: &Fleet) -> Vec<String> {
    fleet.registrar.housekeep(fleet.now()).await.unwrap();
    let rows = fleet
        .registrar
        .ledger()
        .journal_read(0, 1_000)
        .await
        .unwrap();
    rows.into_iter().map(|row| format!("{row:?}")).collect()
}

#[tokio::test]
async fn connecting_with_the_new_certificate_is_verify() {
    let fleet = Fleet::start().await;
    for level in [4, 5] {
        let hardware = format!("sn-{level}");
        let step = async || {
            let name = format!("thermo-{hardware}");
            let file = fleet.registrar.ledger().device_get(&name).await;
            file.unwrap().unwrap().device.step.name()
        };
        let (device, certificate) = fleet.enrolled(&hardware).await;
        assert_eq!(step().await, "VERIFY");
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let client = client(&fleet, &device, &certificate).speaking(version);
            let mut connection = client.connect().await.unwrap();
            let (first, body) = connection.says(&connect(level, "any")).await.unwrap();
            assert_eq!(
                (first, &body[..2]),
                (0x20, &[0, 0][..]),
                "MQTT {level}, {version:?}"
            );
            assert_eq!(step().await, "PROVISIONED");
            connection.send(DISCONNECT).await;
            assert_eq!(connection.rest(SOON).await, Some(Vec::new()));
        }
    }
}

#[tokio::test]
async fn who_is_not_a_member_is_told_why() {
    let fleet = Fleet::start().await;
    let stranger = Device::new();
    let (device, certificate) = fleet.enrolled("sn-1").await;
    let act = DeviceAct::Quarantine {
        reason: "drill".into(),
    };
    let id = "thermo-sn-1".parse().unwrap();
    let ledger = fleet.registrar.ledger();
    ledger
        .device_act(&id, act, "test", fleet.now())
        .await
        .unwrap();
    for (who, want) in [
        (None, "credential-missing"),
        (
            Some((&stranger, version_1_certificate(&stranger))),
            "certificate-unreadable",
        ),
        (Some((&device, certificate)), "device-quarantined"),
    ] {
        let mut client = fleet.client();
        client.address = fleet.mqtts();
        if let Some((device, certificate)) = &who {
            client = client.with_identity(certificate, &device.pkcs8);
        }
        let mut connection = client.connect().await.unwrap();
        let refused = connection.says(&connect(5, "x")).await.unwrap();
        assert!(word(&refused.1).ends_with(want), "{want}: {refused:?}");
        assert_eq!(reason(&refused).0, 0x87, "{want}");
        assert_eq!(connection.rest(SOON).await, Some(Vec::new()));

        // 3.1.1 has one code for it.
        let mut connection = client.connect().await.unwrap();
        let refused = connection.says(&connect(4, "x")).await;
        assert_eq!(refused, Some((0x20, vec![0, 5])), "{want}");
        assert_eq!(connection.rest(SOON).await, Some(Vec::new()));
        let noted = noted(&fleet).await;
        assert!(
            noted.iter().any(|row| row.contains(want)),
            "{want}: {noted:#?}"
        );
    }
}

#[tokio::test]
async fn a_client_of_mqtt_5_is_told_what_the_server_can_do() {
    let fleet = Fleet::start().await;
    let (device, certificate) = fleet.enrolled("sn-1").await;
    let mut connection = client(&fleet, &device, &certificate)
        .connect()
        .await
        .unwrap();
    let (_, body) = connection.says(&connect_with(5, 0, 0, "")).await.unwrap();
    let properties = &body[3..];
    for (what, bytes) in [
        ("receive maximum 8", &[0x21, 0, 8][..]),
        ("maximum QoS 1", &[0x24, 1]),
        ("nothing is retained", &[0x25, 0]),
        ("packets of 16 KiB", &[0x27, 0, 0, 0x40, 0]),
        ("no identifiers of subscriptions", &[0x29, 0]),
        ("no shared subscriptions", &[0x2a, 0]),
        ("no session is kept", &[0x11, 0, 0, 0, 0]),
        ("a keep-alive, for it wanted none", &[0x13, 0, 120]),
        ("a name, for it had none", b"\x12\0\x18imprint-"),
    ] {
        let there = properties
            .windows(bytes.len())
            .any(|window| window == bytes);
        assert!(there, "{what}: {properties:x?}");
    }
}

#[tokio::test]
async fn a_member_may_ping_and_subscribe() {
    let fleet = Fleet::start().await;
    for level in [4, 5] {
        let mut connection = member(&fleet, level).await;
        assert_eq!(connection.says(PINGREQ).await, Some((0xd0, vec![])));
        let properties = usize::from(level == 5);
        let (first, body) = connection
            .says(&subscribe(level, 7, &["a/b", "+/c/#"]))
            .await
            .unwrap();
        assert_eq!(
            (first, &body[..2], &body[2 + properties..]),
            (0x90, &[0, 7][..], &[1, 1][..])
        );
        // The same again, and then no more; the second time there is nothing to be undone.
        connection
            .says(&subscribe(level, 8, &["a/b"]))
            .await
            .unwrap();
        for (id, code) in [(9, 0x00), (10, 0x11)] {
            let (first, body) = connection
                .says(&unsubscribe(level, id, "a/b"))
                .await
                .unwrap();
            assert_eq!((first, u16::from_be_bytes([body[0], body[1]])), (0xb0, id));
            assert_eq!(body.get(3), (level == 5).then_some(&code));
        }
        // What several packets say in one write is answered in their order.
        let bytes = [&subscribe(level, 11, &["x"])[..], PINGREQ, PINGREQ].concat();
        assert_eq!(connection.says(&bytes).await.unwrap().0, 0x90);
        for _ in 0..2 {
            assert_eq!(connection.came().await.unwrap().0, PINGRESP[0]);
        }
        // And what comes byte by byte.
        for byte in subscribe(level, 12, &["y"]) {
            connection.send(&[byte]).await;
        }
        assert_eq!(connection.came().await.unwrap().0, 0x90);
    }
}

#[tokio::test]
async fn a_filter_that_cannot_be_is_not_granted() {
    let fleet = Fleet::start().await;
    for (filter, want) in [
        ("a/#/b", 0x8f),
        ("a+", 0x8f),
        ("", 0x8f),
        ("$share/group/a", 0x9e),
    ] {
        for level in [4, 5] {
            let mut connection = member(&fleet, level).await;
            let (_, body) = connection
                .says(&subscribe(level, 1, &["ok", filter]))
                .await
                .unwrap();
            let want = if level == 5 { want } else { 0x80 };
            assert_eq!(body[body.len() - 2..], [1, want], "{filter}");
        }
    }
}

#[tokio::test]
async fn publishing_to_what_is_not_reserved_is_refused() {
    let fleet = Fleet::start().await;
    for topic in ["telemetry", "$aws/things/x/shadow/update", "$SYS/broker"] {
        // MQTT 5 can say it, and the connection goes on.
        let mut connection = member(&fleet, 5).await;
        let (first, body) = connection.says(&publish(5, 3, topic, b"1")).await.unwrap();
        assert_eq!((first, &body[..3]), (0x40, &[0, 3, 0x87][..]), "{topic}");
        assert!(
            word(&body).ends_with("topic-forbidden"),
            "{topic}: {body:?}"
        );
        assert_eq!(connection.says(PINGREQ).await, Some((0xd0, vec![])));
        // Without an acknowledgement there is nothing to say it in.
        let forbidden = packet(0x30, &[&text(topic), &[0], b"1"]);
        let ended = connection.says(&forbidden).await.unwrap();
        assert_eq!(reason(&ended).0, 0x87);
        assert_eq!(connection.rest(SOON).await, Some(Vec::new()));

        let mut connection = member(&fleet, 4).await;
        assert_eq!(
            connection.says(&publish(4, 3, topic, b"1")).await,
            None,
            "{topic}"
        );
    }
    // Whoever insists is counted and not written down each time.
    let mut connection = member(&fleet, 5).await;
    for id in 1..=50 {
        connection
            .says(&publish(5, id, "again", b""))
            .await
            .unwrap();
    }
    let noted = noted(&fleet).await;
    let again = noted.iter().filter(|row| row.contains("\\\"again")).count();
    assert!((1..=10).contains(&again), "{again}: {noted:#?}");
}

/// One wrong thing each: what is sent after a good CONNECT, the reason code, the catalogue's code.
fn wrong_packets(level: u8) -> Vec<(&'static str, Vec<u8>, u8, &'static str)> {
    let p: &[u8] = if level == 5 { &[0] } else { &[] };
    let one: &[u8] = &[0, 1];
    let mut rows = vec![
        (
            "a second CONNECT",
            connect(level, "x"),
            0x82,
            "packet-unexpected",
        ),
        (
            "a packet of type 0",
            vec![0x00, 0],
            0x81,
            "packet-unreadable",
        ),
        ("a CONNACK", vec![0x20, 2, 0, 0], 0x82, "packet-unexpected"),
        (
            "a SUBACK",
            vec![0x90, 3, 0, 1, 0],
            0x82,
            "packet-unexpected",
        ),
        ("a PINGRESP", PINGRESP.to_vec(), 0x82, "packet-unexpected"),
        (
            "a PUBACK for nothing",
            vec![0x40, 2, 0, 1],
            0x82,
            "packet-unexpected",
        ),
        (
            "a PUBREC for nothing",
            vec![0x50, 2, 0, 1],
            0x82,
            "packet-unexpected",
        ),
        (
            "a PUBREL for nothing",
            vec![0x62, 2, 0, 1],
            0x82,
            "packet-unexpected",
        ),
        (
            "reserved flags of SUBSCRIBE",
            vec![0x80, 2, 0, 1],
            0x81,
            "packet-unreadable",
        ),
        (
            "reserved flags of PINGREQ",
            vec![0xc1, 0],
            0x81,
            "packet-unreadable",
        ),
        (
            "a PINGREQ with something in it",
            vec![0xc0, 1, 0],
            0x81,
            "packet-unreadable",
        ),
        (
            "a length without an end",
            vec![0x30, 0xff, 0xff, 0xff, 0xff],
            0x81,
            "packet-unreadable",
        ),
        (
            "a packet of 256 MB",
            vec![0x30, 0xff, 0xff, 0xff, 0x7f],
            0x95,
            "packet-too-large",
        ),
        (
            "a packet that is a byte too long",
            packet(0x30, &[&[0; 16 * 1024 - 2]]),
            0x95,
            "packet-too-large",
        ),
        (
            "QoS 3",
            packet(0x36, &[&text("t"), one, p]),
            0x81,
            "packet-unreadable",
        ),
        (
            "QoS 2",
            packet(0x34, &[&text("t"), one, p]),
            0x9b,
            "mqtt-unsupported",
        ),
        (
            "a retained message",
            packet(0x31, &[&text("t"), p]),
            0x9a,
            "mqtt-unsupported",
        ),
        (
            "a wildcard in a topic",
            packet(0x30, &[&text("a/#"), p]),
            0x90,
            "packet-unreadable",
        ),
        (
            "PUBLISH with packet id 0",
            packet(0x32, &[&text("t"), &[0, 0], p]),
            0x82,
            "packet-unexpected",
        ),
        (
            "SUBSCRIBE with packet id 0",
            subscribe(level, 0, &["t"]),
            0x82,
            "packet-unexpected",
        ),
        (
            "SUBSCRIBE without filters",
            subscribe(level, 1, &[]),
            0x82,
            "packet-unexpected",
        ),
        (
            "SUBSCRIBE that ends in its filter",
            packet(0x82, &[one, p, &[0, 9, b'a']]),
            0x81,
            "packet-unreadable",
        ),
        (
            "a topic that is no text",
            packet(0x30, &[&[0, 2, 0xff, 0xfe], p]),
            0x81,
            "packet-unreadable",
        ),
        (
            "UNSUBSCRIBE without filters",
            packet(0xa2, &[one, p]),
            0x82,
            "packet-unexpected",
        ),
    ];
    if level == 5 {
        rows.extend([
            (
                "an empty topic without an alias",
                packet(0x30, &[&text(""), &[0]]),
                0x94,
                "packet-unexpected",
            ),
            (
                "an alias, for which there is no room",
                packet(0x30, &[&text("t"), &[3, 0x23, 0, 1]]),
                0x94,
                "packet-unexpected",
            ),
            (
                "an identifier of a subscription",
                packet(0x82, &[one, &[2, 0x0b, 1], &text("t"), &[1]]),
                0xa1,
                "mqtt-unsupported",
            ),
            (
                "a property that has no place there",
                packet(0x30, &[&text("t"), &[2, 0x24, 1]]),
                0x82,
                "packet-unexpected",
            ),
            ("AUTH", vec![0xf0, 0], 0x82, "packet-unexpected"),
        ]);
    } else {
        rows.push(("AUTH", vec![0xf0, 0], 0x82, "packet-unexpected"));
    }
    rows
}

#[tokio::test]
async fn a_packet_that_is_wrong_ends_the_connection_with_its_reason() {
    let fleet = Fleet::start().await;
    for (what, bytes, code, want) in wrong_packets(5) {
        let mut connection = member(&fleet, 5).await;
        // More is on its way when the end comes; the reason must arrive all the same.
        let _ = connection
            .tls
            .write_all(&[&bytes[..], &[0; 5_000]].concat())
            .await;
        let ended = connection
            .came()
            .await
            .unwrap_or_else(|| panic!("{what}: no reason"));
        let (got, word) = reason(&ended);
        assert_eq!(got, code, "{what}: {word}");
        assert!(word.ends_with(want), "{what}: {word}");
        assert_eq!(connection.rest(SOON).await, Some(Vec::new()), "{what}");
    }
    let noted = noted(&fleet).await;
    for word in [
        "packet-unreadable",
        "packet-unexpected",
        "packet-too-large",
        "mqtt-unsupported",
    ] {
        let count = noted.iter().filter(|row| row.contains(word)).count();
        assert!((1..=4).contains(&count), "{word}: {noted:#?}");
    }
}

#[tokio::test]
async fn a_packet_that_is_wrong_ends_a_connection_of_3_1_1_without_a_word() {
    let fleet = Fleet::start().await;
    for (what, bytes, ..) in wrong_packets(4) {
        let mut connection = member(&fleet, 4).await;
        connection.send(&bytes).await;
        assert_eq!(connection.rest(SOON).await, Some(Vec::new()), "{what}");
    }
}

#[tokio::test]
async fn what_is_no_connect_is_not_listened_to() {
    let fleet = Fleet::start().await;
    let (device, certificate) = fleet.enrolled("sn-1").await;
    let flags = |flags| connect_with(4, flags, 60, "x");
    let rows: Vec<(&str, Vec<u8>, &[u8])> = vec![
        ("HTTP", request("GET", "/v1/verify", &[], b""), b""),
        ("a PINGREQ", PINGREQ.to_vec(), b""),
        ("a PUBLISH", publish(4, 1, "t", b""), b""),
        (
            "another protocol",
            packet(0x10, &[&text("AMQP"), &[4, 2, 0, 60], &text("x")]),
            b"",
        ),
        (
            "a CONNECT that ends early",
            packet(0x10, &[&text("MQTT"), &[4]]),
            b"",
        ),
        (
            "MQTT 3.1",
            packet(0x10, &[&text("MQIsdp"), &[3, 2, 0, 60], &text("x")]),
            &[0x20, 2, 0, 1],
        ),
        (
            "MQTT 6",
            packet(0x10, &[&text("MQTT"), &[6, 2, 0, 60, 0], &text("x")]),
            &[0x20, 2, 0, 1],
        ),
        ("a reserved flag", flags(0b11), b""),
        ("a will's QoS without a will", flags(0b1010), b""),
        ("a will of QoS 3", flags(0b1_1110), b""),
        ("a CONNECT of 5 KiB", connect(4, &"x".repeat(5_000)), b""),
        (
            "a CONNECT with something behind it",
            packet(0x10, &[&text("MQTT"), &[4, 2, 0, 60], &text("x"), b"y"]),
            b"",
        ),
    ];
    for (what, bytes, want) in rows {
        let mut connection = client(&fleet, &device, &certificate)
            .connect()
            .await
            .unwrap();
        let _ = connection.tls.write_all(&bytes).await;
        assert_eq!(connection.rest(SOON).await.as_deref(), Some(want), "{what}");
    }
    // And none of it was VERIFY.
    let file = fleet
        .registrar
        .ledger()
        .device_get("thermo-sn-1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(file.device.step.name(), "VERIFY");
}

#[tokio::test]
async fn subscriptions_are_bounded() {
    let fleet = Fleet::start_with(|config| config.limits.mqtt.subscriptions = 10).await;
    let mut connection = member(&fleet, 5).await;
    let filters: Vec<String> = (0..9).map(|number| format!("f/{number}")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let (_, body) = connection.says(&subscribe(5, 1, &filters)).await.unwrap();
    assert_eq!(
        body[3..],
        [1, 1, 1, 1, 1, 1, 1, 1, 0x97],
        "eight in one packet"
    );
    let (_, body) = connection
        .says(&subscribe(5, 2, &["f/8", "f/9", "f/0", "f/10"]))
        .await
        .unwrap();
    assert_eq!(
        body[3..],
        [1, 1, 1, 0x97],
        "ten in all, and one that is there already"
    );
}

#[tokio::test]
async fn who_says_nothing_or_trickles_is_closed() {
    let fleet = Fleet::start_with(|config| {
        config.limits.mqtt.connect = Duration::from_millis(300);
        config.limits.mqtt.idle = Duration::from_secs(1);
    })
    .await;
    let (device, certificate) = fleet.enrolled("sn-1").await;
    let client = client(&fleet, &device, &certificate);
    for before in [&[][..], &[0x10], &connect(4, "x")[..5]] {
        let mut connection = client.connect().await.unwrap();
        connection.send(before).await;
        assert_eq!(connection.rest(SOON).await, Some(Vec::new()), "no CONNECT");
    }
    // A keep-alive of a second, and one that the server sets because the client wants none.
    for keep_alive in [1, 0] {
        let mut connection = client.connect().await.unwrap();
        connection
            .says(&connect_with(5, 2, keep_alive, "x"))
            .await
            .unwrap();
        let (got, word) = reason(&connection.came().await.unwrap());
        assert_eq!((got, word.ends_with("mqtt-silent")), (0x8d, true), "{word}");
    }
    // Bytes that make no packet are no sign of life.
    let mut connection = client.connect().await.unwrap();
    connection.says(&connect_with(4, 2, 1, "x")).await.unwrap();
    let long = packet(0x30, &[&text("t"), &[0; 4_000]]);
    let mut written = 0;
    for byte in long.chunks(1).take(60) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if connection.tls.write_all(byte).await.is_err() || connection.tls.flush().await.is_err() {
            break;
        }
        written += 1;
    }
    assert!(written < 60, "three seconds of trickling were taken");
}

#[tokio::test]
async fn a_ping_in_time_keeps_the_connection() {
    let fleet = Fleet::start().await;
    let (device, certificate) = fleet.enrolled("sn-1").await;
    let mut connection = client(&fleet, &device, &certificate)
        .connect()
        .await
        .unwrap();
    connection.says(&connect_with(4, 2, 1, "x")).await.unwrap();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(connection.says(PINGREQ).await, Some((0xd0, vec![])));
    }
}

#[tokio::test]
async fn two_may_have_the_same_client_id() {
    let fleet = Fleet::start().await;
    let mut first = member(&fleet, 5).await;
    let mut second = member(&fleet, 5).await;
    assert_eq!(first.says(PINGREQ).await, Some((0xd0, vec![])));
    assert_eq!(second.says(PINGREQ).await, Some((0xd0, vec![])));
}

#[tokio::test]
async fn on_a_shared_port_who_stays_leaves_the_last_places() {
    let fleet = Fleet::start_with(|config| {
        config.mqtt_on_https = true;
        config.limits.connections = 4;
    })
    .await;
    let (device, certificate) = fleet.enrolled("sn-1").await;
    let mut client = fleet.client_as(&device, &certificate);
    client.alpn = vec![b"mqtt".to_vec()];
    let mut staying = Vec::new();
    let mut busy = None;
    for _ in 0..4 {
        let mut connection = client.connect().await.unwrap();
        let came = connection.says(&connect(5, "x")).await.unwrap();
        if came.1[1] != 0 {
            busy = Some(reason(&came));
            break;
        }
        staying.push(connection);
    }
    assert_eq!(busy.map(|(code, _)| code), Some(0x89));
    assert!(staying.len() >= 2, "{}", staying.len());
}

#[tokio::test]
async fn a_server_that_has_too_much_to_do_says_so_in_mqtt() {
    let fleet = Fleet::start_with(|config| config.limits.requests_in_flight = 0).await;
    let device = Device::new();
    let client = client(&fleet, &device, &version_1_certificate(&device));
    let mut connection = client.connect().await.unwrap();
    let (got, word) = reason(&connection.says(&connect(5, "x")).await.unwrap());
    assert_eq!((got, word.ends_with("busy")), (0x89, true), "{word}");
    let mut connection = client.connect().await.unwrap();
    assert_eq!(
        connection.says(&connect(4, "x")).await,
        Some((0x20, vec![0, 3]))
    );
}

#[tokio::test]
async fn an_old_connection_is_asked_to_come_again_in_mqtt() {
    let fleet = Fleet::start_with(|config| {
        config.limits.mqtt.connection_age = Duration::from_millis(300);
    })
    .await;
    let mut connection = member(&fleet, 5).await;
    assert_eq!(connection.came().await, Some((0xe0, vec![0xa0])));
    let mut connection = member(&fleet, 4).await;
    assert_eq!(connection.came().await, None);
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let fleet = Fleet::start().await;
    let mut new = member(&fleet, 5).await;
    let mut old = member(&fleet, 4).await;
    let Fleet { running, .. } = fleet;
    let stopping = tokio::spawn(running.shutdown());
    assert_eq!(new.came().await, Some((0xe0, vec![0x8b])));
    assert_eq!(old.came().await, None);
    tokio::time::timeout(SOON, stopping)
        .await
        .expect("an end")
        .unwrap();
}

#[tokio::test]
async fn one_port_serves_both_where_that_is_configured() {
    let fleet = Fleet::start_with(|config| config.mqtt_on_https = true).await;
    let (device, certificate) = fleet.enrolled("sn-1").await;
    for name in [&b"x-amzn-mqtt-ca"[..], b"mqtt"] {
        let mut client = fleet.client_as(&device, &certificate);
        client.alpn = vec![name.to_vec()];
        let mut connection = client.connect().await.unwrap();
        let came = connection.says(&connect(4, "x")).await;
        assert_eq!(came, Some((0x20, vec![0, 0])), "{name:?}");
    }
    let verify = request("GET", "/v1/verify", &[], b"");
    for offered in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut client = fleet.client_as(&device, &certificate);
        client.alpn = offered;
        assert_eq!(client.once(&verify).await.status, 200);
    }
    // The port of its own takes whatever is offered there.
    let mut client = client(&fleet, &device, &certificate);
    client.alpn = vec![b"anything".to_vec()];
    let mut connection = client.connect().await.unwrap();
    assert_eq!(
        connection.says(&connect(4, "x")).await,
        Some((0x20, vec![0, 0]))
    );
}

#[tokio::test]
async fn one_port_serves_https_alone_unless_it_is_configured() {
    let fleet = Fleet::start().await;
    let mut client = fleet.client();
    client.alpn = vec![b"mqtt".to_vec()];
    assert!(client.connect().await.is_err(), "no name is shared");
}
