//! Reads a checked JSON value as a type, and says which field is wrong.
//!
//! A serde deserializer, because three things hold on every level of every body that those of `serde_json` cannot know:
//! a field that says nothing counts as absent, an object can be told by its field `type` or `role` without losing the path
//! of what is wrong inside, and unknown fields are either counted or refused (`deny_unknown_fields`).

use std::cell::Cell;
use std::fmt::{self, Display};

use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::InvalidRequest;

/// The name of a type that is either a text or something else; see [`super::values::TextOr`].
pub(super) const TEXT_OR: &str = "a text or something else";
/// The longest unexpected name that an error repeats, in characters.
pub(super) const MAX_NAME_CHARS: usize = 64;

/// Fields below the top that clients send and that change nothing here: marks of their own, what other servers read, and
/// what an answer had beside its text when it comes back as history.
const PASSED_OVER: [&str; 34] = [
    "allowed_callers",
    "annotations",
    "audio",
    "budget_tokens",
    "cache_control",
    "caller",
    "chunk_include_usage",
    "citations",
    "continuous_usage_stats",
    "defer_loading",
    "detail",
    "disable_parallel_tool_use",
    "display",
    "eager_input_streaming",
    "encrypted_content",
    "function_call",
    "generate_summary",
    "id",
    "include_obfuscation",
    "index",
    "input_examples",
    "is_error",
    "logprobs",
    "metadata",
    "output_schema",
    "parsed",
    "parsed_arguments",
    "parsed_output",
    "partial_json",
    "phase",
    "signature",
    "status",
    "summary",
    "verbosity",
];

/// A body's top-level fields, of which each type takes its own.
#[derive(Debug)]
pub(super) struct Fields {
    rest: Map<String, Value>,
    n_dropped: Cell<u64>,
}

impl Fields {
    pub(super) fn new(object: Map<String, Value>) -> Self {
        Self {
            rest: object,
            n_dropped: Cell::new(0),
        }
    }

    /// Reads a struct from the fields that it has, and leaves the others.
    pub(super) fn take<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T, InvalidRequest> {
        let deserializer = Taking {
            rest: &mut self.rest,
            n_dropped: &self.n_dropped,
        };
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let path = path(error.path());
            error.into_inner().at(path)
        })
    }

    /// Refuses the first field that is one of `names` and says anything.
    pub(super) fn refuse(&self, names: &[&str], problem: &str) -> Result<(), InvalidRequest> {
        // The fields are few and the names are many: no name is looked up.
        let mut given = self.rest.iter();
        match given.find(|(name, value)| names.contains(&name.as_str()) && !says_nothing(value)) {
            Some((name, _)) => Err(InvalidRequest::field(name, problem)),
            None => Ok(()),
        }
    }

    /// Refuses the field `name` if it says anything, unless `is_default` holds for what it says.
    pub(super) fn refuse_unless(
        &mut self,
        name: &str,
        is_default: impl Fn(&Value) -> bool,
        problem: &str,
    ) -> Result<(), InvalidRequest> {
        match self.rest.shift_remove(name) {
            Some(value) if !says_nothing(&value) && !is_default(&value) => {
                Err(InvalidRequest::field(name, problem))
            }
            _ => Ok(()),
        }
    }

    /// Whether the field `name` is there and `holds` of it.
    pub(super) fn holds(&self, name: &str, holds: impl Fn(&Value) -> bool) -> bool {
        self.rest.get(name).is_some_and(holds)
    }

    /// Takes out the field `name` if `is_default` holds of it.
    pub(super) fn drop_if(&mut self, name: &str, is_default: impl Fn(&Value) -> bool) {
        if self.holds(name, is_default) {
            self.rest.shift_remove(name);
        }
    }

    /// How many unknown fields were dropped, those that nobody took included.
    pub(super) fn n_dropped(self) -> u64 {
        let untaken = self.rest.values().filter(|value| !says_nothing(value));
        self.n_dropped.get() + untaken.count() as u64
    }
}

/// Whether a field with this value counts as absent where it may be absent.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `messages[1].content`. Enum variants do not appear in the path.
fn path(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.extend(key.chars().take(MAX_NAME_CHARS));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

/// Why deserialization failed.
#[derive(Debug)]
pub(super) struct Wrong {
    /// A field of the object there that is missing.
    missing: Option<&'static str>,
    problem: String,
}

impl Wrong {
    fn at(self, mut path: String) -> InvalidRequest {
        if let Some(missing) = self.missing {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(missing);
        }
        InvalidRequest::field(path, self.problem)
    }

    fn missing(name: &'static str) -> Self {
        Self {
            missing: Some(name),
            problem: "is missing".to_owned(),
        }
    }
}

impl de::Error for Wrong {
    fn custom<T: Display>(problem: T) -> Self {
        Self {
            missing: None,
            problem: problem.to_string(),
        }
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("must be {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("must be {expected}"))
    }

    fn missing_field(name: &'static str) -> Self {
        Self::missing(name)
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::custom(format_args!(
            "is not known here; known are {}",
            known.join(", ")
        ))
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::custom(format_args!("must be {}", one_of(known)))
    }
}

impl Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Wrong {}

/// "none, auto or required".
fn one_of(words: &[&str]) -> String {
    match words {
        [] => "absent".to_owned(),
        [word] => (*word).to_owned(),
        [words @ .., last] => format!("{} or {last}", words.join(", ")),
    }
}

/// The struct that takes its fields from the top of a body.
struct Taking<'a> {
    rest: &'a mut Map<String, Value>,
    n_dropped: &'a Cell<u64>,
}

impl<'de> Deserializer<'de> for Taking<'_> {
    type Error = Wrong;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let own = fields
            .iter()
            .filter_map(|field| self.rest.shift_remove_entry(*field))
            .collect();
        let node = FieldValue {
            value: Value::Object(own),
            n_dropped: self.n_dropped,
            may_be_text: false,
        };
        node.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Wrong> {
        Err(Wrong::custom("must be read as a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// One value of a body.
struct FieldValue<'a> {
    value: Value,
    n_dropped: &'a Cell<u64>,
    /// Whether a text would have been fine too, for the words of an error.
    may_be_text: bool,
}

impl<'a> FieldValue<'a> {
    fn must_be(&self, what: &str) -> Wrong {
        let or_text = if self.may_be_text { "a string or " } else { "" };
        Wrong::custom(format_args!("must be {or_text}{what}"))
    }

    fn entries(entries: Map<String, Value>, n_dropped: &'a Cell<u64>) -> FieldEntries<'a> {
        FieldEntries {
            rest: entries.into_iter(),
            value: None,
            known: None,
            n_dropped,
        }
    }
}

impl<'de> Deserializer<'de> for FieldValue<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(on) => visitor.visit_bool(on),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (None, Some(number), _) => visitor.visit_i64(number),
                (None, None, number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(FieldItems {
                rest: items.into_iter(),
                n_dropped: self.n_dropped,
            }),
            Value::Object(entries) => visitor.visit_map(Self::entries(entries, self.n_dropped)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if says_nothing(&self.value) {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value {
            Value::Bool(on) => visitor.visit_bool(on),
            _ => Err(self.must_be("true or false")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value {
            Value::String(text) => visitor.visit_string(text),
            _ => Err(self.must_be("a string")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_string(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value {
            Value::Array(_) => self.deserialize_any(visitor),
            _ => Err(self.must_be("an array")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value {
            Value::Object(_) => self.deserialize_any(visitor),
            _ => Err(self.must_be("an object")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.value {
            Value::Object(entries) => {
                let mut entries = Self::entries(entries, self.n_dropped);
                entries.known = Some(fields);
                visitor.visit_map(entries)
            }
            _ => Err(self.must_be("an object")),
        }
    }

    /// A word, an object told by the field that the type is named after, or a text or something else.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        if name == TEXT_OR {
            return visitor.visit_enum(ValueKind::text_or(self));
        }
        let (tag, default) = match name.split_once('=') {
            Some((tag, default)) => (tag, Some(default)),
            None => (name, None),
        };
        match self.value {
            Value::Object(mut entries) if ["type", "role"].contains(&tag) => {
                let word = match entries.shift_remove(tag) {
                    Some(Value::String(word)) if !word.is_empty() || default.is_none() => word,
                    None | Some(Value::Null | Value::String(_)) if default.is_some() => {
                        default.unwrap_or_default().to_owned()
                    }
                    None => return Err(Wrong::missing(tag_name(tag))),
                    Some(_) => String::new(),
                };
                if !variants.contains(&word.as_str()) {
                    return Err(Wrong {
                        missing: Some(tag_name(tag)),
                        problem: format!("must be {}", one_of(variants)),
                    });
                }
                visitor.visit_enum(ValueKind {
                    word,
                    content: Self {
                        value: Value::Object(entries),
                        ..self
                    },
                })
            }
            _ if ["type", "role"].contains(&tag) => Err(self.must_be("an object")),
            Value::String(word) => {
                let word: StringDeserializer<Wrong> = word.into_deserializer();
                visitor.visit_enum(word)
            }
            _ => Err(Wrong::custom(format_args!("must be {}", one_of(variants)))),
        }
    }

    /// A field that is known and passed over, whatever it holds.
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    /// A field that nobody knows.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.n_dropped.set(self.n_dropped.get() + 1);
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit tuple tuple_struct identifier
    }
}

/// The tag as a `'static` string.
fn tag_name(tag: &str) -> &'static str {
    if tag == "role" { "role" } else { "type" }
}

struct FieldItems<'a> {
    rest: std::vec::IntoIter<Value>,
    n_dropped: &'a Cell<u64>,
}

impl<'de> SeqAccess<'de> for FieldItems<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Wrong> {
        let Some(value) = self.rest.next() else {
            return Ok(None);
        };
        let node = FieldValue {
            value,
            n_dropped: self.n_dropped,
            may_be_text: false,
        };
        seed.deserialize(node).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct FieldEntries<'a> {
    rest: serde_json::map::IntoIter,
    value: Option<Value>,
    /// The names that a struct knows.
    known: Option<&'static [&'static str]>,
    n_dropped: &'a Cell<u64>,
}

impl<'de> MapAccess<'de> for FieldEntries<'_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        let known = self.known;
        let Some((name, value)) = self
            .rest
            .find(|(name, value)| matters(name.as_str(), value, known))
        else {
            return Ok(None);
        };
        self.value = Some(value);
        let name: StringDeserializer<Wrong> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        seed.deserialize(FieldValue {
            value: self.value.take().unwrap_or_default(),
            n_dropped: self.n_dropped,
            may_be_text: false,
        })
    }
}

/// Whether a struct that knows these names hears of the field.
fn matters(name: &str, value: &Value, known: Option<&[&str]>) -> bool {
    known.is_none_or(|known| {
        known.contains(&name) || !(says_nothing(value) || PASSED_OVER.contains(&name))
    })
}

/// A variant by its word, and what it holds.
struct ValueKind<'a> {
    word: String,
    content: FieldValue<'a>,
}

impl<'a> ValueKind<'a> {
    /// Nothing is an empty text.
    fn text_or(mut content: FieldValue<'a>) -> Self {
        if content.value.is_null() || content.value.as_object().is_some_and(Map::is_empty) {
            content.value = Value::String(String::new());
        }
        let word = if content.value.is_string() {
            "text"
        } else {
            "other"
        };
        content.may_be_text = true;
        Self {
            word: word.to_owned(),
            content,
        }
    }
}

impl<'a, 'de> EnumAccess<'de> for ValueKind<'a> {
    type Error = Wrong;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Wrong> {
        let word: StrDeserializer<'_, Wrong> = self.word.as_str().into_deserializer();
        let variant = seed.deserialize(word)?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for ValueKind<'_> {
    type Error = Wrong;

    fn unit_variant(self) -> Result<(), Wrong> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Wrong> {
        seed.deserialize(self.content)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.content.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.content.deserialize_struct("", fields, visitor)
    }
}
