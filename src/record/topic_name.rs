//! Names: what a topic, a client, a producer and a consumer may be called.

use std::{fmt, sync::Arc};

use crate::limits::{MAX_NAME_BYTES, MAX_TOPIC_NAME_BYTES};

/// The name of a topic: 1 to 200 of `A-Z a-z 0-9 . _ -`, not starting with a dot, without two dots in a row.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It has no characters.
    #[error("name is empty")]
    Empty,
    /// It is over the limit.
    #[error("name of {bytes} bytes exceeds limit of {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// It holds a character that is not allowed.
    #[error("name holds {0:?}; allowed are A-Z a-z 0-9 . _ -")]
    Character(char),
    /// It starts with a dot or holds two in a row.
    #[error("name starts with a dot or holds two dots in a row")]
    Dots,
    /// It holds a control character.
    #[error("name holds the control character {0:?}")]
    Control(char),
}

impl TopicName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] says what is not allowed.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        check_length(name, MAX_TOPIC_NAME_BYTES)?;
        if let Some(bad) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
            return Err(InvalidName::Character(bad));
        }
        if name.starts_with('.') || name.contains("..") {
            return Err(InvalidName::Dots);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks the name of a client, a producer or a consumer: 1 to 200 bytes of UTF-8 without control characters.
///
/// # Errors
/// [`InvalidName`] says what is not allowed.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    check_length(name, MAX_NAME_BYTES)?;
    match name.chars().find(|c| c.is_control()) {
        Some(bad) => Err(InvalidName::Control(bad)),
        None => Ok(()),
    }
}

fn check_length(name: &str, limit: usize) -> Result<(), InvalidName> {
    match name.len() {
        0 => Err(InvalidName::Empty),
        bytes if bytes > limit => Err(InvalidName::TooLong { bytes, limit }),
        _ => Ok(()),
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_directory_or_a_terminal_line_are_refused() {
        for name in ["logs", "a", "App.access-log_7", "0", &"x".repeat(MAX_TOPIC_NAME_BYTES)] {
            assert_eq!(TopicName::new(name).expect(name).as_str(), name);
        }
        let refused = [
            "",
            "a/b",
            "..",
            ".hidden",
            "a..b",
            "a b",
            "a\n",
            "\u{0}",
            "caf\u{e9}",
            &"x".repeat(MAX_TOPIC_NAME_BYTES + 1),
        ];
        for name in refused {
            TopicName::new(name).expect_err(name);
        }
    }

    #[test]
    fn other_names_may_be_any_text_on_one_line() {
        check_name("h\u{f4}te-7 /var/log/syslog").expect("no control characters");
        assert_eq!(check_name(""), Err(InvalidName::Empty));
        assert_eq!(check_name("a\tb"), Err(InvalidName::Control('\t')));
    }
}
