//! Sessions over a pipe in memory, on a clock that does not wait.

use std::net::Ipv4Addr;

use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadHalf};
use uuid::Uuid;

use super::*;
use crate::{
    broker::{Broker, BrokerConfig, Place},
    limits::{MAX_GROUP_BYTES, PACING_PAUSE, VAIN_REQUESTS_AT_ONCE, VAIN_REQUESTS_PER_SECOND},
    protocol::{
        Append, AppendPart, DescribeTopic, FrameHeader, Hello, Opcode, OutFrame, PROTOCOL_VERSION, Ping, ServerInfo,
        preface,
    },
    record::{BatchBuilder, Compression, Epoch, ProducerId, Record, Sequence, SequenceRange, Timestamp},
    server::ServerConfig,
};

fn shared() -> Arc<Shared> {
    let broker = Broker::open(Place::Memory, BrokerConfig::default()).expect("opens in memory");
    Arc::new(Shared::new(broker, ServerConfig::default().with_ephemeral()))
}

/// Preface and Hello.
fn greeting() -> Vec<u8> {
    let hello = Hello {
        client_name: "test".to_owned(),
        min_version: PROTOCOL_VERSION,
        max_version: PROTOCOL_VERSION,
        credentials: Vec::new(),
        max_frame_bytes: 0,
    };
    [&preface()[..], &encode_request(&hello, 1, Vec::new()).to_bytes()].concat()
}

/// A connection to a server of its own that has said Hello.
struct Client {
    stream: DuplexStream,
    shared: Arc<Shared>,
    session: JoinHandle<()>,
    next_id: u32,
}

impl Client {
    async fn open() -> Self {
        Self::open_with(|_| false).await
    }

    async fn open_with(has_left: HasLeft<ReadHalf<DuplexStream>>) -> Self {
        let ((stream, server), shared) = (tokio::io::duplex(1 << 20), shared());
        let (reader, writer) = tokio::io::split(server);
        let session = tokio::spawn(run(shared.clone(), reader, has_left, writer, (Ipv4Addr::LOCALHOST, 1).into()));
        let mut client = Self { stream, shared, session, next_id: 2 };
        client.stream.write_all(&greeting()).await.expect("the server reads");
        client.answers(1).await;
        client
    }

    /// Sends so many requests, all at once.
    async fn send(&mut self, count: u32, request: impl Fn(u32) -> OutFrame) {
        let ids = self.next_id..self.next_id + count;
        self.next_id = ids.end;
        let bytes: Vec<u8> = ids.flat_map(|id| request(id).to_bytes()).collect();
        self.stream.write_all(&bytes).await.expect("the server reads");
    }

    /// Takes so many answers.
    async fn answers(&mut self, count: u32) {
        for _ in 0..count {
            let bytes = self.stream.read_u32_le().await.expect("an answer");
            self.stream.read_exact(&mut vec![0; bytes as usize]).await.expect("all of it");
        }
    }
}

fn unknown(id: u32) -> OutFrame {
    OutFrame::new(FrameHeader { opcode: 0x7f00, ..FrameHeader::request(Opcode::Ping, id) }, b"", Vec::new())
}

/// Floods of such requests took both cores of a machine, and honest clients waited ten times as long as without.
#[tokio::test(start_paused = true)]
async fn who_asks_in_vain_is_answered_at_once_at_first_and_then_read_slowly() {
    let (mut client, began) = (Client::open().await, Instant::now());
    client.send(VAIN_REQUESTS_AT_ONCE, unknown).await;
    client.answers(VAIN_REQUESTS_AT_ONCE).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    for _ in 0..4 {
        client.send(VAIN_REQUESTS_PER_SECOND, unknown).await;
        client.answers(VAIN_REQUESTS_PER_SECOND).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    assert!((3.8..4.3).contains(&seconds), "4000 took {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn requests_that_some_state_would_grant_are_never_slowed_down() {
    let (mut client, began) = (Client::open().await, Instant::now());
    for _ in 0..10 {
        client.send(1000, |id| encode_request(&DescribeTopic { topic: "nowhere".to_owned() }, id, Vec::new())).await;
        client.answers(1000).await;
        client.send(1000, |id| encode_request(&ServerInfo {}, id, Vec::new())).await;
        client.answers(1000).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_does_not_wait_for_a_connection_that_it_reads_slowly() {
    let mut client = Client::open().await;
    client.send(VAIN_REQUESTS_AT_ONCE * 4, unknown).await;
    client.answers(VAIN_REQUESTS_AT_ONCE).await;
    let began = Instant::now();
    client.shared.stopping.cancel();
    let rest = async { while matches!(client.stream.read(&mut [0; 4096]).await, Ok(1..)) {} };
    rest.await;
    drop(client.stream);
    client.session.await.expect("it ends");
    assert!(began.elapsed() <= Duration::from_millis(1), "{:?}", began.elapsed());
}

/// Connections of a flood were there for minutes after the peers had left, until all that they had sent was read.
#[tokio::test(start_paused = true)]
async fn who_asks_in_vain_and_has_left_is_read_no_more() {
    let (mut client, began) = (Client::open_with(|_| true).await, Instant::now());
    client.send(VAIN_REQUESTS_AT_ONCE * 4, unknown).await;
    client.session.await.expect("it ends");
    assert!(began.elapsed() <= 2 * PACING_PAUSE, "{:?}", began.elapsed());
}

/// Two appends of 8 MiB, one behind the other, held up everybody else's for as long as both took.
#[tokio::test(start_paused = true)]
async fn an_append_that_is_a_group_of_its_own_waits_for_the_one_before_it() {
    let mut client = Client::open().await;
    let before = client.shared.large_appends.clone().acquire_owned().await.expect("never closed");
    let mut builder = BatchBuilder::new();
    builder.push(&Record::new(vec![0; MAX_GROUP_BYTES]), Timestamp(1)).expect("within all limits");
    let range = SequenceRange { start: Sequence(0), end: Sequence(1) };
    let batch = builder.finish(ProducerId(Uuid::nil()), Epoch(1), range, Compression::None);
    let batch_bytes = u32::try_from(batch.len()).expect("less than a frame");
    let append = Append { parts: vec![AppendPart { topic_id: 1, batch_bytes }], ..Append::default() };
    client.send(1, |id| encode_request(&append, id, vec![batch.clone()])).await;
    client.send(1, |id| encode_request(&ServerInfo {}, id, Vec::new())).await;
    let answer = client.answers(1);
    tokio::pin!(answer);
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut answer).await.is_err(), "what is behind it is not read");
    drop(before);
    answer.await;
}

/// A client that sent pings and took no answer kept its connection for as long as it went on sending.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_dropped_however_much_it_sends() {
    let (client, server) = tokio::io::duplex(1024);
    let (reader, writer) = tokio::io::split(server);
    let session = tokio::spawn(run(shared(), reader, |_| false, writer, (Ipv4Addr::LOCALHOST, 1).into()));
    // Nobody reads from this half.
    let (_unread, mut sink) = tokio::io::split(client);
    sink.write_all(&greeting()).await.expect("the server reads");
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < WRITE_STALL_TIMEOUT * 5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sent += 1;
        let ping = encode_request(&Ping::default(), 1 + sent, Vec::new()).to_bytes();
        if sink.write_all(&ping).await.is_err() {
            break;
        }
    }
    assert!(began.elapsed() < WRITE_STALL_TIMEOUT * 3, "it was kept for {:?}", began.elapsed());
    session.await.expect("it ends");
}
