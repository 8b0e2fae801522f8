//! `connectify size`: how many records a consumer has not read.

use anyhow::bail;
use connectify::{protocol::DescribeTopicAnswer, record::TopicName};
use serde::Serialize;

use super::{
    answer::Answer,
    args::{ServerArgs, name, topic_name},
    output::Output,
    topic::unknown_topic,
    topic_report::ConsumerReport,
};

/// Print how many records a consumer has not read
///
/// Asks only: a consumer that does not exist is not made, and the exit status is 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topic
    #[arg(value_parser = topic_name)]
    topic: TopicName,

    /// The consumer
    #[arg(long, value_name = "NAME", value_parser = name)]
    consumer: String,

    /// Print a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Serialize)]
struct Size<'a> {
    topic: &'a str,
    consumer: &'a str,
    backlog: u64,
    cursor: u64,
    head: u64,
    tail: u64,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    let client = args.server.connect().await?;
    let described = match client.describe_topic(args.topic.as_str()).await {
        Ok(described) => described,
        Err(error) => return unknown_topic(&args.topic, error),
    };
    let (head, tail) = (described.topic.head, described.topic.tail);
    let consumer = match find(described, &args.consumer) {
        Found::Yes(consumer) => consumer,
        Found::No => return Ok(Answer::No(format!("topic {} has no consumer {}", args.topic, args.consumer))),
        Found::NotListed => {
            bail!("topic {} has more consumers than the server lists, and {} is not listed", args.topic, args.consumer)
        }
    };
    let mut out = Output::stdout();
    if args.json {
        let (topic, consumer_name) = (args.topic.as_str(), args.consumer.as_str());
        let (backlog, cursor) = (consumer.backlog, consumer.cursor);
        out.json(&Size { topic, consumer: consumer_name, backlog, cursor, head, tail })?;
    } else {
        out.line(consumer.backlog.to_string().as_bytes())?;
    }
    out.flush()?;
    Ok(Answer::Yes)
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Yes(ConsumerReport),
    No,
    /// The server lists only so many, and the list ends before the place of this one.
    NotListed,
}

/// Looks for a consumer among those listed: named ones first, in order of name.
fn find(described: DescribeTopicAnswer, name: &str) -> Found {
    let all_listed = described.consumers.len() as u64 >= u64::from(described.topic.consumers);
    let passed = described.consumers.last().is_some_and(|last| last.name.as_deref().is_none_or(|last| last > name));
    match described.consumers.into_iter().find(|consumer| consumer.name.as_deref() == Some(name)) {
        Some(consumer) => Found::Yes(consumer.into()),
        None if all_listed || passed => Found::No,
        None => Found::NotListed,
    }
}

#[cfg(test)]
mod tests {
    use connectify::protocol::{ConsumerInfo, TopicInfo};

    use super::*;

    fn look(listed: &[Option<&str>], consumers: u32, name: &str) -> Found {
        let info = |name: &Option<&str>| ConsumerInfo { name: name.map(str::to_owned), ..ConsumerInfo::default() };
        let topic = TopicInfo { consumers, ..TopicInfo::default() };
        find(DescribeTopicAnswer { topic, consumers: listed.iter().map(info).collect() }, name)
    }

    #[test]
    fn a_consumer_is_missing_only_if_the_list_would_have_shown_it() {
        assert!(matches!(look(&[Some("a"), Some("b")], 500, "b"), Found::Yes(_)));
        assert_eq!(look(&[], 0, "b"), Found::No);
        assert_eq!(look(&[Some("a"), None], 2, "b"), Found::No);
        assert_eq!(look(&[Some("a"), Some("c")], 500, "b"), Found::No);
        assert_eq!(look(&[Some("a"), None], 500, "b"), Found::No);
        assert_eq!(look(&[Some("a"), Some("aa")], 500, "b"), Found::NotListed);
    }
}
