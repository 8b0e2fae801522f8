//! A second reader of the protocol, written from protocol.md alone: it reads the tables of the document, which is part of
//! the build, and goes by them.
//!
//! It shares no code with the crate and knows none of it, which tests/tidy.rs holds, and tests/protocol_doc.rs and
//! tests/vectors.rs include it as a part of their own. So where the two readers agree, the document says enough for
//! somebody who has nothing else; where they do not, one of the three is wrong.

pub(crate) mod batch;
pub(crate) mod body;
pub(crate) mod compression;
pub(crate) mod document;
pub(crate) mod names;
pub(crate) mod notes;
pub(crate) mod tables;
