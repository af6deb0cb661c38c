//! Chats that ask again and again for answers that come as fast as they can: tokens a second.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::{sleep_until, timeout_at};

use crate::dialect::{ChatVersion, Meaning};
use crate::socket::{ChatFailure, ChatSocket};
use crate::{Costs, GatewayTarget};

/// The text of the mock's tokens.
const TOKEN: &[u8] = b"tok ";
/// How long opening the sockets may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one chat saw while it was measured.
#[derive(Default)]
struct ChatTally {
    tokens: usize,
    frames: usize,
    answers: usize,
    failures: Vec<ChatFailure>,
}

/// The time that is measured.
#[derive(Clone, Copy)]
struct Window {
    begin: Instant,
    end: Instant,
}

impl Window {
    fn is_open(self) -> bool {
        let now = Instant::now();
        now >= self.begin && now < self.end
    }
}

/// Opens `chats` sockets, and asks on each for answers of `n_tokens`, one after the other.
pub(crate) async fn run(to: &GatewayTarget, chats: usize, n_tokens: usize, at_once: bool) -> Value {
    let mut sockets = Vec::new();
    let mut failures = Vec::new();
    let patience = (Instant::now() + PATIENCE).into();
    for number in 0..chats {
        let opened = timeout_at(patience, ChatSocket::open(&to.caller(number))).await;
        match opened.unwrap_or(Err(ChatFailure::Late)) {
            Ok(socket) => sockets.push(socket),
            Err(failure) => failures.push(failure),
        }
    }
    // What comes before the window opens is for warming up.
    let begin = Instant::now() + to.time() / 4;
    let end = begin + to.time();
    let window = Window { begin, end };
    let order = if at_once {
        format!("size={},events={n_tokens}", n_tokens * TOKEN.len())
    } else {
        format!("tokens={n_tokens}")
    };
    let tasks = LocalSet::new();
    let running: Vec<_> = sockets
        .into_iter()
        .map(|socket| {
            let order = order.clone();
            let dialect = to.dialect;
            tasks.spawn_local(async move {
                let mut tally = ChatTally::default();
                let chatted = chat(socket, dialect, &order, n_tokens, window, &mut tally);
                // An answer that is cut off by the end of the window is no failure.
                if let Ok(Err(failure)) = timeout_at(end.into(), chatted).await {
                    tally.failures.push(failure);
                }
                tally
            })
        })
        .collect();
    let run = async {
        sleep_until(begin.into()).await;
        let mut costs = Costs::begin(to);
        sleep_until((begin + to.time() / 2).into()).await;
        costs.look();
        sleep_until(end.into()).await;
        let costs = costs.end();
        let mut all = ChatTally::default();
        for task in running {
            if let Ok(mut tally) = task.await {
                all.tokens += tally.tokens;
                all.frames += tally.frames;
                all.answers += tally.answers;
                all.failures.append(&mut tally.failures);
            }
        }
        (all, costs)
    };
    let (mut all, costs) = tasks.run_until(run).await;
    all.failures.append(&mut failures);
    json!({"tokens": all.tokens, "frames": all.frames, "answers": all.answers,
        "per_second": all.tokens as f64 / to.seconds, "failures": ChatFailure::count(&all.failures),
        "costs": costs, "cost_seconds": to.seconds})
}

async fn chat(
    mut socket: ChatSocket,
    dialect: ChatVersion,
    order: &str,
    n_tokens: usize,
    window: Window,
    tally: &mut ChatTally,
) -> Result<(), ChatFailure> {
    for number in 0.. {
        let asked = dialect.ask(order, number);
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        socket.say(&asked).await?;
        let mut n_seen = 0;
        let mut end = None;
        while end.is_none() {
            let mut n_now = 0;
            let mut n_frames = 0;
            socket
                .next(&mut |frame: &[u8]| match dialect.read(frame) {
                    Meaning::Delta => {
                        n_frames += 1;
                        n_now += memchr::memmem::find_iter(frame, TOKEN).count();
                    }
                    Meaning::Done => end = Some(Ok(())),
                    Meaning::Failed => end = Some(Err(ChatFailure::Error)),
                    Meaning::Snapshot | Meaning::Other => {}
                })
                .await?;
            n_seen += n_now;
            if window.is_open() {
                tally.tokens += n_now;
                tally.frames += n_frames;
            }
        }
        match end {
            // The socket is as good as before.
            Some(Err(failure)) => tally.failures.push(failure),
            _ if n_seen != n_tokens => tally.failures.push(ChatFailure::Partial),
            _ => tally.answers += usize::from(window.is_open()),
        }
    }
    Ok(())
}
