//! The machine of the server: starts it, stops it, kills it, cuts its power; and its disk.

use std::time::Duration;

use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

use super::{
    super::{
        Rng, SimDisk,
        cut::Cutter,
        disk::{DiskWork, Fault},
        workload,
    },
    network::Network,
    trace::Trace,
};
use crate::{
    broker::Stepped,
    planted::Planted,
    server::{ServerConfig, Sessions},
};

/// The longest that a sync of the disk takes, but for the slow ones.
const SYNC_MS: u64 = 6;
const SLOW_SYNC_MS: u64 = 800;
/// A machine whose power goes: so much later than its disk's.
const LAST_WORDS: Duration = Duration::from_millis(10);
/// A power cut waits so long for a commit to be in the middle of.
const LAST_COMMIT: Duration = Duration::from_millis(500);
/// Operations of the disk that a commit takes, or some more.
const COMMIT_OPS: u64 = 16;
/// What a connection holds is given back within this time of its end. It takes a few turns of the scheduler.
const GIVES_BACK_WITHIN: Duration = Duration::from_millis(50);

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is told to stop, says GoAway, and closes its store.
    Stop,
    /// The process is killed.
    Kill,
    /// The power goes, in the middle of a commit if there is one to make.
    PowerCut,
}

/// See the module.
pub(super) struct Host {
    network: Network,
    trace: Trace,
    planted: Planted,
    rng: Rng,
    disk: SimDisk,
    running: Option<Running>,
}

/// A server that runs.
struct Running {
    sessions: Sessions,
    end: oneshot::Sender<Ending>,
    /// Gives the store back, unless it closed it.
    task: JoinHandle<Result<Option<Ended>, String>>,
}

/// A server that did not close its store.
struct Ended {
    store: Stepped,
    /// Of the disk, until then.
    ops: u64,
}

impl Host {
    pub(super) fn new(network: Network, trace: Trace, planted: Planted, rng: Rng) -> Self {
        Self { network, trace, planted, rng, disk: SimDisk::default(), running: None }
    }

    /// What is on the disk.
    pub(super) fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Starts the server on what is on the disk.
    pub(super) fn start(&mut self) -> Result<(), String> {
        self.disk.revive();
        let store = workload::open(&self.disk, self.planted);
        let store = store.map_err(|error| format!("the store does not open: {}", error.with_causes()))?;
        // With few, what is to be sent waits, and its connection may end meanwhile.
        let granted = [1, 2, 4, 1024][self.rng.index(4)];
        let config = ServerConfig::default().with_ephemeral().with_granted_requests(granted);
        let sessions = Sessions::new(store.broker().clone(), config);
        let (end, ended) = oneshot::channel();
        let rng = Rng::new(self.rng.number());
        let task = spawn_local(serve(store, sessions.clone(), self.disk.clone(), rng, ended));
        self.network.set_sessions(Some(sessions.clone()));
        self.running = Some(Running { sessions, end, task });
        self.trace.note("server", "is up".to_owned());
        Ok(())
    }

    /// Ends the server. Everything that its connections held must be given back.
    pub(super) async fn end(&mut self, ending: Ending) -> Result<(), String> {
        let Some(Running { sessions, end, task }) = self.running.take() else { return Ok(()) };
        self.trace.note("server", format!("ends: {ending:?}"));
        if ending == Ending::Stop {
            self.network.set_sessions(None);
        }
        if end.send(ending).is_err() {
            return Err("the server had ended by itself".to_owned());
        }
        let ended = task.await.map_err(|error| format!("the server panicked: {error}"))??;
        // Peers that did not go in time lose their connection with the process.
        self.network.kill_server(&mut self.rng);
        self.keep_disk(ending, ended.as_ref().map_or(0, |ended| ended.ops));
        if let Some(Ended { mut store, .. }) = ended {
            // What waited for the disk is gone with the machine; here somebody has to let go of it.
            drop(store.broker().close());
            while store.step() {}
        }
        gives_all_back(&sessions).await?;
        self.trace.note("server", "is down".to_owned());
        Ok(())
    }

    /// What the next server finds. `ops`: of the disk, when its power went.
    fn keep_disk(&mut self, ending: Ending, ops: u64) {
        match ending {
            Ending::Stop => self.disk = SimDisk::holding(self.disk.files()),
            // What it wrote is there, and not durable: the power may go before the next server syncs it.
            Ending::Kill => self.disk.kill_after(0),
            Ending::PowerCut => {
                let mut cutter = Cutter::new(self.disk.story());
                cutter.advance(ops - self.disk.forgotten());
                self.disk = self.disk.after_a_cut(cutter.sample(&mut self.rng));
            }
        }
    }
}

async fn gives_all_back(sessions: &Sessions) -> Result<(), String> {
    for _ in 0..GIVES_BACK_WITHIN.as_millis() {
        if sessions.connections() == 0 && sessions.is_whole() {
            return Ok(());
        }
        sleep(Duration::from_millis(1)).await;
    }
    let (connections, is_whole) = (sessions.connections(), sessions.is_whole());
    Err(format!("all connections were cut: {connections} are left, and all memory is given back: {is_whole}"))
}

/// Runs a server until its end.
async fn serve(
    mut store: Stepped,
    sessions: Sessions,
    disk: SimDisk,
    mut rng: Rng,
    ended: oneshot::Receiver<Ending>,
) -> Result<Option<Ended>, String> {
    let at = rng.below(COMMIT_OPS);
    let mut sync = || {
        let most = if rng.percent(2) { SLOW_SYNC_MS } else { SYNC_MS };
        Duration::from_millis(rng.below(most))
    };
    let ending = tokio::select! {
        biased;
        ending = ended => ending.map_err(|_| "nobody runs the server any more".to_owned())?,
        () = store.drive(&mut sync) => unreachable!("it is driven for ever"),
    };
    match ending {
        Ending::Kill => return Ok(Some(Ended { store, ops: disk.ops() })),
        Ending::PowerCut => {
            // The disk goes first, in the middle of a commit if one is asked for in time. What was said before, or rightly
            // or wrongly about that commit, may still get out.
            drop(timeout(LAST_COMMIT, store.wait()).await);
            let (work, kind) = (&DiskWork::ALL, std::io::ErrorKind::Other);
            disk.set_fault(Some(Fault { work, at, sticky: true, kind }));
            store.step();
            let ops = disk.ops();
            // A machine without power does not tell anybody that it cannot read.
            disk.set_fault(None);
            sleep(LAST_WORDS).await;
            return Ok(Some(Ended { store, ops }));
        }
        Ending::Stop => {}
    }
    tokio::select! {
        biased;
        () = sessions.stop() => {}
        () = store.drive(&mut sync) => unreachable!("it is driven for ever"),
    }
    drop(store.broker().close());
    while store.step() {}
    store.close().map(|()| None).map_err(|error| format!("the store does not close: {}", error.with_causes()))
}
