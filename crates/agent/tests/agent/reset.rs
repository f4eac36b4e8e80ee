//! A factory reset: what goes, what stays, and that no power cut leaves half of it.

use std::fs;
use std::path::{Path, PathBuf};

use imprint_agent::device::{Event, Quarantine};
use imprint_agent::{AgentError, End, Reset, Status, StoreError, Strike, reset};
use imprint_est::Secret;
use imprint_identity::HardwareId;

use crate::registrar::{self, Books, Registrar};
use crate::{Watch, join, join_by, member, settings};

/// All files below a folder, by their names from there, in order.
fn files(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    let names = found.iter().map(|path| path.strip_prefix(folder).unwrap());
    let mut names: Vec<_> = names.map(|name| name.display().to_string()).collect();
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    for name in files(from) {
        fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

/// Whether what is left says nothing about who the device was.
fn assert_blank(state: &Path, kept: &[&str]) {
    let mut left = files(state);
    left.retain(|name| !["journal.a", "journal.b", "lock"].contains(&name.as_str()));
    assert_eq!(left, kept);
    let status = Status::read(state).unwrap();
    assert_eq!(status.step, "UNPROVISIONED");
    assert_eq!((status.hardware, status.refusal), (None, None));
    assert_eq!(status.certificate, None);
}

async fn joined(registrar: &Registrar, state: &Path) {
    drop(member(
        join(settings(registrar, state), &Watch::default()).await,
    ));
}

#[tokio::test]
async fn a_reset_deletes_who_the_device_is_and_keeps_what_it_may_begin_with() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    joined(&registrar, state).await;
    for (name, content) in [
        ("keys/a.p8.new", "half a key"),
        ("credential-b/chain.pem.new", "half a chain"),
        ("setup.json.new", "{"),
        ("ownership.json", "{}"),
        ("registration.json", "{}"),
    ] {
        fs::create_dir_all(state.join(name).parent().unwrap()).unwrap();
        fs::write(state.join(name), content).unwrap();
    }
    for kept in [false, true] {
        if kept {
            use std::os::unix::fs::PermissionsExt;
            fs::write(state.join("token"), registrar::TOKEN).unwrap();
            fs::set_permissions(state.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
        }
        // Twice is as good as once.
        for _ in 0..2 {
            let bootstrap_kept = kept;
            assert_eq!(reset(state).unwrap(), Reset::Done { bootstrap_kept });
            assert_blank(state, if kept { &["token"] } else { &[] });
        }
    }
    // It begins anew, with the token that was kept.
    registrar.books(|books| *books = Books::default());
    let mut anew = settings(&registrar, state);
    anew.token = None;
    drop(member(join(anew, &Watch::default()).await));
}

#[tokio::test]
async fn a_reset_that_a_power_cut_interrupts_anywhere_is_finished_by_whatever_comes_next() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    joined(&registrar, &dir.path().join("state")).await;
    let watch = Watch::striking(0, Strike::PowerCut);
    let end = join_by(
        settings(&registrar, &dir.path().join("state")),
        &watch,
        Event::FactoryReset,
    );
    assert!(matches!(end.await.unwrap(), End::PowerCut));
    let mut going = files(&dir.path().join("state"));
    going.retain(|name| !name.starts_with("journal") && name != "lock");
    assert!(going.len() >= 4, "{going:?}");
    for gone in 0..=going.len() {
        for by_reset in [true, false] {
            let state = dir.path().join(format!("{gone}-{by_reset}"));
            copy(&dir.path().join("state"), &state);
            for name in going.iter().take(gone) {
                fs::remove_file(state.join(name)).unwrap();
            }
            if by_reset {
                let bootstrap_kept = false;
                assert_eq!(reset(&state).unwrap(), Reset::Done { bootstrap_kept });
                assert_blank(&state, &[]);
                continue;
            }
            // It is a copy from another board: after a reset, no clone of anything.
            if let Ok(setup) = fs::read_to_string(state.join("setup.json")) {
                let other = setup.replace("custom:sn-1", "custom:sn-2");
                fs::write(state.join("setup.json"), other).unwrap();
            }
            registrar.books(|books| *books = Books::default());
            joined(&registrar, &state).await;
            let status = Status::read(&state).unwrap();
            assert_eq!(status.hardware.as_deref(), Some("custom:sn-1"), "{gone}");
        }
    }
}

#[tokio::test]
async fn a_clone_and_a_damaged_directory_can_be_reset_and_nothing_at_all_too() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    assert_eq!(reset(&state).unwrap(), Reset::Nothing);
    assert!(!state.exists());
    joined(&registrar, &state).await;
    let mut clone = settings(&registrar, &state);
    clone.hardware = HardwareId::parse("custom:sn-2").unwrap();
    let end = join(clone, &Watch::default()).await.unwrap();
    assert!(matches!(
        end,
        End::Quarantined(Quarantine::HardwareMismatch, _)
    ));
    drop(end);
    for name in ["setup.json", "keys/a.p8", "credential-a/chain.pem"] {
        fs::write(state.join(name), "{").unwrap();
    }
    let bootstrap_kept = false;
    assert_eq!(reset(&state).unwrap(), Reset::Done { bootstrap_kept });
    assert_blank(&state, &[]);
    registrar.books(|books| *books = Books::default());
    let mut anew = settings(&registrar, &state);
    anew.token = Some(Secret::new(registrar::TOKEN.as_bytes().to_vec()));
    drop(member(join(anew, &Watch::default()).await));
}

#[tokio::test]
async fn nobody_resets_a_device_under_its_running_agent() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agent = member(join(settings(&registrar, dir.path()), &Watch::default()).await);
    let error = reset(dir.path()).unwrap_err();
    assert!(
        matches!(error, AgentError::Store(StoreError::Busy { .. })),
        "{error}"
    );
    assert!(dir.path().join("keys/a.p8").exists());
    drop(agent);
    reset(dir.path()).unwrap();
}
