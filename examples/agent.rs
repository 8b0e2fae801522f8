//! What the agent costs and how late it is, with a server of its own, beside rsyslog and syslog-ng where they are installed.
//!
//! ```text
//! cargo run --release --example agent -- latency [--rate LINES] [--seconds N] [--idle SECONDS] [--peer rsyslog|syslog-ng]
//! cargo run --release --example agent -- throughput [--mib N] [--peer rsyslog|syslog-ng]
//! cargo run --release --example agent -- idle [--files N] [--seconds N]
//! cargo run --release --example agent -- outage [--rate LINES] [--seconds N]
//! cargo run --release --example agent -- replay --logs DIRECTORY [--rounds N] [--rotate LINES] [--kills N]
//! cargo run --release --example agent -- overflow [--files N]
//! ```
//! Lines of 256 bytes carry the moment when they were written. For the agent a line has arrived when a subscriber of the
//! topic has it, which is after it is durable; for a peer when a socket on this machine has it, which is from memory. Lines
//! are written when they are due, whatever became of the ones before. CPU and memory are those of the shipping process.

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

#[path = "agent/processes.rs"]
mod processes;
#[path = "agent/scenes.rs"]
mod scenes;
#[path = "agent/sink.rs"]
mod sink;

use std::{
    collections::HashMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;

use processes::Shipper;
use sink::Arrivals;

/// Bytes of a line, its end included.
const LINE_BYTES: usize = 256;
/// How often lines that are due are written.
const TICK: Duration = Duration::from_millis(1);

/// `--name value` pairs behind the first argument.
struct Options(HashMap<String, String>);

impl Options {
    fn read() -> anyhow::Result<(String, Self)> {
        let mut args = std::env::args().skip(1);
        let mode = args.next().context("want latency, throughput, idle, outage, replay or overflow")?;
        let mut options = HashMap::new();
        while let Some(name) = args.next() {
            let name = name.strip_prefix("--").with_context(|| format!("{name}: want --NAME VALUE"))?.to_owned();
            options.insert(name, args.next().context("an option without a value")?);
        }
        Ok((mode, Self(options)))
    }

    fn number(&self, name: &str, default: u64) -> anyhow::Result<u64> {
        self.0.get(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("--{name}")))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn peer(&self) -> &str {
        self.0.get("peer").map_or("connectify", String::as_str)
    }
}

fn now_us() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

fn line(number: u64) -> Vec<u8> {
    let mut line = format!("{:016} {number:012} ", now_us()).into_bytes();
    line.resize(LINE_BYTES - 1, b'x');
    line.push(b'\n');
    line
}

/// Writes lines at a rate, each when it is due; a rate of 0 is one line after every `pause`.
fn write_at(path: &Path, rate: u64, lines: u64, first: u64) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    let (begun, mut written) = (Instant::now(), 0);
    while written < lines {
        let due = u64::try_from(begun.elapsed().as_micros())? * rate / 1_000_000;
        while written < due.min(lines) {
            file.write_all(&line(first + written))?;
            written += 1;
        }
        thread::sleep(TICK);
    }
    Ok(())
}

fn show(name: &str, late: &Histogram<u64>) {
    let ms = |us: u64| us as f64 / 1000.0;
    println!(
        "{name}: {} lines, p50 {:.2} ms, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
        late.len(),
        ms(late.value_at_quantile(0.5)),
        ms(late.value_at_quantile(0.9)),
        ms(late.value_at_quantile(0.99)),
        ms(late.value_at_quantile(0.999)),
        ms(late.max())
    );
}

fn latency(options: &Options, root: &Path) -> anyhow::Result<()> {
    let (rate, seconds) = (options.number("rate", 10_000)?, options.number("seconds", 20)?);
    let idle = Duration::from_secs(options.number("idle", 0)?);
    let path = root.join("logs/app.log");
    fs::write(&path, "")?;
    let mut shipper = Shipper::start(options.peer(), root, &path)?;
    let arrivals = Arrivals::of(&shipper)?;
    // The first lines warm everything up.
    write_at(&path, 100, 100, 0)?;
    arrivals.wait_for(100)?;
    arrivals.clear();
    thread::sleep(idle);
    let before = shipper.usage()?;
    let begun = Instant::now();
    let lines = rate * seconds;
    write_at(&path, rate, lines, 100)?;
    arrivals.wait_for(lines)?;
    let (spent, took) = (shipper.usage()?.cpu.saturating_sub(before.cpu), begun.elapsed());
    show(options.peer(), &arrivals.late());
    let share = 100.0 * spent.as_secs_f64() / took.as_secs_f64();
    println!("  {:.1} % of a core, {} KiB resident at most", share, shipper.usage()?.peak_kib);
    Ok(())
}

fn throughput(options: &Options, root: &Path) -> anyhow::Result<()> {
    let mib = options.number("mib", 2048)?;
    let path = root.join("logs/app.log");
    let lines = mib * (1 << 20) / LINE_BYTES as u64;
    let mut file = std::io::BufWriter::with_capacity(1 << 20, fs::File::create(&path)?);
    for number in 0..lines {
        file.write_all(&line(number))?;
    }
    file.into_inner()?.sync_all()?;
    drop_from_cache(&path)?;
    let begun = Instant::now();
    let mut shipper = Shipper::start(options.peer(), root, &path)?;
    let arrivals = Arrivals::of(&shipper)?;
    arrivals.wait_for(lines)?;
    let took = begun.elapsed().as_secs_f64();
    let usage = shipper.usage()?;
    println!(
        "{}: {mib} MiB in {took:.1} s: {:.0} MiB/s, {:.0} lines/s; {:.1} s of CPU, {} KiB resident at most",
        options.peer(),
        mib as f64 / took,
        lines as f64 / took,
        usage.cpu.as_secs_f64(),
        usage.peak_kib
    );
    Ok(())
}

/// The pages of a file go, so that it is read from the disk.
fn drop_from_cache(path: &Path) -> anyhow::Result<()> {
    let file = fs::File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

fn idle(options: &Options, root: &Path) -> anyhow::Result<()> {
    let (files, seconds) = (options.number("files", 10_000)?, options.number("seconds", 60)?);
    let path = root.join("logs/app.log");
    for number in 0..files {
        fs::write(root.join(format!("logs/{number}.log")), line(number))?;
    }
    let begun = Instant::now();
    let mut shipper = Shipper::start(options.peer(), root, &path)?;
    let arrivals = Arrivals::of(&shipper)?;
    arrivals.wait_for(files)?;
    println!("{files} files shipped after {:.1} s", begun.elapsed().as_secs_f64());
    // Files rest after a minute.
    thread::sleep(Duration::from_secs(options.number("settle", 65)?));
    let before = shipper.usage()?;
    thread::sleep(Duration::from_secs(seconds));
    let after = shipper.usage()?;
    let share = 100.0 * (after.cpu.saturating_sub(before.cpu)).as_secs_f64() / seconds as f64;
    println!(
        "{share:.3} % of a core, {} KiB resident, {} at most, {} wake-ups in {seconds} s",
        after.resident_kib,
        after.peak_kib,
        after.switches - before.switches
    );
    Ok(())
}

fn outage(options: &Options, root: &Path) -> anyhow::Result<()> {
    let (rate, seconds) = (options.number("rate", 10_000)?, options.number("seconds", 60)?);
    let path = root.join("logs/app.log");
    fs::write(&path, "")?;
    let mut shipper = Shipper::start("connectify", root, &path)?;
    let mut arrivals = Arrivals::of(&shipper)?;
    write_at(&path, rate, rate * 5, 0)?;
    arrivals.wait_for(rate * 5)?;
    let before = shipper.usage()?;
    shipper.stop_server()?;
    write_at(&path, rate, rate * seconds, rate * 5)?;
    let during = shipper.usage()?;
    shipper.start_server()?;
    let begun = Instant::now();
    arrivals = Arrivals::of(&shipper)?;
    arrivals.wait_for(rate * (seconds + 5))?;
    let after = shipper.usage()?;
    println!(
        "server away for {seconds} s at {rate} lines/s: {} KiB resident before, {} at its end, {} at most; all {} lines there after {:.1} s more",
        before.resident_kib,
        during.resident_kib,
        after.peak_kib,
        rate * (seconds + 5),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let (mode, options) = Options::read()?;
    let root: PathBuf = match options.0.get("dir") {
        Some(directory) => directory.into(),
        None => std::env::temp_dir(),
    };
    let root = tempfile::tempdir_in(root)?;
    fs::create_dir(root.path().join("logs"))?;
    match mode.as_str() {
        "latency" => latency(&options, root.path()),
        "throughput" => throughput(&options, root.path()),
        "idle" => idle(&options, root.path()),
        "outage" => outage(&options, root.path()),
        "replay" => scenes::replay(&options, root.path()),
        "overflow" => scenes::overflow(&options, root.path()),
        _ => bail!("{mode}: want latency, throughput, idle, outage, replay or overflow"),
    }
}
