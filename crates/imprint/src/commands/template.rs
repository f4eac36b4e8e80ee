//! `imprint template ...` and `imprint thing ...`.

use std::path::Path;

use anyhow::Context as _;
use http::Method;
use imprint_server::admin::template_report;
use imprint_server::admin::views::{
    TemplateFaultView, TemplateReportView, TemplateView, ThingView,
};

use super::shown;
use crate::cli::{Template, Thing};
use crate::desk::{Desk, encoded, with_query};
use crate::outcome::{Outcome, facts, table};

/// Checks a document by itself: no directory is needed.
pub(crate) fn check(path: &Path, json: bool) -> anyhow::Result<Outcome> {
    let body = std::fs::read_to_string(path)
        .with_context(|| format!("{} can't be read", path.display()))?;
    let report = template_report(&body);
    let text = if json {
        serde_json::to_string(&report)?
    } else {
        describe(&report, path)
    };
    Ok(if report.sound {
        Outcome::done(text)
    } else {
        Outcome::found(text)
    })
}

fn describe(report: &TemplateReportView, path: &Path) -> String {
    let place = |fault: &TemplateFaultView| {
        let way = if fault.path.is_empty() {
            String::new()
        } else {
            format!("{}: ", fault.path)
        };
        let file = path.display();
        format!(
            "{file}:{}:{}: {way}{}",
            fault.line, fault.column, fault.message
        )
    };
    if let Some(fault) = &report.fault {
        return place(fault);
    }
    let good = |fault: &Option<TemplateFaultView>| match fault {
        None => "good".to_owned(),
        Some(fault) => format!("not for this: {}", place(fault)),
    };
    let parameters = report
        .parameters
        .iter()
        .map(|parameter| match &parameter.default {
            Some(default) => format!("{} (else {default:?})", parameter.name),
            None => parameter.name.clone(),
        });
    let parameters: Vec<_> = parameters.collect();
    facts(&[
        ("by claim", &good(&report.not_by_claim)),
        ("just in time", &good(&report.not_just_in_time)),
        ("parameters", &parameters.join(", ")),
    ])
}

pub(super) async fn run(desk: &mut Desk, order: Template, json: bool) -> anyhow::Result<Outcome> {
    match order {
        Template::Check { file } => check(&file, json),
        Template::List => {
            let text = desk
                .ask(Method::GET, "/api/v1/templates", None::<&()>)
                .await?;
            shown(text, json, list)
        }
        Template::Show { template } => {
            let path = format!("/api/v1/templates/{}", encoded(&template));
            let text = desk.ask(Method::GET, &path, None::<&()>).await?;
            shown(text, json, |template: &TemplateView| {
                template.body.trim_end().to_owned()
            })
        }
    }
}

#[expect(clippy::ptr_arg, reason = "what the document is read into")]
fn list(templates: &Vec<TemplateView>) -> String {
    let rows: Vec<_> = templates
        .iter()
        .map(|template| {
            let state = if template.enabled {
                "enabled"
            } else {
                "disabled"
            };
            let hook = template.hook.as_ref().map_or("-", |hook| &hook.url);
            [
                template.name.clone(),
                template.product.clone(),
                state.to_owned(),
                template.hardware.clone(),
                hook.to_owned(),
            ]
        })
        .collect();
    table(["TEMPLATE", "PRODUCT", "STATE", "HARDWARE", "HOOK"], &rows)
}

pub(super) async fn things(desk: &mut Desk, order: Thing, json: bool) -> anyhow::Result<Outcome> {
    match order {
        Thing::List { group } => {
            let mut all: Vec<ThingView> = Vec::new();
            loop {
                let query = [
                    ("group", group.clone()),
                    ("after", all.last().map(|thing| thing.name.clone())),
                    ("limit", Some(PAGE.to_string())),
                ];
                let page: Vec<ThingView> = desk.get(&with_query("/api/v1/things", &query)).await?;
                let last = page.len() < PAGE;
                all.extend(page);
                if last {
                    break;
                }
            }
            if json {
                return Ok(Outcome::done(serde_json::to_string(&all)?));
            }
            let rows: Vec<_> = all.iter().map(row).collect();
            Ok(Outcome::done(table(
                ["THING", "DEVICE", "TYPE", "GROUPS"],
                &rows,
            )))
        }
        Thing::Show { thing } => {
            let path = format!("/api/v1/things/{}", encoded(&thing));
            shown(desk.ask(Method::GET, &path, None::<&()>).await?, json, show)
        }
    }
}

fn row(thing: &ThingView) -> [String; 4] {
    [
        thing.name.clone(),
        thing.device.clone(),
        thing.thing_type.clone().unwrap_or_else(|| "-".to_owned()),
        thing.groups.join(", "),
    ]
}

fn show(thing: &ThingView) -> String {
    facts(&[
        ("thing", &thing.name),
        ("device", &thing.device),
        ("type", thing.thing_type.as_deref().unwrap_or_default()),
        (
            "billing group",
            thing.billing_group.as_deref().unwrap_or_default(),
        ),
        ("groups", &thing.groups.join(", ")),
        ("attributes", &super::device::pairs(&thing.attributes)),
        ("policies", &thing.policies.join(", ")),
        ("since", &thing.created_at),
        ("changed", &thing.updated_at),
        ("version", &thing.version.to_string()),
    ])
}

const PAGE: usize = 10_000;
