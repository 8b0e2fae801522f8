//! The network between the clients and the server: connects them, badly.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    super::Rng,
    lane::Pace,
    pipe::{Cut, Pipe, Plan, Side},
    replay::Replay,
    trace::Trace,
    weather::any_cut,
};
use crate::{client::BoxTransport, server::Sessions};

/// A connection takes at least so long to be made or refused.
const CONNECT_LATENCY: Duration = Duration::from_millis(1);
/// Longer than any client waits for a connection.
const HANGS_FOR: Duration = Duration::from_secs(3600);

/// How often what goes wrong, in percent of the connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mood {
    /// It is cut at some byte.
    pub(super) cut: u64,
    /// It is refused although the server is up.
    pub(super) refuse: u64,
    /// It never comes about.
    pub(super) hang: u64,
    /// The server seems to say something twice.
    pub(super) replay: u64,
}

struct Inner {
    seed: u64,
    mood: Mood,
    /// Connections of each client so far.
    dialled: BTreeMap<usize, u64>,
    /// Until when nothing arrives at the server from a client, and at the client from the server.
    blocked: BTreeMap<usize, [Instant; 2]>,
    /// What connects to the next connection, if that is decided.
    planned: Option<Plan>,
    sessions: Option<Sessions>,
    pipes: Vec<(usize, Weak<Mutex<Pipe>>)>,
    trace: Trace,
}

/// See the module. Clones are of the same network.
#[derive(Clone)]
pub(super) struct Network {
    inner: Arc<Mutex<Inner>>,
}

impl Network {
    pub(super) fn new(seed: u64, mood: Mood, trace: Trace) -> Self {
        let inner = Inner {
            seed,
            mood,
            dialled: BTreeMap::new(),
            blocked: BTreeMap::new(),
            planned: None,
            sessions: None,
            pipes: Vec::new(),
            trace,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while it is locked")
    }

    /// Where connections lead from now on; `None`: they are refused.
    pub(super) fn set_sessions(&self, sessions: Option<Sessions>) {
        self.inner().sessions = sessions;
    }

    /// The next connection is cut like this, and is smooth otherwise.
    pub(super) fn plan_next(&self, plan: Plan) {
        self.inner().planned = Some(plan);
    }

    /// From now on everything works, though what was cut stays cut.
    pub(super) fn heal(&self) {
        let now = Instant::now();
        let mut inner = self.inner();
        inner.mood = Mood::default();
        inner.blocked.clear();
        for pipe in inner.open_pipes() {
            let mut pipe = pipe.1.lock().expect("no panic while it is locked");
            pipe.forget_plan();
            pipe.block(Side::Client, now);
            pipe.block(Side::Server, now);
        }
    }

    /// Nothing arrives that this side of a client's connections sends, until then.
    pub(super) fn block(&self, client: usize, side: Side, until: Instant) {
        let mut inner = self.inner();
        let now = Instant::now();
        inner.blocked.entry(client).or_insert([now; 2])[side as usize] = until;
        for (_, pipe) in inner.open_pipes().into_iter().filter(|(whose, _)| *whose == client) {
            pipe.lock().expect("no panic while it is locked").block(side, until);
        }
    }

    /// Cuts the connection of a client, if it has one.
    pub(super) fn cut(&self, client: usize, cut: Cut) {
        let mut inner = self.inner();
        for (_, pipe) in inner.open_pipes().into_iter().filter(|(whose, _)| *whose == client) {
            pipe.lock().expect("no panic while it is locked").cut(cut);
        }
    }

    /// The server is gone; some clients are told.
    pub(super) fn kill_server(&self, rng: &mut Rng) {
        let mut inner = self.inner();
        inner.sessions = None;
        for (_, pipe) in inner.open_pipes() {
            pipe.lock().expect("no panic while it is locked").kill(Side::Server, rng.percent(60));
        }
    }

    /// A connection for a client, as its connector makes it.
    pub(super) async fn connect(&self, client: usize) -> io::Result<BoxTransport> {
        let (mut rng, name, mood, planned) = self.inner().dial(client);
        let pace = if planned.is_some() { Pace::SMOOTH } else { Pace::any(&mut rng) };
        self.inner().trace.note(&name, format!("dials, {pace:?}"));
        sleep(CONNECT_LATENCY + pace.delay(&mut rng)).await;
        if rng.percent(mood.hang) {
            self.inner().trace.note(&name, "hangs".to_owned());
            sleep(HANGS_FOR).await;
        }
        let open = self.inner().blocked.get(&client).map(|blocked| blocked[0].max(blocked[1]));
        if let Some(open) = open {
            sleep_until(open).await;
        }
        let is_refused = rng.percent(mood.refuse);
        let mut inner = self.inner();
        let Some(sessions) = inner.sessions.clone().filter(|_| !is_refused) else {
            inner.trace.note(&name, "is refused".to_owned());
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let plan = planned.or_else(|| rng.percent(mood.cut).then(|| any_plan(&mut rng)));
        let replay = rng.percent(mood.replay).then(|| Replay::after(rng.below(12)));
        let pipe = Pipe::new(name, pace, plan, replay, rng, inner.trace.clone());
        let (pipe, near, far) = pipe.ends();
        inner.pipes.push((client, Arc::downgrade(&pipe)));
        sessions.accept(far, u16::try_from(client).expect("few clients"));
        Ok(Box::new(near))
    }
}

impl Inner {
    fn dial(&mut self, client: usize) -> (Rng, String, Mood, Option<Plan>) {
        let number = self.dialled.entry(client).or_default();
        *number += 1;
        let seed = Rng::new(self.seed ^ Rng::new((client as u64) << 32 | *number).number()).number();
        (Rng::new(seed), format!("connection {client}.{number}"), self.mood, self.planned.take())
    }

    /// Those of which one end is left at least.
    fn open_pipes(&mut self) -> Vec<(usize, Arc<Mutex<Pipe>>)> {
        let mut open = Vec::new();
        self.pipes.retain(|(client, pipe)| {
            let pipe = pipe.upgrade();
            open.extend(pipe.iter().map(|pipe| (*client, pipe.clone())));
            pipe.is_some()
        });
        open
    }
}

/// Somewhere in what a connection carries; near its beginning more often than not.
fn any_plan(rng: &mut Rng) -> Plan {
    let side = if rng.percent(50) { Side::Client } else { Side::Server };
    let most = [40, 400, 4_000, 40_000][rng.index(4)];
    let at = 1 + rng.below(most);
    let cut = any_cut(rng);
    Plan { side, at, cut }
}
