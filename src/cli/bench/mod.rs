//! `connectify bench`: what a server can do, and the disk below it.
//!
//! One file per workload. Each sends through the public client to a [`Target`](target::Target), counts within a
//! [`Run`](run::Run), and ends in a [`Report`](report::Report), beside which the disk's [floor](floor) stands.

mod append;
mod compare;
mod floor;
mod histogram;
mod latency;
mod options;
mod replay;
mod report;
mod run;
mod schedule;
mod spawn;
mod tail;
mod target;
mod usage;
mod workload;

use std::path::PathBuf;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Subcommand;

use self::{options::FloorArgs, report::Report, workload::Workload};
use super::{answer::Answer, signals};

/// Measure a server, and the disk below it
///
/// Each workload prints one line whose fields other systems can be measured in as well: acknowledged records per second,
/// megabytes of their values per second, latencies in microseconds (of a batch for append, of a record otherwise), and,
/// where the server's process is known, its processor time per record, its peak memory, and what it wrote to the device.
/// Every acknowledged record is durable, so below it stands the floor: a file on the same filesystem that grows by as
/// many bytes as a group of records, and is synced, again and again; for a second before the run and one after.
///
/// Where a rate is given, records are due at fixed times, whether those before are done or not, and their latency counts
/// from when they were due: no stall hides.
///
/// Topics that are needed are made, and stay. --server may be written --addr.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Print a table of these results of --json, as `bench compare` does
    #[arg(long, value_name = "FILE", num_args = 1..)]
    compare: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Workload(Workload),
    Floor(FloorArgs),
    Compare(compare::Args),
}

/// The answer is no, for this reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct No(String);

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    let stop = signals::stop_requested().context("cannot wait for signals")?;
    // What a run has started and written goes when its future does.
    let ended = tokio::select! {
        ended = carry_out(args) => ended,
        () = stop => bail!("stopped by a signal"),
    };
    match ended {
        Ok(()) => Ok(Answer::Yes),
        Err(error) => Ok(Answer::No(error.downcast::<No>()?.0)),
    }
}

async fn carry_out(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Some(Command::Workload(workload)) => workload.measure().await,
        Some(Command::Floor(args)) => {
            let floor = floor::measure(&args.dir, args.size.0, args.duration).await?;
            Report::of_floor(floor).write(args.json.as_deref())
        }
        Some(Command::Compare(args)) => compare::run(&args.files),
        None => compare::run(&args.compare),
    }
}

/// Values that do not repeat within a page, so that nothing below can compress them away.
fn payload(bytes: u64) -> Bytes {
    (0..bytes).map(|index| (index.wrapping_mul(7919) >> 3).to_le_bytes()[0]).collect()
}
