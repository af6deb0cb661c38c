//! Which `cargo xtask up` has which port of the gateway: `target/up/PORT`, a file with the process's id that is locked as
//! long as the process lives.
//!
//! The kernel frees the lock however the process ends, so a file that was left behind claims nothing.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

use crate::say;
use crate::settings::Settings;

/// The gateway's port, claimed until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Closing the file frees its lock.
    _lock: File,
}

/// Another `cargo xtask up` that has the port.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claimant {
    page: String,
    pid: String,
    age: Duration,
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, pid, age } = self;
        let age = say::roughly(*age);
        write!(
            f,
            "Corral is already running: page {page}, process {pid}, for {age}"
        )
    }
}

/// Claims the port of `gateway` for this process, or says who has it.
///
/// # Errors
///
/// When the file cannot be written.
pub(crate) fn take(
    settings: &Settings,
    gateway: SocketAddr,
) -> Result<std::result::Result<Claim, Claimant>> {
    take_in(&settings.target("up"), gateway)
}

/// Who has the port of `gateway`, if a `cargo xtask up` has it.
pub(crate) fn claimant(settings: &Settings, gateway: SocketAddr) -> Option<Claimant> {
    claimant_in(&settings.target("up"), gateway)
}

fn take_in(folder: &Path, gateway: SocketAddr) -> Result<std::result::Result<Claim, Claimant>> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(gateway.port().to_string());
    let open = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path);
    let mut file = open.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Err(read(&mut file, gateway))),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    file.set_len(0)
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Ok(Claim { _lock: file }))
}

fn claimant_in(folder: &Path, gateway: SocketAddr) -> Option<Claimant> {
    let mut file = File::open(folder.join(gateway.port().to_string())).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read(&mut file, gateway)),
        _ => None,
    }
}

/// What the file of a running process says; it was written when the process started.
fn read(file: &mut File, gateway: SocketAddr) -> Claimant {
    let mut pid = String::new();
    // The process may be about to write its id. Then the message has none.
    file.read_to_string(&mut pid).ok();
    let started = file.metadata().and_then(|file| file.modified()).ok();
    Claimant {
        page: format!("http://{gateway}/"),
        pid,
        age: started
            .and_then(|started| SystemTime::now().duration_since(started).ok())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::{claimant_in, take_in};

    #[test]
    fn a_port_is_claimed_by_one_process_until_that_ends() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = "127.0.0.1:8100".parse().unwrap();
        let other = "127.0.0.1:8200".parse().unwrap();
        assert_eq!(claimant_in(folder.path(), gateway), None);

        let claim = take_in(folder.path(), gateway).unwrap().unwrap();
        let refused = take_in(folder.path(), gateway).unwrap().unwrap_err();
        let pid = std::process::id();
        assert_eq!(
            refused.to_string(),
            format!(
                "Corral is already running: page http://127.0.0.1:8100/, process {pid}, for 0 s"
            )
        );
        assert_eq!(
            claimant_in(folder.path(), gateway).unwrap().pid,
            refused.pid
        );
        assert_eq!(claimant_in(folder.path(), other), None);
        take_in(folder.path(), other).unwrap().unwrap();

        drop(claim);
        assert_eq!(claimant_in(folder.path(), gateway), None);
        take_in(folder.path(), gateway).unwrap().unwrap();
    }
}
