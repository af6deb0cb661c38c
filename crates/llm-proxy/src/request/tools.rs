//! Checks the tools of a request, and which of them is to be called, as each API words them.
//!
//! llama-server makes one grammar of all their schemas, so they are bounded together too.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::schema::Schema;
use crate::api::Dialect;
use crate::error::Error;

/// Tools in a request.
const MAX_TOOLS: usize = 128;

/// Tools, and which of them is to be called, as llama-server is told.
type Tools = (Option<Vec<Value>>, Option<Value>);

impl Fields {
    /// The tools and the choice among them. llama-server knows no choice by name, and in Anthropic's words not even that of
    /// none: the tools that may not be called are left out.
    pub(super) fn tools(&mut self, dialect: Dialect) -> Result<Tools, Error> {
        let tools = self.all_tools(dialect)?;
        let Some(choice) = self.take("tool_choice") else {
            return Ok((tools, None));
        };
        let problem = match (choice, dialect) {
            (Value::String(word), Dialect::Chat | Dialect::Responses)
                if ["none", "auto", "required"].contains(&word.as_str()) =>
            {
                return Ok((tools, Some(word.into())));
            }
            (choice @ Value::Object(_), _) => {
                let mut choice = Self::of("tool_choice", choice)?;
                let chosen = choice.chosen(tools, dialect)?;
                self.n_dropped += choice.drop_rest();
                return Ok(chosen);
            }
            (_, Dialect::Chat | Dialect::Responses) => {
                "must be none, auto, required, or name one function"
            }
            (_, Dialect::Messages) => "must be an object",
        };
        Err(self.wrong("tool_choice", problem))
    }

    /// What an object that chooses among `tools` leaves of them.
    fn chosen(&mut self, tools: Option<Vec<Value>>, dialect: Dialect) -> Result<Tools, Error> {
        match dialect {
            Dialect::Chat => {
                self.must_be("type", "function")?;
                let mut function = self.required_object("function")?;
                let chosen = function.named(tools, "/function/name")?;
                self.n_dropped += function.drop_rest();
                Ok((Some(chosen), Some("required".into())))
            }
            Dialect::Responses => {
                self.must_be("type", "function")?;
                Ok((Some(self.named(tools, "/name")?), Some("required".into())))
            }
            Dialect::Messages => match self.required_text("type")?.as_str() {
                kind @ ("auto" | "any") => Ok((tools, Some(json!({"type": kind})))),
                "none" => Ok((None, None)),
                "tool" => Ok((
                    Some(self.named(tools, "/name")?),
                    Some(json!({"type": "any"})),
                )),
                _ => Err(self.wrong("type", "must be auto, any, tool or none")),
            },
        }
    }

    /// Those of `tools` that have the name which stands here.
    fn named(&mut self, tools: Option<Vec<Value>>, at: &str) -> Result<Vec<Value>, Error> {
        let name = self.name()?;
        let is_it = |tool: &Value| tool.pointer(at).is_some_and(|other| *other == name);
        let tools: Vec<Value> = tools.into_iter().flatten().filter(is_it).collect();
        if tools.is_empty() {
            Err(self.wrong("name", "must be that of one of the tools"))
        } else {
            Ok(tools)
        }
    }

    fn all_tools(&mut self, dialect: Dialect) -> Result<Option<Vec<Value>>, Error> {
        let tools = match self.take("tools") {
            None => return Ok(None),
            Some(Value::Array(tools)) if (1..=MAX_TOOLS).contains(&tools.len()) => tools,
            Some(_) => {
                return Err(self.wrong(
                    "tools",
                    format!("must be an array of 1 to {MAX_TOOLS} tools"),
                ));
            }
        };
        let mut out = Vec::with_capacity(tools.len());
        for (at, tool) in tools.into_iter().enumerate() {
            let mut tool = Self::of(format!("tools[{at}]"), tool)?;
            out.push(tool.tool(dialect)?);
            self.n_dropped += tool.drop_rest();
        }
        let place = match dialect {
            Dialect::Chat => "/function/parameters",
            Dialect::Responses => "/parameters",
            Dialect::Messages => "/input_schema",
        };
        self.fit_together(&mut out, place)?;
        Ok(Some(out))
    }

    /// The schemas of all tools become one grammar.
    fn fit_together(&self, tools: &mut [Value], place: &str) -> Result<(), Error> {
        let mut places: Vec<&mut Value> = tools
            .iter_mut()
            .filter_map(|tool| tool.pointer_mut(place))
            .collect();
        let built: Result<Vec<Schema>, _> = places
            .iter()
            .map(|given| Schema::from_value(given, false))
            .collect();
        let fitted = built.and_then(|mut built| {
            Schema::check_together(&mut built.iter_mut().collect::<Vec<_>>())?;
            Ok(built)
        });
        let fitted = fitted.map_err(|error| self.wrong("tools", error.problem))?;
        for (place, schema) in places.iter_mut().zip(fitted) {
            **place = serde_json::to_value(schema).unwrap_or_default();
        }
        Ok(())
    }

    fn tool(&mut self, dialect: Dialect) -> Result<Value, Error> {
        match dialect {
            Dialect::Chat => {
                self.must_be("type", "function")?;
                let mut function = self.required_object("function")?;
                let out = function.function("parameters")?;
                self.n_dropped += function.drop_rest();
                Ok(json!({"type": "function", "function": out}))
            }
            Dialect::Responses => {
                self.must_be("type", "function")?;
                let mut out = self.function("parameters")?;
                out.insert("type".to_owned(), "function".into());
                Ok(out.into())
            }
            Dialect::Messages => {
                // The others run at Anthropic; llama-server would take each for a function without arguments.
                if self.text("type")?.is_some_and(|kind| kind != "custom") {
                    return Err(self.wrong("type", "must be custom"));
                }
                Ok(self.function("input_schema")?.into())
            }
        }
    }

    /// A function, whose arguments are described by the field `schema`.
    fn function(&mut self, schema: &str) -> Result<Map<String, Value>, Error> {
        let mut out = Map::new();
        out.insert("name".to_owned(), self.name()?.into());
        if let Some(description) = self.text("description")? {
            out.insert("description".to_owned(), description.into());
        }
        let is_strict = self.switch("strict")?;
        if let Some(parameters) = self.checked_schema(schema, is_strict == Some(true))? {
            out.insert(schema.to_owned(), parameters);
        }
        if let Some(strict) = is_strict {
            out.insert("strict".to_owned(), strict.into());
        }
        Ok(out)
    }
}
