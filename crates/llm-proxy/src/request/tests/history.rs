//! Whatever the door gave out it takes back, as each client puts it together.

use serde_json::{Value, json};

use super::{MODEL, RULES, TURNS_ONLY, check, leaves, refused};
use crate::api::Api::{self, Chat, Messages, Responses};

/// How the assistant's message `given` leaves in a chat.
fn replied(given: &Value) -> Value {
    let mut message = json!({"role": "assistant"});
    message
        .as_object_mut()
        .unwrap()
        .extend(given.as_object().unwrap().clone());
    let request = json!({"model": MODEL, "messages": [
        {"role": "user", "content": "hi"}, message, {"role": "user", "content": "and?"}]});
    let mut sent = leaves(Chat, &request, &RULES)["messages"][1].take();
    assert_eq!(
        sent.as_object_mut().unwrap().remove("role"),
        Some(json!("assistant"))
    );
    sent
}

#[test]
fn an_assistants_message_of_a_chat_is_taken_in_every_shape() {
    let call = |arguments: Value| json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]);
    let empty = json!({"content": ""});
    for nothing in [json!(null), json!(""), json!([]), json!({})] {
        assert_eq!(replied(&json!({"content": nothing})), empty);
        assert_eq!(
            replied(&json!({"content": nothing, "tool_calls": nothing})),
            empty
        );
        assert_eq!(
            replied(&json!({"content": nothing, "reasoning_content": nothing})),
            empty
        );
        assert_eq!(
            replied(&json!({"content": nothing, "reasoning_content": "hm"})),
            json!({"content": "", "reasoning_content": "hm"})
        );
        assert_eq!(
            replied(&json!({"content": nothing, "tool_calls": call(json!("{}"))})),
            json!({"content": null, "tool_calls": call(json!("{}"))})
        );
        assert_eq!(
            replied(&json!({"content": nothing, "refusal": "no"})),
            json!({"content": "no"})
        );
    }
    assert_eq!(replied(&json!({})), empty);
    assert_eq!(
        replied(&json!({"reasoning_content": "hm"})),
        json!({"content": "", "reasoning_content": "hm"})
    );
    // As OpenAI's helpers put it together.
    let parsed = json!({"content": "yes", "refusal": null, "annotations": [], "audio": null, "function_call": null,
        "parsed": {"a": 1}, "tool_calls": []});
    assert_eq!(replied(&parsed), json!({"content": "yes"}));
    let streamed = json!({"content": null, "tool_calls": [{"index": 0, "id": "c", "type": "function",
        "function": {"name": "f", "arguments": "{\"a\":1}", "parsed_arguments": {"a": 1}}}]});
    assert_eq!(
        replied(&streamed),
        json!({"content": null, "tool_calls": call(json!("{\"a\":1}"))})
    );
    let refused =
        json!({"content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]});
    assert_eq!(
        replied(&refused),
        json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
    );
}

#[test]
fn a_message_that_says_nothing_is_taken_and_one_without_content_is_not() {
    for role in ["system", "developer", "user", "tool"] {
        for nothing in [json!(null), json!(""), json!([]), json!({})] {
            let request = json!({"model": MODEL, "messages": [
                {"role": role, "content": nothing, "tool_call_id": "c", "name": nothing}]});
            assert_eq!(leaves(Chat, &request, &RULES)["messages"][0]["content"], "");
        }
        let request = json!({"model": MODEL, "messages": [{"role": role, "tool_call_id": "c"}]});
        if role == "tool" {
            // Its result may be nothing, as in the other APIs.
            assert_eq!(leaves(Chat, &request, &RULES)["messages"][0]["content"], "");
            continue;
        }
        let expected = ("messages[0].content".to_owned(), "is missing".to_owned());
        assert_eq!(refused(Chat, &request, &RULES), expected);
    }
}

/// A history with a call of a tool with these arguments, and the field that holds them.
fn called(api: Api, arguments: &Value) -> (Value, &'static str) {
    match api {
        Responses => (
            json!({"model": MODEL, "input": [{"role": "user", "content": "hi"},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments},
                {"type": "function_call_output", "call_id": "c"}]}),
            "input[1].arguments",
        ),
        _ => (
            json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]},
                {"role": "tool", "tool_call_id": "c"}]}),
            "messages[1].tool_calls[0].function.arguments",
        ),
    }
}

#[test]
fn the_arguments_of_a_call_are_one_json_object() {
    for api in [Chat, Responses] {
        let sent = |arguments: Value| {
            let (request, _) = called(api, &arguments);
            let sent = leaves(api, &request, &RULES);
            let pointer = match api {
                Responses => "/input/1/arguments",
                _ => "/messages/1/tool_calls/0/function/arguments",
            };
            sent.pointer(pointer).unwrap().as_str().unwrap().to_owned()
        };
        for nothing in [
            json!(""),
            json!(null),
            json!({}),
            json!(" \n"),
            json!("null"),
        ] {
            assert_eq!(sent(nothing), "{}");
        }
        let (request, _) = called(api, &json!("{}"));
        let bare = request.to_string().replace(",\"arguments\":\"{}\"", "");
        let bare = serde_json::from_str(&bare).unwrap();
        assert_ne!(request, bare);
        let expected = leaves(api, &request, &RULES);
        assert_eq!(leaves(api, &bare, &RULES), expected);
        for same in [
            "{}",
            "{\"a\":1}",
            " {\"b\": [1, {\"c\": null}]} ",
            "{\"a\":1,\"a\":2}",
        ] {
            assert_eq!(sent(json!(same)), same);
        }
        assert_eq!(sent(json!({"a": 1})), "{\"a\":1}");
        for wrong in [
            json!("hello"),
            json!("{\"a\":1}{\"b\":2}"),
            json!("{\"a\":"),
            json!("{\"a\":1"),
            json!("[1]"),
            json!("\"{}\""),
            json!("{a:1}"),
            json!("{\"a\":NaN}"),
            json!(1),
            json!([1]),
        ] {
            let (request, param) = called(api, &wrong);
            assert_eq!(refused(api, &request, &RULES).0, param, "{wrong}");
        }
        let problem = "must be the text of one JSON object";
        assert_eq!(
            refused(api, &called(api, &json!("hello")).0, &RULES).1,
            problem
        );
    }
}

#[test]
fn a_models_turn_is_taken_in_every_shape() {
    let sent = |content: Value| {
        let request = json!({"model": MODEL, "messages": [
            {"role": "user", "content": "hi"}, {"role": "assistant", "content": content},
            {"role": "user", "content": "and?"}]});
        leaves(Messages, &request, &RULES)["messages"][1]["content"].take()
    };
    for nothing in [
        json!(null),
        json!(""),
        json!([]),
        json!([{"type": "redacted_thinking", "data": "x"}]),
        json!([{"type": "thinking", "thinking": "", "signature": ""}]),
    ] {
        assert_eq!(sent(nothing), "");
    }
    let call =
        json!({"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, {"b": null}]}});
    let given = json!([
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "yes", "citations": null, "parsed_output": {"a": 1}},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, {"b": null}]}, "caller": {"type": "direct"}},
    ]);
    assert_eq!(
        sent(given),
        json!([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}, call])
    );
    for nothing in [json!({}), json!(null), json!("")] {
        let call = json!([{"type": "tool_use", "id": "t", "name": "f", "input": nothing}]);
        assert_eq!(sent(call)[0]["input"], json!({}));
    }
}

#[test]
fn the_items_of_a_response_are_taken_as_they_were_given_out() {
    let sent = |items: Value| {
        let mut input = vec![json!({"role": "user", "content": "hi"})];
        input.extend(items.as_array().unwrap().clone());
        let request = json!({"model": MODEL, "input": input});
        assert_eq!(check(Responses, &request, &RULES).unwrap().n_dropped, 0);
        let mut sent = leaves(Responses, &request, &RULES)["input"].take();
        sent.as_array_mut().unwrap().remove(0);
        sent
    };
    let reply = |text: &str| json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]});
    let given = json!([{"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "phase": null,
        "content": [{"type": "output_text", "text": "yes", "annotations": [], "logprobs": [], "parsed": null}]}]);
    assert_eq!(sent(given), json!([reply("yes")]));
    for nothing in [json!([]), json!(""), json!(null)] {
        let message = json!([{"type": "message", "role": "assistant", "content": nothing}]);
        let expected = json!([{"type": "message", "role": "assistant", "content": ""}]);
        assert_eq!(sent(message), expected);
    }
    let refusal = json!([{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]);
    assert_eq!(sent(refusal), json!([reply("no")]));
    let thoughts = |text: &str| json!([{"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}]);
    let given = json!([{"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "", "status": "completed",
        "content": [{"type": "reasoning_text", "text": "hm"}, {"type": "reasoning_text", "text": "so"}]}]);
    assert_eq!(sent(given), thoughts("hm\n\nso"));
    let given = json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "short"}], "content": null}]);
    assert_eq!(sent(given), thoughts("short"));
    for nothing in [
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": null}),
        json!({"type": "reasoning", "summary": [], "content": []}),
        json!({"type": "reasoning", "content": [{"type": "reasoning_text", "text": ""}]}),
        json!({"type": "reasoning", "encrypted_content": "gAAAA"}),
    ] {
        assert_eq!(sent(json!([nothing])), json!([]));
    }
    let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "c", "output": "1"});
    let given = json!([
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "", "status": "completed"},
        {"type": "function_call_output", "id": null, "call_id": "c", "output": "1", "status": null},
    ]);
    assert_eq!(sent(given), json!([call, output]));
}

#[test]
fn a_result_or_an_input_that_is_absent_is_empty() {
    let request = json!({"model": MODEL, "input": [{"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "c", "name": "f"}, {"type": "function_call_output", "call_id": "c"}]});
    let sent = leaves(Responses, &request, &RULES);
    assert_eq!(sent["input"][1]["arguments"], "{}");
    assert_eq!(sent["input"][2]["output"], "");
    let request = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]});
    let sent = leaves(Messages, &request, &RULES);
    assert_eq!(sent["messages"][1]["content"][0]["input"], json!({}));
}

/// The model's message `said` after a question, in the words of `api`, and `more` after it.
fn ending(api: Api, said: &Value, more: &[Value]) -> Value {
    let mut messages = vec![json!({"role": "user", "content": "hi"}), said.clone()];
    messages.extend_from_slice(more);
    let name = if api == Responses {
        "input"
    } else {
        "messages"
    };
    json!({"model": MODEL, name: messages})
}

#[test]
fn a_history_that_ends_in_calls_without_results_is_refused_by_its_message() {
    let words = json!({"role": "assistant", "content": "so"});
    for (api, call, name) in [
        (
            Chat,
            json!({"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}),
            "messages[1]",
        ),
        (
            Messages,
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f"}]}),
            "messages[1]",
        ),
        (
            Responses,
            json!({"type": "function_call", "call_id": "c", "name": "f"}),
            "input[1]",
        ),
    ] {
        for rules in [&RULES, &TURNS_ONLY] {
            for more in [vec![], vec![words.clone()]] {
                let request = ending(api, &call, &more);
                assert_eq!(refused(api, &request, rules).0, name, "{request}");
            }
            let answered = ending(api, &call, &[json!({"role": "user", "content": "and?"})]);
            leaves(api, &answered, rules);
        }
    }
}

#[test]
fn what_the_model_said_last_is_one_message() {
    for (api, name) in [
        (Chat, "messages"),
        (Messages, "messages"),
        (Responses, "input"),
    ] {
        let said = |text: &str| json!({"role": "assistant", "content": text});
        let request = ending(api, &said("a"), &[said("b"), said("c")]);
        let sent = leaves(api, &request, &RULES);
        assert_eq!(sent[name].as_array().unwrap().len(), 2, "{sent}");
        assert_eq!(sent[name][1]["content"], "a\n\nb\n\nc");
        // Two that are not the last stay as they are where the template takes them.
        let request = ending(
            api,
            &said("a"),
            &[said("b"), json!({"role": "user", "content": "and?"})],
        );
        let sent = leaves(api, &request, &RULES);
        assert_eq!(sent[name].as_array().unwrap().len(), 4, "{sent}");
    }
}

#[test]
fn the_form_of_an_answer_that_has_begun_is_refused_but_for_an_object() {
    let schema = json!({"type": "object"});
    let object = json!({"type": "json_object"});
    let wrapped = json!({"type": "json_schema", "json_schema": {"schema": schema}});
    let named = json!({"type": "json_schema", "schema": schema});
    for (api, format, content, refused_for) in [
        (Chat, &wrapped, json!("{"), Some("messages[1]")),
        (Chat, &wrapped, json!(""), Some("messages[1]")),
        (Chat, &object, json!("Sure: "), Some("messages[1]")),
        (Chat, &object, json!("{\"a\":"), None),
        (Chat, &object, json!([{"type": "text", "text": "{"}]), None),
        (Responses, &named, json!("{"), Some("input[1]")),
        (Responses, &object, json!("so"), Some("input[1]")),
        (Responses, &object, json!("{"), None),
        (Chat, &json!({"type": "text"}), json!("so"), None),
    ] {
        let mut request = ending(api, &json!({"role": "assistant", "content": content}), &[]);
        if api == Chat {
            request["response_format"] = format.clone();
        } else {
            request["text"] = json!({"format": format});
        }
        match refused_for {
            Some(param) => assert_eq!(refused(api, &request, &RULES).0, param, "{request}"),
            None => assert!(leaves(api, &request, &RULES)["response_format"].is_object()),
        }
    }
}
