//! `cargo xtask env`: docs/configuration.md, rendered from what the binaries say about their own settings.
//!
//! The variables that none of our services reads (llama-server's, those of the Compose files, and those of the
//! developer's commands) are in tables here.

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use crate::say;
use crate::settings::{Profile, Settings};
use crate::test::OURS;

/// The file, from the workspace's root.
pub(crate) const PAGE: &str = "docs/configuration.md";

const INTRO: &str = "# Configuration

All settings are environment variables. `.env.dev` and `.env.prod` hold the values that differ from the defaults. A variable
of the shell wins over them. An empty value counts as unset. `SETTINGS_FILE` may be the path of a TOML file of settings; the
environment wins over it. A service with wrong settings reports all of them at once and exits with 64 before it listens.
Variables that Kubernetes sets for services are ignored.

Instead of a secret such as `LLM_API_KEY` you may set `LLM_API_KEY_FILE` to a file that holds it; setting both is an
error. A key must be one line without white space, commas, double quotes or a leading `#`, because llama-server reads
the same file and would find another key there. A line feed at the end of the file is ignored.

Compose and `cargo xtask` read the same values from an env file: one `NAME=VALUE` per line, with or without `export`. A
comment needs a space before its `#`. A value with spaces, a quote, a backslash or `$` needs quotes, best single ones.
`cargo xtask` refuses a line that Compose would read differently, and says what to write instead.

Your own values belong in `.env.local`, which git ignores. They win over those of `.env.dev` and `.env.prod`. `cargo xtask`
reads the file by itself; for Compose add it after the other one: `--env-file .env.dev --env-file .env.local`.

This page is rendered from the code by `cargo xtask env --write`.
";

/// Each binary with the sentence above its table.
const SERVICES: &[(&str, &str)] = &[
    (
        "model-fetcher",
        "Fills the model folder, then exits. In Compose it is the service `llm_init`.",
    ),
    (
        "llm-proxy",
        "The only door to llama-server, for internal callers. In Compose: `llm_proxy`.",
    ),
    (
        "chat-gateway",
        "The browsers' door: the chat's WebSocket and the page. In Compose: `chat_gateway`.",
    ),
];

/// llama-server's variables: name, default, meaning.
const ENGINE: &[(&str, &str, &str)] = &[
    (
        "LLAMA_CTX_SIZE",
        "8192",
        "Tokens of context over all slots; each chat gets its slot's share, prompt and answer together.",
    ),
    (
        "LLAMA_PARALLEL",
        "2",
        "Slots: how many answers run at once.",
    ),
    (
        "LLAMA_THREADS",
        "cores - 1",
        "Compute threads; in Compose 2 for development and 3 for production. With as many as cores, any other work stalls the model.",
    ),
    (
        "LLAMA_BATCH_SIZE",
        "256",
        "Prompt tokens in one compute step, which nothing interrupts: a larger step freezes the other chats for longer.",
    ),
    (
        "LLAMA_FLASH_ATTN",
        "auto",
        "Flash attention: `on`, `off`, or as llama-server finds best.",
    ),
    (
        "LLAMA_KV_TYPE",
        "f16",
        "The form of the context in memory. `q8_0` takes half as much, and costs a little of the answers' quality.",
    ),
    (
        "LLAMA_CACHE_RAM_MIB",
        "1024",
        "Memory for cached prompts beside the model, in MiB; 0 switches the cache off.",
    ),
    (
        "LLAMA_PREDICT",
        "1024",
        "Tokens of an answer whose request names no limit.",
    ),
];

/// Variables that only the Compose files read.
const COMPOSE: &[(&str, &str, &str)] = &[
    (
        "CORRAL_REGISTRY",
        "localhost/corral",
        "Where the images of Corral's services are, as in `ghcr.io/OWNER/corral`; `up -d` pulls them from there. No registry has the default: `up -d` builds them.",
    ),
    (
        "CORRAL_VERSION",
        "the checkout's",
        "The version of these images.",
    ),
    (
        "CORRAL_REVISION",
        "",
        "For image builds: the commit, for the label `org.opencontainers.image.revision`. `CORRAL_CREATED` and `CORRAL_SOURCE` are the labels `created` and `source`.",
    ),
    (
        "LLAMA_GPU_IMAGE",
        "",
        "The image of llama_server with `deploy/docker-compose.gpu.yml` or `deploy/docker-compose.vulkan.yml`, instead of `LLAMA_IMAGE`.",
    ),
    (
        "LLAMA_GPU_LAYERS",
        "999",
        "With these files: how many layers of the model are on the GPU; more than there are is all.",
    ),
    (
        "LLAMA_GPUS",
        "all",
        "With `deploy/docker-compose.gpu.yml`: how many GPUs llama_server gets.",
    ),
    (
        "RENDER_GID",
        "",
        "With `deploy/docker-compose.vulkan.yml`: the number of the group that may use the GPU, as `stat -c %g /dev/dri/renderD128` prints it.",
    ),
    (
        "GATEWAY_PORT",
        "8000",
        "Development: the port on loopback under which chat_gateway is published.",
    ),
    (
        "PUBLIC_NAME",
        "",
        "Production: the name under which people open the page, as in `chat.example.com`. Its certificate is in `deploy/tls`. Needed unless `PUBLIC_TLS=off`.",
    ),
    (
        "PUBLIC_TLS",
        "",
        "Production: `off` serves plain HTTP; empty: HTTPS, and plain HTTP leads there.",
    ),
    (
        "PUBLIC_TLS_FOLDER",
        "./tls",
        "Production: the folder on the host, relative to `deploy/`, with `fullchain.pem` and `privkey.pem`.",
    ),
    (
        "HTTP_PORT",
        "80",
        "Production: the port under which nginx is published for plain HTTP; with an address before it, as in `10.0.0.5:80`, on that address only.",
    ),
    (
        "HTTPS_PORT",
        "443",
        "Production: the port under which nginx is published for HTTPS, in the same form.",
    ),
    (
        "ACME_EMAIL",
        "",
        "`docker-compose.acme.yml`: where the certificate authority may write to; empty: nowhere.",
    ),
    (
        "ACME_SERVER",
        "https://acme-v02.api.letsencrypt.org/directory",
        "`docker-compose.acme.yml`: the directory of the certificate authority.",
    ),
    (
        "HTPASSWD_SECRET",
        "./secrets/htpasswd",
        "`docker-compose.password.yml`: the file on the host, relative to `deploy/`, with the names and passwords.",
    ),
    (
        "LOGIN_PROVIDER",
        "oidc",
        "`docker-compose.login.yml`: the kind of identity provider, by its name in oauth2-proxy.",
    ),
    (
        "LOGIN_ISSUER",
        "",
        "`docker-compose.login.yml`: the issuer's address, as in `https://login.example.com/realms/staff`.",
    ),
    (
        "LOGIN_CLIENT_ID",
        "",
        "`docker-compose.login.yml`: the id under which the identity provider knows the page.",
    ),
    (
        "LOGIN_EMAIL_DOMAINS",
        "",
        "`docker-compose.login.yml`: whose email addresses may sign in, as in `example.com`; `*`: everybody whom the provider knows.",
    ),
    (
        "LLM_API_KEY_SECRET",
        "./secrets/llm_api_key",
        "Production: the file on the host, relative to `deploy/`, that becomes `/run/secrets/llm_api_key`.",
    ),
    (
        "PROXY_UPSTREAM_API_KEY_SECRET",
        "",
        "Production: the file on the host, relative to `deploy/`, that becomes `/run/secrets/upstream_api_key`, the key of llama_server; that of `LLM_API_KEY_SECRET` unless set.",
    ),
    (
        "HF_TOKEN_SECRET",
        "",
        "Production: the file on the host, relative to `deploy/`, that becomes `/run/secrets/hf_token`; empty for a model that needs no token.",
    ),
    (
        "ALERTMANAGER_CONFIG",
        "./observability/alertmanager.yml",
        "With `deploy/observability`: the file, relative to `deploy/`, that says who is called when an alert fires.",
    ),
    (
        "ALERT_SECRET",
        "",
        "With `deploy/observability`: the file on the host, relative to `deploy/`, that becomes `/run/secrets/alert_secret`, the password or token of whoever is called.",
    ),
];

/// Where images, packages and the way to them are replaced.
const MIRRORS: &[(&str, &str, &str)] = &[
    (
        "LLAMA_IMAGE",
        "",
        "The image of llama_server, for another registry, another version or a pinned digest.",
    ),
    ("NGINX_IMAGE", "", "The image of nginx."),
    (
        "CERTBOT_IMAGE",
        "",
        "The image of certbot in `docker-compose.acme.yml`.",
    ),
    (
        "OAUTH2_PROXY_IMAGE",
        "",
        "The image of oauth2-proxy in `docker-compose.login.yml`.",
    ),
    (
        "PROMETHEUS_IMAGE",
        "",
        "The image of Prometheus in `deploy/observability`; those of Alertmanager and Grafana are `ALERTMANAGER_IMAGE` and `GRAFANA_IMAGE`.",
    ),
    (
        "RUST_IMAGE",
        "",
        "The image that the services are compiled in.",
    ),
    ("NODE_IMAGE", "", "The image that the page is built in."),
    (
        "RUNTIME_IMAGE",
        "",
        "The image that the services run on. They need certificates of it and no program or library.",
    ),
    (
        "CARGO_MIRROR",
        "",
        "A mirror of crates.io for image builds, as in `sparse+https://HOST/index/`. Natively it belongs in `~/.cargo/config.toml`.",
    ),
    (
        "NPM_CONFIG_REGISTRY",
        "",
        "A mirror of the npm registry, for image builds and natively.",
    ),
    (
        "PIP_INDEX_URL",
        "",
        "A mirror of PyPI, natively: llama-server and the development model may come from there.",
    ),
    (
        "HTTPS_PROXY",
        "",
        "The proxy for HTTPS, for model-fetcher, for image builds and natively. `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` and the four names in lower case are passed on too.",
    ),
];

/// Variables of the developer's commands.
const NATIVE: &[(&str, &str, &str)] = &[
    (
        "LLAMA_SERVER_BIN",
        "",
        "The llama-server to run natively; otherwise the one on `PATH`, otherwise the PyPI package `xllamacpp`.",
    ),
    (
        "LLAMA_LISTEN",
        "127.0.0.1:8080",
        "Where `cargo xtask up` puts llama-server. It also puts our services on 127.0.0.1 unless their own variables are set, and the model into `target/models`.",
    ),
    (
        "CHROMIUM_BIN",
        "",
        "The Chromium for the page's tests; otherwise the one on `PATH`.",
    ),
    (
        "VITE_API_URL",
        "",
        "Read when the page is built: the gateway's address, when the page is served from elsewhere.",
    ),
];

/// Writes the page, or checks that it is what would be written.
///
/// # Errors
///
/// When the binaries do not build, or, in a check, when the page differs: with the first differing lines.
pub(crate) fn run(write: bool) -> Result<()> {
    let settings = Settings::load(Profile::Dev)?;
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    say::run(cmd!(sh, "cargo build {OURS...} --all-targets"))?;
    let mut page = String::from(INTRO);
    for (binary, about) in SERVICES {
        let program = settings.target("debug").join(binary);
        let table = say::read(cmd!(sh, "{program} settings"))?;
        section(&mut page, binary, about, table.trim_end());
    }
    section(
        &mut page,
        "llama-server",
        "Set in the env files, for Compose and for `cargo xtask up`.",
        &table(ENGINE),
    );
    section(
        &mut page,
        "Compose",
        "These are for Compose alone. Compose also passes the variables above on, except addresses, folders and the paths\n\
         of secrets, which the Compose files set. It leaves out `OTEL_SERVICE_NAME`, which would give both services one\n\
         name, and `OTEL_RESOURCE_ATTRIBUTES`, which Docker sets for itself. The files of `PROXY_KEYS_FILE`,\n\
         `PROXY_AUDIT` and `SETTINGS_FILE` must be mounted, for example by a `volumes` entry in a Compose file of your own.",
        &table(COMPOSE),
    );
    section(
        &mut page,
        "Mirrors and proxies",
        "Set these in the env file or in the shell where a registry is slow or blocked. The default images are in the\n\
         Compose files and in `deploy/Dockerfile`. README.md has an example, docs/models.md the mirrors of models.",
        &table(MIRRORS),
    );
    section(
        &mut page,
        "Native runs, tests and the page",
        "For `cargo xtask` and the page's build.",
        &table(NATIVE),
    );

    let path = settings.root().join(PAGE);
    if write {
        return std::fs::write(&path, page).with_context(|| format!("cannot write {PAGE}"));
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    match first_difference(&present, &page) {
        None => Ok(()),
        Some(difference) => {
            bail!("{PAGE} differs from the code: run `cargo xtask env --write`.\n{difference}")
        }
    }
}

fn section(page: &mut String, title: &str, about: &str, table: &str) {
    page.push_str(&format!("\n## {title}\n\n{about}\n\n{table}\n"));
}

fn table(rows: &[(&str, &str, &str)]) -> String {
    let mut text = String::from("| Variable | Default | Meaning |\n|---|---|---|");
    for (name, default, about) in rows {
        let default = if default.is_empty() {
            "–".to_owned()
        } else {
            format!("`{default}`")
        };
        text.push_str(&format!("\n| `{name}` | {default} | {about} |"));
    }
    text
}

fn first_difference(present: &str, wanted: &str) -> Option<String> {
    if present == wanted {
        return None;
    }
    let mut left = present.lines();
    let mut right = wanted.lines();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some("  (only the last line's end differs)".to_owned()),
            (old, new) if old == new => {}
            (Some(old), Some(new)) => return Some(format!("  - {old}\n  + {new}")),
            (Some(old), None) => return Some(format!("  - {old}")),
            (None, Some(new)) => return Some(format!("  + {new}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn a_stale_page_is_shown_by_its_first_differing_line() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(
            first_difference("a\nb\n", "a\nc\n").as_deref(),
            Some("  - b\n  + c")
        );
        assert_eq!(first_difference("", "a\n").as_deref(), Some("  + a"));
    }
}
