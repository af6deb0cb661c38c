//! The five deadlines, each with its own code, from both sides: never before its time, and not a tenth after it; for
//! streamed and whole answers; counting tokens, so that neither pings nor progress move one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use llm_proxy::Deadlines;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{PATIENCE, Proxy, UPSTREAM_KEY, envelope, last_error, question};

const DEADLINE: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_millis(1_100);
const PING: Duration = Duration::from_millis(20);
/// Another process that takes the cores can only make a wait longer: one attempt in so many must be on time.
const ATTEMPTS: usize = 6;

/// Attempts until one is on time; none may be early.
async fn on_time(attempt: impl AsyncFn() -> Duration) {
    let mut fastest = Duration::MAX;
    for _ in 0..ATTEMPTS {
        fastest = fastest.min(attempt().await);
        assert!(fastest >= DEADLINE, "{fastest:?} is before the deadline");
        if fastest <= LATE {
            return;
        }
    }
    panic!("{fastest:?} at best is a tenth after the deadline");
}

/// A proxy with one deadline to look at; the others are out of the way.
async fn proxy(llama: &FakeLlama, change: impl FnOnce(&mut Deadlines)) -> Proxy {
    Proxy::with(llama, |config| {
        config.deadlines.first_token_per_prompt_token = Duration::ZERO;
        change(&mut config.deadlines);
    })
    .await
}

/// The error that an answer ends with, before or after its header, and how long that took.
async fn timed(proxy: &Proxy, stream: bool) -> (Value, Duration) {
    let began = Instant::now();
    let response = proxy.ask(&question(stream)).await;
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let took = began.elapsed();
    let error = if text.starts_with('{') {
        serde_json::from_str(&text).unwrap()
    } else {
        last_error(&text)
    };
    assert!(stream || [503, 504].contains(&status), "{status}: {text}");
    (error, took)
}

/// Every answer to `script` ends on time with `code`, streamed or not.
async fn ends_on_time(llama: &FakeLlama, proxy: &Proxy, script: Script, code: &str, message: &str) {
    llama.script(script);
    for stream in [true, false] {
        on_time(async || {
            let (error, took) = timed(proxy, stream).await;
            assert_eq!(error, envelope("llm-proxy", "server_error", code, message));
            took
        })
        .await;
    }
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn a_wait_for_a_slot_ends_at_the_queue_deadline() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = proxy(&llama, |deadlines| deadlines.queue = DEADLINE).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let running = proxy.ask(&question(true)).await;
    let message = "no slot became free in time: try again after the time in Retry-After";
    for stream in [true, false] {
        on_time(async || {
            let (error, took) = timed(&proxy, stream).await;
            assert_eq!(
                error,
                envelope("llm-proxy", "server_error", "queue_timeout", message)
            );
            took
        })
        .await;
    }
    llama.release();
    assert!(running.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    assert_eq!(llama.requests().len(), 1);
}

/// A listener at `address` whose backlog is full: the kernel leaves further connections without an answer.
async fn silence(address: SocketAddr) -> (TcpListener, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    (
        socket.listen(0).unwrap(),
        TcpStream::connect(address).await.unwrap(),
    )
}

#[tokio::test]
async fn a_connection_that_is_not_accepted_ends_at_the_connect_deadline() {
    for stream in [true, false] {
        on_time(async || {
            let llama = FakeLlama::start().await;
            let proxy = proxy(&llama, |deadlines| deadlines.connect = DEADLINE).await;
            let _silent = silence(llama.stop().await).await;
            let message = "the model server did not accept a connection in time";
            let (error, took) = timed(&proxy, stream).await;
            assert_eq!(
                error,
                envelope("llm-proxy", "server_error", "connect_timeout", message)
            );
            took
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_whose_first_packet_was_lost_stands_before_the_connect_deadline() {
    let llama = FakeLlama::start().await;
    let proxy = proxy(&llama, |deadlines| deadlines.connect = DEADLINE).await;
    let address = llama.stop().await;
    let silent = silence(address).await;
    let asked = proxy.chat(&question(false)).send();
    let back = async {
        // It has its slot, so the first packet was sent, and nobody took it.
        proxy.until_metric("llm_proxy_requests_in_flight 1").await;
        drop(silent);
        let llama = FakeLlama::start_at(address).await;
        llama.require_key(UPSTREAM_KEY);
        llama
    };
    let (response, _llama) = tokio::join!(asked, back);
    assert_eq!(response.unwrap().status(), 200);
}

/// A proxy before one upstream with one slot, which is probed only when it fails.
async fn proxy_with_one_slot(llama: &FakeLlama) -> Proxy {
    llama.set_slots(1);
    Proxy::with(llama, |config| {
        config.deadlines.connect = DEADLINE;
        config.probe_up = PATIENCE;
    })
    .await
}

#[tokio::test]
async fn those_who_wait_outlast_one_connection_that_is_not_accepted() {
    let llama = FakeLlama::start().await;
    let proxy = proxy_with_one_slot(&llama).await;
    let address = llama.stop().await;
    let silent = silence(address).await;
    let body = question(false);
    let first = async {
        let status = proxy.ask(&body).await.status();
        drop(silent);
        let llama = FakeLlama::start_at(address).await;
        llama.require_key(UPSTREAM_KEY);
        (status, llama)
    };
    let second = async {
        proxy.until_metric("llm_proxy_requests_in_flight 1").await;
        proxy.ask(&body).await.status()
    };
    let ((first, _llama), second) = tokio::join!(first, second);
    assert_eq!((first.as_u16(), second.as_u16()), (504, 200));
}

#[tokio::test]
async fn those_who_wait_are_refused_once_a_probe_is_not_accepted() {
    const WAITING: usize = 8;
    let llama = FakeLlama::start().await;
    let proxy = proxy_with_one_slot(&llama).await;
    let _silent = silence(llama.stop().await).await;
    let body = question(false);
    let began = Instant::now();
    let asked = join_all((0..=WAITING).map(|_| async { proxy.ask(&body).await.status().as_u16() }));
    let statuses = asked.await;
    let n_refused = statuses.iter().filter(|status| **status == 503).count();
    let n_tried = statuses.iter().filter(|status| **status == 504).count();
    assert_eq!(n_refused + n_tried, WAITING + 1, "{statuses:?}");
    // One after the other would take a deadline each.
    assert!(n_refused >= WAITING / 2, "{statuses:?}");
    assert!(began.elapsed() < DEADLINE * 5, "{:?}", began.elapsed());
    assert_eq!(proxy.ask(&body).await.status(), 503);
}

#[tokio::test]
async fn an_upstream_that_sends_no_header_ends_at_the_first_token_deadline() {
    let llama = FakeLlama::start().await;
    let proxy = proxy(&llama, |deadlines| deadlines.first_token = DEADLINE).await;
    let script = Script::tokens(["a"]).stall_before_headers();
    ends_on_time(
        &llama,
        &proxy,
        script,
        "first_token_timeout",
        "the first token did not come in time",
    )
    .await;
    llama.client_left(0).await;
}

#[tokio::test]
async fn neither_pings_nor_progress_are_a_first_token() {
    let llama = FakeLlama::start().await;
    let proxy = proxy(&llama, |deadlines| deadlines.first_token = DEADLINE).await;
    // The second progress event comes in the middle, pings all the time.
    let script = Script::tokens(["a"])
        .prefill(DEADLINE / 2)
        .stall_after(0)
        .pings(PING);
    ends_on_time(
        &llama,
        &proxy,
        script,
        "first_token_timeout",
        "the first token did not come in time",
    )
    .await;
    llama.client_left(0).await;
}

#[tokio::test]
async fn a_longer_prompt_has_longer_for_its_first_token() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.deadlines.first_token = Duration::ZERO;
        config.deadlines.first_token_per_prompt_token = Duration::from_millis(5);
    })
    .await;
    llama.script(Script::tokens(["a"]).prefill(Duration::from_millis(900)));
    let mut long = question(true);
    long["messages"][0]["content"] = json!("word ".repeat(1000));
    assert!(
        proxy
            .ask(&long)
            .await
            .text()
            .await
            .unwrap()
            .contains("[DONE]")
    );
    let short = proxy.ask(&question(true)).await.text().await.unwrap();
    assert_eq!(last_error(&short)["error"]["code"], "first_token_timeout");
}

#[tokio::test]
async fn pings_are_not_a_next_token_and_the_deadline_counts_from_the_last_one() {
    let llama = FakeLlama::start().await;
    let proxy = proxy(&llama, |deadlines| deadlines.between_tokens = DEADLINE).await;
    // Four tokens half a deadline apart, and then none: each has moved it.
    let script = Script::tokens(vec!["a"; 9])
        .every(DEADLINE / 2)
        .stall_after(4)
        .pings(PING);
    llama.script(script);
    on_time(async || {
        let began = Instant::now();
        let text = proxy.ask(&question(true)).await.text().await.unwrap();
        let took = began.elapsed();
        assert_eq!(text.matches(r#""content":"a""#).count(), 4);
        assert!(text.contains(":\n\n"), "the pings passed: {text}");
        let message = "the next token did not come in time";
        assert_eq!(
            last_error(&text),
            envelope("llm-proxy", "server_error", "token_timeout", message)
        );
        // The last token left the upstream no earlier than this.
        took - DEADLINE * 3 / 2
    })
    .await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1).pings(PING));
    on_time(async || {
        let (error, took) = timed(&proxy, false).await;
        assert_eq!(error["error"]["code"], "token_timeout");
        took
    })
    .await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn an_answer_without_end_is_ended_by_the_total_deadline() {
    let llama = FakeLlama::start().await;
    let proxy = proxy(&llama, |deadlines| deadlines.total = DEADLINE).await;
    let script = Script::tokens(vec!["a"; 10_000]).every(PING);
    ends_on_time(
        &llama,
        &proxy,
        script,
        "total_timeout",
        "the answer took longer than a request may",
    )
    .await;
    llama.client_left(0).await;
}
