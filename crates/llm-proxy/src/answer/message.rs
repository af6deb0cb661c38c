//! A message of Anthropic's API out of its events: blocks begin, grow and end; the reason for the end comes last.

use serde_json::{Map, Value, json};

use crate::error::Error;

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct WholeMessage {
    /// Everything but the content.
    head: Map<String, Value>,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    index: u64,
    fields: Map<String, Value>,
    /// The arguments of a call, as text in pieces.
    arguments: String,
}

impl WholeMessage {
    pub(super) fn add(&mut self, mut event: Map<String, Value>) {
        let index = event
            .get("index")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let name = event.remove("type");
        match name.as_ref().and_then(Value::as_str) {
            Some("message_start") => self.head = take(&mut event, "message"),
            Some("content_block_start") => {
                let fields = take(&mut event, "content_block");
                self.blocks.push(Block {
                    index,
                    fields,
                    arguments: String::new(),
                });
            }
            Some("content_block_delta") => {
                if let Some(block) = self.blocks.iter_mut().find(|block| block.index == index) {
                    block.add(&take(&mut event, "delta"));
                }
            }
            Some("message_delta") => {
                self.head.extend(take(&mut event, "delta"));
                if let Some(Value::Object(usage)) = self.head.get_mut("usage") {
                    usage.extend(take(&mut event, "usage"));
                }
            }
            _ => {}
        }
    }

    pub(super) fn end(mut self) -> Result<Value, Error> {
        if !self.head.get("stop_reason").is_some_and(Value::is_string) {
            return Err(Error::UpstreamTruncated);
        }
        self.blocks.sort_by_key(|block| block.index);
        let content = self.blocks.into_iter().map(Block::end).collect::<Value>();
        self.head.insert("content".to_owned(), content);
        Ok(self.head.into())
    }
}

impl Block {
    fn add(&mut self, delta: &Map<String, Value>) {
        for (name, value) in delta {
            match (name.as_str(), value, self.fields.get_mut(name)) {
                ("partial_json", Value::String(more), _) => self.arguments.push_str(more),
                ("text" | "thinking", Value::String(more), Some(Value::String(text))) => {
                    text.push_str(more);
                }
                ("text" | "thinking" | "signature", more, _) => {
                    self.fields.insert(name.clone(), more.clone());
                }
                _ => {}
            }
        }
    }

    fn end(mut self) -> Value {
        if self
            .fields
            .get("type")
            .is_some_and(|kind| kind == "tool_use")
        {
            // A call that the limit of tokens has cut has no arguments, as llama-server has it.
            let arguments = serde_json::from_str(&self.arguments).unwrap_or_else(|_| json!({}));
            self.fields.insert("input".to_owned(), arguments);
        }
        self.fields.into()
    }
}

/// Takes the object `name` out of `event`; empty where there is none.
fn take(event: &mut Map<String, Value>, name: &str) -> Map<String, Value> {
    match event.remove(name) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}
