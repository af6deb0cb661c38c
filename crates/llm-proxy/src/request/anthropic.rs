//! The body of `/v1/messages`: turns of content blocks, a system prompt beside them, tools in Anthropic's words.
//!
//! llama-server makes a chat of it and passes over what it does not know. What would change the answer is refused here,
//! or said in the words that it does know.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::messages::{is_base64, is_image_kind, list, n_images, parts};
use super::{Checked, insert, refuse, refuse_dangerous, take_model};
use crate::api::Dialect;
use crate::error::Error;

/// What Anthropic runs on its own machines.
const ELSEWHERE: [&str; 2] = ["mcp_servers", "container"];
/// The most tokens of thinking. The limit of the answer counts them too.
const MAX_THINKING_TOKENS: i64 = 1_000_000;

impl Checked {
    pub(super) fn messages(
        mut fields: Fields,
        model: &str,
        max_tokens: u64,
    ) -> Result<Self, Error> {
        refuse_dangerous(&mut fields)?;
        refuse(
            &mut fields,
            &ELSEWHERE,
            "is not supported: tools run where they are asked for",
        )?;
        let mut out = Map::new();
        take_model(&mut fields, &mut out, model)?;
        let switches = fields.template_switches()?;
        let thinking = thinking(&mut fields)?;
        let switches = if thinking == Some(Value::Null) {
            Some(json!({"enable_thinking": false}))
        } else {
            switches
        };
        insert(&mut out, "chat_template_kwargs", switches);
        insert(
            &mut out,
            "thinking",
            thinking.filter(|thinking| !thinking.is_null()),
        );
        let (tools, choice) = fields.tools(Dialect::Messages)?;
        insert(&mut out, "tools", tools);
        insert(&mut out, "tool_choice", choice);
        insert(&mut out, "system", parts(&mut fields, "system", text)?);
        let messages = fields.take("messages");
        let messages = list(&mut fields, "messages", messages, turn)?;
        let has_images = n_images(&messages) > 0;
        out.insert("messages".to_owned(), messages);
        insert(&mut out, "stop_sequences", fields.stops("stop_sequences")?);
        Self::generation(fields, out, max_tokens, has_images)
    }
}

/// How much to think; null for not at all.
fn thinking(fields: &mut Fields) -> Result<Option<Value>, Error> {
    let Some(mut thinking) = fields.object("thinking")? else {
        return Ok(None);
    };
    let kind = thinking.required_text("type")?;
    let budget = thinking.integer("budget_tokens", 1, MAX_THINKING_TOKENS)?;
    let out = match (kind.as_str(), budget) {
        ("enabled", Some(budget)) => Some(json!({"type": "enabled", "budget_tokens": budget})),
        ("enabled", None) => return Err(thinking.wrong("budget_tokens", "is missing")),
        ("disabled", _) => Some(Value::Null),
        ("adaptive", _) => None,
        _ => return Err(thinking.wrong("type", "must be enabled, disabled or adaptive")),
    };
    fields.n_dropped += thinking.drop_rest();
    Ok(out)
}

fn turn(turn: &mut Fields) -> Result<Value, Error> {
    let role = turn.required_text("role")?;
    let block = match role.as_str() {
        "user" => asked,
        "assistant" => answered,
        _ => return Err(turn.wrong("role", "must be user or assistant")),
    };
    let content =
        parts(turn, "content", block)?.ok_or_else(|| turn.wrong("content", "is missing"))?;
    Ok(json!({"role": role, "content": content}))
}

/// A block of a user's turn.
fn asked(block: &mut Fields) -> Result<Value, Error> {
    match block.required_text("type")?.as_str() {
        "text" => words(block),
        "image" => image(block),
        "tool_result" => {
            let id = block.required_text("tool_use_id")?;
            let content = parts(block, "content", result)?.unwrap_or_else(|| "".into());
            Ok(json!({"type": "tool_result", "tool_use_id": id, "content": content}))
        }
        _ => Err(block.wrong("type", "must be text, image or tool_result")),
    }
}

/// A block of the model's turn.
fn answered(block: &mut Fields) -> Result<Value, Error> {
    match block.required_text("type")?.as_str() {
        "text" => words(block),
        "thinking" => {
            // Nobody has signed it.
            block.take("signature");
            Ok(json!({"type": "thinking", "thinking": block.required_text("thinking")?}))
        }
        "tool_use" => {
            let (id, name) = (block.required_text("id")?, block.name()?);
            match block.take("input") {
                Some(input @ Value::Object(_)) => {
                    Ok(json!({"type": "tool_use", "id": id, "name": name, "input": input}))
                }
                Some(_) => Err(block.wrong("input", "must be an object")),
                None => Err(block.wrong("input", "is missing")),
            }
        }
        _ => Err(block.wrong("type", "must be text, thinking or tool_use")),
    }
}

/// A part of what a tool has returned.
fn result(block: &mut Fields) -> Result<Value, Error> {
    match block.required_text("type")?.as_str() {
        "text" => words(block),
        "image" => image(block),
        _ => Err(block.wrong("type", "must be text or image")),
    }
}

/// A part of the system prompt.
fn text(block: &mut Fields) -> Result<Value, Error> {
    block.must_be("type", "text")?;
    words(block)
}

fn words(block: &mut Fields) -> Result<Value, Error> {
    Ok(json!({"type": "text", "text": block.required_text("text")?}))
}

fn image(block: &mut Fields) -> Result<Value, Error> {
    let mut source = block.required_object("source")?;
    if source.required_text("type")? != "base64" {
        return Err(source.wrong("type", "must be base64; nothing is fetched"));
    }
    let (kind, data) = (
        source.required_text("media_type")?,
        source.required_text("data")?,
    );
    if !is_image_kind(&kind) {
        return Err(source.wrong(
            "media_type",
            "must be that of a PNG, JPEG, GIF, BMP or WebP",
        ));
    }
    if !is_base64(&data) {
        return Err(source.wrong("data", "must be base64"));
    }
    block.n_dropped += source.drop_rest();
    Ok(json!({"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}))
}
