//! `connectify check`: is a data directory as it was written, and what can be saved of it?

use std::{
    fs,
    path::{Path, PathBuf},
};

use connectify::server::{DataDir, FoundDamage, LostRange, Report, StorageError, hide_caught_panics};
use serde::Serialize;

use super::{
    answer::Answer,
    byte_size::ByteSize,
    output::Output,
    progress::Progress,
    table::{Align, Table},
};

/// Verify a data directory, and copy what is intact into a new one
///
/// Looks at every page, every batch and every record of a directory that no server has, and changes nothing in it. Each
/// line of damage names the file and, where they can be known, the topic and the offsets. The exit status is 1 when
/// anything is damaged, and 2 when the directory cannot be looked at.
///
/// With --salvage, a server on the new directory has every intact record at its offset, with the topics, producers and
/// cursors as far as the journal still says; subscriptions and dequeues tell what is missing as a gap, and no offset is
/// given twice. The exit status is still that of the directory that was looked at. A salvage that did not finish leaves a
/// directory that nobody takes: remove it, and salvage again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Copy what is intact into this directory, which must not exist or be empty
    #[arg(long, value_name = "NEW_DIR")]
    salvage: Option<PathBuf>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Checked {
    intact: bool,
    server_id: String,
    segments: usize,
    bytes: u64,
    batches: u64,
    records: u64,
    topics: usize,
    producers: usize,
    consumers: usize,
    state_exact: bool,
    damage: Vec<CheckedDamage>,
    lost: Vec<CheckedRange>,
    given_up: Vec<CheckedRange>,
}

#[derive(Serialize)]
struct CheckedDamage {
    file: String,
    position: Option<u64>,
    topic: Option<String>,
    offset: Option<u64>,
    what: String,
}

#[derive(Serialize)]
struct CheckedRange {
    topic: String,
    from: u64,
    to: u64,
    exact: bool,
}

impl From<FoundDamage> for CheckedDamage {
    fn from(damage: FoundDamage) -> Self {
        let (topic, offset) = damage.batch.map(|(topic, offset)| (topic, offset.0)).unzip();
        Self { file: damage.file, position: damage.position, topic, offset, what: damage.what }
    }
}

impl From<LostRange> for CheckedRange {
    fn from(range: LostRange) -> Self {
        Self { topic: range.topic, from: range.from.0, to: range.to.0, exact: range.is_exact }
    }
}

impl From<Report> for Checked {
    fn from(report: Report) -> Self {
        Self {
            intact: report.is_intact(),
            server_id: report.server_id.to_string(),
            segments: report.segments,
            bytes: report.bytes,
            batches: report.batches,
            records: report.records,
            topics: report.topics,
            producers: report.producers,
            consumers: report.consumers,
            state_exact: report.is_state_exact,
            damage: report.damage.into_iter().map(CheckedDamage::from).collect(),
            lost: report.lost.into_iter().map(CheckedRange::from).collect(),
            given_up: report.given_up.into_iter().map(CheckedRange::from).collect(),
        }
    }
}

impl CheckedDamage {
    fn line(&self) -> String {
        let mut line = format!("damaged: {}", self.file);
        if let Some(position) = self.position {
            line += &format!(", journal position {position}");
        }
        if let (Some(topic), Some(offset)) = (&self.topic, self.offset) {
            line += &format!(", topic {topic}, batch at offset {offset}");
        }
        line + ": " + &self.what
    }
}

impl CheckedRange {
    fn line(&self, state: &str) -> String {
        let Self { topic, from, to, exact } = self;
        match exact {
            true => format!("{state}: topic {topic}, offsets {from}..{to}"),
            false => {
                format!("{state}: topic {topic}, offsets {from}..{to}, of which nobody knows how many held records")
            }
        }
    }
}

impl Checked {
    fn table(&self) -> Table<'static, 2> {
        let mut table = Table::new([("CHECKED", Align::Left), ("", Align::Left)]);
        for (fact, value) in [
            ("server id", self.server_id.clone()),
            ("segments", self.segments.to_string()),
            ("bytes", ByteSize(self.bytes).to_string()),
            ("batches", self.batches.to_string()),
            ("records", self.records.to_string()),
            ("topics", self.topics.to_string()),
            ("producers", self.producers.to_string()),
            ("consumers", self.consumers.to_string()),
            ("intact", if self.intact { "yes" } else { "no" }.to_owned()),
        ] {
            table.row([fact.to_owned(), value]);
        }
        table
    }

    fn write(&self, out: &mut Output) -> anyhow::Result<()> {
        out.write(|out| self.table().write(out))?;
        self.damage.iter().try_for_each(|damage| out.line(damage.line().as_bytes()))?;
        self.lost.iter().try_for_each(|range| out.line(range.line("lost").as_bytes()))?;
        if !self.state_exact {
            out.line(b"in doubt: some topics, producers or cursors may be as they were earlier, or missing")?;
        }
        self.given_up.iter().try_for_each(|range| out.line(range.line("given up earlier").as_bytes()))
    }
}

/// Says what to do about a copy that was begun, which nobody takes.
fn with_advice(error: StorageError, target: Option<&Path>) -> anyhow::Error {
    match (&error, target) {
        // It is somebody else's.
        (StorageError::NotEmpty(_) | StorageError::Nested(..) | StorageError::Locked(_), _) => error.into(),
        (_, Some(target)) if fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_some()) => {
            let advice = format!("{} is not complete: remove it before salvaging again", target.display());
            anyhow::Error::from(error).context(advice)
        }
        _ => error.into(),
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    let directory = DataDir::open(&args.directory)?;
    // The database panics on some damage, which is told as damage.
    hide_caught_panics();
    let bar = Progress::over(Some(directory.bytes()?), false);
    let tell = |now: connectify::server::Progress| bar.show(now.bytes, format_args!("{} records", now.records));
    let report = match &args.salvage {
        None => directory.check(tell),
        Some(target) => directory.salvage(target, tell),
    };
    bar.clear();
    let checked = Checked::from(report.map_err(|error| with_advice(error, args.salvage.as_deref()))?);
    let mut out = Output::stdout();
    if args.json {
        out.json(&checked)?;
    } else {
        checked.write(&mut out)?;
    }
    out.flush()?;
    if checked.intact {
        return Ok(Answer::Yes);
    }
    let path = args.directory.display();
    Ok(Answer::No(match &args.salvage {
        None => format!("{path} is damaged; --salvage NEW_DIR copies what is intact"),
        Some(target) => format!("{path} is damaged; what is intact is in {}", target.display()),
    }))
}
