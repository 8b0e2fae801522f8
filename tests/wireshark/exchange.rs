//! A real exchange, of the commands with a server: one that is made now, and one that was captured once.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    recorder::Recorder,
    support::{Running, Server},
    tree::Item,
    tshark::Tshark,
};

/// An exchange for people to open. `CONNECTIFY_CAPTURE=1 cargo test --test wireshark capture`, as root, captures it
/// anew.
const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/exchange.pcap");

const RECORDS: usize = 44;

/// A message with where it was found.
struct Message {
    packet: String,
    stream: String,
    item: Item,
}

impl Message {
    /// What it is, without its numbers: `Fetch answer`.
    fn title(&self) -> &str {
        let summary = self.item.text.strip_prefix("Connectify, ").expect("every message has a summary");
        let title = summary.split(" #").next().unwrap_or(summary);
        if title.starts_with("GoAway") { "GoAway" } else { title }
    }

    fn is_answer(&self) -> bool {
        self.item.shown("connectify.answer") == ["1"]
    }

    fn has(&self, field: &str, value: &str) -> bool {
        self.item.shown(&format!("connectify.{field}")).contains(&value)
    }
}

/// Runs commands, one after the other, each over a connection of its own.
fn play(recorder: &Recorder, mut server: Server) {
    server.address.clone_from(&recorder.address);
    server.run("topic create orders --retention-age 7d").ok();
    server.run("topic create orders").failed(1);
    server.run_with("produce orders --key host-7", b"one\ntwo\nthree\n").ok();
    server.run_with("produce orders --name bulk --compression lz4", lines(3..43).as_bytes()).ok();
    server.run_with("produce orders", lines(43..RECORDS).as_bytes()).ok();
    server.run("consume orders --consumer reader --count 2").ok();
    server.run("dequeue orders --consumer worker --count 1").ok();
    server.run("size orders --consumer reader").ok();
    server.run("topic list").ok();
    server.run("ping").ok();
    server.run("info").ok();
    server.run("topic describe nothing").failed(1);
    // It is still there when the server says goodbye.
    let follower = server.start_command("consume orders --follow");
    for _ in 0..RECORDS {
        follower.line();
    }
    server.stop().ok();
}

/// The records with these offsets, as lines. The last one takes more than one packet.
fn lines(offsets: std::ops::Range<usize>) -> String {
    offsets.map(|offset| format!("{}\n", value(offset))).collect()
}

fn value(offset: usize) -> String {
    match offset {
        0..3 => ["one", "two", "three"][offset].to_owned(),
        43 => (0..600).map(|number| format!("{number} ")).collect(),
        _ => format!("order {offset} of many that look alike"),
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn messages(tshark: &Tshark, capture: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    // Only a second pass knows in which packet the answer is.
    for packet in tshark.packets(capture, &["-2"]) {
        let of_packet = |name| packet.iter().find_map(|item| item.shown(name).first().map(|show| (*show).to_owned()));
        let (number, stream) = (of_packet("frame.number").unwrap(), of_packet("tcp.stream").unwrap());
        let found = packet.into_iter().filter(|item| item.name == "connectify");
        messages.extend(found.map(|item| Message { packet: number.clone(), stream: stream.clone(), item }));
    }
    messages
}

#[test]
fn an_exchange_that_is_made_now_is_shown() {
    let Some(tshark) = Tshark::find() else { return };
    let server = Server::ephemeral();
    let recorder = Recorder::new("127.0.0.1:0", &server.address);
    play(&recorder, server);
    check(&messages(&tshark, recorder.capture().bytes()));
}

#[test]
fn the_exchange_that_is_checked_in_is_shown() {
    let Some(tshark) = Tshark::find() else { return };
    let capture = fs::read(CHECKED_IN).expect("it is checked in");
    assert!(capture.len() < 60_000, "{} bytes are many for a repository", capture.len());
    check(&messages(&tshark, &capture));
}

/// Does nothing unless it is told to: it needs root, tcpdump and the port, and writes the file that is checked in.
#[test]
fn capture_the_exchange_that_is_checked_in() {
    if std::env::var_os("CONNECTIFY_CAPTURE").is_none() {
        return;
    }
    let server = Server::ephemeral();
    // The proxy has the port that a server has unless told otherwise; what it records is not used.
    let recorder = Recorder::new("127.0.0.1:7466", &server.address);
    let mut tcpdump = Command::new("sh");
    let command = "exec tcpdump -i lo --immediate-mode -U -Z root -w \"$0\" tcp port 7466 2>&1";
    tcpdump.args(["-c", command, CHECKED_IN]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let tcpdump = Running::start(tcpdump);
    while !tcpdump.line().contains("listening on") {}
    play(&recorder, server);
    recorder.capture();
    tcpdump.signal(Signal::TERM);
    tcpdump.end().ok();
}

fn check(messages: &[Message]) {
    for message in messages {
        assert_eq!(message.item.warnings(), Vec::<&str>::new(), "{:#?}", message.item);
    }
    check_beginnings(messages);
    check_order(messages);
    check_records(messages);
    check_pairs(messages);
}

fn check_beginnings(messages: &[Message]) {
    let mut conversations: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for message in messages {
        conversations.entry(&message.stream).or_default().push(message.title());
    }
    assert!(conversations.len() >= 13, "each command has a connection of its own: {conversations:?}");
    for titles in conversations.values() {
        assert_eq!(titles[..3], ["preface", "Hello", "Hello answer"], "{titles:?}");
    }
}

/// All of this is there, in this order; other messages may stand between, which are the commands' affair.
fn check_order(messages: &[Message]) {
    let (one, long) = (hex("one"), hex(&value(43)));
    let expected: &[(&str, &[(&str, &str)])] = &[
        ("preface", &[("preface.version", "1")]),
        ("Hello", &[("min_version", "1"), ("max_version", "1"), ("correlation_id", "1")]),
        ("Hello answer", &[("version", "1"), ("max_batch_bytes", "8323064")]),
        ("CreateTopic", &[("topic", "orders"), ("age_ms", "604800000"), ("if_absent", "1")]),
        ("CreateTopic answer", &[("topic_id", "1"), ("created", "1")]),
        ("CreateTopic answer", &[("topic_id", "1"), ("created", "0")]),
        ("RegisterProducer", &[("topic", "orders")]),
        ("Append", &[("topic_id", "1"), ("batch.attributes", "0"), ("record.value", &one)]),
        ("Append answer", &[("base_offset", "0"), ("duplicate", "0")]),
        ("RegisterProducer", &[("topic", "orders"), ("name", "bulk")]),
        ("Append", &[("batch.attributes", "1")]),
        ("Append answer", &[("duplicate", "0")]),
        ("Append", &[("record.value", &long)]),
        ("Append answer", &[("base_offset", "43")]),
        ("RegisterConsumer", &[("topic", "orders"), ("name", "reader"), ("start", "0")]),
        ("RegisterConsumer answer", &[("cursor", "0"), ("existed", "0")]),
        ("Commit", &[("offset", "2"), ("rewind", "0")]),
        ("Commit answer", &[("cursor", "2")]),
        ("Dequeue", &[("cursor", "0"), ("max_records", "1")]),
        ("Dequeue answer", &[("offset", "0"), ("next", "1"), ("repeated", "0"), ("record.value", &one)]),
        ("DescribeTopic answer", &[("name", "reader"), ("backlog", "42"), ("tail", "44")]),
        ("ListTopics answer", &[("name", "orders"), ("more", "0"), ("topics.count", "1")]),
        ("Ping", &[]),
        ("Ping answer", &[]),
        ("ServerInfo answer", &[("topics", "1"), ("ephemeral", "1")]),
        ("DescribeTopic refused", &[("code", "32"), ("flags.error", "1"), ("facts.retryable", "0")]),
        ("Subscribe", &[("topic", "orders"), ("start", "0")]),
        ("Deliver", &[("subscription_id", "1"), ("tail", "44")]),
        ("GoAway", &[("code", "15"), ("facts.closes", "1"), ("correlation_id", "0")]),
    ];
    let mut rest = messages.iter();
    for (title, fields) in expected {
        let is_it = |message: &Message| message.title() == *title && fields.iter().all(|(f, v)| message.has(f, v));
        assert!(rest.any(is_it), "no {title} with {fields:?} where it belongs");
    }
}

/// What was appended is there, compressed or not, and what was delivered at the end is the same with its offsets.
fn check_records(messages: &[Message]) {
    let values = (0..RECORDS).map(|offset| hex(&value(offset))).collect::<Vec<_>>();
    let of = |title: &str, stream: &str, field: &str| -> Vec<String> {
        let chosen = messages.iter().filter(|message| message.title() == title);
        let chosen = chosen.filter(|message| stream.is_empty() || message.stream == stream);
        chosen.flat_map(|message| message.item.shown(field)).map(str::to_owned).collect()
    };
    assert_eq!(of("Append", "", "connectify.record.value"), values);
    assert_eq!(of("Append", "", "connectify.record.offset"), Vec::<String>::new(), "the server assigns them");
    assert_eq!(of("Append", "", "connectify.record.key"), vec![hex("host-7"); 3]);
    let last = &messages.last().unwrap().stream;
    assert_eq!(of("Deliver", last, "connectify.record.value"), values);
    let offsets: Vec<_> = (0..RECORDS).map(|offset| offset.to_string()).collect();
    assert_eq!(of("Deliver", last, "connectify.record.offset"), offsets);
}

/// Every request names the packet of its answer, and every answer and every push that of its request.
fn check_pairs(messages: &[Message]) {
    let without_answer = ["preface", "Credit", "GoAway"];
    let mut pairs = 0;
    for message in messages.iter().filter(|message| !without_answer.contains(&message.title())) {
        let (field, back) = match message.is_answer() {
            true => ("connectify.request_in", "connectify.answer_in"),
            false => ("connectify.answer_in", "connectify.request_in"),
        };
        let (id, opcode) = (message.item.first("connectify.correlation_id"), message.item.first("connectify.opcode"));
        let is_push = message.title() == "Deliver";
        let is_other = |other: &&Message| {
            other.stream == message.stream
                && other.packet == message.item.first(field)
                && other.is_answer() != message.is_answer()
                && other.item.shown("connectify.correlation_id") == [id]
                && (is_push || other.item.shown("connectify.opcode") == [opcode])
        };
        let other = messages.iter().find(is_other).unwrap_or_else(|| panic!("no other one for {}", message.item.text));
        match is_push {
            true => assert_eq!(other.title(), "Subscribe"),
            false => assert_eq!(other.item.first(back), message.packet),
        }
        pairs += 1;
    }
    assert!(pairs > 60, "only {pairs}");
}
