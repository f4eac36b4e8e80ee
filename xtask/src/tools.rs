//! The real parts that our tests drive: what each is for, and where it comes from.

use crate::shell::{Workshop, succeeds};

/// A program of somebody else's that a check needs.
pub(crate) struct Tool {
    /// What we call it when it is missing.
    pub(crate) name: &'static str,
    /// What cannot be checked without it.
    pub(crate) checks: &'static str,
    /// The Debian packages that bring it.
    pub(crate) packages: &'static [&'static str],
    /// A command that succeeds when it is there.
    probe: &'static [&'static str],
}

impl Tool {
    /// Whether it is there and starts.
    pub(crate) fn is_present(&self, workshop: &Workshop) -> bool {
        let Some((program, arguments)) = self.probe.split_first() else {
            return false;
        };
        succeeds(workshop.command(program).args(arguments))
    }
}

/// The tools that come as Debian packages.
pub(crate) const DEBIAN: &[Tool] = &[
    Tool {
        name: "curl",
        checks: "EST by hand, revocation, the hostile network, the README",
        packages: &["curl", "ca-certificates"],
        probe: &["curl", "--version"],
    },
    Tool {
        name: "openssl",
        checks: "EST by hand, chains, CRLs, agreement on what a valid CSR is",
        packages: &["openssl"],
        probe: &["openssl", "version"],
    },
    Tool {
        name: "strongSwan pki",
        checks: "enrollment and renewal by strongSwan",
        packages: &[
            "strongswan-pki",
            "libstrongswan-standard-plugins",
            "libstrongswan-extra-plugins",
        ],
        probe: &["pki", "--help"],
    },
    Tool {
        name: "mosquitto's clients",
        checks: "what MQTT clients see",
        packages: &["mosquitto-clients"],
        // One at a time: dash looks for the first name alone.
        probe: &[
            "sh",
            "-c",
            "command -v mosquitto_pub && command -v mosquitto_sub",
        ],
    },
    Tool {
        name: "jq",
        checks: "reading what `--json` prints, in the conformance scripts",
        packages: &["jq"],
        probe: &["jq", "--version"],
    },
    Tool {
        name: "strace",
        checks: "the ledger when a write or a flush fails, or the power does",
        packages: &["strace"],
        probe: &["strace", "--version"],
    },
    Tool {
        name: "swtpm and tpm2-tools",
        checks: "what a TPM opens and states",
        packages: &["swtpm", "swtpm-tools", "tpm2-tools"],
        probe: &[
            "sh",
            "-c",
            "for tool in swtpm swtpm_setup swtpm_localca certtool tpm2_createek; do command -v $tool || exit; done",
        ],
    },
    Tool {
        name: "patch",
        checks: "planted bugs",
        packages: &["patch"],
        probe: &["patch", "--version"],
    },
    Tool {
        name: "Node.js and npm",
        checks: "installing the device SDKs for JavaScript",
        packages: &["nodejs", "npm"],
        probe: &["sh", "-c", "node --version && npm --version"],
    },
    Tool {
        name: "Python's venv",
        checks: "installing pkilint and the device SDKs for Python",
        packages: &["python3", "python3-venv"],
        probe: &["python3", "-c", "import ensurepip, venv"],
    },
];

/// What only the deep run has, because it is large.
pub(crate) const DEEP: &[Tool] = &[Tool {
    name: "BouncyCastle",
    checks: "enrollment and renewal by BouncyCastle",
    packages: &[
        "default-jdk-headless",
        "libbcpkix-java",
        "libbcprov-java",
        "libbcutil-java",
    ],
    probe: &[
        "sh",
        "-c",
        "javac --version && test -r /usr/share/java/bcpkix.jar",
    ],
}];

/// AWS's device SDK for Python, in the same environment as the linter.
pub(crate) const AWS_PYTHON: Tool = Tool {
    name: "awsiotsdk",
    checks: "claim provisioning by AWS's device SDK for Python",
    packages: &[],
    probe: &["python3", "-c", "import awsiot"],
};

/// Azure's device SDK for Python, in the same environment.
pub(crate) const AZURE_PYTHON: Tool = Tool {
    name: "azure-iot-device",
    checks: "registration by entries and the hub, by Azure's device SDK for Python",
    packages: &[],
    probe: &["python3", "-c", "import azure.iot.device"],
};

/// Azure's device SDK for JavaScript.
pub(crate) const AZURE_NODE: Tool = Tool {
    name: "azure-iot-provisioning-device",
    checks: "registration by entries, also with a TPM, by Azure's device SDK for JavaScript",
    packages: &[],
    probe: &[
        "node",
        "-e",
        "require('azure-iot-provisioning-device'); require('azure-iot-security-tpm')",
    ],
};

/// AWS's device SDK for JavaScript.
pub(crate) const AWS_NODE: Tool = Tool {
    name: "aws-iot-device-sdk-v2",
    checks: "claim provisioning by AWS's device SDK for JavaScript",
    packages: &[],
    probe: &["node", "-e", "require('aws-iot-device-sdk-v2')"],
};

/// The linter of certificates and CRLs, which lives in a Python environment of its own.
pub(crate) const PKILINT: Tool = Tool {
    name: "pkilint",
    checks: "linting of certificates and CRLs",
    packages: &[],
    probe: &["lint_pkix_cert", "--help"],
};
