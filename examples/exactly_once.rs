//! Reads one topic and writes another, each record exactly once: results and cursor become durable in one instant.
//!
//! ```text
//! cargo run --example exactly_once -- [SERVER]
//! ```

#![allow(clippy::print_stdout, reason = "an example talks")]

use connectify::{Client, ClientError, Record, client::Retention};

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7466".to_owned());
    let client = Client::connect(server).await?;
    client.ensure_topic("example", Retention::default()).await?;

    // The producer first: opening it under its name fences a copy of this program that still runs. Only then is the
    // cursor read, which that copy can move no more.
    let output = client.producer("example-lengths").name("lengths").create_topic(Retention::default()).open().await?;
    let mut input = client.consumer("example").name("lengths").open().await?;

    while let Some(batch) = input.next_batch().await? {
        let mut results = Vec::new();
        for record in batch.records()? {
            let record = record?;
            results.push(Record::new(format!("record {} has {} bytes", record.offset, record.record.value.len())));
        }
        // Wherever this program is stopped: either both have happened or neither.
        let cursor = input.cursor_move(batch.next_offset()).await?;
        let stored = output.send_all(results, &[cursor]).await?;
        println!("{} results at offset {}", stored.end.0 - stored.start.0, stored.start);
    }
    Ok(())
}
