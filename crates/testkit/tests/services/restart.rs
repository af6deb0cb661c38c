//! llm-proxy as a process that ends, dies, is replaced or runs out of descriptors, under load.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use testkit::service::Service;
use testkit::tools::needs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

use super::process::terminate;
use super::{KEY, start_proxy};

const STREAMS: usize = 100;

/// A llama-server with `slots` slots and the proxies' key.
async fn llama(slots: usize) -> FakeLlama {
    let llama = FakeLlama::start().await;
    llama.set_slots(slots);
    llama.require_key(KEY);
    llama
}

pub(crate) fn question(stream: bool) -> Value {
    json!({"model": "fake-model", "stream": stream, "messages": [{"role": "user", "content": "Hello"}]})
}

async fn ask(http: &reqwest::Client, url: &str, stream: bool) -> reqwest::Result<Response> {
    let url = format!("{url}/v1/chat/completions");
    http.post(url)
        .bearer_auth(KEY)
        .json(&question(stream))
        .send()
        .await?
        .error_for_status()
}

/// llm-proxy with a drain of so many seconds.
async fn start_with_drain(llama: &FakeLlama, seconds: &str) -> Service {
    let upstream = llama.url();
    let settings = [
        ("PROXY_LISTEN", "127.0.0.1:0"),
        ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("PROXY_UPSTREAMS", &*upstream),
        ("PROXY_DRAIN_SECONDS", seconds),
        ("LLM_API_KEY", KEY),
        ("LLM_MODEL", "fake-model"),
    ];
    let mut proxy = Service::start("llm-proxy", &settings).await.unwrap();
    proxy.ready().await.unwrap();
    proxy
}

/// A hundred streams that have begun.
async fn hundred(llama: &FakeLlama, proxy: &Service) -> Vec<Response> {
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let http = reqwest::Client::new();
    let url = proxy.url();
    let streams = join_all((0..STREAMS).map(|_| ask(&http, &url, true))).await;
    streams.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn sigterm_under_a_hundred_streams_cuts_none_that_fits_the_drain() {
    let llama = llama(STREAMS).await;
    let mut proxy = start_with_drain(&llama, "20").await;
    let streams = hundred(&llama, &proxy).await;
    terminate(proxy.pid()).await;
    let ready = format!("{}/readyz", proxy.admin_url());
    while reqwest::get(&ready).await.unwrap().status() != 503 {}
    let address = proxy.url().replace("http://", "");
    while TcpStream::connect(&address).await.is_ok() {}
    llama.release();
    for stream in streams {
        assert!(stream.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    }
    assert_eq!(proxy.exit_code().await.unwrap(), Some(0));
}

#[tokio::test]
async fn sigterm_tells_each_of_a_hundred_streams_that_outlast_the_drain() {
    let llama = llama(STREAMS).await;
    let mut proxy = start_with_drain(&llama, "1").await;
    let streams = hundred(&llama, &proxy).await;
    let began = Instant::now();
    terminate(proxy.pid()).await;
    for text in join_all(streams.into_iter().map(Response::text)).await {
        let text = text.unwrap();
        let last = text
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap();
        assert!(
            last.contains(r#""code":"shutting_down""#) && !text.contains("[DONE]"),
            "{text}"
        );
    }
    assert_eq!(proxy.exit_code().await.unwrap(), Some(0));
    let took = began.elapsed();
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(10)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test]
async fn sigkill_frees_the_slots_at_once_and_the_next_process_serves() {
    let llama = llama(1).await;
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let mut proxy = start_proxy(&llama.url()).await;
    proxy.ready().await.unwrap();
    let http = reqwest::Client::new();
    let cut = ask(&http, &proxy.url(), true).await.unwrap();
    let pid = proxy.pid().unwrap().to_string();
    let killed = Instant::now();
    assert!(
        Command::new("kill")
            .args(["-KILL", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    llama.client_left(0).await;
    assert!(
        killed.elapsed() < Duration::from_secs(1),
        "{:?}",
        killed.elapsed()
    );
    assert!(cut.text().await.is_err(), "a cut answer looks whole");
    let mut proxy = start_proxy(&llama.url()).await;
    proxy.ready().await.unwrap();
    assert_eq!(ask(&http, &proxy.url(), false).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_proxy_is_replaced_again_and_again_under_load_and_no_request_fails() {
    const RESTARTS: usize = 10;
    let llama = llama(16).await;
    llama.script(Script::tokens(["a", "b", "c"]).every(Duration::from_millis(5)));
    let public = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", public.local_addr().unwrap());
    let upstream = llama.url();
    let settings = [
        ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("PROXY_UPSTREAMS", &*upstream),
        ("LLM_API_KEY", KEY),
        ("LLM_MODEL", "fake-model"),
    ];
    let over = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    let caller = async |stream: bool, keep: usize| {
        let http = reqwest::Client::builder()
            .pool_max_idle_per_host(keep)
            .build()
            .unwrap();
        while !over.load(Ordering::SeqCst) {
            let answer = ask(&http, &url, stream)
                .await
                .unwrap_or_else(|error| panic!("{error:?}"));
            let text = answer
                .text()
                .await
                .unwrap_or_else(|error| panic!("{error:?}"));
            assert!(!stream || text.ends_with("data: [DONE]\n\n"), "{text}");
            asked.fetch_add(1, Ordering::SeqCst);
        }
    };
    let operator = async {
        let mut running = Service::start_on("llm-proxy", &public, &settings)
            .await
            .unwrap();
        for n in 0..RESTARTS {
            let before = asked.load(Ordering::SeqCst);
            while asked.load(Ordering::SeqCst) < before + 50 {
                tokio::task::yield_now().await;
            }
            if n % 2 == 0 {
                // The next one is there before the last one goes.
                let next = Service::start_on("llm-proxy", &public, &settings)
                    .await
                    .unwrap();
                terminate(running.pid()).await;
                assert_eq!(running.exit_code().await.unwrap(), Some(0));
                running = next;
            } else {
                // The last one goes before the next one is there: callers wait meanwhile.
                terminate(running.pid()).await;
                assert_eq!(running.exit_code().await.unwrap(), Some(0));
                running = Service::start_on("llm-proxy", &public, &settings)
                    .await
                    .unwrap();
            }
        }
        over.store(true, Ordering::SeqCst);
        running
    };
    let callers = (0..8).map(|n| caller(n % 2 == 0, n / 4));
    let (_, running) = tokio::join!(join_all(callers), operator);
    drop(running);
    assert!(asked.load(Ordering::SeqCst) >= RESTARTS * 50);
}

#[tokio::test]
async fn an_upgrade_loses_neither_a_running_nor_a_waiting_answer() {
    const UPGRADES: usize = 3;
    const SLOTS: usize = 2;
    const CALLERS: usize = 24;
    let llama = llama(SLOTS).await;
    // A port of its own, which each process binds anew.
    let public = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let upstream = llama.url();
    let settings = [
        ("PROXY_LISTEN", &*public),
        ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("PROXY_UPSTREAMS", &*upstream),
        ("LLM_API_KEY", KEY),
        ("LLM_MODEL", "fake-model"),
    ];
    for upgrade in 1..=UPGRADES {
        let mut proxy = Service::start("llm-proxy", &settings).await.unwrap();
        proxy.ready().await.unwrap();
        // Those that run when the signal comes go on when all others wait and it has come.
        (0..SLOTS).for_each(|_| llama.script_once(Script::tokens(["Hel", "lo"]).stall_after(1)));
        llama.script(Script::tokens(["Hel", "lo"]).every(Duration::from_millis(5)));
        let http = reqwest::Client::new();
        let url = proxy.url();
        let caller = async |n: usize| {
            let stream = n.is_multiple_of(2);
            let text = ask(&http, &url, stream)
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
            let whole = if stream {
                text.ends_with("data: [DONE]\n\n")
            } else {
                text.contains(r#""Hello""#)
            };
            assert!(whole, "{text}");
        };
        let operator = async {
            let waiting = format!("llm_proxy_queue_depth {}", CALLERS - SLOTS);
            let admin = proxy.admin_url();
            let read = async |path: &str| reqwest::get(format!("{admin}/{path}")).await.unwrap();
            while !read("metrics")
                .await
                .text()
                .await
                .unwrap()
                .contains(&waiting)
            {}
            terminate(proxy.pid()).await;
            while read("readyz").await.status() != 503 {}
            llama.release();
        };
        tokio::join!(join_all((0..CALLERS).map(caller)), operator);
        assert_eq!(proxy.exit_code().await.unwrap(), Some(0));
        // Each was asked once, and never more at a time than there are slots.
        assert_eq!(
            (llama.requests().len(), llama.most_running()),
            (upgrade * CALLERS, SLOTS)
        );
    }
}

#[tokio::test]
async fn a_proxy_without_descriptors_neither_spins_nor_dies_and_recovers() {
    let llama = llama(2).await;
    let mut proxy = start_proxy(&llama.url()).await;
    proxy.ready().await.unwrap();
    assert_eq!(
        ask(&reqwest::Client::new(), &proxy.url(), false)
            .await
            .unwrap()
            .status(),
        200
    );
    let pid = proxy.pid().unwrap().to_string();
    if !needs("prlimit", &["--pid", &pid, "--nofile=64:64"]) {
        return;
    }
    let address = proxy.url().replace("http://", "");
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(&address).await.unwrap());
    }
    // It accepts until it has no descriptor left.
    let descriptors = format!("/proc/{pid}/fd");
    while std::fs::read_dir(&descriptors).unwrap().count() < 64 {
        tokio::task::yield_now().await;
    }
    let before = cpu_ticks(&pid);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ticks = cpu_ticks(&pid) - before;
    assert!(
        ticks < 20,
        "{ticks} of 100 ticks of a second went into accepting nothing"
    );
    drop(crowd);
    let began = Instant::now();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        ask(&reqwest::Client::new(), &proxy.url(), false)
            .await
            .unwrap()
            .status(),
        200
    );
}

/// What the process has had of the processor, in hundredths of a second.
fn cpu_ticks(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
