//! What Prometheus reads after requests of each kind.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::fake_llama::{FakeLlama, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{KEY, MODEL, Proxy, question};

/// Checks that each of `samples` stands in `metrics` as a whole line.
fn assert_samples(metrics: &str, samples: &[&str]) {
    for sample in samples {
        assert!(
            metrics.lines().any(|line| line == *sample),
            "{sample} is not in\n{metrics}"
        );
    }
}

#[tokio::test]
async fn a_request_is_counted_by_route_key_model_and_outcome_and_its_tokens_by_kind() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b", "c"]).cached(5));
    proxy.ask(&question(true)).await.text().await.unwrap();
    proxy.error(&json!({"model": MODEL, "messages": []})).await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    let upstream_is_up = format!(
        r#"llm_proxy_upstream_up{{upstream="{}"}} 1"#,
        llama.url().trim_start_matches("http://")
    );
    assert_samples(
        &proxy.metrics().await,
        &[
            r#"llm_proxy_requests_total{route="/v1/chat/completions",key="default",model="fake-model",outcome="ok",status="2xx"} 1"#,
            r#"llm_proxy_requests_total{route="/v1/chat/completions",key="default",model="none",outcome="invalid_field",status="4xx"} 1"#,
            r#"llm_proxy_tokens_total{key="default",model="fake-model",kind="prompt"} 7"#,
            r#"llm_proxy_tokens_total{key="default",model="fake-model",kind="cached"} 5"#,
            r#"llm_proxy_tokens_total{key="default",model="fake-model",kind="completion"} 3"#,
            &upstream_is_up,
            "llm_proxy_slots 2",
            "llm_proxy_queue_depth 0",
        ],
    );
}

#[tokio::test]
async fn every_time_of_an_answer_is_in_its_histogram_and_a_token_after_the_first_is_one_value() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b", "c", "d"]));
    proxy.ask(&question(true)).await.text().await.unwrap();
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    let chat = r#"gen_ai_operation_name="chat",gen_ai_provider_name="llama.cpp",gen_ai_request_model="fake-model""#;
    let input = format!(r#"gen_ai_client_token_usage_sum{{{chat},gen_ai_token_type="input"}} 7.0"#);
    let output =
        format!(r#"gen_ai_client_token_usage_sum{{{chat},gen_ai_token_type="output"}} 4.0"#);
    assert_samples(
        &proxy.metrics().await,
        &[
            r#"llm_proxy_queue_wait_seconds_count{key="default"} 1"#,
            "llm_proxy_overhead_seconds_count 1",
            &format!("llm_proxy_time_between_tokens_seconds_count{{{chat}}} 3"),
            &format!("gen_ai_server_time_to_first_token_seconds_count{{{chat}}} 1"),
            &format!("gen_ai_server_time_per_output_token_seconds_count{{{chat}}} 1"),
            &format!(r#"gen_ai_server_request_duration_seconds_count{{{chat},error_type=""}} 1"#),
            &input,
            &output,
        ],
    );
}

#[tokio::test]
async fn what_a_histogram_holds_is_the_time_that_passed() {
    const PAUSE: Duration = Duration::from_millis(300);
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let began = Instant::now();
    let mut running = proxy.ask(&question(true)).await;
    while !String::from_utf8_lossy(&running.chunk().await.unwrap().unwrap()).contains(r#""a""#) {}
    let body = question(false);
    let waiting = async { proxy.ask(&body).await.status() };
    let release = async {
        proxy.until_metric("llm_proxy_queue_depth 1").await;
        // It is what is measured: for the one between its tokens, for the other before its slot.
        tokio::time::sleep(PAUSE).await;
        llama.release();
        running.text().await.unwrap()
    };
    assert_eq!(tokio::join!(waiting, release).0, 200);
    // A body that comes late is its sender's time.
    let mut slow = TcpStream::connect(proxy.address).await.unwrap();
    let body = body.to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(PAUSE).await;
    slow.write_all(body.as_bytes()).await.unwrap();
    slow.read_to_end(&mut Vec::new()).await.unwrap();
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    let (metrics, most) = (proxy.metrics().await, began.elapsed().as_secs_f64());
    let sum = |name: &str| -> f64 {
        let samples = metrics
            .lines()
            .filter(|line| line.starts_with(&format!("{name}_seconds_sum")));
        samples
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    };
    let pause = PAUSE.as_secs_f64();
    for (name, n_pauses) in [
        ("llm_proxy_queue_wait", 1.0),
        ("llm_proxy_time_between_tokens", 1.0),
        ("gen_ai_server_time_per_output_token", 1.0),
        ("gen_ai_server_time_to_first_token", 2.0),
        ("gen_ai_server_request_duration", 3.0),
    ] {
        // Half a pause less: on a busy machine a head is read a little after it was sent.
        assert!(
            ((n_pauses - 0.5) * pause..3.0 * most).contains(&sum(name)),
            "{name}: {} of {most}",
            sum(name)
        );
    }
    // What llm-proxy adds of its own is no wait.
    assert!(
        sum("llm_proxy_overhead") < pause,
        "{}",
        sum("llm_proxy_overhead")
    );
}

#[tokio::test]
async fn a_caller_that_leaves_is_counted_by_phase_and_how_soon_its_slot_was_free_is_measured() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let mut answer = proxy.ask(&question(true)).await;
    while !String::from_utf8_lossy(&answer.chunk().await.unwrap().unwrap()).contains(r#""a""#) {}
    drop(answer);
    proxy
        .until_metric(r#"llm_proxy_cancellations_total{phase="streaming"} 1"#)
        .await;
    let metrics = proxy.metrics().await;
    assert_samples(
        &metrics,
        &[
            r#"llm_proxy_requests_total{route="/v1/chat/completions",key="default",model="fake-model",outcome="client_left",status="2xx"} 1"#,
            // What was seen of it counts.
            r#"llm_proxy_tokens_total{key="default",model="fake-model",kind="completion"} 1"#,
            "llm_proxy_cancel_to_free_seconds_count 1",
        ],
    );
}

#[tokio::test]
async fn what_a_request_says_is_never_a_label_and_a_models_name_never_comes_back() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let models = ["canary", "\u{1b}[2J\n", "../canary", &"x".repeat(10_000)];
    for model in models {
        let mut body = question(true);
        body["model"] = json!(model);
        let (status, error) = proxy.error(&body).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (404, &json!("model_not_found")),
            "{model:?}"
        );
        assert!(!error.to_string().contains(model), "{error}");
    }
    for key in ["canary", "canary-2"] {
        let url = format!("http://{}/v1/models", proxy.address);
        assert_eq!(
            proxy
                .http
                .get(url)
                .bearer_auth(key)
                .send()
                .await
                .unwrap()
                .status(),
            401
        );
    }
    let lost = proxy
        .http
        .get(format!("http://{}/canary", proxy.address))
        .send()
        .await
        .unwrap();
    assert_eq!(lost.status(), 404);
    let metrics = proxy.metrics().await;
    assert!(
        !metrics.contains("canary") && !metrics.contains("xxx") && !metrics.contains('\u{1b}'),
        "{metrics}"
    );
    let samples: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("llm_proxy_requests_total"))
        .collect();
    assert_eq!(samples.len(), 3, "{samples:#?}");
    assert_samples(
        &metrics,
        &[
            r#"llm_proxy_requests_total{route="/v1/chat/completions",key="default",model="other",outcome="model_not_found",status="4xx"} 4"#,
            r#"llm_proxy_requests_total{route="/v1/models",key="none",model="none",outcome="invalid_api_key",status="4xx"} 2"#,
            r#"llm_proxy_requests_total{route="other",key="none",model="none",outcome="not_found",status="4xx"} 1"#,
        ],
    );
}
