//! The public client when servers stop, change, refuse, or hold what they did not store.

use std::{fs, time::Duration};

use connectify::{
    Client, Record,
    client::{ConnectionState, Error, ErrorCode, Producer, Retention},
};

use super::{all_of, builder, client, numbers, record, text};
use crate::support::{TestServer, config, images::directory, server::config_on, within};

/// Serves the same directory at the same address again.
fn restart(directory: &std::path::Path, address: std::net::SocketAddr) -> TestServer {
    TestServer::serve(address, connectify::Server::open(config_on(directory)).expect("the store opens"))
}

#[tokio::test]
async fn producers_and_consumers_go_on_over_restarts_exactly_once() {
    let directory = directory();
    let mut server = TestServer::on(directory.path());
    let address = server.address;
    let (writing, reading) = (client(address).await, client(address).await);
    let open = async |name: Option<&str>| {
        let builder = writing.producer("t").create_topic(Retention::default()).batch_bytes(500);
        let builder = match name {
            Some(name) => builder.name(name),
            None => builder,
        };
        builder.open().await.expect("opens")
    };
    let producers = [open(Some("named")).await, open(None).await];
    let write = async |producer: &Producer, who: usize| {
        let mut tickets = Vec::new();
        for number in 0..3000 {
            tickets.push(producer.enqueue(Record::new(format!("{who} {number}"))).await.expect("room"));
        }
        let mut offsets = Vec::new();
        for ticket in tickets {
            offsets.push(ticket.await.expect("durable").0);
        }
        offsets
    };
    let read = async {
        let mut consumer = reading.consumer("t").open().await.expect("opens");
        let mut found = Vec::new();
        while found.len() < 6000 {
            let record = consumer.next_record().await.expect("good").expect("no end");
            assert_eq!(record.offset.0, found.len() as u64);
            found.push(text(&record.record));
        }
        found
    };
    let restarts = async {
        let mut watched = writing.state();
        for _ in 0..3 {
            server.ask_to_stop();
            server.end().await;
            watched.wait_for(|state| *state != ConnectionState::Connected).await.expect("the client lives");
            server = restart(directory.path(), address);
            watched.wait_for(|state| *state == ConnectionState::Connected).await.expect("the client lives");
        }
    };
    let all = async { tokio::join!(write(&producers[0], 0), write(&producers[1], 1), read, restarts) };
    let (first, second, found, ()) = within("all of it", all).await;
    for (who, offsets) in [first, second].iter().enumerate() {
        assert!(offsets.is_sorted());
        for (number, offset) in offsets.iter().enumerate() {
            assert_eq!(found[usize::try_from(*offset).expect("few")], format!("{who} {number}"));
        }
    }
    assert_eq!(all_of(&reading, "t").await, found);
}

#[tokio::test]
async fn calls_wait_for_the_server_to_come_back_and_say_so_when_it_does_not() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let address = server.address;
    let patient = client(address).await;
    let impatient = builder(address).request_timeout(Duration::from_millis(20)).connect().await.expect("connects");
    patient.create_topic("t", Retention::default()).await.expect("made");
    server.stop().await;
    let error = impatient.describe_topic("t").await.expect_err("nobody is there");
    assert!(matches!(error, Error::TimedOut { .. }) && error.is_retryable() && !error.may_have_applied(), "{error:?}");
    let back = async { restart(directory.path(), address) };
    let (described, server) = tokio::join!(within("the server", patient.describe_topic("t")), back);
    assert_eq!(described.expect("answered").topic.name, "t");
    within("the other client", async { while impatient.ping().await.is_err() {} }).await;
    drop(server);
}

#[tokio::test]
async fn other_data_at_the_same_address_is_not_appended_to_nor_read() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let address = server.address;
    let client = client(address).await;
    let producer = client.producer("t").create_topic(Retention::default()).name("p").open().await.expect("opens");
    producer.send(record(0)).await.expect("durable");
    let mut consumer = client.consumer("t").open().await.expect("opens");
    consumer.next_record().await.expect("good").expect("no end");
    server.stop().await;
    let other = TestServer::serve(address, connectify::Server::open(config()).expect("opens"));
    let appended = within("a refusal", producer.send(record(1))).await;
    assert!(matches!(appended, Err(Error::ServerChanged { .. })), "{appended:?}");
    let read = within("a refusal", consumer.next_record()).await;
    assert!(matches!(read, Err(Error::ServerChanged { .. } | Error::Refused(_))), "{read:?}");
    assert!(client.list_topics().await.expect("answered").is_empty());
    drop(other);
}

#[tokio::test]
async fn a_server_that_refuses_for_good_is_not_asked_again() {
    let server = TestServer::start(config().with_credentials("s3cret"));
    let error = within("a refusal", builder(server.address).credentials("wrong").connect()).await;
    assert_eq!(error.expect_err("wrong").code(), Some(ErrorCode::Unauthorized));
    let error = within("a refusal", builder(server.address).connect()).await;
    assert_eq!(error.expect_err("none").code(), Some(ErrorCode::Unauthorized));
    let client = builder(server.address).credentials("s3cret").connect().await.expect("connects");
    client.ping().await.expect("answered");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_an_error_when_the_time_is_over() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let error = builder(address).connect_timeout(Duration::from_millis(20)).connect().await.expect_err("nobody");
    assert!(matches!(error, Error::Connect { .. }) && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_client_that_is_closed_says_so() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let producer = client.producer("t").create_topic(Retention::default()).open().await.expect("opens");
    producer.send(record(0)).await.expect("durable");
    let other = client.clone();
    within("close", client.close()).await;
    assert!(matches!(other.ping().await, Err(Error::Closed)));
    assert!(producer.send(record(1)).await.is_err());
    assert_eq!(all_of(&super::client(server.address).await, "t").await, numbers(0..1));
}

/// Changes a byte wherever these bytes are in the files of a directory.
fn damage(directory: &std::path::Path, marker: &[u8]) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let mut bytes = fs::read(&path).expect("a file");
        let places: Vec<_> = bytes.windows(marker.len()).enumerate().filter(|(_, at)| *at == marker).collect();
        let places: Vec<usize> = places.into_iter().map(|(at, _)| at).collect();
        places.iter().for_each(|at| bytes[*at] ^= 1);
        fs::write(&path, &bytes).expect("a file");
        count += places.len();
    }
    count
}

#[tokio::test]
async fn a_record_that_the_disk_has_changed_is_an_error_and_never_a_record() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let writer: Client = client(server.address).await;
    let producer = writer.producer("t").create_topic(Retention::default()).open().await.expect("opens");
    let filler = "x".repeat(5_000);
    for number in 0..40 {
        let value = if number == 7 { "remember-this-one".to_owned() } else { format!("{number} {filler}") };
        producer.send(Record::new(value)).await.expect("durable");
    }
    drop((producer, writer));
    server.stop().await;
    assert!(damage(directory.path(), b"remember-this-one") > 0);
    let server = TestServer::start(config_on(directory.path()).with_tail_cache_bytes(0));
    let client = client(server.address).await;
    let mut consumer = client.consumer("t").open().await.expect("opens");
    let mut good = 0;
    let error = loop {
        match within("a record or the damage", consumer.next_record()).await {
            Ok(record) => {
                let value = text(&record.expect("no end before the damage").record);
                assert!(value.starts_with(&format!("{good} ")), "record {good} is {value}");
                good += 1;
            }
            Err(error) => break error,
        }
    };
    let is_told = matches!(error, Error::Corrupt { .. }) || error.code() == Some(ErrorCode::Corrupted);
    assert!(is_told && good <= 7, "{good} records, then {error:?}");
}
