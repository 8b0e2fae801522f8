//! A power cut: what a disk holds after the first operations of its story, when the rest never happened.

use std::collections::HashMap;

use super::{
    Rng,
    disk::{Image, Inode, Op},
};

/// What a disk writes whole, or not at all.
const SECTOR_BYTES: usize = 512;

/// The story of a disk, to be cut at one operation after another.
pub(super) struct Cutter {
    /// What is durable after `done` operations.
    durable: Image,
    /// Operations since that may be lost: names, in order, and what was done to each file.
    names: Vec<Op>,
    files: HashMap<Inode, Vec<Op>>,
    ops: std::vec::IntoIter<Op>,
    done: u64,
}

impl Cutter {
    pub(super) fn new((start, ops): (Image, Vec<Op>)) -> Self {
        Self { durable: start, names: Vec::new(), files: HashMap::new(), ops: ops.into_iter(), done: 0 }
    }

    /// Goes on to the state after `count` operations, which must not be fewer than before.
    pub(super) fn advance(&mut self, count: u64) {
        assert!(self.done <= count, "a story is told forward");
        while self.done < count {
            let Some(op) = self.ops.next() else { return };
            self.done += 1;
            match op {
                Op::Write { inode, .. } | Op::SetLen { inode, .. } => self.files.entry(inode).or_default().push(op),
                Op::Sync { inode } => {
                    for op in self.files.remove(&inode).unwrap_or_default() {
                        apply(file(&mut self.durable, inode), &op);
                    }
                }
                // Its length is the filesystem's own, which may still get there.
                Op::Forget { inode } => {
                    let waiting = self.files.entry(inode).or_default();
                    waiting.retain(|op| matches!(op, Op::SetLen { .. }));
                }
                Op::SyncDirectory => {
                    for op in std::mem::take(&mut self.names) {
                        name(&mut self.durable, &op);
                    }
                }
                Op::Create { .. } | Op::Rename { .. } | Op::Remove { .. } => self.names.push(op),
            }
        }
    }

    /// Whether a sync comes next: then as much is open as will be.
    pub(super) fn is_before_sync(&self) -> bool {
        matches!(self.ops.as_slice().first(), Some(Op::Sync { .. } | Op::SyncDirectory))
    }

    /// How many operations there are whose fate is open.
    pub(super) fn open(&self) -> usize {
        self.names.len() + self.files.values().map(Vec::len).sum::<usize>()
    }

    /// What the disk may hold now; chance decides.
    pub(super) fn sample(&self, rng: &mut Rng) -> Image {
        let mut image = self.durable.clone();
        // A journaling filesystem keeps the order of names, others need not.
        let keep_order = rng.percent(50);
        let upto = rng.index(self.names.len() + 1);
        for (at, op) in self.names.iter().enumerate() {
            if if keep_order { at < upto } else { rng.percent(50) } {
                name(&mut image, op);
            }
        }
        let mut inodes: Vec<_> = self.files.keys().copied().collect();
        inodes.sort_unstable();
        for inode in inodes {
            let style = Style::choose(rng);
            for op in &self.files[&inode] {
                style.keep(op, file(&mut image, inode), rng);
            }
        }
        image
    }

    /// What the disk holds when these of the open operations are kept whole and the others lost.
    pub(super) fn exactly(&self, kept: u64) -> Image {
        let mut image = self.durable.clone();
        let mut inodes: Vec<_> = self.files.keys().copied().collect();
        inodes.sort_unstable();
        let of_files = inodes.iter().flat_map(|inode| self.files[inode].iter().map(move |op| (Some(*inode), op)));
        for (at, (inode, op)) in self.names.iter().map(|op| (None, op)).chain(of_files).enumerate() {
            if kept >> at & 1 == 1 {
                match inode {
                    None => name(&mut image, op),
                    Some(inode) => apply(file(&mut image, inode), op),
                }
            }
        }
        image
    }
}

/// How a disk loses power: most do the same to all writes that it had not finished.
#[derive(Clone, Copy)]
enum Style {
    KeepAll,
    DropAll,
    Chance,
}

impl Style {
    fn choose(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Self::KeepAll,
            1 => Self::DropAll,
            _ => Self::Chance,
        }
    }

    fn keep(self, op: &Op, file: &mut Vec<u8>, rng: &mut Rng) {
        match self {
            Self::KeepAll => apply(file, op),
            Self::DropAll => {}
            Self::Chance => match (rng.below(6), op) {
                (0 | 1, _) => apply(file, op),
                (2 | 3, _) => {}
                (_, Op::SetLen { .. }) => apply(file, op),
                (4, Op::Write { offset, data, .. }) => put(file, *offset, &data[..rng.index(data.len() + 1)]),
                (_, Op::Write { offset, data, .. }) => torn(file, *offset, data, rng),
                _ => unreachable!("only writes and lengths wait for the sync of a file"),
            },
        }
    }
}

/// Some sectors are written, others are not, and one where the power went may hold anything. A write within one sector
/// is not torn: disks promise as much, and redb relies on it for its header.
fn torn(file: &mut [u8], offset: u64, data: &[u8], rng: &mut Rng) {
    let is_torn = data.len() > SECTOR_BYTES && rng.percent(50);
    let garbage = is_torn.then(|| rng.index(data.len().div_ceil(SECTOR_BYTES)));
    for (number, sector) in data.chunks(SECTOR_BYTES).enumerate() {
        let at = offset + (number * SECTOR_BYTES) as u64;
        if garbage == Some(number) {
            let bytes: Vec<u8> = sector.iter().map(|_| rng.number().to_le_bytes()[0]).collect();
            put(file, at, &bytes);
        } else if rng.percent(50) {
            put(file, at, sector);
        }
    }
}

fn file(image: &mut Image, inode: Inode) -> &mut Vec<u8> {
    if image.files.len() <= inode {
        image.files.resize_with(inode + 1, Vec::new);
    }
    &mut image.files[inode]
}

fn apply(file: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write { offset, data, .. } => put(file, *offset, data),
        Op::SetLen { len, .. } => file.resize(usize::try_from(*len).expect("it is in memory"), 0),
        _ => unreachable!("only writes and lengths change a file"),
    }
}

/// Writes what fits: what is behind the end was written into a length that never came to be.
fn put(file: &mut [u8], offset: u64, data: &[u8]) {
    let offset = usize::try_from(offset).expect("it is in memory");
    let end = (offset + data.len()).min(file.len());
    if offset < end {
        file[offset..end].copy_from_slice(&data[..end - offset]);
    }
}

fn name(image: &mut Image, op: &Op) {
    match op {
        Op::Create { name, inode } => {
            file(image, *inode);
            image.names.insert(name.clone(), *inode);
        }
        Op::Rename { from, to, inode } => {
            image.names.remove(from);
            file(image, *inode);
            image.names.insert(to.clone(), *inode);
        }
        Op::Remove { name } => {
            image.names.remove(name);
        }
        _ => unreachable!("only these change names"),
    }
}
