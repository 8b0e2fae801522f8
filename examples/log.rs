//! A program that logs through `log`, and ships that itself.
//!
//! ```text
//! cargo run --example log --features tracing -- [SERVER]
//! ```

use std::time::Duration;

fn main() -> std::io::Result<()> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7466".to_owned());
    let (logger, guard) = connectify::tracing::builder(server, "example").build_logger()?;
    log::set_boxed_logger(Box::new(logger)).map_err(std::io::Error::other)?;
    log::set_max_level(log::LevelFilter::Info);

    log::info!(user = "anna", items = 3; "order placed");

    let report = guard.flush(Duration::from_secs(5));
    match report.pending {
        0 => Ok(()),
        pending => Err(std::io::Error::other(format!("{pending} events are not durable"))),
    }
}
