//! Debian's PostgreSQL as a fixture: one server for all tests of a run, and an empty or a prepared database for each.
//!
//! nextest runs each test in a process of its own, so the first one starts the server for the others and they find it in a
//! folder that is named after their common parent. It listens on a Unix socket there alone, trusts everybody who may enter,
//! and keeps nothing. A guard beside it stops it once no test has used it for a while, or the parent is gone.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

use crate::tools::skip;

/// Where Debian and others put the programs, newest first, unless they are on the path.
const FOLDERS: [&str; 4] = [
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
];
/// The user of the server, who may do everything.
const USER: &str = "corral";
/// The server refuses to run as root; these are nobody's numbers.
const NOBODY: u32 = 65_534;
/// What makes it quick, and what bounds it.
const SETTINGS: &str = "-c fsync=off -c full_page_writes=off -c listen_addresses= -c max_connections=400 \
    -c shared_buffers=64MB -c log_min_messages=fatal";
/// Waits until nobody holds `users` for 15 s, or the parent is gone; then stops the server and deletes its folder.
const GUARD: &str = r#"
lives() { kill -0 "$1" 2>/dev/null || [ -d "/proc/$1" ]; }
exec 8<starting
while :; do
    idle=0
    while [ $idle -lt 15 ] && lives "$1"; do
        sleep 1
        if flock -n -x users true; then idle=$((idle + 1)); else idle=0; fi
    done
    # A test that comes now waits, and starts another server.
    flock -x 8
    if lives "$1" && ! flock -n -x users true; then flock -u 8; else break; fi
done
"$2/pg_ctl" -D data -m immediate stop >/dev/null 2>&1
# At once: whoever comes finds all of it or nothing.
cd / && mv "$3" "$3.gone" && rm -rf "$3.gone"
"#;

/// The running server, as this process uses it.
#[derive(Debug)]
pub struct PostgresServer {
    folder: PathBuf,
    programs: PathBuf,
    /// Held so that the guard lets the server run.
    #[expect(dead_code, reason = "it is a lock")]
    user: File,
}

/// A database for one test. It is dropped with this.
#[derive(Debug)]
pub struct PostgresDatabase {
    name: String,
    server: &'static PostgresServer,
}

/// The server. `None` where PostgreSQL is missing: the test is then counted as skipped, and returns at once.
///
/// # Panics
///
/// When the programs are there and the server does not start, or nothing may be skipped.
pub fn server() -> Option<&'static PostgresServer> {
    static SERVER: OnceLock<Option<PostgresServer>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let programs = programs()?;
        Some(PostgresServer::find(programs).expect("PostgreSQL starts"))
    });
    if server.is_none() {
        skip("PostgreSQL 15 or newer (`initdb`, `pg_ctl`, `psql`) and `flock` are not here");
    }
    server.as_ref()
}

/// The folder of the programs.
fn programs() -> Option<PathBuf> {
    let has_flock = Command::new("flock")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let folders = FOLDERS.iter().map(PathBuf::from);
    let folder = folders.into_iter().find(|folder| {
        ["initdb", "pg_ctl", "psql"]
            .iter()
            .all(|program| folder.join(program).exists())
    });
    folder.filter(|_| has_flock)
}

impl PostgresServer {
    /// The server of this run, which is started unless another test has done so.
    fn find(programs: PathBuf) -> anyhow::Result<Self> {
        let parent = std::os::unix::process::parent_id();
        let folder = std::env::temp_dir().join(format!("corral-postgres-{parent}"));
        loop {
            fs::create_dir_all(&folder)?;
            let path = folder.join("starting");
            let Ok(starting) = open(&path) else {
                continue;
            };
            starting.lock()?;
            // The guard may have deleted the folder meanwhile, and somebody may have made another one.
            let is_there = fs::metadata(&path).is_ok_and(|there| {
                starting
                    .metadata()
                    .is_ok_and(|own| own.ino() == there.ino())
            });
            if !is_there {
                continue;
            }
            let user = open(&folder.join("users"))?;
            user.lock_shared()?;
            let server = Self {
                folder,
                programs,
                user,
            };
            if !server.folder.join("started").exists() {
                server.start(parent)?;
                fs::write(server.folder.join("started"), "")?;
            }
            return Ok(server);
        }
    }

    fn start(&self, parent: u32) -> anyhow::Result<()> {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&self.folder, Some(NOBODY), Some(NOBODY))?;
        }
        let data = self.folder.join("data");
        let data = data.to_str().context("a path of UTF-8")?;
        self.run(
            "initdb",
            &[
                "-D",
                data,
                "-U",
                USER,
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ],
        )?;
        let socket = self.folder.display();
        let settings = format!("{SETTINGS} -c unix_socket_directories={socket}");
        let log = self.folder.join("log");
        let log = log.to_str().context("a path of UTF-8")?;
        self.run(
            "pg_ctl",
            &["-D", data, "-w", "-l", log, "-o", &settings, "start"],
        )?;
        let mut guard = self.command("/bin/sh".as_ref());
        guard
            .args(["-c", GUARD, "guard", &parent.to_string()])
            .arg(&self.programs)
            .arg(&self.folder)
            // Not in the test's process group: it outlives the test.
            .process_group(0)
            .spawn()
            .context("cannot start the guard")?;
        Ok(())
    }

    /// A program that runs in the server's folder, as somebody whom it allows.
    fn command(&self, program: &Path) -> Command {
        let mut command = if rustix::process::geteuid().is_root() {
            let nobody = NOBODY.to_string();
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let errors = self.folder.join(format!("{program}.err"));
        let mut command = self.command(&self.programs.join(program));
        let status = command
            .args(arguments)
            .stderr(File::create(&errors)?)
            .status()?;
        if !status.success() {
            bail!("{program}: {}", fs::read_to_string(errors)?);
        }
        Ok(())
    }

    /// Runs a statement outside of every test's database.
    fn execute(&self, statement: &str) -> anyhow::Result<()> {
        let output = self
            .command(&self.programs.join("psql"))
            .args(["-h", self.folder.to_str().context("a path of UTF-8")?])
            .args(["-U", USER, "-d", "postgres", "-qXc", statement])
            .stderr(Stdio::piped())
            .output()?;
        if !output.status.success() {
            bail!("{statement}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// The URL of a database.
    fn url(&self, name: &str) -> String {
        let folder = self.folder.display();
        format!("postgres://{USER}@localhost/{name}?host={folder}")
    }

    /// An empty database, with what `CREATE DATABASE` is told beside its name.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn database(&'static self, options: &str) -> PostgresDatabase {
        let name = format!("test_{}", uuid::Uuid::now_v7().simple());
        self.execute(&format!("CREATE DATABASE {name} {options}"))
            .expect("a database is made");
        PostgresDatabase { name, server: self }
    }

    /// A copy of the database `template`, which `prepare` fills once for all tests of the run.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub async fn copy_of(
        &'static self,
        template: &str,
        prepare: impl AsyncFnOnce(String),
    ) -> PostgresDatabase {
        let lock = open(&self.folder.join(format!("{template}.lock"))).expect("a lock's file");
        lock.lock().expect("a lock");
        let made = self.folder.join(format!("{template}.made"));
        if !made.exists() {
            self.execute(&format!("DROP DATABASE IF EXISTS {template}"))
                .expect("the rest of a try is deleted");
            self.execute(&format!("CREATE DATABASE {template}"))
                .expect("the template is made");
            prepare(self.url(template)).await;
            let mut file = File::create(made).expect("the template is noted");
            file.write_all(b"\n").expect("the template is noted");
        }
        let copied = self.database(&format!("TEMPLATE {template}"));
        drop(lock);
        copied
    }
}

impl PostgresDatabase {
    /// Its URL, for `GATEWAY_STORE`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The socket at which the server listens.
    ///
    /// # Panics
    ///
    /// When its path is not UTF-8.
    #[must_use]
    pub fn socket(&self) -> String {
        let socket = self.server.folder.join(".s.PGSQL.5432");
        socket.to_str().expect("a path of UTF-8").to_owned()
    }

    /// Ends every connection to it and takes no more, as if the server were away.
    ///
    /// # Panics
    ///
    /// When the server does not do it.
    pub fn close(&self) {
        self.allow(false);
        self.cut();
    }

    /// Takes connections again.
    ///
    /// # Panics
    ///
    /// As [`PostgresDatabase::close`].
    pub fn open(&self) {
        self.allow(true);
    }

    fn allow(&self, allowed: bool) {
        let name = &self.name;
        // Also the user of the tests, who is the superuser, is let in by a database that takes connections alone.
        self.server
            .execute(&format!(
                "ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}"
            ))
            .expect("a database is closed or opened");
    }

    /// Ends every connection to it, as an operator or a restart does.
    ///
    /// # Panics
    ///
    /// When the server does not do it.
    pub fn cut(&self) {
        let name = &self.name;
        let statement = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        );
        self.server
            .execute(&statement)
            .expect("connections are cut");
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        let name = &self.name;
        let dropped = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        // The server's whole folder is deleted at the end.
        self.server.execute(&dropped).ok();
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}
