//! `/v1/messages`: fields, answers and errors as Anthropic's packages know them.

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::routes::{asked, post, with_all_routes};
use crate::{KEY, MODEL, UPSTREAM_KEY, events};

const PATH: &str = "/v1/messages";

/// A request with `more` in it.
fn with(more: &Value) -> Value {
    let mut body =
        json!({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_message_is_built_anew_from_checked_fields() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}});
    let mut image_asked = image.clone();
    image_asked["cache_control"] = json!({"type": "ephemeral"});
    let weather = json!({"name": "weather", "input_schema": {"type": "object"}});
    let body = json!({
        "model": MODEL, "max_tokens": 1e6, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["x"],
        "metadata": {"user_id": "u"}, "thinking": {"type": "enabled", "budget_tokens": 1_024},
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        "tools": [weather, {"type": "custom", "name": "zoo", "description": "d"}],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}, image_asked]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "so"},
                {"type": "tool_use", "id": "t", "name": "weather", "input": {"grammar": "x"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "sunny"}, image]},
                {"type": "tool_result", "tool_use_id": "t", "is_error": true}]},
        ],
    });
    assert_eq!(asked(&proxy, PATH, &body).await.0, 200);
    let sent = llama.request_started(0).await;
    assert_eq!(sent.line, "POST /v1/messages");
    let leaves = json!({
        "model": MODEL, "thinking": {"type": "enabled", "budget_tokens": 1_024}, "tools": [weather],
        "tool_choice": {"type": "any"}, "system": [{"type": "text", "text": "be brief"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}, image]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "so"},
                {"type": "tool_use", "id": "t", "name": "weather", "input": {"grammar": "x"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "sunny"}, image]},
                {"type": "tool_result", "tool_use_id": "t", "content": ""}]},
        ],
        "stop_sequences": ["x"], "stream": true, "stream_options": {"include_usage": true}, "return_progress": true,
        "max_tokens": 2_048, "temperature": 0.5, "top_p": 0.9, "top_k": 5,
    });
    assert_eq!(sent.body, leaves);
    proxy.until_metric("llm_proxy_dropped_fields_total 1").await;
}

#[tokio::test]
async fn what_llama_server_does_not_know_is_said_in_words_that_it_knows() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let tools = json!([{"name": "weather"}]);
    for (more, name, leaves) in [
        (
            json!({"tools": tools, "tool_choice": {"type": "none"}}),
            "tools",
            Value::Null,
        ),
        (
            json!({"tools": tools, "tool_choice": {"type": "auto"}}),
            "tool_choice",
            json!({"type": "auto"}),
        ),
        (
            json!({"thinking": {"type": "disabled"}}),
            "chat_template_kwargs",
            json!({"enable_thinking": false}),
        ),
        (
            json!({"thinking": {"type": "adaptive"}}),
            "thinking",
            Value::Null,
        ),
        (json!({"max_tokens": null}), "max_tokens", json!(2_048)),
    ] {
        assert_eq!(asked(&proxy, PATH, &with(&more)).await.0, 200);
        let n = llama.requests().len() - 1;
        assert_eq!(llama.request_started(n).await.body[name], leaves, "{more}");
    }
}

#[tokio::test]
async fn a_message_comes_whole_or_as_the_events_of_llama_server() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let deltas = [
        json!({"reasoning_content": "h\n"}),
        json!({"content": "Hel"}),
        json!({"content": "lo \"you\""}),
    ];
    llama.script(Script::deltas(deltas).cached(3));
    let whole = json!({"id": "chatcmpl-fake", "type": "message", "role": "assistant", "model": MODEL,
        "content": [{"type": "thinking", "thinking": "h\n"}, {"type": "text", "text": "Hello \"you\""}],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"cache_read_input_tokens": 3, "input_tokens": 4, "output_tokens": 3}});
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
        .bearer_auth(UPSTREAM_KEY)
        .json(&streamed);
    assert_eq!(
        through,
        straight.send().await.unwrap().text().await.unwrap()
    );
    for (kind, n) in [("prompt", 14), ("cached", 6), ("completion", 6)] {
        let sample =
            format!(r#"llm_proxy_tokens_total{{key="default",model="{MODEL}",kind="{kind}"}} {n}"#);
        proxy.until_metric(&sample).await;
    }
}

#[tokio::test]
async fn a_call_of_a_tool_is_put_together_from_its_pieces() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let event = |event: Value| {
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap()
        )
    };
    let start = json!({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1, "output_tokens": 0}}});
    let block = json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "weather"}});
    let piece = |text: &str| json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": text}});
    let end = json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 2}});
    let stop = json!({"type": "message_stop"});
    for (pieces, input) in [
        (["{\"city\":", "\"Rome\"}"], json!({"city": "Rome"})),
        (["{\"city\":", ""], json!({})),
    ] {
        let [a, b] = pieces.map(piece);
        let all: String = [&start, &block, &a, &b, &end, &stop]
            .into_iter()
            .cloned()
            .map(event)
            .collect();
        llama.script(Script::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{all}"
        )));
        let (status, message) = asked(&proxy, PATH, &with(&json!({}))).await;
        let content = json!([{"type": "tool_use", "id": "t", "name": "weather", "input": input}]);
        assert_eq!((status, &message["content"]), (200, &content));
        assert_eq!(
            message["usage"],
            json!({"input_tokens": 1, "output_tokens": 2})
        );
    }
}

#[tokio::test]
async fn every_field_of_a_message_is_what_it_must_be() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let user = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    let model = |block: Value| json!({"messages": [{"role": "assistant", "content": [block]}]});
    let image = |source: Value| user(json!({"type": "image", "source": source}));
    let result = |content: Value| {
        user(json!({"type": "tool_result", "tool_use_id": "t", "content": content}))
    };
    let tool = |tool: Value| json!({"tools": [tool]});
    let circle = json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}});
    let picture = json!({"type": "base64", "media_type": "image/png", "data": "AA=="});
    let many = json!({"messages": [{"role": "user", "content": vec![json!({"type": "image", "source": picture}); 17]}]});
    for (more, param) in [
        (json!({"messages": null}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": "hi"}), "messages"),
        (json!({"messages": [1]}), "messages[0]"),
        (
            json!({"messages": [{"role": "user"}]}),
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "user", "content": 1}]}),
            "messages[0].content",
        ),
        (
            user(json!({"type": "document"})),
            "messages[0].content[0].type",
        ),
        (
            user(json!({"type": "tool_use"})),
            "messages[0].content[0].type",
        ),
        (
            user(json!({"type": "image_url", "image_url": {"url": "http://x"}})),
            "messages[0].content[0].type",
        ),
        (user(json!({"type": "text"})), "messages[0].content[0].text"),
        (
            image(json!({"type": "url", "url": "http://10.0.0.1/a.png"})),
            "messages[0].content[0].source.type",
        ),
        (
            image(json!({"type": "file", "file_id": "x"})),
            "messages[0].content[0].source.type",
        ),
        (
            image(json!({"type": "base64", "media_type": "image/svg+xml", "data": "AA"})),
            "messages[0].content[0].source.media_type",
        ),
        (
            image(json!({"type": "base64", "media_type": "image/png", "data": "A A"})),
            "messages[0].content[0].source.data",
        ),
        (
            image(json!({"type": "base64", "media_type": "image/png;base64,AA,", "data": "AA"})),
            "messages[0].content[0].source.media_type",
        ),
        (many, "messages[0].content[16].type"),
        (
            result(json!([{"type": "image", "source": {"type": "url"}}])),
            "messages[0].content[0].content[0].source.type",
        ),
        (
            result(json!([{"type": "tool_reference"}])),
            "messages[0].content[0].content[0].type",
        ),
        (
            model(json!({"type": "image"})),
            "messages[0].content[0].type",
        ),
        (
            model(json!({"type": "tool_use", "id": "t", "name": "a b", "input": {}})),
            "messages[0].content[0].name",
        ),
        (
            model(json!({"type": "tool_use", "id": "t", "name": "a", "input": "{}"})),
            "messages[0].content[0].input",
        ),
        (json!({"system": 1}), "system"),
        (json!({"system": [{"type": "image"}]}), "system[0].type"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": "9"}), "max_tokens"),
        (json!({"temperature": 9}), "temperature"),
        (json!({"top_k": 1e9}), "top_k"),
        (json!({"stream": "true"}), "stream"),
        (json!({"stop_sequences": vec!["x"; 9]}), "stop_sequences"),
        (
            json!({"thinking": {"type": "enabled"}}),
            "thinking.budget_tokens",
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": -1}}),
            "thinking.budget_tokens",
        ),
        (json!({"thinking": {"type": "deep"}}), "thinking.type"),
        (
            tool(json!({"type": "web_search_20250305", "name": "web_search"})),
            "tools[0].type",
        ),
        (tool(json!({"name": "../x"})), "tools[0].name"),
        (
            tool(json!({"name": "x", "input_schema": circle})),
            "tools[0].input_schema",
        ),
        (json!({"tool_choice": "auto"}), "tool_choice"),
        (json!({"tool_choice": {"type": "some"}}), "tool_choice.type"),
        (
            json!({"tool_choice": {"type": "tool", "name": "x"}}),
            "tool_choice.name",
        ),
        (
            json!({"mcp_servers": [{"url": "http://10.0.0.1"}]}),
            "mcp_servers",
        ),
        (json!({"container": "x"}), "container"),
        (json!({"grammar": "x"}), "grammar"),
        (json!({"n_predict": -1}), "n_predict"),
        (json!({"json_schema": {"x": 1}}), "json_schema"),
    ] {
        for path in [PATH, "/v1/messages/count_tokens"] {
            let (status, error) = asked(&proxy, path, &with(&more)).await;
            assert_eq!(
                (status, &error["error"]["param"]),
                (400, &json!(param)),
                "{more:.200}"
            );
            assert_eq!(
                (&error["type"], &error["error"]["type"]),
                (&json!("error"), &json!("invalid_request_error"))
            );
        }
    }
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_key_in_x_api_key_opens_messages_and_no_other_route() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let status = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = proxy
            .http
            .post(format!("http://{}{path}", proxy.address))
            .json(&with(&json!({})));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap()["error"]["code"].clone(),
        )
    };
    let (ok, unknown, twice) = (
        (200, Value::Null),
        (401, json!("invalid_api_key")),
        (400, json!("ambiguous_credentials")),
    );
    let bearer = &format!("Bearer {KEY}");
    assert_eq!(
        status(
            PATH,
            &[("x-api-key", KEY), ("anthropic-version", "2023-06-01")]
        )
        .await,
        ok
    );
    assert_eq!(status(PATH, &[("authorization", bearer)]).await, ok);
    assert_eq!(status(PATH, &[("x-api-key", "another")]).await, unknown);
    assert_eq!(status(PATH, &[("x-api-key", bearer)]).await, unknown);
    assert_eq!(
        status(PATH, &[("x-api-key", &"x".repeat(2_000))]).await,
        unknown
    );
    assert_eq!(
        status(PATH, &[("x-api-key", KEY), ("x-api-key", KEY)]).await,
        twice
    );
    assert_eq!(
        status(PATH, &[("x-api-key", KEY), ("authorization", bearer)]).await,
        twice
    );
    for path in ["/v1/chat/completions", "/v1/responses", "/tokenize"] {
        assert_eq!(status(path, &[("x-api-key", KEY)]).await, unknown, "{path}");
    }
    let sent = llama.request_started(0).await.headers;
    assert!(
        !sent.contains_key("x-api-key") && !sent.contains_key("anthropic-version"),
        "{sent:?}"
    );
}

#[tokio::test]
async fn errors_are_those_that_anthropics_packages_read_and_hold_our_own_fields_too() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let error = async |body: &Value| {
        let response = post(&proxy, PATH, body).send().await.unwrap();
        assert_eq!(
            response.headers()["request-id"],
            response.headers()["x-request-id"]
        );
        let (status, kind) = (
            response.status().as_u16(),
            response.headers()["content-type"].clone(),
        );
        assert_eq!(kind, "application/json");
        (status, response.json::<Value>().await.unwrap())
    };
    let message = "there is no such model; GET /v1/models names the one that is served";
    let expected = json!({"type": "error", "src": "llm-proxy", "error": {"type": "not_found_error", "message": message,
        "code": "model_not_found", "param": "model", "details": {"error_code": "model_not_found"}}});
    assert_eq!(
        error(&with(&json!({"model": "other"}))).await,
        (404, expected)
    );
    llama.script(Script::status(
        400,
        r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":4}}"#,
    ));
    let expected = json!({"type": "error", "src": "upstream", "error": {"type": "invalid_request_error",
        "message": "too long", "code": "context_length_exceeded", "param": null, "n_prompt_tokens": 9, "n_ctx": 4,
        "details": {"error_code": "context_length_exceeded"}}});
    assert_eq!(
        error(&with(&json!({"stream": true}))).await,
        (400, expected)
    );
    llama.script(Script::refusal(500, "server_error", "Compute error."));
    let (status, body) = error(&with(&json!({}))).await;
    assert_eq!((status, &body["error"]["type"]), (502, &json!("api_error")));
    let long = with(&json!({"system": "x".repeat(300_000)}));
    let (status, body) = error(&long).await;
    assert_eq!(
        (status, &body["error"]["type"]),
        (413, &json!("request_too_large"))
    );
}

#[tokio::test]
async fn a_failure_after_the_first_byte_is_an_event_by_the_name_of_error() {
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
    assert!(
        !text.contains("Compute error.") && !text.contains("message_stop"),
        "{text}"
    );
    let (_, last) = text.trim_end().rsplit_once("\n\n").unwrap();
    let (name, data) = last.split_once('\n').unwrap();
    let message = "the model server failed while answering";
    let expected = json!({"type": "error", "src": "upstream",
        "error": {"type": "api_error", "message": message, "code": "upstream_failed", "param": null,
        "details": {"error_code": "upstream_failed"}}});
    assert_eq!(name, "event: error");
    assert_eq!(
        serde_json::from_str::<Value>(events(data)[0]).unwrap(),
        expected
    );
}

#[tokio::test]
async fn the_tokens_of_messages_are_counted_beside_the_slots_and_only_where_messages_are() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    llama.script(Script::status(200, r#"{"input_tokens":31}"#));
    let path = "/v1/messages/count_tokens";
    assert_eq!(
        asked(&proxy, path, &with(&json!({}))).await,
        (200, json!({"input_tokens": 31}))
    );
    let sent = llama.request_started(0).await;
    assert_eq!(
        (sent.line, &sent.body["messages"][0]["content"]),
        (format!("POST {path}"), &json!("hi"))
    );
    let proxy = crate::Proxy::before(&llama).await;
    assert_eq!(asked(&proxy, path, &with(&json!({}))).await.0, 404);
}
