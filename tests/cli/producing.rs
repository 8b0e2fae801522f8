//! `produce`: lines in.

use std::{fs, io::Write};

use rustix::process::Signal;

use crate::support::{Server, eventually};

#[test]
fn bytes_in_are_bytes_out() {
    let server = Server::ephemeral();
    let binary: Vec<u8> = (0..=255).filter(|&byte| byte != b'\n').collect();
    for (number, (input, ending)) in [
        (&b"plain\nlines\n"[..], ""),
        (b"windows\r\nlines\r\n\r\n", ""),
        (b"\n\n\nempty ones\n\n", ""),
        (b"no end", "\n"),
        (b"two\r\nno end\r", "\n"),
        (b" \t leading and trailing \t \n", ""),
        (b"\xff\xfe\x00not UTF-8\x80\n\x00\n", ""),
        (&binary, "\n"),
    ]
    .into_iter()
    .enumerate()
    {
        server.run_with(&format!("produce topic-{number} --create"), input).ok();
        let found = server.run(&format!("consume topic-{number}")).ok();
        assert_eq!(found, [input, ending.as_bytes()].concat(), "input {number}");
    }
}

#[test]
fn no_input_is_no_records() {
    let server = Server::ephemeral();
    server.run_with("produce logs --create", b"").ok();
    assert_eq!(server.records("logs"), 0);
    assert_eq!(server.run("consume logs").ok(), b"");
}

#[test]
fn a_large_file_arrives_whole_with_and_without_compression() {
    let server = Server::ephemeral();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("log");
    let text: String = (0..200_000).map(|line| format!("line {line}: {}\n", "x".repeat(line % 97))).collect();
    fs::write(&file, &text).expect("written");
    for method in ["none", "lz4", "zstd"] {
        let mut command = server.command(&format!("produce large-{method} --create --compression {method} --file"));
        command.arg(&file);
        crate::support::Running::start(command).feed(b"").end().ok();
        assert!(
            server.run(&format!("consume large-{method}")).ok() == text.as_bytes(),
            "{method}: other bytes came out"
        );
    }
}

#[test]
fn a_line_over_the_limit_fails_and_the_lines_before_it_are_durable() {
    let server = Server::ephemeral();
    let mut input = b"a line\n".repeat(10);
    input.resize(input.len() + (4 << 20) + 1, b'x');
    input.extend(b"\none more\n");
    let said = server.run_with("produce logs --create", &input).failed(2);
    assert!(said.contains("10 of 11 lines are durable; the others are not"), "{said}");
    assert!(said.contains("line 11") && said.contains("limit of 4194304"), "{said}");
    assert_eq!(server.run("consume logs").ok(), b"a line\n".repeat(10));
}

#[test]
fn a_line_that_fits_no_record_for_its_overhead_alone_is_named_too() {
    let server = Server::ephemeral();
    let mut input = b"a line\n".to_vec();
    input.resize(input.len() + (4 << 20) - 2, b'x');
    let said = server.run_with("produce logs --create", &input).failed(2);
    assert!(said.contains("1 of 2 lines are durable; the others are not"), "{said}");
    assert!(said.contains("line 2") && said.contains("limit of 4194304"), "{said}");
}

#[test]
fn a_topic_that_does_not_exist_is_made_only_when_asked_for() {
    let server = Server::ephemeral();
    server.run_with("produce logs", b"a\n").failed(2);
    server.run("topic describe logs").failed(1);
    server.run_with("produce logs --create", b"a\n").ok();
    assert_eq!(server.records("logs"), 1);
}

#[test]
fn the_same_command_run_again_with_resume_stores_each_line_once() {
    let server = Server::ephemeral();
    let command = "produce logs --create --name job-7 --resume";
    server.run_with(command, b"1\n2\n3\n").ok();
    server.run_with(command, b"1\n2\n3\n4\n5\n").ok();
    assert_eq!(server.run("consume logs").ok(), b"1\n2\n3\n4\n5\n");
}

#[test]
fn a_run_that_was_killed_is_resumed_where_it_got_to() {
    let server = Server::ephemeral();
    let command = "produce logs --create --name job-7 --resume";
    let mut killed = server.start_command(command);
    let mut stdin = killed.stdin();
    stdin.write_all(b"1\n2\n").expect("it reads");
    eventually("both lines are stored", || server.run("consume logs").stdout == b"1\n2\n");
    drop(killed);
    server.run_with(command, b"1\n2\n3\n4").ok();
    assert_eq!(server.run("consume logs").ok(), b"1\n2\n3\n4\n");
}

#[test]
fn lines_are_durable_while_the_input_is_still_open_and_ctrl_c_reports_them() {
    let server = Server::ephemeral();
    let mut producing = server.start_command("produce logs --create");
    let mut stdin = producing.stdin();
    stdin.write_all(b"one\ntwo\nbegun").expect("it reads");
    eventually("both lines are stored", || server.run("consume logs").stdout == b"one\ntwo\n");
    producing.signal(Signal::INT);
    let said = producing.end().failed(2);
    assert!(said.contains("2 of 2 lines are durable\n"), "{said}");
}

#[test]
fn a_server_that_is_killed_on_the_way_costs_no_line_and_doubles_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::on(directory.path());
    let mut producing = server.start_command("produce logs --create");
    let mut stdin = producing.stdin();
    let lines = |from: usize, to: usize| (from..to).map(|line| format!("line {line}\n")).collect::<String>();
    stdin.write_all(lines(0, 50_000).as_bytes()).expect("it reads");
    eventually("some lines are stored", || server.run("consume logs --count 1").stdout == b"line 0\n");
    let server = server.killed_and_started_again();
    stdin.write_all(lines(50_000, 100_000).as_bytes()).expect("it reads");
    drop(stdin);
    let ended = producing.end();
    assert!(ended.stderr.contains("is lost, trying again"), "{}", ended.stderr);
    ended.ok();
    assert!(server.run("consume logs").ok() == lines(0, 100_000).as_bytes(), "other lines came out");
}

#[test]
fn every_record_gets_the_key() {
    let server = Server::ephemeral();
    server.run_with("produce logs --create --key host-7", b"a\nb\n").ok();
    let found = server.run("consume logs --json").text();
    assert_eq!(found.matches(r#""key":"host-7""#).count(), 2, "{found}");
}
