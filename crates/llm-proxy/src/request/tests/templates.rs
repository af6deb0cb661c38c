//! Conversations for templates that take less than everything.

use serde_json::{Value, json};

use super::{MODEL, RULES, Rules, TURNS_ONLY, Template, leaves, refused};
use crate::api::Api::{self, Chat, Messages, Responses};

const TOOLS_IN_TURNS: Rules<'static> = Rules {
    template: Template {
        tools: true,
        ..TURNS_ONLY.template
    },
    ..RULES
};

fn request(api: Api, said: &Value) -> Value {
    let name = if api == Responses {
        "input"
    } else {
        "messages"
    };
    json!({"model": MODEL, name: said})
}

fn told(api: Api, said: &Value, rules: &Rules<'_>) -> Value {
    let sent = leaves(api, &request(api, said), rules);
    sent[if api == Responses {
        "input"
    } else {
        "messages"
    }]
    .clone()
}

#[test]
fn messages_of_one_speaker_in_a_row_become_one() {
    let said = json!([
        {"role": "user", "content": "a"}, {"role": "user", "content": "b", "name": "n"}, {"role": "user", "content": ""},
        {"role": "assistant", "content": "c", "reasoning_content": "hm"}, {"role": "assistant", "content": "d"},
        {"role": "user", "content": "e"},
        {"role": "user", "content": [{"type": "text", "text": "f"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
        {"role": "user", "content": [{"type": "text", "text": "g"}]},
    ]);
    let expected = json!([
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": "c\n\nd", "reasoning_content": "hm"},
        {"role": "user", "content": [{"type": "text", "text": "e\n\nf"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}, {"type": "text", "text": "g"}]},
    ]);
    assert_eq!(told(Chat, &said, &TURNS_ONLY), expected);
    assert_eq!(told(Chat, &said, &RULES).as_array().unwrap().len(), 8);
    let said = json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]);
    assert_eq!(
        told(Messages, &said, &TURNS_ONLY),
        json!([{"role": "user", "content": "a\n\nb"}])
    );
    let expected = json!([{"type": "message", "role": "user", "content": "a\n\nb"}]);
    assert_eq!(told(Responses, &said, &TURNS_ONLY), expected);
}

#[test]
fn a_second_system_message_joins_the_first_and_a_later_one_stays() {
    let said = json!([
        {"role": "system", "content": "a"}, {"role": "developer", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"},
        {"role": "system", "content": "e"}, {"role": "user", "content": "f"},
    ]);
    let expected = json!([
        {"role": "system", "content": "a\n\nb"}, {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"}, {"role": "user", "content": "e\n\nf"},
    ]);
    assert_eq!(told(Chat, &said, &TURNS_ONLY), expected);
    // Where a user may speak twice, only the speaker changes.
    let no_later = Rules {
        template: Template {
            repeated_roles: true,
            ..TURNS_ONLY.template
        },
        ..RULES
    };
    assert_eq!(told(Chat, &said, &no_later).as_array().unwrap().len(), 5);
    let no_system = Rules {
        template: Template {
            system: false,
            ..TURNS_ONLY.template
        },
        ..RULES
    };
    let expected = json!([
        {"role": "user", "content": "a\n\nb\n\nc"}, {"role": "assistant", "content": "d"},
        {"role": "user", "content": "e\n\nf"},
    ]);
    assert_eq!(told(Chat, &said, &no_system), expected);
}

#[test]
fn a_system_prompt_beside_the_conversation_is_its_first_message() {
    let request = json!({"model": MODEL, "system": [{"type": "text", "text": "a"}], "messages": [
        {"role": "system", "content": "b"}, {"role": "user", "content": "c"}, {"role": "system", "content": "d"}]});
    let expected = json!([
        {"role": "system", "content": [{"type": "text", "text": "a\n\nb"}]},
        {"role": "user", "content": "c\n\nd"},
    ]);
    let sent = leaves(Messages, &request, &TURNS_ONLY);
    assert_eq!(
        (&sent["messages"], &sent["system"]),
        (&expected, &Value::Null)
    );
    let request = json!({"model": MODEL, "instructions": "a", "input": [
        {"role": "system", "content": "b"}, {"role": "user", "content": "c"}, {"role": "developer", "content": "d"}]});
    let expected = json!([
        {"type": "message", "role": "system", "content": "a\n\nb"},
        {"type": "message", "role": "user", "content": "c\n\nd"},
    ]);
    let sent = leaves(Responses, &request, &TURNS_ONLY);
    assert_eq!(
        (&sent["input"], &sent["instructions"]),
        (&expected, &Value::Null)
    );
}

#[test]
fn a_model_that_would_have_to_speak_first_is_refused_by_its_message() {
    let problem = "is the model's, but to this model the user must speak first".to_owned();
    let said = json!([{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]);
    for (api, param) in [
        (Chat, "messages[0]"),
        (Messages, "messages[0]"),
        (Responses, "input[0]"),
    ] {
        let expected = (param.to_owned(), problem.clone());
        assert_eq!(refused(api, &request(api, &said), &TURNS_ONLY), expected);
        told(api, &said, &RULES);
    }
    let said = json!([{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}]);
    let expected = ("messages[1]".to_owned(), problem.clone());
    assert_eq!(refused(Chat, &request(Chat, &said), &TURNS_ONLY), expected);
    let with_system =
        json!({"model": MODEL, "system": "a", "messages": [{"role": "assistant", "content": "b"}]});
    let expected = ("messages[0]".to_owned(), problem);
    assert_eq!(refused(Messages, &with_system, &TURNS_ONLY), expected);
}

#[test]
fn calls_and_results_are_told_as_text_where_the_template_knows_no_tools() {
    let said = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "so", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "1", "content": "x"}, {"role": "tool", "tool_call_id": "2", "content": null},
        {"role": "tool", "tool_call_id": "3", "content": "y"},
    ]);
    let text = "[Result of f]\n\nx\n\n[Result of g]\n\n[Result of a tool]\n\ny";
    let expected = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "so\n\n[Called f with {\"a\":1}]\n\n[Called g with {}]"},
        {"role": "user", "content": text},
    ]);
    assert_eq!(told(Chat, &said, &TURNS_ONLY), expected);
    let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}});
    let said = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [picture]},
            {"type": "tool_result", "tool_use_id": "2", "content": "x"}]},
    ]);
    let expected = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "[Called f with {\"a\":1}]"}]},
        {"role": "user", "content": [{"type": "text", "text": "[Result of f]"}, picture,
            {"type": "text", "text": "[Result of a tool]\n\nx"}]},
    ]);
    assert_eq!(told(Messages, &said, &TURNS_ONLY), expected);
    let said = json!([
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "x"}, {"role": "user", "content": "and?"},
    ]);
    let expected = json!([
        {"type": "message", "role": "user", "content": "hi"},
        {"type": "message", "role": "assistant", "content": "[Called f with {}]"},
        {"type": "message", "role": "user", "content": "[Result of f]\n\nx\n\nand?"},
    ]);
    assert_eq!(told(Responses, &said, &TURNS_ONLY), expected);
}

#[test]
fn calls_and_results_stay_apart_where_the_template_shows_them() {
    let call =
        json!([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let said = json!([
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": null, "tool_calls": call},
        {"role": "tool", "tool_call_id": "1", "content": "x"}, {"role": "tool", "tool_call_id": "2", "content": "y"},
        {"role": "assistant", "content": "so"},
    ]);
    assert_eq!(told(Chat, &said, &TOOLS_IN_TURNS), said);
}
