//! What a client is told once, by its builder.

use std::{sync::Arc, time::Duration};

use rand::{SeedableRng, rngs::StdRng};

use super::{
    backoff::Backoff,
    error::Error,
    transport::{Connector, tcp},
};
use crate::{
    limits::{HANDSHAKE_TIMEOUT, MAX_CREDENTIALS_BYTES, MAX_FRAME_BYTES, MIN_FRAME_BYTES},
    protocol::{Hello, PROTOCOL_VERSION},
    record::check_name,
};

/// Each field is described at the method of [`super::ClientBuilder`] that sets it.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) address: Arc<str>,
    pub(super) connector: Connector,
    pub(super) name: String,
    pub(super) credentials: Vec<u8>,
    pub(super) max_frame_bytes: u32,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) min_delay: Duration,
    pub(super) max_delay: Duration,
    pub(super) seed: Option<u64>,
}

impl Settings {
    pub(super) fn new(address: Arc<str>) -> Self {
        Self {
            connector: tcp(Arc::clone(&address)),
            address,
            name: concat!("connectify-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials: Vec::new(),
            max_frame_bytes: u32::try_from(MAX_FRAME_BYTES).expect("8 MiB fit in 32 bits"),
            connect_timeout: HANDSHAKE_TIMEOUT,
            request_timeout: Duration::from_secs(30),
            min_delay: Duration::from_millis(50),
            max_delay: Duration::from_secs(5),
            seed: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        check_name(&self.name).map_err(|source| Error::InvalidName { what: "client", source })?;
        let (bytes, limit) = (self.credentials.len(), MAX_CREDENTIALS_BYTES);
        if bytes > limit {
            return Err(Error::invalid(format!("credentials of {bytes} bytes exceed limit of {limit}")));
        }
        let (bytes, range) = (self.max_frame_bytes as usize, MIN_FRAME_BYTES..=MAX_FRAME_BYTES);
        if !range.contains(&bytes) {
            return Err(Error::invalid(format!("frames of {bytes} bytes are not within {range:?}")));
        }
        Ok(())
    }

    pub(super) fn hello(&self) -> Hello {
        Hello {
            client_name: self.name.clone(),
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            credentials: self.credentials.clone(),
            max_frame_bytes: self.max_frame_bytes,
        }
    }

    pub(super) fn chance(&self) -> StdRng {
        self.seed.map_or_else(rand::make_rng, StdRng::seed_from_u64)
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.min_delay, self.max_delay, self.chance())
    }
}
