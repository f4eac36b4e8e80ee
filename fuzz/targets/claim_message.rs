//! Messages of claim provisioning, both sides: one byte that says which, and the payload.
#![no_main]

use imprint_claim::{Call, Format, Outcome, Reply, Request, Topic};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, payload)) = bytes.split_first() else {
        return;
    };
    let topic = match which & 3 {
        0 => Topic::CreateKeys,
        1 => Topic::CreateFromCsr,
        _ => Topic::Register { template: "t" },
    };
    let format = if which & 4 == 0 {
        Format::Json
    } else {
        Format::Cbor
    };
    let call = Call { topic, format };
    if which & 8 == 0 {
        let Ok(request) = Request::parse(&call, payload) else {
            return;
        };
        // What our own device would send for it is read as the same request, in either format.
        for format in Format::ALL {
            let again = Request::parse(&Call { topic, format }, &request.encode(format));
            assert_eq!(again.as_ref(), Ok(&request));
        }
        return;
    }
    let outcome = if which & 16 == 0 {
        Outcome::Accepted
    } else {
        Outcome::Rejected
    };
    let Ok(reply) = Reply::parse(&call, outcome, payload) else {
        return;
    };
    if let Reply::Rejected(rejected) = &reply {
        assert!(!rejected.message.chars().any(char::is_control));
        let _ = (rejected.code(), rejected.retry());
    }
    for format in Format::ALL {
        let again = Reply::parse(&Call { topic, format }, outcome, &reply.encode(format));
        assert_eq!(again.as_ref(), Ok(&reply));
    }
});
