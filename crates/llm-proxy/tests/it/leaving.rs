//! Callers that leave, five hundred times in each of the ways that a socket can: the upstream is left at once, and
//! what waited never gets there.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use testkit::fake_llama::{Ended, FakeLlama, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{KEY, Proxy, question};

/// How a caller goes.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Closes its socket.
    Fin,
    /// Its socket is reset.
    Reset,
    /// Says that it sends nothing more, and still listens.
    HalfClose,
}

/// From the caller's leaving to the upstream's connection being closed.
const LEFT_WITHIN: Duration = Duration::from_millis(250);
const CALLERS: usize = 500;
const AT_ONCE: usize = 8;

async fn asked(proxy: &Proxy) -> TcpStream {
    let body = question(true).to_string();
    let mut socket = TcpStream::connect(proxy.address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

async fn leave(mut socket: TcpStream, way: Way) -> Option<TcpStream> {
    match way {
        Way::Fin => None,
        Way::Reset => {
            socket.set_zero_linger().unwrap();
            None
        }
        Way::HalfClose => {
            socket.shutdown().await.unwrap();
            Some(socket)
        }
    }
}

/// Everybody leaves mid-stream in this `way`.
async fn all_leave_mid_stream(way: Way) {
    let llama = FakeLlama::start().await;
    llama.set_slots(AT_ONCE);
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let one = async |_| {
        let mut socket = asked(&proxy).await;
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains(r#""content":"a""#) {
            assert!(socket.read_buf(&mut text).await.unwrap() > 0, "{}", String::from_utf8_lossy(&text));
        }
        let began = Instant::now();
        let id = String::from_utf8_lossy(&text)
            .lines()
            .find_map(|line| Some(line.strip_prefix("x-request-id: ")?.to_owned()));
        let requests = llama.requests();
        let number = requests
            .iter()
            .position(|request| request.headers["x-request-id"] == id.as_deref().unwrap())
            .unwrap();
        let _still_listens = leave(socket, way).await;
        assert_eq!(llama.ended(number).await, Ended::ClientLeft);
        began.elapsed()
    };
    let times: Vec<Duration> =
        futures_util::stream::iter(0..CALLERS).map(one).buffer_unordered(AT_ONCE).collect().await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    proxy.until_metric(&format!("llm_proxy_cancellations_total{{phase=\"streaming\"}} {CALLERS}")).await;
    // Another process may take the cores for longer than that now and then.
    let late = times.iter().filter(|time| **time > LEFT_WITHIN).count();
    assert!(late <= CALLERS / 20, "{late} of {CALLERS} took longer, {:?} at most", times.iter().max());
}

#[tokio::test]
async fn five_hundred_callers_that_close_mid_stream_leave_the_upstream_at_once() {
    all_leave_mid_stream(Way::Fin).await;
}

#[tokio::test]
async fn five_hundred_callers_that_are_reset_mid_stream_leave_the_upstream_at_once() {
    all_leave_mid_stream(Way::Reset).await;
}

#[tokio::test]
async fn five_hundred_callers_that_half_close_mid_stream_leave_the_upstream_at_once() {
    all_leave_mid_stream(Way::HalfClose).await;
}

#[tokio::test]
async fn five_hundred_callers_that_leave_the_queue_never_reach_the_upstream() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let running = proxy.ask(&question(true)).await;
    let mut late = 0;
    for round in 0..CALLERS / 10 {
        let mut waiting = Vec::new();
        for _ in 0..10 {
            waiting.push(asked(&proxy).await);
        }
        proxy.until_metric("llm_proxy_queue_depth 10").await;
        let way = [Way::Fin, Way::Reset, Way::HalfClose][round % 3];
        let began = Instant::now();
        let mut still_listen = Vec::new();
        for socket in waiting {
            still_listen.push(leave(socket, way).await);
        }
        proxy.until_metric("llm_proxy_queue_depth 0").await;
        late += usize::from(began.elapsed() > Duration::from_millis(100));
    }
    proxy.until_metric(&format!("llm_proxy_cancellations_total{{phase=\"queued\"}} {CALLERS}")).await;
    assert!(late <= CALLERS / 100, "{late} rounds of {} took longer than 100 ms", CALLERS / 10);
    llama.release();
    assert!(running.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    assert_eq!(llama.requests().len(), 1);
}
