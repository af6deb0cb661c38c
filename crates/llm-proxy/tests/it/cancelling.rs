//! A caller that leaves, in every phase: the upstream connection closes at once and the slot is free.

use testkit::fake_llama::{FakeLlama, Script};

use crate::{Proxy, question};

/// Leaves an answer that stalls, and checks that everything is given back.
async fn leave(script: Script, stream: bool, phase: &str) {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    llama.script_once(script);
    let asked = proxy.chat(&question(stream)).send();
    let arrived = llama.request_started(0);
    if phase == "connecting" {
        tokio::select! {
            answer = asked => panic!("answered: {answer:?}"),
            _request = arrived => {}
        }
    } else {
        let mut answer = asked.await.unwrap();
        let mut text = String::new();
        while phase == "streaming" && !text.contains(r#""content":"a""#) {
            text.push_str(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
        }
    }
    llama.client_left(0).await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    proxy.until_metric(&format!("llm_proxy_cancellations_total{{phase=\"{phase}\"}} 1")).await;
    // The slot serves the next one.
    assert_eq!(proxy.ask(&question(true)).await.status(), 200);
}

#[tokio::test]
async fn leaving_before_the_upstreams_header_closes_its_connection() {
    leave(Script::tokens(["a"]).stall_before_headers(), true, "connecting").await;
}

#[tokio::test]
async fn leaving_during_prefill_closes_the_upstreams_connection() {
    leave(Script::tokens(["a"]).stall_after(0), true, "prefilling").await;
}

#[tokio::test]
async fn leaving_mid_stream_closes_the_upstreams_connection() {
    leave(Script::tokens(["a", "b"]).stall_after(1), true, "streaming").await;
}

#[tokio::test]
async fn leaving_a_whole_answer_before_its_first_token_closes_the_upstreams_connection() {
    leave(Script::tokens(["a"]).stall_before_headers(), false, "connecting").await;
}

#[tokio::test]
async fn leaving_a_whole_answer_that_has_begun_closes_the_upstreams_connection() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let asked = proxy.chat(&question(false)).send();
    tokio::select! {
        answer = asked => panic!("answered: {answer:?}"),
        () = proxy.until_first_tokens(1) => {}
    }
    llama.client_left(0).await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    proxy.until_metric("llm_proxy_cancellations_total{phase=\"streaming\"} 1").await;
}

#[tokio::test]
async fn leaving_the_queue_never_reaches_the_upstream() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let running = proxy.ask(&question(true)).await;
    let queued = proxy.chat(&question(true)).send();
    tokio::select! {
        answer = queued => panic!("answered: {answer:?}"),
        () = proxy.until_metric("llm_proxy_queue_depth 1") => {}
    }
    proxy.until_metric("llm_proxy_queue_depth 0").await;
    proxy.until_metric("llm_proxy_cancellations_total{phase=\"queued\"} 1").await;
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
