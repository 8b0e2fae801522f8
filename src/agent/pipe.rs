//! What comes through a pipe: it cannot be read again, so it waits for the server, or in a spool.

use std::{
    fs::File,
    io,
    num::NonZeroU64,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, watch};

use super::{
    Shared, Stop,
    budget::Budget,
    config::SpoolSection,
    cutter::{Bounds, Cutter, Framing},
    in_flight::InFlight,
    relay::{Relay, TEXTS_AHEAD, TextSender},
    request::Asked,
};
use crate::{Compression, Record, Timestamp, client::Client, protocol::Retention};

/// Batches that are not acknowledged.
const IN_FLIGHT: usize = 8;
/// Records of one batch.
const RECORDS: usize = 8 << 10;

/// How to ship what comes through a pipe.
#[derive(Clone, Debug)]
pub struct Piping {
    /// Where the records go; the topic is made if it does not exist.
    pub topic: String,
    /// How batches are compressed.
    pub compression: Compression,
    /// A longer line is split.
    pub max_record_bytes: usize,
    /// A directory where lines wait for the server: then whoever writes into the pipe does not, and what was read survives
    /// a kill. One program at a time.
    pub spool: Option<PathBuf>,
}

impl Piping {
    /// Ships lines until the pieces end, and returns how many records are durable when all are.
    ///
    /// # Errors
    /// When the pipe cannot be read; whatever ends a producer; without a spool, what was read and is not durable is lost
    /// then.
    ///
    /// # Cancel safety
    /// Without a spool, what was read and is not durable may be lost.
    pub async fn run(&self, client: &Client, pieces: mpsc::Receiver<io::Result<Bytes>>) -> anyhow::Result<u64> {
        match &self.spool {
            None => self.directly(client, pieces).await,
            Some(directory) => self.through_spool(client, pieces, directory).await,
        }
    }

    fn cutter(&self) -> Cutter {
        Cutter::new(
            Framing::Lines,
            Bounds { max_record_bytes: self.max_record_bytes, max_lines: 1, max_records: RECORDS },
        )
    }

    async fn directly(&self, client: &Client, mut pieces: mpsc::Receiver<io::Result<Bytes>>) -> anyhow::Result<u64> {
        let producer = client
            .producer(&self.topic)
            .create_topic(Retention::default())
            .compression(self.compression)
            .delivery_timeout(Duration::MAX)
            .open()
            .await
            .with_context(|| format!("cannot produce to {}", self.topic))?;
        let (mut lines, mut in_flight) = (Lines::new(self.cutter()), InFlight::new());
        let (mut durable, mut has_ended) = (0, false);
        loop {
            while let Some(records) = lines.next(has_ended) {
                while in_flight.len() >= IN_FLIGHT {
                    durable += in_flight.oldest().await?;
                }
                let count = NonZeroU64::new(records.len() as u64).expect("there is one");
                in_flight.push(count.get(), producer.enqueue_units(&records, count).await?);
            }
            if has_ended {
                break;
            }
            // A failure is seen while nothing comes.
            tokio::select! {
                piece = pieces.recv() => match piece {
                    Some(piece) => lines.push(&piece.context("cannot read the input")?),
                    None => has_ended = true,
                },
                records = in_flight.oldest() => durable += records?,
            }
        }
        while !in_flight.is_empty() {
            durable += in_flight.oldest().await?;
        }
        producer.close().await?;
        Ok(durable)
    }

    async fn through_spool(
        &self,
        client: &Client,
        mut pieces: mpsc::Receiver<io::Result<Bytes>>,
        directory: &Path,
    ) -> anyhow::Result<u64> {
        let lock = Feeding::lock(directory)?;
        let (topic, directory) = (self.topic.clone(), directory.to_owned());
        let feeding = Feeding { source: "pipe", topic, directory, section: SpoolSection::default() };
        let (texts, relaying) = feeding.start(client)?;
        let mut lines = Lines::new(self.cutter());
        let reading = async move {
            let mut has_ended = false;
            while !has_ended {
                match pieces.recv().await {
                    Some(piece) => lines.push(&piece.context("cannot read the input")?),
                    None => has_ended = true,
                }
                while let Some(records) = lines.next(has_ended) {
                    for record in records {
                        texts.send((Timestamp::now(), record.value)).await.context("the spool has ended")?;
                    }
                }
            }
            anyhow::Ok(())
        };
        let (read, relayed) = tokio::join!(reading, relaying);
        let records = relayed?;
        read?;
        drop(lock);
        Ok(records)
    }
}

/// Pieces on their way into records.
struct Lines {
    cutter: Cutter,
    buffer: BytesMut,
    in_line: bool,
}

impl Lines {
    fn new(cutter: Cutter) -> Self {
        Self { cutter, buffer: BytesMut::new(), in_line: false }
    }

    fn push(&mut self, piece: &Bytes) {
        self.buffer.extend_from_slice(piece);
    }

    fn next(&mut self, is_last: bool) -> Option<Vec<Record>> {
        let bytes = self.buffer.split().freeze();
        let cut = self.cutter.cut(&bytes, self.in_line, is_last);
        self.in_line = cut.in_line;
        self.buffer.extend_from_slice(&bytes[cut.consumed..]);
        (!cut.records.is_empty()).then_some(cut.records)
    }
}

/// A spool that a program feeds itself: what it hands over is shipped once, at the next start if need be.
#[derive(Clone, Debug)]
pub(crate) struct Feeding {
    /// What feeds it: part of the name of its producer.
    pub(crate) source: &'static str,
    pub(crate) topic: String,
    pub(crate) directory: PathBuf,
    pub(crate) section: SpoolSection,
}

impl Feeding {
    /// A spool belongs to one program at a time, as long as this is held.
    ///
    /// # Errors
    /// When the directory cannot be used, or another program has it.
    pub(crate) fn lock(directory: &Path) -> io::Result<File> {
        std::fs::create_dir_all(directory)?;
        let lock = File::create(directory.join("lock"))?;
        lock.try_lock().map_err(|_| io::Error::other(format!("another program uses {}", directory.display())))?;
        Ok(lock)
    }

    /// The way in, and what has to be polled for anything to happen: how many records are durable when nothing more comes
    /// and all are. Dropping that loses nothing that is in the spool.
    ///
    /// # Errors
    /// When the spool cannot be used.
    pub(crate) fn start(
        self,
        client: &Client,
    ) -> io::Result<(TextSender, impl Future<Output = anyhow::Result<u64>> + use<>)> {
        let shared = Shared {
            client: client.clone(),
            budget: Budget::new(u64::MAX),
            agent: super::identity::machine().unwrap_or_else(|_| self.source.to_owned()),
            state_dir: self.directory,
            shutdown_timeout: Duration::ZERO,
        };
        let relay = Relay::new(self.source, self.source, &self.topic, self.section, shared)?;
        let (texts, received) = mpsc::channel(TEXTS_AHEAD);
        let run = async move {
            // They live as long as the relay runs: nobody stops it, and nobody asks.
            let (_stop, stopped) = watch::channel(false);
            let (_asker, asked) = mpsc::channel(1);
            relay.run(received, Stop(stopped), Asked(asked)).await
        };
        Ok((texts, run))
    }
}
