//! What leaves the request reader, for requests good, bad and random.

use serde_json::{Value, json};

use super::{Checked, InvalidRequest, Rules, Template};
use crate::api::Api;

mod chat;
mod chosen;
mod demands;
mod history;
mod messages;
mod others;
mod random;
mod responses;
mod templates;

const MODEL: &str = "m";
const MAX_TOKENS: u64 = 100;
const RULES: Rules<'static> = Rules {
    model: MODEL,
    max_tokens: MAX_TOKENS,
    max_answers: 4,
    template: Template {
        tools: true,
        repeated_roles: true,
        later_system: true,
        system: true,
    },
};
/// A template like Gemma 3's.
const TURNS_ONLY: Rules<'static> = Rules {
    template: Template {
        tools: false,
        repeated_roles: false,
        later_system: false,
        system: true,
    },
    ..RULES
};

fn check(api: Api, request: &Value, rules: &Rules<'_>) -> Result<Checked, InvalidRequest> {
    Checked::parse(api, request.to_string().as_bytes(), rules)
}

/// What leaves for `request`.
fn leaves(api: Api, request: &Value, rules: &Rules<'_>) -> Value {
    match check(api, request, rules) {
        Ok(checked) => serde_json::from_slice(&checked.body(0)).unwrap(),
        Err(error) => panic!("{request}: {error:?}"),
    }
}

/// The field that `request` is refused for, and why.
fn refused(api: Api, request: &Value, rules: &Rules<'_>) -> (String, String) {
    match check(api, request, rules) {
        Err(InvalidRequest::Field { field, problem }) => (field, problem),
        other => panic!("{request}: {other:?}"),
    }
}

/// The shortest valid request, with `more` in it.
fn with(api: Api, more: &Value) -> Value {
    let question = json!([{"role": "user", "content": "hi"}]);
    let mut request = match api {
        Api::Chat | Api::CountTokens | Api::Messages | Api::CountMessages => {
            json!({"model": MODEL, "messages": question})
        }
        Api::Responses => json!({"model": MODEL, "input": "hi"}),
        Api::Completions => json!({"model": MODEL, "prompt": "hi"}),
        Api::Embeddings => json!({"model": MODEL, "input": "hi"}),
        Api::Rerank => json!({"model": MODEL, "query": "hi", "documents": ["a"]}),
        Api::Tokenize => json!({"content": "hi"}),
    };
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

/// What `what` is in the body of a request that says `more`.
fn field(api: Api, more: &Value, what: &str) -> Value {
    leaves(api, &with(api, more), &RULES)[what].clone()
}
