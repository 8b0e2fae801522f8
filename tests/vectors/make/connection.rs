//! Bodies of the messages about the connection and the server.

use connectify::protocol::ErrorCode::*;
use serde_json::{Value, json};

use super::{CONSUMER, Maker};
use crate::vector::{Vector, plain};

const SERVER: &str = "0f8e2c417b1d4c529a5e3d6f10b4c7a2";

fn hello(client_name: &str, versions: (u16, u16), credentials: &str, max_frame_bytes: u32) -> Value {
    json!({
        "client_name": client_name,
        "min_version": versions.0,
        "max_version": versions.1,
        "credentials": credentials,
        "max_frame_bytes": max_frame_bytes,
    })
}

pub(super) fn vectors(maker: &Maker) -> Vec<Vector> {
    let bare = |message| maker.bodies(message, [("of-no-fields", json!({}))]);
    let mut vectors = maker.bodies(
        "Hello",
        [
            ("with-everything", hello("shipper host-7", (1, 1), "733363726574", 1 << 20)),
            ("with-as-little-as-possible", hello("x", (1, 1), "", 0)),
            ("of-a-client-that-speaks-all-versions", hello("x", (0, 65_535), "", 0)),
            ("with-a-name-of-200-bytes", hello(&"n".repeat(200), (1, 1), "", 0)),
            ("with-a-name-that-is-not-ascii", hello("h\u{f4}te-7 /var/log", (1, 1), "", 0)),
            ("with-credentials-of-1024-bytes", hello("x", (1, 1), &"ab".repeat(1_024), 0)),
            ("with-the-smallest-frames", hello("x", (1, 1), "", 65_536)),
            ("with-larger-frames-than-a-server-grants", hello("x", (1, 1), "", u32::MAX)),
        ],
    );
    vectors.extend(refused_hellos(maker));
    vectors.extend(maker.bodies(
        "HelloAnswer",
        [
            ("with-everything", granted(1 << 20, 0)),
            ("with-the-largest-frames", granted(8_388_608, 0)),
            ("with-features-that-are-not-known", granted(65_536, u64::MAX)),
        ],
    ));
    vectors.extend(["Ping", "PingAnswer", "ServerInfo"].into_iter().flat_map(bare));
    vectors.extend(maker.bodies(
        "ServerInfoAnswer",
        [
            ("of-a-server-with-a-disk", info(json!(52_428_800_000_u64), false)),
            ("of-a-server-without-one", info(json!(null), true)),
            ("of-a-server-whose-disk-is-full", info(json!(0), false)),
        ],
    ));
    vectors
}

fn refused_hellos(maker: &Maker) -> Vec<Vector> {
    let refused = |name: &str, value, code, details: &[u64]| maker.refused("Hello", name, value, code, details);
    vec![
        refused("of-a-later-client", hello("x", (2, 3), "", 0), UnsupportedVersion, &[1]),
        refused("of-an-earlier-client", hello("x", (0, 0), "", 0), UnsupportedVersion, &[1]),
        refused("whose-versions-are-backwards", hello("x", (2, 1), "", 0), UnsupportedVersion, &[1]),
        refused("without-a-name", hello("", (1, 1), "", 0), InvalidName, &[]),
        refused("with-a-name-of-201-bytes", hello(&"n".repeat(201), (1, 1), "", 0), InvalidName, &[]),
        refused("with-a-line-end-in-its-name", hello("a\nb", (1, 1), "", 0), InvalidName, &[]),
        refused("with-a-zero-in-its-name", hello("a\0b", (1, 1), "", 0), InvalidName, &[]),
        refused("with-a-delete-in-its-name", hello("a\u{7f}", (1, 1), "", 0), InvalidName, &[]),
        refused("with-the-first-upper-control-character", hello("a\u{80}", (1, 1), "", 0), InvalidName, &[]),
        refused("with-the-last-upper-control-character", hello("a\u{9f}", (1, 1), "", 0), InvalidName, &[]),
        refused(
            "with-credentials-of-1025-bytes",
            hello("x", (1, 1), &"ab".repeat(1_025), 0),
            LimitExceeded,
            &[1_025, 1_024],
        ),
        refused("with-frames-of-1-byte", hello("x", (1, 1), "", 1), LimitExceeded, &[1, 65_536]),
        refused("with-frames-that-are-too-small", hello("x", (1, 1), "", 65_535), LimitExceeded, &[65_535, 65_536]),
    ]
}

fn granted(max_frame_bytes: u32, features: u64) -> Value {
    json!({
        "server_id": SERVER,
        "server_version": "0.1.0",
        "version": 1,
        "features": plain(features),
        "max_frame_bytes": max_frame_bytes,
        "max_batch_bytes": (max_frame_bytes - 64).min(8_323_064),
        "max_record_bytes": 4_194_304,
        "max_in_flight_requests": 1_024,
        "max_in_flight_bytes": 16_777_216,
        "keepalive_ms": 20_000,
    })
}

fn info(free_bytes: Value, ephemeral: bool) -> Value {
    json!({
        "server_id": CONSUMER,
        "server_version": "0.1.0",
        "uptime_ms": 90_000,
        "now_us": 1_767_225_600_000_000_u64,
        "connections": 2,
        "topics": 65_536,
        "producers": 262_144,
        "consumers": 1,
        "stored_bytes": plain(u64::MAX),
        "accepts_appends": free_bytes != json!(0),
        "free_bytes": free_bytes,
        "ephemeral": ephemeral,
    })
}
