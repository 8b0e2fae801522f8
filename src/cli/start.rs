//! Where to start reading, as `--from` says it.

use connectify::protocol::Start;

use super::timestamp;

/// Reads `start`, `end`, an offset, or a time.
pub(crate) fn parse(text: &str) -> Result<Start, String> {
    match text {
        "start" => Ok(Start::Head),
        "end" => Ok(Start::Tail),
        _ if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map(Start::Offset).map_err(|_| format!("offset {text} is more than {}", u64::MAX))
        }
        _ => timestamp::parse(text)
            .map(|moment| Start::Timestamp(moment.0))
            .map_err(|error| format!("neither start, end nor an offset, and {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_name_a_place_is_read() {
        assert_eq!(parse("start"), Ok(Start::Head));
        assert_eq!(parse("end"), Ok(Start::Tail));
        assert_eq!(parse("0"), Ok(Start::Offset(0)));
        assert_eq!(parse("18446744073709551615"), Ok(Start::Offset(u64::MAX)));
        assert_eq!(parse("@2"), Ok(Start::Timestamp(2_000_000)));
        assert_eq!(parse("1970-01-01T00:00:01Z"), Ok(Start::Timestamp(1_000_000)));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "head", "-1", "1.5", "18446744073709551616", "yesterday"] {
            parse(text).expect_err(text);
        }
    }
}
