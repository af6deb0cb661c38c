//! A caller that goes, by every way of going and whatever it sent beyond its request: the slot is free within 100 ms.

use std::time::Duration;

use serde_json::Value;
use testkit::fake_llama::{FakeLlama, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::{KEY, Proxy, question};

/// How a caller goes.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// It closes.
    Fin,
    /// Its kernel resets.
    Rst,
    /// It says that it sends no more, and would still read.
    HalfClose,
}

const WAYS: [Leave; 3] = [Leave::Fin, Leave::Rst, Leave::HalfClose];
/// What may follow a request: nothing, a stray byte, the line end of old browsers, and a whole second request.
const EXTRAS: [&str; 4] = ["", "x", "\r\n", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"];
/// Two looks at the caller; the wire tests allow ten times as long, for a machine that has other things to do.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn send(proxy: &Proxy, body: &Value, extra: &str) -> TcpStream {
    let body = body.to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}{extra}",
        body.len()
    );
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Goes, and returns what must live on.
async fn leave(mut stream: TcpStream, how: Leave) -> Option<TcpStream> {
    match how {
        Leave::Fin => None,
        Leave::Rst => {
            stream.set_zero_linger().unwrap();
            None
        }
        Leave::HalfClose => {
            stream.shutdown().await.unwrap();
            Some(stream)
        }
    }
}

/// For every way of going and every extra: asks, waits for `phase`, goes, and sees all given back.
async fn in_phase(script: Script, stream: bool, phase: &str) {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    llama.script(script);
    let mut n = 0;
    for how in WAYS {
        for extra in EXTRAS {
            let mut caller = send(&proxy, &question(stream), extra).await;
            llama.request_started(n).await;
            if phase == "streaming" {
                if stream {
                    let mut text = Vec::new();
                    while !String::from_utf8_lossy(&text).contains(r#""content":"a""#) {
                        assert_ne!(caller.read_buf(&mut text).await.unwrap(), 0);
                    }
                } else {
                    proxy.until_first_tokens(n + 1).await;
                }
            }
            let left = Instant::now();
            let kept = leave(caller, how).await;
            llama.client_left(n).await;
            assert!(left.elapsed() < AT_ONCE, "{how:?} {extra:?}: {:?}", left.elapsed());
            proxy.until_metric("llm_proxy_requests_in_flight 0").await;
            drop(kept);
            n += 1;
        }
    }
}

#[tokio::test]
async fn a_caller_of_a_whole_answer_that_goes_while_connecting_is_noticed_at_once() {
    in_phase(Script::tokens(["a"]).stall_before_headers(), false, "connecting").await;
}

#[tokio::test]
async fn a_caller_of_a_stream_that_goes_while_connecting_is_noticed_at_once() {
    in_phase(Script::tokens(["a"]).stall_before_headers(), true, "connecting").await;
}

#[tokio::test]
async fn a_caller_of_a_whole_answer_that_goes_during_prefill_is_noticed_at_once() {
    in_phase(Script::tokens(["a"]).stall_after(0), false, "prefilling").await;
}

#[tokio::test]
async fn a_caller_of_a_whole_answer_that_goes_while_it_is_written_is_noticed_at_once() {
    in_phase(Script::tokens(["a", "b"]).stall_after(1), false, "streaming").await;
}

#[tokio::test]
async fn a_caller_of_a_stream_that_goes_is_noticed_at_once() {
    in_phase(Script::tokens(["a", "b"]).stall_after(1), true, "streaming").await;
}

#[tokio::test]
async fn a_caller_that_goes_while_it_waits_in_the_queue_is_noticed_at_once() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let running = proxy.ask(&question(true)).await;
    for how in WAYS {
        for extra in EXTRAS {
            let caller = send(&proxy, &question(false), extra).await;
            proxy.until_metric("llm_proxy_queue_depth 1").await;
            let left = Instant::now();
            let kept = leave(caller, how).await;
            proxy.until_metric("llm_proxy_queue_depth 0").await;
            assert!(left.elapsed() < AT_ONCE, "{how:?} {extra:?}: {:?}", left.elapsed());
            drop(kept);
        }
    }
    assert_eq!(llama.requests().len(), 1);
    drop(running);
}
