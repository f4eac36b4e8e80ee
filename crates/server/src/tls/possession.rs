//! The client has signed the handshake with the key in its certificate. That is all that is asked.

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Header, SliceReader, Tag};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

/// Asks for a certificate from anybody, takes any, and checks the handshake's signature.
///
/// rustls' own check reads the certificate with webpki, which knows version 3 alone; a version 1
/// certificate (OpenSSL makes one when no extension is asked for) would die in a TLS alert that
/// says nothing. Here the key is taken from the certificate whatever else is in it.
#[derive(Debug)]
pub(super) struct Possession(pub(super) WebPkiSupportedAlgorithms);

impl Possession {
    fn check(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectKey::read(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let (_, candidates) = self
            .0
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let proven = candidates
            .iter()
            .filter(|candidate| candidate.public_key_alg_id().as_ref() == key.algorithm)
            .any(|candidate| {
                candidate
                    .verify_signature(key.bits, message, signed.signature())
                    .is_ok()
            });
        if proven {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::BadSignature))
        }
    }
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a device picks its certificate by itself, and a list would keep back those that we
    /// want to refuse with a sentence.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // RFC 8446 section 4.2.3: PKCS#1 v1.5 signs certificates, never a TLS 1.3 handshake.
        if matches!(
            signed.scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
        ) {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        self.check(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The key of a certificate of any version.
struct SubjectKey<'a> {
    /// The contents of its AlgorithmIdentifier.
    algorithm: &'a [u8],
    /// The contents of its BIT STRING.
    bits: &'a [u8],
}

impl<'a> SubjectKey<'a> {
    /// Walks to subjectPublicKeyInfo (RFC 5280 section 4.1) and looks at nothing on the way.
    fn read(certificate: &'a [u8]) -> der::Result<Self> {
        let mut fields = inside(AnyRef::from_der(certificate)?)?;
        let mut to_be_signed = inside(AnyRef::decode(&mut fields)?)?;
        if Header::peek(&to_be_signed)?.tag().is_context_specific() {
            AnyRef::decode(&mut to_be_signed)?; // version
        }
        for _ in ["serialNumber", "signature", "issuer", "validity", "subject"] {
            AnyRef::decode(&mut to_be_signed)?;
        }
        let mut key = inside(AnyRef::decode(&mut to_be_signed)?)?;
        let algorithm = AnyRef::decode(&mut key)?.value();
        let bits = BitStringRef::decode(&mut key)?;
        let bits = bits
            .as_bytes()
            .ok_or_else(|| Tag::BitString.value_error())?;
        Ok(Self { algorithm, bits })
    }
}

fn inside(element: AnyRef<'_>) -> der::Result<SliceReader<'_>> {
    SliceReader::new(element.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SEQUENCE { SEQUENCE { [version], 7, {}, {}, {}, {}, { { 06 01 2a }, BIT STRING 04 05 } } }`
    fn certificate(version: &[u8], unused_bits: u8) -> Vec<u8> {
        let key = [
            0x30,
            0x09,
            0x30,
            0x03,
            0x06,
            0x01,
            0x2a,
            0x03,
            0x02,
            unused_bits,
            0x05,
        ];
        let names = [0x02, 0x01, 0x07, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 0];
        let fields = [version, &names, &key].concat();
        let length = u8::try_from(fields.len()).unwrap();
        [&[0x30, length + 2, 0x30, length], &fields[..]].concat()
    }

    #[test]
    fn the_key_is_found_whatever_the_version() {
        for version in [&[][..], &[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 9]] {
            let der = certificate(version, 0);
            let key = SubjectKey::read(&der).unwrap();
            assert_eq!(
                (key.algorithm, key.bits),
                (&[0x06, 0x01, 0x2a][..], &[0x05][..])
            );
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_key_and_does_no_harm() {
        let der = certificate(&[0xa0, 3, 2, 1, 2], 0);
        for end in 0..der.len() {
            assert!(SubjectKey::read(&der[..end]).is_err(), "cut at {end}");
        }
        for at in 0..der.len() {
            for byte in 0..=255 {
                let mut altered = der.clone();
                altered[at] = byte;
                let _ = SubjectKey::read(&altered);
            }
        }
        assert!(
            SubjectKey::read(&certificate(&[], 3)).is_err(),
            "a key of whole octets"
        );
    }
}
