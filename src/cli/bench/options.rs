//! Options that workloads share.

use std::{path::PathBuf, time::Duration};

use connectify::record::TopicName;

use super::run::Extent;
use crate::cli::{args::topic_name, byte_size::ByteSize, duration};

/// What is sent, and for how long.
#[derive(Debug, clap::Args)]
pub(super) struct LoadArgs {
    /// The topic; it is made if it does not exist
    #[arg(long, value_name = "NAME", default_value = "bench", value_parser = topic_name)]
    pub(super) topic: TopicName,

    /// Bytes of each record's value
    #[arg(long, value_name = "BYTES", default_value = "1024")]
    pub(super) size: ByteSize,

    /// How long to go on, in seconds, or with a unit such as 500ms
    #[arg(long, value_name = "SECONDS", default_value = "6", value_parser = seconds)]
    duration: Duration,

    /// Go on for so long before anything counts
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    warmup: Duration,

    /// Send so many records instead, however long that takes
    #[arg(long, value_name = "N", conflicts_with_all = ["duration", "warmup"], value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,

    /// Measure the disk for so long, once before the run and once after
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(super) floor: Duration,
}

impl LoadArgs {
    pub(super) fn extent(&self) -> Extent {
        match self.records {
            Some(records) => Extent::Records(records),
            None => Extent::Time { warmup: self.warmup, counted: self.duration },
        }
    }
}

/// What becomes of the result.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Report")]
pub(super) struct ReportArgs {
    /// Write the result as a JSON object to this file as well, or to stdout instead, when there is none or it is -
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub(super) json: Option<PathBuf>,
}

/// Measure the disk alone: append to a file, fdatasync, again
#[derive(Debug, clap::Args)]
pub(super) struct FloorArgs {
    /// A directory on the filesystem to measure
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) dir: PathBuf,

    /// Bytes of each write
    #[arg(long, value_name = "BYTES", default_value = "1MiB")]
    pub(super) size: ByteSize,

    /// How long to go on, in seconds, or with a unit such as 500ms
    #[arg(long, value_name = "SECONDS", default_value = "6", value_parser = seconds)]
    pub(super) duration: Duration,

    /// Write the result as a JSON object to this file as well, or to stdout instead, when there is none or it is -
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub(super) json: Option<PathBuf>,
}

/// Reads a duration; a bare number is one of seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => duration::parse(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_one_of_seconds() {
        assert_eq!(seconds("6"), Ok(Duration::from_secs(6)));
        assert_eq!(seconds("250ms"), Ok(Duration::from_millis(250)));
        seconds("soon").expect_err("that is no duration");
    }
}
