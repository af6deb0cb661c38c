//! One socket's conversation as a state machine: messages in, actions out. No I/O, no clock, no async.
//!
//! One answer runs at a time. Every accepted message gets exactly one terminal, `done` or `error`, in the order of
//! arrival, unless a reset or the closing of the socket comes first. A failed answer leaves no trace in the history.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::context::{V1Conversation, V1Prompt};
use crate::error::Failure;
use crate::event::Event;
use crate::protocol::close::Close;
use crate::protocol::record::FinishReason;
use crate::protocol::v1::{ClientMessage, ServerMessage};

#[cfg(test)]
mod tests;

/// Messages that wait behind the running answer.
pub const MAX_WAITING: usize = 8;
/// The largest answer that is kept, in bytes.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// The largest content of one `delta`, in bytes; a larger piece becomes several.
pub const MAX_DELTA_BYTES: usize = 16 * 1024;

/// What to tell a client whose message found no place to wait.
const TOO_MANY_WAITING: &str = "too many messages are waiting; wait for an answer first";

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Whole.
    Done,
    /// The client reset the conversation meanwhile.
    Reset,
    /// Somebody stopped it.
    Stopped,
    /// It failed.
    Failed(Failure),
}

impl Outcome {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Reset => "reset",
            Self::Stopped => "stopped",
            Self::Failed(failure) => failure.label(),
        }
    }
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this frame.
    Send(ServerMessage),
    /// Begin an answer to this prompt.
    Ask(V1Prompt),
    /// Ask once more for the running answer, with a shorter prompt.
    AskAgain(V1Prompt),
    /// The running answer has ended this way: stop it if it still runs.
    Settle(Outcome),
    /// Close the socket; nothing follows.
    Close(Close),
}

/// The answer that runs.
#[derive(Debug)]
struct Running {
    question: Arc<str>,
    answer: String,
}

/// The conversation of one socket.
///
/// Where a call may begin an answer, `n_ctx` is the context of one slot in tokens, or `None` when nobody knows.
#[derive(Debug)]
pub struct Connection {
    conversation: V1Conversation,
    running: Option<Running>,
    waiting: VecDeque<Arc<str>>,
    draining: bool,
}

impl Connection {
    /// A socket that was just opened.
    #[must_use]
    pub fn new(conversation: V1Conversation) -> Self {
        Self {
            conversation,
            running: None,
            waiting: VecDeque::new(),
            draining: false,
        }
    }

    /// The client sent a text frame.
    pub fn on_text(&mut self, frame: &str, n_ctx: Option<u64>) -> Vec<Action> {
        match ClientMessage::parse(frame) {
            Ok(ClientMessage::Content(content)) => self.on_content(content.into(), n_ctx),
            Ok(ClientMessage::Reset) => self.on_reset(),
            Err(nonsense) => vec![error(nonsense.message())],
        }
    }

    fn on_content(&mut self, question: Arc<str>, n_ctx: Option<u64>) -> Vec<Action> {
        if self.draining {
            return vec![error(Failure::ShuttingDown.message())];
        }
        if self.running.is_none() {
            return vec![self.begin(question, n_ctx)];
        }
        if self.waiting.len() == MAX_WAITING {
            return vec![error(TOO_MANY_WAITING)];
        }
        self.waiting.push_back(question);
        Vec::new()
    }

    fn on_reset(&mut self) -> Vec<Action> {
        self.conversation.forget();
        self.waiting.clear();
        let stopped = self.running.take().map(|_| Action::Settle(Outcome::Reset));
        let gone = self.draining.then_some(Action::Close(Close::GoingAway));
        stopped
            .into_iter()
            .chain([Action::Send(ServerMessage::ResetOk)])
            .chain(gone)
            .collect()
    }

    /// Upstream said something about the running answer.
    pub fn on_event(&mut self, event: Event, n_ctx: Option<u64>) -> Vec<Action> {
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        match event {
            Event::Text(content) if running.answer.len() + content.len() > MAX_ANSWER_BYTES => {
                self.fail(Failure::Oversized, n_ctx)
            }
            Event::Text(content) => {
                running.answer.push_str(&content);
                pieces(content).into_iter().map(delta).collect()
            }
            Event::Finished(finish) => self.done(finish.reason, n_ctx),
            Event::Failed(Failure::ContextFull(overflow)) if running.answer.is_empty() => {
                match self.conversation.shortened(&running.question, overflow) {
                    Some(prompt) => vec![Action::AskAgain(prompt)],
                    None => self.fail(Failure::ContextFull(overflow), n_ctx),
                }
            }
            Event::Failed(failure) => self.fail(failure, n_ctx),
            // Version 1 has no words for it.
            Event::Queued { .. } | Event::Prompt { .. } | Event::Loading | Event::Reasoning(_) => {
                Vec::new()
            }
        }
    }

    /// The service is to stop: the running answer may end, nothing new begins.
    pub fn on_drain(&mut self) -> Vec<Action> {
        self.draining = true;
        if self.running.is_none() {
            vec![Action::Close(Close::GoingAway)]
        } else {
            Vec::new()
        }
    }

    /// The time for running answers is over.
    pub fn on_deadline(&mut self) -> Vec<Action> {
        self.draining = true;
        if self.running.is_none() {
            return vec![Action::Close(Close::GoingAway)];
        }
        self.fail(Failure::ShuttingDown, None)
    }

    fn done(&mut self, reason: FinishReason, n_ctx: Option<u64>) -> Vec<Action> {
        if let Some(running) = self.running.take() {
            self.conversation
                .remember(running.question, &running.answer);
        }
        self.next(
            [
                Action::Settle(Outcome::Done),
                Action::Send(ServerMessage::done(reason)),
            ],
            n_ctx,
        )
    }

    fn fail(&mut self, failure: Failure, n_ctx: Option<u64>) -> Vec<Action> {
        self.running = None;
        self.next(
            [
                Action::Settle(Outcome::Failed(failure)),
                error(failure.message()),
            ],
            n_ctx,
        )
    }

    /// After an answer ended with these actions: the next, or the end.
    fn next(&mut self, ended: [Action; 2], n_ctx: Option<u64>) -> Vec<Action> {
        let mut actions = Vec::from(ended);
        if self.draining {
            actions.extend(
                self.waiting
                    .drain(..)
                    .map(|_| error(Failure::ShuttingDown.message())),
            );
            actions.push(Action::Close(Close::GoingAway));
        } else if let Some(question) = self.waiting.pop_front() {
            actions.push(self.begin(question, n_ctx));
        }
        actions
    }

    fn begin(&mut self, question: Arc<str>, n_ctx: Option<u64>) -> Action {
        let prompt = self.conversation.prompt(&question, n_ctx);
        self.running = Some(Running {
            question,
            answer: String::new(),
        });
        Action::Ask(prompt)
    }
}

fn error(message: &'static str) -> Action {
    Action::Send(ServerMessage::Error { message })
}

fn delta(content: String) -> Action {
    Action::Send(ServerMessage::Delta { content })
}

/// Cuts `content` into pieces of at most [`MAX_DELTA_BYTES`], between characters.
fn pieces(content: String) -> Vec<String> {
    if content.len() <= MAX_DELTA_BYTES {
        return vec![content];
    }
    let (mut pieces, mut rest) = (Vec::new(), content.as_str());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(MAX_DELTA_BYTES));
        pieces.push(piece.to_owned());
        rest = after;
    }
    pieces
}
