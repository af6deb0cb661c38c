//! All answers to one request, from the queue to the last byte.
//!
//! A request has one answer, or `n` of them, each with its own turn, slot and connection. A [`Reply`] drives them and
//! hands out what the caller gets: a stream, one whole object, or a plain document. It is dropped when the caller
//! leaves, and with it every place in the queue, every connection and every slot. A failure after the first byte is one
//! error event without `[DONE]`. Nothing is tried again once a byte was sent to an upstream.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use admission::{NotAdmitted, Permit, QueuePlace, Ticket};
use axum::Json;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream::unfold;
use llama_client::events::{Kind, Usage, counted};
use tokio::time::{Instant, Sleep};

use crate::answer::KEEP_ALIVE;
use crate::answer::asked::Asked;
use crate::answer::clock::Clock;
use crate::answer::line::QueueLine;
use crate::answer::merge::Merge;
use crate::answer::upstream_answer::{AnswerEvent, Step, UpstreamAnswer};
use crate::answer::whole::WholeAnswer;
use crate::error::Error;
use crate::fleet::SentRequest;
use crate::observe::record::Record;
use crate::state::App;

/// The upstreams that one answer is offered to, when they do not take the connection.
const MAX_TRIES: u32 = 3;
/// The largest plain document: a few thousand numbers for each of the texts that a request may have.
const MAX_PLAIN_BYTES: usize = 32 * 1024 * 1024;

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// All answers to one request. Fields drop in order: connections and slots first, the record last.
pub(crate) struct Reply {
    parts: Vec<ReplyPart>,
    line: Option<QueueLine>,
    closing: Pending<()>,
    /// Puts the events of several answers into one stream; `None` for one answer, whose bytes pass untouched.
    merge: Option<Merge>,
    /// Whether the last byte was handed out.
    is_over: bool,
    /// Ends when a caller has to hear something while no answer runs.
    quiet: Pin<Box<Sleep>>,
    entered: Instant,
    /// How long an answer may wait that others of the same request may be before.
    last: Instant,
    asked: Asked,
    app: App,
    record: Record,
}

/// One of the answers.
struct ReplyPart {
    state: PartState,
    /// Where it waits, or waited.
    place: QueuePlace,
    n_tries: u32,
}

enum PartState {
    Queued(Pending<Result<Permit, NotAdmitted>>),
    Connecting(Clock, Pending<Connected>),
    Running(Box<UpstreamAnswer>),
    /// It failed, and the fleet settles whose fault that was.
    Failing(Pending<Error>),
    /// Its last event came; the end of its body has not.
    Finishing(Box<UpstreamAnswer>),
    Ended(Usage),
}

/// The result of connecting, and its permit.
struct Connected {
    permit: Permit,
    opened: Result<(llama_client::Body, SentRequest), Error>,
}

impl Reply {
    /// Takes over a request that was checked and entered the queue, with a ticket for each of its answers.
    pub(crate) fn new(app: App, asked: Asked, tickets: Vec<Ticket>, record: Record) -> Self {
        let entered = Instant::now();
        let shutdown = app.shutdown.clone();
        let first = tickets.first().filter(|ticket| ticket.waits());
        let line = first.filter(|_| asked.queue_events).map(|first| {
            QueueLine::new(app.admission.clone(), first.place(), app.config.keep_alive)
        });
        let merge = (tickets.len() > 1).then(Merge::default);
        let deadlines = &app.config.deadlines;
        let queue = if asked.queue_events {
            deadlines.queue_with_events
        } else {
            deadlines.queue
        };
        let n_others = u32::try_from(tickets.len() - 1).unwrap_or(u32::MAX);
        let last = entered + queue + deadlines.total * n_others;
        let mut parts = Vec::with_capacity(tickets.len());
        for (at, ticket) in tickets.into_iter().enumerate() {
            // The first answer is the first of them to get a slot.
            let deadline = if at == 0 { entered + queue } else { last };
            parts.push(ReplyPart {
                place: ticket.place(),
                state: queued(ticket, deadline),
                n_tries: 0,
            });
        }
        Self {
            parts,
            line,
            closing: Box::pin(async move { shutdown.closing().await }),
            merge,
            is_over: false,
            quiet: Box::pin(tokio::time::sleep(app.config.keep_alive)),
            entered,
            last,
            asked,
            app,
            record,
        }
    }

    /// Whether the caller sees its place in the queue, so that the stream begins before the answer.
    pub(crate) fn shows_the_queue(&self) -> bool {
        self.line.is_some()
    }

    /// Waits until the header of any answer is here: it has to be read then, or it keeps its slot from the others.
    /// Cancel-safe.
    pub(crate) async fn opened(&mut self) -> Result<(), Error> {
        poll_fn(|context| {
            self.check_closing(context)?;
            let mut is_open = false;
            for at in 0..self.parts.len() {
                is_open |= self.poll_open(at, context)?.is_ready();
            }
            match is_open {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Ends a request of which nothing was sent back yet.
    pub(crate) fn refuse(mut self, error: &Error) -> Response {
        self.parts.clear();
        self.record.refuse(error)
    }

    /// The answers as a stream of events.
    pub(crate) fn into_stream(mut self) -> Response {
        let mut head = self.record.begin(StatusCode::OK);
        head.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        self.asked.write_notice(&mut head);
        let events = unfold(self, async |mut reply| {
            let batch = reply.next().await?;
            Some((Ok::<_, Infallible>(batch), reply))
        });
        (head, Body::from_stream(events)).into_response()
    }

    /// The answers put together into one object, for a caller that wants no stream. llama-server is asked for a stream
    /// all the same, because only there it notices that its client has gone.
    pub(crate) async fn whole(mut self) -> Response {
        let mut answers: Vec<WholeAnswer> = Vec::with_capacity(self.parts.len());
        answers.resize_with(self.parts.len(), || WholeAnswer::new(self.asked.api));
        let read = poll_fn(|context| self.poll_whole(&mut answers, context)).await;
        let whole = match read {
            Ok(()) => WholeAnswer::join(answers),
            Err(error) => Err(error),
        };
        match whole {
            Ok(whole) => {
                let mut response = Json(whole).into_response();
                self.asked.write_notice(response.headers_mut());
                self.record.answer(response)
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// An answer that llama-server does not write token by token, as it is.
    pub(crate) async fn plain(mut self) -> Response {
        let part = self.parts.pop();
        let Some(PartState::Running(answer)) = part.map(|part| part.state) else {
            return self.refuse(&Error::Internal);
        };
        let answer = answer.plain(&self.app.fleet, MAX_PLAIN_BYTES);
        match self.app.until_closing(answer).await {
            Ok(bytes) => {
                if let Some(usage) = counted(&bytes) {
                    self.record.usage(0, usage);
                }
                let json = [(CONTENT_TYPE, "application/json")];
                self.record.answer((json, bytes).into_response())
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// The next bytes for the caller; all events of one read go on in one write. `None` at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            // The caller has every byte; the end of the upstream's body is still to be read.
            poll_fn(|context| self.poll_finished(context)).await;
            return None;
        }
        let batch = poll_fn(|context| self.poll_batch(context)).await;
        self.record.sent(batch.len());
        Some(batch)
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        let mut batch = BytesMut::new();
        if let Err(error) = self.fill(&mut batch, context) {
            self.parts.clear();
            self.is_over = true;
            batch.extend_from_slice(&self.record.broke(&error));
        }
        if !batch.is_empty() {
            return Poll::Ready(batch.freeze());
        }
        match &mut self.line {
            Some(line) if self.parts[0].is_waiting() => line.poll_comment(context),
            _ => self.poll_quiet(context),
        }
    }

    /// A comment when no answer runs for long. One that runs tells of its own silence.
    fn poll_quiet(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        if self.parts.iter().any(ReplyPart::runs) {
            return Poll::Pending;
        }
        ready!(self.quiet.as_mut().poll(context));
        let next = Instant::now() + self.app.config.keep_alive;
        self.quiet.as_mut().reset(next);
        Poll::Ready(Bytes::from_static(KEEP_ALIVE))
    }

    /// Takes what has come from every part. When nothing was for the caller, all parts wait.
    fn fill(&mut self, batch: &mut BytesMut, context: &mut Context<'_>) -> Result<(), Error> {
        self.check_closing(context)?;
        for at in 0..self.parts.len() {
            let before = batch.len();
            while batch.len() == before {
                match self.poll_step(at, context)? {
                    Poll::Ready(Some(Step::Event(event))) => {
                        self.pass(at, event, batch);
                        while let Some(event) = self.at_hand(at) {
                            self.pass(at, event, batch);
                        }
                    }
                    Poll::Ready(Some(Step::Silence)) => batch.extend_from_slice(KEEP_ALIVE),
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
        }
        if self.parts.iter().all(ReplyPart::is_done) {
            if let Some(merge) = &self.merge {
                merge.end(self.asked.include_usage, self.usage(), batch);
            }
            // Many callers close as soon as they have read `[DONE]`. The answer is whole all the same.
            self.record.complete();
            self.is_over = true;
        }
        Ok(())
    }

    /// Writes an event to the caller's batch, unless the proxy alone asked for it.
    fn pass(&mut self, at: usize, event: AnswerEvent, batch: &mut BytesMut) {
        self.see(at, &event);
        match event.kind {
            Kind::Progress(progress) => {
                if self.asked.queue_events && at == 0 {
                    batch.extend_from_slice(progress.comment().as_ref());
                    if let PartState::Running(answer) = &mut self.parts[at].state {
                        answer.passed();
                    }
                }
            }
            Kind::Usage if !self.asked.include_usage => {}
            kind => match &mut self.merge {
                None => batch.unsplit(event.bytes),
                Some(merge) => merge.add(at, kind, &event.bytes, batch),
            },
        }
    }

    /// Tells the record and the fleet about an event.
    fn see(&mut self, at: usize, event: &AnswerEvent) {
        let part = &mut self.parts[at];
        let PartState::Running(answer) = &part.state else {
            return;
        };
        if event.counted {
            self.record.usage(at, answer.usage());
        }
        if event.kind == Kind::Token {
            if event.is_first_token {
                self.app.fleet.served(answer.running());
            }
            self.record.token(at, answer.now());
        }
        if event.kind == Kind::Done {
            part.finish();
        }
    }

    fn poll_whole(
        &mut self,
        answers: &mut [WholeAnswer],
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.check_closing(context)?;
        for (at, whole) in answers.iter_mut().enumerate() {
            while let Poll::Ready(Some(step)) = self.poll_step(at, context)? {
                if let Step::Event(event) = step {
                    whole.add(&event)?;
                    self.see(at, &event);
                }
            }
        }
        if self.parts.iter().all(ReplyPart::is_done) {
            ready!(self.poll_finished(context));
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// The next step of one answer; `None` when it is done.
    fn poll_step(
        &mut self,
        at: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Step>, Error>> {
        ready!(self.poll_open(at, context))?;
        if let PartState::Running(answer) = &mut self.parts[at].state {
            match ready!(answer.poll_step(context)) {
                Ok(step) => return Poll::Ready(Ok(Some(step))),
                Err(error) => self.fail(at, error),
            }
        }
        let part = &mut self.parts[at];
        if let PartState::Failing(error) = &mut part.state {
            return error.as_mut().poll(context).map(Err);
        }
        // Another answer to the same request may wait for the slot that this one still holds.
        match part.poll_finished(context) {
            Poll::Ready(()) | Poll::Pending => Poll::Ready(Ok(None)),
        }
    }

    /// An answer failed. What came before is passed on first.
    fn fail(&mut self, at: usize, error: Error) {
        let part = &mut self.parts[at];
        let state = std::mem::replace(&mut part.state, PartState::Ended(Usage::default()));
        if let PartState::Running(answer) = state {
            let fleet = Arc::clone(&self.app.fleet);
            part.state = PartState::Failing(Box::pin(answer.fail(fleet, error)));
        }
    }

    /// The next event of one answer that has already come.
    fn at_hand(&mut self, at: usize) -> Option<AnswerEvent> {
        let PartState::Running(answer) = &mut self.parts[at].state else {
            return None;
        };
        match answer.at_hand() {
            Ok(event) => event,
            Err(error) => {
                self.fail(at, error);
                None
            }
        }
    }

    /// Drives one answer from the queue to its header.
    fn poll_open(&mut self, at: usize, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match &mut self.parts[at].state {
                PartState::Queued(permit) => {
                    let permit = ready!(permit.as_mut().poll(context));
                    let permit = permit.map_err(|refused| self.app.refusal(refused))?;
                    self.app.keys.recheck(&self.asked.caller)?;
                    self.admitted(at, permit);
                }
                PartState::Connecting(clock, connected) => {
                    let connected = ready!(connected.as_mut().poll(context));
                    let clock = *clock;
                    self.connected(at, clock, connected)?;
                }
                PartState::Running(_)
                | PartState::Failing(_)
                | PartState::Finishing(_)
                | PartState::Ended(_) => {
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// An answer has its slot: asks its upstream.
    fn admitted(&mut self, at: usize, permit: Permit) {
        if self.record.is_queued() {
            self.record.admitted(self.entered.elapsed());
            // What the caller gets of this answer must not be lost because another one has no room.
            for other in self.parts.iter().filter(|part| part.is_waiting()) {
                self.app.admission.keep(other.place);
            }
        }
        let clock = Clock::start(&self.app.config.deadlines, self.asked.n_prompt_tokens);
        self.connect(at, permit, clock);
    }

    fn connect(&mut self, at: usize, permit: Permit, clock: Clock) {
        let part = &mut self.parts[at];
        part.n_tries += 1;
        let upstream = self.app.fleet.upstream(permit.upstream());
        if let Some(upstream) = &upstream {
            self.record.ask(upstream.authority());
        }
        let client = self.app.client.clone();
        let route = self.asked.api.ask();
        let body = self.asked.bodies[at].clone();
        let identity = self.record.identity();
        let fleet = Arc::clone(&self.app.fleet);
        let digest = self.asked.digest;
        let connecting = async move {
            let open = async {
                let upstream = upstream.ok_or(Error::UpstreamUnavailable)?;
                let mut running = fleet.start(permit.upstream(), digest, true)?;
                let opened = client.open(&upstream, route, body, identity.borrow());
                let error = match tokio::time::timeout_at(clock.at(), opened).await {
                    Ok(Ok(body)) => return Ok((body, running)),
                    Ok(Err(error)) => fleet.judge(&mut running, error).await,
                    Err(_) => {
                        let error = clock.error();
                        fleet.failed(&mut running, &error).await;
                        error
                    }
                };
                Err(error)
            };
            let opened = open.await;
            Connected { permit, opened }
        };
        part.state = PartState::Connecting(clock, Box::pin(connecting));
    }

    /// An answer has its header; or it waits again, if no byte of the request was sent.
    fn connected(&mut self, at: usize, clock: Clock, connected: Connected) -> Result<(), Error> {
        let Connected { permit, opened } = connected;
        let error = match opened {
            Ok((body, running)) => {
                self.record.began(at);
                if let Some(connection) = &self.asked.connection {
                    // While the caller takes nothing, nobody asks the answer for more, and its own clock stands still.
                    connection.cut_at(clock.total_at());
                }
                let keep_alive = self.app.config.keep_alive;
                let answer = UpstreamAnswer::new(body, permit, running, clock, keep_alive);
                self.parts[at].state = PartState::Running(Box::new(answer));
                return Ok(());
            }
            Err(error) => error,
        };
        if !error.is_unsent() || self.parts[at].n_tries == MAX_TRIES {
            return Err(error);
        }
        let again = self.app.admission.enter_again(permit, &self.asked.asking());
        // The caller sees the error of the upstream, not the refusal of the queue.
        let ticket = again.map_err(|_| error.clone())?;
        if self.parts.len() > 1 {
            self.app.admission.keep(ticket.place());
        }
        self.parts[at].state = queued(ticket, self.last);
        Ok(())
    }

    fn check_closing(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        match self.closing.as_mut().poll(context) {
            Poll::Ready(()) => Err(Error::ShuttingDown),
            Poll::Pending => Ok(()),
        }
    }

    fn poll_finished(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for part in &mut self.parts {
            ready!(part.poll_finished(context));
        }
        Poll::Ready(())
    }

    /// What the upstreams have counted so far, together.
    fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for part in &self.parts {
            match &part.state {
                PartState::Running(answer) | PartState::Finishing(answer) => {
                    sum = sum.plus(answer.usage());
                }
                PartState::Ended(usage) => sum = sum.plus(*usage),
                PartState::Queued(_) | PartState::Connecting(..) | PartState::Failing(_) => {}
            }
        }
        sum
    }
}

impl Drop for Reply {
    /// The fields follow: the connections, the slots, and last the record, which then knows how long that took.
    fn drop(&mut self) {
        self.record.released(Instant::now());
    }
}

impl ReplyPart {
    /// Whether its last event came.
    fn is_done(&self) -> bool {
        matches!(self.state, PartState::Finishing(_) | PartState::Ended(_))
    }

    fn runs(&self) -> bool {
        matches!(self.state, PartState::Running(_))
    }

    fn is_waiting(&self) -> bool {
        matches!(self.state, PartState::Queued(_) | PartState::Connecting(..))
    }

    /// Its last event came.
    fn finish(&mut self) {
        let state = std::mem::replace(&mut self.state, PartState::Ended(Usage::default()));
        self.state = match state {
            PartState::Running(mut answer) => {
                answer.finish();
                PartState::Finishing(answer)
            }
            other => other,
        };
    }

    fn poll_finished(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let PartState::Finishing(answer) = &mut self.state {
            ready!(answer.poll_finished(context));
            self.state = PartState::Ended(answer.usage());
        }
        Poll::Ready(())
    }
}

fn queued(mut ticket: Ticket, deadline: Instant) -> PartState {
    PartState::Queued(Box::pin(async move { ticket.permit(deadline).await }))
}
