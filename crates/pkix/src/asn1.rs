//! The two halves of DER that this crate stands on: reading what was received, writing what is to
//! be signed.

mod read;
mod write;

pub use read::Malformed;
pub(crate) use read::{Element, Elements, is_object_identifier};
pub(crate) use write::{
    boolean, explicit, integer, octet_string, oid, positive_integer, primitive, sequence,
    sequence_of, set, whole_bits,
};

/// First octet of an element: class, constructed bit and number of the universal types that X.509
/// uses (X.690 section 8.1.2).
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const NUMERIC_STRING: u8 = 0x12;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const T61_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// `[n]`, primitive (IMPLICIT over a primitive type).
    pub(crate) const fn implicit(number: u8) -> u8 {
        0x80 | number
    }

    /// `[n]`, constructed (EXPLICIT, or IMPLICIT over a constructed type).
    pub(crate) const fn constructed(number: u8) -> u8 {
        0xa0 | number
    }
}
