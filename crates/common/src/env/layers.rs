//! Which values count: the environment's above those of the settings file, for names that somebody declared.
//!
//! A name that nobody declared is a problem where it would otherwise be a misspelling that is ignored: in the
//! environment with the service's own prefix, in the settings file always.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use config::{Config, File, FileFormat, Source as _, Value};

use super::{SETTINGS_FILE, Variable, service_links};

/// The most letters that may be wrong in a name for which another is proposed.
const MAX_TYPOS: usize = 3;

/// The values of the names in `tables`, and what is wrong. Without a `prefix` other names do not matter.
pub(super) fn stack(
    prefix: Option<&str>,
    tables: &[&[Variable]],
    pairs: impl IntoIterator<Item = (OsString, OsString)>,
) -> (Config, Vec<String>) {
    let names = Names::of(tables);
    let mut problems = Vec::new();
    let mut values = BTreeMap::new();
    for (name, value) in pairs {
        let Ok(name) = name.into_string() else {
            continue;
        };
        let is_known = names.all.contains(&name);
        if !is_known && !prefix.is_some_and(|prefix| name.starts_with(prefix)) {
            continue;
        }
        match value.into_string() {
            Err(_) => problems.push(format!("{name} is not UTF-8 text")),
            Ok(value) if value.trim().is_empty() => {}
            Ok(value) if is_known => drop(values.insert(name, value)),
            Ok(value) if service_links::is_one(&name, &value) => {}
            Ok(_) => problems.push(names.unknown(&name, prefix.unwrap_or_default())),
        }
    }
    let mut layers = Config::builder();
    let path = values.get(SETTINGS_FILE.name);
    let in_file = path.map_or_else(|| Ok(BTreeMap::new()), |path| read(path));
    let in_file = in_file.unwrap_or_else(|problem| {
        problems.push(format!("SETTINGS_FILE: {problem}"));
        BTreeMap::new()
    });
    for (name, value) in in_file {
        // A secret in the environment also hides the file's other form of it.
        let secret = name.strip_suffix("_FILE").unwrap_or_default();
        match names.text_in_file(&name, value, prefix.is_some()) {
            Ok(Some(_)) if values.contains_key(secret) => {}
            Ok(Some(text)) => layers = layers.set_default(&name, text).expect(NAMES_ARE_KEYS),
            Ok(None) => {}
            Err(problem) => problems.push(format!("SETTINGS_FILE: {problem}")),
        }
    }
    for (name, value) in values {
        layers = layers.set_override(name, value).expect(NAMES_ARE_KEYS);
    }
    let layers = layers.build().expect("every layer is in memory");
    (layers, problems)
}

const NAMES_ARE_KEYS: &str = "the name of a setting is a key of `config`";

/// What the settings file says.
fn read(path: &str) -> Result<BTreeMap<String, Value>, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let settings = File::from_str(&text, FileFormat::Toml).collect();
    // The whole error would quote the line, which may hold a secret; its first line says where it is.
    let settings = settings.map_err(|error| {
        let error = error.to_string();
        let place = error.lines().next().unwrap_or_default();
        format!("{path} is not TOML in the form NAME = VALUE: {place}")
    })?;
    Ok(settings.into_iter().collect())
}

/// The names that somebody declared.
struct Names {
    all: BTreeSet<String>,
    /// Those that the settings file may not hold, and why.
    not_in_a_file: BTreeMap<String, String>,
}

impl Names {
    fn of(tables: &[&[Variable]]) -> Self {
        let mut names = Self {
            all: BTreeSet::from([SETTINGS_FILE.name.to_owned()]),
            not_in_a_file: BTreeMap::new(),
        };
        for variable in tables.iter().copied().flatten() {
            let name = variable.name.to_owned();
            names.all.extend(variable.file_name());
            if let Some(problem) = variable.not_in_a_file() {
                names.not_in_a_file.insert(name.clone(), problem);
            }
            names.all.insert(name);
        }
        names
    }

    /// The text of a value of the settings file, unless it is empty, or its name does not matter.
    fn text_in_file(
        &self,
        name: &str,
        value: Value,
        all_matter: bool,
    ) -> Result<Option<String>, String> {
        if let Some(problem) = self.not_in_a_file.get(name) {
            return Err(problem.clone());
        }
        if !self.all.contains(name) {
            return if all_matter {
                Err(self.unknown(name, ""))
            } else {
                Ok(None)
            };
        }
        let text = value
            .into_string()
            .map_err(|_| format!("{name} must be text in quotes, a number, true or false"))?;
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }

    /// The problem with a name that nobody declared.
    fn unknown(&self, name: &str, prefix: &str) -> String {
        let known = self.all.iter();
        let nearest = known.map(|known| (strsim::osa_distance(name, known), known));
        match nearest.min() {
            Some((0..=MAX_TYPOS, nearest)) => {
                format!("{name} is not a setting; did you mean {nearest}?")
            }
            _ => {
                let ours = self.all.iter().filter(|known| known.starts_with(prefix));
                let list = ours.map(String::as_str).collect::<Vec<_>>().join(", ");
                format!("{name} is not a setting; use one of {list}")
            }
        }
    }
}
