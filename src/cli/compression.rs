//! How batches are compressed, as an argument.

use clap::ValueEnum;
use connectify::record::Compression;

/// A method.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Method {
    None,
    /// Fast
    Lz4,
    /// Small
    Zstd,
}

impl From<Method> for Compression {
    fn from(method: Method) -> Self {
        match method {
            Method::None => Self::None,
            Method::Lz4 => Self::Lz4,
            Method::Zstd => Self::Zstd,
        }
    }
}
