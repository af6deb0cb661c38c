//! For whom a key asks: a name that the holder of the key makes up for each of its users.
//!
//! The queue lets users of one key take turns. The name is opaque here, is kept only while its user waits or runs, and
//! reaches no log, no metric and no upstream.

use axum::http::HeaderMap;

use crate::api::Scope;
use crate::auth::AuthError;
use crate::auth::caller::Caller;

const HEADER: &str = "x-corral-user";
const MAX_BYTES: usize = 64;

/// The user whom these headers name; empty when they name none.
pub(crate) fn user(headers: &HeaderMap, caller: &Caller) -> Result<Box<str>, AuthError> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(Box::default());
    };
    if !caller.scopes.contains(&Scope::Delegate) {
        return Err(AuthError::MayNotName);
    }
    let name = value.to_str().unwrap_or_default();
    let is_name = (1..=MAX_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
    if is_name && values.next().is_none() {
        Ok(name.into())
    } else {
        Err(AuthError::UserName)
    }
}
