//! Which records of a topic are to go. Pure: topic and time in, new head out.

use super::state::Topic;
use crate::record::{Offset, Timestamp};

/// The head that the topic's retention asks for; `None` when it is where it should be.
///
/// Whole pieces go, so up to a 32nd more than necessary. The newest piece stays however large it is; by age, all may go.
pub(super) fn plan(topic: &Topic, now: Timestamp) -> Option<Offset> {
    let mut bytes = topic.bytes;
    let max_bytes = topic.retention.bytes.unwrap_or(u64::MAX);
    let oldest = topic.retention.age_us.map_or(0, |age| now.0.saturating_sub(age));
    let mut dropped = 0;
    for piece in &topic.pieces {
        let is_last = dropped + 1 == topic.pieces.len();
        let is_too_much = bytes > max_bytes && !is_last;
        if !is_too_much && piece.last_us >= oldest {
            break;
        }
        bytes -= piece.bytes;
        dropped += 1;
    }
    (dropped > 0).then(|| topic.pieces.get(dropped).map_or(topic.tail, |piece| Offset(piece.base)))
}

/// When [`plan`] may next ask for something because of age alone.
pub(super) fn next_expiry(topic: &Topic) -> Option<Timestamp> {
    let age = topic.retention.age_us?;
    topic.pieces.front().map(|piece| Timestamp(piece.last_us.saturating_add(age).saturating_add(1)))
}
