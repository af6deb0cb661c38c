//! Which file is wanted: the repository's name and the file's name, checked once, so that a path can be joined from
//! them without a second look.
//!
//! Names come from settings and from the Hub; both are treated as hostile.

pub(crate) mod choice;
pub(crate) mod mirror;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name of a repository's half or of a file's path component, in bytes.
const MAX_COMPONENT_BYTES: usize = 200;
/// The longest path of a file in its repository, in bytes.
const MAX_PATH_BYTES: usize = 500;

/// A repository on the Hub, `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryId {
    owner: String,
    name: String,
}

impl RepositoryId {
    /// Who it belongs to.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Its name without the owner.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for RepositoryId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |part: &str| {
            let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty()
                && part.len() <= MAX_COMPONENT_BYTES
                && !part.starts_with('.')
                && !part.contains("..")
                && part.chars().all(letters)
        };
        match text.split_once('/') {
            Some((owner, name)) if good(owner) && good(name) => Ok(Self {
                owner: owner.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err("it must be owner/name, as in ggml-org/gemma-3-4b-it-GGUF".to_owned()),
        }
    }
}

/// A GGUF file's path in its repository, which is also its path below the models' folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileName(String);

impl FileName {
    /// The path as it is written, with `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component of the path.
    #[must_use]
    pub(crate) fn base(&self) -> &str {
        self.0
            .rsplit_once('/')
            .map_or(self.0.as_str(), |(_, base)| base)
    }

    /// Which part of how many it is; a model that is one file is part 1 of 1.
    pub(crate) fn part(&self) -> (u32, u32) {
        split_name(&self.0).map_or((1, 1), |(_, number, count)| (number, count))
    }

    /// The names of all parts of the set that it belongs to, in order; itself when it is one file.
    pub(crate) fn parts(&self) -> Vec<Self> {
        let Some((stem, _, count)) = split_name(&self.0) else {
            return vec![self.clone()];
        };
        (1..=count)
            .map(|number| Self(format!("{stem}-{number:05}-of-{count:05}.gguf")))
            .collect()
    }

    /// Where it goes below `folder`.
    #[must_use]
    pub fn below(&self, folder: &Path) -> PathBuf {
        folder.join(&self.0)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FileName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATH_BYTES || !text.split('/').all(is_component) {
            return Err(
                "it must be a plain file name or a path within the repository: no .., no leading / or dot, \
                        no backslash, ASCII only"
                    .to_owned(),
            );
        }
        if !Path::new(text)
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("gguf"))
        {
            return Err("it must end in .gguf, the format that llama-server reads".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl Serialize for FileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

fn is_component(part: &str) -> bool {
    let good = |c: char| {
        (c.is_ascii_graphic() || c == ' ')
            && !matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
    };
    !part.is_empty()
        && part.len() <= MAX_COMPONENT_BYTES
        && !part.starts_with('.')
        && part.chars().all(good)
}

/// The text before the numbers, the part's number and how many there are, of a name like `x-00001-of-00003.gguf`.
fn split_name(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let five_digits =
        |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !five_digits(number) || !five_digits(count) {
        return None;
    }
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (1..=count)
        .contains(&number)
        .then_some((stem, number, count))
}

/// The `most` names of GGUF files nearest to `wanted`, nearest first.
pub(crate) fn nearest<'a>(
    wanted: &str,
    names: impl Iterator<Item = &'a str>,
    most: usize,
) -> Vec<String> {
    let wanted = wanted.to_ascii_lowercase();
    let is_gguf = |name: &&str| name.to_ascii_lowercase().ends_with(".gguf");
    let mut ranked: Vec<_> = names
        .filter(is_gguf)
        .map(|name| (distance(&wanted, &name.to_ascii_lowercase()), name))
        .collect();
    ranked.sort_unstable();
    ranked
        .into_iter()
        .take(most)
        .map(|(_, name)| name.escape_debug().to_string())
        .collect()
}

/// Levenshtein's distance in bytes.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::{FileName, RepositoryId, nearest};

    #[test]
    fn names_that_leave_the_folder_or_hide_are_refused() {
        let long = format!("{}.gguf", "x".repeat(300));
        for name in [
            "",
            ".gguf",
            "../x.gguf",
            "/etc/x.gguf",
            "a/../../b.gguf",
            "C:\\x.gguf",
            "\\\\h\\s.gguf",
            "x\0y.gguf",
            "a//b.gguf",
            "a/.hidden.gguf",
            "x\n.gguf",
            "х.gguf",
            "x.bin",
            "x.gguf.part",
            "a/./b.gguf",
            &long,
        ] {
            assert!(name.parse::<FileName>().is_err(), "{name:?}");
        }
        for name in [
            "x.gguf",
            "Q4_K_M/model-Q4_K_M.gguf",
            "A model.GGUF",
            "m-00001-of-00001.gguf",
        ] {
            assert_eq!(name.parse::<FileName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_part_of_a_split_set_knows_the_others() {
        let name = |text: &str| text.parse::<FileName>().unwrap();
        assert_eq!(name("a/m-00002-of-00003.gguf").part(), (2, 3));
        assert_eq!(
            name("a/m-00001-of-00002.gguf").parts(),
            [
                name("a/m-00001-of-00002.gguf"),
                name("a/m-00002-of-00002.gguf")
            ]
        );
        for one in [
            "m.gguf",
            "m-0001-of-0003.gguf",
            "m-00004-of-00003.gguf",
            "m-00000-of-00003.gguf",
        ] {
            assert_eq!(
                (name(one).part(), name(one).parts()),
                ((1, 1), vec![name(one)]),
                "{one}"
            );
        }
    }

    #[test]
    fn a_repository_is_an_owner_and_a_name() {
        for name in [
            "", "x", "a/b/c", "../x", "a/..", "a/.b", "a b/c", "a/b?c", "/b", "a/",
        ] {
            assert!(name.parse::<RepositoryId>().is_err(), "{name:?}");
        }
        assert_eq!(
            "ggml-org/gemma-3-4b-it-GGUF"
                .parse::<RepositoryId>()
                .unwrap()
                .to_string(),
            "ggml-org/gemma-3-4b-it-GGUF"
        );
    }

    #[test]
    fn the_nearest_names_come_first() {
        let names = [
            "README.md",
            "model-Q8_0.gguf",
            "model-Q4_K_M.gguf",
            "mmproj-f16.gguf",
        ];
        assert_eq!(
            nearest("model-q4_k_s.gguf", names.into_iter(), 2),
            ["model-Q4_K_M.gguf", "model-Q8_0.gguf"]
        );
    }
}
