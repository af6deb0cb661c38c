//! The bodies of the other routes: each has its own allow-list, and each field its range, as in a chat.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::{Checked, insert, refuse_dangerous, take_model};
use crate::error::Error;

/// Texts in a request for embeddings, and documents to be ranked. Each is work for a slot of its own.
const MAX_TEXTS: usize = 64;

impl Checked {
    /// A prompt as it stands.
    pub(super) fn completion(
        mut fields: Fields,
        model: &str,
        max_tokens: u64,
    ) -> Result<Self, Error> {
        let prompt = match fields.take("prompt") {
            Some(Value::Array(mut prompts)) if prompts.len() == 1 => prompts.pop(),
            prompt => prompt,
        };
        let prompt = match prompt {
            Some(prompt @ Value::String(_)) => prompt,
            Some(_) => return Err(fields.wrong("prompt", "must be one string")),
            None => return Err(fields.wrong("prompt", "is missing")),
        };
        refuse_dangerous(&mut fields)?;
        let mut out = Map::new();
        take_model(&mut fields, &mut out, model)?;
        out.insert("prompt".to_owned(), prompt);
        for name in ["suffix", "echo"] {
            if fields
                .take(name)
                .is_some_and(|value| value != false && value != "")
            {
                return Err(fields.wrong(name, "is not supported"));
            }
        }
        fields.integer("best_of", 1, 1)?;
        // A number of alternatives here, a switch in a chat.
        insert(&mut out, "logprobs", fields.integer("logprobs", 0, 20)?);
        Self::generation(fields, out, max_tokens, false)
    }

    /// Texts to embed.
    pub(super) fn embeddings(mut fields: Fields, model: &str) -> Result<Self, Error> {
        let mut out = Map::new();
        take_model(&mut fields, &mut out, model)?;
        insert(&mut out, "input", texts(&mut fields, "input")?);
        match fields.text("encoding_format")? {
            Some(format) if format == "float" || format == "base64" => {
                out.insert("encoding_format".to_owned(), format.into());
            }
            Some(_) => return Err(fields.wrong("encoding_format", "must be float or base64")),
            None => {}
        }
        Self::plain(fields, &out)
    }

    /// Documents to rank by how well they answer a query.
    pub(super) fn rerank(mut fields: Fields, model: &str) -> Result<Self, Error> {
        let mut out = Map::new();
        take_model(&mut fields, &mut out, model)?;
        out.insert("query".to_owned(), fields.required_text("query")?.into());
        insert(&mut out, "documents", texts(&mut fields, "documents")?);
        insert(
            &mut out,
            "top_n",
            fields.integer("top_n", 1, MAX_TEXTS as i64)?,
        );
        Self::plain(fields, &out)
    }

    /// A text to cut into tokens; a model need not be named.
    pub(super) fn tokenize(mut fields: Fields) -> Result<Self, Error> {
        let mut out = Map::new();
        out.insert(
            "content".to_owned(),
            fields.required_text("content")?.into(),
        );
        for name in ["add_special", "parse_special", "with_pieces"] {
            insert(&mut out, name, fields.switch(name)?);
        }
        fields.take("model");
        Self::plain(fields, &out)
    }

    fn plain(fields: Fields, out: &Map<String, Value>) -> Result<Self, Error> {
        let n_dropped = fields.drop_rest();
        let body = serde_json::to_vec(out).map_err(|_| Error::Internal)?.into();
        Ok(Self {
            body,
            max_tokens: 0,
            stream: false,
            include_usage: false,
            has_images: false,
            n_dropped,
            n_answers: 1,
        })
    }
}

/// One text or an array of them.
fn texts(fields: &mut Fields, name: &str) -> Result<Option<Value>, Error> {
    let text = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
    match fields.take(name) {
        Some(one @ Value::String(_)) if text(&one) => Ok(Some(one)),
        Some(Value::Array(all)) if (1..=MAX_TEXTS).contains(&all.len()) && all.iter().all(text) => {
            Ok(Some(all.into()))
        }
        Some(_) => Err(fields.wrong(
            name,
            format!("must be one string or 1 to {MAX_TEXTS}, none of them empty"),
        )),
        None => Err(fields.wrong(name, "is missing")),
    }
}
