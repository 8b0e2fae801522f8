//! Events as JSON, written by hand into a buffer that is used again: this is what a caller pays for.

use std::{error::Error, fmt::Write};

use tracing::{Level, field::Visit};

use super::SpanContext;

/// What all events have in common.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) span_context: SpanContext,
    /// Fields of every event, encoded: `,"name":"value"`.
    fields: String,
}

impl Encoder {
    pub(super) fn new(span_context: SpanContext, fields: &[(String, String)]) -> Self {
        let mut encoded = String::new();
        for (name, value) in fields {
            encoded.push(',');
            string(&mut encoded, name);
            encoded.push(':');
            string(&mut encoded, value);
        }
        Self { span_context, fields: encoded }
    }

    /// Begins an event.
    pub(super) fn begin(&self, out: &mut String, level: &str, target: &str) {
        out.push_str("{\"level\":\"");
        out.push_str(level);
        out.push_str("\",\"target\":");
        string(out, target);
        out.push_str(&self.fields);
    }
}

/// The name of a level.
pub(super) fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// Writes a string, quoted.
pub(super) fn string(out: &mut String, text: &str) {
    out.push('"');
    escaped(out, text);
    out.push('"');
}

fn escaped(out: &mut String, text: &str) {
    let mut done = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[done..at]);
        done = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            // Writing to a string cannot fail.
            byte => write!(out, "\\u{byte:04x}").unwrap_or_default(),
        }
    }
    out.push_str(&text[done..]);
}

/// What formats itself, escaped as it comes.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        escaped(self.0, text);
        Ok(())
    }
}

/// Writes what formats itself, quoted.
pub(super) fn display(out: &mut String, value: std::fmt::Arguments<'_>) {
    out.push('"');
    // What fails to format itself leaves what it has written.
    Escaping(out).write_fmt(value).unwrap_or_default();
    out.push('"');
}

/// Writes fields as `"name":value`, with commas between them; the message goes elsewhere.
pub(super) struct Fields<'a> {
    pub(super) out: &'a mut String,
    pub(super) message: Option<&'a mut String>,
    pub(super) is_first: bool,
}

impl Fields<'_> {
    /// Where the value of a field goes.
    fn place(&mut self, name: &str) -> &mut String {
        if name == "message"
            && let Some(message) = &mut self.message
        {
            return message;
        }
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(',');
        }
        string(self.out, name);
        self.out.push(':');
        self.out
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        display(self.place(field.name()), format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        string(self.place(field.name()), value);
    }

    fn record_i64(&mut self, field: &tracing::field::Field, value: i64) {
        write!(self.place(field.name()), "{value}").unwrap_or_default();
    }

    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        write!(self.place(field.name()), "{value}").unwrap_or_default();
    }

    fn record_bool(&mut self, field: &tracing::field::Field, value: bool) {
        self.place(field.name()).push_str(if value { "true" } else { "false" });
    }

    fn record_f64(&mut self, field: &tracing::field::Field, value: f64) {
        let out = self.place(field.name());
        match value.is_finite() {
            true => write!(out, "{value:?}").unwrap_or_default(),
            // JSON has no such numbers.
            false => write!(out, "\"{value}\"").unwrap_or_default(),
        }
    }

    fn record_error(&mut self, field: &tracing::field::Field, value: &(dyn Error + 'static)) {
        let out = self.place(field.name());
        out.push('"');
        let mut next: Option<&dyn Error> = Some(value);
        let mut is_first = true;
        while let Some(error) = next {
            if !std::mem::replace(&mut is_first, false) {
                out.push_str(": ");
            }
            write!(Escaping(out), "{error}").unwrap_or_default();
            next = error.source();
        }
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_what_json_reads() {
        for text in ["", "plain", "\"quoted\" \\ back", "a\nb\tc\r\0\u{1b}", "\u{e4}\u{65e5}"] {
            let mut out = String::new();
            string(&mut out, text);
            assert_eq!(serde_json::from_str::<String>(&out).expect("JSON"), text);
            out.clear();
            display(&mut out, format_args!("{text}"));
            assert_eq!(serde_json::from_str::<String>(&out).expect("JSON"), text);
        }
    }
}
