//! The last step of one stream: its bytes are collected, written to the part, and made safe while more come in. Pieces
//! that are large already are written as they are.
//!
//! What a killed process can lose of a stream is bounded here: the bytes in the buffer, those since a checkpoint was last
//! asked for, and those that this one is still busy with.

use bytes::Bytes;

use crate::download::part::Part;
use crate::error::Error;

/// Bytes that are collected before they are written, per stream. Never more are held, so that memory stays small.
const BUFFER_BYTES: usize = 512 << 10;
/// Bytes from which on a piece is worth a write of its own.
const LARGE_BYTES: usize = 128 << 10;

/// Where the bytes of one stream go.
#[derive(Debug)]
pub(crate) struct Inlet<'a> {
    part: &'a Part,
    buffer: Vec<u8>,
    /// Where the first byte of the buffer belongs.
    written: u64,
    /// Written since the last checkpoint was begun.
    n_unsafe: u64,
    /// After so many bytes a checkpoint is begun.
    step: u64,
    /// The checkpoint that was last asked for.
    checkpoint: u64,
}

impl<'a> Inlet<'a> {
    /// An inlet that never has more than `checkpoint_bytes` unsafe, or one buffer if that is more.
    pub(crate) fn new(part: &'a Part, checkpoint_bytes: u64) -> Self {
        let step = checkpoint_bytes.saturating_sub(BUFFER_BYTES as u64) / 2;
        Self {
            part,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            written: 0,
            n_unsafe: 0,
            step,
            checkpoint: 0,
        }
    }

    /// The next bytes belong at `offset`.
    pub(crate) fn begin_at(&mut self, offset: u64) {
        self.buffer.clear();
        self.written = offset;
    }

    /// Where the next byte belongs.
    pub(crate) fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// When the disk does not.
    pub(crate) async fn take(&mut self, mut chunk: Bytes) -> Result<(), Error> {
        if chunk.len() >= LARGE_BYTES {
            self.write().await?;
            let n_bytes = chunk.len() as u64;
            drop(self.part.write(self.written, chunk).await?);
            self.wrote(n_bytes).await;
            return Ok(());
        }
        while !chunk.is_empty() {
            self.buffer.reserve_exact(BUFFER_BYTES - self.buffer.len());
            let room = BUFFER_BYTES - self.buffer.len();
            self.buffer
                .extend_from_slice(&chunk.split_to(room.min(chunk.len())));
            if self.buffer.len() == BUFFER_BYTES {
                self.write().await?;
            }
        }
        Ok(())
    }

    /// Writes what was collected. Making it safe goes on behind.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub(crate) async fn write(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let n_bytes = self.buffer.len() as u64;
        self.buffer = self
            .part
            .write(self.written, std::mem::take(&mut self.buffer))
            .await?;
        self.buffer.clear();
        self.wrote(n_bytes).await;
        Ok(())
    }

    /// Notes that `n_bytes` more were written.
    async fn wrote(&mut self, n_bytes: u64) {
        self.written += n_bytes;
        self.n_unsafe += n_bytes;
        if self.n_unsafe > self.step {
            self.part.until_safe(self.checkpoint).await;
            self.checkpoint = self.part.want_checkpoint();
            self.n_unsafe = 0;
        }
    }
}
