//! From opcode to broker and back: one function a message.

mod admin;
mod consume;
mod produce;

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;

use super::session::{Admitted, Context, End, Held};
use crate::{
    broker::Room,
    protocol::{
        Credit, ErrorBody, ErrorCode, Frame, FrameHeader, Opcode, OutFrame, Ping, PingAnswer, Request, decode_request,
        encode_answer, encode_error,
    },
};

/// What a handler gives.
type Answered<A> = Result<Reply<A>, ErrorBody>;

/// An answer, the batches behind it, and the part of the budget that they hold until they are sent.
struct Reply<A> {
    answer: A,
    batches: Vec<Bytes>,
    budget: Option<OwnedSemaphorePermit>,
}

/// An answer without batches.
fn plain<A>(answer: A) -> Reply<A> {
    Reply { answer, batches: Vec::new(), budget: None }
}

/// Bytes of an answer with one batch, beside the batch, rounded up: the frame's header and the control body.
const FRONT_BYTES: usize = 64;
/// What the length of one more batch takes of the control body, at most.
const LENGTH_BYTES: usize = 5;

/// What fits an answer on a connection with frames of this size.
pub(super) fn room(max_frame_bytes: usize) -> Room {
    Room { bytes: max_frame_bytes - FRONT_BYTES, per_batch: LENGTH_BYTES }
}

/// The lengths of batches, as answers list them.
pub(super) fn lengths(batches: &[Bytes]) -> Vec<u32> {
    batches.iter().map(|batch| u32::try_from(batch.len()).expect("batches fit frames")).collect()
}

/// How many a page of a list holds: 0 asks for as many as may be.
fn page_limit(asked: u32, limit: usize) -> usize {
    match asked as usize {
        0 => limit,
        asked => asked.min(limit),
    }
}

/// Handles a frame. Requests that change something reach the broker before this returns, so in order of arrival.
pub(super) async fn dispatch(context: &Arc<Context>, frame: Frame, admitted: Admitted) -> Result<(), End> {
    let header = frame.header;
    let bad_frame = |message: &str| End::GoAway(ErrorBody::new(ErrorCode::BadFrame, message, Vec::new()));
    let opcode = Opcode::from_number(header.opcode);
    if header.is_answer {
        return if opcode == Some(Opcode::Ping) {
            context.vain.note();
            Ok(())
        } else {
            Err(bad_frame("only a Ping is answered to a server"))
        };
    }
    if header.correlation_id == 0 {
        return Err(bad_frame("correlation id of a request is 0"));
    }
    if opcode == Some(Opcode::Credit) {
        // It has no answer, so none that refuses it.
        let credit = decode_request::<Credit>(&frame).ok().filter(|_| header.has_known_version());
        let is_taken =
            credit.is_some_and(|(credit, _)| context.subscriptions.credit(credit.subscription_id, credit.bytes));
        if !is_taken {
            context.vain.note();
        }
        return Ok(());
    }
    if !context.outbox.asked(header.correlation_id) {
        let message = format!("a request with correlation id {} is in flight", header.correlation_id);
        // Two answers under one id could not be told apart.
        return Err(End::GoAway(ErrorBody::new(ErrorCode::CorrelationInUse, message, Vec::new())));
    }
    let call = Call { context: context.clone(), header, admitted };
    match opcode {
        Some(Opcode::Append) if header.has_known_version() => produce::append(call, frame).await,
        Some(opcode) if header.has_known_version() => call.handle(opcode, &frame),
        Some(_) => call.refuse(ErrorCode::UnknownMessageVersion, format!("version {} is not known", header.version)),
        None => call.refuse(ErrorCode::UnknownOpcode, format!("opcode {:#06x} is not known", header.opcode)),
    }
    Ok(())
}

/// A request that waits for its answer.
struct Call {
    context: Arc<Context>,
    header: FrameHeader,
    admitted: Admitted,
}

impl Call {
    fn handle(self, opcode: Opcode, frame: &Frame) {
        match opcode {
            Opcode::Hello => self.refuse(ErrorCode::HelloRepeated, "Hello came before".to_owned()),
            Opcode::GoAway | Opcode::Deliver | Opcode::Credit => {
                self.refuse(ErrorCode::UnknownOpcode, format!("{} is not a request to a server", opcode.name()));
            }
            Opcode::Ping => {
                self.context.vain.note();
                self.at_once(frame, |_, _: Ping| Ok(PingAnswer::default()));
            }
            Opcode::ServerInfo => self.at_once(frame, admin::server_info),
            Opcode::CreateTopic => self.waiting(frame, admin::create_topic),
            Opcode::DeleteTopic => self.waiting(frame, admin::delete_topic),
            Opcode::ListTopics => self.at_once(frame, admin::list_topics),
            Opcode::DescribeTopic => self.at_once(frame, admin::describe_topic),
            Opcode::RegisterProducer => self.waiting(frame, produce::register_producer),
            Opcode::Append => unreachable!("it may take long, and is not handled here"),
            Opcode::ProducerState => self.waiting(frame, produce::producer_state),
            Opcode::ListProducers => self.waiting(frame, produce::list_producers),
            Opcode::ForgetProducer => self.waiting(frame, produce::forget_producer),
            Opcode::RegisterConsumer => self.waiting(frame, consume::register_consumer),
            Opcode::Fetch => self.waiting(frame, consume::fetch),
            Opcode::Subscribe => consume::subscribe(self, frame),
            Opcode::Unsubscribe => self.at_once(frame, consume::unsubscribe),
            Opcode::Commit => self.waiting(frame, consume::commit),
            Opcode::Dequeue => self.waiting(frame, consume::dequeue),
            Opcode::Backlog => self.at_once(frame, consume::backlog),
            Opcode::OffsetForTimestamp => self.waiting(frame, consume::offset_for_timestamp),
        }
    }

    fn answer(self, frame: OutFrame, budget: Option<OwnedSemaphorePermit>) {
        let place = Some(self.admitted.into_place());
        self.context.outbox.answer(self.header.correlation_id, frame, Held { place, budget });
    }

    fn refuse(self, code: ErrorCode, message: String) {
        self.refuse_with(&ErrorBody::new(code, message, Vec::new()));
    }

    fn refuse_with(self, error: &ErrorBody) {
        self.context.vain.note_refusal(error);
        let frame = encode_error(self.header, error);
        self.answer(frame, None);
    }

    fn settle<R: Request>(self, answered: Answered<R::Answer>) {
        match answered {
            Ok(Reply { answer, batches, budget }) => {
                let correlation_id = self.header.correlation_id;
                let frame = encode_answer(R::OPCODE, correlation_id, &answer, batches);
                self.answer(frame, budget);
            }
            Err(error) => self.refuse_with(&error),
        }
    }

    /// For requests that are answered from memory.
    fn at_once<R: Request>(self, frame: &Frame, handle: impl FnOnce(&Context, R) -> Result<R::Answer, ErrorBody>) {
        let answered = match decode_request::<R>(frame) {
            Ok((request, _)) => handle(&self.context, request).map(plain),
            Err(error) => Err(error.into()),
        };
        self.settle::<R>(answered);
    }

    /// For requests that wait: for the disk, for records, for room.
    fn waiting<R, H, F>(self, frame: &Frame, handle: H)
    where
        R: Request + Send + 'static,
        R::Answer: Send,
        H: FnOnce(Arc<Context>, R) -> F,
        F: Future<Output = Answered<R::Answer>> + Send + 'static,
    {
        let request = match decode_request::<R>(frame) {
            Ok((request, _)) => request,
            Err(error) => return self.refuse_with(&error.into()),
        };
        let mut answer = Box::pin(handle(self.context.clone(), request));
        // The first poll hands the operation to the broker, here and now: in order of arrival.
        if let Some(answered) = (&mut answer).now_or_never() {
            return self.settle::<R>(answered);
        }
        tokio::spawn(async move {
            let ended = self.context.ended.clone();
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                answered = answer => self.settle::<R>(answered),
            }
        });
    }
}
