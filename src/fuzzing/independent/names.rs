//! Section 1.3: what may be a name.

use super::tables::Layouts;

/// Whether this may be the name of a topic.
pub(crate) fn is_topic_name(layouts: &Layouts, name: &str) -> bool {
    let is_allowed = |c: char| matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    let dots_are_apart = name.as_bytes().windows(2).all(|pair| pair != b"..");
    let fits = (1..=layouts.limit("MAX_TOPIC_NAME_BYTES")).contains(&name.len());
    fits && name.chars().all(is_allowed) && name.as_bytes()[0] != b'.' && dots_are_apart
}

/// Whether this may be the name of a client, a producer or a consumer.
pub(crate) fn is_name(layouts: &Layouts, name: &str) -> bool {
    let is_control = |c: char| matches!(u32::from(c), 0..=0x1f | 0x7f..=0x9f);
    (1..=layouts.limit("MAX_NAME_BYTES")).contains(&name.len()) && !name.chars().any(is_control)
}
