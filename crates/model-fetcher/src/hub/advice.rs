//! What the Hub means when it says no, in words that a newcomer can act on.
//!
//! Its status alone misleads (a missing repository is 401 to the nameless); its `X-Error-Code` decides.

use crate::error::Error;
use crate::http::name_of;
use crate::hub::Place;
use crate::names::choice::Miss;
use crate::names::nearest;

/// How many file names are offered in place of a misspelt one.
const CHOICES: usize = 5;

/// Gated repositories, and what is as good and open to everyone: repository, twin, its file.
const TWINS: &[(&str, &str, &str)] = &[(
    "google/gemma-3-4b-it-qat-q4_0-gguf",
    "bartowski/google_gemma-3-4b-it-qat-GGUF",
    "google_gemma-3-4b-it-qat-Q4_0.gguf",
)];

/// One refusal of the Hub.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HubRefusal<'a> {
    /// The status code.
    pub(crate) status: u16,
    /// `X-Error-Code`.
    pub(crate) code: &'a str,
    /// `X-Error-Message`, or the body's.
    pub(crate) message: &'a str,
}

/// The error that the `refusal` of `file` stands for; `names` are the repository's files, as far as they are known.
pub(crate) fn refused(
    place: Place<'_>,
    refusal: HubRefusal<'_>,
    file: &str,
    names: &[String],
) -> Error {
    let repository = place.repository.to_string();
    let endpoint = name_of(place.endpoint);
    match (refusal.status, refusal.code) {
        (_, "GatedRepo") => Error::NotAllowed(gated(place, refusal.status)),
        (_, "RevisionNotFound") => Error::RevisionNotFound {
            repository,
            revision: place.revision.to_owned(),
        },
        (_, "EntryNotFound") => Error::FileNotFound {
            repository,
            file: file.to_owned(),
            nearest: nearest(file, names.iter().map(String::as_str), CHOICES),
        },
        (_, "RepoNotFound") | (404, _) => Error::RepositoryNotFound {
            endpoint,
            repository,
        },
        (401, _) if place.token.is_some() => Error::NotAllowed(format!(
            "{endpoint} does not accept HF_TOKEN: it is mistyped, expired or revoked; make a new one at \
             {endpoint}/settings/tokens, or unset it for a repository that is open to everyone"
        )),
        (401, _) => Error::NotAllowed(format!(
            "{endpoint} wants to know who asks for {repository}: make a read token at {endpoint}/settings/tokens and \
             set HF_TOKEN or HF_TOKEN_FILE"
        )),
        (403 | 451, _) => Error::NotAllowed(format!(
            "{endpoint} does not give {repository} to this caller ({}): open {endpoint}/{repository} in a browser to see \
             why",
            quoted(refusal)
        )),
        _ => Error::Refused {
            source_name: endpoint,
            reason: quoted(refusal),
        },
    }
}

/// The error of a choice that `repository` cannot meet.
pub(crate) fn missed(repository: &str, choice: &str, miss: Miss) -> Error {
    let repository = repository.to_owned();
    match miss {
        Miss::Name(nearest) => Error::FileNotFound {
            repository,
            file: choice.to_owned(),
            nearest,
        },
        Miss::Tag { n_found, choices } => {
            let problem = match (n_found, &choices[..]) {
                (_, []) => "holds no GGUF model".to_owned(),
                (0, choices) => {
                    format!(
                        "has no model with the tag {choice}: set HF_FILENAME to one of {}",
                        choices.join(", ")
                    )
                }
                (_, choices) => format!(
                    "has more than one model with the tag {choice}: set HF_FILENAME to one of {}",
                    choices.join(", ")
                ),
            };
            Error::NoSuchChoice {
                repository,
                problem,
            }
        }
        Miss::Parts(missing) => {
            let problem = format!(
                "lacks {} of the set of {choice}: an incomplete model is of no use, choose another",
                some_of(&missing)
            );
            Error::NoSuchChoice {
                repository,
                problem,
            }
        }
        Miss::Projector => {
            let problem = "has no projector (mmproj) for images: unset HF_MMPROJ, or choose a repository that has one";
            Error::NoSuchChoice {
                repository,
                problem: problem.to_owned(),
            }
        }
    }
}

/// The first of `names`, and how many more there are.
pub(crate) fn some_of(names: &[String]) -> String {
    let n_more = names.len().saturating_sub(CHOICES);
    let shown = names.iter().take(CHOICES).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    if n_more == 0 {
        shown
    } else {
        format!("{shown} and {n_more} more")
    }
}

fn gated(place: Place<'_>, status: u16) -> String {
    let repository = place.repository.to_string();
    let endpoint = name_of(place.endpoint);
    let what = if place.token.is_none() {
        format!(
            "{repository} is gated: accept its licence at {endpoint}/{repository}, make a read token at \
             {endpoint}/settings/tokens, and set HF_TOKEN or HF_TOKEN_FILE"
        )
    } else if status == 401 {
        format!(
            "{repository} is gated and HF_TOKEN is not accepted: make a new one at {endpoint}/settings/tokens"
        )
    } else {
        format!(
            "{repository} is gated and the owner of HF_TOKEN may not read it yet: accept its licence at \
             {endpoint}/{repository}; a fine-grained token also needs the permission to read public gated repositories, \
             set at {endpoint}/settings/tokens"
        )
    };
    match TWINS.iter().find(|(gated, _, _)| *gated == repository) {
        Some((_, twin, file)) => {
            format!("{what}. Open to everyone: HF_REPO_ID={twin} HF_FILENAME={file}")
        }
        None => what,
    }
}

/// The Hub's own words, which are not trusted: cut, and without control characters.
fn quoted(refusal: HubRefusal<'_>) -> String {
    let words: String = refusal
        .message
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    if words.is_empty() {
        format!("status {}", refusal.status)
    } else {
        format!("status {}: {words}", refusal.status)
    }
}
