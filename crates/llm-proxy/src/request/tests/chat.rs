//! What leaves for a chat.

use serde_json::{Value, json};

use super::{MAX_TOKENS, MODEL, RULES, check, field, leaves, refused, with};
use crate::api::Api::Chat;

#[test]
fn a_chat_is_built_anew_from_known_fields() {
    let request = json!({
        "model": MODEL, "stream": false, "user": "u", "metadata": {"a": 1}, "top_p": 0.5, "max_tokens": null,
        "temperature": 1, "seed": 7, "stop": "x", "n": 1, "tool_choice": "auto", "extra_body": {"grammar": "x"},
        "chat_template_kwargs": {"enable_thinking": false, "date": "today", "nothing": null}, "reasoning_effort": "low",
        "response_format": {"type": "text"},
        "tools": [{"type": "function", "cache_control": {"type": "ephemeral"},
            "function": {"name": "f", "description": "", "parameters": {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "string"}}, "additionalProperties": false}, "strict": null}}],
        "messages": [
            {"role": "developer", "content": "be brief", "x": 1},
            {"role": "user", "name": "u", "content": [
                {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}]},
            {"role": "assistant", "refusal": null, "audio": null, "function_call": null, "annotations": [], "content": null,
                "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
        ],
    });
    let checked = check(Chat, &request, &RULES).unwrap();
    let dropped = ["user", "metadata", "extra_body", "messages[0].x"];
    assert_eq!(checked.n_dropped, dropped.len() as u64);
    assert_eq!((checked.stream, checked.include_usage), (false, false));
    assert_eq!((checked.n_answers, checked.has_images), (1, true));
    let expected = json!({
        "model": MODEL, "stream": true, "stream_options": {"include_usage": true}, "return_progress": true,
        "max_tokens": MAX_TOKENS, "temperature": 1, "top_p": 0.5, "seed": 7, "stop": ["x"], "tool_choice": "auto",
        "chat_template_kwargs": {"date": "today", "enable_thinking": false}, "reasoning_effort": "low",
        "response_format": {"type": "text"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "string"}}, "additionalProperties": false}}}],
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
    let body = checked.body(0);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    let body = std::str::from_utf8(&body).unwrap();
    assert!(
        body.contains(r#""properties":{"z":{"type":"string"},"a":"#),
        "a schema keeps its order: {body}"
    );
}

#[test]
fn bodies_begin_alike_as_far_as_their_prompts_do() {
    let body = |more: &Value| {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let mut request = with(Chat, &json!({"tools": tools}));
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        check(Chat, &request, &RULES).unwrap().body(0)
    };
    let plain = body(&json!({}));
    let n_prompt = plain
        .windows(4)
        .position(|bytes| bytes == b"\"hi\"")
        .unwrap();
    let others = body(
        &json!({"seed": 7, "temperature": 1, "max_tokens": 3, "tool_choice": "auto", "n": 2,
        "response_format": {"type": "text"}, "reasoning_effort": "low", "logit_bias": {"1": 1}}),
    );
    assert_eq!(plain[..n_prompt + 4], others[..n_prompt + 4]);
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
        // 2^32 leaves 1 of itself, so its square does too, and this is one less.
        (json!({"seed": u64::MAX}), "seed", 0),
    ] {
        assert_eq!(field(Chat, &more, name), json!(leaves), "{more}");
    }
}

#[test]
fn each_of_several_answers_has_a_seed_of_its_own_and_no_n() {
    let seeds = |seed: Value| {
        let request = with(Chat, &json!({"n": 4, "seed": seed}));
        let checked = check(Chat, &request, &RULES).unwrap();
        assert_eq!(checked.n_answers, 4);
        let bodies = (0..4).map(|answer| checked.body(answer));
        let bodies = bodies.map(|body| serde_json::from_slice::<Value>(&body).unwrap());
        bodies
            .map(|mut body| {
                let seed = body.as_object_mut().unwrap().remove("seed");
                assert_eq!(body, leaves(Chat, &with(Chat, &json!({})), &RULES));
                seed.and_then(|seed| seed.as_i64())
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(seeds(json!(7)), [7, 8, 9, 10].map(Some));
    // The one that follows is llama-server's own word for a random one.
    let last = i64::from(u32::MAX) - 1;
    assert_eq!(seeds(json!(last)), [last, 0, 1, 2].map(Some));
    assert_eq!(seeds(json!(-1)), [Some(-1); 4]);
    assert_eq!(seeds(Value::Null), [None; 4]);
    let problem = "must be a whole number from 1 to 4".to_owned();
    for n in [
        json!(0),
        json!(5),
        json!(1.5),
        json!("2"),
        json!(-1),
        json!(u64::MAX),
    ] {
        let request = with(Chat, &json!({"n": n}));
        assert_eq!(
            refused(Chat, &request, &RULES),
            ("n".to_owned(), problem.clone()),
            "{n}"
        );
    }
}

#[test]
fn biases_pass_by_the_id_of_their_token() {
    let biases = |n: u32| {
        (0..n)
            .map(|id| (id.to_string(), json!(-1)))
            .collect::<Value>()
    };
    let some = json!({"15": -1, "7": 0.5, "151643": -100, "0": 100});
    assert_eq!(
        field(Chat, &json!({"logit_bias": some}), "logit_bias"),
        some
    );
    let most = biases(300);
    assert_eq!(
        field(Chat, &json!({"logit_bias": most}), "logit_bias"),
        most
    );
    assert_eq!(
        field(Chat, &json!({"logit_bias": {}}), "logit_bias"),
        Value::Null
    );
    for (bias, param) in [
        (biases(301), "logit_bias"),
        (json!([[15, -1]]), "logit_bias"),
        (json!({"Hello": -1}), "logit_bias"),
        (json!({"-1": -1}), "logit_bias"),
        (json!({"+1": -1}), "logit_bias"),
        (json!({"": -1}), "logit_bias"),
        (json!({"15": 101}), "logit_bias.15"),
        (json!({"15": -100.5}), "logit_bias.15"),
        (json!({"15": "x"}), "logit_bias.15"),
        (json!({"15": false}), "logit_bias.15"),
    ] {
        let request = with(Chat, &json!({"logit_bias": bias}));
        assert_eq!(refused(Chat, &request, &RULES).0, param, "{bias:.100}");
    }
}

#[test]
fn a_template_is_told_scalars_and_nothing_that_it_knows_itself() {
    let settings = |more: &Value| field(Chat, more, "chat_template_kwargs");
    let some = json!({"date_string": "today", "enable_thinking": true, "n_tools": 3, "preserve_reasoning": false});
    assert_eq!(settings(&json!({"chat_template_kwargs": some})), some);
    assert_eq!(
        settings(&json!({"enable_thinking": false})),
        json!({"enable_thinking": false})
    );
    assert_eq!(
        settings(
            &json!({"enable_thinking": false, "chat_template_kwargs": {"enable_thinking": true}})
        ),
        json!({"enable_thinking": true})
    );
    for nothing in [
        json!({}),
        json!(null),
        json!([]),
        json!(""),
        json!({"a": null, "b": "", "c": []}),
    ] {
        assert_eq!(
            settings(&json!({"chat_template_kwargs": nothing})),
            Value::Null
        );
    }
    let many = (0..17)
        .map(|n| (format!("x{n}"), json!(n)))
        .collect::<Value>();
    for (kwargs, param) in [
        (json!({"messages": "x"}), "chat_template_kwargs.messages"),
        (json!({"tools": true}), "chat_template_kwargs.tools"),
        (
            json!({"add_generation_prompt": false}),
            "chat_template_kwargs.add_generation_prompt",
        ),
        (
            json!({"bos_token": "<|im_start|>"}),
            "chat_template_kwargs.bos_token",
        ),
        (
            json!({"raise_exception": 1}),
            "chat_template_kwargs.raise_exception",
        ),
        (json!({"a b": 1}), "chat_template_kwargs.a b"),
        (json!({"x": {"y": 1}}), "chat_template_kwargs.x"),
        (json!({"x": [1]}), "chat_template_kwargs.x"),
        (json!({"x": "y".repeat(257)}), "chat_template_kwargs.x"),
        (
            json!({"enable_thinking": "true"}),
            "chat_template_kwargs.enable_thinking",
        ),
        (many, "chat_template_kwargs"),
        (json!(1), "chat_template_kwargs"),
    ] {
        let request = with(Chat, &json!({"chat_template_kwargs": kwargs}));
        assert_eq!(refused(Chat, &request, &RULES).0, param, "{kwargs:.100}");
    }
}

#[test]
fn a_schema_is_demanded_in_every_form_that_clients_know() {
    let schema = json!({"type": "object", "properties": {"z": {"type": "string"}}, "additionalProperties": false});
    let format =
        |format: Value| field(Chat, &json!({"response_format": format}), "response_format");
    let demanded = json!({"type": "json_schema", "json_schema": {"schema": schema}});
    assert_eq!(
        format(json!({"type": "json_object", "schema": schema})),
        demanded
    );
    assert_eq!(
        format(json!({"type": "json_schema", "schema": schema})),
        demanded
    );
    assert_eq!(format(demanded.clone()), demanded);
    let named = json!({"type": "json_schema",
        "json_schema": {"name": "s", "description": "d", "strict": true, "schema": schema}});
    assert_eq!(format(named.clone()), named);
    let any = json!({"type": "json_object"});
    assert_eq!(format(any.clone()), any);
    for nothing in [json!(null), json!({})] {
        assert_eq!(
            format(json!({"type": "json_object", "schema": nothing})),
            any
        );
        assert_eq!(
            format(json!({"type": "json_schema", "json_schema": nothing})),
            any
        );
        assert_eq!(
            format(json!({"type": "json_schema", "json_schema": {"schema": nothing}})),
            any
        );
    }
    assert_eq!(format(json!({"type": "text"})), json!({"type": "text"}));
    for nothing in [json!(null), json!({}), json!([]), json!("")] {
        assert_eq!(format(nothing), Value::Null);
    }
    for (format, param) in [
        (
            json!({"type": "json_schema"}),
            "response_format.json_schema",
        ),
        (
            json!({"type": "json_schema", "json_schema": {"name": "s"}}),
            "response_format.json_schema.schema",
        ),
        (
            json!({"type": "json_schema", "json_schema": {"schema": "x"}}),
            "response_format.json_schema.schema",
        ),
        (
            json!({"type": "json_schema", "json_schema": {"schema": schema, "x": 1}}),
            "response_format.json_schema.x",
        ),
        (json!({"type": "json_object", "x": 1}), "response_format.x"),
        (
            json!({"type": "json_object", "schema": [1]}),
            "response_format.schema",
        ),
        (json!({"type": "grammar"}), "response_format.type"),
        (json!({"schema": schema}), "response_format.type"),
        (json!("json_object"), "response_format"),
    ] {
        let request = with(Chat, &json!({"response_format": format}));
        assert_eq!(refused(Chat, &request, &RULES).0, param, "{format}");
    }
}

#[test]
fn an_unknown_field_where_it_carries_meaning_is_refused_by_its_path() {
    let content = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    let image = json!({"url": "data:image/png;base64,AA=="});
    let tool = |more: Value| {
        let mut tool = json!({"type": "function", "function": {"name": "f"}});
        tool.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"tools": [tool]})
    };
    for (more, param) in [
        (
            content(json!({"type": "text", "text": "", "x": 1})),
            "messages[0].content[0].x",
        ),
        (
            content(json!({"type": "image_url", "image_url": image, "x": 1})),
            "messages[0].content[0].x",
        ),
        (
            content(json!({"type": "image_url", "image_url": {"url": image["url"], "x": 1}})),
            "messages[0].content[0].image_url.x",
        ),
        (tool(json!({"x": 1})), "tools[0].x"),
        (
            tool(json!({"function": {"name": "f", "x": 1}})),
            "tools[0].function.x",
        ),
        (json!({"stream_options": {"x": 1}}), "stream_options.x"),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "f"}, "x": 1}}),
            "tool_choice.x",
        ),
    ] {
        let mut request = with(Chat, &more);
        assert_eq!(refused(Chat, &request, &RULES).0, param, "{more}");
        // The same says nothing when it is empty.
        let text = request.to_string();
        for nothing in ["null", "{}", "[]", "\"\""] {
            request = serde_json::from_str(&text.replace("\"x\":1", &format!("\"x\":{nothing}")))
                .unwrap();
            if more["tool_choice"].is_null() {
                assert_eq!(
                    check(Chat, &request, &RULES).unwrap().n_dropped,
                    0,
                    "{request}"
                );
            }
        }
    }
    let known = json!({"stream_options": {"include_usage": true, "include_obfuscation": false}});
    assert!(
        check(Chat, &with(Chat, &known), &RULES)
            .unwrap()
            .include_usage
    );
}

#[test]
fn a_field_that_says_nothing_never_refuses_a_chat() {
    let nothing = [json!(null), json!(""), json!([]), json!({})];
    let plain = leaves(Chat, &with(Chat, &json!({})), &RULES);
    let names = [
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "chat_template_kwargs",
        "enable_thinking",
        "logprobs",
        "top_logprobs",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "temperature",
        "top_p",
        "min_p",
        "top_k",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "stop",
        "logit_bias",
        "functions",
        "function_call",
        "prompt",
        "x",
        "user",
    ];
    for name in names.into_iter().chain(super::super::DANGEROUS) {
        for nothing in &nothing {
            let request = with(Chat, &json!({name: nothing}));
            assert_eq!(leaves(Chat, &request, &RULES), plain, "{request}");
            assert_eq!(
                check(Chat, &request, &RULES).unwrap().n_dropped,
                0,
                "{request}"
            );
        }
    }
}

#[test]
fn every_dangerous_field_is_refused_by_name() {
    for name in super::super::DANGEROUS.into_iter().chain(["prompt"]) {
        for value in [
            json!(1),
            json!("x"),
            json!([1]),
            json!({"x": 1}),
            json!(false),
        ] {
            if name == "ignore_eos" && value == false {
                continue;
            }
            let request = with(Chat, &json!({name: value}));
            let expected = (name.to_owned(), "is not accepted here".to_owned());
            assert_eq!(refused(Chat, &request, &RULES), expected);
        }
    }
    for name in ["functions", "function_call"] {
        let problem = "is not supported: use `tools` and `tool_choice`";
        let expected = (name.to_owned(), problem.to_owned());
        assert_eq!(
            refused(Chat, &with(Chat, &json!({name: "x"})), &RULES),
            expected
        );
    }
}
