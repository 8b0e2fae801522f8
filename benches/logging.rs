//! What an event costs its caller: the layer of this crate beside the non-blocking writer of tracing-appender.

#![allow(missing_docs, reason = "the macros make public items")]

use std::time::{Duration, Instant};

use connectify::{Server, ServerConfig};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::net::TcpListener;
use tracing_subscriber::{fmt, prelude::*};

/// Events in one measurement: few enough that no buffer is full.
const EVENTS: u64 = 1000;

fn log() {
    for number in 0..EVENTS {
        tracing::info!(number, user = "anna", ok = true, "order placed");
    }
}

/// Time of the caller alone: what was logged leaves before the next measurement.
fn measure(criterion: &mut Criterion, name: &str, settle: impl Fn()) {
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let begun = Instant::now();
                log();
                spent += begun.elapsed();
                settle();
            }
            spent / u32::try_from(EVENTS).expect("few")
        });
    });
}

fn events(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = runtime.block_on(async { Server::open(ServerConfig::default().with_ephemeral()) }).expect("opens");
    runtime.spawn(server.run(listener, std::future::pending()));
    let (layer, guard) = connectify::tracing::builder(address.to_string(), "bench").build().expect("starts");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        measure(criterion, "event/connectify", || {
            guard.flush(Duration::from_secs(60));
        });
    });
    let directory = tempfile::tempdir().expect("a directory");
    let file = std::fs::File::create(directory.path().join("log")).expect("made");
    let (writer, appender) = tracing_appender::non_blocking(file);
    let subscriber = tracing_subscriber::registry().with(fmt::layer().json().with_writer(writer));
    tracing::subscriber::with_default(subscriber, || {
        // It has no way to be waited for: a pause lets it catch up.
        measure(criterion, "event/tracing-appender, json", || std::thread::sleep(Duration::from_millis(2)));
    });
    drop(appender);
    let file = std::fs::File::create(directory.path().join("log")).expect("made");
    let (writer, appender) = tracing_appender::non_blocking(file);
    let subscriber = tracing_subscriber::registry().with(fmt::layer().with_ansi(false).with_writer(writer));
    tracing::subscriber::with_default(subscriber, || {
        measure(criterion, "event/tracing-appender, text", || std::thread::sleep(Duration::from_millis(2)));
    });
    drop(appender);
    criterion.bench_function("event/nobody listens", |bencher| bencher.iter(log));
}

criterion_group!(benches, events);
criterion_main!(benches);
