//! Why a server does not start, or did not stop cleanly.

use crate::broker::StorageError;

/// An error of the server as a whole. What goes wrong on one connection is told to that connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be opened or closed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The runtime was shut down under the server.
    #[error("the runtime stopped before the server did")]
    Stopped,
}
