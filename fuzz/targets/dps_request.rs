//! DPS over HTTPS: `method target content-type`, a line feed, and the body. The server's side, of the
//! device API and of the service API.
#![no_main]

use imprint_dps::service::{
    BulkOperation, EnrollmentGroup, IndividualEnrollment, Query, Route, ServiceCall,
};
use imprint_dps::{Call, client};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (head, body) = (&bytes[..end], &bytes[end + 1..]);
    let Ok(head) = std::str::from_utf8(head) else {
        return;
    };
    let mut words = head.splitn(3, ' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return;
    };
    if let Ok(call) = ServiceCall::parse(method, target) {
        service(&call.route, body);
    }
    let Ok(call) = Call::parse(method, target, words.next(), body) else {
        return;
    };
    assert!(Call::is_path(target));
    // What our own device would send for it is read as the same call; ours always names a version.
    let sent = client::http(&call);
    let content_type = Some("application/json; charset=utf-8");
    let again = Call::parse(sent.method, &sent.target, content_type, &sent.body);
    let again = again.expect("our own device's");
    assert_eq!((again.scope, again.request), (call.scope, call.request));
    assert_eq!(
        again.registration_id.as_str(),
        call.registration_id.as_str()
    );
});

/// A record that is read is written, and read again as the same.
fn service(route: &Route, body: &[u8]) {
    match route {
        Route::EnrollmentPut(id) => {
            if let Ok(record) = IndividualEnrollment::parse(id, body) {
                let json = serde_json::to_vec(&record).unwrap();
                assert_eq!(IndividualEnrollment::parse(id, &json), Ok(record));
            }
        }
        Route::GroupPut(id) => {
            if let Ok(record) = EnrollmentGroup::parse(id, body) {
                let json = serde_json::to_vec(&record).unwrap();
                assert_eq!(EnrollmentGroup::parse(id, &json), Ok(record));
            }
        }
        Route::EnrollmentBulk => {
            let _ = BulkOperation::<IndividualEnrollment>::parse(body);
        }
        Route::EnrollmentQuery => {
            let _ = Query::parse(body);
        }
        _ => {}
    }
}
