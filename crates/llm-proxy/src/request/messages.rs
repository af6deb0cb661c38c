//! Checks the conversation: who speaks, and that what is said is text, an inline image, or a tool call.
//!
//! An image comes as a `data:` URL or not at all; llama-server would fetch any other.

use serde_json::{Map, Value, json};

use super::fields::{Fields, MAX_NAME_BYTES};
use crate::error::Error;

/// Messages in a conversation.
const MAX_MESSAGES: usize = 2_048;
/// Parts of one message.
const MAX_PARTS: usize = 256;
/// Tool calls of one message.
const MAX_TOOL_CALLS: usize = 128;

/// Images of one message.
const MAX_IMAGES: usize = 16;
/// The pictures that llama-server reads. (A scalable one would be a document that names others.)
const IMAGES: [&str; 5] = [
    "data:image/png;base64,",
    "data:image/jpeg;base64,",
    "data:image/gif;base64,",
    "data:image/bmp;base64,",
    "data:image/webp;base64,",
];

/// The messages, built anew; unknown fields are counted in `n_dropped`.
pub(super) fn check(messages: Value, n_dropped: &mut u64) -> Result<Value, Error> {
    let messages = match messages {
        Value::Array(messages) if (1..=MAX_MESSAGES).contains(&messages.len()) => messages,
        _ => {
            return Err(Error::field(
                "messages",
                format!("must be an array of 1 to {MAX_MESSAGES} messages"),
            ));
        }
    };
    let checked = messages.into_iter().enumerate().map(|(at, message)| {
        let mut fields = Fields::of(format!("messages[{at}]"), message)?;
        let message = one(&mut fields)?;
        *n_dropped += fields.drop_rest();
        Ok(message)
    });
    checked.collect()
}

/// Whether one of the checked messages holds an image.
pub(super) fn have_images(messages: &Value) -> bool {
    let messages = messages.as_array().into_iter().flatten();
    let mut parts = messages.filter_map(|message| message["content"].as_array()).flatten();
    parts.any(|part| part["type"] == "image_url")
}

fn one(message: &mut Fields) -> Result<Value, Error> {
    let role = message.required_text("role")?;
    let mut out = Map::new();
    let role = match role.as_str() {
        // Templates know no developer; it is OpenAI's newer name for the same voice.
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        "tool" => "tool",
        _ => return Err(message.wrong("role", "must be system, developer, user, assistant or tool")),
    };
    out.insert("role".to_owned(), role.into());
    let content = content(message)?;
    let may_be_silent = role == "assistant";
    match content {
        Some(content) => drop(out.insert("content".to_owned(), content)),
        None if may_be_silent => drop(out.insert("content".to_owned(), Value::Null)),
        None => return Err(message.wrong("content", "is missing")),
    }
    if let Some(name) = message.text("name")? {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            return Err(message.wrong("name", format!("must be 1 to {MAX_NAME_BYTES} bytes")));
        }
        out.insert("name".to_owned(), name.into());
    }
    if role == "assistant" {
        if let Some(reasoning) = message.text("reasoning_content")? {
            out.insert("reasoning_content".to_owned(), reasoning.into());
        }
        let calls = tool_calls(message)?;
        if calls.is_none() && out["content"].is_null() {
            return Err(message.wrong("content", "is missing"));
        }
        if let Some(calls) = calls {
            out.insert("tool_calls".to_owned(), calls);
        }
    }
    if role == "tool" {
        out.insert("tool_call_id".to_owned(), message.required_text("tool_call_id")?.into());
    }
    Ok(out.into())
}

fn content(message: &mut Fields) -> Result<Option<Value>, Error> {
    let parts = match message.take("content") {
        None => return Ok(None),
        Some(text @ Value::String(_)) => return Ok(Some(text)),
        Some(Value::Array(parts)) if (1..=MAX_PARTS).contains(&parts.len()) => parts,
        Some(_) => {
            return Err(
                message.wrong("content", format!("must be a string or an array of 1 to {MAX_PARTS} parts"))
            );
        }
    };
    let (mut out, mut n_images) = (Vec::with_capacity(parts.len()), 0);
    for (at, part) in parts.into_iter().enumerate() {
        let path = message.path(&format!("content[{at}]"));
        let mut part = Fields::of(path, part)?;
        let checked = content_part(&mut part)?;
        n_images += usize::from(checked.get("image_url").is_some());
        if n_images > MAX_IMAGES {
            return Err(
                part.wrong("type", format!("must be image_url at most {MAX_IMAGES} times in a message"))
            );
        }
        out.push(checked);
        message.n_dropped += part.drop_rest();
    }
    Ok(Some(out.into()))
}

fn content_part(part: &mut Fields) -> Result<Value, Error> {
    match part.required_text("type")?.as_str() {
        "text" => Ok(json!({"type": "text", "text": part.required_text("text")?})),
        "image_url" => {
            let mut image = part.object("image_url")?.ok_or_else(|| part.wrong("image_url", "is missing"))?;
            let url = image.required_text("url")?;
            if !is_inline_image(&url) {
                return Err(image.wrong("url", "must be a data:image/...;base64 URL; nothing is fetched"));
            }
            part.n_dropped += image.drop_rest();
            Ok(json!({"type": "image_url", "image_url": {"url": url}}))
        }
        _ => Err(part.wrong("type", "must be text or image_url")),
    }
}

/// An image that is here as a whole: of a kind that is known, in base64 and nothing else.
fn is_inline_image(url: &str) -> bool {
    let data = IMAGES.iter().find_map(|image| url.strip_prefix(image)).map(|data| data.trim_end_matches('='));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    data.is_some_and(|data| !data.is_empty() && data.bytes().all(plain))
}

fn tool_calls(message: &mut Fields) -> Result<Option<Value>, Error> {
    let calls = match message.take("tool_calls") {
        None => return Ok(None),
        Some(Value::Array(calls)) if (1..=MAX_TOOL_CALLS).contains(&calls.len()) => calls,
        Some(_) => {
            return Err(
                message.wrong("tool_calls", format!("must be an array of 1 to {MAX_TOOL_CALLS} calls"))
            );
        }
    };
    let mut out = Vec::with_capacity(calls.len());
    for (at, call) in calls.into_iter().enumerate() {
        let path = message.path(&format!("tool_calls[{at}]"));
        let mut call = Fields::of(path, call)?;
        call.must_be("type", "function")?;
        let id = call.required_text("id")?;
        let mut function = call.object("function")?.ok_or_else(|| call.wrong("function", "is missing"))?;
        let (name, arguments) = (function.name()?, function.required_text("arguments")?);
        out.push(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}));
        message.n_dropped += function.drop_rest() + call.drop_rest();
    }
    Ok(Some(out.into()))
}
