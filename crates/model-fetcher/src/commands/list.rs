//! What there is to choose from in a repository: models with their sizes, projectors, gating, and what fits in memory.

use std::fmt;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::config::List;
use crate::error::{Error, megabytes};
use crate::http::HttpClient;
use crate::hub::advice::missed;
use crate::hub::{Hub, Place};
use crate::judge::memory;
use crate::names::FileName;
use crate::names::choice::{is_model, is_projector, tag_of};

/// What a repository offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The repository.
    pub repository: String,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
    /// What that points to.
    pub commit: String,
    /// Whether the licence has to be accepted on the model's page before anything can be fetched.
    pub gated: bool,
    /// The memory of this machine or container, in bytes.
    pub memory: Option<u64>,
    /// The models, smallest first.
    pub models: Vec<Offer>,
    /// Projectors for images; `HF_MMPROJ=auto` takes one of them.
    pub projectors: Vec<Offer>,
}

/// One model, or one projector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// What HF_FILENAME can be set to: its file, or the first one of its set.
    pub file: String,
    /// Its quantisation, where the name has one.
    pub quantisation: Option<String>,
    /// How many files it is split over.
    pub n_files: usize,
    /// The size of all its files in bytes.
    pub size: u64,
    /// Whether its weights, and a tenth more for the context, fit in this machine's memory.
    pub fits: Option<bool>,
}

/// Asks the Hub what the repository has.
///
/// # Errors
///
/// When it does not say, or has no such quantisation.
pub async fn list(settings: &List, stop: &CancellationToken) -> Result<Listing, Error> {
    let transport = HttpClient::new(
        &settings.endpoint,
        settings.token.as_ref(),
        settings.tuning.stall,
    )?;
    let hub = Hub::new(Place::from(settings), settings.tuning, &transport);
    let (revision, files) = tokio::select! {
        () = stop.cancelled() => return Err(Error::Stopped),
        found = hub.list() => found?,
    };
    let memory = memory::available();
    let offer = |file: &FileName| {
        let parts = file.parts();
        let size_of = |name: &str| {
            files
                .iter()
                .find(|(path, _)| path == name)
                .map_or(0, |(_, size)| *size)
        };
        let size: u64 = parts.iter().map(|part| size_of(part.as_str())).sum();
        Offer {
            file: file.to_string(),
            quantisation: tag_of(file).map(str::to_owned),
            n_files: parts.len(),
            size,
            fits: memory.map(|memory| size.saturating_add(size / 10) <= memory),
        }
    };
    let mut names: Vec<FileName> = files
        .iter()
        .filter_map(|(path, _)| path.parse().ok())
        .collect();
    let projectors = names
        .iter()
        .filter(|file| is_projector(file))
        .map(offer)
        .collect();
    if let Some(choice) = &settings.quantisation {
        let all: Vec<String> = names.iter().map(ToString::to_string).collect();
        let picked = choice.pick(&all, false);
        let (repository, choice) = (settings.repository.to_string(), choice.to_string());
        names = picked.map_err(|miss| missed(&repository, &choice, miss))?;
    }
    let mut models: Vec<Offer> = names
        .iter()
        .filter(|file| is_model(file))
        .map(offer)
        .collect();
    models.sort_by(|one, other| (one.size, &one.file).cmp(&(other.size, &other.file)));
    Ok(Listing {
        repository: settings.repository.to_string(),
        revision: settings.revision.clone(),
        commit: revision.commit,
        gated: revision.gated,
        memory,
        models,
        projectors,
    })
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            repository,
            revision,
            commit,
            gated,
            memory,
            models,
            projectors,
        } = self;
        let gate = if *gated {
            "gated: accept its licence on its page first"
        } else {
            "open to everyone"
        };
        writeln!(
            f,
            "{repository}@{revision} ({}), {gate}",
            commit.get(..8).unwrap_or(commit)
        )?;
        if let Some(memory) = memory {
            writeln!(f, "this machine has {} of memory", megabytes(*memory))?;
        }
        if models.is_empty() {
            writeln!(f, "it has no GGUF model")?;
        }
        let row = |f: &mut fmt::Formatter<'_>, offer: &Offer, what: &str| {
            let tag = offer
                .quantisation
                .as_ref()
                .map_or_else(String::new, |tag| format!(":{tag}"));
            let parts = if offer.n_files > 1 {
                format!("  {} files", offer.n_files)
            } else {
                String::new()
            };
            writeln!(
                f,
                "{:>12}  {tag:<12}  {what:<13}  {}{parts}",
                megabytes(offer.size),
                offer.file
            )
        };
        for offer in models {
            let fits = match offer.fits {
                Some(true) => "fits",
                Some(false) => "does not fit",
                None => "",
            };
            row(f, offer, fits)?;
        }
        projectors
            .iter()
            .try_for_each(|offer| row(f, offer, "projector"))
    }
}
