//! The settings that xtask hands to what it starts: `.env.dev` or `.env.prod`, under the process environment.
//!
//! A variable that is set in the shell wins over the file, as in Compose, also when it is empty. So does its other form:
//! `HF_TOKEN` in the shell hides `HF_TOKEN_FILE` of the file. An empty value counts as unset. Values are never printed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

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

/// The lines of an env file, as Compose reads them: `export` before a name, quotes, and a comment behind a value. The last
/// value of a name counts. What Compose would substitute, escape or continue on the next line is refused.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) =
            parse_line(line).map_err(|problem| anyhow!("line {}: {problem}", number + 1))?;
        pairs.retain(|(earlier, _)| earlier != name);
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

fn parse_line(line: &str) -> Result<(&str, &str)> {
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let Some((name, value)) = line.split_once('=') else {
        bail!("it must be NAME=VALUE");
    };
    let is_of_a_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_uppercase()) || !name.chars().all(is_of_a_name) {
        bail!("it must be NAME=VALUE, with a name of capital letters, digits and underscores");
    }
    let value = match value.trim() {
        quoted if quoted.starts_with('\'') => parse_quoted(quoted, '\'')?,
        quoted if quoted.starts_with('"') => not_substituted(parse_quoted(quoted, '"')?)?,
        comment if comment.starts_with('#') => {
            bail!("Compose takes a # behind the = for the value: put the value in quotes")
        }
        plain => {
            let comment = plain.find(" #").unwrap_or(plain.len());
            not_substituted(plain[..comment].trim_end())?
        }
    };
    if value.contains(char::is_control) {
        bail!("the value has a tab or another control character: put spaces there");
    }
    Ok((name, value))
}

fn not_substituted(value: &str) -> Result<&str> {
    if value.contains('$') {
        bail!("Compose substitutes what follows a $: put the value in single quotes");
    }
    Ok(value)
}

/// What is before the closing quote; only a comment may follow it.
fn parse_quoted(text: &str, quote: char) -> Result<&str> {
    let Some((value, behind)) = text[1..].split_once(quote) else {
        bail!("the closing quote is missing: a value must end on its own line");
    };
    if value.contains('\\') {
        bail!("Compose takes a backslash between quotes for an escape: leave out the quotes");
    }
    let behind = behind.trim_start();
    if !behind.is_empty() && !behind.starts_with('#') {
        bail!("nothing but a comment may follow the closing quote");
    }
    Ok(value)
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
    use std::process::{Command, Stdio};

    use super::{merge, parse};

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// Lines that set `A`, and the value that they give it.
    const UNDERSTOOD: [(&str, &str); 22] = [
        ("A=x", "x"),
        ("\u{feff}A=x", "x"),
        ("  A= x y  ", "x y"),
        ("A=x\r", "x"),
        ("export A=x", "x"),
        ("export\tA=x # a comment", "x"),
        ("A=x # a comment", "x"),
        ("A=x #a comment", "x"),
        ("A=x#y", "x#y"),
        ("A=x=y", "x=y"),
        ("A=x\\ny", "x\\ny"),
        ("A=x\"y\"", "x\"y\""),
        ("A=", ""),
        ("A=\"\"", ""),
        ("A=\"x y\" # a comment", "x y"),
        ("A='x y'# a comment", "x y"),
        ("A=\"x # y\"", "x # y"),
        ("A='#x'", "#x"),
        ("A='$HOME and ${HOME}'", "$HOME and ${HOME}"),
        ("A=\"it's\"", "it's"),
        ("A=x\nA=y", "y"),
        ("A=x\nA=", ""),
    ];

    #[test]
    fn an_env_file_is_read_as_compose_reads_it() {
        for (text, value) in UNDERSTOOD {
            assert_eq!(parse(text).unwrap(), pairs(&[("A", value)]), "{text:?}");
        }
        assert_eq!(parse("# a comment\n\n").unwrap(), []);
    }

    #[test]
    fn an_env_file_with_another_meaning_for_compose_is_refused() {
        for text in [
            "A",
            "=x",
            "a=x",
            "A =x",
            "A: x",
            "exportA",
            "A=$HOME",
            "A=\"$HOME\"",
            "A=x$",
            "A=#x",
            "A= # a comment",
            "A=x\t# a comment",
            "A=\"x",
            "A=\"x\ny\"",
            "A=\"x\\ny\"",
            "A='it\\'s'",
            "A=\"x\"y",
            "A=x\0y",
        ] {
            let problem = parse(text).unwrap_err().to_string();
            assert!(problem.starts_with("line 1: "), "{text:?}: {problem}");
        }
    }

    /// Asks Compose itself, where it is installed.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "CORRAL_TEST_ALL is for tests, not for commands"
    )]
    fn compose_reads_the_same_values() {
        let compose = |arguments: &[&str]| {
            let mut command = Command::new("docker");
            command.arg("compose").args(arguments).stderr(Stdio::null());
            let output = command.env("HOME", "/home/nobody").output().ok()?;
            output
                .status
                .success()
                .then(|| String::from_utf8(output.stdout).unwrap())
        };
        if compose(&["version"]).is_none() {
            let may_skip = std::env::var_os("CORRAL_TEST_ALL").is_none();
            assert!(
                may_skip,
                "docker has no Compose v2, and nothing may be skipped"
            );
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("compose.yml");
        let mut stack = String::from("services:\n  s:\n    image: x\n    environment:\n");
        let mut arguments = Vec::new();
        for (number, (text, _)) in UNDERSTOOD.iter().enumerate() {
            let env_file = folder.path().join(number.to_string());
            let text = text.replace("A=", &format!("A{number}="));
            std::fs::write(&env_file, text + "\n").unwrap();
            arguments.extend(["--env-file".to_owned(), env_file.display().to_string()]);
            stack += &format!("      A{number}: ${{A{number}}}\n");
        }
        std::fs::write(&file, stack).unwrap();
        arguments.extend(["-f".to_owned(), file.display().to_string()]);
        arguments.extend(["config", "--format", "json"].map(str::to_owned));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let config: serde_json::Value =
            serde_json::from_str(&compose(&arguments).unwrap()).unwrap();
        for (number, (text, value)) in UNDERSTOOD.iter().enumerate() {
            // `config` escapes what its own reader would substitute.
            let read = config["services"]["s"]["environment"][format!("A{number}")].as_str();
            assert_eq!(read.unwrap().replace("$$", "$"), *value, "{text:?}");
        }
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
