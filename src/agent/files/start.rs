//! Beginning: what the server has of this source, and whether files are still what they were then.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    super::{checkpoints::Checkpoint, files::followed::Followed, identity::Content, marker::Marker},
    Files, Outcome,
};
use crate::{
    client::{Client, Error, FetchOptions, ProducerInfo},
    protocol::ErrorCode,
    record::{Offset, ProducerId},
};
use bytes::Bytes;

/// Between tries to ask the server at the beginning.
const AGAIN: Duration = Duration::from_secs(1);
/// A file that was not seen for so long will not come back: its producer is removed.
const FORGET_AFTER_SECONDS: u64 = 7 * 24 * 3600;

/// What is known of a file before it is seen.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) content: Content,
    /// Where copying has come to.
    pub(super) end: u64,
    /// Where it began.
    pub(super) begin: u64,
    /// The bytes before that, if this machine remembers them.
    pub(super) marker: Option<Marker>,
    /// Where the server keeps the record before that.
    pub(super) last_offset: Option<Offset>,
}

impl Files {
    /// Asks the server how far it has come, for as long as it takes, and then looks at what is there.
    pub(super) async fn begin(&mut self) {
        let listed = loop {
            match self.shared.client.list_producers(&self.config.topic, self.names.prefix()).await {
                Ok(listed) => break listed,
                Err(error) if error.code() == Some(ErrorCode::UnknownTopic) => break Vec::new(),
                Err(error) => {
                    self.report.last_error = Some(error.to_string());
                    tracing::warn!(source = self.config.name, %error, "the server does not answer yet");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        self.report.last_error = None;
        self.checkpoints.was_used |= !listed.is_empty();
        self.take_up(listed);
        self.reconcile();
        self.find_renamed();
        self.order_rotated();
        if !self.checkpoints.was_used {
            self.checkpoints.was_used = true;
            self.is_changed = true;
        }
        self.note_missing();
        self.save();
        tracing::info!(source = self.config.name, topic = self.config.topic, files = self.files.len(), "following");
    }

    fn take_up(&mut self, listed: Vec<ProducerInfo>) {
        for producer in listed {
            let Some(content) = self.names.content(&producer.name) else { continue };
            let remembered = self.checkpoints.get(content);
            let end = producer.last_sequence.max(remembered.map_or(0, |checkpoint| checkpoint.begin));
            let marker =
                remembered.filter(|checkpoint| checkpoint.end == end).map(|checkpoint| checkpoint.marker.clone());
            let last_offset = producer.last_offset.map(Offset);
            let begin = remembered.map_or(0, |checkpoint| checkpoint.begin);
            self.know(Known { content, end, begin, marker, last_offset });
        }
        // Of files in which nothing was found so far the server knows nothing.
        let remembered: Vec<_> =
            self.checkpoints.iter().map(|(content, checkpoint)| (content, checkpoint.clone())).collect();
        for (content, checkpoint) in remembered {
            let is_known =
                self.known.get(&content.file).is_some_and(|known| known.content.generation >= content.generation);
            if !is_known && checkpoint.end == checkpoint.begin {
                let marker = Some(checkpoint.marker);
                let begin = checkpoint.begin;
                self.know(Known { content, end: begin, begin, marker, last_offset: None });
            }
        }
    }

    pub(super) fn know(&mut self, known: Known) {
        let newest = self.known.entry(known.content.file).or_insert_with(|| known.clone());
        if newest.content.generation < known.content.generation {
            *newest = known;
        }
    }

    /// Files that were renamed while nobody looked: a name that does not belong to the source may have an end that does.
    fn find_renamed(&mut self) {
        if self.known.is_empty() {
            return;
        }
        for directory in self.patterns.scan().directories {
            let names = std::fs::read_dir(&directory).into_iter().flatten().flatten();
            for path in names.map(|entry| entry.path()) {
                if !self.paths.contains_key(&path) && self.known_at(&path).is_some() {
                    self.follow_renamed(&path);
                }
            }
        }
    }

    /// Has files that were rotated while nobody looked read in the order in which they were written.
    fn order_rotated(&mut self) {
        let mut families: HashMap<PathBuf, Vec<(SystemTime, bool, Content)>> = HashMap::new();
        for file in self.files.values().filter(|file| file.plain.is_none()) {
            let Ok(metadata) = std::fs::metadata(&file.path) else { continue };
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let family = family(&file.path);
            // Clocks of files are coarse: what has the name that all begin with is the newest.
            let is_newest = family == file.path;
            families.entry(family).or_default().push((written, is_newest, file.content));
        }
        for mut members in families.into_values() {
            members.sort_unstable();
            for pair in members.windows(2) {
                self.put_behind(pair[1].2, Some(pair[0].2));
            }
        }
    }

    /// Notes which files are not there any more, and has the server forget those that will not come back.
    pub(super) fn note_missing(&mut self) {
        let now = crate::Timestamp::now().0 / 1_000_000;
        let missing: Vec<Known> = self.known.values().cloned().collect();
        for known in missing {
            let remembered = self.checkpoints.get(known.content).cloned();
            let marker = known.marker.clone().unwrap_or_default();
            let mut checkpoint =
                remembered.unwrap_or(Checkpoint { end: known.end, marker, begin: 0, missing_since: None });
            if checkpoint.missing_since.is_none() {
                checkpoint.missing_since = Some(now);
                self.checkpoints.put(known.content, checkpoint);
                self.is_changed = true;
            } else if checkpoint.missing_since.is_some_and(|since| now.saturating_sub(since) > FORGET_AFTER_SECONDS) {
                self.known.remove(&known.content.file);
                self.forget(known.content);
            }
        }
    }

    /// Has the server forget a content that will never grow again.
    pub(super) fn forget(&mut self, content: Content) {
        self.checkpoints.remove(content);
        self.is_changed = true;
        let (client, topic, name) = (self.shared.client.clone(), self.config.topic.clone(), self.names.name(content));
        // When it does not come to that, a later start finds that the file is missing.
        tokio::spawn(async move {
            let listed = client.list_producers(&topic, &name).await.unwrap_or_default();
            for producer in listed.into_iter().filter(|producer| producer.name == name) {
                let id = ProducerId(uuid::Uuid::from_bytes(producer.producer_id));
                if let Err(error) = client.forget_producer(id).await {
                    tracing::debug!(name, %error, "a producer was not forgotten");
                }
            }
        });
    }

    /// Begins to follow a file of which something is known, where that ends.
    pub(super) fn resume(&mut self, known: Known, mut file: Followed) -> Followed {
        file.is_compared = false;
        if known.end == 0 || file.plain.is_some() {
            return file;
        }
        let Ok(open) = file.open() else { return file };
        match known.marker {
            Some(marker) => {
                file.marker = marker;
            }
            None => {
                file.marker = Marker::read(&open, known.end).unwrap_or_default();
                if let Some(offset) = known.last_offset {
                    file.is_compared = true;
                    let (client, topic, content) =
                        (self.shared.client.clone(), self.config.topic.clone(), file.content);
                    self.work.push(Box::pin(async move {
                        Outcome::Fetched(content, record_at(&client, &topic, offset).await)
                    }));
                }
            }
        }
        file.in_line = !file.marker.is_at_line_start();
        file
    }
}

/// What files of one rotation have in common: the path without the number or the date at its end.
fn family(path: &Path) -> PathBuf {
    let name = path.as_os_str().to_string_lossy();
    let is_suffix = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || "-_T".contains(c));
    let mut name: &str = &name;
    while let Some((front, _)) = name.rsplit_once(['.', '-']).filter(|(_, last)| is_suffix(last)) {
        name = front;
    }
    name.into()
}

/// The value of one record; `None` when retention has removed it.
pub(in crate::agent) async fn record_at(client: &Client, topic: &str, offset: Offset) -> Result<Option<Bytes>, Error> {
    Ok(whole_record_at(client, topic, offset).await?.map(|record| record.value))
}

/// One record; `None` when retention has removed it.
pub(in crate::agent) async fn whole_record_at(
    client: &Client,
    topic: &str,
    offset: Offset,
) -> Result<Option<crate::Record>, Error> {
    let fetched = match client.fetch(topic, offset, FetchOptions::default().with_max_bytes(1)).await {
        Ok(fetched) => fetched,
        Err(error) if error.code() == Some(ErrorCode::OffsetBeforeHead) => return Ok(None),
        Err(error) => return Err(error),
    };
    for batch in &fetched.batches {
        let (base, records) = (batch.header().stamp.base_offset, batch.records().map_err(Error::Record)?);
        let index = usize::try_from(offset.0.saturating_sub(base.0)).unwrap_or(usize::MAX);
        if let Some(record) = records.into_iter().nth(index) {
            return Ok(Some(record.map_err(Error::Record)?.1));
        }
    }
    Ok(None)
}
