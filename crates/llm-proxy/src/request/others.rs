//! The bodies of the other routes.

use serde::{Deserialize, Serialize};

use super::generation::Generation;
use super::typed::Fields;
use super::values::{Ignored, Listed, TextOr, WholeIn};
use super::{Checked, InvalidRequest, Rules};

/// Texts in a request for embeddings, and documents to be ranked. Each is work for a slot of its own.
const MAX_TEXTS: usize = 64;

#[derive(Debug, Deserialize)]
struct CompletionRequest {
    prompt: Option<TextOr<Listed<String, 1>>>,
    suffix: Option<String>,
    echo: Option<bool>,
    #[expect(dead_code, reason = "its range is its check")]
    best_of: Option<WholeIn<1, 1>>,
    /// A number of alternatives here, a switch in a chat.
    logprobs: Option<WholeIn<0, 20>>,
}

#[derive(Debug, Serialize)]
struct CompletionBody {
    prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<WholeIn<0, 20>>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Embeddings {
    input: TextOr<Listed<String, MAX_TEXTS>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_format: Option<Encoding>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    Base64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Rerank {
    query: String,
    documents: TextOr<Listed<String, MAX_TEXTS>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_n: Option<WholeIn<1, { MAX_TEXTS as i64 }>>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Tokenize {
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_special: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parse_special: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    with_pieces: Option<bool>,
    /// It need not be named: there is one.
    #[serde(default, skip_serializing_if = "Ignored::stays")]
    model: Ignored,
}

impl Checked {
    /// A prompt as it is, without the model's template.
    pub(super) fn completion(
        mut fields: Fields,
        rules: &Rules<'_>,
    ) -> Result<Self, InvalidRequest> {
        let request: CompletionRequest = fields.take()?;
        if request.echo == Some(true) {
            return Err(InvalidRequest::field("echo", "is not supported"));
        }
        if request.suffix.is_some() {
            return Err(InvalidRequest::field("suffix", "is not supported"));
        }
        let prompt = match request.prompt {
            Some(TextOr::Text(prompt)) => Some(prompt),
            Some(TextOr::Other(mut prompts)) => prompts.0.pop(),
            None => None,
        };
        let prompt = prompt.ok_or_else(|| InvalidRequest::field("prompt", "is missing"))?;
        let body = CompletionBody {
            prompt,
            logprobs: request.logprobs,
        };
        let generation = Generation::take(&mut fields, rules, rules.max_answers)?;
        Self::generated(rules, &body, &generation, fields)
    }

    /// Texts to embed.
    pub(super) fn embeddings(
        mut fields: Fields,
        rules: &Rules<'_>,
    ) -> Result<Self, InvalidRequest> {
        let request: Embeddings = fields.take()?;
        check_texts(&request.input, "input")?;
        Self::plain(Some(rules.model), &request, fields)
    }

    /// Documents to rank by how well they answer a query.
    pub(super) fn rerank(mut fields: Fields, rules: &Rules<'_>) -> Result<Self, InvalidRequest> {
        let request: Rerank = fields.take()?;
        check_texts(&request.documents, "documents")?;
        Self::plain(Some(rules.model), &request, fields)
    }

    /// A text to cut into tokens.
    pub(super) fn tokenize(mut fields: Fields) -> Result<Self, InvalidRequest> {
        let request: Tokenize = fields.take()?;
        Self::plain(None, &request, fields)
    }
}

/// None of the texts may be empty.
fn check_texts(
    texts: &TextOr<Listed<String, MAX_TEXTS>>,
    field: &str,
) -> Result<(), InvalidRequest> {
    let is_wrong = match texts {
        TextOr::Text(text) => text.is_empty(),
        TextOr::Other(texts) => texts.0.is_empty() || texts.0.iter().any(String::is_empty),
    };
    if is_wrong {
        let problem = format!("must be one string or 1 to {MAX_TEXTS}, none of them empty");
        return Err(InvalidRequest::field(field, problem));
    }
    Ok(())
}
