//! Looking at one segment: its pages, its journal, its index, what it says of itself.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use redb::{Builder, ReadableDatabase, StorageBackend};

use super::{
    Damage, Findings, Loss, SegmentEnd,
    journal_stream::JournalStream,
    overlay::Overlay,
    raw_file::{End, RawFile, Slot, Widths},
};
use crate::{
    limits::ACTIVE_CACHE_BYTES,
    record::{Offset, TopicId},
    storage::{
        StorageError, Volume,
        files::FileId,
        frames::{Frame, Frames, WAL},
        guard::guarded,
        index::{self, MemoryIndex, Run, Span},
        live::Boxed,
        tables,
    },
};

const JOURNAL: Widths = Widths { key: Some(8), value: None };
const INDEX: Widths = Widths { key: Some(12), value: None };
const META: Widths = Widths { key: None, value: Some(8) };

/// What is read of a file.
struct Contents<'a> {
    raw: RawFile<'a>,
    /// The newest commit first. One of a file whose pages are intact, up to two of one that is damaged.
    slots: Vec<Slot>,
    /// Whether the database takes the file.
    is_whole: bool,
}

/// Looks at a segment, and gives what it finds in order of the journal; and whether the write-ahead log is part of it.
pub(super) fn check(
    volume: &dyn Volume,
    id: FileId,
    log: &Frames,
    findings: &mut dyn Findings,
) -> Result<(SegmentEnd, bool), StorageError> {
    let name = id.name();
    let lost = SegmentEnd { entries: 0, is_sealed: false, snapshot: None };
    let Some(file) = volume.open(&name)? else {
        findings.damage(Damage::of_file(&name, "it vanished", Loss::End));
        return Ok((lost, false));
    };
    let overlay = Overlay::new(file).map_err(StorageError::io(format!("measuring {name}")))?;
    if overlay.len().map_err(StorageError::io(format!("measuring {name}")))? == 0 {
        findings.damage(Damage::of_file(&name, "the file is empty", Loss::End));
        return Ok((lost, false));
    }
    // The database may write while it opens the file: into memory.
    let opened = guarded(|| verify(overlay.clone()));
    let file = match &opened {
        Ok(()) => overlay,
        Err(_) => overlay.into_unwritten(),
    };
    let is_whole = match opened {
        Ok(()) => true,
        Err(error @ StorageError::NewerFormat { .. }) => return Err(error),
        Err(StorageError::Corrupted(what)) => {
            let what = format!("the database does not take it: {what}");
            findings.damage(Damage::of_file(&name, what, Loss::Nothing));
            false
        }
        // A disk that cannot read a sector any more says so here, too.
        Err(error) => {
            findings.damage(Damage::of_file(&name, error.with_causes(), Loss::Nothing));
            false
        }
    };
    let raw = RawFile::new(&file)?;
    let slots = match is_whole {
        true => raw.slots().into_iter().take(1).collect(),
        false => raw.slots_by_age(),
    };
    Contents { raw, slots, is_whole }.check(id, log, findings)
}

/// Has the database look at every page, as it does when a server opens a live segment, and at the format.
fn verify(file: Overlay) -> Result<(), StorageError> {
    let repaired = Arc::new(AtomicBool::new(false));
    let tell = repaired.clone();
    let mut builder = Builder::new();
    builder.set_cache_size(ACTIVE_CACHE_BYTES).set_repair_callback(move |_| tell.store(true, Relaxed));
    let mut database = builder.create_with_backend(Boxed(Box::new(file)))?;
    if !repaired.load(Relaxed) && !database.check_integrity()? {
        return Err(StorageError::Corrupted("a page of it fails its checksum".to_owned()));
    }
    tables::check_format(&database.begin_read()?)?;
    Ok(database.close()?)
}

impl Contents<'_> {
    fn check(&self, id: FileId, log: &Frames, findings: &mut dyn Findings) -> Result<(SegmentEnd, bool), StorageError> {
        let name = &id.name();
        let is_sealed = self.is_sealed()?;
        let mut stream = JournalStream::new(name, findings);
        let mut end = self.journal(&mut stream)?;
        if !is_sealed && add_log(log, id.number, &mut stream, &end)? && matches!(end, End::Within(_)) {
            // What the page held is told as missing before what follows.
            end = End::Known;
        }
        stream.finish(end)?;
        let (index, entries) = (std::mem::take(&mut stream.index), stream.entries);
        let is_damaged = stream.is_damaged;
        let mut snapshot = None;
        if is_sealed {
            let mut wrong = |what: String| findings.damage(Damage::of_file(name, what, Loss::Nothing));
            match self.blob("snapshot")? {
                Some(bytes) => snapshot = Some(bytes),
                None => wrong("the state after it fails its checksum".to_owned()),
            }
            let spans = self.blob("topics")?.map(|bytes| tables::unpack_spans(&bytes));
            match spans {
                Some(Ok(spans)) if is_damaged || spans == index.spans() => {}
                Some(Ok(_)) => wrong("the topics that it names are not those of its journal".to_owned()),
                Some(Err(_)) | None => wrong("the list of its topics fails its checksum".to_owned()),
            }
            if !is_damaged && !self.has_index(&index)? {
                wrong("its index does not lead to its batches".to_owned());
            }
        }
        Ok((SegmentEnd { entries, is_sealed, snapshot }, !is_sealed && self.has_log()?))
    }

    /// Whether the write-ahead log may have a part of the journal.
    fn has_log(&self) -> Result<bool, StorageError> {
        let mut has_log = false;
        if let Some(slot) = self.slots.first() {
            self.raw.walk(*slot, "meta", META, &mut |key, value| {
                has_log |= key == b"format" && position(value) >= tables::FORMAT_WITH_LOG;
                Ok(())
            })?;
        }
        Ok(has_log)
    }

    /// Reads the journal of the newest commit that is intact, and what is missing in it from the other one, if there is one:
    /// in the middle what a damaged page held, and behind it what a commit added whose slot is damaged.
    fn journal(&self, stream: &mut JournalStream<'_>) -> Result<End, StorageError> {
        let [newest, others @ ..] = &self.slots[..] else {
            return Ok(End::Unknown);
        };
        let other = others.first();
        let walked = self.raw.walk(*newest, "journal", JOURNAL, &mut |key, chunk| {
            let position = position(key);
            if let (Some(other), true) = (other, position > stream.end()) {
                self.fill(*other, stream, position)?;
            }
            stream.chunk(position, chunk)
        })?;
        if let Some(other) = other {
            self.fill(*other, stream, u64::MAX)?;
        }
        let are_slots_damaged = !self.is_whole && (other.is_none() || self.slots.iter().any(|slot| !slot.is_intact));
        Ok(if are_slots_damaged { End::Unknown } else { walked.end })
    }

    /// Reads from another commit what is between the end of the stream and a position.
    fn fill(&self, other: Slot, stream: &mut JournalStream<'_>, to: u64) -> Result<(), StorageError> {
        let range = stream.end()..to;
        let filled = self.raw.walk_range(other, "journal", JOURNAL, range.clone(), &mut |key, chunk| {
            let position = position(key);
            if range.contains(&position) && position >= stream.end() && chunk.len() as u64 <= to - position {
                stream.chunk(position, chunk)?;
            }
            Ok(())
        });
        filled.map(drop)
    }

    /// Whether the segment is history. Where nobody can read whether it is: whether it has what only history has.
    fn is_sealed(&self) -> Result<bool, StorageError> {
        for slot in &self.slots {
            let mut is_sealed = false;
            self.raw.walk(*slot, "meta", META, &mut |key, _| {
                is_sealed |= key == b"sealed";
                Ok(())
            })?;
            let has_state = || self.raw.walk(*slot, "snapshot", JOURNAL, &mut |_, _| Ok(()));
            if is_sealed || (!self.is_whole && has_state()?.is_listed) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The bytes of a table that holds pieces behind their checksum; `None` when they are not what was written.
    fn blob(&self, table: &str) -> Result<Option<Vec<u8>>, StorageError> {
        for slot in &self.slots {
            let (mut checksum, mut bytes) = (None, Vec::new());
            self.raw.walk(*slot, table, JOURNAL, &mut |key, piece| {
                match position(key) {
                    0 => checksum = Some(piece.to_vec()),
                    _ => bytes.extend_from_slice(piece),
                }
                Ok(())
            })?;
            if checksum.is_some_and(|checksum| checksum == crc32c::crc32c(&bytes).to_le_bytes()) {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Whether the index that is stored is the one that the journal gives.
    fn has_index(&self, wanted: &MemoryIndex) -> Result<bool, StorageError> {
        let Some(slot) = self.slots.first() else {
            return Ok(false);
        };
        let (mut found, mut is_readable) = (BTreeMap::<TopicId, Vec<Run>>::new(), true);
        let walked = self.raw.walk(*slot, "index", INDEX, &mut |key, packed| {
            let (Some(topic), Some(base), Some(runs)) = (key.first_chunk(), key.last_chunk(), index::unpack(packed))
            else {
                is_readable = false;
                return Ok(());
            };
            let is_first = runs.first().is_some_and(|run| run.base == Offset(u64::from_le_bytes(*base)));
            is_readable &= is_first;
            found.entry(TopicId(u32::from_le_bytes(*topic))).or_default().extend(runs);
            Ok(())
        })?;
        let topics: Vec<_> = wanted.spans().iter().map(|Span { topic, .. }| *topic).collect();
        let is_same = found.keys().eq(topics.iter()) && topics.iter().all(|topic| found[topic] == wanted.runs(*topic));
        Ok(is_readable && walked.damaged_pages == 0 && is_same)
    }
}

/// Reads behind the journal in the file what only the write-ahead log has; says whether that is anything.
fn add_log(log: &Frames, segment: u64, stream: &mut JournalStream<'_>, end: &End) -> Result<bool, StorageError> {
    let mut is_any = false;
    for frame in log.of(segment) {
        let Frame { position, block, .. } = frame;
        if frame.end() <= stream.parsed() {
            continue;
        }
        if matches!(end, End::Known) || is_any {
            stream.in_file(WAL);
        }
        // What a damaged page seems to hold there is none of it.
        stream.cut(*position);
        let known = usize::try_from(stream.end().saturating_sub(*position)).unwrap_or(usize::MAX);
        if let Some(rest) = block.get(known..).filter(|rest| !rest.is_empty()) {
            stream.chunk(position + known as u64, rest)?;
            is_any = true;
        }
    }
    Ok(is_any)
}

fn position(key: &[u8]) -> u64 {
    key.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}
