//! The routes of llama-server that can be asked for: the one that is always there, those that are switched on by name,
//! and what each is called, opens and answers.

use std::str::FromStr;

use crate::keys::Scope;

/// One route that ends in llama-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`: a prompt as it stands, without the model's template.
    Completions,
    /// `/v1/embeddings`; the upstream must run with `--embeddings`.
    Embeddings,
    /// `/v1/rerank`; the upstream must run with `--reranking`.
    Rerank,
    /// `/v1/chat/completions/input_tokens`: how many tokens a chat request's prompt has.
    CountTokens,
    /// `/tokenize`: the tokens of a text.
    Tokenize,
}

impl Api {
    /// Those that `PROXY_ROUTES` may name, by name.
    const OPTIONAL: [(&str, Self); 4] = [
        ("chat", Self::Chat),
        ("completions", Self::Completions),
        ("embeddings", Self::Embeddings),
        ("rerank", Self::Rerank),
    ];

    /// Its path, here and upstream.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Rerank => "/v1/rerank",
            Self::CountTokens => "/v1/chat/completions/input_tokens",
            Self::Tokenize => "/tokenize",
        }
    }

    /// What a key must open for it.
    pub(crate) fn scope(self) -> Scope {
        match self {
            Self::Chat | Self::Completions => Scope::Chat,
            Self::Embeddings | Self::Rerank => Scope::Embeddings,
            Self::CountTokens | Self::Tokenize => Scope::Tokens,
        }
    }

    /// What llama-server answers with.
    pub(crate) fn answers(self) -> &'static str {
        match self {
            Self::Chat | Self::Completions => "text/event-stream",
            Self::Embeddings | Self::Rerank | Self::CountTokens | Self::Tokenize => "application/json",
        }
    }
}

impl FromStr for Api {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::OPTIONAL.iter().find(|(known, _)| *known == name.trim());
        known.map(|(_, api)| *api).ok_or_else(|| {
            let names: Vec<&str> = Self::OPTIONAL.iter().map(|(name, _)| *name).collect();
            format!("must be a list of {}", names.join(", "))
        })
    }
}
