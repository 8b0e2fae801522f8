//! The socket in the state directory over which a running agent is asked.

use std::{
    io,
    os::unix::net::{UnixListener as StdListener, UnixStream as StdStream},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
};

use super::request::{Reply, Request};

const SOCKET: &str = "agent.sock";
/// Longest question.
const MAX_REQUEST_BYTES: u64 = 64 << 10;
/// Questions that wait.
const QUESTIONS: usize = 4;

/// Listens, as long as it lives.
pub(super) struct Control {
    path: PathBuf,
    questions: mpsc::Receiver<(Request, Back)>,
    listening: tokio::task::JoinHandle<()>,
}

/// The way back to whoever asked.
pub(super) struct Back(oneshot::Sender<Reply>);

impl Back {
    pub(super) fn send(self, reply: Reply) {
        // Whoever asked may be gone.
        self.0.send(reply).ok();
    }
}

impl Control {
    /// # Errors
    /// When another agent listens there.
    pub(super) fn listen(state_dir: &Path) -> anyhow::Result<Self> {
        let path = state_dir.join(SOCKET);
        if StdStream::connect(&path).is_ok() {
            bail!("another agent runs with the state directory {}", state_dir.display());
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context("cannot remove the old socket");
            }
            _ => {}
        }
        let listener = StdListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let (sender, questions) = mpsc::channel(QUESTIONS);
        Ok(Self { path, questions, listening: tokio::spawn(serve(listener, sender)) })
    }

    pub(super) async fn next(&mut self) -> Option<(Request, Back)> {
        self.questions.recv().await
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.listening.abort();
        // The next agent would remove it, too.
        std::fs::remove_file(&self.path).ok();
    }
}

async fn serve(listener: UnixListener, questions: mpsc::Sender<(Request, Back)>) {
    while let Ok((stream, _)) = listener.accept().await {
        let questions = questions.clone();
        tokio::spawn(async move {
            if let Err(error) = one(stream, questions).await {
                tracing::debug!(%error, "a question was not answered");
            }
        });
    }
}

async fn one(stream: UnixStream, questions: mpsc::Sender<(Request, Back)>) -> anyhow::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut line = String::new();
    BufReader::new(input.take(MAX_REQUEST_BYTES)).read_line(&mut line).await?;
    let reply = match serde_json::from_str(&line) {
        Ok(request) => {
            let (back, reply) = oneshot::channel();
            questions.send((request, Back(back))).await?;
            reply.await?
        }
        Err(error) => Reply::Failed(format!("not a question: {error}")),
    };
    output.write_all(&[&serde_json::to_vec(&reply)?[..], b"\n"].concat()).await?;
    Ok(())
}

/// Asks the agent that runs with this state directory.
///
/// # Errors
/// When none runs there, or it goes away.
///
/// # Cancel safety
/// It may have been asked.
pub async fn ask(state_dir: &Path, request: &Request) -> anyhow::Result<Reply> {
    let path = state_dir.join(SOCKET);
    let stream = UnixStream::connect(&path).await;
    let stream = stream.with_context(|| format!("no agent runs with the state directory {}", state_dir.display()))?;
    let (mut input, mut output) = stream.into_split();
    output.write_all(&[&serde_json::to_vec(request)?[..], b"\n"].concat()).await?;
    let mut text = Vec::new();
    input.read_to_end(&mut text).await?;
    serde_json::from_slice(&text).context("the agent went away")
}
