//! Where a file is, at the Hub or at a mirror.

use std::fmt::Write as _;
use std::str::FromStr;

use url::Url;

use crate::names::{FileName, RepositoryId};

/// The mirror that is known by name.
const MODELSCOPE: &str = "modelscope";
const MODELSCOPE_ENDPOINT: &str = "https://modelscope.cn";
/// The branch that every repository on ModelScope has.
pub(crate) const MODELSCOPE_BRANCH: &str = "master";

/// Where a mirror has its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// It speaks the Hub's protocol.
    Hub(Url),
    /// ModelScope at that address, under another name where that is given.
    ModelScope(Url, Option<RepositoryId>),
    /// At that address, once `{repository}`, `{revision}` and `{file}` are filled in; without any, it is one file.
    Address(String),
}

impl Mirror {
    /// Where it has `file`; at ModelScope, where it is under its own name.
    pub(crate) fn address(
        &self,
        repository: &RepositoryId,
        revision: &str,
        file: &FileName,
    ) -> Url {
        match self {
            Self::Hub(endpoint) => hub_address(endpoint, repository, revision, file),
            Self::ModelScope(endpoint, other) => {
                modelscope_address(endpoint, other.as_ref().unwrap_or(repository), file)
            }
            Self::Address(template) => {
                let filled = template
                    .replace("{repository}", &repository.to_string())
                    .replace("{revision}", &encoded(revision))
                    .replace("{file}", &encoded(file.spelled()));
                Url::parse(&filled).expect("the template was checked, and what fills it is encoded")
            }
        }
    }
}

impl FromStr for Mirror {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || {
            "each mirror must be modelscope, modelscope:owner/name or a URL without a user, divided by commas: \
             https://hf-mirror.com speaks the Hub's protocol, and one that ends in .gguf or holds {file} is the address of the file itself, as in \
             https://modelscope.cn/models/{repository}/resolve/master/{file}"
                .to_owned()
        };
        if let Some(rest) = text.strip_prefix(MODELSCOPE) {
            let other = match rest.strip_prefix(':') {
                None if rest.is_empty() => None,
                Some(name) => Some(name.parse().map_err(|_| {
                    "modelscope: must be followed by owner/name, the repository's name on ModelScope".to_owned()
                })?),
                None => return Err(problem()),
            };
            let endpoint = Url::parse(MODELSCOPE_ENDPOINT).expect("a constant address parses");
            return Ok(Self::ModelScope(endpoint, other));
        }
        let sample = text
            .replace("{repository}", "a/b")
            .replace("{revision}", "c")
            .replace("{file}", "d.gguf");
        let url = Url::parse(&sample).map_err(|_| problem())?;
        let plain =
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let host_is_fixed = text
            .split('/')
            .nth(2)
            .is_some_and(|host| !host.contains('{'));
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain || !host_is_fixed
        {
            return Err(problem());
        }
        let is_file = sample != text || url.query().is_some() || url.path().ends_with(".gguf");
        if sample.contains(['{', '}']) || (sample != text && !text.contains("{file}")) {
            return Err(problem());
        }
        Ok(if is_file {
            Self::Address(text.to_owned())
        } else {
            Self::Hub(url)
        })
    }
}

/// Where ModelScope has that file.
pub(crate) fn modelscope_address(
    endpoint: &Url,
    repository: &RepositoryId,
    file: &FileName,
) -> Url {
    let mut url = endpoint.clone();
    url.path_segments_mut()
        .expect("the endpoint was checked to have a host")
        .pop_if_empty()
        .extend(["models", repository.owner(), repository.name()])
        .extend(["resolve", MODELSCOPE_BRANCH])
        .extend(file.spelled().split('/'));
    url
}

/// Where a Hub at `endpoint` has that file.
pub(crate) fn hub_address(
    endpoint: &Url,
    repository: &RepositoryId,
    revision: &str,
    file: &FileName,
) -> Url {
    let mut url = endpoint.clone();
    url.path_segments_mut()
        .expect("the endpoint was checked to have a host")
        .pop_if_empty()
        .extend([repository.owner(), repository.name(), "resolve", revision])
        .extend(file.spelled().split('/'));
    url
}

/// `text` as part of a path or a query; slashes stay.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes every write");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Mirror;

    fn address(mirror: &str) -> String {
        let mirror: Mirror = mirror.parse().unwrap();
        let repository = "a/b".parse().unwrap();
        let file = "q/x y#1.gguf".parse().unwrap();
        mirror.address(&repository, "refs/pr/1", &file).to_string()
    }

    #[test]
    fn a_mirror_is_a_hub_a_template_or_one_file() {
        assert_eq!(
            address("https://hf-mirror.com"),
            "https://hf-mirror.com/a/b/resolve/refs%2Fpr%2F1/q/x%20y%231.gguf"
        );
        assert_eq!(
            address("https://modelscope.cn/models/{repository}/resolve/master/{file}"),
            "https://modelscope.cn/models/a/b/resolve/master/q/x%20y%231.gguf"
        );
        assert_eq!(
            address("modelscope"),
            "https://modelscope.cn/models/a/b/resolve/master/q/x%20y%231.gguf"
        );
        assert_eq!(
            address("modelscope:c/d"),
            "https://modelscope.cn/models/c/d/resolve/master/q/x%20y%231.gguf"
        );
        assert_eq!(
            address("http://10.0.0.1/m?f={file}&r={revision}"),
            "http://10.0.0.1/m?f=q/x%20y%231.gguf&r=refs/pr/1"
        );
        assert_eq!(
            address("http://10.0.0.1:8000/m.gguf"),
            "http://10.0.0.1:8000/m.gguf"
        );
    }

    #[test]
    fn what_is_no_mirror_is_refused() {
        for text in [
            "",
            "hf-mirror.com",
            "modelscope:",
            "modelscope:x",
            "modelscope.cn",
            "ftp://x/y.gguf",
            "https://user:word@x/y.gguf",
            "https://{file}/x",
            "https://x/{name}/{file}",
            "https://x/{repository}",
        ] {
            assert!(text.parse::<Mirror>().is_err(), "{text}");
        }
    }
}
