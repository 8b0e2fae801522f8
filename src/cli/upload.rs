//! Lines on their way through a producer, and how many of them have arrived.

use std::{collections::VecDeque, future::pending, io::Read, thread};

use anyhow::Context;
use bytes::Bytes;
use connectify::{ClientError, Producer, Record, Ticket, limits::MAX_RECORD_BYTES, record::Offset};
use futures::FutureExt;
use tokio::sync::mpsc;

use super::{
    lines::{LineError, LineReader, lines},
    progress::Progress,
};

/// Lines on their way at once. It bounds the memory of their tickets; the producer bounds that of their bytes.
const MAX_IN_FLIGHT_LINES: usize = 128 * 1024;
/// Pieces read ahead of the producer.
const PIECES_AHEAD: usize = 4;

/// What the reading thread says: a piece, that there are no more, or why it cannot read on. A channel that closes
/// without the last two means that the thread is dead, not that the input has ended.
pub(crate) type Piece = Result<Option<Bytes>, LineError>;

/// Reads on a thread of its own, which may block for ever in a read without keeping the process alive.
pub(crate) fn read_in_background(input: impl Read + Send + 'static) -> anyhow::Result<mpsc::Receiver<Piece>> {
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let mut reader = LineReader::new(input, MAX_RECORD_BYTES);
    let read = move || {
        loop {
            let piece = reader.next_piece();
            let is_last = !matches!(piece, Ok(Some(_)));
            if sender.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    };
    thread::Builder::new().name("input".into()).spawn(read).context("cannot start a thread")?;
    Ok(pieces)
}

/// The way of an input's lines, first to last, into a topic.
pub(crate) struct Upload<'a> {
    producer: &'a Producer,
    key: Option<Bytes>,
    progress: Progress,
    /// Lines that an earlier run has stored already.
    stored_before: u64,
    /// Oldest first, each with the bytes of its line.
    in_flight: VecDeque<(Ticket, usize)>,
    taken_up: u64,
    durable: u64,
    durable_bytes: u64,
    may_have_applied: bool,
}

impl<'a> Upload<'a> {
    /// `stored_before`: so many lines at the beginning are durable already and are not sent again.
    pub(crate) fn new(producer: &'a Producer, key: Option<Bytes>, stored_before: u64, progress: Progress) -> Self {
        Self {
            producer,
            key,
            progress,
            stored_before,
            in_flight: VecDeque::new(),
            taken_up: 0,
            durable: 0,
            durable_bytes: 0,
            may_have_applied: false,
        }
    }

    /// Sends all lines. When it returns without an error, every one of them is durable.
    pub(crate) async fn run(&mut self, pieces: &mut mpsc::Receiver<Piece>) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                // A failure is seen while the input is silent.
                result = oldest(&mut self.in_flight) => self.settle(result)?,
                piece = pieces.recv() => match piece.context("the thread that reads the input has died")? {
                    Ok(Some(piece)) => self.send(&piece).await?,
                    Ok(None) => break,
                    Err(LineError::Read(error)) => return Err(error).context("cannot read the input"),
                    Err(error) => {
                        self.taken_up += 1;
                        return Err(self.at_line(error));
                    }
                },
            }
            while let Some(result) = oldest(&mut self.in_flight).now_or_never() {
                self.settle(result)?;
            }
            self.progress.show(self.durable_bytes, format_args!("{} lines durable", self.durable));
        }
        while !self.in_flight.is_empty() {
            let result = oldest(&mut self.in_flight).await;
            self.settle(result)?;
        }
        Ok(())
    }

    async fn send(&mut self, piece: &Bytes) -> anyhow::Result<()> {
        for line in lines(piece) {
            if self.in_flight.len() >= MAX_IN_FLIGHT_LINES {
                let result = oldest(&mut self.in_flight).await;
                self.settle(result)?;
            }
            self.taken_up += 1;
            if self.taken_up <= self.stored_before {
                self.count_durable(line.len());
                continue;
            }
            let bytes = line.len();
            let record = Record { value: line, key: self.key.clone(), ..Record::default() };
            let ticket = match self.producer.enqueue(record).await {
                Ok(ticket) => ticket,
                Err(error @ ClientError::Record(_)) => return Err(self.at_line(error)),
                Err(error) => return Err(error.into()),
            };
            self.in_flight.push_back((ticket, bytes));
        }
        Ok(())
    }

    /// Takes the result of the oldest line off the books.
    fn settle(&mut self, result: Result<Offset, ClientError>) -> anyhow::Result<()> {
        let (_, bytes) = self.in_flight.pop_front().expect("only a line in flight has a result");
        match result {
            Ok(_) | Err(ClientError::OffsetUnknown) => self.count_durable(bytes),
            Err(error) => {
                self.may_have_applied |= error.may_have_applied();
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn at_line(&self, error: impl Into<anyhow::Error>) -> anyhow::Error {
        error.into().context(format!("line {}", self.taken_up))
    }

    fn count_durable(&mut self, bytes: usize) {
        self.durable += 1;
        // The end of the line is a byte of the input, too.
        self.durable_bytes += bytes as u64 + 1;
    }

    /// Waits for what is on its way after a failure, so that the report counts it.
    pub(crate) async fn settle_rest(&mut self) {
        while !self.in_flight.is_empty() {
            let result = oldest(&mut self.in_flight).await;
            // The first failure is the one that is reported.
            self.settle(result).ok();
        }
    }

    /// How much has arrived, for whoever has to decide what to send again.
    pub(crate) fn report(&self) -> String {
        let (durable, taken_up) = (self.durable, self.taken_up);
        let rest = match (durable == taken_up, self.may_have_applied || !self.in_flight.is_empty()) {
            (true, _) => "",
            (false, true) => "; the others may be, too",
            (false, false) => "; the others are not",
        };
        format!("{durable} of {taken_up} lines are durable{rest}")
    }

    /// Leaves the terminal to the report.
    pub(crate) fn clear_progress(&self) {
        self.progress.clear();
    }
}

/// The result of the line that was sent first; never, when there is none.
async fn oldest(in_flight: &mut VecDeque<(Ticket, usize)>) -> Result<Offset, ClientError> {
    match in_flight.front_mut() {
        Some((ticket, _)) => ticket.await,
        None => pending().await,
    }
}
