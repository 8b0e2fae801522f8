//! The server that is measured, and the directory whose disk it is held against.

use std::{ffi::OsString, path::PathBuf};

use connectify::Client;
use futures::future::{join_all, try_join_all};

use super::spawn::Spawned;
use crate::cli::{args::ServerArgs, open_files};

/// Which server to measure.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Target")]
pub(super) struct TargetArgs {
    /// Start a server for this run, on a new directory, whatever --server says; it is killed and removed at the end
    #[arg(long)]
    spawn: bool,

    /// Directory on the filesystem to measure: the server of --spawn keeps its data there [default there: the
    /// system's directory for temporary files], and the disk's floor is measured there
    ///
    /// Without --spawn, name a directory on the filesystem that the server uses; without any, no floor is measured.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The server's process, whose use of processor, memory and disk is reported; --spawn knows it
    #[arg(long, value_name = "PID", conflicts_with = "spawn")]
    pid: Option<u32>,

    /// Options of `connectify serve` for the server of --spawn, such as --ephemeral
    #[arg(last = true, value_name = "SERVE_OPTION", requires = "spawn")]
    serve_options: Vec<OsString>,

    #[command(flatten)]
    server: ServerArgs,
}

/// A server that is there, started for the occasion or before.
#[derive(Debug)]
pub(super) struct Target {
    server: ServerArgs,
    spawned: Option<Spawned>,
    pid: Option<u32>,
    dir: Option<PathBuf>,
}

impl Target {
    pub(super) async fn open(args: &TargetArgs) -> anyhow::Result<Self> {
        // Every client of a run is a connection, and every connection a file.
        open_files::raise_limit();
        if !args.spawn {
            return Ok(Self { server: args.server.clone(), spawned: None, pid: args.pid, dir: args.dir.clone() });
        }
        let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let spawned = Spawned::start(&parent, &args.serve_options).await?;
        let (server, pid) = (args.server.at(spawned.address.clone()), Some(spawned.pid()));
        Ok(Self { server, spawned: Some(spawned), pid, dir: Some(parent) })
    }

    pub(super) fn is_spawned(&self) -> bool {
        self.spawned.is_some()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Where to measure the disk, or why not.
    pub(super) async fn floor_dir(&self) -> anyhow::Result<Result<PathBuf, String>> {
        let client = self.server.connect().await?;
        let is_ephemeral = client.server_info().await?.ephemeral;
        client.close().await;
        Ok(match &self.dir {
            _ if is_ephemeral => Err("the server keeps records in memory".into()),
            None => Err("no --dir on the server's filesystem was given".into()),
            Some(dir) => Ok(dir.clone()),
        })
    }

    pub(super) async fn connect(&self) -> anyhow::Result<Client> {
        self.server.connect().await
    }

    /// Connections of their own for so many.
    pub(super) async fn connect_all(&self, clients: u64) -> anyhow::Result<Vec<Client>> {
        try_join_all((0..clients).map(|_| self.connect())).await
    }
}

/// Closes connections in order, before the server of a run is killed.
pub(super) async fn close_all(clients: Vec<Client>) {
    join_all(clients.into_iter().map(Client::close)).await;
}
