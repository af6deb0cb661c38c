//! The Hub's Xet storage: what the Hub says of it, and who may read there.
//!
//! The Hub's own token is sent to the Hub only, by our client. The storage gets the short-lived one that the Hub gives
//! for it.

use std::str::FromStr;

use reqwest::header::HeaderMap;

/// With it the Hub says that it keeps a file in its Xet storage.
pub(crate) const XET_HASH: &str = "x-xet-hash";

/// A file's hash in the Hub's Xet storage: 64 hexadecimal digits, of another kind than its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XetHash(String);

impl FromStr for XetHash {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let good = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        good.then(|| Self(text.to_ascii_lowercase())).ok_or(())
    }
}

impl XetHash {
    /// Its digits.
    #[cfg(feature = "xet")]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The hash of a file in the Hub's Xet storage.
pub(crate) fn xet_hash(headers: &HeaderMap) -> Option<XetHash> {
    headers.get(XET_HASH)?.to_str().ok()?.parse().ok()
}

#[cfg(feature = "xet")]
mod access {
    //! Asking for what a read takes.

    use common::secret::Secret;
    use url::Url;

    use crate::hub::api::xet_token;
    use crate::hub::xet::{XetHash, xet_hash};
    use crate::hub::{Hub, Remote};
    use crate::retry::SourceTrouble;

    /// The right to read from the Hub's Xet storage.
    #[derive(Debug)]
    pub(crate) struct XetToken {
        /// What the storage wants to see. It is not the Hub's own token.
        pub(crate) text: Secret,
        /// When it ends, in seconds since 1970.
        pub(crate) expires: u64,
        /// Where the storage is.
        pub(crate) cas_url: Url,
    }

    impl Hub<'_> {
        /// The file's hash in the Xet storage, for a file that the Hub has not been asked of. Cancel-safe.
        pub(crate) async fn xet_hash(
            &self,
            revision: &str,
            remote: &Remote,
        ) -> Result<XetHash, SourceTrouble> {
            let found = self.head(revision, &remote.file, &[]).await?;
            xet_hash(&found.headers).ok_or_else(|| {
                let reason = format!("{} is not in its Xet storage", remote.file);
                self.refuse(reason).into()
            })
        }

        /// A token that reads from the Xet storage, and where that is. Cancel-safe.
        pub(crate) async fn xet_token(&self, revision: &str) -> Result<XetToken, SourceTrouble> {
            let token = xet_token(self.transport, self.place, revision).await?;
            let cas_url = token.cas_url.parse().ok();
            let cas_url = cas_url.filter(|url| self.may_be_storage(url));
            let Some(cas_url) = cas_url else {
                let reason = "an address of its Xet storage that is not safe to use: it must be https, or http where the Hub \
                              itself is, and without a user";
                return Err(self.refuse(reason.to_owned()).into());
            };
            Ok(XetToken {
                text: Secret::new(token.access_token),
                expires: token.exp,
                cas_url,
            })
        }

        /// Whether the Xet storage may be at `url`. To hf-xet `local://` is a folder of this machine.
        fn may_be_storage(&self, url: &Url) -> bool {
            let is_http = match url.scheme() {
                "https" => true,
                "http" => self.place.endpoint.scheme() == "http",
                _ => false,
            };
            is_http && url.has_host() && url.username().is_empty() && url.password().is_none()
        }
    }
}
