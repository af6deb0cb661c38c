//! How much a key may ask, at the wire: per minute, per day, at once, and its share.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::keys::{KeysFile, lines, with_every_route};
use crate::{Proxy, envelope, question};

/// The values of `names` in an answer's header.
fn headers<const N: usize>(response: &reqwest::Response, names: [&str; N]) -> [String; N] {
    names.map(|name| {
        let value = response.headers().get(name);
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    })
}

#[tokio::test]
async fn a_key_of_weight_three_has_three_tokens_for_one_of_weight_one() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let file =
        KeysFile::of(&(lines("one", "one-key", "") + &lines("three", "three-key", "weight = 3")));
    let proxy = Proxy::keyed(&llama, &file).await;
    let _holds_the_slot = proxy.ask_stalled(&llama).await;
    // Each answer has 8 tokens: 7 of the prompt and one of the completion.
    let waiting = [
        "one", "one", "one", "one", "three", "three", "three", "three", "three", "three",
    ];
    let asks = waiting.iter().enumerate().map(|(n, key)| {
        let proxy = &proxy;
        let mut body = question(false);
        body["messages"][0]["content"] = json!(key);
        async move {
            proxy
                .until_metric(&format!("llm_proxy_queue_depth {n}"))
                .await;
            proxy
                .ask_as(&format!("{key}-key"), &body)
                .await
                .status()
                .as_u16()
        }
    });
    let release = async {
        proxy
            .until_metric(&format!("llm_proxy_queue_depth {}", waiting.len()))
            .await;
        llama.release();
    };
    assert_eq!(tokio::join!(join_all(asks), release).0, [200; 10]);
    let order: Vec<_> = llama
        .requests()
        .iter()
        .skip(1)
        .map(|request| {
            request.body["messages"][0]["content"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        order,
        [
            "one", "three", "three", "three", "three", "one", "three", "three", "one", "one"
        ],
        "24 tokens of the one are as many as 8 of the other"
    );
}

#[tokio::test]
async fn requests_above_the_minutes_limit_are_429_with_the_time_and_what_is_left() {
    let file = KeysFile::of(
        &(lines("app", "a", "requests_per_minute = 2")
            + &lines("other", "b", "requests_per_minute = 2")),
    );
    let llama = FakeLlama::start().await;
    let proxy = Proxy::keyed(&llama, &file).await;
    let names = [
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
    ];
    for remaining in ["1", "0"] {
        let response = proxy.ask_as("a", &question(true)).await;
        assert_eq!(response.status(), 200);
        assert_eq!(headers(&response, names), ["2", remaining]);
        // A minute's worth of 2 fills one in 30 s, or a little less by now.
        let [reset] = headers(&response, ["x-ratelimit-reset-requests"]);
        let full = if remaining == "1" { "30s" } else { "1m0s" };
        assert!(
            reset == full || reset.starts_with("29.") || reset.starts_with("59."),
            "{reset}"
        );
        response.text().await.unwrap();
    }
    let refused = proxy.ask_as("a", &question(true)).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(headers(&refused, names), ["2", "0"]);
    assert_eq!(headers(&refused, ["retry-after"]), ["30"]);
    let message = "this API key's limit of 2 requests per minute is reached: try again after the time in Retry-After";
    assert_eq!(
        refused.json::<Value>().await.unwrap(),
        envelope(
            "llm-proxy",
            "rate_limit_error",
            "rate_limit_exceeded",
            message
        )
    );
    // Every answer to the key says where it stands.
    let url = format!("http://{}/v1/models", proxy.address);
    let models = proxy.http.get(url).bearer_auth("a").send().await.unwrap();
    assert_eq!(
        (models.status().as_u16(), headers(&models, names)),
        (200, ["2", "0"].map(str::to_owned))
    );
    // Nobody else notices, and a request without limits has no standing.
    assert_eq!(proxy.ask_as("b", &question(true)).await.status(), 200);
    let unlimited = proxy.ask(&question(true)).await;
    assert!(
        !unlimited
            .headers()
            .keys()
            .any(|name| name.as_str().starts_with("x-ratelimit"))
    );
    assert_eq!(llama.requests().len(), 4);
}

#[tokio::test]
async fn every_route_that_asks_the_model_counts_towards_the_minutes_limit() {
    const ROUTES: [&str; 9] = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/embeddings",
        "/v1/rerank",
        "/v1/chat/completions/input_tokens",
        "/v1/messages/count_tokens",
        "/tokenize",
    ];
    let all = "scopes = [\"chat\", \"embeddings\", \"tokens\"]\nrequests_per_minute = 1";
    let keys = (0..ROUTES.len()).map(|n| lines(&format!("key-{n}"), &format!("k{n}"), all));
    let file = KeysFile::of(&keys.collect::<String>());
    let llama = FakeLlama::start().await;
    let proxy = with_every_route(&llama, &file).await;
    for (n, route) in ROUTES.into_iter().enumerate() {
        let url = format!("http://{}{route}", proxy.address);
        for status in [400, 429] {
            let request = proxy
                .http
                .post(&url)
                .bearer_auth(format!("k{n}"))
                .json(&json!({}));
            assert_eq!(request.send().await.unwrap().status(), status, "{route}");
        }
    }
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_request_above_its_limit_is_refused_before_its_body_is_read() {
    let file = KeysFile::of(&lines("app", "a", "requests_per_minute = 1"));
    let llama = FakeLlama::start().await;
    let proxy = Proxy::keyed(&llama, &file).await;
    proxy.ask_as("a", &json!({})).await;
    // The body never comes: an answer shows that nobody waited for it.
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nContent-Length: 9\r\n";
    let answer = proxy
        .raw(&format!(
            "{head}Content-Type: application/json\r\nConnection: close\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
}

#[tokio::test]
async fn tokens_are_charged_by_estimate_and_corrected_by_what_the_answer_used() {
    let file = KeysFile::of(&lines(
        "app",
        "a",
        "tokens_per_minute = 100000\ntokens_per_day = 50000",
    ));
    let llama = FakeLlama::start().await;
    llama.script(Script::tokens(["a", "b", "c"]));
    let proxy = Proxy::keyed(&llama, &file).await;
    let mut body = question(true);
    body["max_tokens"] = json!(1000);
    let names = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens"];
    let response = proxy.ask_as("a", &body).await;
    let [limit, remaining] = headers(&response, names);
    let reserved = 50_000 - remaining.parse::<u64>().unwrap();
    assert_eq!(
        limit, "50000",
        "of two limits, the one with fewer left is told"
    );
    assert!((1001..1200).contains(&reserved), "{reserved}");
    response.text().await.unwrap();

    // 7 tokens of prompt and 3 of completion, as the upstream counted them.
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    let response = proxy.ask_as("a", &body).await;
    let [_, remaining] = headers(&response, names);
    assert_eq!(50_000 - remaining.parse::<u64>().unwrap(), reserved + 10);
}

#[tokio::test]
async fn tokens_above_the_minutes_limit_are_429_with_the_time_until_they_would_pass() {
    let file = KeysFile::of(&lines("app", "a", "tokens_per_minute = 1000"));
    let llama = FakeLlama::start().await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let proxy = Proxy::keyed(&llama, &file).await;
    let mut body = question(true);
    body["max_tokens"] = json!(700);
    let running = proxy.ask_as("a", &body).await;
    let [remaining] = headers(&running, ["x-ratelimit-remaining-tokens"]);
    let reserved = 1000 - remaining.parse::<u64>().unwrap();
    assert!((701..800).contains(&reserved), "{reserved}");
    let refused = proxy.ask_as("a", &body).await;
    let [retry_after] = headers(&refused, ["retry-after"]);
    // As long as what is missing takes to flow in; a little of it has.
    let seconds = (2 * reserved - 1000) * 60 / 1000;
    assert!(
        (seconds - 3..=seconds + 1).contains(&retry_after.parse().unwrap()),
        "{retry_after} {seconds}"
    );
    let message = "this API key's limit of 1000 tokens per minute is reached: try again after the time in Retry-After";
    let expected = envelope(
        "llm-proxy",
        "rate_limit_error",
        "rate_limit_exceeded",
        message,
    );
    assert_eq!(
        (
            refused.status().as_u16(),
            refused.json::<Value>().await.unwrap()
        ),
        (429, expected)
    );
    assert_eq!(llama.requests().len(), 1);
    drop(running);
}

#[tokio::test]
async fn what_never_reached_the_model_costs_nothing_and_what_broke_off_its_part() {
    let file = KeysFile::of(&lines("app", "a", "tokens_per_day = 50000"));
    let llama = FakeLlama::start().await;
    let proxy = Proxy::keyed(&llama, &file).await;
    llama.script(Script::refusal(400, "invalid_request_error", "no"));
    assert_eq!(proxy.ask_as("a", &question(true)).await.status(), 400);
    assert_eq!(remaining(&proxy).await, 50_000);

    llama.script(Script::tokens(["a", "b", "c"]).reset_after(2));
    let text = proxy
        .ask_as("a", &question(true))
        .await
        .text()
        .await
        .unwrap();
    assert!(text.contains("upstream_disconnected"), "{text}");
    let used = 50_000 - remaining(&proxy).await;
    assert!(
        (3..200).contains(&used),
        "the estimate of the prompt and two tokens, not the longest completion: {used}"
    );
}

/// The tokens that the key has left, from a request that was refused before anything was reserved.
async fn remaining(proxy: &Proxy) -> u64 {
    let response = proxy.ask_as("a", &json!({})).await;
    let [remaining] = headers(&response, ["x-ratelimit-remaining-tokens"]);
    remaining.parse().unwrap()
}

#[tokio::test]
async fn a_days_tokens_that_are_used_up_are_429_until_midnight_utc() {
    let file = KeysFile::of(&lines("app", "a", "tokens_per_day = 10"));
    let llama = FakeLlama::start().await;
    llama.script(Script::tokens(["a", "b", "c"]));
    let proxy = Proxy::keyed(&llama, &file).await;
    // A request whose estimate is above the whole limit passes once.
    assert_eq!(proxy.ask_as("a", &question(false)).await.status(), 200);
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    let refused = proxy.ask_as("a", &question(false)).await;
    assert_eq!(refused.status(), 429);
    let [retry_after] = headers(&refused, ["retry-after"]);
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    let until_midnight = 86_400 - now % 86_400;
    assert!(
        retry_after.parse::<u64>().unwrap().abs_diff(until_midnight) <= 5,
        "{retry_after}, not {until_midnight}"
    );
    let message = "this API key's limit of 10 tokens per day (UTC) is reached: try again after the time in Retry-After";
    assert_eq!(
        refused.json::<Value>().await.unwrap(),
        envelope(
            "llm-proxy",
            "rate_limit_error",
            "rate_limit_exceeded",
            message
        )
    );
}

#[tokio::test]
async fn a_key_has_no_more_requests_at_once_than_it_may_and_another_passes_by() {
    let file =
        KeysFile::of(&(lines("app", "a", "requests_at_once = 1") + &lines("other", "b", "")));
    let llama = FakeLlama::start().await;
    llama.script(Script::tokens(["a"]).stall_after(1));
    let proxy = Proxy::keyed(&llama, &file).await;
    let first = proxy.ask_as("a", &question(true)).await;
    let second = async { proxy.ask_as("a", &question(true)).await.status() };
    let other = async {
        proxy.until_metric("llm_proxy_queue_depth 1").await;
        let status = proxy.ask_as("b", &question(true)).await.status();
        drop(first);
        status
    };
    let (second, other) = tokio::join!(second, other);
    assert_eq!((second.as_u16(), other.as_u16()), (200, 200));
    assert_eq!(llama.requests().len(), 3);
}
