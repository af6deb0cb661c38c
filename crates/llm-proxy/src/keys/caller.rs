//! Who asks, once the key is known: a name, a share of the slots, and what the key opens.
//!
//! A `Caller` holds no secret, so it may be logged and labelled by its name; names come from the operator, never from
//! a request.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use crate::error::Error;

/// What a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything that makes the model write: chat, completions, responses, messages.
    Chat,
    /// Embeddings and reranking.
    Embeddings,
    /// Counting tokens and tokenising.
    Tokens,
}

impl Scope {
    pub(crate) const ALL: [Self; 3] = [Self::Chat, Self::Embeddings, Self::Tokens];

    /// Its name in the keys file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Tokens => "tokens",
        }
    }
}

/// What bounds a key. `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Requests that may hold a slot at the same time; further ones wait their turn.
    pub(crate) requests_at_once: Option<NonZeroUsize>,
}

/// The holder of a key.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The key's name: a label of metrics, a field of logs.
    pub(crate) name: Arc<str>,
    /// Its share of the slots, against the weights of the others who wait.
    pub(crate) weight: NonZeroU32,
    pub(crate) limits: Limits,
    /// The models it may use; `None` for all.
    pub(crate) models: Option<Vec<String>>,
    pub(crate) scopes: Vec<Scope>,
}

impl Caller {
    /// One that may do everything, in an ordinary share.
    pub(crate) fn unlimited(name: &str) -> Self {
        Self {
            name: name.into(),
            weight: NonZeroU32::MIN,
            limits: Limits::default(),
            models: None,
            scopes: Scope::ALL.to_vec(),
        }
    }

    /// Passes what the key opens.
    pub(crate) fn allow(&self, scope: Scope) -> Result<(), Error> {
        if self.scopes.contains(&scope) { Ok(()) } else { Err(Error::ScopeMissing { scope: scope.name() }) }
    }

    /// Whether the key may use `model`. One that it may not use does not exist for it.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|name| name == model))
    }
}
