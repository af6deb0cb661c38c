//! One socket's loop: carries frames to the state machine, answers to the browser, and shutdown to both. I/O only.
//!
//! Nothing in it blocks anything else: while an answer runs, prefill included, a close, a reset or the end of the
//! service is seen at once.

use std::sync::Arc;

use axum::extract::ws::WebSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::connection::{Action, Connection};
use crate::context::Conversation;
use crate::event::Event;
use crate::protocol::v1::Close;
use crate::state::Gateway;
use crate::wire::{Heard, Wire};

/// How a socket ends.
enum End {
    /// We close it.
    Close(Close),
    /// The peer closed or is gone.
    Gone(&'static str),
}

/// Serves one socket of `visitor` to its end. `seat` is its place below the cap.
pub(crate) async fn run(
    socket: WebSocket,
    gateway: Arc<Gateway>,
    visitor: String,
    seat: OwnedSemaphorePermit,
) {
    let opened = Instant::now();
    let counted = gateway.metrics.socket_opened();
    let conversation = Conversation::new(&gateway.config.system_prompt, gateway.config.max_tokens);
    let mut session = Session {
        wire: Wire::new(socket),
        connection: Connection::new(conversation),
        answer: None,
        answers: 0,
        visitor: visitor.into(),
        gateway: Arc::clone(&gateway),
    };
    let end = session.until_end().await;
    let Session {
        wire,
        answer,
        answers,
        ..
    } = session;
    drop(answer);
    let label = match end {
        End::Close(close) => {
            wire.close(close).await;
            close.reason()
        }
        End::Gone(how) => {
            wire.answer_close().await;
            how
        }
    };
    drop((counted, seat));
    tracing::debug!(
        end = label,
        answers,
        seconds = opened.elapsed().as_secs(),
        "socket closed"
    );
}

struct Session {
    wire: Wire,
    connection: Connection,
    answer: Option<Answer>,
    answers: u64,
    visitor: Arc<str>,
    gateway: Arc<Gateway>,
}

impl Session {
    async fn until_end(&mut self) -> End {
        let gateway = Arc::clone(&self.gateway);
        let (mut draining, mut overdue) = (false, false);
        loop {
            let n_ctx = gateway.upstream.n_ctx();
            let actions = tokio::select! {
                heard = self.wire.next() => match heard {
                    Heard::Text(text) => self.connection.on_text(text.as_str(), n_ctx),
                    Heard::Room => Vec::new(),
                    Heard::Broken(close) => return End::Close(close),
                    Heard::Gone(how) => return End::Gone(how),
                },
                event = next(&mut self.answer), if self.wire.has_room() => self.connection.on_event(event, n_ctx),
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

    fn act(&mut self, action: Action) -> Option<End> {
        match action {
            Action::Send(message) => self.wire.send(message.to_json()),
            Action::Ask(prompt) => {
                self.answers += 1;
                self.answer = Some(Answer::begin(
                    Arc::clone(&self.gateway),
                    Arc::clone(&self.visitor),
                    &prompt,
                ));
            }
            Action::AskAgain(prompt) => {
                if let Some(answer) = &mut self.answer {
                    answer.again(&prompt);
                }
            }
            Action::Settle(outcome) => {
                if let Some(answer) = self.answer.take() {
                    answer.settle(outcome);
                }
            }
            Action::Close(close) => return Some(End::Close(close)),
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
