//! The log on stderr of a process that runs for long.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Which events are logged, in the syntax of tracing-subscriber: `info`, `debug`, `connectify::server=trace,warn`.
const LOG_VARIABLE: &str = "CONNECTIFY_LOG";
const DEFAULT_LOG: &str = "info";

/// Starts it.
pub(crate) fn start() -> anyhow::Result<()> {
    let filter = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| DEFAULT_LOG.into());
    let filter = EnvFilter::try_new(&filter).with_context(|| format!("{LOG_VARIABLE} is {filter:?}"))?;
    let ansi = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(ansi).init();
    Ok(())
}
