//! The checker: is this log one that the promises allow after this history? Offsets give a total order, so it takes
//! no search: everything is sorted and looked at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::history::{Commit, History, Log, Outcome, Seen, Stored, TopicLog};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Offsets have a hole, or do not end at the tail.
    #[error("topic {topic}: offset {found} where {expected} should be")]
    NotDense {
        /// Where.
        topic: String,
        /// What should be there.
        expected: u64,
        /// What is.
        found: u64,
    },
    /// The head is where no retention asked for it.
    #[error("topic {topic}: the head is {head}, retention never went beyond {max}")]
    TrimmedTooMuch {
        /// Where.
        topic: String,
        /// Where it is.
        head: u64,
        /// Where it might be.
        max: u64,
    },
    /// Less is kept than retention leaves.
    #[error("topic {topic}: {bytes} bytes are kept behind head {head}, and retention leaves {least}")]
    TrimmedTooEarly {
        /// Where.
        topic: String,
        /// Where the head is.
        head: u64,
        /// What is kept.
        bytes: u64,
        /// What had to be.
        least: u64,
    },
    /// A record that nobody appended, or not there, or not with this content.
    #[error("topic {topic}: offset {offset} holds {record:?}, which nobody appended")]
    Phantom {
        /// Where.
        topic: String,
        /// At which offset.
        offset: u64,
        /// What was found.
        record: Option<Stored>,
    },
    /// A record is there twice.
    #[error("{record:?} is at {first} and at {second} of topic {topic}")]
    Twice {
        /// Where.
        topic: String,
        /// What.
        record: Stored,
        /// Its first offset.
        first: u64,
        /// And its second.
        second: u64,
    },
    /// A record was refused and is there.
    #[error("topic {topic}: {record:?} was refused, and is stored")]
    Refused {
        /// Where.
        topic: String,
        /// What.
        record: Stored,
    },
    /// An acknowledged record is gone.
    #[error("topic {topic}: {record:?} was acknowledged, and is not there")]
    Lost {
        /// Where.
        topic: String,
        /// What.
        record: Stored,
    },
    /// An acknowledged record is at another offset.
    #[error("topic {topic}: {record:?} was acknowledged at {acked}, and is at {found}")]
    Moved {
        /// Where.
        topic: String,
        /// What.
        record: Stored,
        /// What the answer said.
        acked: u64,
        /// Where it is.
        found: u64,
    },
    /// A producer's records are not in their order.
    #[error("topic {topic}: sequence {second} of producer {producer} comes after {first}")]
    Reordered {
        /// Where.
        topic: String,
        /// Whose.
        producer: u64,
        /// The one before.
        first: u64,
        /// The one behind it.
        second: u64,
    },
    /// A producer's record is there, and one before it is not.
    #[error("topic {topic}: sequence {second} of producer {producer} comes right after {first}")]
    Hole {
        /// Where.
        topic: String,
        /// Whose.
        producer: u64,
        /// The one before.
        first: u64,
        /// The one behind it.
        second: u64,
    },
    /// A record is before one that was acknowledged before it was sent.
    #[error("topic {topic}: offset {offset} was appended after a later offset was acknowledged")]
    TimeTravel {
        /// Where.
        topic: String,
        /// The earlier offset.
        offset: u64,
    },
    /// Part of an append is there, and part of it is not.
    #[error("the append of {record:?} is there in part: {what}")]
    Torn {
        /// Its first record.
        record: Stored,
        /// What is missing.
        what: String,
    },
    /// Somebody who read on was given a record that does not follow.
    #[error("topic {topic}: offset {offset} was read behind {after}")]
    Skipped {
        /// Where.
        topic: String,
        /// What was read before.
        after: u64,
        /// And what then.
        offset: u64,
    },
    /// Somebody read what is not there at the end.
    #[error("topic {topic}: offset {offset} was read as {read:?}, and is {found:?}")]
    ReadAhead {
        /// Where.
        topic: String,
        /// At which offset.
        offset: u64,
        /// What was read.
        read: Option<Stored>,
        /// What is there.
        found: Option<Stored>,
    },
    /// Somebody was given another record than the one that was asked for.
    #[error("topic {topic}: {from} was asked for, and {offset} was read")]
    ReadElsewhere {
        /// Where.
        topic: String,
        /// What was asked for.
        from: u64,
        /// What was read.
        offset: u64,
    },
    /// A producer is known whose forgetting was acknowledged.
    #[error("producer {producer} was forgotten, and is known")]
    Remembered {
        /// Which.
        producer: u64,
    },
    /// A topic is there whose deletion was acknowledged.
    #[error("topic {topic} was deleted, and is there")]
    Undeleted {
        /// Which.
        topic: String,
    },
    /// A cursor is behind what was acknowledged, or beyond what was asked for.
    #[error("the cursor of consumer {consumer} is {found}, {why}")]
    Cursor {
        /// Whose.
        consumer: u64,
        /// Where it is.
        found: u64,
        /// What is wrong with that.
        why: String,
    },
}

/// Where each record is.
type Places = HashMap<(u64, u64), (String, u64, u32)>;

/// Checks a log against the history that led to it.
///
/// # Errors
/// The first [`Violation`] that is found.
pub fn check(history: &History, log: &Log) -> Result<(), Violation> {
    let mut places = Places::new();
    for (topic, found) in &log.topics {
        dense(topic, found)?;
        index(topic, found, history.has_every_sequence, &mut places)?;
    }
    invoked(history, log)?;
    removals(history, log)?;
    let present = appends(history, log, &places)?;
    for (topic, found) in &log.topics {
        real_time(history, topic, found)?;
    }
    reads(history, log)?;
    told(history)?;
    cursors(history, log, &present)
}

/// Whether the records of an append are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Present,
    Missing,
    /// Retention may have taken all of them.
    Unknown,
}

fn dense(topic: &str, found: &TopicLog) -> Result<(), Violation> {
    if found.head > found.max_head {
        return Err(Violation::TrimmedTooMuch { topic: topic.to_owned(), head: found.head, max: found.max_head });
    }
    if found.head > 0 && found.bytes < found.least_bytes {
        let TopicLog { head, bytes, least_bytes: least, .. } = *found;
        return Err(Violation::TrimmedTooEarly { topic: topic.to_owned(), head, bytes, least });
    }
    let offsets = found.records.iter().map(|(offset, _)| *offset).chain([found.tail]);
    match (found.head..).zip(offsets).find(|(expected, found)| expected != found) {
        Some((expected, found)) => Err(Violation::NotDense { topic: topic.to_owned(), expected, found }),
        None => Ok(()),
    }
}

/// Finds records that are there twice, or not in the order of their producer.
fn index(topic: &str, found: &TopicLog, has_every_sequence: bool, places: &mut Places) -> Result<(), Violation> {
    let mut last: HashMap<u64, u64> = HashMap::new();
    for (offset, record) in &found.records {
        let Some(record) = record else {
            return Err(Violation::Phantom { topic: topic.to_owned(), offset: *offset, record: None });
        };
        let place = (topic.to_owned(), *offset, record.checksum);
        if let Some((_, first, _)) = places.insert((record.producer, record.sequence), place) {
            return Err(Violation::Twice { topic: topic.to_owned(), record: *record, first, second: *offset });
        }
        if let Some(first) = last.insert(record.producer, record.sequence) {
            let (topic, producer, second) = (topic.to_owned(), record.producer, record.sequence);
            if first > second {
                return Err(Violation::Reordered { topic, producer, first, second });
            }
            if has_every_sequence && first + 1 != second {
                return Err(Violation::Hole { topic, producer, first, second });
            }
        }
    }
    Ok(())
}

/// Every record was appended by somebody, there and like this, and not refused each time.
fn invoked(history: &History, log: &Log) -> Result<(), Violation> {
    let (mut sent, mut allowed) = (HashSet::new(), HashSet::new());
    for append in &history.appends {
        for (topic, record) in &append.records {
            sent.insert((topic.as_str(), *record));
            if append.outcome != Outcome::Refused {
                allowed.insert((topic.as_str(), *record));
            }
        }
    }
    for (topic, found) in &log.topics {
        for (offset, record) in &found.records {
            let record = record.expect("checked before");
            if !sent.contains(&(topic.as_str(), record)) {
                return Err(Violation::Phantom { topic: topic.clone(), offset: *offset, record: Some(record) });
            }
            if !allowed.contains(&(topic.as_str(), record)) {
                return Err(Violation::Refused { topic: topic.clone(), record });
            }
        }
    }
    Ok(())
}

/// What was deleted or forgotten is gone.
fn removals(history: &History, log: &Log) -> Result<(), Violation> {
    let mut forgotten = history.forgotten.iter().filter(|forgetting| is_acked(forgetting.outcome));
    if let Some(forgetting) = forgotten.find(|forgetting| log.producers.contains(&forgetting.producer)) {
        return Err(Violation::Remembered { producer: forgetting.producer });
    }
    let mut deleted = history.deletions.iter().filter(|deletion| is_acked(deletion.outcome));
    match deleted.find(|deletion| log.topics.contains_key(&deletion.topic)) {
        Some(deletion) => Err(Violation::Undeleted { topic: deletion.topic.clone() }),
        None => Ok(()),
    }
}

/// Whether a topic may be gone.
fn may_be_deleted(history: &History, topic: &str) -> bool {
    history.deletions.iter().any(|deletion| deletion.topic == topic && deletion.outcome != Outcome::Refused)
}

/// The first sequence of each producer that is in each topic: retention has taken none behind that.
fn first_kept(log: &Log) -> HashMap<(&str, u64), u64> {
    let mut first = HashMap::new();
    for (topic, found) in &log.topics {
        for record in found.records.iter().filter_map(|(_, record)| *record) {
            first.entry((topic.as_str(), record.producer)).or_insert(record.sequence);
        }
    }
    first
}

/// What was acknowledged is there, where the answer said; an append is there as a whole, or not at all.
fn appends(history: &History, log: &Log, places: &Places) -> Result<Vec<Presence>, Violation> {
    // An append whose records another one repeated is judged by that one, too: it is there once.
    let (mut presences, first_kept) = (Vec::with_capacity(history.appends.len()), first_kept(log));
    let may_be_trimmed = |topic: &str, record: &Stored| {
        first_kept.get(&(topic, record.producer)).is_none_or(|first| record.sequence < *first)
    };
    for append in &history.appends {
        let mut missing = None;
        let mut present = None;
        for (at, (topic, record)) in append.records.iter().enumerate() {
            let Some(found) = log.topics.get(topic) else {
                if is_acked(append.outcome) && !may_be_deleted(history, topic) {
                    return Err(Violation::Lost { topic: topic.clone(), record: *record });
                }
                continue;
            };
            let acked = append.offsets.get(at).copied().flatten();
            let place = places.get(&(record.producer, record.sequence));
            let place = place.filter(|(there, _, checksum)| there == topic && *checksum == record.checksum);
            match (place, acked) {
                (Some((_, offset, _)), Some(acked)) if is_acked(append.outcome) && acked != *offset => {
                    let (topic, record, found) = (topic.clone(), *record, *offset);
                    return Err(Violation::Moved { topic, record, acked, found });
                }
                (Some(_), _) => present = Some(*record),
                // Retention may have taken it.
                (None, Some(acked)) if acked < found.head => {}
                (None, None) if found.head > 0 && may_be_trimmed(topic, record) => {}
                (None, _) if is_acked(append.outcome) => {
                    return Err(Violation::Lost { topic: topic.clone(), record: *record });
                }
                (None, _) => missing = Some(*record),
            }
        }
        if let (Some(record), Some(missing)) = (present, missing) {
            return Err(Violation::Torn { record, what: format!("{missing:?} is missing") });
        }
        presences.push(match (present, missing) {
            (Some(_), _) => Presence::Present,
            (None, Some(_)) => Presence::Missing,
            (None, None) => Presence::Unknown,
        });
    }
    Ok(presences)
}

fn is_acked<T>(outcome: Outcome<T>) -> bool {
    matches!(outcome, Outcome::Acked(..))
}

/// A record that was sent after another was acknowledged comes behind it.
fn real_time(history: &History, topic: &str, found: &TopicLog) -> Result<(), Violation> {
    // Of several calls with the same record, the first may have stored it, and the first answer acknowledged it.
    let mut times: HashMap<Stored, (u64, u64)> = HashMap::new();
    for append in &history.appends {
        let acked = if let Outcome::Acked((), at) = append.outcome { at } else { u64::MAX };
        for (_, record) in append.records.iter().filter(|(there, _)| there == topic) {
            let times = times.entry(*record).or_insert((append.invoked, acked));
            *times = (times.0.min(append.invoked), times.1.min(acked));
        }
    }
    let mut earliest_ack = u64::MAX;
    for (offset, record) in found.records.iter().rev() {
        let Some((invoked, acked)) = record.and_then(|record| times.get(&record)) else { continue };
        if earliest_ack < *invoked {
            return Err(Violation::TimeTravel { topic: topic.to_owned(), offset: *offset });
        }
        earliest_ack = earliest_ack.min(*acked);
    }
    Ok(())
}

/// What was read is there, with nothing left out: no crash takes back what a consumer has seen.
fn reads(history: &History, log: &Log) -> Result<(), Violation> {
    for read in &history.reads {
        let pairs = read.seen.windows(2).filter(|pair| pair[0].topic == pair[1].topic);
        if let Some([before, seen]) =
            pairs.filter_map(|pair| pair.first_chunk()).find(|[before, seen]| seen.offset != before.offset + 1)
        {
            let (topic, after, offset) = (seen.topic.clone(), before.offset, seen.offset);
            return Err(Violation::Skipped { topic, after, offset });
        }
        // Retention may have taken what was asked for.
        let head = |topic: &str| log.topics.get(topic).map_or(u64::MAX, |topic| topic.head);
        if let (Some(from), Some(first)) = (read.from, read.seen.first())
            && !(from..=from.max(head(&first.topic))).contains(&first.offset)
        {
            return Err(Violation::ReadElsewhere { topic: first.topic.clone(), from, offset: first.offset });
        }
    }
    for seen in history.reads.iter().flat_map(|read| &read.seen) {
        let Some(topic) = log.topics.get(&seen.topic) else {
            if may_be_deleted(history, &seen.topic) {
                continue;
            }
            let (topic, offset, read) = (seen.topic.clone(), seen.offset, seen.record);
            return Err(Violation::ReadAhead { topic, offset, read, found: None });
        };
        if seen.offset < topic.head {
            continue;
        }
        let at = usize::try_from(seen.offset - topic.head).unwrap_or(usize::MAX);
        let found = topic.records.get(at).and_then(|(_, record)| *record);
        if found.is_none() || found != seen.record {
            let (topic, offset, read) = (seen.topic.clone(), seen.offset, seen.record);
            return Err(Violation::ReadAhead { topic, offset, read, found });
        }
    }
    Ok(())
}

/// What was told of one offset, by answers and to readers, is one record, which somebody appended, also where retention
/// has taken it since.
fn told(history: &History) -> Result<(), Violation> {
    let (mut sent, mut told) = (HashSet::new(), HashMap::new());
    let conflict = |topic: &str, offset, read, found| {
        Err(Violation::ReadAhead { topic: topic.to_owned(), offset, read: Some(read), found })
    };
    for append in &history.appends {
        sent.extend(append.records.iter().map(|(topic, record)| (topic.as_str(), *record)));
        let acked = append.records.iter().zip(&append.offsets).filter(|_| is_acked(append.outcome));
        for ((topic, record), offset) in acked.filter_map(|(record, offset)| Some((record, (*offset)?))) {
            let before = *told.entry((topic.as_str(), offset)).or_insert(*record);
            if before != *record {
                return conflict(topic, offset, *record, Some(before));
            }
        }
    }
    for Seen { topic, offset, record } in history.reads.iter().flat_map(|read| &read.seen) {
        let Some(record) = *record else {
            return Err(Violation::Phantom { topic: topic.clone(), offset: *offset, record: None });
        };
        if !sent.contains(&(topic.as_str(), record)) {
            return Err(Violation::Phantom { topic: topic.clone(), offset: *offset, record: Some(record) });
        }
        let before = *told.entry((topic.as_str(), *offset)).or_insert(record);
        if before != record {
            return conflict(topic, *offset, record, Some(before));
        }
    }
    Ok(())
}

/// Cursors are where the last acknowledged move put them, or where a later one that nobody knows of may have.
fn cursors(history: &History, log: &Log, present: &[Presence]) -> Result<(), Violation> {
    let by_commits =
        history.commits.iter().filter(|commit| commit.outcome.time().is_some()).map(|commit| commit.consumer);
    let by_appends = history.acked().flat_map(|append| &append.cursors);
    let moved: HashSet<u64> = by_commits.chain(by_appends.map(|(consumer, _)| *consumer)).collect();
    if let Some(&consumer) = moved.iter().find(|consumer| !log.cursors.contains_key(consumer)) {
        return Err(Violation::Cursor { consumer, found: 0, why: "and nobody knows the consumer any more".to_owned() });
    }
    for (&consumer, &found) in &log.cursors {
        let wrong = |found, why: String| Err(Violation::Cursor { consumer, found, why });
        let mut possible = BTreeSet::from([0]);
        for Move { offset, rewind, happened } in moves(history, consumer, present) {
            let after: BTreeSet<u64> =
                possible.iter().map(|at| if rewind { offset } else { offset.max(*at) }).collect();
            match happened {
                Happened::No => {}
                Happened::Perhaps => possible.extend(after),
                Happened::Yes(None) => possible = after,
                Happened::Yes(Some(at)) if after.contains(&at) => possible = BTreeSet::from([at]),
                Happened::Yes(Some(at)) => {
                    return wrong(at, format!("says the answer to {offset}, and may be {after:?}"));
                }
            }
        }
        if !possible.contains(&found) {
            return wrong(found, format!("and only {possible:?} were acknowledged or asked for"));
        }
    }
    Ok(())
}

/// A cursor was to be moved.
struct Move {
    offset: u64,
    /// Wherever it was; otherwise only further on.
    rewind: bool,
    happened: Happened,
}

enum Happened {
    No,
    Perhaps,
    /// It did, and the answer said where the cursor is, if there was one.
    Yes(Option<u64>),
}

impl From<Outcome<u64>> for Happened {
    fn from(outcome: Outcome<u64>) -> Self {
        match outcome {
            Outcome::Acked(at, _) => Self::Yes(Some(at)),
            Outcome::Refused => Self::No,
            Outcome::Unknown => Self::Perhaps,
        }
    }
}

/// The moves of a cursor, in order of invocation. One that was part of an append happened if that did, and only then.
fn moves(history: &History, consumer: u64, present: &[Presence]) -> Vec<Move> {
    let mut moves = BTreeMap::new();
    for Commit { number, offset, rewind, outcome, .. } in
        history.commits.iter().filter(|commit| commit.consumer == consumer).copied()
    {
        moves.insert(number, Move { offset, rewind, happened: outcome.into() });
    }
    for (append, present) in history.appends.iter().zip(present) {
        for (_, offset) in append.cursors.iter().filter(|(whose, _)| *whose == consumer) {
            let happened = match (append.outcome, present) {
                (Outcome::Acked(..), _) | (Outcome::Unknown, Presence::Present) => Happened::Yes(None),
                (Outcome::Unknown, Presence::Unknown) => Happened::Perhaps,
                (Outcome::Unknown, Presence::Missing) | (Outcome::Refused, _) => Happened::No,
            };
            moves.insert(append.number, Move { offset: *offset, rewind: false, happened });
        }
    }
    moves.into_values().collect()
}
