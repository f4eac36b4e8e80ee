//! Plants each known bug in the device and sees it caught by the tests.

use anyhow::{Result, bail};

use crate::shell::{Workshop, run as run_command};

const RUNNER: &str = "crates/device/tests/planted/run";

/// `cargo xtask planted`
pub(crate) fn run(workshop: &Workshop) -> Result<()> {
    if !workshop.root.join(RUNNER).is_file() {
        bail!("{RUNNER} is not there");
    }
    run_command(&mut workshop.command(RUNNER))
}
