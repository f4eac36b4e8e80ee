//! The database is gone. No device is told anything final, and what needs no database goes on.

use crate::support::{Client, Device, Fleet, basic, post, request, version_1_certificate};

#[tokio::test]
async fn a_passing_cause_gets_a_passing_answer() {
    let fleet = Fleet::in_an_outage().await;
    let authorization = basic("sn-1", TOKEN);
    let headers = [("Authorization", authorization.as_str())];
    let csr = Device::new().csr("x", None);
    for bytes in [
        post("/.well-known/est/thermo/simpleenroll", &headers, &csr),
        request("GET", "/.well-known/est/thermo/cacerts", &[], b""),
        request("GET", "/v1/profile", &headers, b""),
    ] {
        let reply = fleet.client().once(&bytes).await;
        assert_eq!(
            (reply.status, reply.code()),
            (503, "ledger-unavailable"),
            "{reply:?}"
        );
        let seconds: u32 = reply.header("Retry-After").unwrap().parse().unwrap();
        assert!((30..=45).contains(&seconds), "{seconds}");
        assert!(!reply.text().contains("full"), "{}", reply.text());
    }
}

#[tokio::test]
async fn what_needs_no_database_goes_on_and_readyz_tells() {
    let fleet = Fleet::in_an_outage().await;
    let stranger = Device::new();
    let client = fleet.client_as(&stranger, &version_1_certificate(&stranger));
    for path in ["/.well-known/est/cacerts", "/v1/time"] {
        assert_eq!(
            client.once(&request("GET", path, &[], b"")).await.status,
            200,
            "{path}"
        );
    }
    let admin = Client::new(fleet.running.addresses().admin.unwrap(), &fleet.root);
    for (path, status) in [("/healthz", 200), ("/readyz", 503)] {
        let reply = admin.once(&request("GET", path, &[], b"")).await;
        assert_eq!(reply.status, status, "{path}");
    }
}

/// Sound by its checksum; on no record.
const TOKEN: &str = "070W3-GE1R7-0W3GE-1R70W-3GE1R-7TXGX";
