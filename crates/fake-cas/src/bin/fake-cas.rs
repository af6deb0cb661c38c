//! The CAS server of a bench: one made-up model, in memory, until SIGTERM.
//!
//! It prints one JSON line with its address and the model's hashes, which `fake-hub --xet` takes.

use anyhow::{Context as _, Result};
use clap::Parser;
use fake_cas::FakeCas;
use testkit::gguf;

/// Serves the chunks of a made-up model as the Hub's Xet storage would.
///
/// Example: fake-cas --synthetic 1073741824
#[derive(Debug, Parser)]
struct FakeCasOptions {
    /// The model's size in bytes; it is the one that fake-hub makes up for the same size.
    #[arg(long)]
    synthetic: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = FakeCasOptions::parse();
    let cas = FakeCas::with_files(vec![gguf::tiny(options.synthetic)])?;
    let storage = cas.storage();
    let (sha256, hash) = storage.hashes.first().context("no file was uploaded")?;
    let upstream = storage.upstream;
    println!("{{\"upstream\":\"{upstream}\",\"sha256\":\"{sha256}\",\"hash\":\"{hash}\"}}");
    std::future::pending().await
}
