//! Why a request was refused before anything was sent: what is wrong, and where.

/// A request that cannot be sent on. One place turns it into the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InvalidRequest {
    /// The bytes are not one JSON object.
    NotJson {
        /// Where reading ended, from 1.
        line: usize,
        /// The same, within the line.
        column: usize,
    },
    /// A field is not what it must be.
    Field {
        /// Its path, as `messages[1].content[0].image_url.url`.
        field: String,
        /// Continues the sentence that begins with the path.
        problem: String,
    },
    /// The model is not the one that is served.
    UnknownModel,
}

impl InvalidRequest {
    /// A field that is wrong; `problem` continues the sentence that begins with its path.
    pub(super) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            problem: problem.into(),
        }
    }
}
