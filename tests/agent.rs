//! The agent against a real server: whatever becomes of files, of the agent and of the server, every line is stored once
//! and in order.

#[path = "agent/chaos.rs"]
mod chaos;
#[path = "agent/files.rs"]
mod files;
#[path = "agent/others.rs"]
mod others;
#[path = "agent/support.rs"]
mod support;
