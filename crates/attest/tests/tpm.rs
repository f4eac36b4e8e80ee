//! A real TPM judges what we seal for it, and we judge what it states: `swtpm`, driven by tpm2-tools.
//!
//! Each test has a TPM of its own, with keys and an endorsement certificate made for it by a CA that
//! is made for it too.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and the setting says whether a missing program may be skipped"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use imprint_attest::tpm::{
    AttestationKey, EndorsementDoubt, EndorsementKey, ImportEntropy, Public, StorageKey, TpmError,
    TpmKind, import_blob, make_credential, prove_certified, prove_endorsement, prove_quote,
};
use imprint_attest::{ChainDoubt, SharedKey};
use imprint_identity::UnixTime;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;

const RSA_EK: &str = "0x81010001";
const P384_EK: &str = "0x81010016";
const SRK: &str = "0x81000001";

#[test]
fn a_tpm_opens_what_is_sealed_for_it_and_nothing_else() {
    let Some(tpm) = Tpm::new() else { return };
    let ak = tpm.attestation_key();
    let other_ak = tpm.primary("other", "e", SIGNING_RESTRICTED, "ecc384:ecdsa-sha384:null");
    tpm.tool("createek", &["-G", "ecc", "-c", "p256.ctx"]);
    for (ek, policy) in [(RSA_EK, true), ("p256.ctx", true), (P384_EK, false)] {
        let endorsement = EndorsementKey::new(tpm.public(ek)).unwrap();
        let secret: [u8; 32] = random();
        let name = ak.public().name();
        let sealed = make_credential(&endorsement, &name, &secret, &random()).unwrap();
        let opened = tpm.open(ek, "ak.ctx", policy, &sealed.file());
        assert_eq!(opened.as_deref(), Some(secret.as_slice()), "{ek}");
        // The same for another key of the same TPM.
        assert_eq!(
            tpm.open(ek, "other.ctx", policy, &sealed.file()),
            None,
            "{ek}"
        );
        let for_other = make_credential(&endorsement, &other_ak.name(), &secret, &random());
        let for_other = for_other.unwrap().file();
        assert_eq!(tpm.open(ek, "ak.ctx", policy, &for_other), None, "{ek}");
        assert!(
            tpm.open(ek, "other.ctx", policy, &for_other).is_some(),
            "{ek}"
        );
        // By another endorsement key.
        let another = if ek == RSA_EK { P384_EK } else { RSA_EK };
        let opened = tpm.open(another, "ak.ctx", another == RSA_EK, &sealed.file());
        assert_eq!(opened, None, "{ek}");
        // With one bit changed: in the MAC, the cipher text, the seed.
        let file = sealed.file();
        for at in [12, file.len() / 3, file.len() - 1] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            let opened = tpm.open(ek, "ak.ctx", policy, &changed);
            assert_eq!(opened, None, "{ek}, octet {at} of {}", file.len());
        }
    }
}

#[test]
fn another_tpm_opens_nothing() {
    let (Some(tpm), Some(other)) = (Tpm::new(), Tpm::new()) else {
        return;
    };
    let ak = other.attestation_key();
    let endorsement = EndorsementKey::new(tpm.public(RSA_EK)).unwrap();
    let sealed = make_credential(&endorsement, &ak.public().name(), &[7; 32], &random());
    let file = sealed.unwrap().file();
    assert_eq!(other.open(RSA_EK, "ak.ctx", true, &file), None);
}

#[test]
fn a_tpm_imports_the_key_in_a_blob_and_signs_with_it() {
    let Some(tpm) = Tpm::new() else { return };
    let endorsement = EndorsementKey::new(tpm.public(RSA_EK)).unwrap();
    assert!(matches!(endorsement.public().kind(), TpmKind::Rsa { .. }));
    assert_eq!(endorsement.registration_id().len(), 52);
    tpm.tool(
        "createprimary",
        &["-C", "o", "-G", "rsa2048", "-a", STORAGE, "-c", "srk.ctx"],
    );
    tpm.tool("evictcontrol", &["-C", "o", "-c", "srk.ctx", SRK]);
    let storage = StorageKey::new(tpm.public(SRK)).unwrap();
    let key: [u8; 32] = random();
    let blob = || {
        let entropy = ImportEntropy {
            credential: random(),
            inner: random(),
            seed_value: random(),
            outer: random(),
        };
        import_blob(&endorsement, &storage, &key, &entropy).unwrap()
    };
    let whole = blob();
    assert_eq!(whole.len(), 766);
    let mac = tpm.import(&whole).unwrap();
    let want = SharedKey::new(&key)
        .unwrap()
        .sign(b"scope/registrations/id\n1");
    assert_eq!(mac, want);
    assert_eq!(
        mac,
        hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &key),
            b"scope/registrations/id\n1"
        )
        .as_ref()
    );
    // Altered in the credential, in the wrapped key, in the seed of the outer wrapping, in the area.
    for at in [40, 360, 500, 740] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert_eq!(tpm.import(&changed), None, "octet {at}");
    }
    // Made for another storage key.
    tpm.tool(
        "createprimary",
        &[
            "-C",
            "o",
            "-G",
            "ecc256:aes128cfb",
            "-a",
            STORAGE,
            "-c",
            "srk2.ctx",
        ],
    );
    let other = StorageKey::new(tpm.public("srk2.ctx")).unwrap();
    let entropy = ImportEntropy {
        credential: random(),
        inner: random(),
        seed_value: random(),
        outer: random(),
    };
    let for_other = import_blob(&endorsement, &other, &key, &entropy).unwrap();
    assert_eq!(tpm.import(&for_other), None);
}

#[test]
fn what_a_tpm_states_is_believed_and_nothing_else() {
    let Some(tpm) = Tpm::new() else { return };
    let ak = tpm.attestation_key();
    let device = tpm.primary("device", "o", SIGNING, "ecc256:null");
    let loose = tpm.primary(
        "loose",
        "o",
        "sensitivedataorigin|userwithauth|sign",
        "ecc256:null",
    );
    for key in ["device", "loose"] {
        let (statement, signature) = (format!("{key}.attest"), format!("{key}.sig"));
        let context = format!("{key}.ctx");
        tpm.tool(
            "certify",
            &[
                "-c", &context, "-C", "ak.ctx", "-g", "sha256", "-o", &statement, "-s", &signature,
            ],
        );
    }
    let (statement, signature) = (tpm.read("device.attest"), tpm.read("device.sig"));
    // tpm2_certify has one nonce, and no option for another.
    let nonce = [0x00, 0xff, 0x55, 0xaa];
    let certified = prove_certified(&ak, &statement, &signature, &nonce, &device).unwrap();
    assert_eq!(certified.public(), &device);
    let check = |statement: &[u8], signature: &[u8], nonce: &[u8], key: &Public| {
        prove_certified(&ak, statement, signature, nonce, key).unwrap_err()
    };
    assert_eq!(
        check(&statement, &signature, &[1], &device),
        TpmError::Nonce
    );
    assert_eq!(
        check(&statement, &signature, &nonce, ak.public()),
        TpmError::OtherKey
    );
    // A key that can leave its TPM, though the TPM certifies it.
    let (weak, by) = (tpm.read("loose.attest"), tpm.read("loose.sig"));
    assert!(matches!(
        check(&weak, &by, &nonce, &loose),
        TpmError::Attributes { .. }
    ));
    for at in 0..statement.len() {
        let mut changed = statement.clone();
        changed[at] ^= 1;
        assert_eq!(
            check(&changed, &signature, &nonce, &device),
            TpmError::Signature,
            "{at}"
        );
    }
    assert_eq!(
        check(&weak, &signature, &nonce, &device),
        TpmError::Signature
    );
    for length in 0..signature.len() {
        let error = check(&statement, &signature[..length], &nonce, &device);
        assert!(matches!(error, TpmError::Cut { .. }), "{length} {error}");
    }
    let other = tpm.primary("other", "e", SIGNING_RESTRICTED, "ecc384:ecdsa-sha384:null");
    let other = AttestationKey::new(other).unwrap();
    let got = prove_certified(&other, &statement, &signature, &nonce, &device);
    assert_eq!(got.unwrap_err(), TpmError::Signature);

    for (kind, scheme, hash) in [
        ("ecc256:ecdsa-sha256:null", "ecdsa", "sha256"),
        ("ecc384:ecdsa-sha384:null", "ecdsa", "sha384"),
        ("rsa2048:rsassa-sha256:null", "rsassa", "sha256"),
        ("rsa2048:rsapss-sha256:null", "rsapss", "sha256"),
    ] {
        let key = tpm.primary("quoting", "e", SIGNING_RESTRICTED, kind);
        let key = AttestationKey::new(key).unwrap();
        let nonce: [u8; 20] = random();
        let qualification = hex::encode(nonce);
        tpm.tool(
            "quote",
            &[
                "-c",
                "quoting.ctx",
                "--scheme",
                scheme,
                "-l",
                "sha256:0,7,16",
                "-q",
                &qualification,
                "-g",
                hash,
                "-m",
                "quote",
                "-s",
                "quote.sig",
                "-o",
                "pcrs",
                "-F",
                "values",
            ],
        );
        let (statement, signature) = (tpm.read("quote"), tpm.read("quote.sig"));
        let values = tpm.read("pcrs");
        let quoted = prove_quote(&key, &statement, &signature, &nonce, &values).unwrap();
        let [(bank, registers)] = quoted.selection() else {
            panic!("one bank");
        };
        assert_eq!(bank.octets(), 32, "{scheme}");
        assert_eq!(registers, &[0, 7, 16], "{scheme}");
        let mut others = values.clone();
        others[0] ^= 1;
        let got = prove_quote(&key, &statement, &signature, &nonce, &others);
        assert_eq!(got.unwrap_err(), TpmError::OtherValues, "{scheme}");
        let got = prove_certified(&key, &statement, &signature, &nonce, &device);
        assert_eq!(got.unwrap_err(), TpmError::Statement, "{scheme}");
    }
}

#[test]
fn an_endorsement_key_leads_to_the_maker_of_its_tpm() {
    let (Some(tpm), Some(stranger)) = (Tpm::new(), Tpm::new()) else {
        return;
    };
    let now = UnixTime(1_900_000_000);
    let read = |tpm: &Tpm, file: &str| {
        let text = fs::read_to_string(tpm.path("ca").join(file)).unwrap();
        let found = pem::decode("CERTIFICATE", &text).unwrap();
        Certificate::parse(&found[0]).unwrap()
    };
    let root = read(&tpm, "swtpm-localca-rootca-cert.pem");
    let issuer = read(&tpm, "issuercert.pem");
    let strange = read(&stranger, "swtpm-localca-rootca-cert.pem");
    for (ek, index) in [(RSA_EK, "0x1c00002"), (P384_EK, "0x1c00016")] {
        let endorsement = EndorsementKey::new(tpm.public(ek)).unwrap();
        tpm.tool("nvread", &[index, "-o", "ek.der"]);
        let der = tpm.read("ek.der");
        let prove = |der: &[u8], intermediates: &[Certificate], anchors: &[Certificate]| {
            prove_endorsement(&endorsement, der, intermediates, anchors, now)
        };
        let both = std::slice::from_ref(&issuer);
        let anchors = [strange.clone(), root.clone()];
        let endorsed = prove(&der, both, &anchors).unwrap();
        assert_eq!(endorsed.endorsement(), &endorsement);
        // As it lies in NV that is larger.
        for filler in [0x00, 0xff] {
            let padded = [der.as_slice(), &[filler; 100]].concat();
            assert!(prove(&padded, both, &anchors).is_ok(), "{filler}");
        }
        assert_eq!(
            prove(&[der.as_slice(), &[0, 1]].concat(), both, &anchors).unwrap_err(),
            EndorsementDoubt::Unreadable
        );
        let broken = EndorsementDoubt::Chain(ChainDoubt::Broken);
        assert_eq!(prove(&der, &[], &anchors).unwrap_err(), broken);
        assert_eq!(
            prove(&der, both, std::slice::from_ref(&strange)).unwrap_err(),
            broken
        );
        assert_eq!(prove(&der, both, &[]).unwrap_err(), broken);
        let mut forged = der.clone();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert!(prove(&forged, both, &anchors).is_err());
        let other = if ek == RSA_EK { P384_EK } else { RSA_EK };
        let other = EndorsementKey::new(tpm.public(other)).unwrap();
        let got = prove_endorsement(&other, &der, both, &anchors, now);
        assert_eq!(got.unwrap_err(), EndorsementDoubt::OtherKey);
        let early = prove_endorsement(&endorsement, &der, both, &anchors, UnixTime(0));
        assert!(matches!(
            early.unwrap_err(),
            EndorsementDoubt::Chain(ChainDoubt::NotYetValid { .. })
        ));
    }
}

const SIGNING: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign";
const SIGNING_RESTRICTED: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign";
const STORAGE: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}

/// A software TPM in a folder of its own. It ends with the test.
struct Tpm {
    folder: tempfile::TempDir,
    process: Child,
}

impl Tpm {
    /// `None`, and said loudly, where the programs are not installed; a failure where
    /// `IMPRINT_REQUIRE_TOOLS` is set.
    fn new() -> Option<Self> {
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
        let state = folder.path();
        // The CA that certifies its endorsement keys.
        let ca = state.join("ca");
        fs::create_dir(&ca).unwrap();
        let write = |name: &str, text: String| fs::write(state.join(name), text).unwrap();
        let at = |name: &str| state.join(name).display().to_string();
        write(
            "localca.conf",
            format!(
                "statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\n\
                 certserial = {ca}/certserial\n",
                ca = ca.display()
            ),
        );
        write(
            "localca.options",
            "--platform-manufacturer Imprint\n--platform-version 1\n--platform-model test\n"
                .to_owned(),
        );
        write(
            "setup.conf",
            format!(
                "create_certs_tool= swtpm_localca\ncreate_certs_tool_config = {}\n\
                 create_certs_tool_options = {}\nactive_pcr_banks = sha256\n",
                at("localca.conf"),
                at("localca.options")
            ),
        );
        let tpm = at("tpm");
        fs::create_dir(&tpm).unwrap();
        let made = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--tpmstate", &tpm])
            .args(["--config", &at("setup.conf"), "--logfile", &at("setup.log")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let log = fs::read_to_string(state.join("setup.log")).unwrap_or_default();
        assert!(made.success(), "swtpm_setup failed: {log}");
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", &format!("dir={tpm}")])
            .args(["--server", &format!("type=unixio,path={}", at("sock"))])
            .args(["--ctrl", &format!("type=unixio,path={}", at("sock.ctrl"))])
            .args(["--flags", "not-need-init,startup-clear"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let socket = state.join("sock.ctrl");
        for _ in 0..500 {
            if socket.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self { folder, process })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap()
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.path(file), bytes).unwrap();
    }

    /// Runs one of tpm2-tools, and then frees what it has left loaded: there are three places, and
    /// nobody who manages them.
    fn try_tool(&self, tool: &str, arguments: &[&str]) -> Result<(), String> {
        let run = |tool: &str, arguments: &[&str]| {
            Command::new(format!("tpm2_{tool}"))
                .args(arguments)
                .current_dir(self.folder.path())
                .env(
                    "TPM2TOOLS_TCTI",
                    format!("swtpm:path={}", socket(self.folder.path())),
                )
                .stdin(Stdio::null())
                .output()
                .unwrap()
        };
        let done = run(tool, arguments);
        run("flushcontext", &["-t"]);
        if done.status.success() {
            return Ok(());
        }
        Err(format!(
            "tpm2_{tool} {arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        ))
    }

    fn tool(&self, tool: &str, arguments: &[&str]) {
        self.try_tool(tool, arguments).unwrap();
    }

    /// The public area of a key, by its handle or its context.
    fn public(&self, key: &str) -> Public {
        self.tool("readpublic", &["-c", key, "-f", "tss", "-o", "public"]);
        Public::parse(&self.read("public")).unwrap()
    }

    /// A new primary key, in `<name>.ctx`.
    fn primary(&self, name: &str, hierarchy: &str, attributes: &str, kind: &str) -> Public {
        let context = format!("{name}.ctx");
        self.tool(
            "createprimary",
            &[
                "-C", hierarchy, "-G", kind, "-a", attributes, "-c", &context,
            ],
        );
        self.public(&context)
    }

    fn attestation_key(&self) -> AttestationKey {
        let public = self.primary("ak", "e", SIGNING_RESTRICTED, "ecc256:ecdsa-sha256:null");
        AttestationKey::new(public).unwrap()
    }

    /// What the TPM gives out for a credential: `TPM2_ActivateCredential`.
    fn open(&self, ek: &str, key: &str, policy: bool, file: &[u8]) -> Option<Vec<u8>> {
        self.write("credential", file);
        let _ = fs::remove_file(self.path("secret"));
        let mut arguments = vec!["-c", key, "-C", ek, "-i", "credential", "-o", "secret"];
        if policy {
            self.tool("startauthsession", &["--policy-session", "-S", "session"]);
            self.tool("policysecret", &["-S", "session", "-c", "e"]);
            arguments.extend(["-P", "session:session"]);
        }
        let opened = self.try_tool("activatecredential", &arguments);
        if policy {
            self.tool("flushcontext", &["session"]);
        }
        opened.ok().map(|()| self.read("secret"))
    }

    /// What the vendor's SDKs do with a blob, and a signature with the key that comes of it.
    fn import(&self, blob: &[u8]) -> Option<Vec<u8>> {
        let mut rest = blob;
        let mut field = || {
            let size = usize::from(u16::from_be_bytes(rest[..2].try_into().unwrap())) + 2;
            let (field, behind) = rest.split_at(size);
            rest = behind;
            field
        };
        let (id_object, secret) = (field(), field());
        let (duplicate, seed, public) = (field(), field(), field());
        assert_eq!(field(), [0, 0]);
        let head = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];
        let file = [head.as_slice(), id_object, secret].concat();
        let inner = self.open(RSA_EK, SRK, true, &file)?;
        self.write("inner", &inner);
        self.write("duplicate", duplicate);
        self.write("seed", seed);
        self.write("id.pub", public);
        let import = [
            "-C",
            SRK,
            "-u",
            "id.pub",
            "-i",
            "duplicate",
            "-k",
            "inner",
            "-s",
            "seed",
            "-r",
            "id.priv",
        ];
        self.try_tool("import", &import).ok()?;
        let load = ["-C", SRK, "-u", "id.pub", "-r", "id.priv", "-c", "id.ctx"];
        self.try_tool("load", &load).ok()?;
        self.write("message", b"scope/registrations/id\n1");
        self.tool("hmac", &["-c", "id.ctx", "-o", "mac", "message"]);
        Some(self.read("mac"))
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn socket(folder: &Path) -> String {
    folder.join("sock").display().to_string()
}
