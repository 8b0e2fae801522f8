//! Abuses a live server and measures what honest clients notice of it. The scenarios are those of `tests/abuse.rs`.
//!
//! ```text
//! cargo build --release --bins --examples
//! target/release/examples/abuse [SCENARIO...]     all of them, if none is named; ABUSE_ROUNDS is 3
//! ```
//!
//! The server, a second server beside it, and the abusers are processes of their own. Each round measures honest
//! clients before the abuse, while the *other* server is abused, during the abuse, and after it: what they notice of an
//! abuse next door is the machine, shared by all; what they notice beyond that is the server. The figures are medians
//! of the rounds, and the most of all rounds for memory and files.

#![expect(clippy::print_stdout, reason = "the figures are its output")]

#[allow(dead_code, reason = "some of it is for tests/abuse.rs")]
#[path = "../tests/abuse/mod.rs"]
mod abuse;

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use abuse::{Honest, PATIENCE, Process, SCENARIOS, Scenario, Stage, Work, cpu_of, raise_open_files};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long honest clients are measured each time.
const WINDOW: Duration = Duration::from_millis(1500);
/// The word that makes this program the abuser.
const ATTACK: &str = "attack";

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    raise_open_files();
    if let [word, name, address] = &arguments[..]
        && word == ATTACK
    {
        return attack(scenario(name)?, address.parse()?).await;
    }
    let rounds = env::var("ABUSE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    println!(
        "| scenario | p50 before / next door / during / after, ms | p99, ms | p99 during to before | to next door \
         | CPU server / abusers, of a core | memory before / peak / after, MB | files before / peak / after \
         | threads before / after | the abusers got |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for scenario in SCENARIOS {
        if arguments.is_empty() || arguments.iter().any(|name| name == scenario.name) {
            println!("{}", measure(scenario, rounds).await?);
        }
    }
    Ok(())
}

fn scenario(name: &str) -> Outcome<&'static Scenario> {
    Ok(SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or("no such scenario")?)
}

// ---- the abuser ----

/// Abuses until stdin ends; says when it is in full swing, and at the end what came of it.
async fn attack(scenario: &Scenario, address: SocketAddr) -> Outcome<()> {
    let (began, stage) = (Instant::now(), Stage::new(address, scenario.peers, false));
    let abuse = tokio::spawn((scenario.run)(stage.clone()));
    stage.begun().await;
    println!("begun");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    let lasted = began.elapsed();
    stage.end();
    let tally = abuse.await?;
    println!("{tally}");
    let (came, wanted) = (tally.get("connections") as f64 / lasted.as_secs_f64(), scenario.visits_per_second);
    if came < wanted as f64 {
        return Err(format!("{} came to {came:.0} connections a second of {wanted}", scenario.name).into());
    }
    Ok(())
}

/// The abuser as a process.
struct Abuser {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Abuser {
    fn start(scenario: &Scenario, address: SocketAddr) -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args([ATTACK, scenario.name, &address.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let said = BufReader::new(child.stdout.take().ok_or("stdout is piped")?);
        Ok(Self { child, said })
    }

    /// Ends the abuse; gives what came of it.
    fn end(mut self) -> Outcome<String> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.said.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("the abuser ended with {status}").into());
        }
        Ok(said.lines().last().unwrap_or_default().to_owned())
    }
}

// ---- figures ----

/// What honest clients saw for a while.
#[derive(Clone, Copy, Default)]
struct Seen {
    p50: f64,
    p99: f64,
}

impl Seen {
    fn of(latencies: &[u64]) -> Self {
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or(0) as f64 / 1000.0;
        Self { p50: at(50), p99: at(99) }
    }
}

/// What one round gives.
#[derive(Clone, Default)]
struct Round {
    before: Seen,
    beside: Seen,
    during: Seen,
    after: Seen,
    server_cpu: f64,
    abuser_cpu: f64,
    memory: [u64; 3],
    files: [u64; 3],
    threads: [u64; 2],
    tally: String,
}

async fn measure(scenario: &Scenario, rounds: usize) -> Outcome<String> {
    let binary = binary()?;
    let server = Process::start(&binary, scenario.credentials, false);
    let other = Process::start(&binary, scenario.credentials, false);
    let mut honest = Honest::open(server.address, scenario.credentials, scenario.record_bytes).await;
    // Connections, files and memory that every server comes to have.
    honest.work(&Work::Records(1000)).await;
    let mut all = Vec::new();
    for _ in 0..rounds {
        all.push(round(scenario, &server, &other, &mut honest).await?);
        honest.check().await;
    }
    Ok(row(scenario, &all))
}

async fn round(scenario: &Scenario, server: &Process, other: &Process, honest: &mut Honest) -> Outcome<Round> {
    let mut round = Round { before: calm(honest).await, ..Round::default() };
    let (files, other_files) = (server.usage(), other.usage().open_files);
    let abuser = Abuser::start(scenario, other.address)?;
    (round.beside, ..) = storm(honest, abuser).await?;
    other.open_files_are_back_at(other_files).await;

    server.forget_peak();
    let watch = server.watch_open_files();
    let (began, server_cpu) = (Instant::now(), cpu_of(server.id()));
    let abuser = Abuser::start(scenario, server.address)?;
    (round.during, round.abuser_cpu, round.tally) = storm(honest, abuser).await?;
    round.server_cpu = (cpu_of(server.id()) - server_cpu) / began.elapsed().as_secs_f64();
    let peak_files = watch.end();
    server.open_files_are_back_at(files.open_files).await;
    round.after = calm(honest).await;
    let after = server.usage();
    round.memory = [files.resident_bytes, after.peak_bytes, after.resident_bytes];
    round.files = [files.open_files, peak_files, after.open_files];
    round.threads = [files.threads, after.threads];
    Ok(round)
}

async fn calm(honest: &mut Honest) -> Seen {
    Seen::of(&honest.work(&Work::Lasting(WINDOW)).await)
}

/// Honest work from the beginning of an abuse until it has been in full swing for a while; then its CPU and its end.
async fn storm(honest: &mut Honest, mut abuser: Abuser) -> Outcome<(Seen, f64, String)> {
    let (work, is_over) = Work::until_told();
    let (began, id) = (Instant::now(), abuser.child.id());
    let swing = tokio::task::spawn_blocking(move || {
        let begun = abuser.said.read_line(&mut String::new());
        std::thread::sleep(WINDOW);
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        let cpu = cpu_of(id) / began.elapsed().as_secs_f64();
        begun?;
        Ok::<_, std::io::Error>((abuser, cpu))
    });
    let seen = Seen::of(&honest.work(&work).await);
    let (abuser, cpu) = tokio::time::timeout(PATIENCE, swing).await???;
    let tally = tokio::task::spawn_blocking(|| abuser.end()).await??;
    Ok((seen, cpu, tally))
}

fn row(scenario: &Scenario, rounds: &[Round]) -> String {
    let median = |of: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let most = |of: &dyn Fn(&Round) -> u64| rounds.iter().map(of).max().unwrap_or(0);
    let all = |of: &dyn Fn(&Seen) -> f64| {
        let (before, beside) = (median(&|round| of(&round.before)), median(&|round| of(&round.beside)));
        let (during, after) = (median(&|round| of(&round.during)), median(&|round| of(&round.after)));
        format!("{before:.2} / {beside:.2} / {during:.2} / {after:.2}")
    };
    let (p50, p99) = (all(&|seen| seen.p50), all(&|seen| seen.p99));
    let worse = median(&|round| round.during.p99 / round.before.p99);
    let than_beside = median(&|round| round.during.p99 / round.beside.p99);
    let (server, abusers) = (median(&|round| round.server_cpu), median(&|round| round.abuser_cpu));
    let megabytes = |at: usize| most(&|round| round.memory[at]) / 1_000_000;
    let memory = format!("{} / {} / {}", megabytes(0), megabytes(1), megabytes(2));
    let files = |at: usize| most(&|round| round.files[at]);
    let files = format!("{} / {} / {}", files(0), files(1), files(2));
    let threads = format!("{} / {}", most(&|round| round.threads[0]), most(&|round| round.threads[1]));
    let tally = rounds.last().map_or("", |round| &round.tally);
    format!(
        "| {} | {p50} | {p99} | {worse:.1} | {than_beside:.1} | {server:.2} / {abusers:.2} | {memory} | {files} | {threads} | {tally} |",
        scenario.name
    )
}

/// The server's program, which stands beside the directory of the examples.
fn binary() -> Outcome<PathBuf> {
    let examples = env::current_exe()?;
    let binary = examples.parent().and_then(|examples| examples.parent()).ok_or("no directory above")?;
    Ok(binary.join("connectify"))
}
