//! The vectors, made anew: what they mean is written here by hand, the bytes follow by the tables of protocol.md.
//!
//! Nothing here uses the crate's encoders, but for two batches whose records a real compressor has written.

mod batches;
mod compressed;
mod connection;
mod consumers;
mod draft;
mod errors;
mod fields;
mod frames;
mod preface;
mod producers;
mod reading;
mod records;
mod spoil;
mod topics;
mod unreadable_batches;

use connectify::protocol::ErrorCode;
use serde_json::Value;

pub(crate) use self::batches::meaning;
use crate::{
    document::Document,
    meaning::{write_body, write_field},
    tables::Layouts,
    vector::{FORMAT, File, Kind, Place, Vector},
};

/// An id as the examples of protocol.md have it, of a producer and of a consumer.
const PRODUCER: &str = "5a0c9b7e12f44d3b8e619f2d7c4b8a13";
const CONSUMER: &str = "c3d2e1f04b5a469788776655443322ff";

/// All files, in order of name.
pub(crate) fn files() -> Vec<File> {
    let maker = Maker::new();
    let file = |group: &str, about: &str, vectors: Vec<Vector>| File {
        format: FORMAT,
        group: group.to_owned(),
        about: about.to_owned(),
        vectors,
    };
    vec![
        file(
            "batches",
            "Batches without compression: section 5. As producers send them and as consumers get them.",
            [batches::vectors(&maker), unreadable_batches::vectors()].concat(),
        ),
        file("compressed", "Batches that are compressed, or say so: section 5.3.", compressed::vectors(&maker)),
        file("connection", "Bodies of Hello, Ping and ServerInfo: sections 4.1 to 4.4.", connection::vectors(&maker)),
        file(
            "consumers",
            "Bodies of RegisterConsumer, Commit, Dequeue and Backlog: sections 4.14 and 4.20 to 4.22.",
            consumers::vectors(&maker),
        ),
        file("errors", "The body of an error, once for every code: section 6.", errors::vectors(&maker)),
        file("fields", "Fields of each type, by themselves: section 1.2.", fields::vectors(&maker)),
        file("frames", "Frames as they arrive at a server: sections 2.3 and 3.", frames::vectors(&maker)),
        file("preface", "The first bytes of a connection: section 2.1.", preface::vectors()),
        file(
            "producers",
            "Bodies of RegisterProducer, Append, ProducerState, ListProducers and ForgetProducer: sections 4.9 to 4.13.",
            producers::vectors(&maker),
        ),
        file(
            "reading",
            "Bodies of Fetch, Subscribe, Deliver, Credit, Unsubscribe and OffsetForTimestamp: sections 4.15 to 4.19 and 4.23.",
            reading::vectors(&maker),
        ),
        file(
            "records",
            "Varints, zigzags, checksums and records by themselves: sections 5.1 and 5.2.",
            records::vectors(),
        ),
        file("topics", "Bodies of the messages about topics: sections 4.5 to 4.8.", topics::vectors(&maker)),
    ]
}

/// What the making of a vector needs: the tables of protocol.md.
pub(crate) struct Maker {
    document: Document,
    layouts: Layouts,
}

impl Maker {
    fn new() -> Self {
        let (document, layouts) = Layouts::with_document();
        Self { document, layouts }
    }

    /// Where a body that cannot be read is refused.
    fn place(&self, message: &str) -> Place {
        let is_request = |name: &str| self.layouts.messages.iter().any(|row| row.request.as_deref() == Some(name));
        match message {
            "Hello" => Place::GoAway,
            "Credit" => Place::Ignored,
            // GoAway is a request by its opcode, and goes to clients only.
            "ErrorBody" => Place::Client,
            _ if is_request(message) => Place::Answer,
            _ => Place::Client,
        }
    }

    /// A body that is good.
    fn body(&self, message: &str, name: &str, value: Value) -> Vector {
        let written = write_body(&self.layouts, message, &value);
        let name = format!("{}-{name}", slug(message));
        Vector::new(name, Kind::Body, &written.bytes()).of_message(message).means(value)
    }

    /// A body that can be read, and is refused for what it says.
    fn refused(&self, message: &str, name: &str, value: Value, code: ErrorCode, details: &[u64]) -> Vector {
        let place = self.place(message);
        self.body(message, name, value).gets(code, place, details)
    }

    /// A body that cannot be read.
    fn malformed(&self, message: &str, name: &str, body: &[u8]) -> Vector {
        let name = format!("{}-{name}", slug(message));
        let vector = Vector::new(name, Kind::Body, body).of_message(message);
        vector.gets(ErrorCode::MalformedBody, self.place(message), &[])
    }

    /// Good bodies of a message, and all ways to spoil the first of them.
    fn bodies<const N: usize>(&self, message: &str, samples: [(&str, Value); N]) -> Vec<Vector> {
        let first = write_body(&self.layouts, message, &samples[0].1);
        let mut vectors: Vec<_> = samples.into_iter().map(|(name, value)| self.body(message, name, value)).collect();
        vectors.extend(spoil::ways(&first.pieces).into_iter().map(|(how, body)| self.malformed(message, &how, &body)));
        vectors
    }

    fn field(&self, kind: &str, name: &str, value: Value) -> Vector {
        let written = write_field(&self.layouts, kind, &value);
        Vector::new(name, Kind::Field, &written.bytes()).of_type(kind).means(value)
    }
}

/// A name in small letters with dashes: `CreateTopic` and `parts[0].topic_id` become `create-topic` and `parts-0-topic-id`.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        match c {
            'A'..='Z' if !slug.is_empty() && !slug.ends_with('-') => {
                slug.push('-');
                slug.push(c.to_ascii_lowercase());
            }
            'A'..='Z' => slug.push(c.to_ascii_lowercase()),
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.trim_end_matches('-').to_owned()
}
