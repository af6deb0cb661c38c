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
