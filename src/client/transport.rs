//! Where a connection's bytes go: TCP, unless a test or a simulation puts something else in its place.

use std::{io, sync::Arc};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A connected pair of byte streams.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A transport of any kind.
pub type BoxTransport = Box<dyn Transport>;

/// Makes a new connection each time it is called.
pub(super) type Connector = Arc<dyn Fn() -> BoxFuture<'static, io::Result<BoxTransport>> + Send + Sync>;

/// Connects to `address`, `host:port`, over TCP. A name is looked up again for every connection.
pub(super) fn tcp(address: Arc<str>) -> Connector {
    Arc::new(move || {
        let address = Arc::clone(&address);
        Box::pin(async move {
            let stream = TcpStream::connect(&*address).await?;
            // Frames leave as soon as they are written; what can be sent together is put together before.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxTransport)
        })
    })
}
