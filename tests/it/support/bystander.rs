//! Somebody who must not notice what others do wrong.

use std::net::SocketAddr;

use connectify::protocol::RegisterProducerAnswer;

use super::{Raw, batch};

const TOPIC: &str = "bystander";

/// An honest client with a connection, a topic and records of its own.
pub(crate) struct Bystander {
    raw: Raw,
    producer: RegisterProducerAnswer,
    appended: Vec<(u64, String)>,
}

impl Bystander {
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let mut raw = Raw::open(address).await;
        let producer = raw.producer(TOPIC).await;
        Self { raw, producer, appended: Vec::new() }
    }

    /// Appends a record and reads everything back, on the connection that it has had all the time.
    pub(crate) async fn carries_on(&mut self) {
        let offset = self.appended.len() as u64;
        let value = format!("record {offset}");
        let part = self.raw.append(&self.producer, &batch(&self.producer, offset..offset + 1, &[&value])).await;
        assert_eq!((part.base_offset, part.duplicate), (Some(offset), false));
        self.appended.push((offset, value));
        assert_eq!(self.raw.read_all(TOPIC).await, self.appended);
    }
}
