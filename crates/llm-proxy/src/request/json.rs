//! Reads JSON as strictly as a gate must: one object, no key twice, at most 64 levels, nothing after it.
//!
//! Two parsers that read a duplicate key differently are how a checked request becomes an unchecked one.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::InvalidRequest;

/// Nested arrays and objects. llama-server crashes at about 8,000.
const MAX_DEPTH: usize = 64;
/// The longest part of an unexpected key that an error repeats, in characters.
const MAX_NAME_CHARS: usize = 64;

/// What is wrong with a field that is given twice.
const TWICE: &str = "is given more than once";

/// The object in `bytes`.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, InvalidRequest> {
    let fault = RefCell::new(None);
    // Some editors and shells put a byte order mark before what they write.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = StrictValue {
        depth: 0,
        fault: &fault,
    }
    .deserialize(&mut deserializer);
    match parsed.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(InvalidRequest::NotJson { line: 1, column: 1 }),
        Err(error) => Err(fault.into_inner().unwrap_or(InvalidRequest::NotJson {
            line: error.line(),
            column: error.column(),
        })),
    }
}

/// One value at some depth. `fault` carries our own reason out of serde's error.
#[derive(Clone, Copy)]
struct StrictValue<'a> {
    depth: usize,
    fault: &'a RefCell<Option<InvalidRequest>>,
}

impl StrictValue<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.fail(InvalidRequest::field(
                "body",
                format!("must be nested at most {MAX_DEPTH} deep"),
            )));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }

    fn fail<E: serde::de::Error>(self, error: InvalidRequest) -> E {
        *self.fault.borrow_mut() = Some(error);
        E::custom("refused")
    }

    /// The field that is given twice is in `outer`.
    fn within(self, outer: &str) {
        if let Some(InvalidRequest::Field { field, problem }) = &mut *self.fault.borrow_mut()
            && problem == TWICE
        {
            let dot = if field.starts_with('[') { "" } else { "." };
            *field = format!("{outer}{dot}{field}");
        }
    }
}

impl<'de> DeserializeSeed<'de> for StrictValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue<'_> {
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
        let node = self.deeper()?;
        let mut array = Vec::new();
        loop {
            let item = items.next_element_seed(node);
            match item.inspect_err(|_| self.within(&format!("[{}]", array.len())))? {
                Some(item) => array.push(item),
                None => break,
            }
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let node = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if object.contains_key(&name) {
                let name: String = name.chars().take(MAX_NAME_CHARS).collect();
                return Err(self.fail(InvalidRequest::field(name, TWICE)));
            }
            let value = entries.next_value_seed(node).inspect_err(|_| {
                self.within(&name.chars().take(MAX_NAME_CHARS).collect::<String>());
            });
            object.insert(name, value?);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::InvalidRequest;
    use super::object;

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
            "\u{feff}\u{feff}{}",
            " \u{feff}{}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            r#"{"a":"\ud800"}"#,
        ] {
            assert!(
                matches!(object(bad.as_bytes()), Err(InvalidRequest::NotJson { .. })),
                "{bad}"
            );
        }
        assert!(matches!(
            object(b"{\"a\":\"\xff\"}"),
            Err(InvalidRequest::NotJson { .. })
        ));
        assert_eq!(object("\u{feff}{}".as_bytes()), object(b"{}"));
        for (twice, field) in [
            (r#"{"a":1,"a":2}"#, "a"),
            (r#"{"x":{"a":1,"a":2}}"#, "x.a"),
            (
                r#"{"messages":[{"role":"user","role":"user"}]}"#,
                "messages[0].role",
            ),
            (r#"{"x":[1,[[],[{"y":{"a":1,"a":2}}]]]}"#, "x[1][1][0].y.a"),
        ] {
            assert_eq!(
                object(twice.as_bytes()),
                Err(InvalidRequest::field(field, "is given more than once"))
            );
        }
        let nested = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(nested(63).as_bytes()).is_ok());
        let too_deep = Err(InvalidRequest::field(
            "body",
            "must be nested at most 64 deep",
        ));
        assert_eq!(object(nested(64).as_bytes()), too_deep);
        assert_eq!(object(nested(100_000).as_bytes()), too_deep);
    }
}
