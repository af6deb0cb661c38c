//! What leaves for a response.

use serde_json::{Value, json};

use super::{MAX_TOKENS, MODEL, RULES, check, field, leaves, refused, with};
use crate::api::Api::Responses;

#[test]
fn a_response_is_built_anew_from_known_fields() {
    let request = json!({
        "model": MODEL, "instructions": "be brief", "store": true, "metadata": {}, "truncation": "disabled",
        "include": ["reasoning.encrypted_content"], "max_output_tokens": 4, "stream": true,
        "stream_options": {"include_obfuscation": true}, "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}],
        "input": [
            {"role": "developer", "content": "so"},
            {"role": "user", "content": [{"type": "input_text", "text": "hi"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "1"}]},
        ],
    });
    let checked = check(Responses, &request, &RULES).unwrap();
    assert_eq!(checked.n_dropped, ["truncation", "include"].len() as u64);
    assert!(checked.stream && checked.has_images);
    let expected = json!({
        "model": MODEL, "instructions": "be brief", "reasoning": {"effort": "low"},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}],
        "response_format": {"type": "text"},
        "input": [
            {"type": "message", "role": "system", "content": "so"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "1"}]},
        ],
        "stream": true, "stream_options": {"include_usage": true}, "return_progress": true, "max_tokens": 4,
    });
    assert_eq!(leaves(Responses, &request, &RULES), expected);
}

#[test]
fn a_field_that_says_nothing_never_refuses_a_response() {
    let plain = leaves(Responses, &with(Responses, &json!({})), &RULES);
    assert_eq!(plain["max_tokens"], MAX_TOKENS);
    let names = [
        "tools",
        "tool_choice",
        "instructions",
        "reasoning",
        "text",
        "background",
        "store",
        "previous_response_id",
        "conversation",
        "prompt",
        "include",
        "parallel_tool_calls",
        "stream",
        "stream_options",
        "max_output_tokens",
        "n",
    ];
    for name in names {
        for nothing in [json!(null), json!(""), json!([]), json!({})] {
            let request = with(Responses, &json!({name: nothing}));
            assert_eq!(leaves(Responses, &request, &RULES), plain, "{request}");
        }
    }
    for nothing in [
        json!({"format": null}),
        json!({"format": {}}),
        json!({"verbosity": null}),
    ] {
        assert_eq!(
            leaves(
                Responses,
                &with(Responses, &json!({"text": nothing})),
                &RULES
            ),
            plain
        );
    }
}

#[test]
fn a_schema_is_demanded_in_the_words_of_a_chat() {
    let schema = json!({"type": "object", "properties": {"z": {"type": "string"}}, "additionalProperties": false});
    let demanded = json!({"type": "json_schema", "json_schema": {"schema": schema}});
    let named = json!({"type": "json_schema", "name": "s", "schema": schema, "strict": true});
    assert_eq!(
        field(
            Responses,
            &json!({"text": {"format": named}}),
            "response_format"
        ),
        json!({"type": "json_schema", "json_schema": {"name": "s", "strict": true, "schema": schema}})
    );
    for format in [
        json!({"type": "json_schema", "schema": schema}),
        json!({"type": "json_object", "schema": schema}),
    ] {
        let more = json!({"text": {"format": format}});
        assert_eq!(field(Responses, &more, "response_format"), demanded);
    }
}

#[test]
fn one_answer_is_all_that_a_response_has() {
    for n in [json!(2), json!(0)] {
        let expected = ("n".to_owned(), "must be 1".to_owned());
        assert_eq!(
            refused(Responses, &with(Responses, &json!({"n": n})), &RULES),
            expected
        );
    }
    assert_eq!(field(Responses, &json!({"n": 1}), "n"), Value::Null);
}

#[test]
fn a_conversation_without_anything_in_it_is_refused() {
    for input in [
        json!(null),
        json!(""),
        json!([]),
        json!({}),
        json!([{"type": "reasoning", "summary": []}]),
    ] {
        assert_eq!(
            refused(
                Responses,
                &with(Responses, &json!({"input": input})),
                &RULES
            )
            .0,
            "input"
        );
    }
}
