//! A server of its own for a measurement, on a directory that is gone afterwards.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::{task::spawn_blocking, time::timeout};
use uuid::Uuid;

/// A server on an empty directory says that it serves at once; this is for a machine that is very busy.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const LOG_VARIABLE: &str = "CONNECTIFY_LOG";

/// A running server. Dropping it kills it and removes its directory.
#[derive(Debug)]
pub(super) struct Spawned {
    // Before the directory: it goes on writing until it is dead.
    process: Process,
    _directory: Directory,
    pub(super) address: String,
}

#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[derive(Debug)]
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

impl Spawned {
    /// Starts this program as a server, on a new directory within `parent`, with these further options.
    pub(super) async fn start(parent: &Path, options: &[OsString]) -> anyhow::Result<Self> {
        let path = parent.join(format!("connectify-bench-{}", Uuid::new_v4()));
        fs::create_dir(&path).with_context(|| format!("cannot make a directory in {}", parent.display()))?;
        let directory = Directory(path);
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(options).stdin(Stdio::null()).stdout(Stdio::piped());
        if !options.iter().any(|option| option == "--ephemeral") {
            command.args([OsStr::new("--data"), directory.0.join("data").as_os_str()]);
        }
        if std::env::var_os(LOG_VARIABLE).is_none() {
            command.env(LOG_VARIABLE, "warn");
        }
        let mut process = Process(command.spawn().context("cannot start a server")?);
        let stdout = process.0.stdout.take().expect("it is piped");
        let reading = spawn_blocking(move || greeting(stdout));
        let line = timeout(START_TIMEOUT, reading).await.context("the server that was started says nothing")?;
        let line = line.context("cannot read what the server says")??;
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
        ensure!(address.is_some(), "the server that was started has ended");
        let address = address.unwrap_or_default().to_owned();
        Ok(Self { process, _directory: directory, address })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

fn greeting(stdout: ChildStdout) -> anyhow::Result<String> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).context("cannot read what the server says")?;
    Ok(line)
}
