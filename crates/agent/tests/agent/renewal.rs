//! A member's certificate gets a successor, and the device is a member all the time.

use imprint_agent::device::Slot;
use imprint_agent::{Renewed, Strike};
use imprint_identity::UnixTime;

use crate::pki::DAY;
use crate::registrar::{Instead, Registrar};
use crate::{NOW, Watch, join, member, settings};

#[tokio::test]
async fn a_certificate_is_renewed_at_two_thirds_with_a_new_key_and_the_old_one_goes() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = member(join(settings(&registrar, dir.path()), &Watch::default()).await);
    assert_eq!(agent.renew_if_due().await.unwrap(), Renewed::NotDue);
    drop(agent);

    // A later start of the same device: nobody has told it the time yet.
    registrar.books(|books| books.clock = Some(NOW.plus(60 * DAY)));
    let mut agent = member(join(settings(&registrar, dir.path()), &Watch::default()).await);
    registrar.forget_log();
    assert_eq!(agent.renew_if_due().await.unwrap(), Renewed::Done);
    let credential = agent.record().credential().unwrap();
    assert_eq!((credential.slot, credential.key.slot), (Slot::B, Slot::B));
    assert!(!dir.path().join("keys/a.p8").exists());
    assert!(!dir.path().join("credential-a/chain.pem").exists());
    let paths = registrar.paths();
    let want = [
        "/v1/time",
        "/.well-known/est/thermo/simplereenroll",
        "/v1/profile",
        "/v1/verify",
    ];
    assert_eq!(paths, want);
    registrar.books(|books| assert_eq!((books.issued.len(), books.verified.len()), (2, 2)));
    assert_eq!(agent.renew_if_due().await.unwrap(), Renewed::NotDue);
}

#[tokio::test]
async fn a_device_with_one_permanent_key_renews_with_that() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(&registrar, dir.path());
    settings.rekey = false;
    let mut agent = member(join(settings, &Watch::default()).await);
    let at = NOW.plus(61 * DAY);
    registrar.books(|books| books.clock = Some(at));
    assert_eq!(agent.renew_now(at).await.unwrap(), Renewed::Done);
    let credential = agent.record().credential().unwrap();
    assert_eq!((credential.slot, credential.key.slot), (Slot::B, Slot::A));
    assert!(dir.path().join("keys/a.p8").exists() && !dir.path().join("keys/b.p8").exists());
}

#[tokio::test]
async fn a_refused_renewal_leaves_the_member_as_it_is() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = member(join(settings(&registrar, dir.path()), &Watch::default()).await);
    let before = agent.record().credential();
    let refusal = "product-closed; step=PROVISIONED; retry=never";
    registrar.instead("simplereenroll", Instead::refusal(403, refusal));
    let at = NOW.plus(61 * DAY);
    assert_eq!(agent.renew_now(at).await.unwrap(), Renewed::Refused);
    assert_eq!(agent.record().credential(), before);
    assert!(dir.path().join("keys/a.p8").exists() && !dir.path().join("keys/b.p8").exists());
    registrar.forget_log();
    assert_eq!(
        agent.renew_now(at.plus(3600)).await.unwrap(),
        Renewed::Refused
    );
    assert_eq!(registrar.paths(), [] as [&str; 0], "at most once a day");
}

/// The power goes at every moment of a renewal in turn; there is a working credential after each.
#[tokio::test]
async fn a_power_cut_at_any_moment_of_a_renewal_leaves_a_member() {
    let mut cuts = 0;
    for at in 0..60 {
        let registrar = Registrar::start().await;
        let dir = tempfile::tempdir().unwrap();
        drop(member(
            join(settings(&registrar, dir.path()), &Watch::default()).await,
        ));
        let later: UnixTime = NOW.plus(61 * DAY);
        registrar.books(|books| books.clock = Some(later));
        let watch = Watch::striking(at, Strike::PowerCut);
        let mut agent = match join(settings(&registrar, dir.path()), &watch)
            .await
            .unwrap()
        {
            imprint_agent::End::Member(agent) => *agent,
            imprint_agent::End::PowerCut => continue,
            other => panic!("{other:?}"),
        };
        let renewed = agent.renew_now(later).await.unwrap();
        drop(agent);
        let agent = member(join(settings(&registrar, dir.path()), &Watch::default()).await);
        registrar.books(|books| {
            let credential = agent.record().credential().unwrap();
            let stored = agent.store().credential(credential.slot).unwrap().unwrap();
            assert!(books.verified.contains(&stored.chain[0].to_vec()), "{at}");
            assert!(
                books.issued.len() <= 2 && books.verified.len() <= 2,
                "one successor: {at}"
            );
        });
        match renewed {
            Renewed::PowerCut => cuts += 1,
            _ => break,
        }
    }
    assert!(cuts > 12, "{cuts}");
}

#[tokio::test]
async fn a_member_that_stays_renews_by_itself_when_the_time_has_come() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agent = member(join(settings(&registrar, dir.path()), &Watch::default()).await);
    let life = tokio::spawn(agent.stay());
    for day in [30, 59, 61] {
        registrar.books(|books| books.clock = Some(NOW.plus(day * DAY)));
        registrar.forget_log();
        for _ in 0..1_000 {
            let looks = registrar
                .paths()
                .iter()
                .filter(|path| *path == "/v1/time")
                .count();
            if looks >= 2 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let renewed = registrar
            .paths()
            .iter()
            .any(|path| path.ends_with("simplereenroll"));
        assert_eq!(renewed, day == 61, "day {day}");
    }
    assert!(!life.is_finished(), "a member stays");
    life.abort();
}
