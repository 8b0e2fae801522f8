//! The writer: one thread that owns state and engine, and turns what waits into groups.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    BrokerConfig, Error, Health, Status, clock::Clock, group::Group, operation::Operation, place::OpenEngine,
    queue::Queue, state::State, view::View,
};
use crate::{
    limits::UNNAMED_EXPIRY,
    planted::Bug,
    record::Timestamp,
    storage::{Block, Engine, StorageError},
};

/// Between looks at what expires by age, and between trims of the engine.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Between looks at producers that nobody uses any more.
const EXPIRY_PAUSE: Duration = Duration::from_secs(3600);
/// Between attempts to open the store again after the disk failed.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// Between looks at a disk that is full.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Bytes that a commit may take on disk for each byte of its block: pages are copied, not changed.
const WRITE_AMPLIFICATION: u64 = 4;

pub(super) struct Writer {
    config: BrokerConfig,
    pub(super) clock: Clock,
    open: OpenEngine,
    queue: Arc<Queue>,
    view: Arc<View>,
    state: State,
    /// `None` once the disk failed for good.
    engine: Option<Box<dyn Engine>>,
    due: Due,
}

/// When to do what is not asked for by anybody.
struct Due {
    sweep: Option<Instant>,
    expiry: Instant,
    /// Set while the engine was not told about room that is free.
    trim: Option<Instant>,
    /// Set while the disk fails, or is full, and may come back.
    again: Option<Instant>,
}

impl Writer {
    pub(super) fn open(
        config: BrokerConfig,
        clock: Clock,
        open: OpenEngine,
        queue: Arc<Queue>,
        view: Arc<View>,
    ) -> Result<Self, StorageError> {
        let (state, engine) = recover(&open, &config, false)?;
        let now = clock.instant();
        let due = Due { sweep: Some(now), expiry: now, trim: Some(now), again: None };
        let mut writer = Self { config, clock, open, queue, view, state, engine: Some(engine), due };
        writer.show_all();
        writer.commit_group(Vec::new());
        match writer.engine {
            Some(_) => {
                // The first commit may have given the data its identity.
                writer.show_status(Health::Well);
                Ok(writer)
            }
            None => Err(StorageError::Background("the first commit failed".to_owned())),
        }
    }

    /// Works until the queue is closed and empty, then closes the engine.
    pub(super) fn run(mut self) -> Result<(), StorageError> {
        let _guard = PanicGuard { queue: self.queue.clone(), view: self.view.clone() };
        while let Some(operations) = self.queue.take(self.config.group_bytes, self.patience()) {
            self.commit_group(operations);
        }
        self.engine.map_or(Ok(()), Engine::close)
    }

    /// Works on what waits now; `false` when nothing does.
    #[cfg(feature = "trial")]
    pub(super) fn step(&mut self) -> bool {
        let operations = self.queue.take(self.config.group_bytes, Duration::ZERO).unwrap_or_default();
        let is_work = !operations.is_empty();
        self.commit_group(operations);
        is_work
    }

    /// Every producer.
    #[cfg(feature = "trial")]
    pub(super) fn producers(&self) -> Vec<super::ProducerState> {
        self.state.producers.values().map(|producer| producer.shown()).collect()
    }

    /// Ready when a step has something to work on.
    #[cfg(feature = "trial")]
    pub(super) async fn wait(&self) {
        self.queue.filled().await;
    }

    /// Ends the engine in order.
    #[cfg(feature = "trial")]
    pub(super) fn close(self) -> Result<(), StorageError> {
        self.engine.map_or(Ok(()), Engine::close)
    }

    fn patience(&self) -> Duration {
        let due = [self.due.sweep, Some(self.due.expiry), self.due.trim, self.due.again];
        let next = due.into_iter().flatten().min().expect("expiry is always due at some time");
        let patience = next.saturating_duration_since(self.clock.instant());
        let is_full = self.view.last_status().health == Health::DiskFull;
        if is_full { patience.min(FULL_PAUSE) } else { patience }
    }

    /// One turn: decide, commit, publish, tell.
    fn commit_group(&mut self, operations: Vec<Operation>) {
        if self.due.again.is_some_and(|due| due <= self.clock.instant()) {
            self.reopen();
        }
        if self.engine.as_ref().is_some_and(|engine| engine.has_failed()) {
            tracing::error!("a file that is written cannot be read, or work in the background failed");
            self.reopen();
        }
        let Some(engine) = &mut self.engine else {
            return operations.into_iter().for_each(|operation| operation.refuse(Error::StorageFailed));
        };
        let bytes: usize = operations.iter().map(Operation::bytes).sum();
        let full = out_of_room(engine.as_ref(), self.config.reserve_bytes, bytes);
        let health = if full.is_some() { Health::DiskFull } else { Health::Well };
        let mut group = Group::new(&mut self.state, self.clock.now(), full, bytes);
        group.identify();
        operations.into_iter().for_each(|operation| group.execute(operation));
        group.trim_touched();
        self.due.sweep(&mut group, self.clock);
        let (mut settling, frees_room) = (group.settling(), group.frees_room);
        let Group { early, block, topics, consumers, .. } = group;
        if self.config.planted.has(Bug::AckBeforeCommit) {
            settling.settle_now();
        }
        if self.config.planted.has(Bug::ReadAhead) {
            self.view.publish(&self.state, &topics, &consumers);
        }
        match commit(engine.as_mut(), early).and_then(|()| commit(engine.as_mut(), block)) {
            Ok(()) => {
                // Publish before telling: who is told may ask at once.
                self.view.publish(&self.state, &topics, &consumers);
                let before = self.view.last_status();
                if before.health != health || self.counts() != (before.topics, before.producers, before.consumers) {
                    self.show_status(health);
                }
                settling.settle(&Ok(()));
                self.after_commit(frees_room);
            }
            Err(error) => {
                tracing::error!(error = %error, cause = ?error, "a commit failed, its outcome is not known");
                settling.settle(&Err(Error::Indeterminate));
                self.reopen();
            }
        }
    }

    fn after_commit(&mut self, frees_room: bool) {
        let (engine, now) = (self.engine.as_mut().expect("it has just committed"), self.clock.instant());
        if frees_room {
            self.due.trim.get_or_insert(now + SWEEP_PAUSE);
        }
        if self.due.trim.is_some_and(|due| due <= now) {
            self.due.trim = None;
            engine.trim(self.state.live_heads());
        }
        if engine.wants_roll() {
            // Later segments build on this state; encoding it is not the writer's work.
            let state = self.state.clone();
            let rolled = engine.roll(Box::new(move || state.to_snapshot()));
            if let Err(error) = rolled {
                tracing::error!(error = %error, cause = ?error, "beginning a segment failed");
                return self.reopen();
            }
            engine.trim(self.state.live_heads());
        }
    }

    fn counts(&self) -> (usize, usize, usize) {
        (self.state.topics.len(), self.state.producers.len(), self.state.consumers.len())
    }

    fn show_status(&self, health: Health) {
        let (topics, producers, consumers) = self.counts();
        self.view.set_status(Status {
            server_id: self.state.server_id,
            health,
            topics,
            producers,
            consumers,
            reserve_bytes: self.config.reserve_bytes,
            ..Status::default()
        });
    }

    fn show_all(&self) {
        if let Some(engine) = &self.engine {
            self.view.set_reader(engine.reader());
        }
        self.view.publish_all(&self.state);
        self.show_status(if self.engine.is_some() { Health::Well } else { Health::Failed });
    }

    /// After a failure nothing in memory can be believed: close, open again, fold again.
    fn reopen(&mut self) {
        self.view.set_reopening(true);
        self.engine = None;
        self.open_again();
        self.view.set_reopening(false);
    }

    fn open_again(&mut self) {
        self.due.again = None;
        match recover(&self.open, &self.config, true) {
            Ok((state, engine)) => {
                tracing::warn!("opened the store again after a failure");
                (self.state, self.engine) = (state, Some(engine));
                self.show_all();
            }
            Err(error) => {
                tracing::error!(error = %error, cause = ?error, "opening the store again failed");
                self.due.again = error.is_transient().then(|| self.clock.instant() + REOPEN_PAUSE);
                self.show_status(Health::Failed);
            }
        }
    }
}

/// A panic of the writer must not leave callers waiting for it.
struct PanicGuard {
    queue: Arc<Queue>,
    view: Arc<View>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.close();
            self.view.set_status(Status { health: Health::Failed, ..self.view.last_status() });
            while let Some(waiting) = self.queue.take(usize::MAX, Duration::ZERO) {
                waiting.into_iter().for_each(|operation| operation.refuse(Error::StorageFailed));
            }
        }
    }
}

impl Due {
    /// Adds to a group what time alone asks for.
    fn sweep(&mut self, group: &mut Group<'_>, clock: Clock) {
        let now = clock.instant();
        let is_due = self.sweep.is_some_and(|due| due <= now);
        let next = if is_due { group.sweep() } else { group.next_expiry() };
        let next = next.map(|next| Duration::from_micros(next.0.saturating_sub(clock.now().0)).max(SWEEP_PAUSE));
        let next = next.map(|wait| now + wait);
        self.sweep = [self.sweep.filter(|_| !is_due), next].into_iter().flatten().min();
        if self.expiry <= now {
            self.expiry = now + EXPIRY_PAUSE;
            let expiry = u64::try_from(UNNAMED_EXPIRY.as_micros()).expect("seven days");
            let before = Timestamp(clock.now().0.saturating_sub(expiry));
            group.expire_producers(before);
            group.expire_consumers(before);
        }
    }
}

fn commit(engine: &mut dyn Engine, block: Block) -> Result<(), StorageError> {
    if block.is_empty() { Ok(()) } else { engine.commit(block) }
}

fn recover(
    open: &OpenEngine,
    config: &BrokerConfig,
    after_failure: bool,
) -> Result<(State, Box<dyn Engine>), StorageError> {
    let mut state = State { planted: config.planted, ..State::default() };
    let mut engine = open(after_failure)?;
    engine.recover(&mut state)?;
    Ok((state, engine))
}

fn out_of_room(engine: &dyn Engine, reserve: u64, bytes: usize) -> Option<Error> {
    let free = engine.free_bytes()?;
    let wanted = reserve.saturating_add((bytes as u64 + engine.owed_bytes()) * WRITE_AMPLIFICATION);
    (free < wanted).then_some(Error::DiskFull { free, reserve })
}
