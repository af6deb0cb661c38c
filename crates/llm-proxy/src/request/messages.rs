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
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/bmp",
    "image/webp",
];
/// What a part with an image is called, in each API.
const IMAGE_PARTS: [&str; 3] = ["image_url", "input_image", "image"];

/// The messages, built anew.
pub(super) fn check(fields: &mut Fields) -> Result<Value, Error> {
    let messages = fields.take("messages");
    list(fields, "messages", messages, one)
}

/// The conversation that was taken from the field `name`, each of its items built anew by `one`.
pub(super) fn list(
    fields: &mut Fields,
    name: &str,
    items: Option<Value>,
    one: impl Fn(&mut Fields) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let items = match items {
        Some(Value::Array(items)) if (1..=MAX_MESSAGES).contains(&items.len()) => items,
        None => return Err(fields.wrong(name, "is missing")),
        Some(_) => {
            return Err(fields.wrong(
                name,
                format!("must be an array of 1 to {MAX_MESSAGES} messages"),
            ));
        }
    };
    let checked = items.into_iter().enumerate().map(|(at, item)| {
        let mut item = Fields::of(format!("{name}[{at}]"), item)?;
        let checked = one(&mut item)?;
        fields.n_dropped += item.drop_rest();
        Ok(checked)
    });
    checked.collect()
}

/// The images in a checked conversation, in whatever API's words.
pub(super) fn n_images(conversation: &Value) -> usize {
    match conversation {
        Value::Array(items) => items.iter().map(n_images).sum(),
        Value::Object(item) => {
            let is_image = |kind: &Value| IMAGE_PARTS.iter().any(|image| kind == image);
            usize::from(item.get("type").is_some_and(is_image))
                + item.get("content").map_or(0, n_images)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
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
        _ => {
            return Err(message.wrong("role", "must be system, developer, user, assistant or tool"));
        }
    };
    out.insert("role".to_owned(), role.into());
    let content = parts(message, "content", part)?;
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
        out.insert(
            "tool_call_id".to_owned(),
            message.required_text("tool_call_id")?.into(),
        );
    }
    Ok(out.into())
}

/// The text `name`, or its parts, each built anew by `one`.
pub(super) fn parts(
    fields: &mut Fields,
    name: &str,
    one: impl Fn(&mut Fields) -> Result<Value, Error>,
) -> Result<Option<Value>, Error> {
    let parts = match fields.take(name) {
        None => return Ok(None),
        Some(text @ Value::String(_)) => return Ok(Some(text)),
        Some(Value::Array(parts)) if (1..=MAX_PARTS).contains(&parts.len()) => parts,
        Some(_) => {
            return Err(fields.wrong(
                name,
                format!("must be a string or an array of 1 to {MAX_PARTS} parts"),
            ));
        }
    };
    let (mut out, mut images) = (Vec::with_capacity(parts.len()), 0);
    for (at, part) in parts.into_iter().enumerate() {
        let mut part = Fields::of(fields.path(&format!("{name}[{at}]")), part)?;
        let checked = one(&mut part)?;
        images += n_images(&checked);
        if images > MAX_IMAGES {
            return Err(part.wrong(
                "type",
                format!("must be an image at most {MAX_IMAGES} times in a message"),
            ));
        }
        out.push(checked);
        fields.n_dropped += part.drop_rest();
    }
    Ok(Some(out.into()))
}

fn part(part: &mut Fields) -> Result<Value, Error> {
    match part.required_text("type")?.as_str() {
        "text" => Ok(json!({"type": "text", "text": part.required_text("text")?})),
        "image_url" => {
            let mut image = part.required_object("image_url")?;
            let url = image_url(&mut image, "url")?;
            part.n_dropped += image.drop_rest();
            Ok(json!({"type": "image_url", "image_url": {"url": url}}))
        }
        _ => Err(part.wrong("type", "must be text or image_url")),
    }
}

/// The address of an image that is here as a whole.
pub(super) fn image_url(fields: &mut Fields, name: &str) -> Result<String, Error> {
    let url = fields.required_text(name)?;
    let image = url
        .strip_prefix("data:")
        .and_then(|image| image.split_once(";base64,"));
    if image.is_some_and(|(kind, data)| is_image_kind(kind) && is_base64(data)) {
        Ok(url)
    } else {
        Err(fields.wrong(
            name,
            "must be a data:image/...;base64 URL; nothing is fetched",
        ))
    }
}

pub(super) fn is_image_kind(kind: &str) -> bool {
    IMAGES.contains(&kind)
}

/// Whether it is base64 and nothing else.
pub(super) fn is_base64(data: &str) -> bool {
    let data = data.trim_end_matches('=');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    !data.is_empty() && data.bytes().all(plain)
}

fn tool_calls(message: &mut Fields) -> Result<Option<Value>, Error> {
    let calls = match message.take("tool_calls") {
        None => return Ok(None),
        Some(Value::Array(calls)) if (1..=MAX_TOOL_CALLS).contains(&calls.len()) => calls,
        Some(_) => {
            return Err(message.wrong(
                "tool_calls",
                format!("must be an array of 1 to {MAX_TOOL_CALLS} calls"),
            ));
        }
    };
    let mut out = Vec::with_capacity(calls.len());
    for (at, call) in calls.into_iter().enumerate() {
        let path = message.path(&format!("tool_calls[{at}]"));
        let mut call = Fields::of(path, call)?;
        call.must_be("type", "function")?;
        let id = call.required_text("id")?;
        let mut function = call.required_object("function")?;
        let (name, arguments) = (function.name()?, function.required_text("arguments")?);
        out.push(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}));
        message.n_dropped += function.drop_rest() + call.drop_rest();
    }
    Ok(Some(out.into()))
}
