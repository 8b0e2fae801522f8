//! The layer for `tracing`.

use std::{cell::RefCell, sync::Arc};

use tracing::{Event, Level, Subscriber, span};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use super::{
    SpanContext,
    buffer::Buffer,
    encode::{Encoder, Fields, level_name, string},
    sender,
};
use crate::Timestamp;

/// The targets of this crate begin so.
const OURS: &str = "connectify";

thread_local! {
    /// The event that is being written on this thread, and its message.
    static SCRATCH: RefCell<(String, String)> = const { RefCell::new((String::new(), String::new())) };
}

/// Fields of a span, encoded when it was made: `"name":value,...`.
struct SpanFields(String);

/// Ships events; from [`Builder::build`](super::Builder::build).
#[derive(Debug)]
pub struct ConnectifyLayer {
    encoder: Arc<Encoder>,
    buffer: Arc<Buffer>,
}

impl ConnectifyLayer {
    pub(super) fn new(encoder: Arc<Encoder>, buffer: Arc<Buffer>) -> Self {
        Self { encoder, buffer }
    }

    fn spans<'a, S>(&self, out: &mut String, innermost: Option<SpanRef<'a, S>>)
    where
        S: Subscriber + LookupSpan<'a>,
    {
        let Some(innermost) = innermost.filter(|_| self.encoder.span_context != SpanContext::None) else { return };
        out.push_str(",\"spans\":[");
        match self.encoder.span_context {
            SpanContext::All => {
                for (at, span) in innermost.scope().from_root().enumerate() {
                    one_span(out, &span, at == 0);
                }
            }
            _ => one_span(out, &innermost, true),
        }
        out.push(']');
    }
}

fn one_span<'a, S: Subscriber + LookupSpan<'a>>(out: &mut String, span: &SpanRef<'a, S>, is_first: bool) {
    if !is_first {
        out.push(',');
    }
    out.push_str("{\"name\":");
    string(out, span.name());
    if let Some(SpanFields(fields)) = span.extensions().get::<SpanFields>()
        && !fields.is_empty()
    {
        out.push_str(",\"fields\":{");
        out.push_str(fields);
        out.push('}');
    }
    out.push('}');
}

impl<S> Layer<S> for ConnectifyLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = String::new();
            attributes.record(&mut Fields { out: &mut fields, message: None, is_first: true });
            span.extensions_mut().insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut::<SpanFields>()
        {
            let is_first = fields.is_empty();
            values.record(&mut Fields { out: fields, message: None, is_first });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target().starts_with(OURS) || sender::is_this_thread() {
            return;
        }
        let write = |(out, message): &mut (String, String)| {
            out.clear();
            message.clear();
            self.encoder.begin(out, level_name(*metadata.level()), metadata.target());
            out.push_str(",\"fields\":{");
            event.record(&mut Fields { out, message: Some(message), is_first: true });
            out.push('}');
            if !message.is_empty() {
                out.push_str(",\"message\":");
                out.push_str(message);
            }
            self.spans(out, context.event_span(event));
            out.push('}');
            self.buffer.push(Timestamp::now(), out.as_bytes(), *metadata.level() <= Level::WARN);
        };
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => write(&mut scratch),
            // A value that logs while it is formatted.
            Err(_) => write(&mut (String::new(), String::new())),
        });
    }
}
