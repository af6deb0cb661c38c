//! Takes fields out of an object one by one, each as what it must be; what is left at the end was not asked for.
//!
//! `null` counts as absent, as it does for the OpenAI API.

use serde_json::{Map, Value, json};

use super::schema::Schema;
use crate::api::Dialect;
use crate::error::Error;

/// Stop sequences in a request.
const MAX_STOPS: usize = 8;
/// Bytes of a stop sequence.
const MAX_STOP_BYTES: usize = 256;
/// Bytes of a function's name.
pub(super) const MAX_NAME_BYTES: usize = 64;
/// The largest whole number that every smaller one of can be written as a float (2^53).
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// An object's fields that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Fields {
    path: String,
    rest: Map<String, Value>,
    /// Unknown fields dropped so far, here and in nested objects.
    pub(super) n_dropped: u64,
}

impl Fields {
    /// The whole request.
    pub(super) fn new(object: Map<String, Value>) -> Self {
        Self {
            path: String::new(),
            rest: object,
            n_dropped: 0,
        }
    }

    /// The object `value`, which stands at `path`.
    pub(super) fn of(path: impl Into<String>, value: Value) -> Result<Self, Error> {
        let path = path.into();
        match value {
            Value::Object(rest) => Ok(Self {
                path: format!("{path}."),
                rest,
                n_dropped: 0,
            }),
            _ => Err(Error::field(path, "must be an object")),
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.rest
            .shift_remove(name)
            .filter(|value| !value.is_null())
    }

    /// Where the field `name` stands in the request.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// What is wrong with the field `name`.
    pub(super) fn wrong(&self, name: &str, problem: impl Into<String>) -> Error {
        Error::field(self.path(name), problem)
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "must be a string")),
        }
    }

    pub(super) fn required_text(&mut self, name: &str) -> Result<String, Error> {
        self.text(name)?
            .ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub(super) fn switch(&mut self, name: &str) -> Result<Option<bool>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(on)),
            Some(_) => Err(self.wrong(name, "must be true or false")),
        }
    }

    pub(super) fn number(
        &mut self,
        name: &str,
        min: f64,
        max: f64,
    ) -> Result<Option<Value>, Error> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let fits = value
            .as_f64()
            .is_some_and(|number| (min..=max).contains(&number));
        if fits {
            Ok(Some(value))
        } else {
            Err(self.wrong(name, format!("must be a number from {min} to {max}")))
        }
    }

    pub(super) fn integer(&mut self, name: &str, min: i64, max: i64) -> Result<Option<i64>, Error> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let fits = whole(&value).filter(|number| (min..=max).contains(number));
        fits.map(Some)
            .ok_or_else(|| self.wrong(name, format!("must be a whole number from {min} to {max}")))
    }

    /// A seed of 64 bits, as the OpenAI API takes it, folded into the 32 of llama-server; -1 is a random one there.
    pub(super) fn seed(&mut self) -> Result<Option<i64>, Error> {
        let Some(value) = self.take("seed") else {
            return Ok(None);
        };
        let seed =
            whole(&value).ok_or_else(|| self.wrong("seed", "must be a whole number of 64 bits"))?;
        Ok(Some(if seed == -1 {
            -1
        } else {
            seed.rem_euclid(u32::MAX.into())
        }))
    }

    /// A limit on tokens; too large a one is for the caller to lower.
    pub(super) fn token_limit(&mut self, name: &str) -> Result<Option<u64>, Error> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let fits = value
            .as_u64()
            .or_else(|| whole(&value)?.try_into().ok())
            .filter(|limit| *limit > 0);
        fits.map(Some)
            .ok_or_else(|| self.wrong(name, "must be a whole number from 1"))
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, Error> {
        let path = self.path(name);
        self.take(name)
            .map(|value| Self::of(path, value))
            .transpose()
    }

    pub(super) fn required_object(&mut self, name: &str) -> Result<Self, Error> {
        self.object(name)?
            .ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// Drops what nobody took, and says how much that was.
    pub(super) fn drop_rest(self) -> u64 {
        self.n_dropped + self.rest.values().filter(|value| !value.is_null()).count() as u64
    }

    /// Sequences that end the answer.
    pub(super) fn stops(&mut self, name: &str) -> Result<Option<Vec<String>>, Error> {
        let fits = |stop: &Value| {
            stop.as_str()
                .is_some_and(|stop| (1..=MAX_STOP_BYTES).contains(&stop.len()))
        };
        let stops = match self.take(name) {
            None => return Ok(None),
            Some(Value::Array(stops)) => stops,
            Some(stop) => vec![stop],
        };
        if stops.len() > MAX_STOPS || !stops.iter().all(fits) {
            let problem =
                format!("must be at most {MAX_STOPS} strings of 1 to {MAX_STOP_BYTES} bytes");
            return Err(self.wrong(name, problem));
        }
        let text = |stop| {
            if let Value::String(stop) = stop {
                Some(stop)
            } else {
                None
            }
        };
        Ok(Some(stops.into_iter().filter_map(text).collect()))
    }

    /// How much the model may think.
    pub(super) fn effort(&mut self, name: &str) -> Result<Option<String>, Error> {
        const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];
        let effort = self.text(name)?;
        match &effort {
            Some(effort) if !EFFORTS.contains(&effort.as_str()) => {
                Err(self.wrong(name, format!("must be one of {}", EFFORTS.join(", "))))
            }
            _ => Ok(effort),
        }
    }

    /// Of what a template can be told, only whether to think.
    pub(super) fn template_switches(&mut self) -> Result<Option<Value>, Error> {
        let Some(mut switches) = self.object("chat_template_kwargs")? else {
            return Ok(None);
        };
        let thinking = switches.switch("enable_thinking")?;
        self.n_dropped += switches.drop_rest();
        Ok(thinking.map(|on| json!({"enable_thinking": on})))
    }

    /// The form of the answer. What leaves is worded as for a chat, which llama-server understands on every route.
    pub(super) fn format(&mut self, name: &str, dialect: Dialect) -> Result<Option<Value>, Error> {
        let Some(mut format) = self.object(name)? else {
            return Ok(None);
        };
        let kind = format.required_text("type")?;
        let out = match (kind.as_str(), dialect) {
            ("text" | "json_object", _) => json!({"type": kind}),
            ("json_schema", Dialect::Responses) => format.named_schema()?,
            ("json_schema", _) => {
                let mut wrapper = format.required_object("json_schema")?;
                let out = wrapper.named_schema()?;
                self.n_dropped += wrapper.drop_rest();
                out
            }
            _ => return Err(format.wrong("type", "must be text, json_object or json_schema")),
        };
        self.n_dropped += format.drop_rest();
        Ok(Some(out))
    }

    fn named_schema(&mut self) -> Result<Value, Error> {
        let is_strict = self.switch("strict")?;
        let given = self.checked_schema("schema", is_strict == Some(true))?;
        let built = given.and_then(|given| Schema::from_value(&given, false).ok());
        let schema = built.ok_or_else(|| self.wrong("schema", "is missing"))?;
        let mut out = json!({"schema": schema});
        for name in ["name", "description"] {
            if let Some(text) = self.text(name)? {
                out[name] = text.into();
            }
        }
        if let Some(strict) = is_strict {
            out["strict"] = strict.into();
        }
        Ok(json!({"type": "json_schema", "json_schema": out}))
    }

    /// A JSON schema that can be built anew, as it was given.
    pub(super) fn checked_schema(
        &mut self,
        name: &str,
        is_strict: bool,
    ) -> Result<Option<Value>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(given @ Value::Object(_)) => match Schema::from_value(&given, is_strict) {
                Ok(schema) => {
                    let n_unheld = schema.unheld().len();
                    tracing::debug!(n_rules = schema.n_rules(), n_unheld, "JSON schema built");
                    Ok(Some(given))
                }
                Err(error) if error.path.is_empty() => Err(self.wrong(name, error.problem)),
                Err(error) => Err(self.wrong(name, format!("{}: {}", error.path, error.problem))),
            },
            Some(_) => Err(self.wrong(name, "must be an object")),
        }
    }

    pub(super) fn must_be(&mut self, name: &str, only: &str) -> Result<(), Error> {
        if self.text(name)?.as_deref() == Some(only) {
            Ok(())
        } else {
            Err(self.wrong(name, format!("must be {only}")))
        }
    }

    /// A function's name.
    pub(super) fn name(&mut self) -> Result<String, Error> {
        let name = self.required_text("name")?;
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if plain && (1..=MAX_NAME_BYTES).contains(&name.len()) {
            Ok(name)
        } else {
            Err(self.wrong(
                "name",
                format!("must be 1 to {MAX_NAME_BYTES} of the characters a-z A-Z 0-9 _ - ."),
            ))
        }
    }
}

/// A whole number, which JSON may write as `1.0`: some callers know no other numbers.
fn whole(value: &Value) -> Option<i64> {
    let exact = |number: &f64| number.fract() == 0.0 && number.abs() <= MAX_EXACT;
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(exact).map(|number| number as i64))
}
