//! What leaves the request reader, for requests good, bad and random.

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::prop_assert;
use proptest::sample::select;
use serde_json::{Value, json};

use super::Checked;
use crate::api::Api;
use crate::error::Error;

const MODEL: &str = "m";
const MAX_TOKENS: u64 = 100;

fn parse(request: &Value) -> Result<Value, Error> {
    let parsed = Checked::parse(Api::Chat, request.to_string().as_bytes(), MODEL, MAX_TOKENS)?;
    Ok(serde_json::from_slice(&parsed.body).unwrap())
}

/// A valid request with `more` in it.
fn with(more: &Value) -> Value {
    let mut request = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

/// The field that an invalid request is refused for.
fn refused(more: &Value) -> String {
    match parse(&with(more)) {
        Err(Error::InvalidField { param, .. }) => param,
        other => panic!("{more}: {other:?}"),
    }
}

#[test]
fn what_leaves_is_built_anew_from_known_fields() {
    let request = json!({
        "model": MODEL, "stream": false, "user": "u", "metadata": {"a": 1}, "top_p": 0.5, "max_tokens": null,
        "temperature": 1, "seed": 7, "stop": "x", "n": 1, "tool_choice": "auto", "extra_body": {"grammar": "x"},
        "chat_template_kwargs": {"enable_thinking": false, "other": 1},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"properties": {"z": {}, "a": {}}}, "x": 1}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "x": 1}}],
        "messages": [
            {"role": "developer", "content": "be brief", "x": 1},
            {"role": "user", "name": "u", "content": [
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}]},
            {"role": "assistant", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
        ],
    });
    let parsed =
        Checked::parse(Api::Chat, request.to_string().as_bytes(), MODEL, MAX_TOKENS).unwrap();
    assert_eq!(
        (parsed.stream, parsed.include_usage, parsed.n_dropped),
        (false, false, 8)
    );
    let leaves = json!({
        "model": MODEL, "stream": true, "stream_options": {"include_usage": true}, "return_progress": true, "max_tokens": MAX_TOKENS,
        "temperature": 1, "top_p": 0.5, "seed": 7, "stop": ["x"], "tool_choice": "auto",
        "chat_template_kwargs": {"enable_thinking": false},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object", "properties": {"z": {}, "a": {}}}}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "name": "u", "content": [
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
        ],
    });
    assert_eq!(
        serde_json::from_slice::<Value>(&parsed.body).unwrap(),
        leaves
    );
    let body = std::str::from_utf8(&parsed.body).unwrap();
    assert!(
        body.contains(r#""properties":{"z":{},"a":{}}"#),
        "a schema keeps its order: {body}"
    );
}

#[test]
fn whole_numbers_pass_however_they_are_written_and_a_seed_has_64_bits() {
    for (more, name, leaves) in [
        (json!({"max_tokens": 9.0}), "max_tokens", 9),
        (json!({"top_k": 40.0}), "top_k", 40),
        (json!({"top_k": -1}), "top_k", -1),
        (json!({"seed": -1}), "seed", -1),
        (json!({"seed": 42.0}), "seed", 42),
        (json!({"seed": u32::MAX}), "seed", 0),
        (
            json!({"seed": i64::MAX}),
            "seed",
            i64::MAX % i64::from(u32::MAX),
        ),
        (json!({"seed": -2}), "seed", i64::from(u32::MAX) - 2),
    ] {
        assert_eq!(parse(&with(&more)).unwrap()[name], json!(leaves), "{more}");
    }
}

#[test]
fn a_tool_that_is_chosen_by_name_is_the_only_one_left_and_must_be_called() {
    // llama-server takes no other choice than a word, and anything else for `auto`.
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let choice = json!({"type": "function", "function": {"name": "b"}});
    let tools = json!([tool("a"), tool("b")]);
    let leaves = parse(&with(&json!({"tools": tools, "tool_choice": choice}))).unwrap();
    assert_eq!(
        (&leaves["tools"], &leaves["tool_choice"]),
        (&json!([tool("b")]), &json!("required"))
    );
    let param = "tool_choice.function.name";
    assert_eq!(
        refused(&json!({"tools": [tool("a")], "tool_choice": choice})),
        param
    );
    assert_eq!(refused(&json!({"tool_choice": choice})), param);
}

#[test]
fn every_dangerous_field_is_refused_by_name_and_null_is_absent() {
    for name in super::DANGEROUS {
        assert_eq!(refused(&json!({name: 1})), name);
        parse(&with(&json!({name: null}))).unwrap();
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-5_i64..200).prop_map(Value::from),
        (-1.0_f64..3.0).prop_map(Value::from),
        select(vec![
            "",
            "m",
            "user",
            "text",
            "function",
            "auto",
            "hi",
            "json_object"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any_name(), inner, 0..5).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

fn any_name() -> impl Strategy<Value = String> {
    let known = [
        "role",
        "content",
        "type",
        "text",
        "name",
        "function",
        "tools",
        "tool_calls",
        "parameters",
        "stop",
        "stream",
        "max_tokens",
        "temperature",
        "tool_choice",
        "response_format",
        "grammar",
        "n_predict",
        "user",
        "x",
    ];
    select(known.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn whatever_comes_in_only_known_fields_leave(
        more in btree_map(any_name(), any_json(), 0..8),
        messages in prop_oneof![Just(json!([{"role": "user", "content": "hi"}])), any_json()],
    ) {
        const ALLOWED: [&str; 21] = ["return_progress",
            "model", "messages", "stream", "stream_options", "max_tokens", "temperature", "top_p", "min_p", "top_k",
            "presence_penalty", "frequency_penalty", "seed", "top_logprobs", "logprobs", "parallel_tool_calls", "stop",
            "reasoning_effort", "chat_template_kwargs", "tools", "tool_choice",
        ];
        let mut request = with(&more.into_iter().collect());
        request["messages"] = messages;
        if let Ok(leaves) = parse(&request) {
            for name in leaves.as_object().unwrap().keys() {
                prop_assert!(ALLOWED.contains(&name.as_str()) || name == "response_format", "{name}");
            }
            let limit = leaves["max_tokens"].as_u64().unwrap();
            prop_assert!((1..=MAX_TOKENS).contains(&limit));
        }
    }
}
