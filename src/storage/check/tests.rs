//! Files read without the database, and journals with holes.

use proptest::prelude::*;
use redb::{ReadableDatabase as _, TableDefinition};

use super::{
    Damage, Findings, Loss,
    journal_stream::JournalStream,
    raw_file::{End, RawFile, Walked, Widths},
};
use crate::{
    record::{Batch, BatchBuilder, Compression, Epoch, Offset, ProducerId, Record, Sequence, SequenceRange, Stamp},
    record::{Timestamp, TopicId},
    storage::{Block, MemoryVolume, StorageError, Volume as _, live::open_database},
};

const NUMBERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("numbers");
const NAMES: TableDefinition<'_, &str, u64> = TableDefinition::new("names");
const OF_NUMBERS: Widths = Widths { key: Some(8), value: None };
const OF_NAMES: Widths = Widths { key: None, value: Some(8) };

/// A database with values of all sizes, some of them removed again, in several commits.
fn volume(sizes: &[usize]) -> MemoryVolume {
    let volume = MemoryVolume::default();
    let database = open_database(&volume, "f").expect("in memory");
    for (number, size) in sizes.iter().enumerate() {
        let txn = database.begin_write().expect("nobody else writes");
        let mut numbers = txn.open_table(NUMBERS).expect("a table");
        let value = vec![u8::try_from(number % 250).expect("small"); *size];
        numbers.insert(number as u64 * 3, &value[..]).expect("in memory");
        if number % 7 == 3 {
            numbers.remove(number as u64 * 3 - 6).expect("in memory");
        }
        drop(numbers);
        let name = format!("name {number}");
        txn.open_table(NAMES).expect("a table").insert(&name[..], number as u64).expect("in memory");
        txn.commit().expect("in memory");
    }
    database.close().expect("in memory");
    volume
}

type Pairs = Vec<(u64, Vec<u8>)>;

/// What the database reads.
fn read(volume: &MemoryVolume) -> Pairs {
    let database = open_database(volume, "f").expect("in memory");
    let numbers = database.begin_read().expect("reads").open_table(NUMBERS).expect("a table");
    let pairs = numbers.range(0..).expect("reads").map(|pair| {
        let (key, value) = pair.expect("reads");
        (key.value(), value.value().to_vec())
    });
    pairs.collect()
}

/// What is read without it, of the newest commit.
fn read_raw(volume: &MemoryVolume, range: std::ops::Range<u64>) -> (Pairs, Walked) {
    let file = volume.open("f").expect("in memory").expect("it is there");
    let raw = RawFile::new(file.as_ref()).expect("in memory");
    let mut pairs = Vec::new();
    let Some(slot) = raw.slots().first().copied() else {
        return (pairs, Walked { end: End::Unknown, ..Walked::default() });
    };
    let walked = raw.walk_range(slot, "numbers", OF_NUMBERS, range, &mut |key, value| {
        pairs.push((u64::from_le_bytes(key.try_into().expect("8 bytes")), value.to_vec()));
        Ok(())
    });
    (pairs, walked.expect("in memory"))
}

#[test]
fn a_file_is_read_without_the_database_as_with_it() {
    let sizes: Vec<_> = (0..600).map(|number| [1, 40, 700, 5_000, 131_000][number % 5] + number).collect();
    let volume = volume(&sizes);
    let (with, (without, walked)) = (read(&volume), read_raw(&volume, 0..u64::MAX));
    assert!(with == without, "{} and {}", with.len(), without.len());
    assert_eq!((walked.damaged_pages, walked.end), (0, End::Known), "the checksums are those of the database");
    let (part, _) = read_raw(&volume, 600..900);
    assert!(part.len() < with.len() / 2, "pages that hold none of the range are not read");
    let wanted = with.iter().filter(|(key, _)| (600..900).contains(key));
    assert!(wanted.eq(part.iter().filter(|(key, _)| (600..900).contains(key))));
    let file = volume.open("f").expect("in memory").expect("it is there");
    let raw = RawFile::new(file.as_ref()).expect("in memory");
    let mut names = 0;
    let each = &mut |name: &[u8], number: &[u8]| {
        let number = u64::from_le_bytes(number.try_into().expect("8 bytes"));
        assert_eq!(name, format!("name {number}").as_bytes());
        names += 1;
        Ok(())
    };
    raw.walk(raw.slots()[0], "names", OF_NAMES, each).expect("in memory");
    assert_eq!(names, 600);
}

#[test]
fn a_page_that_is_overwritten_costs_what_is_in_it() {
    let volume = volume(&[3_000; 300]);
    let whole = read(&volume);
    let file = volume.open("f").expect("in memory").expect("it is there");
    let (mut most, mut damaged) = (0, 0);
    let (pages, mut page) = (file.len().expect("in memory") / 4096, vec![0; 4096]);
    for number in 1..pages {
        file.read(number * 4096, &mut page).expect("in range");
        file.write(number * 4096, &[0xa5; 4096]).expect("in range");
        let (left, walked) = read_raw(&volume, 0..u64::MAX);
        assert!(left.iter().all(|pair| whole.contains(pair)), "page {number}");
        assert!(left.len() == whole.len() || walked.damaged_pages > 0, "page {number}");
        if page[0] == 1 {
            most = most.max(whole.len() - left.len());
        }
        damaged += u64::from(walked.damaged_pages > 0);
        file.write(number * 4096, &page).expect("in range");
    }
    assert!(damaged > 250, "{damaged} of {pages} pages");
    // A leaf holds one of these, and a list of tables all of them.
    assert!(most == 1 || most == whole.len(), "{most}");
}

/// A flipped bit in the list of tables led to an older root of the journal. All its pages were well formed, nothing
/// seemed to be missing, and the tail of a topic went back.
#[test]
fn an_older_page_is_not_taken_for_the_one_that_was_meant() {
    let volume = volume(&[700; 60]);
    let whole = read(&volume);
    let file = volume.open("f").expect("in memory").expect("it is there");
    let (pages, mut page, mut cut) = (file.len().expect("in memory") / 4096, vec![0; 4096], 0);
    for number in 0..pages {
        file.read(number * 4096, &mut page).expect("in range");
        // Slots and lists are short, and branches have their children in front.
        for bit in 0..320 * 8 {
            let (at, bit) = (bit / 8, bit % 8);
            let place = number * 4096 + at as u64;
            // The bit that says which of two commits is in use: whoever reads a damaged file asks both for their age.
            if (number, at) == (0, 9) {
                continue;
            }
            file.write(place, &[page[at] ^ 1 << bit]).expect("in range");
            let (left, walked) = read_raw(&volume, 0..u64::MAX);
            file.write(place, &[page[at]]).expect("in range");
            if left.last() != whole.last() {
                cut += 1;
                assert_ne!(walked.end, End::Known, "bit {bit} of byte {at} of page {number}");
            }
        }
    }
    assert!(cut > 100, "{cut}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// No byte of a file makes it panic or read without end.
    #[test]
    fn any_bytes_are_read_to_an_end(changes in prop::collection::vec((0usize..200_000, any::<u8>()), 1..200)) {
        let volume = volume(&[900; 100]);
        let file = volume.open("f").expect("in memory").expect("it is there");
        let len = usize::try_from(file.len().expect("in memory")).expect("small");
        for (at, byte) in changes {
            // Half of them where the header is.
            let at = if at % 2 == 0 { at % 320 } else { at % len };
            file.write(at as u64, &[byte]).expect("in range");
        }
        read_raw(&volume, 0..u64::MAX);
        read_raw(&volume, 100..200);
    }
}

/// What a journal gave.
#[derive(Default)]
struct Given {
    bases: Vec<u64>,
    events: Vec<Vec<u8>>,
    damage: Vec<Damage>,
}

impl Findings for Given {
    fn batch(&mut self, _: TopicId, batch: &Batch) -> Result<(), StorageError> {
        self.bases.push(batch.header().stamp.base_offset.0);
        Ok(())
    }

    fn event(&mut self, event: &[u8]) -> Result<(), StorageError> {
        self.events.push(event.to_vec());
        Ok(())
    }

    fn damage(&mut self, damage: Damage) {
        self.damage.push(damage);
    }

    fn read(&mut self, _: u64) {}
}

/// Twenty batches of one record each, an event behind each; and where the batches begin.
fn journal() -> (Vec<u8>, Vec<usize>) {
    let (mut block, mut starts) = (Block::default(), Vec::new());
    for number in 0..20_u64 {
        let mut builder = BatchBuilder::new();
        builder.push(&Record::new(vec![7; 50]), Timestamp(0)).expect("small");
        let range = SequenceRange::counting(Sequence(number), 1);
        let batch = builder.finish(ProducerId::default(), Epoch(0), range, Compression::None);
        starts.push(block.len());
        block.push_batch(TopicId(1), Stamp { base_offset: Offset(number), append_time: Timestamp(1) }, 1, &batch);
        block.push_event(&number.to_le_bytes());
    }
    (block.bytes, starts)
}

fn given(journal: &[u8], chunk_bytes: usize, missing: &[usize]) -> Given {
    let mut given = Given::default();
    let mut stream = JournalStream::new("f", &mut given);
    for (number, chunk) in journal.chunks(chunk_bytes).enumerate() {
        if !missing.contains(&number) {
            stream.chunk((number * chunk_bytes) as u64, chunk).expect("nobody refuses");
        }
    }
    stream.finish(End::Known).expect("nobody refuses");
    given
}

#[test]
fn a_flipped_bit_of_a_journal_costs_the_entry_that_it_is_in() {
    let (journal, starts) = journal();
    for bit in (0..journal.len() * 8).step_by(3) {
        let mut damaged = journal.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let found = given(&damaged, 100, &[]);
        assert_eq!(found.bases.len() + found.events.len(), 39, "bit {bit}");
        assert_eq!(found.damage.len(), 1, "bit {bit}: {:?}", found.damage);
        let position = usize::try_from(found.damage[0].position.expect("in the journal")).expect("small");
        assert!(position <= bit / 8, "bit {bit}: {:?}", found.damage);
        // Where the entry says what it is, that is told.
        if let Loss::Batch(topic, base) = found.damage[0].loss {
            assert_eq!((topic, starts[usize::try_from(base.0).expect("small")]), (TopicId(1), position));
        }
    }
    assert!(given(&journal, 100, &[]).damage.is_empty());
}

#[test]
fn a_missing_chunk_costs_the_entries_that_reach_into_it() {
    let (journal, starts) = journal();
    for missing in 0..journal.len() / 333 {
        let found = given(&journal, 333, &[missing]);
        let hole = missing * 333..(missing + 1) * 333;
        let ends = starts.iter().skip(1).copied().chain([journal.len()]);
        // The last 24 bytes of each are its event.
        let batches = starts.iter().zip(ends).map(|(start, end)| (*start, end - 24));
        let whole = batches.filter(|(start, end)| *end <= hole.start || *start >= hole.end).count();
        assert_eq!(found.bases.len(), whole, "chunk {missing}");
        let lost = |damage: &Damage| matches!(damage.loss, Loss::Entries(bytes) if bytes >= 333);
        assert!(found.damage.len() == 1 && lost(&found.damage[0]), "chunk {missing}: {:?}", found.damage);
    }
}
