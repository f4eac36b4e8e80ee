//! `imprint why DEVICE`.

use http::Method;
use imprint_server::admin::views::WhyView;

use super::shown;
use crate::desk::{Desk, encoded};
use crate::outcome::Outcome;

pub(super) async fn run(desk: &mut Desk, device: &str, json: bool) -> anyhow::Result<Outcome> {
    let path = format!("/api/v1/why/{}", encoded(device));
    shown(
        desk.ask(Method::GET, &path, None::<&()>).await?,
        json,
        lay_out,
    )
}

fn lay_out(why: &WhyView) -> String {
    let state = why.state.as_deref().unwrap_or("not on record");
    let mut lines = vec![
        format!("{}: {state} at {}", why.device, why.step),
        format!("cause     {} [{}]", why.cause, why.code),
    ];
    lines.extend(bullets("evidence  ", &why.evidence));
    lines.extend(bullets("to do     ", &why.advice));
    lines.join("\n")
}

fn bullets(head: &str, items: &[String]) -> Vec<String> {
    let blank = " ".repeat(head.len());
    let heads = std::iter::once(head).chain(std::iter::repeat(blank.as_str()));
    heads
        .zip(items)
        .map(|(head, item)| format!("{head}{item}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_reads_from_the_step_to_what_to_do() {
        let why = WhyView {
            device: "custom:SN-1".into(),
            state: None,
            step: "ENROLL".into(),
            code: "token-unknown".into(),
            cause: "The token is not on record here.".into(),
            evidence: vec!["one".into(), "two".into()],
            advice: vec!["Make one.".into()],
        };
        assert_eq!(
            lay_out(&why),
            "custom:SN-1: not on record at ENROLL\n\
             cause     The token is not on record here. [token-unknown]\n\
             evidence  one\n\
             \u{20}         two\n\
             to do     Make one."
        );
    }
}
