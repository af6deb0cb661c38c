//! What is wanted of a repository: a file by name, or a model by its quantisation, and perhaps the projector beside it.
//!
//! A tag is compared as a whole word: `Q4_K_M` is neither `IQ4_K_M` nor `Q4_K_M_L`. Nothing is guessed: what fits twice
//! or not at all is answered with what there is to choose from.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use crate::names::{FileName, nearest};

/// The longest tag, in bytes.
const MAX_TAG_BYTES: usize = 40;
/// How many choices an error names.
const CHOICES: usize = 40;
/// How many names are offered for a misspelt one.
const NEAREST: usize = 5;
/// Kinds of projectors, best first: half precision is what their models were trained with.
const PROJECTORS: [&str; 4] = ["F16", "BF16", "Q8_0", "F32"];

/// Which model of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The file of that name, and the other parts of its set.
    File(FileName),
    /// The one model whose name has this quantisation.
    Quantisation(String),
}

/// Why nothing was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// There is no such name; these are the nearest.
    Name(Vec<String>),
    /// There is no such tag, or more than one model has it; these are the choices.
    Tag {
        /// How many models have the tag.
        n_found: usize,
        /// What can be asked for instead.
        choices: Vec<String>,
    },
    /// Parts of the set are missing.
    Parts(Vec<String>),
    /// There is no projector.
    Projector,
}

impl Choice {
    /// The files of a repository with these `names` that make up the choice, the one that llama-server opens first.
    pub(crate) fn pick(&self, names: &[String], projector: bool) -> Result<Vec<FileName>, Miss> {
        if let Self::File(file) = self
            && names.is_empty()
            && !projector
        {
            // A source that lists nothing may still have it.
            return Ok(file.parts());
        }
        let names: Vec<FileName> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let first = match self {
            Self::File(file) => file.clone(),
            Self::Quantisation(tag) => by_tag(tag, &names)?,
        };
        let there: HashSet<&FileName> = names.iter().collect();
        let mut files = Vec::new();
        let mut missing = Vec::new();
        for part in first.parts() {
            // The repository's own spelling, which its addresses need.
            match there.get(&part) {
                Some(part) => files.push((*part).clone()),
                None => missing.push(part.to_string()),
            }
        }
        if files.is_empty() {
            let names = names.iter().map(FileName::as_str);
            return Err(Miss::Name(nearest(first.as_str(), names, NEAREST)));
        }
        if !missing.is_empty() {
            return Err(Miss::Parts(missing));
        }
        if projector {
            files.push(projector_beside(&first, &names).ok_or(Miss::Projector)?);
        }
        Ok(files)
    }

    /// The files that are known to be wanted before the repository was asked.
    pub(crate) fn known(&self) -> Vec<FileName> {
        match self {
            Self::File(file) => file.parts(),
            Self::Quantisation(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Quantisation(tag) => write!(f, ":{tag}"),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(tag) = text.strip_prefix(':') {
            return if is_tag(tag) {
                Ok(Self::Quantisation(tag.to_owned()))
            } else {
                Err(
                    "a tag must be letters, digits, _ - and . after the colon, as in :Q4_K_M"
                        .to_owned(),
                )
            };
        }
        let file: FileName = text.parse()?;
        if file.spelled() != file.as_str() {
            return Err(format!(
                "its accents are written as signs of their own (NFD), and llama-server would look for another file: write \
                 it as {file}, which only looks the same"
            ));
        }
        match file.part() {
            (1, _) => Ok(Self::File(file)),
            (number, count) => Err(format!(
                "it is part {number} of {count} of a split model: name its first part, {}, and all are fetched",
                file.parts()[0]
            )),
        }
    }
}

fn is_tag(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_TAG_BYTES
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Files that hold a model, or the first part of one: no projectors and no importance matrices.
pub(crate) fn is_model(file: &FileName) -> bool {
    file.part().0 == 1
        && !is_projector(file)
        && !file.base().to_ascii_lowercase().contains("imatrix")
}

/// Files that hold a projector.
pub(crate) fn is_projector(file: &FileName) -> bool {
    file.base().to_ascii_lowercase().contains("mmproj")
}

/// The quantisation in a file's name, such as `Q4_K_M`, where it has one.
pub(crate) fn tag_of(file: &FileName) -> Option<&str> {
    let base = file.base();
    let starts = base
        .char_indices()
        .filter(|(at, _)| *at == 0 || !is_letter(base, at - 1));
    let mut words = starts.filter_map(|(at, _)| base[at..].split(['-', '.']).next());
    words.rfind(|word| is_quantisation(word))
}

fn is_quantisation(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    let after = ["IQ", "TQ", "Q"]
        .iter()
        .find_map(|kind| word.strip_prefix(kind));
    let quantised = after.is_some_and(|rest| {
        let mut letters = rest.chars();
        letters.next().is_some_and(|c| c.is_ascii_digit()) && letters.next() == Some('_')
    });
    quantised || matches!(word.as_str(), "F16" | "BF16" | "F32" | "MXFP4" | "NVFP4")
}

fn by_tag(tag: &str, names: &[FileName]) -> Result<FileName, Miss> {
    let models: Vec<&FileName> = names.iter().filter(|file| is_model(file)).collect();
    let found: Vec<&FileName> = models
        .iter()
        .copied()
        .filter(|file| has_tag(file, tag))
        .collect();
    if let [one] = found[..] {
        return Ok(one.clone());
    }
    let mut choices: Vec<String> = if found.is_empty() {
        models.into_iter().take(CHOICES).map(shortest).collect()
    } else {
        found
            .iter()
            .take(CHOICES)
            .map(ToString::to_string)
            .collect()
    };
    choices.sort();
    choices.dedup();
    Err(Miss::Tag {
        n_found: found.len(),
        choices,
    })
}

/// What is enough to ask for `file`: its tag, where it has one.
fn shortest(file: &FileName) -> String {
    tag_of(file).map_or_else(|| file.to_string(), |tag| format!(":{tag}"))
}

/// Whether `file` has that quantisation in its name.
pub(crate) fn has_tag(file: &FileName, tag: &str) -> bool {
    has_word(file.as_str(), tag)
}

/// Whether `name` has `tag` in it as a whole word, whatever the case: a word goes on after an underscore, and may
/// begin after one.
fn has_word(name: &str, tag: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let tag = tag.to_ascii_lowercase();
    name.match_indices(&tag).any(|(at, _)| {
        let end = at + tag.len();
        let goes_on = is_letter(&name, end) || name.as_bytes().get(end) == Some(&b'_');
        (at == 0 || !is_letter(&name, at - 1)) && !goes_on
    })
}

fn is_letter(text: &str, at: usize) -> bool {
    text.as_bytes()
        .get(at)
        .is_some_and(u8::is_ascii_alphanumeric)
}

/// The projector for `model`: in its folder rather than elsewhere, and of the best kind.
pub(crate) fn projector_beside(model: &FileName, names: &[FileName]) -> Option<FileName> {
    names
        .iter()
        .filter(|file| is_projector(file))
        .min_by_key(|file| {
            let is_elsewhere = file.folder() != model.folder();
            (is_elsewhere, rank(file), file.as_str())
        })
        .cloned()
}

/// How good a projector is by its kind; 0 is the best.
fn rank(projector: &FileName) -> usize {
    let mut kinds = PROJECTORS.iter();
    kinds
        .position(|kind| has_word(projector.base(), kind))
        .unwrap_or(PROJECTORS.len())
}

#[cfg(test)]
mod tests {
    use super::{Choice, Miss, tag_of};

    fn pick(wanted: &str, names: &[&str], projector: bool) -> Result<Vec<String>, Miss> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let files = wanted.parse::<Choice>().unwrap().pick(&names, projector)?;
        Ok(files.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_tag_is_a_whole_word() {
        let names = [
            "m-IQ4_K_M.gguf",
            "m-Q4_K_M_L.gguf",
            "m-Q4_K.gguf",
            "m_Q4_0.gguf",
            "M-q4_k_m.GGUF",
        ];
        assert_eq!(pick(":Q4_K_M", &names, false).unwrap(), ["M-q4_k_m.GGUF"]);
        assert_eq!(pick(":q4_k", &names, false).unwrap(), ["m-Q4_K.gguf"]);
        assert_eq!(pick(":Q4_0", &names, false).unwrap(), ["m_Q4_0.gguf"]);
        let all = [":IQ4_K_M", ":Q4_0", ":Q4_K", ":Q4_K_M_L", ":q4_k_m"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(
            pick(":Q5_K_M", &names, false),
            Err(Miss::Tag {
                n_found: 0,
                choices: all
            })
        );
    }

    #[test]
    fn a_tag_that_fits_twice_is_answered_with_the_names() {
        let names = [
            "m-Q4_K_M.gguf",
            "m-UD-Q4_K_M.gguf",
            "mmproj-Q4_K_M.gguf",
            "README.md",
        ];
        let choices = vec!["m-Q4_K_M.gguf".to_owned(), "m-UD-Q4_K_M.gguf".to_owned()];
        assert_eq!(
            pick(":Q4_K_M", &names, false),
            Err(Miss::Tag {
                n_found: 2,
                choices
            })
        );
        assert_eq!(
            pick(":UD-Q4_K_M", &names, false).unwrap(),
            ["m-UD-Q4_K_M.gguf"]
        );
    }

    #[test]
    fn all_parts_of_a_set_are_picked_or_none() {
        let names = [
            "Q8_0/m-Q8_0-00001-of-00002.gguf",
            "Q8_0/m-Q8_0-00002-of-00002.gguf",
        ];
        assert_eq!(pick(":Q8_0", &names, false).unwrap(), names);
        assert_eq!(pick(names[0], &names, false).unwrap(), names);
        assert_eq!(
            pick(names[0], &names[..1], false),
            Err(Miss::Parts(vec![names[1].to_owned()]))
        );
        assert!(names[1].parse::<Choice>().unwrap_err().contains(names[0]));
    }

    #[test]
    fn the_best_projector_is_the_nearest_and_then_that_of_half_precision() {
        let names = [
            "m.gguf",
            "mmproj-F32.gguf",
            "mmproj-BF16.gguf",
            "mmproj-F16.gguf",
            "a/mmproj-F16.gguf",
        ];
        assert_eq!(
            pick("m.gguf", &names, true).unwrap(),
            ["m.gguf", "mmproj-F16.gguf"]
        );
        assert_eq!(
            pick("m.gguf", &names[..3], true).unwrap(),
            ["m.gguf", "mmproj-BF16.gguf"]
        );
        assert_eq!(pick("m.gguf", &names[..1], true), Err(Miss::Projector));
    }

    #[test]
    fn a_quantisation_is_found_in_a_name() {
        let tag = |name: &str| tag_of(&name.parse().unwrap()).map(str::to_owned);
        assert_eq!(
            tag("google_gemma-3-4b-it-IQ4_XS.gguf").as_deref(),
            Some("IQ4_XS")
        );
        assert_eq!(
            tag("Qwen3-4B-UD-Q4_K_XL-00001-of-00003.gguf").as_deref(),
            Some("Q4_K_XL")
        );
        assert_eq!(tag("model.f16.gguf").as_deref(), Some("f16"));
        assert_eq!(tag("model.gguf"), None);
    }

    #[test]
    fn a_tag_that_is_none_is_refused() {
        for text in [
            ":",
            ":a b",
            ":../x",
            ":Q4/0",
            &format!(":{}", "Q".repeat(41)),
        ] {
            assert!(text.parse::<Choice>().is_err(), "{text}");
        }
    }
}
