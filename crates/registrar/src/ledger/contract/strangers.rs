//! Text from strangers is a parameter and nothing else.

use imprint_identity::Step;

use super::*;
use crate::ledger::{Acted, DeviceAct, DeviceFilter, RefusalSample, Report, TokenAct, TokenFilter};

/// What breaks a statement that is glued together, widens a pattern, or ends a C string.
const HOSTILE: [&str; 14] = [
    "'",
    "\"",
    "%",
    "_",
    ";",
    "--",
    "' OR '1'='1",
    "' OR 1=1 --",
    "'; DROP TABLE token; --",
    "thermo%",
    "t-%",
    "thermo-001\0",
    "\0",
    "Robert\u{2019}); \u{202e}\u{1f4a9}\\",
];

async fn furnish<P: Place>(bench: &mut Bench<P>) {
    for n in [1, 2] {
        bench.member(n).await;
    }
    bench
        .open()
        .await
        .allow_add("thermo", vec![hardware(1)], ADMIN, NOW)
        .await
        .unwrap();
}

/// No look-up by any text finds what is not named exactly so.
pub async fn no_text_widens_a_look_up<P: Place>(bench: &mut Bench<P>) {
    furnish(bench).await;
    for text in HOSTILE {
        let ledger = bench.open().await;
        assert!(ledger.device_get(text).await.unwrap().is_none(), "{text:?}");
        assert!(ledger.token_get(text).await.unwrap().is_none(), "{text:?}");
        assert!(
            ledger.refusal_list(text).await.unwrap().is_empty(),
            "{text:?}"
        );
        assert!(
            ledger.allow_list(text, None, 9).await.unwrap().is_empty(),
            "{text:?}"
        );
        assert!(
            ledger
                .crl_facts(text, NOW)
                .await
                .unwrap()
                .revoked
                .is_empty(),
            "{text:?}"
        );
        let product = Some(text.to_owned());
        let filter = TokenFilter {
            product: product.clone(),
            ..Default::default()
        };
        assert!(
            ledger.token_list(&filter).await.unwrap().is_empty(),
            "{text:?}"
        );
        let filter = DeviceFilter {
            product: product.clone(),
            ..Default::default()
        };
        assert!(
            ledger.device_list(&filter).await.unwrap().is_empty(),
            "{text:?}"
        );
        let query = FactsQuery {
            product,
            token: None,
            asserted: None,
            ..query(1, 9)
        };
        let facts = ledger.enrollment_facts(&query, NOW).await.unwrap();
        assert!(
            facts.product.is_none() && facts.device.is_none(),
            "{text:?}"
        );
        if let Ok(custom) = HardwareId::parse(text) {
            let query = FactsQuery {
                asserted: Some(custom),
                token: None,
                ..query
            };
            let facts = ledger.enrollment_facts(&query, NOW).await.unwrap();
            assert!(facts.device.is_none() && !facts.allowed, "{text:?}");
        }
        // A page that begins after any text is a part of the list, never more.
        let after = DeviceFilter {
            after: Some(text.to_owned()),
            ..Default::default()
        };
        assert!(
            ledger.device_list(&after).await.unwrap().len() <= 2,
            "{text:?}"
        );
        assert!(
            ledger
                .allow_list("thermo", Some(text), 9)
                .await
                .unwrap()
                .len()
                <= 1,
            "{text:?}"
        );
    }
}

/// No write with any text touches anything else.
pub async fn no_text_changes_what_it_is_not_meant_for<P: Place>(bench: &mut Bench<P>) {
    furnish(bench).await;
    let devices = bench
        .open()
        .await
        .device_list(&DeviceFilter::default())
        .await
        .unwrap();
    let tokens = bench
        .open()
        .await
        .token_list(&TokenFilter::default())
        .await
        .unwrap();
    for text in HOSTILE {
        for act in [
            TokenAct::Revoke,
            TokenAct::Arm,
            TokenAct::Rebind { hardware: None },
        ] {
            let acted = bench
                .open()
                .await
                .token_act(text, act, text, NOW)
                .await
                .unwrap();
            assert_eq!(acted, Acted::Absent, "{text:?}");
        }
        let removed = bench
            .open()
            .await
            .allow_remove(text, vec![hardware(1)], text, NOW)
            .await;
        assert_eq!(removed.unwrap(), 0, "{text:?}");
        let shown = bench
            .open()
            .await
            .credential_verify(Serial([9; 20]), text, NOW)
            .await;
        assert!(shown.unwrap().is_none(), "{text:?}");
    }
    assert_eq!(
        bench
            .open()
            .await
            .device_list(&DeviceFilter::default())
            .await
            .unwrap(),
        devices
    );
    assert_eq!(
        bench
            .open()
            .await
            .token_list(&TokenFilter::default())
            .await
            .unwrap(),
        tokens
    );
    assert_eq!(
        bench
            .open()
            .await
            .allow_list("thermo", None, 9)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(bench.told("token-minted").await, 2);
}

/// Every text that is kept is kept to the octet.
pub async fn text_comes_back_as_it_went_in<P: Place>(bench: &mut Bench<P>) {
    bench.member(1).await;
    for (n, text) in (100..).zip(HOSTILE) {
        let reason = text.to_owned();
        let act = DeviceAct::Quarantine {
            reason: reason.clone(),
        };
        bench
            .open()
            .await
            .device_act(&device_id(1), act, text, NOW)
            .await
            .unwrap();
        assert_eq!(
            bench.device(&name(1)).await.reason,
            Some(reason),
            "{text:?}"
        );
        let row = bench.journal().await.pop().unwrap();
        assert_eq!(
            (row.actor.as_str(), row.kind.as_str()),
            (text, "device-quarantined")
        );
        let detail: serde_json::Value = serde_json::from_str(&row.detail).unwrap();
        assert_eq!(detail["reason"], text);

        let token = NewToken {
            id: format!("t-{text}"),
            ..new_token(n)
        };
        bench
            .open()
            .await
            .token_mint(vec![token], text, NOW)
            .await
            .unwrap();
        let found = bench
            .open()
            .await
            .token_get(&format!("t-{text}"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((found.hash, found.minted_by.as_str()), (hash(n), text));

        let sample = RefusalSample {
            subject: text.into(),
            at: NOW,
            code: text.into(),
            step: Step::Enroll,
            detail: text.into(),
            address: text.into(),
            credential: text.into(),
            count: 1,
        };
        bench
            .open()
            .await
            .refusal_add(vec![sample.clone()], NOW)
            .await
            .unwrap();
        assert_eq!(
            bench.open().await.refusal_list(text).await.unwrap(),
            [sample]
        );

        let report = Report {
            subject: name(1),
            at: NOW,
            step: Step::Enroll,
            code: text.into(),
            attempts: 1,
            address: text.into(),
        };
        bench
            .open()
            .await
            .report_add(report.clone(), NOW)
            .await
            .unwrap();
        assert_eq!(bench.file(&name(1)).await.reports.first(), Some(&report));
    }
}
