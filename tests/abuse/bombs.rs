//! Batches of some hundred bytes that decompress to eight MiB, many at once, the same ones again and again.

use std::collections::BTreeMap;

use bytes::Bytes;
use connectify::{
    Compression, Record,
    limits::{MAX_BATCH_BYTES, MAX_RECORD_BYTES},
    protocol::{Append, AppendPart, RegisterProducer, RegisterProducerAnswer, Retention, encode_request},
    record::{BatchBuilder, Epoch, ProducerId, Sequence, SequenceRange, Timestamp},
};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::{
    Stage, Tally,
    peer::{Peer, error_of, name_of_code},
};

/// Bombs for one call of the system.
const BOMBS: u32 = 16;
/// What they decompress to: two records.
const VALUE_BYTES: usize = MAX_RECORD_BYTES - 1024;

/// The first of them is stored; the others are duplicates, which are decompressed all the same.
pub(crate) async fn bombs(stage: Stage) -> Tally {
    stage.crowd(throw).await
}

fn bomb(producer: &RegisterProducerAnswer, compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(MAX_BATCH_BYTES);
    for _ in 0..MAX_BATCH_BYTES / MAX_RECORD_BYTES + 1 {
        let record = Record::new(vec![0; VALUE_BYTES]);
        if builder.push(&record, Timestamp(1)).is_err() {
            break;
        }
    }
    let id = ProducerId(Uuid::from_bytes(producer.producer_id));
    let range = SequenceRange { start: Sequence(0), end: Sequence(builder.len() as u64) };
    builder.finish(id, Epoch(producer.epoch), range, compression)
}

async fn throw(stage: Stage, number: usize) -> Tally {
    let mut peer = Peer::open(&stage).await;
    let topic = format!("bombs-{number}");
    let register = RegisterProducer { topic, name: None, create: Some(Retention::default()) };
    let producer = peer.ask(&register).await.expect("the server answers");
    let compression = if number.is_multiple_of(2) { Compression::Zstd } else { Compression::Lz4 };
    let bomb = bomb(&producer, compression);
    let batch_bytes = u32::try_from(bomb.len()).expect("it is small");
    assert!(bomb.len() * 200 < VALUE_BYTES, "{batch_bytes} bytes are no bomb");
    let append = Append { parts: vec![AppendPart { topic_id: producer.topic_id, batch_bytes }], ..Append::default() };
    let ids = 1000..1000 + BOMBS;
    let bytes: Bytes = ids.flat_map(|id| encode_request(&append, id, vec![bomb.clone()]).to_bytes()).collect();
    let (mut answers, mut refusals) = (0, BTreeMap::<_, u64>::new());
    let Peer { mut sending, mut receiving, .. } = peer;
    while !stage.is_over() || answers == 0 {
        let write = async { sending.write_all(&bytes).await.expect("the server reads") };
        let read = async {
            for _ in 0..BOMBS {
                let frame = receiving.frame().await.expect("the connection stands").expect("no end");
                match frame.header.is_error() {
                    false => answers += 1,
                    true => *refusals.entry(error_of(&frame).code).or_default() += 1,
                }
                if answers == 1 {
                    stage.ready();
                }
            }
        };
        tokio::join!(write, read);
    }
    let mut tally = Tally::of("answers", answers);
    refusals.into_iter().for_each(|(code, count)| tally.add(name_of_code(code), count));
    tally
}
