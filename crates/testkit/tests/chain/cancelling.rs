//! A client that leaves frees the model, whatever phase its request is in. Seen in llama-server's own `/slots`.
//!
//! These tests watch all slots of one engine, so nextest runs them one at a time (`.config/nextest.toml`).

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::json;
use testkit::ws_client::WsClient;

use crate::stack::Stack;

/// Tokens of all answers so far.
const PREDICTED: &str = "llamacpp:tokens_predicted_total";
/// Tokens of all prompts so far.
const PROMPTS: &str = "llamacpp:prompt_tokens_total";
/// Long enough to be still running when the client leaves: the model never ends this story by itself.
const LONG_ANSWER_TOKENS: u32 = 900;
/// What is computed at most of an answer that is left at once; through the gateway a whole one has at least 384 tokens.
const CUT_ANSWER_TOKENS: u64 = 300;
/// What is computed at most of a prompt of 3,000 tokens that is left during prefill.
const CUT_PROMPT_TOKENS: u64 = 2_000;
/// Its batches of 256 tokens.
const ESSAY_BATCHES: u32 = 12;
const LONG_QUESTION: &str = "Write a very long story about a horse.";

/// From a caller's leaving to its slot's being idle, while tokens come.
const IDLE_WITHIN: Duration = Duration::from_millis(100);
/// Attempts at a promised time: another process that wants the core can only make one longer.
const ATTEMPTS: usize = 5;
/// What starts and stops in a storm.
const STORM: u64 = 200;

fn story(stack: &Stack, stream: bool) -> reqwest::RequestBuilder {
    stack.completion(&stack.question(LONG_QUESTION, stream, LONG_ANSWER_TOKENS))
}

/// A prompt that takes many batches to prefill. `salt` keeps it out of the prompt cache.
fn essay(stack: &Stack, salt: &str) -> reqwest::RequestBuilder {
    let text = format!(
        "{salt} {}",
        "The quick brown fox jumps over the lazy dog. ".repeat(300)
    );
    stack.completion(&stack.question(&text, true, 8))
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn leaving_a_streamed_answer_frees_the_slot() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let before = stack.engine_counter(PREDICTED).await;
    let response = story(&stack, true).send().await.unwrap();
    let mut body = response.bytes_stream();
    body.next().await.unwrap().unwrap();
    stack.wait_for_busy_slots(1).await;
    drop(body);
    stack.wait_for_busy_slots(0).await;
    stack
        .wait_for_metric("llm_proxy_requests_in_flight", "0")
        .await;
    assert!(
        stack.engine_counter(PREDICTED).await - before < CUT_ANSWER_TOKENS,
        "the answer went on"
    );
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn leaving_a_whole_answer_frees_the_slot() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let before = stack.engine_counter(PREDICTED).await;
    let request = story(&stack, false).send();
    let busy = stack.wait_for_busy_slots(1);
    tokio::select! {
        response = request => panic!("the answer ended before the client left: {:?}", response.map(|r| r.status())),
        () = busy => {}
    }
    stack.wait_for_busy_slots(0).await;
    stack
        .wait_for_metric("llm_proxy_requests_in_flight", "0")
        .await;
    assert!(
        stack.engine_counter(PREDICTED).await - before < CUT_ANSWER_TOKENS,
        "the answer went on"
    );
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn leaving_during_prefill_frees_the_slot() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let before = stack.engine_counter(PROMPTS).await;
    let request = essay(&stack, "prefill").send();
    let busy = stack.wait_for_busy_slots(1);
    tokio::select! {
        // Headers may come while the prompt is still computed; what must not come is the end of the answer.
        text = async { request.await.unwrap().text().await } => panic!("answered before the client left: {text:?}"),
        () = busy => {}
    }
    stack.wait_for_busy_slots(0).await;
    stack
        .wait_for_metric("llm_proxy_requests_in_flight", "0")
        .await;
    assert!(
        stack.engine_counter(PROMPTS).await - before < CUT_PROMPT_TOKENS,
        "the prefill went on"
    );
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn leaving_the_queue_never_reaches_the_engine() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let slots = stack.slots().await;
    let mut running = Vec::new();
    for _ in 0..slots {
        let mut body = story(&stack, true).send().await.unwrap().bytes_stream();
        body.next().await.unwrap().unwrap();
        running.push(body);
    }
    let queued = essay(&stack, "queued").send();
    let waiting = stack.wait_for_metric("llm_proxy_queue_depth", "1");
    tokio::select! {
        response = queued => panic!("answered while every slot was busy: {:?}", response.map(|r| r.status())),
        () = waiting => {}
    }
    stack.wait_for_metric("llm_proxy_queue_depth", "0").await;
    assert_eq!(stack.busy_slots().await, slots, "the running answers go on");
    drop(running);
    // Had the queued request gone upstream, its long prefill would now hold a slot.
    stack.wait_for_busy_slots(0).await;
    stack
        .wait_for_metric("llm_proxy_requests_in_flight", "0")
        .await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn closing_the_browsers_socket_frees_the_slot() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let before = stack.engine_counter(PREDICTED).await;
    let mut socket = WsClient::connect(&stack.chat()).await.unwrap();
    socket
        .send_json(&json!({"content": LONG_QUESTION}))
        .await
        .unwrap();
    assert_eq!(socket.next_json().await.unwrap()["type"], "delta");
    stack.wait_for_busy_slots(1).await;
    socket.abort();
    stack.wait_for_busy_slots(0).await;
    stack
        .wait_for_metric("llm_proxy_requests_in_flight", "0")
        .await;
    assert!(
        stack.engine_counter(PREDICTED).await - before < CUT_ANSWER_TOKENS,
        "the answer went on"
    );
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_slot_is_idle_a_tenth_of_a_second_after_its_stream_is_left() {
    let stack = Stack::running();
    let mut fastest = Duration::MAX;
    for _ in 0..ATTEMPTS {
        stack.wait_for_busy_slots(0).await;
        let mut body = story(&stack, true).send().await.unwrap().bytes_stream();
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains(r#""content":""#) {
            text.extend_from_slice(&body.next().await.unwrap().unwrap());
        }
        assert_eq!(stack.busy_slots().await, 1);
        drop(body);
        fastest = fastest.min(stack.time_until_idle().await);
        if fastest <= IDLE_WITHIN {
            return;
        }
    }
    panic!("the slot was idle after {fastest:?} at best");
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_prefill_that_is_left_ends_within_a_batch_or_two() {
    let stack = Stack::running();
    let salt = Instant::now();
    let mut fastest = Duration::MAX;
    for attempt in 0..ATTEMPTS {
        stack.wait_for_busy_slots(0).await;
        // One to its end, for how long a batch takes here and now.
        let began = Instant::now();
        let whole = essay(&stack, &format!("{salt:?} {attempt} whole"))
            .send()
            .await
            .unwrap();
        let mut body = whole.bytes_stream();
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains(r#""content":""#) {
            text.extend_from_slice(&body.next().await.unwrap().unwrap());
        }
        let batch = began.elapsed() / ESSAY_BATCHES;
        drop(body);
        stack.wait_for_busy_slots(0).await;

        let left = essay(&stack, &format!("{salt:?} {attempt} left")).send();
        tokio::select! {
            text = async { left.await.unwrap().text().await } => panic!("answered: {text:?}"),
            () = stack.until_busy() => {}
        }
        let idle = stack.time_until_idle().await;
        fastest = fastest.min(idle);
        if idle <= 2 * batch + IDLE_WITHIN {
            return;
        }
    }
    panic!("the slot was idle after {fastest:?} at best");
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn leaving_the_queue_takes_a_tenth_of_a_second_while_every_slot_is_busy() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let mut running = Vec::new();
    for _ in 0..stack.slots().await {
        let mut body = story(&stack, true).send().await.unwrap().bytes_stream();
        body.next().await.unwrap().unwrap();
        running.push(body);
    }
    let mut fastest = Duration::MAX;
    for _ in 0..ATTEMPTS {
        tokio::select! {
            response = essay(&stack, "queued").send() => panic!("answered: {:?}", response.map(|r| r.status())),
            () = stack.wait_for_metric("llm_proxy_queue_depth", "1") => {}
        }
        let left = Instant::now();
        while stack.metric("llm_proxy_queue_depth").await != "0" {}
        fastest = fastest.min(left.elapsed());
        if fastest <= IDLE_WITHIN {
            return;
        }
    }
    panic!("the queue was empty after {fastest:?} at best");
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_storm_of_two_hundred_that_come_and_leave_holds_no_slot_and_no_permit() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let before = stack.ended().await;
    // From before its connection stands to after its last token: some of each are left in every phase.
    let one = async |n: u64| {
        let patience = Duration::from_millis(n * 37 % 350);
        let request = if n.is_multiple_of(5) {
            essay(&stack, &format!("storm {n}"))
        } else {
            story(&stack, n.is_multiple_of(2))
        };
        let asked = async { request.send().await.unwrap().text().await };
        // Answered or given up: either is part of the storm.
        tokio::time::timeout(patience, asked).await.ok();
    };
    futures_util::stream::iter(0..STORM)
        .for_each_concurrent(8, one)
        .await;
    stack
        .wait_for_metric("llm_proxy_requests_in_flight", "0")
        .await;
    stack.wait_for_metric("llm_proxy_queue_depth", "0").await;
    stack.wait_for_busy_slots(0).await;
    // A caller that left before its request's first line was read was never one; the others are all accounted for.
    let ended = stack.ended().await - before;
    assert!(
        (STORM * 3 / 4..=STORM).contains(&ended),
        "{ended} requests ended"
    );
    let answer = stack
        .completion(&stack.question("Hello", false, 2))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}
