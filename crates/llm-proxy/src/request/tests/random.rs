//! Whatever comes in, only known fields leave.

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;
use proptest::{prop_assert, prop_assert_eq};
use serde_json::{Value, json};

use super::{MAX_TOKENS, RULES, TURNS_ONLY, check, with};
use crate::api::Api;

const APIS: [Api; 7] = [
    Api::Chat,
    Api::Completions,
    Api::Embeddings,
    Api::Rerank,
    Api::Responses,
    Api::Messages,
    Api::Tokenize,
];

/// Every name that may leave, on whatever level and route.
const ALLOWED: [&str; 77] = [
    "add_special",
    "any",
    "arguments",
    "budget_tokens",
    "call_id",
    "chat_template_kwargs",
    "content",
    "data",
    "description",
    "documents",
    "effort",
    "encoding_format",
    "frequency_penalty",
    "function",
    "id",
    "image_url",
    "include_usage",
    "input",
    "input_schema",
    "instructions",
    "json_schema",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "media_type",
    "messages",
    "min_p",
    "model",
    "name",
    "output",
    "parallel_tool_calls",
    "parameters",
    "parse_special",
    "presence_penalty",
    "prompt",
    "query",
    "reasoning",
    "reasoning_content",
    "reasoning_effort",
    "response_format",
    "return_progress",
    "role",
    "schema",
    "seed",
    "source",
    "stop",
    "stop_sequences",
    "stream",
    "stream_options",
    "strict",
    "summary",
    "system",
    "temperature",
    "text",
    "thinking",
    "tool_call_id",
    "tool_calls",
    "tool_choice",
    "tool_use_id",
    "tools",
    "top_k",
    "top_logprobs",
    "top_n",
    "top_p",
    "type",
    "url",
    "with_pieces",
    "enable_thinking",
    "x",
    "grammar",
    "n_predict",
    "user",
    "n",
    "suffix",
    "echo",
    "is_error",
    "signature",
];

fn any_json() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "m",
        "user",
        "assistant",
        "system",
        "tool",
        "text",
        "function",
        "auto",
        "required",
        "hi",
        "json_object",
        "json_schema",
        "message",
        "function_call",
        "function_call_output",
        "reasoning",
        "input_text",
        "output_text",
        "tool_use",
        "tool_result",
        "enabled",
        "{}",
        "{",
        "data:image/png;base64,AA==",
        "float",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-5_i64..200).prop_map(Value::from),
        (-1.0_f64..3.0).prop_map(Value::from),
        select(words.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any_name(), inner, 0..5).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

fn any_name() -> impl Strategy<Value = String> {
    select(ALLOWED.to_vec()).prop_map(str::to_owned)
}

/// A conversation that is right more often than chance would have it.
fn any_conversation() -> impl Strategy<Value = Value> {
    let role = select(vec!["user", "assistant", "system", "tool"]);
    let message = (role, any_json())
        .prop_map(|(role, content)| json!({"role": role, "content": content, "tool_call_id": "c"}));
    prop_oneof![vec(message, 1..5).prop_map(Value::from), any_json()]
}

/// The names of fields at the top of what leaves, which hold no caller's own names.
fn top(body: &Value) -> Vec<&str> {
    body.as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

proptest! {
    #[test]
    fn whatever_comes_in_only_known_fields_leave(
        more in btree_map(any_name(), any_json(), 0..8),
        conversation in any_conversation(),
        at in 0..APIS.len(),
    ) {
        const SECRET: [&str; 10] = ["x", "grammar", "n_predict", "user", "n", "suffix", "echo", "is_error", "signature", "any"];
        let api = APIS[at];
        let mut request = with(api, &more.into_iter().collect());
        match api {
            Api::Responses => request["input"] = conversation,
            Api::Chat | Api::Messages => request["messages"] = conversation,
            _ => {}
        }
        for rules in [RULES, TURNS_ONLY] {
            let Ok(checked) = check(api, &request, &rules) else {
                continue;
            };
            let body: Value = serde_json::from_slice(&checked.body(0)).unwrap();
            for name in top(&body) {
                prop_assert!(ALLOWED.contains(&name) && !SECRET.contains(&name), "{name}");
            }
            if let Some(limit) = body["max_tokens"].as_u64() {
                prop_assert!((1..=MAX_TOKENS).contains(&limit));
                prop_assert_eq!(body["stream"].clone(), json!(true));
            }
            // What leaves would be taken again, and leave as it is.
            if api == Api::Chat {
                let again = check(api, &body, &rules).unwrap();
                let names = top(&body).len();
                prop_assert_eq!(again.n_dropped, 1, "return_progress of {}", names);
                let again: Value = serde_json::from_slice(&again.body(0)).unwrap();
                prop_assert_eq!(again, body);
            }
        }
    }
}
