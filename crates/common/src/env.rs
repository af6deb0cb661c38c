//! The only reader of the process environment.
//!
//! A service declares each setting once as a [`Variable`]. [`Environment`] reads them all, collects every problem, and
//! names variables but never their values. The same declarations render docs/configuration.md. An empty value counts as
//! unset, because Compose passes `NAME=` for what is not there. `NAME_FILE` names a file that holds the secret `NAME`.
//! `SETTINGS_FILE` names a TOML file of settings, over which the environment wins.

use std::any::Any;
use std::ffi::OsString;
use std::fmt::{self, Display, Write as _};
use std::net::AddrParseError;
use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

use config::Config;

use crate::secret::{self, Secret};

mod layers;
mod service_links;

/// The exit code for settings that were refused (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIGURATION: u8 = 64;

const SETTINGS_FILE: Variable = Variable::new(
    "SETTINGS_FILE",
    "",
    "A TOML file of settings in the form `NAME = VALUE`, with the names of this table. The environment wins over it. It \
     holds no secrets, but may name their files.",
);

/// One setting: its name, what it means, and what it is when nobody sets it.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The variable's name in the environment.
    pub name: &'static str,
    /// The text that is parsed when the variable is unset; empty for "none".
    pub default: &'static str,
    /// One sentence for docs/configuration.md, with the unit.
    pub about: &'static str,
    kind: VariableKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VariableKind {
    Plain,
    /// A secret that llama-server may be given too.
    Key,
    /// A secret of somebody else's.
    Token,
    /// A setting that a library reads from the environment too.
    Library,
}

impl Variable {
    /// A setting with a default; an empty default means that the setting is optional or required, as `about` says.
    #[must_use]
    pub const fn new(name: &'static str, default: &'static str, about: &'static str) -> Self {
        let kind = VariableKind::Plain;
        Self {
            name,
            default,
            about,
            kind,
        }
    }

    /// An API key, read from `NAME` or from the file that `NAME_FILE` names. It must be one that llama-server reads alike
    /// from the same text, see [`secret::parse_key`].
    #[must_use]
    pub const fn secret(name: &'static str, about: &'static str) -> Self {
        Self {
            kind: VariableKind::Key,
            ..Self::new(name, "", about)
        }
    }

    /// As [`Variable::secret`], for what llama-server never sees: white space and a byte order mark around it do not count.
    #[must_use]
    pub const fn token(name: &'static str, about: &'static str) -> Self {
        Self {
            kind: VariableKind::Token,
            ..Self::new(name, "", about)
        }
    }

    /// The variable that may name a file with this secret.
    fn file_name(&self) -> Option<String> {
        let is_secret = matches!(self.kind, VariableKind::Key | VariableKind::Token);
        is_secret.then(|| format!("{}_FILE", self.name))
    }

    /// A setting that a library reads from the environment by itself, and that is only checked here.
    #[must_use]
    pub const fn of_library(name: &'static str, about: &'static str) -> Self {
        Self {
            kind: VariableKind::Library,
            ..Self::new(name, "", about)
        }
    }

    /// `place` is where `text` was found, and begins the problem.
    fn parse_secret(&self, place: &str, text: &str) -> Result<Secret, String> {
        let secret = match self.kind {
            VariableKind::Token => secret::parse_token(text),
            VariableKind::Plain | VariableKind::Key | VariableKind::Library => {
                secret::parse_key(text)
            }
        };
        secret.map_err(|problem| format!("{place} {problem}"))
    }

    /// Why the settings file may not hold it.
    fn not_in_a_file(&self) -> Option<String> {
        let name = self.name;
        match self.kind {
            VariableKind::Plain => None,
            VariableKind::Key | VariableKind::Token => Some(format!(
                "{name} is a secret: name its file in {name}_FILE instead"
            )),
            VariableKind::Library => Some(format!(
                "{name} counts in the environment only: set it there"
            )),
        }
    }
}

/// Everything that is wrong with the settings, one line per variable.
#[derive(Debug, thiserror::Error)]
pub struct Invalid {
    problems: Vec<String>,
}

impl Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings are not usable:")?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// The settings of one service, and the problems found so far.
#[derive(Debug)]
pub struct Environment {
    values: Config,
    problems: Vec<String>,
}

impl Environment {
    /// Reads the process environment. `prefix` is the service's own (`PROXY_`). A variable that has it and is in none of
    /// `tables` is a problem: it is a misspelling that would otherwise be ignored.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one reader of the environment"
    )]
    pub fn from_process(prefix: &str, tables: &[&[Variable]]) -> Self {
        Self::from_pairs(prefix, tables, std::env::vars_os())
    }

    /// Reads the variables of `table` from the process environment, whatever else is set there.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one reader of the environment"
    )]
    pub fn only(table: &[Variable]) -> Self {
        let (values, problems) = layers::stack(None, &[table], std::env::vars_os());
        Self { values, problems }
    }

    /// As [`Environment::from_process`], from given pairs.
    #[must_use]
    pub fn from_pairs<N: Into<OsString>, V: Into<OsString>>(
        prefix: &str,
        tables: &[&[Variable]],
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let pairs = pairs.into_iter();
        let pairs = pairs.map(|(name, value)| (name.into(), value.into()));
        let (values, problems) = layers::stack(Some(prefix), tables, pairs);
        Self { values, problems }
    }

    /// Notes a problem with `variable`. `problem` must not hold the value.
    pub fn refuse(&mut self, variable: &Variable, problem: impl Display) {
        self.problems.push(format!("{} {problem}", variable.name));
    }

    /// The value as a `T`, or the default. A value that does not parse is noted, and the default takes its place until
    /// [`Environment::finish`] refuses the whole.
    ///
    /// # Panics
    ///
    /// When the variable's own default does not parse.
    pub fn read<T: FromStr<Err: Display + 'static>>(&mut self, variable: &Variable) -> T {
        self.read_with(variable, |text| {
            text.parse::<T>().map_err(|error| expectation(&error))
        })
    }

    /// As [`Environment::read`], with a parser that says what the value must be ("must be 1 to 64").
    ///
    /// # Panics
    ///
    /// When the variable's own default does not parse.
    pub fn read_with<T>(
        &mut self,
        variable: &Variable,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        if let Some(text) = self.text(variable.name) {
            match parse(&text) {
                Ok(value) => return value,
                Err(problem) => self.refuse(variable, format_args!("is not usable: {problem}")),
            }
        }
        match parse(variable.default) {
            Ok(value) => value,
            Err(problem) => panic!("the default of {} does not parse: {problem}", variable.name),
        }
    }

    /// The text, or the default, or `None` when both are empty.
    pub fn optional(&mut self, variable: &Variable) -> Option<String> {
        let default = Some(variable.default.to_owned()).filter(|default| !default.is_empty());
        self.text(variable.name).or(default)
    }

    /// The text or the default; a problem when there is neither. `advice` says what to set.
    pub fn required(&mut self, variable: &Variable, advice: &str) -> String {
        self.optional(variable).unwrap_or_else(|| {
            self.refuse(variable, format_args!("is not set: {advice}"));
            String::new()
        })
    }

    /// The secret from `NAME` or from the file that `NAME_FILE` names.
    pub fn secret(&mut self, variable: &Variable) -> Option<Secret> {
        let name = variable.name;
        let file_name = format!("{name}_FILE");
        let read = match (self.raw(name), self.text(&file_name)) {
            (None, None) => return None,
            (Some(_), Some(_)) => Err(format!("{name} and {file_name} are both set: keep one")),
            (Some(text), None) => variable.parse_secret(name, &text),
            (None, Some(path)) => secret::read_file(&path)
                .and_then(|text| variable.parse_secret(&path, &text))
                .map_err(|problem| format!("{file_name}: {problem}")),
        };
        read.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// As [`Environment::secret`]; a problem when it is not set. `advice` says how to get one.
    pub fn required_secret(&mut self, variable: &Variable, advice: &str) -> Secret {
        let n_problems = self.problems.len();
        self.secret(variable).unwrap_or_else(|| {
            if self.problems.len() == n_problems {
                let name = variable.name;
                self.problems.push(format!(
                    "{name} is not set: {advice} ({name}_FILE may name a file that holds it)"
                ));
            }
            Secret::new("")
        })
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// When anything was wrong: all of it at once.
    pub fn finish(self) -> Result<(), Invalid> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(Invalid {
                problems: self.problems,
            })
        }
    }

    fn raw(&self, name: &str) -> Option<String> {
        self.values.get_string(name).ok()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.raw(name).map(|text| text.trim().to_owned())
    }
}

/// What a value must be. The standard library's own errors say only what they stumbled over.
fn expectation<E: Display + 'static>(error: &E) -> String {
    let any = error as &dyn Any;
    if any.is::<AddrParseError>() {
        return "must be ADDRESS:PORT, as in 0.0.0.0:8081".to_owned();
    }
    match any.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        None => error.to_string(),
        Some(IntErrorKind::Zero) => "must be at least 1".to_owned(),
        Some(IntErrorKind::PosOverflow) => "is too large".to_owned(),
        Some(_) => "must be a whole number".to_owned(),
    }
}

/// The rows of `tables` as a Markdown table, for docs/configuration.md.
#[must_use]
pub fn markdown(tables: &[&[Variable]]) -> String {
    let mut page = String::from("| Variable | Default | Meaning |\n|---|---|---|\n");
    let tables = tables.iter().copied().chain([[SETTINGS_FILE].as_slice()]);
    for variable in tables.flatten() {
        let name = variable.name;
        let file = variable
            .file_name()
            .map(|file| format!(" or `{file}`"))
            .unwrap_or_default();
        let default = match variable.default {
            "" => "–".to_owned(),
            default => format!("`{default}`"),
        };
        let about = variable.about;
        writeln!(page, "| `{name}`{file} | {default} | {about} |")
            .expect("a string takes every write");
    }
    page
}

#[cfg(test)]
mod tests;
