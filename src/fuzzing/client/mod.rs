//! A client against a server that does what bytes say: mostly what it should, so that the talk goes on, and then anything.

mod answers;
mod calls;
mod ledger;
mod server;

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::duplex,
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::{
    client::{BoxTransport, Client},
    trial::Rng,
};
use ledger::Ledger;
use server::Server;

/// Room in each direction of a connection.
const PIPE_BYTES: usize = 64 * 1024;
/// Longer than all calls of a client take, with the deadlines that they have.
const ALL_BYTES_READ: Duration = Duration::from_secs(3600);

/// A client tells the truth about what became of each record, hands out records in order and without holes but for gaps
/// that it names, ends every call by its deadline, and panics nowhere, whatever the server sends. On a clock that jumps.
pub fn client(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without sockets").block_on(async {
        let talked = timeout(ALL_BYTES_READ, talk(data)).await;
        assert!(talked.is_ok(), "a call has not ended long after its deadline");
    });
}

async fn talk(data: &[u8]) {
    let (connect, incoming) = mpsc::unbounded_channel();
    let ledger = Arc::new(Ledger::default());
    let builder = Client::builder("hostile").seed(1).request_timeout(calls::REQUEST_TIMEOUT).connector(move || {
        let (near, far) = duplex(PIPE_BYTES);
        let sent = connect.send(far);
        Box::pin(async move {
            sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(Box::new(near) as BoxTransport)
        })
    });
    let server = tokio::spawn(Server::new(Rng::chosen(data), incoming, ledger.clone()).run());
    let client = builder.connect_lazy().expect("good settings");
    calls::make(&client, &ledger).await;
    let began = Instant::now();
    client.close().await;
    let took = began.elapsed();
    assert!(took <= calls::REQUEST_TIMEOUT + calls::SLACK, "closing took {took:?}");
    // With the client the connector is gone, and with its last connection the server; what it found wrong is a panic.
    server.await.expect("the server found no fault");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::choices::try_out;

    #[test]
    fn any_server_is_told_from_a_good_one() {
        try_out(client, 300, 400);
    }
}
