//! `connectify info`: what the server is and how it is.

use connectify::{protocol::ServerInfoAnswer, record::Timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::{
    answer::Answer,
    args::ServerArgs,
    byte_size::ByteSize,
    duration,
    output::Output,
    table::{Align, Table},
    timestamp,
};

/// Show what the server is and how it is
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Serialize)]
struct Info {
    server_id: String,
    server_version: String,
    uptime_ms: u64,
    now: String,
    connections: u32,
    topics: u32,
    producers: u32,
    consumers: u32,
    stored_bytes: u64,
    free_bytes: Option<u64>,
    accepts_appends: bool,
    ephemeral: bool,
}

impl From<ServerInfoAnswer> for Info {
    fn from(answer: ServerInfoAnswer) -> Self {
        Self {
            server_id: Uuid::from_bytes(answer.server_id).to_string(),
            server_version: answer.server_version,
            uptime_ms: answer.uptime_ms,
            now: timestamp::display(Timestamp(answer.now_us)),
            connections: answer.connections,
            topics: answer.topics,
            producers: answer.producers,
            consumers: answer.consumers,
            stored_bytes: answer.stored_bytes,
            free_bytes: answer.free_bytes,
            accepts_appends: answer.accepts_appends,
            ephemeral: answer.ephemeral,
        }
    }
}

impl Info {
    fn table(&self) -> Table<'static, 2> {
        let mut table = Table::new([("SERVER", Align::Left), ("", Align::Left)]);
        // Below a second nobody wants to know.
        let uptime = duration::display_ms(self.uptime_ms / 1_000 * 1_000);
        for (fact, value) in [
            ("id", self.server_id.clone()),
            ("version", self.server_version.clone()),
            ("uptime", uptime),
            ("now", self.now.clone()),
            ("connections", self.connections.to_string()),
            ("topics", self.topics.to_string()),
            ("producers", self.producers.to_string()),
            ("consumers", self.consumers.to_string()),
            ("stored", ByteSize(self.stored_bytes).to_string()),
            ("free", self.free_bytes.map_or_else(|| "-".into(), |bytes| ByteSize(bytes).to_string())),
            ("takes appends", if self.accepts_appends { "yes" } else { "no" }.into()),
            ("keeps records", if self.ephemeral { "in memory" } else { "on disk" }.into()),
        ] {
            table.row([fact.to_owned(), value]);
        }
        table
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    let info = Info::from(args.server.connect().await?.server_info().await?);
    let mut out = Output::stdout();
    if args.json {
        out.json(&info)?;
    } else {
        out.write(|out| info.table().write(out))?;
    }
    out.flush()?;
    Ok(Answer::Yes)
}
