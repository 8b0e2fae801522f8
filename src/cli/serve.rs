//! `connectify serve`: runs a server until it is asked to stop.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
};

use super::{
    answer::Answer, args::DEFAULT_ADDRESS, byte_size::ByteSize, credentials, listen, log, open_files, service, signals,
};
use anyhow::{Context, bail};
use connectify::{
    limits,
    server::{Server, ServerConfig},
};

/// Run a server
///
/// Prints the address that it listens on as soon as it serves. SIGTERM and Ctrl-C stop it in order: it answers what it
/// has accepted, tells its clients, closes its files, and exits with 0. A second signal stops it at once, which loses
/// nothing that was acknowledged, and neither does a crash.
///
/// The log goes to stderr; CONNECTIFY_LOG selects what is logged, such as warn or debug [default: info].
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address and port to listen on; port 0 takes a free one
    ///
    /// The protocol is not encrypted. Listen on the loopback address, on a private network, or behind a tunnel.
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADDRESS)]
    listen: String,

    /// Directory of the data, made if it does not exist; one server at a time
    #[arg(long, value_name = "DIR", default_value = "./connectify-data")]
    data: PathBuf,

    /// Keep everything in memory, lose it at the end
    #[arg(long, conflicts_with = "data")]
    ephemeral: bool,

    /// Begin a new segment file at this size; recovery after a crash reads at most one segment
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(limits::DEFAULT_SEGMENT_BYTES))]
    segment_bytes: ByteSize,

    /// Refuse appends while the filesystem has less than this left
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(limits::DEFAULT_RESERVE_BYTES))]
    reserve_bytes: ByteSize,

    /// Take so many connections at once
    #[arg(long, value_name = "N", default_value_t = limits::DEFAULT_MAX_CONNECTIONS)]
    max_connections: usize,

    /// File with the credentials that every client must show; a line end at its end is ignored
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,

    /// Memory of the whole server, about, at least 64MiB: what it does not need itself is divided among requests, what
    /// is read to be sent, and recent records [default: each has a bound of its own, together about 100MiB]
    #[arg(long, value_name = "BYTES", conflicts_with = "tail_cache_bytes")]
    memory: Option<ByteSize>,

    /// Memory for recent records, from which consumers that keep up are served
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(limits::DEFAULT_TAIL_CACHE_BYTES as u64))]
    tail_cache_bytes: ByteSize,

    /// Answer those who ask in vain as fast as they ask: for fuzzers
    #[arg(long, hide = true)]
    no_pacing: bool,
}

impl Args {
    fn config(&self) -> anyhow::Result<ServerConfig> {
        let tail_cache_bytes = usize::try_from(self.tail_cache_bytes.0).context("--tail-cache-bytes is too large")?;
        let config = ServerConfig::default()
            .with_segment_bytes(self.segment_bytes.0)
            .with_reserve_bytes(self.reserve_bytes.0)
            .with_max_connections(self.max_connections)
            .with_tail_cache_bytes(tail_cache_bytes);
        let config = match self.memory {
            Some(ByteSize(bytes)) if bytes < limits::MIN_MEMORY_BYTES as u64 => {
                bail!("--memory {bytes} is less than {}", ByteSize(limits::MIN_MEMORY_BYTES as u64))
            }
            Some(ByteSize(bytes)) => config.with_memory_bytes(usize::try_from(bytes).context("--memory is too large")?),
            None => config,
        };
        let config = if self.no_pacing { config.without_pacing() } else { config };
        let config = match self.ephemeral {
            true => config.with_ephemeral(),
            false => config.with_data_dir(self.data.clone()),
        };
        Ok(match &self.credentials_file {
            Some(file) => config.with_credentials(credentials::read(file)?),
            None => config,
        })
    }

    fn place(&self) -> String {
        if self.ephemeral { "memory".into() } else { self.data.display().to_string() }
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    log::start()?;
    open_files::raise_limit();
    let config = args.config()?;
    let stop = signals::stop_requested().context("cannot wait for signals")?;
    // The address comes first: if it is taken, the data is not touched.
    let listener = listen::bind(&args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr().context("cannot tell the address that was bound")?;
    if !address.ip().is_loopback() && args.credentials_file.is_none() {
        tracing::warn!(%address, "anyone who reaches this address can read and append; see --credentials-file");
    }
    let server = Server::open(config).with_context(|| format!("cannot open the data in {}", args.place()))?;
    announce(address, &args.place());
    service::ready();
    server.run(listener, stop).await?;
    service::stopping();
    Ok(Answer::Yes)
}

/// Says on stdout that the server serves: scripts wait for this line, and read the port from it.
fn announce(address: SocketAddr, place: &str) {
    let mut stdout = io::stdout().lock();
    // A server goes on serving whoever reads its output or closes it.
    writeln!(stdout, "listening on {address}, data in {place}").and_then(|()| stdout.flush()).ok();
}
