//! What there is to choose from in a repository: models with their sizes, projectors, gating, and what fits in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::config::List;
use crate::error::{Error, megabytes};
use crate::http::HttpClient;
use crate::hub::{Hub, Place, pick};
use crate::judge::memory;
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
        &settings.proxies,
        settings.tuning.stall,
    )?;
    let hub = Hub::new(Place::from(settings), settings.tuning, &transport);
    let (revision, files) = tokio::select! {
        () = stop.cancelled() => return Err(Error::Stopped),
        found = hub.list() => found?,
    };
    let memory = memory::available();
    // Sizes by set: a hostile listing has many names that each claim to be one of a thousand parts.
    let mut sizes: HashMap<(&str, u32), u64> = HashMap::new();
    for (file, size) in &files {
        let set = sizes.entry((file.stem(), file.part().1)).or_default();
        *set = set.saturating_add(*size);
    }
    let mut models = Vec::new();
    let mut projectors = Vec::new();
    for (file, _) in &files {
        let kind = match (is_projector(file), is_model(file)) {
            (true, _) => &mut projectors,
            (false, true) => &mut models,
            (false, false) => continue,
        };
        let n_files = file.part().1;
        let size = sizes[&(file.stem(), n_files)];
        kind.push(Offer {
            file: file.to_string(),
            quantisation: tag_of(file).map(str::to_owned),
            n_files: n_files as usize,
            size,
            fits: memory.map(|memory| size.saturating_add(size / 10) <= memory),
        });
    }
    if let Some(choice) = &settings.quantisation {
        let names = files.iter().map(|(file, _)| file.to_string()).collect();
        let picked = pick(&settings.repository, choice, false, &Arc::new(names)).await?;
        models.retain(|offer| offer.file == picked[0].as_str());
    }
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
