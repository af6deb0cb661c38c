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
    for (name, value) in in_file.unwrap_or_else(|problem| {
        problems.push(format!("SETTINGS_FILE: {problem}"));
        BTreeMap::new()
    }) {
        if let Some(problem) = names.not_in_a_file.get(&name) {
            problems.push(format!("SETTINGS_FILE: {problem}"));
        } else if names.all.contains(&name) {
            // A secret in the environment also hides the file's other form of it.
            if !name
                .strip_suffix("_FILE")
                .is_some_and(|secret| values.contains_key(secret))
            {
                layers = layers.set_default(&name, value).expect(NAMES_ARE_KEYS);
            }
        } else if prefix.is_some() {
            problems.push(format!("SETTINGS_FILE: {}", names.unknown(&name, "")));
        }
    }
    for (name, value) in values {
        layers = layers.set_override(name, value).expect(NAMES_ARE_KEYS);
    }
    let layers = layers.build().expect("every layer is in memory");
    (layers, problems)
}

const NAMES_ARE_KEYS: &str = "the name of a setting is a key of `config`";

/// What the file says, with the names that have a value.
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
    let is_set = |value: &Value| {
        value
            .clone()
            .into_string()
            .is_ok_and(|text| !text.is_empty())
    };
    let settings = settings.into_iter().filter(|(_, value)| is_set(value));
    Ok(settings.collect())
}

/// The names that somebody declared.
struct Names {
    all: BTreeSet<String>,
    /// Those that the settings file may not hold, and why.
    not_in_a_file: BTreeMap<String, String>,
}

impl Names {
    fn of(tables: &[&[Variable]]) -> Self {
        let variables = || tables.iter().copied().flatten();
        let names = variables().chain([&SETTINGS_FILE]);
        let files = variables().filter_map(Variable::file_name);
        let not_in_a_file =
            variables().filter_map(|variable| Some((variable.name, variable.not_in_a_file()?)));
        Self {
            all: names
                .map(|variable| variable.name.to_owned())
                .chain(files)
                .collect(),
            not_in_a_file: not_in_a_file
                .map(|(name, problem)| (name.to_owned(), problem))
                .collect(),
        }
    }

    /// The problem with a name that nobody declared.
    fn unknown(&self, name: &str, prefix: &str) -> String {
        let distance = |known: &&String| strsim::osa_distance(name, known);
        let nearest = self.all.iter().min_by_key(distance);
        match nearest.filter(|known| distance(known) <= MAX_TYPOS) {
            Some(nearest) => format!("{name} is not a setting; did you mean {nearest}?"),
            None => {
                let ours = self.all.iter().filter(|known| known.starts_with(prefix));
                let list = ours.map(String::as_str).collect::<Vec<_>>().join(", ");
                format!("{name} is not a setting; use one of {list}")
            }
        }
    }
}
