//! What is checked of the device's crate beyond its own tests.

use anyhow::Result;

use crate::shell::{Workshop, run as run_command};

/// `cargo xtask planted`: plants each known bug in the journal and the machine, and sees that the
/// tests catch it. A test that nothing can fail would show here.
pub(crate) fn planted(workshop: &Workshop) -> Result<()> {
    run_command(&mut workshop.command("crates/device/tests/planted/run"))
}

/// `cargo xtask no-std`: the crate without std and without an allocator, and how large that is.
pub(crate) fn no_std(workshop: &Workshop) -> Result<()> {
    run_command(&mut workshop.command("crates/device/tests/no_std/run"))
}
