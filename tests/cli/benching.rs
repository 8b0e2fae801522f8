//! `bench`: each workload against a real server, what it says, and what it leaves behind.
//!
//! Runs end after a number of records, not of seconds: nothing here is about how fast the machine is.

use std::{ffi::OsStr, fs, path::Path};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Ended, Running, Server, connectify, eventually, run};

/// The fields that other systems are measured in, too, in their order.
const FIELDS: [&str; 9] =
    ["size=", "clients=", " rec/s ", " MB/s ", "p50=", "p99=", "p99.9=", "server_cpu_us/rec=", "server_peak_rss="];

#[track_caller]
fn number(report: &Value, field: &str) -> f64 {
    report[field].as_f64().unwrap_or_else(|| panic!("{field} is {} in {report}", report[field]))
}

/// Runs `bench` with these words and a directory, and further words behind it.
fn bench(line: &str, dir: &Path, rest: &str) -> Ended {
    let words = |line| str::split(line, ' ').filter(|word| !word.is_empty()).map(OsStr::new);
    let dir = [OsStr::new("--dir"), dir.as_os_str()];
    run(&["bench".as_ref()].into_iter().chain(words(line)).chain(dir).chain(words(rest)).collect::<Vec<_>>())
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).expect("it is there").next().is_none()
}

#[test]
fn append_counts_what_was_acknowledged_and_has_the_fields_of_its_line() {
    let server = Server::ephemeral();
    let printed = server.run("bench append --records 3200 --batch 500 --clients 2 --depth 2 --size 100").text();
    let line = printed.lines().next().expect("a line");
    assert!(line.starts_with("Connectify Append size=100 clients=2 "), "{line}");
    let mut rest = line;
    for field in FIELDS {
        (_, rest) = rest.split_once(field).unwrap_or_else(|| panic!("no {field} in its place: {line}"));
    }
    assert!(printed.contains("  3200 records in "), "{printed}");
    assert!(printed.contains("floor: none, since the server keeps records in memory"), "{printed}");
    assert_eq!(server.records("bench"), 3_200);
}

#[test]
fn append_goes_on_until_so_many_bytes_are_stored_record_by_record() {
    let server = Server::ephemeral();
    let report = server.run("bench append --enqueue --bytes 100KiB --size 1KiB --batch 30 --topic t --json").json();
    assert_eq!(number(&report, "records"), 100.0);
    assert_eq!(report["workload"], "append");
    assert_eq!(server.records("t"), 100);
    assert!(number(&report, "records_per_second") > 0.0);
    let megabytes = number(&report, "records_per_second") * 1_024.0 / 1e6;
    assert!((number(&report, "megabytes_per_second") / megabytes - 1.0).abs() < 1e-6);
}

#[test]
fn a_run_that_is_limited_by_time_counts_for_exactly_that_time() {
    let server = Server::ephemeral();
    let report = server.run("bench latency --duration 50ms --warmup 10ms --size 10 --json -").json();
    assert_eq!((number(&report, "seconds"), number(&report, "warmup_seconds")), (0.05, 0.01));
    assert!(number(&report, "records") <= server.records("bench") as f64);
}

#[test]
fn latency_goes_round_among_topics_and_tells_percentiles() {
    let server = Server::ephemeral();
    let report = server.run("bench latency --clients 3 --topics 2 --records 13 --size 10 --json").json();
    assert_eq!(number(&report, "records"), 13.0);
    assert_eq!(server.records("bench-0") + server.records("bench-1"), 13);
    assert!(server.records("bench-1") > 0);
    let latency = &report["latency"];
    assert!(number(latency, "p50_us") > 0.0);
    assert!(number(latency, "max_us") >= number(latency, "p99_9_us"));
    assert_eq!(report["rate_per_second"], Value::Null);
    assert_eq!(report["generator_late"], Value::Null);
}

#[test]
fn latency_at_a_rate_sends_all_that_is_due() {
    let server = Server::ephemeral();
    let report = server.run("bench latency --clients 3 --rate 100000 --records 50 --size 10 --json").json();
    assert_eq!((number(&report, "records"), number(&report, "unfinished")), (50.0, 0.0));
    assert_eq!(number(&report, "rate_per_second"), 100_000.0);
    number(&report["generator_late"], "p99_us");
    assert_eq!(server.records("bench"), 50);
}

#[test]
fn tail_sees_every_record_at_a_consumer_also_behind_older_ones() {
    let server = Server::ephemeral();
    server.run("bench append --records 10 --batch 10").ok();
    let report = server.run("bench tail --rate 100000 --records 200 --size 16 --json").json();
    assert_eq!((number(&report, "records"), number(&report, "unfinished")), (200.0, 0.0));
    assert_eq!(server.records("bench"), 210);
    let said = server.run("bench tail --size 7 --records 1").failed(2);
    assert!(said.contains("--size 7 is less than the 8 bytes of a number"), "{said}");
}

#[test]
fn replay_reads_all_that_a_topic_holds_with_every_reader() {
    let server = Server::ephemeral();
    server.run("bench append --records 700 --batch 100 --size 100").ok();
    let report = server.run("bench replay --clients 2 --json").json();
    assert_eq!((number(&report, "records"), number(&report, "size_bytes")), (1_400.0, 100.0));
    assert_eq!(report["latency"], Value::Null);
    let report = server.run("bench replay --fill 1000B --size 10 --json").json();
    assert_eq!(number(&report, "records"), 800.0);
    let said = server.run("bench replay --topic nobody").failed(1);
    assert!(said.contains("there is no topic nobody"), "{said}");
    server.run("topic create empty").ok();
    let said = server.run("bench replay --topic empty").failed(1);
    assert!(said.contains("there are no records in empty"), "{said}");
}

#[test]
fn the_process_of_a_running_server_is_watched() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::on(directory.path());
    let line = format!("bench append --records 100 --batch 10 --json --pid {}", server.pid());
    let report = server.run(&line).json();
    assert!(number(&report, "server_peak_rss_mib") > 0.0);
    number(&report, "server_cpu_us_per_record");
    assert_eq!(report["no_floor_because"], "no --dir on the server's filesystem was given");
    let said = server.run("bench append --records 1 --pid 4294967295").failed(2);
    assert!(said.contains("cannot tell what process 4294967295 spends"), "{said}");
}

#[test]
fn a_server_of_its_own_is_held_against_its_disk_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let dir = directory.path();
    let append = "append --spawn --records 40 --batch 10 --depth 2 --size 1000 --floor 0";
    let report = bench(append, dir, "--json").json();
    assert_eq!(number(&report, "records"), 40.0);
    let floor = &report["floor"];
    assert_eq!(number(floor, "write_bytes"), 20_000.0, "two batches of ten records");
    assert!(number(floor, "syncs") > 0.0);
    assert!(number(floor, "megabytes_per_second") > 0.0);
    assert_eq!(floor["directory"].as_str(), dir.to_str());
    assert!(number(&report, "server_peak_rss_mib") > 0.0);
    let printed = bench("latency --spawn --records 2 --floor 0", dir, "").text();
    assert!(printed.contains("  floor: 1024 bytes, fdatasync, again: "), "{printed}");
    let printed = bench("replay --spawn --fill 50000B --size 500", dir, "").text();
    assert!(printed.starts_with("Connectify Replay size=500 clients=1 "), "{printed}");
    let report = bench("tail --spawn --records 2 --json", dir, "-- --ephemeral").json();
    assert_eq!(report["no_floor_because"], "the server keeps records in memory");
    assert!(is_empty(dir));
}

#[test]
fn a_server_that_does_not_start_is_told_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let said = bench("append --spawn", directory.path(), "-- --no-such-option").failed(2);
    assert!(said.contains("--no-such-option"), "the server says why: {said}");
    assert!(said.contains("the server that was started has ended"), "{said}");
    assert!(is_empty(directory.path()));
    let said = bench("append --spawn", &directory.path().join("nowhere"), "").failed(2);
    assert!(said.contains("cannot make a directory in"), "{said}");
    assert!(run(&["bench", "append", "--", "--ephemeral"]).failed(2).contains("--spawn"));
}

#[test]
fn a_run_that_is_stopped_kills_its_server_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let dir = directory.path().to_str().expect("plain");
    for signal in [Signal::INT, Signal::TERM] {
        let line = ["bench", "append", "--spawn", "--batch", "1", "--duration", "1h", "--floor", "0", "--dir", dir];
        let running = Running::start(connectify(&line));
        eventually("there is a server, and data", || servers_on(dir) == 1 && !is_empty(directory.path()));
        running.signal(signal);
        let said = running.end().failed(2);
        assert!(said.contains("stopped by a signal"), "{said}");
        assert_eq!(servers_on(dir), 0);
        assert!(is_empty(directory.path()));
    }
}

/// How many processes keep data below a directory.
fn servers_on(directory: &str) -> usize {
    let data = format!("--data\0{directory}/");
    let processes = fs::read_dir("/proc").expect("there is a /proc").flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(&data)).count()
}

#[test]
fn floor_measures_a_disk_and_removes_its_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let report = bench("floor --size 4KiB --duration 0s", directory.path(), "--json").json();
    assert_eq!((report["system"].as_str(), report["workload"].as_str()), (Some("disk"), Some("floor")));
    assert_eq!((number(&report, "records"), number(&report, "size_bytes")), (1.0, 4_096.0));
    assert!(number(&report["latency"], "max_us") > 0.0);
    assert!(is_empty(directory.path()));
}

#[test]
fn results_stand_side_by_side_in_a_table() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::ephemeral();
    let file = |name: &str| directory.path().join(name).to_str().expect("plain").to_owned();
    let (one, two) = (file("one.json"), file("two.json"));
    let printed = server.run(&format!("bench append --records 20 --batch 10 --json {one}")).text();
    assert!(printed.starts_with("Connectify Append "), "the line is there as well: {printed}");
    server.run(&format!("bench tail --rate 1000 --records 3 --json {two}")).ok();

    let table = run(&["bench", "compare", &one, &two]).text();
    assert_eq!(run(&["bench", "--compare", &one, &two]).text(), table);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0][..6], ["RESULT", "WORKLOAD", "SIZE", "CLIENTS", "RATE", "REC/S"]);
    assert_eq!(rows[1][..5], ["one", "append", "1024", "1", "-"]);
    assert_eq!(rows[2][..5], ["two", "tail", "1024", "1", "1000"]);
    assert_eq!(rows[1].last(), Some(&"1.00"));
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{table}");

    let both = file("both.json");
    fs::write(&both, [fs::read(&one).expect("written"), fs::read(&two).expect("written")].concat()).expect("room");
    let table = run(&["bench", "compare", &both]).text();
    assert!(table.contains("\nboth#1 ") && table.contains("\nboth#2 "), "{table}");
}

#[test]
fn what_is_no_result_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("no.json");
    let file = path.to_str().expect("plain");
    let said = run(&["bench", "compare", file]).failed(2);
    assert!(said.contains("cannot read"), "{said}");
    for text in ["{}", "records", "{\"records\": 3}"] {
        fs::write(&path, text).expect("room");
        let said = run(&["bench", "--compare", file]).failed(2);
        assert!(said.contains("no.json is not a result of connectify bench"), "{text}: {said}");
    }
    fs::write(&path, "").expect("room");
    let said = run(&["bench", "--compare", file]).failed(2);
    assert!(said.contains("holds no result"), "{said}");
}

#[test]
fn a_server_that_is_not_there_is_a_failure() {
    // Nobody listens on this port. The other spelling is that of measurements of other systems.
    let running = ["append", "latency", "tail", "replay"]
        .map(|workload| Running::start(connectify(&["bench", workload, "--addr", "127.0.0.1:1"])));
    for running in running {
        let said = running.end().failed(2);
        assert!(said.contains("127.0.0.1:1"), "{said}");
    }
}
