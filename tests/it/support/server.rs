//! Servers in this process, each on a runtime of its own: so one can crash, and clients run truly beside it.

use std::{net::SocketAddr, path::Path, sync::mpsc};

use connectify::{
    server::{Error, Server, ServerConfig},
    storage::StorageError,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::oneshot,
    time::Instant,
};

use super::{PATIENCE, within};

/// A server that listens on a port of its own.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Result<(), Error>>,
    /// `None` once it crashed.
    runtime: Option<Runtime>,
}

/// Settings that do not depend on the machine: nothing on disk, no reserve.
pub(crate) fn config() -> ServerConfig {
    ServerConfig::default().with_ephemeral().with_reserve_bytes(0)
}

/// The same, with data in a directory and small segments.
pub(crate) fn config_on(directory: &Path) -> ServerConfig {
    config().with_data_dir(directory).with_segment_bytes(64 * 1024)
}

impl TestServer {
    pub(crate) fn ephemeral() -> Self {
        Self::start(config())
    }

    pub(crate) fn on(directory: &Path) -> Self {
        Self::start(config_on(directory))
    }

    pub(crate) fn start(config: ServerConfig) -> Self {
        Self::serve("127.0.0.1:0".parse().expect("an address"), Server::open(config).expect("the store opens"))
    }

    /// Serves a store that is open already.
    pub(crate) fn serve(address: SocketAddr, server: Server) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (tell_address, bound) = mpsc::channel();
        runtime.spawn(async move {
            let listener = bind(address).await;
            tell_address.send(listener.local_addr().expect("a bound address")).expect("the test waits for it");
            // A sender that is dropped stops nothing.
            let shutdown = async {
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            // Nobody may be waiting for the end.
            drop(end.send(server.run(listener, shutdown).await));
        });
        let address = bound.recv_timeout(PATIENCE).expect("the server listens");
        Self { address, stop: Some(stop), ended, runtime: Some(runtime) }
    }

    /// Asks the server to stop.
    pub(crate) fn ask_to_stop(&mut self) {
        let stop = self.stop.take().expect("asked once");
        stop.send(()).expect("the server runs");
    }

    /// Waits for the end of a server that was asked to stop.
    pub(crate) async fn end(&mut self) {
        let ended = within("the server ends", &mut self.ended).await;
        ended.expect("it tells how it ended").expect("the store closes cleanly");
    }

    /// Stops the server in good order.
    pub(crate) async fn stop(mut self) {
        self.ask_to_stop();
        self.end().await;
    }

    /// Ends all tasks of the server where they stand. Nobody closes the store.
    pub(crate) fn crash(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // A runtime must not be dropped within another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Binds, also to a port that a server of this test has just left.
async fn bind(address: SocketAddr) -> TcpListener {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "cannot listen on {address}: {error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Opens a store that a crashed server may still hold for a moment.
pub(crate) async fn open_when_free(config: ServerConfig) -> Server {
    let deadline = Instant::now() + PATIENCE / 4;
    loop {
        match Server::open(config.clone()) {
            Err(Error::Storage(StorageError::Locked(path))) => {
                assert!(Instant::now() < deadline, "{} is still locked", path.display());
            }
            opened => return opened.expect("the store opens"),
        }
        tokio::task::yield_now().await;
    }
}
