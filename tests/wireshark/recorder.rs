//! A proxy that stands before a server and notes what passes.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::capture::{Capture, Connection, SEGMENT_BYTES, Side};

/// Something that passed, or with no bytes the end of what a side sends.
struct Event {
    at: Duration,
    connection: u16,
    side: Side,
    bytes: Vec<u8>,
}

/// What the threads share.
struct Tape {
    started: Instant,
    events: Mutex<Vec<Event>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The proxy.
pub(crate) struct Recorder {
    /// Where it listens.
    pub(crate) address: String,
    tape: Arc<Tape>,
}

impl Recorder {
    /// Listens at `listen` and passes everything on to `server`.
    pub(crate) fn new(listen: &str, server: &str) -> Self {
        let listener = TcpListener::bind(listen).expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (events, threads) = (Mutex::default(), Mutex::default());
        let tape = Arc::new(Tape { started: Instant::now(), events, threads });
        let (shared, server) = (Arc::clone(&tape), server.to_owned());
        thread::spawn(move || {
            let mut connection = 0;
            for client in listener.incoming().flatten() {
                // A server that has ended takes nobody, so its clients are let go.
                let Ok(server) = TcpStream::connect(&server) else { continue };
                shared.pass(connection, Side::Client, &client, &server);
                shared.pass(connection, Side::Server, &server, &client);
                connection += 1;
            }
        });
        Self { address, tape }
    }

    /// What was exchanged, once all connections have ended.
    pub(crate) fn capture(&self) -> Capture {
        loop {
            let Some(thread) = self.tape.threads.lock().expect("nobody panics").pop() else { break };
            thread.join().expect("nobody panics");
        }
        let port = self.address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("an address has a port");
        let (mut capture, mut connections) = (Capture::new(SEGMENT_BYTES), Vec::new());
        for event in self.tape.events.lock().expect("nobody panics").iter() {
            // The clock of the capture counts packets, too, so it may be a little ahead.
            capture.at = capture.at.max(event.at);
            while connections.len() <= event.connection.into() {
                let client = 40_000 + u16::try_from(connections.len()).expect("few connections");
                connections.push(Connection::new(client, port));
                capture.open(connections.last_mut().expect("just pushed"));
            }
            let connection = &mut connections[usize::from(event.connection)];
            match event.bytes.as_slice() {
                [] => capture.close(connection, event.side),
                bytes => capture.send(connection, event.side, bytes),
            }
        }
        capture
    }
}

impl Tape {
    fn pass(self: &Arc<Self>, connection: u16, side: Side, from: &TcpStream, to: &TcpStream) {
        let (tape, mut from, mut to) =
            (Arc::clone(self), from.try_clone().expect("open"), to.try_clone().expect("open"));
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                // A reset is an end, too.
                let count = from.read(&mut buffer).unwrap_or(0);
                // It is noted before it is passed on, so that no answer is noted before its request.
                let (at, bytes) = (tape.started.elapsed(), buffer[..count].to_vec());
                tape.events.lock().expect("nobody panics").push(Event { at, connection, side, bytes });
                if count == 0 || to.write_all(&buffer[..count]).is_err() {
                    // The other side may have ended before.
                    to.shutdown(Shutdown::Write).ok();
                    return;
                }
            }
        });
        self.threads.lock().expect("nobody panics").push(thread);
    }
}
