//! A JSON schema as callers write it. Its fields are the keywords that mean something here; any other word is an
//! annotation and is dropped. Nothing of this type is ever sent: `build` makes a schema of its own out of it.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// A schema: `true`, `false`, or an object of keywords.
#[derive(Debug)]
pub(crate) enum Source {
    /// Everything, or nothing.
    Bool(bool),
    /// What must hold.
    Keywords(Box<Keywords>),
}

/// The keywords of one schema object. `null` says nothing, except where it is a value.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Keywords {
    #[serde(rename = "$ref")]
    pub(super) reference: Option<String>,
    #[serde(rename = "$defs")]
    pub(super) defs: Option<NamedSource<Source>>,
    pub(super) definitions: Option<NamedSource<Source>>,

    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) default: Option<Value>,
    pub(super) examples: Option<Vec<Value>>,

    #[serde(rename = "type")]
    pub(super) kind: Option<OneOrMany<JsonKind>>,
    pub(super) nullable: Option<bool>,
    #[serde(rename = "const", deserialize_with = "present")]
    pub(super) constant: Option<Value>,
    #[serde(rename = "enum")]
    pub(super) values: Option<Vec<Value>>,
    pub(super) all_of: Option<Vec<Source>>,
    pub(super) any_of: Option<Vec<Source>>,
    pub(super) one_of: Option<Vec<Source>>,

    pub(super) properties: Option<NamedSource<Source>>,
    pub(super) required: Option<Required>,
    pub(super) additional_properties: Option<Source>,
    pub(super) unevaluated_properties: Option<Source>,
    pub(super) pattern_properties: Option<NamedSource<Source>>,
    pub(super) property_names: Option<Source>,

    pub(super) items: Option<Items>,
    pub(super) prefix_items: Option<Vec<Source>>,
    pub(super) additional_items: Option<Source>,
    pub(super) min_items: Option<BoundedCount>,
    pub(super) max_items: Option<BoundedCount>,
    pub(super) unique_items: Option<bool>,

    pub(super) pattern: Option<String>,
    pub(super) format: Option<String>,
    pub(super) min_length: Option<BoundedCount>,
    pub(super) max_length: Option<BoundedCount>,

    pub(super) minimum: Option<Number>,
    pub(super) maximum: Option<Number>,
    pub(super) exclusive_minimum: Option<Exclusive>,
    pub(super) exclusive_maximum: Option<Exclusive>,
    pub(super) multiple_of: Option<Number>,

    pub(super) min_properties: Option<BoundedCount>,
    pub(super) max_properties: Option<BoundedCount>,
    pub(super) not: Option<IgnoredAny>,
    #[serde(rename = "if")]
    pub(super) condition: Option<IgnoredAny>,
    pub(super) dependent_required: Option<IgnoredAny>,
    pub(super) dependent_schemas: Option<IgnoredAny>,
    pub(super) dependencies: Option<IgnoredAny>,
    pub(super) contains: Option<IgnoredAny>,
    pub(super) unevaluated_items: Option<IgnoredAny>,
    #[serde(rename = "$dynamicRef")]
    pub(super) dynamic_reference: Option<IgnoredAny>,
    #[serde(rename = "$recursiveRef")]
    pub(super) recursive_reference: Option<IgnoredAny>,
}

/// A word of `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JsonKind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// A list that may be written as its only item.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "must be a type or a list of types")]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// `required`: names, or the `true` of an old draft, which says nothing that can be read here.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "must be a list of names")]
pub(crate) enum Required {
    Names(Vec<String>),
    Flag(bool),
}

/// A bound that excludes itself: a number, or the switch of an old draft that makes `minimum` exclude itself.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "must be a number")]
pub(crate) enum Exclusive {
    Flag(bool),
    Number(Number),
}

/// A whole number of at least 0, which JSON may write as `3.0`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "Number")]
pub(crate) struct BoundedCount(pub(super) u64);

/// One schema for all items, or one for each place.
#[derive(Debug)]
pub(crate) enum Items {
    All(Source),
    Each(Vec<Source>),
}

/// An object's entries in the order in which they were written.
#[derive(Debug)]
pub(crate) struct NamedSource<T>(pub(super) Vec<(String, T)>);

impl<T> OneOrMany<T> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(list) => list.len(),
        }
    }
}

impl Source {
    /// The keywords, unless this is `true` or `false`.
    pub(super) fn keywords(&self) -> Option<&Keywords> {
        match self {
            Self::Bool(_) => None,
            Self::Keywords(keywords) => Some(keywords),
        }
    }
}

impl Keywords {
    /// Whether nothing but a reference, one `allOf`, definitions and annotations is here.
    pub(super) fn asserts_nothing_else(&self) -> bool {
        let about_all = self.kind.is_none()
            && self.nullable != Some(true)
            && self.constant.is_none()
            && is_empty(self.values.as_ref())
            && is_empty(self.any_of.as_ref())
            && is_empty(self.one_of.as_ref());
        about_all
            && !self.speaks_of_objects()
            && !self.speaks_of_arrays()
            && !self.speaks_of_strings()
            && !self.speaks_of_numbers()
            && self.unheld().next().is_none()
    }

    /// Bytes of the annotations, nearly.
    pub(super) fn n_about_bytes(&self) -> usize {
        let words = [&self.title, &self.description];
        let n_words: usize = words.into_iter().flatten().map(String::len).sum();
        let values = self.default.iter().chain(self.examples.iter().flatten());
        n_words + values.map(|value| value.to_string().len()).sum::<usize>()
    }

    pub(super) fn speaks_of_objects(&self) -> bool {
        self.properties.is_some()
            || self.required.is_some()
            || self.additional_properties.is_some()
            || self.unevaluated_properties.is_some()
            || self.pattern_properties.is_some()
            || self.property_names.is_some()
    }

    pub(super) fn speaks_of_arrays(&self) -> bool {
        self.items.is_some()
            || self.prefix_items.is_some()
            || self.min_items.is_some()
            || self.max_items.is_some()
    }

    pub(super) fn speaks_of_strings(&self) -> bool {
        self.pattern.is_some()
            || self.format.is_some()
            || self.min_length.is_some()
            || self.max_length.is_some()
    }

    pub(super) fn speaks_of_numbers(&self) -> bool {
        self.minimum.is_some()
            || self.maximum.is_some()
            || self.exclusive_minimum.is_some()
            || self.exclusive_maximum.is_some()
            || self.multiple_of.is_some()
    }

    /// The keywords here that no grammar of llama.cpp can hold, whatever comes with them.
    pub(super) fn unheld(&self) -> impl Iterator<Item = &'static str> {
        [
            ("uniqueItems", self.unique_items == Some(true)),
            (
                "minProperties",
                self.min_properties.is_some_and(|n| n.0 > 0),
            ),
            ("maxProperties", self.max_properties.is_some()),
            ("not", self.not.is_some()),
            ("if", self.condition.is_some()),
            ("dependentRequired", self.dependent_required.is_some()),
            ("dependentSchemas", self.dependent_schemas.is_some()),
            ("dependencies", self.dependencies.is_some()),
            ("contains", self.contains.is_some()),
            ("unevaluatedItems", self.unevaluated_items.is_some()),
            ("$dynamicRef", self.dynamic_reference.is_some()),
            ("$recursiveRef", self.recursive_reference.is_some()),
        ]
        .into_iter()
        .filter_map(|(keyword, is_here)| is_here.then_some(keyword))
    }
}

fn is_empty<T>(list: Option<&Vec<T>>) -> bool {
    list.is_none_or(Vec::is_empty)
}

/// A value that may be `null` and still be one.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl TryFrom<Number> for BoundedCount {
    type Error = &'static str;

    fn try_from(number: Number) -> Result<Self, Self::Error> {
        /// Beyond it floats are no longer exact.
        const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
        let whole = number
            .as_f64()
            .filter(|n| n.fract() == 0.0 && (0.0..=MAX_EXACT).contains(n));
        number
            .as_u64()
            .or(whole.map(|n| n as u64))
            .map(Self)
            .ok_or("must be a whole number of at least 0")
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SourceVisitor)
    }
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ItemsVisitor)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for NamedSource<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(NamedVisitor(std::marker::PhantomData))
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a schema, which is an object, true or false")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Source, E> {
        Ok(Source::Bool(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
        Keywords::deserialize(MapAccessDeserializer::new(map))
            .map(|keywords| Source::Keywords(Box::new(keywords)))
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a schema or a list of schemas")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Items, E> {
        SourceVisitor.visit_bool(value).map(Items::All)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Items, A::Error> {
        SourceVisitor.visit_map(map).map(Items::All)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Items, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Items::Each)
    }
}

struct NamedVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = NamedSource<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of schemas")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NamedSource<T>, A::Error> {
        let mut entries = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format_args!(
                    "`{name:.64}` is given more than once"
                )));
            }
            entries.push((name, map.next_value()?));
        }
        Ok(NamedSource(entries))
    }
}
