//! The words of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Takes devices from bare silicon to authenticated members of your fleet.
#[derive(Debug, Parser)]
#[command(
    name = "imprint",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage.")]
pub(crate) struct Cli {
    /// The server's directory.
    #[arg(
        long,
        global = true,
        env = "IMPRINT_DIR",
        default_value = "imprint",
        value_name = "DIR"
    )]
    pub(crate) dir: PathBuf,
    /// Print one JSON document: what the admin API answered.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a server's directory: authorities, keys, database, settings.
    Init(Init),
    /// Run the server until SIGTERM or SIGINT.
    Serve(Serve),
    /// A whole fleet in one terminal: a server and devices, every step shown, nothing kept.
    Demo(Demo),
    /// Measure what the server does, beside what its parts alone cost on this machine.
    #[command(subcommand)]
    Bench(Bench),
    /// Bring products, groups, types, policies, templates, claims and registered CAs to what a fleet
    /// file says; shows the difference first.
    Apply(Apply),
    /// Print the fleet file that is this fleet: applying it changes nothing.
    Export,
    /// One-time tokens, by which devices join.
    #[command(subcommand)]
    Token(Token),
    /// Claims: shared certificates by which devices join.
    #[command(subcommand)]
    Claim(Claim),
    /// Entries: devices, or groups of them, that register with Azure's SDKs.
    #[command(subcommand)]
    Entry(Entry),
    /// Keys for scripts that make and read entries by Azure's service API.
    #[command(subcommand)]
    ServiceKey(ServiceKey),
    /// Provisioning templates.
    #[command(subcommand)]
    Template(Template),
    /// See what would happen, on a copy of the ledger.
    #[command(subcommand)]
    Drill(DrillCommand),
    /// Allowlists of hardware ids.
    #[command(subcommand)]
    Allow(Allow),
    /// Keys that devices share with the server, for the bench where they are made.
    #[command(subcommand)]
    Key(Key),
    /// Devices.
    #[command(subcommand)]
    Device(Device),
    /// Things: what templates made of devices.
    #[command(subcommand)]
    Thing(Thing),
    /// Which step a device is at, the cause, the evidence, and what to do.
    Why {
        /// The device's name or its hardware id.
        device: String,
    },
    /// The append-only account of every change.
    #[command(subcommand)]
    Journal(Journal),
    /// What happens in the fleet, as CloudEvents: the journal for other programs.
    #[command(args_conflicts_with_subcommands = true)]
    Events(Events),
    /// Our authorities with their revocation lists, and customers' CAs.
    #[command(subcommand)]
    Ca(Ca),
    /// What runs here, and for which products.
    Status,
    /// Look at the server's directory, running or not: what is wrong, or will be. It mends nothing. Exit
    /// code 1 if something is.
    Doctor,
    /// A device on Linux. Exit codes of its own: see `imprint agent --help`.
    #[command(subcommand, after_help = AGENT_EXIT_CODES)]
    Agent(AgentCommand),
}

const AGENT_EXIT_CODES: &str = "\
Exit codes: 0 PROVISIONED or nothing wrong, 1 the agent can't work, 2 wrong usage, 10 QUARANTINE,
11 not yet a member, 20 root file, 21 DNS, 22 route, 23 TCP, 24 proxy, 25 TLS, 26 pin, 27 name,
28 clock, 29 not a registrar.";

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The fleet's name, as it stands in the authorities' certificates.
    #[arg(long, default_value = "Imprint")]
    pub(crate) name: String,
    /// A DNS name or an IP address under which devices reach the server. Repeatable. Without one:
    /// localhost, 127.0.0.1 and this machine's name.
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    /// Where devices come in; port 0 takes a free one at each start.
    #[arg(long, default_value = "0.0.0.0:8443", value_name = "ADDR")]
    pub(crate) https: SocketAddr,
    /// Where CA certificates and revocation lists are served in the clear.
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDR")]
    pub(crate) http: SocketAddr,
    /// Where devices come in over MQTT.
    #[arg(long, default_value = "0.0.0.0:8883", value_name = "ADDR")]
    pub(crate) mqtts: SocketAddr,
    /// Where operators come in.
    #[arg(long, default_value = "127.0.0.1:9443", value_name = "ADDR")]
    pub(crate) admin: SocketAddr,
    /// Authorities and server certificate without an end (9999-12-31).
    #[arg(long)]
    pub(crate) no_expiry: bool,
    /// Keys that are marked as not to be trusted, for tests and demonstrations.
    #[arg(long)]
    pub(crate) for_tests: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Be rude on purpose: lose, repeat and delay replies. For testing devices, never for a fleet.
    #[arg(long)]
    pub(crate) hostile: bool,
    /// Log as JSON, whatever the settings say.
    #[arg(long)]
    pub(crate) log_json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Devices to which nothing happens; four unlucky ones come on top.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) devices: u32,
    /// End after the play, with 1 if a promise was broken; without, the server goes on.
    #[arg(long)]
    pub(crate) exit: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Cold enrollments: each its own connection, handshake, key and durable rows.
    Enroll(BenchEnroll),
    /// A crowd of newcomers at a paced product, and members that renew meanwhile. Fails when one
    /// is lost, when a second lets in more than the pace, or when it takes much longer than it must.
    Storm(BenchStorm),
}

#[derive(Debug, Args)]
pub(crate) struct BenchStorm {
    /// How many devices.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    pub(crate) devices: u32,
    /// How many are let in each second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// By a claim over MQTT, which all of them share, instead of a token each.
    #[arg(long)]
    pub(crate) claims: bool,
    /// Milliseconds within which all of them switch on.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) within: u32,
    /// A folder on a disk, for the server's directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) at: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchEnroll {
    /// Renewals with a client certificate, instead of first enrollments by token.
    #[arg(long)]
    pub(crate) mtls: bool,
    /// How many are measured.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=50_000))]
    pub(crate) count: u32,
    /// How many at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) in_flight: u32,
    /// A folder on a disk, for the server's directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) at: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The fleet file, TOML.
    pub(crate) file: PathBuf,
    /// Only show what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Derive each device's key from its group's, one device a line. Asks no server.
    Derive(KeyDerive),
}

#[derive(Debug, Args)]
pub(crate) struct KeyDerive {
    /// The file with the group's key in base64; `-` is stdin. Never the key itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) group_key: String,
    /// Registration ids: as they are, or one a line in a file or on stdin (`-`). Their case counts
    /// here, and the devices have to write them so.
    #[arg(required = true, value_name = "ID|FILE")]
    pub(crate) items: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make tokens and print their text, one a line. It is never shown again.
    New(TokenNew),
    /// List tokens, newest first.
    List {
        /// Of this product alone.
        #[arg(long)]
        product: Option<String>,
        /// In this state alone: dormant, minted, leased, spent, revoked.
        #[arg(long)]
        state: Option<String>,
        /// At most so many.
        #[arg(long)]
        limit: Option<u32>,
    },
    /// Where a token stands, who holds it and since when.
    Show {
        /// Its id, `t-...`.
        id: String,
    },
    /// Take a token back.
    Revoke {
        /// Its id, `t-...`.
        id: String,
    },
    /// Take a token from its holder, whose certificate is revoked, and open it again.
    Rebind {
        /// Its id, `t-...`.
        id: String,
        /// Bind it to this hardware.
        #[arg(long, value_name = "ID")]
        hardware: Option<String>,
    },
    /// Wake a dormant token.
    Arm {
        /// Its id, `t-...`.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TokenNew {
    /// For which product.
    #[arg(long, value_name = "P")]
    pub(crate) product: String,
    /// For this hardware alone, `source:value`. Repeatable: one token each.
    #[arg(long = "hardware", value_name = "ID", conflicts_with = "count")]
    pub(crate) hardware: Vec<String>,
    /// How many, for any hardware; each serves one device.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) count: Option<u32>,
    /// How long a lease may begin: `90d`, `12h`, `30m`, `90s`. Without: the product's rule.
    #[arg(long, value_name = "TIME", value_parser = crate::duration::seconds)]
    pub(crate) expires: Option<i64>,
    /// They sleep until `imprint token arm`.
    #[arg(long)]
    pub(crate) dormant: bool,
    /// Also write each as a QR code, `DIR/<its id>.svg`, for its owner's eyes alone.
    #[arg(long, value_name = "DIR")]
    pub(crate) qr: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Allow {
    /// Put hardware on a product's allowlist.
    Add(AllowChange),
    /// Take hardware off a product's allowlist. Devices that have joined stay.
    Remove(AllowChange),
    /// List a product's allowlist.
    List {
        /// Which product's.
        #[arg(long, value_name = "P")]
        product: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AllowChange {
    /// Which product's.
    #[arg(long, value_name = "P")]
    pub(crate) product: String,
    /// Hardware ids, or files with one id a line (`#` begins a comment); `-` reads stdin.
    #[arg(required = true, value_name = "FILE|ID")]
    pub(crate) items: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// List devices, by name.
    List {
        /// Of this product alone.
        #[arg(long)]
        product: Option<String>,
        /// In this state alone: pending, active, held, quarantined, revoked, decommissioned.
        #[arg(long)]
        state: Option<String>,
        /// At most so many; without: all.
        #[arg(long)]
        limit: Option<u32>,
    },
    /// A device and everything about it.
    Show {
        /// Its name or its hardware id.
        device: String,
    },
    /// Let the key that waits have its certificate.
    Approve {
        /// Its name or its hardware id.
        device: String,
        /// Which key, when several wait: 64 hex digits from `device show`.
        #[arg(long)]
        key: Option<String>,
    },
    /// Issue a certificate from a request by hand; prints it as PEM.
    Issue {
        /// The PKCS#10 request, PEM or DER.
        #[arg(long, value_name = "FILE")]
        csr: PathBuf,
        /// In which product.
        #[arg(long, value_name = "P")]
        product: String,
        /// For which hardware.
        #[arg(long, value_name = "ID")]
        hardware: String,
        /// Print the chain behind it as well.
        #[arg(long)]
        chain: bool,
    },
    /// Put a certificate of ours that the registry does not know on record.
    Adopt {
        /// The certificate, PEM or DER.
        certificate: PathBuf,
        /// Into which product.
        #[arg(long, value_name = "P")]
        product: String,
        /// For which hardware, where the certificate does not say.
        #[arg(long, value_name = "ID")]
        hardware: Option<String>,
    },
    /// Put a device aside: its certificate is refused until it is released.
    Quarantine {
        /// Its name or its hardware id.
        device: String,
        /// Why, in words.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a device out of quarantine, revocation or decommissioning, and let its next enrollment
    /// replace its key.
    Release {
        /// Its name or its hardware id.
        device: String,
        /// End its quarantine and allow nothing else: the key that it has stays its key.
        #[arg(long)]
        keep_key: bool,
    },
    /// Take a device out of service: its certificates are revoked.
    Decommission {
        /// Its name or its hardware id.
        device: String,
        /// Why, in words.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Revoke a device's certificates.
    Revoke {
        /// Its name or its hardware id.
        device: String,
        /// For the revocation list: unspecified, key-compromise, superseded,
        /// cessation-of-operation, privilege-withdrawn.
        #[arg(long, default_value = "unspecified")]
        reason: String,
        /// Why, in words.
        #[arg(long, default_value = "")]
        note: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Journal {
    /// Name the first row that is not as it was written, if there is one.
    Verify {
        /// A head that an earlier verify printed and that you noted elsewhere: finds rows that were
        /// cut off at the end.
        #[arg(long, value_name = "HEAD")]
        noted: Option<String>,
    },
    /// List rows, in order.
    List {
        /// Rows after this number.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most so many, up to 1,000.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    #[command(subcommand)]
    pub(crate) command: Option<EventsCommand>,
    /// Go on, and print each event as it comes, one a line.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Events after this one; 0 begins at the first.
    #[arg(long, default_value_t = 0, value_name = "ID")]
    pub(crate) after: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Print the key by which a webhook's receiver knows that an event is from this server.
    Key {
        /// The receiver, as it stands in imprint.toml.
        url: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// The authorities: names, ends, sizes, revocation lists.
    Info,
    /// Make another issuing authority under the root: a product with its name as `ca` is signed for by
    /// it, once the server has been restarted.
    New(CaNew),
    /// Make the revocation lists that are due.
    Crl {
        /// Also those that are not due.
        #[arg(long)]
        force: bool,
    },
    /// Register a customer's CA: devices with its certificates are provisioned just in time.
    Register(CaRegister),
    /// Print the registration code: the CN of the certificate by which a CA proves its key.
    Code,
    /// List customers' CAs.
    List,
    /// A customer's CA.
    Show {
        /// Its name.
        ca: String,
    },
    /// Take new devices of a customer's CA in.
    Activate {
        /// Its name.
        ca: String,
    },
    /// Take no new devices of a customer's CA in. Those that have been stay.
    Deactivate {
        /// Its name.
        ca: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CaNew {
    /// Its name: also in `/ca/NAME.crt` and `/crl/NAME.crl`.
    pub(crate) name: String,
    /// For so many days, and no longer than the root.
    #[arg(long, default_value_t = 3_652, value_name = "N")]
    pub(crate) days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct CaRegister {
    /// The CA's certificate, PEM.
    pub(crate) certificate: PathBuf,
    /// Its name here.
    #[arg(long, value_name = "N")]
    pub(crate) name: String,
    /// The product of its devices.
    #[arg(long, value_name = "P")]
    pub(crate) product: String,
    /// The template by which they are made; without: by the product alone.
    #[arg(long, value_name = "T")]
    pub(crate) template: Option<String>,
    /// A certificate that the CA has signed, with `imprint ca code` as its CN, PEM.
    #[arg(long, value_name = "FILE", required_unless_present = "sni_only")]
    pub(crate) proof: Option<PathBuf>,
    /// Without a proof: its devices must name the server in TLS.
    #[arg(long, conflicts_with = "proof")]
    pub(crate) sni_only: bool,
    /// What the first connection does: jitp (the device is provisioned), jitr (it is held until it is
    /// approved), off.
    #[arg(long, value_name = "HOW")]
    pub(crate) auto: Option<String>,
    /// How strongly the CA's word proves a hardware id: asserted, flash-key, ...
    #[arg(long, value_name = "STRENGTH")]
    pub(crate) strength: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DrillCommand {
    /// What would happen to a device on a shelf, with its claim, its token, the certificate that it was
    /// born with, or the key that it shares with its entry? The device's own code asks a server with both clocks moved; nothing is kept.
    Claim(Drill),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("credential").required(true).args(["token", "claim_cert", "own_cert", "shared_key"]))]
#[command(group = clap::ArgGroup::new("fate").args(["revoked", "expired", "at"]))]
pub(crate) struct Drill {
    /// The claim's certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "claim_key")]
    pub(crate) claim_cert: Option<PathBuf>,
    /// The claim's key, PEM.
    #[arg(long, value_name = "FILE", requires = "claim_cert")]
    pub(crate) claim_key: Option<PathBuf>,
    /// The template; without: the one that is named like the product.
    #[arg(long, value_name = "T", requires = "claim_cert")]
    pub(crate) template: Option<String>,
    /// A parameter of the template. `SerialNumber` is the hardware id, unless it is given.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter, requires = "claim_cert")]
    pub(crate) parameters: Vec<(String, String)>,
    /// The token's text, in place of a claim.
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// The certificate that the device was born with (PEM), of a registered CA, and what is above it.
    #[arg(long, value_name = "FILE", requires = "own_key")]
    pub(crate) own_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "own_cert")]
    pub(crate) own_key: Option<PathBuf>,
    /// The key that the device shares with its entry, base64, in a file.
    #[arg(long, value_name = "FILE", requires = "hardware")]
    pub(crate) shared_key: Option<PathBuf>,
    /// The device's hardware id; without: the token's, or one that nobody has. A certificate that it
    /// was born with says it by itself.
    #[arg(long, value_name = "ID")]
    pub(crate) hardware: Option<String>,
    /// The credential is revoked first; for a certificate that a device was born with, its CA is
    /// deactivated, and for a shared key its entry is disabled.
    #[arg(long)]
    pub(crate) revoked: bool,
    /// On the day after the credential's end.
    #[arg(long)]
    pub(crate) expired: bool,
    /// On this day: `2027-03-01`, `2027-03-01T12:00:00Z`, or `+90d`. Without: today.
    #[arg(long, value_name = "DATE", value_parser = crate::drill::Day::parse)]
    pub(crate) at: Option<crate::drill::Day>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Entry {
    /// Make an entry: for one device by its registration id, or for a group. Keys that are made here
    /// are printed once and never again.
    New(EntryNew),
    /// List entries, groups first.
    List,
    /// An entry. Its keys are not shown.
    Show(EntryName),
    /// Let devices register by an entry, and hear them by its keys.
    Enable(EntryName),
    /// Let nobody register by an entry, and hear nobody by its keys. Devices with certificates stay.
    Disable(EntryName),
    /// Forget an entry and its keys. Devices that are registered by it are not heard any more, unless
    /// they have got a certificate of this server since.
    Delete(EntryName),
    /// Put another key into a slot. Devices that use the other slot notice nothing.
    Rotate(EntryRotate),
    /// Print the key of one device of a group, to be written into it: the group's key stays here.
    Key {
        /// The group's name.
        group: String,
        /// The device's registration id, as its firmware will write it.
        registration_id: String,
        /// Derive it from the group's second key.
        #[arg(long)]
        secondary: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceKey {
    /// Make a key for the entries of one product, and print the connection string: once, and never
    /// again.
    New {
        /// Its name: 1 to 64 letters, digits, '-', '_' and '.'.
        name: String,
        /// The product whose entries it is for.
        #[arg(long, value_name = "P")]
        product: String,
        /// What its holder may do: `read`, `write`, or `keys`, which is to ask for entries' keys as well.
        #[arg(long, default_value = "write", value_name = "ACCESS")]
        access: String,
        /// The name by which scripts reach the admin listener, without a port; without: the hub's.
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
    },
    /// List service keys. The keys themselves are not shown.
    List,
    /// Take a key back: nobody is heard by it any more. Entries that were made by it stay.
    Revoke {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct EntryName {
    /// The registration id, or with --group the group's name.
    pub(crate) name: String,
    /// It is a group.
    #[arg(long)]
    pub(crate) group: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EntryNew {
    #[command(flatten)]
    pub(crate) entry: EntryName,
    /// The product that devices join by it.
    #[arg(long, value_name = "P")]
    pub(crate) product: String,
    /// In place of keys: the device's certificate, or with --group the authority's, PEM. Given twice:
    /// the second one follows the first.
    #[arg(long = "certificate", value_name = "FILE", conflicts_with_all = ["key", "secondary_key"])]
    pub(crate) certificates: Vec<PathBuf>,
    /// In place of keys: the endorsement key of the device's TPM, a `TPM2B_PUBLIC` as
    /// `tpm2_readpublic -f tss` writes it, or that in base64.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "secondary_key", "certificates", "group"])]
    pub(crate) tpm: Option<PathBuf>,
    /// The only storage key of that TPM that is taken; without: whichever it has.
    #[arg(long, value_name = "FILE", requires = "tpm")]
    pub(crate) storage_key: Option<PathBuf>,
    /// A key that was made elsewhere, 32 to 64 bytes in base64, in a file; `-` reads stdin.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// The second key, in a file.
    #[arg(long, value_name = "FILE")]
    pub(crate) secondary_key: Option<PathBuf>,
    /// The name that the device gets in the fleet; without: by its product's rule.
    #[arg(long, value_name = "ID", conflicts_with = "group")]
    pub(crate) device_id: Option<String>,
    /// How strongly its word proves a hardware id: asserted (without; for a TPM: element-key), flash-key, ...
    #[arg(long, value_name = "STRENGTH")]
    pub(crate) strength: Option<String>,
    /// Disabled from the start.
    #[arg(long)]
    pub(crate) disabled: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EntryRotate {
    #[command(flatten)]
    pub(crate) entry: EntryName,
    /// The second slot; without: the first.
    #[arg(long)]
    pub(crate) secondary: bool,
    /// A key that was made elsewhere, 32 to 64 bytes in base64, in a file; `-` reads stdin.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Claim {
    /// Make a claim with a certificate: its key is made here, 0600.
    New(ClaimNew),
    /// List claims, by name.
    List,
    /// A claim and its certificates.
    Show {
        /// Its name.
        claim: String,
    },
    /// End a claim for good, or one of its certificates. Devices that it has provisioned stay.
    Revoke {
        /// Its name.
        claim: String,
        /// Only this certificate: its fingerprint, 64 hex digits from `claim show`.
        #[arg(long, value_name = "SHA256")]
        certificate: Option<String>,
        /// Why, in words.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Make another certificate of a claim. The older ones go on until they end or are revoked.
    Rotate {
        /// Its name.
        claim: String,
        /// How long the new one is good: `90d`, `12h`, `5m`. Without: a year.
        #[arg(long, value_name = "TIME", value_parser = crate::duration::seconds)]
        expires: Option<i64>,
        /// Revoke the older ones at once.
        #[arg(long)]
        revoke_old: bool,
        /// Where the key and the certificate go.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Stop a claim until it is thawed.
    Freeze {
        /// Its name.
        claim: String,
        /// Why, in words.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let a frozen claim go on; its brake begins to count anew.
    Thaw {
        /// Its name.
        claim: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ClaimNew {
    /// For which product.
    #[arg(long, value_name = "P")]
    pub(crate) product: String,
    /// Its name; without: the product's.
    #[arg(long, value_name = "N")]
    pub(crate) name: Option<String>,
    /// A template that it may use. Repeatable; without: all of its product.
    #[arg(long = "template", value_name = "T")]
    pub(crate) templates: Vec<String>,
    /// How many devices may ever be registered with it; without: no limit.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) cap: Option<u64>,
    /// How long its certificate is good: `90d`, `12h`, `5m`. Without: a year.
    #[arg(long, value_name = "TIME", value_parser = crate::duration::seconds)]
    pub(crate) expires: Option<i64>,
    /// Only hardware on the product's allowlist may register.
    #[arg(long)]
    pub(crate) allowlist: bool,
    /// Take in a claim certificate that somebody else issued, PEM or DER; no key is made.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "expires"])]
    pub(crate) cert: Option<PathBuf>,
    /// Where the key and the certificate go.
    #[arg(long, value_name = "DIR", required_unless_present = "cert")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Template {
    /// List templates, by name.
    List,
    /// Print a template's document.
    Show {
        /// Its name.
        template: String,
    },
    /// Check a document: what is wrong, where, and for what it can be used. Needs no directory.
    Check {
        /// The document, JSON.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Thing {
    /// List things, by name.
    List {
        /// In this group alone.
        #[arg(long)]
        group: Option<String>,
    },
    /// A thing: its device, type, groups, attributes, policies.
    Show {
        /// Its name, or its device's.
        thing: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Join, and stay a member: renews at two thirds of the lifetime.
    Run(AgentRun),
    /// The provisioning state register, and the last refusal.
    Status {
        /// The state directory.
        #[arg(long, value_name = "DIR", default_value_os_t = crate::agent::default_state())]
        state: PathBuf,
    },
    /// What is wrong between device and server, layer by layer, without enrolling.
    Check(AgentCheck),
    /// Factory reset: deletes keys, certificates and what the fleet told, and leaves a blank device.
    Reset {
        /// The state directory.
        #[arg(long, value_name = "DIR", default_value_os_t = crate::agent::default_state())]
        state: PathBuf,
        /// Yes, delete the keys: nobody can bring them back.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch on the command line"
)]
pub(crate) struct AgentRun {
    /// The server, `https://host:port`.
    #[arg(long, value_name = "URL")]
    pub(crate) server: imprint_agent::Endpoint,
    /// The root that is trusted, and no other: a copy of the server's ca/root.pem.
    #[arg(long, value_name = "FILE")]
    pub(crate) root: PathBuf,
    /// The product, as the label in EST paths.
    #[arg(long, value_name = "P")]
    pub(crate) product: Option<String>,
    /// The one-time token; not needed again once it is kept. STATE/token (0600) works as well.
    #[arg(long, value_name = "T")]
    pub(crate) token: Option<String>,
    /// Where MQTT is spoken, `host:port`: for a claim, and for a certificate of its own.
    #[arg(long, value_name = "ADDR", value_parser = imprint_agent::Endpoint::mqtts)]
    pub(crate) mqtts: Option<imprint_agent::Endpoint>,
    /// The claim's certificate (PEM), in place of a token; kept until VERIFY.
    #[arg(long, value_name = "FILE", requires_all = ["claim_key", "mqtts"], conflicts_with = "token")]
    pub(crate) claim_cert: Option<PathBuf>,
    /// The claim's key (PEM).
    #[arg(long, value_name = "FILE", requires = "claim_cert")]
    pub(crate) claim_key: Option<PathBuf>,
    /// The provisioning template. Without: the one that is named like the product.
    #[arg(long, value_name = "NAME", requires = "claim_cert")]
    pub(crate) template: Option<String>,
    /// A parameter of the template. `SerialNumber` is the hardware id, unless it is given.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter, requires = "claim_cert")]
    pub(crate) parameters: Vec<(String, String)>,
    /// In place of a token: the key that the device shares with its entry, base64, in a file; kept until
    /// VERIFY.
    #[arg(long, value_name = "FILE", requires = "id_scope", conflicts_with_all = ["token", "claim_cert", "own_cert"])]
    pub(crate) shared_key: Option<PathBuf>,
    /// The fleet's id scope, as `imprint status` shows it.
    #[arg(long, value_name = "SCOPE", value_parser = imprint_dps::IdScope::new, requires = "shared_key")]
    pub(crate) id_scope: Option<imprint_dps::IdScope>,
    /// As what it registers. Without: its hardware id, without `custom:`.
    #[arg(long, value_name = "ID", value_parser = imprint_dps::RegistrationId::new, requires = "shared_key")]
    pub(crate) registration_id: Option<imprint_dps::RegistrationId>,
    /// The certificate that the device was born with (PEM), of an authority that the server has
    /// registered: it comes in just in time.
    #[arg(long, value_name = "FILE", requires = "own_key", conflicts_with_all = ["token", "claim_cert"])]
    pub(crate) own_cert: Option<PathBuf>,
    /// Its key (PEM), which is copied into the state directory.
    #[arg(long, value_name = "FILE", requires = "own_cert")]
    pub(crate) own_key: Option<PathBuf>,
    /// Who this device is: `source:value`, or a source to read. Without: the strongest that can be
    /// read here.
    #[arg(long, value_name = "SOURCE|ID")]
    pub(crate) hardware: Option<String>,
    /// The state directory.
    #[arg(long, value_name = "DIR", default_value_os_t = crate::agent::default_state())]
    pub(crate) state: PathBuf,
    /// The kind of new keys.
    #[arg(long, value_enum, default_value_t = KeyKind::P256)]
    pub(crate) key: KeyKind,
    /// Renew with the key that there is.
    #[arg(long)]
    pub(crate) keep_key: bool,
    /// Believe this machine's clock. Without, the server's time is taken under the pinned root.
    #[arg(long)]
    pub(crate) trust_clock: bool,
    /// Rest in QUARANTINE when a step has failed every attempt, also for a passing cause.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Leave QUARANTINE, once its cause is removed, and go on.
    #[arg(long)]
    pub(crate) release: bool,
    /// End when PROVISIONED, instead of staying to renew.
    #[arg(long)]
    pub(crate) once: bool,
}

/// `name=value`.
fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a parameter is written NAME=VALUE".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

#[derive(Debug, Args)]
pub(crate) struct AgentCheck {
    /// The server, `https://host:port`.
    #[arg(long, value_name = "URL")]
    pub(crate) server: imprint_agent::Endpoint,
    /// The root that is trusted, and no other.
    #[arg(long, value_name = "FILE")]
    pub(crate) root: PathBuf,
    /// The product, to see whether the server has it.
    #[arg(long, value_name = "P")]
    pub(crate) product: Option<String>,
}
