//! Steps by chance, weighted so that every answer and every refusal comes about.

use std::time::Duration;

use super::op::{CONSUMERS, EpochIs, Free, From, Op, PRODUCERS, Part, Place, RangeIs, Step, TOPICS, Width};
use crate::{broker::Retention, record::Compression, trial::Rng};

const HOUR: Duration = Duration::from_secs(3600);

/// What the steps of one run have in common: not every run does everything.
#[derive(Clone, Copy)]
struct Style {
    /// Topics and producers that are gone refuse most of what follows.
    deletes: bool,
    /// How large records are: large ones end segments soon, and retention has something to do.
    scale: u16,
    /// Whether most of it is about one topic, so that whole segments die.
    is_focused: bool,
    /// Whether the disk is full now and then, which refuses most of what is new.
    fills: bool,
}

/// The steps of one run. The first ones make what the others are about.
pub(super) fn steps(rng: &mut Rng, count: usize) -> Vec<Step> {
    let is_focused = rng.percent(30);
    let scale = if is_focused { 8 } else { one_of(rng, &[1, 2, 4]) };
    let style = Style { deletes: rng.percent(40), scale, is_focused, fills: rng.percent(30) };
    let mut steps = vec![
        Step::Group((0..TOPICS - 1).map(|topic| first_topic(rng, topic, style)).collect()),
        Step::Group((0..PRODUCERS).map(|producer| first_producer(rng, producer)).collect()),
        Step::Group((0..CONSUMERS).map(|consumer| register_consumer(rng, consumer)).collect()),
    ];
    steps.truncate(count);
    while steps.len() < count {
        steps.push(step(rng, style));
    }
    steps
}

fn step(rng: &mut Rng, style: Style) -> Step {
    match rng.below(200) {
        0..=7 => Step::Restart { killed: rng.percent(50) },
        8..=21 => pass(rng),
        22..=26 if style.fills => Step::Disk(one_of(rng, &[Free::Half, Free::Eighth])),
        27..=36 if style.fills => Step::Disk(Free::Plenty),
        22..=70 => Step::Group((0..2 + rng.below(4)).map(|_| op(rng, style)).collect()),
        _ => Step::Group(vec![op(rng, style)]),
    }
}

fn pass(rng: &mut Rng) -> Step {
    let time = match rng.below(20) {
        0 => HOUR * (20 + u32::from(small(rng, 200))),
        1 => HOUR,
        2..=8 => Duration::from_secs(5 + rng.below(40)),
        _ => Duration::from_millis(rng.below(3_000)),
    };
    let set_back = if rng.percent(15) { Duration::from_millis(rng.below(5_000)) } else { Duration::ZERO };
    Step::Pass { time, set_back }
}

fn op(rng: &mut Rng, style: Style) -> Op {
    let (any_topic, any_consumer) = (topic(rng), small(rng, CONSUMERS));
    match rng.below(100) {
        0..=1 => {
            let topic = if rng.percent(30) { TOPICS - 1 } else { any_topic };
            create_topic(rng, topic)
        }
        2 if style.deletes => {
            let topic = if rng.percent(30) { TOPICS - 1 } else { any_topic };
            Op::DeleteTopic { topic, if_present: rng.percent(50) }
        }
        3..=8 => {
            let producer = any_producer(rng);
            register_producer(rng, producer)
        }
        9..=10 => Op::ProducerState { producer: any_producer(rng) },
        11..=14 => register_consumer(rng, any_consumer),
        15..=21 => Op::Commit { consumer: any_consumer, to: place(rng), rewind: rng.percent(40) },
        22..=33 => dequeue(rng, any_consumer),
        34..=36 => Op::Backlog { consumer: any_consumer },
        37..=46 => {
            let max_bytes = one_of(rng, &[1, 700, 3_000, 64 * 1024]);
            Op::Fetch { topic: any_topic, from: place(rng), max_bytes }
        }
        47..=48 => Op::OffsetFor { topic: any_topic, ago: Duration::from_secs(rng.below(60)) },
        49 => list_producers(rng, any_topic),
        50 if style.deletes => Op::ForgetProducer { producer: any_producer(rng) },
        _ => append(rng, style),
    }
}

fn append(rng: &mut Rng, style: Style) -> Op {
    let count = if rng.percent(80) { 1 } else { 1 + rng.below(4) };
    // Often a batch and a repetition of it, which only the earlier part makes one.
    let first = if style.is_focused { 0 } else { any_producer(rng) };
    let is_same = rng.percent(if style.is_focused { 90 } else { 50 });
    let parts = (0..count).map(|_| {
        let producer = if is_same { first } else { any_producer(rng) };
        part(rng, producer, style.scale)
    });
    let parts = parts.collect();
    let moves = if rng.percent(20) { 1 + rng.below(2) } else { 0 };
    let cursors = (0..moves).map(|_| (small(rng, CONSUMERS), place(rng))).collect();
    Op::Append { parts, cursors }
}

fn part(rng: &mut Rng, producer: u8, scale: u16) -> Part {
    let back = if rng.percent(70) { small(rng, 3) } else { small(rng, 40) };
    let range = match rng.below(40) {
        0..=3 => RangeIs::Stored { back },
        4..=5 => RangeIs::Within { back },
        6 => RangeIs::Across { back },
        7 => RangeIs::Gap { by: 1 + rng.below(5) },
        8 => RangeIs::Overlap { by: 1 + rng.below(5) },
        _ => RangeIs::Next { width: one_of(rng, &[Width::Records, Width::Records, Width::Bytes, Width::One]) },
    };
    let (records, record_bytes) = match rng.below(40) {
        0 => (20, 1_000),
        1 => (300, 4),
        _ => (1 + u16::from(small(rng, 4)), 2 * scale * u16::from(small(rng, 225))),
    };
    Part {
        producer,
        stray: rng.percent(2).then(|| rng.percent(70).then(|| topic(rng))),
        epoch: match rng.below(50) {
            0 => EpochIs::Older,
            1 => EpochIs::Newer,
            _ => EpochIs::Told,
        },
        range,
        records,
        record_bytes,
        compression: match rng.below(8) {
            0 => Compression::Zstd,
            1..=2 => Compression::Lz4,
            _ => Compression::None,
        },
    }
}

fn dequeue(rng: &mut Rng, consumer: u8) -> Op {
    let from = match rng.below(10) {
        0 => From::Cursor(1),
        1 => From::Cursor(-1),
        2..=3 => From::Again { is_same_attempt: true },
        4 => From::Again { is_same_attempt: false },
        _ => From::Cursor(0),
    };
    let max_records = one_of(rng, &[1, 1, 2, 5, 1_000]);
    Op::Dequeue { consumer, from, max_records, room_bytes: one_of(rng, &[1 << 20, 1 << 20, 1 << 20, 2_500, 300]) }
}

/// A topic that is there, and in a focused run one that forgets.
fn first_topic(rng: &mut Rng, topic: u8, style: Style) -> Op {
    let retention = match style.is_focused && topic == 0 {
        true => Retention { bytes: Some(one_of(rng, &[8 * 1024, 20 * 1024])), age_us: None },
        false => valid_retention(rng),
    };
    Op::CreateTopic { topic, retention, if_absent: true }
}

/// A producer for most of what is appended, each first for a topic of its own.
fn first_producer(rng: &mut Rng, producer: u8) -> Op {
    Op::RegisterProducer { producer, topic: producer % (TOPICS - 1), is_named: rng.percent(80), create: None }
}

fn create_topic(rng: &mut Rng, topic: u8) -> Op {
    Op::CreateTopic { topic, retention: retention(rng), if_absent: rng.percent(50) }
}

fn register_producer(rng: &mut Rng, producer: u8) -> Op {
    let create = rng.percent(50).then(|| retention(rng));
    Op::RegisterProducer { producer, topic: topic(rng), is_named: rng.percent(70), create }
}

fn list_producers(rng: &mut Rng, topic: u8) -> Op {
    let prefix = rng.percent(30).then(|| any_producer(rng));
    let after = rng.percent(30).then(|| any_producer(rng));
    Op::ListProducers { topic, prefix, after, limit: one_of(rng, &[1, 2, 100]) }
}

fn register_consumer(rng: &mut Rng, consumer: u8) -> Op {
    let start = match rng.below(10) {
        0..=3 => Place::AtHead,
        4..=5 => Place::AtTail,
        _ => place(rng),
    };
    Op::RegisterConsumer { consumer, topic: topic(rng), is_named: rng.percent(70), start }
}

fn retention(rng: &mut Rng) -> Retention {
    match rng.below(20) {
        0 => Retention { bytes: Some(0), age_us: None },
        1 => Retention { bytes: None, age_us: Some(0) },
        _ => valid_retention(rng),
    }
}

fn valid_retention(rng: &mut Rng) -> Retention {
    let bytes = [3_000, 8 * 1024, 20 * 1024, 60 * 1024];
    let ages = [4_000_000, 30_000_000, 200_000_000];
    match rng.below(18) {
        0..=6 => Retention { bytes: Some(one_of(rng, &bytes)), age_us: None },
        7..=9 => Retention { bytes: None, age_us: Some(one_of(rng, &ages)) },
        10..=11 => Retention { bytes: Some(one_of(rng, &bytes)), age_us: Some(one_of(rng, &ages)) },
        _ => Retention::default(),
    }
}

fn place(rng: &mut Rng) -> Place {
    match rng.below(12) {
        0..=1 => Place::Head(0),
        2 => Place::Head(-1),
        3 => Place::Head(1),
        4..=5 => Place::Tail(0),
        6 => Place::Tail(1),
        7 => Place::Tail(-1),
        8 => Place::Cursor(-1),
        9 => Place::Cursor(1),
        _ => Place::Cursor(i64::from(small(rng, 9)) - 4),
    }
}

/// Mostly one of the first: one of them fills segments quicker than all.
fn topic(rng: &mut Rng) -> u8 {
    if rng.percent(5) { TOPICS - 1 } else { small(rng, TOPICS - 1) }
}

fn any_producer(rng: &mut Rng) -> u8 {
    small(rng, PRODUCERS)
}

/// A number below `bound`, more often a small one.
fn small(rng: &mut Rng, bound: u8) -> u8 {
    let below = rng.below(bound.into()).min(rng.below(bound.into()));
    u8::try_from(below).expect("below a byte")
}

fn one_of<T: Copy>(rng: &mut Rng, among: &[T]) -> T {
    among[rng.index(among.len())]
}
