//! What the Hub says of the wanted files: the commit, sizes, SHA-256s, and where their bytes are right now.
//!
//! The revision becomes a commit once; from then on only the commit is asked for.

pub(crate) mod advice;
mod api;
pub(crate) mod modelscope;
pub(crate) mod xet;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use crate::config::{Fetch, List, Tuning};
use crate::digest::Digest;
use crate::error::Error;
use crate::http::{HttpClient, MAX_HOPS, name_of, next_hop, passing, too_many_hops};
use crate::hub::advice::{HubRefusal, missed, refused};
use crate::hub::api::{model_info, tree};
use crate::hub::xet::{XET_HASH, XetHash, xet_hash};
use crate::names::choice::Choice;
use crate::names::mirror::hub_address;
use crate::names::{FileName, RepositoryId};
use crate::retry::{Budget, SourceTrouble};
use common::secret::Secret;

/// Failures in a row that end the questions before the download; fewer than its own, so that a machine without a
/// network says so in seconds.
const ATTEMPTS: u32 = 4;

/// The headers that speak of the file behind a redirect.
const SAID_OF_FILES: [&str; 3] = ["x-linked-etag", "x-linked-size", XET_HASH];

/// What was asked for, as the Hub knows it.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// What the revision pointed to; unknown when no Hub was asked.
    pub(crate) commit: Option<String>,
    /// The files, the one that llama-server opens first.
    pub(crate) files: Vec<Remote>,
}

/// One file that is to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// Its name.
    pub(crate) file: FileName,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// The digest that its bytes must have.
    pub(crate) sha256: Digest,
    /// Where the Hub said its bytes are, for about an hour.
    pub(crate) location: Option<Url>,
    /// Its hash in the Hub's Xet storage, of which plain HTTPS is a courtesy; `None` where the Hub named none or was not
    /// asked.
    pub(crate) xet_hash: Option<XetHash>,
}

/// One revision of a repository on a Hub, and who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) repository: &'a RepositoryId,
    pub(crate) revision: &'a str,
    pub(crate) endpoint: &'a Url,
    pub(crate) token: Option<&'a Secret>,
}

impl<'a> From<&'a Fetch> for Place<'a> {
    fn from(settings: &'a Fetch) -> Self {
        Self {
            repository: &settings.repository,
            revision: &settings.revision,
            endpoint: &settings.endpoint,
            token: settings.token.as_ref(),
        }
    }
}

impl<'a> From<&'a List> for Place<'a> {
    fn from(settings: &'a List) -> Self {
        Self {
            repository: &settings.repository,
            revision: &settings.revision,
            endpoint: &settings.endpoint,
            token: settings.token.as_ref(),
        }
    }
}

/// The Hub, as one fetch needs it.
#[derive(Debug)]
pub(crate) struct Hub<'a> {
    place: Place<'a>,
    tuning: Tuning,
    transport: &'a HttpClient,
    /// Whether it has answered GET where it refused HEAD.
    refuses_head: AtomicBool,
}

/// One state of a repository.
#[derive(Clone, Debug)]
pub(crate) struct Revision {
    /// Its commit.
    pub(crate) commit: String,
    /// The names of its files.
    pub(crate) names: Vec<String>,
    /// Whether its licence has to be accepted first.
    pub(crate) gated: bool,
}

struct Located {
    headers: HeaderMap,
    status: StatusCode,
    /// Nowhere, when the Hub names only a place in its Xet storage.
    location: Option<Url>,
}

impl<'a> Hub<'a> {
    /// The Hub of `place`.
    pub(crate) fn new(place: Place<'a>, tuning: Tuning, transport: &'a HttpClient) -> Self {
        Self {
            place,
            tuning: Tuning {
                attempts: ATTEMPTS,
                ..tuning
            },
            transport,
            refuses_head: AtomicBool::new(false),
        }
    }

    /// The Hub's address, as people may see it.
    pub(crate) fn name(&self) -> String {
        name_of(self.place.endpoint)
    }

    /// Asks for everything that must be known before the first byte. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When there is no such file, it may not be read, its digest is unknown or not the pinned one, or nobody answers.
    pub(crate) async fn resolve(&self, wanted: &Fetch) -> Result<Resolved, Error> {
        let Fetch {
            repository,
            choice,
            projector,
            pin,
            ..
        } = wanted;
        let Revision { commit, names, .. } = self.insist(|| self.revision()).await?;
        let names = Arc::new(names);
        let picked = pick(repository, choice, *projector, &names).await?;
        if pin.is_some() && picked[0].part().1 > 1 {
            return Err(Error::Settings(
                "MODEL_SHA256 is the digest of one file, and this model is split over several: unset it; models.lock \
                 holds the digests of all parts"
                    .to_owned(),
            ));
        }
        let mut files = Vec::new();
        for (n, file) in picked.iter().enumerate() {
            let pin = pin.filter(|_| n == 0);
            files.push(
                self.insist(|| self.file(&commit, file, pin, &names))
                    .await?,
            );
        }
        Ok(Resolved {
            commit: Some(commit),
            files,
        })
    }

    /// Where the file's bytes are now. Cancel-safe.
    pub(crate) async fn locate(
        &self,
        revision: &str,
        remote: &Remote,
    ) -> Result<Url, SourceTrouble> {
        let found = self.head(revision, &remote.file, &[]).await?;
        match published(&found.headers) {
            Some(other) if other != remote.sha256 => Err(self
                .refuse(format!(
                    "{} with SHA-256 {other}, not {}",
                    remote.file, remote.sha256
                ))
                .into()),
            _ => found
                .location
                .ok_or_else(|| self.only_xet(&remote.file).into()),
        }
    }

    /// The error of a file that the Hub does not give out over plain HTTPS.
    pub(crate) fn only_xet(&self, file: &FileName) -> Error {
        let repository = self.place.repository.to_string();
        let file = file.to_string();
        Error::OnlyXet {
            source_name: self.name(),
            repository,
            file,
        }
    }

    /// Asks until there is an answer or the budget is spent.
    async fn insist<T, F: Future<Output = Result<T, SourceTrouble>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, Error> {
        let mut budget = Budget::new(self.tuning);
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                // Asking again makes no name; it would only be said twice.
                Err(trouble @ SourceTrouble::NoSuchName(_)) => {
                    return Err(trouble.into_error(&self.name()));
                }
                Err(trouble) => budget.spend(&self.name(), trouble).await?,
            }
        }
    }

    /// The names and sizes of all GGUF files, and what is known of the repository. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the Hub does not show them.
    pub(crate) async fn list(&self) -> Result<(Revision, Vec<(FileName, u64)>), Error> {
        let revision = self.insist(|| self.revision()).await?;
        let files = self
            .insist(|| tree(self.transport, self.place, &revision.commit))
            .await?;
        Ok((revision, files))
    }

    /// The commit of the revision, and the names of its files.
    async fn revision(&self) -> Result<Revision, SourceTrouble> {
        let revision = self.place.revision;
        let info = model_info(self.transport, self.place).await?;
        let gated = info.gated.is_string() || info.gated == true;
        let commit = info.sha.unwrap_or_default().to_ascii_lowercase();
        if !is_commit(&commit) {
            return Err(self
                .refuse(format!("no commit for revision {revision}"))
                .into());
        }
        if is_commit(revision) && !revision.eq_ignore_ascii_case(&commit) {
            return Err(self
                .refuse(format!("commit {commit} for commit {revision}"))
                .into());
        }
        let names = info
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .collect();
        Ok(Revision {
            commit,
            names,
            gated,
        })
    }

    async fn file(
        &self,
        commit: &str,
        file: &FileName,
        pin: Option<Digest>,
        names: &[String],
    ) -> Result<Remote, SourceTrouble> {
        let Located {
            headers,
            status,
            location,
        } = self.head(commit, file, names).await?;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let sha256 = match (published(&headers), pin) {
            (Some(published), Some(pin)) if published != pin => {
                return Err(Error::WrongDigest {
                    what: format!("{file} of {} at commit {commit}", self.place.repository),
                    expected: pin,
                    actual: published,
                    advice: "check MODEL_SHA256 and HF_REVISION",
                }
                .into());
            }
            (_, Some(pin)) => pin,
            (Some(published), None) => published,
            (None, None) => {
                let endpoint = self.name();
                let file = file.to_string();
                return Err(Error::NoDigest { endpoint, file }.into());
            }
        };
        // The Content-Length of a redirect is that of its text, and that of a range its own.
        let own = match status {
            StatusCode::PARTIAL_CONTENT => text(CONTENT_RANGE.as_str())
                .and_then(|range| range.rsplit_once('/'))
                .map(|(_, size)| size),
            status if status.is_success() => text(CONTENT_LENGTH.as_str()),
            _ => None,
        };
        let size = match text("x-linked-size")
            .or(own)
            .and_then(|size| size.parse().ok())
        {
            Some(size) => size,
            None => {
                let Some(location) = &location else {
                    return Err(self.only_xet(file).into());
                };
                size_at(self.transport, location).await?
            }
        };
        Ok(Remote {
            file: file.clone(),
            size,
            sha256,
            location,
            xet_hash: xet_hash(&headers),
        })
    }

    /// The answer to HEAD or, where that is refused, to GET of the first byte. Cancel-safe.
    async fn look_at(&self, url: &Url) -> Result<Response, SourceTrouble> {
        if !self.refuses_head.load(Ordering::Relaxed) {
            let response = self.transport.send(Method::HEAD, url, None).await?;
            if !may_refuse_head(&response) {
                return Ok(response);
            }
        }
        let response = self.transport.send(Method::GET, url, Some(&(0..1))).await?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            self.refuses_head.store(true, Ordering::Relaxed);
        }
        Ok(response)
    }

    /// What the Hub says of the file at `commit`, following redirects on its own origin only.
    async fn head(
        &self,
        commit: &str,
        file: &FileName,
        names: &[String],
    ) -> Result<Located, SourceTrouble> {
        let mut url = hub_address(self.place.endpoint, self.place.repository, commit, file);
        let mut first_said = HeaderMap::new();
        for _ in 0..=MAX_HOPS {
            let response = self.look_at(&url).await?;
            let status = response.status();
            if let Some(trouble) = passing(status, response.headers()) {
                return Err(trouble);
            }
            let text = |name: &str| {
                response
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
            };
            // A pinned file that was locked without the Hub is asked for by the revision's name: its digest judges it.
            let other = |other: &&str| is_commit(commit) && !other.eq_ignore_ascii_case(commit);
            if let Some(other) = text("x-repo-commit").filter(other) {
                let other = other.escape_debug();
                return Err(self
                    .refuse(format!(
                        "a file of commit {other} where {commit} was asked for"
                    ))
                    .into());
            }
            if !status.is_success() && !status.is_redirection() {
                let code = text("x-error-code");
                let message = text("x-error-message");
                let refusal = HubRefusal {
                    status: status.as_u16(),
                    code: code.unwrap_or(if status == StatusCode::NOT_FOUND {
                        "EntryNotFound"
                    } else {
                        ""
                    }),
                    message: message.unwrap_or_default(),
                };
                return Err(refused(self.place, refusal, file.as_str(), names).into());
            }
            let mut headers = response.headers().clone();
            // A redirect on the Hub's own host speaks of the file; what it leads to may not.
            for name in SAID_OF_FILES {
                match (first_said.get(name), headers.get(name)) {
                    (Some(said), _) => drop(headers.insert(name, said.clone())),
                    (None, Some(said)) => drop(first_said.insert(name, said.clone())),
                    (None, None) => {}
                }
            }
            if status.is_redirection()
                && headers.contains_key(XET_HASH)
                && headers.get(LOCATION).is_none_or(HeaderValue::is_empty)
            {
                return Ok(Located {
                    headers,
                    status,
                    location: None,
                });
            }
            match next_hop(&url, &response)? {
                Some(next) if self.transport.is_home(&next) => url = next,
                next => {
                    return Ok(Located {
                        headers,
                        status,
                        location: Some(next.unwrap_or(url)),
                    });
                }
            }
        }
        Err(too_many_hops(&url).into())
    }

    fn refuse(&self, reason: String) -> Error {
        Error::Refused {
            source_name: self.name(),
            reason,
        }
    }
}

/// Whether this is perhaps the answer to the method and not to the question: the Hub did not give a reason of its own.
fn may_refuse_head(response: &Response) -> bool {
    let is_refusal = matches!(
        response.status(),
        StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
    );
    let headers = response.headers();
    let has_reason =
        headers.contains_key("x-error-code") || headers.contains_key("x-error-message");
    is_refusal && !has_reason
}

/// The files of `repository`, which has these `names`, that make up the choice.
///
/// A listing may be long and hostile, so it is searched on a thread of its own: a signal is answered meanwhile.
///
/// # Errors
///
/// When the repository does not have it.
pub(crate) async fn pick(
    repository: &RepositoryId,
    choice: &Choice,
    projector: bool,
    names: &Arc<Vec<String>>,
) -> Result<Vec<FileName>, Error> {
    let wanted = choice.clone();
    let names = Arc::clone(names);
    let picked = tokio::task::spawn_blocking(move || wanted.pick(&names, projector)).await;
    picked
        .expect("picking does not panic and is not aborted")
        .map_err(|miss| missed(&repository.to_string(), &choice.to_string(), miss))
}

/// The digest that the Hub publishes for a file.
fn published(headers: &HeaderMap) -> Option<Digest> {
    let etag = headers.get("x-linked-etag")?.to_str().ok()?;
    etag.strip_prefix('"')
        .and_then(|etag| etag.strip_suffix('"'))
        .unwrap_or(etag)
        .parse()
        .ok()
}

/// A file's size as the source of its bytes says it. Cancel-safe.
pub(crate) async fn size_at(transport: &HttpClient, location: &Url) -> Result<u64, SourceTrouble> {
    let (response, from) = transport.get(location.clone(), &(0..1)).await?;
    if let Some(trouble) = passing(response.status(), response.headers()) {
        return Err(trouble);
    }
    let text = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let is_page = text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
    let size = match response.status() {
        StatusCode::PARTIAL_CONTENT => text(CONTENT_RANGE)
            .and_then(|range| range.rsplit_once('/'))
            .map(|(_, n)| n),
        StatusCode::OK if !is_page => text(CONTENT_RANGE)
            .and_then(|range| range.rsplit_once('/'))
            .map(|(_, n)| n)
            .or_else(|| text(CONTENT_LENGTH)),
        _ => None,
    };
    size.and_then(|size| size.parse().ok()).ok_or_else(|| {
        let reason = format!("{} without a file's size", response.status());
        Error::Refused {
            source_name: name_of(&from),
            reason,
        }
        .into()
    })
}

/// Whether `revision` is a whole commit, not a name for one.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}
