//! Topics, `ping` and `info`, and what the exit status says.

use std::net::TcpListener;

use serde_json::json;

use crate::support::{Server, run};

#[test]
fn a_negative_answer_is_1_and_being_content_with_it_is_0() {
    let server = Server::ephemeral();
    server.run("topic describe logs").failed(1);
    server.run("topic delete logs").failed(1);
    server.run("topic delete logs --if-present").ok();
    server.run("topic create logs").ok();
    let said = server.run("topic create logs").failed(1);
    assert!(said.contains("topic logs exists already"), "{said}");
    server.run("topic create logs --if-absent --retention-age 1d").ok();
    server.run("topic delete logs").ok();
    server.run("topic describe logs").failed(1);
}

#[test]
fn arguments_that_make_no_sense_are_2_and_need_no_server() {
    for line in [
        "frobnicate",
        "topic",
        "topic create",
        "topic create a/b",
        "topic create logs --retention-bytes much",
        "consume logs --from yesterday",
        "consume logs --server",
        "size logs",
        "dequeue logs --consumer c --count 0",
        "serve --ephemeral --data d",
        "produce logs --resume",
    ] {
        let ended = run(&line.split(' ').collect::<Vec<_>>());
        assert!(ended.stdout.is_empty(), "{line}: stdout is data");
        assert!(!ended.failed(2).is_empty(), "{line}: nothing was said");
    }
    assert_eq!(run::<&str>(&[]).code, Some(2));
}

#[test]
fn help_and_version_are_0_and_on_stdout() {
    assert_eq!(run(&["--version"]).text(), concat!("connectify ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = run(&["--help"]).text();
    for command in ["serve", "check", "topic", "produce", "consume", "size", "dequeue", "ping", "info", "Exit status"] {
        assert!(help.contains(command), "{command} is missing:\n{help}");
    }
    let help = run(&["consume", "--help"]).text();
    assert!(help.contains("at least once"), "{help}");
}

#[test]
fn no_server_is_a_failure_that_names_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let said = run(&["ping", "--server", &address]).failed(2);
    assert!(said.contains(&address), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn ping_and_info_answer() {
    let server = Server::ephemeral();
    let answer = server.run("ping").text();
    assert!(answer.starts_with(&server.address) && answer.ends_with(" ms\n"), "{answer}");
    server.run("topic create logs").ok();
    let info = server.run("info --json").json();
    assert_eq!(info["topics"], 1);
    assert_eq!(info["ephemeral"], true);
    assert_eq!(info["accepts_appends"], true);
    assert_eq!(info["server_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["server_id"].as_str().map(str::len), Some(36));
    assert!(server.run("info").text().contains("in memory"));
}

#[test]
fn topics_are_listed_in_order_and_with_all_their_fields() {
    let server = Server::ephemeral();
    assert_eq!(server.run("topic list --json").json(), json!([]));
    server.run("topic create b --retention-bytes 1GiB --retention-age 7d").ok();
    server.run("topic create a").ok();
    server.run_with("produce b", b"one\ntwo\n").ok();
    server.run("consume b --consumer reader --count 1").ok();

    let mut list = server.run("topic list --json").json();
    let created = list[1]["created"].take();
    assert!(created.as_str().is_some_and(|time| time.starts_with("20") && time.ends_with('Z')), "{created}");
    let bytes = list[1]["bytes"].take();
    assert!(bytes.as_u64().is_some_and(|bytes| bytes > 0), "{bytes}");
    assert_eq!(
        list[1],
        json!({
            "name": "b", "head": 0, "tail": 2, "records": 2, "bytes": null,
            "retention_bytes": 1_073_741_824, "retention_age_ms": 604_800_000,
            "created": null, "producers": 1, "consumers": 1,
        })
    );
    assert_eq!(list[0]["name"], "a");
    assert_eq!((&list[0]["retention_bytes"], &list[0]["retention_age_ms"]), (&json!(null), &json!(null)));

    let described = server.run("topic describe b --json").json();
    assert_eq!(described["tail"], 2);
    let consumer = &described["consumers"][0];
    assert_eq!(
        (&consumer["name"], &consumer["cursor"], &consumer["backlog"]),
        (&json!("reader"), &json!(1), &json!(1))
    );
    assert_eq!(consumer["id"].as_str().map(str::len), Some(36));
}

#[test]
fn people_get_tables() {
    let server = Server::ephemeral();
    server.run("topic create logs --retention-age 36h").ok();
    server.run_with("produce logs", b"one\n").ok();
    server.run("consume logs --consumer reader").ok();
    let list = server.run("topic list").text();
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].starts_with("NAME  RECORDS") && lines[1].starts_with("logs        1"), "{list}");
    assert!(list.contains("36h"), "{list}");
    let described = server.run("topic describe logs").text();
    assert!(described.contains("CONSUMER  CURSOR  BACKLOG") && described.contains("reader"), "{described}");
}
