//! Runs the commands that our documents tell people to type.
//!
//! A fence says how, in its info string:
//!
//! ```text
//! ```sh run          runs in a temporary directory, with the release binary first in PATH
//! ```sh run here     the same, at the root of the repository
//! ```sh run serve    starts in the background, waits for the `ready` line, ends with the document
//! ```
//!
//! The blocks of one document run in order, in one shell, so that variables last; the first
//! command that fails ends it. Other fences are for reading only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::conformance;
use crate::shell::{Workshop, run as run_command};

/// `cargo xtask readme`
pub(crate) fn run(workshop: &Workshop) -> Result<()> {
    let binary = conformance::release_binary(workshop)?;
    let scripts = workshop.target().join("readme");
    fs::create_dir_all(&scripts)?;
    for document in documents(&workshop.root)? {
        let name = document
            .strip_prefix(&workshop.root)
            .unwrap_or(&document)
            .display()
            .to_string();
        let text = fs::read_to_string(&document).with_context(|| format!("cannot read {name}"))?;
        let blocks = blocks(&text).with_context(|| name.clone())?;
        if blocks.is_empty() {
            if name == "README.md" {
                bail!("README.md has no `sh run` block: nothing shows that its commands work");
            }
            continue;
        }
        println!("readme: {name}, {} blocks", blocks.len());
        let path = scripts.join(format!("{}.sh", name.replace('/', "-")));
        fs::write(&path, script(&name, &blocks))?;
        let mut bash = workshop.command("timeout");
        bash.args(["--kill-after=10", &SECONDS.to_string(), "bash"])
            .arg(&path);
        bash.env("IMPRINT_BIN", binary.parent().unwrap_or(&binary))
            .env("ROOT", &workshop.root);
        run_command(&mut bash).with_context(|| format!("{name} tells people what fails"))?;
    }
    Ok(())
}

/// Longer than any document takes, so that a hanging command ends the run and not the day.
const SECONDS: u32 = 1200;

fn documents(root: &Path) -> Result<Vec<PathBuf>> {
    let mut all = vec![root.join("README.md")];
    if let Ok(folder) = fs::read_dir(root.join("docs")) {
        for entry in folder {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                all.push(path);
            }
        }
    }
    all.sort();
    Ok(all)
}

#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    mode: Mode,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Temporary,
    Here,
    Serve,
}

/// The blocks of a document that are marked for running.
fn blocks(document: &str) -> Result<Vec<Block>> {
    let mut found = Vec::new();
    let mut lines = document.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let body = lines.by_ref().map(|(_, line)| line);
        let body: Vec<&str> = body
            .take_while(|line| !line.trim_start().starts_with("```"))
            .collect();
        let mode = match info.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["sh", "run"] => Mode::Temporary,
            ["sh", "run", "here"] => Mode::Here,
            ["sh", "run", "serve"] => Mode::Serve,
            // A misspelled mark would silently check nothing.
            [_, "run", ..] => bail!("line {}: cannot run a block marked `{info}`", index + 1),
            _ => continue,
        };
        found.push(Block {
            line: index + 1,
            mode,
            text: body.join("\n"),
        });
    }
    Ok(found)
}

/// One shell script that types what the document says.
fn script(name: &str, blocks: &[Block]) -> String {
    let mut script = String::from(PREAMBLE);
    for Block { line, mode, text } in blocks {
        let at = format!("{name}:{line}");
        let block = match mode {
            Mode::Temporary => format!("echo '--- {at}'\ncd \"$work\"\nset -v\n{text}\nset +v"),
            Mode::Here => format!("echo '--- {at}'\ncd \"$ROOT\"\nset -v\n{text}\nset +v"),
            Mode::Serve => format!(
                "echo '--- {at} (in the background)'\ncd \"$work\"\n\
                 ( {text}\n) >'serve-{line}.log' 2>&1 &\nawait_ready $! 'serve-{line}.log'"
            ),
        };
        script.push_str(&block);
        script.push('\n');
    }
    script.push_str("exit 0\n");
    script
}

/// Job control puts each background block in a process group of its own, which we end as a whole.
const PREAMBLE: &str = r#"set -euo pipefail
set -m
export PATH="$IMPRINT_BIN:$PATH"
work=$(mktemp -d)
groups=()
cleanup() {
    status=$?
    set +v
    for group in "${groups[@]}"; do kill -- "-$group" 2>/dev/null || true; done
    wait
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
await_ready() {
    groups+=("$1")
    for _ in $(seq 300); do
        grep -q '^ready ' "$2" && return
        kill -0 "$1" 2>/dev/null || break
        sleep 0.1
    done
    echo "no ready line:" >&2
    cat "$2" >&2
    return 1
}
"#;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_marked_blocks_are_run() {
        type Row = (&'static str, &'static [(usize, Mode, &'static str)]);
        let rows: &[Row] = &[
            ("```sh run\na\nb\n```\n", &[(1, Mode::Temporary, "a\nb")]),
            ("text\n```sh run here\na\n```\n", &[(2, Mode::Here, "a")]),
            ("```sh run serve\na\n```\n", &[(1, Mode::Serve, "a")]),
            ("```sh\na\n```\n```toml\n[x]\n```\n", &[]),
            (
                "```text\n```\n```sh run\na\n```",
                &[(3, Mode::Temporary, "a")],
            ),
        ];
        for (document, want) in rows {
            let got = blocks(document).unwrap();
            let got: Vec<_> = got
                .iter()
                .map(|b| (b.line, b.mode, b.text.as_str()))
                .collect();
            assert_eq!(got, *want, "{document:?}");
        }
    }

    #[test]
    fn a_misspelled_mark_is_an_error_and_not_a_block_that_never_runs() {
        for mark in ["sh run sevre", "bash run", "console run"] {
            assert!(blocks(&format!("```{mark}\na\n```\n")).is_err(), "{mark}");
        }
    }

    #[test]
    fn blocks_share_a_shell_and_a_served_block_ends_with_the_document() {
        let document = "```sh run\nname=thermo\n```\n\
            ```sh run serve\necho $BASHPID >\"$PIDFILE\"; echo ready x; exec sleep 60\n```\n\
            ```sh run\ntest \"$name\" = thermo\n```\n";
        let (ended, pid) = execute(document);
        assert!(ended);
        assert!(
            !Path::new(&format!("/proc/{pid}")).exists(),
            "process {pid} outlives its document"
        );
    }

    #[test]
    fn a_command_that_fails_fails_the_document() {
        assert!(!execute("```sh run\nfalse\ntrue\n```\n").0);
        assert!(!execute("```sh run\nfalse | true\n```\n").0);
        assert!(!execute("```sh run serve\necho not yet; exit 1\n```\n").0);
    }

    /// Whether the document's script ended well, and what it wrote into the file for a process id.
    fn execute(document: &str) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let path = folder.path().join("script.sh");
        fs::write(&path, script("test", &blocks(document).unwrap())).unwrap();
        let output = Command::new("bash")
            .arg(&path)
            .env("IMPRINT_BIN", folder.path())
            .env("ROOT", folder.path())
            .env("PIDFILE", &pid)
            .output()
            .unwrap();
        let pid = fs::read_to_string(&pid).unwrap_or_default();
        (output.status.success(), pid.trim().to_owned())
    }
}
