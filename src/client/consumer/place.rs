//! From where to start to an offset.

use crate::{
    client::{Client, Error, call::Terms},
    protocol::{Backlog, DescribeTopic, Id, Start},
    record::{Offset, Timestamp},
};

/// A place in a topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The next record to read.
    pub(super) offset: Offset,
    /// What was asked for, when that is a place that may have moved before reading begins: the head, or a cursor.
    pub(super) moving: Option<Start>,
    pub(super) head: Offset,
    pub(super) tail: Offset,
    /// Identity of the data.
    pub(super) server_id: Id,
}

impl Place {
    /// Finds it.
    pub(super) async fn find(client: &Client, topic: &str, start: Start, terms: Terms) -> Result<Self, Error> {
        if let Start::Cursor(id) = start {
            return Self::of_cursor(client, id, terms).await;
        }
        let answered = client.ask(&DescribeTopic { topic: topic.to_owned() }, terms).await?;
        let (head, tail) = (Offset(answered.answer.topic.head), Offset(answered.answer.topic.tail));
        let offset = match start {
            Start::Head | Start::Cursor(_) => head,
            Start::Tail => tail,
            Start::Offset(offset) => Offset(offset),
            Start::Timestamp(at) => client.offset_for_timestamp(topic, Timestamp(at)).await?,
        };
        let moving = Some(start).filter(|&start| start == Start::Head);
        Ok(Self { offset, moving, head, tail, server_id: answered.granted.server_id })
    }

    /// The cursor of a consumer.
    pub(super) async fn of_cursor(client: &Client, consumer_id: Id, terms: Terms) -> Result<Self, Error> {
        let answered = client.ask(&Backlog { consumer_id }, terms).await?;
        let answer = answered.answer;
        Ok(Self {
            offset: Offset(answer.cursor),
            moving: Some(Start::Cursor(consumer_id)),
            head: Offset(answer.head),
            tail: Offset(answer.tail),
            server_id: answered.granted.server_id,
        })
    }
}
