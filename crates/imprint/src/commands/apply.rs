//! `imprint apply FILE`.

use std::path::Path;

use http::Method;
use imprint_registrar::Fleet;
use imprint_server::admin::views::{AppliedView, ChangeView};

use super::shown;
use crate::desk::Desk;
use crate::outcome::Outcome;
use crate::toml_file;

/// Reads a fleet file and checks it, line numbers and all.
pub(super) fn read(path: &Path) -> anyhow::Result<Fleet> {
    let fleet: Fleet = toml_file::read(path)?;
    fleet
        .check()
        .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    Ok(fleet)
}

pub(super) async fn run(
    desk: &mut Desk,
    fleet: &Fleet,
    dry_run: bool,
    json: bool,
) -> anyhow::Result<Outcome> {
    let path = if dry_run {
        "/api/v1/fleet/apply?dry_run=true"
    } else {
        "/api/v1/fleet/apply"
    };
    let text = desk.ask(Method::POST, path, Some(fleet)).await?;
    shown(text, json, lay_out)
}

fn lay_out(applied: &AppliedView) -> String {
    if applied.changes.is_empty() {
        return "Nothing differs.".to_owned();
    }
    let mut lines: Vec<String> = applied.changes.iter().flat_map(change).collect();
    lines.push(if applied.applied {
        "Applied. Certificates that are out keep the shape they have.".to_owned()
    } else {
        "Dry run: nothing has been changed.".to_owned()
    });
    lines.join("\n")
}

fn change(change: &ChangeView) -> Vec<String> {
    let new = change.kind == "new";
    let mark = if new { '+' } else { '~' };
    let mut lines = vec![format!(
        "{mark} product {} ({})",
        change.product, change.kind
    )];
    lines.extend(change.keys.iter().map(|key| {
        if new {
            format!("    {} = {}", key.key, key.after)
        } else {
            format!("    {} = {} (was {})", key.key, key.after, key.before)
        }
    }));
    lines
}
