//! Moving bytes: ranges of one file into its part, several at once, each ridden out through what goes wrong.
//!
//! A byte is written only at the offset that the answer says it has, and only when that was asked for; nothing here
//! decides that the file is right. What was written before an interruption is noted and never fetched again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE};
use reqwest::{Response, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::config::Tuning;
use crate::download::XetRange;
use crate::download::inlet::Inlet;
use crate::download::part::Part;
use crate::download::progress::Progress;
use crate::download::source::{SourceKind, Sources};
use crate::error::Error;
use crate::http::{describe, name_of, passing};
use crate::hub::Remote;
use crate::retry::{Budget, SourceTrouble};

/// A request asks for more next time when more than this share of it went by before its answer began, ...
const LONG_WAIT: u32 = 16;
/// ... and for less when less than this share did.
const SHORT_WAIT: u32 = 64;

/// What is asked of the Xet storage at first, in bytes.
const FIRST_XET_BYTES: u64 = 1 << 20;
/// What is asked of it at least, in bytes: two of its chunks.
const LEAST_XET_BYTES: u64 = 256 << 10;
/// It is asked for more when a range takes less than this, ...
const SHORT_XET_RANGE: Duration = Duration::from_secs(1);
/// ... and for less when it takes longer than this.
const LONG_XET_RANGE: Duration = Duration::from_secs(4);

/// One file on its way.
#[derive(Debug)]
pub(crate) struct Download<'a> {
    /// Where it may come from.
    pub(crate) sources: &'a Sources<'a>,
    /// What it is.
    pub(crate) remote: &'a Remote,
    /// Where the bytes are now on that way; `None` when that has to be asked.
    pub(crate) location: Mutex<Option<(SourceKind, Url)>>,
    /// Where they go.
    pub(crate) part: &'a Part,
    /// Who is told.
    pub(crate) progress: &'a Progress,
    /// The bounds.
    pub(crate) tuning: Tuning,
    /// When to stop.
    pub(crate) stop: &'a CancellationToken,
    /// Whether the source has been seen to send whole files only.
    pub(crate) whole_files_only: AtomicBool,
}

/// An answer that is safe to write: its bytes begin `skip` bytes before the range that was asked for.
struct RangeAnswer<'a> {
    body: RangeBody<'a>,
    skip: u64,
    source_name: String,
}

/// The bytes of an answer, by the transport that brings them.
enum RangeBody<'a> {
    Https(Response),
    Xet(XetRange<'a>),
}

impl RangeBody<'_> {
    /// The next bytes; `None` at the end.
    async fn chunk(&mut self) -> Result<Option<Bytes>, SourceTrouble> {
        match self {
            Self::Https(response) => response
                .chunk()
                .await
                .map_err(|error| SourceTrouble::again(describe(error))),
            Self::Xet(body) => body.chunk().await,
        }
    }
}

impl Download<'_> {
    /// Fetches what of `wanted` is missing, from one source after the other.
    ///
    /// # Errors
    ///
    /// When the last source fails for good, the disk does, or [`Error::Stopped`]; what came until then is kept.
    pub(crate) async fn fetch(&self, wanted: Range<u64>) -> Result<(), Error> {
        loop {
            let source = self.sources.current();
            match self.fetch_from(source, wanted.clone()).await {
                Err(error) if error.is_of_source() && self.sources.leave(source) => {
                    let next = self.sources.name(self.sources.current(), self.remote);
                    tracing::warn!(%error, next, "leaving the source; the same part goes on from the next");
                    self.whole_files_only.store(false, Ordering::Relaxed);
                }
                done => return done,
            }
        }
    }

    async fn fetch_from(&self, source: usize, wanted: Range<u64>) -> Result<(), Error> {
        loop {
            let whole = self.whole_files_only.load(Ordering::Relaxed);
            let queue = Mutex::new(VecDeque::from(self.part.missing(wanted.clone())));
            let parallel = !whole && wanted.end - wanted.start >= self.tuning.parallel_from_bytes;
            let streams = match (parallel, self.sources.way(source)) {
                (false, _) => 1,
                (true, SourceKind::Xet) => self.tuning.xet_streams,
                (true, SourceKind::Https | SourceKind::Mirror(_)) => self.tuning.streams,
            };
            let ended = tokio::select! {
                ended = try_join_all((0..streams).map(|_| self.work_off(source, &queue))) => ended,
                failed = self.part.keep_safe() => match failed? {},
            };
            // Whatever ended it: what came is kept.
            self.part.checkpoint().await?;
            ended?;
            if self.part.missing(wanted.clone()).is_empty() {
                return Ok(());
            }
        }
    }

    /// The next piece of what is in `queue` for one of the streams: at most `stride` bytes, or a whole gap.
    fn next(&self, queue: &Mutex<VecDeque<Range<u64>>>, stride: Option<u64>) -> Option<Range<u64>> {
        let mut queue = locked(queue);
        let left: u64 = queue.iter().map(|gap| gap.end - gap.start).sum();
        // Towards the end in small pieces, so that all streams end at about the same time.
        let share = left / (2 * self.tuning.streams as u64);
        let most = stride.map_or(u64::MAX, |stride| {
            stride.min(share.max(self.tuning.least_segment_bytes))
        });
        let gap = queue.front_mut()?;
        let segment = gap.start..gap.start.saturating_add(most).min(gap.end);
        gap.start = segment.end;
        if gap.is_empty() {
            queue.pop_front();
        }
        Some(segment)
    }

    /// One stream: takes segments until there are none, or until the source turns out to send whole files only.
    async fn work_off(
        &self,
        source: usize,
        queue: &Mutex<VecDeque<Range<u64>>>,
    ) -> Result<(), Error> {
        let mut budget = match self.sources.after(source) {
            None => Budget::new(self.tuning),
            Some(SourceKind::Mirror(_)) => Budget::with_alternatives(self.tuning),
            Some(SourceKind::Https | SourceKind::Xet) => Budget::half(self.tuning),
        };
        let way = self.sources.way(source);
        let mut inlet = Inlet::new(self.part, self.tuning.checkpoint_bytes);
        let mut stride = self.tuning.least_segment_bytes;
        let mut most = self.tuning.xet_segment_bytes;
        if way == SourceKind::Xet {
            stride = FIRST_XET_BYTES.min(most);
        }
        loop {
            let whole = self.whole_files_only.load(Ordering::Relaxed);
            let Some(mut segment) = self.next(queue, (!whole).then_some(stride)) else {
                return Ok(());
            };
            while !segment.is_empty() {
                let start = segment.start;
                let began = Instant::now();
                inlet.begin_at(start);
                let mut waited = Duration::ZERO;
                let mut asked = segment.clone();
                if way == SourceKind::Xet {
                    asked.end = asked.end.min(start + stride);
                }
                let ended = self
                    .attempt(source, &asked, whole, &mut inlet, &mut waited)
                    .await;
                inlet.write().await?;
                segment.start = inlet.position();
                budget.progressed(segment.start - start);
                match ended {
                    Ok(()) if way == SourceKind::Xet => {
                        stride = next_xet_stride(stride, began.elapsed()).min(most);
                    }
                    Ok(()) => stride = self.next_stride(stride, waited, began.elapsed()),
                    Err(SourceTrouble::RangeIgnored) => {
                        self.whole_files_only.store(true, Ordering::Relaxed);
                        locked(queue).clear();
                        return Ok(());
                    }
                    Err(trouble) => {
                        // A range that takes as long as a stall is too large for this line.
                        if way == SourceKind::Xet && began.elapsed() * 2 > self.tuning.stall {
                            most = (stride / 2).max(LEAST_XET_BYTES);
                            stride = stride.min(most);
                        }
                        let is_refused = matches!(trouble, SourceTrouble::Expired);
                        let place = locked(&self.location).clone();
                        let place = place.filter(|(from, _)| *from == way);
                        let name = place.map(|(_, url)| name_of(&url));
                        if is_refused {
                            locked(&self.location).take();
                        }
                        let name = name.unwrap_or_else(|| self.sources.name(source, self.remote));
                        let spent = self.or_stopped(budget.spend(&name, trouble)).await?;
                        spent.map_err(|error| {
                            self.sources.explain(source, self.remote, is_refused, error)
                        })?;
                    }
                }
            }
        }
    }

    /// How much to ask for after a request of `stride` bytes that took `whole`, of which `waited` until its answer began:
    /// little on a short way, so that the streams stay together and the digest can follow them; more on a long one.
    fn next_stride(&self, stride: u64, waited: Duration, whole: Duration) -> u64 {
        let Tuning {
            least_segment_bytes,
            segment_bytes,
            ..
        } = self.tuning;
        let next = if waited * LONG_WAIT > whole {
            stride.saturating_mul(2)
        } else if waited * SHORT_WAIT < whole {
            stride / 2
        } else {
            stride
        };
        next.clamp(least_segment_bytes, segment_bytes)
    }

    /// Fetches as much of `segment` as it can into `inlet`, and tells how long its answer was waited for.
    async fn attempt(
        &self,
        source: usize,
        segment: &Range<u64>,
        whole: bool,
        inlet: &mut Inlet<'_>,
        waited: &mut Duration,
    ) -> Result<(), SourceTrouble> {
        let began = Instant::now();
        let mut answer = self.or_stopped(self.ask(source, segment, whole)).await??;
        *waited = began.elapsed();
        self.receive(&mut answer, segment.end, inlet).await
    }

    /// Receives up to `end` or until something ends it.
    async fn receive(
        &self,
        answer: &mut RangeAnswer<'_>,
        end: u64,
        inlet: &mut Inlet<'_>,
    ) -> Result<(), SourceTrouble> {
        let stall = self.tuning.stall;
        let mut pace = Pace::new(self.tuning);
        loop {
            let left = end - inlet.position();
            if left == 0 {
                return Ok(());
            }
            let chunk = self
                .or_stopped(tokio::time::timeout(stall, answer.body.chunk()))
                .await?;
            let mut chunk = match chunk {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => {
                    return Err(SourceTrouble::again(format!(
                        "{} stopped too early",
                        answer.source_name
                    )));
                }
                Ok(Err(trouble)) => return Err(trouble),
                Err(_) => {
                    return Err(SourceTrouble::again(format!(
                        "nothing came for {} s",
                        stall.as_secs_f32()
                    )));
                }
            };
            let skipped = answer.skip.min(chunk.len() as u64);
            answer.skip -= skipped;
            drop(chunk.split_to(usize::try_from(skipped).unwrap_or(usize::MAX)));
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            self.progress.add(chunk.len() as u64);
            let slow = pace.is_too_slow(chunk.len() as u64);
            inlet.take(chunk).await?;
            if slow && inlet.position() < end {
                let rate = self.tuning.slow_bytes_per_second;
                let seconds = self.tuning.slow_for.as_secs_f32();
                return Err(SourceTrouble::again(format!(
                    "less than {rate} bytes/s came for {seconds} s"
                )));
            }
        }
    }

    /// Asks for `range`, and takes only an answer whose place in the file is certain.
    async fn ask(
        &self,
        source: usize,
        range: &Range<u64>,
        whole: bool,
    ) -> Result<RangeAnswer<'_>, SourceTrouble> {
        if self.sources.way(source) == SourceKind::Xet {
            let storage = self.sources.xet();
            return Ok(RangeAnswer {
                body: RangeBody::Xet(storage.open(self.remote, range).await?),
                skip: 0,
                source_name: storage.name(),
            });
        }
        let location = self.location(source).await?;
        let (response, url) = self.sources.client(source).get(location, range).await?;
        let status = response.status();
        if let Some(trouble) = passing(status, response.headers()) {
            return Err(trouble);
        }
        let source_name = name_of(&url);
        let text = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        if text(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(SourceTrouble::again(format!(
                "{source_name} sent encoded bytes, which cannot be placed"
            )));
        }
        let size = self.part.size();
        let said = text(CONTENT_RANGE).and_then(content_range);
        match status {
            // ModelScope answers a range with 200 and says which one it is.
            StatusCode::PARTIAL_CONTENT | StatusCode::OK
                if status == StatusCode::PARTIAL_CONTENT || said.is_some() =>
            {
                let fits = said.is_some_and(|(start, end, of)| {
                    start == range.start && end <= range.end && of.is_none_or(|of| of == size)
                });
                if !fits {
                    return Err(SourceTrouble::again(format!(
                        "{source_name} sent another range than the one asked for"
                    )));
                }
                Ok(RangeAnswer {
                    body: RangeBody::Https(response),
                    skip: 0,
                    source_name,
                })
            }
            StatusCode::OK => {
                let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
                if length.is_some_and(|length| length != size) {
                    return Err(SourceTrouble::again(format!(
                        "{source_name} sent a file of another size"
                    )));
                }
                if !whole && *range != (0..size) {
                    return Err(SourceTrouble::RangeIgnored);
                }
                Ok(RangeAnswer {
                    body: RangeBody::Https(response),
                    skip: range.start,
                    source_name,
                })
            }
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::GONE => {
                if self.sources.moves(source) {
                    return Err(SourceTrouble::Expired);
                }
                Err(Error::Refused {
                    source_name,
                    reason: format!("{status} instead of the file"),
                }
                .into())
            }
            _ => Err(SourceTrouble::again(format!(
                "{source_name} answered {status}"
            ))),
        }
    }

    /// Where the bytes are, asking when the last address was refused. The Hub's own refusal is final.
    async fn location(&self, source: usize) -> Result<Url, SourceTrouble> {
        let way = self.sources.way(source);
        if let Some((from, url)) = locked(&self.location).clone()
            && from == way
        {
            return Ok(url);
        }
        let url = self.sources.locate(source, self.remote).await?;
        *locked(&self.location) = Some((way, url.clone()));
        Ok(url)
    }

    /// `work`, unless it is time to stop.
    async fn or_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Error::Stopped),
            done = work => Ok(done),
        }
    }
}

/// How much to ask the Xet storage for after a range of `stride` bytes that took `whole`. Nothing of a range comes before
/// all of its first term is there, so a slow line needs small ranges to show that it moves at all.
fn next_xet_stride(stride: u64, whole: Duration) -> u64 {
    let next = if whole < SHORT_XET_RANGE {
        stride.saturating_mul(2)
    } else if whole > LONG_XET_RANGE {
        stride / 2
    } else {
        stride
    };
    next.max(LEAST_XET_BYTES)
}

/// How fast one answer comes, looked at once per window: a source that drips keeps no connection for ever.
#[derive(Debug)]
struct Pace {
    least_bytes: u64,
    window: Duration,
    began: Instant,
    n_bytes: u64,
}

impl Pace {
    fn new(tuning: Tuning) -> Self {
        let window = tuning.slow_for;
        let milliseconds = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let least_bytes = tuning.slow_bytes_per_second.saturating_mul(milliseconds) / 1000;
        Self {
            least_bytes,
            window,
            began: Instant::now(),
            n_bytes: 0,
        }
    }

    /// Notes `n_bytes` more; whether a window ended with too few.
    fn is_too_slow(&mut self, n_bytes: u64) -> bool {
        self.n_bytes += n_bytes;
        if self.began.elapsed() < self.window {
            return false;
        }
        let slow = self.n_bytes < self.least_bytes;
        (self.began, self.n_bytes) = (Instant::now(), 0);
        slow
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `bytes a-b/n` as a half-open range and the size, which may be `*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let start = start.parse().ok()?;
    let end = last.parse::<u64>().ok()?.checked_add(1)?;
    let size = if size == "*" {
        None
    } else {
        Some(size.parse().ok()?)
    };
    (start < end).then_some((start, end, size))
}
