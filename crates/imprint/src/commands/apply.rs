//! `imprint apply FILE` and `imprint export`.

use http::Method;
use imprint_registrar::Fleet;
use imprint_server::admin::views::{AppliedView, ChangeView};
use serde_json::Value;

use super::{fleet_file, shown};
use crate::desk::Desk;
use crate::outcome::Outcome;

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

pub(super) async fn export(desk: &mut Desk, json: bool) -> anyhow::Result<Outcome> {
    let text = desk.ask(Method::GET, "/api/v1/fleet", None::<&()>).await?;
    if json {
        return Ok(Outcome::done(text));
    }
    let fleet: Fleet = serde_json::from_str(&text)?;
    let file = fleet_file::write(&fleet)?;
    Ok(Outcome::done(file.trim_end()))
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
        "{mark} {} {} ({})",
        change.object, change.name, change.kind
    )];
    lines.extend(change.keys.iter().map(|key| {
        let (before, after) = (short(&key.before), short(&key.after));
        if new {
            format!("    {} = {after}", key.key)
        } else {
            format!("    {} = {after} (was {before})", key.key)
        }
    }));
    lines
}

/// A value on one line; a document or a certificate by its size.
fn short(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) if text.len() > LONGEST || text.contains('\n') => {
            format!("({} octets)", text.len())
        }
        other => other.to_string(),
    }
}

const LONGEST: usize = 80;
