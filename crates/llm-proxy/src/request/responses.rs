//! The body of `/v1/responses`: what was said as a list of items, and nothing that would have to be kept between two
//! requests.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::messages::{image_url, list, n_images, parts};
use super::{Checked, insert, refuse, refuse_dangerous, take_model};
use crate::api::Dialect;
use crate::error::Error;

/// What asks for an earlier answer, which nobody has kept.
const KEPT: [&str; 2] = ["previous_response_id", "conversation"];

impl Checked {
    pub(super) fn responses(
        mut fields: Fields,
        model: &str,
        max_tokens: u64,
    ) -> Result<Self, Error> {
        refuse_dangerous(&mut fields)?;
        refuse(
            &mut fields,
            &KEPT,
            "is not supported: nothing is kept here, so send all that was said in `input`",
        )?;
        if fields.switch("background")? == Some(true) {
            return Err(fields.wrong(
                "background",
                "must be false: an answer that nobody reads is not written",
            ));
        }
        // Nothing is, whatever it says.
        fields.switch("store")?;
        let mut out = Map::new();
        take_model(&mut fields, &mut out, model)?;
        insert(
            &mut out,
            "chat_template_kwargs",
            fields.template_switches()?,
        );
        let (tools, choice) = fields.tools(Dialect::Responses)?;
        insert(&mut out, "tools", tools);
        insert(&mut out, "instructions", fields.text("instructions")?);
        let input = match fields.take("input") {
            Some(text @ Value::String(_)) => text,
            items => list(&mut fields, "input", items, item)?,
        };
        let has_images = n_images(&input) > 0;
        out.insert("input".to_owned(), input);
        insert(
            &mut out,
            "parallel_tool_calls",
            fields.switch("parallel_tool_calls")?,
        );
        insert(&mut out, "tool_choice", choice);
        if let Some(mut reasoning) = fields.object("reasoning")? {
            insert(
                &mut out,
                "reasoning",
                reasoning
                    .effort("effort")?
                    .map(|effort| json!({"effort": effort})),
            );
            fields.n_dropped += reasoning.drop_rest();
        }
        if let Some(mut text) = fields.object("text")? {
            // llama-server does not look into `text`.
            insert(
                &mut out,
                "response_format",
                text.format("format", Dialect::Responses)?,
            );
            fields.n_dropped += text.drop_rest();
        }
        Self::generation(fields, out, max_tokens, has_images)
    }
}

fn item(item: &mut Fields) -> Result<Value, Error> {
    let kind = item.text("type")?.unwrap_or_else(|| "message".to_owned());
    match kind.as_str() {
        "message" => message(item),
        "function_call" => {
            let (id, name) = (item.required_text("call_id")?, item.name()?);
            let arguments = item.required_text("arguments")?;
            Ok(json!({"type": kind, "call_id": id, "name": name, "arguments": arguments}))
        }
        "function_call_output" => {
            let id = item.required_text("call_id")?;
            let output = parts(item, "output", input_text)?
                .ok_or_else(|| item.wrong("output", "is missing"))?;
            Ok(json!({"type": kind, "call_id": id, "output": output}))
        }
        "reasoning" => {
            let thought = parts(item, "content", thought)?
                .ok_or_else(|| item.wrong("content", "is missing"))?;
            if thought.is_string() {
                return Err(item.wrong("content", "must be an array"));
            }
            Ok(json!({"type": kind, "summary": [], "content": thought}))
        }
        _ => {
            let known = "must be message, function_call, function_call_output or reasoning";
            Err(item.wrong("type", known))
        }
    }
}

fn message(message: &mut Fields) -> Result<Value, Error> {
    let role = message.required_text("role")?;
    let (role, part): (_, fn(&mut Fields) -> _) = match role.as_str() {
        // As in a chat.
        "system" | "developer" => ("system", said),
        "user" => ("user", said),
        "assistant" => ("assistant", answered),
        _ => return Err(message.wrong("role", "must be system, developer, user or assistant")),
    };
    let content =
        parts(message, "content", part)?.ok_or_else(|| message.wrong("content", "is missing"))?;
    Ok(json!({"type": "message", "role": role, "content": content}))
}

/// A part of what was said to the model.
fn said(part: &mut Fields) -> Result<Value, Error> {
    match part.required_text("type")?.as_str() {
        "input_text" => words(part, "input_text"),
        "input_image" => {
            Ok(json!({"type": "input_image", "image_url": image_url(part, "image_url")?}))
        }
        _ => Err(part.wrong("type", "must be input_text or input_image")),
    }
}

/// A part of what the model said.
fn answered(part: &mut Fields) -> Result<Value, Error> {
    match part.required_text("type")?.as_str() {
        "output_text" | "input_text" => words(part, "output_text"),
        "refusal" => Ok(json!({"type": "refusal", "refusal": part.required_text("refusal")?})),
        _ => Err(part.wrong("type", "must be output_text or refusal")),
    }
}

/// A part of what a tool has returned.
fn input_text(part: &mut Fields) -> Result<Value, Error> {
    part.must_be("type", "input_text")?;
    words(part, "input_text")
}

/// A part of what the model thought.
fn thought(part: &mut Fields) -> Result<Value, Error> {
    part.must_be("type", "reasoning_text")?;
    words(part, "reasoning_text")
}

fn words(part: &mut Fields, kind: &str) -> Result<Value, Error> {
    Ok(json!({"type": kind, "text": part.required_text("text")?}))
}
