//! What a running agent can be asked, over the socket in its state directory: one line of JSON, answered by one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::report::{AgentReport, SourceReport};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// How it is.
    Status,
    /// Why a file is read, or is not.
    Explain(PathBuf),
    /// Begin a file anew at a position; what is read again is stored again.
    Reset {
        /// Which.
        path: PathBuf,
        /// Where.
        to: Position,
    },
    /// Ship everything that is there, then stop.
    Drain,
}

/// A position in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// Its beginning.
    Begin,
    /// Its end.
    End,
    /// So many bytes from the beginning.
    At(u64),
}

impl std::str::FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "begin" => Ok(Self::Begin),
            "end" => Ok(Self::End),
            _ => text.parse().map(Self::At).map_err(|_| format!("{text:?} is not begin, end, or a number of bytes")),
        }
    }
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// How it is.
    Status(AgentReport),
    /// Line by line.
    Explained(Vec<String>),
    /// It is done.
    Done,
    /// It is not, for this reason.
    Failed(String),
}

/// What one source answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Status(Box<SourceReport>),
    Explained(Vec<String>),
    Done(Result<(), String>),
}

/// Questions on their way to a source.
pub(super) type Asker = mpsc::Sender<(Request, oneshot::Sender<Answer>)>;

/// Questions that have arrived at a source.
pub(super) struct Asked(pub(super) mpsc::Receiver<(Request, oneshot::Sender<Answer>)>);

/// The way back.
pub(super) struct Back(oneshot::Sender<Answer>);

impl Back {
    /// Whoever asked may be gone.
    pub(super) fn send(self, answer: Answer) -> Option<()> {
        self.0.send(answer).ok()
    }
}

impl Asked {
    /// The next question; `None` when nobody can ask any more.
    pub(super) async fn next(&mut self) -> Option<(Request, Back)> {
        let (request, back) = self.0.recv().await?;
        Some((request, Back(back)))
    }
}
