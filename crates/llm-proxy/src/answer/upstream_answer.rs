//! One upstream's answer, event by event.
//!
//! It owns the permit, the connection and the deadlines until the last byte; dropping it frees all of them. Events are
//! the upstream's bytes, never rewritten. An answer that is cut or broken is an error, never a shorter answer.
//! Backpressure is the caller's pull: without it nothing is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use admission::{Permit, UpstreamCount};
use bytes::{Bytes, BytesMut};
use llama_client::Body;
use llama_client::events::{Alike, Kind, Scanner, Text, Usage, counted, failure, read};
use tokio::time::{Instant, Sleep};

use crate::answer::clock::Clock;
use crate::error::Error;
use crate::fleet::{Fleet, SentRequest};

/// How long the upstream may take to end its body after `[DONE]`.
const END_GRACE: Duration = Duration::from_millis(200);

/// An answer under way. Fields drop in order: the connection closes before the slot is free for another.
pub(crate) struct UpstreamAnswer {
    body: Body,
    permit: Permit,
    /// The upstream works on it.
    running: SentRequest,
    scanner: Scanner,
    alike: Alike,
    clock: Clock,
    /// Wakes the task at the next deadline or silence. It is reset late, because a timer for each event is not cheap.
    alarm: Pin<Box<Sleep>>,
    keep_alive: Duration,
    /// When bytes were last read. All events of one read came then.
    now: Instant,
    /// Whether the caller waits for a step.
    is_asked: bool,
    /// When the caller last had something to read.
    last_passed: Instant,
    usage: Usage,
}

/// What [`UpstreamAnswer::poll_step`] saw.
#[derive(Debug)]
pub(crate) enum Step {
    /// A whole event, as it came.
    Event(AnswerEvent),
    /// Nothing, for as long as `keep_alive`.
    Silence,
}

/// A whole event, as it came.
#[derive(Debug)]
pub(crate) struct AnswerEvent {
    pub(crate) kind: Kind,
    pub(crate) bytes: BytesMut,
    /// Where the event's text is, if it holds nothing else.
    pub(crate) text: Option<Text>,
    /// Whether the upstream's count changed with it.
    pub(crate) counted: bool,
    pub(crate) is_first_token: bool,
}

impl UpstreamAnswer {
    /// Begins with an answer whose header was read.
    pub(crate) fn new(
        body: Body,
        mut permit: Permit,
        running: SentRequest,
        clock: Clock,
        keep_alive: Duration,
    ) -> Self {
        let now = Instant::now();
        permit.begin();
        Self {
            body,
            permit,
            running,
            scanner: Scanner::default(),
            alike: Alike::default(),
            alarm: Box::pin(tokio::time::sleep_until(clock.at().min(now + keep_alive))),
            clock,
            keep_alive,
            now,
            is_asked: false,
            last_passed: now,
            usage: Usage::default(),
        }
    }

    /// The upstream's work on it.
    pub(crate) fn running(&self) -> &SentRequest {
        &self.running
    }

    /// What the upstream has counted so far.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// When the events that were last read came.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Something was written to the caller.
    pub(crate) fn passed(&mut self) {
        self.last_passed = self.now;
    }

    /// The next event. Nothing is lost between two calls.
    pub(crate) fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Result<Step, Error>> {
        let step = ready!(self.poll_read(context));
        self.is_asked = false;
        Poll::Ready(step)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Step, Error>> {
        loop {
            if let Some(event) = self.at_hand()? {
                return Poll::Ready(Ok(Step::Event(event)));
            }
            // An event that is no token moves no deadline, so it is checked before each read, not only by the alarm.
            if self.clock.at() <= self.now {
                return Poll::Ready(Err(self.clock.error()));
            }
            if !std::mem::replace(&mut self.is_asked, true) {
                // The caller's own pause, since it was given the last step, is not the upstream's silence.
                self.clock.was_not_asked(self.now.elapsed());
            }
            let scanner = &mut self.scanner;
            let read = self.body.poll_read(context, |bytes| {
                let pushed = scanner.push(bytes);
                pushed.map_err(|_| llama_client::Error::Invalid)
            });
            match read? {
                Poll::Ready(true) => {
                    self.now = Instant::now();
                    continue;
                }
                Poll::Ready(false) => return Poll::Ready(self.ended().map(Step::Event)),
                Poll::Pending => {}
            }
            ready!(self.alarm.as_mut().poll(context));
            self.now = Instant::now();
            if self.clock.at() <= self.now {
                return Poll::Ready(Err(self.clock.error()));
            }
            let is_silent = self.last_passed + self.keep_alive <= self.now;
            if is_silent {
                self.last_passed = self.now;
            }
            let next = self.clock.at().min(self.last_passed + self.keep_alive);
            self.alarm.as_mut().reset(next);
            if is_silent {
                return Poll::Ready(Ok(Step::Silence));
            }
        }
    }

    /// The next event that has already come, if there is one.
    pub(crate) fn at_hand(&mut self) -> Result<Option<AnswerEvent>, Error> {
        match self.scanner.next_event() {
            Some(bytes) => self.classify(bytes).map(Some),
            None => Ok(None),
        }
    }

    fn classify(&mut self, bytes: BytesMut) -> Result<AnswerEvent, Error> {
        let text = self.alike.token(&bytes);
        let (kind, usage) = match &text {
            Some(_) => (Kind::Token, None),
            None => read(&bytes),
        };
        if let Some(usage) = usage {
            self.usage = self.usage.and(usage);
            self.permit.counted(count(self.usage));
        }
        let is_first_token = kind == Kind::Token && !self.clock.has_token();
        match kind {
            Kind::Token => {
                if text.is_none() {
                    self.alike.learn(&bytes);
                }
                self.permit.token();
                self.clock.token(self.now);
                // The first token may take longer than the next, so the alarm may be later than the new deadline.
                if self.clock.at() < self.alarm.deadline() {
                    self.alarm.as_mut().reset(self.clock.at());
                }
            }
            Kind::Error => return Err(failure(&bytes).into()),
            Kind::Done => self.running.complete(),
            Kind::Progress(_) | Kind::Usage | Kind::Other => {}
        }
        if !matches!(kind, Kind::Progress(_)) {
            self.last_passed = self.now;
        }
        Ok(AnswerEvent {
            kind,
            bytes,
            text,
            counted: usage.is_some(),
            is_first_token,
        })
    }

    /// The body ended. At most the last event without its blank line is still there.
    fn ended(&mut self) -> Result<AnswerEvent, Error> {
        let Some(rest) = self.scanner.rest() else {
            return Err(Error::UpstreamTruncated);
        };
        let event = self.classify(rest)?;
        if event.kind == Kind::Done {
            Ok(event)
        } else {
            Err(Error::UpstreamTruncated)
        }
    }

    /// The last event came: what is left is the end of the body.
    pub(crate) fn finish(&mut self) {
        self.alarm.as_mut().reset(Instant::now() + END_GRACE);
    }

    /// Reads to the end of the body, for a short while, so that llama-server sees an answer that was taken whole.
    pub(crate) fn poll_finished(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(read) = self.body.poll_read(context, |_| Ok(())) {
            if !matches!(read, Ok(true)) {
                return Poll::Ready(());
            }
        }
        self.alarm.as_mut().poll(context)
    }

    /// Ends an answer that failed with `error`: the fleet settles whose fault that was while the slot is held.
    pub(crate) async fn fail(mut self, fleet: Arc<Fleet>, error: Error) -> Error {
        fleet.failed(&mut self.running, &error).await;
        error
    }

    /// An answer that is neither streamed nor written token by token, as it is. Dropping the call frees the slot.
    pub(crate) async fn plain(self, fleet: &Fleet, max_bytes: usize) -> Result<Bytes, Error> {
        let Self {
            body,
            mut permit,
            mut running,
            clock,
            ..
        } = self;
        let whole = tokio::time::timeout_at(clock.total_at(), body.whole(max_bytes));
        let error = match whole.await {
            Ok(Ok(bytes)) => {
                running.complete();
                fleet.served(&running);
                if let Some(usage) = counted(&bytes) {
                    permit.counted(count(usage));
                }
                return Ok(bytes);
            }
            Ok(Err(error)) => error.into(),
            Err(_) => Error::TotalTimeout,
        };
        fleet.failed(&mut running, &error).await;
        Err(error)
    }
}

/// The same numbers for the queue, which knows nothing of llama-server's wire.
pub(crate) fn count(usage: Usage) -> UpstreamCount {
    UpstreamCount {
        n_prompt_tokens: usage.n_prompt_tokens,
        n_cached_tokens: usage.n_cached_tokens,
        n_completion_tokens: usage.n_completion_tokens,
        prefill: usage.prefill,
        decode: usage.decode,
    }
}
