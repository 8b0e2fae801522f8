//! The keeper: a thread that folds, prepares the next segment, seals full ones, removes dead ones and rewrites in between.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    Background, EngineOptions, LiveHeads, Snapshot, StorageError, Volume,
    guard::guarded,
    live::{Folding, LiveSegment},
    rewrite::{self, Rewrite},
    seal,
    sealed::SealedSegment,
    segments::{Segment, Segments},
};
use crate::planted::Bug;

/// Between two steps of a rewrite, so that it takes a small part of disk and processor: about 32 MiB/s.
const REWRITE_PAUSE: Duration = Duration::from_millis(30);

enum Job {
    Fold(Arc<LiveSegment>),
    Prepare(u64),
    Seal(Arc<LiveSegment>, Snapshot),
    Trim(LiveHeads),
}

#[derive(Default)]
struct Shared {
    /// The next segment, ready to be appended to.
    prepared: Mutex<Option<Arc<LiveSegment>>>,
    /// Seals that were asked for and are not done.
    sealing: AtomicUsize,
    failure: Mutex<Option<String>>,
}

/// The writer's handle to the thread. Dropping it stops the thread after the jobs that it was given.
pub(super) struct Keeper {
    jobs: Jobs,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Where jobs go.
enum Jobs {
    Thread(Sender<Job>),
    /// They are done at once.
    Inline(Box<Mutex<Worker>>),
    Deferred(Box<Mutex<Deferred>>),
    Stopped,
}

/// Jobs that are done later, by whoever commits.
struct Deferred {
    worker: Worker,
    queue: VecDeque<Job>,
    /// Of an xorshift generator.
    chance: u64,
    /// Turns in which nothing is done, to come.
    idle: u64,
}

impl Keeper {
    pub(super) fn start(
        volume: Arc<dyn Volume>,
        segments: Arc<Segments>,
        options: &EngineOptions,
    ) -> Result<Self, StorageError> {
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            volume,
            segments,
            shared: shared.clone(),
            heads: None,
            runs: HashMap::new(),
            rewrite: None,
            unreadable: HashSet::new(),
            folding: options.folding(),
        };
        match options.background {
            Background::Thread => {}
            Background::Inline => {
                return Ok(Self { jobs: Jobs::Inline(Box::new(Mutex::new(worker))), shared, thread: None });
            }
            Background::Deferred(seed) => {
                let deferred = Deferred { worker, queue: VecDeque::new(), chance: seed | 1, idle: 0 };
                return Ok(Self { jobs: Jobs::Deferred(Box::new(Mutex::new(deferred))), shared, thread: None });
            }
        }
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || worker.run(&queue));
        let thread = thread.map_err(StorageError::io("starting the keeper thread"))?;
        Ok(Self { jobs: Jobs::Thread(jobs), shared, thread: Some(thread) })
    }

    fn send(&self, job: Job) {
        match &self.jobs {
            // The thread ends only after a failure, which `check` reports.
            Jobs::Thread(jobs) => drop(jobs.send(job)),
            Jobs::Inline(worker) => worker.lock().expect("no panic while it is locked").work_at_once(job),
            Jobs::Deferred(deferred) => deferred.lock().expect("no panic while it is locked").queue.push_back(job),
            Jobs::Stopped => {}
        }
    }

    /// Lets deferred work go on, or not.
    pub(super) fn turn(&self) {
        if let Jobs::Deferred(deferred) = &self.jobs {
            deferred.lock().expect("no panic while it is locked").turn();
        }
    }

    /// Asks for what only the write-ahead log has of a segment to be written into its file.
    pub(super) fn fold(&self, segment: Arc<LiveSegment>) {
        self.send(Job::Fold(segment));
    }

    /// Asks for an empty segment of this number.
    pub(super) fn prepare(&self, number: u64) {
        self.send(Job::Prepare(number));
    }

    /// Hands over an empty segment that was found at open.
    pub(super) fn put_prepared(&self, segment: Arc<LiveSegment>) {
        *self.shared.prepared.lock().expect("no panic while it is locked") = Some(segment);
    }

    /// The prepared segment, once it is ready and every segment before the active one is sealed.
    pub(super) fn take_prepared(&self) -> Option<Arc<LiveSegment>> {
        self.is_ready().then(|| self.shared.prepared.lock().expect("no panic while it is locked").take())?
    }

    /// Whether [`Keeper::take_prepared`] would give a segment.
    pub(super) fn is_ready(&self) -> bool {
        let is_prepared = self.shared.prepared.lock().expect("no panic while it is locked").is_some();
        is_prepared && self.shared.sealing.load(SeqCst) == 0
    }

    /// Asks for a segment, which is written no more, to be sealed.
    pub(super) fn seal(&self, segment: Arc<LiveSegment>, snapshot: Snapshot) {
        self.shared.sealing.fetch_add(1, SeqCst);
        self.send(Job::Seal(segment, snapshot));
    }

    pub(super) fn trim(&self, heads: LiveHeads) {
        self.send(Job::Trim(heads));
    }

    /// Reports what went wrong on the thread.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        match &*self.shared.failure.lock().expect("no panic while it is locked") {
            Some(failure) => Err(StorageError::Background(failure.clone())),
            None => Ok(()),
        }
    }

    /// Stops the thread after the jobs that it was given.
    pub(super) fn stop(&mut self) -> Result<(), StorageError> {
        if let Jobs::Deferred(deferred) = std::mem::replace(&mut self.jobs, Jobs::Stopped) {
            deferred.into_inner().expect("no panic while it is locked").finish();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| StorageError::Background("the keeper thread panicked".to_owned()))?;
        }
        self.check()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Whoever wants to know calls `stop`.
        drop(self.stop());
    }
}

impl Deferred {
    /// Does nothing, a job, or a step of a rewrite: nobody can tell what a thread would come to.
    fn turn(&mut self) {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        if self.idle > 0 || self.worker.has_failed() {
            self.idle = self.idle.saturating_sub(1);
            return;
        }
        match self.chance >> 60 {
            0..3 => return self.idle = self.chance % 60,
            3..6 => return,
            _ => {}
        }
        let worker = &mut self.worker;
        let done = match self.queue.pop_front() {
            Some(job) => guarded(|| worker.work(job)),
            None => guarded(|| worker.step()),
        };
        if let Err(error) = done {
            worker.fail(&error);
        }
    }

    /// Does the jobs that are left, as the thread does.
    fn finish(mut self) {
        while let Some(job) = self.queue.pop_front().filter(|_| !self.worker.has_failed()) {
            if let Err(error) = guarded(|| self.worker.work(job)) {
                self.worker.fail(&error);
            }
        }
    }
}

struct Worker {
    volume: Arc<dyn Volume>,
    segments: Arc<Segments>,
    shared: Arc<Shared>,
    /// What was live when the broker last told, and the last segment that was sealed then: of later ones it says
    /// nothing.
    heads: Option<(LiveHeads, u64)>,
    /// How many runs the segments have that were sealed here: whether sorting them is worth it.
    runs: HashMap<u64, usize>,
    rewrite: Option<Rewrite>,
    /// Segments whose rewrite failed.
    unreadable: HashSet<u64>,
    folding: Folding,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Job>) {
        loop {
            let job = match self.rewrite {
                Some(_) => queue.recv_timeout(REWRITE_PAUSE),
                None => queue.recv().map_err(RecvTimeoutError::from),
            };
            let done = match job {
                Ok(job) => guarded(|| self.work(job)),
                Err(RecvTimeoutError::Timeout) => guarded(|| self.step()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = done {
                return self.fail(&error);
            }
        }
    }

    /// Does a job, and a rewrite that it begins, to the end.
    fn work_at_once(&mut self, job: Job) {
        let mut done = guarded(|| self.work(job));
        while done.is_ok() && self.rewrite.is_some() {
            done = guarded(|| self.step());
        }
        if let Err(error) = done {
            self.fail(&error);
        }
    }

    fn has_failed(&self) -> bool {
        self.shared.failure.lock().expect("no panic while it is locked").is_some()
    }

    fn fail(&self, error: &StorageError) {
        let failure = error.with_causes();
        tracing::error!(error = failure, "background work on the data files failed");
        *self.shared.failure.lock().expect("no panic while it is locked") = Some(failure);
    }

    fn work(&mut self, job: Job) -> Result<(), StorageError> {
        match job {
            Job::Fold(segment) => segment.fold(self.folding),
            Job::Prepare(number) => {
                let segment = Arc::new(LiveSegment::create(self.volume.as_ref(), number)?);
                *self.shared.prepared.lock().expect("no panic while it is locked") = Some(segment);
                Ok(())
            }
            Job::Seal(live, snapshot) => {
                self.runs.insert(live.id().number, live.index().len());
                live.fold(self.folding)?;
                seal::seal(&self.volume, &self.segments, &live, snapshot)?;
                self.shared.sealing.fetch_sub(1, SeqCst);
                Ok(())
            }
            Job::Trim(heads) => {
                self.remove_dead(&heads)?;
                let last = self.history().last().map(|segment| segment.id().number);
                self.heads = last.map(|last| (heads, last));
                self.next_rewrite()
            }
        }
    }

    /// All sealed segments but the last, whose snapshot recovery starts from.
    fn history(&self) -> Vec<Arc<SealedSegment>> {
        let mut sealed = self.segments.sealed();
        sealed.pop();
        sealed
    }

    fn remove_dead(&mut self, heads: &LiveHeads) -> Result<(), StorageError> {
        let mut dead = self.history();
        let mut was_dead = false;
        dead.retain(|segment| {
            let is_too_many = was_dead && self.folding.planted.has(Bug::TrimTooMuch);
            was_dead = rewrite::live_bytes(segment, heads) == 0;
            was_dead || is_too_many
        });
        if dead.is_empty() {
            return Ok(());
        }
        for segment in dead {
            let number = segment.id().number;
            if let Some(rewrite) = self.rewrite.take_if(|rewrite| rewrite.number() == number) {
                rewrite.abandon(self.volume.as_ref())?;
            }
            self.segments.remove(number);
            self.volume.remove(&segment.id().name())?;
            tracing::info!(segment = number, "removed a segment that retention or deletion emptied");
        }
        self.volume.sync()
    }

    fn next_rewrite(&mut self) -> Result<(), StorageError> {
        let Some((heads, last)) = self.heads.as_ref().filter(|_| self.rewrite.is_none()) else {
            return Ok(());
        };
        for segment in self.history().into_iter().filter(|segment| segment.id().number <= *last) {
            let runs = self.runs.get(&segment.id().number).copied();
            let number = segment.id().number;
            if self.unreadable.contains(&number) || !rewrite::is_worthwhile(&segment, heads, runs) {
                continue;
            }
            match guarded(|| Rewrite::begin(self.volume.as_ref(), segment, heads)) {
                Ok(rewrite) => {
                    self.rewrite = rewrite;
                    return Ok(());
                }
                Err(error) => {
                    tracing::error!(segment = number, error = error.with_causes(), "a segment cannot be rewritten");
                    self.unreadable.insert(number);
                }
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), StorageError> {
        let Some(mut rewrite) = self.rewrite.take() else {
            return Ok(());
        };
        let number = rewrite.number();
        match guarded(|| rewrite.step()) {
            Ok(true) => {}
            Ok(false) => {
                self.rewrite = Some(rewrite);
                return Ok(());
            }
            Err(error) => {
                // An old segment that cannot be read is no reason to stop appending: it stays as it is.
                tracing::error!(segment = number, error = error.with_causes(), "a segment cannot be rewritten");
                self.unreadable.insert(number);
                rewrite.abandon(self.volume.as_ref())?;
                return self.next_rewrite();
            }
        }
        rewrite.finish(&self.volume, |segment| self.segments.put(Segment::Sealed(segment)))?;
        self.runs.remove(&number);
        tracing::info!(segment = number, "rewrote a segment");
        self.next_rewrite()
    }
}
