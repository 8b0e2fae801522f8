//! A server in this process, and clients that talk to it over TCP: what protocol.md promises, seen from outside.

mod backpressure;
mod client;
mod consume;
mod exactly_once;
mod malformed;
mod restart;
mod retention;
mod shutdown;
mod support;
