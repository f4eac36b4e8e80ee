//! The server as a process of its own.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child as Process, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};

use crate::directory::Directory;

use super::granted::Granted;

pub(crate) struct Child {
    process: Process,
    log: Option<JoinHandle<Log>>,
}

/// What is kept of a server's log.
#[derive(Default)]
struct Log {
    grants: Vec<String>,
    last: VecDeque<String>,
}

/// What a server says of its life at its end.
pub(crate) struct Ended {
    pub(crate) groups: Groups,
    /// The lines of its log that tell of grants, see [`Granted::read`].
    pub(crate) grants: Vec<String>,
}

/// Where its listeners are, `ADDR:PORT`.
pub(crate) struct Addresses {
    pub(crate) https: String,
    pub(crate) mqtts: String,
}

/// How many operations one flush to disk served, on average.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Groups {
    pub(crate) mean: f64,
}

impl Child {
    /// This same program, serving the directory; and where it listens.
    pub(crate) fn start(directory: &Directory) -> anyhow::Result<(Self, Addresses)> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", "--dir"])
            .arg(directory.root())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("the server can't be started")?;
        let stderr = process.stderr.take().context("the server has no stderr")?;
        let stdout = process.stdout.take().context("the server has no stdout")?;
        let log = Some(std::thread::spawn(move || read_log(stderr)));
        let child = Self { process, log };
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready)?;
        let listener = |name: &str| {
            let words = ready.trim().split(' ');
            let found = words.filter_map(|word| word.split_once('='));
            let mut found = found.filter(|(key, _)| *key == name);
            found
                .next()
                .map(|(_, address)| address.to_owned())
                .with_context(|| format!("the server said {ready:?} instead of ready"))
        };
        let addresses = Addresses {
            https: listener("https")?,
            mqtts: listener("mqtts")?,
        };
        Ok((child, addresses))
    }

    /// User and system time of all its threads, from the kernel, in steps of 10 ms.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The second field is a name in parentheses that may hold spaces.
        let after = stat.rsplit(") ").next().unwrap_or_default();
        let ticks: Vec<f64> = after
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse().ok())
            .collect();
        if ticks.len() != 2 {
            bail!("/proc/{}/stat can't be read", self.process.id());
        }
        Ok(ticks.iter().sum::<f64>() / TICKS_A_SECOND)
    }

    /// The most memory that it ever had, in MiB (the resident set).
    pub(crate) fn peak_mib(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
        Ok(kib.context("the kernel tells no VmHWM")? / 1024.0)
    }

    /// Ends it in order, and reads what it said of its groups and of its grants.
    pub(crate) fn stop(mut self) -> anyhow::Result<Ended> {
        let ended = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        ended.context("the server can't be told to end")?;
        self.process.wait()?;
        let log = self
            .log
            .take()
            .and_then(|log| log.join().ok())
            .unwrap_or_default();
        let mean = log.last.iter().rev().find_map(|line| {
            let (_, mean) = line.split_once("group_mean=")?;
            mean.split(' ').next()?.parse().ok()
        });
        Ok(Ended {
            groups: Groups {
                mean: mean.unwrap_or(f64::NAN),
            },
            grants: log.grants,
        })
    }
}

/// A measurement that fails leaves no server behind.
impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads all that the server logs, as a log collector would; keeps its grants and its last lines.
fn read_log(stderr: ChildStderr) -> Log {
    let mut log = Log::default();
    let mut lines = BufReader::with_capacity(64 * 1024, stderr);
    let mut line = Vec::new();
    while let Ok(1..) = lines.read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        if Granted::is_worth_keeping(&text) {
            log.grants.push(text);
            continue;
        }
        log.last.push_back(text);
        if log.last.len() > LAST_LINES {
            log.last.pop_front();
        }
    }
    log
}

const LAST_LINES: usize = 64;
/// `USER_HZ`, which Linux has fixed at 100 for every program.
const TICKS_A_SECOND: f64 = 100.0;
