//! Restarts: in good order, and from what a crash leaves. All that was acknowledged is there, and nothing else.

use std::{collections::BTreeMap, fs, path::Path};

use connectify::{
    protocol::{
        Backlog, BacklogAnswer, ConsumerInfo, CursorMove, DeleteTopic, Id, ListTopics, ProducerState,
        ProducerStateAnswer, Retention, ServerInfo, Start, TopicInfo,
    },
    server::{Error, Server},
    storage::StorageError,
};
use redb::{Database, TableDefinition};

use crate::support::{
    Raw, TestServer, append_of, batch,
    images::{directory, image},
    server::{config_on, open_when_free},
};

/// A topic, its consumers, and all its records.
type TopicPicture = (TopicInfo, Vec<ConsumerInfo>, Vec<(u64, String)>);

/// Everything that a client can see of a server's data.
#[derive(Debug, PartialEq)]
struct Picture {
    server_id: Id,
    counts: (u32, u32, u32),
    topics: BTreeMap<String, TopicPicture>,
    producers: Vec<ProducerStateAnswer>,
    backlogs: Vec<BacklogAnswer>,
}

/// What was registered, to be asked for again.
#[derive(Default)]
struct Registered {
    producers: Vec<Id>,
    consumers: Vec<Id>,
}

async fn picture(raw: &mut Raw, registered: &Registered) -> Picture {
    let info = raw.ask(&ServerInfo {}).await;
    let mut topics = BTreeMap::new();
    for topic in raw.ask(&ListTopics::default()).await.topics {
        let name = topic.name.clone();
        let (consumers, records) = (raw.consumers(&name).await, raw.read_all(&name).await);
        topics.insert(name, (topic, consumers, records));
    }
    let (mut producers, mut backlogs) = (Vec::new(), Vec::new());
    for producer_id in &registered.producers {
        producers.push(raw.ask(&ProducerState { producer_id: *producer_id }).await);
    }
    for consumer_id in &registered.consumers {
        backlogs.push(raw.ask(&Backlog { consumer_id: *consumer_id }).await);
    }
    let (server_id, counts) = (info.server_id, (info.topics, info.producers, info.consumers));
    Picture { server_id, counts, topics, producers, backlogs }
}

/// Does a little of everything: enough for several segments when `rounds` is.
async fn live(raw: &mut Raw, rounds: u64) -> Registered {
    let mut registered = Registered::default();
    raw.create_topic("trimmed", Retention { bytes: Some(20_000), age_ms: None }).await;
    let topics = ["plain", "trimmed", "doomed", "empty"];
    let mut producers = Vec::new();
    for topic in &topics[..3] {
        producers.push(raw.producer_named(topic, Some("agent")).await);
    }
    raw.producer("empty").await;
    let job = raw.consumer("plain", Some("job"), Start::Head).await.consumer_id;
    let taker = raw.consumer("plain", None, Start::Head).await.consumer_id;
    registered.consumers.extend([job, taker]);
    let mut cursor = 0;
    for round in 0..rounds {
        let value = format!("{round} {}", "x".repeat(2_000));
        let part = |producer| (batch(producer, round..round + 1, &[&value]), producer);
        let parts: Vec<_> = producers.iter().map(part).map(|(batch, producer)| (producer.topic_id, batch)).collect();
        let (append, batches) = append_of(&parts, &[CursorMove { consumer_id: job, offset: round }]);
        raw.ask_with(&append, batches).await;
        let (answer, _) = raw.dequeue(taker, cursor, round, 1).await;
        cursor = answer.next;
    }
    raw.ask(&DeleteTopic { topic: "doomed".to_owned(), if_present: false }).await;
    let again = raw.producer_named("plain", Some("agent")).await;
    assert_eq!((again.epoch, again.last_sequence), (1, rounds));
    registered.producers.extend([again.producer_id, producers[1].producer_id]);
    registered
}

#[tokio::test]
async fn a_server_that_stopped_in_good_order_starts_with_everything_it_had() {
    for rounds in [0, 1, 100] {
        let directory = directory();
        let server = TestServer::on(directory.path());
        let mut raw = Raw::open(server.address).await;
        let registered = live(&mut raw, rounds).await;
        let before = picture(&mut raw, &registered).await;
        server.stop().await;
        // Twice, so that what the first restart writes is right, too.
        for _ in 0..2 {
            let server = TestServer::on(directory.path());
            let mut raw = Raw::open(server.address).await;
            assert_eq!(picture(&mut raw, &registered).await, before);
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn what_a_crash_leaves_has_everything_that_was_acknowledged() {
    for rounds in [0, 1, 30, 100] {
        let directory = directory();
        let server = TestServer::on(directory.path());
        let mut raw = Raw::open(server.address).await;
        let registered = live(&mut raw, rounds).await;
        let before = picture(&mut raw, &registered).await;
        let crashed = image(directory.path());
        let recovered = TestServer::on(crashed.path());
        let mut raw = Raw::open(recovered.address).await;
        assert_eq!(picture(&mut raw, &registered).await, before);
        // And once more, from what the recovered one would leave.
        let crashed_again = image(crashed.path());
        let recovered = TestServer::on(crashed_again.path());
        let mut raw = Raw::open(recovered.address).await;
        assert_eq!(picture(&mut raw, &registered).await, before);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_crash_after_any_ack_keeps_what_was_acknowledged_until_then() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer_named("t", Some("agent")).await;
    let value = "x".repeat(20_000);
    for n in 0..12 {
        raw.append(&producer, &batch(&producer, n..n + 1, &[&value])).await;
        let crashed = image(directory.path());
        let recovered = TestServer::on(crashed.path());
        let mut other = Raw::open(recovered.address).await;
        assert_eq!(other.read_all("t").await.len() as u64, n + 1);
        // A retry of the last batch is recognised, the next one follows.
        assert!(other.append(&producer, &batch(&producer, n..n + 1, &[&value])).await.duplicate);
        assert_eq!(other.append(&producer, &batch(&producer, n + 1..n + 2, &["next"])).await.base_offset, Some(n + 1));
    }
}

#[tokio::test]
async fn a_server_whose_tasks_are_gone_lets_go_of_its_directory_and_loses_nothing() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    let registered = live(&mut raw, 30).await;
    let before = picture(&mut raw, &registered).await;
    let address = server.address;
    server.crash();
    let server = TestServer::serve(address, open_when_free(config_on(directory.path())).await);
    let mut raw = Raw::open(server.address).await;
    assert_eq!(picture(&mut raw, &registered).await, before);
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_is_refused_and_the_first_one_goes_on() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    for n in 0..3 {
        let refused = Server::open(config_on(directory.path())).err().expect("the directory is taken");
        assert!(
            matches!(&refused, Error::Storage(StorageError::Locked(path)) if path == directory.path()),
            "{refused:?}"
        );
        assert!(refused.to_string().contains("in use by another server"), "{refused}");
        raw.append_each(&producer, n, &["x"]).await;
    }
    server.stop().await;
    drop(Server::open(config_on(directory.path())).expect("the directory is free again"));
}

/// The segment files of a directory.
fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "redb")).collect()
}

/// A directory in which a server has lived; its segments.
async fn used_directory() -> (tempfile::TempDir, Vec<std::path::PathBuf>) {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    live(&mut raw, 100).await;
    server.stop().await;
    let segments = segments(directory.path());
    assert!(segments.len() > 1, "{segments:?}");
    (directory, segments)
}

#[tokio::test]
async fn data_of_a_later_format_is_refused_whichever_segment_has_it() {
    const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    let (directory, segments) = used_directory().await;
    for path in &segments {
        let put_format = |format: u64| {
            let database = Database::open(path).expect("a redb file");
            let txn = database.begin_write().expect("a transaction");
            txn.open_table(META).expect("the table").insert("format", format).expect("inserting");
            txn.commit().expect("a commit");
        };
        put_format(3);
        let refused = Server::open(config_on(directory.path())).err();
        put_format(2);
        let refused = refused.unwrap_or_else(|| panic!("{} is of format 3", path.display()));
        let expected = StorageError::NewerFormat { found: 3, supported: 2 };
        assert_eq!(refused.to_string(), expected.to_string());
    }
    TestServer::on(directory.path()).stop().await;
}

#[tokio::test]
async fn a_segment_that_is_no_database_is_an_error_not_a_loss() {
    let (directory, segments) = used_directory().await;
    for path in &segments {
        let good = fs::read(path).expect("the segment");
        let len = good.len();
        for bad in [vec![0; len], vec![0xff; len], b"not a database".to_vec(), good[..len / 2].to_vec()] {
            fs::write(path, &bad).expect("the segment");
            let opened = std::panic::catch_unwind(|| Server::open(config_on(directory.path())).err());
            let refused = opened.unwrap_or_else(|_| panic!("{} with {} bytes panics", path.display(), bad.len()));
            assert!(refused.is_some(), "{} holds {} bytes of something else", path.display(), bad.len());
        }
        fs::write(path, &good).expect("the segment");
    }
    TestServer::on(directory.path()).stop().await;
}

#[tokio::test]
async fn a_place_that_cannot_be_a_directory_is_an_error() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, b"").expect("a file");
    for place in [file.clone(), file.join("below")] {
        let refused = Server::open(config_on(&place)).err().expect("no directory");
        assert!(matches!(refused, Error::Storage(StorageError::Io { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    let info = raw.ask(&ServerInfo {}).await;
    assert_eq!((info.ephemeral, info.accepts_appends, info.connections), (false, true, 1));
    assert!(info.free_bytes.is_some() && info.now_us > 0, "{info:?}");
    assert_eq!(info.server_version, env!("CARGO_PKG_VERSION"));
    assert_ne!(info.server_id, [0; 16]);
    let ephemeral = TestServer::ephemeral();
    let mut raw = Raw::open(ephemeral.address).await;
    let other = raw.ask(&ServerInfo {}).await;
    assert_eq!((other.ephemeral, other.accepts_appends, other.free_bytes), (true, true, None));
    assert_ne!(other.server_id, info.server_id);
}
