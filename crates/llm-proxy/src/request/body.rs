//! Reads bodies: each up to a cap and a deadline, all together up to a budget of bytes.
//!
//! Connections are many and a body is held until it is parsed; without a budget a thousand callers could fill the
//! memory with bodies that they send slowly.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is not said to be JSON in UTF-8.
    MediaType,
    /// It is compressed.
    Compressed,
    /// It is larger than a body may be.
    TooLarge {
        /// What it may be.
        max_bytes: usize,
    },
    /// It did not arrive in time.
    Timeout,
    /// It ended early.
    Unreadable,
    /// All bodies together are as large as they may be.
    NoRoom,
}

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
    /// Bodies of at most `max_bytes` each and `max_all_bytes` together, each read within `deadline`.
    pub(crate) fn new(max_bytes: usize, max_all_bytes: usize, deadline: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max_all_bytes)),
            max_bytes,
            deadline,
        }
    }

    /// Reads the whole of `body`. Not cancel-safe: a part is lost.
    pub(crate) async fn read(&self, body: Body) -> Result<Held, BodyError> {
        tokio::time::timeout(self.deadline, self.collect(body))
            .await
            .map_err(|_| BodyError::Timeout)?
    }

    async fn collect(&self, mut body: Body) -> Result<Held, BodyError> {
        let too_large = BodyError::TooLarge {
            max_bytes: self.max_bytes,
        };
        let mut bytes = BytesMut::new();
        let mut share = None::<OwnedSemaphorePermit>;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Unreadable)?.into_data() else {
                continue;
            };
            if data.len() > self.max_bytes - bytes.len() {
                return Err(too_large);
            }
            let n_bytes = u32::try_from(data.len()).map_err(|_| BodyError::NoRoom)?;
            let more = Arc::clone(&self.free)
                .try_acquire_many_owned(n_bytes)
                .map_err(|_| BodyError::NoRoom)?;
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

/// Checks what the header says of the body: JSON in UTF-8, not compressed, at most `max_bytes`.
pub(crate) fn check_headers(headers: &HeaderMap, max_bytes: usize) -> Result<(), BodyError> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > max_bytes) {
        return Err(BodyError::TooLarge { max_bytes });
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(BodyError::Compressed);
    }
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds
        .next()
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    let json = parts.next() == Some("application/json");
    let utf8 = parts.all(|part| {
        !part.starts_with("charset") || ["charset=utf-8", "charset=\"utf-8\""].contains(&part)
    });
    if json && utf8 && kinds.next().is_none() {
        Ok(())
    } else {
        Err(BodyError::MediaType)
    }
}
