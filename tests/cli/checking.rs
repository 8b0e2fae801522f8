//! `check`: a data directory as it should be, one that is damaged, and a server on what was saved of it.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::support::{Ended, Server, run};

/// Lines of one run of `produce`, which makes one batch of them, or a few.
const LINES: u64 = 50;

fn check(directory: &Path, rest: &[&str]) -> Ended {
    let directory = directory.to_str().expect("a plain path");
    run(&[&["check", directory], rest].concat())
}

fn line(run: u64, number: u64) -> String {
    format!("run-{run}-line-{number}-{}", "x".repeat(200))
}

fn lines(run: u64) -> String {
    (0..LINES).map(|number| line(run, number) + "\n").collect()
}

/// Lines of so many runs in one topic, a consumer behind the first run, and many segments.
fn serve_and_produce(directory: &Path, runs: u64) -> Server {
    let directory = directory.to_str().expect("a plain path");
    let server = Server::start(&["--data", directory, "--segment-bytes", "64KiB"]);
    for run in 0..runs {
        server.run_with("produce logs --create --name job", lines(run).as_bytes()).ok();
    }
    server.run(&format!("consume logs --consumer reader --count {LINES}")).ok();
    server
}

fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    files.map(|file| (file.clone(), fs::read(file).expect("readable"))).collect()
}

/// Flips a bit of the first place where a file holds these bytes.
fn damage(directory: &Path, bytes: &[u8]) -> String {
    for (path, mut content) in contents(directory) {
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            content[at] ^= 1;
            fs::write(&path, content).expect("writable");
            return path.file_name().expect("a file").to_str().expect("a plain name").to_owned();
        }
    }
    panic!("no file holds it");
}

#[test]
fn what_a_stop_or_a_kill_leaves_is_intact() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = serve_and_produce(directory.path(), 20);
    let said = check(directory.path(), &[]).failed(2);
    assert!(said.contains("in use"), "{said}");
    drop(server);
    let before = contents(directory.path());
    let checked = check(directory.path(), &["--json"]).json();
    assert_eq!(contents(directory.path()), before, "it was only looked at");
    assert_eq!((&checked["intact"], &checked["records"], &checked["topics"]), (&true.into(), &1000.into(), &1.into()));
    assert_eq!((&checked["producers"], &checked["consumers"]), (&1.into(), &1.into()));
    assert!(checked["segments"].as_u64() > Some(3), "{checked}");
    Server::on(directory.path()).stop().ok();
    let text = check(directory.path(), &[]).text();
    assert!(text.starts_with("CHECKED\n") && text.ends_with("intact     yes\n"), "{text}");
}

#[test]
fn what_is_no_data_directory_is_2() {
    let directory = tempfile::tempdir().expect("a directory");
    let said = check(directory.path(), &[]).failed(2);
    assert!(said.contains("holds no data"), "{said}");
    check(&directory.path().join("missing"), &[]).failed(2);
    fs::write(directory.path().join("notes"), "mine").expect("writable");
    let data = tempfile::tempdir().expect("a directory");
    serve_and_produce(data.path(), 1).stop().ok();
    let said = check(data.path(), &["--salvage", directory.path().to_str().expect("a plain path")]).failed(2);
    assert!(said.contains("is not empty"), "{said}");
    assert_eq!(contents(directory.path()).len(), 1);
    let inside = data.path().join("saved");
    let said = check(data.path(), &["--salvage", inside.to_str().expect("a plain path")]).failed(2);
    assert!(said.contains("one is in the other") && !inside.exists(), "{said}");
}

/// Nothing in the only file can be read: nothing is saved, and nobody takes what was begun for the data.
#[test]
fn a_salvage_that_did_not_finish_leaves_a_directory_that_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, saved) = (directory.path().join("data"), directory.path().join("saved"));
    fs::create_dir(&data).expect("writable");
    fs::write(data.join("0000000001-0.redb"), [7; 8192]).expect("writable");
    let saved_name = saved.to_str().expect("a plain path");
    let said = check(&data, &["--salvage", saved_name]).failed(2);
    assert!(said.contains("saved is not complete: remove it before salvaging again"), "{said}");
    let before = contents(&saved);
    let refused = [check(&saved, &[]), run(&["serve", "--listen", "127.0.0.1:0", "--data", saved_name])];
    for ended in refused {
        let said = ended.failed(2);
        assert!(said.contains("did not finish: remove the directory, and salvage again"), "{said}");
    }
    let said = check(&data, &["--salvage", saved_name]).failed(2);
    assert!(said.contains("is not empty"), "{said}");
    assert_eq!(contents(&saved), before);
}

/// The offsets that are lost, which are some of one run, and hold this one.
fn lost(checked: &serde_json::Value, offset: u64) -> Range<u64> {
    let [lost] = &checked["lost"].as_array().expect("a list")[..] else { panic!("{checked}") };
    assert_eq!((&lost["topic"], &lost["exact"]), (&"logs".into(), &true.into()), "{checked}");
    let number = |name: &str| lost[name].as_u64().expect("a number");
    let (lost, run) = (number("from")..number("to"), offset / LINES * LINES);
    assert!(lost.contains(&offset) && run <= lost.start && lost.end <= run + LINES, "{checked}");
    lost
}

/// What is there of so many runs.
fn lines_without(lost: &Range<u64>, runs: u64) -> String {
    let offsets = (0..runs * LINES).filter(|offset| !lost.contains(offset));
    offsets.map(|offset| line(offset / LINES, offset % LINES) + "\n").collect()
}

#[test]
fn a_damaged_batch_is_named_and_all_others_are_saved() {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, saved) = (directory.path().join("data"), directory.path().join("saved"));
    serve_and_produce(&data, 20).stop().ok();
    let file = damage(&data, line(7, 3).as_bytes());
    let before = contents(&data);
    let ended = check(&data, &["--json"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let lost = lost(&serde_json::from_slice(&ended.stdout).expect("JSON"), 7 * LINES + 3);
    let (from, to) = (lost.start, lost.end);

    let ended = check(&data, &["--salvage", saved.to_str().expect("a plain path")]);
    let text = String::from_utf8(ended.stdout.clone()).expect("text");
    let said = ended.failed(1);
    assert!(said.contains("what is intact is in"), "{said}");
    assert!(text.contains(&format!("\ndamaged: {file}, journal position ")), "{text}");
    assert!(text.contains(&format!("topic logs, batch at offset {from}: ")), "{text}");
    assert!(text.contains(&format!("\nlost: topic logs, offsets {from}..{to}\n")), "{text}");
    assert!(contents(&data) == before, "it was only looked at");

    let server = Server::on(&saved);
    let read = server.run("consume logs");
    assert!(read.stderr.contains(&format!("offsets {from}..{to} no longer exist")), "{}", read.stderr);
    assert!(read.text() == lines_without(&lost, 20), "all other lines, in order");
    assert_eq!(server.run("consume logs --from 400 --count 1").text(), line(8, 0) + "\n");
    let next = server.run("dequeue logs --consumer reader --count 1");
    assert_eq!(next.text(), line(1, 0) + "\n", "the cursor is where it was");
    // A dequeue passes the gap, too, and says so; a time leads to what is behind it.
    server.run(&format!("consume logs --consumer at-the-gap --from {} --count 1", from - 1)).ok();
    let dequeued = server.run("dequeue logs --consumer at-the-gap --count 1");
    assert!(dequeued.stderr.contains(&format!("offsets {from}..{to} no longer exist")), "{}", dequeued.stderr);
    let behind = dequeued.text();
    assert_eq!(behind, line(to / LINES, to % LINES) + "\n");
    let record = server.run(&format!("consume logs --from {to} --count 1 --json")).json();
    let time = record["append_time"].as_str().expect("a time");
    let from_time = server.run(&format!("consume logs --from {time} --count 1"));
    assert_eq!(from_time.text(), behind);
    server.run_with("produce logs --name job", b"one more\n").ok();
    assert_eq!(server.run("consume logs --from 1000").text(), "one more\n");
    server.stop().ok();
    let text = check(&saved, &[]).text();
    assert!(text.contains(&format!("\ngiven up earlier: topic logs, offsets {from}..{to}")), "{text}");
}

/// One flipped bit in a live page of a segment that was not closed: "All roots are corrupted", and no server starts.
#[test]
fn a_newest_segment_that_keeps_a_server_from_starting_is_saved_but_for_what_is_damaged() {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, saved) = (directory.path().join("data"), directory.path().join("saved"));
    drop(serve_and_produce(&data, 3));
    damage(&data, line(1, 9).as_bytes());
    let said = run(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().expect("a plain path")]).failed(2);
    assert!(said.contains("corrupted"), "{said}");
    let ended = check(&data, &["--json", "--salvage", saved.to_str().expect("a plain path")]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let lost = lost(&serde_json::from_slice(&ended.stdout).expect("JSON"), LINES + 9);
    let server = Server::on(&saved);
    assert!(server.run("consume logs").text() == lines_without(&lost, 3));
    assert_eq!(server.run("size logs --consumer reader").text(), "100\n");
}
