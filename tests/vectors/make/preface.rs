//! The first bytes of a connection.

use connectify::protocol::ErrorCode;
use serde_json::json;

use crate::vector::{Kind, Place, Vector};

const GOOD: &[u8; 8] = b"CNFY\r\n\x01\x00";

pub(super) fn vectors() -> Vec<Vector> {
    let vector = |name: &str, bytes: &[u8]| Vector::new(format!("preface-{name}"), Kind::Preface, bytes);
    let mut vectors = vec![vector("of-version-1", GOOD).means(json!({"version": 1}))];
    for end in 0..8 {
        vectors.push(vector(&format!("cut-off-after-{end}-bytes"), &GOOD[..end]).awaits_more());
    }
    // The version is judged when both its bytes are there.
    vectors.push(vector("whose-version-begins-with-another-byte", b"CNFY\r\n\x02").awaits_more());
    for (name, version) in [("0", [0, 0]), ("2", [2, 0]), ("256", [0, 1]), ("257", [1, 1]), ("65535", [0xff, 0xff])] {
        let bytes = [&GOOD[..6], &version].concat();
        let other = vector(&format!("of-version-{name}"), &bytes);
        vectors.push(other.gets(ErrorCode::UnsupportedVersion, Place::GoAway, &[]));
    }
    let strangers: [(&str, &[u8]); 16] = [
        ("with-another-first-byte", b"B"),
        ("with-another-second-byte", b"CM"),
        ("with-another-third-byte", b"CNG"),
        ("with-another-fourth-byte", b"CNFX"),
        ("with-another-fifth-byte", b"CNFY\n"),
        ("with-another-sixth-byte", b"CNFY\r\r"),
        ("in-small-letters", b"cnfy\r\n\x01\x00"),
        ("whose-line-end-was-rewritten", b"CNFY\n\x01\x00"),
        ("whose-line-end-was-rewritten-twice", b"CNFY\r\r\n\x01\x00"),
        ("of-http", b"GET / HTTP/1.1\r\n"),
        ("of-http-2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("of-tls", &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01]),
        ("of-ssh", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("of-redis", b"*1\r\n$4\r\nPING\r\n"),
        ("of-zeros", &[0; 8]),
        ("that-is-missing-and-a-frame-comes-first", &[0x11, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0]),
    ];
    for (name, bytes) in strangers {
        vectors.push(vector(name, bytes).gets(ErrorCode::BadPreface, Place::GoAway, &[]));
    }
    vectors
}
