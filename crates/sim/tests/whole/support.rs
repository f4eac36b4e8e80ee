//! What several proofs share.

use std::fs;
use std::path::Path;
use std::time::Instant;

use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;
use imprint_sim::checker::{self, Findings, Outside, Records};
use imprint_sim::place::Place;

/// A folder for somebody else's client, with the authorities in it.
pub(crate) fn client_folder(place: &Place) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(place.root_pem(), folder.path().join("root.pem")).unwrap();
    let issuing = pem::encode("CERTIFICATE", place.issuing().der());
    fs::write(folder.path().join("issuing.pem"), issuing).unwrap();
    folder
}

/// What is on record at a place, judged.
pub(crate) fn judge(place: &Place, outside: &Outside) -> (Records, Findings) {
    judge_at(&place.database(), &place.issuing(), outside)
}

/// What is on record in a database, judged.
pub(crate) fn judge_at(
    database: &Path,
    issuing: &Certificate,
    outside: &Outside,
) -> (Records, Findings) {
    let records = Records::read(database);
    let findings = checker::check(&records, outside, issuing);
    (records, findings)
}

/// Ends the test with everything that does not hold.
pub(crate) fn assert_clean(what: &str, findings: &Findings) {
    assert!(findings.is_clean(), "{what}: {findings}");
}

/// How long it took so far.
pub(crate) fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}
