//! Users whom a trusted proxy names in a header field, as oauth2-proxy and Authelia do.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};

use super::settings::HeaderSettings;
use super::{SignedInAs, TrustedProxies, Unauthenticated, User, id_of};

/// The longest name.
const MAX_NAME_BYTES: usize = 256;

/// Whom the proxy names.
pub(super) fn sign_in(
    settings: &HeaderSettings,
    proxies: &TrustedProxies,
    headers: &HeaderMap,
    peer: IpAddr,
) -> Result<User, Unauthenticated> {
    if !proxies.trust(peer) {
        return Err(Unauthenticated::UntrustedProxy);
    }
    if !headers.contains_key(&settings.user) {
        return Err(Unauthenticated::Missing);
    }
    let subject = only(headers, &settings.user).ok_or(Unauthenticated::Malformed)?;
    let id = id_of("header", subject);
    Ok(User {
        name: only(headers, &settings.name).map(Into::into),
        lane: id.clone(),
        id,
        session: SignedInAs::named(subject, None, None),
    })
}

/// The one value of a field: words in UTF-8, not too many.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    let text = std::str::from_utf8(value.as_bytes()).ok()?.trim();
    let is_name = (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control);
    (is_name && values.next().is_none()).then_some(text)
}
