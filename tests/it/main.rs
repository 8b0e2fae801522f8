//! A server in this process, and clients that talk to it over TCP: what protocol.md promises, seen from outside.

#![allow(clippy::print_stdout, reason = "a failure shows which case it was")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of these tests are small")]

mod backpressure;
mod client;
mod consume;
mod exactly_once;
mod malformed;
mod restart;
mod retention;
mod shutdown;
mod support;
