//! The two servers that several gateways share, PostgreSQL and Valkey: each on a free port, with its data in a temporary folder
//! that is deleted at the end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::super::mock::free;
use crate::call::{Call, Output, RunningCall, tail};

/// Where Debian and others put the programs of PostgreSQL, newest first.
const FOLDERS: [&str; 4] = [
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
];
/// Valkey's program, and that of Redis, which speaks the same.
const BUS_PROGRAMS: [&str; 2] = ["valkey-server", "redis-server"];
/// The user and the database.
const NAME: &str = "corral";
/// PostgreSQL refuses to run as root; these are nobody's numbers.
const NOBODY: u32 = 65_534;
/// How long a server may take to start.
const BEGIN: Duration = Duration::from_secs(30);
/// How long it may take to end.
const END: Duration = Duration::from_secs(20);

/// Both servers, running.
pub(super) struct SharedServers {
    postgres: RunningCall,
    postgres_at: SocketAddr,
    programs: PathBuf,
    valkey: RunningCall,
    valkey_at: SocketAddr,
    folder: BenchFolder,
}

/// A folder below the system's temporary one. It is deleted with this.
struct BenchFolder(PathBuf);

impl Drop for BenchFolder {
    fn drop(&mut self) {
        // Whatever is left is in the folder that the system cleans.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The versions of both.
pub(super) fn versions() -> Result<String> {
    let postgres = first_line(Command::new(programs()?.join("postgres")).arg("--version"))?;
    let bus = bus_program()?;
    let version = first_line(Command::new(&bus).arg("--version"))?;
    let version = version
        .split_whitespace()
        .find(|word| word.starts_with("v="));
    let bus = bus.file_name().unwrap_or_default().display().to_string();
    Ok(format!("{postgres}; {bus} {}", version.unwrap_or_default()))
}

fn first_line(command: &mut Command) -> Result<String> {
    let output = command.output().context("a server cannot be run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn programs() -> Result<PathBuf> {
    let mut folders = FOLDERS.iter().map(PathBuf::from);
    let folder = folders.find(|folder| folder.join("initdb").exists());
    folder.context("PostgreSQL 15 or newer is missing; Debian has it: apt-get install postgresql")
}

fn bus_program() -> Result<PathBuf> {
    let mut found = BUS_PROGRAMS
        .iter()
        .filter_map(|name| which::which(name).ok());
    let program = found.next();
    program.context("Valkey or Redis is missing; Debian has it: apt-get install redis-server")
}

impl SharedServers {
    /// Starts both, empty. Their logs are in `logs`.
    pub(super) async fn start(logs: &Path) -> Result<Self> {
        let programs = programs()?;
        let name = format!("corral-bench-scale-{}", std::process::id());
        let folder = BenchFolder(std::env::temp_dir().join(name));
        if folder.0.exists() {
            std::fs::remove_dir_all(&folder.0)?;
        }
        std::fs::create_dir_all(folder.0.join("valkey"))?;
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&folder.0, Some(NOBODY), Some(NOBODY))?;
        }
        let data = folder.0.join("postgres");
        let (postgres_at, postgres) = start_postgres(&programs, &data, logs).await?;
        let (valkey_at, valkey) = start_valkey(&folder.0.join("valkey"), logs).await?;
        let servers = Self {
            postgres,
            postgres_at,
            programs,
            valkey,
            valkey_at,
            folder,
        };
        servers.query("postgres", &format!("CREATE DATABASE {NAME}"))?;
        Ok(servers)
    }

    /// The database, for `GATEWAY_STORE`.
    pub(super) fn store(&self) -> String {
        format!("postgres://{NAME}@{}/{NAME}", self.postgres_at)
    }

    /// The bus, for `GATEWAY_BUS`.
    pub(super) fn bus(&self) -> String {
        format!("redis://{}", self.valkey_at)
    }

    /// Each server with its name.
    pub(super) fn calls(&self) -> [(&'static str, &RunningCall); 2] {
        [("postgres", &self.postgres), ("valkey", &self.valkey)]
    }

    pub(super) fn database_bytes(&self) -> Result<u64> {
        let size = self.query(NAME, &format!("SELECT pg_database_size('{NAME}')"))?;
        size.parse().context("the size of the database")
    }

    /// Bytes of the write-ahead log since the server was made.
    pub(super) fn wal_bytes(&self) -> Result<u64> {
        let position = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
        let position = self.query(NAME, position)?;
        position.parse().context("the position in the log")
    }

    /// What Valkey holds.
    pub(super) fn bus_bytes(&self) -> Result<u64> {
        let lines = ask_valkey(self.valkey_at, "INFO memory")?;
        let line = lines
            .iter()
            .find_map(|line| line.strip_prefix("used_memory:"));
        line.and_then(|bytes| bytes.parse().ok())
            .context("Valkey does not tell its memory")
    }

    /// Ends both as an operator would.
    pub(super) async fn stop(mut self) {
        // A fast shutdown: what PostgreSQL shares with the kernel is given back.
        self.postgres.signal(Signal::INT);
        self.valkey.signal(Signal::TERM);
        for server in [&mut self.postgres, &mut self.valkey] {
            // One that does not end is killed when it is dropped.
            tokio::time::timeout(END, server.wait()).await.ok();
        }
        drop(self.folder);
    }

    /// Runs a statement and returns the one value that it prints.
    fn query(&self, database: &str, statement: &str) -> Result<String> {
        let output = Command::new(self.programs.join("psql"))
            .args(["-h", &self.postgres_at.ip().to_string()])
            .args(["-p", &self.postgres_at.port().to_string()])
            .args(["-U", NAME, "-d", database, "-qXAtc", statement])
            .stdin(Stdio::null())
            .output()
            .context("psql cannot be run")?;
        ensure!(
            output.status.success(),
            "{statement}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// A call of a program that refuses to run as root.
fn call_as_nobody(program: &Path) -> Call {
    if !rustix::process::geteuid().is_root() {
        return Call::new(program);
    }
    let nobody = NOBODY.to_string();
    Call::new("setpriv")
        .args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"])
        .args([program])
}

/// With the settings that Debian ships, which keep what is acknowledged, but for connections of several gateways.
async fn start_postgres(
    programs: &Path,
    data: &Path,
    logs: &Path,
) -> Result<(SocketAddr, RunningCall)> {
    let at = free()?;
    let folder = data.display().to_string();
    call_as_nobody(&programs.join("initdb"))
        .args(["-D", &folder, "-U", NAME, "-A", "trust", "-E", "UTF8"])
        .args(["--locale=C.UTF-8", "--no-sync"])
        .folder(data.parent().unwrap_or(data))
        .run_quietly(&logs.join("initdb.log"))
        .await?;
    let log = logs.join("postgres.log");
    let mut running = call_as_nobody(&programs.join("postgres"))
        .args(["-D", &folder])
        .args(["-c", &format!("listen_addresses={}", at.ip())])
        .args(["-c", &format!("port={}", at.port())])
        .args([
            "-c",
            "unix_socket_directories=",
            "-c",
            "max_connections=200",
        ])
        .folder(data.parent().unwrap_or(data))
        .start(Output::Log(&log))?;
    wait_until(|| is_ready(programs, at), &mut running, &log).await?;
    Ok((at, running))
}

/// Keeps nothing on the disk, as docs/operations.md has it.
async fn start_valkey(folder: &Path, logs: &Path) -> Result<(SocketAddr, RunningCall)> {
    let at = free()?;
    let log = logs.join("valkey.log");
    let mut running = Call::new(bus_program()?)
        .args(["--port", &at.port().to_string()])
        .args(["--bind", &at.ip().to_string()])
        .args(["--save", "", "--appendonly", "no"])
        .folder(folder)
        .start(Output::Log(&log))?;
    wait_until(|| is_pong(at), &mut running, &log).await?;
    Ok((at, running))
}

/// Whether PostgreSQL takes connections.
fn is_ready(programs: &Path, at: SocketAddr) -> bool {
    let mut command = Command::new(programs.join("pg_isready"));
    command.args(["-q", "-h", &at.ip().to_string()]);
    command.args(["-p", &at.port().to_string()]);
    command.status().is_ok_and(|status| status.success())
}

/// Whether Valkey answers.
fn is_pong(at: SocketAddr) -> bool {
    ask_valkey(at, "PING").is_ok_and(|lines| lines == ["+PONG"])
}

async fn wait_until(
    is_ready: impl Fn() -> bool,
    running: &mut RunningCall,
    log: &Path,
) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < BEGIN {
        if is_ready() {
            return Ok(());
        }
        let pause = tokio::time::timeout(Duration::from_millis(50), running.wait());
        if pause.await.is_ok() {
            bail!("it ended at once; the end of its log:\n{}", tail(log));
        }
    }
    bail!("it does not answer; the end of its log:\n{}", tail(log))
}

/// Sends one command, and returns the lines of its reply.
fn ask_valkey(at: SocketAddr, command: &str) -> Result<Vec<String>> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let head = head.trim_end();
    let Some(length) = head.strip_prefix('$') else {
        return Ok(vec![head.to_owned()]);
    };
    let mut body = vec![0; length.parse::<usize>().context("a length")?];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body);
    Ok(body.lines().map(str::to_owned).collect())
}
