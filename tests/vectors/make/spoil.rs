//! Every way to spoil a good body so that it cannot be read: section 1.2 lists them.

use super::slug;
use crate::meaning::{Piece, What, joined, shortest};

/// A count that no memory holds.
const FAR_TOO_MANY: [u8; 9] = [0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// The spoiled bodies, each with what was done to it.
pub(super) fn ways(pieces: &[Piece]) -> Vec<(String, Vec<u8>)> {
    let mut ways = vec![("with-a-byte-behind-it".to_owned(), [joined(pieces), vec![0]].concat())];
    if let Some((last, before)) = pieces.split_last() {
        ways.push(("of-no-bytes".to_owned(), Vec::new()));
        let cut = [joined(before), last.bytes[..last.bytes.len() / 2].to_vec()].concat();
        if !cut.is_empty() {
            ways.push((format!("that-ends-inside-of-{}", slug(&last.path)), cut));
        }
    }
    for (index, piece) in pieces.iter().enumerate() {
        for (how, bytes) in ways_of(piece) {
            let body = [joined(&pieces[..index]), bytes, joined(&pieces[index + 1..])].concat();
            ways.push((format!("with-{}-{how}", slug(&piece.path)), body));
        }
    }
    ways
}

/// The ways to spoil one piece.
fn ways_of(piece: &Piece) -> Vec<(&'static str, Vec<u8>)> {
    let mut ways = Vec::new();
    match piece.what {
        What::Bool => ways.push(("of-2", vec![2])),
        What::Present => ways.push(("neither-absent-nor-present", vec![2])),
        What::Tag => ways.push(("of-an-unknown-tag", vec![5])),
        What::Number(largest) => {
            ways.extend(longer(&piece.bytes).map(|bytes| ("in-a-longer-form", bytes)));
            ways.extend(largest.checked_add(1).map(|over| ("over-its-type", shortest(over))));
        }
        What::Count => {
            ways.extend(longer(&piece.bytes).map(|bytes| ("whose-count-is-in-a-longer-form", bytes)));
            ways.push(("that-counts-more-than-there-is", FAR_TOO_MANY.to_vec()));
        }
        What::Text if !piece.bytes.is_empty() => {
            ways.push(("that-is-not-utf-8", [&[0xff], &piece.bytes[1..]].concat()));
        }
        What::Batch => {
            ways.push(("one-byte-short", piece.bytes[1..].to_vec()));
        }
        What::Byte | What::Text | What::Bytes | What::Id => {}
    }
    ways
}

/// The next longer form of a number, if there is one.
pub(super) fn longer(number: &[u8]) -> Option<Vec<u8>> {
    let (first, size) = match number[0] {
        0..=0xfa => (0xfb, 2),
        0xfb => (0xfc, 4),
        0xfc => (0xfd, 8),
        _ => return None,
    };
    let value = if number.len() == 1 { number } else { &number[1..] };
    let mut longer = vec![first];
    longer.extend_from_slice(value);
    longer.resize(1 + size, 0);
    Some(longer)
}
