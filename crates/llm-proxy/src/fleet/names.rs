//! `dns+http://NAME:PORT`: one member per address behind the name, asked again and again.
//!
//! A lookup that fails changes nothing, so a name server that is away takes no upstream with it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admission::placement::UpstreamId;
use common::shutdown::Shutdown;
use llama_client::Upstream;
use tokio::time::Instant;

use super::Fleet;

/// Between two lookups while all is well.
const REFRESH: Duration = Duration::from_secs(10);
/// Between two lookups while a member does not answer or is drained: its successor may have a new address.
const MIN_REFRESH: Duration = Duration::from_secs(1);
/// Addresses behind one name that are used.
const MAX_ADDRESSES: usize = 256;

/// Keeps the members behind `name` in step with DNS. Runs until aborted.
pub(super) async fn follow(fleet: Arc<Fleet>, name: Upstream, shutdown: Shutdown) {
    let mut known: Vec<(SocketAddr, UpstreamId)> = Vec::new();
    let mut lost_one = fleet.lost_one.subscribe();
    let mut has_failed = false;
    loop {
        let began = Instant::now();
        match lookup(name.authority()).await {
            Ok(found) => {
                has_failed = false;
                known.retain(|(address, id)| {
                    let stays = found.contains(address);
                    if !stays {
                        fleet.leave(*id);
                    }
                    stays
                });
                for address in found {
                    if known.iter().all(|(known, _)| *known != address)
                        && let Some(id) = fleet.join(Upstream::at(address), &shutdown)
                    {
                        known.push((address, id));
                    }
                }
            }
            // It is asked each second then, and said once.
            Err(error) if has_failed => {
                tracing::debug!(upstream = name.authority(), %error, "the name was not resolved again");
            }
            Err(error) => {
                has_failed = true;
                tracing::warn!(upstream = name.authority(), %error, "the name was not resolved, its known addresses stay");
            }
        }
        let pause = match fleet.is_complete(&known) {
            true => REFRESH,
            false => MIN_REFRESH,
        };
        tokio::select! {
            () = tokio::time::sleep_until(began + pause) => {}
            _ = lost_one.changed() => tokio::time::sleep_until(began + MIN_REFRESH).await,
        }
    }
}

impl Fleet {
    /// Whether all of `known` work, so that nobody waits for a successor.
    fn is_complete(&self, known: &[(SocketAddr, UpstreamId)]) -> bool {
        let roll = self.roll();
        let is_up = known.iter().map(|(_, id)| {
            let member = roll.members.get(id);
            member.is_some_and(|member| member.is_up())
        });
        // Without any address it is not complete either.
        roll.drained.is_empty() && is_up.min() == Some(true)
    }
}

async fn lookup(authority: &str) -> std::io::Result<BTreeSet<SocketAddr>> {
    let found: BTreeSet<SocketAddr> = tokio::net::lookup_host(authority)
        .await?
        .take(MAX_ADDRESSES)
        .collect();
    if found.is_empty() {
        Err(std::io::Error::other("no address"))
    } else {
        Ok(found)
    }
}
