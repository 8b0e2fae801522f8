//! Spans of time as people write and read them: `250ms`, `30s`, `7d`.

use std::time::Duration;

/// Largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a whole number and its unit. There is no unit to leave out: `10` could mean too many things.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let wanted = || format!("{text:?} is not a duration; want a whole number and one of ms s m h d, such as 30s or 7d");
    let number: u64 = number.parse().map_err(|_| wanted())?;
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wanted)?;
    let ms = number.checked_mul(*unit_ms).ok_or_else(|| format!("{text} is more than {} milliseconds", u64::MAX))?;
    Ok(Duration::from_millis(ms))
}

/// Writes milliseconds exactly, in the largest unit that divides them.
pub(crate) fn display_ms(ms: u64) -> String {
    let (name, unit_ms) = match ms {
        0 => ("ms", 1),
        _ => UNITS.into_iter().find(|(_, unit_ms)| ms.is_multiple_of(*unit_ms)).expect("1 ms divides everything"),
    };
    format!("{}{name}", ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_in_the_same_form() {
        for (text, ms) in [
            ("0ms", 0),
            ("250ms", 250),
            ("1500ms", 1_500),
            ("30s", 30_000),
            ("90m", 5_400_000),
            ("36h", 129_600_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(display_ms(ms), text);
        }
        assert_eq!(display_ms(24 * 3_600_000), "1d");
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "s", "10", "-1s", "1.5h", "1 h", "1w", "7D", "213503982335d"] {
            parse(text).expect_err(text);
        }
    }
}
