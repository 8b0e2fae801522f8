//! What comes back: registrations, acknowledgements, failures.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    super::{checkpoints::Checkpoint, config::Format, identity::Content, marker::Marker},
    Failure, Files, Outcome,
    followed::{Fate, Followed, Link},
    gzip::Plain,
    start::Known,
};
use crate::{
    client::{Error, Producer},
    protocol::ErrorCode,
};

/// Between tries, at first and at last.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

impl Files {
    pub(super) fn settle(&mut self, outcome: Outcome) {
        let content = match &outcome {
            Outcome::Opened(content, _) | Outcome::Stored { content, .. } | Outcome::Fetched(content, _) => *content,
        };
        // A content that is not followed any more has nothing to settle.
        let Some(mut file) = self.files.remove(&content) else { return };
        match outcome {
            Outcome::Opened(_, Ok(producer)) => self.opened(&mut file, producer),
            Outcome::Opened(_, Err(error)) => self.fail(&mut file, &error),
            Outcome::Stored { end, records, result, .. } => self.stored(&mut file, end, records, result),
            Outcome::Fetched(_, found) => self.compared(&mut file, found),
        }
        self.files.insert(content, file);
        self.list(content);
    }

    fn opened(&mut self, file: &mut Followed, producer: Producer) {
        let stored = producer.last_sequence().0;
        file.link = Link::Open(Arc::new(producer));
        self.report.last_error = None;
        let at = stored.max(file.begin);
        if file.covered == u64::MAX || file.sent != at {
            tracing::debug!(path = %file.path.display(), at, sent = file.sent, "goes on where the server is");
            (file.sent, file.acked) = (at, at);
            if file.plain.is_some() {
                file.plain = file.open().ok().map(Plain::new);
                file.marker = Marker::default();
            } else {
                // When it is shorter than that, the next look at it finds that it was truncated.
                file.marker = file.open().and_then(|open| Marker::read(&open, at)).unwrap_or_default();
            }
            file.in_line = !file.marker.is_at_line_start();
        }
        file.covered = stored;
    }

    fn stored(&mut self, file: &mut Followed, end: u64, records: u64, result: Result<(), Error>) {
        file.in_flight -= 1;
        match result {
            Ok(()) => {
                self.report.records += records;
                self.report.bytes += end - file.acked.min(end);
                file.acked = file.acked.max(end);
                file.failures = 0;
                if file.in_flight == 0 && !file.is_rewinding {
                    // The marker is that of what was read last.
                    self.note(file.content, file.acked, file.marker.clone(), 0);
                }
            }
            Err(error) => self.fail(file, &error),
        }
        if file.is_rewinding && file.in_flight == 0 {
            file.is_rewinding = false;
            // What of it is stored after all, the server says when the producer is registered again.
            (file.sent, file.covered) = (file.acked, u64::MAX);
        }
    }

    /// The producer has ended, or could not be registered.
    pub(super) fn fail(&mut self, file: &mut Followed, error: &Error) {
        if error.code() == Some(ErrorCode::ProducerFenced) {
            self.failure.get_or_insert(Failure::Fenced(self.config.name.clone()));
        }
        file.is_rewinding = file.in_flight > 0;
        if !file.is_rewinding {
            (file.sent, file.covered) = (file.acked, u64::MAX);
        }
        if !matches!(file.link, Link::Failed { .. }) {
            let delay = RETRY_MIN.saturating_mul(1 << file.failures.min(10)).min(RETRY_MAX);
            file.failures += 1;
            self.close(file);
            file.link = Link::Failed { until: Instant::now() + delay };
            self.list_later(file, delay);
            self.report.last_error = Some(error.to_string());
            tracing::warn!(path = %file.path.display(), %error, again_in = ?delay, "not delivered, will be tried again");
        }
    }

    /// The record that was stored last has come: the file is still the same if it has it where it should be.
    fn compared(&mut self, file: &mut Followed, found: Result<Option<bytes::Bytes>, Error>) {
        file.is_compared = false;
        match found {
            // A message of a container may be joined from fragments: its end is what the file has there.
            Ok(Some(value)) if self.config.format == Format::Cri && file.marker.ends_as(&value) => {}
            Ok(Some(value)) if file.marker.bytes().is_empty() || !file.marker.agrees_with(&value) => {
                // The next look at the file finds that it was truncated; a copy of what was in it may have these bytes.
                file.marker = Marker::of(&[&value, &b"\n"[..]].concat());
                file.size = file.sent;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(path = %file.path.display(), %error, "could not be compared with what is stored");
            }
        }
    }

    /// Remembers how far a content is durable.
    pub(super) fn note(&mut self, content: Content, end: u64, marker: Marker, begin: u64) {
        let begin = self.checkpoints.get(content).map_or(begin, |checkpoint| checkpoint.begin);
        self.checkpoints.put(content, Checkpoint { end, marker, begin, missing_since: None });
        self.is_changed = true;
    }

    /// All of a content is durable that will be for now: what waits for it goes on.
    pub(super) fn release(&mut self, content: Content) {
        for next in self.waiting.remove(&content).unwrap_or_default() {
            if let Some(file) = self.files.get_mut(&next).filter(|file| file.after == Some(content)) {
                file.after = None;
                self.list(next);
            }
        }
        self.give_up_deleted();
    }

    /// A content is done with.
    pub(super) fn end(&mut self, content: Content) {
        self.release(content);
        let Some(mut file) = self.files.remove(&content) else { return };
        self.close(&mut file);
        if let Some(watcher) = &mut self.watcher {
            watcher.unwatch_held(content);
        }
        self.left.retain(|_, left| *left != content);
        if self.current.get(&content.file) == Some(&content) {
            self.current.remove(&content.file);
        }
        use std::os::unix::fs::MetadataExt;
        let links = file.file.as_ref().and_then(|open| open.metadata().ok()).map_or(1, |metadata| metadata.nlink());
        // A copy belongs to a content that was truncated, and a file without a name to one that nobody finds again.
        if matches!(file.fate, Fate::Copy | Fate::Over) || links == 0 {
            return self.forget(content);
        }
        // It may come back, and is forgotten when it does not for long.
        let marker = Some(file.marker).filter(|marker| !marker.bytes().is_empty());
        self.know(Known { content, end: file.acked, begin: file.begin, marker, last_offset: None });
    }
}
