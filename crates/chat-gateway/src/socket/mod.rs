//! One socket from its opening to its close: which version it speaks, and what the log says of it.
//!
//! A socket that offered the subprotocol speaks version 2, and so does one whose first frame is a `hello`. All others speak
//! version 1.

mod v1;
mod v2;
mod welcome;

use std::pin::pin;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::identity::{SessionEnd, User};
use crate::protocol::close::Close;
use crate::protocol::reading::is_hello;
use crate::state::Gateway;
use crate::upgrade::Entrant;
use crate::wire::{Heard, Wire};

/// How a socket ends.
enum SocketEnd {
    /// We close it.
    Close(Close),
    /// The peer closed or is gone.
    Gone(&'static str),
}

/// Serves one socket to its end.
pub(crate) async fn run(
    mut wire: Wire,
    gateway: Arc<Gateway>,
    mut entrant: Entrant,
    held: TaskTrackerToken,
) {
    let opened = Instant::now();
    let counted = gateway.metrics.socket_opened();
    let request_id = Arc::clone(&entrant.request_id);
    let request_id = &*request_id;
    let address = entrant.address;
    let user = entrant.user.clone();
    let user_id = user.as_ref().map(|user| Arc::clone(&user.id));
    let user_id = user_id.as_deref();
    tracing::info!(request_id, user = user_id, %address, "socket opened");
    // On the heap, each for itself: a socket that is idle needs neither.
    let (version, (end, answers)) = if entrant.offers_v2 {
        (2, Box::pin(v2::run(&mut wire, &gateway, user, None)).await)
    } else {
        match Box::pin(first_frame(&mut wire, &gateway, user.as_ref())).await {
            Err(end) => (1, (end, 0)),
            Ok(first) if is_hello(&first) => {
                // Version 2 takes a seat for whom the hello names.
                drop(entrant.user_seat.take());
                let serving = v2::run(&mut wire, &gateway, user, Some(first));
                (2, Box::pin(serving).await)
            }
            Ok(first) => match user {
                Some(user) => {
                    let serving = v1::run(&mut wire, &gateway, user, &first);
                    (1, Box::pin(serving).await)
                }
                None => (1, (SocketEnd::Close(Close::NotSignedIn), 0)),
            },
        }
    };
    let label = match end {
        SocketEnd::Close(close) => {
            wire.close(close).await;
            close.reason()
        }
        SocketEnd::Gone(how) => {
            wire.answer_close().await;
            how
        }
    };
    tracing::info!(
        request_id,
        user = user_id,
        %address,
        version,
        end = label,
        answers,
        seconds = opened.elapsed().as_secs(),
        "socket closed"
    );
    drop((counted, entrant, held));
}

/// Waits for the first text frame of a socket whose version is not known yet.
async fn first_frame(
    wire: &mut Wire,
    gateway: &Gateway,
    user: Option<&User>,
) -> Result<Utf8Bytes, SocketEnd> {
    let mut session_end = pin!(async {
        match user {
            Some(user) => gateway.identity.ended(user).await,
            None => std::future::pending().await,
        }
    });
    loop {
        let heard = tokio::select! {
            heard = wire.next() => heard,
            end = &mut session_end => return Err(SocketEnd::Close(closed_by(end))),
            () = gateway.shutdown.draining() => return Err(SocketEnd::Close(Close::GoingAway)),
        };
        match heard {
            Heard::Text(text) => return Ok(text),
            Heard::Room => {}
            other => return Err(ended(&other)),
        }
    }
}

/// How a socket ends after this was heard.
fn ended(heard: &Heard) -> SocketEnd {
    match *heard {
        Heard::Broken(close) => SocketEnd::Close(close),
        Heard::Stalled => SocketEnd::Gone("stalled"),
        Heard::Silent => SocketEnd::Gone("silent"),
        Heard::Gone(how) => SocketEnd::Gone(how),
        Heard::Text(_) | Heard::Room => SocketEnd::Gone("closed"),
    }
}

/// How a socket ends whose session is over.
const fn closed_by(end: SessionEnd) -> Close {
    match end {
        SessionEnd::Revoked => Close::Revoked,
        SessionEnd::Expired => Close::Expired,
    }
}
