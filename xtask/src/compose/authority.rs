//! A private certificate authority of the test, and connections that trust it and nobody else. openssl does both.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::say;

/// The longest that one connection of the test may last.
const LONGEST_SECONDS: &str = "300";

/// The authority, with its key.
pub(super) struct TestAuthority {
    folder: PathBuf,
}

/// A connection over TLS: `openssl s_client` carries the bytes. Dropping it closes it.
pub(super) struct TlsLine {
    process: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl TestAuthority {
    /// A new authority whose files are in `folder`.
    ///
    /// # Errors
    ///
    /// When openssl fails.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let authority = Self {
            folder: folder.to_owned(),
        };
        let mut request = authority.request("ca", "Corral's tests");
        openssl(
            request
                .args(["-x509", "-days", "2", "-out"])
                .arg(authority.certificate()),
        )?;
        Ok(authority)
    }

    /// Its certificate.
    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Puts a new certificate for `name` and its key into `served`, as an operator would: each file whole.
    ///
    /// # Errors
    ///
    /// When openssl fails or the folder cannot be written.
    pub(super) fn certify(&self, name: &str, served: &Path) -> Result<()> {
        let signing = self.folder.join("leaf.csr");
        let names = format!("subjectAltName=DNS:{name}");
        let mut request = self.request("leaf", name);
        openssl(request.args(["-addext", &names, "-out"]).arg(&signing))?;
        let leaf = self.folder.join("leaf.pem");
        let mut sign = Command::new("openssl");
        sign.args([
            "x509",
            "-req",
            "-days",
            "2",
            "-copy_extensions",
            "copy",
            "-CAcreateserial",
            "-in",
        ])
        .arg(&signing)
        .arg("-CA")
        .arg(self.certificate())
        .arg("-CAkey")
        .arg(self.folder.join("ca.key"))
        .arg("-out")
        .arg(&leaf);
        openssl(&mut sign)?;
        put(&self.folder.join("leaf.key"), &served.join("privkey.pem"))?;
        put(&leaf, &served.join("fullchain.pem"))
    }

    /// A request for a certificate in the name of `subject`, with a new key.
    fn request(&self, file: &str, subject: &str) -> Command {
        let mut request = Command::new("openssl");
        request
            .args([
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ])
            .args(["-subj", &format!("/CN={subject}"), "-keyout"])
            .arg(self.folder.join(format!("{file}.key")));
        request
    }

    /// Connects to `port` of this machine and expects the certificate of `name`.
    ///
    /// # Errors
    ///
    /// When openssl cannot be started. A certificate that is not good ends the connection.
    pub(super) fn connect(&self, name: &str, port: u16) -> Result<TlsLine> {
        let mut process = self
            .client(name, port)
            .args(["-quiet", "-verify_return_error"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("openssl does not start")?;
        let input = process.stdin.take().context("a pipe")?;
        let output = process.stdout.take().context("a pipe")?;
        Ok(TlsLine {
            process,
            input,
            output,
        })
    }

    /// What `openssl s_client` with further `options` prints about a handshake, without a word said after it.
    ///
    /// # Errors
    ///
    /// When openssl cannot be started.
    pub(super) fn handshake(&self, name: &str, port: u16, options: &[&str]) -> Result<String> {
        let output = self
            .client(name, port)
            .args(options)
            .stdin(Stdio::null())
            .output()
            .context("openssl does not start")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok(text)
    }

    fn client(&self, name: &str, port: u16) -> Command {
        let mut client = Command::new("timeout");
        client
            .args([
                LONGEST_SECONDS,
                "openssl",
                "s_client",
                "-connect",
                &format!("127.0.0.1:{port}"),
            ])
            .args(["-servername", name, "-verify_hostname", name, "-CAfile"])
            .arg(self.certificate());
        client
    }
}

impl Read for TlsLine {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.output.read(bytes)
    }
}

impl Write for TlsLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.input.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.input.flush()
    }
}

impl Drop for TlsLine {
    fn drop(&mut self) {
        // It may have ended already.
        self.process.kill().and_then(|()| self.process.wait()).ok();
    }
}

fn openssl(command: &mut Command) -> Result<()> {
    let output = command.output().context("openssl does not start")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl failed: {words}");
    Ok(())
}

/// Puts a copy of `from` in the place of `to` at once, readable for nginx's user.
fn put(from: &Path, to: &Path) -> Result<()> {
    let part = to.with_extension("part");
    std::fs::copy(from, &part).with_context(|| format!("cannot write {}", part.display()))?;
    readable(&part)?;
    say::line(format_args!("  new: {}", to.display()));
    std::fs::rename(&part, to).with_context(|| format!("cannot write {}", to.display()))
}

fn readable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444))
        .with_context(|| format!("cannot change {}", path.display()))
}
