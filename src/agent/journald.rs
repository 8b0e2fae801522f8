//! The journal of systemd, as `journalctl -o export` writes it. Each entry is a record, a long one several; the last has its
//! cursor as a header, so the record that was stored last says where to go on. When retention has taken that record, what
//! the agent keeps beside the topic says it.

use std::{collections::VecDeque, fs, num::NonZeroU64, path::PathBuf, process::Stdio, time::Duration};

use anyhow::Context;
use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    time::sleep,
};

use super::{
    Shared, Stop,
    config::{JournaldSource, StartAt},
    files::whole_record_at,
    identity::Names,
    in_flight::InFlight,
    loss,
    report::SourceReport,
    request::{Answer, Asked, Request},
};
use crate::{
    Offset, Record, Timestamp,
    client::{Error, Producer, Ticket},
    protocol::ErrorCode,
};

/// The header with the cursor of an entry.
const CURSOR_HEADER: &str = "cursor";
/// Fields that become headers.
const HEADER_FIELDS: [&str; 4] = ["_SYSTEMD_UNIT", "PRIORITY", "SYSLOG_IDENTIFIER", "_HOSTNAME"];
/// Read at once.
const READ_BYTES: usize = 64 << 10;
/// An entry is not larger: beyond it the program is not `journalctl`.
const MAX_ENTRY_BYTES: usize = 16 << 20;
/// A longer message is several records.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// Of a message that is longer than this, the rest is told as lost: all of its records are in one batch.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Entries in one batch, bytes after which there are no more, and batches that are not acknowledged.
const ENTRIES: usize = 1000;
const BATCH_BYTES: usize = 1 << 20;
const IN_FLIGHT: usize = 4;
/// After a failure, at first and at last.
const AGAIN_MIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// One entry.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    cursor: String,
    message: Bytes,
    time: Option<u64>,
    headers: Vec<(&'static str, Bytes)>,
}

impl Entry {
    /// Its records, in order; `source`: what the journal is called if something of it is lost.
    fn into_records(mut self, source: &str) -> Vec<Record> {
        let lost = self.message.len().saturating_sub(MAX_MESSAGE_BYTES) as u64;
        self.message.truncate(MAX_MESSAGE_BYTES);
        let mut records = Vec::new();
        while records.is_empty() || !self.message.is_empty() {
            let mut record = Record::new(self.message.split_to(self.message.len().min(MAX_TEXT_BYTES)));
            record.timestamp = self.time.map(Timestamp);
            for (name, value) in &self.headers {
                record = record.header(*name, value.clone());
            }
            records.push(record);
        }
        if lost > 0 {
            records.push(loss::record("the message is too long", source, lost, None));
        }
        let last = records.pop().expect("there is one");
        records.push(last.header(CURSOR_HEADER, self.cursor));
        records
    }
}

/// Follows the journal until it is told to stop.
pub(super) async fn run(
    config: JournaldSource,
    shared: Shared,
    mut stop: Stop,
    mut asked: Asked,
) -> anyhow::Result<()> {
    let mut report = SourceReport::new(&config.name, "journald", &config.topic);
    let mut delay = AGAIN_MIN;
    loop {
        let mut session = Session { config: &config, shared: &shared, report: &mut report, is_draining: false };
        match session.run(&mut stop, &mut asked).await {
            Ok(true) => return Ok(()),
            Ok(false) => delay = AGAIN_MIN,
            Err(error) if is_fenced(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(source = config.name, error = format!("{error:#}"), again_in = ?delay, "the journal is not followed");
                report.last_error = Some(format!("{error:#}"));
            }
        }
        tokio::select! {
            () = stop.requested() => return Ok(()),
            () = sleep(delay) => delay = (delay * 2).min(AGAIN_MAX),
        }
    }
}

fn is_fenced(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.code() == Some(ErrorCode::ProducerFenced))
}

/// One run of the program.
struct Session<'a> {
    config: &'a JournaldSource,
    shared: &'a Shared,
    report: &'a mut SourceReport,
    is_draining: bool,
}

impl Session<'_> {
    /// `Ok(true)`: it was told to stop. `Ok(false)`: the program has ended.
    async fn run(&mut self, stop: &mut Stop, asked: &mut Asked) -> anyhow::Result<bool> {
        let name = Names::of(&self.shared.agent, &self.config.name).name("journal");
        let producer = tokio::select! {
            producer = self.shared.producer(&self.config.topic, name.clone()).open() => producer?,
            () = stop.requested() => return Ok(true),
        };
        let cursor = self.last_cursor(&name).await?;
        let mut child = self.start(cursor.as_deref())?;
        self.report.last_error = None;
        let mut output = child.stdout.take().context("its output is piped")?;
        let (mut buffer, mut in_flight) = (BytesMut::new(), InFlight::new());
        let mut cursors = VecDeque::new();
        let (mut has_ended, mut is_stopping) = (false, false);
        loop {
            while in_flight.len() < IN_FLIGHT {
                let entries = entries(&mut buffer)?;
                let Some(last) = entries.last() else { break };
                cursors.push_back(last.cursor.clone());
                let (records, ticket) = self.send(&producer, entries).await?;
                in_flight.push(records, ticket);
            }
            if in_flight.is_empty() && (has_ended || is_stopping || self.is_draining) {
                return Ok(!has_ended);
            }
            let may_read = in_flight.len() < IN_FLIGHT && !has_ended && !is_stopping && !self.is_draining;
            buffer.reserve(READ_BYTES);
            tokio::select! {
                biased;
                () = stop.requested(), if !is_stopping => is_stopping = true,
                stored = in_flight.oldest() => {
                    self.report.records += stored?;
                    cursors.pop_front().iter().for_each(|cursor| self.remember(cursor));
                }
                Some((request, back)) = asked.next() => { back.send(self.answer(&request)); }
                count = output.read_buf(&mut buffer), if may_read => has_ended = count? == 0,
            }
        }
    }

    fn remembered(&self) -> PathBuf {
        self.shared.state_dir.join(format!("{}.cursor", self.config.name))
    }

    /// Keeps a cursor beside the topic. It is not synced, and only asked for when the topic does not say more.
    fn remember(&self, cursor: &str) {
        let (path, new) = (self.remembered(), self.remembered().with_extension("cursor.new"));
        if let Err(error) = fs::write(&new, cursor).and_then(|()| fs::rename(new, path)) {
            tracing::debug!(source = self.config.name, %error, "the cursor is not kept");
        }
    }

    /// The cursor of the record that was stored last.
    async fn last_cursor(&self, name: &str) -> anyhow::Result<Option<String>> {
        let listed = self.shared.client.list_producers(&self.config.topic, name).await?;
        let last = listed.into_iter().find(|producer| producer.name == name).and_then(|producer| producer.last_offset);
        let Some(last) = last else { return Ok(None) };
        let Some(record) = whole_record_at(&self.shared.client, &self.config.topic, Offset(last)).await? else {
            return Ok(fs::read_to_string(self.remembered()).ok());
        };
        let cursor = record.headers.into_iter().rfind(|header| header.name == CURSOR_HEADER);
        Ok(cursor.map(|header| String::from_utf8_lossy(&header.value).into_owned()))
    }

    fn start(&self, cursor: Option<&str>) -> anyhow::Result<Child> {
        let (program, before) = self.config.command.split_first().context("command is empty")?;
        let mut command = Command::new(program);
        command.args(before).args(["--output=export", "--follow", "--all"]);
        match (cursor, self.config.start) {
            (Some(cursor), _) => command.arg(format!("--after-cursor={cursor}")),
            (None, StartAt::Begin) => command.arg("--no-tail"),
            (None, StartAt::End) => command.arg("--lines=0"),
        };
        command.args(self.config.units.iter().map(|unit| format!("--unit={unit}")));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command.spawn().with_context(|| format!("cannot start {program}"))
    }

    async fn send(&mut self, producer: &Producer, entries: Vec<Entry>) -> Result<(u64, Ticket), Error> {
        let bytes: usize = entries.iter().map(|entry| entry.message.len()).sum();
        let records: Vec<_> = entries.into_iter().flat_map(|entry| entry.into_records(&self.config.name)).collect();
        let count = NonZeroU64::new(records.len() as u64).expect("there is one");
        self.report.bytes += bytes as u64;
        Ok((count.get(), producer.enqueue_units(&records, count).await?))
    }

    fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Status => Answer::Status(Box::new(self.report.clone())),
            Request::Explain(_) => Answer::Explained(Vec::new()),
            Request::Reset { .. } => Answer::Done(Err(format!("source {} has no files", self.config.name))),
            Request::Drain => {
                self.is_draining = true;
                Answer::Done(Ok(()))
            }
        }
    }
}

/// Takes whole entries off the front.
fn entries(buffer: &mut BytesMut) -> anyhow::Result<Vec<Entry>> {
    let (mut found, mut bytes) = (Vec::<Entry>::new(), 0);
    while found.len() < ENTRIES && bytes < BATCH_BYTES {
        let mut rest = &buffer[..];
        let Some(entry) = entry(&mut rest) else { break };
        bytes += entry.as_ref().map_or(0, |entry| entry.message.len());
        let used = buffer.len() - rest.len();
        buffer.advance(used);
        // Without a cursor it cannot be gone on from: it is not of a journal.
        found.extend(entry.filter(|entry| !entry.cursor.is_empty()));
    }
    anyhow::ensure!(
        buffer.len() <= MAX_ENTRY_BYTES || !found.is_empty(),
        "an entry of more than {MAX_ENTRY_BYTES} bytes"
    );
    Ok(found)
}

/// The entry at the front, with the empty line that ends it; `Some(None)` for one without fields. `None`: it has not ended.
///
/// A field is `NAME=text` on a line, or, when it holds other bytes, `NAME` on a line, its length in 8 bytes, the bytes,
/// and the end of a line.
fn entry(rest: &mut &[u8]) -> Option<Option<Entry>> {
    let (mut entry, mut is_empty) = (Entry::default(), true);
    loop {
        let end = memchr::memchr(b'\n', rest)?;
        let line = &rest[..end];
        *rest = &rest[end + 1..];
        if line.is_empty() {
            return Some((!is_empty).then_some(entry));
        }
        is_empty = false;
        let (name, value) = match memchr::memchr(b'=', line) {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => {
                let (length, behind) = rest.split_first_chunk::<8>()?;
                let length =
                    usize::try_from(u64::from_le_bytes(*length)).ok().filter(|length| *length < MAX_ENTRY_BYTES)?;
                let value = behind.get(..length)?;
                *rest = behind.get(length + 1..)?;
                (line, value)
            }
        };
        entry.take(name, value);
    }
}

impl Entry {
    fn take(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"__CURSOR" => self.cursor = String::from_utf8_lossy(value).into_owned(),
            b"__REALTIME_TIMESTAMP" => self.time = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
            b"MESSAGE" => self.message = Bytes::copy_from_slice(value),
            _ => {
                let known = HEADER_FIELDS.into_iter().find(|field| field.as_bytes() == name);
                self.headers.extend(known.map(|field| (field, Bytes::copy_from_slice(value))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of more than a record may hold was refused, and sent again, for ever.
    #[test]
    fn a_long_message_is_several_records_the_last_with_the_cursor() {
        let records = |bytes: usize| {
            let entry = Entry {
                cursor: "c".to_owned(),
                message: Bytes::from(vec![7; bytes]),
                time: Some(1),
                headers: Vec::new(),
            };
            entry.into_records("j")
        };
        for (bytes, count) in [(0, 1), (MAX_TEXT_BYTES, 1), (MAX_TEXT_BYTES + 1, 2), (4 * MAX_TEXT_BYTES, 4)] {
            let records = records(bytes);
            assert_eq!(records.iter().map(|record| record.value.len()).sum::<usize>(), bytes);
            let has_cursor = |record: &Record| record.headers.iter().any(|header| header.name == CURSOR_HEADER);
            let with_cursor: Vec<_> = records.iter().map(has_cursor).collect();
            assert_eq!(with_cursor, (1..=count).map(|number| number == count).collect::<Vec<_>>());
        }
        let cut = records(MAX_MESSAGE_BYTES + 9);
        let told = cut.last().expect("some").headers.iter().find(|header| header.name == loss::LOSS_HEADER);
        assert!(String::from_utf8_lossy(&told.expect("a loss").value).contains("\"bytes\":9"));
    }

    #[test]
    fn entries_are_read_however_they_arrive_with_bytes_of_any_kind() {
        let mut text = b"__CURSOR=c1\n__REALTIME_TIMESTAMP=17\nMESSAGE=plain = text\nPRIORITY=6\n_PID=1\n\n\n".to_vec();
        text.extend_from_slice(b"__CURSOR=c2\nMESSAGE\n\x05\0\0\0\0\0\0\0a\n\nb\xff\n_SYSTEMD_UNIT=x.service\n\n");
        for step in 1..=text.len() {
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in text.chunks(step) {
                buffer.extend_from_slice(piece);
                found.extend(entries(&mut buffer).expect("well formed"));
            }
            assert_eq!(found.len(), 2, "in steps of {step}");
            assert_eq!(
                (found[0].cursor.as_str(), &found[0].message[..], found[0].time),
                ("c1", &b"plain = text"[..], Some(17))
            );
            assert_eq!(found[0].headers, [("PRIORITY", Bytes::from_static(b"6"))]);
            assert_eq!(&found[1].message[..], b"a\n\nb\xff");
        }
    }
}
