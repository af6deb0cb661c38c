//! What one row is measured on: a mock, some gateways, and what they share.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::super::gateway::servers::{empty, start_ours};
use super::super::mock::start_mock;
use super::shared::SharedServers;
use crate::call::RunningCall;
use crate::settings::Settings;

/// The key that signs the cookies of all gateways of a row, so that a user is the same at each of them.
const COOKIE_KEY: &[u8; 32] = b"bench scale, the same everywhere";

/// How many gateways, and what they keep conversations in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SiteKind {
    /// One with SQLite, and no bus.
    Base,
    /// So many with PostgreSQL and Valkey.
    Shared(usize),
}

impl SiteKind {
    const fn n_gateways(self) -> usize {
        match self {
            Self::Base => 1,
            Self::Shared(n) => n,
        }
    }
}

impl fmt::Display for SiteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("1 gateway, SQLite, no bus"),
            Self::Shared(1) => f.write_str("1 gateway, PostgreSQL and Valkey"),
            Self::Shared(n) => write!(f, "{n} gateways, PostgreSQL and Valkey"),
        }
    }
}

/// Bytes that were written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SiteBytes {
    pub(super) database: u64,
    /// PostgreSQL's write-ahead log since its beginning.
    pub(super) wal: u64,
    /// What Valkey holds.
    pub(super) valkey: u64,
    /// The files of SQLite.
    pub(super) files: u64,
}

/// Everything that runs for a row.
pub(super) struct ScaleSite {
    pub(super) kind: SiteKind,
    gateways: Vec<(SocketAddr, RunningCall)>,
    shared: Option<SharedServers>,
    /// SQLite's folder.
    data: Option<PathBuf>,
    #[expect(dead_code, reason = "it runs until it is dropped")]
    mock: RunningCall,
}

impl ScaleSite {
    /// Starts everything anew.
    pub(super) async fn start(settings: &Settings, kind: SiteKind) -> Result<Self> {
        let folder = settings.target("bench/scale");
        let (upstream, mock) = start_mock(settings)?;
        let shared = match kind {
            SiteKind::Base => None,
            SiteKind::Shared(_) => Some(SharedServers::start(&folder).await?),
        };
        let mut gateways = Vec::new();
        let mut data_of_sqlite = None;
        for number in 0..kind.n_gateways() {
            let data = folder.join(format!("gateway-{number}"));
            empty(&data)?;
            std::fs::write(data.join("cookie.key"), COOKIE_KEY)?;
            let log = folder.join(format!("gateway-{number}.log"));
            let urls = shared.as_ref().map(|shared| [shared.store(), shared.bus()]);
            let more: Vec<(&str, &str)> = match &urls {
                Some([store, bus]) => vec![("GATEWAY_STORE", store), ("GATEWAY_BUS", bus)],
                None => Vec::new(),
            };
            gateways.push(start_ours(settings, upstream, &data, &log, &more).await?);
            if kind == SiteKind::Base {
                data_of_sqlite = Some(data);
            }
        }
        Ok(Self {
            kind,
            gateways,
            shared,
            data: data_of_sqlite,
            mock,
        })
    }

    /// Where sockets are opened, as the load wants it.
    pub(super) fn addresses(&self) -> Vec<String> {
        let addresses = self.gateways.iter().enumerate();
        addresses
            .map(|(at, (address, _))| match at {
                0 => format!("--to={address}"),
                _ => format!("--also={address}"),
            })
            .collect()
    }

    /// The processes whose cost is told, as the load wants them.
    pub(super) fn processes(&self) -> Vec<String> {
        let gateways = self.gateways.iter().map(|(_, call)| ("gateway", call));
        let shared = self.shared.iter().flat_map(SharedServers::calls);
        let named = gateways.chain(shared).filter_map(|(name, call)| {
            let pid = call.pid()?.as_raw_nonzero();
            Some(format!("--process={name}={pid}"))
        });
        named.collect()
    }

    /// The process of the first gateway.
    pub(super) fn first_process(&self) -> Option<i32> {
        let (_, call) = self.gateways.first()?;
        Some(call.pid()?.as_raw_nonzero().get())
    }

    /// What was written so far.
    pub(super) fn written(&self) -> Result<SiteBytes> {
        let mut bytes = SiteBytes::default();
        if let Some(shared) = &self.shared {
            bytes.database = shared.database_bytes()?;
            bytes.wal = shared.wal_bytes()?;
            bytes.valkey = shared.bus_bytes()?;
        }
        if let Some(data) = &self.data {
            bytes.files = bytes_in(data)?;
        }
        Ok(bytes)
    }

    /// Ends everything, the gateways first.
    pub(super) async fn stop(self) {
        drop(self.gateways);
        if let Some(shared) = self.shared {
            shared.stop().await;
        }
    }
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}
