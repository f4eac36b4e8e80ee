//! The PROXY protocol, versions 1 and 2: a TCP proxy says who is really connected.
//!
//! Only what comes from a trusted proxy is read this way, and it must be there: a header that may be
//! left out could be written by the client.

use std::io;
use std::net::IpAddr;

use ppp::v2::Command;
use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Reads the header that comes before everything else. `None`: the proxy speaks for itself, as it does
/// to see whether we are alive.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        rest_of_v2(stream, &mut header).await?;
    } else {
        rest_of_v1(stream, &mut header).await?;
    }
    let wrong = |why: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("no PROXY header: {why}"),
        )
    };
    match HeaderResult::parse(&header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(pair) => Some(pair.source_address.into()),
            v1::Addresses::Tcp6(pair) => Some(pair.source_address.into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (Command::Proxy, v2::Addresses::IPv4(pair)) => Some(pair.source_address.into()),
            (Command::Proxy, v2::Addresses::IPv6(pair)) => Some(pair.source_address.into()),
            // A health check of the proxy's own, or a client without an address.
            _ => None,
        }),
        HeaderResult::V1(Err(error)) => Err(wrong(&error)),
        HeaderResult::V2(Err(error)) => Err(wrong(&error)),
    }
}

async fn rest_of_v2(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> io::Result<()> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let [.., high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_V2 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a PROXY header too long",
        ));
    }
    let start = header.len() + fixed.len();
    header.extend_from_slice(&fixed);
    header.resize(start + length, 0);
    if let Some(rest) = header.get_mut(start..) {
        stream.read_exact(rest).await?;
    }
    Ok(())
}

/// Byte by byte: what follows the line belongs to TLS.
async fn rest_of_v1(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> io::Result<()> {
    if !header.starts_with(b"PROXY ") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "no PROXY header",
        ));
    }
    while !header.ends_with(b"\r\n") {
        if header.len() >= LONGEST_V1 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a PROXY line too long",
            ));
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

/// Version 2 begins so (section 2.2 of the specification).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1 (section 2.1).
const LONGEST_V1: usize = 107;
/// Addresses, and what a proxy may add about TLS: half a kilobyte is plenty.
const LONGEST_V2: usize = 520;

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(header: &[u8]) -> Result<(Option<IpAddr>, Vec<u8>), io::ErrorKind> {
        let bytes = [header, b"\x16\x03\x01hello"].concat();
        let mut stream = bytes.as_slice();
        let address = read(&mut stream).await.map_err(|error| error.kind())?;
        Ok((address, stream.to_vec()))
    }

    #[tokio::test]
    async fn the_client_is_read_and_nothing_of_what_follows() {
        let v2 = |command: u8, family: u8, body: &[u8]| {
            let length = u16::try_from(body.len()).unwrap().to_be_bytes();
            [SIGNATURE, &[command, family], &length, body].concat()
        };
        let four = [203, 0, 113, 9, 10, 0, 0, 1, 0x30, 0x39, 0x20, 0xfb];
        let six = [
            [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
            [0; 16],
        ]
        .concat();
        let six = [six.as_slice(), &[0, 1, 0, 2]].concat();
        let with_tlv = [four.as_slice(), &[0x04, 0, 3, 1, 2, 3]].concat();
        for (header, want) in [
            (
                b"PROXY TCP4 203.0.113.9 10.0.0.1 12345 8443\r\n".to_vec(),
                Some("203.0.113.9"),
            ),
            (
                b"PROXY TCP6 2001:db8::9 ::1 12345 8443\r\n".to_vec(),
                Some("2001:db8::9"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2(0x21, 0x11, &four), Some("203.0.113.9")),
            (v2(0x21, 0x11, &with_tlv), Some("203.0.113.9")),
            (v2(0x21, 0x21, &six), Some("2001:db8::9")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &four), None),
        ] {
            let (address, rest) = check(&header).await.unwrap();
            assert_eq!(
                address,
                want.map(|text| text.parse().unwrap()),
                "{header:?}"
            );
            assert_eq!(rest, b"\x16\x03\x01hello", "{header:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_ends_the_connection() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let huge = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        let version_3 = [SIGNATURE, &[0x31, 0x11, 0, 12], &[0; 12]].concat();
        let short = [SIGNATURE, &[0x21, 0x11, 0, 200, 1, 2, 3]].concat();
        for header in [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00".as_slice(),
            b"PROXY TCP4 203.0.113.999 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 203.0.113.9\r\n",
            b"proxy TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
            &long,
            &huge,
            &version_3,
            &short,
        ] {
            assert!(check(header).await.is_err(), "{header:?}");
        }
    }
}
