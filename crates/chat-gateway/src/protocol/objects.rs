//! Strict reading of what clients write: objects as objects, a part with exactly its fields, content as text or parts.
//!
//! What serde derives would read a list of a struct's fields as that struct, and would not say which field of a part is
//! wrong.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::protocol::record::{ContentPart, MessageContent};

/// The largest whole number that every client can tell from its neighbours.
const MAX_POSITION: u64 = (1 << 53) - 1;

/// Whether a field says no more than a missing one.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads an object, and no list.
pub(super) fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    StrictObject::deserialize(deserializer).map(|object| object.0)
}

/// Reads a list of objects.
pub(super) fn objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let objects = Vec::<StrictObject<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|object| object.0).collect())
}

/// Reads a position of an answer.
pub(super) fn position<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let position = u64::deserialize(deserializer)?;
    if position > MAX_POSITION {
        let found = Unexpected::Unsigned(position);
        return Err(D::Error::invalid_value(found, &"u64"));
    }
    Ok(position)
}

/// Something that was written as an object.
struct StrictObject<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for StrictObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StrictObjectVisitor(PhantomData))
    }
}

struct StrictObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for StrictObjectVisitor<T> {
    type Value = StrictObject<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(StrictObject)
    }
}

impl<'de> Deserialize<'de> for MessageContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = MessageContent;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string or a list of parts")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(MessageContent::Text(text.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(MessageContent::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while let Some(StrictObject(part)) = list.next_element()? {
            parts.push(part);
        }
        Ok(MessageContent::Parts(parts))
    }
}

/// The fields of every part.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartFields {
    #[serde(rename = "type")]
    kind: PartKind,
    text: Option<String>,
    data_url: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PartKind {
    Text,
    Image,
}

impl<'de> Deserialize<'de> for ContentPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let PartFields {
            kind,
            text,
            data_url,
        } = object(deserializer)?;
        match (kind, text, data_url) {
            (PartKind::Text, Some(text), None) => Ok(Self::Text { text }),
            (PartKind::Image, None, Some(data_url)) => Ok(Self::Image { data_url }),
            (PartKind::Text, None, _) => Err(D::Error::missing_field("text")),
            (PartKind::Image, _, None) => Err(D::Error::missing_field("data_url")),
            (PartKind::Text, Some(_), Some(_)) => {
                Err(D::Error::unknown_field("data_url", &["type", "text"]))
            }
            (PartKind::Image, Some(_), Some(_)) => {
                Err(D::Error::unknown_field("text", &["type", "data_url"]))
            }
        }
    }
}
