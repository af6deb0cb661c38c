//! `cargo xtask bundle`: one archive with all that a machine without a network needs: the images, the model, the Compose
//! files, deploy/corral and install.sh, with their checksums.
//!
//! It is made beside its place and renamed when it is complete. Secrets are never in it.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use xshell::{Shell, cmd};

use crate::model::{self, ModelFile};
use crate::settings::{LOCAL, Profile, Settings};
use crate::{say, sbom};

/// Settings of this machine that the other one needs, too.
const CARRIED: [&str; 9] = [
    "HF_REPO_ID",
    "HF_FILENAME",
    "HF_REVISION",
    "HF_MMPROJ",
    "LLM_MODEL",
    "LLAMA_IMAGE",
    "NGINX_IMAGE",
    "CORRAL_REGISTRY",
    "CORRAL_VERSION",
];
/// What is read and hashed at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// What goes into a bundle.
#[derive(Debug, clap::Args)]
pub(crate) struct BundleOptions {
    /// Which env file has the settings.
    #[arg(long, value_enum, default_value_t = Profile::Prod)]
    pub(crate) env: Profile,
    /// The archive; by default target/corral-VERSION-ARCHITECTURE.tar.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// The folder that model-fetcher has filled, with models.lock; by default that of `cargo xtask fetch-model`.
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
}

/// Makes the archive.
///
/// # Errors
///
/// When an image or the model is missing or not what models.lock says, or the disk is full. No archive is left then.
pub(crate) fn run(options: &BundleOptions) -> Result<()> {
    let settings = Settings::load(options.env)?;
    make(options, &settings).map(|_| ())
}

/// As [`run`], with these settings. Returns the archive's path.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn make(options: &BundleOptions, settings: &Settings) -> Result<PathBuf> {
    let began = Instant::now();
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    for (name, value) in settings.pairs() {
        sh.set_var(name, value);
    }
    sh.set_var("CORRAL_ENV", name(options.env));
    // Who may chat and under which name is decided where it is installed. Compose names no image without an answer.
    for (name, value) in [("GATEWAY_AUTH", "none"), ("PUBLIC_TLS", "off")] {
        if settings.get(name).is_none() {
            sh.set_var(name, value);
        }
    }
    let field = "{{.Server.Arch}}";
    let architecture = say::read(cmd!(sh, "docker version --format {field}"))
        .context("the Docker Engine does not answer; start it")?;
    let bundle = format!("corral-{}-{architecture}", env!("CARGO_PKG_VERSION"));
    let out = options.out.clone();
    let out = out.unwrap_or_else(|| settings.target(&format!("{bundle}.tar")));
    let folder = settings.target("bundle").join(&bundle);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("model"))?;

    let models = options.model.clone().unwrap_or_else(|| {
        let folder = settings.get("MODELS_DIR").map(PathBuf::from);
        folder.unwrap_or_else(|| settings.target("models"))
    });
    let mut sums = model_files(&models, &folder, settings)?;
    images(&sh, &folder)?;
    files(&sh, settings, options.env, &folder)?;
    bills(settings, &folder.join("sbom"))?;
    fs::write(folder.join("ARCHITECTURE"), format!("{architecture}\n"))?;
    add_sums(&folder, &mut sums)?;

    let part = PathBuf::from(format!("{}.part", out.display()));
    let parent = settings.target("bundle");
    say::line(format_args!("Writing {}", out.display()));
    say::run(cmd!(
        sh,
        "tar --create --file {part} --directory {parent} --owner 0 --group 0 {bundle}"
    ))
    .inspect_err(|_| drop(fs::remove_file(&part)))?;
    File::open(&part)?.sync_all()?;
    fs::rename(&part, &out)?;
    fs::remove_dir_all(&folder)?;
    say::line(format_args!(
        "{} has {} MB, made in {}. On the other machine: tar -xf {}, then sh {bundle}/install.sh",
        out.display(),
        fs::metadata(&out)?.len() / 1_000_000,
        say::seconds(began.elapsed()),
        out.file_name().unwrap_or_default().display(),
    ));
    Ok(out)
}

const fn name(profile: Profile) -> &'static str {
    match profile {
        Profile::Dev => "dev",
        Profile::Prod => "prod",
    }
}

/// Puts the model's files into the bundle, each compared with models.lock. Returns their lines of SHA256SUMS.
fn model_files(models: &Path, folder: &Path, settings: &Settings) -> Result<String> {
    let mut sums = String::new();
    let locked = model::locked_files(models, settings).with_context(|| {
        format!(
            "{} does not hold the model; fetch it with `cargo xtask fetch-model`, or name its folder with --model",
            models.display()
        )
    })?;
    for ModelFile { file, sha256 } in &locked {
        let from = models.join(file);
        let to = folder.join("model").join(file);
        fs::create_dir_all(to.parent().unwrap_or(folder))?;
        say::line(format_args!("Checking {}", from.display()));
        // Another disk has no hard links to this one.
        fs::hard_link(&from, &to)
            .or_else(|_| fs::copy(&from, &to).map(drop))
            .with_context(|| format!("cannot read {}", from.display()))?;
        let found = digest(&to)?;
        ensure!(
            found == *sha256,
            "{} is not what models.lock says: fetch it again",
            from.display()
        );
        sums += &format!("{sha256}  model/{file}\n");
    }
    fs::copy(models.join("models.lock"), folder.join("model/models.lock"))?;
    Ok(sums)
}

/// Saves every image of the stack; those that are missing are built or pulled first.
fn images(sh: &Shell, folder: &Path) -> Result<()> {
    let images = stack_images(sh)?;
    if images.iter().any(|image| is_missing(sh, image)) {
        say::run(cmd!(
            sh,
            "deploy/corral compose pull --ignore-buildable --policy missing"
        ))?;
        say::run(cmd!(sh, "deploy/corral compose build"))?;
    }
    let archive = folder.join("images.tar");
    say::line(format_args!(
        "Saving {} images; this takes a while",
        images.len()
    ));
    say::run(cmd!(sh, "docker save --output {archive} {images...}"))?;
    say::run(cmd!(sh, "gzip -1 {archive}"))
}

fn is_missing(sh: &Shell, image: &str) -> bool {
    let found = cmd!(sh, "docker image inspect {image}").quiet();
    found.ignore_stdout().ignore_stderr().run().is_err()
}

fn stack_images(sh: &Shell) -> Result<Vec<String>> {
    let list = say::read(cmd!(sh, "deploy/corral compose config --images"))?;
    let mut images: Vec<String> = list.lines().map(str::to_owned).collect();
    images.sort_unstable();
    images.dedup();
    ensure!(!images.is_empty(), "the stack names no images");
    Ok(images)
}

/// Copies what git knows of deploy/, the env file and the pages; writes the settings of this machine that matter there.
fn files(sh: &Shell, settings: &Settings, profile: Profile, folder: &Path) -> Result<()> {
    let env_file = profile.file_name();
    let list = say::read(cmd!(
        sh,
        "git ls-files deploy LICENSE CHANGELOG.md {env_file} docs/*.md"
    ))?;
    for path in list.lines() {
        let from = settings.root().join(path);
        let to = folder.join("files").join(path);
        fs::create_dir_all(to.parent().unwrap_or(folder))?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {path}"))?;
    }
    fs::copy(
        settings.root().join("deploy/install.sh"),
        folder.join("install.sh"),
    )?;
    let usual = crate::env_file::read(&settings.root().join(env_file))?;
    let mut text = format!("# Settings of the machine that made the bundle ({LOCAL}).\n");
    for name in CARRIED {
        let usual = usual.iter().find(|(usual, _)| usual == name);
        match settings.get(name) {
            Some(value) if usual.is_none_or(|(_, usual)| usual != value) => {
                text += &format!("{name}={value}\n");
            }
            _ => {}
        }
    }
    fs::write(folder.join("settings"), text)?;
    Ok(())
}

/// Adds what is in each image of Corral's, where the tool for it is installed. An image from a registry has its own beside
/// it there, and this checkout's need not be the same.
fn bills(settings: &Settings, folder: &Path) -> Result<()> {
    if settings.get("CORRAL_REGISTRY").is_some() {
        return Ok(());
    }
    if !sbom::has_tool(settings) {
        say::line(format_args!("Without SBOMs: {}", sbom::GET_TOOL));
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    for path in sbom::write(settings)? {
        fs::copy(&path, folder.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// Writes SHA256SUMS: the lines in `sums`, and one for each other file.
fn add_sums(folder: &Path, sums: &mut String) -> Result<()> {
    let mut folders = vec![folder.to_owned()];
    let mut paths = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                paths.push(path);
            }
        }
    }
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(folder)?.display();
        if !sums
            .lines()
            .any(|line| line.ends_with(&format!("  {name}")))
        {
            *sums += &format!("{}  {name}\n", digest(&path)?);
        }
    }
    fs::write(folder.join("SHA256SUMS"), sums)?;
    Ok(())
}

/// The SHA-256 of a file, in hexadecimal digits.
fn digest(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let n_bytes = file.read(&mut piece)?;
        if n_bytes == 0 {
            let digest = hash.finalize();
            return Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&piece[..n_bytes]);
    }
}
