//! The command line from outside: the real binary against a real server, over real pipes and signals.

#[path = "cli/answers.rs"]
mod answers;
#[path = "cli/benching.rs"]
mod benching;
#[path = "cli/checking.rs"]
mod checking;
#[path = "cli/consuming.rs"]
mod consuming;
#[path = "cli/producing.rs"]
mod producing;
#[path = "cli/readme.rs"]
mod readme;
#[path = "cli/serving.rs"]
mod serving;
#[path = "cli/support.rs"]
mod support;
