//! HTTP dates, for the one thing that a device without a clock can do with them: subtract.

/// Seconds from `now` to `then`, both as the same server says them (RFC 9110 section 5.6.7); 0 when
/// it is over. `None` when either is no date.
pub(crate) fn seconds_until(then: &str, now: &str) -> Option<u32> {
    let wait = parse(then)?.checked_sub(parse(now)?)?;
    Some(u32::try_from(wait.max(0)).unwrap_or(u32::MAX))
}

/// Seconds since 1970 of any of the three forms. The name of the day is not looked at.
///
/// ```text
/// Sun, 06 Nov 1994 08:49:37 GMT     today's
/// Sunday, 06-Nov-94 08:49:37 GMT    RFC 850
/// Sun Nov  6 08:49:37 1994          asctime
/// ```
fn parse(text: &str) -> Option<i64> {
    if text.len() > 64 || !text.is_ascii() {
        return None;
    }
    let words: Vec<&str> = text
        .split([' ', ',', '-'])
        .filter(|word| !word.is_empty())
        .collect();
    let ([_, day, month, year, time, "GMT"] | [_, month, day, time, year]) = words.as_slice()
    else {
        return None;
    };
    let month = MONTHS.iter().position(|name| name == month)?;
    let (day, year) = (number(day, 1, 31)?, number(year, 0, 9_999)?);
    let year = match year {
        0..70 => year + 2_000,
        70..100 => year + 1_900,
        year => year,
    };
    let mut parts = time.split(':');
    let mut part = |most| number(parts.next()?, 0, most);
    let (hour, minute, second) = (part(23)?, part(59)?, part(60)?);
    let days = days(year, i64::try_from(month).ok()? + 1, day);
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn number(text: &str, least: i64, most: i64) -> Option<i64> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits)?;
    (least..=most).contains(&number).then_some(number)
}

/// Days from 1970-01-01 to a civil date, by the usual era arithmetic of 400 years.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_of_rfc_9110_are_one_moment() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text), Some(784_111_777), "{text}");
        }
        // `date -u -d 2028-02-29T23:59:59 +%s`, and the ends of an era.
        for (text, want) in [
            ("Tue, 29 Feb 2028 23:59:59 GMT", 1_835_481_599),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
        ] {
            assert_eq!(parse(text), Some(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "7",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 N\u{f6}v 1994 08:49:37 GMT",
            &"x ".repeat(40),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_wait_is_what_the_server_means_by_its_own_clock() {
        let now = "Tue, 24 Nov 2026 17:08:11 GMT";
        for (then, want) in [
            ("Tue, 24 Nov 2026 17:09:11 GMT", Some(60)),
            ("Tue, 24 Nov 2026 17:08:11 GMT", Some(0)),
            ("Tue, 24 Nov 2020 17:08:11 GMT", Some(0)),
            ("Fri, 24 Nov 9999 17:08:11 GMT", Some(u32::MAX)),
            ("soon", None),
        ] {
            assert_eq!(seconds_until(then, now), want, "{then}");
        }
    }
}
