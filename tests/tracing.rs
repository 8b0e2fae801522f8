//! The layer for `tracing` and the logger for `log` against a real server.

use std::{net::SocketAddr, path::Path, time::Duration};

use connectify::{
    Client, Server, ServerConfig,
    client::Start,
    tracing::{OnFull, SpanContext, builder},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot, task::JoinHandle};
use tracing_subscriber::prelude::*;

/// Far longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with a runtime of its own: those who log have none.
struct TestServer {
    runtime: Runtime,
    address: SocketAddr,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let (stop, task) = self.running.take().expect("it runs");
        drop(stop);
        self.runtime.block_on(task).expect("no panic");
    }
}

impl TestServer {
    fn on(directory: &Path, address: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts");
        let listener = runtime.block_on(TcpListener::bind(address)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let config = ServerConfig::default().with_data_dir(directory.to_owned());
        let server = runtime.block_on(async { Server::open(config) }).expect("opens");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = runtime.spawn(async move {
            server.run(listener, async { stopped.await.unwrap_or_default() }).await.expect("ends well");
        });
        Self { runtime, address, running: Some((stop, task)) }
    }

    /// The first events of the topic, as soon as there are so many.
    fn events(&self, count: usize) -> Vec<Value> {
        self.runtime.block_on(async {
            let client = Client::connect(self.address.to_string()).await.expect("connects");
            let read = async {
                let mut consumer = loop {
                    match client.consumer("app").start(Start::Head).open().await {
                        Ok(consumer) => break consumer,
                        // Whoever logs makes the topic.
                        Err(_) => tokio::task::yield_now().await,
                    }
                };
                let mut found = Vec::new();
                while found.len() < count {
                    let record = consumer.next_record().await.expect("readable").expect("goes on").record;
                    found.push(serde_json::from_slice(&record.value).expect("JSON"));
                }
                found
            };
            tokio::time::timeout(PATIENCE, read).await.expect("they arrive")
        })
    }
}

#[test]
fn events_arrive_with_their_fields_their_types_and_their_spans() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = TestServer::on(directory.path(), "127.0.0.1:0");
    let (layer, guard) = builder(server.address.to_string(), "app").field("service", "api").build().expect("starts");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let outer = tracing::info_span!("outer", user = 7, late = tracing::field::Empty);
        let _outer = outer.enter();
        outer.record("late", "x\"y");
        let inner = tracing::info_span!("inner");
        let _inner = inner.enter();
        tracing::warn!(target: "shop", ok = true, price = 1.5, count = -3_i64, error = %"no\nroom", "sold {}", "out");
        tracing::info!(target: "connectify::client", "passed over: it could go round in circles");
    });
    let report = guard.flush(PATIENCE);
    assert_eq!((report.durable, report.pending, report.dropped), (1, 0, 0));
    assert_eq!(
        server.events(1),
        [json!({
            "level": "WARN", "target": "shop", "service": "api", "message": "sold out",
            "fields": { "ok": true, "price": 1.5, "count": -3, "error": "no\nroom" },
            "spans": [{ "name": "outer", "fields": { "user": 7, "late": "x\"y" } }, { "name": "inner" }],
        })]
    );
}

#[test]
fn what_is_dropped_is_said_in_the_topic() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = TestServer::on(directory.path(), "127.0.0.1:0");
    let address = server.address.to_string();
    drop(server);
    let (layer, guard) =
        builder(address.clone(), "app").buffer_bytes(64 << 10).span_context(SpanContext::None).build().expect("starts");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        for number in 0..2000 {
            tracing::info!(number, "hello");
        }
        tracing::error!("there is always room for this");
    });
    assert!(guard.stats().dropped > 0);
    let server = TestServer::on(directory.path(), &address);
    let report = guard.flush(PATIENCE);
    assert_eq!((report.pending, report.durable + report.dropped), (0, 2001));
    let events = server.events(usize::try_from(report.durable).expect("few") + 1);
    let said: u64 = events.iter().filter_map(|event| event["fields"]["dropped"].as_u64()).sum();
    assert_eq!(said, report.dropped);
    assert!(events.iter().any(|event| event["level"] == "ERROR"));
}

#[test]
fn what_was_spilled_is_shipped_once_at_the_next_start() {
    let (data, spill) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = TestServer::on(data.path(), "127.0.0.1:0");
    let address = server.address.to_string();
    let log = |numbers: std::ops::Range<u64>, patience: Duration| {
        let builder = builder(address.clone(), "app").spill_dir(spill.path()).drop_timeout(patience);
        let (layer, guard) = builder.build().expect("starts");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for number in numbers {
                tracing::info!(number, "hello");
            }
        });
        assert_eq!(guard.flush(PATIENCE).pending, 0);
    };
    log(0..100, PATIENCE);
    drop(server);
    // Nobody is there: it ends all the same.
    log(100..5000, Duration::ZERO);
    let server = TestServer::on(data.path(), &address);
    log(5000..5001, Duration::ZERO);
    log(5001..5002, PATIENCE);
    let mut numbers: Vec<_> = server.events(5002).iter().map(|event| event["fields"]["number"].as_u64()).collect();
    assert!(numbers.is_sorted());
    numbers.dedup();
    assert_eq!(numbers.len(), 5002);
}

#[test]
fn records_of_log_arrive_with_their_pairs() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = TestServer::on(directory.path(), "127.0.0.1:0");
    let builder = builder(server.address.to_string(), "app").on_full(OnFull::Block(PATIENCE));
    let (logger, guard) = builder.build_logger().expect("starts");
    let pairs = [("user", log::kv::Value::from(7)), ("name", log::kv::Value::from("x\"y"))];
    let arguments = format_args!("hello");
    let record =
        log::Record::builder().level(log::Level::Info).target("shop").args(arguments).key_values(&pairs).build();
    log::Log::log(&logger, &record);
    assert_eq!(guard.flush(PATIENCE).pending, 0);
    let fields = json!({ "user": 7, "name": "x\"y" });
    assert_eq!(server.events(1), [json!({ "level": "INFO", "target": "shop", "message": "hello", "fields": fields })]);
}
