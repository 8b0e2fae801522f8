//! Where lines arrive, and how late they are.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use connectify::{Client, client::Start};
use hdrhistogram::Histogram;

use super::{now_us, processes::Shipper};

/// Nothing arrives for so long: it will not.
const PATIENCE: Duration = Duration::from_secs(60);

struct Inner {
    count: u64,
    late: Histogram<u64>,
}

/// See the module.
pub(crate) struct Arrivals {
    inner: Arc<(Mutex<Inner>, Condvar)>,
}

impl Arrivals {
    pub(crate) fn of(shipper: &Shipper) -> anyhow::Result<Self> {
        let inner = Inner { count: 0, late: Histogram::new(3)? };
        let inner = Arc::new((Mutex::new(inner), Condvar::new()));
        let arrived = Arc::clone(&inner);
        match &shipper.listener {
            None => {
                let address = shipper.address.clone();
                thread::spawn(move || subscribe(address, &arrived));
            }
            Some(listener) => {
                let listener = listener.try_clone()?;
                thread::spawn(move || accept(&listener, &arrived));
            }
        }
        Ok(Self { inner })
    }

    /// Waits until so many lines have arrived.
    pub(crate) fn wait_for(&self, count: u64) -> anyhow::Result<()> {
        let (inner, changed) = &*self.inner;
        let mut inner = inner.lock().expect("no panic");
        let (mut seen, mut since) = (inner.count, Instant::now());
        while inner.count < count {
            if inner.count > seen {
                (seen, since) = (inner.count, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                bail!("{} of {count} lines have arrived", inner.count);
            }
            inner = changed.wait_timeout(inner, Duration::from_millis(100)).expect("no panic").0;
        }
        Ok(())
    }

    pub(crate) fn count(&self) -> u64 {
        self.inner.0.lock().expect("no panic").count
    }

    pub(crate) fn clear(&self) {
        let mut inner = self.inner.0.lock().expect("no panic");
        inner.count = 0;
        inner.late.reset();
    }

    pub(crate) fn late(&self) -> Histogram<u64> {
        self.inner.0.lock().expect("no panic").late.clone()
    }
}

fn take(arrived: &(Mutex<Inner>, Condvar), lines: &[Vec<u8>]) {
    let now = now_us();
    let mut inner = arrived.0.lock().expect("no panic");
    for line in lines {
        let text = std::str::from_utf8(&line[..16.min(line.len())]).unwrap_or_default();
        let Ok(written) = text.parse::<u64>() else { continue };
        inner.count += 1;
        inner.late.record(now.saturating_sub(written).max(1)).expect("it grows by itself");
    }
    arrived.1.notify_all();
}

fn subscribe(address: String, arrived: &(Mutex<Inner>, Condvar)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
    runtime.block_on(async {
        let client = Client::connect(address).await.expect("connects");
        let mut consumer = loop {
            match client.consumer("app").start(Start::Head).open().await {
                Ok(consumer) => break consumer,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        // The server may go away: whoever waits looks elsewhere then.
        while let Ok(Some(batch)) = consumer.next_batch().await {
            let records = batch.records().expect("well formed");
            let lines: Vec<_> = records.map(|record| record.expect("well formed").record.value.to_vec()).collect();
            take(arrived, &lines);
        }
    });
}

fn accept(listener: &TcpListener, arrived: &(Mutex<Inner>, Condvar)) {
    let (stream, _) = listener.accept().expect("a peer");
    let mut input = BufReader::with_capacity(256 << 10, stream);
    loop {
        let mut lines = Vec::new();
        // What is there at once is one arrival.
        loop {
            let mut line = Vec::new();
            match input.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => lines.push(line),
            }
            if memchr::memchr(b'\n', input.buffer()).is_none() {
                break;
            }
        }
        take(arrived, &lines);
    }
}
