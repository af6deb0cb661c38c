//! The loop of one socket that speaks version 1: frames to the state machine, answers to the browser, and shutdown to both.
//! I/O only.
//!
//! Nothing in it blocks anything else: while an answer runs, prefill included, a close, a reset or the end of the
//! service is seen at once.

use std::pin::pin;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;

use crate::answer::Answer;
use crate::completion::{AnswerRequest, AskMessage};
use crate::connection::{Action, Connection};
use crate::context::{V1Conversation, V1Prompt};
use crate::event::Event;
use crate::identity::User;
use crate::protocol::record::AnswerOptions;
use crate::socket::{SocketEnd, closed_by, ended};
use crate::state::Gateway;
use crate::wire::{Heard, Wire};

/// Version 1 has no options.
static NO_OPTIONS: AnswerOptions = AnswerOptions::none();

/// Serves one socket to its end, and counts its answers. `first` is its first frame.
pub(crate) async fn run(
    wire: &mut Wire,
    gateway: &Arc<Gateway>,
    user: User,
    first: &Utf8Bytes,
) -> (SocketEnd, u64) {
    let conversation =
        V1Conversation::new(&gateway.config.system_prompt, gateway.config.max_tokens);
    let mut session = V1Session {
        wire,
        connection: Connection::new(conversation),
        answer: None,
        answers: 0,
        user,
        gateway: Arc::clone(gateway),
    };
    let end = session.until_end(first).await;
    (end, session.answers)
}

struct V1Session<'a> {
    wire: &'a mut Wire,
    connection: Connection,
    answer: Option<Answer>,
    answers: u64,
    user: User,
    gateway: Arc<Gateway>,
}

impl V1Session<'_> {
    async fn until_end(&mut self, first: &Utf8Bytes) -> SocketEnd {
        let gateway = Arc::clone(&self.gateway);
        let user = self.user.clone();
        let mut session_end = pin!(gateway.identity.ended(&user));
        let mut draining = false;
        let mut overdue = false;
        let n_ctx = gateway.upstream.n_ctx();
        for action in self.connection.on_text(first.as_str(), n_ctx) {
            if let Some(end) = self.act(action) {
                return end;
            }
        }
        loop {
            let n_ctx = gateway.upstream.n_ctx();
            let actions = tokio::select! {
                heard = self.wire.next() => match heard {
                    Heard::Text(text) => self.connection.on_text(text.as_str(), n_ctx),
                    Heard::Room => Vec::new(),
                    other => return ended(&other),
                },
                event = next(&mut self.answer), if self.wire.has_room() => self.connection.on_event(event, n_ctx),
                end = &mut session_end => return SocketEnd::Close(closed_by(end)),
                () = gateway.shutdown.draining(), if !draining => {
                    draining = true;
                    self.connection.on_drain()
                }
                () = gateway.shutdown.closing(), if !overdue => {
                    overdue = true;
                    self.connection.on_deadline()
                }
            };
            for action in actions {
                if let Some(end) = self.act(action) {
                    return end;
                }
            }
        }
    }

    fn act(&mut self, action: Action) -> Option<SocketEnd> {
        match action {
            Action::Send(message) => self.wire.send(message.to_json()),
            Action::Ask(prompt) => {
                self.answers += 1;
                let asked = ask(&prompt, &self.user.lane);
                self.answer = Some(Answer::begin(Arc::clone(&self.gateway), asked));
            }
            Action::AskAgain(prompt) => {
                if let Some(answer) = &mut self.answer {
                    answer.again(ask(&prompt, &self.user.lane));
                }
            }
            Action::Settle(outcome) => {
                if let Some(answer) = self.answer.take() {
                    answer.settle(outcome);
                }
            }
            Action::Close(close) => return Some(SocketEnd::Close(close)),
        }
        None
    }
}

/// The next event of the running answer; without one it waits for ever. Cancel-safe.
async fn next(answer: &mut Option<Answer>) -> Event {
    match answer {
        Some(answer) => answer.next().await,
        None => std::future::pending().await,
    }
}

/// What version 1 asks: text, with the operator's options.
fn ask<'a>(prompt: &'a V1Prompt, lane: &'a str) -> AnswerRequest<'a> {
    let messages = prompt.iter();
    AnswerRequest {
        messages: messages
            .map(|(role, text)| AskMessage::text(*role, text))
            .collect(),
        options: &NO_OPTIONS,
        continues: false,
        lane,
        request_id: "",
        traceparent: None,
        wants_usage: false,
        waits_for_model: false,
    }
}
