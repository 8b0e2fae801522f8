//! Names that are not allowed, on every message that has one, and names and ids of what does not exist.

use connectify::{
    limits::{MAX_NAME_BYTES, MAX_TOPIC_NAME_BYTES},
    protocol::{
        Backlog, Commit, CreateTopic, CursorMove, DeleteTopic, Dequeue, DescribeTopic, ErrorCode, Fetch, ListProducers,
        ListTopics, OffsetForTimestamp, Opcode, ProducerState, RegisterConsumer, RegisterProducer, Request, Retention,
        Start, Subscribe, Unsubscribe, encode_body,
    },
};

use super::Wrongs;
use crate::support::{Raw, TestServer, append_of, batch, requests::subscribe_of};

/// A message of each kind that names a topic, for this one.
fn messages_with(topic: &str) -> Vec<(u16, Vec<u8>)> {
    fn of<R: Request>(request: &R) -> (u16, Vec<u8>) {
        (R::OPCODE as u16, encode_body(request))
    }
    let topic = topic.to_owned();
    vec![
        of(&CreateTopic { topic: topic.clone(), retention: Retention::default(), if_absent: true }),
        of(&DeleteTopic { topic: topic.clone(), if_present: false }),
        of(&DescribeTopic { topic: topic.clone() }),
        of(&RegisterProducer { topic: topic.clone(), name: None, create: None }),
        of(&RegisterProducer { topic: topic.clone(), name: Some("p".to_owned()), create: Some(Retention::default()) }),
        of(&ListProducers { topic: topic.clone(), ..ListProducers::default() }),
        of(&RegisterConsumer { topic: topic.clone(), name: None, start: Start::Head }),
        of(&Fetch { topic: topic.clone(), offset: 0, max_bytes: 1000, max_wait_ms: 0 }),
        of(&Subscribe { topic: topic.clone(), start: Start::Head, credit_bytes: 1000 }),
        of(&OffsetForTimestamp { topic, timestamp_us: 0 }),
    ]
}

#[tokio::test]
async fn topics_with_names_that_are_not_allowed_are_refused_by_every_message() {
    let mut wrongs = Wrongs::new().await;
    let too_long = "x".repeat(MAX_TOPIC_NAME_BYTES + 1);
    let far_too_long = "x".repeat(60_000);
    let names = [
        "",
        &too_long,
        &far_too_long,
        "/",
        "a/b",
        "../etc/passwd",
        "..",
        ".",
        ".hidden",
        "a..b",
        "a\\b",
        "\0",
        "a\0",
        "a\nb",
        "a\r\n",
        "\u{1b}[2J",
        "\u{7f}",
        " ",
        "a b",
        "a:b",
        "a*",
        "%2e%2e",
        "\u{e4}",
        "\u{fe0f}",
        "\u{65e5}\u{672c}",
        "\u{85}",
        "a\u{202e}b",
    ];
    for name in names {
        for (opcode, body) in messages_with(name) {
            wrongs.get(ErrorCode::InvalidName, opcode, 1, 0, &body).await;
        }
    }
}

#[tokio::test]
async fn producers_and_consumers_with_names_that_are_not_allowed_are_refused() {
    let mut wrongs = Wrongs::new().await;
    wrongs.raw.create_topic("t", Retention::default()).await;
    let too_long = "x".repeat(MAX_NAME_BYTES + 1);
    for name in ["", &too_long, "\0", "a\nb", "\u{1b}", "\u{7f}", "\u{80}", "\u{9f}"] {
        let (topic, name) = ("t".to_owned(), Some(name.to_owned()));
        let producer = RegisterProducer { topic: topic.clone(), name: name.clone(), create: None };
        wrongs.raw.refused(ErrorCode::InvalidName, &producer, Vec::new()).await;
        let consumer = RegisterConsumer { topic: topic.clone(), name: name.clone(), start: Start::Head };
        wrongs.raw.refused(ErrorCode::InvalidName, &consumer, Vec::new()).await;
        // A topic is not made for a producer that is refused.
        let create = Some(Retention::default());
        let producer = RegisterProducer { topic: "not-made".to_owned(), name, create };
        wrongs.raw.refused(ErrorCode::InvalidName, &producer, Vec::new()).await;
        wrongs.bystander.carries_on().await;
    }
    let topic = DescribeTopic { topic: "not-made".to_owned() };
    wrongs.raw.refused(ErrorCode::UnknownTopic, &topic, Vec::new()).await;
    let info = wrongs.raw.topic("t").await;
    assert_eq!((info.producers, info.consumers), (0, 0));
}

#[tokio::test]
async fn names_at_the_edge_of_what_is_allowed_are_taken_and_differ_in_case() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let longest = "x".repeat(MAX_TOPIC_NAME_BYTES);
    let names = ["-", "0", "A", "_", "_.a", "a", "a.", "a.b.c-D_9", &longest];
    for name in names {
        let producer = raw.producer(name).await;
        raw.append(&producer, &batch(&producer, 0..1, &[name])).await;
    }
    for name in names {
        assert_eq!(raw.read_all(name).await, [(0, name.to_owned())]);
    }
    let listed = raw.ask(&ListTopics::default()).await.topics;
    assert_eq!(listed.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), names);
    for name in ["x", " ", "\u{65e5}\u{672c}", "/../", &"x".repeat(MAX_NAME_BYTES)] {
        let first = raw.producer_named("a", Some(name)).await;
        assert_eq!(raw.producer_named("a", Some(name)).await.producer_id, first.producer_id);
        let first = raw.consumer("a", Some(name), Start::Head).await;
        assert_eq!(raw.consumer("a", Some(name), Start::Head).await.consumer_id, first.consumer_id);
    }
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_unknown_to_every_message() {
    let mut wrongs = Wrongs::new().await;
    for (opcode, body) in messages_with("nowhere") {
        let makes_it = opcode == Opcode::CreateTopic as u16
            || (opcode == Opcode::RegisterProducer as u16 && body.len() > b"\x07nowhere\x00\x00".len());
        if !makes_it {
            wrongs.get(ErrorCode::UnknownTopic, opcode, 1, 0, &body).await;
        }
    }
    let absent = DeleteTopic { topic: "nowhere".to_owned(), if_present: true };
    assert!(!wrongs.raw.ask(&absent).await.deleted);
    let producer = wrongs.raw.producer("t").await;
    for topic_id in [0, producer.topic_id + 1, u32::MAX] {
        let (append, batches) = append_of(&[(topic_id, batch(&producer, 0..1, &["x"]))], &[]);
        let error = wrongs.raw.refused(ErrorCode::UnknownTopic, &append, batches).await;
        assert_eq!(error.details, [0]);
    }
}

#[tokio::test]
async fn a_topic_that_exists_is_not_made_again() {
    let mut wrongs = Wrongs::new().await;
    let topic_id = wrongs.raw.create_topic("t", Retention::default()).await;
    let create = |if_absent, bytes| CreateTopic {
        topic: "t".to_owned(),
        retention: Retention { bytes, age_ms: None },
        if_absent,
    };
    wrongs.raw.refused(ErrorCode::TopicExists, &create(false, None), Vec::new()).await;
    let answer = wrongs.raw.ask(&create(true, Some(77))).await;
    assert_eq!((answer.topic_id, answer.created), (topic_id, false));
    assert_eq!(wrongs.raw.topic("t").await.retention, Retention::default());
    wrongs.bystander.carries_on().await;
}

#[tokio::test]
async fn a_retention_of_nothing_is_refused() {
    let mut wrongs = Wrongs::new().await;
    let (none, zero) = (None, Some(0));
    for (bytes, age_ms) in [(zero, none), (none, zero), (zero, zero), (zero, Some(5)), (Some(5), zero)] {
        let (topic, retention) = ("t".to_owned(), Retention { bytes, age_ms });
        let create = CreateTopic { topic: topic.clone(), retention: retention.clone(), if_absent: false };
        wrongs.raw.refused(ErrorCode::InvalidRetention, &create, Vec::new()).await;
        let register = RegisterProducer { topic, name: None, create: Some(retention) };
        wrongs.raw.refused(ErrorCode::InvalidRetention, &register, Vec::new()).await;
    }
    wrongs.raw.refused(ErrorCode::UnknownTopic, &DescribeTopic { topic: "t".to_owned() }, Vec::new()).await;
}

#[tokio::test]
async fn a_retention_is_described_as_it_was_given() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let given = [(Some(1), None), (None, Some(1)), (Some(u64::MAX), Some(1 << 53)), (Some(1 << 40), Some(604_800_000))];
    for (n, (bytes, age_ms)) in given.into_iter().enumerate() {
        let (name, retention) = (format!("t{n}"), Retention { bytes, age_ms });
        raw.create_topic(&name, retention.clone()).await;
        assert_eq!(raw.topic(&name).await.retention, retention);
    }
}

#[tokio::test]
async fn producers_consumers_and_subscriptions_that_do_not_exist_are_unknown() {
    let mut wrongs = Wrongs::new().await;
    let producer = wrongs.raw.producer("t").await;
    let elsewhere = wrongs.raw.producer("elsewhere").await;
    let theirs = wrongs.raw.consumer("elsewhere", None, Start::Head).await.consumer_id;
    for id in [[0; 16], [0xff; 16], producer.producer_id] {
        let raw = &mut wrongs.raw;
        let unknown = ErrorCode::UnknownConsumer;
        raw.refused(unknown, &Commit { consumer_id: id, offset: 0, rewind: false }, Vec::new()).await;
        raw.refused(unknown, &Backlog { consumer_id: id }, Vec::new()).await;
        let dequeue = Dequeue { consumer_id: id, cursor: 0, attempt: 1, max_records: 1, max_wait_ms: 60_000 };
        raw.refused(unknown, &dequeue, Vec::new()).await;
        raw.refused(unknown, &subscribe_of("t", Start::Cursor(id), 1000), Vec::new()).await;
        let parts = [(producer.topic_id, batch(&producer, 0..1, &["x"]))];
        let (append, batches) = append_of(&parts, &[CursorMove { consumer_id: id, offset: 0 }]);
        raw.refused(unknown, &append, batches).await;
        wrongs.bystander.carries_on().await;
    }
    let raw = &mut wrongs.raw;
    for producer_id in [[0; 16], [0xff; 16], theirs] {
        raw.refused(ErrorCode::UnknownProducer, &ProducerState { producer_id }, Vec::new()).await;
    }
    // A cursor in another topic says nothing about this one, nor does a producer of it.
    raw.refused(ErrorCode::UnknownConsumer, &subscribe_of("t", Start::Cursor(theirs), 1000), Vec::new()).await;
    let (append, batches) = append_of(&[(producer.topic_id, batch(&elsewhere, 0..1, &["x"]))], &[]);
    let error = raw.refused(ErrorCode::ProducerNotForTopic, &append, batches).await;
    assert_eq!(error.details, [0]);
    for subscription_id in [0, 1, u32::MAX] {
        raw.refused(ErrorCode::UnknownSubscription, &Unsubscribe { subscription_id }, Vec::new()).await;
    }
    assert_eq!(raw.topic("t").await.tail, 0);
    wrongs.bystander.carries_on().await;
}
