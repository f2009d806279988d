//! Points in time as people write them: RFC 3339, section 5.6.

use ufmt::{uWrite, uwrite};

const DAY: u64 = 86_400;
/// The first second of the year 10000, which has no such form.
const END: u64 = 253_402_300_800;

/// Reads a date, a time and an offset, such as `2026-12-24T18:00:00+01:00`, into seconds since 1970 in UTC.
///
/// A fraction of a second is left off. `None`: it is none, or lies before 1970.
///
/// ```
/// use postern_core::rfc3339;
///
/// assert_eq!(rfc3339::parse("1970-01-02T00:00:00Z"), Some(86_400));
/// assert_eq!(rfc3339::parse("1970-01-02T01:00:00+01:00"), Some(86_400));
/// assert_eq!(rfc3339::parse("1970-01-02"), None);
/// ```
pub fn parse(text: &str) -> Option<u64> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (hour, rest) = digits(rest.strip_prefix(['T', 't', ' '])?, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (second, mut rest) = digits(rest.strip_prefix(':')?, 2)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
        if rest.len() == fraction.len() {
            return None;
        }
    }
    // A leap second is the next one.
    let right = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !right {
        return None;
    }
    let local = days_before(year, month, day)? * DAY + hour * 3_600 + minute * 60 + second;
    let seconds = match rest {
        "Z" | "z" => Some(local),
        _ => {
            let (hours, tail) = digits(rest.get(1..)?, 2)?;
            let (minutes, tail) = digits(tail.strip_prefix(':')?, 2)?;
            let offset = hours * 3_600 + minutes * 60;
            match (rest.as_bytes().first(), tail) {
                _ if hours > 23 || minutes > 59 => None,
                (Some(b'+'), "") => local.checked_sub(offset),
                (Some(b'-'), "") => local.checked_add(offset),
                _ => None,
            }
        }
    };
    seconds.filter(|seconds| *seconds < END)
}

/// Writes seconds since 1970 in UTC; what lies beyond the year 9999 as that year's last second.
pub fn write<W>(seconds: u64, out: &mut W) -> Result<(), W::Error>
where
    W: uWrite + ?Sized,
{
    let seconds = seconds.min(END - 1);
    let (mut days, time) = (seconds / DAY, seconds % DAY);
    let (mut year, mut month) = (1970, 1);
    while days >= days_of(year) {
        days -= days_of(year);
        year += 1;
    }
    while days >= days_in(year, month) {
        days -= days_in(year, month);
        month += 1;
    }
    uwrite!(out, "{}", year)?;
    for (sign, number) in [
        ("-", month),
        ("-", days + 1),
        ("T", time / 3_600),
        (":", time / 60 % 60),
        (":", time % 60),
    ] {
        uwrite!(out, "{}{}{}", sign, number / 10, number % 10)?;
    }
    out.write_str("Z")
}

/// A number of so many digits, and what follows it.
fn digits(text: &str, count: usize) -> Option<(u64, &str)> {
    let (digits, rest) = text.split_at_checked(count)?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The days from 1970 on.
fn days_before(year: u64, month: u64, day: u64) -> Option<u64> {
    let years: u64 = (1970..year).map(days_of).sum();
    let months: u64 = (1..month).map(|month| days_in(year, month)).sum();
    (year >= 1970).then(|| years + months + day - 1)
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    struct Text(String);

    impl uWrite for Text {
        type Error = core::convert::Infallible;

        fn write_str(&mut self, text: &str) -> Result<(), Self::Error> {
            self.0.push_str(text);
            Ok(())
        }
    }

    #[test]
    fn points_in_time() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-30T12:45:30Z", 1_796_042_730),
            ("2038-01-19T03:14:08Z", 1 << 31),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", END - 1),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
            let mut written = Text(String::new());
            let Ok(()) = write(seconds, &mut written);
            assert_eq!(written.0, text);
        }
        for same in [
            "2026-11-30t13:45:30.999+01:00",
            "2026-11-30 07:15:30-05:30",
            "2026-11-30T12:45:30z",
            "2026-11-30T12:45:30+00:00",
        ] {
            assert_eq!(parse(same), Some(1_796_042_730), "{same}");
        }
        assert_eq!(parse("2016-12-31T23:59:60Z"), parse("2017-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "tomorrow",
            "2026-11-30",
            "2026-11-30T12:45Z",
            "2026-11-30T12:45:30",
            "2026-11-30T12:45:30.Z",
            "2026-11-30T12:45:30+01",
            "2026-11-30T12:45:30+0100",
            "2026-11-30T12:45:30+24:00",
            "2026-11-30T12:45:30+01:00 ",
            "2026-11-30T12:45:30\u{e9}01:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "+026-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "10000-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
