//! The workloads, and what is the same for all of them: the server, the floor before and after, the report.

use std::time::Duration;

use clap::Subcommand;

use super::{
    append, floor, latency,
    options::ReportArgs,
    replay,
    report::{Floors, Report},
    tail,
    target::{Target, TargetArgs},
};

#[derive(Debug, Subcommand)]
pub(super) enum Workload {
    Append(append::Args),
    Latency(latency::Args),
    Tail(tail::Args),
    Replay(replay::Args),
}

impl Workload {
    /// Runs it, and prints what was found.
    pub(super) async fn measure(&self) -> anyhow::Result<()> {
        let (target, args) = self.shared_args();
        let target = Target::open(target).await?;
        let Some((group_bytes, duration)) = self.floor() else {
            return self.run(&target).await?.write(args.json.as_deref());
        };
        let floor = match target.floor_dir().await? {
            Ok(directory) => Ok((floor::measure(&directory, group_bytes, duration).await?, directory)),
            Err(reason) => Err(reason),
        };
        let mut report = self.run(&target).await?;
        match floor {
            Ok((before, directory)) => {
                let after = floor::measure(&directory, group_bytes, duration).await?;
                report.floor = Some(Floors::of(before, after));
            }
            Err(reason) => report.no_floor_because = Some(reason),
        }
        report.write(args.json.as_deref())
    }

    async fn run(&self, target: &Target) -> anyhow::Result<Report> {
        match self {
            Self::Append(args) => append::measure(args, target).await,
            Self::Latency(args) => latency::measure(args, target).await,
            Self::Tail(args) => tail::measure(args, target).await,
            Self::Replay(args) => replay::measure(args, target).await,
        }
    }

    fn shared_args(&self) -> (&TargetArgs, &ReportArgs) {
        match self {
            Self::Append(args) => (&args.target, &args.report),
            Self::Latency(args) => (&args.target, &args.report),
            Self::Tail(args) => (&args.target, &args.report),
            Self::Replay(args) => (&args.target, &args.report),
        }
    }

    /// How much to write at a time, and for how long, to see what the disk can do: what the server can make durable at
    /// once, at most, of what this workload has on its way. `None`: what it reads was made durable before.
    fn floor(&self) -> Option<(u64, Duration)> {
        let (bytes, load) = match self {
            Self::Append(args) => (args.bytes_in_flight(), &args.load),
            Self::Latency(args) => (args.bytes_in_flight(), &args.load),
            Self::Tail(args) => (args.bytes_in_flight(), &args.load),
            Self::Replay(_) => return None,
        };
        Some((bytes.clamp(1, connectify::limits::MAX_GROUP_BYTES as u64), load.floor))
    }
}
