//! The append-only account of every change, chained so that an altered row is found.
//!
//! Rows are written in the transaction of the change they tell of, unchained, so that no hot
//! transaction waits for another's hash. A background task chains them in the order of their
//! numbers: `hash = SHA-256(hash of the row before || fields of this row)`.

use aws_lc_rs::digest;
use imprint_identity::UnixTime;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRow {
    /// Its number, from 1, without holes.
    pub number: u64,
    /// When.
    pub at: UnixTime,
    /// What happened: `enrollment-intended`, `token-rebound`, ...
    pub kind: String,
    /// Whom it concerns: a device, a token, a product; may be empty.
    pub subject: String,
    /// Who did it: `est`, an operator, `server`.
    pub actor: String,
    /// The particulars, as JSON. Never a secret.
    pub detail: String,
    /// Its place in the chain, once it has one.
    pub hash: Option<[u8; 32]>,
}

/// The hash of `row` behind `before` (all zero for the first row).
///
/// Each field is preceded by its length in 8 octets, so that no two rows have the same input.
#[must_use]
pub fn chain(before: &[u8; 32], row: &JournalRow) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(before);
    context.update(&row.number.to_be_bytes());
    context.update(&row.at.0.to_be_bytes());
    for field in [&row.kind, &row.subject, &row.actor, &row.detail] {
        context.update(&(field.len() as u64).to_be_bytes());
        context.update(field.as_bytes());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Follows the chain through consecutive rows; `before` is the hash of the row in front of them.
#[derive(Debug, Clone, Copy)]
pub struct Verifier {
    before: [u8; 32],
    next: u64,
    unchained: u64,
}

impl Default for Verifier {
    fn default() -> Self {
        Self {
            before: [0; 32],
            next: 1,
            unchained: 0,
        }
    }
}

impl Verifier {
    /// Looks at the next row.
    pub fn row(&mut self, row: &JournalRow) -> Result<(), Altered> {
        if row.number != self.next {
            return Err(Altered {
                number: self.next,
                what: "a row is missing",
            });
        }
        self.next += 1;
        match (row.hash, self.unchained) {
            (None, _) => self.unchained += 1,
            (Some(_), 1..) => {
                return Err(Altered {
                    number: row.number - 1,
                    what: "its hash was taken away",
                });
            }
            (Some(hash), 0) => {
                if hash != chain(&self.before, row) {
                    return Err(Altered {
                        number: row.number,
                        what: "its hash does not fit",
                    });
                }
                self.before = hash;
            }
        }
        Ok(())
    }

    /// Rows seen, the rows among them that are not chained yet, and the last hash.
    #[must_use]
    pub const fn seen(&self) -> (u64, u64, [u8; 32]) {
        (self.next - 1, self.unchained, self.before)
    }
}

/// The first row that is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("journal row {number}: {what}")]
pub struct Altered {
    /// Its number.
    pub number: u64,
    /// How that shows.
    pub what: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<JournalRow> {
        let mut before = [0; 32];
        (1..=5)
            .map(|number| {
                let mut row = JournalRow {
                    number,
                    at: UnixTime(1_795_534_500),
                    kind: "token-minted".into(),
                    subject: format!("t-{number}"),
                    actor: "admin".into(),
                    detail: "{}".into(),
                    hash: None,
                };
                before = chain(&before, &row);
                row.hash = Some(before);
                row
            })
            .collect()
    }

    fn verify(rows: &[JournalRow]) -> Result<(), Altered> {
        let mut verifier = Verifier::default();
        rows.iter().try_for_each(|row| verifier.row(row))
    }

    #[test]
    fn an_untouched_journal_holds() {
        assert_eq!(verify(&rows()), Ok(()));
    }

    #[test]
    fn the_first_altered_row_is_named_whatever_was_altered() {
        type Change = fn(&mut JournalRow);
        let changes: [Change; 7] = [
            |row| row.at.0 += 1,
            |row| row.kind.push('x'),
            |row| row.subject.push('x'),
            |row| row.actor.push('x'),
            |row| row.detail = "{\"a\":1}".into(),
            |row| row.hash = Some([7; 32]),
            |row| row.hash = None,
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut rows = rows();
            change(&mut rows[2]);
            assert_eq!(
                verify(&rows).map_err(|error| error.number),
                Err(3),
                "change {at}"
            );
        }
    }

    #[test]
    fn a_missing_row_is_named() {
        let mut rows = rows();
        rows.remove(1);
        assert_eq!(verify(&rows).map_err(|error| error.number), Err(2));
    }

    #[test]
    fn letters_can_not_move_between_fields() {
        let mut one = rows().remove(0);
        let mut other = one.clone();
        one.kind = "ab".into();
        one.subject = "c".into();
        other.kind = "a".into();
        other.subject = "bc".into();
        assert_ne!(chain(&[0; 32], &one), chain(&[0; 32], &other));
    }
}
