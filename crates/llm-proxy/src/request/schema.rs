//! JSON schemas: read from the caller, built anew, and only what was built is sent.
//!
//! llama-server makes a grammar of a schema and tries it for every token, for all slots at once, and no cancelling helps
//! while it does. Its converter forgets keywords beside others, loops on some circles, crashes on long names, and makes a
//! few bytes into millions of rules. So nothing of the caller's reaches it: `source` reads the keywords that are known,
//! `facts` puts together what is said of one value, `build` makes the few forms that the converter reads as they are
//! meant, and `cost`, `width` and `circle` bound what those become.
//!
//! A keyword that no grammar holds is refused under `strict`, and otherwise left out and listed by [`Schema::unheld`].
//! docs/clients.md has the table.

use std::collections::HashSet;

use serde::{Deserialize as _, Serialize};
use serde_json::Value;

mod build;
mod circle;
#[cfg(any(test, fuzzing))]
pub(crate) mod converter;
mod cost;
mod exclusive;
mod facts;
mod formats;
#[cfg(fuzzing)]
mod fuzzing;
#[cfg(any(test, fuzzing))]
pub(crate) mod generate;
mod node;
mod pattern;
mod reference;
mod source;
mod width;

use build::Builder;
use cost::SchemaCost;
use exclusive::Differ;
use facts::Given;
#[cfg(fuzzing)]
pub use fuzzing::fuzz;
use node::{Node, SchemaOutput, SchemaPart, Style};
pub(crate) use source::Source;

/// Rules of the grammar of all schemas of a request.
const MAX_RULES: usize = 24_000;
/// Bytes of the names of these rules.
const MAX_NAME_BYTES: usize = 4 * 1024 * 1024;
/// Values of all `enum`s of a request.
const MAX_VALUES: usize = 3_000;
/// Characters of a definition's name that are kept.
const MAX_DEFINITION_CHARS: usize = 40;

/// A schema that llama.cpp can hold, within its bounds.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    root: SchemaPart,
    defs: Vec<SchemaPart>,
    /// The definitions' names, each used once in a request.
    names: Vec<String>,
    cost: SchemaCost,
    unheld: Vec<String>,
    /// Whether it is among those of a request's tools, which a template shows to the model.
    is_tool: bool,
}

/// What is wrong with a schema, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsupported {
    /// Inside the schema, as in `properties.age.maximum`; empty for the schema as a whole.
    pub(crate) path: String,
    /// Reads after the name of the place.
    pub(crate) problem: String,
}

impl Unsupported {
    fn new(path: &str, problem: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

impl Schema {
    /// Builds the schema that is sent for `given`.
    ///
    /// # Errors
    ///
    /// When `given` is malformed or too much; with `is_strict` also for every keyword that cannot be held.
    pub(crate) fn rebuild(given: &Source, is_strict: bool) -> Result<Self, Unsupported> {
        let mut builder = Builder::new(given, is_strict);
        let root = builder.build(&[Given::new(given, String::new())])?;
        let root = root.ok_or_else(|| build::never(""))?;
        let mut defs = Vec::with_capacity(builder.defs.len());
        for def in std::mem::take(&mut builder.defs) {
            defs.push(def.ok_or_else(|| build::never(""))?);
        }
        let names = std::mem::take(&mut builder.names);
        check_circles(&defs, &names)?;
        let differ = Differ::new(&defs);
        for part in std::iter::once(&root).chain(&defs) {
            check_one_of(&mut builder, part, &differ)?;
        }
        let cost = SchemaCost {
            n_values: builder.n_values,
            ..cost::of(&root, defs.iter())
        };
        cost.check("")?;
        if width::of(&root, &defs) > width::MAX_WIDTH {
            let problem = format!(
                "must leave at most {} ways open at once: let alternatives begin with different properties, and \
                 shorten lists of values",
                width::MAX_WIDTH
            );
            return Err(Unsupported::new("", problem));
        }
        let mut schema = Self {
            root,
            defs,
            names,
            cost,
            unheld: builder.unheld,
            is_tool: false,
        };
        schema.name_definitions(&mut HashSet::new());
        Ok(schema)
    }

    /// As [`Schema::rebuild`], from a value.
    pub(crate) fn from_value(given: &Value, is_strict: bool) -> Result<Self, Unsupported> {
        let source = Source::deserialize(given)
            .map_err(|error| Unsupported::new("", format!("is no JSON schema: {error}")))?;
        Self::rebuild(&source, is_strict)
    }

    /// Rules of the grammar that llama.cpp makes of it, at most.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn n_rules(&self) -> usize {
        self.cost.n_rules
    }

    /// The places of keywords that will not be held, as in `properties.age.maximum`.
    pub(crate) fn unheld(&self) -> &[String] {
        &self.unheld
    }

    /// Makes the schemas of a request's tools fit together: they share one grammar, in which a definition's name may
    /// stand for one thing only.
    ///
    /// # Errors
    ///
    /// When they are too much together.
    pub(crate) fn check_together(schemas: &mut [&mut Self]) -> Result<(), Unsupported> {
        let mut taken = HashSet::new();
        let mut cost = SchemaCost::default();
        for schema in schemas {
            schema.name_definitions(&mut taken);
            schema.is_tool = true;
            cost = cost.and(schema.cost);
        }
        cost.check("")
    }

    /// Gives every definition a name that is not yet `taken`, of letters and digits: llama.cpp takes two names for one
    /// when they differ in other characters only.
    fn name_definitions(&mut self, taken: &mut HashSet<String>) {
        for name in &mut self.names {
            let letters = name.chars().filter(char::is_ascii_alphanumeric);
            let base: String = letters.take(MAX_DEFINITION_CHARS).collect();
            let mut candidate = if base.is_empty() {
                "schema".to_owned()
            } else {
                base.clone()
            };
            while !taken.insert(candidate.clone()) {
                candidate = format!("{base}x{}", taken.len());
            }
            *name = candidate;
        }
    }

    fn output(&self) -> SchemaOutput {
        let style = Style {
            names: &self.names,
            has_lists: !self.is_tool,
        };
        let defs = self.names.iter().zip(&self.defs);
        let defs = defs.map(|(name, def)| (name.clone(), def.output(style)));
        self.root.output(style).with_definitions(defs.collect())
    }
}

impl Serialize for Schema {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.output().serialize(to)
    }
}

impl SchemaCost {
    fn check(self, path: &str) -> Result<(), Unsupported> {
        if self.n_rules > MAX_RULES {
            let problem = format!(
                "would become {} rules of a grammar, of which there may be {MAX_RULES}: a bounded length, a repetition \
                 in a pattern and a bounded number count as often as they repeat",
                self.n_rules
            );
            return Err(Unsupported::new(path, problem));
        }
        if self.n_bytes > MAX_NAME_BYTES {
            return Err(Unsupported::new(
                path,
                "is too large: shorten names, values and lengths",
            ));
        }
        if self.n_values > MAX_VALUES {
            return Err(Unsupported::new(
                path,
                format!("must list at most {MAX_VALUES} values in all"),
            ));
        }
        Ok(())
    }
}

fn check_circles(defs: &[SchemaPart], names: &[String]) -> Result<(), Unsupported> {
    if let Some(at) = circle::endless(defs) {
        let problem = format!(
            "refers to itself in {} without a property or an item between",
            names[at]
        );
        return Err(Unsupported::new("", problem));
    }
    if let Some(at) = circle::bottomless(defs) {
        let problem = format!("can never end: {} always contains itself", names[at]);
        return Err(Unsupported::new("", problem));
    }
    Ok(())
}

/// Notes every `oneOf` that is not also an `anyOf`.
fn check_one_of(
    builder: &mut Builder<'_>,
    part: &SchemaPart,
    differ: &Differ<'_>,
) -> Result<(), Unsupported> {
    match &part.node {
        Node::AnyOf { parts, one_of } => {
            if let Some(place) = one_of
                && !differ.is_one_of(parts)
            {
                let reason = "has alternatives that may hold at once, which llama.cpp allows";
                builder.unheld_because("", place, reason)?;
            }
            parts
                .iter()
                .try_for_each(|part| check_one_of(builder, part, differ))
        }
        Node::Tuple(parts) => parts
            .iter()
            .try_for_each(|part| check_one_of(builder, part, differ)),
        Node::List(list) => check_one_of(builder, &list.items, differ),
        Node::Object(object) => {
            let known = object.properties.iter().map(|known| &known.part);
            let mut all = known.chain(object.others.as_deref());
            all.try_for_each(|part| check_one_of(builder, part, differ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
