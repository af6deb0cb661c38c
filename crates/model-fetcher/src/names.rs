//! Which file is wanted: the repository's name and the file's name, checked once, so that a path can be joined from
//! them without a second look.
//!
//! Names come from settings and from the Hub; both are treated as hostile.

pub(crate) mod choice;
pub(crate) mod mirror;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointSetData};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name of a repository's half or of a file's path component, in bytes.
const MAX_COMPONENT_BYTES: usize = 200;
/// The longest path of a file in its repository, in bytes.
const MAX_PATH_BYTES: usize = 500;
/// The most parts of a set; the largest models that there are have fewer than two hundred.
const MAX_PARTS: u32 = 1000;
/// The most names that are compared letter by letter with a misspelt one.
const MAX_COMPARED: usize = 1000;

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
        match text.split_once('/') {
            Some((owner, name)) if is_half(owner) && is_half(name) => Ok(Self {
                owner: owner.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err("it must be owner/name, as in ggml-org/gemma-3-4b-it-GGUF".to_owned()),
        }
    }
}

/// Whether `text` may be a repository's owner or name.
fn is_half(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_COMPONENT_BYTES
        && !text.starts_with('.')
        && !text.contains("..")
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// A GGUF file's path in its repository, which is also its path below the models' folder.
///
/// Below the folder it is in Unicode's composed form (NFC), so that one name is one file. The repository may spell it
/// otherwise; its addresses keep that spelling.
#[derive(Clone, Debug)]
pub struct FileName {
    text: String,
    /// The repository's spelling, where that is not the composed form.
    spelling: Option<String>,
}

impl FileName {
    /// The path in its composed form, with `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path as the repository spells it, with `/`.
    #[must_use]
    pub fn spelled(&self) -> &str {
        self.spelling.as_deref().unwrap_or(&self.text)
    }

    /// The last component of the path.
    #[must_use]
    pub(crate) fn base(&self) -> &str {
        base(&self.text)
    }

    /// The path of the folder that it is in, with a `/` at the end; empty at the top.
    pub(crate) fn folder(&self) -> &str {
        &self.text[..self.text.len() - self.base().len()]
    }

    /// Which part of how many it is; a model that is one file is part 1 of 1.
    pub(crate) fn part(&self) -> (u32, u32) {
        split_name(&self.text).map_or((1, 1), |(_, number, count)| (number, count))
    }

    /// The path without the numbers of its part.
    pub(crate) fn stem(&self) -> &str {
        split_name(&self.text).map_or(self.text.as_str(), |(stem, _, _)| stem)
    }

    /// The names of all parts of the set that it belongs to, in order; itself when it is one file.
    pub(crate) fn parts(&self) -> Vec<Self> {
        let Some((stem, _, count)) = split_name(&self.text) else {
            return vec![self.clone()];
        };
        let spelled_stem = self.spelling.as_deref().and_then(split_name);
        (1..=count)
            .map(|number| Self {
                text: part_name(stem, number, count),
                spelling: spelled_stem.map(|(stem, _, _)| part_name(stem, number, count)),
            })
            .collect()
    }

    /// Where it goes below `folder`.
    #[must_use]
    pub fn below(&self, folder: &Path) -> PathBuf {
        folder.join(&self.text)
    }
}

impl PartialEq for FileName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for FileName {}

impl Hash for FileName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for FileName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let composed = ComposingNormalizerBorrowed::new_nfc().normalize(text);
        let fits = text.len() <= MAX_PATH_BYTES && composed.len() <= MAX_PATH_BYTES;
        if !fits || !composed.split('/').all(is_component) {
            return Err(format!(
                "it must be a plain file name or a path within the repository: no .., no leading / or dot, no \
                 backslash, no control or invisible characters, at most {MAX_COMPONENT_BYTES} bytes between two / and \
                 {MAX_PATH_BYTES} in all"
            ));
        }
        if !Path::new(composed.as_ref())
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("gguf"))
        {
            return Err("it must end in .gguf, the format that llama-server reads".to_owned());
        }
        Ok(Self {
            spelling: (composed != text).then(|| text.to_owned()),
            text: composed.into_owned(),
        })
    }
}

/// Writes the repository's spelling, from which the composed form follows.
impl Serialize for FileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.spelled())
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
    !part.is_empty()
        && part.len() <= MAX_COMPONENT_BYTES
        && !part.starts_with('.')
        && part.chars().all(is_visible)
}

/// Whether a name may hold `c`: a space, or what can be seen and means the same on every file system.
fn is_visible(c: char) -> bool {
    if c.is_ascii() {
        let means_more = matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
        return (c.is_ascii_graphic() || c == ' ') && !means_more;
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    let is_hidden = GeneralCategoryGroup::Other.contains(category)
        || GeneralCategoryGroup::Separator.contains(category);
    let is_blank = matches!(c, '\u{2800}' | '\u{fffc}' | '\u{fffd}');
    let is_ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c);
    !is_hidden && !is_blank && !is_ignorable
}

fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, base)| base)
}

fn part_name(stem: &str, number: u32, count: u32) -> String {
    format!("{stem}-{number:05}-of-{count:05}.gguf")
}

/// The text before the numbers, the part's number and how many there are, of a name like `x-00001-of-00003.gguf`.
fn split_name(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let number = five_digits(number)?;
    let count = five_digits(count)?;
    let is_part = (1..=count).contains(&number) && count <= MAX_PARTS;
    is_part.then_some((stem, number, count))
}

fn five_digits(text: &str) -> Option<u32> {
    let is_number = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// The `most` names of GGUF files nearest to `wanted`, nearest first.
///
/// A listing may be hostile: only the [`MAX_COMPARED`] names of the most similar length are compared letter by letter.
pub(crate) fn nearest<'a>(
    wanted: &str,
    names: impl Iterator<Item = &'a str>,
    most: usize,
) -> Vec<String> {
    let wanted = wanted.to_ascii_lowercase();
    let mut near: Vec<_> = names
        .filter(|name| name.len() <= MAX_PATH_BYTES)
        .filter(|name| name.to_ascii_lowercase().ends_with(".gguf"))
        .map(|name| (name.len().abs_diff(wanted.len()), name))
        .collect();
    near.sort_unstable();
    near.truncate(MAX_COMPARED);
    let mut ranked: Vec<_> = near
        .into_iter()
        .map(|(_, name)| {
            let distance = strsim::levenshtein(&wanted, &name.to_ascii_lowercase());
            (distance, name)
        })
        .collect();
    ranked.sort_unstable();
    ranked
        .into_iter()
        .take(most)
        .map(|(_, name)| name.escape_debug().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{FileName, RepositoryId, nearest};

    fn name(text: &str) -> FileName {
        text.parse().unwrap()
    }

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
            "x\u{202e}fugg.gguf",
            "x\u{200b}.gguf",
            "x\u{a0}y.gguf",
            "x\u{2028}y.gguf",
            "x\u{e0041}.gguf",
            "x\u{3164}.gguf",
            "x\u{e000}.gguf",
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
            "模型.gguf",
            "модель-Q4_0.gguf",
            "モデル/🦙.gguf",
        ] {
            assert_eq!(name.parse::<FileName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_name_is_composed_bounded_in_bytes_and_remembers_its_spelling() {
        let spelled = "mode\u{300}le-00001-of-00002.gguf";
        let name: FileName = spelled.parse().unwrap();
        assert_eq!(name.as_str(), "mod\u{e8}le-00001-of-00002.gguf");
        assert_eq!(name.spelled(), spelled);
        assert_eq!(name, "mod\u{e8}le-00001-of-00002.gguf".parse().unwrap());
        assert_eq!(
            name.parts()[1].spelled(),
            "mode\u{300}le-00002-of-00002.gguf"
        );
        // 65 signs of 3 bytes, and the ending's 5: 200 bytes.
        let longest = format!("{}.gguf", "模".repeat(65));
        longest.parse::<FileName>().unwrap();
        format!("x{longest}").parse::<FileName>().unwrap_err();
    }

    #[test]
    fn a_part_of_a_split_set_knows_the_others() {
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
            "m-00001-of-01001.gguf",
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
