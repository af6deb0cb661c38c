//! A caller that leaves, in every phase and by every way of leaving: the upstream's connection closes at once, the slot is
//! free within 50 ms, and it is counted.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use testkit::fake_llama::{Ended, FakeLlama, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{KEY, Proxy, question, until};

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

const WAYS: [Way; 3] = [Way::Fin, Way::Reset, Way::HalfClose];
/// What may follow a request: nothing, a stray byte, the line end of old browsers, and a whole second request.
const EXTRAS: [&str; 4] = ["", "x", "\r\n", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"];
/// From a caller's leaving to its slot's being free.
const FREE_WITHIN: Duration = Duration::from_millis(50);
/// Another process that takes the cores can only make that longer: one attempt in so many must be on time.
const ATTEMPTS: usize = 10;
/// Many, some at once.
const CALLERS: usize = 500;
const AT_ONCE: usize = 8;

async fn asked(proxy: &Proxy, stream: bool, extra: &str) -> TcpStream {
    let body = question(stream).to_string();
    let mut socket = TcpStream::connect(proxy.address).await.unwrap();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}{extra}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Leaves, and returns what must live on.
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

/// Reads until the first token is there.
async fn first_token(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(r#""content":"a""#) {
        assert!(
            socket.read_buf(&mut text).await.unwrap() > 0,
            "{}",
            String::from_utf8_lossy(&text)
        );
    }
    String::from_utf8(text).unwrap()
}

/// For every way and every extra: asks, waits for the last of `phases`, leaves, and sees all given back in time. The
/// phases are those that it may be counted in, because not each can be told from outside.
async fn in_phase(script: Script, stream: bool, phases: &[&str]) {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    llama.script(script);
    let mut n = 0;
    for way in WAYS {
        for extra in EXTRAS {
            let mut fastest = Duration::MAX;
            for _ in 0..ATTEMPTS {
                let mut caller = asked(&proxy, stream, extra).await;
                llama.request_started(n).await;
                match (*phases.last().unwrap(), stream) {
                    ("streaming", true) => drop(first_token(&mut caller).await),
                    ("streaming", false) => proxy.until_first_tokens(n + 1).await,
                    ("prefilling", true) => drop(caller.read_u8().await.unwrap()),
                    _ => {}
                }
                let left = Instant::now();
                let still_listens = leave(caller, way).await;
                llama.client_left(n).await;
                proxy.until_metric("llm_proxy_requests_in_flight 0").await;
                fastest = fastest.min(left.elapsed());
                drop(still_listens);
                n += 1;
                if fastest <= FREE_WITHIN {
                    break;
                }
            }
            assert!(
                fastest <= FREE_WITHIN,
                "{way:?} {extra:?}: {fastest:?} at best"
            );
        }
    }
    until("the count", async || {
        let metrics = proxy.metrics().await;
        let count = |phase: &&str| {
            let sample = format!("llm_proxy_cancellations_total{{phase=\"{phase}\"}} ");
            metrics
                .lines()
                .find_map(|line| line.strip_prefix(&sample)?.parse::<usize>().ok())
        };
        phases.iter().filter_map(count).sum::<usize>() == n
    })
    .await;
    // The slot serves the next one.
    llama.script(Script::tokens(["a"]));
    assert_eq!(proxy.ask(&question(false)).await.status(), 200);
}

#[tokio::test]
async fn a_caller_of_a_whole_answer_that_goes_while_connecting_is_noticed_at_once() {
    in_phase(
        Script::tokens(["a"]).stall_before_headers(),
        false,
        &["connecting"],
    )
    .await;
}

#[tokio::test]
async fn a_caller_of_a_stream_that_goes_while_connecting_is_noticed_at_once() {
    in_phase(
        Script::tokens(["a"]).stall_before_headers(),
        true,
        &["connecting"],
    )
    .await;
}

#[tokio::test]
async fn a_caller_of_a_stream_that_goes_during_prefill_is_noticed_at_once() {
    in_phase(Script::tokens(["a"]).stall_after(0), true, &["prefilling"]).await;
}

#[tokio::test]
async fn a_caller_of_a_whole_answer_that_goes_during_prefill_is_noticed_at_once() {
    in_phase(
        Script::tokens(["a"]).stall_after(0),
        false,
        &["connecting", "prefilling"],
    )
    .await;
}

#[tokio::test]
async fn a_caller_of_a_whole_answer_that_goes_while_it_is_written_is_noticed_at_once() {
    in_phase(
        Script::tokens(["a", "b"]).stall_after(1),
        false,
        &["streaming"],
    )
    .await;
}

#[tokio::test]
async fn a_caller_of_a_stream_that_goes_is_noticed_at_once() {
    in_phase(
        Script::tokens(["a", "b"]).stall_after(1),
        true,
        &["streaming"],
    )
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_while_it_waits_in_the_queue_is_noticed_at_once_and_never_reaches_the_upstream()
 {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let running = proxy.ask(&question(true)).await;
    let mut n = 0;
    for way in WAYS {
        for extra in EXTRAS {
            let mut fastest = Duration::MAX;
            for attempt in 0..ATTEMPTS {
                let caller = asked(&proxy, attempt % 2 == 0, extra).await;
                proxy.until_metric("llm_proxy_queue_depth 1").await;
                let left = Instant::now();
                let still_listens = leave(caller, way).await;
                proxy.until_metric("llm_proxy_queue_depth 0").await;
                fastest = fastest.min(left.elapsed());
                drop(still_listens);
                n += 1;
                if fastest <= FREE_WITHIN {
                    break;
                }
            }
            assert!(
                fastest <= FREE_WITHIN,
                "{way:?} {extra:?}: {fastest:?} at best"
            );
        }
    }
    proxy
        .until_metric(&format!(
            "llm_proxy_cancellations_total{{phase=\"queued\"}} {n}"
        ))
        .await;
    llama.release();
    assert!(running.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    assert_eq!(llama.requests().len(), 1);
}

#[tokio::test]
async fn the_next_in_the_queue_has_the_slot_of_the_one_that_left() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let running = proxy.ask(&question(true)).await;
    let body = question(false);
    let next = proxy.ask(&body);
    let leave = async {
        proxy.until_metric("llm_proxy_queue_depth 1").await;
        drop(running);
    };
    let (next, ()) = tokio::join!(next, leave);
    assert_eq!(next.status(), 200);
    assert_eq!(llama.most_running(), 1);
}

/// Five hundred leave mid-stream, in every way in turn.
#[tokio::test]
async fn five_hundred_callers_that_go_mid_stream_leave_the_upstream_at_once() {
    let llama = FakeLlama::start().await;
    llama.set_slots(AT_ONCE);
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let one = async |n: usize| {
        let mut socket = asked(&proxy, true, "").await;
        let text = first_token(&mut socket).await;
        let id = text
            .lines()
            .find_map(|line| line.strip_prefix("x-request-id: "))
            .unwrap();
        let requests = llama.requests();
        let number = requests
            .iter()
            .position(|request| request.headers["x-request-id"] == id)
            .unwrap();
        let began = Instant::now();
        let _still_listens = leave(socket, WAYS[n % 3]).await;
        assert_eq!(llama.ended(number).await, Ended::ClientLeft);
        began.elapsed()
    };
    let times: Vec<Duration> = futures_util::stream::iter(0..CALLERS)
        .map(one)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    proxy
        .until_metric(&format!(
            "llm_proxy_cancellations_total{{phase=\"streaming\"}} {CALLERS}"
        ))
        .await;
    // Another process may take the cores for longer than that now and then.
    let late = times.iter().filter(|time| **time > 5 * FREE_WITHIN).count();
    assert!(
        late <= CALLERS / 20,
        "{late} of {CALLERS} took longer, {:?} at most",
        times.iter().max()
    );
}

#[tokio::test]
async fn five_hundred_callers_that_leave_the_queue_never_reach_the_upstream() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let running = proxy.ask(&question(true)).await;
    for round in 0..CALLERS / 10 {
        let mut waiting = Vec::new();
        for _ in 0..10 {
            waiting.push(asked(&proxy, true, "").await);
        }
        proxy.until_metric("llm_proxy_queue_depth 10").await;
        let mut still_listen = Vec::new();
        for socket in waiting {
            still_listen.push(leave(socket, WAYS[round % 3]).await);
        }
        proxy.until_metric("llm_proxy_queue_depth 0").await;
    }
    proxy
        .until_metric(&format!(
            "llm_proxy_cancellations_total{{phase=\"queued\"}} {CALLERS}"
        ))
        .await;
    llama.release();
    assert!(running.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    assert_eq!(llama.requests().len(), 1);
}
