//! The service API: what an operator's scripts read and write (enrollments, groups, registrations).
//!
//! Whoever asks shows a SAS token of an access policy, whose `se` may count milliseconds. These are
//! the records and the routes; what becomes of them is the server's.

mod record;
mod route;

pub use record::{
    AllocationPolicy, Attestation, AttestationType, BulkMode, BulkOperation, BulkResult,
    BulkStanding, Capabilities, CustomAllocation, EnrollmentGroup, IndividualEnrollment, KeyText,
    Keys, MAX_BULK, ProvisioningStatus, Query, QueryTable, ReprovisionPolicy, Terms, TpmKey,
    TpmKeys, Twin, TwinProperties, X509Attestation, X509CaReferences, X509Certificate,
    X509Certificates,
};
pub use route::{Page, Route, ServiceCall};
