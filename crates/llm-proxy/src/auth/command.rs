//! `llm-proxy keys new|list|check`: what an operator does with keys before the server sees them.
//!
//! The command that makes a key prints it once, to standard error; only its digest goes to standard output, and from
//! there into the file. No command prints a whole digest of a file, or takes a key as an argument, which other users of
//! the machine could read.

use std::fmt::{Display, Write as _};
use std::io::{Read as _, Write as _};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, Subcommand};

use crate::api::Scope;
use crate::auth::caller::{Caller, Validity};
use crate::auth::key::{self, KeyDigest};
use crate::auth::{disk, file};

use file::KeyEntry;

/// The exit code for a file that is wrong (`EX_DATAERR` of sysexits.h).
const EXIT_DATA: u8 = 65;
/// The longest text that is taken for a key.
const MAX_KEY_BYTES: u64 = 4096;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key: print it once, and the lines for the keys file.
    #[command(after_help = "\
Example: append the lines to the file; the key itself appears on the terminal only.
  llm-proxy keys new app --requests-per-minute 60 --tokens-per-day 1000000 --expires 90d >> keys.toml")]
    New(Box<NewKey>),
    /// List the keys of a file: names, whether they are good now, limits. Never a key or a whole digest.
    #[command(after_help = "Example:\n  llm-proxy keys list keys.toml")]
    List {
        /// The keys file.
        file: PathBuf,
    },
    /// Check a file as the server would; every problem with its line. Exits with 65 when there is one.
    #[command(after_help = "\
Examples: check a file before it is put in place; find out what a key opens (exits with 1 when nothing).
  llm-proxy keys check keys.toml.new && mv keys.toml.new keys.toml
  llm-proxy keys check keys.toml --key < key.txt")]
    Check {
        /// The keys file.
        file: PathBuf,
        /// Read a key from standard input and say what it opens.
        #[arg(long)]
        key: bool,
    },
}

/// A key to be made. What is left out has no bound.
#[derive(Args, Debug)]
pub struct NewKey {
    /// The key's name in logs and metrics: letters, digits, `.`, `_` and `-`.
    #[arg(value_parser = name)]
    name: Arc<str>,
    /// What the key opens, divided by commas: chat, embeddings, tokens, delegate. By default chat.
    #[arg(long, value_delimiter = ',', value_parser = file::scope)]
    scopes: Vec<Scope>,
    /// The models it may use, divided by commas. By default all.
    #[arg(long, value_delimiter = ',', value_parser = model)]
    models: Vec<String>,
    /// Its share of the slots against other keys that wait, from 1 to 1000. By default 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    weight: Option<u32>,
    /// Requests that may be answered at the same time; further ones wait their turn.
    #[arg(long)]
    requests_at_once: Option<NonZeroU32>,
    /// The same for each user that it names; needs the scope delegate.
    #[arg(long)]
    requests_at_once_per_user: Option<NonZeroU32>,
    /// Requests per minute.
    #[arg(long)]
    requests_per_minute: Option<NonZeroU32>,
    /// Tokens per minute, of prompts and completions.
    #[arg(long)]
    tokens_per_minute: Option<NonZeroU32>,
    /// Tokens per UTC day, of prompts and completions.
    #[arg(long)]
    tokens_per_day: Option<NonZeroU64>,
    /// The first moment it is good for: a date (midnight UTC), a moment as 2027-01-31T12:00:00Z, or a time from now as 7d.
    #[arg(long, value_parser = moment)]
    not_before: Option<SystemTime>,
    /// The first moment it is no longer good for: a date (midnight UTC), a moment as 2027-01-31T12:00:00Z, or a time from now as 90d.
    #[arg(long, value_parser = moment)]
    expires: Option<SystemTime>,
}

impl KeysCommand {
    /// Runs it, and says on standard error what went wrong.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let ended = match self {
            Self::New(new) => new.run(),
            Self::List { file } => list(&file),
            Self::Check { file, key } => check(&file, key),
        };
        ended.unwrap_or_else(|problem| {
            eprintln!("llm-proxy: {problem}");
            ExitCode::from(EXIT_DATA)
        })
    }
}

impl NewKey {
    fn run(&self) -> Result<ExitCode, String> {
        if let (Some(not_before), Some(expires)) = (self.not_before, self.expires)
            && expires <= not_before
        {
            return Err("--expires must be later than --not-before".to_owned());
        }
        let key = key::generate()
            .map_err(|error| format!("the system has no random numbers: {error}"))?;
        print(&self.lines(KeyDigest::of(key.expose().as_bytes())))?;
        eprintln!(
            "The key of {}. It is shown this once and is kept nowhere:\n{}",
            self.name,
            key.expose()
        );
        Ok(ExitCode::SUCCESS)
    }

    /// The lines for the file.
    fn lines(&self, digest: KeyDigest) -> String {
        let mut lines = format!(
            "\n[[key]]\nname = \"{}\"\nsha256 = \"{}\"\n",
            self.name,
            digest.to_hex()
        );
        line(&mut lines, "models", quoted(self.models.iter()));
        line(
            &mut lines,
            "scopes",
            quoted(self.scopes.iter().map(|scope| scope.name())),
        );
        line(&mut lines, "weight", self.weight);
        line(&mut lines, "requests_at_once", self.requests_at_once);
        line(
            &mut lines,
            "requests_at_once_per_user",
            self.requests_at_once_per_user,
        );
        line(&mut lines, "requests_per_minute", self.requests_per_minute);
        line(&mut lines, "tokens_per_minute", self.tokens_per_minute);
        line(&mut lines, "tokens_per_day", self.tokens_per_day);
        line(&mut lines, "not_before", self.not_before.map(written));
        line(&mut lines, "expires", self.expires.map(written));
        lines
    }
}

fn line(lines: &mut String, field: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        // Writing to a `String` cannot fail.
        writeln!(lines, "{field} = {value}").ok();
    }
}

/// A list of texts, unless it is empty.
fn quoted(texts: impl Iterator<Item = impl Display>) -> Option<String> {
    let quoted: Vec<String> = texts.map(|text| format!("\"{text}\"")).collect();
    (!quoted.is_empty()).then(|| format!("[{}]", quoted.join(", ")))
}

fn list(path: &Path) -> Result<ExitCode, String> {
    let entries = read(path)?;
    let now = SystemTime::now();
    let mut rows = vec![["NAME", "STATE", "KEY", "OPENS", "WEIGHT", "LIMITS"].map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| row(entry, now)));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut table = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        table.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        table.push('\n');
    }
    print(&table)?;
    Ok(ExitCode::SUCCESS)
}

fn row(entry: &KeyEntry, now: SystemTime) -> [String; 6] {
    let caller = &entry.caller;
    let ids: Vec<String> = entry.digests.iter().map(|digest| digest.id()).collect();
    let mut opens: Vec<&str> = caller.scopes.iter().map(|scope| scope.name()).collect();
    if let Some(models) = &caller.models {
        opens.push("of");
        opens.extend(models.iter().map(String::as_str));
    }
    [
        caller.name.to_string(),
        validity(caller, now),
        ids.join(","),
        opens.join(" "),
        caller.weight.to_string(),
        limits(caller),
    ]
}

fn limits(caller: &Caller) -> String {
    let limits = [
        counted(caller.limits.requests_at_once, "at once"),
        counted(caller.limits.requests_at_once_per_user, "at once per user"),
        counted(caller.limits.requests_per_minute, "requests/min"),
        counted(caller.limits.tokens_per_minute, "tokens/min"),
        counted(caller.limits.tokens_per_day, "tokens/day"),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    if limits.is_empty() {
        "none".to_owned()
    } else {
        limits.join(", ")
    }
}

fn counted(limit: Option<impl Display>, unit: &str) -> Option<String> {
    limit.map(|limit| format!("{limit} {unit}"))
}

fn validity(caller: &Caller, now: SystemTime) -> String {
    let expires = caller.expires.map(written).unwrap_or_default();
    let not_before = caller.not_before.map(written).unwrap_or_default();
    match caller.validity(now) {
        Validity::Valid if caller.expires.is_none() => "valid".to_owned(),
        Validity::Valid => format!("valid until {expires}"),
        Validity::NotYet => format!("not before {not_before}"),
        Validity::Expired => format!("expired {expires}"),
    }
}

fn check(path: &Path, with_key: bool) -> Result<ExitCode, String> {
    let entries = read(path)?;
    if with_key {
        return check_key(&entries);
    }
    let now = SystemTime::now();
    let counted = match entries.len() {
        0 => "no key, so no named key would be good".to_owned(),
        1 => "1 key".to_owned(),
        n_keys => format!("{n_keys} keys"),
    };
    let mut said = format!("{}: the file can be used; {counted}\n", path.display());
    for caller in entries.iter().map(|entry| &entry.caller) {
        if caller.validity(now) != Validity::Valid {
            let validity = validity(caller, now);
            said += &format!("  \"{}\" is not good now: {validity}\n", caller.name);
        }
    }
    print(&said)?;
    Ok(ExitCode::SUCCESS)
}

/// Says what the key on standard input opens.
fn check_key(entries: &[KeyEntry]) -> Result<ExitCode, String> {
    let mut text = Vec::new();
    let read = std::io::stdin().take(MAX_KEY_BYTES).read_to_end(&mut text);
    read.map_err(|error| format!("standard input cannot be read: {error}"))?;
    let key = text.trim_ascii();
    let problem = match find(entries, key) {
        Some(entry) => {
            let now = SystemTime::now();
            let caller = &entry.caller;
            let scopes: Vec<&str> = caller.scopes.iter().map(|scope| scope.name()).collect();
            print(&format!(
                "the key of \"{}\": {}; opens {}\n",
                caller.name,
                validity(caller, now),
                scopes.join(", ")
            ))?;
            return Ok(if caller.validity(now) == Validity::Valid {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        None if key.is_empty() => "standard input holds no key",
        None if key::is_malformed(key) => "this key is not whole: it was cut or mistyped",
        // `echo KEY | sha256sum` hashes the end of the line too.
        None if find(entries, &[key, b"\n"].concat()).is_some() => {
            "the file holds the digest of this key with an end of line: hash it with `printf %s`"
        }
        None => "this key opens nothing: the file does not hold its digest",
    };
    eprintln!("llm-proxy: {problem}");
    Ok(ExitCode::FAILURE)
}

fn find<'a>(entries: &'a [KeyEntry], key: &[u8]) -> Option<&'a KeyEntry> {
    let digest = KeyDigest::of(key);
    entries.iter().find(|entry| entry.digests.contains(&digest))
}

fn read(path: &Path) -> Result<Vec<KeyEntry>, String> {
    let look = disk::look(path, None)?;
    if look.is_removed() {
        return Err(format!("there is no file {}", path.display()));
    }
    file::parse(look.bytes()).map_err(|problem| format!("{}: {problem}", path.display()))
}

/// Prints to standard output. Unlike `print!` it does not panic when the reader is gone.
fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("standard output cannot be written: {error}"))
}

fn name(text: &str) -> Result<Arc<str>, &'static str> {
    file::name_of(text.to_owned())
}

fn model(text: &str) -> Result<String, &'static str> {
    let plain =
        !text.is_empty() && !text.contains(|c: char| c.is_control() || c == '"' || c == '\\');
    if plain {
        Ok(text.to_owned())
    } else {
        Err("must be a model's name, without quotes, `\\` and control characters")
    }
}

/// A moment, or a time from now, to the second.
fn moment(text: &str) -> Result<SystemTime, &'static str> {
    let from_now = humantime::parse_duration(text)
        .ok()
        .and_then(|after| SystemTime::now().checked_add(after));
    from_now.or_else(|| file::moment(text)).ok_or(
        "must be a date as 2027-01-31, a moment as 2027-01-31T12:00:00Z, or a time from now as 90d",
    )
}

fn written(moment: SystemTime) -> String {
    humantime::format_rfc3339_seconds(moment).to_string()
}
