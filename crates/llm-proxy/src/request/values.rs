//! The values that fields hold: numbers in a range, bounded lists and texts, and what is passed over.

use std::fmt::{self, Display};
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value};

/// The first whole number that a float cannot tell from the next one (2^53).
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
/// Bytes of a function's name. Names that tool servers put together are longer than OpenAI's 64.
const MAX_NAME_BYTES: usize = 128;
/// The pictures that llama-server reads. (A scalable one would be a document that names others.)
const IMAGES: [&str; 5] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/bmp",
    "image/webp",
];

/// A field that clients send and that changes nothing here, whatever it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, Serialize)]
pub(super) struct Ignored;

impl Ignored {
    /// For `skip_serializing_if`: it never leaves.
    pub(super) fn stays(&self) -> bool {
        true
    }
}

/// A whole number, which JSON may write as `1.0`: some callers know no other numbers.
pub(super) fn whole(number: &Number) -> Option<i64> {
    let float = number.as_f64()?;
    let exact = float.fract() == 0.0 && float.abs() <= MAX_EXACT;
    number.as_i64().or_else(|| exact.then_some(float as i64))
}

/// Reads a number as what it must be: `read` knows, and `must_be` continues "must be".
fn number<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(Number) -> Option<T>,
    must_be: String,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(NumberVisitor { read, must_be })
}

struct NumberVisitor<R> {
    read: R,
    must_be: String,
}

impl<T, R: FnOnce(Number) -> Option<T>> NumberVisitor<R> {
    fn read<E: serde::de::Error>(self, number: Option<Number>) -> Result<T, E> {
        let read = number.and_then(self.read);
        read.ok_or_else(|| E::custom(format_args!("must be {}", self.must_be)))
    }
}

impl<T, R: FnOnce(Number) -> Option<T>> Visitor<'_> for NumberVisitor<R> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.must_be)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.read(Some(number.into()))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        self.read(Some(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        self.read(Number::from_f64(number))
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct WholeIn<const MIN: i64, const MAX: i64>(pub(super) i64);

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for WholeIn<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number(
            deserializer,
            |number| {
                whole(&number)
                    .filter(|number| (MIN..=MAX).contains(number))
                    .map(Self)
            },
            whole_in(MIN, MAX),
        )
    }
}

/// What a whole number must be that has a range.
pub(super) fn whole_in(min: i64, max: i64) -> String {
    if min == max {
        min.to_string()
    } else {
        format!("a whole number from {min} to {max}")
    }
}

/// A number from `MIN` to `MAX`, sent on as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct NumberIn<const MIN: i32, const MAX: i32>(Number);

impl<'de, const MIN: i32, const MAX: i32> Deserialize<'de> for NumberIn<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let range = f64::from(MIN)..=f64::from(MAX);
        number(
            deserializer,
            |number| {
                number
                    .as_f64()
                    .is_some_and(|float| range.contains(&float))
                    .then_some(Self(number))
            },
            format!("a number from {MIN} to {MAX}"),
        )
    }
}

/// A limit on tokens. One that is too large is lowered later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenLimit(pub(super) u64);

impl<'de> Deserialize<'de> for TokenLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number(
            deserializer,
            |number| {
                number
                    .as_u64()
                    .or_else(|| whole(&number)?.try_into().ok())
                    .filter(|limit| *limit > 0)
                    .map(Self)
            },
            "a whole number from 1".to_owned(),
        )
    }
}

/// A seed of 64 bits, as the OpenAI API takes it, folded into the 32 of llama-server; -1 is a random one there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SamplingSeed(i64);

impl SamplingSeed {
    /// The seed of one of several answers, as llama-server itself counts up from the first.
    pub(super) fn of_answer(self, answer: usize) -> i64 {
        if self.0 == -1 {
            return -1;
        }
        let answer = i64::try_from(answer).unwrap_or_default();
        (self.0 + answer).rem_euclid(u32::MAX.into())
    }
}

impl<'de> Deserialize<'de> for SamplingSeed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number(
            deserializer,
            |number| {
                if let Some(seed) = number.as_u64() {
                    return i64::try_from(seed % u64::from(u32::MAX)).ok().map(Self);
                }
                let seed = whole(&number)?;
                let is_random = seed == -1;
                Some(Self(if is_random {
                    -1
                } else {
                    seed.rem_euclid(u32::MAX.into())
                }))
            },
            "a whole number of 64 bits".to_owned(),
        )
    }
}

/// At most `MAX` items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Listed<T, const MAX: usize>(pub(super) Vec<T>);

impl<T, const MAX: usize> Default for Listed<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Listed<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_seq(ListVisitor::<T, MAX>(PhantomData))
            .map(Self)
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        // Their number is looked at before any of them.
        if items.size_hint().is_some_and(|n| n > MAX) {
            return Err(A::Error::custom(format_args!(
                "must be an array of at most {MAX} items"
            )));
        }
        let mut list = Vec::with_capacity(items.size_hint().unwrap_or_default());
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(list)
    }
}

/// A text, or something else. Nothing (`null` and `{}`) is an empty text. `typed` knows it by its name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename = "a text or something else")]
pub(super) enum TextOr<T> {
    /// A string.
    #[serde(rename = "text")]
    Text(String),
    /// Anything but a string.
    #[serde(rename = "other")]
    Other(T),
}

impl<T: Serialize> Serialize for TextOr<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Other(other) => other.serialize(serializer),
        }
    }
}

/// A field that may be missing, and may say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence<T> {
    /// It is not there.
    #[default]
    Missing,
    /// It is there, and empty.
    Empty,
    /// It is there.
    Given(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Presence<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Option::deserialize(deserializer)?;
        Ok(given.map_or(Self::Empty, Self::Given))
    }
}

/// A part of a message that is nothing but a text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JustText {
    pub(super) text: String,
}

/// A function's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FunctionName(pub(super) String);

impl<'de> Deserialize<'de> for FunctionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let is_plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if is_plain && (1..=MAX_NAME_BYTES).contains(&name.len()) {
            Ok(Self(name))
        } else {
            Err(D::Error::custom(format_args!(
                "must be 1 to {MAX_NAME_BYTES} of the characters a-z A-Z 0-9 _ - ."
            )))
        }
    }
}

/// The arguments of a function's call, as llama-server needs them: the text of one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CallArguments(pub(super) String);

impl Default for CallArguments {
    /// A function that is called without any.
    fn default() -> Self {
        Self("{}".to_owned())
    }
}

impl<'de> Deserialize<'de> for CallArguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const PROBLEM: &str = "must be the text of one JSON object";
        match TextOr::<JsonObject>::deserialize(deserializer)? {
            TextOr::Text(text) if ["", "null"].contains(&text.trim()) => Ok(Self::default()),
            TextOr::Text(text) => match serde_json::from_str::<JsonObject>(&text) {
                Ok(_) => Ok(Self(text)),
                Err(_) => Err(D::Error::custom(PROBLEM)),
            },
            TextOr::Other(object) => Ok(Self(object.to_string())),
        }
    }
}

/// Any JSON object, which is passed on as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct JsonObject(Map<String, Value>);

impl Display for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// An image that is here as a whole: a `data:` URL. llama-server would fetch any other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ImageUrl(String);

impl<'de> Deserialize<'de> for ImageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = String::deserialize(deserializer)?;
        let image = url
            .strip_prefix("data:")
            .and_then(|image| image.split_once(";base64,"));
        if image.is_some_and(|(kind, data)| IMAGES.contains(&kind) && is_base64(data)) {
            Ok(Self(url))
        } else {
            Err(D::Error::custom(
                "must be a data:image/...;base64 URL; nothing is fetched",
            ))
        }
    }
}

/// The kind of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ImageKind(String);

impl<'de> Deserialize<'de> for ImageKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kind = String::deserialize(deserializer)?;
        if IMAGES.contains(&kind.as_str()) {
            Ok(Self(kind))
        } else {
            Err(D::Error::custom(format_args!(
                "must be one of {}",
                IMAGES.join(", ")
            )))
        }
    }
}

/// Base64 and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Base64(String);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let data = String::deserialize(deserializer)?;
        if is_base64(&data) {
            Ok(Self(data))
        } else {
            Err(D::Error::custom("must be base64"))
        }
    }
}

fn is_base64(data: &str) -> bool {
    let data = data.trim_end_matches('=');
    !data.is_empty()
        && data
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}

/// An object that its field `type` tells from others, as it leaves.
#[derive(Serialize)]
pub(super) struct Typed<'a, T> {
    pub(super) r#type: &'static str,
    #[serde(flatten)]
    pub(super) rest: &'a T,
}

/// A message that its field `role` tells from others, as it leaves.
#[derive(Serialize)]
pub(super) struct Spoken<'a, T> {
    pub(super) role: &'static str,
    #[serde(flatten)]
    pub(super) rest: &'a T,
}

/// An enum of objects that one of their fields tells apart: `Typed` by `type`, `Spoken` by `role`. serde's own
/// `#[serde(tag)]` loses the path of what is wrong inside. After the field's name may stand what it is when it is absent.
macro_rules! tagged {
    ($(#[$meta:meta])* enum $name:ident: $wrapper:ident { $field:ident by $tag:literal }
        $($(#[$doc:meta])* $word:literal => $variant:ident($inner:ty),)+) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
        #[serde(rename = $tag)]
        pub(super) enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant($inner),)+
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant(rest) => {
                        let $field = $word;
                        $crate::request::values::$wrapper { $field, rest }.serialize(serializer)
                    })+
                }
            }
        }
    };
}
pub(super) use tagged;
