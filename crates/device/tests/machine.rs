//! Every event at every record that any sequence of events can reach, up to the names of keys.
#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

use std::collections::HashMap;

use imprint_device::{
    Action, Digest, Errand, Event, Failure, Fingerprint, Pattern, Place, Quarantine,
    QuarantineRule, Record, Renewal, Retry, Settings, Slot, Step, UnixTime, image,
};

const BUILT: UnixTime = UnixTime(1_790_000_000);
const NOW: UnixTime = UnixTime(1_795_000_000);
const TOMORROW: UnixTime = NOW.plus(86_400);

fn settings(quarantine: QuarantineRule) -> Settings {
    Settings {
        quarantine,
        attempts: 3,
        ..Settings::new(BUILT)
    }
}

fn verified(at: UnixTime) -> Event {
    Event::Verified {
        at,
        valid_from: NOW.plus(-3_600),
        valid_until: NOW.plus(86_400 * 365),
    }
}

fn failures() -> Vec<Failure> {
    vec![Failure::passing("unreachable"), Failure::lasting("denied")]
}

fn turn(seconds: u32) -> Failure {
    Failure {
        retry: Retry::After(seconds),
        ..Failure::passing("rate-limited")
    }
}

/// What the world answers to actions, in and out of turn.
fn answers() -> Vec<Event> {
    let mut events = vec![
        Event::Waited,
        Event::PowerOn,
        Event::Reached { at: NOW },
        Event::Reached { at: BUILT.plus(-1) },
        Event::Enrolled,
        Event::ProfileFetched,
        Event::Stored {
            digest: Digest([1; 32]),
            registered: true,
        },
        Event::Stored {
            digest: Digest([1; 32]),
            registered: false,
        },
        Event::Registered,
        verified(NOW),
        verified(NOW.plus(86_400 * 366)),
        Event::Forgotten,
        Event::Wiped,
        Event::WrongCertificate,
        Event::HardwareMismatch,
    ];
    events.extend([1, 2].map(|which| Event::KeyMade(Fingerprint([which; 32]))));
    events.extend(Slot::ALL.map(Event::KeyMissing));
    events.extend(Slot::ALL.map(Event::CredentialMissing));
    events.extend(failures().into_iter().map(Event::Failed));
    events.push(Event::Pending(Failure::passing("approval-pending")));
    // Written down as the one before, so that there are not twice as many records.
    events.push(Event::Turn(Failure::passing("approval-pending")));
    events
}

/// What people and schedules do.
fn orders() -> Vec<Event> {
    let mut events = vec![
        Event::FactoryReset,
        Event::OperatorQuarantine,
        Event::Release,
    ];
    for at in [NOW, TOMORROW] {
        events.extend([true, false].map(|rekey| Event::RenewalDue { at, rekey }));
    }
    events
}

/// Every reachable record, by its image, with what each event leads to.
struct Explored {
    records: Vec<Record>,
    edges: Vec<Vec<(usize, Action)>>,
    events: Vec<Event>,
    orders_from: usize,
}

/// The exploration under one rule.
fn explore(settings: &Settings) -> Explored {
    let mut events = answers();
    let orders_from = events.len();
    events.extend(orders());
    let mut records = vec![Record::default()];
    let mut known = HashMap::from([(records[0].clone(), 0)]);
    let mut edges = Vec::new();
    while edges.len() < records.len() {
        let from = records[edges.len()].clone();
        let row = events.iter().map(|event| {
            let (next, action) = from.advance(event, settings, 0);
            let at = *known.entry(next).or_insert_with_key(|next| {
                records.push(next.clone());
                records.len() - 1
            });
            (at, action)
        });
        edges.push(row.collect());
    }
    Explored {
        records,
        edges,
        events,
        orders_from,
    }
}

#[test]
fn every_promise_is_kept_at_every_record_and_on_every_edge() {
    for rule in [QuarantineRule::FinalOnly, QuarantineRule::Strict] {
        let explored = explore(&settings(rule));
        explored.records.iter().for_each(check_record);
        for (from, row) in explored.records.iter().zip(&explored.edges) {
            for (event, (to, action)) in explored.events.iter().zip(row) {
                check_edge(from, event, &explored.records[*to], *action);
            }
        }
        check_patience(rule, &explored.records);
        let longest = longest_chain(&explored);
        println!(
            "{rule:?}: {} records, {} edges, at most {longest} journal writes without a person",
            explored.records.len(),
            explored.records.len() * explored.events.len(),
        );
        assert!((20..200).contains(&longest), "{longest}");
    }
}

fn check_record(record: &Record) {
    with_answers_as_hoped_every_record_comes_to_rest_within_a_dozen_actions(record);
    every_reachable_record_comes_back_from_its_image(record);
}

fn check_edge(before: &Record, event: &Event, after: &Record, action: Action) {
    only_a_verified_credential_makes_a_member(before, event, after, action);
    a_request_leaves_only_for_a_key_that_is_written_down(before, event, after, action);
    the_key_that_the_server_may_know_changes_only_by_renewal_or_reset(before, event, after, action);
    nothing_in_use_is_ever_forgotten(before, event, after, action);
    power_on_and_the_end_of_a_wait_write_nothing_unless_the_device_is_blank(
        before, event, after, action,
    );
    quarantine_ends_only_by_a_person_and_the_first_reason_stays(before, event, after, action);
    a_final_refusal_of_a_renewal_leaves_a_member_who_asks_again_after_a_day(
        before, event, after, action,
    );
}

fn check_patience(rule: QuarantineRule, records: &[Record]) {
    a_turn_counts_as_no_attempt(records);
    match rule {
        QuarantineRule::FinalOnly => a_passing_cause_never_quarantines(records),
        QuarantineRule::Strict => a_step_that_fails_all_its_attempts_quarantines(records),
    }
}

/// The longest chain of journal writes that answers alone can cause, over all records. Answers alone
/// never write in circles.
fn longest_chain(explored: &Explored) -> usize {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done(usize),
    }
    let mut marks = vec![Mark::New; explored.records.len()];
    for start in 0..marks.len() {
        let mut stack = vec![(start, 0)];
        while let Some((at, next)) = stack.pop() {
            if next == 0 {
                if marks[at] != Mark::New {
                    continue;
                }
                marks[at] = Mark::Open;
            }
            let row = &explored.edges[at][..explored.orders_from];
            if let Some((to, _)) = row.get(next) {
                stack.push((at, next + 1));
                if *to != at {
                    assert!(
                        marks[*to] != Mark::Open,
                        "{:?} comes back to itself through {:?}",
                        explored.records[*to],
                        explored.events[next],
                    );
                    stack.push((*to, 0));
                }
            } else {
                let below =
                    row.iter()
                        .filter(|(to, _)| *to != at)
                        .map(|(to, _)| match marks[*to] {
                            Mark::Done(length) => length + 1,
                            Mark::New | Mark::Open => unreachable!("children come first"),
                        });
                marks[at] = Mark::Done(below.max().unwrap_or(0));
            }
        }
    }
    let done = marks.iter().map(|mark| match mark {
        Mark::Done(length) => *length,
        Mark::New | Mark::Open => unreachable!("all were visited"),
    });
    done.max().unwrap_or(0)
}

fn with_answers_as_hoped_every_record_comes_to_rest_within_a_dozen_actions(record: &Record) {
    let (mut record, mut event) = (record.clone(), Event::PowerOn);
    for _ in 0..14 {
        let (next, action) = record.advance(&event, &settings(QuarantineRule::Strict), 0);
        record = next;
        event = match action {
            Action::Rest => {
                let step = record.step();
                assert!(
                    matches!(
                        step,
                        Step::Provisioned | Step::Quarantine | Step::Unprovisioned
                    ),
                    "{record:?}"
                );
                return;
            }
            Action::Bootstrap => Event::Reached { at: NOW },
            Action::MakeKey { .. } => Event::KeyMade(Fingerprint([1; 32])),
            Action::Enroll { .. } | Action::Renew { .. } => Event::Enrolled,
            Action::FetchProfile => Event::ProfileFetched,
            Action::StoreCredential { .. } => Event::Stored {
                digest: Digest([1; 32]),
                registered: false,
            },
            Action::Register { .. } => Event::Registered,
            Action::Verify { .. } => verified(NOW),
            Action::ForgetBootstrap | Action::Forget { .. } => Event::Forgotten,
            Action::Wipe => Event::Wiped,
            Action::Wait { .. } => panic!("nothing failed: {record:?}"),
        };
    }
    panic!("no rest: {record:?}");
}

fn every_reachable_record_comes_back_from_its_image(record: &Record) {
    let image = image::encode(7, record);
    assert_eq!(image::parse(&image), Some((7, record.clone())));
}

fn only_a_verified_credential_makes_a_member(
    before: &Record,
    event: &Event,
    after: &Record,
    _: Action,
) {
    let (was, is) = (before.credential(), after.credential());
    if is.is_none() || is == was {
        return;
    }
    let Event::Verified {
        at,
        valid_from,
        valid_until,
    } = event
    else {
        panic!("{before:?} became {after:?} by {event:?}");
    };
    assert!(
        *at >= BUILT && at >= valid_from && at <= valid_until,
        "{event:?}"
    );
    let proven = match before.place {
        Place::Verify { credential } => Some(credential),
        Place::Provisioned(member) => match member.errand {
            Errand::Renewal(Renewal::Verify { successor }) => Some(successor),
            _ => None,
        },
        _ => None,
    };
    assert_eq!(is, proven);
}

fn a_request_leaves_only_for_a_key_that_is_written_down(
    _: &Record,
    _: &Event,
    after: &Record,
    action: Action,
) {
    match action {
        Action::Enroll { key } => assert_eq!(after.place.key(), Some(key)),
        Action::Renew { key, credential } => {
            assert_eq!(after.credential(), Some(credential));
            let Place::Provisioned(member) = after.place else {
                panic!("{after:?}")
            };
            assert_eq!(member.errand, Errand::Renewal(Renewal::Enroll { key }));
        }
        _ => {}
    }
}

fn the_key_that_the_server_may_know_changes_only_by_renewal_or_reset(
    before: &Record,
    event: &Event,
    after: &Record,
    _: Action,
) {
    let (Some(was), is) = (before.place.key(), after.place.key()) else {
        return;
    };
    if is != Some(was) {
        let renewed = matches!(event, Event::Verified { .. }) && before.credential().is_some();
        assert!(
            renewed || *event == Event::FactoryReset,
            "{before:?} {event:?} {after:?}"
        );
    }
}

fn nothing_in_use_is_ever_forgotten(_: &Record, event: &Event, after: &Record, action: Action) {
    match action {
        Action::Forget { key, credential } => {
            let used = after.credential().expect("only members renew");
            assert_ne!(credential, used.slot);
            assert_ne!(key, Some(used.key.slot));
        }
        Action::MakeKey { slot } => {
            assert_ne!(after.place.key().map(|key| key.slot), Some(slot));
        }
        Action::StoreCredential { slot, .. } => {
            assert_ne!(after.credential().map(|used| used.slot), Some(slot));
        }
        Action::ForgetBootstrap => assert!(after.credential().is_some()),
        Action::Wipe => assert_eq!(after.place, Place::Wiping, "{event:?}"),
        _ => {}
    }
}

fn power_on_and_the_end_of_a_wait_write_nothing_unless_the_device_is_blank(
    before: &Record,
    event: &Event,
    after: &Record,
    _: Action,
) {
    let begins = before.place == Place::Blank && *event == Event::PowerOn;
    if matches!(event, Event::PowerOn | Event::Waited) && !begins {
        assert_eq!(before, after);
    }
}

fn quarantine_ends_only_by_a_person_and_the_first_reason_stays(
    before: &Record,
    event: &Event,
    after: &Record,
    action: Action,
) {
    let Some(reason) = before.quarantine else {
        return;
    };
    match event {
        Event::Release => {
            assert_eq!(after.quarantine, None);
            assert_eq!(after.place, before.place);
        }
        Event::FactoryReset => assert_eq!(after.place, Place::Wiping),
        _ => {
            assert_eq!((after, action), (before, Action::Rest));
            assert_eq!(
                after.indicate(),
                Pattern::Resting {
                    blinks: reason as u8
                }
            );
        }
    }
}

fn a_passing_cause_never_quarantines(records: &[Record]) {
    let rule = settings(QuarantineRule::FinalOnly);
    for record in records {
        for failure in failures()
            .into_iter()
            .filter(|failure| failure.retry != Retry::Never)
        {
            let (after, _) = record.advance(&Event::Failed(failure), &rule, 0);
            assert_eq!(after.quarantine, record.quarantine, "{record:?}");
        }
    }
}

fn a_turn_counts_as_no_attempt(records: &[Record]) {
    for rule in [QuarantineRule::FinalOnly, QuarantineRule::Strict].map(settings) {
        for record in records {
            let (after, action) = record.advance(&Event::Turn(turn(1)), &rule, u32::MAX);
            assert_eq!(after.attempts, record.attempts, "{record:?}");
            assert_eq!(after.place, record.place, "{record:?}");
            assert_eq!(after.quarantine, record.quarantine, "{record:?}");
            if let Action::Wait { ms } = action {
                assert!((1_000..=1_250).contains(&ms), "{record:?} {ms}");
            }
        }
    }
}

fn a_step_that_fails_all_its_attempts_quarantines(records: &[Record]) {
    let rule = settings(QuarantineRule::Strict);
    for record in records.iter().filter(|record| record.quarantine.is_none()) {
        let mut after = record.clone();
        for _ in 0..rule.attempts() {
            after = after
                .advance(&Event::Failed(Failure::passing("unreachable")), &rule, 0)
                .0;
        }
        let joining = !matches!(
            record.place,
            Place::Blank | Place::Wiping | Place::Provisioned(_)
        );
        assert_eq!(
            after.quarantine,
            joining.then_some(Quarantine::AttemptsExhausted),
            "{record:?}"
        );
    }
}

#[test]
fn a_server_that_changes_its_excuses_writes_a_bounded_number_of_times() {
    let rule = settings(QuarantineRule::FinalOnly);
    let mut record = Record::default().advance(&Event::PowerOn, &rule, 0).0;
    let mut writes = 0;
    for attempt in 0..10_000 {
        let excuse = Failure::passing(["a", "b", "c"][attempt % 3]);
        let event = if attempt % 7 == 0 {
            Event::Pending(excuse)
        } else {
            Event::Failed(excuse)
        };
        let (next, action) = record.advance(&event, &rule, 0);
        assert!(matches!(action, Action::Wait { .. }));
        writes += u32::from(next != record);
        record = next;
    }
    assert!(writes <= 3 + 4, "{writes}");
}

fn a_final_refusal_of_a_renewal_leaves_a_member_who_asks_again_after_a_day(
    before: &Record,
    event: &Event,
    after: &Record,
    _: Action,
) {
    let Place::Provisioned(was) = before.place else {
        return;
    };
    let final_word = matches!(event, Event::Failed(failure) if failure.retry == Retry::Never);
    if final_word && matches!(was.errand, Errand::Renewal(_)) && before.quarantine.is_none() {
        assert_eq!(after.quarantine, None);
        assert_eq!(after.credential(), before.credential());
        let rule = settings(QuarantineRule::FinalOnly);
        let rested = after.advance(&Event::Forgotten, &rule, 0).0;
        let due = |at| Event::RenewalDue { at, rekey: true };
        let soon = rested
            .advance(&due(was.renewal_began.plus(86_399)), &rule, 0)
            .0;
        assert_eq!(soon, rested);
        let later = rested
            .advance(&due(was.renewal_began.plus(86_400)), &rule, 0)
            .0;
        assert_ne!(later, rested);
    }
}
