//! Reads bodies: each up to a cap and a deadline, all together up to a budget of bytes.
//!
//! Connections are many and a body is held until it is parsed; without a budget a thousand callers could fill the
//! memory with bodies that they send slowly.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::error::Error;

/// What bodies are bound by.
#[derive(Debug)]
pub(crate) struct Bodies {
    /// The bytes that may yet be held in bodies not yet parsed.
    free: Arc<Semaphore>,
    /// Of one of them.
    max_bytes: usize,
    deadline: Duration,
}

/// A body that was read, and its share of the budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(crate) fn new(config: &Config) -> Self {
        let free = Arc::new(Semaphore::new(config.max_bodies_bytes));
        Self {
            free,
            max_bytes: config.max_body_bytes,
            deadline: config.body_deadline,
        }
    }

    /// Reads the whole of `body`. Not cancel-safe: a part is lost.
    pub(crate) async fn read(&self, body: Body) -> Result<Held, Error> {
        tokio::time::timeout(self.deadline, self.collect(body))
            .await
            .map_err(|_| Error::BodyTimeout)?
    }

    async fn collect(&self, mut body: Body) -> Result<Held, Error> {
        let too_large = Error::BodyTooLarge {
            max_bytes: self.max_bytes,
        };
        let (mut bytes, mut share) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Error::BodyUnreadable)?.into_data() else {
                continue;
            };
            if data.len() > self.max_bytes - bytes.len() {
                return Err(too_large);
            }
            let n_bytes = u32::try_from(data.len()).map_err(|_| Error::Overloaded)?;
            let more = Arc::clone(&self.free)
                .try_acquire_many_owned(n_bytes)
                .map_err(|_| Error::Overloaded)?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held {
            bytes: bytes.freeze(),
            _share: share,
        })
    }
}
