//! What came about over many runs: so that a generator that has stopped reaching something is found out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    op::{Free, Step},
    request::{Answer, Decided, Request},
};
use crate::broker::Error;

/// How often each kind of thing came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    /// Everything that should come about.
    pub const KINDS: [&str; 84] = [
        "append: an old duplicate, offset unknown",
        "append: beyond the tail in a cursor",
        "append: a duplicate",
        "append: disk full",
        "append: fenced",
        "append: gap",
        "append: overlap",
        "append: producer of another topic",
        "append: several parts",
        "append: stored",
        "append: stored, and a duplicate with it",
        "append: stored, with cursors",
        "append: unknown consumer in a cursor",
        "append: unknown producer",
        "append: unknown topic",
        "backlog: none",
        "backlog: some",
        "backlog: some, behind the head",
        "backlog: unknown consumer",
        "commit: before the head",
        "commit: beyond the tail",
        "commit: disk full",
        "commit: moved or stayed",
        "commit: rewound",
        "commit: unknown consumer",
        "create topic: disk full",
        "create topic: exists",
        "create topic: exists, as allowed",
        "create topic: invalid retention",
        "create topic: made",
        "delete topic: gone",
        "delete topic: none, as allowed",
        "delete topic: unknown topic",
        "dequeue: answer too large",
        "dequeue: cursor elsewhere",
        "dequeue: disk full",
        "dequeue: nothing there",
        "dequeue: past a gap",
        "dequeue: past a gap, nothing left",
        "dequeue: repeated",
        "dequeue: repeated, records gone",
        "dequeue: taken",
        "dequeue: unknown consumer",
        "fetch: before the head",
        "fetch: beyond the tail",
        "fetch: nothing there",
        "fetch: one batch",
        "fetch: several batches",
        "fetch: unknown topic",
        "files: a segment was removed",
        "files: a segment was rewritten",
        "files: more than 5 segments were begun",
        "forget producer: gone",
        "forget producer: unknown producer",
        "group: several operations",
        "list producers: all that are left",
        "list producers: a page",
        "list producers: none",
        "list producers: unknown topic",
        "offset for timestamp: found",
        "offset for timestamp: unknown topic",
        "producer state: known",
        "producer state: unknown producer",
        "register consumer: beyond the tail",
        "register consumer: disk full",
        "register consumer: existed",
        "register consumer: new",
        "register consumer: unknown topic",
        "register producer: disk full",
        "register producer: invalid retention",
        "register producer: new",
        "register producer: next epoch",
        "register producer: unknown topic",
        "retention: kept",
        "retention: moved a head",
        "step: disk half full",
        "step: disk nearly full",
        "step: disk with room",
        "step: killed",
        "step: restarted",
        "step: the calendar was set back",
        "step: time passed",
        "expiry: a producer without a name",
        "dequeue: in a second turn",
    ];

    /// How often.
    #[must_use]
    pub fn of(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or(0)
    }

    /// What came about that [`Coverage::KINDS`] does not list.
    #[must_use]
    pub fn unlisted(&self) -> Vec<&'static str> {
        self.0.keys().copied().filter(|kind| !Self::KINDS.contains(kind)).collect()
    }

    /// Adds what came about elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    pub(super) fn note(&mut self, kind: &'static str) {
        *self.0.entry(kind).or_default() += 1;
    }

    pub(super) fn count(&mut self, request: &Request, answered: &Decided) {
        let kind = match answered {
            Ok(answer) => granted(request, answer),
            Err(error) => refused(request, error),
        };
        self.note(kind);
        if let (Request::Append(appending), Ok(_)) = (request, answered)
            && appending.parts.len() > 1
        {
            self.note("append: several parts");
        }
    }

    pub(super) fn count_step(&mut self, step: &Step) {
        match step {
            Step::Group(ops) if ops.len() > 1 => self.note("group: several operations"),
            Step::Group(_) => {}
            Step::Pass { set_back, .. } if set_back.is_zero() => self.note("step: time passed"),
            Step::Pass { .. } => self.note("step: the calendar was set back"),
            Step::Disk(Free::Plenty) => self.note("step: disk with room"),
            Step::Disk(Free::Half) => self.note("step: disk half full"),
            Step::Disk(Free::Eighth) => self.note("step: disk nearly full"),
            Step::Restart { killed: true } => self.note("step: killed"),
            Step::Restart { killed: false } => self.note("step: restarted"),
        }
    }

    pub(super) fn count_head(&mut self, moved: bool) {
        self.note(if moved { "retention: moved a head" } else { "retention: kept" });
    }

    pub(super) fn count_expired(&mut self, producers: usize) {
        (0..producers).for_each(|_| self.note("expiry: a producer without a name"));
    }

    /// Files are named by the number of their segment, and how often it was rewritten: `0000000012-0.redb`.
    pub(super) fn count_files<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        let mut numbers = BTreeSet::new();
        for name in names {
            let Some((number, generation)) = name.split_once('-') else { continue };
            numbers.extend(number.parse::<u64>());
            if generation != "0.redb" {
                self.note("files: a segment was rewritten");
            }
        }
        let (first, last) = (numbers.first().copied().unwrap_or(0), numbers.last().copied().unwrap_or(0));
        if last > 5 {
            self.note("files: more than 5 segments were begun");
        }
        if last - first + 1 > numbers.len() as u64 || first > 1 {
            self.note("files: a segment was removed");
        }
    }
}

fn granted(request: &Request, answer: &Answer) -> &'static str {
    match answer {
        Answer::Topic(topic) if topic.created => "create topic: made",
        Answer::Topic(_) => "create topic: exists, as allowed",
        Answer::Deleted(true) => "delete topic: gone",
        Answer::Deleted(false) => "delete topic: none, as allowed",
        Answer::Producer(_) if matches!(request, Request::ProducerState(_)) => "producer state: known",
        Answer::Producer(state) if state.epoch.0 > 0 => "register producer: next epoch",
        Answer::Producer(_) => "register producer: new",
        Answer::Producers { more: true, .. } => "list producers: a page",
        Answer::Producers { page, .. } if page.is_empty() => "list producers: none",
        Answer::Producers { .. } => "list producers: all that are left",
        Answer::Forgotten(true) => "forget producer: gone",
        Answer::Forgotten(false) => "forget producer: unknown producer",
        Answer::Appended(parts) => {
            let duplicates = parts.iter().filter(|part| part.duplicate).count();
            let has_cursors = matches!(request, Request::Append(appending) if !appending.commits.is_empty());
            match duplicates {
                0 if has_cursors => "append: stored, with cursors",
                0 => "append: stored",
                _ if duplicates < parts.len() => "append: stored, and a duplicate with it",
                _ if parts.iter().any(|part| part.base_offset.is_none()) => "append: an old duplicate, offset unknown",
                _ => "append: a duplicate",
            }
        }
        Answer::Consumer(state) if state.existed => "register consumer: existed",
        Answer::Consumer(_) => "register consumer: new",
        Answer::Cursor(_) if matches!(request, Request::Commit { rewind: true, .. }) => "commit: rewound",
        Answer::Cursor(_) => "commit: moved or stayed",
        Answer::Dequeued { first, next, repeated: true, .. } if first == next => "dequeue: repeated, records gone",
        Answer::Dequeued { repeated: true, .. } => "dequeue: repeated",
        Answer::Dequeued { first, next, .. } => match request {
            Request::Dequeue(asked) if asked.cursor == *next => "dequeue: nothing there",
            Request::Dequeue(asked) if asked.cursor < *first && first == next => "dequeue: past a gap, nothing left",
            Request::Dequeue(asked) if asked.cursor < *first => "dequeue: past a gap",
            _ => "dequeue: taken",
        },
        Answer::Backlog { backlog: 0, .. } => "backlog: none",
        Answer::Backlog { cursor, range, .. } if *cursor < range.head => "backlog: some, behind the head",
        Answer::Backlog { .. } => "backlog: some",
        Answer::Fetched { batches, .. } => match batches.0.len() {
            0 => "fetch: nothing there",
            1 => "fetch: one batch",
            _ => "fetch: several batches",
        },
        Answer::Offset(_) => "offset for timestamp: found",
    }
}

fn refused(request: &Request, error: &Error) -> &'static str {
    match (request, error) {
        (Request::Append(_), Error::Part { error, .. }) => match **error {
            Error::UnknownTopic(_) => "append: unknown topic",
            Error::UnknownProducer(_) => "append: unknown producer",
            Error::ProducerNotForTopic(_) => "append: producer of another topic",
            Error::Fenced { .. } => "append: fenced",
            Error::Gap { .. } => "append: gap",
            Error::Overlap { .. } => "append: overlap",
            _ => "append: another refusal of a part",
        },
        (Request::Append(_), Error::Cursor { error, .. }) => match **error {
            Error::UnknownConsumer(_) => "append: unknown consumer in a cursor",
            Error::BeyondTail { .. } => "append: beyond the tail in a cursor",
            _ => "append: another refusal of a cursor",
        },
        (Request::Append(_), Error::DiskFull { .. }) => "append: disk full",
        (Request::CreateTopic { .. }, Error::TopicExists(_)) => "create topic: exists",
        (Request::CreateTopic { .. }, Error::InvalidRetention) => "create topic: invalid retention",
        (Request::CreateTopic { .. }, Error::DiskFull { .. }) => "create topic: disk full",
        (Request::DeleteTopic { .. }, Error::UnknownTopic(_)) => "delete topic: unknown topic",
        (Request::RegisterProducer { .. }, Error::UnknownTopic(_)) => "register producer: unknown topic",
        (Request::RegisterProducer { .. }, Error::InvalidRetention) => "register producer: invalid retention",
        (Request::RegisterProducer { .. }, Error::DiskFull { .. }) => "register producer: disk full",
        (Request::ProducerState(_), Error::UnknownProducer(_)) => "producer state: unknown producer",
        (Request::ListProducers(_), Error::UnknownTopic(_)) => "list producers: unknown topic",
        (Request::RegisterConsumer { .. }, Error::UnknownTopic(_)) => "register consumer: unknown topic",
        (Request::RegisterConsumer { .. }, Error::BeyondTail { .. }) => "register consumer: beyond the tail",
        (Request::RegisterConsumer { .. }, Error::DiskFull { .. }) => "register consumer: disk full",
        (Request::Commit { .. }, Error::UnknownConsumer(_)) => "commit: unknown consumer",
        (Request::Commit { .. }, Error::BeyondTail { .. }) => "commit: beyond the tail",
        (Request::Commit { .. }, Error::BeforeHead { .. }) => "commit: before the head",
        (Request::Commit { .. }, Error::DiskFull { .. }) => "commit: disk full",
        (Request::Dequeue(_), Error::UnknownConsumer(_)) => "dequeue: unknown consumer",
        (Request::Dequeue(_), Error::CursorMismatch { .. }) => "dequeue: cursor elsewhere",
        (Request::Dequeue(_), Error::AnswerTooLarge { .. }) => "dequeue: answer too large",
        (Request::Dequeue(_), Error::DiskFull { .. }) => "dequeue: disk full",
        (Request::Backlog(_), Error::UnknownConsumer(_)) => "backlog: unknown consumer",
        (Request::Fetch { .. }, Error::UnknownTopic(_)) => "fetch: unknown topic",
        (Request::Fetch { .. }, Error::BeforeHead { .. }) => "fetch: before the head",
        (Request::Fetch { .. }, Error::BeyondTail { .. }) => "fetch: beyond the tail",
        (Request::OffsetFor { .. }, Error::UnknownTopic(_)) => "offset for timestamp: unknown topic",
        _ => "another refusal",
    }
}
