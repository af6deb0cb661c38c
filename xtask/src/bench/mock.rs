//! The mock of llama-server behind a server that is measured, and the addresses of both.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};

use crate::call::{Call, Output, RunningCall};
use crate::settings::Settings;

/// The mock's slots: a limit of requests and connections that no load reaches.
pub(super) const ROOM: &str = "1024";

/// Starts a mock on a free port.
///
/// # Errors
///
/// When it is not built, or does not say where it listens.
pub(super) fn start_mock(settings: &Settings) -> Result<(SocketAddr, RunningCall)> {
    let (reader, writer) = std::io::pipe()?;
    let call = Call::new(settings.target("release/bench_llama")).args(["--slots", ROOM]);
    let process = call.start(Output::Pipe(writer))?;
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line)?;
    let address = line
        .trim()
        .strip_prefix("listening ")
        .and_then(|address| address.parse().ok());
    Ok((
        address.with_context(|| format!("the mock did not start: {line}"))?,
        process,
    ))
}

/// A free address.
///
/// # Errors
///
/// When there is none.
pub(super) fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
