//! What must hold of one value: several schemas of the caller's, read together.
//!
//! `allOf` and the words beside a `$ref` or an `anyOf` all speak of the same value. llama.cpp looks at one of them and
//! forgets the others; here they are gathered before anything is built.

use serde_json::Value;

use super::node::About;
use super::source::{JsonKind, Keywords, OneOrMany, Source};

/// A schema of the caller's, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Given<'a> {
    pub(super) source: &'a Source,
    pub(super) path: String,
}

/// Keywords of the caller's, and where they are.
#[derive(Clone, Debug)]
pub(super) struct Stated<'a> {
    pub(super) keywords: &'a Keywords,
    pub(super) path: String,
}

/// An `anyOf` or `oneOf`.
#[derive(Clone, Debug)]
pub(super) struct TypeChoice<'a> {
    pub(super) among: &'a [Source],
    /// Where it is, with its keyword.
    pub(super) path: String,
    pub(super) is_one_of: bool,
    /// The references that led here, each of which may not lead here again.
    pub(super) followed: Vec<*const Source>,
}

/// All that was stated of one value.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) about: About,
    pub(super) kinds: Kinds,
    /// The longest list that `type` was; 0 when nobody named one.
    pub(super) n_listed: usize,
    /// What `const` and `enum` leave.
    pub(super) values: Option<Vec<Value>>,
    pub(super) choices: Vec<TypeChoice<'a>>,
    pub(super) objects: Vec<Stated<'a>>,
    pub(super) lists: Vec<Stated<'a>>,
    pub(super) texts: Vec<Stated<'a>>,
    pub(super) numbers: Vec<Stated<'a>>,
    /// Whether `false` was among them.
    pub(super) never: bool,
}

/// A set of kinds. A number without a fraction is of the kind `Integer`; `Number` stands for those with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl<'a> Given<'a> {
    pub(super) fn new(source: &'a Source, path: String) -> Self {
        Self { source, path }
    }
}

impl<'a> Facts<'a> {
    /// Adds what `keywords` say here, without what they refer to.
    pub(super) fn add(&mut self, keywords: &'a Keywords, path: &str, followed: &[*const Source]) {
        self.describe(keywords);
        let is_nullable = keywords.nullable == Some(true);
        if let Some(kind) = &keywords.kind {
            self.n_listed = self.n_listed.max(kind.len());
            self.kinds = self.kinds.and(Kinds::of(kind).with_null_if(is_nullable));
        }
        let mut values = keywords.values.clone().filter(|values| !values.is_empty());
        if let Some(values) = values
            .as_mut()
            .filter(|values| is_nullable && !values.contains(&Value::Null))
        {
            values.push(Value::Null);
        }
        let constant = keywords.constant.clone().map(|constant| vec![constant]);
        for only in [values, constant].into_iter().flatten() {
            self.values = Some(match self.values.take() {
                None => only,
                Some(known) => known
                    .into_iter()
                    .filter(|value| only.contains(value))
                    .collect(),
            });
        }
        let choices = [(&keywords.any_of, "anyOf"), (&keywords.one_of, "oneOf")];
        for (among, keyword) in choices {
            if let Some(among) = among.as_ref().filter(|among| !among.is_empty()) {
                self.choices.push(TypeChoice {
                    among,
                    path: join(path, keyword),
                    is_one_of: keyword == "oneOf",
                    followed: followed.to_vec(),
                });
            }
        }
        let stated = [
            (keywords.speaks_of_objects(), &mut self.objects),
            (keywords.speaks_of_arrays(), &mut self.lists),
            (keywords.speaks_of_strings(), &mut self.texts),
            (keywords.speaks_of_numbers(), &mut self.numbers),
        ];
        for (speaks, list) in stated {
            if speaks {
                list.push(Stated {
                    keywords,
                    path: path.to_owned(),
                });
            }
        }
    }

    /// Takes over annotations that nothing before has set.
    pub(super) fn describe(&mut self, keywords: &Keywords) {
        self.about.fill(keywords);
    }

    /// Whether everything is allowed, apart from the choices.
    pub(super) fn is_trivial(&self) -> bool {
        self.kinds == Kinds::default()
            && self.values.is_none()
            && self.choices.is_empty()
            && self.size() == 0
            && !self.never
    }

    /// How much a copy costs.
    pub(super) fn size(&self) -> usize {
        self.objects.len()
            + self.lists.len()
            + self.texts.len()
            + self.numbers.len()
            + self.choices.len()
            + self.values.as_ref().map_or(0, Vec::len)
    }

    /// The kinds that are left; where nobody names one, those that the other keywords speak of.
    pub(super) fn likely_kinds(&self) -> Kinds {
        let hints = [
            (self.objects.is_empty(), JsonKind::Object),
            (self.lists.is_empty(), JsonKind::Array),
            (self.texts.is_empty(), JsonKind::String),
            (self.numbers.is_empty(), JsonKind::Number),
        ];
        let hinted = hints.into_iter().filter(|(is_silent, _)| !is_silent);
        let hinted = hinted.fold(Kinds(0), |kinds, (_, kind)| kinds.or(Kinds::one(kind)));
        if self.n_listed == 0 && hinted != Kinds(0) {
            self.kinds.and(hinted)
        } else {
            self.kinds
        }
    }
}

impl About {
    pub(super) fn fill(&mut self, keywords: &Keywords) {
        fill(&mut self.title, keywords.title.as_ref());
        fill(&mut self.description, keywords.description.as_ref());
        fill(&mut self.default, keywords.default.as_ref());
        fill(&mut self.examples, keywords.examples.as_ref());
    }

    /// Puts what `outer` says before what is said here.
    pub(super) fn within(self, outer: Self) -> Self {
        Self {
            title: outer.title.or(self.title),
            description: outer.description.or(self.description),
            default: outer.default.or(self.default),
            examples: outer.examples.or(self.examples),
        }
    }
}

impl Default for Kinds {
    /// All.
    fn default() -> Self {
        Self(0x7F)
    }
}

impl Kinds {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn one(kind: JsonKind) -> Self {
        match kind {
            JsonKind::Number => Self(bit(JsonKind::Number) | bit(JsonKind::Integer)),
            kind => Self(bit(kind)),
        }
    }

    pub(super) fn of_value(value: &Value) -> Self {
        Self::one(match value {
            Value::Null => JsonKind::Null,
            Value::Bool(_) => JsonKind::Boolean,
            Value::Number(n) if n.as_f64().is_some_and(|n| n.fract() == 0.0) => JsonKind::Integer,
            Value::Number(_) => return Self(bit(JsonKind::Number)),
            Value::String(_) => JsonKind::String,
            Value::Array(_) => JsonKind::Array,
            Value::Object(_) => JsonKind::Object,
        })
    }

    pub(super) fn has(self, kind: JsonKind) -> bool {
        self.0 & bit(kind) != 0
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn of(kinds: &OneOrMany<JsonKind>) -> Self {
        match kinds {
            OneOrMany::One(kind) => Self::one(*kind),
            OneOrMany::Many(kinds) if kinds.is_empty() => Self::default(),
            OneOrMany::Many(kinds) => kinds
                .iter()
                .fold(Self::NONE, |all, kind| all.or(Self::one(*kind))),
        }
    }

    fn with_null_if(self, is_nullable: bool) -> Self {
        if is_nullable {
            self.or(Self::one(JsonKind::Null))
        } else {
            self
        }
    }
}

/// `path` and a step behind it.
pub(super) fn join(path: &str, step: &str) -> String {
    if path.is_empty() {
        step.to_owned()
    } else {
        format!("{path}.{step}")
    }
}

fn bit(kind: JsonKind) -> u8 {
    1 << kind as u8
}

fn fill<T: Clone>(here: &mut Option<T>, from: Option<&T>) {
    if here.is_none() {
        *here = from.cloned();
    }
}
