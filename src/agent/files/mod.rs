//! Files that are followed: one task for each source, which owns everything about its files.
//!
//! ```text
//!  directories ──inotify──▶ names ──▶ what is to be read ──▶ cut ──▶ producer of the content ──▶ server
//!                                            ▲                                   │
//!                                            └────────── acknowledged ◀──────────┘
//! ```
//! Nothing is done for a file that does not change. A file is read when nothing of it is in flight, or when it is behind: so
//! a line leaves at once when it is alone, and many leave together when they come fast.

mod followed;
mod gzip;
mod naming;
mod reading;
mod settling;
mod start;

pub(super) use self::start::{record_at, whole_record_at};

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

use self::followed::{Fate, Followed};
use super::{
    Shared, Stop,
    checkpoints::Checkpoints,
    config::{FileSource, Watch},
    cutter::Cutter,
    identity::{Content, FileId, Names},
    patterns::Patterns,
    report::{FileReport, SourceReport},
    request::{Answer, Asked, Request},
    watcher::{Change, Watcher},
};
use crate::client::{Error as ClientError, Producer};

/// Everything is looked at again after so long, whatever inotify said.
const RECONCILE: Duration = Duration::from_secs(300);
/// Without inotify: how often, at first and at last, everything is looked at.
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(1);
/// While something is in flight, what inotify has to say is asked for at most so often: an acknowledgement has its file
/// read again anyhow, and each question costs a wake-up.
const QUIET: Duration = Duration::from_millis(1);
/// Producers at once. A file whose turn it is waits for one; a file at rest gives its own back.
const MAX_PRODUCERS: usize = 256;
/// What waits for a part of the budget, or for a producer, tries again after so long.
const STARVED: Duration = Duration::from_millis(20);
/// Checkpoints are written at most so often.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// What was waited for.
enum Outcome {
    Opened(Content, Result<Producer, ClientError>),
    /// A batch up to `end`.
    Stored {
        content: Content,
        end: u64,
        records: u64,
        result: Result<(), ClientError>,
    },
    /// The record that the server stored last; `None` when it is gone.
    Fetched(Content, Result<Option<Bytes>, ClientError>),
}

/// Why a source has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Another agent with the same id has taken over.
    #[error("source {0} was fenced off: another agent has the same id")]
    Fenced(String),
}

/// See the module.
pub(super) struct Files {
    config: FileSource,
    shared: Shared,
    names: Names,
    patterns: Patterns,
    cutter: Cutter,
    checkpoints: Checkpoints,
    is_changed: bool,
    /// `None`: everything is looked at again and again.
    watcher: Option<Watcher>,
    files: HashMap<Content, Followed>,
    /// What is in a file now.
    current: HashMap<FileId, Content>,
    paths: HashMap<PathBuf, Content>,
    /// Who had a name last.
    left: HashMap<PathBuf, Content>,
    /// Where names lead that are links.
    links: BTreeMap<PathBuf, PathBuf>,
    /// What the server and the checkpoints know of files that were not seen yet.
    known: HashMap<FileId, start::Known>,
    to_read: VecDeque<Content>,
    /// What waits for a part of the budget, or for a producer.
    starved: VecDeque<Content>,
    retry_at: Option<Instant>,
    /// Contents that have a producer, or are about to.
    producers: usize,
    /// What waits for another content to be durable.
    waiting: HashMap<Content, Vec<Content>>,
    timers: BinaryHeap<Reverse<(Instant, Content)>>,
    work: FuturesUnordered<BoxFuture<'static, Outcome>>,
    report: SourceReport,
    failure: Option<Failure>,
    is_draining: bool,
    /// Without inotify: how long until everything is looked at again.
    poll_interval: Duration,
}

impl Files {
    /// # Errors
    /// When a pattern is malformed.
    pub(super) fn new(config: FileSource, shared: Shared) -> anyhow::Result<Self> {
        let patterns = Patterns::new(&config.include, &config.exclude)?;
        let cutter = Cutter::new(config.framing()?, config.bounds());
        let names = Names::of(&shared.agent, &config.name);
        let checkpoints = Checkpoints::load(&shared.state_dir, &config.name);
        let watcher = match config.watch {
            Watch::Poll => None,
            Watch::Auto | Watch::Inotify => Watcher::new()
                .inspect_err(
                    |error| tracing::warn!(source = config.name, %error, "no inotify: files are looked at instead"),
                )
                .ok(),
        };
        let report = SourceReport::new(&config.name, "file", &config.topic);
        Ok(Self {
            config,
            shared,
            names,
            patterns,
            cutter,
            checkpoints,
            is_changed: false,
            watcher,
            files: HashMap::new(),
            current: HashMap::new(),
            paths: HashMap::new(),
            left: HashMap::new(),
            links: BTreeMap::new(),
            known: HashMap::new(),
            to_read: VecDeque::new(),
            starved: VecDeque::new(),
            retry_at: None,
            producers: 0,
            waiting: HashMap::new(),
            timers: BinaryHeap::new(),
            work: FuturesUnordered::new(),
            report,
            failure: None,
            is_draining: false,
            poll_interval: POLL_MIN,
        })
    }

    /// Follows files until it is told to stop, and then waits for what is in flight.
    pub(super) async fn run(mut self, mut stop: Stop, mut asked: Asked) -> Result<(), Failure> {
        tokio::select! {
            () = self.begin() => {}
            () = stop.requested() => return Ok(()),
        }
        let mut save_at = None;
        let mut look_at = Instant::now() + self.look_every(true);
        let mut quiet_until = None;
        while self.failure.is_none() {
            self.read_all();
            if self.is_changed && save_at.is_none() {
                save_at = Some(Instant::now() + SAVE_EVERY);
            }
            if self.is_draining && self.is_drained() {
                break;
            }
            let next_timer = self.timers.peek().map(|Reverse((at, _))| *at);
            let retry_at = (!self.starved.is_empty()).then(|| *self.retry_at.get_or_insert(Instant::now() + STARVED));
            if self.watcher.is_none() {
                look_at = look_at.min(Instant::now() + POLL_MAX);
            }
            let deadline =
                [Some(look_at), save_at, next_timer, retry_at].into_iter().flatten().min().expect("one is always set");
            let not_before = quiet_until.filter(|_| !self.work.is_empty());
            tokio::select! {
                biased;
                () = stop.requested() => break,
                Some(outcome) = self.work.next() => {
                    // Those that wait come first.
                    self.feed_starved();
                    self.settle(outcome);
                    while let Some(Some(outcome)) = self.work.next().now_or_never() {
                        self.settle(outcome);
                    }
                }
                () = changed(self.watcher.as_ref(), not_before) => {
                    self.take_changes();
                    quiet_until = Some(Instant::now() + QUIET);
                }
                Some((request, answer)) = asked.next() => answer.send(self.answer(request)).unwrap_or_default(),
                // What is left to be read goes on once the connection had its turn.
                () = tokio::task::yield_now(), if !self.to_read.is_empty() => {}
                () = sleep_until(deadline) => {}
            }
            let now = Instant::now();
            while let Some(content) = self.timers.peek().filter(|Reverse((at, _))| *at <= now).map(|Reverse((_, c))| *c)
            {
                self.timers.pop();
                self.list(content);
            }
            if self.retry_at.is_some_and(|at| at <= now) {
                self.retry_at = None;
                self.feed_starved();
            }
            if look_at <= now {
                let has_changed = self.reconcile();
                self.note_missing();
                look_at = Instant::now() + self.look_every(has_changed);
            }
            if save_at.is_some_and(|at| at <= now) {
                save_at = None;
                self.save();
            }
        }
        self.finish().await
    }

    /// Waits for what is in flight, and remembers how far that came.
    async fn finish(mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.shared.shutdown_timeout;
        while self.files.values().any(|file| file.in_flight > 0) && self.failure.is_none() {
            match tokio::time::timeout_at(deadline, self.work.next()).await {
                Ok(Some(outcome)) => self.settle(outcome),
                Ok(None) => break,
                Err(_) => {
                    tracing::warn!(
                        source = self.config.name,
                        "stopped before all that was read is durable; it is read again"
                    );
                    break;
                }
            }
        }
        self.save();
        self.failure.map_or(Ok(()), Err)
    }

    fn look_every(&mut self, has_changed: bool) -> Duration {
        match (&self.watcher, has_changed) {
            (Some(_), _) => RECONCILE,
            (None, true) => {
                self.poll_interval = POLL_MIN;
                self.poll_interval
            }
            (None, false) => {
                self.poll_interval = (self.poll_interval * 2).min(POLL_MAX);
                self.poll_interval
            }
        }
    }

    fn take_changes(&mut self) {
        let changes = self.watcher.as_mut().map(Watcher::drain).unwrap_or_default();
        let mut is_all_unknown = false;
        for change in changes {
            match change {
                Change::Written(path) => {
                    let path = self.links.get(&path).filter(|_| !self.paths.contains_key(&path)).unwrap_or(&path);
                    match self.paths.get(path).copied() {
                        Some(content) => self.list(content),
                        None => drop(self.look_at_path(&path.clone())),
                    }
                }
                Change::Renamed(path) => {
                    if let Some(link) = self.links.get(&path).cloned() {
                        self.look_at_path(&link);
                    }
                    self.look_at_path(&path);
                }
                Change::Held(content) => self.list(content),
                Change::Directory => is_all_unknown = true,
                Change::Overflow => {
                    self.report.overflows += 1;
                    is_all_unknown = true;
                }
            }
        }
        if is_all_unknown {
            self.reconcile();
        }
    }

    /// Puts a content into the list of what is to be read.
    fn list(&mut self, content: Content) {
        if let Some(file) = self.files.get_mut(&content)
            && !std::mem::replace(&mut file.is_listed, true)
        {
            self.to_read.push_back(content);
        }
    }

    /// Has a content looked at again after a while, or sooner if that was asked for before.
    fn list_later(&mut self, file: &mut Followed, after: Duration) {
        let now = Instant::now();
        let at = now + after;
        if file.timer.is_none_or(|timer| timer > at || timer <= now) {
            file.timer = Some(at);
            self.timers.push(Reverse((at, file.content)));
        }
    }

    fn read_all(&mut self) {
        // One round: what is behind comes again behind the others.
        for _ in 0..self.to_read.len() {
            if let Some(content) = self.to_read.pop_front() {
                self.read(content);
            }
        }
    }

    fn save(&mut self) {
        self.is_changed = false;
        if let Err(error) = self.checkpoints.save(&self.shared.state_dir, &self.config.name) {
            tracing::warn!(source = self.config.name, %error, "checkpoints cannot be written");
        }
    }

    fn is_drained(&self) -> bool {
        self.files.values().all(|file| {
            let is_read = file.is_settled() || (file.is_waiting && file.in_flight == 0);
            file.error.is_some() || (is_read && !file.is_listed && !file.is_compared && file.after.is_none())
        })
    }

    fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Status => Answer::Status(Box::new(self.status())),
            Request::Explain(path) => Answer::Explained(self.explain(&path)),
            Request::Reset { path, to } => Answer::Done(self.reset(&path, to)),
            Request::Drain => {
                self.is_draining = true;
                self.reconcile();
                Answer::Done(Ok(()))
            }
        }
    }

    fn status(&self) -> SourceReport {
        let mut report = self.report.clone();
        report.files = self.files.len();
        report.open_files = self.files.values().filter(|file| file.file.is_some()).count();
        report.lag_bytes = self.files.values().map(|file| file.size.saturating_sub(file.acked)).sum();
        report.held_bytes = self
            .files
            .values()
            .filter(|file| file.fate == Fate::Left)
            .map(|file| file.size - file.acked.min(file.size))
            .sum();
        report.watches = self.watcher.as_ref().map(Watcher::directories);
        report
    }

    fn file_report(&self, content: Content) -> Option<FileReport> {
        let file = self.files.get(&content)?;
        Some(FileReport {
            producer: self.names.name(content),
            sent: file.sent,
            durable: file.acked,
            error: file.error.clone(),
        })
    }
}

/// Waits for inotify, but not before that moment.
async fn changed(watcher: Option<&Watcher>, not_before: Option<Instant>) {
    let Some(watcher) = watcher else { return std::future::pending().await };
    if let Some(moment) = not_before.filter(|moment| *moment > Instant::now()) {
        sleep_until(moment).await;
    }
    watcher.readable().await;
}
