//! What is lost is said in the topic, at the place where it is missing: a record that covers what it stands for.

use crate::Record;

/// The header of a record that stands for what was lost: what it holds is JSON.
pub const LOSS_HEADER: &str = "loss";

/// A record that says so.
pub(super) fn record(reason: &str, of: &str, bytes: u64, records: Option<u64>) -> Record {
    let how_many = records.map_or_else(String::new, |records| format!("{records} records, "));
    let text = format!("connectify: {how_many}{bytes} bytes of {of} are lost: {reason}");
    let facts = serde_json::json!({ "reason": reason, "of": of, "bytes": bytes, "records": records });
    Record::new(text).header(LOSS_HEADER, facts.to_string())
}
