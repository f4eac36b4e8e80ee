//! A change in the making: the connection of the writer, the time, and who does it.

use imprint_identity::UnixTime;
use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use crate::fault::Fault;

/// What a writing operation works with. Everything done through it is one transaction.
pub(crate) struct Change<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) now: UnixTime,
    /// Who does it, for the journal: a door, an operator, `server`.
    pub(crate) actor: &'a str,
}

impl Change<'_> {
    /// Appends a row to the journal. `detail` never holds a secret.
    pub(crate) fn journal(
        &self,
        kind: &str,
        subject: &str,
        detail: &impl Serialize,
    ) -> Result<(), Fault> {
        let detail = serde_json::to_string(detail)
            .map_err(|error| Fault::Broken(format!("the detail of {kind}: {error}")))?;
        self.db
            .prepare_cached(
                "INSERT INTO journal (at, kind, subject, actor, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((self.now.0, kind, subject, self.actor, detail))?;
        Ok(())
    }
}

/// Adds to a row's particulars the end that a credential was past, where it was heard by a grace.
pub(crate) fn tell_grace(detail: &mut Value, past_end: Option<UnixTime>) {
    if let (Some(end), Some(detail)) = (past_end, detail.as_object_mut()) {
        detail.insert("grace".to_owned(), end.to_string().into());
    }
}
