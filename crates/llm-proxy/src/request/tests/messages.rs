//! What leaves for a message.

use serde_json::{Value, json};

use super::{MAX_TOKENS, MODEL, RULES, check, field, leaves, refused, with};
use crate::api::Api::Messages;

#[test]
fn a_message_is_built_anew_from_known_fields() {
    let ephemeral = json!({"type": "ephemeral"});
    let picture = json!({"type": "base64", "media_type": "image/png", "data": "AA=="});
    let request = json!({
        "model": MODEL, "max_tokens": 4, "temperature": 0.5, "top_k": 3, "stream": true, "metadata": {"user_id": "u"},
        "system": [{"type": "text", "text": "be brief", "cache_control": ephemeral}], "stop_sequences": ["x"],
        "thinking": {"type": "enabled", "budget_tokens": 50}, "service_tier": "auto",
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": ephemeral}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image", "source": picture}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "is_error": false,
                "content": [{"type": "text", "text": "1"}], "cache_control": ephemeral}]},
            {"role": "system", "content": "be briefer"},
        ],
    });
    let checked = check(Messages, &request, &RULES).unwrap();
    assert_eq!(checked.n_dropped, ["metadata", "service_tier"].len() as u64);
    assert!(checked.stream && checked.has_images);
    let expected = json!({
        "model": MODEL, "thinking": {"type": "enabled", "budget_tokens": 50}, "system": [{"type": "text", "text": "be brief"}],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}], "tool_choice": {"type": "auto"},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image", "source": picture}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t",
                "content": [{"type": "text", "text": "1"}]}]},
            {"role": "system", "content": "be briefer"},
        ],
        "stop_sequences": ["x"], "stream": true, "stream_options": {"include_usage": true}, "return_progress": true,
        "max_tokens": 4, "temperature": 0.5, "top_k": 3,
    });
    assert_eq!(leaves(Messages, &request, &RULES), expected);
}

#[test]
fn a_field_that_says_nothing_never_refuses_a_message() {
    let plain = leaves(Messages, &with(Messages, &json!({})), &RULES);
    assert_eq!(plain["max_tokens"], MAX_TOKENS);
    let names = [
        "tools",
        "tool_choice",
        "system",
        "thinking",
        "output_config",
        "output_format",
        "stop_sequences",
        "mcp_servers",
        "container",
        "metadata",
        "temperature",
        "max_tokens",
        "stream",
        "chat_template_kwargs",
        "grammar",
        "prompt",
    ];
    for name in names {
        for nothing in [json!(null), json!(""), json!([]), json!({})] {
            let request = with(Messages, &json!({name: nothing}));
            assert_eq!(leaves(Messages, &request, &RULES), plain, "{request}");
        }
    }
}

#[test]
fn the_result_of_a_tool_may_be_nothing() {
    for block in [
        json!({"type": "tool_result", "tool_use_id": "t"}),
        json!({"type": "tool_result", "tool_use_id": "t", "content": null}),
        json!({"type": "tool_result", "tool_use_id": "t", "content": []}),
        json!({"type": "tool_result", "tool_use_id": "t", "content": ""}),
    ] {
        let messages = json!([{"role": "user", "content": [block]}]);
        let expected = json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": ""}]}]);
        assert_eq!(
            field(Messages, &json!({"messages": messages}), "messages"),
            expected
        );
    }
}

#[test]
fn thinking_is_told_to_the_template() {
    let sent = |more: Value| {
        let sent = leaves(Messages, &with(Messages, &more), &RULES);
        (
            sent["thinking"].clone(),
            sent["chat_template_kwargs"].clone(),
        )
    };
    let budget = json!({"type": "enabled", "budget_tokens": 9});
    assert_eq!(sent(json!({"thinking": budget})), (budget, Value::Null));
    let off = json!({"enable_thinking": false});
    assert_eq!(
        sent(json!({"thinking": {"type": "disabled"}})),
        (Value::Null, off)
    );
    let adaptive = json!({"thinking": {"type": "adaptive", "display": "omitted"}});
    assert_eq!(sent(adaptive), (Value::Null, Value::Null));
    let effort = json!({"output_config": {"effort": "low"}});
    assert_eq!(
        sent(effort),
        (Value::Null, json!({"reasoning_effort": "low"}))
    );
}

#[test]
fn a_form_of_the_answer_that_nobody_would_keep_is_refused() {
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    for (more, param) in [
        (
            json!({"output_config": {"format": format}}),
            "output_config.format",
        ),
        (json!({"output_format": format}), "output_format"),
    ] {
        assert_eq!(refused(Messages, &with(Messages, &more), &RULES).0, param);
    }
}
