//! From a request to exact files: what `models.lock` says when it is locked, otherwise what the Hub says, and when that
//! is out of reach but there are mirrors, what was known before: `models.lock`, or the pinned digest.

use crate::config::Fetch;
use crate::download::source::{Start, size_at_mirrors};
use crate::error::Error;
use crate::folder::models_lock::{LockedModel, ModelsLock};
use crate::http::HttpClient;
use crate::hub::{Hub, Remote, Resolved};
use crate::names::choice::Choice;

/// What to fetch, and the source to begin with. Cancel-safe.
///
/// # Errors
///
/// When it is not known which bytes are the right ones.
pub(crate) async fn resolve(
    settings: &Fetch,
    lock: &ModelsLock,
    hub: &Hub<'_>,
    away: &HttpClient,
) -> Result<(Resolved, Start), Error> {
    let locked = lock.find(settings);
    if settings.locked {
        let model = locked.ok_or_else(|| not_locked(settings))?;
        return Ok((from_lock(settings, model)?, Start::Hub));
    }
    let unreachable = match hub.resolve(settings).await {
        Err(
            error @ (Error::Unreachable { .. } | Error::Refused { .. } | Error::OnlyXet { .. }),
        ) if !settings.mirrors.is_empty() => error,
        resolved => return Ok((resolved?, Start::Hub)),
    };
    if let Some(model) = locked {
        tracing::warn!(
            reason = unreachable.brief(),
            "the Hub does not answer; asking the mirrors for what models.lock says"
        );
        return Ok((from_lock(settings, model)?, Start::Mirrors));
    }
    let pinned = (settings.pin, &settings.choice, settings.projector);
    let (Some(sha256), Choice::File(file), false) = pinned else {
        tracing::warn!(
            "MODEL_MIRRORS is not used: only the Hub, MODEL_SHA256 or models.lock can say which bytes are right"
        );
        return Err(unreachable);
    };
    if file.part().1 > 1 {
        return Err(unreachable);
    }
    tracing::warn!(
        reason = unreachable.brief(),
        "the Hub does not answer; asking the mirrors for the file of MODEL_SHA256"
    );
    let size = size_at_mirrors(settings, away, file).await?;
    let remote = Remote {
        file: file.clone(),
        size,
        sha256,
        location: None,
        xet_hash: None,
    };
    Ok((
        Resolved {
            commit: None,
            files: vec![remote],
        },
        Start::Mirrors,
    ))
}

/// Why a locked run has nothing to go by.
pub(crate) fn not_locked(settings: &Fetch) -> Error {
    let Fetch {
        folder,
        repository,
        revision,
        choice,
        projector,
        ..
    } = settings;
    let projector = if *projector {
        " with its projector"
    } else {
        ""
    };
    Error::Settings(format!(
        "{}/models.lock has no {choice}{projector} of {repository}@{revision}, and --locked fetches nothing else: run \
         model-fetcher once without it where the Hub is reached, and bring that models.lock here",
        folder.display()
    ))
}

fn from_lock(settings: &Fetch, model: &LockedModel) -> Result<Resolved, Error> {
    if let Some(expected) = settings.pin
        && expected != model.files[0].sha256
    {
        return Err(Error::WrongDigest {
            what: format!("{} in models.lock", model.files[0].file),
            expected,
            actual: model.files[0].sha256,
            advice: "unset MODEL_SHA256, or remove the model from models.lock",
        });
    }
    let files = model.files.iter().map(|known| Remote {
        file: known.file.clone(),
        size: known.size,
        sha256: known.sha256,
        location: None,
        xet_hash: None,
    });
    Ok(Resolved {
        commit: model.commit.clone(),
        files: files.collect(),
    })
}
