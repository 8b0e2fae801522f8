//! A spool: records that cannot be read again, on disk until the server has them.
//!
//! ```text
//!  spool/NAME/epoch               a number that the spool's producer is named after
//!  spool/NAME/boot                the system that it is used under: not there once it was left in order
//!  spool/NAME/00000000000000000000.spool     records from that one on, one behind the other
//!
//!  record:  length u32 │ CRC-32C of time and text u32 │ time u64, microseconds │ text
//! ```
//! A file whose end is torn is cut there: what stands behind was never promised. A file that is damaged elsewhere is put
//! aside as `bad`, and what is missing is said in the topic, as is what had to be dropped because the spool was full: the
//! sequences of lost records are covered by a record that stands for them. A crash of the system may take the newest records,
//! which the server may have: their numbers are not given again.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::config::{SpoolSection, WhenFull};
use crate::{Record, Timestamp};

/// A new file begins at this size.
const FILE_BYTES: u64 = 4 << 20;
/// Bytes before the text of a record.
const FRAME_BYTES: usize = 16;
/// Records that are read at once.
const MAX_RECORDS: usize = 8 << 10;
const MAX_TEXT_BYTES: usize = 4 << 20;
/// Numbers that are left out after a crash of the system: more than can have been lost.
const CRASH_GAP: u64 = 1 << 32;
const CRASHED: &str = "the system crashed: what it had not written is lost, if there was anything";

/// One file.
#[derive(Debug)]
struct Segment {
    /// Its first record.
    first: u64,
    /// Its last record, and one more.
    next: u64,
    bytes: u64,
}

/// What is read next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spooled {
    /// Records from this one on, so many.
    Records(u64, Vec<Record>),
    /// So many records are missing from this one on, and about so many bytes.
    Lost { first: u64, records: u64, bytes: u64, reason: &'static str },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    section: SpoolSection,
    epoch: u64,
    segments: VecDeque<Segment>,
    writer: Option<File>,
    reader: Option<(u64, File)>,
    /// The next record to be written.
    next: u64,
    /// The next record to be read.
    read: u64,
    /// Records that were dropped, by the first of them.
    lost: VecDeque<(u64, u64, u64, &'static str)>,
}

impl Spool {
    /// Opens a spool, or makes one.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub(super) fn open(directory: &Path, section: SpoolSection) -> io::Result<Self> {
        Self::open_under(directory, section, &boot_id())
    }

    fn open_under(directory: &Path, section: SpoolSection, boot: &str) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let epoch = match fs::read_to_string(directory.join("epoch")).ok().and_then(|text| text.trim().parse().ok()) {
            Some(epoch) => epoch,
            None => {
                // Nothing here was ever shipped under that name.
                let epoch = Timestamp::now().0;
                write_synced(directory, "epoch", &epoch.to_string())?;
                epoch
            }
        };
        let mut firsts: Vec<u64> = fs::read_dir(directory)?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".spool")?.parse().ok())
            .collect();
        firsts.sort_unstable();
        let mut spool = Self {
            directory: directory.to_owned(),
            section,
            epoch,
            segments: VecDeque::new(),
            writer: None,
            reader: None,
            next: 0,
            read: 0,
            lost: VecDeque::new(),
        };
        for (at, &first) in firsts.iter().enumerate() {
            spool.take_up(first, firsts.get(at + 1).copied())?;
        }
        spool.read = spool.segments.front().map_or(spool.next, |segment| segment.first);
        spool.leave_gap(boot)?;
        Ok(spool)
    }

    /// After a crash of the system the server may have records that the disk has not: none gets the number of one of them.
    fn leave_gap(&mut self, boot: &str) -> io::Result<()> {
        let before = fs::read_to_string(self.directory.join("boot")).ok();
        if before.is_some_and(|before| before != boot) {
            self.lost.push_back((self.next, CRASH_GAP, 0, CRASHED));
            self.next += CRASH_GAP;
            // Its name remembers where the numbers are, also over a restart.
            self.begin_file()?;
        }
        write_synced(&self.directory, "boot", boot)
    }

    /// Leaves the spool in order: what is in it survives a crash of the system, too.
    ///
    /// # Errors
    /// When it cannot be synced; then the next one goes on as after a crash.
    pub(super) fn close(self) -> io::Result<()> {
        for segment in &self.segments {
            File::open(self.path(segment.first))?.sync_all()?;
        }
        File::open(&self.directory)?.sync_all()?;
        fs::remove_file(self.directory.join("boot"))
    }

    /// Looks through a file; the last one may have been torn.
    fn take_up(&mut self, first: u64, following: Option<u64>) -> io::Result<()> {
        let path = self.path(first);
        let mut file = File::options().read(true).write(true).open(&path)?;
        let (records, bytes) = whole_records(&mut file)?;
        let length = file.metadata()?.len();
        let next = following.unwrap_or(first + records);
        if bytes < length && following.is_some() {
            // Damaged in its middle: what can be read of it is read, and the rest is said to be missing.
            fs::copy(&path, path.with_extension("bad"))?;
            tracing::error!(path = %path.display(), "a file of the spool is damaged; a copy of it is kept");
        }
        if bytes < length {
            file.set_len(bytes)?;
        }
        if next > first + records {
            self.lost.push_back((first + records, next - first - records, length - bytes, "the spool is damaged"));
        }
        self.segments.push_back(Segment { first, next: first + records, bytes });
        self.next = next;
        Ok(())
    }

    fn path(&self, first: u64) -> PathBuf {
        self.directory.join(format!("{first:020}.spool"))
    }

    /// What its producer is named after.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Whether nothing more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= self.section.max && self.section.when_full == WhenFull::Block
    }

    /// Whether all that was written was read.
    pub(super) fn is_read(&self) -> bool {
        self.read >= self.next && self.lost.is_empty()
    }

    /// Puts records behind the others: they survive a kill of this process from then on, and a crash of the system once
    /// the system has written them. Says how many bytes were lost, because the spool was full.
    ///
    /// # Errors
    /// When they cannot be written; then none of them is.
    pub(super) fn push(&mut self, texts: &[(Timestamp, Bytes)]) -> io::Result<u64> {
        let bytes: u64 = texts.iter().map(|(_, text)| (FRAME_BYTES + text.len()) as u64).sum();
        let mut dropped = 0;
        while self.bytes() + bytes > self.section.max {
            match self.section.when_full {
                WhenFull::Block => break,
                WhenFull::DropNewest => {
                    self.lose(self.next, texts.len() as u64, bytes);
                    self.next += texts.len() as u64;
                    // An empty file remembers where the numbers are, also over a restart.
                    self.begin_file()?;
                    return Ok(bytes);
                }
                WhenFull::DropOldest => match self.segments.len() {
                    0 | 1 => break,
                    _ => dropped += self.drop_oldest()?,
                },
            }
        }
        let mut frames = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        for (time, text) in texts {
            let checked = [&time.0.to_le_bytes()[..], text].concat();
            frames.extend_from_slice(&u32::try_from(text.len()).expect("texts are cut to size").to_le_bytes());
            frames.extend_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
            frames.extend_from_slice(&checked);
        }
        if self.writer.is_none() || self.segments.back().is_none_or(|segment| segment.bytes >= FILE_BYTES) {
            self.begin_file()?;
        }
        let file = self.writer.as_mut().expect("it was just made");
        let segment = self.segments.back_mut().expect("the writer has one");
        if let Err(error) = file.write_all(&frames) {
            // Part of it may be there, and must not be read.
            file.set_len(segment.bytes)?;
            return Err(error);
        }
        segment.bytes += bytes;
        segment.next += texts.len() as u64;
        self.next = segment.next;
        Ok(dropped)
    }

    /// Begins the file of the next record; one that is there and empty is that.
    fn begin_file(&mut self) -> io::Result<()> {
        while let Some(empty) = self.segments.pop_back_if(|segment| segment.bytes == 0) {
            if empty.first != self.next {
                fs::remove_file(self.path(empty.first))?;
            }
        }
        self.writer = Some(File::options().create(true).append(true).open(self.path(self.next))?);
        self.segments.push_back(Segment { first: self.next, next: self.next, bytes: 0 });
        Ok(())
    }

    fn lose(&mut self, first: u64, records: u64, bytes: u64) {
        const FULL: &str = "the spool is full";
        match self.lost.back_mut() {
            Some((start, count, lost, FULL)) if *start + *count == first => {
                *count += records;
                *lost += bytes;
            }
            _ => self.lost.push_back((first, records, bytes, FULL)),
        }
    }

    fn drop_oldest(&mut self) -> io::Result<u64> {
        let Some(segment) = self.segments.pop_front() else { return Ok(0) };
        fs::remove_file(self.path(segment.first))?;
        self.reader = self.reader.take().filter(|(first, _)| *first != segment.first);
        let first = segment.first.max(self.read);
        if first < segment.next {
            self.lose(first, segment.next - first, segment.bytes);
        }
        Ok(segment.bytes)
    }

    /// Reads again from a record on: the server has those before it.
    pub(super) fn rewind(&mut self, to: u64) {
        self.read = to;
        self.next = self.next.max(to);
        self.reader = None;
        self.lost.retain(|(first, records, ..)| first + records > to);
    }

    /// What comes next, at most about so many bytes. `None`: all was read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn next(&mut self, max_bytes: usize) -> io::Result<Option<Spooled>> {
        // What was rewound beyond is not lost any more.
        self.lost.retain(|(first, records, ..)| first + records > self.read);
        self.lost.make_contiguous().sort_unstable_by_key(|(first, ..)| *first);
        if let Some(&(first, records, bytes, reason)) = self.lost.front().filter(|(first, ..)| *first <= self.read) {
            self.lost.pop_front();
            let (first, end) = (self.read, first + records);
            self.read = end;
            return Ok(Some(Spooled::Lost { first, records: end - first, bytes, reason }));
        }
        let Some(segment) = self.segments.iter().find(|segment| segment.next > self.read) else {
            return Ok(None);
        };
        if segment.first > self.read {
            // Nobody knows what stood there: it went with a file.
            let end = self.lost.front().map_or(segment.first, |(first, ..)| segment.first.min(*first));
            let (first, records) = (self.read, end - self.read);
            self.read = end;
            return Ok(Some(Spooled::Lost { first, records, bytes: 0, reason: "a file of the spool is gone" }));
        }
        let (start, count) = (segment.first, segment.next - self.read);
        let mut file = match self.reader.take().filter(|(first, _)| *first == start) {
            Some((_, file)) => file,
            None => {
                let mut file = File::open(self.path(start))?;
                for _ in start..self.read {
                    if read_one(&mut file)?.is_none() {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "the spool is damaged"));
                    }
                }
                file
            }
        };
        let (first, mut records, mut bytes) = (self.read, Vec::new(), 0);
        while bytes < max_bytes && (records.len() as u64) < count && records.len() < MAX_RECORDS {
            let Some((time, text)) = read_one(&mut file)? else { break };
            bytes += text.len() + FRAME_BYTES;
            records.push(Record::new(text).timestamp(time));
        }
        if records.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the spool is damaged"));
        }
        self.read += records.len() as u64;
        self.reader = Some((start, file));
        Ok(Some(Spooled::Records(first, records)))
    }

    /// The server has everything before a record: files of nothing else go.
    pub(super) fn release(&mut self, before: u64) {
        while self.segments.front().is_some_and(|segment| segment.next <= before) {
            // The last one goes, too, once it is large, but not before there is another: its name holds the number of the
            // next record.
            if self.segments.len() == 1 && (self.segments[0].bytes < FILE_BYTES || self.begin_file().is_err()) {
                return;
            }
            let Some(segment) = self.segments.pop_front() else { return };
            self.reader = self.reader.take().filter(|(first, _)| *first != segment.first);
            // A file that stays is read again after a restart, and the server knows its records.
            fs::remove_file(self.path(segment.first)).ok();
        }
    }
}

/// What is another one after each start of the system; nothing where that cannot be told.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| String::new(), |id| id.trim().to_owned())
}

/// Writes a small file that a crash of the system leaves as it was, or as it is now.
fn write_synced(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    let unfinished = directory.join(format!("{name}.new"));
    let mut file = File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// Whether the number of lost records is only the most that it can be.
pub(super) fn is_guess(reason: &str) -> bool {
    reason == CRASHED
}

/// How many whole records a file has, and how many bytes they take.
fn whole_records(file: &mut File) -> io::Result<(u64, u64)> {
    let (mut records, mut bytes) = (0, 0);
    let mut file = io::BufReader::new(file);
    while let Some((_, text)) = read_one(&mut file)? {
        records += 1;
        bytes += (FRAME_BYTES + text.len()) as u64;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok((records, bytes))
}

/// The next record; `None` when there is none that is whole.
fn read_one(file: &mut impl Read) -> io::Result<Option<(Timestamp, Bytes)>> {
    let mut front = [0; 8];
    if !filled(file, &mut front)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(front[..4].try_into().expect("4 bytes")) as usize;
    let checksum = u32::from_le_bytes(front[4..].try_into().expect("4 bytes"));
    if length > MAX_TEXT_BYTES {
        return Ok(None);
    }
    let mut checked = vec![0; 8 + length];
    if !filled(file, &mut checked)? || crc32c::crc32c(&checked) != checksum {
        return Ok(None);
    }
    let time = Timestamp(u64::from_le_bytes(checked[..8].try_into().expect("8 bytes")));
    Ok(Some((time, Bytes::from(checked).slice(8..))))
}

fn filled(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(max: u64, when_full: WhenFull) -> SpoolSection {
        SpoolSection { max, when_full }
    }

    fn push(spool: &mut Spool, text: &str) {
        spool.push(&[(Timestamp(7), Bytes::copy_from_slice(text.as_bytes()))]).expect("written");
    }

    /// Everything that is left, as text.
    fn rest(spool: &mut Spool) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(next) = spool.next(1 << 20).expect("readable") {
            match next {
                Spooled::Records(_, records) => {
                    found.extend(records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()));
                }
                Spooled::Lost { records, .. } => found.push(format!("{records} lost")),
            }
        }
        found
    }

    #[test]
    fn records_come_back_in_order_also_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut spool = Spool::open(directory.path(), SpoolSection::default()).expect("opens");
        let epoch = spool.epoch();
        push(&mut spool, "a");
        push(&mut spool, "");
        assert_eq!(rest(&mut spool), ["a", ""]);
        push(&mut spool, "b");
        assert_eq!(rest(&mut spool), ["b"]);
        drop(spool);
        let mut spool = Spool::open(directory.path(), SpoolSection::default()).expect("opens");
        assert_eq!(spool.epoch(), epoch);
        push(&mut spool, "c");
        spool.rewind(1);
        assert_eq!(rest(&mut spool), ["", "b", "c"]);
    }

    #[test]
    fn a_torn_end_is_cut_and_writing_goes_on_behind_what_is_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        for cut in 1..20 {
            let mut spool =
                Spool::open(&directory.path().join(cut.to_string()), SpoolSection::default()).expect("opens");
            push(&mut spool, "whole");
            push(&mut spool, "torn");
            let path = spool.path(0);
            drop(spool);
            let length = fs::metadata(&path).expect("there").len();
            File::options().write(true).open(&path).expect("opens").set_len(length - cut).expect("cut");
            let mut spool = Spool::open(path.parent().expect("a directory"), SpoolSection::default()).expect("opens");
            push(&mut spool, "next");
            assert_eq!(rest(&mut spool), ["whole", "next"], "{cut} bytes are missing");
        }
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_what_is_missing_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut spool = Spool::open(directory.path(), SpoolSection::default()).expect("opens");
        let large = "x".repeat(1 << 20);
        for _ in 0..10 {
            push(&mut spool, &large);
        }
        assert!(spool.segments.len() > 1);
        drop(spool);
        let path = directory.path().join(format!("{:020}.spool", 0));
        let mut bytes = fs::read(&path).expect("readable");
        bytes[(1 << 20) + 100] ^= 1;
        fs::write(&path, bytes).expect("written");
        let mut spool = Spool::open(directory.path(), SpoolSection::default()).expect("opens");
        let found = rest(&mut spool);
        assert_eq!(found.iter().filter(|text| text.ends_with("lost")).count(), 1, "{:?}", found.len());
        assert!(path.with_extension("bad").exists());
        assert_eq!(found[1], "3 lost");
        assert_eq!(found.len(), 1 + 1 + 6);
    }

    #[test]
    fn a_full_spool_drops_what_it_was_told_to_and_says_so() {
        let text = "x".repeat(1 << 20);
        for (when_full, expected) in [(WhenFull::DropNewest, 9), (WhenFull::DropOldest, 8)] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut spool = Spool::open(directory.path(), section(9 << 20 | 1 << 10, when_full)).expect("opens");
            for n in 0..12 {
                push(&mut spool, &format!("{n} {text}"));
            }
            let found: Vec<String> =
                rest(&mut spool).iter().map(|text| text.split(" x").next().unwrap_or("").to_owned()).collect();
            let lost = found.iter().filter(|text| text.ends_with("lost")).count();
            assert_eq!((found.len() - lost, lost), (expected, 1), "{found:?}");
            assert!(spool.is_read());
        }
    }

    #[test]
    fn what_the_server_has_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut spool = Spool::open(directory.path(), SpoolSection::default()).expect("opens");
        for _ in 0..10 {
            push(&mut spool, &"x".repeat(1 << 20));
        }
        let before = spool.bytes();
        spool.release(5);
        assert!(spool.bytes() < before && spool.bytes() > 0);
        spool.release(10);
        push(&mut spool, "next");
        spool.rewind(10);
        assert_eq!(rest(&mut spool), ["next"]);
    }

    /// The server had records that a crash of the system took from the spool: those that came next had their numbers, and
    /// were taken for repeats.
    #[test]
    fn numbers_are_not_given_again_after_a_crash_of_the_system() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = |boot: &str| Spool::open_under(directory.path(), SpoolSection::default(), boot).expect("opens");
        let mut spool = open("first");
        push(&mut spool, "a");
        push(&mut spool, "b");
        drop(spool);
        assert_eq!(rest(&mut open("first")), ["a", "b"], "a kill is no crash of the system");
        // Of what the server has, the disk has one record.
        fs::write(directory.path().join(format!("{:020}.spool", 0)), b"").expect("writable");
        let mut spool = open("second");
        push(&mut spool, "c");
        spool.rewind(2);
        assert_eq!(rest(&mut spool), [format!("{} lost", CRASH_GAP - 2), "c".to_owned()]);
        spool.rewind(0);
        drop(spool);
        let mut spool = open("second");
        spool.rewind(2);
        assert_eq!(rest(&mut spool).last().map(String::as_str), Some("c"), "also after another start");
        spool.close().expect("in order");
        let mut spool = open("third");
        spool.rewind(CRASH_GAP);
        assert_eq!(rest(&mut spool), ["c"], "left in order, there is no gap");
    }

    /// The number of the next record was known only to the process once all files were gone: after a restart records had
    /// numbers that the server had seen, and took them for repeats.
    #[test]
    fn numbers_go_on_after_a_restart_when_everything_was_released() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || Spool::open(directory.path(), section(100 << 20, WhenFull::DropNewest)).expect("opens");
        let mut spool = open();
        for _ in 0..9 {
            push(&mut spool, &"x".repeat(1 << 20));
        }
        spool.release(9);
        drop(spool);
        let mut spool = open();
        push(&mut spool, "next");
        spool.rewind(9);
        assert_eq!(
            spool.next(1 << 20).expect("readable"),
            Some(Spooled::Records(9, vec![Record::new("next").timestamp(Timestamp(7))]))
        );
        spool.release(10);
        drop(spool);
        let mut spool = open();
        push(&mut spool, "after");
        spool.rewind(10);
        assert_eq!(rest(&mut spool), ["after"]);
    }

    /// What was dropped and then asked for again was told as lost together with records behind it that were there.
    #[test]
    fn what_is_lost_ends_where_there_is_something_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut spool = Spool::open(directory.path(), section(9 << 20, WhenFull::DropOldest)).expect("opens");
        for _ in 0..8 {
            push(&mut spool, &"x".repeat(1 << 20));
        }
        assert!(matches!(spool.next(2 << 20).expect("readable"), Some(Spooled::Records(0, _))));
        for _ in 0..4 {
            push(&mut spool, &"y".repeat(1 << 20));
        }
        spool.rewind(1);
        let (mut covered, mut at) = (0, 1);
        while let Some(found) = spool.next(1 << 20).expect("readable") {
            let (first, count) = match found {
                Spooled::Records(first, records) => (first, records.len() as u64),
                Spooled::Lost { first, records, .. } => (first, records),
            };
            assert_eq!(first, at, "nothing is passed over");
            (covered, at) = (covered + count, at + count);
        }
        assert_eq!(covered, 11);
    }
}
