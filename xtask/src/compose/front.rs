//! The promises of the front door of the production stack: what it refuses to come up with, TLS, and who is let in.
//! A browser's view: the authority of the test is the only one that is trusted.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, error::Error};
use xshell::{Shell, cmd};

use super::authority::TlsLine;
use super::stack::Stack;
use crate::say;

/// The public name of the stack under test.
pub(super) const NAME: &str = "chat.example.com";
/// start.sh's exit code when it refuses settings (`EX_USAGE`).
const REFUSED: i32 = 64;
/// nginx takes new files over within this time: it looks every five seconds.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// What a browser sends for the password of alice.
const ALICE: &str = "Basic YWxpY2U6c2VjcmV0IG9mIGFsaWNl";
/// The WebSocket of the chat.
const CHAT_PATH: &str = "/api/v1/ws/chat";

/// A chat of a page under the public name.
pub(super) struct PageSocket(WebSocket<TlsLine>);

/// Neither a certificate nor the word for none: the stack says so and nothing starts. The model is there, because Compose
/// waits for its fetcher too.
pub(super) fn refuses_without_a_certificate(stack: &mut Stack<'_>) -> Result<()> {
    let served = stack.tls_folder().display().to_string();
    stack.set("PUBLIC_TLS_FOLDER", &format!("{served}/empty"));
    let up = stack.compose(&["up", "-d", "--wait", "--no-build"]);
    say::command(&up);
    let up = up.quiet().ignore_status().output()?;
    ensure!(!up.status.success(), "it comes up without a certificate");
    let containers = stack.containers()?;
    let model = &containers["llama_server"]["State"]["Status"];
    ensure!(
        model == "created",
        "llama_server is {model}, not only created"
    );
    refuses(stack, &[], "There is no certificate for chat.example.com: ")?;
    refuses(
        stack,
        &[("PUBLIC_NAME", "https://chat.example.com/")],
        "PUBLIC_NAME must be a name alone",
    )?;
    refuses(stack, &[("PUBLIC_NAME", "")], "PUBLIC_NAME is empty")?;
    refuses(stack, &[("PUBLIC_TLS", "no")], "PUBLIC_TLS must be off")?;
    refuses(
        stack,
        &[("CORRAL_LOGIN", "password")],
        "nginx cannot read deploy/secrets/htpasswd",
    )?;
    stack.set("PUBLIC_TLS_FOLDER", &served);
    stack.run(&["down"])
}

fn refuses(stack: &Stack<'_>, variables: &[(&str, &str)], sentence: &str) -> Result<()> {
    let mut args = vec!["run".to_owned(), "--rm".to_owned()];
    for (name, value) in variables {
        args.extend(["-e".to_owned(), format!("{name}={value}")]);
    }
    args.push("front_check".to_owned());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let check = stack.compose(&args);
    say::command(&check);
    let output = check.quiet().ignore_status().output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(REFUSED) && words.contains(sentence),
        "front_check with {variables:?} ends with {:?} and says {words}",
        output.status.code()
    );
    Ok(())
}

/// HTTP/2, the header fields of a page that is served safely, and each of them once.
pub(super) fn the_page_is_served_safely(stack: &Stack<'_>) -> Result<()> {
    let head = curl(
        stack,
        "https",
        "/",
        &["--output", "/dev/null", "--dump-header", "-"],
    )?;
    let head = head.to_lowercase();
    ensure!(
        head.starts_with("http/2 200"),
        "the page is not served over HTTP/2: {head}"
    );
    for field in [
        "strict-transport-security: max-age=31536000",
        "content-security-policy: default-src 'self'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-opener-policy: same-origin",
        "permissions-policy: camera=()",
    ] {
        let n_times = head.matches(&format!("\n{field}")).count();
        ensure!(n_times == 1, "{field} is there {n_times} times: {head}");
    }
    ensure!(!head.contains("nginx/"), "nginx shows its version: {head}");
    let cookie = curl(
        stack,
        "https",
        "/api/v1/me",
        &["--output", "/dev/null", "--dump-header", "-"],
    )?;
    ensure!(
        cookie
            .to_lowercase()
            .lines()
            .any(|line| line.starts_with("set-cookie: ") && line.contains("; secure")),
        "the cookie is not Secure: {cookie}"
    );
    Ok(())
}

/// Plain HTTP leads to HTTPS under the public name; another name has no page; old protocols have no handshake.
pub(super) fn there_is_no_other_way_in(stack: &Stack<'_>) -> Result<()> {
    let told = curl(
        stack,
        "http",
        "/a?b=c",
        &["--write-out", "%{http_code} %{redirect_url}"],
    )?;
    let to = format!("308 https://{NAME}:{}/a?b=c", stack.tls_port());
    ensure!(told.ends_with(&to), "plain HTTP answers {told}, not {to}");
    let other = [
        "--header",
        "Host: evil.example",
        "--write-out",
        "%{http_code}",
    ];
    let told = curl(stack, "https", "/", &other)?;
    ensure!(
        told.ends_with("421"),
        "another name is answered with {told}"
    );
    for (option, good) in [
        ("-tls1", false),
        ("-tls1_1", false),
        ("-tls1_2", true),
        ("-tls1_3", true),
    ] {
        // openssl itself would refuse the old ones at its usual level.
        let options = [option, "-cipher", "DEFAULT@SECLEVEL=0"];
        let seen = stack
            .authority()
            .handshake(NAME, stack.tls_port(), &options)?;
        let is_good =
            seen.contains("Verify return code: 0 (ok)") && !seen.contains("Cipher is (NONE)");
        let is_refused = seen.contains("alert protocol version");
        ensure!(is_good == good && is_refused != good, "{option}: {seen}");
    }
    Ok(())
}

/// A chat of the page under the public name, and no socket for another site's page.
pub(super) fn only_its_own_page_chats(stack: &Stack<'_>) -> Result<PageSocket> {
    let strangers = [
        "https://evil.example".to_owned(),
        format!("https://{NAME}"),
        format!("http://{NAME}"),
    ];
    for stranger in strangers {
        let status = knock(stack, &stranger, "")?.err();
        ensure!(
            status == Some(403),
            "a page of {stranger} gets {status:?}, not 403"
        );
    }
    let Ok(socket) = knock(stack, &own_origin(stack), "")? else {
        bail!("the page under its public name gets no socket");
    };
    let mut page = PageSocket(socket);
    page.chats("Say hello.")?;
    Ok(page)
}

/// A new certificate is served without a restart, and a socket that was open stays open. One that is not usable changes
/// nothing.
pub(super) fn takes_new_certificates(stack: &Stack<'_>, page: &mut PageSocket) -> Result<()> {
    let before = served(stack)?;
    let folder = stack.tls_folder();
    let started = stack.containers()?["nginx"]["State"]["StartedAt"].clone();
    let good = std::fs::read(folder.join("privkey.pem"))?;
    overwrite(&folder.join("privkey.pem"), b"not a key")?;
    until("nginx says that the key is not usable", || {
        Ok(stack
            .compose(&["logs", "nginx"])
            .quiet()
            .read()?
            .contains("is not usable, nginx keeps the one it has"))
    })?;
    ensure!(
        served(stack)? == before,
        "an unusable key changed what is served"
    );
    overwrite(&folder.join("privkey.pem"), &good)?;

    stack.authority().certify(NAME, folder)?;
    until("nginx serves the new certificate", || {
        Ok(served(stack)? != before)
    })?;
    page.chats("And now?")?;
    let now = stack.containers()?["nginx"]["State"]["StartedAt"].clone();
    ensure!(now == started, "nginx was started again");
    Ok(())
}

/// With docker-compose.password.yml: who has no password gets nothing, and whoever has one is the user of that name,
/// whatever they call themselves.
pub(super) fn asks_for_a_password(stack: &mut Stack<'_>) -> Result<()> {
    stack.set("GATEWAY_AUTH", "header");
    stack.add_file("deploy/docker-compose.password.yml");
    stack.run(&["up", "-d", "--wait", "--no-build", "nginx"])?;
    for path in ["/", CHAT_PATH, "/api/v1/me"] {
        let status = curl(
            stack,
            "https",
            path,
            &["--output", "/dev/null", "--write-out", "%{http_code}"],
        )?;
        ensure!(
            status == "401",
            "without a password {path} answers {status}"
        );
    }
    let alice = user_id(stack, "alice", "bob")?;
    let again = user_id(stack, "alice", "carol")?;
    ensure!(again == alice, "alice is somebody else under a forged name");
    let bob = user_id(stack, "bob", "alice")?;
    ensure!(bob != alice, "bob is alice");
    let Ok(socket) = knock(stack, &own_origin(stack), ALICE)? else {
        bail!("alice gets no socket");
    };
    PageSocket(socket).chats("Say hello.")?;
    stack.set("GATEWAY_AUTH", "none");
    stack.remove_files();
    Ok(())
}

/// What `openssl passwd` makes of the passwords of [`asks_for_a_password`].
pub(super) fn passwords(sh: &Shell) -> Result<String> {
    let mut lines = String::new();
    for name in ["alice", "bob"] {
        let password = format!("secret of {name}");
        let hash = cmd!(sh, "openssl passwd -apr1 {password}").quiet().read()?;
        lines.push_str(&format!("{name}:{hash}\n"));
    }
    Ok(lines)
}

impl PageSocket {
    /// Says `words` in version 1 of the protocol and waits for the whole answer.
    pub(super) fn chats(&mut self, words: &str) -> Result<()> {
        self.0
            .send(Message::text(json!({ "content": words }).to_string()))?;
        let mut answer = String::new();
        loop {
            let message = self.0.read().context("the socket broke")?;
            let Message::Text(text) = message else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text)?;
            match frame["type"].as_str() {
                Some("delta") => answer.push_str(frame["content"].as_str().unwrap_or_default()),
                Some("done") => break,
                _ => bail!("the answer failed: {frame}"),
            }
        }
        ensure!(!answer.trim().is_empty(), "the answer is empty");
        say::line(format_args!("  {}", answer.trim()));
        Ok(())
    }
}

/// Opens a socket as a page of `origin`. The inner error is the status of a refusal.
fn knock(
    stack: &Stack<'_>,
    origin: &str,
    authorization: &str,
) -> Result<Result<WebSocket<TlsLine>, u16>> {
    let port = stack.tls_port();
    let mut request = format!("ws://{NAME}:{port}{CHAT_PATH}").into_client_request()?;
    for (name, value) in [("origin", origin), ("authorization", authorization)] {
        if !value.is_empty() {
            request.headers_mut().insert(name, value.parse()?);
        }
    }
    match tungstenite::client(request, stack.authority().connect(NAME, port)?) {
        Ok((socket, _)) => Ok(Ok(socket)),
        Err(HandshakeError::Failure(Error::Http(answer))) => Ok(Err(answer.status().as_u16())),
        Err(other) => bail!("a page of {origin} gets no answer: {other}"),
    }
}

fn own_origin(stack: &Stack<'_>) -> String {
    format!("https://{NAME}:{}", stack.tls_port())
}

/// The id of the user who signs in as `name`, and calls themselves `forged`.
fn user_id(stack: &Stack<'_>, name: &str, forged: &str) -> Result<String> {
    let login = format!("{name}:secret of {name}");
    let header = format!("X-Forwarded-User: {forged}");
    let options = ["--user", &login, "--header", &header];
    let text = curl(stack, "https", "/api/v1/me", &options)?;
    let me: Value =
        serde_json::from_str(&text).with_context(|| format!("/api/v1/me answers {text}"))?;
    let id = me["id"]
        .as_str()
        .with_context(|| format!("no user in {text}"))?;
    Ok(id.to_owned())
}

/// curl as a browser under the public name: `scheme` leads to the port that is published for it.
fn curl(stack: &Stack<'_>, scheme: &str, path: &str, options: &[&str]) -> Result<String> {
    let port = if scheme == "https" {
        stack.tls_port()
    } else {
        stack.port()
    };
    let place = format!("{NAME}:{port}:127.0.0.1");
    let url = format!("{scheme}://{NAME}:{port}{path}");
    let ca = stack.authority().certificate();
    let sh = stack.shell();
    say::read(cmd!(
        sh,
        "curl --silent --show-error --max-time 10 --cacert {ca} --resolve {place} {options...} {url}"
    ))
}

/// The certificate that nginx serves now.
fn served(stack: &Stack<'_>) -> Result<String> {
    let text = stack.authority().handshake(NAME, stack.tls_port(), &[])?;
    let begin = text
        .find("-----BEGIN CERTIFICATE-----")
        .with_context(|| format!("no certificate: {text}"))?;
    let end = text[begin..]
        .find("-----END")
        .context("half a certificate")?;
    Ok(text[begin..begin + end].to_owned())
}

fn overwrite(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::remove_file(path)?;
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn until(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !holds()? {
        ensure!(
            begin.elapsed() < TAKEN_WITHIN,
            "not within {TAKEN_WITHIN:?}: {what}"
        );
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}
