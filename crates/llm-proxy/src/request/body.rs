//! Reads bodies: each up to the router's cap and a deadline, all together up to a budget of bytes.
//!
//! Connections are many and a body is held until it is parsed; without a budget a thousand callers could fill the
//! memory with bodies that they send slowly.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, LengthLimitError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// The bytes that may be held in bodies not yet parsed. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    free: Arc<Semaphore>,
}

/// A body that was read, and its share of the budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// A budget of `max_bytes` for all bodies together.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(max_bytes)) }
    }

    /// Reads the whole of `body`, which the router has capped at `max_bytes`. Not cancel-safe: a part is lost.
    pub(crate) async fn read(&self, body: Body, max_bytes: usize, deadline: Duration) -> Result<Held, Error> {
        let reading = self.collect(body, max_bytes);
        tokio::time::timeout(deadline, reading).await.map_err(|_| Error::BodyTimeout)?
    }

    async fn collect(&self, mut body: Body, max_bytes: usize) -> Result<Held, Error> {
        let (mut bytes, mut share) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let over =
                    std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
                        .any(|error| error.is::<LengthLimitError>());
                if over { Error::BodyTooLarge { max_bytes } } else { Error::BodyUnreadable }
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let n_bytes = u32::try_from(data.len()).map_err(|_| Error::BodyTooLarge { max_bytes })?;
            let more =
                Arc::clone(&self.free).try_acquire_many_owned(n_bytes).map_err(|_| Error::Overloaded)?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), _share: share })
    }
}
