//! The socket that a server listens on.

use std::io;

use connectify::limits::LISTEN_BACKLOG;
use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Listens on the first of the addresses that this one stands for, and that can be had.
///
/// The library's own `bind` lets 128 connections wait to be accepted. When thousands come at once the system drops what
/// is beyond that, and whoever is dropped, honest or not, tries again after a second at the earliest.
pub(crate) async fn bind(address: &str) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "it stands for no address");
    for address in lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A server that was just stopped has left connections behind that still hold the address.
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(LISTEN_BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Far longer than it takes; who was dropped waits for minutes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Ten thousand connections came at once: some hundreds were dropped by the system, and a few silent ones were never
    /// seen by the server, whose end of them was forgotten.
    #[tokio::test]
    async fn many_connections_may_wait_to_be_accepted() {
        let listener = bind("127.0.0.1:0").await.expect("any port");
        let address = listener.local_addr().expect("bound");
        let mut waiting = Vec::new();
        // Nobody accepts, so each of these must find a place in the queue.
        for _ in 0..500 {
            let connecting = timeout(PATIENCE, tokio::net::TcpStream::connect(address)).await;
            waiting.push(connecting.expect("nobody is dropped").expect("there is room"));
        }
        for _ in &waiting {
            listener.accept().await.expect("it waits");
        }
    }
}
