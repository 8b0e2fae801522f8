//! Sessions over a pipe in memory, on a clock that does not wait.

use std::net::Ipv4Addr;

use tokio::{
    io::AsyncWriteExt as _,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    broker::{Broker, BrokerConfig, Place},
    protocol::{Hello, PROTOCOL_VERSION, Ping, preface},
    server::ServerConfig,
};

fn shared() -> Arc<Shared> {
    let broker = Broker::open(Place::Memory, BrokerConfig::default()).expect("opens in memory");
    Arc::new(Shared::new(broker, ServerConfig::default().with_ephemeral()))
}

/// A client that sent pings and took no answer kept its connection for as long as it went on sending.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_dropped_however_much_it_sends() {
    let (client, server) = tokio::io::duplex(1024);
    let (reader, writer) = tokio::io::split(server);
    let session = tokio::spawn(run(shared(), reader, writer, (Ipv4Addr::LOCALHOST, 1).into()));
    // Nobody reads from this half.
    let (_unread, mut sink) = tokio::io::split(client);
    let hello = Hello {
        client_name: "never reads".to_owned(),
        min_version: PROTOCOL_VERSION,
        max_version: PROTOCOL_VERSION,
        credentials: Vec::new(),
        max_frame_bytes: 0,
    };
    sink.write_all(&preface()).await.expect("the server reads");
    sink.write_all(&encode_request(&hello, 1, Vec::new()).to_bytes()).await.expect("the server reads");
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < WRITE_STALL_TIMEOUT * 5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sent += 1;
        let ping = encode_request(&Ping::default(), 1 + sent, Vec::new()).to_bytes();
        if sink.write_all(&ping).await.is_err() {
            break;
        }
    }
    assert!(began.elapsed() < WRITE_STALL_TIMEOUT * 3, "it was kept for {:?}", began.elapsed());
    session.await.expect("it ends");
}
