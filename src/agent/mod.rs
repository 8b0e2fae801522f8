//! The agent: follows files and other sources of log lines, and ships each to a topic exactly once.
//!
//! ```text
//!  config ─▶ Agent ─┬▶ files     directories and files ─▶ one producer for each content of a file
//!                   ├▶ journald  journalctl            ─▶ one producer, the cursor in each record
//!                   └▶ syslog    sockets ─▶ spool      ─▶ one producer for each spool
//! ```
//!
//! **Exactly once.** The producer of a file is named after the file's identity, and its sequence is the position in the file.
//! The server stores a batch together with the range of bytes that it covers, so how far a file was shipped is known where
//! the records are, and nowhere else has to be right: what the agent keeps on its own disk is a cache.
//!
//! **Memory.** Files wait on disk where they are. What was read and is not acknowledged is a part of one budget, and when
//! that is spent, nothing more is read.

mod budget;
mod checkpoints;
pub mod config;
mod control;
mod cri;
pub mod cutter;
mod files;
pub mod identity;
mod in_flight;
mod journald;
mod loss;
mod marker;
mod patterns;
mod pipe;
mod relay;
mod report;
mod request;
mod ship;
mod spool;
mod syslog;
mod watcher;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Context;
use futures::future::BoxFuture;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

pub use self::{
    config::Config,
    control::ask,
    loss::LOSS_HEADER,
    patterns::{Patterns, Scan},
    pipe::Piping,
    report::{AgentReport, SourceReport},
    request::{Position, Reply, Request},
    ship::{Shipped, Shipping},
};

#[cfg(feature = "tracing")]
pub(crate) use self::{in_flight::durable, pipe::Feeding};

use self::{
    budget::Budget,
    config::{FileSource, JournaldSource, SyslogSource},
    control::Control,
    files::Files,
    request::{Answer, Asked, Asker},
};
use crate::{
    client::{Client, ConnectionState, ProducerBuilder},
    protocol::Retention,
};

/// Room for all that one producer may have in flight, whatever its records carry beside their bytes.
const WINDOW_BYTES: usize = 64 << 20;
/// For ever: what is not delivered waits.
const DELIVERY_TIMEOUT: Duration = Duration::MAX;
/// A source has so long to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Questions to one source at once.
const QUESTIONS: usize = 16;

/// What all sources use.
#[derive(Clone)]
struct Shared {
    client: Client,
    budget: Budget,
    agent: String,
    state_dir: PathBuf,
    shutdown_timeout: Duration,
}

impl Shared {
    /// A producer that delivers however long it takes.
    fn producer(&self, topic: &str, name: String) -> ProducerBuilder {
        self.client
            .producer(topic)
            .name(name)
            .create_topic(Retention::default())
            .window_bytes(WINDOW_BYTES)
            .delivery_timeout(DELIVERY_TIMEOUT)
    }
}

/// Being told to stop.
#[derive(Clone)]
struct Stop(watch::Receiver<bool>);

impl Stop {
    async fn requested(&mut self) {
        // Whoever could say so is gone: that says it, too.
        self.0.wait_for(|stop| *stop).await.map(drop).unwrap_or_default();
    }
}

/// A source that runs.
struct Running {
    config: SourceConfig,
    stop: watch::Sender<bool>,
    asker: Asker,
    task: JoinHandle<anyhow::Result<()>>,
}

/// The configuration of one source, to see whether it has changed.
#[derive(Clone, Debug, PartialEq)]
enum SourceConfig {
    File(FileSource),
    Journald(JournaldSource),
    Syslog(SyslogSource),
}

impl SourceConfig {
    fn all(config: &Config) -> BTreeMap<String, Self> {
        let files = config.source.file.iter().map(|source| (source.name.clone(), Self::File(source.clone())));
        let journals =
            config.source.journald.iter().map(|source| (source.name.clone(), Self::Journald(source.clone())));
        let sockets = config.source.syslog.iter().map(|source| (source.name.clone(), Self::Syslog(source.clone())));
        files.chain(journals).chain(sockets).collect()
    }

    fn start(
        &self,
        shared: Shared,
        stop: Stop,
        asked: Asked,
    ) -> anyhow::Result<BoxFuture<'static, anyhow::Result<()>>> {
        Ok(match self {
            Self::File(file) => {
                let files = Files::new(file.clone(), shared)?;
                Box::pin(async move { Ok(files.run(stop, asked).await?) })
            }
            Self::Journald(journal) => Box::pin(journald::run(journal.clone(), shared, stop, asked)),
            Self::Syslog(socket) => Box::pin(syslog::run(socket.clone(), shared, stop, asked)),
        })
    }
}

/// A running agent. Dropping it stops it at once; [`Agent::stop`] waits for what is in flight.
pub struct Agent {
    config: Config,
    shared: Shared,
    running: BTreeMap<String, Running>,
    control: Control,
}

impl Agent {
    /// Starts the sources of a configuration. The server need not be there yet.
    ///
    /// # Errors
    /// When the state directory cannot be used, or belongs to another running agent; when a source makes no sense.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(config: Config) -> anyhow::Result<Self> {
        let state_dir = config.agent.state_dir.clone();
        std::fs::create_dir_all(&state_dir).with_context(|| format!("cannot make {}", state_dir.display()))?;
        let control = Control::listen(&state_dir)?;
        let agent = match &config.agent.id {
            Some(id) => id.clone(),
            None => identity::machine().context("cannot tell what machine this is")?,
        };
        let mut builder = Client::builder(config.server.address.clone()).name(format!("connectify agent {agent}"));
        if let Some(path) = &config.server.credentials_file {
            let credentials = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let credentials = credentials.strip_suffix(b"\n").unwrap_or(&credentials);
            builder = builder.credentials(credentials);
        }
        let shared = Shared {
            client: builder.connect_lazy()?,
            budget: Budget::new(config.agent.memory_limit),
            agent,
            state_dir,
            shutdown_timeout: config.agent.shutdown_timeout,
        };
        let mut this = Self { config: config.clone(), shared, running: BTreeMap::new(), control };
        for (name, source) in SourceConfig::all(&config) {
            this.start_source(name, source)?;
        }
        Ok(this)
    }

    fn start_source(&mut self, name: String, config: SourceConfig) -> anyhow::Result<()> {
        let (stop, stopped) = watch::channel(false);
        let (asker, asked) = mpsc::channel(QUESTIONS);
        let source = config
            .start(self.shared.clone(), Stop(stopped), Asked(asked))
            .with_context(|| format!("source {name} cannot be started"))?;
        let task = tokio::spawn(source);
        self.running.insert(name, Running { config, stop, asker, task });
        Ok(())
    }

    /// Runs until it is told to stop, or was asked to drain and has, or a source has failed for good. A configuration that
    /// comes through `reloads` takes the place of the one before: sources that it does not change go on.
    ///
    /// # Errors
    /// What a source failed with.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        mut reloads: mpsc::Receiver<Config>,
    ) -> anyhow::Result<()> {
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(config) = reloads.recv() => self.reload(config).await,
                Some((request, back)) = self.control.next() => {
                    let reply = self.answer(request).await;
                    back.send(reply);
                }
                ended = ended(&mut self.running) => {
                    let (name, result) = ended;
                    self.running.remove(&name);
                    result.with_context(|| format!("source {name}"))?;
                    if self.running.is_empty() {
                        break;
                    }
                }
            }
        }
        self.stop().await
    }

    /// Stops all sources: each waits for what is in flight, as long as the configuration says.
    ///
    /// # Errors
    /// What a source failed with.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { running, shared, .. } = self;
        for source in running.values() {
            source.stop.send_replace(true);
        }
        let mut result = Ok(());
        for (name, source) in running {
            let ended = source.task.await.unwrap_or_else(|error| Err(error.into()));
            result = result.and(ended.with_context(|| format!("source {name}")));
        }
        // A server that is not there says no goodbye.
        tokio::time::timeout(shared.shutdown_timeout, shared.client.close()).await.ok();
        result
    }

    async fn reload(&mut self, config: Config) {
        if (&config.server, &config.agent) != (&self.config.server, &self.config.agent) {
            tracing::warn!("[server] and [agent] take effect with the next start");
        }
        let mut wanted = SourceConfig::all(&config);
        let changed: Vec<String> = self
            .running
            .iter()
            .filter(|(name, source)| wanted.get(*name) != Some(&source.config))
            .map(|(name, _)| name.clone())
            .collect();
        for name in changed {
            let Some(source) = self.running.remove(&name) else { continue };
            source.stop.send_replace(true);
            if let Err(error) = source.task.await.unwrap_or_else(|error| Err(error.into())) {
                tracing::error!(name, error = format!("{error:#}"), "source failed");
            }
        }
        wanted.retain(|name, _| !self.running.contains_key(name));
        for (name, source) in wanted {
            match self.start_source(name.clone(), source) {
                Ok(()) => tracing::info!(name, "source started"),
                Err(error) => tracing::error!(name, error = format!("{error:#}"), "source cannot be started"),
            }
        }
        self.config = Config { server: self.config.server.clone(), agent: self.config.agent.clone(), ..config };
    }

    async fn answer(&self, request: Request) -> Reply {
        let mut answers = Vec::new();
        for source in self.running.values() {
            let (back, answer) = tokio::sync::oneshot::channel();
            let asked = async {
                source.asker.send((request.clone(), back)).await.ok()?;
                answer.await.ok()
            };
            // A source that ends meanwhile does not answer, nor does one that waits for the server at its beginning.
            answers.extend(tokio::time::timeout(ANSWER, asked).await.ok().flatten());
        }
        self.reply(answers)
    }

    fn reply(&self, answers: Vec<Answer>) -> Reply {
        let (mut sources, mut lines, mut done, mut failed) = (Vec::new(), Vec::new(), 0, Vec::new());
        for answer in answers {
            match answer {
                Answer::Status(report) => sources.push(*report),
                Answer::Explained(said) => lines.extend(said),
                Answer::Done(Ok(())) => done += 1,
                Answer::Done(Err(why)) => failed.push(why),
            }
        }
        match (done, lines.is_empty()) {
            (0, false) => Reply::Explained(lines),
            (0, true) if failed.is_empty() => Reply::Status(AgentReport {
                agent: self.shared.agent.clone(),
                server: self.config.server.address.clone(),
                connected: *self.shared.client.state().borrow() == ConnectionState::Connected,
                in_flight_bytes: self.shared.budget.spent(),
                sources,
            }),
            (0, true) => Reply::Failed(failed.join("; ")),
            _ => Reply::Done,
        }
    }
}

/// The first source that ends.
async fn ended(running: &mut BTreeMap<String, Running>) -> (String, anyhow::Result<()>) {
    let tasks = running.iter_mut().map(|(name, source)| {
        Box::pin(async move { (name.clone(), (&mut source.task).await.unwrap_or_else(|error| Err(error.into()))) })
    });
    let tasks: Vec<_> = tasks.collect();
    match tasks.is_empty() {
        true => std::future::pending().await,
        false => futures::future::select_all(tasks).await.0,
    }
}
