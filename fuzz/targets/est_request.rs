//! EST requests: `method path content-type`, a line feed, and the body. The server's side.
#![no_main]

use imprint_est::{Basic, Request, client};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (head, body) = (&bytes[..end], &bytes[end + 1..]);
    let Ok(head) = std::str::from_utf8(head) else {
        return;
    };
    let _ = Basic::parse(head);
    let mut words = head.splitn(3, ' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return;
    };
    let Ok(request) = Request::parse(method, path, words.next(), body) else {
        return;
    };
    // What our own client would send for it is read as the same request.
    let sent = client::encode(&request);
    let content_type = sent
        .headers
        .iter()
        .find(|(name, _)| *name == "Content-Type");
    let content_type = content_type.map(|(_, value)| value.as_str());
    let again = Request::parse(sent.method, &sent.path, content_type, &sent.body);
    assert_eq!(again.as_ref(), Ok(&request));
});
