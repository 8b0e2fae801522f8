//! A layer for `tracing`, and a logger for `log`, that ship events to a topic without making their callers wait.
//!
//! ```text
//!  event ─▶ encoded on its thread ─▶ buffer, bounded in bytes ─▶ thread of our own ─▶ topic
//!                                        └ full: dropped, counted, said in the topic
//! ```
//!
//! ```no_run
//! use std::time::Duration;
//! use tracing_subscriber::prelude::*;
//!
//! let (layer, guard) = connectify::tracing::builder("127.0.0.1:7466", "app").field("service", "api").build()?;
//! tracing_subscriber::registry().with(layer).init();
//! tracing::info!(user = 7, "logged in");
//! let report = guard.flush(Duration::from_secs(2));
//! assert_eq!(report.pending, 0);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Each event is a record: its value is a JSON object with `level`, `target`, `message`, `fields` of their types, and
//! `spans` from the outermost on; its timestamp is when it happened.
//!
//! **When the buffer is full**, events are dropped, those below `WARN` before the others, unless the builder says to wait.
//! How many were dropped is a record of its own, as soon as there is room. **When the server is away**, the buffer fills;
//! with [`Builder::spill_dir`] events go to a spool on disk instead, and what is there when the program ends is shipped at
//! its next start, each once.
//!
//! **Loops.** Events of this crate, and of the thread that ships, are passed over.

mod buffer;
mod encode;
mod guard;
mod layer;
mod logger;
mod sender;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

pub use self::{
    guard::{FlushReport, Guard, Stats},
    layer::ConnectifyLayer,
    logger::Logger,
};

use self::{buffer::Buffer, encode::Encoder};

/// What happens to an event when the buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// It is dropped.
    Drop,
    /// Its caller waits for room, at most so long; then it is dropped.
    Block(Duration),
}

/// Which spans an event carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpanContext {
    /// None.
    None,
    /// The innermost.
    Leaf,
    /// All, the outermost first.
    #[default]
    All,
}

/// Settings; see [`builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    address: String,
    topic: String,
    credentials: Vec<u8>,
    buffer_bytes: usize,
    on_full: OnFull,
    span_context: SpanContext,
    fields: Vec<(String, String)>,
    spill_dir: Option<PathBuf>,
    drop_timeout: Duration,
}

/// Events go to a topic of the server at `address`, `host:port`; the topic is made if it does not exist.
pub fn builder(address: impl Into<String>, topic: impl Into<String>) -> Builder {
    Builder {
        address: address.into(),
        topic: topic.into(),
        credentials: Vec::new(),
        buffer_bytes: 4 << 20,
        on_full: OnFull::Drop,
        span_context: SpanContext::default(),
        fields: Vec::new(),
        spill_dir: None,
        drop_timeout: Duration::from_secs(2),
    }
}

impl Builder {
    /// What the server was configured to expect. Default: nothing.
    pub fn credentials(mut self, credentials: impl Into<Vec<u8>>) -> Self {
        self.credentials = credentials.into();
        self
    }

    /// Bytes of events that are not acknowledged. A tenth of it is kept for `WARN` and `ERROR`. Default: 4 MiB.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes.max(4096);
        self
    }

    /// What happens when it is full. Default: [`OnFull::Drop`].
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = on_full;
        self
    }

    /// Which spans an event carries. Default: all.
    pub fn span_context(mut self, span_context: SpanContext) -> Self {
        self.span_context = span_context;
        self
    }

    /// A field of every event.
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// A directory where events wait for the server. One program at a time. Default: none.
    pub fn spill_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spill_dir = Some(directory.into());
        self
    }

    /// How long dropping the [`Guard`] waits for what is not acknowledged. Default: 2 s.
    pub fn drop_timeout(mut self, timeout: Duration) -> Self {
        self.drop_timeout = timeout;
        self
    }

    /// A layer for `tracing`, and the guard that must live as long as events are to be shipped. Connects in the background.
    ///
    /// # Errors
    /// When no thread can be started, or the spill directory cannot be used.
    pub fn build(self) -> io::Result<(ConnectifyLayer, Guard)> {
        let (encoder, buffer, guard) = self.start()?;
        Ok((ConnectifyLayer::new(encoder, buffer), guard))
    }

    /// The same for `log`: hand the logger to `log::set_boxed_logger`.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_logger(self) -> io::Result<(Logger, Guard)> {
        let (encoder, buffer, guard) = self.start()?;
        Ok((Logger::new(encoder, buffer), guard))
    }

    fn start(self) -> io::Result<(Arc<Encoder>, Arc<Buffer>, Guard)> {
        let encoder = Arc::new(Encoder::new(self.span_context, &self.fields));
        let buffer = Arc::new(Buffer::new(self.buffer_bytes, self.on_full));
        let thread = sender::start(&self, Arc::clone(&buffer))?;
        Ok((encoder, Arc::clone(&buffer), Guard::new(buffer, thread, self.drop_timeout)))
    }
}
