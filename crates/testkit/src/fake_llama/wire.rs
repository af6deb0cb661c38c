//! The fake's side of HTTP/1.1: reads requests off a socket, routes them, notices a client that goes.
//!
//! Written by hand because a test needs what servers hide: resets, exact chunk borders, the moment of a disconnect.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use rustix::net::{RecvFlags, recv};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer;
use super::{Ended, LlamaState, Received, Template};

/// The largest request that is read; a test that sends more is wrong.
const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;

/// What the script is played to.
const PLAYED: [&str; 9] = [
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /v1/rerank",
    "POST /v1/responses",
    "POST /v1/messages",
    "POST /v1/messages/count_tokens",
    "POST /v1/chat/completions/input_tokens",
    "POST /tokenize",
];

pub(super) async fn accept(
    listener: TcpListener,
    state: watch::Sender<LlamaState>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { return };
        let state = state.clone();
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = serve(stream, &state, &stop) => {}
            }
        });
    }
}

async fn serve(
    mut stream: TcpStream,
    state: &watch::Sender<LlamaState>,
    stop: &CancellationToken,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    let mut changes = state.subscribe();
    loop {
        let closed_before = changes.borrow().idle_closed;
        let idle = tokio::select! {
            biased;
            came = async { if buffer.is_empty() { stream.peek(&mut [0]).await } else { Ok(1) } } => came? == 0,
            _ = changes.wait_for(|state| state.idle_closed > closed_before) => !has_come(&stream),
        };
        if idle {
            return Ok(());
        }
        let Some(request) = read_request(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        if let Some(refusal) = refused(&request, state) {
            stream.write_all(&refusal).await?;
            return Ok(());
        }
        if ["GET /slots", "POST /v1/chat/completions"].contains(&request.line.as_str()) {
            // The sender of the state is borrowed here, so the wait cannot fail.
            changes.wait_for(|state| !state.stuck).await.ok();
        }
        if PLAYED.contains(&request.line.as_str()) {
            let body = request.body.to_string();
            let deadly = changes.borrow().deadly.clone();
            if deadly.is_some_and(|words| body.contains(&words)) {
                state.send_modify(|state| state.received.push(request));
                stop.cancel();
                std::future::pending::<()>().await;
                return Ok(());
            }
            if !chat(&mut stream, request, state).await? {
                return Ok(());
            }
        } else {
            let (status, body) = route(&request, state);
            stream
                .write_all(&answer::json(status, &body.to_string()))
                .await?;
        }
    }
}

/// Whether a request is there, though the runtime has not heard of it: on a busy machine its word comes late.
fn has_come(stream: &TcpStream) -> bool {
    matches!(
        recv(
            stream,
            &mut [0_u8; 1],
            RecvFlags::PEEK | RecvFlags::DONTWAIT
        ),
        Ok((1.., _))
    )
}

/// Runs the script; `false` when the connection is no longer usable.
async fn chat(
    stream: &mut TcpStream,
    request: Received,
    state: &watch::Sender<LlamaState>,
) -> std::io::Result<bool> {
    let line = request.line.clone();
    let body = request.body.clone();
    let mut number = 0;
    let mut script = None;
    state.send_modify(|state| {
        number = state.received.len();
        script = Some(
            state
                .once
                .pop_front()
                .unwrap_or_else(|| state.script.clone()),
        );
        state.received.push(request);
        state.ended.push(None);
        state.running += 1;
        state.sit_down(number);
        state.most_running = state.most_running.max(state.running);
    });
    let mut running = RunningRequest {
        state,
        number,
        ended: Ended::ClientLeft,
    };
    let mut script = script.expect("send_modify ran");
    let counts = state.borrow().counts.then(|| state.borrow().n_ctx);
    if let Some(n_ctx) = counts {
        script = script.counted(&line, count(&body), n_ctx);
    }
    let alias = state.borrow().alias.clone();
    let (mut reader, mut writer) = stream.split();
    let wire = answer::BodyWriter::new(&mut writer, state.subscribe(), number);
    let kept = tokio::select! {
        kept = answer::play(wire, &script, (&line, &body), &alias) => kept?,
        () = gone(&mut reader) => return Ok(false),
    };
    running.ended = Ended::Answered;
    if kept == answer::AfterAnswer::Reset {
        stream.set_zero_linger()?;
    }
    Ok(kept == answer::AfterAnswer::Keep)
}

/// The tokens of a chat's prompt: four bytes are one, and each message takes four more.
fn count(body: &Value) -> usize {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let tokens = messages.iter().map(|message| {
        let words = message["content"].as_str().map_or(0, str::len);
        4 + words / 4
    });
    tokens.sum()
}

/// Counts a request out, whichever way it goes.
struct RunningRequest<'a> {
    state: &'a watch::Sender<LlamaState>,
    number: usize,
    ended: Ended,
}

impl Drop for RunningRequest<'_> {
    fn drop(&mut self) {
        self.state.send_modify(|state| {
            state.running -= 1;
            state.stand_up(self.number);
            state.ended[self.number] = Some(self.ended);
        });
    }
}

/// Ends when the peer closes. What it sends meanwhile is thrown away: our clients do not pipeline.
async fn gone(reader: &mut tokio::net::tcp::ReadHalf<'_>) {
    let mut waste = [0; 256];
    while matches!(reader.read(&mut waste).await, Ok(1..)) {}
}

async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<Received>> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 || buffer.len() > MAX_REQUEST_BYTES {
            return Ok(None);
        }
    };
    let head: Vec<u8> = buffer.drain(..head_end).collect();
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let line = lines
        .next()
        .unwrap_or_default()
        .trim_end_matches(" HTTP/1.1")
        .to_owned();
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name),
            HeaderValue::try_from(value.trim()),
        ) {
            headers.append(name, value);
        }
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 || buffer.len() > MAX_REQUEST_BYTES {
            return Ok(None);
        }
    }
    let body: Vec<u8> = buffer.drain(..length).collect();
    let peer = stream.peer_addr()?;
    Ok(Some(Received {
        peer,
        line,
        headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }))
}

/// What llama-server says before it routes: still loading, or the wrong key.
fn refused(request: &Received, state: &watch::Sender<LlamaState>) -> Option<Vec<u8>> {
    let state = state.borrow();
    if state.loading {
        return Some(answer::error(503, "unavailable_error", "Loading model"));
    }
    let key = state
        .key
        .as_ref()
        .filter(|_| request.line != "GET /health")?;
    let given = request
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let right = given.is_some_and(|given| given.strip_prefix("Bearer ").unwrap_or(given) == key);
    (!right).then(|| answer::error(401, "authentication_error", "Invalid API Key"))
}

fn route(request: &Received, state: &watch::Sender<LlamaState>) -> (u16, Value) {
    let line = request.line.as_str();
    state.send_modify(|state| {
        state.probes += usize::from(line == "GET /props");
        state.slot_looks += usize::from(line == "GET /slots");
    });
    let state = state.borrow();
    match line {
        "GET /health" => (200, json!({"status": "ok"})),
        "GET /props" => (
            200,
            json!({
                "default_generation_settings": {"n_ctx": state.n_ctx, "params": {}},
                "total_slots": state.slots,
                "model_alias": state.alias,
                "model_path": "/models/fake.gguf",
                "modalities": {"vision": state.sees_images, "audio": false},
                "chat_template_caps": {"supports_tools": state.template.tools},
                "is_sleeping": false,
            }),
        ),
        "POST /apply-template" => apply_template(&request.body, state.template),
        "GET /slots" => {
            let slots = (0..state.slots).map(|id| {
                let (now, last) = state.seats.get(id).copied().unwrap_or_default();
                json!({"id": id, "n_ctx": state.n_ctx, "is_processing": now.is_some(), "id_task": last})
            });
            (200, slots.collect())
        }
        "GET /v1/models" => {
            let model =
                json!({"id": state.alias, "object": "model", "meta": {"n_ctx": state.n_ctx}});
            (200, json!({"object": "list", "data": [model]}))
        }
        _ => (
            404,
            json!({"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}),
        ),
    }
}

/// The messages' texts in a row, or what llama-server says when the template raises an exception.
fn apply_template(body: &Value, template: Template) -> (u16, Value) {
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let roles: Vec<&str> = messages
        .iter()
        .filter_map(|message| message["role"].as_str())
        .collect();
    if template.takes(&roles) {
        let texts = messages
            .iter()
            .filter_map(|message| message["content"].as_str());
        return (200, json!({"prompt": texts.collect::<String>()}));
    }
    let message = "Unable to generate parser for this template. Automatic parser generation failed: \n------------\n\
        While executing CallExpression at line 1, column 74 in source:\n...{{ raise_exception('roles must alternate') }}...\n\
        Error: Jinja Exception: roles must alternate";
    let error = json!({"code": 400, "message": message, "type": "invalid_request_error"});
    (400, json!({"error": error}))
}
