//! What the API says, as types that both of its ends share: the routes write them, the command
//! line reads them.
//!
//! Times are RFC 3339 in UTC. No view has a place for a secret, except [`MintedView::token`], which
//! is said once, as the keys of [`EntryMadeView`], [`EntryDerivedView`] and [`ServiceKeyMadeView`] are,
//! and [`WebhookKeyView::key`], which a receiver needs to have.

mod authority;
mod claim;
mod device;
mod entry;
mod event;
mod fleet;
mod journal;
mod product;
mod service_key;
mod token;

pub use authority::{AuthorityView, CrlRenewal, CrlView, StatusView};
pub use claim::{
    CaRegistration, ClaimCertificateAdoption, ClaimCertificateOrder, ClaimCertificateView,
    ClaimDefinitionView, ClaimIssuedView, ClaimLimitsView, ClaimRevocation, ClaimView, HookView,
    NamedView, PolicyDefinitionView, PolicyView, RegisteredCaDefinitionView, RegisteredCaView,
    RegistrationCodeView, Switch, TemplateCheck, TemplateFaultView, TemplateParameterView,
    TemplateReportView, TemplateView, ThingView,
};
pub use device::{
    Adoption, Approval, CertificateView, DeviceFileView, DeviceView, Issue, IssuedView, Reason,
    RefusalView, Release, ReportView, Revocation, WaitingView, WhyView,
};
pub use entry::{
    EntryDerivation, EntryDerivedView, EntryMadeView, EntryOrderView, EntryRotation, EntryView,
    RegistrationView,
};
pub(crate) use event::source;
pub use event::{EventDataView, EventView, WebhookKeyView};
pub use fleet::{AppliedView, ChangeView, FleetView, KeyChange};
pub use journal::{AlteredView, JournalRowView, JournalVerdict};
pub use product::{
    CertificateProfileView, ConnectionView, ProductLimitsView, ProductView, TokenPolicyView,
};
pub use service_key::{ServiceKeyMadeView, ServiceKeyOrder, ServiceKeyView};
pub use token::{
    AllowlistChange, AllowlistChanged, LeaseView, MintedView, Rebind, TokenOrderView, TokenView,
};

use imprint_identity::UnixTime;

/// A moment, in RFC 3339.
fn moment(time: UnixTime) -> String {
    time.to_string()
}
