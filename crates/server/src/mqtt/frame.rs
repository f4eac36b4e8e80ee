//! Where one MQTT packet ends, and whether its first byte is one that a client may send.
//!
//! ```text
//! 0        1 .. 4               n
//! +--------+--------------------+----------------+
//! | t | fl | remaining length   | the rest       |   t: packet type, fl: flags (section 2.1)
//! +--------+--------------------+----------------+
//! ```
//!
//! The codec would find the end as well. It takes reserved flags for what they are not, and it knows
//! one limit for all packets, where we want a smaller one for the first.

use imprint_registrar::refusal::Code;
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;

use super::wrong::Wrong;

/// How long the first packet in `input` is, all of it; `None` while that is not known, or while it is
/// not all here. A packet that is longer than `limit` is refused before it has arrived.
pub(super) fn packet(input: &[u8], limit: u32) -> Result<Option<usize>, Wrong> {
    let Some((&first, rest)) = input.split_first() else {
        return Ok(None);
    };
    check_flags(first)?;
    let mut length = 0_usize;
    for (index, &byte) in rest.iter().take(LENGTH_BYTES).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let total = 2 + index + length;
            if total > usize::try_from(limit).unwrap_or(usize::MAX) {
                return Err(too_large(total, limit));
            }
            return Ok((input.len() >= total).then_some(total));
        }
    }
    if rest.len() >= LENGTH_BYTES {
        return Err(Wrong::malformed("the remaining length has no end"));
    }
    Ok(None)
}

/// Sections 2.1.2 and 2.1.3: reserved bits are as reserved, or the packet is malformed.
fn check_flags(first: u8) -> Result<(), Wrong> {
    let (kind, flags) = (first >> 4, first & 0x0f);
    let reserved = match kind {
        PUBLISH => return Ok(()),
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0b0010,
        CONNECT..=AUTH => 0,
        _ => return Err(Wrong::malformed("there is no packet of type 0")),
    };
    if flags == reserved {
        return Ok(());
    }
    Err(Wrong::malformed("reserved flags of the packet are set"))
}

fn too_large(total: usize, limit: u32) -> Wrong {
    Wrong::new(
        Code::PacketTooLarge,
        DisconnectReasonCode::PacketTooLarge,
        format!("a packet of {total} bytes, where {limit} are taken"),
    )
}

pub(super) const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBREL: u8 = 6;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const AUTH: u8 = 15;
const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_ends_where_its_length_says() {
        for (input, want) in [
            (&[][..], None),
            (&[0xc0], None),
            (&[0xc0, 0], Some(2)),
            (&[0xc0, 0, 0xc0, 0], Some(2)),
            (&[0x30, 3, 0, 1], None),
            (&[0x30, 3, 0, 1, b'a'], Some(5)),
            (&[0x30, 0x80], None),
            // A length may be written longer than it has to be.
            (&[0x30, 0x83, 0x80, 0x00, 0, 1, b'a'], Some(7)),
        ] {
            assert_eq!(packet(input, 100).unwrap(), want, "{input:?}");
        }
        assert_eq!(packet(&[0x30, 98], 100).unwrap(), None);
    }

    #[test]
    fn what_is_too_long_or_has_no_end_is_known_before_it_has_arrived() {
        for (input, want) in [
            (&[0x30, 99][..], Code::PacketTooLarge),
            (&[0x30, 0xff, 0xff, 0xff, 0x7f], Code::PacketTooLarge),
            (&[0x30, 0xff, 0xff, 0xff, 0xff], Code::PacketUnreadable),
            (&[0x00, 0], Code::PacketUnreadable),
            (&[0x11], Code::PacketUnreadable),
            (&[0x80], Code::PacketUnreadable),
            (&[0xa0], Code::PacketUnreadable),
            (&[0x60], Code::PacketUnreadable),
            (&[0xc1], Code::PacketUnreadable),
        ] {
            assert_eq!(
                packet(input, 100).unwrap_err().refusal.code,
                want,
                "{input:?}"
            );
        }
    }
}
