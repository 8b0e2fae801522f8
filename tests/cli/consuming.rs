//! `consume`, `size` and `dequeue`: lines out.

use std::{io::Read, process::Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Server, connectify, eventually, wait};

/// A server with a topic `logs` of the records `0` to `9`.
fn server_with_ten() -> Server {
    let server = Server::ephemeral();
    server.run_with("produce logs --create", b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n").ok();
    server
}

#[test]
fn it_begins_and_stops_where_it_is_told() {
    let server = server_with_ten();
    for (options, expected) in [
        ("", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"),
        (" --from start --count 2", "0\n1\n"),
        (" --from 7", "7\n8\n9\n"),
        (" --from 3 --count 1", "3\n"),
        (" --from 10", ""),
        (" --from end", ""),
        (" --from @0 --count 1", "0\n"),
        (" --from 2000-01-01T00:00:00Z --count 1", "0\n"),
        (" --from 2999-01-01T00:00:00Z", ""),
    ] {
        assert_eq!(server.run(&format!("consume logs{options}")).text(), expected, "{options}");
    }
    server.run("consume logs --from 11").failed(2);
    server.run("consume no-such-topic").failed(2);
}

#[test]
fn json_has_all_of_a_record() {
    let server = Server::ephemeral();
    server.run_with("produce logs --create", b"text \"quoted\"\n\xff\xfe\n").ok();
    let lines = server.run("consume logs --json").text();
    let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records[0]["offset"], 0);
    assert_eq!(records[0]["value"], "text \"quoted\"");
    assert_eq!(records[0]["key"], Value::Null);
    assert_eq!(records[0]["headers"], json!([]));
    for time in ["append_time", "timestamp"] {
        let text = records[0][time].as_str().expect("a string");
        assert!(text.starts_with("20") && text.ends_with('Z'), "{text}");
    }
    assert_eq!(records[1]["value"], json!({ "base64": "//4=" }));
}

#[test]
fn a_consumer_goes_on_where_it_stopped() {
    let server = server_with_ten();
    server.run("size logs --consumer reader").failed(1);
    assert_eq!(server.run("consume logs --consumer reader --count 3").text(), "0\n1\n2\n");
    assert_eq!(server.run("size logs --consumer reader").text(), "7\n");
    assert_eq!(server.run("consume logs --consumer reader").text(), "3\n4\n5\n6\n7\n8\n9\n");
    assert_eq!(server.run("consume logs --consumer reader").text(), "");
    let size = server.run("size logs --consumer reader --json").json();
    assert_eq!(
        size,
        json!({ "topic": "logs", "consumer": "reader", "backlog": 0, "cursor": 10, "head": 0, "tail": 10 })
    );
    assert_eq!(server.run("consume logs --consumer late --from 8").text(), "8\n9\n");
}

#[test]
fn asking_for_the_size_makes_no_consumer() {
    let server = server_with_ten();
    let said = server.run("size logs --consumer nobody").failed(1);
    assert!(said.contains("nobody"), "{said}");
    server.run("size no-such-topic --consumer nobody").failed(1);
    assert_eq!(server.run("topic describe logs --json").json()["consumers"], json!([]));
}

#[test]
fn reading_without_a_consumer_leaves_none_behind() {
    let server = server_with_ten();
    server.run("consume logs").ok();
    assert_eq!(server.run("topic describe logs --json").json()["consumers"], json!([]));
}

#[test]
fn who_follows_sees_each_record_at_once_and_ctrl_c_commits_what_was_written() {
    let server = Server::ephemeral();
    server.run_with("produce logs --create", b"first\n").ok();
    let following = server.start_command("consume logs --follow --consumer reader");
    assert_eq!(following.line(), "first\n");
    server.run_with("produce logs", b"second\n").ok();
    assert_eq!(following.line(), "second\n");
    following.signal(Signal::INT);
    assert_eq!(following.end().ok(), b"");
    assert_eq!(server.run("size logs --consumer reader").text(), "0\n");
}

#[test]
fn a_cursor_moves_while_it_follows() {
    let server = server_with_ten();
    let following = server.start_command("consume logs --follow --consumer reader");
    eventually("the cursor is at the tail", || server.run("size logs --consumer reader").stdout == b"0\n");
    following.signal(Signal::TERM);
    following.end().ok();
}

#[test]
fn a_closed_pipe_is_success() {
    let server = Server::ephemeral();
    server.run_with("produce logs --create", &b"a line that is read by nobody\n".repeat(100_000)).ok();
    for format in ["consume logs", "consume logs --json", "consume logs --follow --consumer reader"] {
        let mut command = server.command(format);
        let mut child = command.stdin(Stdio::null()).spawn().expect("the binary starts");
        let mut stdout = child.stdout.take().expect("piped");
        stdout.read_exact(&mut [0; 10]).expect("there is more than that");
        drop(stdout);
        assert_eq!(wait(child).code(), Some(0), "{format}");
    }
    let backlog = server.run("size logs --consumer reader").text();
    assert_ne!(backlog, "0\n", "what nobody read is not behind the cursor");
}

#[test]
fn dequeue_takes_each_record_once() {
    let server = Server::ephemeral();
    server.run_with("produce logs --create", b"a\nb\r\nc\n").ok();
    assert_eq!(server.run("dequeue logs --consumer worker").text(), "a\n");
    assert_eq!(server.run("size logs --consumer worker").text(), "2\n");
    let rest = server.run("dequeue logs --consumer worker --count 10 --json").text();
    let values: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(values.iter().map(|record| &record["value"]).collect::<Vec<_>>(), ["b\r", "c"]);
    let said = server.run("dequeue logs --consumer worker").failed(1);
    assert!(said.contains("nothing to dequeue"), "{said}");
    server.run("dequeue no-such-topic --consumer worker").failed(1);
}

#[test]
fn dequeue_waits_for_the_first_record_when_told_to() {
    let server = Server::ephemeral();
    server.run("topic create logs").ok();
    let waiting = server.start_command("dequeue logs --consumer worker --wait 10m");
    eventually("the consumer is there", || server.run("size logs --consumer worker").code == Some(0));
    server.run_with("produce logs", b"late\n").ok();
    assert_eq!(waiting.end().ok(), b"late\n");
}

#[test]
fn the_server_can_be_named_in_the_arguments() {
    let server = server_with_ten();
    let ended = crate::support::run(&["consume", "logs", "--count", "1", "--server", &server.address]);
    assert_eq!(ended.text(), "0\n");
    // The arguments win over the environment.
    let mut command = connectify(&["consume", "logs", "--count", "1", "--server", &server.address]);
    command.env("CONNECTIFY_SERVER", "127.0.0.1:1");
    assert_eq!(crate::support::Running::start(command).end().text(), "0\n");
}
