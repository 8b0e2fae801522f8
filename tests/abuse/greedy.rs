//! A client that goes to every limit at once, and one beyond each.

use bytes::Bytes;
use connectify::{
    Compression, Record,
    limits::{
        MAX_APPEND_COMMITS, MAX_APPEND_PARTS, MAX_BATCH_BYTES, MAX_CREDIT_BYTES, MAX_FRAME_BYTES,
        MAX_IN_FLIGHT_REQUESTS, MAX_RECORD_BYTES, MAX_SUBSCRIPTIONS, MAX_WAIT_MS,
    },
    protocol::{
        Append, AppendPart, CursorMove, Fetch, ListTopics, Opcode, Ping, RegisterProducer, RegisterProducerAnswer,
        Request, Retention, Start, Subscribe, encode_request,
    },
    record::{BatchBuilder, Epoch, ProducerId, Sequence, SequenceRange, Timestamp},
};
use uuid::Uuid;

use super::{
    Stage, Tally,
    peer::{Peer, error_of, is_goodbye, name_of},
    slow::beginning,
};

/// Producers that are registered, among much else.
const PRODUCERS: usize = 200;
/// Largest frames that are on their way at once: all bytes that a connection may have in flight.
const LARGE: u64 = 2;

pub(crate) async fn greedy(stage: Stage) -> Tally {
    stage.crowd(take_all).await
}

async fn take_all(stage: Stage, number: usize) -> Tally {
    let (mut tally, mut sequence) = (Tally::default(), 0);
    let mut peer = Peer::open(&stage).await;
    let producer = register(&mut peer, &format!("greedy-{number}")).await;
    let quiet = format!("greedy-quiet-{number}");
    register(&mut peer, &quiet).await;
    subscribe(&mut peer, &quiet, &mut tally).await;
    loop {
        let bytes = everything(&mut peer, &producer, &quiet, &mut sequence);
        exchange(&mut peer, &bytes.0, bytes.1, &mut tally).await;
        wait_with_all(&stage, &mut peer, &quiet, &mut tally).await;
        if tally.get("rounds") == 0 {
            stage.ready();
        }
        tally.add("rounds", 1);
        if stage.is_over() {
            break;
        }
    }
    let too_long = u32::try_from(MAX_FRAME_BYTES + 1).expect("less than 4 GiB");
    drop(peer.send(&beginning(Opcode::Append, too_long, 12)).await);
    tally.add(peer.end().await, 1);
    tally
}

async fn register(peer: &mut Peer, topic: &str) -> RegisterProducerAnswer {
    let register = RegisterProducer { topic: topic.to_owned(), name: None, create: Some(Retention::default()) };
    peer.ask(&register).await.expect("the server answers")
}

/// Every subscription that there may be, and one more.
async fn subscribe(peer: &mut Peer, topic: &str, tally: &mut Tally) {
    let all = Subscribe { topic: topic.to_owned(), start: Start::Tail, credit_bytes: MAX_CREDIT_BYTES };
    let mut bytes = Vec::new();
    for _ in 0..=MAX_SUBSCRIPTIONS {
        push(peer, &mut bytes, &all, Vec::new());
    }
    push(peer, &mut bytes, &Subscribe { credit_bytes: MAX_CREDIT_BYTES + 1, ..all }, Vec::new());
    exchange(peer, &bytes, MAX_SUBSCRIPTIONS + 2, tally).await;
}

fn push<R: Request>(peer: &mut Peer, bytes: &mut Vec<u8>, request: &R, batches: Vec<Bytes>) {
    bytes.extend_from_slice(&encode_request(request, peer.next_id(), batches).to_bytes());
}

/// A batch of the producer, with these values.
fn batch(producer: &RegisterProducerAnswer, sequence: &mut u64, values: &[Vec<u8>]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(&Record::new(value.clone()), Timestamp(1)).expect("within all limits");
    }
    let start = *sequence;
    *sequence += values.len() as u64;
    let range = SequenceRange { start: Sequence(start), end: Sequence(*sequence) };
    let id = ProducerId(Uuid::from_bytes(producer.producer_id));
    builder.finish(id, Epoch(producer.epoch), range, Compression::None)
}

/// Appends of the largest size, what is one beyond a limit, lists and registrations; and how many answers they get.
fn everything(peer: &mut Peer, producer: &RegisterProducerAnswer, quiet: &str, sequence: &mut u64) -> (Vec<u8>, usize) {
    let (mut bytes, before) = (Vec::new(), peer.next_id());
    let part = |batch: &Bytes| AppendPart {
        topic_id: producer.topic_id,
        batch_bytes: u32::try_from(batch.len()).expect("at most a frame"),
    };
    let of = |batches: Vec<Bytes>| (Append { parts: batches.iter().map(part).collect(), commits: Vec::new() }, batches);
    for _ in 0..LARGE {
        let large = MAX_RECORD_BYTES - 100;
        let values = [vec![b'x'; large], vec![b'x'; MAX_BATCH_BYTES - large - 300]];
        let (append, batches) = of(vec![batch(producer, sequence, &values)]);
        push(peer, &mut bytes, &append, batches);
    }
    let tiny = batch(producer, &mut 0, &[Vec::new()]);
    let (append, batches) = of(vec![tiny.clone(); MAX_APPEND_PARTS + 1]);
    push(peer, &mut bytes, &append, batches);
    let (append, batches) = of(vec![tiny]);
    let commits = vec![CursorMove::default(); MAX_APPEND_COMMITS + 1];
    push(peer, &mut bytes, &Append { commits, ..append }, batches);
    push(peer, &mut bytes, &Fetch { max_wait_ms: MAX_WAIT_MS + 1, ..fetch(quiet, 0) }, Vec::new());
    for number in 0..PRODUCERS {
        push(peer, &mut bytes, &ListTopics { limit: u32::MAX, ..ListTopics::default() }, Vec::new());
        let name = Some(format!("producer {number}"));
        push(peer, &mut bytes, &RegisterProducer { topic: quiet.to_owned(), name, create: None }, Vec::new());
    }
    let count = peer.next_id() - before - 1;
    (bytes, count as usize)
}

fn fetch(topic: &str, offset: u64) -> Fetch {
    Fetch { topic: topic.to_owned(), offset, max_bytes: u32::MAX, max_wait_ms: MAX_WAIT_MS }
}

/// As many requests that wait as may be in flight, and one more behind them; then somebody else ends the waiting.
async fn wait_with_all(stage: &Stage, peer: &mut Peer, topic: &str, tally: &mut Tally) {
    let mut other = Peer::open(stage).await;
    let producer = register(&mut other, topic).await;
    let tail = other
        .ask(&connectify::protocol::DescribeTopic { topic: topic.to_owned() })
        .await
        .expect("the server answers")
        .topic
        .tail;
    let mut bytes = Vec::new();
    for _ in 0..MAX_IN_FLIGHT_REQUESTS {
        push(peer, &mut bytes, &fetch(topic, tail), Vec::new());
    }
    push(peer, &mut bytes, &Ping {}, Vec::new());
    let end_it = async {
        let batch = batch(&producer, &mut 0, &[vec![b'y'; 100]]);
        let batch_bytes = u32::try_from(batch.len()).expect("it is small");
        let append =
            Append { parts: vec![AppendPart { topic_id: producer.topic_id, batch_bytes }], commits: Vec::new() };
        other.submit(&append, vec![batch]).await.expect("the server reads");
        other.receiving.frame().await.expect("it stands").expect("an answer")
    };
    let answers = exchange(peer, &bytes, MAX_IN_FLIGHT_REQUESTS + 1, tally);
    let (_, answer) = tokio::join!(answers, end_it);
    assert!(!answer.header.is_error(), "{:?}", error_of(&answer));
}

/// Sends all of this while it reads so many answers, and whatever is delivered meanwhile.
async fn exchange(peer: &mut Peer, bytes: &[u8], count: usize, tally: &mut Tally) {
    let Peer { sending, receiving, .. } = peer;
    let write = async {
        tokio::io::AsyncWriteExt::write_all(sending, bytes).await.expect("the server reads");
    };
    let read = async {
        let mut answered = 0;
        while answered < count {
            let frame = receiving.frame().await.expect("the connection stands").expect("no end");
            assert!(!is_goodbye(&frame), "{:?}", error_of(&frame));
            if !frame.header.is_answer {
                continue; // A Ping of the server.
            }
            if frame.header.is_error() {
                tally.add(name_of(&error_of(&frame)), 1);
            } else if frame.header.opcode == Opcode::Deliver as u16 {
                tally.add("deliveries", 1);
                continue;
            } else {
                tally.add("answers", 1);
            }
            answered += 1;
        }
    };
    tokio::join!(write, read);
}
