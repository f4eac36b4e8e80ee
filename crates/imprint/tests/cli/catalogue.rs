//! Every refusal on one page, so that all of them can be read.

use imprint_registrar::Code;
use imprint_registrar::refusal::Retry;

#[test]
fn every_refusal_is_on_one_page() {
    let page: Vec<_> = Code::ALL
        .iter()
        .map(|code| {
            let retry = match code.retry() {
                Retry::After(seconds) => format!("after {seconds} s"),
                Retry::Never => "never".to_owned(),
            };
            format!(
                "{code}  ({:?}, at {}, retry {retry})\n    {}\n    {}",
                code.class(),
                code.step(),
                code.message(),
                code.hint()
            )
        })
        .collect();
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("errors", page.join("\n\n")));
}
