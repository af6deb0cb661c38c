//! Callers that take their answer slowly, or not at all.

use std::time::Duration;

use testkit::fake_llama::{FakeLlama, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::broken::memory;
use crate::{KEY, PATIENCE, Proxy, question};

/// No larger than what is read at once: what has come is then a token, however late a starved machine looks at it.
const TOKEN_BYTES: usize = 8 * 1024;

/// A streamed question whose answer nobody has taken yet; the kernel holds little of it.
async fn ask(proxy: &Proxy) -> TcpStream {
    let body = question(true).to_string();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(proxy.address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// An answer larger than all buffers on its way.
fn long(n_tokens: usize) -> Script {
    Script::tokens(vec!["x".repeat(TOKEN_BYTES); n_tokens])
}

#[tokio::test]
async fn the_total_deadline_ends_an_answer_whose_caller_takes_nothing() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let total = Duration::from_secs(2);
    let proxy = Proxy::with(&llama, |config| {
        config.deadlines.total = total;
        config.write_stall = PATIENCE * 2;
    })
    .await;
    llama.script_once(long(8_000));
    let began = Instant::now();
    let mut stream = ask(&proxy).await;
    llama.client_left(0).await;
    assert!(
        (total..PATIENCE).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    let (mut taken, mut scratch) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(n @ 1..) = stream.read(&mut scratch).await {
        taken.extend_from_slice(&scratch[..n]);
    }
    assert!(
        !String::from_utf8_lossy(&taken).contains("[DONE]"),
        "it looks complete"
    );
    assert_eq!(proxy.ask(&question(true)).await.status(), 200);
}

#[tokio::test]
async fn a_caller_that_takes_nothing_is_given_up_at_the_stall_limit_and_until_then_the_upstream_waits_too()
 {
    let llama = FakeLlama::start().await;
    let write_stall = Duration::from_secs(1);
    let proxy = Proxy::with(&llama, |config| config.write_stall = write_stall).await;
    // A hundred megabytes of tokens, of which the fake holds one.
    let text = "x".repeat(TOKEN_BYTES);
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    llama.script_once(Script::raw_repeated(head, event, 1_600));
    let (began, before) = (Instant::now(), memory());
    let stream = ask(&proxy).await;
    llama.client_left(0).await;
    assert!(
        (write_stall..PATIENCE).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    // All of it that was taken from the upstream is in this process, which is also the upstream's and the caller's.
    assert!(
        memory() - before < 16 * 1024,
        "{} KiB more",
        memory() - before
    );
    drop(stream);
}

#[tokio::test]
async fn a_caller_that_pauses_longer_than_the_token_deadline_still_has_its_whole_answer() {
    let llama = FakeLlama::start().await;
    let between_tokens = Duration::from_millis(500);
    let proxy = Proxy::with(&llama, |config| {
        config.deadlines.between_tokens = between_tokens;
    })
    .await;
    const TOKENS: usize = 2_000;
    llama.script(long(TOKENS));
    let mut stream = ask(&proxy).await;
    let mut scratch = vec![0; TOKEN_BYTES];
    for _ in 0..2 {
        // The pause is the caller's, and the thing under test.
        tokio::time::sleep(between_tokens * 2).await;
        stream.read_exact(&mut scratch).await.unwrap();
    }
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(
        rest.len() > TOKENS * TOKEN_BYTES - 4 * TOKEN_BYTES,
        "{} bytes",
        rest.len()
    );
    let end = String::from_utf8_lossy(&rest[rest.len() - 200..]).into_owned();
    assert!(end.contains("data: [DONE]\n\n"), "{end}");
}
