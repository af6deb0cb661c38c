//! `/v1/responses`: fields, answers and errors as the later one of OpenAI's APIs has them, without what it keeps.

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::routes::{asked, post, with_all_routes};
use crate::{MODEL, last_error};

const PATH: &str = "/v1/responses";

/// A request with `more` in it.
fn with(more: &Value) -> Value {
    let mut body = json!({"model": MODEL, "input": "hi"});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_response_is_built_anew_from_checked_fields() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let weather = json!({"name": "weather", "parameters": {"type": "object"}, "strict": false, "type": "function"});
    let image = json!({"type": "input_image", "image_url": "data:image/png;base64,AA=="});
    let mut image_asked = image.clone();
    image_asked["detail"] = json!("low");
    let body = json!({
        "model": MODEL, "max_output_tokens": 4.0, "temperature": 0.5, "top_p": 0.9, "instructions": "be brief",
        "store": true, "background": false, "parallel_tool_calls": true, "truncation": "disabled", "user": "u",
        "reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"],
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "tools": [weather, {"type": "function", "name": "zoo"}], "tool_choice": {"type": "function", "name": "weather"},
        "input": [
            {"role": "developer", "content": "so"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}, image_asked]},
            {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}], "encrypted_content": ""},
            {"type": "message", "id": "m", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "yes", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "sunny"}]},
        ],
    });
    assert_eq!(asked(&proxy, PATH, &body).await.0, 200);
    let sent = llama.request_started(0).await;
    assert_eq!(sent.line, "POST /v1/responses");
    let leaves = json!({
        "model": MODEL, "tools": [weather], "tool_choice": "required", "instructions": "be brief", "parallel_tool_calls": true,
        "input": [
            {"type": "message", "role": "system", "content": "so"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}, image]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
            {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "sunny"}]},
        ],
        "reasoning": {"effort": "low"},
        "response_format": {"type": "text"},
        "stream": true, "stream_options": {"include_usage": true}, "return_progress": true,
        "max_tokens": 4, "temperature": 0.5, "top_p": 0.9,
    });
    assert_eq!(sent.body, leaves);
    proxy.until_metric("llm_proxy_dropped_fields_total 3").await;
}

#[tokio::test]
async fn what_nobody_keeps_is_refused_and_not_promised() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    for (more, param) in [
        (
            json!({"previous_response_id": "resp_1"}),
            "previous_response_id",
        ),
        (json!({"conversation": {"id": "c"}}), "conversation"),
        (json!({"background": true}), "background"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (
            json!({"input": [{"type": "item_reference", "id": "m"}]}),
            "input[0].type",
        ),
    ] {
        let (status, error) = asked(&proxy, PATH, &with(&more)).await;
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!(param)),
            "{more}"
        );
    }
    let message = "`previous_response_id` is not supported: nothing is kept here, so send all that was said in `input`";
    let (_, error) = asked(&proxy, PATH, &with(&json!({"previous_response_id": "x"}))).await;
    assert_eq!(error["error"]["message"], message);
    let url = format!("http://{}{PATH}/resp_1", proxy.address);
    assert_eq!(
        proxy
            .http
            .get(url)
            .bearer_auth(crate::KEY)
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_response_comes_whole_or_as_the_events_of_llama_server() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    llama.script(Script::tokens(["Hel", "lo"]).cached(3));
    let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"});
    let item = json!({"type": "message", "status": "completed", "id": "msg_fake", "content": [part], "role": "assistant"});
    let whole = json!({"id": "resp_fake", "object": "response", "created_at": 1_795_359_974_u64, "status": "completed",
        "model": MODEL, "output": [item], "usage": {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9,
        "input_tokens_details": {"cached_tokens": 3}}});
    assert_eq!(asked(&proxy, PATH, &with(&json!({}))).await, (200, whole));
    let streamed = with(&json!({"stream": true}));
    let through = post(&proxy, PATH, &streamed)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let straight = proxy
        .http
        .post(llama.url() + PATH)
        .bearer_auth(crate::UPSTREAM_KEY)
        .json(&streamed);
    assert_eq!(
        through,
        straight.send().await.unwrap().text().await.unwrap()
    );
    for (kind, n) in [("prompt", 14), ("cached", 6), ("completion", 4)] {
        let sample =
            format!(r#"llm_proxy_tokens_total{{key="default",model="{MODEL}",kind="{kind}"}} {n}"#);
        proxy.until_metric(&sample).await;
    }
}

#[tokio::test]
async fn every_field_of_a_response_is_what_it_must_be() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let item = |item: Value| json!({"input": [item]});
    let said = |role: &str, part: Value| json!({"input": [{"role": role, "content": [part]}]});
    let image = |url: &str| said("user", json!({"type": "input_image", "image_url": url}));
    let tool = |tool: Value| json!({"tools": [tool]});
    let format = |format: Value| json!({"text": {"format": format}});
    let circle = json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}});
    let url = "input[0].content[0].image_url";
    for (more, param) in [
        (json!({"input": null}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": {}}), "input"),
        (item(json!("hi")), "input[0]"),
        (item(json!({"content": "hi"})), "input[0].role"),
        (
            item(json!({"role": "tool", "content": "hi"})),
            "input[0].role",
        ),
        (item(json!({"role": "user"})), "input[0].content"),
        (item(json!({"type": "web_search_call"})), "input[0].type"),
        (
            item(json!({"type": "computer_call_output"})),
            "input[0].type",
        ),
        (
            item(json!({"type": "function_call", "call_id": "c", "arguments": "{}"})),
            "input[0].name",
        ),
        (
            item(json!({"type": "function_call", "call_id": "c", "name": "f"})),
            "input[0]",
        ),
        (
            item(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "[]"})),
            "input[0].arguments",
        ),
        (
            item(json!({"type": "function_call_output", "call_id": "c", "output": 1})),
            "input[0].output",
        ),
        (
            item(
                json!({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file"}]}),
            ),
            "input[0].output[0].type",
        ),
        (item(json!({"type": "reasoning", "summary": []})), "input"),
        (
            item(json!({"type": "reasoning", "content": "x"})),
            "input[0].content",
        ),
        (
            said("user", json!({"type": "text", "text": "hi"})),
            "input[0].content[0].type",
        ),
        (
            said(
                "user",
                json!({"type": "input_file", "file_url": "http://10.0.0.1"}),
            ),
            "input[0].content[0].type",
        ),
        (
            said("user", json!({"type": "input_audio"})),
            "input[0].content[0].type",
        ),
        (
            said("assistant", json!({"type": "input_image"})),
            "input[0].content[0].type",
        ),
        (image("http://10.0.0.1/a.png"), url),
        (image("file:///etc/passwd"), url),
        (image("data:image/svg+xml;base64,AA=="), url),
        (image("data:image/png;base64,A A"), url),
        (image("data:image/png,AA"), url),
        (json!({"instructions": ["x"]}), "instructions"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"max_output_tokens": "9"}), "max_output_tokens"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"temperature": 9}), "temperature"),
        (json!({"stream": 1}), "stream"),
        (json!({"store": "yes"}), "store"),
        (json!({"reasoning": {"effort": "much"}}), "reasoning.effort"),
        (format(json!({"type": "grammar"})), "text.format.type"),
        (
            format(json!({"type": "json_schema", "name": "s"})),
            "text.format.schema",
        ),
        (
            format(json!({"type": "json_schema", "name": "s", "schema": circle})),
            "text.format.schema",
        ),
        (tool(json!({"type": "web_search"})), "tools[0].type"),
        (
            tool(json!({"type": "mcp", "server_url": "http://10.0.0.1"})),
            "tools[0].type",
        ),
        (
            tool(json!({"type": "function", "name": "../x"})),
            "tools[0].name",
        ),
        (json!({"tool_choice": "any"}), "tool_choice"),
        (
            json!({"tool_choice": {"type": "web_search"}}),
            "tool_choice.type",
        ),
        (
            json!({"tool_choice": {"type": "function", "name": "x"}}),
            "tool_choice.name",
        ),
        (json!({"grammar": "x"}), "grammar"),
        (json!({"n_predict": -1}), "n_predict"),
        (json!({"json_schema": {"x": 1}}), "json_schema"),
    ] {
        let (status, error) = asked(&proxy, PATH, &with(&more)).await;
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!(param)),
            "{more:.200}"
        );
        assert!(
            error.get("type").is_none() && error["error"]["code"].is_string(),
            "{error}"
        );
    }
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_failure_after_the_first_byte_is_an_event_that_every_package_of_openai_reads() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    llama.script(Script::tokens(["a", "b"]).error_after(1, "Compute error."));
    let streamed = with(&json!({"stream": true}));
    let text = post(&proxy, PATH, &streamed)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let (code, message) = ("upstream_failed", "the model server failed while answering");
    let error = json!({"type": "server_error", "code": code, "message": message, "param": null});
    let expected = json!({"type": "error", "code": code, "message": message, "param": null, "sequence_number": 0,
        "error": error, "src": "upstream"});
    assert_eq!(last_error(&text), expected);
    assert!(
        text.contains("\n\nevent: error\ndata: ") && !text.contains("response.completed"),
        "{text}"
    );
    assert!(!text.contains("Compute error."), "{text}");
}
