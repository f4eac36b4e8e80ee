//! A directory of its own for each test, and the binary on it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use imprint_pkix::{SignatureAlgorithm, csr, pem};
use serde_json::Value;
use tempfile::TempDir;

/// A place for one test. Nothing in it outlives the test.
pub(crate) struct Place {
    dir: TempDir,
}

/// What a command said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    /// An empty place.
    pub(crate) fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A directory made by `imprint init` on free ports, for tests.
    pub(crate) fn new() -> Self {
        let place = Self::empty();
        place.ok(&INIT);
        place
    }

    /// The same with one product.
    pub(crate) fn with_fleet(fleet: &str) -> Self {
        let place = Self::new();
        let file = place.write("fleet.toml", fleet);
        place.ok(&["apply", &file]);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The server's directory.
    pub(crate) fn server(&self) -> PathBuf {
        self.path("imprint")
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Replaces a text that must be there.
    pub(crate) fn edit(&self, name: &str, before: &str, after: &str) {
        let text = self.read(name);
        assert!(text.contains(before), "{name} has no {before:?}:\n{text}");
        self.write(name, &text.replace(before, after));
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imprint"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_remove("IMPRINT_SEAL_KEY")
            .env("IMPRINT_DIR", self.server())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments).output().unwrap())
    }

    /// A command that succeeds; its stdout.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.out
    }

    /// A command that is refused; its stderr.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 1, "{arguments:?}: {said:?}");
        assert_eq!(said.out, "", "{arguments:?}: a refusal is no document");
        said.err
    }

    /// A command's document.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        serde_json::from_str(&self.ok(&arguments)).unwrap()
    }

    /// A running server.
    pub(crate) fn serve(&self) -> Running {
        self.serve_with(&[])
    }

    pub(crate) fn serve_with(&self, more: &[&str]) -> Running {
        let arguments = [&["serve"], more].concat();
        let log = fs::File::create(self.path("log")).unwrap();
        let mut child = self
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        let running = Running {
            child,
            ready: ready.trim_end().to_owned(),
        };
        assert!(
            running.ready.starts_with("ready "),
            "{ready:?}: {}",
            self.read("log")
        );
        running
    }

    /// A certificate request on a new key, as a PEM file; its path.
    pub(crate) fn request(&self, name: &str) -> String {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let key: Vec<u8> = pair.public_key().as_der().unwrap().as_ref().to_vec();
        let info = csr::request_info_der(name, &key, None);
        let signature = pair.sign(&SystemRandom::new(), &info).unwrap();
        let der = csr::assemble(&info, SignatureAlgorithm::EcdsaSha256, signature.as_ref());
        self.write(
            &format!("{name}.csr"),
            &pem::encode(pem::CERTIFICATE_REQUEST, &der),
        )
    }

    /// Issues a certificate by hand; its path.
    pub(crate) fn issue(&self, product: &str, hardware: &str) -> String {
        let request = self.request(&hardware.replace(':', "-"));
        let issue = ["device", "issue", "--csr", &request, "--product", product];
        let certificate = self.ok(&[&issue[..], &["--hardware", hardware]].concat());
        self.write(&format!("{request}.crt"), &certificate)
    }
}

/// A server that runs until it is told to end, or the test ends.
pub(crate) struct Running {
    child: Child,
    pub(crate) ready: String,
}

impl Running {
    /// The address behind a listener's name in the ready line.
    pub(crate) fn address(&self, listener: &str) -> Option<&str> {
        let prefix = format!("{listener}=");
        self.ready
            .split(' ')
            .find_map(|word| word.strip_prefix(prefix.as_str()))
    }

    pub(crate) fn https(&self) -> String {
        format!("https://{}", self.address("https").unwrap())
    }

    /// A device with this hardware and token, until it is a member or rests; its exit code.
    pub(crate) fn agent(&self, place: &Place, hardware: &str, token: &str) -> i32 {
        said(self.agent_command(place, hardware, token).output().unwrap()).code
    }

    /// Its state is in a directory named for its hardware.
    pub(crate) fn agent_command(&self, place: &Place, hardware: &str, token: &str) -> Command {
        let (state, url) = (hardware.replace(':', "-"), self.https());
        let root = place.server().join("ca/root.pem");
        let root = root.to_str().unwrap();
        let base = [
            "agent", "run", "--once", "--server", &url, "--root", root, "--token", token,
        ];
        let who = [
            "--product",
            "thermo",
            "--hardware",
            hardware,
            "--state",
            &state,
        ];
        let mut command = place.command(&[&base[..], &who].concat());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Sends a signal by its name and waits for the end; the exit code, if it was no signal's.
    pub(crate) fn end(mut self, signal: &str) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), id.as_str()])
            .status();
        assert!(sent.unwrap().success());
        self.wait()
    }

    fn wait(&mut self) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that has failed leaves nothing behind; one that has not, has waited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned(),
        err: String::from_utf8(output.stderr)
            .unwrap()
            .trim_end()
            .to_owned(),
    }
}

/// Runs a command with a text on its stdin.
pub(crate) fn with_stdin(mut command: Command, text: &str) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    said(child.wait_with_output().unwrap())
}

/// The text with what differs from run to run replaced: times, serials, keys, token ids, ports.
pub(crate) fn settled(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for letter in text.chars().chain(std::iter::once('\n')) {
        if letter.is_ascii_alphanumeric() || matches!(letter, '-' | ':' | '.') {
            word.push(letter);
            continue;
        }
        out.push_str(&settled_word(&word));
        word.clear();
        out.push(letter);
    }
    out.pop();
    out
}

fn settled_word(word: &str) -> String {
    let bare = word.trim_end_matches([':', '.', ',']);
    let rest = &word[bare.len()..];
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let time = bare.len() == 20 && bare.ends_with('Z') && bare.as_bytes()[10] == b'T';
    let settled = match bare.len() {
        _ if time => "TIME",
        40 if hex(bare) => "SERIAL",
        64 if hex(bare) => "HASH",
        16 if hex(bare) => "SHORT",
        14 if bare.starts_with("t-") && hex(&bare[2..]) => "t-ID",
        _ => bare,
    };
    format!("{settled}{rest}")
}

/// The mode bits of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Free ports, test keys.
pub(crate) const INIT: [&str; 12] = [
    "init",
    "--for-tests",
    "--https",
    "127.0.0.1:0",
    "--http",
    "127.0.0.1:0",
    "--mqtts",
    "127.0.0.1:0",
    "--admin",
    "127.0.0.1:0",
    "--host",
    "127.0.0.1",
];

/// The smallest fleet.
pub(crate) const THERMO: &str = "[[product]]\nname = \"thermo\"\n";
