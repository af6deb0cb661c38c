//! Schemas as they leave. For now what comes in is judged and passes as it is.

use serde::Serialize;
use serde_json::Value;

use super::schema::{problem, problem_together};

/// A schema that llama-server may see.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Schema(Value);

/// Why a schema cannot be sent on.
#[derive(Debug)]
pub(super) struct Unsupported {
    /// Where in the schema.
    pub(super) path: String,
    /// Continues the sentence that begins with the path.
    pub(super) problem: String,
}

impl Schema {
    /// The schema that llama-server is given for `given`.
    pub(super) fn from_value(given: &Value, _strict: bool) -> Result<Self, Unsupported> {
        match problem(given) {
            None => Ok(Self(given.clone())),
            Some(problem) => Err(Unsupported::whole(problem)),
        }
    }

    /// Checks the schemas of one request, of which llama-server makes one grammar.
    pub(super) fn check_together(schemas: &mut [&mut Self]) -> Result<(), Unsupported> {
        match problem_together(schemas.iter().map(|schema| &schema.0)) {
            None => Ok(()),
            Some(problem) => Err(Unsupported::whole(problem)),
        }
    }
}

impl Unsupported {
    fn whole(problem: String) -> Self {
        Self {
            path: String::new(),
            problem,
        }
    }
}
