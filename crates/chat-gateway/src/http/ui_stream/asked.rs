//! What a `useChat` request means for the conversation that the server keeps.
//!
//! The client sends the chat as it has it. Only its end is looked at: which message is new, and which answer it follows.

use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use crate::http::problem::ApiProblem;
use crate::protocol::record::{AnswerOptions, ContentPart, ErrorCode, MessageContent};
use crate::protocol::ui_stream::{UiAsked, UiAskedPart, UiRequest};

/// The longest id of a chat, in characters.
const MAX_CHAT_ID_CHARS: usize = 200;
/// The longest id of a request, in characters of its digest.
const REQUEST_ID_CHARS: usize = 40;

/// The conversation that a chat of this owner is kept as, unless its id is a conversation's own.
///
/// It depends on the owner, so somebody else's chat of the same name is another one.
pub(super) fn conversation_id(owner: &str, chat: &str) -> Uuid {
    let digest = digest(&[owner, chat]);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// Refuses an id that no chat has.
pub(super) fn check_chat_id(chat: &str) -> Result<(), ApiProblem> {
    if (1..=MAX_CHAT_ID_CHARS).contains(&chat.chars().count()) {
        Ok(())
    } else {
        let message = format!("`id` must be 1 to {MAX_CHAT_ID_CHARS} characters");
        Err(ApiProblem::bad(message))
    }
}

/// A message to send.
#[derive(Debug, PartialEq)]
pub(super) struct Submitted {
    /// The id and the digest of the request: the same message sent again has the same.
    pub(super) request: (String, [u8; 32]),
    pub(super) content: MessageContent,
    pub(super) follows: Follows,
    pub(super) options: AnswerOptions,
}

/// What a message follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// The newest answer.
    Newest,
    /// This answer.
    Answer(Uuid),
    /// Nothing: it is another beginning.
    Nothing,
}

/// The message that `request` submits.
pub(super) fn submitted(request: UiRequest) -> Result<Submitted, ApiProblem> {
    let is_edit = request.message_id.is_some() && request.message.is_none();
    let mut messages = request.messages;
    messages.extend(request.message);
    let Some(asked) = messages.pop().filter(|message| message.role == "user") else {
        return Err(ApiProblem::bad("the last message must be the user's"));
    };
    let system = messages.first().filter(|message| is_system(message));
    let system = request.system.or_else(|| system.map(words));
    let answer = messages.iter().rfind(|message| !is_system(message));
    let answer = answer.and_then(|answer| answer.id.as_deref()?.parse().ok());
    let follows = match answer {
        Some(answer) => Follows::Answer(answer),
        None if is_edit => Follows::Nothing,
        None => Follows::Newest,
    };
    let parts = parts(asked.parts)?;
    let content = serde_json::to_string(&parts).unwrap_or_default();
    let id = asked.id.unwrap_or_else(|| Uuid::now_v7().to_string());
    Ok(Submitted {
        request: request_key(&[&request.id, &id, &content]),
        content: MessageContent::Parts(parts),
        follows,
        options: AnswerOptions {
            system,
            ..request.options
        },
    })
}

fn is_system(message: &UiAsked) -> bool {
    message.role == "system"
}

/// The text of a message.
fn words(message: &UiAsked) -> String {
    let texts = message.parts.iter().filter_map(|part| match part {
        UiAskedPart::Text { text } => Some(text.as_str()),
        UiAskedPart::File { .. } | UiAskedPart::Other => None,
    });
    texts.collect::<Vec<_>>().join("\n\n")
}

/// What the model is shown of a message.
fn parts(asked: Vec<UiAskedPart>) -> Result<Vec<ContentPart>, ApiProblem> {
    let mut parts = Vec::with_capacity(asked.len());
    for part in asked {
        match part {
            UiAskedPart::Text { text } => parts.push(ContentPart::Text { text }),
            UiAskedPart::File { media_type, url } => {
                if !media_type.starts_with("image/") || !url.starts_with("data:image/") {
                    let message = "files must be images, as data: URLs";
                    return Err(ApiProblem::new(ErrorCode::UnsupportedContent, message));
                }
                parts.push(ContentPart::Image { data_url: url });
            }
            UiAskedPart::Other => {}
        }
    }
    Ok(parts)
}

/// The id and the digest of a request for the store: the same for the same parts.
pub(super) fn request_key(parts: &[&str]) -> (String, [u8; 32]) {
    let digest = digest(parts);
    let hex = digest.iter().map(|byte| format!("{byte:02x}"));
    let hex: String = hex.collect();
    (format!("ui-{}", &hex[..REQUEST_ID_CHARS]), digest)
}

fn digest(parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        // With their lengths, so that no two lists are alike when joined.
        digest.update(part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Follows, conversation_id, submitted};
    use crate::protocol::record::{ContentPart, MessageContent};

    const ANSWER: &str = "0190a0a0-0000-7000-8000-000000000001";

    fn user(text: &str) -> Value {
        json!({"parts": [{"type": "text", "text": text}], "id": "3WnSvU7VyG26vDnV", "role": "user"})
    }

    fn answer() -> Value {
        json!({"id": ANSWER, "role": "assistant", "metadata": {"usage": {}},
            "parts": [{"type": "step-start"}, {"type": "text", "text": "a", "state": "done"}]})
    }

    fn follows(body: Value) -> Follows {
        let request = serde_json::from_value(body).unwrap();
        submitted(request).unwrap().follows
    }

    #[test]
    fn the_end_of_the_clients_chat_says_what_a_message_follows() {
        let after = Follows::Answer(ANSWER.parse().unwrap());
        for (body, expected) in [
            (json!({"id": "c", "messages": [user("a")]}), Follows::Newest),
            (
                json!({"id": "c", "messages": [user("a"), answer(), user("b")]}),
                after,
            ),
            (json!({"id": "c", "message": user("b")}), Follows::Newest),
            (
                json!({"id": "c", "messages": [user("a")], "messageId": "3WnSvU7VyG26vDnV"}),
                Follows::Nothing,
            ),
            (
                json!({"id": "c", "messages": [user("a"), answer(), user("b")], "messageId": "x"}),
                after,
            ),
            // An answer that the server never named, as after a failed request.
            (
                json!({"id": "c", "messages": [user("a"), {"id": "own", "role": "assistant", "parts": []}, user("b")]}),
                Follows::Newest,
            ),
        ] {
            assert_eq!(follows(body.clone()), expected, "{body}");
        }
    }

    #[test]
    fn only_text_and_images_are_shown_and_the_same_message_is_the_same_request() {
        let body = json!({"id": "c", "trigger": "submit-message", "tools": {}, "messages": [
            {"role": "system", "parts": [{"type": "text", "text": "Be brief."}]},
            {"id": "m", "role": "user", "parts": [
                {"type": "text", "text": "What is this?"},
                {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA"},
                {"type": "data-app", "data": {}},
            ]},
        ]});
        let first = submitted(serde_json::from_value(body.clone()).unwrap()).unwrap();
        let again = submitted(serde_json::from_value(body).unwrap()).unwrap();
        assert_eq!(first, again);
        assert_eq!(first.options.system.as_deref(), Some("Be brief."));
        let text = "What is this?".to_owned();
        let data_url = "data:image/png;base64,AA".to_owned();
        let parts = vec![ContentPart::Text { text }, ContentPart::Image { data_url }];
        assert_eq!(first.content, MessageContent::Parts(parts));
    }

    #[test]
    fn a_chat_of_somebody_else_is_another_conversation() {
        assert_eq!(conversation_id("a", "c1"), conversation_id("a", "c1"));
        assert_ne!(conversation_id("a", "c1"), conversation_id("b", "c1"));
        assert_ne!(conversation_id("a", "c1"), conversation_id("ac", "1"));
    }
}
