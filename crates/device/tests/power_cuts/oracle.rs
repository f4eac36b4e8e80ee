//! What is legal, in its own words: which stage follows which, and nothing about how a device
//! remembers it. Shares no code with the machine or the journal.

use imprint_device::{Errand, Place, Record, Renewal};

/// Where a device may stand, with the keys (`k`) and serials (`s`) that it must know there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Fresh,
    Wiping,
    Reaching,
    WantsKey,
    Asking { k: u8 },
    Storing { k: u8 },
    Registering { k: u8, s: u8 },
    Proving { k: u8, s: u8 },
    Member { k: u8, s: u8, todo: Todo },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Todo {
    Nothing,
    DropToken,
    DropOld,
    NewKey,
    AskNew { k: u8 },
    ProveNew { k: u8, s: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    pub stage: Stage,
    pub resting: bool,
}

/// What has happened, as the world saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    PowerOn,
    Waited,
    Reached,
    KeyMade(u8),
    Enrolled,
    Profile,
    Stored { s: u8, registered: bool },
    Registered,
    Verified,
    Forgotten,
    Wiped,
    Trouble,
    RenewalDue { rekey: bool },
    Reset,
    Operator,
    Release,
}

impl View {
    /// The one place where the device must stand after `happened`.
    pub fn after(self, happened: Happened) -> Self {
        use Happened as H;
        use Stage as S;
        let at = |stage| Self { stage, ..self };
        match (self.stage, happened) {
            (_, H::Reset) => Self {
                stage: S::Wiping,
                resting: false,
            },
            (_, H::Operator) => Self {
                resting: true,
                ..self
            },
            (_, H::Release) => Self {
                resting: false,
                ..self
            },
            _ if self.resting => self,
            (S::Fresh, H::PowerOn) => at(S::Reaching),
            (S::Wiping, H::Wiped) => at(S::Fresh),
            (S::Reaching, H::Reached) => at(S::WantsKey),
            (S::WantsKey, H::KeyMade(k)) => at(S::Asking { k }),
            (S::Asking { k }, H::Enrolled) => at(S::Storing { k }),
            (
                S::Storing { k },
                H::Stored {
                    s,
                    registered: true,
                },
            )
            | (S::Registering { k, s }, H::Registered) => at(S::Proving { k, s }),
            (
                S::Storing { k },
                H::Stored {
                    s,
                    registered: false,
                },
            ) => at(S::Registering { k, s }),
            (S::Proving { k, s }, H::Verified) => at(S::Member {
                k,
                s,
                todo: Todo::DropToken,
            }),
            (S::Member { k, s, todo }, _) => self.member(k, s, todo, happened),
            _ => self,
        }
    }

    fn member(self, k: u8, s: u8, todo: Todo, happened: Happened) -> Self {
        use Happened as H;
        let doing = |todo| Self {
            stage: Stage::Member { k, s, todo },
            ..self
        };
        match (todo, happened) {
            (Todo::DropToken | Todo::DropOld, H::Forgotten) => doing(Todo::Nothing),
            (Todo::Nothing, H::RenewalDue { rekey: true }) => doing(Todo::NewKey),
            (Todo::Nothing, H::RenewalDue { rekey: false }) => doing(Todo::AskNew { k }),
            (Todo::NewKey, H::KeyMade(k)) => doing(Todo::AskNew { k }),
            (Todo::AskNew { k }, H::Stored { s, .. }) => doing(Todo::ProveNew { k, s }),
            (Todo::ProveNew { k, s }, H::Verified) => Self {
                stage: Stage::Member {
                    k,
                    s,
                    todo: Todo::DropOld,
                },
                ..self
            },
            _ => self,
        }
    }

    /// The serial by which the device says that it is a member.
    pub fn membership(self) -> Option<u8> {
        match self.stage {
            Stage::Member { s, .. } => Some(s),
            _ => None,
        }
    }

    /// The number under which the tally counts this step.
    pub fn step(self) -> usize {
        match self.stage {
            _ if self.resting => 7,
            Stage::Fresh | Stage::Wiping => 0,
            Stage::Reaching => 1,
            Stage::WantsKey | Stage::Asking { .. } => 2,
            Stage::Storing { .. } => 3,
            Stage::Registering { .. } => 4,
            Stage::Proving { .. } => 5,
            Stage::Member { .. } => 6,
        }
    }
}

/// Reads what the device says about itself.
pub fn view(record: &Record) -> View {
    let stage = match record.place {
        Place::Blank => Stage::Fresh,
        Place::Wiping => Stage::Wiping,
        Place::Bootstrap => Stage::Reaching,
        Place::MakeKey => Stage::WantsKey,
        Place::Enroll { key } => Stage::Asking {
            k: key.fingerprint.0[0],
        },
        Place::CredentialStore { key } => Stage::Storing {
            k: key.fingerprint.0[0],
        },
        Place::Register { credential: it } => Stage::Registering {
            k: it.key.fingerprint.0[0],
            s: it.digest.0[0],
        },
        Place::Verify { credential: it } => Stage::Proving {
            k: it.key.fingerprint.0[0],
            s: it.digest.0[0],
        },
        Place::Provisioned(member) => {
            let todo = match member.errand {
                Errand::None => Todo::Nothing,
                Errand::ForgetBootstrap => Todo::DropToken,
                Errand::Forget { .. } => Todo::DropOld,
                Errand::Renewal(Renewal::MakeKey) => Todo::NewKey,
                Errand::Renewal(Renewal::Enroll { key }) => Todo::AskNew {
                    k: key.fingerprint.0[0],
                },
                Errand::Renewal(Renewal::Verify { successor: it }) => Todo::ProveNew {
                    k: it.key.fingerprint.0[0],
                    s: it.digest.0[0],
                },
            };
            let it = member.credential;
            Stage::Member {
                k: it.key.fingerprint.0[0],
                s: it.digest.0[0],
                todo,
            }
        }
    };
    View {
        stage,
        resting: record.quarantine.is_some(),
    }
}
