//! One socket's loop: carries frames to the state machine, answers to the browser, and shutdown to both. I/O only.
//!
//! Nothing in it blocks anything else: while an answer runs, prefill included, a close, a reset or the end of the
//! service is seen at once.

use std::pin::pin;
use std::sync::Arc;

use axum::extract::ws::WebSocket;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::connection::{Action, Connection, Event};
use crate::context::Conversation;
use crate::identity::{SessionEnd, User};
use crate::protocol::v1::Close;
use crate::state::Gateway;
use crate::upgrade::Entrant;
use crate::wire::{Heard, Wire};

/// The version of the protocol that is spoken here, for the log.
const VERSION: u8 = 1;

/// How a socket ends.
enum End {
    /// We close it.
    Close(Close),
    /// The peer closed or is gone.
    Gone(&'static str),
}

/// Serves one socket to its end.
pub(crate) async fn run(socket: WebSocket, gateway: Arc<Gateway>, entrant: Entrant) {
    let wire = Wire::new(socket);
    let Some(user) = entrant.user.clone() else {
        wire.close(Close::NotSignedIn).await;
        return;
    };
    let opened = Instant::now();
    let counted = gateway.metrics.socket_opened();
    let request_id = &*entrant.request_id;
    let address = entrant.address;
    tracing::info!(request_id, user = &*user.id, %address, version = VERSION, "socket opened");
    let conversation = Conversation::new(&gateway.config.system_prompt, gateway.config.max_tokens);
    let mut session = Session {
        wire,
        connection: Connection::new(conversation),
        answer: None,
        answers: 0,
        user: user.clone(),
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
    tracing::info!(
        request_id,
        user = &*user.id,
        %address,
        version = VERSION,
        end = label,
        answers,
        seconds = opened.elapsed().as_secs(),
        "socket closed"
    );
    drop((counted, entrant));
}

struct Session {
    wire: Wire,
    connection: Connection,
    answer: Option<Answer>,
    answers: u64,
    user: User,
    gateway: Arc<Gateway>,
}

impl Session {
    async fn until_end(&mut self) -> End {
        let gateway = Arc::clone(&self.gateway);
        let user = self.user.clone();
        let mut ended = pin!(gateway.identity.ended(&user));
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
                end = &mut ended => return End::Close(match end {
                    SessionEnd::Revoked => Close::Revoked,
                    SessionEnd::Expired => Close::Expired,
                }),
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
                    Arc::clone(&self.user.lane),
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
