//! A llama-server that costs next to nothing: the upstream of `cargo xtask bench proxy` and `cargo xtask soak`.
//!
//! One thread, bytes that were rendered before. The prompt says what the answer is like, as in `bench:tokens=64,pace=50;`,
//! because a prompt passes every proxy unchanged. A paced token is the time at which it was written, in nanoseconds.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bench::stamps::now;
use clap::Parser;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

mod answer;

use answer::{Order, Rendered};

/// The largest request that is read.
const MAX_REQUEST_BYTES: usize = 4 << 20;

/// A mock of llama-server for load tests.
#[derive(Parser)]
struct MockArguments {
    /// Where to listen; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Slots that `/props` names.
    #[arg(long, default_value_t = 1024)]
    slots: usize,
    /// Milliseconds after which a connection that waits is closed; llama-server's are 5,000. 0 closes none.
    #[arg(long, default_value_t = 0)]
    idle: u64,
}

/// What it is and has seen.
#[derive(Default)]
struct MockState {
    slots: usize,
    rendered: HashMap<Order, Rc<Rendered>>,
    n_requests: u64,
    running: u64,
    most_running: u64,
    /// Numbered requests whose client left before the end, and when that showed.
    left: Vec<(u64, u128)>,
}

type SharedMock = Rc<RefCell<MockState>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let arguments = MockArguments::parse();
    let listener = TcpListener::bind(arguments.listen).await?;
    println!("listening {}", listener.local_addr()?);
    let state = Rc::new(RefCell::new(MockState {
        slots: arguments.slots,
        ..MockState::default()
    }));
    let connections = LocalSet::new();
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let state = Rc::clone(&state);
            let idle = arguments.idle;
            connections.spawn_local(async move {
                // It fails only when the client has gone.
                serve(stream, &state, idle).await.ok();
            });
        }
    };
    connections.run_until(accept).await
}

/// A request, as far as it matters here.
struct MockRequest {
    line: Vec<u8>,
    body: Vec<u8>,
}

async fn serve(mut stream: TcpStream, state: &SharedMock, idle: u64) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(4096);
    loop {
        if idle > 0 {
            let came = tokio::time::timeout(Duration::from_millis(idle), stream.readable());
            if came.await.is_err() {
                return Ok(());
            }
        }
        let Some(request) = read(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        let answers = [&b"POST /v1/chat/completions"[..], b"POST /v1/embeddings"];
        if answers.iter().any(|line| request.line.starts_with(line)) {
            if !answer(&mut stream, &request.body, state).await? {
                return Ok(());
            }
        } else {
            let (status, body) = document(&request.line, state);
            stream.write_all(&answer::document(status, &body)).await?;
        }
    }
}

async fn read(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<MockRequest>> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 || buffer.len() > MAX_REQUEST_BYTES {
            return Ok(None);
        }
    };
    let head = &buffer[..head_end];
    let line = head
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default()
        .to_vec();
    let length = content_length(head);
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await? == 0 || buffer.len() > MAX_REQUEST_BYTES {
            return Ok(None);
        }
    }
    let body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    Ok(Some(MockRequest { line, body }))
}

fn content_length(head: &[u8]) -> usize {
    let name = b"\ncontent-length:";
    let at = head
        .windows(name.len())
        .position(|bytes| bytes.eq_ignore_ascii_case(name));
    let value = at
        .and_then(|at| std::str::from_utf8(&head[at + name.len()..]).ok())
        .unwrap_or_default();
    value
        .lines()
        .next()
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or_default()
}

/// Answers a request, and returns whether the connection takes another one. llama-server closes it after every stream.
async fn answer(stream: &mut TcpStream, body: &[u8], state: &SharedMock) -> std::io::Result<bool> {
    let (order, id) = Order::read(body);
    let rendered = {
        let mut state = state.borrow_mut();
        state.n_requests += 1;
        state.running += 1;
        state.most_running = state.most_running.max(state.running);
        Rc::clone(
            state
                .rendered
                .entry(order)
                .or_insert_with(|| Rc::new(Rendered::new(order))),
        )
    };
    let (mut reader, mut writer) = stream.split();
    // Without a pause there is nothing to wait for, and a client that leaves shows in the write.
    let played = if order.is_paced() {
        tokio::select! {
            played = play(&mut writer, order, &rendered) => played,
            () = gone(&mut reader) => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    } else {
        play(&mut writer, order, &rendered).await
    };
    if order.cut > 0 && played.is_err() {
        stream.set_zero_linger()?;
    }
    let mut state = state.borrow_mut();
    state.running -= 1;
    if let (Err(_), Some(id)) = (&played, id) {
        state.left.push((id, now()));
    }
    played.map(|()| !order.stream)
}

async fn play(out: &mut WriteHalf<'_>, order: Order, rendered: &Rendered) -> std::io::Result<()> {
    let pace = Duration::from_millis(order.pace);
    let mut at = Instant::now() + Duration::from_millis(order.first);
    if order.first > 0 {
        sleep_until(at).await;
    }
    if !order.stream {
        // A whole answer takes as long as its tokens would.
        if order.is_paced() {
            sleep_until(at + pace * u32::try_from(order.tokens).unwrap_or(u32::MAX)).await;
        }
        return out.write_all(&rendered.whole).await;
    }
    out.write_all(&rendered.head).await?;
    for _ in 0..(order.megabytes * 16).max(1) {
        for event in &rendered.events {
            out.write_all(event).await?;
        }
    }
    for sent in 0..if order.pace > 0 { order.tokens } else { 0 } {
        if order.cut > 0 && sent == order.cut {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        if order.stall > 0 && sent == order.stall {
            std::future::pending::<()>().await;
        }
        sleep_until(at).await;
        at += pace;
        out.write_all(&answer::token(0, &now().to_string())).await?;
    }
    out.write_all(&rendered.tail).await
}

/// Ends when the peer closes.
async fn gone(reader: &mut ReadHalf<'_>) {
    let mut waste = [0; 64];
    while matches!(reader.read(&mut waste).await, Ok(1..)) {}
}

fn document(line: &[u8], state: &SharedMock) -> (u16, String) {
    let mut state = state.borrow_mut();
    let path = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let body = match path {
        b"/health" => r#"{"status":"ok"}"#.to_owned(),
        b"/props" => answer::props(state.slots),
        b"/slots" => answer::slots(state.slots, state.running),
        b"/v1/models" => answer::models(),
        b"/bench" => {
            let left = std::mem::take(&mut state.left);
            answer::counts((state.n_requests, state.running, state.most_running), &left)
        }
        _ => {
            return (
                404,
                r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#
                    .to_owned(),
            );
        }
    };
    (200, body)
}
