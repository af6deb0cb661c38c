//! What real clients send is taken: what the door gave out, fields that say nothing, and fields that llama-server knows.

use serde_json::{Value, json};
use testkit::fake_llama::FakeLlama;

use crate::MODEL;
use crate::routes::{asked, with_all_routes};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

/// A request on `path` with `more` in it.
fn with(path: &str, more: &Value) -> Value {
    let question = json!([{"role": "user", "content": "hi"}]);
    let mut body = match path {
        RESPONSES => json!({"model": MODEL, "input": question}),
        _ => json!({"model": MODEL, "messages": question, "max_tokens": 9}),
    };
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

/// What llama-server is sent for each of `cases`, all of which are answered.
async fn all_taken(cases: &[(&str, Value)]) -> Vec<Value> {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    for (path, more) in cases {
        let (status, answer) = asked(&proxy, path, &with(path, more)).await;
        assert_eq!(status, 200, "{path} {more}: {answer}");
    }
    let requests = llama.requests().into_iter();
    requests.map(|request| request.body).collect()
}

/// A conversation in which the model said `reply`.
fn history(reply: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}, reply, {"role": "user", "content": "and?"}]})
}

#[tokio::test]
async fn whatever_a_chat_gave_out_it_takes_back() {
    let call = json!([{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]);
    let cases = [
        json!({"role": "assistant", "content": null}),
        json!({"role": "assistant", "content": null, "refusal": null, "audio": null, "function_call": null, "tool_calls": null}),
        json!({"role": "assistant", "content": null, "reasoning_content": "hm"}),
        json!({"role": "assistant", "content": ""}),
        json!({"role": "assistant", "content": [], "tool_calls": []}),
        json!({"role": "assistant", "content": null, "tool_calls": call}),
        json!({"role": "assistant", "reasoning_content": "hm", "content": "yes", "annotations": []}),
    ];
    let cases = cases.map(|reply| (CHAT, history(&reply)));
    let sent = all_taken(&cases).await;
    let replies: Vec<&Value> = sent.iter().map(|body| &body["messages"][1]).collect();
    let call =
        json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let empty = json!({"role": "assistant", "content": ""});
    let thought = json!({"role": "assistant", "content": "", "reasoning_content": "hm"});
    let called = json!({"role": "assistant", "content": null, "tool_calls": call});
    let said = json!({"role": "assistant", "content": "yes", "reasoning_content": "hm"});
    assert_eq!(
        replies,
        [&empty, &empty, &thought, &empty, &empty, &called, &said]
    );
}

#[tokio::test]
async fn whatever_messages_and_responses_gave_out_they_take_back() {
    all_taken(&[
        (MESSAGES, history(&json!({"role": "assistant", "content": []}))),
        (MESSAGES, history(&json!({"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}))),
        (MESSAGES, history(&json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": ""}]}))),
        (MESSAGES, history(&json!({"role": "assistant", "content": [{"type": "text", "text": "", "citations": null}]}))),
        (MESSAGES, history(&json!({"role": "system", "content": "be brief"}))),
        (RESPONSES, json!({"input": [{"role": "user", "content": "hi"},
            {"type": "reasoning", "id": "r", "summary": [], "content": null, "encrypted_content": null, "status": null},
            {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": []},
            {"type": "function_call", "id": "f", "call_id": "c", "name": "f", "arguments": "", "status": "completed"},
            {"type": "function_call_output", "call_id": "c", "output": ""}]})),
    ])
    .await;
}

#[tokio::test]
async fn a_field_that_says_nothing_is_as_good_as_absent() {
    let mut cases = Vec::new();
    for nothing in [json!(null), json!(""), json!([]), json!({})] {
        for name in [
            "tools",
            "tool_choice",
            "logit_bias",
            "stop",
            "n",
            "grammar",
            "x",
            "chat_template_kwargs",
        ] {
            cases.push((CHAT, json!({name: nothing})));
            cases.push((MESSAGES, json!({name: nothing})));
            cases.push((RESPONSES, json!({name: nothing})));
        }
        cases.push((MESSAGES, json!({"system": nothing})));
        cases.push((
            RESPONSES,
            json!({"instructions": nothing, "reasoning": nothing, "text": nothing}),
        ));
        cases.push((
            CHAT,
            json!({"response_format": nothing, "stream_options": nothing}),
        ));
    }
    let sent = all_taken(&cases).await;
    let names = sent
        .iter()
        .flat_map(|body| body.as_object().unwrap().keys());
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let expected = [
        "input",
        "max_tokens",
        "messages",
        "model",
        "return_progress",
        "stream",
        "stream_options",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn what_llama_server_knows_is_passed_on() {
    let bias: Value = (0..300)
        .map(|token| (token.to_string(), json!(-1)))
        .collect();
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let sent = all_taken(&[
        (CHAT, json!({"logit_bias": bias})),
        (
            CHAT,
            json!({"chat_template_kwargs": {"enable_thinking": false}, "reasoning_effort": "low"}),
        ),
        (CHAT, json!({"enable_thinking": false})),
        (
            CHAT,
            json!({"response_format": {"type": "json_object", "schema": schema}}),
        ),
    ])
    .await;
    assert_eq!(sent[0]["logit_bias"], bias);
    assert_eq!(
        sent[1]["chat_template_kwargs"],
        json!({"enable_thinking": false})
    );
    assert_eq!(sent[1]["reasoning_effort"], "low");
    assert_eq!(
        sent[2]["chat_template_kwargs"],
        json!({"enable_thinking": false})
    );
    assert_eq!(sent[3]["response_format"]["type"], "json_schema");
    assert_eq!(
        sent[3]["response_format"]["json_schema"]["schema"]["type"],
        "object"
    );
}

#[tokio::test]
async fn arguments_that_are_not_one_object_are_the_callers_mistake() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    for arguments in ["hello", "{\"a\":1}{\"b\":2}", "{\"a\":", "[1]"] {
        let call = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]);
        let body = with(
            CHAT,
            &history(&json!({"role": "assistant", "tool_calls": call})),
        );
        let param = "messages[1].tool_calls[0].function.arguments";
        let error = json!({"message": format!("`{param}` must be the text of one JSON object"), "param": param,
            "type": "invalid_request_error", "code": "invalid_field"});
        assert_eq!(
            asked(&proxy, CHAT, &body).await,
            (400, json!({"error": error, "src": "llm-proxy"}))
        );
        let input = json!({"input": [{"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments}]});
        let (status, error) = asked(&proxy, RESPONSES, &with(RESPONSES, &input)).await;
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!("input[1].arguments"))
        );
    }
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn an_unknown_field_in_what_carries_meaning_is_a_400_that_names_it() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let text = json!({"type": "text", "text": "hi", "x": 1});
    for (path, more, param) in [
        (
            CHAT,
            json!({"messages": [{"role": "user", "content": [text]}]}),
            "messages[0].content[0].x",
        ),
        (
            MESSAGES,
            json!({"messages": [{"role": "user", "content": [text]}]}),
            "messages[0].content[0].x",
        ),
        (
            CHAT,
            json!({"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]}),
            "tools[0].function.x",
        ),
        (
            MESSAGES,
            json!({"tools": [{"name": "f", "x": 1}]}),
            "tools[0].x",
        ),
        (
            RESPONSES,
            json!({"tools": [{"type": "function", "name": "f", "x": 1}]}),
            "tools[0].x",
        ),
        (
            CHAT,
            json!({"response_format": {"type": "json_object", "x": 1}}),
            "response_format.x",
        ),
        (
            RESPONSES,
            json!({"text": {"format": {"type": "text", "x": 1}}}),
            "text.format.x",
        ),
        (
            CHAT,
            json!({"stream_options": {"x": 1}}),
            "stream_options.x",
        ),
        (
            MESSAGES,
            json!({"output_config": {"format": {"type": "json_schema"}}}),
            "output_config.format",
        ),
        (
            CHAT,
            json!({"chat_template_kwargs": {"messages": "x"}}),
            "chat_template_kwargs.messages",
        ),
        (CHAT, json!({"tool_choice": "required"}), "tool_choice"),
        (CHAT, json!({"functions": [{"name": "f"}]}), "functions"),
    ] {
        let (status, error) = asked(&proxy, path, &with(path, &more)).await;
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!(param)),
            "{more}"
        );
    }
    assert_eq!(llama.requests().len(), 0);
}
