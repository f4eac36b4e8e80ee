//! Times as people write them: `90d`, `12h`, `30m`, `90s`.

/// Seconds, at least one.
pub(crate) fn seconds(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no time; write it as 90d, 12h, 30m or 90s");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let factor = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let digits = text.strip_suffix(unit).unwrap_or_default();
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: i64 = digits.parse().map_err(|_| wrong())?;
    match count.checked_mul(factor) {
        Some(seconds) if (1..=LONGEST).contains(&seconds) => Ok(seconds),
        _ => Err(format!("{text:?} is not between 1s and 36500d")),
    }
}

/// A hundred years.
const LONGEST: i64 = 36_500 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        for (text, want) in [
            ("90d", Some(7_776_000)),
            ("12h", Some(43_200)),
            ("30m", Some(1_800)),
            ("90s", Some(90)),
            ("90", None),
            ("d", None),
            ("", None),
            ("-1d", None),
            ("+1d", None),
            ("0d", None),
            ("1.5d", None),
            ("99999999999999999999d", None),
            ("36501d", None),
            ("1ä", None),
        ] {
            assert_eq!(seconds(text).ok(), want, "{text:?}");
        }
    }
}
