//! The contract that every [`Ledger`] keeps, as tests that each adapter runs on itself.
//!
//! An adapter brings a [`Place`] and calls [`ledger_contract!`](crate::ledger_contract) in one of its
//! test files. Every test runs twice: on one open ledger, and with a restart before every single
//! operation, because what is remembered in memory alone is not remembered.
// Clippy looks at tests with milder eyes, so in a test build some of these expect nothing.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_imports,
    reason = "a test fails where it stands, and every part speaks in the bench's words"
)]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use imprint_identity::{DeviceId, HardwareId, IdentityStrength, UnixTime};

use super::{
    CertificateOrigin, CertificateRecord, CertificateState, Credential, DeviceFile, DeviceRecord,
    Facts, FactsQuery, Generation, Grant, Intention, KeyFingerprint, Ledger, NewToken,
    RequestOrigin, Settlement, TokenHash, TokenRecord, TokenState, Wait,
};
use crate::journal::JournalRow;
use crate::pace::Ticks;
use crate::product::Product;
use crate::serial::{EnrollmentId, Serial};

pub mod claims;
pub mod devices;
pub mod entries;
pub mod journal;
pub mod lists;
pub mod registrations;
pub mod renewal;
pub mod road;
pub mod strangers;
pub mod tokens;
pub mod waiting;

/// Where one ledger lives: a file, a database. A new place is empty.
pub trait Place: Send + Sync {
    /// The adapter.
    type Ledger: Ledger;

    /// Opens the ledger, made if it is not there.
    fn open(&self) -> impl Future<Output = Self::Ledger> + Send;

    /// Changes the detail of one journal row behind the ledger's back, as somebody with the
    /// administrator's rights on the database could. The ledger is closed meanwhile.
    fn alter_journal(&self, number: u64) -> impl Future<Output = ()> + Send;
}

/// Makes the contract's tests: `ledger_contract!(place)`, where `place` is an expression that makes a
/// new [`Place`]. The calling crate needs tokio with its macros.
#[macro_export]
macro_rules! ledger_contract {
    ($place:expr) => {
        $crate::ledger_contract! { @tests $place;
            road {
                of_strangers_nothing_is_known
                facts_tell_everything_that_bears_on_a_request
                the_product_is_the_certificates_then_the_tokens_then_the_named_one
                the_device_is_the_certificates_then_the_asserted_then_the_bound_one
                an_intent_names_the_device_owns_the_key_and_leases_the_token
                the_same_question_gets_the_same_answer
                a_token_serves_one_key_and_one_device
                a_token_that_is_not_open_or_not_for_this_is_changed_facts
                a_key_belongs_to_one_device
                hardware_has_one_name_and_a_name_has_one_hardware
                a_decision_on_an_older_record_is_not_carried_out
                a_device_that_was_put_aside_is_not_signed_for
                a_serial_number_is_never_used_twice_and_the_failure_leaves_nothing
                of_sixty_four_askers_with_two_keys_one_key_wins
                sixty_four_askers_with_one_key_get_one_certificate
                sixty_four_newcomers_get_a_certificate_each
                the_first_settlement_stays
                what_was_voided_or_revoked_does_not_settle
                a_settlement_of_nothing_is_an_error
                settling_leaves_a_quarantined_device_where_it_is
                an_intent_past_its_end_is_replaced_for_the_same_key
                what_is_to_be_signed_comes_back_to_the_octet
                the_first_use_spends_the_token_and_provisions_the_device
                what_is_not_issued_is_not_verified
                a_device_put_aside_before_its_first_use_is_not_provisioned
                sealed_keys_are_kept_until_they_are_used_or_old
                an_operators_certificate_is_one_a_key
            }
            renewal {
                a_renewal_leaves_the_old_one_live_until_the_new_one_is_used
                only_a_live_certificate_of_the_device_is_renewed
                another_key_takes_the_place_of_an_unused_successor
                a_successor_in_use_is_not_replaced
                first_use_ends_older_ones_and_leaves_newer_ones
                a_renewal_with_the_same_key_is_another_certificate
            }
            waiting {
                waiting_names_the_device_and_leases_the_token
                waiting_again_is_the_same_waiting
                waiting_on_changed_facts_is_changed
                an_approval_lets_the_key_in_and_holds_for_its_time
                an_approval_needs_one_who_waits
                an_approval_that_is_over_is_asked_for_again
                a_device_that_is_revoked_loses_its_approvals
            }
            tokens {
                tokens_are_minted_all_or_none
                a_token_is_found_by_its_id_and_listed_newest_first
                every_act_on_every_state_has_its_outcome
                an_act_on_no_token_is_absent
                revoking_a_leased_token_voids_what_was_not_signed
                a_rebind_takes_everything_back_that_the_token_gave
                a_rebind_follows_the_renewals
                a_rebind_leaves_what_came_from_elsewhere
                a_rebound_token_serves_another_key
                a_second_key_is_counted_and_the_first_sixteen_are_told
                who_holds_the_token_raises_no_alarm
            }
            devices {
                devices_are_listed_by_name_in_pages
                a_device_is_found_by_its_name_and_by_any_spelling_of_its_hardware
                a_devices_file_has_everything
                an_act_on_no_device_is_absent
                quarantine_holds_until_release
                every_act_on_every_state_has_its_outcome
                release_ends_what_was_never_proven
                release_keeps_what_was_proven
                a_release_that_keeps_the_key_allows_no_other
                the_next_enrollment_uses_the_release_up
                decommissioning_ends_every_certificate
                revoking_ends_every_certificate_and_every_intent
                an_adopted_certificate_is_on_record_and_active
                an_adoption_again_is_the_same_adoption
                what_is_on_record_otherwise_is_not_adopted
            }
            claims {
                claims_are_defined_all_or_none_and_keep_their_state
                every_act_on_every_state_has_its_outcome
                a_claims_own_certificate_is_on_record_before_it_is_signed
                what_a_claim_has_ends_with_it_and_is_on_the_list
                a_foreign_certificate_is_one_claims
                a_claim_is_frozen_at_its_limit_and_says_why
                without_a_limit_alarms_are_counted_and_the_first_told
                a_claim_and_a_key_have_one_pending_certificate
                a_claim_that_is_not_good_gets_nothing_more
                a_devices_key_gets_no_pending_certificate_unless_it_is_released
                a_claim_is_asked_no_faster_and_no_more_than_its_limits
                a_claim_that_is_held_back_is_told_and_what_it_had_stays
                more_may_wait_where_more_are_listed
                a_claim_whose_certificates_are_never_registered_is_frozen
                what_is_not_registered_in_its_time_is_revoked_and_told
                what_waits_for_an_operator_is_kept_as_long_as_it_may
                a_certificate_is_one_thing
                sixty_four_askers_with_one_key_get_one_certificate
                no_text_widens_a_claims_look_up
            }
            registrations {
                a_registration_makes_device_key_certificate_thing_and_answer
                the_same_registration_has_the_same_answer_and_no_other_has_one
                what_is_not_good_registers_nothing
                a_claim_registers_no_more_and_no_faster_than_it_may
                above_its_curve_a_claim_is_frozen_and_listed_devices_do_not_count
                a_registration_on_changed_facts_is_not_carried_out
                a_released_device_is_registered_again_and_its_old_certificate_ends
                a_device_is_one_thing
                who_waits_for_approval_counts_against_its_claim_once
                a_thing_has_no_other_devices_name
                sixty_four_first_connections_make_one_device
                a_ca_admits_nobody_by_what_it_was_allowed_before
                a_foreign_certificate_is_renewed_by_ours
                a_device_that_is_held_with_its_certificate_goes_on_when_it_is_approved
                a_device_that_is_held_without_a_certificate_is_not_activated
                a_certificate_without_a_device_is_not_adopted
                templates_and_cas_are_kept_as_they_are
            }
            entries {
                an_entry_is_kept_as_it_is_and_once
                there_are_no_more_groups_with_keys_than_can_be_asked
                an_act_on_an_entry_is_told_once_and_moves_its_version
                an_entry_is_replaced_in_the_version_that_was_read
                an_entry_that_is_deleted_takes_its_registrations_along
                entries_and_their_registrations_are_read_in_pages
                a_service_key_is_kept_once_and_taken_back
                a_device_is_of_its_own_entry_else_of_groups
                a_registration_makes_a_device_with_a_shared_key
                a_certificate_of_its_own_outgrows_a_shared_key
                a_registration_keeps_the_certificate_that_came
                the_same_registration_has_the_same_answer
                a_registration_by_an_entry_on_changed_facts_is_not_carried_out
                sixty_four_registrations_make_one_device
                the_first_use_of_a_shared_key_provisions_the_device
                a_shared_key_is_used_as_it_was_judged
                a_shared_key_and_a_certificate_take_each_others_place
                what_an_operator_ends_stays_ended_until_the_device_registers_again
            }
            lists {
                products_are_kept_as_they_are_and_listed_by_name
                an_allowlist_counts_what_is_new_and_what_was_there
                an_allowlist_is_read_in_pages
                reports_are_a_ring_of_sixteen
                refusals_are_a_ring_of_sixteen_and_a_journal_row_each
                a_list_says_what_is_revoked_until_a_week_after_its_end
                a_list_is_stale_by_count_and_not_by_time
                a_lists_number_only_grows
                a_list_never_knows_of_fewer_revocations_than_the_one_before
                revocation_never_reverses
            }
            journal {
                every_change_is_told_once
                a_repeated_order_is_not_told_again
                the_journal_has_no_holes_and_is_read_in_pages
                the_journal_is_chained_in_portions
                an_altered_row_is_named
                no_secret_is_in_the_journal
                a_reader_begins_behind_the_last_row_and_never_goes_back
                the_epoch_fits_a_serial_number
            }
            strangers {
                no_text_widens_a_look_up
                no_text_changes_what_it_is_not_meant_for
                text_comes_back_as_it_went_in
            }
        }
    };
    (@tests $place:expr; $($module:ident { $($name:ident)* })*) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the place may be a path or a function")]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let mut bench = $crate::ledger::contract::Bench::new($place).await;
                    $crate::ledger::contract::$module::$name(&mut bench).await;
                }
            )*

            mod restarted {
                #[allow(unused_imports, reason = "the place may be a path or a function")]
                use super::super::*;
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $name() {
                        let mut bench = $crate::ledger::contract::Bench::restless($place).await;
                        $crate::ledger::contract::$module::$name(&mut bench).await;
                    }
                )*
            }
        })*
    };
}

/// A ledger under test, with a fleet of its own.
pub struct Bench<P: Place> {
    place: P,
    ledger: Option<P::Ledger>,
    restless: bool,
    serials: u32,
}

impl<P: Place> Bench<P> {
    /// One ledger that stays open.
    pub async fn new(place: P) -> Self {
        Self::with(place, false).await
    }

    /// One ledger that is closed and opened again before each operation.
    pub async fn restless(place: P) -> Self {
        Self::with(place, true).await
    }

    async fn with(place: P, restless: bool) -> Self {
        let mut bench = Self {
            place,
            ledger: None,
            restless,
            serials: 0,
        };
        let product = Product::named("thermo");
        bench
            .open()
            .await
            .product_apply(vec![product], ADMIN, NOW)
            .await
            .unwrap();
        bench
    }

    /// The ledger, for one operation.
    async fn open(&mut self) -> &P::Ledger {
        if self.restless {
            self.ledger = None;
        }
        if self.ledger.is_none() {
            self.ledger = Some(self.place.open().await);
        }
        self.ledger.as_ref().unwrap()
    }

    fn close(&mut self) -> &P {
        self.ledger = None;
        &self.place
    }

    fn serial(&mut self) -> Serial {
        self.serials += 1;
        let mut chance = [0; 16];
        chance[12..].copy_from_slice(&self.serials.to_be_bytes());
        Serial::new(1, NOW, chance)
    }

    /// Mints token `n` for product `thermo`.
    async fn mint(&mut self, n: u8) {
        self.open()
            .await
            .token_mint(vec![new_token(n)], ADMIN, NOW)
            .await
            .unwrap();
    }

    async fn token(&mut self, n: u8) -> TokenRecord {
        self.open()
            .await
            .token_get(&token_id(n))
            .await
            .unwrap()
            .unwrap()
    }

    async fn token_state(&mut self, n: u8) -> TokenState {
        self.token(n).await.state
    }

    async fn file(&mut self, name: &str) -> DeviceFile {
        self.open().await.device_get(name).await.unwrap().unwrap()
    }

    async fn device(&mut self, name: &str) -> DeviceRecord {
        self.file(name).await.device
    }

    async fn is_named(&mut self, name: &str) -> bool {
        self.open().await.device_get(name).await.unwrap().is_some()
    }

    async fn certificate(&mut self, serial: Serial) -> CertificateRecord {
        self.credential(serial).await.certificate
    }

    async fn credential(&mut self, serial: Serial) -> Credential {
        self.open()
            .await
            .credential_facts(serial)
            .await
            .unwrap()
            .unwrap()
    }

    async fn facts(&mut self, query: FactsQuery) -> Facts {
        self.open()
            .await
            .enrollment_facts(&query, NOW)
            .await
            .unwrap()
    }

    /// Device `n` asks with key `k` and token `n`, decided on what is on record now.
    async fn grant(&mut self, n: u8, k: u8) -> Grant {
        let version = self.open().await.device_get(&name(n)).await.unwrap();
        Grant {
            device_version: version.map(|file| file.device.version),
            ..grant(n, k, self.serial())
        }
    }

    async fn intend(&mut self, grant: Grant) -> Intention {
        self.open()
            .await
            .enrollment_intend(grant, NOW)
            .await
            .unwrap()
    }

    /// The intent must be written down, or have been.
    async fn intended(&mut self, grant: Grant) -> CertificateRecord {
        match self.intend(grant).await {
            Intention::Intended(record) => record,
            other => panic!("not intended: {other:?}"),
        }
    }

    async fn is_changed(&mut self, grant: Grant) -> bool {
        matches!(self.intend(grant).await, Intention::Changed)
    }

    async fn settle(&mut self, serial: Serial) -> CertificateRecord {
        let record = self.certificate(serial).await;
        match self.settlement(serial, der(&record)).await {
            Settlement::Settled(record) => record,
            Settlement::Void => panic!("{serial} is void"),
        }
    }

    async fn settlement(&mut self, serial: Serial, der: Vec<u8>) -> Settlement {
        self.open()
            .await
            .enrollment_settle(serial, der, NOW.plus(1))
            .await
            .unwrap()
    }

    async fn verify(&mut self, serial: Serial) -> Credential {
        let verified =
            self.open()
                .await
                .credential_verify(serial, "est from 10.0.0.1", NOW.plus(2));
        verified.await.unwrap().unwrap()
    }

    /// Device `n` asks with key `k` and token `n`, and gets its certificate.
    async fn enroll(&mut self, n: u8, k: u8) -> Serial {
        let grant = self.grant(n, k).await;
        let serial = self.intended(grant).await.serial;
        self.settle(serial).await;
        serial
    }

    /// Token `n`, device `n`, key `n`: minted, enrolled, PROVISIONED.
    async fn member(&mut self, n: u8) -> Serial {
        self.mint(n).await;
        let serial = self.enroll(n, n).await;
        self.verify(serial).await;
        serial
    }

    /// Device `n` asks with key `k` to renew a certificate.
    async fn renewal(&mut self, n: u8, k: u8, of: Serial) -> Grant {
        Grant {
            generation: Generation::Renewal(of),
            origin: CertificateOrigin::Renewed,
            ..self.grant(n, k).await
        }
    }

    async fn state(&mut self, serial: Serial) -> CertificateState {
        self.certificate(serial).await.state
    }

    async fn journal(&mut self) -> Vec<JournalRow> {
        self.open().await.journal_read(0, 100_000).await.unwrap()
    }

    async fn kinds(&mut self) -> Vec<String> {
        self.journal()
            .await
            .into_iter()
            .map(|row| row.kind)
            .collect()
    }

    async fn told(&mut self, kind: &str) -> usize {
        self.kinds().await.iter().filter(|one| *one == kind).count()
    }
}

/// Polls all, in turn, until all have answered: they are in the ledger's hands at the same time.
async fn together<T>(futures: impl IntoIterator<Item = impl Future<Output = T> + Send>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(|one| Some(Box::pin(one))).collect();
    let mut answers: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut all = true;
        for (future, answer) in waiting.iter_mut().zip(&mut answers) {
            let Some(pinned) = future else { continue };
            match Pin::as_mut(pinned).poll(context) {
                Poll::Ready(ready) => {
                    *answer = Some(ready);
                    *future = None;
                }
                Poll::Pending => all = false,
            }
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

fn key(n: u8) -> KeyFingerprint {
    KeyFingerprint([n; 32])
}

fn hash(n: u8) -> TokenHash {
    TokenHash([n; 32])
}

fn token_id(n: u8) -> String {
    format!("t-{n:012x}")
}

fn name(n: u8) -> String {
    format!("thermo-{n:03}")
}

fn device_id(n: u8) -> DeviceId {
    name(n).parse().unwrap()
}

fn hardware(n: u8) -> HardwareId {
    HardwareId::parse(&format!("sn-{n:03}")).unwrap()
}

fn new_token(n: u8) -> NewToken {
    NewToken {
        id: token_id(n),
        hash: hash(n),
        product: "thermo".into(),
        bound: None,
        dormant: false,
        expires_at: NOW.plus(90 * 86_400),
    }
}

/// Device `n` asks with key `k` and token `n` for the first time.
fn grant(n: u8, k: u8, serial: Serial) -> Grant {
    Grant {
        enrollment: EnrollmentId([n; 8]),
        device: device_id(n),
        hardware: hardware(n),
        strength: IdentityStrength::Asserted,
        product: "thermo".into(),
        device_version: None,
        request_key: key(k),
        subject_key: key(k),
        generation: Generation::Token(hash(n)),
        origin: CertificateOrigin::Enrolled,
        replaces: None,
        serial,
        issuer: "issuing".into(),
        to_be_signed: [&[0x30, 40][..], &serial.0, &serial.0].concat(),
        asked_subject: vec![0x30, 0],
        sealed_key: None,
        not_before: NOW.plus(-3_600),
        not_after: NOW.plus(365 * 86_400),
        past_end: None,
        origin_of_request: est(),
    }
}

fn wait(n: u8, k: u8) -> Wait {
    Wait {
        enrollment: EnrollmentId([n; 8]),
        device: device_id(n),
        hardware: hardware(n),
        strength: IdentityStrength::Asserted,
        product: "thermo".into(),
        device_version: None,
        key: key(k),
        token: Some(hash(n)),
        claim: None,
        listed: false,
        past_end: None,
        origin_of_request: est(),
    }
}

fn est() -> RequestOrigin {
    RequestOrigin {
        at: Ticks::default(),
        door: "est",
        address: "10.0.0.1".into(),
    }
}

/// What device `n` with key `k` and token `n` would ask.
fn query(n: u8, k: u8) -> FactsQuery {
    FactsQuery {
        product: None,
        token: Some(hash(n)),
        asserted: Some(hardware(n)),
        shown: None,
        key: key(k),
        generation: Generation::Token(hash(n)),
    }
}

/// What signing it would give.
fn der(record: &CertificateRecord) -> Vec<u8> {
    let inner = [record.to_be_signed.as_slice(), &[0x05, 0x00]].concat();
    let length = u8::try_from(inner.len()).unwrap();
    [&[0x30, length][..], &inner].concat()
}

const ADMIN: &str = "ada";
const NOW: UnixTime = UnixTime(1_795_534_500);
