//! Time in certificates (RFC 5280 section 4.1.2.5): UTCTime through 2049, GeneralizedTime from
//! 2050, seconds present, `Z`, no fraction.

use alloc::format;
use alloc::vec::Vec;

use der::Decode;
use der::asn1::{GeneralizedTime, UtcTime};
use imprint_identity::UnixTime;

use crate::asn1::{Element, Malformed, primitive, tag};

/// Writes a moment. Times before 1970 and after 9999 stop at those ends: neither form can hold
/// them, and no caller means them.
pub(crate) fn write(moment: UnixTime) -> Vec<u8> {
    let moment = moment.clamp(UnixTime(0), UnixTime::NO_EXPIRY);
    let (year, month, day, hour, minute, second) = moment.civil();
    if year < 2050 {
        let year = year % 100;
        let text = format!("{year:02}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
        primitive(tag::UTC_TIME, text.as_bytes())
    } else {
        let text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
        primitive(tag::GENERALIZED_TIME, text.as_bytes())
    }
}

/// Reads a moment in either form.
pub(crate) fn read(element: &Element<'_>, what: &'static str) -> Result<UnixTime, Malformed> {
    let since_epoch = match element.tag {
        tag::UTC_TIME => UtcTime::from_der(element.der).map(|time| time.to_unix_duration()),
        tag::GENERALIZED_TIME => {
            GeneralizedTime::from_der(element.der).map(|time| time.to_unix_duration())
        }
        _ => return Err(Malformed(what)),
    };
    since_epoch
        .ok()
        .and_then(|duration| i64::try_from(duration.as_secs()).ok())
        .map(UnixTime)
        .ok_or(Malformed(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_changes_in_2050() {
        for (seconds, want) in [
            (0, &b"\x17\x0d700101000000Z"[..]),
            (-5, b"\x17\x0d700101000000Z"),
            (2_524_607_999, b"\x17\x0d491231235959Z"),
            (2_524_608_000, b"\x18\x0f20500101000000Z"),
            (UnixTime::NO_EXPIRY.0, b"\x18\x0f99991231235959Z"),
            (UnixTime::NO_EXPIRY.0 + 1, b"\x18\x0f99991231235959Z"),
        ] {
            assert_eq!(write(UnixTime(seconds)), want, "{seconds}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for seconds in [
            0,
            951_782_400,
            2_524_607_999,
            2_524_608_000,
            UnixTime::NO_EXPIRY.0,
        ] {
            let der = write(UnixTime(seconds));
            let element = Element::only(&der, *der.first().unwrap(), "test").unwrap();
            assert_eq!(read(&element, "test"), Ok(UnixTime(seconds)));
        }
    }
}
