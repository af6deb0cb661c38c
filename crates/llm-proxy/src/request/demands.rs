//! Fields that would change the answer and that nobody here would heed. They are refused by name when they ask for
//! something, and taken when they do not.

use serde_json::Value;

use super::InvalidRequest;
use super::typed::Fields;
use crate::api::Api;

/// Demands for a form of the answer in the words of other servers, which llama-server passes over.
const OTHER_FORMS: [&str; 6] = [
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "output_format",
    "format",
];

/// The same for fields that hold a schema: every schema but the empty one demands something.
const OTHER_SCHEMAS: [&str; 2] = ["guided_json", "response_schema"];

/// Lists of tokens and words in the words of other servers.
const OTHER_LISTS: [&str; 3] = ["stop_token_ids", "allowed_token_ids", "bad_words"];
/// The log probabilities of a response, as `include` asks for them.
const INCLUDED_LOGPROBS: &str = "message.output_text.logprobs";

/// Takes out fields of llama-server that say what holds without them.
pub(super) fn drop_defaults(fields: &mut Fields) {
    for (name, default) in [("ignore_eos", false), ("cache_prompt", true)] {
        fields.drop_if(name, |value| *value == default);
    }
}

/// Refuses what a request on the route of `api` demands and would not get.
pub(super) fn refuse(api: Api, fields: &mut Fields) -> Result<(), InvalidRequest> {
    refuse_other_forms(api, fields)?;
    let problem = "is not supported: leave it out";
    fields.refuse(&OTHER_LISTS, problem)?;
    fields.refuse_unless("min_tokens", is_zero, problem)?;
    match api {
        Api::Chat | Api::CountTokens => {
            fields.refuse_unless("modalities", is_text_only, "must be [\"text\"]")?;
            fields.refuse(&["audio", "web_search_options"], problem)?;
            fields.refuse_unless("echo", |value| *value == false, problem)
        }
        Api::Responses => {
            let problem = "is not supported: ask for log probabilities on /v1/chat/completions";
            fields.refuse_unless("top_logprobs", is_zero, problem)?;
            if fields.holds("include", includes_logprobs) {
                return Err(InvalidRequest::field("include", problem));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_text_only(value: &Value) -> bool {
    let kinds = value.as_array();
    kinds.is_some_and(|kinds| kinds.iter().all(|kind| kind == "text"))
}

fn includes_logprobs(value: &Value) -> bool {
    let names = value.as_array();
    names.is_some_and(|names| names.iter().any(|name| name == INCLUDED_LOGPROBS))
}

/// Refuses a demand for a form of the answer under a name that this route does not know.
fn refuse_other_forms(api: Api, fields: &mut Fields) -> Result<(), InvalidRequest> {
    let (names, instead): (&[&str], _) = match api {
        Api::Chat | Api::CountTokens => (&["text"], "use `response_format`"),
        Api::Responses => (&["response_format"], "use `text.format`"),
        _ => (
            &["text", "response_format"],
            "ask for a form of the answer with `response_format` on /v1/chat/completions or with `text.format` on /v1/responses",
        ),
    };
    let problem = format!("is not supported: {instead}");
    fields.refuse(&OTHER_SCHEMAS, &problem)?;
    for name in OTHER_FORMS.iter().chain(names) {
        fields.refuse_unless(name, asks_for_no_form, &problem)?;
    }
    Ok(())
}

/// Whether a demand for a form of the answer demands none: it is empty, off, or asks for a text.
fn asks_for_no_form(demand: &Value) -> bool {
    match demand {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty() || text == "text",
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries
            .iter()
            .all(|(name, value)| name == "verbosity" || asks_for_no_form(value)),
    }
}
