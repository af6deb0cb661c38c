//! Where bytes may come from: the Hub first, then the mirrors in their order.
//!
//! A mirror is not trusted: it never gets the token, and what it sends counts only when it has the digest that is known
//! from elsewhere. A source that was left is not asked again while the same bytes are on their way.

use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

use url::Url;

use crate::config::Fetch;
use crate::error::Error;
use crate::hub::{Hub, Remote, address, size_at};
use crate::retry::Trouble;
use crate::select::{FileName, RepositoryId};
use crate::transport::{Transport, name_of};

/// The number of the Hub among the sources; the mirrors follow.
pub(crate) const HUB: usize = 0;

/// Where a mirror has its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// It speaks the Hub's protocol.
    Hub(Url),
    /// At that address, once `{repository}`, `{revision}` and `{file}` are filled in; without any, it is one file.
    Address(String),
}

impl Mirror {
    /// Where it has `file`.
    fn address(&self, repository: &RepositoryId, revision: &str, file: &FileName) -> Url {
        match self {
            Self::Hub(endpoint) => address(endpoint, repository, revision, file),
            Self::Address(template) => {
                let filled = template
                    .replace("{repository}", &repository.to_string())
                    .replace("{revision}", &encoded(revision))
                    .replace("{file}", &encoded(file.as_str()));
                Url::parse(&filled).expect("the template was checked, and what fills it is encoded")
            }
        }
    }
}

impl FromStr for Mirror {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || {
            "each mirror must be a URL without a user, divided by commas: https://hf-mirror.com speaks the Hub's protocol, \
             and one that ends in .gguf or holds {file} is the address of the file itself, as in \
             https://modelscope.cn/models/{repository}/resolve/master/{file}"
                .to_owned()
        };
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

/// All sources of one run, and the one that is in use.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    settings: &'a Fetch,
    hub: &'a Hub<'a>,
    home: &'a Transport,
    away: &'a Transport,
    revision: &'a str,
    current: AtomicUsize,
}

impl<'a> Sources<'a> {
    /// The Hub through `home`, the mirrors through `away`, which has no token; `first` is the one to begin with.
    pub(crate) fn new(
        settings: &'a Fetch,
        hub: &'a Hub<'a>,
        home: &'a Transport,
        away: &'a Transport,
        commit: Option<&'a str>,
        first: usize,
    ) -> Self {
        let revision = commit.unwrap_or(&settings.revision);
        Self {
            settings,
            hub,
            home,
            away,
            revision,
            current: AtomicUsize::new(first),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        1 + self.settings.mirrors.len()
    }

    /// The one in use.
    pub(crate) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Whether there is another one after `source`.
    pub(crate) fn has_next(&self, source: usize) -> bool {
        source + 1 < self.count()
    }

    /// Goes on to the source after `source`; `false` when that was the last one.
    pub(crate) fn leave(&self, source: usize) -> bool {
        let left = self.has_next(source);
        if left {
            self.current.store(source + 1, Ordering::Relaxed);
        }
        left
    }

    /// Begins again, not with the source whose bytes were wrong where there is another one.
    pub(crate) fn begin_again(&self) {
        self.current
            .store((self.current() + 1) % self.count(), Ordering::Relaxed);
    }

    /// Who moves the bytes of `source`.
    pub(crate) fn transport(&self, source: usize) -> &'a Transport {
        if source == HUB { self.home } else { self.away }
    }

    /// Its name, for people.
    pub(crate) fn name(&self, source: usize, remote: &Remote) -> String {
        self.mirror(source, &remote.file)
            .map_or_else(|| self.hub.name(), |url| name_of(&url))
    }

    /// Whether the Hub is asked anew where the bytes are once an address is refused; a mirror's address is fixed.
    pub(crate) fn moves(&self, source: usize) -> bool {
        source == HUB
    }

    /// Where `source` has the file. Cancel-safe.
    pub(crate) async fn locate(&self, source: usize, remote: &Remote) -> Result<Url, Trouble> {
        match self.mirror(source, &remote.file) {
            Some(url) => Ok(url),
            None => self.hub.locate(self.revision, remote).await,
        }
    }

    /// What it means that `source` is given up with `error`: a store of bytes that refuses every address which the Hub has
    /// signed for a file of its Xet storage has it only there.
    pub(crate) fn explain(
        &self,
        source: usize,
        remote: &Remote,
        is_refused: bool,
        error: Error,
    ) -> Error {
        match error {
            Error::Unreachable { .. } if is_refused && remote.is_xet && source == HUB => {
                self.hub.only_xet(&remote.file)
            }
            error => error,
        }
    }

    fn mirror(&self, source: usize, file: &FileName) -> Option<Url> {
        let mirror = self.settings.mirrors.get(source.checked_sub(1)?)?;
        Some(mirror.address(&self.settings.repository, self.revision, file))
    }
}

/// The size that the first mirror to answer says `file` has. Cancel-safe.
///
/// # Errors
///
/// That of the last mirror, when none answers.
pub(crate) async fn size_at_mirrors(
    settings: &Fetch,
    away: &Transport,
    file: &FileName,
    unreachable: Error,
) -> Result<u64, Error> {
    for mirror in &settings.mirrors {
        let url = mirror.address(&settings.repository, &settings.revision, file);
        match size_at(away, &url).await {
            Ok(size) => return Ok(size),
            Err(trouble) => {
                tracing::warn!(
                    mirror = name_of(&url),
                    ?trouble,
                    "the mirror does not have the file"
                );
            }
        }
    }
    Err(unreachable)
}

/// `text` as part of a path or a query; slashes stay.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Mirror;

    fn address(mirror: &str) -> String {
        let mirror: Mirror = mirror.parse().unwrap();
        let (repository, file) = ("a/b".parse().unwrap(), "q/x y#1.gguf".parse().unwrap());
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
