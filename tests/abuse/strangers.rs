//! Who speaks something else: TLS, HTTP, noise, and lengths that nobody may send.

use connectify::protocol::preface;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    Stage, Tally,
    peer::{Peer, hello},
};

/// A ClientHello of TLS 1.3 for the name localhost: X25519, AES-128-GCM.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\x81\x01\x00\x00\x7d\x03\x03\
    \x1c\x5e\x0f\xa9\x42\x73\x88\xd1\x90\x2b\x6a\x3c\xf4\x17\xe5\x60\x8d\xb2\x49\x9f\x05\x7e\xc3\x31\x6b\xd8\x24\xaa\x59\xf0\x8e\x13\
    \x00\x00\x02\x13\x01\x01\x00\x00\x52\
    \x00\x00\x00\x0e\x00\x0c\x00\x00\x09localhost\
    \x00\x2b\x00\x03\x02\x03\x04\x00\x0d\x00\x04\x00\x02\x04\x03\x00\x0a\x00\x04\x00\x02\x00\x1d\
    \x00\x33\x00\x26\x00\x24\x00\x1d\x00\x20\
    \x2f\xe5\x7d\xa3\x47\xcd\x62\x43\x15\x28\xda\xac\x5f\xbb\x29\x07\x30\xff\xf6\x84\xaf\xc4\xcf\xc2\xed\x90\x99\x5f\x58\xcb\x3b\x74";
const HTTP_GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
const LONGEST: [u8; 4] = u32::MAX.to_le_bytes();
/// Of noise.
const NOISE_BYTES: usize = 64 * 1024;

/// Each comes again as soon as it was turned away.
pub(crate) async fn strangers(stage: Stage) -> Tally {
    stage.crowd(come_again).await
}

async fn come_again(stage: Stage, number: usize) -> Tally {
    let (mut tally, mut rng) = (Tally::default(), StdRng::seed_from_u64(number as u64));
    for visit in 0.. {
        let mut peer = Peer::connect(&stage).await;
        let said = match (number + visit) % 5 {
            0 => CLIENT_HELLO.to_vec(),
            1 => HTTP_GET.to_vec(),
            2 => noise(&mut rng),
            3 => [&preface()[..], &LONGEST].concat(),
            _ => [&preface()[..], &hello(b""), &LONGEST].concat(),
        };
        // If the server has closed the connection already, that is seen by reading.
        drop(peer.send(&said).await);
        tally.merge(Tally::one(stage.outcome(peer.end()).await));
        if visit == 4 {
            stage.ready();
        }
        if visit >= 4 && stage.is_over() {
            break;
        }
    }
    tally
}

fn noise(rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; NOISE_BYTES];
    rng.fill_bytes(&mut bytes);
    // By chance it might begin as a preface does.
    bytes[0] = bytes[0].max(b'D');
    bytes
}
