//! Scenes that end with every line at its place, or fail: real logs under rotation and kills, and events that inotify loses.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use connectify::{Client, client::Start};

use super::{Options, line, processes::Shipper, sink::Arrivals};

/// Nothing arrives for so long: it will not.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines that a program writes at once.
const LINES_AT_ONCE: usize = 20;

/// One log: its lines, and how many of them have arrived, each at its place.
struct Log {
    name: String,
    lines: Vec<Vec<u8>>,
    arrived: AtomicU64,
}

impl Log {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_stem().context("a name")?.to_string_lossy().into_owned();
        let text = fs::read(path)?;
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        let mut lines: Vec<_> = lines.collect();
        lines.pop_if(|last| last.is_empty());
        ensure!(!lines.is_empty(), "{} has no lines", path.display());
        Ok(Self { name, lines, arrived: AtomicU64::new(0) })
    }

    fn line(&self, number: u64) -> &[u8] {
        &self.lines[usize::try_from(number).unwrap_or(usize::MAX) % self.lines.len()]
    }
}

/// Real logs, each written again and again into a file of its own, which is rotated: renamed, and copied and truncated, in
/// turn. The agent is killed now and then. What arrives in each topic are the lines, once and in order.
pub(crate) fn replay(options: &Options, root: &Path) -> anyhow::Result<()> {
    let directory: PathBuf =
        options.text("logs").context("want --logs DIRECTORY, with files that end with .log")?.into();
    let (rounds, rotate, kills) =
        (options.number("rounds", 5)?, options.number("rotate", 500)?, options.number("kills", 0)?);
    let mut logs = Vec::new();
    for entry in fs::read_dir(&directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(Arc::new(Log::read(&path)?));
        }
    }
    ensure!(!logs.is_empty(), "{} has no logs", directory.display());
    let source = |log: &Arc<Log>| {
        format!("[[source.file]]\nname = {0:?}\ntopic = {0:?}\ninclude = [{1:?}]\n", log.name, live(root, log))
    };
    let mut shipper = Shipper::with_sources(root, &logs.iter().map(source).collect::<String>())?;
    for log in &logs {
        let (log, address) = (log.clone(), shipper.address.clone());
        thread::spawn(move || follow(&log, address));
    }
    let begun = Instant::now();
    let (mut rotations, mut killed) = (0, 0);
    let longest = logs.iter().map(|log| log.lines.len() as u64 * rounds).max().unwrap_or(0);
    let mut files = logs.iter().map(|log| append_to(&live(root, log))).collect::<anyhow::Result<Vec<_>>>()?;
    for at in (0..longest).step_by(LINES_AT_ONCE) {
        for (log, file) in logs.iter().zip(&mut files) {
            let upto = (at + LINES_AT_ONCE as u64).min(log.lines.len() as u64 * rounds);
            let text: Vec<u8> = (at..upto).flat_map(|number| [log.line(number), b"\n"].concat()).collect();
            file.write_all(&text)?;
            if upto > at && upto.is_multiple_of(rotate) {
                rotations += 1;
                *file = rotated(root, log, rotations, upto.saturating_sub(rotate))?;
            }
        }
        let due = kills * (at + LINES_AT_ONCE as u64) / longest;
        if killed < due {
            killed = due;
            shipper.restart_agent()?;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let (mut lines, mut bytes) = (0, 0);
    for log in &logs {
        let count = log.lines.len() as u64 * rounds;
        wait_for(log, count)?;
        lines += count;
        bytes += log.lines.iter().map(|line| line.len() as u64 + 1).sum::<u64>() * rounds;
    }
    println!(
        "{} logs, {lines} lines of {bytes} bytes, {rotations} rotations, {killed} kills of the agent: each line once and in order, after {:.1} s",
        logs.len(),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

fn live(root: &Path, log: &Log) -> PathBuf {
    root.join(format!("logs/{}.live", log.name))
}

fn append_to(path: &Path) -> anyhow::Result<File> {
    Ok(File::options().create(true).append(true).open(path)?)
}

/// Rotates a log; `begun`: the first line of its file.
fn rotated(root: &Path, log: &Log, number: u64, begun: u64) -> anyhow::Result<File> {
    let (path, aside) = (live(root, log), root.join(format!("logs/{}.live.{number}", log.name)));
    if number.is_multiple_of(2) {
        fs::rename(&path, aside)?;
    } else {
        // What is truncated before anybody looked leaves no trace.
        wait_for(log, begun + 1)?;
        fs::copy(&path, aside)?;
        File::options().write(true).open(&path)?.set_len(0)?;
    }
    append_to(&path)
}

/// Waits until so many lines have arrived, each at its place.
fn wait_for(log: &Log, count: u64) -> anyhow::Result<()> {
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        match log.arrived.load(Relaxed) {
            u64::MAX => bail!("{}: see above", log.name),
            arrived if arrived >= count => return Ok(()),
            arrived if arrived != seen => (seen, since) = (arrived, Instant::now()),
            arrived if since.elapsed() > PATIENCE => bail!("{}: {arrived} of {count} lines have arrived", log.name),
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Reads a topic and compares each record with the line that belongs there.
fn follow(log: &Log, address: String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
    runtime.block_on(async {
        let client = Client::connect(address).await.expect("connects");
        let mut consumer = loop {
            match client.consumer(&log.name).start(Start::Head).open().await {
                Ok(consumer) => break consumer,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let mut number = 0;
        while let Ok(Some(batch)) = consumer.next_batch().await {
            for record in batch.records().expect("well formed") {
                let value = record.expect("well formed").record.value;
                if value != log.line(number) {
                    let (found, wanted) = (String::from_utf8_lossy(&value), String::from_utf8_lossy(log.line(number)));
                    println!("{}, record {number}: {found:?} instead of {wanted:?}", log.name);
                    log.arrived.store(u64::MAX, Relaxed);
                    return;
                }
                number += 1;
            }
            log.arrived.store(number, Relaxed);
        }
    });
}

/// More happens in many files than inotify keeps, while the agent does not listen.
pub(crate) fn overflow(options: &Options, root: &Path) -> anyhow::Result<()> {
    let files = options.number("files", 10_000)?;
    let path = root.join("logs/app.log");
    let name = |number: u64| root.join(format!("logs/{number}.log"));
    for number in 0..files {
        fs::write(name(number), line(number))?;
    }
    let shipper = Shipper::start("connectify", root, &path)?;
    let arrivals = Arrivals::of(&shipper)?;
    arrivals.wait_for(files)?;
    let queue: u64 = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")?.trim().parse()?;
    // Equal events that follow each other are one: files take turns.
    let turns = queue / files + 2;
    shipper.stop_listening(true)?;
    for turn in 0..turns {
        for number in 0..files {
            let mut file = append_to(&name(number))?;
            file.write_all(&line(turn * files + number))?;
        }
    }
    // Some are renamed meanwhile, and others take their names.
    for number in (0..files).step_by(100) {
        fs::rename(name(number), root.join(format!("logs/{number}.old")))?;
        fs::write(name(number), line(number))?;
    }
    shipper.stop_listening(false)?;
    let begun = Instant::now();
    let lines = files * (1 + turns) + files.div_ceil(100);
    arrivals.wait_for(lines)?;
    let took = begun.elapsed().as_secs_f64();
    thread::sleep(Duration::from_secs(2));
    let overflows = shipper.overflows()?;
    ensure!(arrivals.count() == lines, "{} lines instead of {lines}", arrivals.count());
    ensure!(overflows > 0, "inotify did not overflow");
    println!(
        "{files} files, {} changes while nobody listened, {queue} kept: {overflows} overflows, all {lines} lines there after {took:.1} s, none twice",
        turns * files
    );
    Ok(())
}
