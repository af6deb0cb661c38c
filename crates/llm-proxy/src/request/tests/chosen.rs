//! Which tools leave, and which must be called.

use serde_json::{Value, json};

use super::{RULES, TURNS_ONLY, check, leaves, refused, with};
use crate::api::Api::{self, Chat, Messages, Responses};

/// Two tools in the words of `api`.
fn tools(api: Api) -> [Value; 2] {
    ["a", "b"].map(|name| match api {
        Messages => {
            json!({"name": name, "input_schema": {"type": "object"}})
        }
        Responses => json!({"type": "function", "name": name}),
        _ => json!({"type": "function", "function": {"name": name}}),
    })
}

#[test]
fn a_tool_that_is_chosen_by_name_is_the_only_one_left_and_must_be_called() {
    // llama-server takes no other choice than a word, and anything else for `auto`.
    for (api, by_name, leaves_as, param) in [
        (
            Chat,
            json!({"type": "function", "function": {"name": "b"}}),
            json!("required"),
            "tool_choice.function.name",
        ),
        (
            Responses,
            json!({"type": "function", "name": "b"}),
            json!("required"),
            "tool_choice.name",
        ),
        (
            Messages,
            json!({"type": "tool", "name": "b"}),
            json!({"type": "any"}),
            "tool_choice.name",
        ),
        (
            Chat,
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "required",
                "tools": [{"type": "function", "function": {"name": "b"}}]}}),
            json!("required"),
            "tool_choice.allowed_tools.tools",
        ),
        (
            Responses,
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "b"}]}),
            json!("auto"),
            "tool_choice.tools",
        ),
    ] {
        let [a, b] = tools(api);
        let request = with(api, &json!({"tools": [a, b], "tool_choice": by_name}));
        let sent = leaves(api, &request, &RULES);
        assert_eq!(sent["tools"], json!([b]), "{by_name}");
        assert_eq!(sent["tool_choice"], leaves_as, "{by_name}");
        for tools in [json!([a]), json!([]), json!(null)] {
            let request = with(api, &json!({"tools": tools, "tool_choice": by_name}));
            assert_eq!(refused(api, &request, &RULES).0, param, "{request}");
        }
    }
}

#[test]
fn a_choice_of_a_word_leaves_as_the_word() {
    for word in ["none", "auto", "required"] {
        for api in [Chat, Responses] {
            let request = with(api, &json!({"tools": tools(api), "tool_choice": word}));
            let sent = leaves(api, &request, &RULES);
            assert_eq!(sent["tool_choice"], word);
            assert_eq!(sent["tools"].as_array().unwrap().len(), 2);
        }
    }
    let sent = |kind: &str| {
        let request = with(
            Messages,
            &json!({"tools": tools(Messages), "tool_choice": {"type": kind}}),
        );
        let sent = leaves(Messages, &request, &RULES);
        (
            sent["tools"].as_array().map(Vec::len),
            sent["tool_choice"].clone(),
        )
    };
    assert_eq!(sent("auto"), (Some(2), json!({"type": "auto"})));
    assert_eq!(sent("any"), (Some(2), json!({"type": "any"})));
    assert_eq!(sent("none"), (None, Value::Null));
}

#[test]
fn a_demand_for_a_call_without_tools_is_refused() {
    for (api, choice) in [
        (Chat, json!("required")),
        (Responses, json!("required")),
        (Messages, json!({"type": "any"})),
    ] {
        for tools in [json!(null), json!([])] {
            let request = with(api, &json!({"tools": tools, "tool_choice": choice}));
            let problem = "demands a call, but there are no tools";
            let expected = ("tool_choice".to_owned(), problem.to_owned());
            assert_eq!(refused(api, &request, &RULES), expected);
        }
    }
}

#[test]
fn tools_are_left_out_where_the_template_cannot_show_them() {
    let problem = "demands a call, but this model cannot call tools: leave it out";
    for (api, allowed, demands) in [
        (
            Chat,
            vec![json!(null), json!("auto"), json!("none")],
            vec![
                json!("required"),
                json!({"type": "function", "function": {"name": "a"}}),
            ],
        ),
        (
            Responses,
            vec![json!(null), json!("auto"), json!("none")],
            vec![json!("required"), json!({"type": "function", "name": "a"})],
        ),
        (
            Messages,
            vec![
                json!(null),
                json!({"type": "auto"}),
                json!({"type": "none"}),
            ],
            vec![json!({"type": "any"}), json!({"type": "tool", "name": "a"})],
        ),
    ] {
        for choice in allowed {
            let request = with(api, &json!({"tools": tools(api), "tool_choice": choice}));
            let checked = check(api, &request, &TURNS_ONLY).unwrap();
            assert!(checked.tools_left_out, "{request}");
            let plain = leaves(api, &with(api, &json!({})), &TURNS_ONLY);
            assert_eq!(leaves(api, &request, &TURNS_ONLY), plain);
        }
        for choice in demands {
            let request = with(api, &json!({"tools": tools(api), "tool_choice": choice}));
            let expected = ("tool_choice".to_owned(), problem.to_owned());
            assert_eq!(refused(api, &request, &TURNS_ONLY), expected);
        }
        let none = check(api, &with(api, &json!({"tools": []})), &TURNS_ONLY).unwrap();
        assert!(!none.tools_left_out);
    }
}

#[test]
fn a_form_of_the_answer_and_a_call_of_a_tool_are_not_had_at_once() {
    let object = json!({"type": "json_object"});
    let schema = json!({"type": "object"});
    for (api, form, field, by_name) in [
        (
            Chat,
            json!({"response_format": object}),
            "response_format",
            json!({"type": "function", "function": {"name": "a"}}),
        ),
        (
            Chat,
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}),
            "response_format",
            json!({"type": "function", "function": {"name": "a"}}),
        ),
        (
            Responses,
            json!({"text": {"format": {"type": "json_schema", "schema": schema}}}),
            "text.format",
            json!({"type": "function", "name": "a"}),
        ),
    ] {
        let request = |choice: &Value| {
            let mut request = with(api, &form);
            request["tools"] = json!(tools(api));
            request["tool_choice"] = choice.clone();
            request
        };
        for (choice, param) in [
            (json!(null), field),
            (json!("auto"), field),
            (json!("required"), "tool_choice"),
            (by_name, "tool_choice"),
        ] {
            let request = request(&choice);
            assert_eq!(refused(api, &request, &RULES).0, param, "{request}");
        }
        // Without a call there is nothing in the form's way, and neither is there without tools.
        let alone = leaves(api, &with(api, &form), &RULES);
        assert_eq!(leaves(api, &request(&json!("none")), &RULES), alone);
        let mut none = request(&json!(null));
        none["tools"] = json!([]);
        assert_eq!(leaves(api, &none, &RULES), alone);
        // A text is no form.
        let text = json!({"type": "text"});
        let more = match api {
            Chat => json!({"tools": tools(api), "response_format": text}),
            _ => json!({"tools": tools(api), "text": {"format": text}}),
        };
        assert!(leaves(api, &with(api, &more), &RULES)["tools"].is_array());
    }
}
