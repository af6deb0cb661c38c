//! model-fetcher with a number of streams of one's choice: what the program does without a command, and nothing else.
//! `cargo xtask bench fetch` builds and runs it; the settings are the program's, the number is the one argument.

use anyhow::Context as _;
use common::env::Environment;
use common::telemetry::Telemetry;
use model_fetcher::config::{Fetch, PREFIX, TABLES};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let streams = std::env::args()
        .nth(1)
        .context("give the number of streams")?;
    let mut env = Environment::from_process(PREFIX, TABLES);
    let telemetry = Telemetry::read(&mut env);
    let settings = Fetch::read(&mut env);
    env.finish()?;
    telemetry.install();
    let mut settings = settings.context("the settings are incomplete")?;
    settings.tuning.streams = streams
        .parse()
        .context("the number of streams is no number")?;
    model_fetcher::fetch(&settings, &CancellationToken::new()).await?;
    Ok(())
}
