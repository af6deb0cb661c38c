//! A conversation as the messages that `useChat` begins with.

use crate::protocol::record::{AnswerStatus, Answered, Author, ContentPart, Message};
use crate::protocol::ui_stream::{UiMessage, UiMetadata, UiPart, UiRole};

/// The messages of a path. An answer that has not ended is left out: its stream brings it, whole and once.
pub(super) fn messages(path: Vec<Message>) -> Vec<UiMessage> {
    path.into_iter().filter_map(message).collect()
}

fn message(message: Message) -> Option<UiMessage> {
    let (role, parts, metadata) = match (message.role, message.answer) {
        (Author::User, _) => (
            UiRole::User,
            message.content.into_iter().map(part).collect(),
            None,
        ),
        (Author::Assistant, Some(answer)) if answer.status.is_final() => {
            let metadata = metadata(&answer);
            (UiRole::Assistant, answer_parts(answer), Some(metadata))
        }
        (Author::Assistant, _) => return None,
    };
    Some(UiMessage {
        id: message.id,
        role,
        parts,
        metadata,
    })
}

fn part(part: ContentPart) -> UiPart {
    match part {
        ContentPart::Text { text } => UiPart::Text { text },
        ContentPart::Image { data_url } => UiPart::File {
            media_type: media_type(&data_url),
            url: data_url,
        },
    }
}

/// `image/png` of `data:image/png;base64,...`
fn media_type(data_url: &str) -> String {
    let rest = data_url.strip_prefix("data:").unwrap_or_default();
    let end = rest.find([';', ',']).unwrap_or(rest.len());
    rest[..end].to_owned()
}

fn answer_parts(answer: Answered) -> Vec<UiPart> {
    let mut parts = Vec::new();
    if !answer.reasoning.is_empty() {
        let text = answer.reasoning;
        parts.push(UiPart::Reasoning { text });
    }
    if !answer.text.is_empty() {
        parts.push(UiPart::Text { text: answer.text });
    }
    parts
}

fn metadata(answer: &Answered) -> UiMetadata {
    UiMetadata {
        usage: answer.usage,
        timings: answer.timings,
        stopped: answer.status == AnswerStatus::Stopped,
        status: Some(answer.status).filter(|status| *status != AnswerStatus::Done),
        error: answer.error.clone(),
    }
}
