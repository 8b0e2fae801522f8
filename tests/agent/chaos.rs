//! Kills of the agent and of the server under rotations of both kinds: in `cargo test` a few, as a campaign many.
//!
//! `CONNECTIFY_AGENT_KILLS` sets how many kills there are, of the agent and of the server in turn. A kill of the agent is
//! one of the process; it also loses its state in one of four. The moments follow from `CONNECTIFY_SEED` as far as the
//! scheduling of the machine allows.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use connectify::Client;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::support::PATIENCE;

const KILLS: u64 = 12;
/// How long a process lives.
const LIFE_MS: std::ops::RangeInclusive<u64> = 20..=400;
/// A rotation after so many lines.
const LINES_IN_A_FILE: u64 = 500;

/// A process that is killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn connectify(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connectify"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn start_server(data: &Path, address: &str) -> (Process, String) {
    let data = data.to_str().expect("text");
    let mut process = Process(connectify(&["serve", "--listen", address, "--data", data]).spawn().expect("starts"));
    let mut greeting = String::new();
    BufReader::new(process.0.stdout.take().expect("piped")).read_line(&mut greeting).expect("readable");
    let address = greeting.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
    (process, address.unwrap_or_else(|| panic!("{greeting:?} names no address")).to_owned())
}

fn start_agent(config: &Path) -> Process {
    Process(connectify(&["agent", "run", "--config", config.to_str().expect("text")]).spawn().expect("starts"))
}

/// Writes numbered lines, and rotates.
struct Writer {
    logs: PathBuf,
    written: Arc<AtomicU64>,
    shipped: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    rotations: Arc<AtomicU64>,
}

impl Writer {
    fn open(&self) -> fs::File {
        fs::OpenOptions::new().create(true).append(true).open(self.logs.join("app.log")).expect("opens")
    }

    fn run(self) {
        let (mut file, mut number, mut rotations, mut begun_at) = (self.open(), 0_u64, 0_u64, 0_u64);
        while !self.stop.load(Ordering::Relaxed) {
            let lines: String = (0..20).map(|n| format!("{:09} a line like many others\n", number + n)).collect();
            // In two pieces, so that a line is sometimes seen without its end.
            let (first, second) = lines.as_bytes().split_at(lines.len() / 3);
            file.write_all(first).and_then(|()| file.write_all(second)).expect("written");
            number += 20;
            self.written.store(number, Ordering::Relaxed);
            if number.is_multiple_of(LINES_IN_A_FILE) {
                rotations += 1;
                if rotations.is_multiple_of(2) {
                    fs::rename(self.logs.join("app.log"), self.logs.join(format!("app.log.{rotations}")))
                        .expect("renamed");
                    file = self.open();
                } else {
                    // What is truncated before anybody looked leaves no trace: the agent has to have seen the beginning.
                    if !self.until_shipped(begun_at + 20) {
                        break;
                    }
                    fs::copy(self.logs.join("app.log"), self.logs.join(format!("copy-{rotations}"))).expect("copied");
                    fs::File::options()
                        .write(true)
                        .open(self.logs.join("app.log"))
                        .expect("opens")
                        .set_len(0)
                        .expect("truncated");
                }
                begun_at = number;
                self.rotations.store(rotations, Ordering::Relaxed);
            }
            // As fast as the machine allows would leave nothing for the others.
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// `false`: it is the end, and they are not.
    fn until_shipped(&self, count: u64) -> bool {
        while self.shipped.load(Ordering::Relaxed) < count {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        true
    }
}

/// Reads the topic, over every restart of the server, and checks each line.
async fn check_lines(address: String, shipped: Arc<AtomicU64>, written: Arc<AtomicU64>, done: Arc<AtomicBool>) {
    let client =
        Client::builder(address).connect_timeout(PATIENCE).request_timeout(PATIENCE).connect().await.expect("connects");
    let mut consumer = loop {
        match client.consumer("app").open().await {
            Ok(consumer) => break consumer,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let (mut expected, mut moved) = (0, Instant::now());
    loop {
        if done.load(Ordering::Relaxed) && expected == written.load(Ordering::Relaxed) {
            return;
        }
        match tokio::time::timeout(Duration::from_millis(100), consumer.next_record()).await {
            Err(_) => assert!(moved.elapsed() < PATIENCE, "line {expected} does not arrive"),
            Ok(found) => {
                let found = found.expect("readable").expect("goes on");
                let line = String::from_utf8_lossy(&found.record.value).into_owned();
                assert_eq!(line, format!("{expected:09} a line like many others"), "at offset {}", found.offset);
                expected += 1;
                moved = Instant::now();
                shipped.store(expected, Ordering::Relaxed);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_rotations_lose_nothing_and_repeat_nothing() {
    let number_of = |variable: &str| std::env::var(variable).ok().map(|text| text.parse::<u64>().expect("a number"));
    let kills = number_of("CONNECTIFY_AGENT_KILLS").unwrap_or(KILLS);
    let seed = number_of("CONNECTIFY_SEED").unwrap_or_else(rand::random);
    let mut rng = StdRng::seed_from_u64(seed);
    let root = tempfile::tempdir().expect("a directory");
    let (logs, data, state) = (root.path().join("logs"), root.path().join("data"), root.path().join("state"));
    fs::create_dir(&logs).expect("made");
    let (mut server, address) = start_server(&data, "127.0.0.1:0");
    let config = root.path().join("agent.toml");
    let text = format!(
        "[server]\naddress = \"{address}\"\n[agent]\nid = \"chaos\"\nstate_dir = {state:?}\n[[source.file]]\nname = \"app\"\n\
         topic = \"app\"\ninclude = [{:?}]\nkey = \"none\"\n",
        logs.join("app.log*")
    );
    fs::write(&config, text).expect("written");
    let (written, shipped, rotations) = (Arc::default(), Arc::default(), Arc::default());
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let writer = Writer {
        logs: logs.clone(),
        written: Arc::clone(&written),
        shipped: Arc::clone(&shipped),
        stop: Arc::clone(&stop),
        rotations: Arc::clone(&rotations),
    };
    let checking = tokio::spawn(check_lines(address.clone(), shipped, Arc::clone(&written), Arc::clone(&done)));
    let writing = thread::spawn(move || writer.run());
    let mut agent = start_agent(&config);
    for kill in 0..kills {
        tokio::time::sleep(Duration::from_millis(rng.random_range(LIFE_MS))).await;
        assert!(!checking.is_finished(), "seed {seed}: {:?}", checking.await);
        if kill.is_multiple_of(3) {
            drop(server);
            server = start_server(&data, &address).0;
        } else {
            drop(agent);
            if rng.random_range(0..4) == 0 {
                fs::remove_dir_all(&state).ok();
            }
            agent = start_agent(&config);
        }
        if std::env::var_os("CONNECTIFY_AGENT_KILLS").is_some() && kill % 50 == 49 {
            let (lines, turns) = (written.load(Ordering::Relaxed), rotations.load(Ordering::Relaxed));
            say(&format!("{} kills, {lines} lines, {turns} rotations", kill + 1));
        }
    }
    stop.store(true, Ordering::Relaxed);
    writing.join().expect("no panic");
    done.store(true, Ordering::Relaxed);
    let checked = tokio::time::timeout(PATIENCE * 2, checking).await;
    checked
        .unwrap_or_else(|_| panic!("seed {seed}: not all lines arrive"))
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let (lines, turns) = (written.load(Ordering::Relaxed), rotations.load(Ordering::Relaxed));
    say(&format!("seed {seed}: {kills} kills, {turns} rotations, {lines} lines, each once and in order"));
    drop((agent, server));
}

#[allow(clippy::print_stderr, reason = "a campaign shows how far it is, and what it did")]
fn say(text: &str) {
    eprintln!("{text}");
}
