//! TCP is a stream: a message may be in several packets, and a packet may hold several messages.

use crate::{
    capture::{Capture, Connection, SEGMENT_BYTES, Side},
    document::Document,
    tree::Item,
    tshark::Tshark,
};

/// The worked session of section 11, side by side, in the order of the document.
fn session() -> Vec<(Side, Vec<u8>)> {
    let document = Document::read();
    let blocks = document.examples.iter().filter(|example| example.section == "11");
    let side = |caption: &str| if caption.starts_with("Client") { Side::Client } else { Side::Server };
    blocks.map(|block| (side(&block.caption), block.bytes.clone())).collect()
}

fn capture(parts: &[(Side, Vec<u8>)], segment_bytes: usize) -> Capture {
    let (mut capture, mut connection) = (Capture::new(segment_bytes), Connection::new(10_000, 7466));
    capture.open(&mut connection);
    for (side, bytes) in parts {
        capture.send(&mut connection, *side, bytes);
    }
    capture
}

/// Everything about messages but where they are: what depends on the packets is left out.
fn texts(messages: &[Item]) -> Vec<Vec<&str>> {
    let depends = ["connectify.request_in", "connectify.answer_in", "connectify.time"];
    let all = messages.iter().map(|message| {
        let items = message.all().into_iter().filter(|item| !depends.contains(&item.name.as_str()));
        items.map(|item| item.text.as_str()).collect()
    });
    all.collect()
}

#[test]
fn the_worked_session_is_the_same_however_it_is_cut() {
    let Some(tshark) = Tshark::find() else { return };
    let session = session();
    let whole = tshark.messages(capture(&session, SEGMENT_BYTES).bytes(), &["-2"]);
    assert_eq!(whole.len(), session.len());
    for segment_bytes in [1, 3, 7, 40, 90] {
        let cut = tshark.messages(capture(&session, segment_bytes).bytes(), &["-2"]);
        assert_eq!(texts(&cut), texts(&whole), "in packets of {segment_bytes} bytes");
    }
}

#[test]
fn a_packet_shows_all_messages_that_end_in_it() {
    let Some(tshark) = Tshark::find() else { return };
    let session = session();
    // All that a side says at once, in packets that end in the middle of a message.
    let joined = |wanted| -> Vec<u8> {
        session.iter().filter(|(side, _)| *side == wanted).flat_map(|(_, bytes)| bytes.clone()).collect()
    };
    let parts = [Side::Client, Side::Server].map(|side| (side, joined(side)));
    let capture = capture(&parts, 200);
    let messages = tshark.messages(capture.bytes(), &["-2"]);
    let whole = tshark.messages(self::capture(&session, SEGMENT_BYTES).bytes(), &["-2"]);
    let sorted = |messages: &[Item]| {
        let mut titles: Vec<_> = messages.iter().map(|message| message.text.clone()).collect();
        titles.sort();
        titles
    };
    assert_eq!(sorted(&messages), sorted(&whole));
    let info = tshark.run(capture.bytes(), &["-T", "fields", "-e", "_ws.col.Info"]);
    for message in &messages {
        let summary = message.text.strip_prefix("Connectify, ").unwrap();
        assert!(info.contains(summary), "no {summary} in {info}");
    }
    let last = info.lines().last().unwrap();
    assert!(last.contains("; Ping #1; GoAway ShuttingDown: server is shutting down"), "{info}");
    let first = info.lines().find(|line| line.contains("preface")).unwrap();
    assert!(first.starts_with("preface; Hello #1 client_name=demo; RegisterProducer #2"), "{info}");
}

#[test]
fn an_answer_names_the_request_of_its_own_connection() {
    let Some(tshark) = Tshark::find() else { return };
    // Two connections, one after the other, from the same port: ids and ports are the same.
    let mut capture = Capture::new(SEGMENT_BYTES);
    for _ in 0..2 {
        let mut connection = Connection::new(10_000, 7466);
        capture.open(&mut connection);
        for (side, bytes) in session() {
            capture.send(&mut connection, side, &bytes);
        }
        capture.close(&mut connection, Side::Server);
        capture.close(&mut connection, Side::Client);
    }
    let messages = tshark.messages(capture.bytes(), &["-2"]);
    let requests: Vec<u32> = messages
        .iter()
        .flat_map(|message| message.shown("connectify.request_in"))
        .map(|n| n.parse().unwrap())
        .collect();
    let (first, second) = requests.split_at(requests.len() / 2);
    let packets_between = second[0] - first[0];
    assert_eq!(first.iter().map(|packet| packet + packets_between).collect::<Vec<_>>(), second);
    // Hello, RegisterProducer, two Append, Fetch, and the Ping of the server.
    assert_eq!(first.len(), 6);
}

#[test]
fn an_answer_without_its_request_says_so() {
    let Some(tshark) = Tshark::find() else { return };
    let session = session();
    let has_none = |message: &Item| message.complaints().iter().any(|(_, says)| says.contains("not in the capture"));
    // The capture began late: behind the request for the producer.
    let messages = tshark.messages(capture(&session[4..], SEGMENT_BYTES).bytes(), &["-2"]);
    let without: Vec<_> = messages.iter().map(has_none).collect();
    assert!(without[0] && !without[1..].contains(&true), "{without:?}");

    // The first answer is the answer, and the next connection knows nothing of the requests of this one.
    let [hello, answer, request, answer_to_it] = &session[1..5] else { panic!("the session is longer") };
    let (mut capture, mut connection) = (Capture::new(SEGMENT_BYTES), Connection::new(10_000, 7466));
    for (side, bytes) in [hello, answer, answer, request, &session[0], hello, answer, answer_to_it] {
        capture.send(&mut connection, *side, bytes);
    }
    let messages = tshark.messages(capture.bytes(), &["-2"]);
    let without: Vec<_> = messages.iter().map(has_none).collect();
    assert_eq!(without, [false, false, true, false, false, false, false, true]);
}
