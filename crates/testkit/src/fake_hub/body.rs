//! The bytes of a file as a response body, bent by the faults that concern bytes.

use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::time::Instant;

use super::script::Fault;
use super::{Content, Shared};

/// Bytes of a file in one piece of a body.
const CHUNK_BYTES: u64 = 64 * 1024;
/// The most pieces in which a slow connection gets its bytes of a second.
const DRIPS_PER_SECOND: u64 = 20;
/// How long a cut waits, so that the bytes before it leave the server.
const FLUSH: Duration = Duration::from_millis(20);
/// What a late timer may catch up on, so that a rate is met and not merely stayed below.
const CREDIT: Duration = Duration::from_millis(10);

/// What happens to a body on its way.
#[derive(Clone, Copy, Debug, Default)]
struct Bend {
    cut_after: Option<u64>,
    cut_every: Option<u64>,
    stall_after: Option<u64>,
    flip_at: Option<u64>,
    bytes_per_second: Option<u64>,
}

struct Reader {
    content: Content,
    file: Option<tokio::fs::File>,
    position: u64,
    tally: ServedBytes,
    sent: u64,
    end: u64,
    broken: bool,
    next_at: Option<Instant>,
    bend: Bend,
    shared: Arc<Shared>,
}

/// Where the bytes of a body are counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum ServedBytes {
    /// As a range of its file, under that number.
    File(usize),
    /// As part of a xorb.
    Xorb,
}

/// The bytes of that `range` of `content`.
pub(super) fn body(
    shared: &Arc<Shared>,
    content: &Content,
    range: Range<u64>,
    tally: ServedBytes,
    faults: &[Fault],
) -> Body {
    let mut bend = Bend::default();
    for fault in faults {
        match fault {
            Fault::CutAfter(n) => bend.cut_after = Some(*n),
            Fault::CutEvery(n) => bend.cut_every = Some(*n),
            Fault::StallAfter(n) => bend.stall_after = Some(*n),
            Fault::FlipByteAt(offset) => bend.flip_at = Some(*offset),
            Fault::BytesPerSecond(n) => bend.bytes_per_second = Some(*n),
            Fault::Status { .. }
            | Fault::NoHead(_)
            | Fault::Silence
            | Fault::Header(..)
            | Fault::Expired
            | Fault::IgnoreRange
            | Fault::WrongContentRange
            | Fault::NoDigest
            | Fault::OtherCommit(_)
            | Fault::RedirectTo(_)
            | Fault::TokenLasts(_)
            | Fault::CasUrl(_) => {}
        }
    }
    let reader = Reader {
        content: content.clone(),
        file: None,
        position: range.start,
        tally,
        sent: 0,
        end: range.end,
        broken: false,
        next_at: None,
        bend,
        shared: Arc::clone(shared),
    };
    Body::from_stream(stream::unfold(reader, |mut reader| async move {
        let chunk = reader.next().await?;
        Some((chunk, reader))
    }))
}

impl Reader {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.broken || self.position >= self.end {
            return None;
        }
        let mut n_bytes = CHUNK_BYTES.min(self.end - self.position);
        if let Some(rate) = self.bend.bytes_per_second {
            n_bytes = n_bytes.min((rate / DRIPS_PER_SECOND).max(1));
        }
        if let Some(limit) = self.bend.stall_after {
            n_bytes = n_bytes.min(limit.saturating_sub(self.sent));
            if n_bytes == 0 {
                std::future::pending::<()>().await;
            }
        }
        if let Some(limit) = self.bend.cut_after {
            n_bytes = n_bytes.min(limit.saturating_sub(self.sent));
            if n_bytes == 0 {
                return self.cut().await;
            }
        }
        if let Some(rate) = self.bend.bytes_per_second {
            let now = Instant::now();
            let earliest = now.checked_sub(CREDIT).unwrap_or(now);
            let at = self.next_at.unwrap_or(now).max(earliest)
                + Duration::from_micros(n_bytes * 1_000_000 / rate.max(1));
            self.next_at = Some(at);
            tokio::time::sleep_until(at).await;
        }
        let chunk = self.read(n_bytes).await;
        if let Ok(chunk) = &chunk {
            self.position += chunk.len() as u64;
            self.sent += chunk.len() as u64;
            match self.tally {
                ServedBytes::File(index) => self.shared.note_sent(index, self.position),
                ServedBytes::Xorb => self
                    .shared
                    .xorbs_served
                    .send_modify(|all| *all += chunk.len() as u64),
            }
            let mut served = 0;
            self.shared.served.send_modify(|all| {
                *all += chunk.len() as u64;
                served = *all;
            });
            let before = served - chunk.len() as u64;
            if self
                .bend
                .cut_every
                .is_some_and(|step| before / step.max(1) < served / step.max(1))
            {
                return self.cut().await;
            }
        }
        Some(chunk)
    }

    /// Breaks the connection, a little later.
    async fn cut(&mut self) -> Option<io::Result<Bytes>> {
        tokio::time::sleep(FLUSH).await;
        self.broken = true;
        Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)))
    }

    async fn read(&mut self, n_bytes: u64) -> io::Result<Bytes> {
        let length = usize::try_from(n_bytes).map_err(io::Error::other)?;
        let mut chunk = match &self.content {
            Content::Bytes(bytes) => {
                let start = usize::try_from(self.position).map_err(io::Error::other)?;
                bytes.slice(start..start + length)
            }
            Content::Path(path) => {
                if self.file.is_none() {
                    let mut file = tokio::fs::File::open(path).await?;
                    file.seek(io::SeekFrom::Start(self.position)).await?;
                    self.file = Some(file);
                }
                let mut chunk = vec![0; length];
                if let Some(file) = &mut self.file {
                    file.read_exact(&mut chunk).await?;
                }
                chunk.into()
            }
        };
        if let Some(offset) = self.bend.flip_at
            && (self.position..self.position + n_bytes).contains(&offset)
        {
            let mut bent = chunk.to_vec();
            bent[usize::try_from(offset - self.position).map_err(io::Error::other)?] ^= 0x01;
            chunk = bent.into();
        }
        Ok(chunk)
    }
}

/// The SHA-256 of `bytes`, as hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The size and SHA-256 of a file, read in pieces.
pub(super) fn sha256_of_file(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut hash, mut size) = (std::fs::File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n_bytes = file.read(&mut buffer)?;
        if n_bytes == 0 {
            return Ok((size, hex(&hash.finalize())));
        }
        hash.update(&buffer[..n_bytes]);
        size += n_bytes as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
