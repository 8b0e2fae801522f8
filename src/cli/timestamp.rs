//! Moments as people write and read them: RFC 3339, or `@` and seconds since 1970.
//!
//! The calendar is the proleptic Gregorian one, in UTC, computed with the usual arithmetic on eras of 400 years that
//! begin on the first of March, so that the leap day is the last of its year.

use connectify::record::Timestamp;

const SECONDS_PER_DAY: i64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
/// From 0000-03-01, where the eras start, to 1970-01-01.
const EPOCH_DAY: i64 = 719_468;

/// Reads `2026-11-23T17:40:00Z`, `2026-11-23T18:40:00.25+01:00` or `@1795455600`.
///
/// What is finer than a microsecond is cut off. Leap seconds (`:60`) and moments before 1970 are refused.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    let moment = match text.strip_prefix('@') {
        Some(seconds) => parse_seconds(seconds),
        None => parse_rfc3339(text),
    };
    let wanted = || format!("{text:?} is not a time from 1970 on; want one like 2026-11-23T17:40:00Z or @1795455600");
    moment.map(Timestamp).ok_or_else(wanted)
}

/// Writes a moment in UTC, with as many digits of a second as it needs: none, or six.
pub(crate) fn display(Timestamp(us): Timestamp) -> String {
    let seconds = i64::try_from(us / 1_000_000).expect("2^64 microseconds are fewer than 2^63 seconds");
    let (year, month, day) = civil(seconds.div_euclid(SECONDS_PER_DAY));
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    let fraction = match us % 1_000_000 {
        0 => String::new(),
        us => format!(".{us:06}"),
    };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

fn parse_seconds(text: &str) -> Option<u64> {
    let (seconds, fraction) =
        text.split_once('.').map_or((text, None), |(seconds, fraction)| (seconds, Some(fraction)));
    let us = fraction.map_or(Some(0), microseconds)?;
    digits(seconds)?.checked_mul(1_000_000)?.checked_add(us)
}

fn parse_rfc3339(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let day_of_month_is_real = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    let (clock, zone) = time.split_at(time.find(['Z', 'z', '+', '-'])?);
    let (clock, us) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, microseconds(fraction)?),
        None => (clock, 0),
    };
    let [hour, minute, second] = fields(clock, ':', [2, 2, 2])?;
    if !day_of_month_is_real || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let local = days(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
    u64::try_from(local - zone_seconds(zone)?).ok()?.checked_mul(1_000_000)?.checked_add(us)
}

/// How far a zone is ahead of UTC.
fn zone_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let [hours, minutes] = fields(rest, ':', [2, 2])?;
    let seconds = (hours < 24 && minutes < 60).then_some(hours * 3_600 + minutes * 60)?;
    Some(if sign == "-" { -seconds } else { seconds })
}

/// The numbers between separators, each with exactly so many digits.
fn fields<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        *number = i64::try_from(digits(part)?).ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The digits after the point of a second, cut to six.
fn microseconds(fraction: &str) -> Option<u64> {
    let is_number = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits(&format!("{fraction:0<6}")[..6]))?
}

/// Days from 1970-01-01 to this date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + year * 365 + year / 4 - year / 100 + day_of_year - EPOCH_DAY
}

/// Year, month and day of the date so many days after 1970-01-01: the inverse of [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAY;
    let (era, day) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (years_later, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    (era * 400 + year + years_later, month, day)
}

fn days_in(year: i64, month: i64) -> i64 {
    let next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
    next - days(year, month, 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_name_the_same_moment() {
        for (text, us) in [
            ("1970-01-01T00:00:00Z", 0),
            ("@0", 0),
            ("1970-01-01T00:00:00.000001Z", 1),
            ("@0.000001", 1),
            ("2000-02-29T12:00:00Z", 951_825_600_000_000),
            ("2000-02-29t13:30:00+01:30", 951_825_600_000_000),
            ("2000-02-29 07:00:00-05:00", 951_825_600_000_000),
            ("2024-12-31T23:59:59.25Z", 1_735_689_599_250_000),
            ("@1735689599.25000099999999999999999999", 1_735_689_599_250_000),
            ("1969-12-31T23:00:00-01:00", 0),
        ] {
            assert_eq!(parse(text), Ok(Timestamp(us)), "{text}");
        }
        assert_eq!(display(Timestamp(951_825_600_000_000)), "2000-02-29T12:00:00Z");
        assert_eq!(display(Timestamp(1_735_689_599_250_000)), "2024-12-31T23:59:59.250000Z");
    }

    #[test]
    fn what_is_not_a_moment_is_refused() {
        for text in [
            "",
            "now",
            "@",
            "@-1",
            "@1.",
            "@1e9",
            "@18446744073710",
            "2026-11-23",
            "2026-11-23T17:40Z",
            "2026-11-23T17:40:00",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-02-00T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T23:59:60Z",
            "2026-11-23T17:40:00.Z",
            "2026-11-23T17:40:00+1:00",
            "2026-11-23T17:40:00+24:00",
            "2026-11-23T17:40:00Zulu",
            "26-11-23T17:40:00Z",
            "1969-12-31T23:59:59Z",
            "2026-11-23T17:40:00\u{2212}01:00",
        ] {
            parse(text).expect_err(text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(us in 0u64..253_402_300_800_000_000) {
            prop_assert_eq!(parse(&display(Timestamp(us))), Ok(Timestamp(us)));
        }

        #[test]
        fn any_text_is_refused_or_read_without_a_panic(text in "[@0-9TZ:.+-]{0,30}|.{0,30}") {
            drop(parse(&text));
        }

        #[test]
        fn any_moment_can_be_written(us: u64) {
            prop_assert!(display(Timestamp(us)).ends_with('Z'));
        }
    }
}
