//! Captures in the format of pcap: bytes that were exchanged, in packets that never were on a network.

use std::time::Duration;

/// What a packet carries at most, unless a test wants it otherwise: that of an Ethernet.
pub(crate) const SEGMENT_BYTES: usize = 1448;

/// 2026-01-01T00:00:00Z, the time of the examples.
const EPOCH_SECONDS: u64 = 1_767_225_600;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A TCP connection: the ports of client and server, and the next sequence number of each.
pub(crate) struct Connection {
    ports: [u16; 2],
    sequences: [u32; 2],
}

impl Connection {
    pub(crate) fn new(client: u16, server: u16) -> Self {
        Self { ports: [client, server], sequences: [1000, 2000] }
    }
}

/// A capture that grows.
pub(crate) struct Capture {
    bytes: Vec<u8>,
    segment_bytes: usize,
    /// What is kept of a packet.
    pub(crate) snap_bytes: usize,
    /// The time of the next packet, since the epoch above.
    pub(crate) at: Duration,
}

impl Capture {
    pub(crate) fn new(segment_bytes: usize) -> Self {
        // Packets begin with an IP header: LINKTYPE_RAW.
        let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101];
        Self { bytes: header.map(u32::to_le_bytes).concat(), segment_bytes, snap_bytes: usize::MAX, at: Duration::ZERO }
    }

    /// The file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn open(&mut self, connection: &mut Connection) {
        // Where a sequence starts grows with time, which tells a new connection from one that had the same ports.
        connection.sequences =
            [self.bytes.len(), 2 * self.bytes.len()].map(|start| u32::try_from(start).expect("small"));
        self.packet(connection, Side::Client, SYN, b"");
        self.packet(connection, Side::Server, SYN | ACK, b"");
        self.packet(connection, Side::Client, ACK, b"");
    }

    pub(crate) fn send(&mut self, connection: &mut Connection, side: Side, data: &[u8]) {
        for part in data.chunks(self.segment_bytes) {
            self.packet(connection, side, PSH | ACK, part);
        }
    }

    pub(crate) fn close(&mut self, connection: &mut Connection, side: Side) {
        self.packet(connection, side, FIN | ACK, b"");
    }

    fn packet(&mut self, connection: &mut Connection, side: Side, flags: u8, data: &[u8]) {
        let packet = ip_packet(connection, side, flags, data);
        let kept = &packet[..packet.len().min(self.snap_bytes)];
        let [kept_bytes, bytes] =
            [kept.len(), packet.len()].map(|length| u32::try_from(length).expect("a small packet"));
        let seconds = u32::try_from(EPOCH_SECONDS + self.at.as_secs()).expect("before 2106");
        for number in [seconds, self.at.subsec_micros(), kept_bytes, bytes] {
            self.bytes.extend(number.to_le_bytes());
        }
        self.bytes.extend(kept);
        self.at += Duration::from_micros(1);
        let taken = u32::try_from(data.len()).expect("a small packet") + u32::from(flags & (SYN | FIN) != 0);
        let sequence = &mut connection.sequences[side as usize];
        *sequence = sequence.wrapping_add(taken);
    }
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;

fn ip_packet(connection: &Connection, side: Side, flags: u8, data: &[u8]) -> Vec<u8> {
    let (from, to) = match side {
        Side::Client => (0, 1),
        Side::Server => (1, 0),
    };
    let address = |side: usize| [10, 0, 0, [1, 2][side]];
    let acknowledged = if flags & ACK == 0 { 0 } else { connection.sequences[to] };
    let mut tcp = [connection.ports[from], connection.ports[to]].map(u16::to_be_bytes).concat();
    tcp.extend([connection.sequences[from], acknowledged].map(u32::to_be_bytes).concat());
    // A header of five words, a window of 65,535 bytes, the checksum, and nothing urgent.
    tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(data);
    let length = u16::try_from(tcp.len()).expect("a small packet");
    let pseudo = [&address(from)[..], &address(to), &[0, 6], &length.to_be_bytes(), &tcp].concat();
    tcp[16..18].copy_from_slice(&checksum(&pseudo));

    let mut ip = vec![0x45, 0];
    ip.extend((length + 20).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    ip.extend([address(from), address(to)].concat());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    ip.extend(tcp);
    ip
}

/// That of RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low));
    let mut sum: u64 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("folded")).to_be_bytes()
}
