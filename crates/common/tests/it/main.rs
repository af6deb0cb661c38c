//! The accept loop, the admin listener and shutdown, at the wire.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod connections;
mod heads;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use common::server::{self, ListenerLimits, Refusals};
use common::shutdown::Shutdown;
use common::{admin, env};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

async fn start(router: Router, limits: ListenerLimits) -> (SocketAddr, Shutdown) {
    start_counted(router, limits, Refusals::of("test")).await
}

async fn start_counted(
    router: Router,
    limits: ListenerLimits,
    refusals: Refusals,
) -> (SocketAddr, Shutdown) {
    let listener = server::bind("TEST_LISTEN", "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(server::serve(
        listener,
        router,
        limits,
        refusals,
        shutdown.clone(),
    ));
    (address, shutdown)
}

/// Sends `request` and reads until the server closes.
async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Takes the id out of a refusal, which must be a UUID of version 7.
fn take_id(answer: &str) -> (String, String) {
    let (before, rest) = answer
        .split_once("x-request-id: ")
        .unwrap_or_else(|| panic!("no id: {answer:?}"));
    let (id, after) = rest.split_once("\r\n").unwrap();
    assert_eq!(
        uuid::Uuid::try_parse(id).unwrap().get_version_num(),
        7,
        "{id}"
    );
    (id.to_owned(), format!("{before}{after}"))
}

#[tokio::test]
async fn the_drain_finishes_the_answer_in_flight_and_accepts_no_other() {
    let started = Arc::new(Notify::new());
    let finish = Arc::new(Notify::new());
    let in_handler = Arc::clone(&started);
    let may_end = Arc::clone(&finish);
    let handler = async move || {
        in_handler.notify_one();
        may_end.notified().await;
        "whole"
    };
    let (address, shutdown) = start(
        Router::new().route("/", get(handler)),
        ListenerLimits::default(),
    )
    .await;
    let client = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        exchange(&mut stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await
    };
    let drain = async {
        started.notified().await;
        let closed = async {
            shutdown.draining().await;
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
            finish.notify_one();
        };
        tokio::join!(shutdown.finish(Duration::from_secs(30)), closed).0
    };
    let (answer, abandoned) = tokio::join!(client, drain);
    assert!(answer.ends_with("\r\n\r\nwhole"), "{answer}");
    assert_eq!(abandoned, 0);
}

#[tokio::test]
async fn a_taken_port_is_reported_with_its_variable_and_what_to_do() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    assert_eq!(
        server::bind("PROXY_LISTEN", address).await.unwrap_err(),
        format!(
            "PROXY_LISTEN: {address} is taken by another process; stop it or set PROXY_LISTEN to a free port"
        )
    );
}

#[tokio::test]
async fn the_health_check_tells_ready_from_not_ready_and_from_gone() {
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = Arc::clone(&ready);
    let reason = move || {
        let ready = seen.load(std::sync::atomic::Ordering::SeqCst);
        if ready {
            Ok(())
        } else {
            Err("no upstream".to_owned())
        }
    };
    let (address, shutdown) = start(
        admin::router(Arc::default(), reason),
        ListenerLimits::default(),
    )
    .await;
    assert_eq!(
        admin::healthcheck(address).await,
        Err(format!("{address} is not ready"))
    );
    ready.store(true, std::sync::atomic::Ordering::SeqCst);
    let anywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
    assert_eq!(admin::healthcheck(anywhere).await, Ok(()));
    shutdown.finish(Duration::from_secs(5)).await;
    assert!(admin::healthcheck(address).await.is_err());
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    registry.register("cats", "Cats seen", counter.clone());
    counter.inc_by(3);
    let (address, _) = start(
        admin::router(Arc::new(registry), || Ok(())),
        ListenerLimits::default(),
    )
    .await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let answer = exchange(
        &mut stream,
        "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(
        answer.ends_with("# HELP cats Cats seen.\n# TYPE cats counter\ncats_total 3\n# EOF\n"),
        "{answer}"
    );
}

#[test]
fn the_tables_of_the_shared_settings_have_defaults_that_parse() {
    let mut environment = env::Environment::from_pairs(
        "",
        &[common::telemetry::VARIABLES],
        Vec::<(String, String)>::new(),
    );
    common::telemetry::Telemetry::read(&mut environment);
    environment.finish().unwrap();
}
