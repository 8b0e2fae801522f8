//! Subscribers with all the credit there is that take nothing, or one byte a second, while others write.

use std::time::Duration;

use bytes::Bytes;
use connectify::{
    Client, Record,
    client::Retention,
    limits::MAX_CREDIT_BYTES,
    protocol::{ServerInfo, Start, Subscribe},
};

use super::{PATIENCE, Stage, Tally, peer::Peer};

const TOPIC: &str = "feed";
const RECORD_BYTES: usize = 64 * 1024;
/// What is there for every subscriber: more than sockets hold.
const RECORDS: usize = 256;
/// Subscribers that hold so much of the budget for answers that it is not nearly spent: they are given more time.
const HOLD: u32 = 16;

pub(crate) async fn unread(stage: Stage) -> Tally {
    let client = Client::connect(stage.address.to_string()).await.expect("the server answers");
    let producer = client.producer(TOPIC).create_topic(Retention::default()).open().await.expect("opens");
    let record = Record::new(Bytes::from(vec![b'x'; RECORD_BYTES]));
    for _ in 0..RECORDS {
        drop(producer.enqueue(record.clone()).await.expect("room in the window"));
    }
    producer.flush().await.expect("durable");
    let mut witness = Peer::open(&stage).await;
    let before = connections(&mut witness).await;
    let write = async {
        while producer.send(record.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        unreachable!("the server goes on")
    };
    let dropped = async {
        stage.over().await;
        // One that takes nothing is only seen to be dropped from elsewhere.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while stage.is_patient && connections(&mut witness).await > before + HOLD {
            assert!(tokio::time::Instant::now() < deadline, "they are not dropped");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let left = connections(&mut witness).await.saturating_sub(before);
        stage.close();
        left
    };
    let all = stage.crowd(|stage, number| subscribe(stage, number.is_multiple_of(2)));
    let abuse = async { tokio::join!(all, dropped) };
    let (mut tally, left) = tokio::select! {
        abuse = abuse => abuse,
        () = write => unreachable!("it goes on"),
    };
    let left = u64::from(left);
    tally.add("dropped", (stage.peers as u64).saturating_sub(left));
    tally.add("left", left);
    tally
}

async fn connections(witness: &mut Peer) -> u32 {
    witness.ask(&ServerInfo {}).await.expect("the witness is served").connections
}

async fn subscribe(stage: Stage, reads: bool) -> Tally {
    let mut peer = Peer::open(&stage).await;
    let everything = Subscribe { topic: TOPIC.to_owned(), start: Start::Head, credit_bytes: MAX_CREDIT_BYTES };
    peer.submit(&everything, Vec::new()).await.expect("the server reads");
    stage.ready();
    let sip = async {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        while reads && peer.receiving.byte().await {
            second.tick().await;
        }
        std::future::pending::<()>().await;
    };
    stage.unless_closed(sip).await;
    Tally::default()
}
