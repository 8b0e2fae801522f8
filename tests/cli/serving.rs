//! `serve`: starting, stopping, and who may come in.

use std::{fs, net::TcpListener};

use rustix::process::Signal;

use crate::support::{Server, connectify, run};

#[test]
fn it_says_where_it_listens_and_where_its_data_is() {
    let server = Server::ephemeral();
    assert_eq!(server.greeting, format!("listening on {}, data in memory\n", server.address));
    assert!(!server.address.ends_with(":0"), "the real port is told");
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("not-there-yet");
    let server = Server::on(&data);
    assert!(server.greeting.ends_with(&format!(", data in {}\n", data.display())), "{}", server.greeting);
}

#[test]
fn what_was_acknowledged_is_there_after_a_stop() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::on(directory.path());
    server.run_with("produce logs --create", b"one\ntwo\n").ok();
    server.run("consume logs --consumer reader --count 1").ok();
    server.stop().ok();
    let server = Server::on(directory.path());
    assert_eq!(server.run("consume logs").text(), "one\ntwo\n");
    assert_eq!(server.run("size logs --consumer reader").text(), "1\n");
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::on(directory.path());
    server.run_with("produce logs --create", b"one\ntwo\n").ok();
    drop(server);
    assert_eq!(Server::on(directory.path()).run("consume logs").text(), "one\ntwo\n");
}

#[test]
fn both_signals_stop_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut command = connectify(&["serve", "--listen", "127.0.0.1:0", "--ephemeral"]);
        command.env("CONNECTIFY_LOG", "off");
        let running = crate::support::Running::start(command);
        running.line();
        running.signal(signal);
        let ended = running.end();
        assert_eq!(ended.stderr, "");
        assert_eq!(ended.ok(), b"");
    }
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::on(directory.path());
    let data = directory.path().to_str().expect("a plain path");
    let said = run(&["serve", "--listen", "127.0.0.1:0", "--data", data]).failed(2);
    assert!(said.contains(data), "{said}");
    server.run("ping").ok();
}

#[test]
fn an_address_that_is_taken_leaves_the_data_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let said = run(&["serve", "--listen", &address, "--data", data.to_str().expect("a plain path")]).failed(2);
    assert!(said.contains(&address), "{said}");
    assert!(!data.exists());
}

#[test]
fn only_who_has_the_credentials_comes_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let [right, wrong, empty] = ["right", "wrong", "empty"].map(|name| directory.path().join(name));
    fs::write(&right, "s3cret\n").expect("written");
    fs::write(&wrong, "secret\n").expect("written");
    fs::write(&empty, "\n").expect("written");
    let path = |file: &std::path::Path| file.to_str().expect("a plain path").to_owned();

    let server = Server::start(&["--ephemeral", "--credentials-file", &path(&right)]);
    server.run("ping").failed(2);
    server.run(&format!("ping --credentials-file {}", path(&wrong))).failed(2);
    server.run(&format!("ping --credentials-file {}", path(&empty))).failed(2);
    server.run(&format!("ping --credentials-file {}", path(&right))).ok();
    let mut command = server.command("ping");
    command.env("CONNECTIFY_CREDENTIALS_FILE", &right);
    crate::support::Running::start(command).end().ok();
}

#[test]
fn a_log_filter_that_makes_no_sense_is_refused() {
    let mut command = connectify(&["serve", "--ephemeral", "--listen", "127.0.0.1:0"]);
    command.env("CONNECTIFY_LOG", "connectify=loud");
    let said = crate::support::Running::start(command).end().failed(2);
    assert!(said.contains("CONNECTIFY_LOG"), "{said}");
}
