//! Abuse of a live server: honest clients go on and all of their work is right, memory stays under its budget, and nothing
//! is left behind when the abusers are gone. Latencies are for `examples/abuse.rs`; nothing here depends on speed.

#![allow(clippy::print_stderr, reason = "what the abusers got, for whoever runs it with --nocapture")]

#[allow(dead_code, unused_imports, reason = "some of it is for the figures of examples/abuse.rs")]
#[path = "abuse/mod.rs"]
mod abuse;

use std::{env, path::Path};

use abuse::{Honest, Process, SCENARIOS, Scenario, Stage, Tally, Work, raise_open_files};

/// What the server takes at most, while it is abused: docs/abuse.md says what it is made of.
const BUDGET_BYTES: u64 = 256 << 20;
/// Records that each honest caller appends during an abuse.
const RECORDS: u64 = 25;
/// Rounds go on until so many in a row have left no more in memory than was seen before them, but for [`STEP_BYTES`]:
/// caches come to an end of their growth, early or late, and what is forgotten in each round does not.
const SETTLED_ROUNDS: usize = 4;
const STEP_BYTES: u64 = 1 << 20;
const MAX_ROUNDS: usize = 40;
/// Threads that read from the disk or check batches come when they are needed, and go after ten idle seconds.
const MORE_THREADS: u64 = 8;
/// Where all of a scenario has to happen, whatever the limit of open files is.
const CI: &str = "CONNECTIFY_CI";

struct Scene {
    scenario: &'static Scenario,
    server: Process,
    honest: Honest,
    peers: usize,
}

impl Scene {
    async fn open(name: &str) -> Self {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("it is in the list");
        let most = raise_open_files();
        let peers = scenario.peers.min(most);
        if peers < scenario.peers {
            assert!(env::var_os(CI).is_none(), "{name}: {} peers need more than {peers} open files", scenario.peers);
            eprintln!("{name}: with {peers} peers instead of {}, the limit of open files", scenario.peers);
        }
        let server = Process::start(Path::new(env!("CARGO_BIN_EXE_connectify")), scenario.credentials, true);
        let mut honest = Honest::open(server.address, scenario.credentials, scenario.record_bytes).await;
        honest.work(&Work::Records(RECORDS)).await;
        honest.check().await;
        Self { scenario, server, honest, peers }
    }

    /// One round: abuse, and honest work while it goes on; then the server is as it was before.
    async fn round(&mut self, is_patient: bool) -> Tally {
        let before = self.server.usage();
        let stage = Stage::new(self.server.address, self.peers, is_patient);
        let abuse = tokio::spawn((self.scenario.run)(stage.clone()));
        stage.begun().await;
        self.honest.work(&Work::Records(RECORDS)).await;
        stage.end();
        let tally = abuse.await.expect("the abusers come to an end");
        self.honest.check().await;
        self.server.open_files_are_back_at(before.open_files).await;
        tally
    }

    /// Abuses the server again and again; gives what came of the first round, in which the abusers wait for it.
    async fn suffer(&mut self) -> Tally {
        let (name, before) = (self.scenario.name, self.server.usage());
        let tally = self.round(true).await;
        let mut settling = Settling::default();
        while !settling.is_over(self.server.usage().resident_bytes) {
            let peak_bytes = self.server.usage().peak_bytes;
            assert!(peak_bytes <= BUDGET_BYTES, "{name}: {peak_bytes} bytes, after rounds: {:?}", settling.seen);
            assert!(settling.seen.len() < MAX_ROUNDS, "{name}: memory still grows: {:?}", settling.seen);
            self.round(false).await;
        }
        let after = self.server.usage();
        eprintln!("{name}: {tally}; before {before:?}, after {after:?}, in between {:?}", settling.seen);
        assert!(after.peak_bytes <= BUDGET_BYTES, "{name}: {after:?}");
        assert!(after.threads <= before.threads + MORE_THREADS, "{name}: {before:?}, then {after:?}");
        tally
    }
}

/// What was in memory after each round, in bytes.
#[derive(Default)]
struct Settling {
    seen: Vec<u64>,
    /// The most before the last rounds, in which it was no more.
    most: u64,
    rounds: usize,
}

impl Settling {
    /// Takes what is in memory after one more round; says whether it has come to rest.
    fn is_over(&mut self, resident_bytes: u64) -> bool {
        self.seen.push(resident_bytes);
        if resident_bytes <= self.most + STEP_BYTES {
            self.rounds += 1;
        } else {
            (self.most, self.rounds) = (resident_bytes, 0);
        }
        self.rounds == SETTLED_ROUNDS
    }
}

/// Lets a scenario happen; gives what the abusers got while they waited for it.
async fn suffered(name: &str) -> Tally {
    Scene::open(name).await.suffer().await
}

/// Checks that each of these came of it, and nothing else.
#[track_caller]
fn assert_only(tally: &Tally, kinds: &[&str]) {
    assert_eq!(tally.kinds(), kinds, "{tally}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_half_open_connections_are_told_that_they_are_too_slow_and_only_those_after_hello_stay() {
    let tally = suffered("half-open").await;
    assert_only(&tally, &["GoAway TooSlow", "open"]);
    assert_eq!(tally.get("GoAway TooSlow"), tally.get("open") * 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_a_byte_a_second_is_told_that_it_is_too_slow() {
    assert_only(&suffered("one-byte-a-second").await, &["GoAway TooSlow"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_without_bodies_are_refused_one_by_one() {
    assert_only(&suffered("empty-frames").await, &["MalformedBody", "UnknownOpcode", "frames", "open"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_that_have_no_answer_get_none() {
    assert_only(&suffered("unanswered-frames").await, &["frames", "open"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_pings_are_answered() {
    assert_only(&suffered("pings").await, &["answers", "frames", "open"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_pings_whose_answers_nobody_takes_are_read_no_more() {
    assert_only(&suffered("pings-unread").await, &["frames", "open"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_hellos_are_refused_one_by_one() {
    assert_only(&suffered("hellos").await, &["HelloRepeated", "frames", "open"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_take_nothing_are_dropped_when_others_wait_for_what_they_hold() {
    let tally = suffered("unread").await;
    assert!(tally.get("dropped") > 0, "{tally}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_another_protocol_is_turned_away() {
    assert_only(&suffered("strangers").await, &["GoAway BadPreface", "GoAway FrameTooLarge"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_and_go_are_all_served_and_leave_nothing_behind() {
    assert_only(&suffered("reconnects").await, &["connections"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_at_every_limit_is_served_up_to_it_and_refused_beyond() {
    let tally = suffered("greedy").await;
    let kinds = ["GoAway FrameTooLarge", "LimitExceeded", "TooManySubscriptions", "answers", "deliveries", "rounds"];
    assert_only(&tally, &kinds);
    let clients = tally.get("GoAway FrameTooLarge");
    assert_eq!(tally.get("TooManySubscriptions"), clients);
    // Too much credit, once; too many parts, too many commits, too long a wait, in each round.
    assert_eq!(tally.get("LimitExceeded"), clients + 3 * tally.get("rounds"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_have_the_credentials_gets_nowhere() {
    let kinds = ["GoAway HelloExpected", "GoAway LimitExceeded", "GoAway Unauthorized"];
    assert_only(&suffered("intruders").await, &kinds);
}

/// Each was decompressed on a thread that serves connections, forty of them before anybody else had a turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decompression_bombs_take_their_turns_and_bounded_memory() {
    assert_only(&suffered("bombs").await, &["answers"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_stop_half_way_are_given_up_when_others_wait_for_their_memory() {
    assert_only(&suffered("half-frames").await, &["GoAway TooSlow"]);
}
