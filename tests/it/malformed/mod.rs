//! Bad input: each gets its documented error, the connection ends exactly when the table of errors says so, and nobody
//! else notices. A file for each layer, a table for each group.

mod batches;
mod bodies;
mod frames;
mod hello;
mod limits;
mod names;
mod offsets;
mod preface;

use connectify::protocol::{
    Append, AppendPart, Backlog, Commit, CreateTopic, Credit, DeleteTopic, Dequeue, DescribeTopic, ErrorCode, Fetch,
    ForgetProducer, ListProducers, ListTopics, OffsetForTimestamp, Opcode, Ping, ProducerState, RegisterConsumer,
    RegisterProducer, Request, Retention, ServerInfo, Start, Subscribe, Unsubscribe, encode_body,
};

use crate::support::{Bystander, Raw, TestServer};

/// The bytes of a frame, as wrong as its parts are.
fn frame(opcode: u16, version: u8, flags: u8, correlation_id: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = crate::support::narrow(8 + body.len()).to_le_bytes().to_vec();
    bytes.extend_from_slice(&opcode.to_le_bytes());
    bytes.extend_from_slice(&[version, flags]);
    bytes.extend_from_slice(&correlation_id.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A request of each kind that a client may make once its Hello is answered: opcode and body.
fn every_request() -> Vec<(Opcode, Vec<u8>)> {
    fn of<R: Request>(request: &R) -> (Opcode, Vec<u8>) {
        (R::OPCODE, encode_body(request))
    }
    let (topic, name) = ("some-topic".to_owned(), Some("some name".to_owned()));
    let retention = Retention { bytes: Some(1 << 20), age_ms: Some(1000) };
    let (consumer_id, producer_id) = ([3; 16], [4; 16]);
    let parts = vec![AppendPart { topic_id: 1, batch_bytes: 0 }];
    vec![
        of(&Ping {}),
        of(&ServerInfo {}),
        of(&CreateTopic { topic: topic.clone(), retention: retention.clone(), if_absent: true }),
        of(&DeleteTopic { topic: topic.clone(), if_present: true }),
        of(&ListTopics { after: topic.clone(), limit: 7 }),
        of(&DescribeTopic { topic: topic.clone() }),
        of(&RegisterProducer { topic: topic.clone(), name: name.clone(), create: Some(retention) }),
        of(&Append { parts, commits: Vec::new() }),
        of(&ProducerState { producer_id }),
        of(&ListProducers { topic: topic.clone(), prefix: String::new(), after: String::new(), limit: 7 }),
        of(&ForgetProducer { producer_id }),
        of(&RegisterConsumer { topic: topic.clone(), name, start: Start::Offset(300) }),
        of(&Fetch { topic: topic.clone(), offset: 300, max_bytes: 70_000, max_wait_ms: 1 }),
        of(&Subscribe { topic: topic.clone(), start: Start::Cursor(consumer_id), credit_bytes: 300 }),
        of(&Credit { subscription_id: 1, bytes: 300 }),
        of(&Unsubscribe { subscription_id: 1 }),
        of(&Commit { consumer_id, offset: 300, rewind: true }),
        of(&Dequeue { consumer_id, cursor: 300, attempt: 7, max_records: 1, max_wait_ms: 0 }),
        of(&Backlog { consumer_id }),
        of(&OffsetForTimestamp { topic, timestamp_us: 300 }),
    ]
}

/// A server, and somebody who must not notice what happens on it.
async fn observed_server() -> (TestServer, Bystander) {
    let server = TestServer::ephemeral();
    let bystander = Bystander::of(server.address).await;
    (server, bystander)
}

/// What is sent on open connections of a server, and what it gets.
struct Wrongs {
    server: TestServer,
    bystander: Bystander,
    raw: Raw,
}

impl Wrongs {
    async fn new() -> Self {
        let (server, bystander) = observed_server().await;
        let raw = Raw::open(server.address).await;
        Self { server, bystander, raw }
    }

    /// Sends a frame on a connection that is open. It gets this error, as the table of errors says.
    #[track_caller]
    fn get(&mut self, code: ErrorCode, opcode: u16, version: u8, flags: u8, body: &[u8]) -> impl Future<Output = ()> {
        let id = self.raw.next_id();
        let bytes = frame(opcode, version, flags, id, body);
        async move {
            self.raw.send(&bytes).await;
            self.raw.refused_under(id, code).await;
            self.bystander.carries_on().await;
            if crate::support::raw::closes(code) {
                self.raw = Raw::open(self.server.address).await;
            }
        }
    }
}

/// The samples are those of all requests that there are.
#[test]
fn every_request_that_has_an_answer_or_none_has_a_sample() {
    let sampled: Vec<_> = every_request().into_iter().map(|(opcode, _)| opcode).collect();
    let missing: Vec<_> = Opcode::ALL.iter().filter(|opcode| !sampled.contains(opcode)).collect();
    assert_eq!(missing, [&Opcode::Hello, &Opcode::GoAway, &Opcode::Deliver]);
}
