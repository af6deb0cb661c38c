//! The settings that xtask hands to what it starts: `.env.dev` or `.env.prod`, under the process environment.
//!
//! A variable that is set in the shell wins over the file, as in Compose, also when it is empty. So does its other form:
//! `HF_TOKEN` in the shell hides `HF_TOKEN_FILE` of the file. An empty value counts as unset. Values are never printed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::env_file;

/// Which of the two env files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// The small model of `.env.dev`.
    Dev,
    /// The large one of `.env.prod`.
    Prod,
}

impl Profile {
    /// The file's name in the workspace's root.
    pub(crate) const fn file_name(self) -> &'static str {
        match self {
            Self::Dev => ".env.dev",
            Self::Prod => ".env.prod",
        }
    }
}

/// Variables and where the workspace is.
#[derive(Clone)]
pub(crate) struct Settings {
    root: PathBuf,
    values: BTreeMap<String, String>,
    /// What of it the shell had set.
    shell: BTreeSet<String>,
}

impl Settings {
    /// Reads the env file of `profile` and the process environment.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or Compose would read other values from it.
    #[expect(
        clippy::disallowed_methods,
        reason = "xtask links none of our crates, so this is its one reader"
    )]
    pub(crate) fn load(profile: Profile) -> Result<Self> {
        let root = workspace();
        let file = env_file::read(&root.join(profile.file_name()))?;
        let process = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let process: Vec<_> = process.collect();
        let shell = process.iter().map(|(name, _)| name.clone()).collect();
        Ok(Self {
            root,
            values: merge(file, process),
            shell,
        })
    }

    /// The workspace's root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below `target/`.
    pub(crate) fn target(&self, path: &str) -> PathBuf {
        self.get("CARGO_TARGET_DIR")
            .map_or_else(|| self.root.join("target"), |dir| self.root.join(dir))
            .join(path)
    }

    /// The value of `name`; an empty one counts as unset.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether `name` has the env file's value.
    pub(crate) fn is_from_file(&self, name: &str) -> bool {
        self.values.contains_key(name) && !self.shell.contains(name)
    }

    /// The value of `name`.
    ///
    /// # Errors
    ///
    /// When it is not set: names the variable and the file.
    pub(crate) fn required(&self, name: &str) -> Result<&str> {
        self.get(name)
            .with_context(|| format!("{name} is not set: set it in the env file or in the shell"))
    }

    /// A secret, from `name` or from the file that `NAME_FILE` names.
    ///
    /// # Errors
    ///
    /// When neither is set, or the file cannot be read or is empty.
    pub(crate) fn secret(&self, name: &str) -> Result<String> {
        if let Some(value) = self.get(name) {
            return Ok(value.to_owned());
        }
        let variable = format!("{name}_FILE");
        let Some(path) = self.get(&variable) else {
            bail!(
                "{name} is not set: put a value in the env file (`openssl rand -hex 32` makes one) or in the shell"
            );
        };
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("{variable}: cannot read {path}; natively, set {name} in the shell instead")
        })?;
        // Only the line's end does not count, as in the services and in llama-server.
        let key = text.trim_matches('\n');
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '"');
        if key.is_empty() || key.starts_with('#') || !key.chars().all(is_plain) {
            bail!(
                "{variable}: {path} must hold one line with nothing but the key, without commas, quotes or white space"
            );
        }
        Ok(key.to_owned())
    }

    /// These settings with `pairs` on top.
    pub(crate) fn with<N: Into<String>, V: Into<String>>(
        &self,
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut settings = self.clone();
        settings.values.extend(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        settings
    }

    /// These settings without `names`.
    pub(crate) fn without(&self, names: &[&str]) -> Self {
        let mut settings = self.clone();
        settings
            .values
            .retain(|name, _| !names.contains(&name.as_str()));
        settings
    }

    /// Everything, for the environment of a process that we start.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first file named `program` on `PATH` that may be executed.
    pub(crate) fn which(&self, program: &str) -> Option<PathBuf> {
        let on_path = std::env::split_paths(self.get("PATH")?).map(|folder| folder.join(program));
        on_path.into_iter().find(|path| Self::may_execute(path))
    }

    /// Whether `path` is a file that may be executed.
    pub(crate) fn may_execute(path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    }
}

/// The workspace's root: where xtask was built.
pub(crate) fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The file's values under those of the shell. An empty value counts as unset, and one in the shell hides the file's all
/// the same.
fn merge(
    file: Vec<(String, String)>,
    process: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> = process.into_iter().collect();
    let wanted: Vec<_> = file
        .into_iter()
        .filter(|(name, _)| {
            let hides = values
                .get(&twin(name))
                .is_some_and(|value| !value.trim().is_empty());
            !values.contains_key(name) && !hides
        })
        .collect();
    values.extend(wanted);
    values.retain(|_, value| !value.trim().is_empty());
    values
}

/// The other form of a secret's name.
fn twin(name: &str) -> String {
    name.strip_suffix("_FILE")
        .map_or_else(|| format!("{name}_FILE"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::merge;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_shell_wins_over_the_file_also_with_an_empty_value() {
        let merged = merge(
            pairs(&[("A", "file"), ("B", "file"), ("C", "")]),
            pairs(&[("A", "shell"), ("B", "")]),
        );
        assert_eq!(
            merged.into_iter().collect::<Vec<_>>(),
            pairs(&[("A", "shell")])
        );
    }

    #[test]
    fn a_secret_in_the_shell_hides_its_other_form_in_the_file() {
        let merged = merge(
            pairs(&[("T_FILE", "/run/t"), ("K", "k"), ("U_FILE", "/run/u")]),
            pairs(&[("T", "t"), ("K_FILE", "/k"), ("U", "")]),
        );
        assert_eq!(
            merged.into_iter().collect::<Vec<_>>(),
            pairs(&[("K_FILE", "/k"), ("T", "t"), ("U_FILE", "/run/u")])
        );
    }
}
