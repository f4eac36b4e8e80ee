//! The object identifiers of this crate, under the names of the documents that define them.

use const_oid::ObjectIdentifier;

macro_rules! oids {
    ($($(#[$doc:meta])* $name:ident = $dotted:literal;)*) => {
        $($(#[$doc])* pub const $name: ObjectIdentifier = ObjectIdentifier::new_unwrap($dotted);)*
    };
}

oids! {
    /// `id-ecPublicKey` (RFC 5480).
    EC_PUBLIC_KEY = "1.2.840.10045.2.1";
    /// `secp256r1`, P-256 (RFC 5480).
    SECP256R1 = "1.2.840.10045.3.1.7";
    /// `secp384r1`, P-384 (RFC 5480).
    SECP384R1 = "1.3.132.0.34";
    /// `rsaEncryption` (RFC 8017).
    RSA_ENCRYPTION = "1.2.840.113549.1.1.1";
    /// `id-Ed25519` (RFC 8410): the key and the signature.
    ED25519 = "1.3.101.112";

    /// `ecdsa-with-SHA256` (RFC 5758).
    ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
    /// `ecdsa-with-SHA384` (RFC 5758).
    ECDSA_WITH_SHA384 = "1.2.840.10045.4.3.3";
    /// `ecdsa-with-SHA512` (RFC 5758).
    ECDSA_WITH_SHA512 = "1.2.840.10045.4.3.4";
    /// `sha256WithRSAEncryption` (RFC 8017).
    SHA256_WITH_RSA = "1.2.840.113549.1.1.11";
    /// `sha384WithRSAEncryption` (RFC 8017).
    SHA384_WITH_RSA = "1.2.840.113549.1.1.12";
    /// `sha512WithRSAEncryption` (RFC 8017).
    SHA512_WITH_RSA = "1.2.840.113549.1.1.13";
    /// `id-RSASSA-PSS` (RFC 8017).
    RSASSA_PSS = "1.2.840.113549.1.1.10";
    /// `id-mgf1` (RFC 8017).
    MGF1 = "1.2.840.113549.1.1.8";
    /// `id-sha256` (RFC 5754).
    SHA256 = "2.16.840.1.101.3.4.2.1";
    /// `id-sha384` (RFC 5754).
    SHA384 = "2.16.840.1.101.3.4.2.2";
    /// `id-sha512` (RFC 5754).
    SHA512 = "2.16.840.1.101.3.4.2.3";

    /// `id-at-commonName` (RFC 5280 appendix A).
    COMMON_NAME = "2.5.4.3";
    /// `id-at-organizationName` (RFC 5280 appendix A).
    ORGANIZATION_NAME = "2.5.4.10";

    /// `challengePassword` (RFC 2985 section 5.4.1).
    CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7";
    /// `extensionRequest` (RFC 2985 section 5.4.2).
    EXTENSION_REQUEST = "1.2.840.113549.1.9.14";
    /// The same attribute under its Microsoft name (`CERT_EXTENSIONS`).
    MICROSOFT_EXTENSION_REQUEST = "1.3.6.1.4.1.311.2.1.14";

    /// `id-ce-subjectKeyIdentifier` (RFC 5280 section 4.2.1.2).
    SUBJECT_KEY_IDENTIFIER = "2.5.29.14";
    /// `id-ce-keyUsage` (RFC 5280 section 4.2.1.3).
    KEY_USAGE = "2.5.29.15";
    /// `id-ce-subjectAltName` (RFC 5280 section 4.2.1.6).
    SUBJECT_ALT_NAME = "2.5.29.17";
    /// `id-ce-basicConstraints` (RFC 5280 section 4.2.1.9).
    BASIC_CONSTRAINTS = "2.5.29.19";
    /// `id-ce-cRLNumber` (RFC 5280 section 5.2.3).
    CRL_NUMBER = "2.5.29.20";
    /// `id-ce-cRLReasons` (RFC 5280 section 5.3.1).
    CRL_REASON = "2.5.29.21";
    /// `id-ce-cRLDistributionPoints` (RFC 5280 section 4.2.1.13).
    CRL_DISTRIBUTION_POINTS = "2.5.29.31";
    /// `id-ce-authorityKeyIdentifier` (RFC 5280 section 4.2.1.1).
    AUTHORITY_KEY_IDENTIFIER = "2.5.29.35";
    /// `id-ce-extKeyUsage` (RFC 5280 section 4.2.1.12).
    EXTENDED_KEY_USAGE = "2.5.29.37";
    /// `id-pe-authorityInfoAccess` (RFC 5280 section 4.2.2.1).
    AUTHORITY_INFO_ACCESS = "1.3.6.1.5.5.7.1.1";
    /// `id-ad-caIssuers` (RFC 5280 section 4.2.2.1).
    CA_ISSUERS = "1.3.6.1.5.5.7.48.2";

    /// `id-kp-serverAuth` (RFC 5280 section 4.2.1.12).
    SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
    /// `id-kp-clientAuth` (RFC 5280 section 4.2.1.12).
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
    /// `id-kp-cmcRA` (RFC 6402 section 2.10): this TLS server speaks for the CA (RFC 7030 3.6.1).
    CMC_RA = "1.3.6.1.5.5.7.3.28";
    /// `id-on-hardwareModuleName` (RFC 4108 section 5).
    HARDWARE_MODULE_NAME = "1.3.6.1.5.5.7.8.4";

    /// `id-data` (RFC 5652 section 4).
    CMS_DATA = "1.2.840.113549.1.7.1";
    /// `id-signedData` (RFC 5652 section 5.1).
    CMS_SIGNED_DATA = "1.2.840.113549.1.7.2";
}
