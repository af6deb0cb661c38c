//! A real Xet CAS server for tests: the simulation that xet-client brings, filled through hf-xet's own upload.
//!
//! It is a crate of its own because it is heavy: only the tests of model-fetcher and the bench compile it.
//! `FakeHub::attach_xet` puts a front before it that checks tokens and applies faults.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use testkit::fake_hub::XetFiles;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use xet::xet_session::{Sha256Policy, XetConfig, XetSessionBuilder};
use xet_client::cas_client::{LocalServer, LocalServerConfig};
use xet_runtime::core::XetContext;

/// A running CAS server; it stops when dropped.
#[derive(Debug)]
pub struct FakeCas {
    storage: XetFiles,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<Result<()>>>,
}

impl FakeCas {
    /// A server on a free port of 127.0.0.1 that has the chunks of these files.
    ///
    /// # Errors
    ///
    /// When it cannot listen, or an upload fails.
    pub fn with_files(files: Vec<Vec<u8>>) -> Result<Self> {
        let (started, storage) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        // A runtime of its own: hf-xet wants one with several threads, and a test has one.
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?
                .block_on(serve(files, &started, stopped))
        });
        let Ok(storage) = storage.recv() else {
            let ended = thread
                .join()
                .map_err(|_| anyhow!("the CAS server panicked"))?;
            return Err(ended.err().context("the CAS server ended early")?);
        };
        Ok(Self {
            storage,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What `FakeHub::attach_xet` needs to know of it.
    #[must_use]
    pub fn storage(&self) -> XetFiles {
        self.storage.clone()
    }
}

impl Drop for FakeCas {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Serves until `stopped`; tells `started` where, once all files are uploaded.
async fn serve(
    files: Vec<Vec<u8>>,
    started: &mpsc::Sender<XetFiles>,
    stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let context = XetContext::with_config(config()).map_err(|error| anyhow!("{error}"))?;
    let settings = LocalServerConfig {
        in_memory: true,
        ..LocalServerConfig::default()
    };
    let server = LocalServer::new(context, settings).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let upstream = listener.local_addr()?;
    let (end, ended) = oneshot::channel();
    let mut serving = JoinSet::new();
    serving.spawn(async move { server.serve_until_stopped(listener, ended).await });
    let mut hashes = Vec::new();
    for bytes in files {
        hashes.push(upload(upstream, bytes).await?);
    }
    started.send(XetFiles { upstream, hashes })?;
    stopped.await.ok();
    drop(end);
    // Connections that are kept open would hold a graceful end back.
    serving.abort_all();
    Ok(())
}

/// Uploads one file; returns its SHA-256 and its Xet hash.
async fn upload(upstream: SocketAddr, bytes: Vec<u8>) -> Result<(String, String)> {
    let digest = Sha256::digest(&bytes);
    let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = TempDir::new()?;
    let session = XetSessionBuilder::new_with_config(config())
        .with_cache_dir(folder.path())
        .build()?;
    let commit = session
        .new_upload_commit()?
        .with_endpoint(format!("http://{upstream}"))
        .build()
        .await?;
    let name = Some("model".to_owned());
    commit.upload_bytes(bytes, Sha256Policy::Skip, name).await?;
    let report = commit.commit().await?;
    let file = report
        .uploads
        .values()
        .next()
        .context("nothing was uploaded")?;
    Ok((sha256, file.xet_info.hash.clone()))
}

/// Nothing from the environment, and nothing reported to anybody.
fn config() -> XetConfig {
    let mut config = XetConfig::default();
    config.telemetry.enabled = false;
    config
}
