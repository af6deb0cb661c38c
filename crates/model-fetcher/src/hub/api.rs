//! Questions to the Hub's API, and what is read of its answers: whole, in bounded time and memory, from the Hub itself.
//!
//! The fields are those of the Hub's OpenAPI description; what is not used is passed over.
//!
//! The crate hf-hub (1.0.0) is not used here. Without a token of ours it sends the one that it finds in a file or variable
//! of its own, and only its environment can turn that off. It follows `Link: rel="next"` of a listing to any host and
//! sends the token there, and it reads answers and refusals into memory whatever their size. All three have to change
//! before it can take over.

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::error::Error;
use crate::http::{HttpClient, MAX_HOPS, MAX_STALLS, name_of, next_hop, passing, too_many_hops};
use crate::hub::Place;
use crate::hub::advice::{HubRefusal, refused};
use crate::names::FileName;
use crate::retry::SourceTrouble;

/// The most files of a repository that are listed.
const MAX_FILES: usize = 100_000;
/// The most pages that they are listed on; the Hub puts a thousand on one.
const MAX_PAGES: usize = 1000;

/// What the Hub says of a revision.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelInfo {
    /// The commit.
    pub(crate) sha: Option<String>,
    /// `false`, or how one gets in: `"auto"` or `"manual"`.
    #[serde(default)]
    pub(crate) gated: serde_json::Value,
    /// The files.
    #[serde(default)]
    pub(crate) siblings: Vec<Sibling>,
}

/// One of the files of a [`ModelInfo`].
#[derive(Debug, Deserialize)]
pub(crate) struct Sibling {
    /// Its name, with its folders.
    pub(crate) rfilename: String,
}

/// One entry of a listing.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum TreeEntry {
    File {
        path: String,
        size: u64,
    },
    /// Folders, and whatever else there may be one day.
    #[serde(other)]
    Other,
}

/// The right to read from Xet storage, as the Hub gives it.
#[cfg(feature = "xet")]
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct XetReadToken {
    /// What the storage wants to see.
    pub(crate) access_token: String,
    /// When it ends, in seconds since 1970.
    pub(crate) exp: u64,
    /// Where the storage is.
    pub(crate) cas_url: String,
}

/// What the Hub says of a revision. Cancel-safe.
///
/// # Errors
///
/// When it does not show the repository, or its answer is none.
pub(crate) async fn model_info(
    transport: &HttpClient,
    place: Place<'_>,
) -> Result<ModelInfo, SourceTrouble> {
    Ok(answer(
        transport,
        place,
        question(place, "revision", place.revision),
    )
    .await?
    .0)
}

/// The names and sizes of all GGUF files of `commit`. Cancel-safe.
///
/// # Errors
///
/// As [`model_info`].
pub(crate) async fn tree(
    transport: &HttpClient,
    place: Place<'_>,
    commit: &str,
) -> Result<Vec<(FileName, u64)>, SourceTrouble> {
    let mut files = Vec::new();
    let mut page = Some(question(place, "tree", commit));
    if let Some(first) = &mut page {
        first.set_query(Some("recursive=true"));
    }
    for _ in 0..MAX_PAGES {
        let Some(url) = page else { break };
        let (entries, headers): (Vec<TreeEntry>, _) = answer(transport, place, url.clone()).await?;
        files.extend(entries.into_iter().filter_map(|entry| match entry {
            TreeEntry::File { path, size } => Some((path.parse().ok()?, size)),
            TreeEntry::Other => None,
        }));
        if files.len() >= MAX_FILES {
            break;
        }
        page = next_page(&url, &headers);
    }
    files.truncate(MAX_FILES);
    Ok(files)
}

/// A token that reads what `revision` has in Xet storage. Cancel-safe.
///
/// # Errors
///
/// As [`model_info`].
#[cfg(feature = "xet")]
pub(crate) async fn xet_token(
    transport: &HttpClient,
    place: Place<'_>,
    revision: &str,
) -> Result<XetReadToken, SourceTrouble> {
    let url = question(place, "xet-read-token", revision);
    Ok(answer(transport, place, url).await?.0)
}

/// The address of what the API knows of `revision`.
fn question(place: Place<'_>, what: &str, revision: &str) -> Url {
    let mut url = place.endpoint.clone();
    url.path_segments_mut()
        .expect("the endpoint was checked to have a host")
        .pop_if_empty()
        .extend([
            "api",
            "models",
            place.repository.owner(),
            place.repository.name(),
            what,
            revision,
        ]);
    url
}

/// The answer to the question at `url`, and its headers.
async fn answer<T: DeserializeOwned>(
    transport: &HttpClient,
    place: Place<'_>,
    url: Url,
) -> Result<(T, HeaderMap), SourceTrouble> {
    let limit = transport.stall() * MAX_STALLS;
    let whole = async {
        let mut response = get(transport, url).await?;
        if let Some(trouble) = passing(response.status(), response.headers()) {
            return Err(trouble);
        }
        let body = transport.body(&mut response).await?;
        Ok((response, body))
    };
    let (response, body) = tokio::time::timeout(limit, whole)
        .await
        .unwrap_or_else(|_| {
            Err(SourceTrouble::again(format!(
                "no whole answer for {} s",
                limit.as_secs_f32()
            )))
        })?;
    let status = response.status();
    let headers = response.headers();
    if !status.is_success() {
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let refusal = HubRefusal {
            status: status.as_u16(),
            code: text("x-error-code"),
            message: text("x-error-message"),
        };
        return Err(refused(place, refusal, "", &[]).into());
    }
    let parsed = serde_json::from_slice(&body).map_err(|error| {
        let reason = format!("what is no answer of a Hub's API: {error}");
        Error::Refused {
            source_name: name_of(place.endpoint),
            reason,
        }
    })?;
    Ok((parsed, headers.clone()))
}

/// The answer at `url`, following redirects on the Hub's own origin.
async fn get(transport: &HttpClient, mut url: Url) -> Result<Response, SourceTrouble> {
    for _ in 0..=MAX_HOPS {
        let response = transport.send(Method::GET, &url, None).await?;
        match next_hop(&url, &response)? {
            Some(next) if transport.is_home(&next) => url = next,
            Some(next) => {
                let reason = format!("a redirect of its API to {}", name_of(&next));
                return Err(Error::Refused {
                    source_name: name_of(&url),
                    reason,
                }
                .into());
            }
            None => return Ok(response),
        }
    }
    Err(too_many_hops(&url).into())
}

/// The page after the one at `url`: `Link: <address>; rel="next"`.
fn next_page(url: &Url, headers: &HeaderMap) -> Option<Url> {
    let links = headers.get(LINK)?.to_str().ok()?;
    let next = links
        .split(',')
        .find(|link| link.contains("rel=\"next\""))?;
    let (_, address) = next.split_once('<')?;
    url.join(address.split_once('>')?.0)
        .ok()
        .filter(|next| next.origin() == url.origin())
}
