//! `connectify ping`: whether the server answers, and how fast.

use super::{answer::Answer, args::ServerArgs, output::Output};

/// Ask the server for a sign of life, and print how long it took
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    let client = args.server.connect().await?;
    let took = client.ping().await?;
    let mut out = Output::stdout();
    out.line(format!("{} answered in {:.3} ms", args.server.server, took.as_secs_f64() * 1_000.0).as_bytes())?;
    out.flush()?;
    Ok(Answer::Yes)
}
