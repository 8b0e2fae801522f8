//! A disk that is down to its reserve: nothing more is stored, everything else goes on.

use std::{path::Path, time::Duration};

use connectify::{
    client::Retention,
    protocol::{
        Commit, CreateTopic, CursorMove, DeleteTopic, Dequeue, ErrorCode, ProducerState, RegisterConsumer,
        RegisterProducer, ServerInfo, Start,
    },
};

use crate::{
    client::{builder, record},
    support::{Raw, TestServer, append_of, batch, images::directory, server::config_on, within},
};

/// A reserve so far above what is free that it stays there, and still not four times as much.
async fn reserve_above_free(directory: &Path) -> u64 {
    let server = TestServer::on(directory);
    let info = Raw::open(server.address).await.ask(&ServerInfo {}).await;
    server.stop().await;
    info.free_bytes.expect("a filesystem") * 2
}

/// Makes a topic with a producer, a consumer and three records; then serves it with this reserve.
async fn reopened_with(directory: &Path, reserve_bytes: u64) -> (TestServer, Raw, Stored) {
    let server = TestServer::on(directory);
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer_named("t", Some("p")).await;
    raw.append_each(&producer, 0, &["a", "b", "c"]).await;
    let consumer_id = raw.consumer("t", Some("c"), Start::Head).await.consumer_id;
    drop(raw);
    server.stop().await;
    let server = TestServer::start(config_on(directory).with_reserve_bytes(reserve_bytes));
    let raw = Raw::open(server.address).await;
    (server, raw, Stored { producer, consumer_id })
}

struct Stored {
    producer: connectify::protocol::RegisterProducerAnswer,
    consumer_id: [u8; 16],
}

#[tokio::test]
async fn what_needs_room_is_refused_without_effect_and_reads_and_cursors_go_on() {
    let directory = directory();
    let reserve = reserve_above_free(directory.path()).await;
    let (_server, mut raw, Stored { producer, consumer_id }) = reopened_with(directory.path(), reserve).await;
    let full = ErrorCode::DiskFull;
    let parts = [(producer.topic_id, batch(&producer, 3..4, &["d"]))];
    let (append, batches) = append_of(&parts, &[CursorMove { consumer_id, offset: 1 }]);
    raw.refused(full, &append, batches).await;
    let retention = Retention::default;
    let create = CreateTopic { topic: "new".to_owned(), retention: retention(), if_absent: true };
    raw.refused(full, &create, Vec::new()).await;
    for topic in ["t", "new"] {
        let (topic, create) = (topic.to_owned(), Some(retention()));
        raw.refused(full, &RegisterProducer { topic, name: None, create }, Vec::new()).await;
    }
    let register =
        |name: &str| RegisterConsumer { topic: "t".to_owned(), name: Some(name.to_owned()), start: Start::Head };
    raw.refused(full, &register("new"), Vec::new()).await;

    let info = raw.ask(&ServerInfo {}).await;
    assert_eq!((info.accepts_appends, info.topics, info.producers, info.consumers), (false, 1, 1, 1));
    assert_eq!(raw.consumers("t").await[0].cursor, 0);
    assert_eq!(raw.read_all("t").await.len(), 3);
    assert_eq!(raw.ask(&ProducerState { producer_id: producer.producer_id }).await.last_sequence, 3);
    // What is there already needs no room, and a cursor needs little.
    assert!(raw.ask(&register("c")).await.existed);
    assert_eq!(raw.commit(consumer_id, 1, false).await, 1);
    assert_eq!(raw.dequeue(consumer_id, 1, 7, 1).await.0.next, 2);
    assert!(raw.ask(&DeleteTopic { topic: "t".to_owned(), if_present: false }).await.deleted);
}

#[tokio::test]
async fn the_last_part_of_the_reserve_is_for_what_frees_room() {
    let directory = directory();
    let (_server, mut raw, Stored { consumer_id, .. }) = reopened_with(directory.path(), u64::MAX).await;
    let commit = Commit { consumer_id, offset: 1, rewind: false };
    raw.refused(ErrorCode::DiskFull, &commit, Vec::new()).await;
    let dequeue = Dequeue { consumer_id, cursor: 0, attempt: 1, max_records: 1, max_wait_ms: 0 };
    raw.refused(ErrorCode::DiskFull, &dequeue, Vec::new()).await;
    assert_eq!(raw.consumers("t").await[0].cursor, 0);
    assert_eq!(raw.read_all("t").await.len(), 3);
    assert!(raw.ask(&DeleteTopic { topic: "t".to_owned(), if_present: false }).await.deleted);
}

#[tokio::test]
async fn a_producer_waits_for_room_until_its_time_is_over() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let address = server.address;
    let client = builder(address).connect().await.expect("connects");
    let open = async |name: &str, timeout| {
        let builder = client.producer("t").create_topic(Retention::default()).name(name).delivery_timeout(timeout);
        builder.open().await.expect("opens")
    };
    let hasty = open("hasty", Duration::from_millis(300)).await;
    let patient = open("patient", Duration::from_secs(60)).await;
    server.stop().await;

    let serve = |reserve_bytes| {
        let config = config_on(directory.path()).with_reserve_bytes(reserve_bytes);
        TestServer::serve(address, connectify::Server::open(config).expect("opens"))
    };
    let full = serve(u64::MAX);
    let waiting = patient.enqueue(record(0)).await.expect("room in the window");
    let error = within("the end of its time", hasty.send(record(1))).await.expect_err("there is no room");
    // The last refusal, or that the time was over before there was one.
    assert!(error.is_retryable() && !error.may_have_applied(), "{error:?}");
    assert!(error.code().is_none_or(|code| code == ErrorCode::DiskFull), "{error:?}");
    full.stop().await;
    let _roomy = serve(0);
    assert_eq!(within("room", waiting).await.expect("durable").0, 0);
}
