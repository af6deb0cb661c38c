//! The form of the answer: text, any JSON object, or one that fits a schema.
//!
//! What leaves is worded as for a chat, which llama-server understands on every route that makes a chat.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::InvalidRequest;
use super::schema::{Schema, Unsupported};
use super::values::Presence;

/// The form that a chat asks for.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum ChatFormat {
    #[serde(rename = "text")]
    Text(NoFields),
    #[serde(rename = "json_object")]
    JsonObject(LooseSchema),
    #[serde(rename = "json_schema")]
    JsonSchema(WrappedSchema),
}

/// The form that a response asks for.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum ResponsesFormat {
    #[serde(rename = "text")]
    Text(NoFields),
    #[serde(rename = "json_object")]
    JsonObject(LooseSchema),
    #[serde(rename = "json_schema")]
    JsonSchema(NamedSchema),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoFields {}

/// llama-server's own form of a demand for a schema, which others have too.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LooseSchema {
    #[serde(default)]
    schema: Presence<GivenSchema>,
}

/// OpenAI's form; llama-server also reads a schema that is not wrapped.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrappedSchema {
    #[serde(default)]
    json_schema: Presence<NamedSchema>,
    #[serde(default)]
    schema: Presence<GivenSchema>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedSchema {
    name: Option<String>,
    description: Option<String>,
    #[serde(default)]
    schema: Presence<GivenSchema>,
    strict: Option<bool>,
}

/// A JSON schema as it came.
#[derive(Clone, Debug)]
pub(super) struct GivenSchema(Value);

impl<'de> Deserialize<'de> for GivenSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            schema @ Value::Object(_) => Ok(Self(schema)),
            _ => Err(D::Error::custom("must be an object")),
        }
    }
}

impl GivenSchema {
    /// The schema that leaves for this one, which is the field `path`.
    pub(super) fn rebuild(&self, strict: bool, path: &str) -> Result<Schema, InvalidRequest> {
        Schema::from_value(&self.0, strict).map_err(|unsupported| unsupported.in_field(path))
    }
}

impl Unsupported {
    /// The same for the request whose field `field` holds the schema.
    pub(super) fn in_field(self, field: &str) -> InvalidRequest {
        let problem = if self.path.is_empty() {
            self.problem
        } else {
            format!("has `{}`, which {}", self.path, self.problem)
        };
        InvalidRequest::field(field, problem)
    }
}

/// The form of the answer as it leaves.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum AnswerFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: Box<SentSchema> },
}

#[derive(Debug, Serialize)]
pub(super) struct SentSchema {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
    schema: Schema,
}

impl AnswerFormat {
    /// Whether the answer must have a form at all.
    pub(super) fn is_form(&self) -> bool {
        !matches!(self, Self::Text)
    }

    /// Refuses to hold the form, which the field `form` asks for, of an answer that the model's message `path` has begun.
    /// llama-server goes on only with an object, and only when that has begun.
    pub(super) fn check_begun(
        &self,
        form: &str,
        path: &str,
        begins_object: bool,
    ) -> Result<(), InvalidRequest> {
        match self {
            Self::Text => Ok(()),
            Self::JsonObject if begins_object => Ok(()),
            Self::JsonObject | Self::JsonSchema { .. } => Err(InvalidRequest::field(
                path,
                format!(
                    "begins the answer, and this model server cannot hold `{form}` of an answer that has begun: leave one out"
                ),
            )),
        }
    }

    /// Keywords of the schema that no grammar holds, with their places.
    pub(super) fn unheld(&self) -> &[String] {
        match self {
            Self::Text | Self::JsonObject => &[],
            Self::JsonSchema { json_schema } => json_schema.schema.unheld(),
        }
    }
}

impl ChatFormat {
    /// The form as it leaves; `path` is the field that asks for it.
    pub(super) fn check(self, path: &str) -> Result<AnswerFormat, InvalidRequest> {
        match self {
            Self::Text(NoFields {}) => Ok(AnswerFormat::Text),
            Self::JsonObject(LooseSchema { schema }) => loose(schema, path),
            Self::JsonSchema(wrapped) => match (wrapped.json_schema, wrapped.schema) {
                (Presence::Given(named), _) => named.check(&format!("{path}.json_schema")),
                (Presence::Missing, Presence::Missing) => Err(InvalidRequest::field(
                    format!("{path}.json_schema"),
                    "is missing",
                )),
                (Presence::Missing | Presence::Empty, schema) => loose(schema, path),
            },
        }
    }
}

impl ResponsesFormat {
    /// The form as it leaves; `path` is the field that asks for it.
    pub(super) fn check(self, path: &str) -> Result<AnswerFormat, InvalidRequest> {
        match self {
            Self::Text(NoFields {}) => Ok(AnswerFormat::Text),
            Self::JsonObject(LooseSchema { schema }) => loose(schema, path),
            Self::JsonSchema(named) => named.check(path),
        }
    }
}

fn loose(schema: Presence<GivenSchema>, path: &str) -> Result<AnswerFormat, InvalidRequest> {
    let named = NamedSchema {
        name: None,
        description: None,
        schema,
        strict: None,
    };
    match named.schema {
        Presence::Missing => Ok(AnswerFormat::JsonObject),
        Presence::Empty | Presence::Given(_) => named.check(path),
    }
}

impl NamedSchema {
    fn check(self, path: &str) -> Result<AnswerFormat, InvalidRequest> {
        let path = format!("{path}.schema");
        let schema = match self.schema {
            Presence::Missing => return Err(InvalidRequest::field(path, "is missing")),
            // To llama-server a schema that allows anything is any object.
            Presence::Empty => return Ok(AnswerFormat::JsonObject),
            Presence::Given(schema) => schema,
        };
        let schema = schema.rebuild(self.strict.unwrap_or(false), &path)?;
        Ok(AnswerFormat::JsonSchema {
            json_schema: Box::new(SentSchema {
                name: self.name,
                description: self.description,
                strict: self.strict,
                schema,
            }),
        })
    }
}
