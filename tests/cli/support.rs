//! Starting the binary, talking to it, and never waiting for it longer than [`PATIENCE`].

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Far longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a process ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    /// stdout of a process that succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self.stdout
    }

    /// stdout of a process that succeeded, as text.
    #[track_caller]
    pub(crate) fn text(self) -> String {
        String::from_utf8(self.ok()).expect("text")
    }

    /// stdout of a process that succeeded, as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_slice(&self.ok()).expect("JSON")
    }

    /// stderr of a process that ended with this status.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        self.stderr
    }
}

/// The binary, not started yet, with nothing of the caller's environment that it listens to.
pub(crate) fn connectify<A: AsRef<OsStr>>(args: &[A]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connectify"));
    for variable in ["CONNECTIFY_SERVER", "CONNECTIFY_CREDENTIALS_FILE", "CONNECTIFY_LOG", "RUST_BACKTRACE"] {
        command.env_remove(variable);
    }
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the binary to its end.
pub(crate) fn run<A: AsRef<OsStr>>(args: &[A]) -> Ended {
    Running::start(connectify(args)).feed(b"").end()
}

/// A process with threads that take its output, so that it never waits for us.
pub(crate) struct Running {
    child: Child,
    stdout: mpsc::Receiver<Vec<u8>>,
    stderr: mpsc::Receiver<Vec<u8>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let stdout = lines_in_background(child.stdout.take());
        let stderr = lines_in_background(child.stderr.take());
        Self { child, stdout, stderr }
    }

    /// Writes the whole input, on a thread, and closes it.
    pub(crate) fn feed(mut self, input: &[u8]) -> Self {
        let (mut stdin, input) = (self.child.stdin.take().expect("still open"), input.to_vec());
        thread::spawn(move || {
            // A process that fails stops reading.
            stdin.write_all(&input).ok();
        });
        self
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("still open")
    }

    /// The next line of stdout, with its end.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        match self.stdout.recv_timeout(PATIENCE) {
            Ok(line) => String::from_utf8(line).expect("text"),
            Err(error) => panic!("no line ({error}); stderr: {}", concat(&self.stderr)),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process runs");
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let (stdout, stderr) = (drain(&self.stdout), drain(&self.stderr));
        // It has closed both, which is the last thing that it does.
        let status = self.child.wait().expect("our own child");
        Ended { code: status.code(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn lines_in_background(output: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, lines) = mpsc::channel();
    let mut output = BufReader::new(output.expect("piped"));
    thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            let count = output.read_until(b'\n', &mut line).expect("a pipe can be read");
            if count == 0 || sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn drain(lines: &mpsc::Receiver<Vec<u8>>) -> Vec<u8> {
    let mut all = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => all.extend(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => return all,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the process has not ended after {PATIENCE:?}"),
        }
    }
}

fn concat(lines: &mpsc::Receiver<Vec<u8>>) -> String {
    String::from_utf8_lossy(&lines.try_iter().flatten().collect::<Vec<_>>()).into_owned()
}

/// Waits for a process, but not for ever.
#[track_caller]
pub(crate) fn wait(mut child: Child) -> ExitStatus {
    let (sender, status) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait()));
    status.recv_timeout(PATIENCE).expect("the process ends").expect("our own child")
}

/// Asks again until the answer is yes.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so after {PATIENCE:?}: {what}");
    }
}

/// A server on a port of its own.
pub(crate) struct Server {
    running: Running,
    args: Vec<OsString>,
    pub(crate) address: String,
    /// The line with which it said that it serves.
    pub(crate) greeting: String,
}

impl Server {
    pub(crate) fn ephemeral() -> Self {
        Self::start(&["--ephemeral"])
    }

    pub(crate) fn on(directory: &Path) -> Self {
        Self::start(&[OsStr::new("--data"), directory.as_os_str()])
    }

    pub(crate) fn start(args: &[impl AsRef<OsStr>]) -> Self {
        Self::listening("127.0.0.1:0", args.iter().map(|arg| arg.as_ref().to_owned()).collect())
    }

    fn listening(address: &str, args: Vec<OsString>) -> Self {
        let mut command = connectify(&["serve", "--listen", address]);
        command.args(&args);
        let running = Running::start(command);
        let greeting = running.line();
        let address = greeting.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("{greeting:?} names no address")).to_owned();
        Self { running, args, address, greeting }
    }

    /// Kills it, and starts another one with the same data and address.
    pub(crate) fn killed_and_started_again(self) -> Self {
        let Self { running, args, address, .. } = self;
        drop(running);
        Self::listening(&address, args)
    }

    /// A command for this server, not started yet.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = connectify(&line.split(' ').collect::<Vec<_>>());
        command.env("CONNECTIFY_SERVER", &self.address);
        command
    }

    pub(crate) fn start_command(&self, line: &str) -> Running {
        Running::start(self.command(line))
    }

    /// Runs a command to its end. Words are separated by single spaces.
    pub(crate) fn run(&self, line: &str) -> Ended {
        self.run_with(line, b"")
    }

    /// Runs a command with this input to its end.
    pub(crate) fn run_with(&self, line: &str, input: &[u8]) -> Ended {
        self.start_command(line).feed(input).end()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// How many records a topic holds.
    pub(crate) fn records(&self, topic: &str) -> u64 {
        let described = self.run(&format!("topic describe {topic} --json")).json();
        described["records"].as_u64().expect("a number")
    }

    /// Asks the server to stop, and waits until it has.
    pub(crate) fn stop(self) -> Ended {
        self.running.signal(Signal::TERM);
        self.running.end()
    }
}
