//! The queue: as wide as the slots, bounded, in order, and told about when it is full.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Received, Script};

use crate::keys::{KeysFile, lines};
use crate::{Proxy, UPSTREAM_KEY, envelope, question, retry_after, until};

#[tokio::test]
async fn there_are_never_more_in_flight_than_slots() {
    let llama = FakeLlama::start().await;
    llama.set_slots(3);
    llama.script(Script::tokens(["a", "b"]).every(Duration::from_millis(2)));
    let proxy = Proxy::before(&llama).await;
    let answers = join_all((0..40).map(|n| {
        let (proxy, stream) = (&proxy, n % 2 == 0);
        async move { proxy.ask(&question(stream)).await.text().await.unwrap() }
    }));
    assert!(answers.await.iter().all(|answer| !answer.contains("error")));
    assert_eq!((llama.requests().len(), llama.most_running()), (40, 3));
}

#[tokio::test]
async fn a_full_queue_is_429_and_a_long_wait_503_both_with_an_estimate() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    llama.script(Script::tokens(["a"]).stall_after(0));
    let proxy = Proxy::with(&llama, |config| {
        config.queue_requests = 1;
        config.deadlines.queue = Duration::from_secs(1);
    })
    .await;
    let _running = proxy.ask(&question(true)).await;
    let queued = async { proxy.ask(&question(true)).await };
    let refused = async {
        proxy.until_metric("llm_proxy_queue_depth 1").await;
        proxy.ask(&question(true)).await
    };
    let (queued, refused) = tokio::join!(queued, refused);
    assert_eq!(
        (refused.status().as_u16(), queued.status().as_u16()),
        (429, 503)
    );
    // Before one was measured, an answer to this is taken to last 6 s; one runs, and this key has one more before it.
    assert!((9..=13).contains(&retry_after(&refused)), "{refused:?}");
    assert!((2..=6).contains(&retry_after(&queued)), "{queued:?}");
    let message = "too many requests are waiting: try again after the time in Retry-After";
    assert_eq!(
        refused.json::<Value>().await.unwrap(),
        envelope("llm-proxy", "rate_limit_error", "queue_full", message)
    );
    assert_eq!(
        queued.json::<Value>().await.unwrap()["error"]["code"],
        "queue_timeout"
    );
    assert_eq!(llama.requests().len(), 1);
}

#[tokio::test]
async fn a_queue_that_is_full_of_bytes_refuses_what_is_larger_than_its_rest() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::with(&llama, |config| config.queue_bytes = 4000).await;
    let _running = proxy.ask_stalled(&llama).await;
    let mut large = question(true);
    large["messages"][0]["content"] = "word ".repeat(600).into();
    let small = question(true);
    let waiting = async { proxy.ask(&large).await.status() };
    let refused = async {
        proxy.until_metric("llm_proxy_queue_depth 1").await;
        assert_eq!(proxy.error(&large).await.0, 429);
        let fits = async { proxy.ask(&small).await.status() };
        let release = async {
            proxy.until_metric("llm_proxy_queue_depth 2").await;
            llama.release();
        };
        tokio::join!(fits, release).0
    };
    let (waited, fitted) = tokio::join!(waiting, refused);
    assert_eq!((waited.as_u16(), fitted.as_u16()), (200, 200));
    proxy.until_metric("llm_proxy_queue_bytes 0").await;
}

#[tokio::test]
async fn requests_of_a_key_reach_the_upstream_in_the_order_they_came() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    let _running = proxy.ask_stalled(&llama).await;
    let ask = |n: usize| {
        let (proxy, mut body) = (&proxy, question(n.is_multiple_of(2)));
        body["messages"][0]["content"] = n.to_string().into();
        async move {
            proxy
                .until_metric(&format!("llm_proxy_queue_depth {n}"))
                .await;
            proxy.ask(&body).await.text().await.unwrap()
        }
    };
    let release = async {
        proxy.until_metric("llm_proxy_queue_depth 6").await;
        llama.release();
    };
    tokio::join!(join_all((0..6).map(ask)), release);
    let words = |request: &Received| {
        request.body["messages"][0]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let order: Vec<String> = llama.requests().iter().skip(1).map(words).collect();
    assert_eq!(order, ["0", "1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn a_retry_after_is_measured_once_answers_have_come() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::with(&llama, |config| config.queue_requests = 0).await;
    // Nothing is measured, and the answer that runs is taken to last 6 s.
    let running = proxy.ask_stalled(&llama).await;
    assert!((4..=7).contains(&retry_after(&proxy.ask(&question(true)).await)));
    llama.release();
    drop(running.text().await.unwrap());
    for _ in 0..30 {
        assert_eq!(proxy.ask(&question(true)).await.status(), 200);
        proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    }
    let _running = proxy.ask_stalled(&llama).await;
    assert_eq!(retry_after(&proxy.ask(&question(true)).await), 1);
}

/// One slot, a queue of four, and two keys; an answer to the key `busy` holds the slot until the fake is released.
async fn two_keys(llama: &FakeLlama) -> (KeysFile, Proxy, reqwest::Response) {
    llama.set_slots(1);
    let file = KeysFile::of(&(lines("busy", "busy-key", "") + &lines("other", "other-key", "")));
    let proxy = Proxy::with(llama, |config| {
        config.keys_file = Some(file.path());
        config.queue_requests = 4;
    })
    .await;
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let running = proxy.ask_as("busy-key", &question(true)).await;
    (file, proxy, running)
}

#[tokio::test]
async fn a_key_that_fills_the_queue_gives_way_to_another_which_is_then_served_first() {
    let llama = FakeLlama::start().await;
    let (_file, proxy, _running) = two_keys(&llama).await;
    let numbered = |n: usize| {
        let mut body = question(false);
        body["messages"][0]["content"] = n.to_string().into();
        body
    };
    let of_the_busy_key = |n: usize| {
        let (proxy, body) = (&proxy, numbered(n));
        async move {
            proxy
                .until_metric(&format!("llm_proxy_queue_depth {n}"))
                .await;
            let answer = proxy.ask_as("busy-key", &body).await;
            (
                answer.status().as_u16(),
                answer.headers().contains_key("retry-after"),
            )
        }
    };
    let of_the_other = async {
        proxy.until_metric("llm_proxy_queue_depth 4").await;
        let refused = proxy.ask_as("busy-key", &numbered(4)).await;
        assert_eq!(
            refused.json::<Value>().await.unwrap()["error"]["code"],
            "queue_full"
        );
        let body = numbered(5);
        let answer = proxy.ask_as("other-key", &body);
        let release = async {
            proxy
                .until_metric(&outcome("busy", "queue_full", "4xx", 2))
                .await;
            llama.release();
        };
        tokio::join!(answer, release).0.status().as_u16()
    };
    let (busy, other) = tokio::join!(join_all((0..4).map(of_the_busy_key)), of_the_other);
    assert_eq!(
        (busy, other),
        (
            vec![(200, false), (200, false), (200, false), (429, true)],
            200
        )
    );
    let words = |request: &Received| {
        request.body["messages"][0]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let order: Vec<String> = llama.requests().iter().skip(1).map(words).collect();
    assert_eq!(order, ["5", "0", "1", "2"]);
}

#[tokio::test]
async fn a_key_at_its_limit_of_requests_at_once_leaves_the_other_slots_to_others() {
    let llama = FakeLlama::start().await;
    llama.set_slots(3);
    let limited = lines("limited", "limited-key", "requests_at_once = 1");
    let file = KeysFile::of(&(limited + &lines("other", "other-key", "")));
    let proxy = Proxy::keyed(&llama, &file).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let _first = proxy.ask_as("limited-key", &question(true)).await;
    let body = question(true);
    let second = proxy.ask_as("limited-key", &body);
    let others = async {
        proxy.until_metric("llm_proxy_queue_depth 1").await;
        let others = [
            proxy.ask_as("other-key", &body).await,
            proxy.ask_as("other-key", &body).await,
        ];
        assert_eq!(
            (
                llama.running(),
                others.map(|answer| answer.status().as_u16())
            ),
            (3, [200, 200])
        );
        proxy.until_metric("llm_proxy_queue_depth 1").await;
        llama.release();
    };
    assert_eq!(tokio::join!(second, others).0.status(), 200);
    assert_eq!(llama.most_running(), 3);
}

#[tokio::test]
async fn of_a_burst_of_ten_times_what_fits_exactly_what_fits_is_served() {
    let llama = FakeLlama::start().await;
    llama.set_slots(4);
    let proxy = Proxy::with(&llama, |config| config.queue_requests = 16).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let body = question(true);
    let burst = join_all((0..200).map(|_| async { proxy.ask(&body).await.status().as_u16() }));
    let release = async {
        proxy
            .until_metric(&outcome("default", "queue_full", "4xx", 180))
            .await;
        for n in [4, 8, 12, 16, 20] {
            llama.request_started(n - 1).await;
            llama.release();
        }
    };
    let (answers, ()) = tokio::join!(burst, release);
    let n_of = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!((n_of(200), n_of(429)), (20, 180));
    assert_eq!((llama.requests().len(), llama.most_running()), (20, 4));
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

/// The line of the metrics that says how often requests of `key` ended so.
fn outcome(key: &str, outcome: &str, status: &str, n: usize) -> String {
    format!(
        "llm_proxy_requests_total{{route=\"/v1/chat/completions\",key=\"{key}\",model=\"fake-model\",\
         outcome=\"{outcome}\",status=\"{status}\"}} {n}"
    )
}

#[tokio::test]
async fn slots_are_counted_anew_when_the_upstream_comes_back() {
    let llama = FakeLlama::start().await;
    // A request that finds nobody is what makes the proxy look again.
    let proxy = Proxy::with(&llama, |config| config.probe_up = Duration::from_secs(3600)).await;
    proxy.until_metric("llm_proxy_slots 2").await;
    let address = llama.stop().await;
    let (status, error) = proxy.error(&question(true)).await;
    assert_eq!(
        (status, error["error"]["code"].as_str().unwrap()),
        (503, "upstream_unavailable")
    );
    proxy.until_metric("llm_proxy_slots 0").await;
    assert_eq!(proxy.ready().await.0, 503);

    let llama = FakeLlama::start_at(address).await;
    llama.require_key(UPSTREAM_KEY);
    llama.set_slots(5);
    proxy.until_metric("llm_proxy_slots 5").await;
    assert_eq!(proxy.ask(&question(true)).await.status(), 200);
}

#[tokio::test]
async fn the_least_busy_of_several_upstreams_is_asked() {
    let (one, two) = (FakeLlama::start().await, FakeLlama::start().await);
    for llama in [&one, &two] {
        llama.require_key(UPSTREAM_KEY);
        llama.script(Script::tokens(["a"]).stall_after(0));
    }
    let proxy = Proxy::start(&format!("{},{}", one.url(), two.url()), |_| {}).await;
    proxy.until_metric("llm_proxy_slots 4").await;
    let body = question(true);
    let answers = join_all((0..4).map(|_| proxy.ask(&body))).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!((one.running(), two.running()), (2, 2));
}

#[tokio::test]
async fn a_wrong_upstream_key_keeps_the_proxy_unready_and_is_said() {
    let llama = FakeLlama::start().await;
    llama.require_key("another-key");
    let proxy = Proxy::start(&llama.url(), |_| {}).await;
    until("the key to be refused", async || {
        proxy
            .ready()
            .await
            .1
            .contains("refuses PROXY_UPSTREAM_API_KEY")
    })
    .await;
    assert_eq!(proxy.ready().await.0, 503);
    let (status, error) = proxy.error(&question(true)).await;
    assert_eq!(
        (status, error["error"]["code"].as_str().unwrap()),
        (502, "upstream_key")
    );
}

#[tokio::test]
async fn when_the_last_upstream_goes_those_who_wait_hear_of_it_at_once() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    let running = proxy.ask_stalled(&llama).await;
    let question = question(false);
    let waiting = join_all((0..8).map(|_| async {
        let response = proxy.ask(&question).await;
        let retry_after = response.headers()["retry-after"].clone();
        let code = response.json::<Value>().await.unwrap()["error"]["code"].clone();
        (retry_after, code, Instant::now())
    }));
    let going = async {
        proxy.until_metric("llm_proxy_queue_depth 8").await;
        llama.stop().await;
        Instant::now()
    };
    let (waited, gone_at) = tokio::join!(waiting, going);
    for (retry_after, code, at) in waited {
        assert_eq!(
            (retry_after.to_str().unwrap(), code),
            ("2", json!("upstream_unavailable"))
        );
        let took = at.saturating_duration_since(gone_at);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    assert!(!running.text().await.unwrap_or_default().contains("[DONE]"));
}
