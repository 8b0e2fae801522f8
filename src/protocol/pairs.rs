//! Which opcode a request has, what answers it, and which messages have batches behind them.

use super::{Answer, ErrorBody, Opcode, Request, messages::*};

macro_rules! requests {
    ($($request:ident => $answer:ident,)*) => {
        $(impl Request for $request {
            const OPCODE: Opcode = Opcode::$request;
            type Answer = $answer;
        })*
    };
}

macro_rules! answers {
    ($($answer:ident,)*) => { $(impl Answer for $answer {})* };
}

requests! {
    Hello => HelloAnswer,
    Ping => PingAnswer,
    ServerInfo => ServerInfoAnswer,
    CreateTopic => CreateTopicAnswer,
    DeleteTopic => DeleteTopicAnswer,
    ListTopics => ListTopicsAnswer,
    DescribeTopic => DescribeTopicAnswer,
    RegisterProducer => RegisterProducerAnswer,
    ProducerState => ProducerStateAnswer,
    ListProducers => ListProducersAnswer,
    ForgetProducer => ForgetProducerAnswer,
    RegisterConsumer => RegisterConsumerAnswer,
    Fetch => FetchAnswer,
    Subscribe => SubscribeAnswer,
    Credit => NoAnswer,
    Unsubscribe => UnsubscribeAnswer,
    Commit => CommitAnswer,
    Dequeue => DequeueAnswer,
    Backlog => BacklogAnswer,
    OffsetForTimestamp => OffsetForTimestampAnswer,
}

answers! {
    HelloAnswer, PingAnswer, ServerInfoAnswer, CreateTopicAnswer, DeleteTopicAnswer, ListTopicsAnswer,
    DescribeTopicAnswer, RegisterProducerAnswer, AppendAnswer, ProducerStateAnswer, ListProducersAnswer,
    ForgetProducerAnswer, RegisterConsumerAnswer,
    SubscribeAnswer, UnsubscribeAnswer, CommitAnswer, BacklogAnswer, OffsetForTimestampAnswer, NoAnswer,
}

impl Request for Append {
    const OPCODE: Opcode = Opcode::Append;
    type Answer = AppendAnswer;

    fn batch_lengths(&self) -> Vec<u32> {
        self.parts.iter().map(|part| part.batch_bytes).collect()
    }
}

/// GoAway is an error that nobody asked for: correlation id 0, and the connection closes.
impl Request for ErrorBody {
    const OPCODE: Opcode = Opcode::GoAway;
    type Answer = NoAnswer;
}

impl Answer for FetchAnswer {
    fn batch_lengths(&self) -> Vec<u32> {
        self.batch_bytes.clone()
    }
}

impl Answer for Deliver {
    fn batch_lengths(&self) -> Vec<u32> {
        self.batch_bytes.clone()
    }
}

impl Answer for DequeueAnswer {
    fn batch_lengths(&self) -> Vec<u32> {
        self.batch_bytes.clone()
    }
}
