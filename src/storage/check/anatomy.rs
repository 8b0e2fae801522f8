//! What each byte of a file is: for tests that damage every kind of byte, and not whichever is the most frequent.

use std::{collections::BTreeMap, ops::Range};

use redb::{StorageBackend as _, backends::InMemoryBackend};

use super::raw_file::{Content, Page, RawFile, Slot, Widths};
use crate::{
    limits::BATCH_HEADER_BYTES,
    record::{BatchHeader, Offset, TopicId},
    storage::{
        block::{CHECKED_BATCH_BYTES, ENTRY_HEADER_BYTES, Entry, Front, front},
        frames::{self, Frames, Header},
    },
};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentKind {
    /// History.
    Sealed,
    /// Appended to.
    Active,
    /// For later, and empty.
    Prepared,
    /// The write-ahead log.
    Log,
}

/// What a byte of a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ByteClass {
    /// By which the database knows its files.
    Magic,
    /// Which commit is in use, and whether the file was closed.
    Flags,
    /// Sizes of pages and regions, which never change.
    Geometry,
    /// Numbers of regions and pages.
    Layout,
    /// What is left of the first page.
    HeaderPadding,
    /// The commit in use: version, and which roots it has.
    SlotFlags,
    /// Its roots, with their checksums.
    SlotRoots,
    /// What it has no use for.
    SlotUnused,
    /// Its number.
    SlotCommit,
    /// Its checksum.
    SlotChecksum,
    /// The commit before.
    OldSlot,
    /// The list of tables.
    TableList,
    /// An inner page of the journal.
    JournalBranch,
    /// The front of a leaf of the journal: where keys and values end, and the keys.
    JournalLeaf,
    /// The length, topic and kind of a batch in the journal.
    EntryHeader,
    /// The checksum of that, and of the front of the batch.
    EntryChecksum,
    /// Base offset and append time.
    BatchStamp,
    /// Everything else in front of the records.
    BatchHeader,
    /// The checksum of header and records.
    BatchChecksum,
    /// The records.
    BatchRecords,
    /// A batch, with its entry, that retention or deletion took.
    DeadBatch,
    /// Something else that happened, with its entry.
    Event,
    /// Where the batches of each topic are.
    Index,
    /// The format, and whether the segment is sealed.
    Meta,
    /// The list of topics.
    Topics,
    /// The state after the segment.
    Snapshot,
    /// What the database keeps for itself.
    System,
    /// The rest of a page in use.
    Slack,
    /// A page of the commit before.
    OldPage,
    /// A page that nothing leads to.
    Free,
    /// What the write-ahead log says of itself, twice.
    LogHeader,
    /// A block that only the write-ahead log has, with its frame; others follow.
    LogFrame,
    /// The last one.
    LogLastFrame,
    /// A block that the journal has, too, with its frame.
    LogOldFrame,
}

/// A batch in a file.
#[derive(Clone, Debug)]
struct BatchAt {
    topic: TopicId,
    /// The offset after its last record.
    end: Offset,
    /// Where it is, entry included, in order.
    bytes: Vec<usize>,
}

/// The anatomy of a segment file that is intact.
#[derive(Clone, Debug)]
pub struct Anatomy {
    /// What the file is.
    pub kind: SegmentKind,
    /// Bytes of its journal.
    pub journal_bytes: u64,
    classes: Vec<ByteClass>,
    batches: Vec<BatchAt>,
}

/// A tree, page by page.
struct Tree<'a> {
    file: &'a RawFile<'a>,
    slot: Slot,
    widths: Widths,
}

/// A pair of a leaf, as places in the file.
struct PlacedPair {
    key: Range<usize>,
    value: Range<usize>,
}

impl Anatomy {
    /// Takes a file apart. `None`: it is damaged.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let backend = InMemoryBackend::new();
        backend.set_len(bytes.len() as u64).ok()?;
        backend.write(0, bytes).ok()?;
        let raw = RawFile::new(&backend).ok()?;
        let mut anatomy = Self::empty(SegmentKind::Prepared, bytes);
        let slots = raw.slots();
        anatomy.header(bytes);
        let tables = anatomy.trees(&raw, *slots.first()?, bytes)?;
        for slot in slots.get(1..).unwrap_or_default() {
            anatomy.old_pages(&raw, *slot, bytes);
        }
        let is_sealed = tables.get("meta")?.iter().any(|pair| &bytes[pair.key.clone()] == b"sealed");
        anatomy.journal(tables.get("journal")?, bytes)?;
        if is_sealed {
            anatomy.kind = SegmentKind::Sealed;
        } else if !tables["journal"].is_empty() {
            anatomy.kind = SegmentKind::Active;
        }
        Some(anatomy)
    }

    /// Takes the write-ahead log apart; `folded`: where the journal in the file of a segment ends. `None`: it is damaged.
    #[must_use]
    pub fn of_log(bytes: &[u8], folded: impl Fn(u64) -> u64) -> Option<Self> {
        let (log, None) = Frames::salvage(bytes.to_vec()).ok()? else { return None };
        let mut anatomy = Self::empty(SegmentKind::Log, bytes);
        for at in Header::places(bytes.len() as u64) {
            let at = usize::try_from(at).ok()?;
            anatomy.mark(at..at + 32, ByteClass::LogHeader);
        }
        let found = log.all();
        for frame in found {
            let end = frame.at + frames::FRAME_HEADER_BYTES + frame.block.len();
            let is_old = frame.end() <= folded(frame.segment);
            let is_last = found.last().is_some_and(|last| last.at == frame.at);
            let class = match (is_old, is_last) {
                (true, _) => ByteClass::LogOldFrame,
                (false, true) => ByteClass::LogLastFrame,
                (false, false) => ByteClass::LogFrame,
            };
            anatomy.mark(frame.at..end, class);
            anatomy.mark(end..end.next_multiple_of(frames::PAGE_BYTES), ByteClass::Slack);
        }
        Some(anatomy)
    }

    fn empty(kind: SegmentKind, bytes: &[u8]) -> Self {
        Self { kind, journal_bytes: 0, classes: vec![ByteClass::Free; bytes.len()], batches: Vec::new() }
    }

    /// Takes note that batches are dead: those of which this holds, by topic and the offset after them.
    pub fn bury(&mut self, is_dead: impl Fn(TopicId, Offset) -> bool) {
        for batch in self.batches.iter().filter(|batch| is_dead(batch.topic, batch.end)) {
            batch.bytes.iter().for_each(|at| self.classes[*at] = ByteClass::DeadBatch);
        }
    }

    /// The places of all bytes of each class.
    #[must_use]
    pub fn places(&self) -> BTreeMap<ByteClass, Vec<usize>> {
        let mut places = BTreeMap::<_, Vec<_>>::new();
        for (at, class) in self.classes.iter().enumerate() {
            places.entry(*class).or_default().push(at);
        }
        places
    }

    fn mark(&mut self, range: Range<usize>, class: ByteClass) {
        self.classes[range].fill(class);
    }

    fn header(&mut self, bytes: &[u8]) {
        use ByteClass as C;
        self.mark(0..bytes.len().min(4096), C::HeaderPadding);
        for (range, class) in [(0..9, C::Magic), (9..10, C::Flags), (12..24, C::Geometry), (24..32, C::Layout)] {
            self.mark(range, class);
        }
        let (used, old) = if bytes[9] & 1 == 0 { (64, 192) } else { (192, 64) };
        self.mark(old..old + 128, C::OldSlot);
        let fields = [
            (0..8, C::SlotFlags),
            (8..72, C::SlotRoots),
            (72..104, C::SlotUnused),
            (104..112, C::SlotCommit),
            (112..128, C::SlotChecksum),
        ];
        for (range, class) in fields {
            self.mark(used + range.start..used + range.end, class);
        }
    }

    /// Marks the pages of the commit in use; gives the pairs of each of our tables.
    fn trees(&mut self, file: &RawFile<'_>, slot: Slot, bytes: &[u8]) -> Option<BTreeMap<String, Vec<PlacedPair>>> {
        let (user, system) = slot.roots();
        let mut tables = BTreeMap::new();
        let list =
            self.tree(&Tree { file, slot, widths: NAMED }, user, (ByteClass::TableList, ByteClass::TableList))?;
        for table in &list {
            let name = String::from_utf8(bytes[table.key.clone()].to_vec()).ok()?;
            let classes = match &name[..] {
                "journal" => (ByteClass::JournalBranch, ByteClass::JournalLeaf),
                "index" => (ByteClass::Index, ByteClass::Index),
                "meta" => (ByteClass::Meta, ByteClass::Meta),
                "topics" => (ByteClass::Topics, ByteClass::Topics),
                "snapshot" => (ByteClass::Snapshot, ByteClass::Snapshot),
                _ => return None,
            };
            let pairs = self.table(file, slot, &bytes[table.value.clone()], classes)?;
            tables.insert(name, pairs);
        }
        if let Some(root) = system {
            let classes = (ByteClass::System, ByteClass::System);
            for table in self.tree(&Tree { file, slot, widths: NAMED }, root, classes)? {
                self.table(file, slot, &bytes[table.value], classes)?;
            }
        }
        Some(tables)
    }

    /// Marks what only the commit before has.
    fn old_pages(&mut self, file: &RawFile<'_>, slot: Slot, bytes: &[u8]) {
        let before = self.classes.clone();
        // Its pages may have been overwritten already: as far as they can be followed.
        let pages = self.trees(file, slot, bytes);
        drop(pages);
        let now = std::mem::replace(&mut self.classes, before);
        for (class, now) in self.classes.iter_mut().zip(now) {
            if *class == ByteClass::Free && now != ByteClass::Free {
                *class = ByteClass::OldPage;
            }
        }
    }

    /// Marks the pages of a table, as its definition says where they are.
    fn table(
        &mut self,
        file: &RawFile<'_>,
        slot: Slot,
        definition: &[u8],
        classes: (ByteClass, ByteClass),
    ) -> Option<Vec<PlacedPair>> {
        if *definition.get(9)? == 0 {
            return Some(Vec::new());
        }
        let number = |at: usize| Some(u32::from_le_bytes(definition.get(at..at + 4)?.try_into().ok()?) as usize);
        let width = |at: usize| Some(if *definition.get(at)? == 0 { None } else { Some(number(at + 1)?) });
        let widths = Widths { key: width(42)?, value: width(47)? };
        let root = u64::from_le_bytes(definition.get(10..18)?.try_into().ok()?);
        self.tree(&Tree { file, slot, widths }, root, classes)
    }

    /// Marks the pages of a tree: inner ones, leaves, and what is left of each; gives the pairs in order.
    fn tree(&mut self, tree: &Tree<'_>, root: u64, classes: (ByteClass, ByteClass)) -> Option<Vec<PlacedPair>> {
        let (start, len) = tree.slot.place(root)?;
        let start = usize::try_from(start).ok()?;
        let memory = tree.file.page(tree.slot, root)?;
        let page = Page::read(&memory, tree.widths)?;
        let is_leaf = matches!(page.content, Content::Leaf(_));
        self.mark(start..start + len, ByteClass::Slack);
        self.mark(start..start + page.used.len(), if is_leaf { classes.1 } else { classes.0 });
        match page.content {
            Content::Leaf(pairs) => {
                let place = |part: &[u8]| {
                    let from = start + (part.as_ptr() as usize - memory.as_ptr() as usize);
                    from..from + part.len()
                };
                Some(
                    pairs.into_iter().map(|(key, value)| PlacedPair { key: place(key), value: place(value) }).collect(),
                )
            }
            Content::Branch(children) => {
                let mut pairs = Vec::new();
                for child in children {
                    pairs.extend(self.tree(tree, child.page, classes)?);
                }
                Some(pairs)
            }
        }
    }

    /// Marks what is in the journal.
    fn journal(&mut self, chunks: &[PlacedPair], bytes: &[u8]) -> Option<()> {
        let places: Vec<usize> = chunks.iter().flat_map(|pair| pair.value.clone()).collect();
        let journal: Vec<u8> = places.iter().map(|at| bytes[*at]).collect();
        self.journal_bytes = journal.len() as u64;
        let mut at = 0;
        while at < journal.len() {
            let Ok(Front::Entry(entry, length)) = front(&journal[at..]) else { return None };
            let places = &places[at..at + length];
            match entry {
                Entry::Event(_) => places.iter().for_each(|at| self.classes[*at] = ByteClass::Event),
                Entry::Batch(topic, batch) => {
                    let end = BatchHeader::read(batch).ok()?.next_offset();
                    for (number, at) in places.iter().enumerate() {
                        self.classes[*at] = of_batch(number);
                    }
                    self.batches.push(BatchAt { topic, end, bytes: places.to_vec() });
                }
            }
            at += length;
        }
        Some(())
    }
}

/// Tables whose keys are names.
const NAMED: Widths = Widths { key: None, value: None };
/// Where the records begin in the entry of a batch.
const RECORDS: usize = ENTRY_HEADER_BYTES + BATCH_HEADER_BYTES;
/// The checksum of a batch is the last of what is checked of its front by the entry.
const CHECKSUM: usize = ENTRY_HEADER_BYTES + CHECKED_BATCH_BYTES - 4;

/// What the n-th byte of the entry of a batch is.
fn of_batch(number: usize) -> ByteClass {
    match number {
        0..4 | 8..ENTRY_HEADER_BYTES => ByteClass::EntryHeader,
        4..8 => ByteClass::EntryChecksum,
        ENTRY_HEADER_BYTES..32 => ByteClass::BatchStamp,
        CHECKSUM..40 => ByteClass::BatchChecksum,
        RECORDS.. => ByteClass::BatchRecords,
        _ => ByteClass::BatchHeader,
    }
}
