//! `connectify bench compare`: results side by side.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

use super::report::Report;
use crate::cli::{
    output::Output,
    table::{Align, Table},
};

/// Print a table of results
///
/// A file holds what --json wrote, also several results one after the other. The last column is records/s as a multiple
/// of the first row's.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files that --json wrote
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

pub(super) fn run(files: &[PathBuf]) -> anyhow::Result<()> {
    let mut results = Vec::new();
    for file in files {
        results.extend(read(file)?);
    }
    let mut out = Output::stdout();
    out.write(|out| table(&results).write(out))?;
    out.flush()
}

/// The results in a file, each with a name for its row.
fn read(file: &Path) -> anyhow::Result<Vec<(String, Report)>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let reports = serde_json::Deserializer::from_slice(&bytes).into_iter().collect::<Result<Vec<Report>, _>>();
    let reports = reports.with_context(|| format!("{} is not a result of connectify bench", file.display()))?;
    ensure!(!reports.is_empty(), "{} holds no result of connectify bench", file.display());
    let name = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy();
    let is_one = reports.len() == 1;
    let named = (1..).zip(reports).map(|(number, report)| {
        let name = if is_one { name.to_string() } else { format!("{name}#{number}") };
        (name, report)
    });
    Ok(named.collect())
}

fn table(results: &[(String, Report)]) -> Table<'static, 16> {
    let mut table = Table::new([
        ("RESULT", Align::Left),
        ("WORKLOAD", Align::Left),
        ("SIZE", Align::Right),
        ("CLIENTS", Align::Right),
        ("RATE", Align::Right),
        ("REC/S", Align::Right),
        ("MB/S", Align::Right),
        ("P50_US", Align::Right),
        ("P99_US", Align::Right),
        ("P99.9_US", Align::Right),
        ("MAX_US", Align::Right),
        ("CPU_US/REC", Align::Right),
        ("RSS_MIB", Align::Right),
        ("WRITTEN_MIB", Align::Right),
        ("FLOOR_MB/S", Align::Right),
        ("OF_FIRST", Align::Right),
    ]);
    let first = results.first().map_or(0.0, |(_, report)| report.records_per_second);
    for (name, report) in results {
        let us = |us: fn(&super::histogram::Percentiles) -> u64| or_dash(report.latency.as_ref().map(us));
        let of_first = (first > 0.0).then(|| format!("{:.2}", report.records_per_second / first));
        table.row([
            name.clone(),
            report.setup.workload.clone(),
            report.setup.size_bytes.to_string(),
            report.setup.clients.to_string(),
            or_dash(report.setup.rate_per_second),
            format!("{:.0}", report.records_per_second),
            format!("{:.1}", report.megabytes_per_second),
            us(|latency| latency.p50_us),
            us(|latency| latency.p99_us),
            us(|latency| latency.p999_us),
            us(|latency| latency.max_us),
            or_dash(report.server_cpu_us_per_record.map(|us| format!("{us:.2}"))),
            or_dash(report.server_peak_rss_mib),
            or_dash(report.written_mib),
            or_dash(report.floor.as_ref().map(|floor| format!("{:.1}", floor.better.megabytes_per_second))),
            or_dash(of_first),
        ]);
    }
    table
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}
