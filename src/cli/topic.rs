//! `connectify topic`: makes, shows and removes topics.

use std::time::Duration;

use clap::Subcommand;
use connectify::{Client, ClientError, protocol::ErrorCode, record::TopicName};

use super::{
    answer::Answer,
    args::{ServerArgs, topic_name},
    byte_size::ByteSize,
    duration,
    output::{Output, talk},
    table::{Align, Table},
    topic_report::{ConsumerReport, TopicReport, retention},
};

/// Make, list, describe and delete topics
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Describe(Describe),
    Delete(Delete),
}

/// Make a topic
///
/// Without a retention it keeps its records for ever. With both, a record goes as soon as one of them says so.
#[derive(Debug, clap::Args)]
struct Create {
    /// 1 to 200 of A-Z a-z 0-9 . _ -
    #[arg(value_parser = topic_name)]
    name: TopicName,

    /// Drop the oldest records when the topic holds more than this, such as 1GiB
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<ByteSize>,

    /// Drop records that were appended longer ago than this, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    retention_age: Option<Duration>,

    /// Be content if the topic exists, whatever its retention
    #[arg(long)]
    if_absent: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// List all topics, in order of name
#[derive(Debug, clap::Args)]
struct List {
    /// Print a JSON list of objects
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Show one topic and its consumers
#[derive(Debug, clap::Args)]
struct Describe {
    /// The topic
    #[arg(value_parser = topic_name)]
    name: TopicName,

    /// Print a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Remove a topic with its records, producers and consumers
#[derive(Debug, clap::Args)]
struct Delete {
    /// The topic
    #[arg(value_parser = topic_name)]
    name: TopicName,

    /// Be content if there is no such topic
    #[arg(long)]
    if_present: bool,

    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    match &args.command {
        Command::Create(args) => create(args, &args.server.connect().await?).await,
        Command::List(args) => list(args, &args.server.connect().await?).await,
        Command::Describe(args) => describe(args, &args.server.connect().await?).await,
        Command::Delete(args) => delete(args, &args.server.connect().await?).await,
    }
}

async fn create(args: &Create, client: &Client) -> anyhow::Result<Answer> {
    let retention = retention(args.retention_bytes, args.retention_age)?;
    let created = client.ensure_topic(args.name.as_str(), retention).await?;
    match (created, args.if_absent) {
        (true, _) => talk(format_args!("topic {} created", args.name)),
        (false, true) => talk(format_args!("topic {} exists already", args.name)),
        (false, false) => return Ok(Answer::No(format!("topic {} exists already", args.name))),
    }
    Ok(Answer::Yes)
}

async fn list(args: &List, client: &Client) -> anyhow::Result<Answer> {
    let topics: Vec<TopicReport<u32>> = client.list_topics().await?.into_iter().map(TopicReport::from).collect();
    let mut out = Output::stdout();
    if args.json {
        out.json(&topics)?;
    } else {
        out.write(|out| topic_table(&topics).write(out))?;
    }
    out.flush()?;
    Ok(Answer::Yes)
}

async fn describe(args: &Describe, client: &Client) -> anyhow::Result<Answer> {
    let answer = match client.describe_topic(args.name.as_str()).await {
        Ok(answer) => answer,
        Err(error) => return unknown_topic(&args.name, error),
    };
    let consumers = answer.topic.consumers;
    let topic = TopicReport::<Vec<_>>::from(answer);
    let mut out = Output::stdout();
    if args.json {
        out.json(&topic)?;
    } else {
        write_description(&topic, &mut out)?;
    }
    out.flush()?;
    if (topic.consumers.len() as u64) < u64::from(consumers) {
        talk(format_args!("these are {} of {consumers} consumers", topic.consumers.len()));
    }
    Ok(Answer::Yes)
}

async fn delete(args: &Delete, client: &Client) -> anyhow::Result<Answer> {
    match (client.delete_topic(args.name.as_str()).await?, args.if_present) {
        (true, _) => talk(format_args!("topic {} deleted", args.name)),
        (false, true) => talk(format_args!("there is no topic {}", args.name)),
        (false, false) => return Ok(Answer::No(format!("there is no topic {}", args.name))),
    }
    Ok(Answer::Yes)
}

/// That there is no such topic is an answer; every other error is a failure.
pub(crate) fn unknown_topic(name: &TopicName, error: ClientError) -> anyhow::Result<Answer> {
    match error.code() {
        Some(ErrorCode::UnknownTopic) => Ok(Answer::No(format!("there is no topic {name}"))),
        _ => Err(error.into()),
    }
}

fn topic_table(topics: &[TopicReport<u32>]) -> Table<'static, 9> {
    let mut table = Table::new([
        ("NAME", Align::Left),
        ("RECORDS", Align::Right),
        ("BYTES", Align::Right),
        ("HEAD", Align::Right),
        ("TAIL", Align::Right),
        ("PRODUCERS", Align::Right),
        ("CONSUMERS", Align::Right),
        ("RETENTION", Align::Left),
        ("CREATED", Align::Left),
    ]);
    for topic in topics {
        table.row([
            topic.name.clone(),
            topic.records.to_string(),
            ByteSize(topic.bytes).to_string(),
            topic.head.to_string(),
            topic.tail.to_string(),
            topic.producers.to_string(),
            topic.consumers.to_string(),
            topic.retention(),
            topic.created.clone(),
        ]);
    }
    table
}

fn write_description(topic: &TopicReport<Vec<ConsumerReport>>, out: &mut Output) -> anyhow::Result<()> {
    let mut facts = Table::new([("TOPIC", Align::Left), (&topic.name, Align::Left)]);
    for (fact, value) in [
        ("records", topic.records.to_string()),
        ("bytes", ByteSize(topic.bytes).to_string()),
        ("head", topic.head.to_string()),
        ("tail", topic.tail.to_string()),
        ("retention", topic.retention()),
        ("created", topic.created.clone()),
        ("producers", topic.producers.to_string()),
    ] {
        facts.row([fact.to_owned(), value]);
    }
    out.write(|out| facts.write(out))?;
    if topic.consumers.is_empty() {
        return Ok(());
    }
    let mut consumers = Table::new([
        ("CONSUMER", Align::Left),
        ("CURSOR", Align::Right),
        ("BACKLOG", Align::Right),
        ("ID", Align::Left),
    ]);
    for consumer in &topic.consumers {
        let name = consumer.name.clone().unwrap_or_else(|| "(unnamed)".into());
        consumers.row([name, consumer.cursor.to_string(), consumer.backlog.to_string(), consumer.id.clone()]);
    }
    out.line(b"")?;
    out.write(|out| consumers.write(out))
}
