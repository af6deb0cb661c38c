//! Demands that nobody here would meet are refused by their names, and the same fields are taken when they ask for nothing.

use serde_json::{Value, json};

use super::{RULES, check, leaves, refused, with};
use crate::api::Api::{self, Chat, Completions, CountTokens, Messages, Responses};

/// Each of `demands` is refused by the name of its field on `api`.
fn all_refused(api: Api, demands: &[(Value, &str)]) {
    for (more, param) in demands {
        assert_eq!(refused(api, &with(api, more), &RULES).0, *param, "{more}");
    }
}

/// Each of `idle` is taken on `api`, changes nothing and is no unknown field.
fn all_idle(api: Api, idle: &[Value]) {
    let plain = leaves(api, &with(api, &json!({})), &RULES);
    for more in idle {
        let request = with(api, more);
        assert_eq!(leaves(api, &request, &RULES), plain, "{more}");
        assert_eq!(check(api, &request, &RULES).unwrap().n_dropped, 0, "{more}");
    }
}

#[test]
fn a_form_of_the_answer_is_refused_under_any_other_name() {
    let schema = json!({"type": "object"});
    let demands = [
        (json!({"guided_json": schema}), "guided_json"),
        (json!({"guided_json": "{}"}), "guided_json"),
        (
            json!({"guided_json": {"additionalProperties": false}}),
            "guided_json",
        ),
        (json!({"guided_regex": "a+"}), "guided_regex"),
        (json!({"guided_choice": ["a", "b"]}), "guided_choice"),
        (json!({"guided_grammar": "root ::= x"}), "guided_grammar"),
        (
            json!({"structured_outputs": {"json": schema}}),
            "structured_outputs",
        ),
        (json!({"structured_outputs": true}), "structured_outputs"),
        (json!({"format": "json"}), "format"),
        (json!({"format": schema}), "format"),
        (json!({"response_schema": schema}), "response_schema"),
        (json!({"output_format": schema}), "output_format"),
    ];
    let idle = [
        json!({"guided_json": null, "guided_choice": [], "guided_regex": "", "format": ""}),
        json!({"structured_outputs": {"json": null, "regex": null}}),
        json!({"structured_outputs": false, "response_schema": {}}),
    ];
    for api in [Chat, CountTokens, Completions, Responses, Messages] {
        all_refused(api, &demands);
        all_idle(api, &idle);
    }
    let form = json!({"type": "json_schema", "json_schema": {"schema": schema}});
    for (api, name) in [
        (Chat, "text"),
        (Responses, "response_format"),
        (Messages, "response_format"),
        (Completions, "response_format"),
    ] {
        all_refused(
            api,
            &[
                (json!({name: {"format": form}}), name),
                (json!({name: form}), name),
            ],
        );
        all_idle(
            api,
            &[
                json!({name: {"type": "text"}}),
                json!({name: {"format": {"type": "text"}, "verbosity": "low"}}),
            ],
        );
    }
    let problem = |api, name: &str| refused(api, &with(api, &json!({name: form})), &RULES).1;
    assert!(problem(Chat, "format").contains("`response_format`"));
    assert!(problem(Responses, "response_format").contains("`text.format`"));
    assert!(problem(Messages, "response_format").contains("/v1/chat/completions"));
}

#[test]
fn what_another_server_would_do_is_refused_by_name_and_its_default_is_taken() {
    let demands = [
        (json!({"min_tokens": 1}), "min_tokens"),
        (json!({"stop_token_ids": [1]}), "stop_token_ids"),
        (json!({"allowed_token_ids": [1]}), "allowed_token_ids"),
        (json!({"bad_words": ["x"]}), "bad_words"),
        (json!({"ignore_eos": true}), "ignore_eos"),
        (json!({"cache_prompt": false}), "cache_prompt"),
    ];
    let idle = [
        json!({"min_tokens": 0, "stop_token_ids": [], "allowed_token_ids": null, "bad_words": []}),
        json!({"ignore_eos": false, "cache_prompt": true}),
    ];
    for api in [Chat, CountTokens, Completions, Responses, Messages] {
        all_refused(api, &demands);
        all_idle(api, &idle);
    }
    let audio = json!({"voice": "alloy", "format": "wav"});
    all_refused(
        Chat,
        &[
            (json!({"modalities": ["text", "audio"]}), "modalities"),
            (json!({"modalities": "audio"}), "modalities"),
            (json!({"audio": audio}), "audio"),
            (
                json!({"web_search_options": {"search_context_size": "low"}}),
                "web_search_options",
            ),
            (json!({"echo": true}), "echo"),
            (json!({"top_logprobs": 3}), "top_logprobs"),
            (
                json!({"top_logprobs": 3, "logprobs": false}),
                "top_logprobs",
            ),
        ],
    );
    all_idle(
        Chat,
        &[
            json!({"modalities": ["text"], "audio": null, "web_search_options": {}, "echo": false}),
            json!({"modalities": [], "top_logprobs": 0}),
        ],
    );
    let include = json!({"include": ["message.output_text.logprobs"]});
    all_refused(
        Responses,
        &[
            (json!({"top_logprobs": 1}), "top_logprobs"),
            (include, "include"),
        ],
    );
    all_idle(Responses, &[json!({"top_logprobs": 0, "include": []})]);
}

#[test]
fn thinking_is_switched_in_whatever_words_a_request_says_it() {
    let sent = |api, more: &Value| {
        let sent = leaves(api, &with(api, more), &RULES);
        (
            sent["chat_template_kwargs"].clone(),
            sent["reasoning_effort"].clone(),
        )
    };
    let switched = |on: bool| (json!({"enable_thinking": on}), Value::Null);
    for (more, on) in [
        (json!({"thinking": {"type": "disabled"}}), false),
        (json!({"reasoning": {"effort": "none"}}), false),
        (json!({"reasoning": {"enabled": false}}), false),
        (json!({"think": false}), false),
        (json!({"reasoning_budget": 0}), false),
        (json!({"thinking": {"type": "enabled"}}), true),
        (
            json!({"reasoning": {"enabled": true, "exclude": false}}),
            true,
        ),
        (json!({"think": true}), true),
        (json!({"think": true, "enable_thinking": false}), false),
    ] {
        assert_eq!(sent(Chat, &more), switched(on), "{more}");
    }
    let off = json!({"output_config": {"effort": "none"}});
    assert_eq!(sent(Messages, &off), switched(false));
    assert_eq!(
        sent(Chat, &json!({"reasoning": {"effort": "low"}})),
        (Value::Null, json!("low"))
    );
    all_idle(
        Chat,
        &[
            json!({"thinking": {"type": "adaptive"}, "reasoning_budget": -1}),
            json!({"thinking": {}, "reasoning": {"effort": null}, "think": null}),
        ],
    );
    all_refused(
        Chat,
        &[
            (
                json!({"thinking": {"type": "enabled", "budget_tokens": 9}}),
                "thinking.budget_tokens",
            ),
            (json!({"thinking": {"type": "some"}}), "thinking.type"),
            (
                json!({"reasoning": {"max_tokens": 9}}),
                "reasoning.max_tokens",
            ),
            (json!({"reasoning": {"exclude": true}}), "reasoning.exclude"),
            (json!({"reasoning": {"effort": "some"}}), "reasoning.effort"),
            (json!({"think": "low"}), "think"),
            (json!({"reasoning_budget": 9}), "reasoning_budget"),
        ],
    );
}
