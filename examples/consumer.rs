//! Prints the records of a topic as they come, and remembers on the server how far it is.
//!
//! ```text
//! cargo run --example consumer -- [SERVER] [TOPIC]
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks")]

use connectify::{Client, ClientError};

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().unwrap_or_else(|| "127.0.0.1:7466".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "example".to_owned());
    let client = Client::connect(server).await?;
    // The name makes it go on where it stopped, also on another machine.
    let mut consumer = client.consumer(&topic).name("example-printer").open().await?;

    loop {
        let batch = match consumer.next_batch().await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(()),
            Err(gap @ ClientError::Gap { .. }) => {
                eprintln!("{gap}");
                continue;
            }
            Err(error) => return Err(error),
        };
        for record in batch.records()? {
            let record = record?;
            println!("{} {}", record.offset, String::from_utf8_lossy(&record.record.value));
        }
        // After the work, never before: what is not committed is read again after a crash.
        consumer.commit(batch.next_offset()).await?;
        eprintln!("{} records behind", consumer.lag());
    }
}
