//! The settings that xtask hands to what it starts: `.env.dev` or `.env.prod`, under the process environment.
//!
//! A variable that is set in the shell wins over the file, and so does its other form: `HF_TOKEN` in the shell hides
//! `HF_TOKEN_FILE` of the file. An empty value counts as unset. Values are never printed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

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
    /// When the file cannot be read or a line of it is not `NAME=VALUE`.
    #[expect(
        clippy::disallowed_methods,
        reason = "xtask links none of our crates, so this is its one reader"
    )]
    pub(crate) fn load(profile: Profile) -> Result<Self> {
        let root = workspace();
        let path = root.join(profile.file_name());
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let file = parse(&text).with_context(|| path.display().to_string())?;
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
        let text = text.trim();
        if text.is_empty() {
            bail!("{variable}: {path} is empty");
        }
        Ok(text.to_owned())
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

/// `NAME=VALUE` lines; blank lines and lines that begin with `#` do not count.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if is_name(name) => {
                pairs.push((name.to_owned(), value.trim().to_owned()));
            }
            _ => bail!("line {} is not NAME=VALUE", number + 1),
        }
    }
    Ok(pairs)
}

fn merge(
    file: Vec<(String, String)>,
    process: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> = process
        .into_iter()
        .filter(|(_, value)| !value.trim().is_empty())
        .collect();
    let twin = |name: &str| {
        name.strip_suffix("_FILE")
            .map_or_else(|| format!("{name}_FILE"), str::to_owned)
    };
    let wanted: Vec<_> = file
        .into_iter()
        .filter(|(name, value)| {
            !value.is_empty() && !values.contains_key(name) && !values.contains_key(&twin(name))
        })
        .collect();
    values.extend(wanted);
    values
}

#[cfg(test)]
mod tests {
    use super::{merge, parse};

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn an_env_file_holds_values_and_comments_and_nothing_else() {
        let text = "# a comment\n\nA_1=x y # kept\nB=\n";
        assert_eq!(
            parse(text).unwrap(),
            pairs(&[("A_1", "x y # kept"), ("B", "")])
        );
        for wrong in ["export A=1", "a=1", "A", "=1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_shell_wins_over_the_file_and_an_empty_value_counts_as_unset() {
        let merged = merge(
            pairs(&[("A", "file"), ("B", "file"), ("C", "")]),
            pairs(&[("A", "shell"), ("B", "")]),
        );
        assert_eq!(
            merged.into_iter().collect::<Vec<_>>(),
            pairs(&[("A", "shell"), ("B", "file")])
        );
    }

    #[test]
    fn a_secret_in_the_shell_hides_the_secret_file_of_the_env_file_and_the_other_way_round() {
        let merged = merge(
            pairs(&[("T_FILE", "/run/t"), ("K", "k")]),
            pairs(&[("T", "t"), ("K_FILE", "/k")]),
        );
        assert_eq!(
            merged.into_iter().collect::<Vec<_>>(),
            pairs(&[("K_FILE", "/k"), ("T", "t")])
        );
    }
}
