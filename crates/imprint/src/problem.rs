//! What this program says when the answer is no: the admin API's form, also for its own problems.

use std::fmt;

use imprint_server::admin::ErrorView;

/// A refusal or failure, in the words of the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(pub(crate) ErrorView);

impl Problem {
    pub(crate) fn new(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self(ErrorView {
            code: code.to_owned(),
            message: message.into(),
            hint: hint.into(),
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Problem {}

/// For stderr: two lines for a person, one object for a script.
pub(crate) fn render(error: &anyhow::Error, json: bool) -> String {
    let view = match error.downcast_ref::<Problem>() {
        Some(problem) => problem.0.clone(),
        None => ErrorView {
            code: "failed".to_owned(),
            message: format!("{error:#}"),
            hint: String::new(),
        },
    };
    if json {
        return serde_json::to_string(&view).unwrap_or_default();
    }
    let code = if view.code == "failed" {
        String::new()
    } else {
        format!(" [{}]", view.code)
    };
    let hint = if view.hint.is_empty() {
        String::new()
    } else {
        format!("\n  {}", view.hint)
    };
    format!("imprint: {}{code}{hint}", view.message)
}
