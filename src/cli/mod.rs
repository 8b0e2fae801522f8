//! The command line: one file per subcommand, over the public interface of the crate and nothing else.
//!
//! A command is a function from its arguments to an [`Answer`]. stdout is data, stderr is talk, and the exit status is
//! 0, 1 for a negative answer, or 2 for a failure.

mod agent;
mod answer;
mod args;
mod base64;
mod bench;
mod byte_size;
mod check;
mod compression;
mod consume;
mod credentials;
mod dequeue;
mod duration;
mod info;
mod lines;
mod listen;
mod log;
mod open_files;
mod output;
mod ping;
mod pipe;
mod produce;
mod progress;
mod record_line;
mod serve;
mod service;
mod ship;
mod signals;
mod size;
mod start;
mod table;
mod timestamp;
mod topic;
mod topic_report;
mod upload;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use self::{
    answer::Answer,
    args::{Args, Command},
};

/// Carries out the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    answer::exit_code(&run(&args.command))
}

fn run(command: &Command) -> anyhow::Result<Answer> {
    let runtime = runtime(command)?;
    let answer = runtime.block_on(carry_out(command));
    // What mattered is done; a name lookup that hangs in the background is not worth waiting for.
    runtime.shutdown_background();
    answer
}

/// Threads for what blocks: reads from the disk, of which four go on at once, checks of batches, files, names. Without a
/// limit a busy server makes a new one whenever all others have not quite ended their work, each with memory of its own.
const MAX_BLOCKING_THREADS: usize = 8;

/// A command runs on the main thread and may block there, on stdout above all. The connections live on other threads
/// and stay alive meanwhile.
fn runtime(command: &Command) -> anyhow::Result<Runtime> {
    let threads = match command {
        // Whoever measures a server is to be no slower than it.
        Command::Serve(_) | Command::Bench(_) => {
            std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2))
        }
        _ => 1,
    };
    let mut builder = match command {
        // One thread for all: what is read is sent without another one having to wake up.
        Command::Agent(_) | Command::Ship(_) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder
        .worker_threads(threads)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("cannot start threads")
}

async fn carry_out(command: &Command) -> anyhow::Result<Answer> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Topic(args) => topic::run(args).await,
        Command::Produce(args) => produce::run(args).await,
        Command::Consume(args) => consume::run(args).await,
        Command::Size(args) => size::run(args).await,
        Command::Dequeue(args) => dequeue::run(args).await,
        Command::Ping(args) => ping::run(args).await,
        Command::Info(args) => info::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Ship(args) => ship::run(args).await,
        Command::Pipe(args) => pipe::run(args).await,
        Command::Agent(args) => agent::run(args).await,
    }
}
