//! Reads JSON as strictly as a gate must: one object, no key twice, at most 64 levels, nothing after it.
//!
//! Two parsers that read a duplicate key differently are how a checked request becomes an unchecked one.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::Error;

/// Nested arrays and objects. llama-server crashes at about 8,000.
const MAX_DEPTH: usize = 64;
/// The longest part of an unexpected key that an error repeats, in characters.
pub(super) const MAX_NAME_CHARS: usize = 64;

/// The object in `bytes`.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    let fault = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = Node {
        depth: 0,
        fault: &fault,
    }
    .deserialize(&mut deserializer);
    match parsed.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::InvalidJson { line: 1, column: 1 }),
        Err(error) => Err(fault.into_inner().unwrap_or(Error::InvalidJson {
            line: error.line(),
            column: error.column(),
        })),
    }
}

/// One value at some depth. `fault` carries our own reason out of serde's error.
#[derive(Clone, Copy)]
struct Node<'a> {
    depth: usize,
    fault: &'a RefCell<Option<Error>>,
}

impl Node<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.fail(Error::field(
                "body",
                format!("must be nested at most {MAX_DEPTH} deep"),
            )));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }

    fn fail<E: serde::de::Error>(self, error: Error) -> E {
        *self.fault.borrow_mut() = Some(error);
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let (node, mut array) = (self.deeper()?, Vec::new());
        while let Some(item) = items.next_element_seed(node)? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let (node, mut object) = (self.deeper()?, Map::new());
        while let Some(name) = entries.next_key::<String>()? {
            if object.contains_key(&name) {
                let name: String = name.chars().take(MAX_NAME_CHARS).collect();
                return Err(self.fail(Error::field(name, "stands there twice")));
            }
            let value = entries.next_value_seed(node)?;
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::object;
    use crate::error::Error;

    #[test]
    fn only_one_object_without_duplicates_and_depth_is_read() {
        assert_eq!(
            object(br#"{"a":[1,-2,0.5,"x",null,true]}"#).unwrap()["a"],
            json!([1, -2, 0.5, "x", null, true])
        );
        for bad in [
            "",
            "null",
            "[]",
            "\"x\"",
            "{} {}",
            "\u{feff}{}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            r#"{"a":"\ud800"}"#,
        ] {
            assert!(
                matches!(object(bad.as_bytes()), Err(Error::InvalidJson { .. })),
                "{bad}"
            );
        }
        assert!(matches!(
            object(b"{\"a\":\"\xff\"}"),
            Err(Error::InvalidJson { .. })
        ));
        assert_eq!(
            object(br#"{"x":{"a":1,"a":2}}"#),
            Err(Error::field("a", "stands there twice"))
        );
        let nested = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(nested(63).as_bytes()).is_ok());
        let too_deep = Err(Error::field("body", "must be nested at most 64 deep"));
        assert_eq!(object(nested(64).as_bytes()), too_deep);
        assert_eq!(object(nested(100_000).as_bytes()), too_deep);
    }
}
