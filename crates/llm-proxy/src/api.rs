//! The routes of llama-server that can be asked for: the one that is always there, those that are switched on by name,
//! and what each is called, opens and answers.

use std::str::FromStr;

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
    /// `/v1/responses`: OpenAI's later API, without what it keeps between two requests.
    Responses,
    /// `/v1/messages`: Anthropic's API.
    Messages,
    /// `/v1/messages/count_tokens`: how many tokens a request for messages has; there when messages are.
    CountMessages,
    /// `/v1/chat/completions/input_tokens`: how many tokens a chat request's prompt has.
    CountTokens,
    /// `/tokenize`: the tokens of a text.
    Tokenize,
}

/// What a key opens: each route needs one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything that makes the model write: chat, completions, responses, messages.
    Chat,
    /// Embeddings and reranking.
    Embeddings,
    /// Counting tokens and tokenising.
    Tokens,
    /// No route: the key may name the users for whom it asks.
    Delegate,
}

impl Scope {
    pub(crate) const ALL: [Self; 4] = [Self::Chat, Self::Embeddings, Self::Tokens, Self::Delegate];

    /// Its name in the keys file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Tokens => "tokens",
            Self::Delegate => "delegate",
        }
    }
}

/// Whose words the callers of a route understand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI's, as in chats.
    #[default]
    Chat,
    /// OpenAI's, with the events of its later API.
    Responses,
    /// Anthropic's.
    Messages,
}

impl Api {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Chat,
        Self::Completions,
        Self::Embeddings,
        Self::Rerank,
        Self::Responses,
        Self::Messages,
        Self::CountMessages,
        Self::CountTokens,
        Self::Tokenize,
    ];

    /// Those that `PROXY_ROUTES` may name, by name.
    const OPTIONAL: [(&str, Self); 6] = [
        ("chat", Self::Chat),
        ("completions", Self::Completions),
        ("embeddings", Self::Embeddings),
        ("rerank", Self::Rerank),
        ("responses", Self::Responses),
        ("messages", Self::Messages),
    ];

    /// Its path, here and upstream.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Rerank => "/v1/rerank",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::CountMessages => "/v1/messages/count_tokens",
            Self::CountTokens => "/v1/chat/completions/input_tokens",
            Self::Tokenize => "/tokenize",
        }
    }

    /// What its operator adds to `PROXY_ROUTES` to switch it on; `None` for a route that is always there.
    pub(crate) fn option(self) -> Option<&'static str> {
        match self {
            Self::Chat | Self::CountTokens | Self::Tokenize => None,
            Self::Completions => Some("completions"),
            Self::Embeddings => Some("embeddings"),
            Self::Rerank => Some("rerank"),
            Self::Responses => Some("responses"),
            Self::Messages | Self::CountMessages => Some("messages"),
        }
    }

    /// What a key must open for it.
    pub(crate) fn scope(self) -> Scope {
        match self {
            Self::Chat | Self::Completions | Self::Responses | Self::Messages => Scope::Chat,
            Self::Embeddings | Self::Rerank => Scope::Embeddings,
            Self::CountTokens | Self::CountMessages | Self::Tokenize => Scope::Tokens,
        }
    }

    /// What llama-server answers with.
    pub(crate) fn answers(self) -> &'static str {
        match self {
            Self::Chat | Self::Completions | Self::Responses | Self::Messages => {
                "text/event-stream"
            }
            Self::Embeddings
            | Self::Rerank
            | Self::CountTokens
            | Self::CountMessages
            | Self::Tokenize => "application/json",
        }
    }

    /// How llama-server is asked for it.
    pub(crate) fn ask(self) -> llama_client::Ask<'static> {
        llama_client::Ask {
            path: self.path(),
            accept: self.answers(),
        }
    }

    /// What its callers understand.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Responses => Dialect::Responses,
            Self::Messages | Self::CountMessages => Dialect::Messages,
            Self::Chat
            | Self::Completions
            | Self::Embeddings
            | Self::Rerank
            | Self::CountTokens
            | Self::Tokenize => Dialect::Chat,
        }
    }
}

impl FromStr for Api {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::OPTIONAL
            .iter()
            .find(|(known, _)| *known == name.trim());
        known.map(|(_, api)| *api).ok_or_else(|| {
            let names: Vec<&str> = Self::OPTIONAL.iter().map(|(name, _)| *name).collect();
            format!("must be a list of {}", names.join(", "))
        })
    }
}
