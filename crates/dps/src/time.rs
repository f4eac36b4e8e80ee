//! Moments as DPS writes them: `2022-08-31T22:02:50.5163352Z`, seven digits behind the point.

use imprint_identity::UnixTime;
use serde::{Deserialize, Deserializer, Serializer};

/// The text for a moment. Our clock counts whole seconds, so the digits are zeros.
pub(crate) fn text(moment: UnixTime) -> String {
    let whole = moment.to_string();
    format!("{}.0000000Z", whole.trim_end_matches('Z'))
}

/// Reads such a text, with any number of digits behind the point or none; what is less than a second
/// is dropped. Offsets other than `Z` and `+00:00` are not read: the service never writes them.
pub(crate) fn parse(text: &str) -> Option<UnixTime> {
    let text = text.strip_suffix('Z').or(text.strip_suffix("+00:00"))?;
    let (date, clock) = text.split_once('T')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    if fraction.is_empty() || fraction.len() > 9 || !is_digits(fraction) {
        return None;
    }
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let fits = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let day_number = days(year, month, day);
    fits.then(|| UnixTime(day_number * 86_400 + hour * 3_600 + minute * 60 + second.min(59)))
}

fn numbers(text: &str, between: char, lengths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut numbers = [0; 3];
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let part = parts.next().filter(|part| part.len() == length)?;
        *number = part.parse().ok().filter(|_| is_digits(part))?;
    }
    parts.next().is_none().then_some(numbers)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a civil date, by the usual era arithmetic of 400 years.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// For `#[serde(with = "crate::time::option")]`.
pub(crate) mod option {
    use super::{Deserialize, Deserializer, Serializer, UnixTime, parse, text};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(
        moment: &Option<UnixTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match moment {
            Some(moment) => serializer.serialize_str(&text(*moment)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UnixTime>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let moment = parse(&text).ok_or_else(|| serde::de::Error::custom("not a moment in UTC"))?;
        Ok(Some(moment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_have_seven_digits() {
        assert_eq!(
            text(UnixTime(1_661_983_370)),
            "2022-08-31T22:02:50.0000000Z"
        );
        assert_eq!(text(UnixTime(0)), "1970-01-01T00:00:00.0000000Z");
    }

    #[test]
    fn what_the_service_writes_is_read() {
        for (text, want) in [
            ("2022-08-31T22:02:50.5163352Z", Some(1_661_983_370)),
            ("2022-08-31T22:02:50Z", Some(1_661_983_370)),
            ("2022-08-31T22:02:50.5+00:00", Some(1_661_983_370)),
            ("2000-02-29T00:00:00Z", Some(951_782_400)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_799)),
            ("2001-02-29T00:00:00Z", None),
            ("2022-08-31 22:02:50Z", None),
            ("2022-08-31T22:02:50", None),
            ("2022-08-31T22:02:50+02:00", None),
            ("2022-8-31T22:02:50Z", None),
            ("2022-13-01T22:02:50Z", None),
            ("2022-08-31T24:02:50Z", None),
            ("2022-08-31T22:02:50.Z", None),
            ("2022-08-31T22:02:50.12345678901Z", None),
            ("+022-08-31T22:02:50Z", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want.map(UnixTime), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_then_parse_is_identity(seconds in 0_i64..=253_402_300_799) {
            prop_assert_eq!(parse(&text(UnixTime(seconds))), Some(UnixTime(seconds)));
        }
    }
}
