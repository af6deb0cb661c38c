//! The Xet storage of a build without Xet: it has nothing.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::hub::{Hub, Remote};
use crate::retry::SourceTrouble;

/// No storage.
#[derive(Debug)]
pub(crate) struct NoXetStorage<'a>(&'a Hub<'a>);

/// No range comes out of it.
pub(crate) struct NoXetRange<'a>(Infallible, PhantomData<&'a ()>);

impl<'a> NoXetStorage<'a> {
    /// Whether this program speaks Xet.
    pub(crate) const IS_BUILT_IN: bool = false;

    /// No storage of `hub`.
    pub(crate) fn new(hub: &'a Hub<'a>, _: &str, _: &Path, _: Duration) -> Self {
        Self(hub)
    }

    /// Its name, for people.
    pub(crate) fn name(&self) -> String {
        format!("the Xet storage of {}", self.0.name())
    }

    /// Refuses.
    pub(crate) async fn open(
        &self,
        remote: &Remote,
        _: &Range<u64>,
    ) -> Result<NoXetRange<'_>, SourceTrouble> {
        Err(self.0.only_xet(&remote.file).into())
    }
}

impl NoXetRange<'_> {
    /// Never called.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, SourceTrouble> {
        match self.0 {}
    }
}
