//! The floor: what the disk itself does, when a program writes and syncs and does nothing else.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::histogram::{Latencies, Percentiles};
use crate::cli::progress::Progress;

/// What statfs calls a filesystem that has no disk.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// So many bytes appended to a file, fdatasync, and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Floor {
    pub(super) directory: String,
    /// Nothing of it is durable: there is no disk below.
    pub(super) directory_is_in_memory: bool,
    pub(super) write_bytes: u64,
    pub(super) syncs: u64,
    pub(super) seconds: f64,
    pub(super) syncs_per_second: f64,
    pub(super) megabytes_per_second: f64,
    #[serde(flatten)]
    pub(super) latency: Percentiles,
}

/// The file is removed when the measurement ends, and also when it is given up.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// Writes for so long, and at least once.
pub(super) async fn measure(directory: &Path, write_bytes: u64, duration: Duration) -> anyhow::Result<Floor> {
    let path = directory.join(format!("connectify-floor-{}", Uuid::new_v4()));
    let context = || format!("cannot measure the disk in {}", directory.display());
    let file = File::create_new(&path).with_context(context)?;
    // Here and not on the thread, which nobody stops when this is given up.
    let temporary = Temporary(path);
    let progress = Progress::spinner();
    progress.say("measuring the disk".into());
    let writing = spawn_blocking(move || write_and_sync(file, write_bytes, duration));
    let (syncs, seconds, latencies) =
        writing.await.context("the thread that writes has died")?.with_context(context)?;
    drop((progress, temporary));
    Ok(Floor {
        directory: directory.display().to_string(),
        directory_is_in_memory: is_in_memory(directory),
        write_bytes,
        syncs,
        seconds,
        syncs_per_second: syncs as f64 / seconds,
        megabytes_per_second: (syncs * write_bytes) as f64 / seconds / 1e6,
        latency: latencies.percentiles().expect("it is written at least once"),
    })
}

fn write_and_sync(mut file: File, write_bytes: u64, duration: Duration) -> anyhow::Result<(u64, f64, Latencies)> {
    let piece = super::payload(write_bytes);
    let (mut syncs, mut latencies, start) = (0, Latencies::default(), Instant::now());
    loop {
        let before = Instant::now();
        file.write_all(&piece)?;
        file.sync_data()?;
        syncs += 1;
        latencies.record(before.elapsed());
        if start.elapsed() >= duration {
            return Ok((syncs, start.elapsed().as_secs_f64(), latencies));
        }
    }
}

fn is_in_memory(directory: &Path) -> bool {
    let kind = rustix::fs::statfs(directory).ok().and_then(|stat| u64::try_from(stat.f_type).ok());
    kind == Some(TMPFS_MAGIC)
}
