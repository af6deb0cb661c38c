//! Makes a schema of its own out of the caller's, form by form.
//!
//! Only what a form of `Node` can say is built. Every keyword that cannot be said is noted as not held, or refused under
//! `strict`. Work is counted, because a few bytes can ask for an endless amount of it.

use std::collections::HashMap;

use serde_json::Value;

use super::facts::{Facts, Given, Kinds, TypeChoice, join};
use super::node::{About, Node, SchemaPart};
use super::pattern::{Pattern, PatternFault};
use super::reference;
use super::source::{JsonKind, Keywords, Source};
use super::{MAX_VALUES as MAX_ALL_VALUES, Unsupported};

mod lists;
mod numbers;
mod objects;
mod texts;

/// Schemas in schemas, with references followed.
const MAX_DEPTH: usize = 32;
/// Schemas that are read, a reference each time that it is read together with other words.
const MAX_STEPS: usize = 16_384;
/// Places of keywords that are remembered as not held.
const MAX_UNHELD: usize = 64;
/// Kinds of a list of types, times those of the lists that it is in: llama.cpp reads the innermost so often.
const MAX_KINDS: usize = 10_000;
/// Values of one `enum`, also those that are given twice.
const MAX_VALUES: usize = 511;
/// Bytes of annotations, repeated where a definition is read together with other words.
const MAX_ABOUT_BYTES: usize = 512 * 1024;
/// The longest value of an `enum` or `const`, in bytes of JSON.
const MAX_VALUE_BYTES: usize = 4_096;

/// What was built so far.
pub(super) struct Builder<'a> {
    root: &'a Source,
    is_strict: bool,
    n_steps: usize,
    depth: usize,
    /// Kinds of the lists of types around this place, multiplied.
    n_kinds: usize,
    /// Definitions that are referred to, by the place where they are.
    known: HashMap<*const Source, usize>,
    /// The definitions, `None` while they are being built.
    pub(super) defs: Vec<Option<SchemaPart>>,
    /// The names by which they were referred to.
    pub(super) names: Vec<String>,
    pub(super) unheld: Vec<String>,
    /// Values of all `enum`s as they were given.
    pub(super) n_values: usize,
    n_about_bytes: usize,
    /// Patterns that were read.
    patterns: HashMap<String, Result<Pattern, PatternFault>>,
    /// The references that lead to where we are, inside one value.
    followed: Vec<*const Source>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(root: &'a Source, is_strict: bool) -> Self {
        Self {
            root,
            is_strict,
            n_steps: 0,
            depth: 0,
            n_kinds: 1,
            known: HashMap::new(),
            defs: Vec::new(),
            names: Vec::new(),
            unheld: Vec::new(),
            n_values: 0,
            n_about_bytes: 0,
            patterns: HashMap::new(),
            followed: Vec::new(),
        }
    }

    /// What holds all of `given`; `None` when nothing can.
    pub(super) fn build(&mut self, given: &[Given<'a>]) -> Result<Option<SchemaPart>, Unsupported> {
        let path = given.first().map_or("", |first| &first.path);
        self.step(path, 1)?;
        self.deeper(path)?;
        let outer = std::mem::take(&mut self.followed);
        let built = self.build_here(given, path);
        self.followed = outer;
        self.depth -= 1;
        built
    }

    fn build_here(
        &mut self,
        given: &[Given<'a>],
        path: &str,
    ) -> Result<Option<SchemaPart>, Unsupported> {
        if let [alone] = given
            && let Some(part) = self.reference(alone)?
        {
            return Ok(Some(part));
        }
        let mut facts = Facts::default();
        for given in given {
            self.gather(&mut facts, given.source, &given.path)?;
        }
        self.settle(facts, path)
    }

    /// A schema that only refers to another one, perhaps in an `allOf` of its own.
    fn reference(&mut self, given: &Given<'a>) -> Result<Option<SchemaPart>, Unsupported> {
        let mut about = About::default();
        let mut source = given.source;
        while let Source::Keywords(keywords) = source {
            if !keywords.asserts_nothing_else() {
                return Ok(None);
            }
            self.describe(keywords, &given.path)?;
            about.fill(keywords);
            match (
                &keywords.reference,
                keywords.all_of.as_deref().unwrap_or_default(),
            ) {
                (Some(reference), []) => {
                    let at = self.define(reference, &join(&given.path, "$ref"))?;
                    return Ok(Some(SchemaPart {
                        about,
                        node: Node::Reference(at),
                    }));
                }
                (None, [only]) => source = only,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The number of the definition that `reference` names, which is built when it is first met.
    fn define(&mut self, reference: &str, path: &str) -> Result<usize, Unsupported> {
        let target = self.resolve(reference, path)?;
        if let Some(at) = self.known.get(&std::ptr::from_ref(target)) {
            return Ok(*at);
        }
        let at = self.defs.len();
        self.known.insert(target, at);
        self.defs.push(None);
        self.names.push(reference::name(reference).to_owned());
        let place = reference.trim_start_matches(['#', '/']).replace('/', ".");
        let part = self.build(&[Given::new(target, place)])?;
        self.defs[at] = Some(part.ok_or_else(|| never(path))?);
        Ok(at)
    }

    fn resolve(&self, reference: &str, path: &str) -> Result<&'a Source, Unsupported> {
        reference::resolve(self.root, reference).map_err(|problem| Unsupported::new(path, problem))
    }

    /// Adds all that `source` says of the value, references followed.
    fn gather(
        &mut self,
        facts: &mut Facts<'a>,
        source: &'a Source,
        path: &str,
    ) -> Result<(), Unsupported> {
        let keywords = match source {
            Source::Bool(all) => {
                facts.never |= !all;
                return Ok(());
            }
            Source::Keywords(keywords) => keywords,
        };
        self.step(path, 1)?;
        self.deeper(path)?;
        for keyword in keywords.unheld() {
            self.unheld(path, keyword)?;
        }
        self.describe(keywords, path)?;
        facts.add(keywords, path, &self.followed);
        if let Some(reference) = &keywords.reference {
            let path = join(path, "$ref");
            let target = self.resolve(reference, &path)?;
            if self.followed.contains(&std::ptr::from_ref(target)) {
                return Err(Unsupported::new(&path, "leads back to itself"));
            }
            self.followed.push(target);
            self.gather(facts, target, &path)?;
            self.followed.pop();
        }
        for (at, source) in keywords.all_of.iter().flatten().enumerate() {
            self.gather(facts, source, &join(path, &format!("allOf[{at}]")))?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Builds what `facts` leave.
    fn settle(
        &mut self,
        mut facts: Facts<'a>,
        path: &str,
    ) -> Result<Option<SchemaPart>, Unsupported> {
        if facts.never || facts.kinds == Kinds::NONE {
            return Ok(None);
        }
        if !facts.choices.is_empty() {
            let choice = facts.choices.remove(0);
            return self.choose(facts, &choice);
        }
        let about = std::mem::take(&mut facts.about);
        if let Some(values) = facts.values.take() {
            let node = self.values(values, &facts, path)?;
            return Ok(node.map(|node| SchemaPart { about, node }));
        }
        let kinds = facts.likely_kinds();
        if kinds == Kinds::default() && facts.size() == 0 {
            return Ok(Some(SchemaPart {
                about,
                node: Node::Any,
            }));
        }
        let outer = self.n_kinds;
        self.n_kinds = outer.saturating_mul(facts.n_listed.max(1));
        if self.n_kinds > MAX_KINDS {
            let problem = "must not have so many lists of types in lists of types";
            return Err(Unsupported::new(&join(path, "type"), problem));
        }
        let mut parts: Vec<SchemaPart> = Vec::new();
        for (kind, build) in KINDS {
            // A number may be an integer, so where both may be, one is enough.
            let is_covered = kind == JsonKind::Integer && kinds.has(JsonKind::Number);
            if kinds.has(kind) && !is_covered {
                parts.extend(build(self, &facts, path)?.map(SchemaPart::from));
            }
        }
        self.n_kinds = outer;
        Ok(either(parts, about, None))
    }

    /// One of several, each together with what else is known.
    fn choose(
        &mut self,
        mut facts: Facts<'a>,
        choice: &TypeChoice<'a>,
    ) -> Result<Option<SchemaPart>, Unsupported> {
        let about = std::mem::take(&mut facts.about);
        self.deeper(&choice.path)?;
        let mut parts = Vec::with_capacity(choice.among.len());
        for (at, source) in choice.among.iter().enumerate() {
            let path = format!("{}[{at}]", choice.path);
            let part = if facts.is_trivial() {
                self.build(&[Given::new(source, path)])?
            } else {
                self.step(&path, facts.size())?;
                let mut facts = facts.clone();
                let outer = std::mem::replace(&mut self.followed, choice.followed.clone());
                self.gather(&mut facts, source, &path)?;
                let part = self.settle(facts, &path)?;
                self.followed = outer;
                part
            };
            parts.extend(part);
        }
        self.depth -= 1;
        Ok(either(
            parts,
            about,
            choice.is_one_of.then(|| choice.path.clone()),
        ))
    }

    /// The values of an `enum` or `const` that the other words allow.
    fn values(
        &mut self,
        values: Vec<Value>,
        facts: &Facts<'a>,
        path: &str,
    ) -> Result<Option<Node>, Unsupported> {
        if values.len() > MAX_VALUES {
            let problem = format!("must have at most {MAX_VALUES} values");
            return Err(Unsupported::new(&join(path, "enum"), problem));
        }
        self.n_values += values.len();
        if self.n_values > MAX_ALL_VALUES {
            let problem = format!("must list at most {MAX_ALL_VALUES} values in all");
            return Err(Unsupported::new(&join(path, "enum"), problem));
        }
        let mut allowed: Vec<Value> = Vec::new();
        for value in &values {
            if Kinds::of_value(value).and(facts.kinds) != Kinds::NONE
                && texts::allows(&facts.texts, value)
                && numbers::allows(&facts.numbers, value)
            {
                allowed.push(value.clone());
            }
        }
        if allowed.is_empty() && !values.is_empty() {
            // A list of words beside `type: integer` is a mistake that people make; the words are what they mean.
            self.unheld(path, "type")?;
            allowed = values;
        }
        let pattern = facts
            .texts
            .iter()
            .any(|stated| stated.keywords.pattern.is_some());
        if pattern || !facts.objects.is_empty() || !facts.lists.is_empty() {
            self.unheld(path, "enum")?;
        }
        let mut seen = std::collections::HashSet::new();
        for value in &allowed {
            self.step(path, 1)?;
            if value.to_string().len() > MAX_VALUE_BYTES {
                let problem = format!("must have values of at most {MAX_VALUE_BYTES} bytes");
                return Err(Unsupported::new(&join(path, "enum"), problem));
            }
        }
        allowed.retain(|value| seen.insert(value.to_string()));
        Ok((!seen.is_empty()).then_some(Node::Values(allowed)))
    }

    fn describe(&mut self, keywords: &Keywords, path: &str) -> Result<(), Unsupported> {
        self.n_about_bytes += keywords.n_about_bytes();
        if self.n_about_bytes > MAX_ABOUT_BYTES {
            return Err(Unsupported::new(
                path,
                "has too many words with everything it refers to",
            ));
        }
        Ok(())
    }

    fn step(&mut self, path: &str, n: usize) -> Result<(), Unsupported> {
        self.n_steps = self.n_steps.saturating_add(n);
        if self.n_steps > MAX_STEPS {
            return Err(Unsupported::new(
                path,
                "is too large with everything it refers to",
            ));
        }
        Ok(())
    }

    fn deeper(&mut self, path: &str) -> Result<(), Unsupported> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let problem = format!("must be nested at most {MAX_DEPTH} deep, references followed");
            return Err(Unsupported::new(path, problem));
        }
        Ok(())
    }

    /// Notes that `keyword` will not be held.
    pub(super) fn unheld(&mut self, path: &str, keyword: &str) -> Result<(), Unsupported> {
        self.unheld_because(path, keyword, "cannot be held by llama.cpp")
    }

    /// As [`Builder::unheld`], with a reason that reads after the keyword's place.
    pub(super) fn unheld_because(
        &mut self,
        path: &str,
        keyword: &str,
        reason: &str,
    ) -> Result<(), Unsupported> {
        let place = join(path, keyword);
        if self.is_strict {
            let problem = format!("{reason}: leave it out, or leave out strict");
            return Err(Unsupported {
                path: place,
                problem,
            });
        }
        self.note(path, keyword);
        Ok(())
    }

    /// A keyword that is not enforced, which is no error under `strict` either.
    pub(super) fn note(&mut self, path: &str, keyword: &str) {
        let place = join(path, keyword);
        if self.unheld.len() < MAX_UNHELD && !self.unheld.contains(&place) {
            self.unheld.push(place);
        }
    }
}

/// The error for a schema at `path` that no value fits.
pub(super) fn never(path: &str) -> Unsupported {
    Unsupported::new(path, "can never be met: its keywords contradict each other")
}

type BuildKind =
    for<'a> fn(&mut Builder<'a>, &Facts<'a>, &str) -> Result<Option<Node>, Unsupported>;

/// In the order in which alternatives are sent; `null` is last.
const KINDS: [(JsonKind, BuildKind); 7] = [
    (JsonKind::Boolean, |_, _, _| Ok(Some(Node::Boolean))),
    (JsonKind::Integer, numbers::integer),
    (JsonKind::Number, numbers::number),
    (JsonKind::String, texts::text),
    (JsonKind::Array, lists::list),
    (JsonKind::Object, objects::object),
    (JsonKind::Null, |_, _, _| Ok(Some(Node::Null))),
];

/// One of `parts`, none of which may be a choice without words of its own.
fn either(mut parts: Vec<SchemaPart>, about: About, one_of: Option<String>) -> Option<SchemaPart> {
    match parts.len() {
        0 => None,
        1 => {
            let SchemaPart { about: inner, node } = parts.remove(0);
            Some(SchemaPart {
                about: inner.within(about),
                node,
            })
        }
        _ => Some(SchemaPart {
            about,
            node: Node::AnyOf { parts, one_of },
        }),
    }
}
