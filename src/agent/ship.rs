//! Shipping a file once, from where the last time ended to its end.

use std::{
    fs::File,
    io,
    num::NonZeroU64,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;

use super::{
    cutter::{Bounds, Cutter, Framing},
    identity::{Content, FileId, HEAD_BYTES, Names},
    in_flight::InFlight,
    marker::Marker,
};
use crate::{
    Compression,
    client::{Client, Producer},
    protocol::Retention,
};

/// Read at once.
const CHUNK_BYTES: usize = 512 << 10;
/// Batches that are not acknowledged.
const IN_FLIGHT: usize = 8;

/// How to ship.
#[derive(Clone, Debug)]
pub struct Shipping {
    /// Where the records go; the topic is made if it does not exist.
    pub topic: String,
    /// Who ships: part of the names of the producers.
    pub agent: String,
    /// What makes a record.
    pub framing: Framing,
    /// The key of the records.
    pub key: Option<Bytes>,
    /// How batches are compressed.
    pub compression: Compression,
    /// A longer line is split.
    pub max_record_bytes: usize,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shipped {
    /// Bytes of it that are durable.
    pub durable_bytes: u64,
    /// Of these, bytes that were durable before.
    pub before_bytes: u64,
    /// Its size.
    pub size: u64,
    /// Records that are durable now and were not before.
    pub records: u64,
}

/// One file on its way.
struct Way<'a> {
    file: File,
    path: PathBuf,
    cutter: Cutter,
    key: Option<Bytes>,
    producer: Producer,
    sent: u64,
    in_line: bool,
    /// Bytes and records of each batch.
    in_flight: InFlight<(u64, u64)>,
    shipped: Shipped,
    progress: &'a mut (dyn FnMut(Shipped) + Send),
}

impl Shipping {
    /// Ships a file from where the last time ended to where it ends now. When that returns without an error, every byte is
    /// durable, and was stored once; a last line without its end is a record.
    ///
    /// # Errors
    /// When the file cannot be read, is not the one that was shipped under its identity any more, or shrinks; whatever ends
    /// a producer.
    ///
    /// # Cancel safety
    /// What was sent may be stored; the next call goes on behind it.
    pub async fn ship(
        &self,
        client: &Client,
        path: &Path,
        progress: &mut (dyn FnMut(Shipped) + Send),
    ) -> anyhow::Result<Shipped> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let metadata = file.metadata()?;
        ensure!(metadata.is_file(), "{} is not a regular file: use pipe for it", path.display());
        let size = metadata.len();
        let head = || {
            let mut head = vec![0; HEAD_BYTES];
            let count = file.read_at(&mut head, 0)?;
            head.truncate(count);
            // It is shipped as it is now: its first line has ended.
            head.push(b'\n');
            Ok(head)
        };
        let id = FileId::of(&metadata, head)?.context("a file without an identity")?;
        let names = Names::of(&self.agent, "ship");
        let producer = client
            .producer(&self.topic)
            .name(names.name(Content::first(id)))
            .create_topic(Retention::default())
            .compression(self.compression)
            .window_bytes(64 << 20)
            .open()
            .await
            .with_context(|| format!("cannot produce to {}", self.topic))?;
        let before = producer.last_sequence().0;
        ensure!(
            before <= size,
            "{} has {size} bytes, of which {before} were shipped before: it was truncated",
            path.display()
        );
        self.check_same(client, &producer, &file, path, before).await?;
        let bounds = Bounds { max_record_bytes: self.max_record_bytes, max_lines: 500, max_records: 8 << 10 };
        let mut way = Way {
            in_line: !Marker::read(&file, before)?.is_at_line_start(),
            file,
            path: path.to_owned(),
            cutter: Cutter::new(self.framing.clone(), bounds),
            key: self.key.clone(),
            producer,
            sent: before,
            in_flight: InFlight::new(),
            shipped: Shipped { durable_bytes: before, before_bytes: before, size, records: 0 },
            progress,
        };
        way.run().await?;
        way.producer.close().await?;
        Ok(way.shipped)
    }

    /// The record that was stored last stands where it should.
    async fn check_same(
        &self,
        client: &Client,
        producer: &Producer,
        file: &File,
        path: &Path,
        before: u64,
    ) -> anyhow::Result<()> {
        if before == 0 {
            return Ok(());
        }
        let listed = client.list_producers(&self.topic, "agent/").await?;
        let id = *producer.id().0.as_bytes();
        let last = listed.into_iter().find(|found| found.producer_id == id).and_then(|found| found.last_offset);
        let Some(last) = last else { return Ok(()) };
        let Some(value) = super::files::record_at(client, &self.topic, crate::Offset(last)).await? else {
            return Ok(());
        };
        if !Marker::read(file, before)?.agrees_with(&value) {
            bail!("{} is not what was shipped before: its bytes before {before} have changed", path.display());
        }
        Ok(())
    }
}

impl Way<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        let mut wanted = CHUNK_BYTES;
        while self.sent < self.shipped.size {
            let left = usize::try_from(self.shipped.size - self.sent).unwrap_or(usize::MAX);
            let mut bytes = vec![0; left.min(wanted)];
            self.file.read_exact_at(&mut bytes, self.sent).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => anyhow::anyhow!("{} was truncated meanwhile", self.path.display()),
                _ => anyhow::Error::new(error).context(format!("cannot read {}", self.path.display())),
            })?;
            let (is_last, bytes) = (bytes.len() == left, Bytes::from(bytes));
            let mut cut = self.cutter.cut(&bytes, self.in_line, is_last);
            if cut.consumed == 0 {
                // One record is larger than what was read.
                wanted = self.cutter.needs_bytes();
                continue;
            }
            wanted = CHUNK_BYTES;
            if let Some(key) = &self.key {
                cut.records.iter_mut().for_each(|record| record.key = Some(key.clone()));
            }
            while self.in_flight.len() >= IN_FLIGHT {
                self.settle_oldest().await?;
            }
            let units = NonZeroU64::new(cut.consumed as u64).expect("records cover bytes");
            let ticket = self.producer.enqueue_units(&cut.records, units).await?;
            self.in_flight.push((units.get(), cut.records.len() as u64), ticket);
            self.sent += units.get();
            self.in_line = cut.in_line;
        }
        while !self.in_flight.is_empty() {
            self.settle_oldest().await?;
        }
        Ok(())
    }

    async fn settle_oldest(&mut self) -> anyhow::Result<()> {
        let (bytes, records) = self.in_flight.oldest().await?;
        self.shipped.durable_bytes += bytes;
        self.shipped.records += records;
        (self.progress)(self.shipped);
        Ok(())
    }
}
