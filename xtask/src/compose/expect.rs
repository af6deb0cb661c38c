//! The promises of a Compose stack, one function each. They look from outside, as a user or an attacker would.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

use super::stack::{BUILT, REVISION, Stack};
use crate::release;
use crate::say;
use crate::settings::Profile;

/// Settings that an image or a stack fixes: addresses, folders of the image, and what Compose or Docker sets itself.
const FIXED: [&str; 6] = [
    "LISTEN",
    "GATEWAY_DATA",
    "GATEWAY_WEB_DIR",
    "HF_FILENAME",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
];
/// model-fetcher's exit code when the Hub does not let it in (`EX_NOPERM`).
const NOT_ALLOWED: i32 = 77;
/// What an image may have unpacked beside its base image, which has 2 MB: 25 MB together.
const MAX_OWN_BYTES: u64 = 23_000_000;
/// chat-gateway holds the page too, and misses the aim by this: it must not grow.
const MAX_GATEWAY_BYTES: u64 = 26_500_000;
/// How long the published port may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The WebSocket of the chat.
const CHAT_PATH: &str = "/api/v1/ws/chat";
/// llm-proxy's address for other containers.
const PROXY: &str = "http://llm_proxy:8081";

/// Services that end by themselves.
const ONE_SHOT: [&str; 2] = ["front_check", "llm_init"];

/// The gateway on loopback in development, nginx in production, and nothing else is published.
pub(super) fn only_the_door_is_published(stack: &Stack<'_>) -> Result<()> {
    let config = stack.config()?;
    let services = config["services"]
        .as_object()
        .context("the stack has services")?;
    let published: BTreeMap<_, Vec<_>> = services
        .iter()
        .filter_map(|(name, service)| {
            Some((
                name.as_str(),
                service["ports"].as_array()?.iter().map(port).collect(),
            ))
        })
        .collect();
    let expected = match stack.profile() {
        Profile::Dev => (
            "chat_gateway",
            vec![format!("127.0.0.1:{}->8000", stack.port())],
        ),
        Profile::Prod => (
            "nginx",
            vec![
                format!(":{}->8080", stack.port()),
                format!(":{}->8443", stack.tls_port()),
            ],
        ),
    };
    ensure!(
        published == BTreeMap::from([expected.clone()]),
        "published is {published:?}, not only {expected:?}"
    );
    Ok(())
}

fn port(port: &Value) -> String {
    let host = port["host_ip"].as_str().unwrap_or_default();
    let published = port["published"].as_str().unwrap_or_default();
    let target = &port["target"];
    format!("{host}:{published}->{target}")
}

/// Each image is small, names its version and commit, and does not run as root. A server's knows its health.
pub(super) fn images_are_small_and_say_what_they_are(stack: &Stack<'_>) -> Result<()> {
    let config = stack.config()?;
    for service in BUILT {
        let image = config["services"][service]["image"]
            .as_str()
            .context("a service has an image")?;
        let sh = stack.shell();
        let text = say::read(cmd!(sh, "docker image inspect {image}"))?;
        let mut found: Vec<Value> =
            serde_json::from_str(&text).context("docker image inspect printed no JSON")?;
        let found = found.pop().context("docker image inspect found nothing")?;
        let n_bytes = own_bytes(sh, image)?;
        say::line(format_args!(
            "  {image}: {:.1} MB beside its base image",
            n_bytes as f64 / 1e6
        ));
        let max = if image.contains("/chat-gateway:") {
            MAX_GATEWAY_BYTES
        } else {
            MAX_OWN_BYTES
        };
        ensure!(
            n_bytes < max,
            "{image} has {n_bytes} bytes beside its base image, not less than {max}"
        );
        let labels = &found["Config"]["Labels"];
        for (label, expected) in [("version", release::CURRENT), ("revision", REVISION)] {
            let value = &labels[format!("org.opencontainers.image.{label}")];
            ensure!(
                value == expected,
                "{image}: the label {label} is {value}, not {expected}"
            );
        }
        ensure!(
            found["Config"]["User"] == "65532:65532",
            "{image} runs as {}",
            found["Config"]["User"]
        );
        ensure!(
            service == "llm_init" || found["Config"]["Healthcheck"].is_object(),
            "{image} has no health check"
        );
    }
    Ok(())
}

/// The bytes that deploy/Dockerfile has added to the base image: those of the layers since its first label.
fn own_bytes(sh: &Shell, image: &str) -> Result<u64> {
    let format = "{{.Size}} {{.CreatedBy}}";
    let history = cmd!(
        sh,
        "docker history --human=false --no-trunc --format {format} {image}"
    );
    let history = history.quiet().read()?;
    let (own, _) = history
        .split_once("image.vendor")
        .with_context(|| format!("{image} was not built by deploy/Dockerfile"))?;
    let sizes = own.lines().filter_map(|line| line.split(' ').next());
    let sizes: Result<Vec<u64>, _> = sizes.map(str::parse).collect();
    Ok(sizes
        .context("docker history printed no sizes")?
        .iter()
        .sum())
}

/// Every setting that a service knows can be set in the env file: the stack passes it on.
pub(super) fn every_setting_is_passed_on(stack: &Stack<'_>) -> Result<()> {
    let config = stack.config()?;
    for service in BUILT {
        let service_config = &config["services"][service];
        let image = service_config["image"]
            .as_str()
            .context("a service has an image")?;
        let sh = stack.shell();
        let table = say::read(cmd!(sh, "docker run --rm --network none {image} settings"))?;
        let names: Vec<_> = table
            .lines()
            .filter_map(|row| row.strip_prefix("| `")?.split('`').next())
            .collect();
        ensure!(!names.is_empty(), "{image} prints no settings");
        let environment = &service_config["environment"];
        let mut lost = names;
        lost.retain(|name| {
            let is_passed = environment.get(name).is_some()
                || environment.get(format!("{name}_FILE")).is_some();
            !is_passed && !FIXED.iter().any(|fixed| name.ends_with(fixed))
        });
        ensure!(
            lost.is_empty(),
            "{service} does not get {lost:?}: add them to its environment in {}",
            stack.file()
        );
    }
    Ok(())
}

/// The token in the secret file reaches the Hub. This Hub knows no token, so model-fetcher is not allowed in.
pub(super) fn the_token_file_is_read(stack: &mut Stack<'_>) -> Result<()> {
    if stack.profile() == Profile::Dev {
        return Ok(());
    }
    let file = stack.wrong_token().display().to_string();
    stack.set("HF_TOKEN_SECRET", &file);
    let fetch = stack.compose(&["run", "--rm", "llm_init"]);
    say::command(&fetch);
    let code = fetch
        .quiet()
        .ignore_status()
        .ignore_stderr()
        .output()?
        .status
        .code();
    stack.set("HF_TOKEN_SECRET", "");
    ensure!(
        code == Some(NOT_ALLOWED),
        "with a wrong token llm_init ends with {code:?}, not {NOT_ALLOWED}"
    );
    Ok(())
}

/// What ends by itself has ended with 0, and everything else is healthy.
pub(super) fn healthy(stack: &Stack<'_>) -> Result<()> {
    for (service, container) in stack.containers()? {
        let state = &container["State"];
        let is_well = if ONE_SHOT.contains(&service.as_str()) {
            state["Status"] == "exited" && state["ExitCode"] == 0
        } else {
            state["Health"]["Status"] == "healthy"
        };
        ensure!(is_well, "{service} is not well: {state}");
    }
    Ok(())
}

/// No container runs as root, may write its file system, has a capability, or may gain one.
pub(super) fn confined(stack: &Stack<'_>) -> Result<()> {
    for (service, container) in stack.containers()? {
        let user = container["Config"]["User"].as_str().unwrap_or_default();
        let host = &container["HostConfig"];
        ensure!(
            !user.is_empty() && !user.starts_with('0') && user != "root",
            "{service} runs as root"
        );
        let kept = [
            ("a read-only root", host["ReadonlyRootfs"] == true),
            ("no privileges", host["Privileged"] == false),
            (
                "no capabilities",
                host["CapDrop"] == serde_json::json!(["ALL"]),
            ),
            (
                "none added",
                host["CapAdd"].as_array().is_none_or(Vec::is_empty),
            ),
            (
                "none to gain",
                host["SecurityOpt"] == serde_json::json!(["no-new-privileges:true"]),
            ),
            (
                "a limit of processes",
                host["PidsLimit"].as_i64().is_some_and(|limit| limit > 0),
            ),
        ];
        let lost: Vec<_> = kept
            .into_iter()
            .filter(|(_, kept)| !kept)
            .map(|(what, _)| what)
            .collect();
        ensure!(lost.is_empty(), "{service} is without {lost:?}");
    }
    Ok(())
}

/// The key is on no command line, and in production in no environment either.
pub(super) fn no_secret_in_sight(stack: &Stack<'_>) -> Result<()> {
    for (service, container) in stack.containers()? {
        let places = match stack.profile() {
            Profile::Dev => vec![&container["Args"]],
            Profile::Prod => vec![&container["Args"], &container["Config"]],
        };
        ensure!(
            !places
                .iter()
                .any(|place| place.to_string().contains(stack.key())),
            "{service} shows the key"
        );
    }
    Ok(())
}

/// Through the one port that is published for development: the page, a streamed answer, and no socket for another site's page.
pub(super) fn the_page_and_a_chat(stack: &Stack<'_>) -> Result<()> {
    let port = stack.port();
    let page = get(port, "/", "")?;
    ensure!(
        page.starts_with("HTTP/1.1 200 ") && page.contains("<html"),
        "there is no page at /: {page:.200}"
    );

    let url = format!("ws://127.0.0.1:{port}{CHAT_PATH}");
    let sh = stack.shell();
    let xtask = std::env::current_exe()?;
    let answer = say::read(cmd!(sh, "{xtask} chat {url}").stdin("Say hello.\n"))?;
    ensure!(!answer.trim().is_empty(), "the answer is empty");
    say::line(format_args!("  {}", answer.trim()));

    for (origin, expected) in [
        (format!("http://127.0.0.1:{port}"), "101"),
        ("http://evil.example".to_owned(), "403"),
    ] {
        let upgrade = format!(
            "Origin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        let status = get(port, CHAT_PATH, &upgrade)?
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        ensure!(
            status == expected,
            "a page of {origin} gets {status}, not {expected}"
        );
    }
    Ok(())
}

/// The answer of the published port to a GET: all of it, or with `headers` of an upgrade only its head.
fn get(port: u16, path: &str, headers: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .context("the published port does not answer")?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let close = if headers.is_empty() {
        "Connection: close\r\n"
    } else {
        ""
    };
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}{close}\r\n"
    )?;
    let mut answer = Vec::new();
    if headers.is_empty() {
        stream.read_to_end(&mut answer)?;
    } else {
        answer.resize(1024, 0);
        let n_bytes = stream.read(&mut answer)?;
        answer.truncate(n_bytes);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// From inside: llm-proxy asks for the key, and does not pass on what llama-server shows of other callers.
pub(super) fn the_key_is_asked_for(stack: &Stack<'_>) -> Result<()> {
    let good = format!("Authorization: Bearer {}", stack.key());
    let cases = [
        ("/v1/models", "Accept: */*", "401"),
        ("/v1/models", "Authorization: Bearer wrong", "401"),
        ("/v1/models", good.as_str(), "200"),
        ("/slots", &good, "404"),
        ("/props", &good, "404"),
        ("/metrics", &good, "404"),
    ];
    for (path, header, expected) in cases {
        let url = format!("{PROXY}{path}");
        let args = ["-o", "/dev/null", "-w", "%{http_code}", "-H", header, &url];
        let status = stack.curl_beside("chat_gateway", &args)?;
        ensure!(
            status == expected,
            "{path} with `{header:.21}` answers {status}, not {expected}"
        );
    }
    Ok(())
}

/// Services on internal networks cannot reach this machine, where llm_init found the Hub.
pub(super) fn no_way_out(stack: &Stack<'_>, hub: &str) -> Result<()> {
    let inside = match stack.profile() {
        Profile::Dev => &["llama_server", "llm_proxy"][..],
        Profile::Prod => &["llama_server", "llm_proxy", "chat_gateway"],
    };
    for service in inside {
        let status = stack.curl_beside(
            service,
            &[
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                &format!("http://{hub}/"),
            ],
        )?;
        ensure!(
            status == "000",
            "{service} reaches http://{hub}/ ({status})"
        );
    }
    Ok(())
}

/// llama-server says that it serves `file`.
pub(super) fn serves(stack: &Stack<'_>, file: &str) -> Result<()> {
    let key = format!("Authorization: Bearer {}", stack.key());
    let props = stack.curl_beside("llama_server", &["-H", &key, "http://127.0.0.1:8080/props"])?;
    let props: Value =
        serde_json::from_str(&props).with_context(|| format!("/props answers {props:?}"))?;
    let path = props["model_path"].as_str().unwrap_or_default();
    ensure!(
        path == format!("/models/{file}"),
        "llama_server serves {path}, not {file}"
    );
    Ok(())
}

/// Every container has ended with 0, and none had to be killed.
pub(super) fn ended_by_themselves(stack: &Stack<'_>) -> Result<()> {
    let codes: BTreeMap<_, _> = stack
        .containers()?
        .into_iter()
        .map(|(service, container)| (service, container["State"]["ExitCode"].as_i64()))
        .collect();
    ensure!(
        codes.values().all(|code| *code == Some(0)),
        "not all ended with 0: {codes:?}"
    );
    Ok(())
}
