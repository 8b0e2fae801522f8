//! Appends a thousand records and prints where the last one is.
//!
//! ```text
//! cargo run --example producer -- [SERVER]
//! ```

#![allow(clippy::print_stdout, reason = "an example talks")]

use connectify::{Client, ClientError, Record, client::Retention};

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7466".to_owned());
    let client = Client::connect(server).await?;
    let producer = client.producer("example").create_topic(Retention::default()).open().await?;

    // One record, durable when the call returns.
    let first = producer.send(Record::new("the first line").key("example")).await?;
    println!("first record at offset {first}");

    // Many: each waits only for room in the producer's window, and batches form by themselves.
    let mut last = None;
    for number in 1..1000 {
        last = Some(producer.enqueue(Record::new(format!("line {number}"))).await?);
    }
    if let Some(ticket) = last {
        println!("last record at offset {}", ticket.await?);
    }
    // Everything is durable when this returns without an error.
    producer.close().await
}
