//! Passes the upstream's answer on, event by event, and keeps it honest.
//!
//! It owns the permit, the connection, the deadlines and the record until the last byte; dropping it frees all of them.
//! Bytes pass untouched, or not at all. A failure is one error event without `[DONE]`; nothing is tried again, nothing looks complete
//! that is not. Backpressure is the caller's pull: without it nothing is read.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::shutdown::Shutdown;
use futures_util::stream::Stream;
use tokio::time::{Instant, Sleep};

use crate::answer::deadlines::Clock;
use crate::error::Error;
use crate::fleet::{Fleet, SentRequest};
use crate::observe::record::Record;
use admission::{Permit, UpstreamCount};
use llama_client as upstream;
use llama_client::events::{Alike, Kind, Scanner, Text, Usage, failure, read};

/// Written after a silence; also how a caller that went without a word is noticed.
pub(crate) const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";
/// How long the upstream may take to end its body after `[DONE]`, before its connection is given up.
const END_GRACE: Duration = Duration::from_millis(200);

/// An answer under way. Fields drop in order: the connection closes before the slot is free for another.
pub(crate) struct Answer {
    body: upstream::Body,
    permit: Permit,
    /// The upstream works on it.
    running: SentRequest,
    /// Hears how the answer went.
    fleet: Arc<Fleet>,
    scanner: Scanner,
    alike: Alike,
    /// Where the text of the last event is, if it holds nothing else.
    text: Option<Text>,
    clock: Clock,
    /// Wakes [`Answer::next`] at the next deadline or silence; late resets are cheap, timers per event are not.
    alarm: Pin<Box<Sleep>>,
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    keep_alive: Duration,
    /// When something was last read; all events of one read came then.
    now: Instant,
    /// When the caller last had something to read.
    last_passed: Instant,
    usage: Usage,
    pub(crate) record: Record,
}

/// What [`Answer::next`] saw.
#[derive(Debug)]
pub(crate) enum Step {
    /// A whole event, as it came.
    Event(Kind, BytesMut),
    /// Nothing, for a while.
    Silence,
}

/// What ended a wait.
enum Woken {
    Read(Result<bool, Error>),
    Alarm,
    Closing,
}

impl Answer {
    pub(crate) fn new(
        (body, mut permit, running): (upstream::Body, Permit, SentRequest),
        fleet: Arc<Fleet>,
        clock: Clock,
        keep_alive: Duration,
        shutdown: Shutdown,
        record: Record,
    ) -> Self {
        let now = Instant::now();
        permit.begin();
        Self {
            body,
            permit,
            running,
            fleet,
            scanner: Scanner::default(),
            alike: Alike::default(),
            text: None,
            alarm: Box::pin(tokio::time::sleep_until(clock.at().min(now + keep_alive))),
            clock,
            closing: Box::pin(async move { shutdown.closing().await }),
            keep_alive,
            now,
            last_passed: now,
            usage: Usage::default(),
            record,
        }
    }

    /// The next event. Cancel-safe: what was read stays in the scanner.
    pub(crate) async fn next(&mut self) -> Result<Step, Error> {
        let next = self.read().await;
        if let Err(error) = &next {
            self.fleet.failed(&mut self.running, error).await;
        }
        next
    }

    /// Where the text of the event that came last is, if it holds nothing else.
    pub(crate) fn text(&self) -> Option<&Text> {
        self.text.as_ref()
    }

    /// The next event that has already come, if there is one.
    async fn at_hand(&mut self) -> Option<Result<Step, Error>> {
        let next = self.scanner.next_event().map(|event| self.classify(event));
        if let Some(Err(error)) = &next {
            self.fleet.failed(&mut self.running, error).await;
        }
        next
    }

    async fn read(&mut self) -> Result<Step, Error> {
        loop {
            if let Some(event) = self.scanner.next_event() {
                return self.classify(event);
            }
            // All that came was looked at: what is no token moves no deadline, though the alarm was not looked at.
            if self.clock.at() <= self.now {
                return Err(self.clock.error());
            }
            // Since the last read the caller took what it brought. A pause of its own is not the upstream's silence.
            self.clock.was_not_asked(self.now.elapsed());
            match self.wake().await {
                Woken::Closing => return Err(Error::ShuttingDown),
                Woken::Read(Err(error)) => return Err(error),
                Woken::Read(Ok(false)) => return self.ended(),
                Woken::Read(Ok(true)) => self.now = Instant::now(),
                Woken::Alarm => {
                    self.now = Instant::now();
                    if self.clock.at() <= self.now {
                        return Err(self.clock.error());
                    }
                    let silent = self.last_passed + self.keep_alive <= self.now;
                    if silent {
                        self.last_passed = self.now;
                    }
                    self.alarm
                        .as_mut()
                        .reset(self.clock.at().min(self.last_passed + self.keep_alive));
                    if silent {
                        return Ok(Step::Silence);
                    }
                }
            }
        }
    }

    /// Waits for bytes, which are then in the scanner, for the alarm, or for the end of the drain. Cancel-safe.
    async fn wake(&mut self) -> Woken {
        std::future::poll_fn(|context| {
            if self.closing.as_mut().poll(context).is_ready() {
                return Poll::Ready(Woken::Closing);
            }
            let (body, scanner) = (&mut self.body, &mut self.scanner);
            let take = |bytes: &[u8]| {
                scanner
                    .push(bytes)
                    .map_err(|_| llama_client::Error::Invalid)
            };
            if let Poll::Ready(read) = body.poll_read(context, take) {
                return Poll::Ready(Woken::Read(read.map_err(Error::from)));
            }
            self.alarm.as_mut().poll(context).map(|()| Woken::Alarm)
        })
        .await
    }

    fn classify(&mut self, event: BytesMut) -> Result<Step, Error> {
        let now = self.now;
        self.text = self.alike.token(&event);
        let (kind, usage) = if self.text.is_some() {
            (Kind::Token, None)
        } else {
            read(&event)
        };
        if let Some(usage) = usage {
            self.usage = self.usage.and(usage);
            self.record.usage(self.usage);
            self.permit.counted(count(self.usage));
        }
        match kind {
            Kind::Token => {
                if self.text.is_none() {
                    self.alike.learn(&event);
                }
                if !self.clock.has_token() {
                    self.fleet.served(&self.running);
                }
                self.permit.token();
                self.clock.token(now);
                self.record.token(now);
                // The alarm may stand later than this token's deadline: the first token may take longer than the next.
                if self.clock.at() < self.alarm.deadline() {
                    self.alarm.as_mut().reset(self.clock.at());
                }
            }
            Kind::Error => return Err(failure(&event).into()),
            Kind::Progress(_) => return Ok(Step::Event(kind, event)),
            Kind::Done => self.running.complete(),
            Kind::Usage | Kind::Other => {}
        }
        self.last_passed = now;
        Ok(Step::Event(kind, event))
    }

    /// The body ended. Only the last event without its blank line may still be there.
    fn ended(&mut self) -> Result<Step, Error> {
        match self.scanner.rest().map(|rest| self.classify(rest)) {
            Some(Ok(Step::Event(Kind::Done, rest))) => Ok(Step::Event(Kind::Done, rest)),
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Err(Error::UpstreamTruncated),
        }
    }

    /// After `[DONE]`: reads the end of the body, so that the connection can be used again.
    pub(crate) async fn finish(&mut self) {
        let body = &mut self.body;
        let rest = async {
            while let Ok(true) =
                std::future::poll_fn(|context| body.poll_read(context, |_| Ok(()))).await
            {
            }
        };
        let _not_reused = tokio::time::timeout(END_GRACE, rest).await;
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

impl Drop for Answer {
    /// The fields follow: the connection, the slot, and last the record, which then knows how long that took.
    fn drop(&mut self) {
        self.record.released(Instant::now());
    }
}

/// What a caller asked to see beside the answer. The upstream sends all of it, because the proxy wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extras {
    /// The event that counts the tokens.
    pub(crate) usage: bool,
    /// How far the prefill is, as comments.
    pub(crate) progress: bool,
}

/// The answer as a stream of events.
pub(crate) fn events(answer: Answer, extras: Extras) -> impl Stream<Item = Bytes> + Send + 'static {
    enum State {
        Running(Box<Answer>),
        Finishing(Box<Answer>),
        Over,
    }
    let pass = move |state| async move {
        let mut answer = match state {
            State::Running(answer) => answer,
            State::Finishing(mut answer) => {
                answer.finish().await;
                return None;
            }
            State::Over => return None,
        };
        let mut batch = BytesMut::new();
        let state: fn(Box<Answer>) -> State = loop {
            // All that one read brought goes on in one write.
            let step = if batch.is_empty() {
                answer.next().await
            } else {
                match answer.at_hand().await {
                    Some(step) => step,
                    None => break State::Running,
                }
            };
            match step {
                Ok(Step::Event(Kind::Progress(progress), _)) if extras.progress => {
                    answer.last_passed = answer.now;
                    batch.extend_from_slice(&progress.comment());
                }
                Ok(Step::Event(Kind::Progress(_), _)) => {}
                Ok(Step::Event(Kind::Usage, _)) if !extras.usage => {}
                Ok(Step::Event(Kind::Done, bytes)) => {
                    batch.unsplit(bytes);
                    // Many callers close as soon as they have read `[DONE]`: the answer is whole all the same.
                    answer.record.complete();
                    break State::Finishing;
                }
                Ok(Step::Event(_, bytes)) => batch.unsplit(bytes),
                Ok(Step::Silence) => batch.extend_from_slice(KEEP_ALIVE),
                Err(error) => {
                    batch.extend_from_slice(&answer.record.broke(&error));
                    break |_| State::Over;
                }
            }
        };
        answer.record.sent(batch.len());
        Some((batch.freeze(), state(answer)))
    };
    futures_util::stream::unfold(State::Running(Box::new(answer)), pass)
}
