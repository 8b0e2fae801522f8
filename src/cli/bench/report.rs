//! What a run found: one line to put beside those of other systems, further lines, or a JSON object.

use std::{fs, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::{
    floor::Floor,
    histogram::Percentiles,
    run::{Extent, Measured},
};
use crate::cli::output::Output;

/// The disk, before and after a run. The better of the two is the floor: what the disk could have done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Floors {
    #[serde(flatten)]
    pub(super) better: Floor,
    pub(super) before_megabytes_per_second: f64,
    pub(super) after_megabytes_per_second: f64,
}

impl Floors {
    pub(super) fn of(before: Floor, after: Floor) -> Self {
        let (before_megabytes_per_second, after_megabytes_per_second) =
            (before.megabytes_per_second, after.megabytes_per_second);
        let better = if after_megabytes_per_second > before_megabytes_per_second { after } else { before };
        Self { better, before_megabytes_per_second, after_megabytes_per_second }
    }
}

/// What was asked of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) workload: String,
    pub(super) topic: Option<String>,
    pub(super) topics: u64,
    /// Bytes of a record's value.
    pub(super) size_bytes: u64,
    pub(super) clients: u64,
    /// Records of a batch, and how many batches of a client are on their way.
    pub(super) batch_records: u64,
    pub(super) depth: u64,
    /// `None`: a closed loop, which sends when the last answer is there.
    pub(super) rate_per_second: Option<u64>,
    /// What is due within so long is due at once; 0: evenly spaced.
    pub(super) tick_us: Option<u64>,
    pub(super) warmup_seconds: f64,
}

impl Setup {
    /// The workload's name, and the warm-up.
    pub(super) fn new(workload: &str, extent: Extent) -> Self {
        let warmup_seconds = match extent {
            Extent::Time { warmup, .. } => warmup.as_secs_f64(),
            Extent::Records(_) => 0.0,
        };
        Self { workload: workload.into(), topics: 1, batch_records: 1, depth: 1, warmup_seconds, ..Self::default() }
    }
}

/// The result of one run. Units are in the names; what is not known is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    /// `connectify`, or `disk`.
    pub(super) system: String,
    pub(super) version: String,
    #[serde(flatten)]
    pub(super) setup: Setup,
    pub(super) seconds: f64,
    pub(super) records: u64,
    /// Records that were due and never done.
    pub(super) unfinished: u64,
    pub(super) records_per_second: f64,
    pub(super) megabytes_per_second: f64,
    pub(super) latency: Option<Percentiles>,
    /// How late an open loop was by its own fault, which is in the latency, too.
    pub(super) generator_late: Option<Percentiles>,
    pub(super) server_cpu_us_per_record: Option<f64>,
    pub(super) server_peak_rss_mib: Option<u64>,
    pub(super) written_mib: Option<u64>,
    pub(super) floor: Option<Floors>,
    pub(super) no_floor_because: Option<String>,
}

impl Report {
    pub(super) fn new(setup: Setup, measured: &Measured) -> Self {
        let Measured { tally, seconds, before, after } = measured;
        // A run that is over within no time has no rate.
        let per_second = |amount: u64| if *seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        let spent = before.zip(*after);
        let cpu = spent.map(|(before, after)| after.cpu_seconds - before.cpu_seconds);
        let written = spent.and_then(|(before, after)| after.written_bytes?.checked_sub(before.written_bytes?));
        Self {
            system: "connectify".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            setup,
            seconds: *seconds,
            records: tally.records,
            unfinished: tally.unfinished,
            records_per_second: per_second(tally.records),
            megabytes_per_second: per_second(tally.value_bytes) / 1e6,
            latency: tally.latencies.percentiles(),
            generator_late: tally.generator_late.percentiles(),
            server_cpu_us_per_record: cpu.map(|seconds| seconds * 1e6 / tally.records.max(1) as f64),
            server_peak_rss_mib: after.map(|after| after.peak_rss_mib),
            written_mib: written.map(|bytes| bytes >> 20),
            floor: None,
            no_floor_because: None,
        }
    }

    /// A report of the disk alone.
    pub(super) fn of_floor(floor: Floor) -> Self {
        Self {
            system: "disk".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            setup: Setup {
                workload: "floor".into(),
                topics: 0,
                size_bytes: floor.write_bytes,
                clients: 1,
                batch_records: 1,
                depth: 1,
                ..Setup::default()
            },
            seconds: floor.seconds,
            records: floor.syncs,
            unfinished: 0,
            records_per_second: floor.syncs_per_second,
            megabytes_per_second: floor.megabytes_per_second,
            latency: Some(floor.latency),
            generator_late: None,
            server_cpu_us_per_record: None,
            server_peak_rss_mib: None,
            written_mib: None,
            floor: None,
            no_floor_because: floor.directory_is_in_memory.then(|| format!("{} is in memory", floor.directory)),
        }
    }

    /// How many times as much as the disk alone the server wrote, in a closed loop.
    fn throughput_to_floor(&self) -> Option<f64> {
        let disk = self.disk().filter(|_| self.setup.rate_per_second.is_none())?;
        Some(self.megabytes_per_second / disk.megabytes_per_second)
    }

    /// How many times as long as one write and sync of the disk alone a record took, or a batch.
    fn p50_to_floor(&self) -> Option<f64> {
        Some(self.latency?.p50_us as f64 / self.disk()?.latency.p50_us.max(1) as f64)
    }

    /// The floor, if there is a disk to be held against.
    fn disk(&self) -> Option<&Floor> {
        self.floor.as_ref().map(|floors| &floors.better).filter(|floor| !floor.directory_is_in_memory)
    }

    /// Prints the report, or the JSON object where it is asked for: `-` is stdout.
    pub(super) fn write(&self, json: Option<&Path>) -> anyhow::Result<()> {
        let mut out = Output::stdout();
        match json {
            Some(path) if path == Path::new("-") => out.json(self)?,
            path => {
                if let Some(path) = path {
                    let context = || format!("cannot write {}", path.display());
                    fs::write(path, serde_json::to_vec(self)?).with_context(context)?;
                }
                for line in self.lines() {
                    out.line(line.as_bytes())?;
                }
            }
        }
        out.flush()
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.line(), self.details()];
        match (&self.floor, &self.no_floor_because) {
            (Some(floor), _) => lines.push(self.beside(floor)),
            (None, Some(reason)) => lines.push(format!("  floor: none, since {reason}")),
            (None, None) => {}
        }
        if self.unfinished > 0 {
            lines.push(format!(
                "  {} records were due and not done in the end; each counts with the time until it was given up",
                self.unfinished
            ));
        }
        lines
    }

    /// The line whose fields the measurements of other systems have, too.
    fn line(&self) -> String {
        let us = |pick: fn(&Percentiles) -> u64| {
            self.latency.as_ref().map_or_else(|| "-".into(), |l| format!("{}us", pick(l)))
        };
        format!(
            "{} {} size={} clients={} {:.0} rec/s {:.1} MB/s p50={} p99={} p99.9={} server_cpu_us/rec={} \
             server_peak_rss={} written={}",
            capitalized(&self.system),
            capitalized(&self.setup.workload),
            self.setup.size_bytes,
            self.setup.clients,
            self.records_per_second,
            self.megabytes_per_second,
            us(|latency| latency.p50_us),
            us(|latency| latency.p99_us),
            us(|latency| latency.p999_us),
            self.server_cpu_us_per_record.map_or_else(|| "-".into(), |us| format!("{us:.2}")),
            self.server_peak_rss_mib.map_or_else(|| "-".into(), |mib| format!("{mib}MiB")),
            self.written_mib.map_or_else(|| "-".into(), |mib| format!("{mib}MiB")),
        )
    }

    fn details(&self) -> String {
        let Setup { topics, batch_records, depth, rate_per_second, tick_us, warmup_seconds, .. } = &self.setup;
        let mut line = format!("  {} records in {:.2} s", self.records, self.seconds);
        if let Some(latency) = &self.latency {
            line += &format!(", max={}us", latency.max_us);
        }
        for (name, value) in [("batch", *batch_records), ("depth", *depth), ("topics", *topics)] {
            if value > 1 {
                line += &format!(", {name}={value}");
            }
        }
        if let Some(rate) = rate_per_second {
            line += &format!(", rate={rate}");
        }
        if let Some(tick) = tick_us.filter(|tick| *tick > 0) {
            line += &format!(", tick={tick}us");
        }
        if let Some(late) = &self.generator_late {
            line += &format!(", sent late p50={}us p99={}us", late.p50_us, late.p99_us);
        }
        if *warmup_seconds > 0.0 {
            line += &format!(", after {warmup_seconds} s that do not count");
        }
        line
    }

    fn beside(&self, floors: &Floors) -> String {
        let floor = &floors.better;
        let memory = if floor.directory_is_in_memory { " (in memory: nothing is durable)" } else { "" };
        let mut line = format!(
            "  floor: {} bytes, fdatasync, again: {:.1} MB/s, {:.0} syncs/s, p50={}us, in {}{memory}; before {:.1}, after \
             {:.1} MB/s, the better counts",
            floor.write_bytes,
            floor.megabytes_per_second,
            floor.syncs_per_second,
            floor.latency.p50_us,
            floor.directory,
            floors.before_megabytes_per_second,
            floors.after_megabytes_per_second,
        );
        if let Some(ratio) = self.throughput_to_floor() {
            line += &format!("; MB/s are {ratio:.2} of it");
        }
        if let Some(ratio) = self.p50_to_floor() {
            line += &format!("; p50 is {ratio:.2} of it");
        }
        line
    }
}

fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_ascii_uppercase() + rest
}
