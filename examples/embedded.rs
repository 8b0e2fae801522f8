//! A server inside a test: in memory, on a port of its own, gone when the test ends.
//!
//! ```text
//! cargo run --example embedded
//! ```

use connectify::{Client, Record, Server, ServerConfig};
use tokio::{net::TcpListener, sync::oneshot};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::open(ServerConfig::default().with_ephemeral())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(server.run(listener, async { drop(stopped.await) }));

    let client = Client::connect(address).await?;
    let producer = client.producer("orders").create_topic(Default::default()).open().await?;
    producer.send(Record::new("first").key("customer-7")).await?;

    let mut consumer = client.consumer("orders").open().await?;
    let first = consumer.next_record().await?.expect("one was sent");
    assert_eq!(&first.record.value[..], b"first");

    drop(stop);
    running.await??;
    Ok(())
}
