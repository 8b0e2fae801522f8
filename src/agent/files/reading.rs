//! Reading what is new in a file, and handing it over.

use std::{fs::File, io, num::NonZeroU64, os::unix::fs::FileExt, os::unix::fs::MetadataExt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use tokio::time::Instant;

use super::{
    super::{config::MAX_RECORDS_AT_ONCE, cutter::Cut, identity::Content, in_flight::durable, loss},
    Files, MAX_PRODUCERS, Outcome,
    followed::{Fate, Followed, Link, MAX_IN_FLIGHT},
    gzip::{Plain, is_compressed},
};
use crate::Record;

/// Read at once; more only when a record needs it.
const CHUNK_BYTES: usize = 512 * 1024;
/// A last line without its end is a record once its file was renamed or deleted and nothing was added for this long.
const LAST_LINE: Duration = Duration::from_secs(1);
/// Without changes for this long, a file gives back what it holds.
const IDLE: Duration = Duration::from_secs(60);
/// Files that stay open while they are idle.
const MAX_IDLE_OPEN: usize = 512;

/// What reading came to.
enum Read {
    /// Bytes from `sent` on, and whether nothing can follow them.
    Some(Bytes, bool),
    Nothing,
    Truncated,
}

impl Files {
    /// Reads a content once, if it may be read.
    pub(super) fn read(&mut self, content: Content) {
        let Some(mut file) = self.files.remove(&content) else { return };
        (file.is_listed, file.is_starved) = (false, false);
        let is_blocked = self.is_blocked(&file);
        if is_blocked {
            // Whatever becomes of its name meanwhile: what is open stays. When it is gone already, reading says so.
            file.open().ok();
        }
        let was_truncated = match self.try_read(&mut file) {
            Ok(was_truncated) => {
                file.error = None;
                was_truncated
            }
            Err(error) => {
                tracing::warn!(path = %file.path.display(), %error, "cannot be read");
                let error = error.to_string();
                self.report.last_error = Some(format!("{}: {error}", file.path.display()));
                file.error = Some(error);
                self.list_later(&mut file, Duration::from_secs(5));
                false
            }
        };
        let is_settled = !is_blocked && file.is_settled();
        let is_over = is_settled && self.is_over(&mut file);
        let is_done = is_settled && file.size_is_known;
        self.files.insert(content, file);
        if was_truncated {
            self.truncated(content);
        } else if is_over {
            self.end(content);
        } else if is_done {
            self.release(content);
        }
    }

    /// Whether it waits for another content to be durable, or for the server to say what it has.
    fn is_blocked(&self, file: &Followed) -> bool {
        file.after.is_some_and(|before| self.files.contains_key(&before)) || file.is_compared
    }

    /// Whether what stood in the way is gone, and what is waited for.
    fn may_read(&mut self, file: &mut Followed) -> bool {
        if self.is_blocked(file) {
            return false;
        }
        if let Link::Failed { until } = file.link {
            let now = Instant::now();
            if until > now {
                self.list_later(file, until - now);
                return false;
            }
            file.link = Link::Closed;
        }
        // Each acknowledgement has it looked at again.
        let is_busy = file.in_flight >= MAX_IN_FLIGHT || (file.in_flight > 0 && !file.has_backlog);
        !is_busy && !file.is_rewinding
    }

    /// `Ok(true)`: the file was truncated.
    fn try_read(&mut self, file: &mut Followed) -> io::Result<bool> {
        if !self.may_read(file) {
            return Ok(false);
        }
        if let Some(end) = file.lost {
            self.tell_loss(file, end)?;
            return Ok(false);
        }
        if file.fate == Fate::Over {
            (file.size, file.size_is_known) = (file.sent, true);
            return Ok(false);
        }
        let source = match file.open() {
            Ok(source) => source,
            // It lost its name before it was opened: whoever renamed it will say so.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (file.size, file.size_is_known) = (file.sent, true);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if self.config.gzip && file.sent == 0 && file.plain.is_none() && is_compressed(&source) {
            file.plain = Some(Plain::new(Arc::clone(&source)));
        }
        file.is_waiting = false;
        if file.plain.is_none() {
            let size = source.metadata()?.len();
            file.note_size(size);
            file.size_is_known = true;
            if size < file.sent && file.fate != Fate::Copy {
                return Ok(true);
            }
            if size == file.sent {
                // Truncated and grown to the same size again, or nothing new.
                let is_same = file.marker.bytes().is_empty() || file.marker.is_before(&source, size);
                return Ok(!is_same && file.fate != Fate::Copy && file.sent > 0);
            }
        }
        if !self.is_open(file) {
            return Ok(false);
        }
        let expected = if file.plain.is_some() { CHUNK_BYTES as u64 } else { file.size - file.sent };
        let Some(spent) = self.shared.budget.spend(expected.min(CHUNK_BYTES as u64)) else {
            self.starve(file);
            return Ok(false);
        };
        let mut wanted = CHUNK_BYTES;
        loop {
            let (bytes, is_end) = match look(file, &source, wanted)? {
                Read::Truncated => return Ok(true),
                Read::Nothing => return Ok(false),
                Read::Some(bytes, is_end) => (bytes, is_end),
            };
            let cut = self.cut(file, &bytes, is_end);
            if cut.consumed == 0 && !is_end && bytes.len() >= wanted && wanted < self.cutter.needs_bytes() {
                // One record is larger than what is read at once.
                wanted = self.cutter.needs_bytes();
                continue;
            }
            file.has_backlog = bytes.len() >= wanted || cut.records.len() >= MAX_RECORDS_AT_ONCE;
            if cut.consumed > 0 {
                self.send(file, &bytes, cut, spent)?;
            } else {
                (file.has_backlog, file.is_waiting) = (false, true);
                self.look_again_at_what_is_left(file);
            }
            return Ok(false);
        }
    }

    /// What has not ended may be a record nevertheless, after a while.
    fn look_again_at_what_is_left(&mut self, file: &mut Followed) {
        let after = match (&self.config.multiline, file.fate) {
            (Some(multiline), Fate::Named) => multiline.timeout,
            (Some(multiline), Fate::Left) => multiline.timeout.max(LAST_LINE),
            (None, Fate::Left) => LAST_LINE,
            _ => return,
        };
        if file.quiet_for() >= after && file.fate == Fate::Named {
            // What is left is a line that has not ended.
            return;
        }
        let left = after.saturating_sub(file.quiet_for());
        self.list_later(file, left + Duration::from_millis(1));
    }

    fn cut(&self, file: &Followed, bytes: &Bytes, is_end: bool) -> Cut {
        let nothing_follows =
            is_end && (file.is_final() || (file.fate != Fate::Named && file.quiet_for() >= LAST_LINE));
        let cut = self.cutter.cut(bytes, file.in_line, nothing_follows);
        if cut.consumed > 0 || nothing_follows || !is_end {
            return cut;
        }
        // A group of lines ends when nothing was added for a while: as far as its lines are whole.
        let is_over = self.config.multiline.as_ref().is_some_and(|multiline| file.quiet_for() >= multiline.timeout);
        match memchr::memrchr(b'\n', bytes) {
            Some(end) if is_over => self.cutter.cut(&bytes.slice(..=end), file.in_line, true),
            _ => cut,
        }
    }

    /// Whether there is a producer; begins to open one otherwise.
    fn is_open(&mut self, file: &mut Followed) -> bool {
        match file.link {
            Link::Open(_) => true,
            Link::Opening | Link::Failed { .. } => false,
            Link::Closed if self.producers >= MAX_PRODUCERS => {
                self.starve(file);
                false
            }
            Link::Closed => {
                file.link = Link::Opening;
                self.producers += 1;
                let content = file.content;
                let opening = self
                    .shared
                    .producer(&self.config.topic, self.names.name(content))
                    .compression(self.config.compression.into())
                    .open();
                self.work.push(async move { Outcome::Opened(content, opening.await) }.boxed());
                false
            }
        }
    }

    /// Has a content wait for a part of the budget, or for a producer.
    fn starve(&mut self, file: &mut Followed) {
        if !std::mem::replace(&mut file.is_starved, true) {
            self.starved.push_back(file.content);
        }
    }

    /// Lets some of those that wait try again. Producers that nobody needs now are closed for them.
    pub(super) fn feed_starved(&mut self) {
        let some = self.starved.len().min(MAX_PRODUCERS);
        if some == 0 {
            return;
        }
        if self.producers >= MAX_PRODUCERS {
            let is_idle = |file: &&mut Followed| {
                matches!(file.link, Link::Open(_))
                    && file.in_flight == 0
                    && file.acked >= file.sent
                    && !file.has_backlog
            };
            for file in self.files.values_mut().filter(is_idle).take(some) {
                file.link = Link::Closed;
                self.producers -= 1;
            }
        }
        for content in self.starved.drain(..some).collect::<Vec<_>>() {
            self.list(content);
        }
    }

    /// Gives the producer back.
    pub(super) fn close(&mut self, file: &mut Followed) {
        if matches!(file.link, Link::Open(_) | Link::Opening) {
            self.producers -= 1;
        }
        file.link = Link::Closed;
    }

    /// Hands records over; from then on they are in flight.
    fn send(
        &mut self,
        file: &mut Followed,
        bytes: &Bytes,
        mut cut: Cut,
        spent: super::super::budget::Spent,
    ) -> io::Result<()> {
        if let Some(key) = &file.key {
            cut.records.iter_mut().for_each(|record| record.key = Some(key.clone()));
        }
        let end = file.sent + cut.consumed as u64;
        self.submit(file, &cut.records, end, spent)?;
        file.marker.advance(&bytes[..cut.consumed]);
        file.in_line = cut.in_line;
        if file.has_backlog {
            // Whatever else there is comes first.
            if !std::mem::replace(&mut file.is_listed, true) {
                self.to_read.push_back(file.content);
            }
        }
        if file.plain.is_some() {
            file.size = file.size.max(end + u64::from(cut.consumed < bytes.len() || file.has_backlog));
        }
        Ok(())
    }

    fn submit(
        &mut self,
        file: &mut Followed,
        records: &[Record],
        end: u64,
        spent: super::super::budget::Spent,
    ) -> io::Result<()> {
        let Link::Open(producer) = &file.link else { unreachable!("it was looked at before") };
        let units = NonZeroU64::new(end - file.covered).expect("records cover bytes");
        // The window is larger than all that may be in flight, so there is room, and batches stay in order.
        let ticket = match producer.enqueue_units(records, units).now_or_never() {
            Some(Ok(ticket)) => ticket,
            Some(Err(error)) => {
                self.fail(file, &error);
                return Ok(());
            }
            None => return Err(io::Error::other("the window of the producer is full")),
        };
        (file.sent, file.covered) = (end, end);
        file.in_flight += 1;
        let (content, records) = (file.content, records.len() as u64);
        self.work.push(
            async move {
                let result = durable(ticket.await);
                drop(spent);
                Outcome::Stored { content, end, records, result }
            }
            .boxed(),
        );
        Ok(())
    }

    /// Whether a settled file is done with: it gives back what it holds, and later its place.
    fn is_over(&mut self, file: &mut Followed) -> bool {
        let quiet = file.quiet_for();
        let is_gone_for = |after: Duration| quiet >= after;
        match file.fate {
            Fate::Copy | Fate::Over => true,
            Fate::Left if is_gone_for(self.config.close_removed) => true,
            Fate::Left => {
                let left = self.config.close_removed.saturating_sub(quiet);
                self.list_later(file, left + Duration::from_millis(1));
                false
            }
            Fate::Named => {
                // Others wait for a producer: nobody keeps one that it does not need now.
                if matches!(file.link, Link::Open(_)) && (quiet >= IDLE || !self.starved.is_empty()) {
                    self.close(file);
                }
                if quiet < IDLE {
                    if matches!(file.link, Link::Open(_)) {
                        self.list_later(file, IDLE - quiet + Duration::from_millis(1));
                    }
                } else if file.file.is_some() {
                    let open = self.files.values().filter(|file| file.file.is_some()).count();
                    if open >= MAX_IDLE_OPEN && file.plain.is_none() {
                        file.file = None;
                    }
                }
                false
            }
        }
    }

    /// The oldest unread bytes of deleted files go when there are more than may be held; the topic is told where they are
    /// missing.
    pub(super) fn give_up_deleted(&mut self) {
        let Some(limit) = self.config.hold_deleted else { return };
        let unread = |file: &Followed| file.size.saturating_sub(file.sent);
        let is_deleted = |file: &&mut Followed| {
            let links =
                || file.file.as_ref().and_then(|open| open.metadata().ok()).map_or(1, |metadata| metadata.nlink());
            file.fate == Fate::Left && file.lost.is_none() && links() == 0
        };
        let mut deleted: Vec<_> = self.files.values_mut().filter(is_deleted).collect();
        for file in &mut deleted {
            let size =
                file.file.as_ref().and_then(|open| open.metadata().ok()).map_or(file.size, |metadata| metadata.len());
            file.note_size(size);
        }
        deleted.sort_unstable_by_key(|file| file.unchanged_since);
        let mut held: u64 = deleted.iter().map(|file| unread(file)).sum();
        let mut given_up = Vec::new();
        for file in deleted {
            if held <= limit {
                break;
            }
            let bytes = unread(file);
            if bytes > 0 {
                held -= bytes;
                self.report.lost_bytes += bytes;
                tracing::warn!(path = %file.path.display(), bytes, "given up: it was deleted, and more than may be held");
                (file.lost, file.file) = (Some(file.size), None);
                given_up.push(file.content);
            }
        }
        given_up.into_iter().for_each(|content| self.list(content));
    }

    fn tell_loss(&mut self, file: &mut Followed, end: u64) -> io::Result<()> {
        if end > file.sent && self.is_open(file) {
            let lost = end - file.sent;
            let record = loss::record("deleted before it was read", &file.path.display().to_string(), lost, None);
            match self.shared.budget.spend(1) {
                Some(spent) => self.submit(file, &[record], end, spent)?,
                None => self.starve(file),
            }
        }
        Ok(())
    }
}

/// Reads from `sent` on, and sees whether what stands before is still the same.
fn look(file: &mut Followed, source: &Arc<File>, max_bytes: usize) -> io::Result<Read> {
    if let Some(plain) = &mut file.plain {
        let (bytes, is_last) = plain.read(file.sent, max_bytes)?;
        (file.size, file.size_is_known) = (file.sent + bytes.len() as u64, true);
        return Ok(if bytes.is_empty() { Read::Nothing } else { Read::Some(bytes, is_last) });
    }
    let before = file.marker.bytes().len();
    if before as u64 > file.sent {
        return Ok(Read::Truncated);
    }
    let wanted = usize::try_from(file.size - file.sent).unwrap_or(usize::MAX).min(max_bytes);
    let mut bytes = vec![0; before + wanted];
    let mut count = 0;
    while count < bytes.len() {
        match source.read_at(&mut bytes[count..], file.sent - before as u64 + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if count < before || bytes[..before] != *file.marker.bytes() {
        return Ok(if file.fate == Fate::Copy { Read::Nothing } else { Read::Truncated });
    }
    bytes.truncate(count);
    let is_end = file.sent + (count - before) as u64 >= file.size;
    match count == before {
        true => Ok(Read::Nothing),
        false => Ok(Read::Some(Bytes::from(bytes).slice(before..), is_end)),
    }
}
