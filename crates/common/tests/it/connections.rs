//! Connections that wait, leave, take nothing, or are too many.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Router};
use common::server::{ClientConnection, ListenerLimits, Refusals};
use common::shutdown::Shutdown;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::{exchange, start, start_counted, take_id};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const TIMED_OUT: &str = r#"{"error":{"message":"the request's header did not arrive in time","type":"invalid_request_error","code":"header_timeout","param":null},"src":"test"}"#;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads one answer to the end of its body, which is `body`.
async fn read_answer(stream: &mut TcpStream, body: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(body.as_bytes()) {
        assert_ne!(
            stream.read_buf(&mut answer).await.unwrap(),
            0,
            "closed early"
        );
    }
    String::from_utf8(answer).unwrap()
}

/// Notifies when it is dropped.
struct DropNotice(Arc<Notify>);

impl Drop for DropNotice {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A handler that never answers, and the notices of its start and of its end.
fn endless() -> (Router, Arc<Notify>, Arc<Notify>) {
    let began = Arc::new(Notify::new());
    let ended = Arc::new(Notify::new());
    let told = (Arc::clone(&began), Arc::clone(&ended));
    let handler = async move |request: Request| -> String {
        let _guard = DropNotice(Arc::clone(&told.1));
        axum::body::to_bytes(request.into_body(), 1024)
            .await
            .unwrap();
        told.0.notify_one();
        pending().await
    };
    (Router::new().fallback(handler), began, ended)
}

#[tokio::test]
async fn half_a_head_is_answered_408_and_silence_is_closed_without_an_answer() {
    let header_timeout = Duration::from_millis(100);
    let limits = ListenerLimits {
        header_timeout,
        ..ListenerLimits::default()
    };
    let (address, _) = start(Router::new(), limits).await;
    for (sent, answered) in [
        ("", ""),
        ("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", TIMED_OUT),
    ] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = exchange(&mut stream, sent).await;
        assert_eq!(
            answer.split_once("\r\n\r\n").map_or("", |(_, body)| body),
            answered
        );
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
            "{answer}"
        );
        assert!(began.elapsed() >= header_timeout);
    }
}

#[tokio::test]
async fn a_drip_of_header_bytes_does_not_move_the_header_timeout() {
    let header_timeout = Duration::from_millis(200);
    let limits = ListenerLimits {
        header_timeout,
        ..ListenerLimits::default()
    };
    let (address, _) = start(Router::new(), limits).await;
    let began = Instant::now();
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    write.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    let drip = async {
        let mut every = tokio::time::interval(Duration::from_millis(10));
        loop {
            every.tick().await;
            // It fails once the server has closed.
            write.write_all(b"x").await.ok();
        }
    };
    let mut answer = String::new();
    tokio::select! {
        () = drip => {}
        read = read.read_to_string(&mut answer) => drop(read),
    }
    assert!(answer.ends_with(TIMED_OUT), "{answer}");
    assert!((header_timeout..PATIENCE).contains(&began.elapsed()));
}

#[tokio::test]
async fn an_idle_connection_has_a_longer_timeout_than_a_head() {
    let header_timeout = Duration::from_millis(50);
    let idle_timeout = Duration::from_millis(300);
    let limits = ListenerLimits {
        header_timeout,
        idle_timeout,
        ..ListenerLimits::default()
    };
    let (address, _) = start(Router::new().route("/", get(async || "hello")), limits).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    read_answer(&mut stream, "hello").await;
    let began = Instant::now();
    assert_eq!(exchange(&mut stream, "").await, "");
    assert!(began.elapsed() >= idle_timeout, "{:?}", began.elapsed());

    let limits = ListenerLimits {
        idle_timeout: PATIENCE,
        ..limits
    };
    let (address, _) = start(Router::new().route("/", get(async || "hello")), limits).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    read_answer(&mut stream, "hello").await;
    let began = Instant::now();
    let answer = exchange(&mut stream, "GET / HTT").await;
    assert!(answer.ends_with(TIMED_OUT), "{answer}");
    assert!((header_timeout..PATIENCE).contains(&began.elapsed()));
}

#[tokio::test]
async fn a_connection_over_the_cap_is_answered_503_and_the_others_go_on() {
    let router = Router::new().route("/", get(async || "hello"));
    let (address, _) = start(
        router,
        ListenerLimits {
            max_connections: 2,
            ..ListenerLimits::default()
        },
    )
    .await;
    let mut old = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        read_answer(&mut stream, "hello").await;
        old.push(stream);
    }
    for sent in ["", GET] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = exchange(&mut stream, sent).await;
        assert!(
            answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{answer}"
        );
        assert!(
            answer.contains("\r\nretry-after: 1\r\n")
                && answer.contains(r#""code":"too_many_connections""#)
        );
    }
    for stream in &mut old {
        stream.write_all(GET.as_bytes()).await.unwrap();
        read_answer(stream, "hello").await;
    }
    drop(old);
    let served = async {
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            if exchange(&mut stream, request).await.ends_with("hello") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
}

#[tokio::test]
async fn each_refusal_has_an_id_and_is_counted_by_its_reason() {
    let refusals = Refusals::of("test");
    let mut registry = Registry::default();
    refusals.register(&mut registry);
    let count = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let sample = |line: &str| {
            line.strip_prefix("connections_refused_total")
                .map(str::to_owned)
        };
        text.lines().filter_map(sample).collect::<BTreeSet<_>>()
    };
    let expected = |counts: [(&str, u64); 5]| {
        counts
            .map(|(reason, n)| format!(r#"{{reason="{reason}"}} {n}"#))
            .into_iter()
            .collect()
    };
    let reasons = [
        "malformed_request",
        "header_too_large",
        "target_too_long",
        "header_timeout",
        "too_many_connections",
    ];
    assert_eq!(count(), expected(reasons.map(|reason| (reason, 0))));

    let limits = ListenerLimits {
        header_timeout: Duration::from_millis(100),
        max_connections: 1,
        ..ListenerLimits::default()
    };
    let router = Router::new().route("/", get(async || "hello"));
    let (address, _) = start_counted(router, limits, refusals).await;
    let long = "x".repeat(20_000);
    let mut ids = BTreeSet::new();
    for request in [
        "GET / HTTP/1.1\n",
        "GET / HTTP/9.9\r\n\r\n",
        &format!("GET / HTTP/1.1\r\nX: {long}"),
        &format!("GET /{long}"),
        "GET / HTTP/1.1\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ids.insert(take_id(&exchange(&mut stream, request).await).0);
    }
    // Neither an answer nor silence is a refusal.
    let close = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for request in [
        close,
        "",
        "GET /404 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(
            !exchange(&mut stream, request)
                .await
                .contains("x-request-id")
        );
    }
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(GET.as_bytes()).await.unwrap();
    read_answer(&mut open, "hello").await;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ids.insert(take_id(&exchange(&mut stream, "").await).0);
    }
    assert_eq!(ids.len(), 8);
    let counts = [2, 1, 1, 1, 3];
    assert_eq!(
        count(),
        expected(std::array::from_fn(|i| (reasons[i], counts[i])))
    );
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_handler_whatever_it_sent_after_its_request() {
    let (router, began, ended) = endless();
    let (address, _) = start(router, ListenerLimits::default()).await;
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
    for extra in ["", "\n", "x", GET, "GET / HTTP/1.1\nbad\n\n"] {
        for leave in ["fin", "rst", "half-close"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(format!("{post}{extra}").as_bytes())
                .await
                .unwrap();
            if extra == "GET / HTTP/1.1\nbad\n\n" {
                // A bad head that arrives with its request spoils that one, too.
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
                continue;
            }
            began.notified().await;
            let left = Instant::now();
            let mut kept = None;
            match leave {
                "fin" => drop(stream),
                "rst" => {
                    stream.set_zero_linger().unwrap();
                    drop(stream);
                }
                _ => {
                    stream.shutdown().await.unwrap();
                    kept = Some(stream);
                }
            }
            tokio::time::timeout(PATIENCE, ended.notified())
                .await
                .unwrap();
            // Two probes at most; the rest is for a busy machine.
            assert!(
                left.elapsed() < Duration::from_millis(1000),
                "{extra:?} {leave}: {:?}",
                left.elapsed()
            );
            drop(kept);
        }
    }
}

#[tokio::test]
async fn bytes_after_a_request_do_not_hide_that_the_client_leaves() {
    let (router, began, ended) = endless();
    let (address, _) = start(router, ListenerLimits::default()).await;
    for extra in ["x", "GET / HTTP/1.1\nbad\n\n", &"x".repeat(100_000)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        began.notified().await;
        stream.write_all(extra.as_bytes()).await.unwrap();
        drop(stream);
        tokio::time::timeout(PATIENCE, ended.notified())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_answer_arrives_whole_though_nobody_reads_the_requests_body() {
    let handler = async || (StatusCode::UNAUTHORIZED, "no");
    let (address, _) = start(Router::new().fallback(handler), ListenerLimits::default()).await;
    for _ in 0..20 {
        let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        let send = async {
            write
                .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n")
                .await?;
            write.write_all(&[b'x'; 600_000]).await
        };
        let mut answer = String::new();
        let (sent, answered) = tokio::join!(send, read.read_to_string(&mut answer));
        sent.unwrap();
        answered.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 401 ") && answer.ends_with("\r\n\r\nno"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn no_reset_overtakes_the_answer_of_a_refused_connection() {
    let handler = async || (StatusCode::UNAUTHORIZED, "no");
    let (address, _) = start(Router::new().fallback(handler), ListenerLimits::default()).await;
    for head in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n",
        "GET / HTTP/1.1\nHost: x",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = exchange(&mut stream, head).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        let answered = Instant::now();
        let mut every = tokio::time::interval(Duration::from_millis(10));
        while stream.write_all(b"x").await.is_ok() {
            every.tick().await;
        }
        // A second, less the time that a busy machine takes to get here.
        assert!(
            answered.elapsed() > Duration::from_millis(500),
            "{:?}",
            answered.elapsed()
        );
    }
}

/// A client whose kernel takes as little as it can.
async fn reluctant(address: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    stream
}

/// An answer without end, which may cut off its connection after `cut`. The channel closes when the answer is dropped.
fn flood(cut: Option<Duration>) -> (Router, mpsc::Receiver<()>) {
    let (alive, gone) = mpsc::channel::<()>(1);
    let handler = async move |Extension(connection): Extension<ClientConnection>| {
        if let Some(cut) = cut {
            connection.cut_at(Instant::now() + cut);
        }
        let block = Bytes::from_static(&[b'x'; 16 * 1024]);
        let blocks = futures_util::stream::repeat_with(move || {
            let _held = &alive;
            Ok::<_, Infallible>(block.clone())
        });
        Body::from_stream(blocks)
    };
    (
        Router::new().route(
            "/",
            get(async move |extension| handler.clone()(extension).await),
        ),
        gone,
    )
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
    let write_stall = Duration::from_millis(300);
    let (router, _) = flood(None);
    let (address, _) = start(
        router,
        ListenerLimits {
            write_stall,
            ..ListenerLimits::default()
        },
    )
    .await;
    let mut slow = reluctant(address).await;
    let mut idle = reluctant(address).await;
    let began = Instant::now();
    let mut scratch = vec![0; 256 * 1024];
    while began.elapsed() < write_stall * 4 {
        slow.read_exact(&mut scratch).await.unwrap();
        tokio::time::sleep(write_stall / 10).await;
    }
    // The idle one was reset long ago: it reads only what its kernel had taken.
    let ended = async { while !matches!(idle.read(&mut scratch).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    slow.read_exact(&mut scratch).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_cut_off_when_its_answer_says() {
    let cut = Duration::from_millis(200);
    let (router, _) = flood(Some(cut));
    let (address, _) = start(
        router,
        ListenerLimits {
            write_stall: PATIENCE * 2,
            ..ListenerLimits::default()
        },
    )
    .await;
    let began = Instant::now();
    let mut stream = reluctant(address).await;
    // Nothing is read before the end, and the end is a reset.
    stream.ready(tokio::io::Interest::ERROR).await.unwrap();
    assert!(
        (cut..PATIENCE).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
    let mut scratch = vec![0; 64 * 1024];
    while let Ok(1..) = stream.read(&mut scratch).await {}
}

#[tokio::test]
async fn in_the_drain_an_idle_connection_serves_one_more_request() {
    let router = Router::new().route("/", get(async || "hello"));
    let (address, shutdown) = start(router, ListenerLimits::default()).await;
    let mut used = TcpStream::connect(address).await.unwrap();
    used.write_all(GET.as_bytes()).await.unwrap();
    read_answer(&mut used, "hello").await;
    let mut unused = TcpStream::connect(address).await.unwrap();
    let silent = TcpStream::connect(address).await.unwrap();
    let late = async {
        shutdown.draining().await;
        // Well within the second for which idle connections are kept.
        tokio::time::sleep(Duration::from_millis(200)).await;
        for stream in [&mut used, &mut unused] {
            let answer = exchange(stream, GET).await;
            assert!(
                answer.contains("connection: close\r\n") && answer.ends_with("hello"),
                "{answer}"
            );
        }
    };
    let (abandoned, ()) = tokio::join!(shutdown.finish(PATIENCE), late);
    assert_eq!(abandoned, 0);
    drop(silent);
}

#[tokio::test]
async fn connections_in_the_backlog_when_the_drain_begins_are_served() {
    let listener = common::server::bind("TEST_LISTEN", "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let mut waiting = Vec::new();
    // The backlog that `serve` sets, and more connections than tokio lets a task accept in one go.
    socket2::SockRef::from(&listener).listen(4096).unwrap();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    let router = Router::new().route("/", get(async || "hello"));
    let shutdown = Shutdown::new();
    let serving = common::server::serve(
        listener,
        router,
        ListenerLimits::default(),
        Refusals::of("test"),
        shutdown.clone(),
    );
    shutdown.spawn(serving);
    assert_eq!(shutdown.finish(PATIENCE).await, 0);
    for stream in &mut waiting {
        assert!(exchange(stream, "").await.ends_with("hello"));
    }
}

#[tokio::test]
async fn a_handler_that_ignores_the_end_of_the_drain_is_dropped() {
    let (router, began, ended) = endless();
    let (address, shutdown) = start(router, ListenerLimits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    began.notified().await;
    assert_eq!(shutdown.finish(Duration::ZERO).await, 0);
    ended.notified().await;
}
