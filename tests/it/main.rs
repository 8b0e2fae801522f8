//! A server in this process, and clients that talk to it over TCP: what protocol.md promises, seen from outside.

mod exactly_once;
mod malformed;
mod support;
