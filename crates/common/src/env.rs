//! The only reader of the process environment.
//!
//! A service declares each setting once as a [`Variable`]; [`Environment`] reads them all, collects every problem, and
//! names variables but never their values. The same declarations render docs/configuration.md. An empty value counts
//! as unset (Compose passes `NAME=` for what is not there), and `NAME_FILE` names a file that holds the secret `NAME`.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::fs::File;
use std::io::Read as _;
use std::str::FromStr;

use config::Config;

use crate::secret::Secret;

/// The exit code for settings that were refused (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIGURATION: u8 = 64;

/// The largest secret file that is read, in bytes.
const MAX_SECRET_FILE_BYTES: u64 = 64 * 1024;

/// One setting: its name, what it means, and what it is when nobody sets it.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The variable's name in the environment.
    pub name: &'static str,
    /// The text that is parsed when the variable is unset; empty for "none".
    pub default: &'static str,
    /// One sentence for docs/configuration.md, with the unit.
    pub about: &'static str,
    /// Whether the value is secret: it may then come from the file that `NAME_FILE` names.
    pub secret: bool,
}

impl Variable {
    /// A setting with a default; an empty default means that the setting is optional or required, as `about` says.
    #[must_use]
    pub const fn new(name: &'static str, default: &'static str, about: &'static str) -> Self {
        Self {
            name,
            default,
            about,
            secret: false,
        }
    }

    /// A secret, read from `NAME` or from the file that `NAME_FILE` names.
    #[must_use]
    pub const fn secret(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            default: "",
            about,
            secret: true,
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

/// The environment of one service, and what was found wrong with it so far.
#[derive(Debug)]
pub struct Environment {
    values: Config,
    problems: Vec<String>,
}

impl Environment {
    /// Reads the process environment. `prefix` is the service's own (`PROXY_`); a variable that carries it and stands
    /// in none of `tables` is a problem, because it is a misspelling that would otherwise be ignored.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one reader of the environment"
    )]
    pub fn from_process(prefix: &str, tables: &[&[Variable]]) -> Self {
        let text = |part: std::ffi::OsString| part.into_string().ok();
        Self::from_pairs(
            prefix,
            tables,
            std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))),
        )
    }

    /// As [`Environment::from_process`], from given pairs.
    #[must_use]
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        prefix: &str,
        tables: &[&[Variable]],
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let known: BTreeMap<String, &Variable> = tables
            .iter()
            .flat_map(|table| table.iter())
            .flat_map(|variable| {
                let file = variable
                    .secret
                    .then(|| (format!("{}_FILE", variable.name), variable));
                [(variable.name.to_owned(), variable)]
                    .into_iter()
                    .chain(file)
            })
            .collect();
        let (mut values, mut problems) = (config::Map::new(), Vec::new());
        for (name, value) in pairs {
            let (name, value) = (name.into(), value.into());
            if known.contains_key(&name) {
                values.insert(name, value);
            } else if name.starts_with(prefix) && !value.is_empty() {
                let nearest = known.keys().filter(|known| known.starts_with(prefix));
                let list = nearest.map(String::as_str).collect::<Vec<_>>().join(", ");
                problems.push(format!(
                    "{name} is not a setting; the ones with {prefix} are {list}"
                ));
            }
        }
        let source = config::Environment::default()
            .ignore_empty(true)
            .source(Some(values));
        match Config::builder().add_source(source).build() {
            Ok(values) => Self { values, problems },
            Err(error) => Self {
                values: Config::default(),
                problems: vec![error.to_string()],
            },
        }
    }

    /// Notes a problem with `variable`. `problem` must not hold the value.
    pub fn refuse(&mut self, variable: &Variable, problem: impl Display) {
        self.problems.push(format!("{} {problem}", variable.name));
    }

    /// The value as a `T`, or the default. A value that does not parse is noted and the default stands in for it until
    /// [`Environment::finish`] refuses the whole.
    ///
    /// # Panics
    ///
    /// When the variable's own default does not parse.
    pub fn read<T: FromStr<Err: Display>>(&mut self, variable: &Variable) -> T {
        self.read_with(variable, |text| {
            text.parse::<T>().map_err(|error| error.to_string())
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

    /// The secret from `NAME` or from the file that `NAME_FILE` names; white space around it does not count.
    pub fn secret(&mut self, variable: &Variable) -> Option<Secret> {
        let file_name = format!("{}_FILE", variable.name);
        let (text, path) = (self.text(variable.name), self.text(&file_name));
        let text = match (text, path) {
            (Some(_), Some(_)) => {
                self.problems.push(format!(
                    "{} and {file_name} are both set: keep one",
                    variable.name
                ));
                return None;
            }
            (Some(text), None) => text,
            (None, Some(path)) => match read_secret_file(&path) {
                Ok(text) => text,
                Err(problem) => {
                    self.problems.push(format!("{file_name}: {problem}"));
                    return None;
                }
            },
            (None, None) => return None,
        };
        let text = text.trim();
        if text.is_empty() || text.contains(char::is_control) {
            self.refuse(variable, "holds white space only, or a control character");
            return None;
        }
        Some(Secret::new(text))
    }

    /// As [`Environment::secret`]; a problem when it is not set. `advice` says how to get one.
    pub fn required_secret(&mut self, variable: &Variable, advice: &str) -> Secret {
        let problems = self.problems.len();
        self.secret(variable).unwrap_or_else(|| {
            if self.problems.len() == problems {
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

    fn text(&self, name: &str) -> Option<String> {
        let text = self.values.get_string(&name.to_ascii_lowercase()).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }
}

fn read_secret_file(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot open {path}: {error}"))?;
    file.take(MAX_SECRET_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read {path}: {error}"))?;
    if text.len() as u64 > MAX_SECRET_FILE_BYTES {
        return Err(format!(
            "{path} is larger than {MAX_SECRET_FILE_BYTES} bytes"
        ));
    }
    if text.trim().is_empty() {
        Err(format!("{path} is empty"))
    } else {
        Ok(text)
    }
}

/// The rows of `tables` as a Markdown table, for docs/configuration.md.
#[must_use]
pub fn markdown(tables: &[&[Variable]]) -> String {
    let mut page = String::from("| Variable | Default | Meaning |\n|---|---|---|\n");
    for variable in tables.iter().flat_map(|table| table.iter()) {
        let file = if variable.secret {
            format!(" or `{}_FILE`", variable.name)
        } else {
            String::new()
        };
        let default = if variable.default.is_empty() {
            "–".to_owned()
        } else {
            format!("`{}`", variable.default)
        };
        let _infallible = writeln!(
            page,
            "| `{}`{file} | {default} | {} |",
            variable.name, variable.about
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::{Environment, Variable, markdown};

    const PORT: Variable = Variable::new("TEST_PORT", "80", "The port.");
    const NAME: Variable = Variable::new("TEST_NAME", "", "The name.");
    const KEY: Variable = Variable::secret("LLM_KEY", "The key.");
    const TABLE: &[Variable] = &[PORT, NAME, KEY];

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::from_pairs("TEST_", &[TABLE], pairs.iter().copied())
    }

    #[test]
    fn an_empty_value_counts_as_unset() {
        let mut env = environment(&[("TEST_PORT", ""), ("TEST_NAME", " ")]);
        assert_eq!(env.read::<u16>(&PORT), 80);
        assert_eq!(env.optional(&NAME), None);
        env.finish().unwrap();
    }

    #[test]
    fn every_problem_is_reported_at_once_by_name_and_never_by_value() {
        let mut env = environment(&[
            ("TEST_PORT", "s3cret"),
            ("TEST_PROT", "s3cret"),
            ("OTHER", "s3cret"),
        ]);
        env.read::<u16>(&PORT);
        env.required(&NAME, "choose one");
        env.required_secret(&KEY, "make one");
        let message = env.finish().unwrap_err().to_string();
        assert_eq!(
            message,
            "the settings are not usable:\n  \
             TEST_PROT is not a setting; the ones with TEST_ are TEST_NAME, TEST_PORT\n  \
             TEST_PORT is not usable: invalid digit found in string\n  \
             TEST_NAME is not set: choose one\n  \
             LLM_KEY is not set: make one (LLM_KEY_FILE may name a file that holds it)"
        );
    }

    #[test]
    fn a_secret_comes_from_its_file_without_the_trailing_newline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0012345\r\n").unwrap();
        let mut env = environment(&[("LLM_KEY_FILE", file.path().to_str().unwrap())]);
        assert_eq!(env.secret(&KEY).unwrap().expose(), "0012345");
        env.finish().unwrap();
    }

    #[test]
    fn a_secret_in_both_places_or_in_an_empty_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let mut env = environment(&[("LLM_KEY_FILE", path), ("LLM_KEY", "x")]);
        env.required_secret(&KEY, "make one");
        assert_eq!(
            env.finish().unwrap_err().to_string(),
            "the settings are not usable:\n  LLM_KEY and LLM_KEY_FILE are both set: keep one"
        );
        let mut env = environment(&[("LLM_KEY_FILE", path)]);
        env.secret(&KEY);
        assert_eq!(
            env.finish().unwrap_err().to_string(),
            format!("the settings are not usable:\n  LLM_KEY_FILE: {path} is empty")
        );
    }

    #[test]
    fn the_table_names_defaults_and_secret_files() {
        assert_eq!(
            markdown(&[TABLE]),
            "| Variable | Default | Meaning |\n|---|---|---|\n\
             | `TEST_PORT` | `80` | The port. |\n\
             | `TEST_NAME` | – | The name. |\n\
             | `LLM_KEY` or `LLM_KEY_FILE` | – | The key. |\n"
        );
    }
}
