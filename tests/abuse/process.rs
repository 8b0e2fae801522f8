//! The server as a process, and what it takes of the machine.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::PATIENCE;

/// What Linux counts times in, for programs, on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// The server as a process, which is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    _data: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().expect("our own child");
    }
}

/// What a process takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    /// The most since it was started, or since [`Process::forget_peak`].
    pub(crate) peak_bytes: u64,
    pub(crate) open_files: u64,
    pub(crate) threads: u64,
}

impl Process {
    /// Starts the server on a directory and a port of its own. Whether its allocator gives memory back as soon as it is
    /// free is for tests of memory: it costs time.
    pub(crate) fn start(binary: &Path, credentials: &str, gives_back_at_once: bool) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--reserve-bytes", "0"]);
        if !credentials.is_empty() {
            let file = data.path().join("credentials");
            fs::write(&file, credentials).expect("a file in our own directory");
            command.arg("--credentials-file").arg(file);
        }
        command.arg("--data").arg(data.path().join("data")).env("CONNECTIFY_LOG", "error");
        if gives_back_at_once {
            // Else the allocator keeps pages for a while, and what is resident goes up and down by tens of megabytes.
            command.env("MIMALLOC_PURGE_DELAY", "0");
            // The cache fills up with what honest clients store, as it should; what else grows has to show.
            command.args(["--tail-cache-bytes", "1MiB"]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a pipe can be read");
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
        let address = address.expect("the server starts").parse().expect("an address");
        Self { child, address, _data: data }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }

    /// Lets [`Usage::peak_bytes`] begin anew.
    pub(crate) fn forget_peak(&self) {
        fs::write(self.proc("clear_refs"), "5").expect("our own child");
    }

    /// Looks how many files are open, again and again.
    pub(crate) fn watch_open_files(&self) -> Watch {
        let (path, is_over) = (self.proc("fd"), Arc::new(AtomicBool::new(false)));
        let over = is_over.clone();
        let looking = thread::spawn(move || {
            let mut most = 0;
            while !over.load(SeqCst) {
                most = most.max(fs::read_dir(&path).map_or(0, Iterator::count) as u64);
                thread::sleep(Duration::from_millis(100));
            }
            most
        });
        Watch { looking, is_over }
    }

    pub(crate) fn usage(&self) -> Usage {
        let status = fs::read_to_string(self.proc("status")).expect("the server runs");
        let of = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says it");
            line.split_whitespace().next().expect("a number").parse().expect("a number")
        };
        Usage {
            resident_bytes: of("VmRSS:") * 1024,
            peak_bytes: of("VmHWM:") * 1024,
            open_files: fs::read_dir(self.proc("fd")).expect("the server runs").count() as u64,
            threads: of("Threads:"),
        }
    }

    /// Waits until as many files are open as should be: connections that were closed are gone.
    pub(crate) async fn open_files_are_back_at(&self, most: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let open = self.usage().open_files;
            if open <= most {
                return;
            }
            assert!(Instant::now() < deadline, "{open} files are open, {most} were before");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Looks how many files a process has open.
pub(crate) struct Watch {
    looking: thread::JoinHandle<u64>,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    /// The most that were open.
    pub(crate) fn end(self) -> u64 {
        self.is_over.store(true, SeqCst);
        self.looking.join().expect("it does not panic")
    }
}

/// Seconds of a core that a process has used.
pub(crate) fn cpu_of(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold spaces; utime and stime are the 14th and the 15th field.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// Raises the soft limit of open files of this process; gives how many connections it may make.
pub(crate) fn raise_open_files() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        return usize::try_from(current.unwrap_or(u64::MAX)).unwrap_or(usize::MAX) / 2;
    }
    // The rest is for everything else that this process opens.
    usize::try_from(maximum.unwrap_or(u64::MAX)).unwrap_or(usize::MAX) / 10 * 9
}
