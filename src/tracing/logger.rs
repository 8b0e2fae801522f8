//! The logger for `log`.

use std::{cell::RefCell, sync::Arc};

use log::{Level, Log, Metadata, Record, kv};

use super::{
    buffer::Buffer,
    encode::{Encoder, display, string},
    sender,
};
use crate::Timestamp;

thread_local! {
    static SCRATCH: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Ships records of `log`; from [`Builder::build_logger`](super::Builder::build_logger). Which levels there are,
/// `log::set_max_level` says.
#[derive(Debug)]
pub struct Logger {
    encoder: Arc<Encoder>,
    buffer: Arc<Buffer>,
}

impl Logger {
    pub(super) fn new(encoder: Arc<Encoder>, buffer: Arc<Buffer>) -> Self {
        Self { encoder, buffer }
    }

    fn write(&self, out: &mut String, record: &Record<'_>) {
        out.clear();
        self.encoder.begin(out, record.level().as_str(), record.target());
        out.push_str(",\"message\":");
        display(out, *record.args());
        out.push_str(",\"fields\":{");
        let mut pairs = Pairs { out, is_first: true };
        // It fails only when a visitor does, and ours does not.
        record.key_values().visit(&mut pairs).unwrap_or_default();
        out.push_str("}}");
        self.buffer.push(Timestamp::now(), out.as_bytes(), record.level() <= Level::Warn);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.target().starts_with("connectify") && !sender::is_this_thread()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut out) => self.write(&mut out, record),
            // A value that logs while it is formatted.
            Err(_) => self.write(&mut String::new(), record),
        });
    }

    /// Does nothing: the [`Guard`](super::Guard) flushes, and says how far it came.
    fn flush(&self) {}
}

/// Key-value pairs of a record, of their types.
struct Pairs<'a> {
    out: &'a mut String,
    is_first: bool,
}

impl<'kvs> kv::VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(',');
        }
        string(self.out, key.as_str());
        self.out.push(':');
        let is_plain = value.to_bool().is_some() || value.to_i64().is_some() || value.to_u64().is_some();
        match value.to_f64().filter(|number| is_plain || number.is_finite()) {
            _ if is_plain => self.out.push_str(&value.to_string()),
            Some(number) if value.to_borrowed_str().is_none() => self.out.push_str(&format!("{number:?}")),
            _ => display(self.out, format_args!("{value}")),
        }
        Ok(())
    }
}
