//! `connectify agent`: follows files and other sources, and ships them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use connectify::agent::{self, Agent, AgentReport, Config, Patterns, Position, Reply, Request};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep,
};

use super::{
    answer::Answer,
    byte_size::ByteSize,
    log, open_files,
    output::{Output, talk},
    service, signals,
};

/// How often `status --watch` asks.
const WATCH: Duration = Duration::from_secs(1);

/// Follow files and other sources of log lines, and ship each to a topic exactly once
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Run until SIGTERM or Ctrl-C, which wait for what is on its way; SIGHUP reads the configuration again
    Run(ConfigArgs),
    /// Read the configuration and say what it would do: files, positions, limits; nothing is shipped
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        /// Exit with 1 when there is a warning
        #[arg(long)]
        strict: bool,
    },
    /// Show how the running agent is
    Status {
        #[command(flatten)]
        config: ConfigArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Again every second
        #[arg(long)]
        watch: bool,
    },
    /// Say why a file is read, or is not
    Explain {
        #[command(flatten)]
        config: ConfigArgs,
        /// The file
        path: PathBuf,
    },
    /// Have the running agent begin a file anew: what it reads again is stored again
    Reset {
        #[command(flatten)]
        config: ConfigArgs,
        /// The file
        path: PathBuf,
        /// Where to: begin, end, or a number of bytes
        #[arg(long, value_name = "POSITION")]
        to: Position,
    },
    /// Have the running agent ship all that is there, and stop
    Drain(ConfigArgs),
}

#[derive(Debug, clap::Args)]
struct ConfigArgs {
    /// The configuration
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "CONNECTIFY_AGENT_CONFIG",
        default_value = "/etc/connectify/agent.toml"
    )]
    config: PathBuf,
}

impl ConfigArgs {
    fn read(&self) -> anyhow::Result<Config> {
        Ok(Config::read(&self.config)?)
    }

    async fn ask(&self, request: &Request) -> anyhow::Result<Reply> {
        agent::ask(&self.read()?.agent.state_dir, request).await
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    match &args.action {
        Action::Run(config) => follow(config).await,
        Action::Check { config, strict } => check(&config.read()?, *strict),
        Action::Status { config, json, watch } => status(config, *json, *watch).await,
        Action::Explain { config, path } => explain(config, &absolute(path)?).await,
        Action::Reset { config, path, to } => {
            done(config.ask(&Request::Reset { path: absolute(path)?, to: *to }).await?)
        }
        Action::Drain(config) => drain(config).await,
    }
}

/// The agent knows files by paths from the root.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is not a path", path.display()))
}

async fn follow(args: &ConfigArgs) -> anyhow::Result<Answer> {
    log::start()?;
    open_files::raise_limit();
    let config = args.read()?;
    let stop = signals::stop_requested().context("cannot wait for signals")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for signals")?;
    let (sender, reloads) = mpsc::channel(1);
    let agent = Agent::start(config)?;
    let path = args.config.clone();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            match Config::read(&path) {
                Ok(config) => sender.send(config).await.unwrap_or_default(),
                Err(error) => tracing::error!(%error, "the configuration stays as it was"),
            }
        }
    });
    service::ready();
    agent.run(stop, reloads).await?;
    service::stopping();
    Ok(Answer::Yes)
}

fn check(config: &Config, strict: bool) -> anyhow::Result<Answer> {
    let mut out = Output::stdout();
    let mut warnings = Vec::new();
    let mut owners: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let text = format!("server {}, state in {}", config.server.address, config.agent.state_dir.display());
    out.line(text.as_bytes())?;
    for source in &config.source.file {
        let scan = Patterns::new(&source.include, &source.exclude)?.scan();
        let text = format!(
            "source {} to topic {}: {} files, {} directories",
            source.name,
            source.topic,
            scan.files.len(),
            scan.directories.len()
        );
        out.line(text.as_bytes())?;
        if scan.files.is_empty() {
            warnings.push(format!("source {}: no file matches yet", source.name));
        }
        for path in scan.files {
            let size = path.metadata().map_or(0, |metadata| metadata.len());
            out.line(format!("  {} {}", path.display(), ByteSize(size)).as_bytes())?;
            if let Err(error) = std::fs::File::open(&path) {
                warnings.push(format!("{}: {error}", path.display()));
            }
            if let Some(other) = owners.insert(path.clone(), &source.name) {
                warnings.push(format!(
                    "{} belongs to {other} and to {}: it is shipped twice",
                    path.display(),
                    source.name
                ));
            }
        }
    }
    out.flush()?;
    warnings.iter().for_each(|warning| talk(format_args!("warning: {warning}")));
    Ok(match strict && !warnings.is_empty() {
        true => Answer::No(format!("{} warnings", warnings.len())),
        false => Answer::Yes,
    })
}

async fn status(config: &ConfigArgs, json: bool, watch: bool) -> anyhow::Result<Answer> {
    loop {
        let report = match config.ask(&Request::Status).await? {
            Reply::Status(report) => report,
            other => bail!("unexpected answer {other:?}"),
        };
        let mut out = Output::stdout();
        match json {
            true => out.json(&report)?,
            false => show(&report, &mut out)?,
        }
        out.flush()?;
        drop(out);
        if !watch {
            return Ok(Answer::Yes);
        }
        sleep(WATCH).await;
    }
}

fn show(report: &AgentReport, out: &mut Output) -> anyhow::Result<()> {
    let connected = if report.connected { "connected" } else { "not connected" };
    let (agent, server) = (&report.agent, &report.server);
    out.line(
        format!("agent {agent}, {connected} to {server}, {} in flight", ByteSize(report.in_flight_bytes)).as_bytes(),
    )?;
    for source in &report.sources {
        let how = match source.watches {
            Some(directories) => format!("{directories} directories watched"),
            None => "looked at again and again".to_owned(),
        };
        let text = format!(
            "{} ({}) to {}: {} records, {} durable, {} behind, {} files, {} open, {how}",
            source.name,
            source.kind,
            source.topic,
            source.records,
            ByteSize(source.bytes),
            ByteSize(source.lag_bytes),
            source.files,
            source.open_files
        );
        out.line(text.as_bytes())?;
        if source.held_bytes + source.lost_bytes + source.spooled_bytes > 0 {
            let (held, spooled, lost) =
                (ByteSize(source.held_bytes), ByteSize(source.spooled_bytes), ByteSize(source.lost_bytes));
            out.line(format!("  {held} of files without a name, {spooled} spooled, {lost} lost").as_bytes())?;
        }
        if let Some(error) = &source.last_error {
            out.line(format!("  {error}").as_bytes())?;
        }
    }
    Ok(())
}

async fn explain(args: &ConfigArgs, path: &Path) -> anyhow::Result<Answer> {
    let config = args.read()?;
    let lines = match agent::ask(&config.agent.state_dir, &Request::Explain(path.to_owned())).await {
        Ok(Reply::Explained(lines)) => lines,
        Ok(other) => bail!("unexpected answer {other:?}"),
        Err(error) => {
            let mut lines = vec![format!("{error:#}; from the configuration alone:")];
            for source in &config.source.file {
                let matches = Patterns::new(&source.include, &source.exclude)?.matches(path);
                let verdict = if matches { "the path matches" } else { "the path does not match" };
                lines.push(format!("source {}: {verdict}", source.name));
            }
            lines
        }
    };
    let mut out = Output::stdout();
    lines.iter().try_for_each(|line| out.line(line.as_bytes()))?;
    out.flush()?;
    Ok(Answer::Yes)
}

fn done(reply: Reply) -> anyhow::Result<Answer> {
    match reply {
        Reply::Done => Ok(Answer::Yes),
        Reply::Failed(why) => Ok(Answer::No(why)),
        other => Err(anyhow!("unexpected answer {other:?}")),
    }
}

/// Waits until the agent has stopped, which it does when all is durable.
async fn drain(config: &ConfigArgs) -> anyhow::Result<Answer> {
    let answer = done(config.ask(&Request::Drain).await?)?;
    while config.ask(&Request::Status).await.is_ok() {
        sleep(WATCH / 10).await;
    }
    Ok(answer)
}
