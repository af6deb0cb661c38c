//! The schema that is built: the forms that llama.cpp's converter reads as they are meant, and no other.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::pattern::Pattern;

/// A schema with what is said about it. The words reach the model where a template shows tools.
#[derive(Clone, Debug)]
pub(super) struct SchemaPart {
    pub(super) about: About,
    pub(super) node: Node,
}

/// Annotations, which no grammar looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) default: Option<Value>,
    pub(super) examples: Option<Vec<Value>>,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Any,
    /// A definition, by its number.
    Reference(usize),
    /// One of two or more. `one_of` is where the caller asks that it be exactly one.
    AnyOf {
        parts: Vec<SchemaPart>,
        one_of: Option<String>,
    },
    /// One or more.
    Values(Vec<Value>),
    Null,
    Boolean,
    Number,
    Integer(Bounds),
    Text(TextNode),
    List(Box<ListNode>),
    Tuple(Vec<SchemaPart>),
    Object(Object),
}

/// Inclusive, and such that the converter gets them right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) min: Option<i64>,
    pub(super) max: Option<i64>,
}

/// A pattern, or a length.
#[derive(Clone, Debug, Default)]
pub(super) struct TextNode {
    /// Sent beside the pattern that holds it, for the model to read.
    pub(super) format: Option<String>,
    pub(super) pattern: Option<Arc<Pattern>>,
    pub(super) min: u64,
    pub(super) max: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct ListNode {
    pub(super) items: SchemaPart,
    pub(super) min: u64,
    pub(super) max: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) properties: Vec<Property>,
    /// What other properties hold, if others may be there.
    pub(super) others: Option<Box<SchemaPart>>,
    /// Whether the caller says that there are no others. Where nobody speaks of them, llama.cpp allows none either.
    pub(super) is_closed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Property {
    pub(super) name: String,
    pub(super) part: SchemaPart,
    pub(super) is_required: bool,
}

/// How a schema is written.
#[derive(Clone, Copy)]
pub(super) struct Style<'a> {
    /// The names of the definitions.
    pub(super) names: &'a [String],
    /// Whether `type` may be a list. Templates that show tools to a model fail on one.
    pub(super) has_lists: bool,
}

impl From<Node> for SchemaPart {
    fn from(node: Node) -> Self {
        Self {
            about: About::default(),
            node,
        }
    }
}

impl About {
    pub(super) fn is_empty(&self) -> bool {
        self.title.is_none()
            && self.description.is_none()
            && self.default.is_none()
            && self.examples.is_none()
    }
}

/// What leaves, in this order.
#[derive(Default, Serialize)]
pub(super) struct SchemaOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<Value>,
    #[serde(rename = "$ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(rename = "anyOf", skip_serializing_if = "Vec::is_empty")]
    any_of: Vec<SchemaOutput>,
    #[serde(rename = "enum", skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Value>>,
    #[serde(rename = "const", skip_serializing_if = "Option::is_none")]
    constant: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    #[serde(flatten)]
    bounds: Map<String, Value>,
    #[serde(rename = "prefixItems", skip_serializing_if = "Option::is_none")]
    prefix_items: Option<Vec<SchemaOutput>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Box<SchemaOutput>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Entries>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<Vec<String>>,
    #[serde(
        rename = "additionalProperties",
        skip_serializing_if = "Option::is_none"
    )]
    additional_properties: Option<Box<Additional>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    examples: Option<Vec<Value>>,
    #[serde(rename = "$defs", skip_serializing_if = "Option::is_none")]
    defs: Option<Entries>,
}

/// An object whose entries keep their order.
pub(super) struct Entries(pub(super) Vec<(String, SchemaOutput)>);

#[derive(Serialize)]
#[serde(untagged)]
enum Additional {
    Bool(bool),
    Schema(Box<SchemaOutput>),
}

impl Serialize for Entries {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, output)| (name, output)))
    }
}

impl SchemaOutput {
    pub(super) fn with_definitions(mut self, defs: Vec<(String, Self)>) -> Self {
        self.defs = Some(Entries(defs)).filter(|defs| !defs.0.is_empty());
        self
    }

    fn of_kind(kind: &str) -> Self {
        Self {
            kind: Some(kind.into()),
            ..Self::default()
        }
    }

    fn bound(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.bounds.insert(name.to_owned(), value.into());
        }
    }
}

impl SchemaPart {
    /// As it is sent.
    pub(super) fn output(&self, style: Style<'_>) -> SchemaOutput {
        let mut out = self.node.output(style);
        let About {
            title,
            description,
            default,
            examples,
        } = self.about.clone();
        out.title = title;
        out.description = description;
        out.default = default;
        out.examples = examples;
        out
    }

    /// Whether it is one word of `type`, perhaps with bounds.
    fn is_scalar(&self) -> bool {
        let is_one = matches!(
            self.node,
            Node::Boolean | Node::Number | Node::Integer(_) | Node::Text(_)
        );
        is_one && self.about.is_empty()
    }
}

impl Node {
    fn output(&self, style: Style<'_>) -> SchemaOutput {
        match self {
            Self::Any => SchemaOutput::default(),
            Self::Reference(at) => {
                let reference = format!("#/$defs/{}", style.names[*at]);
                SchemaOutput {
                    reference: Some(reference),
                    ..SchemaOutput::default()
                }
            }
            Self::AnyOf { parts, .. } => match parts.as_slice() {
                [
                    part,
                    SchemaPart {
                        node: Self::Null,
                        about,
                    },
                ] if style.has_lists && part.is_scalar() && about.is_empty() => {
                    let mut out = part.output(style);
                    out.kind = out.kind.map(|kind| json!([kind, "null"]));
                    out
                }
                _ => {
                    let any_of = parts.iter().map(|part| part.output(style)).collect();
                    SchemaOutput {
                        any_of,
                        ..SchemaOutput::default()
                    }
                }
            },
            Self::Values(values) => match values.as_slice() {
                [constant] => {
                    let constant = Some(constant.clone());
                    SchemaOutput {
                        kind: kind_of(values),
                        constant,
                        ..SchemaOutput::default()
                    }
                }
                _ => {
                    let values_given = Some(values.clone());
                    SchemaOutput {
                        kind: kind_of(values),
                        values: values_given,
                        ..SchemaOutput::default()
                    }
                }
            },
            Self::Null => SchemaOutput::of_kind("null"),
            Self::Boolean => SchemaOutput::of_kind("boolean"),
            Self::Number => SchemaOutput::of_kind("number"),
            Self::Integer(Bounds { min, max }) => {
                let mut out = SchemaOutput::of_kind("integer");
                out.bound("minimum", *min);
                out.bound("maximum", *max);
                out
            }
            Self::Text(text) => text.output(),
            Self::List(list) => {
                let mut out = SchemaOutput::of_kind("array");
                if !matches!(list.items.node, Node::Any) {
                    out.items = Some(Box::new(list.items.output(style)));
                }
                out.bound("minItems", Some(list.min).filter(|min| *min > 0));
                out.bound("maxItems", list.max);
                out
            }
            Self::Tuple(parts) => {
                let mut out = SchemaOutput::of_kind("array");
                out.prefix_items = Some(parts.iter().map(|part| part.output(style)).collect());
                out
            }
            Self::Object(object) => object.output(style),
        }
    }
}

/// For the model to read: the converter looks at the values.
fn kind_of(values: &[Value]) -> Option<Value> {
    values.iter().all(Value::is_string).then(|| "string".into())
}

impl TextNode {
    fn output(&self) -> SchemaOutput {
        let mut out = SchemaOutput::of_kind("string");
        out.format.clone_from(&self.format);
        out.bound(
            "pattern",
            self.pattern.as_ref().map(|pattern| pattern.text()),
        );
        if self.pattern.is_none() {
            out.bound("minLength", Some(self.min).filter(|min| *min > 0));
            out.bound("maxLength", self.max);
        }
        out
    }
}

impl Object {
    fn output(&self, style: Style<'_>) -> SchemaOutput {
        let mut out = SchemaOutput::of_kind("object");
        let is_free = self.properties.is_empty() && self.others.is_some();
        if !is_free {
            let entries = self.properties.iter();
            let entries = entries.map(|known| (known.name.clone(), known.part.output(style)));
            out.properties = Some(Entries(entries.collect()));
        }
        let required = self.properties.iter().filter(|known| known.is_required);
        let required: Vec<String> = required.map(|known| known.name.clone()).collect();
        out.required = Some(required).filter(|required| !required.is_empty());
        let additional = match &self.others {
            None => self.is_closed.then_some(Additional::Bool(false)),
            Some(part) if matches!(part.node, Node::Any) => {
                (!is_free).then_some(Additional::Bool(true))
            }
            Some(part) => Some(Additional::Schema(Box::new(part.output(style)))),
        };
        out.additional_properties = additional.map(Box::new);
        out
    }
}
