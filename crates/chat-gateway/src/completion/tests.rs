//! What one answer is asked for and what comes of it, at the wire of a FakeLlama.

use common::env::Environment;
use common::traces;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use testkit::ws_client::PATIENCE;

use super::{AnswerRequest, AskContent, AskMessage, Completion, Completions, effective};
use crate::config::{Config, VARIABLES};
use crate::context::Role;
use crate::error::Failure;
use crate::event::{Event, Finish};
use crate::protocol::record::{AnswerOptions, ContentPart, FinishReason, TokenUsage};
use crate::upstream;

fn config(base_url: &str) -> Config {
    let pairs = [
        ("LLM_BASE_URL", base_url),
        ("LLM_API_KEY", "a-key-for-tests"),
        ("LLM_MODEL", "fake-model"),
        ("GATEWAY_MAX_TOKENS", "100"),
    ];
    let mut env = Environment::from_pairs("GATEWAY_", &[VARIABLES, traces::VARIABLES], pairs);
    let config = Config::read(&mut env);
    env.finish().unwrap();
    config
}

fn completions(llama: &FakeLlama) -> Completions {
    let base_url = format!("{}/v1", llama.url());
    Completions::new(upstream::http().unwrap(), &config(&base_url))
}

fn ask<'a>(messages: Vec<AskMessage<'a>>, options: &'a AnswerOptions) -> AnswerRequest<'a> {
    AnswerRequest {
        messages,
        options,
        continues: false,
        lane: "a-lane",
        request_id: "a-request",
        traceparent: None,
        wants_usage: true,
        waits_for_model: true,
    }
}

/// Asks for an answer to "Hi".
fn hello(completions: &Completions) -> Completion {
    let messages = vec![AskMessage::text(Role::User, "Hi")];
    completions.ask(&ask(messages, &AnswerOptions::default()))
}

async fn all(completion: &mut Completion) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = completion.next().await;
        let is_last = matches!(event, Event::Finished(_) | Event::Failed(_));
        events.push(event);
        if is_last {
            return events;
        }
    }
}

fn text(text: &str) -> Event {
    Event::Text(text.to_owned())
}

fn finished(reason: FinishReason, completion_tokens: u32) -> Event {
    Event::Finished(Finish {
        reason,
        usage: Some(TokenUsage {
            prompt_tokens: 7,
            cached_tokens: 5,
            completion_tokens,
        }),
        tokens_per_second: Some(12.5),
    })
}

#[tokio::test]
async fn thoughts_text_usage_and_speed_come_in_order() {
    let llama = FakeLlama::start().await;
    let deltas = [
        json!({"reasoning_content": "hm"}),
        json!({"content": "芝", "reasoning_content": null}),
        json!({"content": ""}),
        json!({"content": "士"}),
    ];
    let script = Script::deltas(deltas)
        .finish("length")
        .cached(5)
        .speed(12.5);
    llama.script(script.sliced(1));
    let mut completion = hello(&completions(&llama));
    assert_eq!(
        all(&mut completion).await,
        [
            Event::Reasoning("hm".to_owned()),
            text("芝"),
            text("士"),
            finished(FinishReason::Length, 4),
        ]
    );
    let request = &llama.requests()[0];
    assert_eq!(request.headers["x-queue-events"], "1");
    assert_eq!(request.headers["x-corral-user"], "a-lane");
    assert_eq!(request.headers["x-request-id"], "a-request");
    assert_eq!(
        request.body["stream_options"],
        json!({"include_usage": true})
    );
}

#[tokio::test]
async fn the_place_in_the_queue_and_the_prefill_are_told_before_the_answer() {
    for (lines, told) in [
        (
            vec![": queue position=9 wait=60", ": queue position=3 wait=12"],
            Event::Queued {
                position: 3,
                wait_seconds: Some(12),
            },
        ),
        (
            vec![": keep-alive", ": prefill 512/4096", ": prefill 1024/4096"],
            Event::Prompt {
                done: 1024,
                total: 4096,
                cached: Some(512),
            },
        ),
    ] {
        let llama = FakeLlama::start().await;
        let script = Script::tokens(["a"]).cached(5).speed(12.5);
        llama.script(script.comments(lines));
        let mut completion = hello(&completions(&llama));
        // What came meanwhile is left out: the latest wins.
        let told = async { while completion.next().await != told {} };
        tokio::time::timeout(PATIENCE, told).await.unwrap();
        llama.release();
        assert_eq!(
            all(&mut completion).await,
            [text("a"), finished(FinishReason::Stop, 1)]
        );
    }
}

#[tokio::test]
async fn options_images_and_a_partial_answer_are_asked_for() {
    let llama = FakeLlama::start().await;
    let options = AnswerOptions {
        temperature: Some(9.0),
        top_p: Some(0.5),
        top_k: Some(9_999),
        min_p: Some(-1.0),
        max_tokens: Some(1_000),
        seed: Some(7),
        stop: Some(vec![String::new(), "END".to_owned(), "x".repeat(999)]),
        thinking: Some(false),
        ..AnswerOptions::default()
    };
    let data_url = "data:image/png;base64,AAAA".to_owned();
    let parts = [
        ContentPart::Text {
            text: "What is this?".to_owned(),
        },
        ContentPart::Image { data_url },
    ];
    let picture = AskMessage {
        role: Role::User,
        content: AskContent::Parts(&parts),
        reasoning: None,
    };
    let partial = AskMessage {
        reasoning: Some("a look"),
        ..AskMessage::text(Role::Assistant, "It is \n")
    };
    let nothing = AskMessage::text(Role::Assistant, "");
    let completions = completions(&llama);
    for last in [partial, nothing] {
        let ask = AnswerRequest {
            continues: true,
            wants_usage: false,
            ..ask(
                vec![AskMessage::text(Role::System, "Be brief."), picture, last],
                &options,
            )
        };
        all(&mut completions.ask(&ask)).await;
    }
    let bodies: Vec<Value> = llama
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    let content = json!([
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]);
    let mut expected = json!({
        "model": "fake-model",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": content},
            {"role": "assistant", "content": "It is \n", "reasoning_content": "a look"},
        ],
        "stream": true, "temperature": 2.0, "top_p": 0.5, "top_k": 1_000, "min_p": 0.0, "max_tokens": 100, "seed": 7,
        "stop": ["END"], "chat_template_kwargs": {"enable_thinking": false},
    });
    assert_eq!(bodies[0], expected);
    expected["messages"].as_array_mut().unwrap().pop();
    assert_eq!(bodies[1], expected, "going on with nothing is answering");
}

#[test]
fn what_nobody_asked_for_is_as_the_operator_set_it() {
    let config = config("http://127.0.0.1:1/v1");
    assert_eq!(
        effective(&AnswerOptions::default(), &config),
        AnswerOptions {
            temperature: Some(0.2),
            max_tokens: Some(100),
            ..AnswerOptions::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_model_that_loads_or_is_busy_is_waited_for_and_told_once() {
    let llama = FakeLlama::start().await;
    let loading = || Script::refusal(503, "unavailable_error", "Loading model");
    let busy = Script::status(429, r#"{"error":{"code":"queue_full"}}"#);
    for script in [loading(), loading(), busy, loading()] {
        llama.script_once(script);
    }
    llama.script(Script::tokens(["a"]).cached(5).speed(12.5));
    let mut completion = hello(&completions(&llama));
    assert_eq!(
        all(&mut completion).await,
        [Event::Loading, text("a"), finished(FinishReason::Stop, 1)]
    );
    assert_eq!((completion.n_asks(), llama.requests().len()), (5, 5));

    llama.script(loading());
    let mut completion = hello(&completions(&llama));
    assert_eq!(
        all(&mut completion).await,
        [Event::Loading, Event::Failed(Failure::Loading)]
    );
}

#[tokio::test]
async fn dropping_it_frees_the_model_in_every_phase() {
    let llama = FakeLlama::start().await;
    let completions = completions(&llama);
    for (number, script) in [
        Script::tokens(["a"]).stall_before_headers(),
        Script::tokens(["a"]).comments([": queue position=1 wait=1"]),
        Script::tokens(["a"]).stall_after(0),
        Script::tokens(["a", "b"]).stall_after(1),
    ]
    .into_iter()
    .enumerate()
    {
        llama.script_once(script);
        let mut completion = hello(&completions);
        tokio::select! {
            events = all(&mut completion) => panic!("{events:?}"),
            _ = llama.request_started(number) => {}
        }
        drop(completion);
        llama.client_left(number).await;
    }
}

#[tokio::test]
async fn an_answer_that_began_is_not_asked_again() {
    let llama = FakeLlama::start().await;
    llama.script(Script::tokens(["a", "b"]).error_after(1, "queue_timeout"));
    let mut completion = hello(&completions(&llama));
    assert_eq!(
        all(&mut completion).await,
        [text("a"), Event::Failed(Failure::Interrupted)]
    );
    assert_eq!(llama.requests().len(), 1);
}

#[tokio::test]
async fn text_that_comes_with_the_prompts_progress_is_the_prompts() {
    let llama = FakeLlama::start().await;
    let event = |more: &str| format!("data: {{\"choices\":[{{\"index\":0,{more}}}\n\n");
    llama.script(Script::raw(
        [
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
            &event(r#""delta":{"content":"Once upon"}}],"prompt_progress":{"total":9,"cache":8,"processed":8}"#),
            &event(r#""delta":{"content":" a time"}}]"#),
            &event(r#""delta":{},"finish_reason":"stop"}]"#),
            "data: [DONE]\n\n",
        ]
        .concat(),
    ));
    let mut completion = hello(&completions(&llama));
    let events = all(&mut completion).await;
    assert_eq!(events[0], text(" a time"), "{events:?}");
    assert_eq!(events.len(), 2, "{events:?}");
}

#[tokio::test]
async fn an_address_without_v1_is_told_as_such() {
    let llama = FakeLlama::start().await;
    let completions = Completions::new(upstream::http().unwrap(), &config(&llama.url()));
    let events = all(&mut hello(&completions)).await;
    assert_eq!(events, [Event::Failed(Failure::WrongAddress)]);
}

#[tokio::test]
async fn the_model_counts_the_tokens_of_a_prompt_and_a_guess_stands_by() {
    let llama = FakeLlama::start().await;
    let completions = completions(&llama);
    let options = AnswerOptions::default();
    let ask = ask(vec![AskMessage::text(Role::User, "Hi there")], &options);
    llama.script_once(Script::status(200, r#"{"input_tokens":33}"#));
    assert_eq!(completions.count(&ask).await, Ok(33));
    let request = &llama.requests()[0];
    assert_eq!(request.line, "POST /v1/chat/completions/input_tokens");
    assert_eq!(
        request.body["messages"],
        json!([{"role": "user", "content": "Hi there"}])
    );
    llama.script_once(Script::status(500, "{}"));
    assert_eq!(completions.count(&ask).await, Err(Failure::Unavailable));
    // A key that may not count is not tried again.
    llama.script_once(Script::status(403, r#"{"error":{"code":"scope_missing"}}"#));
    for _ in 0..2 {
        assert_eq!(completions.count(&ask).await, Err(Failure::Key));
    }
    assert_eq!(llama.requests().len(), 3);
    assert_eq!(ask.estimate(), 10);
}
