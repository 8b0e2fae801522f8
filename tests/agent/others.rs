//! Sources that are not files: sockets, the journal, pipes.

use std::{
    fs,
    io::Write,
    net::{TcpStream, UdpSocket},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    process::{Command, Stdio},
};

use crate::support::World;

/// A port that nobody has.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port()
}

/// A world whose agent has one source that is not a file.
async fn world_with(source: &str) -> World {
    let mut world = World::new().await;
    world.source = Some(source.to_owned());
    world.start_agent();
    world
}

#[tokio::test]
async fn messages_of_syslog_arrive_over_every_kind_of_socket() {
    let port = free_port();
    let mut world =
        world_with(&format!("[[source.syslog]]\nname = \"s\"\ntopic = \"app\"\nlisten = \"tcp://127.0.0.1:{port}\"\n"))
            .await;
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    stream.write_all(b"<34>one\n9 <34>t\nwo!<34>three\n").expect("sent");
    assert_eq!(world.lines(3).await, ["<34>one", "<34>t\nwo!", "<34>three"]);
    world.restart_server().await;
    stream.write_all(b"<34>four\n").expect("sent");
    assert_eq!(world.lines(4).await[3], "<34>four");

    let mut world =
        world_with(&format!("[[source.syslog]]\nname = \"s\"\ntopic = \"app\"\nlisten = \"udp://127.0.0.1:{port}\"\n"))
            .await;
    world.until_ready().await;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.send_to(b"<34>datagram\n", ("127.0.0.1", port)).expect("sent");
    assert_eq!(world.lines(1).await, ["<34>datagram"]);
    assert_eq!(world.drained().await.len(), 1);

    let path = world.log("socket");
    world.source =
        Some(format!("[[source.syslog]]\nname = \"s\"\ntopic = \"app\"\nlisten = \"unix:{}\"\n", path.display()));
    world.start_agent();
    world.until_ready().await;
    UnixDatagram::unbound().expect("a socket").send_to(b"<34>local", &path).expect("sent");
    assert_eq!(world.lines(2).await, ["<34>datagram", "<34>local"]);
}

#[tokio::test]
async fn the_journal_goes_on_behind_the_cursor_that_was_stored_last() {
    let mut world = World::new().await;
    // It prints the entries behind the cursor that it is given, and then waits, as the real one does.
    let program = world.log("journalctl");
    let script = "#!/bin/sh\nfrom=0\nfor a in \"$@\"; do case $a in --after-cursor=c*) from=${a#--after-cursor=c};; esac; done\n\
                  n=$from; while [ $n -lt $(cat \"$(dirname $0)/count\") ]; do n=$((n+1)); \
                  printf '__CURSOR=c%d\\n__REALTIME_TIMESTAMP=%d\\nMESSAGE=entry %d\\nPRIORITY=6\\n\\n' $n $n $n; done\nexec sleep 1000\n";
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
    let source = format!(
        "[[source.journald]]\nname = \"j\"\ntopic = \"app\"\ncommand = [{:?}]\n",
        program.display().to_string()
    );
    world.source = Some(source);
    fs::write(world.log("count"), "2500").expect("written");
    world.start_agent();
    let records = world.records(2500).await;
    assert_eq!((&records[0].value[..], records[0].timestamp.map(|time| time.0)), (&b"entry 1"[..], Some(1)));
    assert!(records[0].headers.iter().any(|header| header.name == "PRIORITY"));
    world.stop_agent().await;
    world.lose_state();
    fs::write(world.log("count"), "2600").expect("written");
    world.start_agent();
    let lines = world.lines(2600).await;
    assert_eq!(lines[2599], "entry 2600");
    assert_eq!(world.count().await, 2600);
}

#[tokio::test]
async fn a_pipe_ends_when_all_is_durable_and_with_a_spool_it_does_not_wait_for_the_server() {
    let world = World::new().await;
    let run = |args: &[&str], input: &[u8]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_connectify"));
        command.args(["pipe", "--topic", "app", "--server", &world.address()]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        child.stdin.take().expect("piped").write_all(input).expect("written");
        child
    };
    // The server answers on this thread's runtime: the wait must not block it.
    let end = async |child: std::process::Child| {
        tokio::task::spawn_blocking(move || child.wait_with_output().expect("ends")).await.expect("no panic")
    };
    let output = end(run(&["--tee"], b"one\ntwo\nlast")).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"one\ntwo\nlast");
    assert_eq!(world.lines(3).await, ["one", "two", "last"]);
    let spool = world.log("spool");
    let spool = spool.to_str().expect("text");
    let output = end(run(&["--spool", spool], b"four\nfive\n")).await;
    assert!(output.status.success(), "{output:?}");
    let output = end(run(&["--spool", spool], b"six\n")).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.lines(6).await[3..], ["four", "five", "six"]);
    assert_eq!(world.count().await, 6);
}
