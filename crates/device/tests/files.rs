//! The journal in two files, on a real file system.
#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use imprint_device::file::FileJournal;
use imprint_device::{Device, Event, Journal, Record, Settings, Step, UnixTime};

const BUILT: UnixTime = UnixTime(1_790_000_000);

/// A device that has gone on as far as `events` lead, with its journal in `folder`.
fn go_on(folder: &Path, events: &[Event]) -> Record {
    let mut device =
        Device::wake(FileJournal::new(folder), Settings::new(BUILT)).expect("a readable journal");
    for event in events {
        device.tell(event, 0).expect("a writable journal");
    }
    device.record().clone()
}

#[test]
fn a_device_goes_on_where_its_files_say_it_stood() {
    let folder = tempfile::tempdir().unwrap();
    let before = go_on(
        folder.path(),
        &[Event::PowerOn, Event::Reached { at: BUILT }],
    );
    assert_eq!(before.step(), Step::Enroll);
    assert_eq!(go_on(folder.path(), &[Event::PowerOn]), before);
}

#[test]
fn a_folder_without_a_journal_is_a_blank_device_and_reading_it_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(FileJournal::new(folder.path()).load().unwrap(), None);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_torn_newest_file_costs_one_step_and_torn_files_are_a_blank_device() {
    let folder = tempfile::tempdir().unwrap();
    go_on(
        folder.path(),
        &[Event::PowerOn, Event::Reached { at: BUILT }],
    );
    fs::write(folder.path().join("journal.b"), b"torn").unwrap();
    assert_eq!(go_on(folder.path(), &[]).step(), Step::Bootstrap);
    fs::write(folder.path().join("journal.a"), b"").unwrap();
    assert_eq!(go_on(folder.path(), &[]), Record::default());
}

#[test]
fn a_folder_that_cannot_be_written_leaves_the_device_where_it_stood() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let mut device = Device::wake(FileJournal::new(&missing), Settings::new(BUILT)).unwrap();
    assert!(device.tell(&Event::PowerOn, 0).is_err());
    assert_eq!(*device.record(), Record::default());
    fs::create_dir(&missing).unwrap();
    device.tell(&Event::PowerOn, 0).unwrap();
    assert_eq!(go_on(&missing, &[]).step(), Step::Bootstrap);
}

#[cfg(unix)]
#[test]
fn nobody_but_the_owner_reads_the_journal() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    go_on(folder.path(), &[Event::PowerOn]);
    let mode = fs::metadata(folder.path().join("journal.a"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
