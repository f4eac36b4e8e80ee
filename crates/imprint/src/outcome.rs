//! What a command prints, and how it ends.

use std::process::ExitCode;

/// The end of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// For stdout, without the last line break; nothing is printed when it is empty.
    pub(crate) text: String,
    /// 0, or 1 where the answer is a finding.
    pub(crate) code: ExitCode,
}

impl Outcome {
    /// Done.
    pub(crate) fn done(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            code: ExitCode::SUCCESS,
        }
    }

    /// Carried out, and what was found is bad.
    pub(crate) fn found(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            code: ExitCode::FAILURE,
        }
    }
}

/// Rows under a header, each column as wide as its widest cell.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(ToOwned::to_owned);
    let mut widths = [0; N];
    for row in std::iter::once(&header).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<_> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let lines: Vec<_> = std::iter::once(&header).chain(rows).map(line).collect();
    lines.join("\n")
}

/// Names and values, the values in one column. Values that are empty are left out.
pub(crate) fn facts(facts: &[(&str, &str)]) -> String {
    let facts: Vec<_> = facts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let width = facts
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let lines: Vec<_> = facts
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}"))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let rows = [
            ["a".to_owned(), "xä".to_owned()],
            ["long".to_owned(), String::new()],
        ];
        assert_eq!(table(["ID", "STATE"], &rows), "ID    STATE\na     xä\nlong");
    }

    #[test]
    fn a_fact_without_a_value_is_left_out() {
        assert_eq!(
            facts(&[("id", "a"), ("reason", ""), ("state", "b")]),
            "id     a\nstate  b"
        );
    }
}
