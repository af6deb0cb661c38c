//! Makes a conversation one that the model's template takes, without changing what was said.
//!
//! Some templates want a user and the model to speak in turns, or one system message at the beginning, or know no tools.
//! What can be said in fewer messages is; what cannot is refused in a sentence that names the message.

use super::values::{Listed, TextOr};
use super::{InvalidRequest, Template};

/// Messages in a conversation.
pub(super) const MAX_MESSAGES: usize = 2_048;
/// Parts of one message.
const MAX_PARTS: usize = 256;
/// Images of one message.
const MAX_IMAGES: usize = 16;
/// Between two messages that become one.
const BLANK_LINE: &str = "\n\n";

/// What was said in one message: a text, or parts.
pub(super) type Said<P> = TextOr<Listed<P, MAX_PARTS>>;

/// A part of a message, in any API's words.
pub(super) trait MessagePart {
    /// A part that is this text.
    fn of_text(text: String) -> Self;
    /// Its text, if it is one.
    fn text(&mut self) -> Option<&mut String>;
    /// The images in it.
    fn n_images(&self) -> usize;
}

impl<P: MessagePart> Said<P> {
    /// Nothing at all.
    pub(super) fn nothing() -> Self {
        Self::Text(String::new())
    }

    /// Whether nothing was said.
    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Other(parts) => parts.0.is_empty(),
        }
    }

    /// Nothing as an empty text, which every template knows.
    pub(super) fn tidy(self) -> Self {
        if self.is_nothing() {
            Self::nothing()
        } else {
            self
        }
    }

    fn parts(self) -> Vec<P> {
        match self {
            Self::Text(text) => vec![P::of_text(text)],
            Self::Other(parts) => parts.0,
        }
    }

    /// Whether it begins with `start`, where it begins with a text.
    pub(super) fn starts_with(&mut self, start: char) -> bool {
        match self {
            Self::Text(text) => text.starts_with(start),
            Self::Other(parts) => {
                let first = parts.0.first_mut().and_then(P::text);
                first.is_some_and(|text| text.starts_with(start))
            }
        }
    }

    /// Says `next` after a blank line.
    pub(super) fn append(&mut self, next: Self) {
        if next.is_nothing() {
            return;
        }
        let before = std::mem::replace(self, Self::nothing());
        *self = match (before, next) {
            (before, next) if before.is_nothing() => next,
            (Self::Text(before), Self::Text(next)) => Self::Text(before + BLANK_LINE + &next),
            (before, next) => {
                let mut all = before.parts();
                let mut next = next.parts();
                let seam = all
                    .last_mut()
                    .and_then(P::text)
                    .zip(next.first_mut().and_then(P::text));
                if let Some((before, after)) = seam {
                    before.push_str(BLANK_LINE);
                    before.push_str(after);
                    next.remove(0);
                }
                all.append(&mut next);
                Self::Other(Listed(all))
            }
        };
    }

    /// The number of images, which is bounded in each message.
    pub(super) fn n_images(&self, path: &str) -> Result<usize, InvalidRequest> {
        let Self::Other(parts) = self else {
            return Ok(0);
        };
        let mut n_images = 0;
        for (at, part) in parts.0.iter().enumerate() {
            n_images += part.n_images();
            if n_images > MAX_IMAGES {
                return Err(InvalidRequest::field(
                    format!("{path}[{at}].type"),
                    format!("must be an image at most {MAX_IMAGES} times in a message"),
                ));
            }
        }
        Ok(n_images)
    }
}

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    System,
    User,
    Assistant,
    /// A call of a tool or its result, in a template that shows them.
    Tool,
}

/// A message, in any API's words.
pub(super) trait SpokenTurn: Sized {
    fn speaker(&self) -> Speaker;
    /// Whether the model calls a tool in it.
    fn has_calls(&self) -> bool;
    /// Whether it is nothing but words or thoughts of the model.
    fn is_models_words(&self) -> bool {
        self.speaker() == Speaker::Assistant
    }
    /// Says what `next`, of the same speaker, says, after a blank line.
    fn append(&mut self, next: Self);
    /// The same message, said by the user.
    fn by_user(self) -> Self;
}

/// Refuses a conversation, the field `name`, that ends in calls of tools without their results.
pub(super) fn check_end<M: SpokenTurn>(messages: &[M], name: &str) -> Result<(), InvalidRequest> {
    // What the model says after its calls does not stand for their results.
    let last = messages
        .iter()
        .rposition(|message| message.has_calls() || !message.is_models_words());
    match last {
        Some(at) if messages[at].has_calls() => Err(InvalidRequest::field(
            format!("{name}[{at}]"),
            "calls tools, but no result follows: send what they returned after it",
        )),
        _ => Ok(()),
    }
}

/// Joins the model's messages at the end. llama-server goes on with one, and refuses two.
fn join_end<M: SpokenTurn>(messages: &mut Vec<M>) {
    while let [.., before, last] = messages.as_mut_slice()
        && before.speaker() == Speaker::Assistant
        && last.speaker() == Speaker::Assistant
        && let Some(last) = messages.pop()
        && let Some(before) = messages.last_mut()
    {
        before.append(last);
    }
}

/// The messages that leave for `messages`, the field `name`. The first `n_before` of them are not in that field.
pub(super) fn arrange<M: SpokenTurn>(
    mut messages: Vec<M>,
    (name, n_before): (&str, usize),
    template: Template,
) -> Result<Vec<M>, InvalidRequest> {
    if template.repeated_roles && template.later_system && template.system {
        join_end(&mut messages);
        return Ok(messages);
    }
    let mut out: Vec<M> = Vec::with_capacity(messages.len());
    for (at, mut message) in messages.into_iter().enumerate() {
        if message.speaker() == Speaker::System {
            let is_leading = out.iter().all(|before| before.speaker() == Speaker::System);
            if !template.system || (!template.later_system && !is_leading) {
                // It stays where it was said.
                message = message.by_user();
            }
        }
        let before = out.last().map(SpokenTurn::speaker);
        let is_repeated = before == Some(message.speaker());
        let merges = match message.speaker() {
            Speaker::System => is_repeated && !template.later_system,
            Speaker::User | Speaker::Assistant => is_repeated && !template.repeated_roles,
            Speaker::Tool => false,
        };
        match out.last_mut() {
            Some(last) if merges => last.append(message),
            _ => {
                let is_first = matches!(before, None | Some(Speaker::System));
                if is_first && !template.repeated_roles && message.speaker() == Speaker::Assistant {
                    return Err(InvalidRequest::field(
                        format!("{name}[{}]", at.saturating_sub(n_before)),
                        "is the model's, but to this model the user must speak first",
                    ));
                }
                out.push(message);
            }
        }
    }
    join_end(&mut out);
    Ok(out)
}

/// A call of a tool, told to a model whose template knows no tools.
pub(super) fn call_as_text(name: &str, arguments: &str) -> String {
    format!("[Called {name} with {arguments}]")
}

/// The heading of a tool's result, as shown to a model whose template knows no tools.
pub(super) fn result_as_text(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("[Result of {name}]"),
        None => "[Result of a tool]".to_owned(),
    }
}
