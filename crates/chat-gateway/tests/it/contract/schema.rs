//! The JSON Schemas of the frames: one file for each direction, one definition for each type of frame.
//!
//! They come from utoipa, which writes OpenAPI. What only OpenAPI knows is left out, and an optional field is a missing
//! one: `null` remains only where it means something else.

use chat_gateway::protocol::v2::{ClientFrame, ServerFrame};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::node::Node;

/// Where utoipa puts schemas, and where they are here.
const COMPONENTS: &str = "#/components/schemas/";
const DEFS: &str = "#/$defs/";
/// The only field that may be null and means something by it: no parent.
const NULLABLE: (&str, &str) = ("send", "parent");
/// Objects of clients in which the server refuses what it does not know, beside those that say so.
const STRICT: &str = "ContentPart";

/// Whose frames a schema describes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    FromClient,
    FromServer,
}

impl Direction {
    /// The name of the schema's file.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::FromClient => "client-frames.schema.json",
            Self::FromServer => "server-frames.schema.json",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::FromClient => "Frames from clients, version 2 of the chat protocol",
            Self::FromServer => "Frames from the server, version 2 of the chat protocol",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::FromClient => {
                "What a client may send. The server ignores fields that it does not know, except in `options` and in the parts of `content`."
            }
            Self::FromServer => {
                "What the server may send. Ignore types of frames, values of lists and fields that you do not know: a later server may send more."
            }
        }
    }
}

/// The schema of all frames in one direction.
pub(super) fn schema(direction: Direction) -> Node {
    match direction {
        Direction::FromClient => of::<ClientFrame>(direction),
        Direction::FromServer => of::<ServerFrame>(direction),
    }
}

/// The types of frames in a schema, with their definitions.
pub(super) fn frames(schema: &Node) -> Vec<(&str, &Node)> {
    let references = schema.get("oneOf").map(Node::items).unwrap_or_default();
    let names = references.iter().filter_map(|frame| frame.text("$ref"));
    names
        .map(|name| {
            let name = name.strip_prefix(DEFS).unwrap();
            (name, schema.get("$defs").unwrap().get(name).unwrap())
        })
        .collect()
}

fn of<T: ToSchema>(direction: Direction) -> Node {
    let mut found = Vec::new();
    T::schemas(&mut found);
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    found.dedup_by(|(left, _), (right, _)| left == right);
    let parts: Vec<(String, Node)> = found
        .iter()
        .map(|(name, schema)| (name.clone(), Node::of(schema)))
        .collect();
    let variants = Node::of(&T::schema());
    let variants = variants.get("oneOf").unwrap().items();
    let frames: Vec<(String, Node)> = variants
        .iter()
        .map(|variant| frame(variant, &parts))
        .collect();
    let all = frames
        .iter()
        .map(|(name, _)| Node::reference(&format!("{DEFS}{name}")));
    let all = all.collect();
    let mut defs = frames;
    let mut at = 0;
    // What nothing refers to was only the body of a frame.
    while at < defs.len() {
        let text = serde_json::to_string(&defs[at].1).unwrap();
        for (name, schema) in &parts {
            let is_there = defs.iter().any(|(there, _)| there == name);
            if !is_there && text.contains(&format!("\"{COMPONENTS}{name}\"")) {
                defs.push((name.clone(), schema.clone()));
            }
        }
        at += 1;
    }
    for (name, schema) in &mut defs {
        tidy(name, schema, direction);
    }
    Node::object([
        (
            "$schema",
            "https://json-schema.org/draft/2020-12/schema".into(),
        ),
        ("title", direction.title().into()),
        ("description", direction.description().into()),
        ("oneOf", Node::List(all)),
        ("$defs", Node::Object(defs)),
    ])
}

/// One type of frame, its own fields and `type` in one object.
fn frame(variant: &Node, parts: &[(String, Node)]) -> (String, Node) {
    let mut body = variant.clone();
    let mut tag = variant
        .get("properties")
        .and_then(|fields| fields.get("type"));
    if let Some([part, tagged]) = variant.get("allOf").map(Node::items) {
        let name = part.text("$ref").unwrap().strip_prefix(COMPONENTS).unwrap();
        let found = parts.iter().find(|(part, _)| part == name);
        body = found.unwrap().1.clone();
        body.set("description", variant.get("description").unwrap().clone());
        tag = tagged
            .get("properties")
            .and_then(|fields| fields.get("type"));
    }
    let Some(Node::Leaf(Value::String(name))) = tag.unwrap().get("enum").map(|all| &all.items()[0])
    else {
        panic!("a frame without a type: {variant:?}");
    };
    let kind = Node::object([("const", name.as_str().into())]);
    let mut fields = vec![("type".to_owned(), kind)];
    let others = body.get("properties").map(Node::fields).unwrap_or_default();
    fields.extend(others.iter().filter(|(field, _)| field != "type").cloned());
    let mut required = vec!["type".into()];
    let others = body.get("required").map(Node::items).unwrap_or_default();
    required.extend(
        others
            .iter()
            .filter(|field| **field != "type".into())
            .cloned(),
    );
    body.set("required", Node::List(required));
    body.set("properties", Node::Object(fields));
    (name.clone(), body)
}

/// Makes plain JSON Schema of what utoipa writes.
fn tidy(name: &str, schema: &mut Node, direction: Direction) {
    schema.each(&|node| {
        if let Some(to) = node.text("$ref").and_then(|to| to.strip_prefix(COMPONENTS)) {
            node.set("$ref", format!("{DEFS}{to}").as_str().into());
        }
        if node.get("default") == Some(&Node::Leaf(Value::Null)) {
            node.take("default");
        }
        if direction == Direction::FromServer {
            node.take("additionalProperties");
        } else if name == STRICT && node.get("properties").is_some() {
            node.set("additionalProperties", Node::Leaf(false.into()));
        }
        let most: Option<u64> = match node.text("format") {
            Some("int32") => Some(u32::MAX.into()),
            Some("int64") => Some((1 << 53) - 1),
            _ => None,
        };
        if node.text("format").is_some_and(|format| format != "uuid") {
            node.take("format");
        }
        if let Some(most) = most {
            node.set("maximum", Node::Leaf(json!(most)));
        }
    });
    let Some(Node::Object(mut fields)) = schema.get("properties").cloned() else {
        return;
    };
    for (field, node) in &mut fields {
        if (name, field.as_str()) != NULLABLE {
            not_null(node);
        }
    }
    schema.set("properties", Node::Object(fields));
}

/// Takes null out of what a field may be.
fn not_null(field: &mut Node) {
    if let Some([kind, null]) = field.get("type").map(Node::items)
        && *null == "null".into()
    {
        let kind = kind.clone();
        field.set("type", kind);
    }
    if let Some([schema, null]) = field.get("oneOf").map(Node::items)
        && null.text("type") == Some("null")
    {
        *field = schema.clone();
    }
}
