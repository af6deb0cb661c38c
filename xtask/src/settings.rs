//! The settings that xtask hands to what it starts: the process environment, then `.env.local`, then `.env.dev` or
//! `.env.prod`. The first of them that has a variable wins, as in Compose, even when its value is empty.
//!
//! A secret has two forms, and one of them hides the other: `HF_TOKEN` in the shell hides `HF_TOKEN_FILE` of a file. An
//! empty value counts as unset. Values are never printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

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

/// The file for one developer's own values, for all profiles. Git ignores it.
pub(crate) const LOCAL: &str = ".env.local";
/// The secrets that Compose mounts as files.
const SECRETS: [&str; 3] = ["HF_TOKEN", "LLM_API_KEY", "PROXY_UPSTREAM_API_KEY"];

/// Variables, and the workspace's root.
#[derive(Clone)]
pub(crate) struct Settings {
    root: PathBuf,
    values: BTreeMap<String, String>,
    /// The file that each value comes from, unless it comes from the shell.
    files: BTreeMap<String, &'static str>,
}

impl Settings {
    /// Reads the process environment, `.env.local` if it is there, and the env file of `profile`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or Compose would read other values from it.
    #[expect(
        clippy::disallowed_methods,
        reason = "xtask links none of our crates, so this is its one reader"
    )]
    pub(crate) fn load(profile: Profile) -> Result<Self> {
        let root = workspace();
        let process = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let mut settings = Self {
            root,
            values: process.collect(),
            files: BTreeMap::new(),
        };
        if settings.root.join(LOCAL).is_file() {
            let local = env_file::read(&settings.root.join(LOCAL))?;
            settings.add(LOCAL, local);
        }
        let file = env_file::read(&settings.root.join(profile.file_name()))?;
        settings.add(profile.file_name(), file);
        settings.values.retain(|_, value| !value.trim().is_empty());
        settings.find_secrets();
        Ok(settings)
    }

    /// Adds the values of `file` that nothing above it hides.
    fn add(&mut self, file: &'static str, pairs: env_file::Pairs) {
        let new: Vec<_> = pairs
            .into_iter()
            .filter(|(name, _)| {
                let twin = self.values.get(&twin(name));
                let is_hidden = twin.is_some_and(|value| !value.trim().is_empty());
                !self.values.contains_key(name) && !is_hidden
            })
            .collect();
        self.files
            .extend(new.iter().map(|(name, _)| (name.clone(), file)));
        self.values.extend(new);
    }

    /// Compose mounts the file that `NAME_SECRET` names, relative to `deploy/`, and sets `NAME_FILE` to where it is in the
    /// container. Natively `NAME_FILE` is the file on this machine.
    fn find_secrets(&mut self) {
        for name in SECRETS {
            let variable = format!("{name}_FILE");
            let is_set = self.values.contains_key(name)
                || (self.values.contains_key(&variable) && !self.files.contains_key(&variable));
            let source = self.values.get(&format!("{name}_SECRET"));
            if let Some(path) = source.filter(|_| !is_set) {
                let path = self.root.join("deploy").join(path);
                // Without the `.` of `./secrets`.
                let path: PathBuf = path.components().collect();
                self.values.insert(variable, path.display().to_string());
            }
        }
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

    /// The env file that the value of `name` comes from, if it comes from one.
    pub(crate) fn file_of(&self, name: &str) -> Option<&'static str> {
        self.files.get(name).copied()
    }

    /// The value of `name`.
    ///
    /// # Errors
    ///
    /// When it is not set.
    pub(crate) fn required(&self, name: &str) -> Result<&str> {
        self.get(name)
            .with_context(|| format!("{name} is not set: set it in {LOCAL} or in the shell"))
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
                "{name} is not set: set it in {LOCAL} or in the shell (`openssl rand -hex 32` makes a key)"
            );
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            anyhow!(
                "{variable}: cannot read {path} ({error}); put a key into it (`openssl rand -hex 32` makes one), or \
                 set {name} in the shell"
            )
        })?;
        // The end of the line is no part of the key, as in the services and in llama-server.
        let key = text.trim_matches('\n');
        if key.is_empty() || key.starts_with('#') || !key.chars().all(is_of_a_key) {
            bail!(
                "{variable}: {path} must hold one line with the key alone, without commas, quotes or white space"
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

    /// The path of `program`, which is a name on `PATH` or a path. It may be executed.
    pub(crate) fn which(&self, program: &str) -> Option<PathBuf> {
        which::which_in(program, self.get("PATH"), &self.root).ok()
    }
}

/// The workspace's root: where xtask was built.
pub(crate) fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Whether a key may have this character; llama-server splits its keys at the others.
const fn is_of_a_key(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, ',' | '"')
}

/// The other form of a secret's name.
fn twin(name: &str) -> String {
    name.strip_suffix("_FILE")
        .map_or_else(|| format!("{name}_FILE"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{LOCAL, Settings};

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// Settings of a shell, of `.env.local` and of an env file.
    fn settings(
        shell: &[(&str, &str)],
        local: &[(&str, &str)],
        file: &[(&str, &str)],
    ) -> Vec<(String, String)> {
        let mut settings = Settings {
            root: "/corral".into(),
            values: pairs(shell).into_iter().collect(),
            files: BTreeMap::new(),
        };
        settings.add(LOCAL, pairs(local));
        settings.add(".env.dev", pairs(file));
        settings.values.retain(|_, value| !value.is_empty());
        settings.find_secrets();
        settings.values.into_iter().collect()
    }

    #[test]
    fn the_shell_wins_over_the_files_also_with_an_empty_value() {
        let file = [("A", "file"), ("B", "file"), ("C", "")];
        assert_eq!(
            settings(&[("A", "shell"), ("B", "")], &[], &file),
            pairs(&[("A", "shell")])
        );
    }

    #[test]
    fn the_local_file_wins_over_the_env_file() {
        let local = [("A", "local"), ("B", ""), ("C", "local")];
        let file = [("A", "file"), ("B", "file"), ("C", "file"), ("D", "file")];
        assert_eq!(
            settings(&[("C", "shell")], &local, &file),
            pairs(&[("A", "local"), ("C", "shell"), ("D", "file")])
        );
    }

    #[test]
    fn a_secret_in_the_shell_hides_its_other_form_in_the_file() {
        let shell = [("T", "t"), ("K_FILE", "/k"), ("U", "")];
        let file = [("T_FILE", "/run/t"), ("K", "k"), ("U_FILE", "/run/u")];
        assert_eq!(
            settings(&shell, &[], &file),
            pairs(&[("K_FILE", "/k"), ("T", "t"), ("U_FILE", "/run/u")])
        );
    }

    #[test]
    fn a_secret_that_compose_mounts_is_read_where_it_is_on_this_machine() {
        let file = [
            ("HF_TOKEN_SECRET", "./hf"),
            ("LLM_API_KEY_FILE", "/run/secrets/k"),
            ("LLM_API_KEY_SECRET", "/k"),
        ];
        let of = |shell: &[(&str, &str)]| -> Vec<String> {
            let all = settings(shell, &[], &file);
            let named = all
                .into_iter()
                .filter(|(name, _)| !name.ends_with("_SECRET"));
            named
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        };
        assert_eq!(
            of(&[]),
            ["HF_TOKEN_FILE=/corral/deploy/hf", "LLM_API_KEY_FILE=/k"]
        );
        assert_eq!(
            of(&[("HF_TOKEN", "t"), ("LLM_API_KEY_FILE", "/mine")]),
            ["HF_TOKEN=t", "LLM_API_KEY_FILE=/mine"]
        );
    }
}
