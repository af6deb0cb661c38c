//! From a request to exact files: what `models.lock` says when it is locked, otherwise what the Hub says, and when that
//! is out of reach but there are mirrors, what was known before: `models.lock`, or the pinned digest.

use std::sync::Arc;

use crate::config::Fetch;
use crate::download::source::{Start, modelscope, size_at_mirrors};
use crate::error::Error;
use crate::folder::models_lock::{LockedModel, ModelsLock};
use crate::http::{HttpClient, name_of};
use crate::hub::{Hub, Remote, Resolved, pick};
use crate::names::choice::Choice;
use crate::names::mirror::Mirror;

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
        if let Some(error) = only_mirror_knows(settings, away, &unreachable).await {
            return Err(error);
        }
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

/// What a mirror says of the digest of a model in one file, when nobody else does: for the user to decide.
async fn only_mirror_knows(
    settings: &Fetch,
    away: &HttpClient,
    unreachable: &Error,
) -> Option<Error> {
    for mirror in &settings.mirrors {
        let Mirror::ModelScope(endpoint, other) = mirror else {
            continue;
        };
        let there = modelscope(settings, endpoint, other.as_ref());
        let Ok(files) = there.files(away).await else {
            continue;
        };
        let names = files.iter().map(|known| known.file.to_string()).collect();
        let picked = pick(
            &settings.repository,
            &settings.choice,
            false,
            &Arc::new(names),
        )
        .await;
        let Ok([file]) = picked.as_deref() else {
            continue;
        };
        let known = files.iter().find(|known| known.file == *file)?;
        let hub = unreachable.brief();
        let place = name_of(endpoint);
        let sha256 = known.sha256?;
        let name = match &settings.choice {
            Choice::File(_) => String::new(),
            Choice::Quantisation(_) => format!(" HF_FILENAME={file}"),
        };
        return Some(Error::OnlyMirrorKnows(format!(
            "cannot fetch from {hub}, and only a mirror says which bytes of {file} are right: {place} names SHA-256 {sha256}. \
             A mirror is not believed about that. Compare it with the model's page, or accept it: run again with \
             MODEL_SHA256={sha256}{name}"
        )));
    }
    None
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
