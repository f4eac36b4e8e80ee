//! Reading a TPM's structures: big endian, every size bounded.

/// Reads from the front of some bytes.
pub(super) struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    pub(super) const fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, count: usize, what: &'static str) -> Result<&'b [u8], TpmError> {
        let (head, tail) = self
            .0
            .split_at_checked(count)
            .ok_or(TpmError::Cut { what })?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], TpmError> {
        let bytes = self.take(N, what)?;
        bytes.try_into().map_err(|_| TpmError::Cut { what })
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, TpmError> {
        self.array(what).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, TpmError> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, TpmError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, TpmError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// A `TPM2B`: two octets of size, and as many octets as they say.
    pub(super) fn sized(&mut self, most: usize, what: &'static str) -> Result<&'b [u8], TpmError> {
        let size = usize::from(self.u16(what)?);
        if size > most {
            return Err(TpmError::Long { what });
        }
        self.take(size, what)
    }

    /// Nothing may be left.
    pub(super) const fn finish(self, what: &'static str) -> Result<(), TpmError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(TpmError::Trailing { what })
        }
    }
}

/// A `TPM2B` of bytes that are far shorter than 65,536.
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes(), bytes].concat()
}

/// What is wrong with a TPM's structure, or doubtful about what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// It ends in the middle of something.
    #[error("the TPM's {what} ends early")]
    Cut {
        /// Of what.
        what: &'static str,
    },
    /// A size is larger than any sound one.
    #[error("the TPM's {what} is too long")]
    Long {
        /// Of what.
        what: &'static str,
    },
    /// Something follows it.
    #[error("something follows the TPM's {what}")]
    Trailing {
        /// What it follows.
        what: &'static str,
    },
    /// An algorithm, curve or size that is not supported here.
    #[error("the TPM's {what} is of a kind that is not supported")]
    Unsupported {
        /// Of what.
        what: &'static str,
    },
    /// The key is weak, or no key.
    #[error("the TPM's key is weak, or no point on its curve")]
    Unsound,
    /// A key's attributes are not those of its role.
    #[error("the TPM's key can't be {role}: its attributes are {attributes:#010x}")]
    Attributes {
        /// Which role.
        role: &'static str,
        /// `objectAttributes`.
        attributes: u32,
    },
    /// An endorsement key of no known template.
    #[error("the endorsement key follows none of the TCG's templates that are known here")]
    Template,
    /// The secret is longer than the TPM opens.
    #[error("the secret is longer than the key's hash")]
    Secret,
    /// The random bytes make no key: draw others.
    #[error("the random bytes make no key; draw others")]
    Entropy,
    /// It is no statement of a TPM, or of another kind.
    #[error("this is not the statement of a TPM that was asked for")]
    Statement,
    /// It answers another question.
    #[error("the TPM's statement is about another nonce")]
    Nonce,
    /// It is about another key.
    #[error("the TPM's statement is about another key")]
    OtherKey,
    /// The values that it states are others.
    #[error("the TPM's statement is about other values")]
    OtherValues,
    /// The signature is not by the key that should have signed.
    #[error("the TPM's signature does not verify under the attestation key")]
    Signature,
}
