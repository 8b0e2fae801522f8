//! Damage of every kind, and what a check and a salvage make of it: what is wrong is said, nothing is changed, and the
//! copy has every record that is not said to be lost, at its offset, and no other.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{Rng, SimDisk, contents, history::Stored, remains::Remains, workload};
use crate::{
    broker::{self, ProducerState, Report, Stepped, StorageError},
    planted::Planted,
    record::{BatchHeader, ConsumerId, Offset, TopicId},
};

/// Steps of one run.
const STEPS: usize = 40;
/// Damages tried on what one run left.
const DAMAGES: u64 = 100;

/// How many damages, from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Ruin {
    /// Two runs of one seed are the same.
    pub seed: u64,
    /// So many damages, one at a time.
    pub damages: u64,
}

/// What came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ruined {
    /// How many there were.
    pub damages: u64,
    /// The check found nothing wrong, and neither did a server.
    pub harmless: u64,
    /// The check found it.
    pub found: u64,
    /// A server did not start on it.
    pub refused: u64,
    /// Nothing could be read of it at all.
    pub hopeless: u64,
    /// Records that were there, over all that were found.
    pub records: u64,
    /// Records of them that were lost.
    pub lost: u64,
}

/// Files after something happened to one of them.
struct Damaged {
    files: BTreeMap<String, Vec<u8>>,
    bad_sectors: Option<(String, Range<u64>)>,
    is_one_bit: bool,
}

/// What a store holds.
struct Held {
    topics: BTreeMap<TopicId, HeldTopic>,
    cursors: Vec<Option<u64>>,
    producers: Vec<Option<ProducerState>>,
}

struct HeldTopic {
    name: String,
    head: Offset,
    tail: Offset,
    records: BTreeMap<u64, Option<Stored>>,
}

/// What a run left, and what is in it.
struct Ruins {
    remains: Remains,
    held: Held,
    /// Records in all batches, also those of which nobody reads any more.
    records: u64,
}

impl Ruin {
    /// Damages files, one at a time, that a run left, cleanly closed or not.
    ///
    /// # Errors
    /// What a check or a salvage made wrong.
    pub fn run(&self) -> Result<Ruined, String> {
        let mut report = Ruined::default();
        let mut seed = self.seed;
        while report.damages < self.damages {
            let mut rng = Rng::new(seed);
            let left = Ruins::of_run(&mut rng).map_err(|what| format!("seed {seed}: {what}"))?;
            for number in 0..DAMAGES.min(self.damages - report.damages) {
                let mut damaged = Damaged { files: left.remains.files.clone(), bad_sectors: None, is_one_bit: false };
                let what = damaged.damage(&mut rng);
                report.damages += 1;
                let judged = left.judge(&damaged, &mut report);
                judged.map_err(|wrong| {
                    let state = left.remains.state();
                    format!("seed {seed}, damage {number}, files {state}, {what}: {wrong}")
                })?;
            }
            seed = seed.wrapping_add(1);
        }
        Ok(report)
    }
}

impl Ruins {
    fn of_run(rng: &mut Rng) -> Result<Self, String> {
        let (of_run, is_closed) = (Rng::new(rng.number()), rng.percent(50));
        let remains = Remains::of_run(of_run, STEPS, is_closed, Planted::default())?;
        let files = &remains.files;
        let (report, _) = Damaged { files: files.clone(), bad_sectors: None, is_one_bit: false }.audited()?;
        let report = report.map_err(|error| error.with_causes())?;
        // All are segments but one.
        if !report.is_intact() || report.segments != files.len() - 1 {
            return Err(format!("what nobody damaged is not intact: {report:?}"));
        }
        let held = Held::of(files.clone(), &remains.producers, &remains.known.consumers)?;
        Ok(Self { remains, held, records: report.records })
    }

    fn judge(&self, damaged: &Damaged, tried: &mut Ruined) -> Result<(), String> {
        let (report, copy) = damaged.audited()?;
        let report = match report {
            Ok(report) => report,
            Err(StorageError::Corrupted(what)) if damaged.is_one_bit => {
                return Err(format!("one bit costs everything: {what}"));
            }
            Err(StorageError::Corrupted(_)) => {
                tried.hopeless += 1;
                return Ok(());
            }
            Err(error) => return Err(error.with_causes()),
        };
        let opened = workload::open(&damaged.disk(), Planted::default());
        if report.is_intact() {
            tried.harmless += 1;
            let store = opened.map_err(|error| format!("it is intact, and does not open: {}", error.with_causes()))?;
            let known = &self.remains.known;
            let log = contents::read_all(&store, &known.consumers, &known.heads);
            let log = log.map_err(|error| format!("it is intact, and cannot be read: {error}"))?;
            let judged = self.remains.judge(&log);
            return judged.map(drop).map_err(|violation| format!("it is intact, and {violation}"));
        }
        tried.found += 1;
        tried.refused += u64::from(opened.is_err());
        drop(opened);
        self.judge_copy(&report, copy, tried)
    }

    fn judge_copy(&self, report: &Report, copy: SimDisk, tried: &mut Ruined) -> Result<(), String> {
        let again = broker::audit(&copy, None, &mut |_| {});
        let again = again.map_err(|error| format!("the copy cannot be checked: {}", error.with_causes()))?;
        if !again.is_intact() {
            return Err(format!("the copy is not intact: {again:?}, of {report:?}"));
        }
        let held = Held::of(copy.files(), &self.remains.producers, &self.remains.known.consumers)?;
        let (lost_before, mut has_rolled_back) = (tried.lost, false);
        // The last commit of a store that was not closed cannot be told from one that was under way. If retention was in it,
        // what that took is missed, and nothing else.
        let may_be_behind = !self.remains.is_closed && report.damage.is_empty();
        for (id, topic) in &self.held.topics {
            tried.records += topic.records.len() as u64;
            let lost = |name: &str, offset: u64| {
                let holds = |range: &&broker::LostRange| (range.from.0..range.to.0).contains(&offset);
                report.lost.iter().filter(|range| range.topic == name).any(|range| holds(&range))
            };
            let Some(copied) = held.topics.get(id) else {
                tried.lost += topic.records.len() as u64;
                continue;
            };
            let is_behind = copied.tail < topic.tail;
            if is_behind && !(may_be_behind && self.remains.is_of_last_commit(&topic.name, copied.tail)) {
                return Err(format!("the tail of {} was {}, and is {}", topic.name, topic.tail, copied.tail));
            }
            has_rolled_back |= is_behind;
            for (offset, record) in &topic.records {
                match copied.records.get(offset) {
                    Some(found) if found == record => {}
                    None if is_behind && *offset >= copied.tail.0 => {}
                    None if lost(&copied.name, *offset) => tried.lost += 1,
                    found => return Err(format!("offset {offset} of {} held {record:?}: {found:?}", topic.name)),
                }
            }
            let strange = copied
                .records
                .iter()
                .find(|(offset, _)| (topic.head.0..).contains(*offset) && !topic.records.contains_key(*offset));
            if let Some(strange) = strange {
                return Err(format!("{strange:?} of {} was not there", topic.name));
            }
        }
        // A topic that is gone has no range that is said to be lost: then none of its records was intact.
        let (missing, damaged) = (tried.lost - lost_before, self.records.saturating_sub(report.records));
        if missing > damaged {
            return Err(format!("{missing} records are missing, and only {damaged} of them are damaged: {report:?}"));
        }
        if has_rolled_back {
            return Ok(());
        }
        self.judge_state(report, &held)?;
        self.goes_on(copy, &held)
    }

    /// Producers and cursors are where they were, or behind.
    fn judge_state(&self, report: &Report, held: &Held) -> Result<(), String> {
        let nothing_lost = report.is_state_exact;
        for (was, is) in self.held.producers.iter().zip(&held.producers) {
            let (was, is) = match (was, is) {
                (Some(was), Some(is)) => (was, is),
                (Some(was), None) if nothing_lost => return Err(format!("{was:?} is gone, and the state is exact")),
                _ => continue,
            };
            let is_same = (was.epoch, was.last_sequence) == (is.epoch, is.last_sequence);
            if was.topic != is.topic || is.last_sequence > was.last_sequence || (nothing_lost && !is_same) {
                return Err(format!("a producer was {was:?}, and is {is:?}"));
            }
        }
        for (was, is) in self.held.cursors.iter().zip(&held.cursors) {
            // A rewind may be lost, too.
            if nothing_lost && was != is {
                return Err(format!("a cursor was at {was:?}, and is at {is:?}, and the state is exact: {report:?}"));
            }
        }
        Ok(())
    }

    /// Producers go on: what is stored is not stored again, and what is new is behind everything that ever was.
    fn goes_on(&self, copy: SimDisk, held: &Held) -> Result<(), String> {
        let mut store = workload::open(&copy, Planted::default()).map_err(|error| error.with_causes())?;
        for state in held.producers.iter().flatten() {
            let tail = |store: &Stepped| {
                let topics = store.broker().topics("", 1000).0;
                topics.iter().find(|topic| topic.id == state.topic).map(|topic| topic.range().tail)
            };
            let end = state.last_sequence.0;
            for (sequence, is_stored) in [(end.checked_sub(1), true), (Some(end), false)] {
                let Some(sequence) = sequence else { continue };
                let before = tail(&store).ok_or("a producer has no topic")?;
                let answer = contents::append_one(&mut store, state, sequence).map_err(|error| error.to_string())?;
                let grown = tail(&store).ok_or("a producer has no topic")?.0 - before.0;
                if answer.duplicate != is_stored || grown != u64::from(!is_stored) {
                    return Err(format!("sequence {sequence} of {state:?}: {answer:?}, {grown} more"));
                }
                let ever = self.held.topics.get(&state.topic).map_or(Offset(0), |topic| topic.tail);
                if !is_stored && answer.base_offset.is_none_or(|offset| offset < ever) {
                    return Err(format!("{answer:?} was given before: the tail was {ever}"));
                }
            }
        }
        Ok(())
    }
}

impl Held {
    fn of(
        files: BTreeMap<String, Vec<u8>>,
        producers: &[ProducerState],
        consumers: &[ConsumerId],
    ) -> Result<Self, String> {
        let mut store = workload::open(&SimDisk::holding(files), Planted::default())
            .map_err(|error| format!("it does not open: {}", error.with_causes()))?;
        let mut topics = BTreeMap::new();
        for topic in store.broker().topics("", 1000).0 {
            let (name, range) = (topic.name.to_string(), topic.range());
            let (mut next, mut records) = (range.head, BTreeMap::new());
            while next < range.tail {
                if let Some((_, to)) = topic.lost_at(next) {
                    next = to;
                    continue;
                }
                let batches = store.read(&name, next, 1).map_err(|error| format!("{name} at {next}: {error}"))?;
                let header = batches.first().and_then(|batch| BatchHeader::read(batch).ok());
                let header = header.filter(|header| header.stamp.base_offset <= next && header.next_offset() > next);
                let header = header.ok_or_else(|| format!("{name} has nothing at {next}, and does not say so"))?;
                let seen = contents::records_of(&name, &batches[..1]).into_iter();
                records.extend(seen.filter(|seen| seen.offset >= next.0).map(|seen| (seen.offset, seen.record)));
                next = header.next_offset();
            }
            topics.insert(topic.id, HeldTopic { name, head: range.head, tail: range.tail, records });
        }
        let cursor = |id: &ConsumerId| store.broker().consumer(*id).ok().map(|(view, _)| view.cursor.0);
        let cursors = consumers.iter().map(cursor).collect();
        let mut state = |state: &ProducerState| {
            let id = state.id;
            store.call(|broker| async move { broker.producer_state(id).await }).ok()
        };
        let producers = producers.iter().map(&mut state).collect();
        Ok(Self { topics, cursors, producers })
    }
}

impl Damaged {
    fn disk(&self) -> SimDisk {
        let disk = SimDisk::holding(self.files.clone());
        if let Some((name, bytes)) = &self.bad_sectors {
            disk.set_bad_sectors(name, bytes.clone());
        }
        disk
    }

    /// Checks and copies, and sees to it that nothing is changed.
    fn audited(&self) -> Result<(Result<Report, StorageError>, SimDisk), String> {
        let (disk, copy) = (self.disk(), SimDisk::default());
        let report = broker::audit(&disk, Some(Arc::new(copy.clone())), &mut |_| {});
        let alone = broker::audit(&disk, None, &mut |_| {});
        if disk.ops() > 0 || disk.files() != self.files {
            return Err("the files were changed".to_owned());
        }
        match (&report, &alone) {
            (Ok(report), Ok(alone)) if report == alone => {}
            (Err(_), Err(_)) => {}
            _ => return Err(format!("a check without a copy says something else: {report:?}, {alone:?}")),
        }
        Ok((report, copy))
    }

    /// Damages one file, and says how.
    fn damage(&mut self, rng: &mut Rng) -> String {
        let Self { files, bad_sectors, is_one_bit } = self;
        let names: Vec<_> = files.keys().cloned().collect();
        let number = rng.index(names.len());
        let name = &names[number];
        let content = files.get_mut(name).expect("it was chosen among them");
        let upto = if rng.percent(20) { content.len().min(4096) } else { content.len() };
        let at = rng.index(upto.max(1));
        match rng.below(20) {
            // The newest segment may be an empty one, which nobody misses; the log is the last name of all.
            0 if number + 2 != names.len() => {
                files.remove(name);
                format!("{name} removed")
            }
            0 | 1 => {
                content.truncate(at);
                format!("{name} cut to {at} bytes")
            }
            2 | 3 => {
                let from = at as u64 / 4096 * 4096;
                *bad_sectors = Some((name.clone(), from..from + 4096));
                format!("4096 bytes at {from} of {name} not readable")
            }
            4..=6 => {
                let bytes = [512, 4096, 65536][rng.index(3)];
                let from = at / bytes * bytes;
                let end = (from + bytes).min(content.len());
                let garbage = rng.percent(50);
                content[from..end]
                    .iter_mut()
                    .for_each(|byte| *byte = if garbage { rng.number().to_le_bytes()[0] } else { 0 });
                format!("{} bytes at {from} of {name} overwritten", end - from)
            }
            _ => {
                *is_one_bit = true;
                let bit = rng.below(8);
                content[at] ^= 1 << bit;
                format!("bit {bit} of byte {at} of {name} flipped")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last block of the write-ahead log had moved a head, and was lost to one bit; what retention had removed for it was
    /// missed, rightly, and a record of the same commit gone, as from a commit that was under way.
    #[test]
    fn the_last_commit_of_a_store_that_was_not_closed_may_be_gone_with_what_retention_did_in_it() {
        Ruin { seed: 74_000_129, damages: 41 }.run().expect("every promise holds");
    }
}
