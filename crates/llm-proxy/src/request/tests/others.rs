//! What leaves for the other routes.

use serde_json::json;

use super::{MAX_TOKENS, MODEL, RULES, check, leaves, with};
use crate::api::Api::{Completions, Embeddings, Rerank, Tokenize};
use crate::request::InvalidRequest;

#[test]
fn a_completion_is_built_anew_from_known_fields() {
    let more = json!({"prompt": ["Say"], "echo": false, "suffix": "", "best_of": 1, "logprobs": 3, "n": 2, "user": "u"});
    let request = with(Completions, &more);
    let checked = check(Completions, &request, &RULES).unwrap();
    assert_eq!((checked.n_answers, checked.n_dropped), (2, 1));
    let expected = json!({"model": MODEL, "prompt": "Say", "logprobs": 3, "stream": true,
        "stream_options": {"include_usage": true}, "return_progress": true, "max_tokens": MAX_TOKENS});
    assert_eq!(leaves(Completions, &request, &RULES), expected);
}

#[test]
fn texts_leave_as_they_came() {
    let request = with(
        Embeddings,
        &json!({"input": ["a", "b"], "encoding_format": "base64", "dimensions": 9}),
    );
    let expected = json!({"model": MODEL, "input": ["a", "b"], "encoding_format": "base64"});
    assert_eq!(leaves(Embeddings, &request, &RULES), expected);
    let request = with(Rerank, &json!({"top_n": 1, "return_documents": true}));
    let expected = json!({"model": MODEL, "query": "hi", "documents": ["a"], "top_n": 1});
    assert_eq!(leaves(Rerank, &request, &RULES), expected);
    let request = with(
        Tokenize,
        &json!({"model": "any", "with_pieces": true, "add_special": null}),
    );
    assert_eq!(
        leaves(Tokenize, &request, &RULES),
        json!({"content": "hi", "with_pieces": true})
    );
    assert_eq!(check(Tokenize, &request, &RULES).unwrap().n_dropped, 0);
}

#[test]
fn only_the_model_that_is_served_is_known() {
    for api in [Completions, Embeddings, Rerank] {
        let other = with(api, &json!({"model": "other"}));
        assert_eq!(
            check(api, &other, &RULES).unwrap_err(),
            InvalidRequest::UnknownModel
        );
    }
}
