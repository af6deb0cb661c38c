//! `cargo xtask tune`: measures the real llama-server with the chosen model on this machine, and recommends settings.
//!
//! It changes one setting at a time, keeps the best value, and goes on with the next: threads, batch, flash attention, the
//! form of the context, slots. That is about a dozen starts of the engine instead of the hundreds of a full grid.
//! `search` decides, `measure` asks the engine, `report` prints.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::try_join;

use crate::addresses::Addresses;
use crate::engine::{self, Engine};
use crate::gguf::{self, ModelShape};
use crate::memory::{MachineMemory, gib};
use crate::python::Python;
use crate::settings::{LOCAL, Profile, Settings};
use crate::signals::Stop;
use crate::{claim, env_file, model, say, up};

mod measure;
mod report;
mod search;

use measure::{EngineBench, RunningEngine};
use report::TuneReport;
use search::{EngineChoice, Machine, Measured};

/// A machine with so much load has something else to do.
const BUSY_LOAD: f64 = 0.5;

/// What to measure, and whether to keep it.
#[derive(Debug, clap::Args)]
pub(crate) struct TuneOptions {
    /// Which env file names the model and the settings of now.
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    env: Profile,
    /// Measures once instead of three times, and fewer values.
    #[arg(long)]
    quick: bool,
    /// Writes the recommended settings into .env.local.
    #[arg(long)]
    write: bool,
}

/// Measures and recommends.
///
/// # Errors
///
/// When the model cannot be fetched, or the engine does not run with the settings of now.
pub(crate) async fn run(options: &TuneOptions) -> Result<()> {
    let settings = Settings::load(options.env)?;
    let addresses = Addresses::of(&settings)?;
    if let Some(claimant) = claim::claimant(&settings, addresses.gateway) {
        bail!("{claimant}. Stop it first: two engines would measure each other");
    }
    settings.secret("LLM_API_KEY")?;
    let mut stop = Stop::listen()?;
    tokio::select! {
        tuned = tune(&settings, options) => tuned,
        () = stop.asked() => bail!("stopped; nothing was changed"),
    }
}

async fn tune(settings: &Settings, options: &TuneOptions) -> Result<()> {
    let python = Python::new(settings);
    let (engine, model) = try_join!(engine::find(settings, &python), async {
        up::build(settings).await?;
        model::fetch(settings, &python).await
    })?;
    let machine = machine(&model.path)?;
    warn_of_load();
    let mut tuner = Tuner {
        settings,
        engine,
        model: model.path,
        machine,
        bench: EngineBench::new(options.quick),
        report: TuneReport::default(),
    };
    let now = EngineChoice::of(settings, machine.cores);
    say::line(format_args!(
        "{} on {} cores with {}, of which {} are free. One setting after another; the settings of now first.",
        model.file,
        machine.cores,
        gib(machine.memory.total),
        gib(machine.memory.available)
    ));
    let best = tuner.search(now, options.quick).await?;
    tuner.report.print(now, &best, machine);
    let values = best.values();
    let values: Vec<(&str, &str)> = values
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    if options.write {
        for (name, _) in &values {
            if settings.get(name).is_some() && settings.file_of(name).is_none() {
                say::line(format_args!(
                    "{name} is set in this shell, which wins over {LOCAL}: unset it."
                ));
            }
        }
        env_file::write(&settings.root().join(LOCAL), &values)?;
    } else {
        say::line("Nothing was written; `cargo xtask tune --write` puts them into .env.local.");
    }
    Ok(())
}

/// What the search needs: where the engine and the model are, and what was measured so far.
struct Tuner<'a> {
    settings: &'a Settings,
    engine: Engine,
    model: PathBuf,
    machine: Machine,
    bench: EngineBench,
    report: TuneReport,
}

impl Tuner<'_> {
    /// The best settings, beginning at those of now.
    async fn search(&mut self, now: EngineChoice, is_quick: bool) -> Result<EngineChoice> {
        let begin = Instant::now();
        let first = self.measure("now", now).await?;
        let once = begin.elapsed();
        let n_starts = search::n_starts(now, self.machine, is_quick);
        say::line(format_args!(
            "{n_starts} more starts of the engine: about {}.",
            say::roughly(once * n_starts)
        ));

        let mut best = now;
        let mut measured = vec![(now, first)];
        for threads in search::threads(self.machine.cores, is_quick) {
            let choice = EngineChoice { threads, ..best };
            self.add(&mut measured, &format!("{threads} threads"), choice)
                .await?;
        }
        best = self
            .report
            .keep(search::best_threads(&measured, self.machine.cores));

        measured.retain(|(choice, _)| *choice == best);
        for batch in search::batches(is_quick) {
            let choice = EngineChoice { batch, ..best };
            self.add(&mut measured, &format!("batch {batch}"), choice)
                .await?;
        }
        best = self.report.keep(search::best_batch(&measured));

        measured.retain(|(choice, _)| *choice == best);
        for flash in search::flash_attentions(is_quick) {
            let choice = EngineChoice { flash, ..best };
            self.add(&mut measured, &format!("flash attention {flash}"), choice)
                .await?;
        }
        best = self.report.keep(search::best_flash(&measured));

        for kv in search::kv_types(is_quick) {
            let choice = EngineChoice { kv, ..best };
            self.add(
                &mut Vec::new(),
                &format!("context as {}", kv.name()),
                choice,
            )
            .await?;
        }
        best = self.report.keep(search::best_kv(best, self.machine));

        let mut shared = Vec::new();
        for slots in search::slots(best, self.machine, is_quick) {
            let choice = EngineChoice { slots, ..best };
            self.add(&mut shared, &format!("{slots} at once"), choice)
                .await?;
        }
        best = self.report.keep(search::best_slots(best, &shared));
        if best != now && !self.report.has(best) {
            self.measure("recommended", best).await?;
        }
        Ok(best)
    }

    /// Measures a choice unless it was, and adds it to those that are compared.
    async fn add(
        &mut self,
        measured: &mut Vec<(EngineChoice, Measured)>,
        name: &str,
        choice: EngineChoice,
    ) -> Result<()> {
        if measured.iter().any(|(known, _)| *known == choice) {
            return Ok(());
        }
        if !self.machine.fits(choice) {
            say::line(format_args!("  {name}: does not fit into the memory"));
            return Ok(());
        }
        match self.measure(name, choice).await {
            Ok(found) => measured.push((choice, found)),
            // A value that this build or this model cannot take is no reason to stop.
            Err(error) => say::line(format_args!("  {name}: left out: {error:#}")),
        }
        Ok(())
    }

    async fn measure(&mut self, name: &str, choice: EngineChoice) -> Result<Measured> {
        let running =
            RunningEngine::start(self.settings, &self.engine, &self.model, choice).await?;
        let found = self.bench.measure(&running, choice).await;
        running.stop().await;
        let found = found?;
        self.report.add(name, choice, found);
        Ok(found)
    }
}

fn machine(model: &Path) -> Result<Machine> {
    let file = std::fs::File::open(model)?;
    let weights = size(model)?;
    let shape = ModelShape::read(std::io::BufReader::new(file))?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(Machine {
        cores: cores as u64,
        memory: MachineMemory::read()?,
        weights,
        shape,
    })
}

/// The bytes of a model, of all its parts if it is split.
fn size(model: &Path) -> Result<u64> {
    let name = model.file_name().unwrap_or_default().to_string_lossy();
    let Some((before, after)) = name.split_once(gguf::FIRST_PART) else {
        return Ok(std::fs::metadata(model)?.len());
    };
    let mut sum = 0;
    for entry in std::fs::read_dir(model.parent().unwrap_or(model))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&format!("{before}-")) && name.ends_with(&format!("-of-{after}")) {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

/// Says when something else computes, because then the figures are no use.
fn warn_of_load() {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().and_then(|load| load.parse().ok());
    if let Some(load) = load.filter(|load: &f64| *load > BUSY_LOAD) {
        say::line(format_args!(
            "Something else computes here (load {load:.1}): the figures will be low and uneven. Measure on a quiet machine."
        ));
    }
}

/// How long a start of the engine may take.
const LOADED_WITHIN: Duration = Duration::from_secs(15 * 60);
