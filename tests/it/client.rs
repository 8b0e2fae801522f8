//! The public client against a real server: what its documentation promises.

mod admin;
mod consuming;
mod failures;
mod producing;

use std::{net::SocketAddr, time::Duration};

use connectify::{Client, Record, client::ClientBuilder};

use crate::support::within;

/// A client that comes back quickly.
fn builder(address: SocketAddr) -> ClientBuilder {
    Client::builder(address.to_string()).reconnect(Duration::from_millis(1), Duration::from_millis(50))
}

async fn client(address: SocketAddr) -> Client {
    within("connecting", builder(address).connect()).await.expect("the server answers")
}

fn record(number: u64) -> Record {
    Record::new(number.to_string())
}

/// Everything in a topic, read by a consumer of its own.
async fn all_of(client: &Client, topic: &str) -> Vec<String> {
    let mut consumer = client.consumer(topic).open().await.expect("the topic exists");
    let mut found = Vec::new();
    while consumer.lag() > 0 {
        let record = within("a record", consumer.next_record()).await.expect("good").expect("no end");
        assert_eq!(record.offset.0, found.len() as u64);
        found.push(text(&record.record));
    }
    found
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.to_vec()).expect("tests write text")
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
