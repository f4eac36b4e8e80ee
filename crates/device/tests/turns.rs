//! A device in a crowd: it takes the turn that it is given, and no server makes it hammer. And what it
//! follows beside its own patience: its product's.

use std::convert::Infallible;

use imprint_device::{
    Action, Device, Event, Failure, Fingerprint, Journal, Quarantine, QuarantineRule, Record,
    Retry, Settings, UnixTime,
};

const BUILT: UnixTime = UnixTime(1_790_000_000);
const HOUR_MS: u64 = 3_600_000;

/// A journal in memory that counts what it would write.
#[derive(Default)]
struct Counting {
    record: Option<Record>,
    writes: u32,
}

impl Journal for Counting {
    type Error = Infallible;

    fn load(&mut self) -> Result<Option<Record>, Infallible> {
        Ok(self.record.clone())
    }

    fn save(&mut self, record: &Record) -> Result<(), Infallible> {
        if self.record.as_ref() != Some(record) {
            self.record = Some(record.clone());
            self.writes += 1;
        }
        Ok(())
    }
}

fn turn(seconds: u32) -> Event {
    Event::Turn(Failure {
        retry: Retry::After(seconds),
        ..Failure::passing("rate-limited")
    })
}

/// A device that is about to ask for its certificate.
fn asking(quarantine: QuarantineRule) -> Device<Counting> {
    let settings = Settings {
        quarantine,
        ..Settings::new(BUILT)
    };
    let mut device = Device::wake(Counting::default(), settings).expect("a journal");
    for event in [
        Event::PowerOn,
        Event::Reached { at: BUILT },
        Event::KeyMade(Fingerprint([1; 32])),
    ] {
        tell(&mut device, &event);
    }
    device
}

fn tell(device: &mut Device<Counting>, event: &Event) -> Action {
    device.tell(event, u32::MAX).expect("a journal")
}

fn waits(device: &mut Device<Counting>, event: &Event) -> Option<u32> {
    let action = tell(device, event);
    let Action::Wait { ms } = action else {
        assert_eq!(action, Action::Rest);
        return None;
    };
    tell(device, &Event::Waited);
    Some(ms)
}

#[test]
fn a_crowd_member_comes_when_it_is_told_each_time_and_writes_that_down_once() {
    let mut device = asking(QuarantineRule::Strict);
    let before = device.record().clone();
    let told = [150, 2, 1, 0, 1];
    for seconds in told {
        let ms = waits(&mut device, &turn(seconds)).expect("a wait");
        let least = seconds.max(1) * 1_000;
        assert!((least..=least + 250).contains(&ms), "{seconds} s: {ms} ms");
    }
    assert_eq!(device.record().attempts, 0);
    assert_eq!(device.record().place, before.place);
    let refusal = device.record().refusal.clone().expect("the cause is shown");
    assert_eq!(refusal.code.as_str(), "rate-limited");
    assert_eq!(tell(&mut device, &Event::Enrolled), Action::FetchProfile);
    // Three steps to get there, the cause, the next place.
    assert_eq!(device.into_journal().writes, 5);
}

#[test]
fn a_server_that_names_turns_without_end_is_asked_a_few_times_and_then_now_and_then() {
    for seconds in [0, 1] {
        let mut device = asking(QuarantineRule::FinalOnly);
        let (mut asked, mut waited) = (0, 0);
        while waited < HOUR_MS {
            waited += u64::from(waits(&mut device, &turn(seconds)).expect("a wait"));
            asked += 1;
        }
        // Eight turns, four growing waits, then every quarter of an hour.
        assert!((14..=17).contains(&asked), "{asked} requests in an hour");
        assert_eq!(device.record().quarantine, None);
        assert!(device.into_journal().writes < 20);
    }
}

#[test]
fn a_strict_product_s_device_rests_when_turns_are_never_honoured() {
    let mut device = asking(QuarantineRule::Strict);
    let turns = (0..).map_while(|_| waits(&mut device, &turn(1))).count();
    assert_eq!(turns, 8 + 4);
    assert_eq!(
        device.record().quarantine,
        Some(Quarantine::AttemptsExhausted)
    );
}

#[test]
fn a_step_that_went_on_has_its_turns_anew() {
    let mut device = asking(QuarantineRule::FinalOnly);
    for _ in 0..8 {
        waits(&mut device, &turn(1));
    }
    tell(&mut device, &Event::Enrolled);
    for _ in 0..8 {
        let ms = waits(&mut device, &turn(1)).expect("a wait");
        assert!(ms <= 1_250, "{ms}");
    }
    assert_eq!(device.record().attempts, 0);
}

#[test]
fn a_product_that_turns_out_to_be_strict_is_followed_from_then_on() {
    let mut device = asking(QuarantineRule::FinalOnly);
    tell(&mut device, &Event::Enrolled);
    device.follow(QuarantineRule::Strict);
    let failed = Event::Failed(Failure::passing("server-unreachable"));
    let attempts = (0..).map_while(|_| waits(&mut device, &failed)).count();
    assert_eq!(attempts, 4);
    assert_eq!(
        device.record().quarantine,
        Some(Quarantine::AttemptsExhausted)
    );
}
