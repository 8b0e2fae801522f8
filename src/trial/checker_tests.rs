//! The checker is checked: a history that is right passes, and each way to break it is found out.

use std::collections::BTreeSet;

use super::{
    checker::{Violation, check},
    history::{Append, Commit, Deletion, Forgetting, History, Log, Outcome, Read, Seen, Stored, TopicLog},
};

fn stored(producer: u64, sequence: u64) -> Stored {
    Stored { producer, sequence, checksum: u32::try_from(producer * 1000 + sequence).expect("small") }
}

fn append(number: u64, producer: u64, sequences: std::ops::Range<u64>, base: u64) -> Append {
    let time = number * 10;
    Append {
        number,
        invoked: time,
        records: sequences.clone().map(|sequence| ("t".to_owned(), stored(producer, sequence))).collect(),
        cursors: Vec::new(),
        outcome: Outcome::Acked((), time + 5),
        offsets: (0..sequences.count() as u64).map(|n| Some(base + n)).collect(),
    }
}

fn commit(number: u64, offset: u64, rewind: bool) -> Commit {
    let time = number * 10;
    Commit { number, invoked: time, consumer: 1, offset, rewind, outcome: Outcome::Acked(offset, time + 5) }
}

/// Five acknowledged records of two producers, one append that nobody knows of, a cursor, a read.
fn good() -> (History, Log) {
    let mut unknown = append(4, 1, 3..5, 5);
    (unknown.outcome, unknown.offsets) = (Outcome::Unknown, Vec::new());
    unknown.cursors = vec![(1, 4)];
    let seen = Seen { topic: "t".to_owned(), offset: 0, record: Some(stored(1, 0)) };
    let history = History {
        appends: vec![append(1, 1, 0..2, 0), append(2, 2, 0..2, 2), append(3, 1, 2..3, 4), unknown],
        commits: vec![commit(3, 2, false)],
        reads: vec![Read { at: 30, from: Some(0), seen: vec![seen] }],
        deletions: Vec::new(),
        forgotten: Vec::new(),
        has_every_sequence: true,
    };
    let records = [stored(1, 0), stored(1, 1), stored(2, 0), stored(2, 1), stored(1, 2)];
    let records: Vec<_> = (0..).zip(records.map(Some)).collect();
    let topic = TopicLog { head: 0, tail: 5, records, max_head: 0, bytes: 500, least_bytes: 400 };
    (history, Log { topics: [("t".to_owned(), topic)].into(), cursors: [(1, 2)].into(), producers: BTreeSet::new() })
}

fn topic(log: &mut Log) -> &mut TopicLog {
    log.topics.get_mut("t").expect("it is there")
}

#[track_caller]
fn found(change: impl FnOnce(&mut History, &mut Log)) -> Violation {
    let (mut history, mut log) = good();
    change(&mut history, &mut log);
    check(&history, &log).expect_err("it is broken")
}

#[test]
fn what_the_promises_allow_passes() {
    let (history, mut log) = good();
    check(&history, &log).expect("nothing is wrong");
    // The append that nobody knows of may have happened, as a whole, with its cursor.
    topic(&mut log).records.extend([(5, Some(stored(1, 3))), (6, Some(stored(1, 4)))]);
    topic(&mut log).tail = 7;
    log.cursors.insert(1, 4);
    check(&history, &log).expect("nothing is wrong");
    // Retention may have taken the first ones.
    let found = topic(&mut log);
    found.records.drain(..3);
    (found.head, found.max_head) = (3, 3);
    check(&history, &log).expect("nothing is wrong");
}

#[test]
fn holes_and_heads_that_nobody_asked_for_are_found() {
    let hole = found(|_, log| {
        topic(log).records.remove(2);
    });
    assert!(matches!(hole, Violation::NotDense { expected: 2, found: 3, .. }), "{hole}");
    let end = found(|_, log| topic(log).tail = 6);
    assert!(matches!(end, Violation::NotDense { .. }), "{end}");
    let head = found(|_, log| {
        topic(log).head = 1;
        topic(log).records.remove(0);
    });
    assert!(matches!(head, Violation::TrimmedTooMuch { head: 1, max: 0, .. }), "{head}");
}

#[test]
fn records_of_nobody_and_records_that_are_there_twice_are_found() {
    let phantom = found(|_, log| {
        topic(log).records.push((5, Some(stored(9, 9))));
        topic(log).tail = 6;
    });
    assert!(matches!(phantom, Violation::Phantom { offset: 5, .. }), "{phantom}");
    let changed = found(|_, log| topic(log).records[1].1 = Some(Stored { checksum: 7, ..stored(1, 1) }));
    assert!(matches!(changed, Violation::Phantom { offset: 1, .. }), "{changed}");
    let damaged = found(|_, log| topic(log).records[1].1 = None);
    assert!(matches!(damaged, Violation::Phantom { offset: 1, record: None, .. }), "{damaged}");
    let twice = found(|_, log| {
        topic(log).records.push((5, Some(stored(2, 1))));
        topic(log).tail = 6;
    });
    assert!(matches!(twice, Violation::Twice { first: 3, second: 5, .. }), "{twice}");
    let refused = found(|history, _| history.appends[2].outcome = Outcome::Refused);
    assert!(matches!(refused, Violation::Refused { .. }), "{refused}");
}

#[test]
fn what_was_acknowledged_and_is_gone_or_elsewhere_is_found() {
    let lost = found(|_, log| {
        topic(log).records.pop();
        topic(log).tail = 4;
    });
    assert!(matches!(lost, Violation::Lost { record, .. } if record == stored(1, 2)), "{lost}");
    let topic_lost = found(|_, log| log.topics.clear());
    assert!(matches!(topic_lost, Violation::Lost { .. }), "{topic_lost}");
    let moved = found(|history, _| history.appends[1].offsets = vec![Some(1), Some(2)]);
    assert!(matches!(moved, Violation::Moved { acked: 1, found: 2, .. }), "{moved}");
    let (mut history, mut log) = good();
    history.deletions.push(Deletion { invoked: 0, topic: "t".to_owned(), outcome: Outcome::Unknown });
    log.topics.clear();
    check(&history, &log).expect("its deletion was asked for");
}

#[test]
fn a_topic_that_was_deleted_and_is_there_is_found() {
    let deletion = |outcome| Deletion { invoked: 60, topic: "t".to_owned(), outcome };
    let back = found(|history, _| history.deletions.push(deletion(Outcome::Acked((), 65))));
    assert_eq!(back, Violation::Undeleted { topic: "t".to_owned() });
    let (mut history, log) = good();
    history.deletions.push(deletion(Outcome::Unknown));
    check(&history, &log).expect("nobody knows whether it was");
}

#[test]
fn orders_that_cannot_be_are_found() {
    let reordered = found(|history, log| {
        history.appends.iter_mut().for_each(|append| append.offsets.clear());
        topic(log).records[0].1 = Some(stored(1, 1));
        topic(log).records[1].1 = Some(stored(1, 0));
    });
    assert!(matches!(reordered, Violation::Reordered { producer: 1, first: 1, second: 0, .. }), "{reordered}");
    let hole = found(|history, log| {
        // Nobody knows of the append that is missing, and the one behind it is there.
        (history.appends[0].outcome, history.appends[2].records) = (Outcome::Unknown, append(3, 1, 3..4, 4).records);
        history.appends.remove(3);
        topic(log).records[4].1 = Some(stored(1, 3));
    });
    assert!(matches!(hole, Violation::Hole { producer: 1, first: 1, second: 3, .. }), "{hole}");
    let early = found(|history, log| {
        // The second append was acknowledged before the third was sent, and comes behind it.
        history.appends.iter_mut().for_each(|append| append.offsets.clear());
        topic(log).records[2].1 = Some(stored(1, 2));
        topic(log).records[3].1 = Some(stored(2, 0));
        topic(log).records[4].1 = Some(stored(2, 1));
    });
    assert!(matches!(early, Violation::TimeTravel { offset: 2, .. }), "{early}");
}

#[test]
fn an_append_in_part_is_found_and_so_is_one_without_its_cursor() {
    let torn = found(|_, log| {
        topic(log).records.push((5, Some(stored(1, 3))));
        topic(log).tail = 6;
    });
    assert!(matches!(torn, Violation::Torn { .. }), "{torn}");
    let behind = found(|_, log| {
        topic(log).records.extend([(5, Some(stored(1, 3))), (6, Some(stored(1, 4)))]);
        topic(log).tail = 7;
    });
    assert!(matches!(behind, Violation::Cursor { found: 2, .. }), "{behind}");
    let ahead = found(|_, log| {
        log.cursors.insert(1, 4);
    });
    assert!(matches!(ahead, Violation::Cursor { found: 4, .. }), "{ahead}");
}

#[test]
fn a_cursor_that_went_back_and_one_that_nobody_moved_there_are_found() {
    let back = found(|_, log| {
        log.cursors.insert(1, 0);
    });
    assert!(matches!(back, Violation::Cursor { found: 0, .. }), "{back}");
    let elsewhere = found(|_, log| {
        log.cursors.insert(1, 3);
    });
    assert!(matches!(elsewhere, Violation::Cursor { found: 3, .. }), "{elsewhere}");
    let (mut history, mut log) = good();
    history.commits.push(commit(5, 1, true));
    log.cursors.insert(1, 1);
    check(&history, &log).expect("it was moved back on purpose");
}

#[test]
fn what_was_read_and_is_not_there_is_found() {
    let ahead = found(|history, _| {
        let seen = Seen { topic: "t".to_owned(), offset: 5, record: Some(stored(1, 3)) };
        history.reads.push(Read { at: 45, from: None, seen: vec![seen] });
    });
    assert!(matches!(ahead, Violation::ReadAhead { offset: 5, found: None, .. }), "{ahead}");
    let other = found(|history, _| history.reads[0].seen[0].record = Some(stored(2, 0)));
    assert!(matches!(other, Violation::ReadAhead { offset: 0, .. }), "{other}");
}

#[test]
fn an_answer_that_came_later_was_unknown_before() {
    let (history, _) = good();
    let early = history.as_of(22);
    assert_eq!(early.appends.len(), 2);
    assert_eq!(early.appends[1].outcome, Outcome::Unknown);
    assert_eq!((early.commits.len(), early.reads.len()), (0, 0));
}

/// The checker looked at the consumers that are there, and so never missed one that is not.
#[test]
fn a_consumer_with_an_acknowledged_cursor_that_is_gone_is_found() {
    let violation = found(|_, log| log.cursors.clear());
    assert!(matches!(violation, Violation::Cursor { consumer: 1, .. }), "{violation:?}");
}

/// Each record that was read was looked for, but not what is missing between them.
#[test]
fn a_record_that_is_left_out_of_a_read_is_found() {
    let violation = found(|history, _| {
        let seen = |offset, record| Seen { topic: "t".to_owned(), offset, record: Some(record) };
        history.reads.push(Read { at: 45, from: None, seen: vec![seen(0, stored(1, 0)), seen(2, stored(2, 0))] });
    });
    assert_eq!(violation, Violation::Skipped { topic: "t".to_owned(), after: 0, offset: 2 });
}

/// Each read was looked at by itself, and not whether it was what had been asked for.
#[test]
fn a_read_of_something_else_is_found() {
    let violation = found(|history, _| history.reads[0].from = Some(1));
    assert_eq!(violation, Violation::ReadElsewhere { topic: "t".to_owned(), from: 1, offset: 0 });
    let skipped = found(|history, _| {
        let seen = Seen { topic: "t".to_owned(), offset: 3, record: Some(stored(2, 1)) };
        history.reads.push(Read { at: 45, from: Some(1), seen: vec![seen] });
    });
    assert_eq!(skipped, Violation::ReadElsewhere { topic: "t".to_owned(), from: 1, offset: 3 });
    let (mut history, mut log) = good();
    history.reads[0] =
        Read { from: Some(0), seen: vec![Seen { offset: 2, ..history.reads[0].seen[0].clone() }], at: 45 };
    history.reads[0].seen[0].record = Some(stored(2, 0));
    let found = topic(&mut log);
    found.records.drain(..2);
    (found.head, found.max_head) = (2, 2);
    check(&history, &log).expect("retention took what was asked for");
}

/// Whatever retention took, a record without a known offset was taken for trimmed.
#[test]
fn a_record_behind_one_that_is_kept_was_not_trimmed() {
    let violation = found(|history, log| {
        history.appends[2].offsets = vec![None];
        let found = topic(log);
        found.records.remove(0);
        found.records.pop();
        (found.head, found.max_head, found.tail) = (1, 1, 4);
    });
    assert!(matches!(violation, Violation::Lost { record, .. } if record == stored(1, 2)), "{violation}");
}

#[test]
fn what_retention_had_to_leave_and_did_not_is_found() {
    let violation = found(|_, log| {
        let found = topic(log);
        found.records.remove(0);
        (found.head, found.max_head, found.bytes) = (1, 1, 399);
    });
    assert_eq!(violation, Violation::TrimmedTooEarly { topic: "t".to_owned(), head: 1, bytes: 399, least: 400 });
}

/// A deletion that was refused counted as one, and so nobody missed the topic.
#[test]
fn a_topic_that_is_gone_and_whose_deletion_was_refused_is_missed() {
    let violation = found(|history, log| {
        let outcome = Outcome::Refused;
        history.deletions.push(Deletion { invoked: 0, topic: "t".to_owned(), outcome });
        history.appends.clear();
        log.topics.clear();
    });
    assert!(matches!(violation, Violation::ReadAhead { offset: 0, found: None, .. }), "{violation}");
}

#[test]
fn a_producer_that_was_forgotten_and_is_known_is_found() {
    let violation = found(|history, log| {
        history.forgotten.push(Forgetting { invoked: 50, producer: 2, outcome: Outcome::Acked((), 55) });
        log.producers.insert(2);
    });
    assert_eq!(violation, Violation::Remembered { producer: 2 });
}

/// Where an answer said that a cursor is was believed, whatever had been asked for.
#[test]
fn an_answer_that_names_another_place_of_a_cursor_is_found() {
    for (rewind, answer) in [(false, 1), (false, 5), (true, 3)] {
        let violation = found(|history, log| {
            let outcome = Outcome::Acked(answer, 75);
            history.commits.push(Commit { outcome, ..commit(7, 2, rewind) });
            log.cursors.insert(1, answer);
        });
        assert!(matches!(violation, Violation::Cursor { .. }), "{violation}");
    }
    // A commit that moves the cursor back, and an append that did, were taken for right.
    let back = found(|history, log| {
        history.commits.extend([commit(7, 4, false), commit(8, 1, false)]);
        log.cursors.insert(1, 1);
    });
    assert!(matches!(back, Violation::Cursor { found: 1, .. }), "{back}");
    let back = found(|history, log| {
        history.commits.push(commit(0, 4, false));
        history.appends[2].cursors = vec![(1, 3)];
        history.commits.remove(0);
        log.cursors.insert(1, 3);
    });
    assert!(matches!(back, Violation::Cursor { found: 3, .. }), "{back}");
    let (mut history, mut log) = good();
    history.commits.push(commit(7, 4, false));
    history.commits.push(Commit { outcome: Outcome::Acked(4, 85), ..commit(8, 1, false) });
    log.cursors.insert(1, 4);
    check(&history, &log).expect("a cursor does not go back");
}

/// Retention had taken the records, so nobody compared what had been said of them.
#[test]
fn two_records_that_were_told_at_one_offset_are_found_behind_the_head_too() {
    let trimmed = |log: &mut Log| {
        let found = topic(log);
        found.records.drain(..4);
        (found.head, found.max_head) = (4, 4);
    };
    let acked = found(|history, log| {
        history.appends[1].offsets = vec![Some(1), Some(2)];
        trimmed(log);
    });
    assert!(matches!(acked, Violation::ReadAhead { offset: 1, .. }), "{acked}");
    let read = found(|history, log| {
        history.reads[0].seen[0].record = Some(stored(2, 0));
        trimmed(log);
    });
    assert!(matches!(read, Violation::ReadAhead { offset: 0, .. }), "{read}");
    let phantom = found(|history, log| {
        history.reads[0].seen[0].record = Some(stored(7, 0));
        trimmed(log);
    });
    assert!(matches!(phantom, Violation::Phantom { offset: 0, .. }), "{phantom}");
}
