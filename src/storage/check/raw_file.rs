//! The tables of a database file, read page by page without the database, so that a damaged page costs what is in it
//! and nothing else. The database gives up a file that was not closed when one page of it is damaged.
//!
//! The layout is that of redb's file format 3, which its documentation describes:
//!
//! ```text
//! header    9 magic | 1 flags (bit 0: which slot is the primary) | 2 | u32 page size
//!           u32 header pages of a region | u32 data pages of a region
//! slot      at 64 and at 192: u8 format | u8 has a root | 6 | u64 root page | u128 its checksum | 72 | u64 commit
//!           12 | u128 checksum of the slot
//! page no.  bits 0..20 index in its region, 20..40 region, 59..64 order: it has 2^order pages
//! branch    u8 2 | u8 | u16 keys | 4 | checksums, u128 each | children, u64 each | (ends of keys, u32) | keys
//! leaf      u8 1 | u8 | u16 pairs | (ends of keys, u32) | (ends of values, u32) | keys | values
//! table     u8 3 | u64 pairs | u8 has a root | u64 root page | u128 its checksum | ...
//! ```
//!
//! # Invariants
//! - No byte of a file can make it panic, read without end, or take more memory than the file has bytes: every place is
//!   looked up in bounds, and no page is read twice in one walk.
//! - A page whose checksum is wrong is damaged, or not the one that was meant, but an older one. What it holds is given
//!   all the same: a page may hold many entries, and everything that is used of a damaged file carries a checksum of its
//!   own. Only where the tree ends is not known when one of the pages that lead there is damaged.

use std::{collections::HashSet, ops::Range};

use redb::{Builder, StorageBackend, backends::InMemoryBackend};
use twox_hash::XxHash3_128;

use crate::storage::StorageError;

const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
const PRIMARY_BIT: u8 = 1;
const SLOTS: [usize; 2] = [64, 192];
const HEADER_BYTES: usize = 320;
const SLOT_FORMAT: u8 = 3;
const NORMAL_TABLE: u8 = 3;
const LEAF: u8 = 1;
const BRANCH: u8 = 2;
const PAGE_BYTES: u64 = 4096;
/// 2^20 pages are a region: no page has a higher order.
const MAX_ORDER: u8 = 20;
/// Deeper than any tree is.
const MAX_DEPTH: usize = 32;

/// Where pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Geometry {
    region_header_pages: u64,
    region_pages: u64,
}

/// A page, and the checksum that it should have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) page: u64,
    checksum: u128,
}

/// One of the two last commits of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    root: Link,
    /// The root of what the database keeps for itself.
    #[cfg(feature = "trial")]
    system: Option<Link>,
    /// Grows from commit to commit.
    commit: u64,
    /// Whether its checksum is right.
    pub(super) is_intact: bool,
    geometry: Geometry,
}

/// The widths of the keys and values of a table; `None`: each has its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    pub(super) key: Option<usize>,
    pub(super) value: Option<usize>,
}

/// What a walk of a table came upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    /// Pages that are not what they should be.
    pub(super) damaged_pages: u64,
    /// Whether the list of tables names it.
    pub(super) is_listed: bool,
    /// Whether anything is missing behind the last pair.
    pub(super) end: End,
}

/// Where a table ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// Behind the last pair that was given.
    #[default]
    Known,
    /// The last page is not what was written: it held at most so many bytes.
    Within(u64),
    /// Nobody knows.
    Unknown,
}

/// Takes a pair of a table.
type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StorageError> + 'a;

/// A database file.
pub(super) struct RawFile<'a> {
    file: &'a dyn StorageBackend,
    len: u64,
}

#[cfg(feature = "trial")]
impl Slot {
    /// The pages at the roots of the list of tables, and of that of the database itself.
    pub(super) fn roots(self) -> (u64, Option<u64>) {
        (self.root.page, self.system.map(|link| link.page))
    }

    /// Where a page is, and how long.
    pub(super) fn place(self, page: u64) -> Option<(u64, usize)> {
        self.geometry.place(page)
    }
}

impl Geometry {
    fn read(header: &[u8]) -> Option<Self> {
        let geometry =
            Self { region_header_pages: u32_at(header, 16)?.into(), region_pages: u32_at(header, 20)?.into() };
        let is_possible = header.starts_with(&MAGIC)
            && u64::from(u32_at(header, 12)?) == PAGE_BYTES
            && geometry.region_header_pages <= 1 << 20
            && (1..=1 << 20).contains(&geometry.region_pages);
        is_possible.then_some(geometry)
    }

    /// That of every file that this version makes, for headers that are damaged.
    fn usual() -> Option<Self> {
        let file = std::sync::Arc::new(InMemoryBackend::new());
        let database = Builder::new().create_with_backend(Shared(file.clone())).ok()?;
        drop(database);
        let mut header = [0; HEADER_BYTES];
        file.read(0, &mut header).ok()?;
        Self::read(&header)
    }

    /// Where a page is, and how long.
    fn place(self, page: u64) -> Option<(u64, usize)> {
        let order = u8::try_from(page >> 59).expect("5 bits");
        if order > MAX_ORDER {
            return None;
        }
        let (index, region) = (page & (0xf_ffff >> order), page >> 20 & 0xf_ffff);
        let bytes = PAGE_BYTES << order;
        let region_bytes = (self.region_header_pages + self.region_pages) * PAGE_BYTES;
        let start = PAGE_BYTES + region * region_bytes + self.region_header_pages * PAGE_BYTES + index * bytes;
        Some((start, usize::try_from(bytes).ok()?))
    }
}

/// Memory that outlives the database on it.
#[derive(Debug)]
struct Shared(std::sync::Arc<InMemoryBackend>);

impl StorageBackend for Shared {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

impl<'a> RawFile<'a> {
    pub(super) fn new(file: &'a dyn StorageBackend) -> Result<Self, StorageError> {
        let len = file.len().map_err(StorageError::io("measuring a segment"))?;
        Ok(Self { file, len })
    }

    /// The last two commits, the one in use first; fewer where the header is damaged.
    pub(super) fn slots(&self) -> Vec<Slot> {
        let mut header = [0; HEADER_BYTES];
        if self.len < HEADER_BYTES as u64 {
            return Vec::new();
        }
        if self.file.read(0, &mut header).is_err() {
            return Vec::new();
        }
        let Some(geometry) = Geometry::read(&header).or_else(Geometry::usual) else {
            return Vec::new();
        };
        let is_second = header[9] & PRIMARY_BIT != 0;
        let order = if is_second { [SLOTS[1], SLOTS[0]] } else { SLOTS };
        let slot = |at: usize| {
            let slot = &header[at..at + 128];
            let is_used = slot[0] == SLOT_FORMAT && slot[1] != 0;
            let is_intact = u128_at(slot, 112)? == XxHash3_128::oneshot(&slot[..112]);
            is_used.then_some(Slot {
                root: Link::read(slot, 8)?,
                #[cfg(feature = "trial")]
                system: Link::read(slot, 40).filter(|_| slot[2] != 0),
                commit: u64_at(slot, 104)?,
                is_intact,
                geometry,
            })
        };
        order.into_iter().filter_map(slot).collect()
    }

    /// The last two commits, the newer one first, whichever is in use: one bit says that.
    pub(super) fn slots_by_age(&self) -> Vec<Slot> {
        let mut slots = self.slots();
        slots.sort_by_key(|slot| std::cmp::Reverse((slot.is_intact, slot.commit)));
        slots
    }

    /// Calls `each` with every pair of a table that can be read, in order of place in the tree.
    pub(super) fn walk(
        &self,
        slot: Slot,
        table: &str,
        widths: Widths,
        each: &mut Each<'_>,
    ) -> Result<Walked, StorageError> {
        self.walk_range(slot, table, widths, 0..u64::MAX, each)
    }

    /// [`RawFile::walk`] over the pages that may hold keys in a range, of a table whose keys are numbers.
    pub(super) fn walk_range(
        &self,
        slot: Slot,
        table: &str,
        widths: Widths,
        range: Range<u64>,
        each: &mut Each<'_>,
    ) -> Result<Walked, StorageError> {
        let tables = Widths { key: None, value: None };
        let mut found = None;
        let list = Walk::new(self, slot, tables, 0..u64::MAX).run(slot.root, &mut |name, definition| {
            if name == table.as_bytes() && definition.first() == Some(&NORMAL_TABLE) {
                let has_root = definition.get(9) != Some(&0);
                found = Some(Link::read(definition, 10).filter(|_| has_root));
            }
            Ok(())
        })?;
        let is_list_damaged = list.damaged_pages > 0;
        let Some(root) = found.flatten() else {
            // The table is empty, or it is missing from a list that is damaged.
            let end = if is_list_damaged { End::Unknown } else { End::Known };
            return Ok(Walked { is_listed: found.is_some(), end, ..list });
        };
        let mut walked = Walk::new(self, slot, widths, range).run(root, each)?;
        walked.is_listed = true;
        walked.damaged_pages += list.damaged_pages;
        // A list may be an older one when its slot is damaged, too; otherwise it holds the checksum of the right root.
        if is_list_damaged && (!slot.is_intact || walked.end != End::Known) {
            walked.end = End::Unknown;
        }
        Ok(walked)
    }

    /// The bytes of a page; `None` when there is no such page, or the disk cannot read it.
    pub(super) fn page(&self, slot: Slot, page: u64) -> Option<Vec<u8>> {
        let (start, bytes) = slot.geometry.place(page)?;
        let is_there = start.checked_add(bytes as u64).is_some_and(|end| end <= self.len);
        let mut memory = vec![0; if is_there { bytes } else { 0 }];
        (is_there && self.file.read(start, &mut memory).is_ok()).then_some(memory)
    }
}

/// One walk of one tree.
struct Walk<'a> {
    file: &'a RawFile<'a>,
    slot: Slot,
    widths: Widths,
    /// Keys that are wanted, where they are numbers.
    range: Range<u64>,
    seen: HashSet<u64>,
    walked: Walked,
    /// Whether the way to the last page is not known.
    is_end_lost: bool,
}

impl<'a> Walk<'a> {
    fn new(file: &'a RawFile<'a>, slot: Slot, widths: Widths, range: Range<u64>) -> Self {
        Self { file, slot, widths, range, seen: HashSet::new(), walked: Walked::default(), is_end_lost: false }
    }

    fn run(mut self, root: Link, each: &mut Each<'_>) -> Result<Walked, StorageError> {
        self.visit(root, 0, true, each)?;
        Ok(Walked { end: if self.is_end_lost { End::Unknown } else { self.walked.end }, ..self.walked })
    }

    fn visit(&mut self, link: Link, depth: usize, is_last: bool, each: &mut Each<'_>) -> Result<(), StorageError> {
        let is_new = depth < MAX_DEPTH && self.seen.insert(link.page);
        let memory = if is_new { self.file.page(self.slot, link.page) } else { None };
        let page = memory.as_deref().and_then(|memory| Page::read(memory, self.widths));
        let used = page.as_ref().map_or(&[][..], |page| page.used);
        if page.is_none() || XxHash3_128::oneshot(used) != link.checksum {
            self.walked.damaged_pages += 1;
            match page.as_ref().map(|page| &page.content) {
                _ if !is_last => {}
                Some(Content::Leaf(_)) => self.walked.end = End::Within(memory.as_ref().map_or(0, Vec::len) as u64),
                // What hangs at a branch that is damaged may be an older page, or one of another tree.
                Some(Content::Branch(_)) | None => self.is_end_lost = true,
            }
        }
        match page.map(|page| page.content) {
            Some(Content::Leaf(pairs)) => pairs.into_iter().try_for_each(|(key, value)| each(key, value)),
            Some(Content::Branch(children)) => {
                let last = children.len() - 1;
                for (at, child) in children.into_iter().enumerate() {
                    if self.is_wanted(used, at, last) {
                        self.visit(child, depth + 1, is_last && at == last, each)?;
                    }
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether a child of a branch may hold keys in the range. It holds those up to its own separator, which is behind
    /// that of the one before.
    fn is_wanted(&self, branch: &[u8], child: usize, last: usize) -> bool {
        if self.range == (0..u64::MAX) {
            return true;
        }
        let separators = 8 + (last + 1) * 24;
        let separator = |number: usize| u64_at(branch, separators + number * 8);
        let is_before = child < last && separator(child).is_some_and(|key| key < self.range.start);
        let is_behind = child > 0 && separator(child - 1).is_some_and(|key| key >= self.range.end);
        !is_before && !is_behind
    }
}

/// A page of a tree.
pub(super) struct Page<'a> {
    /// The bytes that the checksum is of.
    pub(super) used: &'a [u8],
    pub(super) content: Content<'a>,
}

pub(super) enum Content<'a> {
    Leaf(Vec<Pair<'a>>),
    Branch(Vec<Link>),
}

impl<'a> Page<'a> {
    /// `None` when it does not make sense.
    pub(super) fn read(page: &'a [u8], widths: Widths) -> Option<Self> {
        match *page.first()? {
            LEAF => {
                let (pairs, end) = pairs(page, widths)?;
                Some(Self { used: page.get(..end)?, content: Content::Leaf(pairs) })
            }
            BRANCH => {
                let keys = usize::from(u16_at(page, 2)?);
                let (checksums, children) = (8, 8 + (keys + 1) * 16);
                let keys_at = children + (keys + 1) * 8;
                let end = match widths.key {
                    Some(width) => keys_at + keys * width,
                    None => u32_at(page, keys_at + keys.checked_sub(1)? * 4)? as usize,
                };
                let link = |at: usize| {
                    let (page, checksum) = (u64_at(page, children + at * 8)?, u128_at(page, checksums + at * 16)?);
                    Some(Link { page, checksum })
                };
                let links = (0..=keys).map(link).collect::<Option<_>>()?;
                Some(Self { used: page.get(..end)?, content: Content::Branch(links) })
            }
            _ => None,
        }
    }
}

impl Link {
    /// The root of a tree, as slots and tables hold it.
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        Some(Self { page: u64_at(bytes, at)?, checksum: u128_at(bytes, at + 8)? })
    }
}

/// A key and its value.
pub(super) type Pair<'a> = (&'a [u8], &'a [u8]);

/// The pairs of a leaf, and where the last one ends; `None` when that does not make sense.
fn pairs(page: &[u8], widths: Widths) -> Option<(Vec<Pair<'_>>, usize)> {
    let count = usize::from(u16_at(page, 2)?);
    let mut at = 4;
    // The ends of parts that have no fixed width, or how they follow from it.
    let mut ends = |width: Option<usize>| -> Option<Vec<usize>> {
        if width.is_some() {
            return Some(Vec::new());
        }
        let ends = (0..count).map(|number| Some(u32_at(page, at + number * 4)? as usize)).collect();
        at += count * 4;
        ends
    };
    let (key_ends, value_ends) = (ends(widths.key)?, ends(widths.value)?);
    let keys_at = at;
    let end = |width: Option<usize>, ends: &[usize], start: usize, number: usize| match width {
        Some(width) => start + width * (number + 1),
        None => ends[number],
    };
    let values_at = if count == 0 { keys_at } else { end(widths.key, &key_ends, keys_at, count - 1) };
    let (mut key, mut value) = (keys_at, values_at);
    let mut pairs = Vec::with_capacity(count);
    for number in 0..count {
        let (key_end, value_end) =
            (end(widths.key, &key_ends, keys_at, number), end(widths.value, &value_ends, values_at, number));
        pairs.push((page.get(key..key_end)?, page.get(value..value_end)?));
        (key, value) = (key_end, value_end);
    }
    Some((pairs, value))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_le_bytes(bytes.get(at..at + 16)?.try_into().ok()?))
}
