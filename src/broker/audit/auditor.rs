//! Judging what a survey finds: does each state follow from the one before, is every record there, and if not, which
//! state is closest to what was?

use std::{collections::HashMap, sync::Arc};

use super::{
    coverage::{Coverage, without},
    doubt::Doubt,
    report::{FoundDamage, LostRange, Report},
};
use crate::{
    broker::state::{Deleted, State, Topic},
    record::{Batch, Offset, TopicId},
    storage::{Damage, Findings, Loss, Recovery as _, SalvageWriter, SegmentEnd, StorageError},
};

/// How far the work is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the files that were looked at, or need not be.
    pub bytes: u64,
    /// Records found intact.
    pub records: u64,
}

/// Takes everything in order.
pub(super) struct Auditor<'a> {
    /// As the log says up to here, as far as it can be read.
    state: State,
    /// Whether that is what the state was: nothing is missing since it was known.
    is_exact: bool,
    deleted: Deleted,
    doubt: Doubt,
    coverage: HashMap<TopicId, Coverage>,
    segment: Segment,
    found: Vec<Damage>,
    report: Report,
    salvage: Option<SalvageWriter>,
    progress: Progress,
    tell: &'a mut dyn FnMut(Progress),
}

/// The segment that is looked at.
#[derive(Default)]
struct Segment {
    number: u64,
    name: String,
    /// Whether it holds everything that happened in its time, and everything before it is known.
    follows: bool,
    /// What did not follow in it.
    wrong: Option<&'static str>,
    is_damaged: bool,
}

impl<'a> Auditor<'a> {
    pub(super) fn new(salvage: Option<SalvageWriter>, tell: &'a mut dyn FnMut(Progress)) -> Self {
        Self {
            state: State::default(),
            is_exact: true,
            deleted: Deleted::default(),
            doubt: Doubt::default(),
            coverage: HashMap::new(),
            segment: Segment::default(),
            found: Vec::new(),
            report: Report::default(),
            salvage,
            progress: Progress::default(),
            tell,
        }
    }

    /// A segment begins; `is_original`: its events are in it.
    pub(super) fn begin(&mut self, number: u64, name: String, is_original: bool) {
        let is_next = number == self.segment.number + 1;
        if !is_next {
            // Retention removes segments between others; then the state after the next one is in it.
            self.doubt.lose(Loss::End);
            self.is_exact = false;
        }
        let follows = self.is_exact && is_original;
        self.segment = Segment { number, name, follows, ..Segment::default() };
    }

    /// The segment has ended. `upto`: bytes of all files so far.
    pub(super) fn end(&mut self, end: SegmentEnd, before: u64, upto: u64) -> Result<(), StorageError> {
        let known = end.snapshot.as_deref().map(known_state);
        match known {
            Some(Ok(state)) => {
                if self.segment.follows && !self.segment.is_damaged && self.state != state {
                    let wrong = self.segment.wrong.map(|wrong| format!(": {wrong}")).unwrap_or_default();
                    self.note(format!("the state after it does not follow from its journal{wrong}"), Loss::Nothing);
                }
                (self.deleted, self.doubt) = (Deleted::before(&state), Doubt::default());
                (self.state, self.is_exact) = (state, true);
            }
            Some(Err(error)) => self.unknown_state(Some(error.to_string())),
            None => {
                if self.segment.number != before + 1 {
                    self.segment.is_damaged = true;
                    self.note(missing(before, end.is_sealed), Loss::Nothing);
                }
                self.unknown_state(None);
            }
        }
        let is_prepared = !end.is_sealed && end.entries == 0 && !self.segment.is_damaged;
        let is_nothing = self.state.server_id.is_nil() && self.state.topics.is_empty();
        if !is_prepared && !is_nothing && self.salvage.is_some() {
            let snapshot = self.mended().0.to_snapshot();
            if let Some(salvage) = &mut self.salvage {
                salvage.begin(self.segment.number)?;
                salvage.end(&snapshot)?;
            }
        }
        self.progress.bytes = upto;
        (self.tell)(self.progress);
        Ok(())
    }

    /// What the state is after the segment can only be told from its entries.
    fn unknown_state(&mut self, wrong: Option<String>) {
        let is_torn = self.segment.wrong.filter(|_| self.segment.follows && !self.segment.is_damaged);
        if let Some(what) = wrong.or_else(|| is_torn.map(|what| format!("journal: {what}"))) {
            self.note(what, Loss::Nothing);
        }
        self.is_exact = self.segment.follows && !self.segment.is_damaged;
    }

    fn note(&mut self, what: String, loss: Loss) {
        let file = self.segment.name.clone();
        self.damage(Damage { file, position: None, what, loss });
    }

    /// The state that is closest to what was, in which everything that is missing is known to be; and what that is.
    fn mended(&self) -> (State, Vec<LostRange>) {
        let (mut state, mut lost) = (self.state.clone(), Vec::new());
        state.next_topic = self.doubt.possible_topic(state.next_topic);
        for (id, topic) in &mut state.topics {
            let cursors = topic.consumers.iter().filter_map(|id| self.state.consumers.get(id));
            let known_tail = cursors.map(|consumer| consumer.cursor).fold(topic.tail, Offset::max);
            let tail = self.doubt.possible_tail(*id, known_tail);
            let coverage = self.coverage.get(id);
            let gaps = coverage.map_or_else(|| vec![(topic.head, tail)], |coverage| coverage.gaps(topic.head, tail));
            let gaps: Vec<_> = gaps.into_iter().filter(|(from, to)| from < to).collect();
            let name = topic.name.to_string();
            for (from, to) in without(&gaps, &topic.lost) {
                let is_exact = to <= known_tail;
                lost.push(LostRange { topic: name.clone(), from, to, is_exact });
            }
            if gaps != topic.lost || tail != topic.tail {
                let bytes = coverage.map_or(0, Coverage::bytes);
                Arc::make_mut(topic).mend(&gaps, tail, bytes);
            }
        }
        lost.sort_by(|a, b| (&a.topic, a.from).cmp(&(&b.topic, b.from)));
        (state, lost)
    }

    /// What there is to say at the end, when the copy is complete.
    pub(super) fn finish(mut self, segments: usize) -> Result<Report, StorageError> {
        let salvage = self.salvage.take();
        let report = self.into_report(segments)?;
        salvage.map_or(Ok(()), SalvageWriter::finish)?;
        Ok(report)
    }

    fn into_report(mut self, segments: usize) -> Result<Report, StorageError> {
        let (state, lost) = self.mended();
        if state.server_id.is_nil() && self.report.batches == 0 && !self.found.is_empty() {
            let first = &self.found[0];
            return Err(StorageError::Corrupted(format!("nothing in it can be read: {}: {}", first.file, first.what)));
        }
        if state.server_id.is_nil() && !self.found.is_empty() {
            self.note("the identity of the data is lost: a server will take it for other data".into(), Loss::Nothing);
        }
        let name = |id: TopicId| match state.topics.get(&id) {
            Some(topic) => topic.name.to_string(),
            None => format!("with id {id}, which is deleted or unknown"),
        };
        let damage = self.found.iter().map(|damage| FoundDamage {
            file: damage.file.clone(),
            position: damage.position,
            batch: match damage.loss {
                Loss::Batch(topic, base) => Some((name(topic), base)),
                _ => None,
            },
            what: damage.what.clone(),
        });
        let known = |topic: &Topic| {
            let name = topic.name.to_string();
            let known = topic.lost.iter().copied();
            known.map(|(from, to)| LostRange { topic: name.clone(), from, to, is_exact: false }).collect::<Vec<_>>()
        };
        let mut given_up: Vec<_> = self.state.topics.values().flat_map(|topic| known(topic)).collect();
        given_up.sort_by(|a, b| (&a.topic, a.from).cmp(&(&b.topic, b.from)));
        Ok(Report {
            server_id: state.server_id,
            segments,
            is_state_exact: self.is_exact,
            bytes: self.progress.bytes,
            topics: state.topics.len(),
            producers: state.producers.len(),
            consumers: state.consumers.len(),
            damage: damage.collect(),
            lost,
            given_up,
            ..self.report
        })
    }
}

/// What it means that a segment does not follow and holds no state.
fn missing(before: u64, is_sealed: bool) -> String {
    match (is_sealed, before) {
        (true, _) => "the state before it is in no file, either".to_owned(),
        (false, 0) => "the segments before this one are missing".to_owned(),
        (false, before) => format!("the segments between {before} and this one are missing"),
    }
}

/// The state in a snapshot.
fn known_state(snapshot: &[u8]) -> Result<State, StorageError> {
    let mut state = State::default();
    state.snapshot(snapshot).map(|()| state)
}

impl Findings for Auditor<'_> {
    fn batch(&mut self, topic: TopicId, batch: &Batch) -> Result<(), StorageError> {
        let header = batch.header();
        let base = header.stamp.base_offset;
        let coverage = self.coverage.entry(topic).or_default();
        if !coverage.add(base, header.next_offset(), header.batch_bytes.into()) {
            self.note(format!("offset {base} of topic with id {topic} is there twice"), Loss::Nothing);
            return Ok(());
        }
        if let Err(wrong) = self.state.mend_batch(topic, header, &self.deleted) {
            self.segment.wrong.get_or_insert(wrong.0);
        }
        self.doubt.found(topic);
        self.report.batches += 1;
        self.report.records += u64::from(header.record_count);
        self.progress.records = self.report.records;
        match &mut self.salvage {
            Some(salvage) => {
                salvage.begin(self.segment.number)?;
                salvage.batch(topic, batch)
            }
            None => Ok(()),
        }
    }

    fn event(&mut self, event: &[u8]) -> Result<(), StorageError> {
        self.deleted.see(event);
        if let Err(wrong) = self.state.mend_event(event) {
            self.segment.wrong.get_or_insert(wrong.0);
        }
        Ok(())
    }

    fn damage(&mut self, damage: Damage) {
        self.segment.is_damaged |= damage.loss != Loss::Nothing;
        self.doubt.lose(damage.loss);
        self.found.push(damage);
    }

    fn read(&mut self, bytes: u64) {
        self.progress.bytes += bytes;
        (self.tell)(self.progress);
    }
}
