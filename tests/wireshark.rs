//! The dissector, wireshark/connectify.lua, as `tshark` runs it: against a real exchange, and against protocol.md.
//!
//! `tshark` is a Debian package. Without it these tests say that they are skipped, unless `CONNECTIFY_CI` is set: then
//! they fail. `CONNECTIFY_NO_TSHARK=1` skips them in any case.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says what it expects by failing")]

#[path = "protocol_doc/batch.rs"]
#[allow(dead_code, reason = "another suite uses the rest")]
mod batch;
#[path = "wireshark/capture.rs"]
mod capture;
#[path = "protocol_doc/document.rs"]
#[allow(dead_code, reason = "another suite uses the rest")]
mod document;
#[path = "wireshark/examples.rs"]
mod examples;
#[path = "wireshark/exchange.rs"]
mod exchange;
#[path = "wireshark/faults.rs"]
mod faults;
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
#[path = "protocol_doc/tables.rs"]
#[allow(dead_code, reason = "another suite uses the rest")]
mod tables;
#[path = "wireshark/tree.rs"]
mod tree;
#[path = "wireshark/tshark.rs"]
mod tshark;
