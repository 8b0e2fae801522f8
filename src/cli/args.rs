//! Arguments that several commands share, and how they become values.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use connectify::{
    Client, ConnectionState,
    client::ClientBuilder,
    record::{InvalidName, TopicName, check_name},
};
use tokio::sync::watch;

use super::{
    agent, bench, check, consume, credentials, dequeue, info, output::talk, ping, pipe, produce, serve, ship, size,
    topic,
};

/// Who types a command waits for a server that is starting, but not for one that is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a server listens and where a client looks for it, unless told otherwise.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:7466";

const EXIT_STATUS: &str = "\
Exit status:
  0  done; also when the reader of stdout closed it
  1  the answer is no: there is no such topic or consumer, the topic exists already, there is nothing to dequeue,
     the data directory is damaged
  2  failure, or arguments that make no sense

Data goes to stdout, everything else to stderr.";

/// A durable log queue: an acknowledged record is on disk.
#[derive(Debug, Parser)]
#[command(name = "connectify", version, after_help = EXIT_STATUS, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Topic(topic::Args),
    Produce(produce::Args),
    Consume(consume::Args),
    Size(size::Args),
    Dequeue(dequeue::Args),
    Ping(ping::Args),
    Info(info::Args),
    Ship(ship::Args),
    Pipe(pipe::Args),
    Agent(agent::Args),
    Bench(bench::Args),
}

/// How to reach the server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ServerArgs {
    /// Host and port of the server
    #[arg(long, alias = "addr", value_name = "ADDR", env = "CONNECTIFY_SERVER", default_value = DEFAULT_ADDRESS)]
    pub(crate) server: String,

    /// File with the credentials that the server expects; a line end at its end is ignored
    #[arg(long, value_name = "FILE", env = "CONNECTIFY_CREDENTIALS_FILE")]
    credentials_file: Option<PathBuf>,
}

impl ServerArgs {
    /// The same at another address.
    pub(crate) fn at(&self, address: String) -> Self {
        Self { server: address, ..self.clone() }
    }

    /// Waits for a connection, or fails.
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        let client = self.builder()?.connect().await?;
        tokio::spawn(report_connection(self.server.clone(), client.state()));
        Ok(client)
    }

    /// A client that connects when it can.
    pub(crate) fn connect_lazy(&self) -> anyhow::Result<Client> {
        Ok(self.builder()?.connect_lazy()?)
    }

    fn builder(&self) -> anyhow::Result<ClientBuilder> {
        let builder = Client::builder(self.server.clone())
            .name(concat!("connectify ", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT);
        Ok(match &self.credentials_file {
            Some(file) => builder.credentials(credentials::read(file)?),
            None => builder,
        })
    }
}

/// Tells when the connection is lost, and when there is one again: commands wait meanwhile.
async fn report_connection(server: String, mut state: watch::Receiver<ConnectionState>) {
    let mut was_connected = true;
    while state.changed().await.is_ok() {
        let is_connected = match *state.borrow_and_update() {
            ConnectionState::Connected => true,
            ConnectionState::Connecting { .. } => false,
            _ => return,
        };
        match (was_connected, is_connected) {
            (true, false) => talk(format_args!("connection to {server} is lost, trying again")),
            (false, true) => talk(format_args!("connected to {server} again")),
            _ => {}
        }
        was_connected = is_connected;
    }
}

/// The name of a topic, checked before anything is sent.
pub(crate) fn topic_name(text: &str) -> Result<TopicName, InvalidName> {
    TopicName::new(text)
}

/// The name of a producer or a consumer, checked before anything is sent.
pub(crate) fn name(text: &str) -> Result<String, InvalidName> {
    check_name(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn refusal(line: &str) -> ErrorKind {
        let parsed = Args::try_parse_from(line.split(' '));
        parsed.map(|args| panic!("{line}: parsed as {args:?}")).map_err(|error| error.kind()).unwrap_err()
    }

    #[test]
    fn the_definition_of_the_arguments_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn arguments_that_contradict_each_other_are_refused() {
        assert_eq!(refusal("connectify serve --data d --ephemeral"), ErrorKind::ArgumentConflict);
        assert_eq!(refusal("connectify produce logs --resume"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refusal("connectify size logs"), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn values_are_checked_before_anything_is_sent() {
        for line in [
            "connectify topic create a/b",
            "connectify topic create logs --retention-bytes 1.5GiB",
            "connectify topic create logs --retention-age 7",
            "connectify consume logs --from yesterday",
            "connectify consume logs --count -1",
            "connectify dequeue logs --consumer c --count 0",
            "connectify serve --segment-bytes many",
        ] {
            let kind = refusal(line);
            assert!(matches!(kind, ErrorKind::ValueValidation | ErrorKind::UnknownArgument), "{line}: {kind:?}");
        }
    }
}
