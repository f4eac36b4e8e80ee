//! A software TPM that tpm2-tools drive, with an endorsement certificate of a maker of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use imprint_attest::tpm::Public;
use imprint_pkix::{SignatureAlgorithm, csr};

/// The endorsement key of RSA, which `swtpm_setup` puts there.
pub(crate) const EK: &str = "0x81010001";
/// Where keys are put that are used by their handle.
pub(crate) const AK: &str = "0x81010010";
pub(crate) const DEVICE: &str = "0x81010011";
pub(crate) const SIGNING: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign";
pub(crate) const RESTRICTED: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign";
pub(crate) const LOOSE: &str = "sensitivedataorigin|userwithauth|sign";

/// It ends with the test.
pub(crate) struct Tpm {
    folder: tempfile::TempDir,
    process: Child,
}

impl Tpm {
    /// `None`, and said loudly, where the programs are not installed; a failure where
    /// `IMPRINT_REQUIRE_TOOLS` is set.
    #[expect(
        clippy::disallowed_methods,
        reason = "the setting says whether a missing program may be skipped"
    )]
    pub(crate) fn new() -> Option<Self> {
        let programs = ["swtpm", "swtpm_setup", "swtpm_localca", "tpm2_createek"];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_here = |program: &&str| {
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        };
        if !programs.iter().all(is_here) {
            let required = std::env::var_os("IMPRINT_REQUIRE_TOOLS").is_some();
            assert!(!required, "one of {programs:?} is not installed");
            println!("SKIPPED: one of {programs:?} is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        for name in ["ca", "tpm"] {
            fs::create_dir(at(name)).unwrap();
        }
        let localca = format!(
            "statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\n\
             certserial = {ca}/certserial\n",
            ca = at("ca")
        );
        let options =
            "--platform-manufacturer Imprint\n--platform-version 1\n--platform-model test\n";
        let setup = format!(
            "create_certs_tool= swtpm_localca\ncreate_certs_tool_config = {}\n\
             create_certs_tool_options = {}\nactive_pcr_banks = sha256\n",
            at("localca.conf"),
            at("localca.options")
        );
        fs::write(at("localca.conf"), localca).unwrap();
        fs::write(at("localca.options"), options).unwrap();
        fs::write(at("setup.conf"), setup).unwrap();
        let made = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--tpmstate", &at("tpm")])
            .args(["--config", &at("setup.conf"), "--logfile", &at("setup.log")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let log = fs::read_to_string(at("setup.log")).unwrap_or_default();
        assert!(made.success(), "swtpm_setup failed: {log}");
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", at("tpm")))
            .args(["--server", &format!("type=unixio,path={}", at("sock"))])
            .args(["--ctrl", &format!("type=unixio,path={}", at("sock.ctrl"))])
            .args(["--flags", "not-need-init,startup-clear"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..500 {
            if folder.path().join("sock.ctrl").exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self { folder, process })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap()
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.path(file), bytes).unwrap();
    }

    /// Runs one of tpm2-tools, and then frees what it has left loaded: there are three places, and
    /// nobody who manages them.
    pub(crate) fn tool(&self, tool: &str, arguments: &[&str]) {
        let run = |tool: &str, arguments: &[&str]| {
            Command::new(format!("tpm2_{tool}"))
                .args(arguments)
                .current_dir(self.folder.path())
                .env(
                    "TPM2TOOLS_TCTI",
                    format!("swtpm:path={}", self.path("sock").display()),
                )
                .stdin(Stdio::null())
                .output()
                .unwrap()
        };
        let done = run(tool, arguments);
        run("flushcontext", &["-t"]);
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "tpm2_{tool} {arguments:?}: {error}");
    }

    /// The `TPM2B_PUBLIC` of a key.
    pub(crate) fn public(&self, key: &str) -> Vec<u8> {
        self.tool("readpublic", &["-c", key, "-f", "tss", "-o", "public"]);
        self.read("public")
    }

    /// A new key on P-256 at a handle, in place of the one that is there.
    pub(crate) fn key(&self, handle: &str, attributes: &str, unique: &[u8]) -> Vec<u8> {
        // Another template is another key: primaries are derived.
        // The tool reads two coordinates as they lie in memory.
        let coordinate = [&[32_u8, 0][..], unique, &[0; 96]].concat();
        self.write("unique", &[&coordinate[..], &coordinate].concat());
        let kind = if attributes == RESTRICTED {
            "ecc256:ecdsa-sha256:null"
        } else {
            "ecc256:null"
        };
        self.tool(
            "createprimary",
            &[
                "-C", "o", "-G", kind, "-a", attributes, "-c", "new.ctx", "-u", "unique",
            ],
        );
        let there = Command::new("tpm2_readpublic")
            .args(["-c", handle])
            .env(
                "TPM2TOOLS_TCTI",
                format!("swtpm:path={}", self.path("sock").display()),
            )
            .output()
            .unwrap();
        if there.status.success() {
            self.tool("evictcontrol", &["-C", "o", "-c", handle]);
        }
        self.tool("evictcontrol", &["-C", "o", "-c", "new.ctx", handle]);
        self.public(handle)
    }

    /// `TPM2_ActivateCredential`.
    pub(crate) fn opens(&self, credential: &[u8]) -> Vec<u8> {
        let head = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];
        self.write("credential", &[&head[..], credential].concat());
        self.tool("startauthsession", &["--policy-session", "-S", "session"]);
        self.tool("policysecret", &["-S", "session", "-c", "e"]);
        self.tool(
            "activatecredential",
            &[
                "-c",
                AK,
                "-C",
                EK,
                "-i",
                "credential",
                "-o",
                "secret",
                "-P",
                "session:session",
            ],
        );
        self.tool("flushcontext", &["session"]);
        self.read("secret")
    }

    /// `TPM2_Certify` of the key at [`DEVICE`] by the one at [`AK`], as a command: the tool for it has no
    /// option for the nonce. Statement and signature.
    pub(crate) fn certifies(&self, nonce: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let handle = |text: &str| u32::from_str_radix(&text[2..], 16).unwrap().to_be_bytes();
        // TPM_RS_PW, no nonce, no attributes, an empty password; once for each key.
        let password = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        let length = u16::try_from(nonce.len()).unwrap().to_be_bytes();
        let body = [
            &0x0148_u32.to_be_bytes()[..],
            &handle(DEVICE),
            &handle(AK),
            &18_u32.to_be_bytes(),
            &password,
            &password,
            &length,
            nonce,
            // TPM_ALG_NULL: by the key's own scheme.
            &[0, 0x10],
        ]
        .concat();
        let size = u32::try_from(body.len() + 6).unwrap().to_be_bytes();
        self.write("command", &[&[0x80, 2][..], &size, &body].concat());
        let mut response = Vec::new();
        for _ in 0..20 {
            self.tool("send", &["command", "-o", "response"]);
            response = self.read("response");
            // TPM_RC_RETRY: what a library would do by itself.
            if response[6..10] != [0, 0, 9, 0x22] {
                break;
            }
        }
        assert_eq!(response[6..10], [0; 4], "{}", hex::encode(&response));
        let parameters = u32::from_be_bytes(response[10..14].try_into().unwrap());
        let parameters = &response[14..14 + usize::try_from(parameters).unwrap()];
        let length = usize::from(u16::from_be_bytes([parameters[0], parameters[1]]));
        let (statement, signature) = parameters[2..].split_at(length);
        (statement.to_vec(), signature.to_vec())
    }

    /// A request that the key at [`DEVICE`] has signed.
    pub(crate) fn csr(&self) -> Vec<u8> {
        let public = Public::parse(&self.public(DEVICE)).unwrap();
        let info = csr::request_info_der("tpm", public.public_key().spki_der(), None);
        self.write("info", &info);
        self.tool(
            "sign",
            &[
                "-c", DEVICE, "-g", "sha256", "-s", "ecdsa", "-f", "plain", "-o", "info.sig",
                "info",
            ],
        );
        csr::assemble(
            &info,
            SignatureAlgorithm::EcdsaSha256,
            &self.read("info.sig"),
        )
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
