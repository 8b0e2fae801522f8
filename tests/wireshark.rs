//! The dissector, wireshark/connectify.lua, as `tshark` runs it: against a real exchange, and against protocol.md.
//!
//! `tshark` is a Debian package. Without it these tests say that they are skipped, unless `CONNECTIFY_CI` is set: then
//! they fail. `CONNECTIFY_NO_TSHARK=1` skips them in any case.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says what it expects by failing")]

#[path = "wireshark/capture.rs"]
mod capture;
#[path = "wireshark/examples.rs"]
mod examples;
#[path = "wireshark/exchange.rs"]
mod exchange;
#[path = "wireshark/faults.rs"]
mod faults;
#[path = "../src/fuzzing/independent/mod.rs"]
#[allow(dead_code, reason = "another suite uses the rest")]
mod independent;
#[path = "wireshark/options.rs"]
mod options;
#[path = "protocol_doc/random.rs"]
#[allow(dead_code, reason = "another suite uses the rest")]
mod random;
#[path = "wireshark/recorder.rs"]
mod recorder;
#[path = "wireshark/segments.rs"]
mod segments;
#[path = "cli/support.rs"]
#[allow(dead_code, reason = "another suite uses the rest")]
mod support;
#[path = "wireshark/tree.rs"]
mod tree;
#[path = "wireshark/tshark.rs"]
mod tshark;

use self::independent::{batch, document, tables};
