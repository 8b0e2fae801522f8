//! Topics and the server itself, through the public client.

use connectify::{
    Timestamp,
    client::{Error, ErrorCode, Retention},
};

use super::{client, record};
use crate::support::TestServer;

#[tokio::test]
async fn topics_are_made_listed_described_and_deleted() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    assert!(client.list_topics().await.expect("listed").is_empty());
    let retention = Retention { bytes: Some(1 << 20), age_ms: Some(60_000) };
    let id = client.create_topic("b", retention.clone()).await.expect("made");
    let error = client.create_topic("b", Retention::default()).await.expect_err("it exists");
    assert_eq!(error.code(), Some(ErrorCode::TopicExists));
    assert!(!client.ensure_topic("b", Retention::default()).await.expect("it exists"));
    assert!(client.ensure_topic("a", Retention::default()).await.expect("made"));
    let topics = client.list_topics().await.expect("listed");
    assert_eq!(topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let described = client.describe_topic("b").await.expect("described").topic;
    assert_eq!((described.topic_id, &described.retention, described.tail), (id.0, &retention, 0));
    assert!(client.delete_topic("b").await.expect("deleted"));
    assert!(!client.delete_topic("b").await.expect("gone already"));
    let error = client.describe_topic("b").await.expect_err("gone");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    for name in ["", "a/b", "..", "a\0"] {
        let error = client.create_topic(name, Retention::default()).await.expect_err("not a name");
        assert!(matches!(error, Error::InvalidName { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn more_topics_than_one_answer_holds_are_all_listed_in_order() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let mut names: Vec<_> = (0..300).map(|n| format!("{:x}-topic", n * 7919 % 4096)).collect();
    for name in &names {
        client.create_topic(name, Retention::default()).await.expect("made");
    }
    names.sort_unstable();
    let listed = client.list_topics().await.expect("listed");
    assert_eq!(listed.into_iter().map(|topic| topic.name).collect::<Vec<_>>(), names);
}

#[tokio::test]
async fn the_server_counts_what_there_is() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    client.ping().await.expect("answered");
    for topic in ["a", "b"] {
        let producer = client.producer(topic).create_topic(Retention::default()).open().await.expect("opens");
        producer.send(record(0)).await.expect("durable");
        client.consumer(topic).name("c").open().await.expect("opens");
    }
    let info = client.server_info().await.expect("answered");
    assert_eq!((info.topics, info.producers, info.consumers, info.connections), (2, 2, 2, 1));
    assert_eq!((info.ephemeral, info.accepts_appends), (true, true));
    client.delete_topic("a").await.expect("deleted");
    let info = client.server_info().await.expect("answered");
    assert_eq!((info.topics, info.producers, info.consumers), (1, 1, 1));
}

#[tokio::test]
async fn a_time_is_an_offset() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let producer = client.producer("t").create_topic(Retention::default()).open().await.expect("opens");
    for number in 0..5 {
        producer.send(record(number)).await.expect("durable");
    }
    assert_eq!(client.offset_for_timestamp("t", Timestamp(0)).await.expect("answered").0, 0);
    assert_eq!(client.offset_for_timestamp("t", Timestamp(u64::MAX)).await.expect("answered").0, 5);
}
