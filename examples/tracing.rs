//! A program that ships its events itself.
//!
//! ```text
//! cargo run --example tracing --features tracing -- [SERVER]
//! ```

use std::time::Duration;

use tracing_subscriber::prelude::*;

fn main() -> std::io::Result<()> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7466".to_owned());
    let (layer, guard) = connectify::tracing::builder(server, "example").field("service", "example").build()?;
    tracing_subscriber::registry().with(layer).with(tracing_subscriber::fmt::layer()).init();

    let request = tracing::info_span!("request", id = 42);
    request.in_scope(|| tracing::info!(user = "anna", items = 3, "order placed"));

    let report = guard.flush(Duration::from_secs(5));
    tracing::info!(durable = report.durable, pending = report.pending, "flushed");
    Ok(())
}
