//! `cargo xtask mutants`: breaks the code in one small way after the other and sees whether a test notices. It takes hours,
//! so it is no part of `ci`. A mutant that survives gets a new test, or a line with its reason in docs/mutants.md.

use std::process::ExitCode;

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::say;
use crate::settings::{Profile, Settings};
use crate::steps::{StepOutcome, Steps};

/// What to break.
#[derive(Debug, clap::Args)]
pub(crate) struct MutantsOptions {
    /// Only this area; may be repeated.
    #[arg(long = "area", value_enum)]
    areas: Vec<Area>,
    /// Only the files that match this glob, as in `crates/llm-proxy/src/request/schema.rs`.
    #[arg(long)]
    file: Option<String>,
    /// Only this part of the mutants, as in 0/4, for several machines or days.
    #[arg(long)]
    shard: Option<String>,
    /// Lists the mutants and tests none.
    #[arg(long)]
    list: bool,
}

/// A part of the code in which every line must be needed by a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Area {
    /// Keys, callers and their limits.
    Auth,
    /// The bodies of requests, with the schema builder.
    Request,
    /// The queue, the slots, and where a request goes.
    Admission,
}

impl Area {
    const ALL: [Self; 3] = [Self::Auth, Self::Request, Self::Admission];

    const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Request => "request",
            Self::Admission => "admission",
        }
    }

    /// Its files.
    const fn globs(self) -> &'static [&'static str] {
        match self {
            Self::Auth => &[
                "crates/llm-proxy/src/auth.rs",
                "crates/llm-proxy/src/auth/**",
            ],
            Self::Request => &[
                "crates/llm-proxy/src/request.rs",
                "crates/llm-proxy/src/request/**",
            ],
            Self::Admission => &["crates/admission/src/**"],
        }
    }

    /// The tests that may notice: the units of the area and the wire tests of its subject, without the slow ones. They are so
    /// few that a mutant takes seconds.
    const fn tests(self) -> &'static str {
        match self {
            Self::Auth => {
                "(kind(lib) and test(/^auth::/) or test(/^(commands|keys|limits|reload|secrets)::/)) \
                 and not test(/five_hundred|ten_thousand|timing::/)"
            }
            Self::Request => {
                "kind(lib) and test(/^request::/) \
                 or test(/^(bodies|defaults|dialects|fields|hostile|messages|requests|responses|routes|schemas?|tools)::/)"
            }
            Self::Admission => "all()",
        }
    }
}

/// Breaks one area after the other.
///
/// # Errors
///
/// When cargo-mutants is missing. An area with survivors shows in the exit code.
pub(crate) fn run(options: &MutantsOptions) -> Result<ExitCode> {
    let settings = Settings::load(Profile::Dev)?;
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    if settings.which("cargo-mutants").is_none() {
        bail!("cargo-mutants is not installed: `cargo install --locked cargo-mutants`");
    }
    let areas = if options.areas.is_empty() {
        Area::ALL.as_slice()
    } else {
        &options.areas
    };
    let mut steps = Steps::new(true);
    for area in areas {
        steps.run(area.name(), || {
            one_area(&sh, &settings, options, *area).map(|()| StepOutcome::Passed)
        });
    }
    Ok(steps.finish())
}

fn one_area(sh: &Shell, settings: &Settings, options: &MutantsOptions, area: Area) -> Result<()> {
    let mut arguments = Vec::new();
    match &options.file {
        Some(glob) => arguments.extend(["--file".to_owned(), glob.clone()]),
        None => {
            for glob in area.globs() {
                arguments.extend(["--file".to_owned(), (*glob).to_owned()]);
            }
        }
    }
    if let Some(shard) = &options.shard {
        arguments.extend(["--shard".to_owned(), shard.clone()]);
    }
    if options.list {
        arguments.push("--list".to_owned());
        return say::run(cmd!(sh, "cargo mutants {arguments...}"));
    }
    let output = settings.target(&format!("mutants/{}", area.name()));
    sh.create_dir(&output)?;
    let tests = area.tests();
    say::run(cmd!(
        sh,
        "cargo mutants {arguments...} --output {output} --colors never -- -E {tests}"
    ))
}
