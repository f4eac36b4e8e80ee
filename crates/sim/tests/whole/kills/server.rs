//! A server in a process of its own, which ends when it is killed or we do.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A running server.
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    lines: mpsc::Receiver<String>,
}

impl Server {
    /// Starts `command`, and waits for its `ready` line.
    pub(super) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (say, lines) = mpsc::channel();
        std::thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .try_for_each(|l| say.send(l))
        });
        let ready: String =
            tokio::task::block_in_place(|| lines.recv_timeout(PATIENCE)).expect("it is ready");
        let https = ready
            .split(' ')
            .find_map(|word| word.strip_prefix("https="));
        let address = https
            .unwrap_or_else(|| panic!("no https in {ready:?}"))
            .parse()
            .unwrap();
        Self {
            child,
            address,
            lines,
        }
    }

    /// The next line that it says must be this one.
    pub(super) fn wait_for(&self, line: &str) {
        let said = tokio::task::block_in_place(|| self.lines.recv_timeout(PATIENCE));
        assert_eq!(said.as_deref(), Ok(line));
    }

    /// SIGKILL, and nothing of it is left when this returns.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        let status = tokio::task::block_in_place(|| self.child.wait()).unwrap();
        assert_eq!(status.signal(), Some(9), "it had ended by itself: {status}");
    }
}

/// Whatever way the test ends, the server ends with it.
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PATIENCE: Duration = Duration::from_mins(1);
