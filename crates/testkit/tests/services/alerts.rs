//! Alerts for real: Prometheus reads both services while things go wrong, its rules fire, and Alertmanager calls.
//!
//! Rules and settings are the files of deploy/observability. The test gives them its own addresses, and makes their
//! times 120 times shorter, down to two seconds. Everything else is as in production.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::fake_llama::{FakeLlama, Script};
use testkit::observability::{dashboard_queries, path};
use testkit::service::Service;
use testkit::tools::needs;
use testkit::v2_client::V2Client;
use testkit::ws_client::WsClient;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::process::signal;
use super::restart::question;
use super::{KEY, ask, start_proxy_with};

/// How long a fault may take until somebody is called.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two requests of a load that goes on.
const PACE: Duration = Duration::from_millis(50);
/// These tell that the machine is busy, which in tests it may be.
const BUSY_MACHINE: [&str; 2] = ["LlmProxyOverhead", "LlmProxySlowToFree"];
/// Alertmanager holds it back behind `LlmProxyNoUpstream`. With times so short, a slow machine lets it out for a moment
/// when the engine is back.
const BEHIND_NO_UPSTREAM: &str = "LlmProxyUpstreamDown";
/// What Alertmanager presents to the one it calls.
const TOKEN: &str = "a-token-of-the-pager";

/// The one who is called: every alert that fired, by name, with what the call said of it.
struct Pager {
    url: String,
    fired: watch::Receiver<Vec<Value>>,
    expected: BTreeSet<String>,
}

type Calls = Arc<watch::Sender<Vec<Value>>>;

impl Pager {
    async fn start() -> Self {
        let (calls, fired) = watch::channel(Vec::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let routes = axum::Router::new()
            .route("/", post(called))
            .with_state(Arc::new(calls));
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            url,
            fired,
            expected: BTreeSet::new(),
        }
    }

    /// Waits, while `load` goes on, until `alerts` have been called. No other may ever have been.
    async fn hears_of(&mut self, alerts: &[&str], load: impl Future<Output = ()>) {
        self.expected
            .extend(alerts.iter().map(|&name| name.to_owned()));
        let expected = &self.expected;
        let waiting = self
            .fired
            .wait_for(|fired| names(fired).is_superset(expected));
        let heard = async {
            tokio::select! {
                heard = waiting => drop(heard.unwrap()),
                () = load => unreachable!("a load goes on until somebody is called"),
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, heard).await.is_ok();
        let mut fired = names(&self.fired.borrow());
        if self.expected.contains("LlmProxyNoUpstream") {
            fired.remove(BEHIND_NO_UPSTREAM);
        }
        assert_eq!((fired, in_time), (self.expected.clone(), true));
    }
}

async fn called(State(calls): State<Calls>, headers: HeaderMap, Json(call): Json<Value>) {
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    let alerts = call["alerts"].as_array().unwrap().clone();
    let firing = alerts
        .into_iter()
        .filter(|alert| alert["status"] == "firing");
    calls.send_modify(|all| all.extend(firing));
}

fn names(fired: &[Value]) -> BTreeSet<String> {
    let names = fired
        .iter()
        .map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned());
    names
        .filter(|name| !BUSY_MACHINE.contains(&name.as_str()))
        .collect()
}

/// Prometheus and Alertmanager, which end with it.
struct Watchers {
    prometheus: String,
    #[expect(dead_code, reason = "they are killed with it")]
    processes: [Child; 2],
    #[expect(dead_code, reason = "it is deleted with it")]
    folder: TempDir,
}

impl Watchers {
    async fn start(proxy: &Service, gateway: &Service, pager: &Pager) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let of_prometheus = free_address();
        let of_alertmanager = free_address();
        let token = folder.path().join("token");
        let read = |name: &str| {
            let file = path("deploy/observability").join(name);
            std::fs::read_to_string(file).unwrap()
        };
        let write = |name: &str, text: String| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file.to_str().unwrap().to_owned()
        };
        write("token", TOKEN.to_owned());
        write("rules.yml", shorter(&read("rules.yml")));
        let address = |url: String| url.replace("http://", "");
        let settings = read("prometheus.yml")
            .replace("_interval: 15s", "_interval: 300ms")
            .replace("alertmanager:9093", &of_alertmanager)
            .replace("llm_proxy:9081", &address(proxy.admin_url()))
            .replace("chat_gateway:9000", &address(gateway.admin_url()));
        let prometheus = write("prometheus.yml", settings);
        let settings = read("alertmanager.yml")
            .replace("receiver: nobody", "receiver: webhook")
            .replace("https://pager.example.com/hooks/corral", &pager.url)
            .replace("/run/secrets/alert_secret", token.to_str().unwrap())
            .replace("group_wait: 30s", "group_wait: 300ms")
            .replace("group_interval: 5m", "group_interval: 1s");
        let alertmanager = write("alertmanager.yml", settings);
        let processes = [
            spawn(
                "prometheus",
                folder.path(),
                &[
                    format!("--config.file={prometheus}"),
                    format!("--storage.tsdb.path={}/tsdb", folder.path().display()),
                    format!("--web.listen-address={of_prometheus}"),
                ],
            ),
            spawn(
                "prometheus-alertmanager",
                folder.path(),
                &[
                    format!("--config.file={alertmanager}"),
                    format!("--storage.path={}/alerts", folder.path().display()),
                    format!("--web.listen-address={of_alertmanager}"),
                    "--cluster.listen-address=".to_owned(),
                ],
            ),
        ];
        Self {
            prometheus: format!("http://{of_prometheus}"),
            processes,
            folder,
        }
    }

    /// What Prometheus answers to a query, `null` while it does not answer.
    async fn query(&self, expression: &str) -> Value {
        let url = format!("{}/api/v1/query", self.prometheus);
        let request = reqwest::Client::new()
            .get(url)
            .query(&[("query", expression)]);
        match request.send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    /// Waits until Prometheus has read both services.
    async fn see_both(&self) {
        let looking = async {
            while self.query("sum(up)").await["data"]["result"][0]["value"][1] != "2" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.unwrap();
    }
}

fn spawn(program: &str, folder: &Path, arguments: &[String]) -> Child {
    let log = std::fs::File::create(folder.join(format!("{program}.log"))).unwrap();
    Command::new(program)
        .args(arguments)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Prometheus cannot be told to take any free port.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// `rules` with shorter times.
fn shorter(rules: &str) -> String {
    let rules = shorter_between(rules, "for: ", '\n');
    shorter_between(&rules, "[", ']')
}

/// `text` with shorter minutes wherever they are between `open` and `close`.
fn shorter_between(text: &str, open: &str, close: char) -> String {
    let mut pieces = text.split(open);
    let mut shorter = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        shorter += open;
        let minutes = piece.split_once(close).and_then(|(time, rest)| {
            let minutes: u64 = time.strip_suffix('m')?.parse().ok()?;
            Some((minutes, rest))
        });
        match minutes {
            Some((minutes, rest)) => {
                let milliseconds = (minutes * 60_000 / 120).max(2_000);
                shorter += &format!("{milliseconds}ms{close}{rest}");
            }
            None => shorter += piece,
        }
    }
    shorter
}

async fn chat(http: &reqwest::Client, proxy: &str, stream: bool) -> reqwest::Response {
    http.post(format!("{proxy}/v1/chat/completions"))
        .bearer_auth(KEY)
        .json(&question(stream))
        .send()
        .await
        .unwrap()
}

/// Asks llm-proxy, again and again.
async fn ask_on(proxy: &str) {
    let http = reqwest::Client::new();
    let mut pace = tokio::time::interval(PACE);
    loop {
        pace.tick().await;
        drop(chat(&http, proxy, false).await.bytes().await);
    }
}

/// Asks on the page, again and again; every second answer breaks. An engine whose answers all break would be left alone.
async fn chat_on(gateway: &str, llama: &FakeLlama) {
    let mut pace = tokio::time::interval(PACE);
    for breaks in [false, true].into_iter().cycle() {
        pace.tick().await;
        if breaks {
            llama.script_once(Script::tokens(["half", " an answer"]).error_after(1, "no"));
        }
        let mut socket = WsClient::connect(&chat_url(gateway)).await.unwrap();
        ask(&mut socket).await;
        drop(socket.collect_answer().await);
    }
}

/// Sends what does not fit on a full disk, again and again.
async fn send_on(gateway: &str) {
    let mut chat = V2Client::connect(&chat_url(gateway)).await.unwrap();
    let send = json!({"type": "send", "content": "x".repeat(60_000)});
    let mut pace = tokio::time::interval(PACE);
    loop {
        pace.tick().await;
        let refused = chat.request(send.clone()).await.unwrap();
        assert_eq!(refused["code"], "storage_unavailable");
    }
}

fn chat_url(gateway: &str) -> String {
    let url = gateway.replacen("http", "ws", 1);
    format!("{url}/api/v1/ws/chat")
}

/// Fills the disk that `folder` is on.
fn fill(folder: &Path) {
    let mut file = std::fs::File::create(folder.join("filler")).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
}

fn tools_are_here() -> bool {
    needs("prometheus", &["--version"])
        && needs("prometheus-alertmanager", &["--version"])
        && needs("unshare", &["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
}

#[tokio::test]
async fn each_fault_calls_somebody_with_its_own_alert_and_no_other() {
    if !tools_are_here() {
        return;
    }
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    llama.require_key(KEY);
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    std::fs::write(&keys, "").unwrap();
    let settings = [
        ("PROXY_KEYS_FILE", keys.to_str().unwrap()),
        ("PROXY_AUDIT", "/dev/full"),
        ("PROXY_QUEUE_REQUESTS", "1"),
    ];
    let mut proxy = start_proxy_with(&llama.url(), &settings).await;
    proxy.ready().await.unwrap();
    let base = format!("{}/v1", proxy.url());
    let data = tempfile::tempdir().unwrap();
    let settings = [
        ("GATEWAY_LISTEN", "127.0.0.1:0"),
        ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("GATEWAY_DATA", data.path().to_str().unwrap()),
        ("GATEWAY_MESSAGES_PER_MINUTE", "0"),
        ("LLM_BASE_URL", &*base),
        ("LLM_API_KEY", KEY),
        ("LLM_MODEL", "fake-model"),
    ];
    let mut gateway = Service::start_on_a_small_disk("chat-gateway", data.path(), &settings)
        .await
        .unwrap();
    gateway.ready().await.unwrap();
    let mut pager = Pager::start().await;
    let watchers = Watchers::start(&proxy, &gateway, &pager).await;
    watchers.see_both().await;

    // The audit's disk is full from the start, which the first request shows.
    llama.script(Script::tokens(["a", "b"]));
    let url = proxy.url();
    pager.hears_of(&["LlmProxyAuditLost"], ask_on(&url)).await;

    std::fs::write(&keys, "no keys file").unwrap();
    pager
        .hears_of(&["LlmProxyKeysFileRefused"], pending())
        .await;

    std::fs::write(&keys, "").unwrap();

    let broken = ["LlmProxyAnswersBreak", "ChatGatewayAnswersFail"];
    let page = gateway.url();
    pager.hears_of(&broken, chat_on(&page, &llama)).await;

    // One answer holds the only slot, one request fills the queue, and more come.
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let http = reqwest::Client::new();
    let held = chat(&http, &url, true).await;
    let crowd = async {
        tokio::join!(ask_on(&url), ask_on(&url));
    };
    pager.hears_of(&["LlmProxyTurnsAway"], crowd).await;
    drop(held);

    let address = llama.stop().await;
    pager.hears_of(&["LlmProxyNoUpstream"], pending()).await;
    let llama = FakeLlama::start_at(address).await;
    llama.require_key(KEY);
    proxy.ready().await.unwrap();

    fill(&gateway.inside(data.path()));
    pager
        .hears_of(&["ChatGatewayCannotKeep"], send_on(&page))
        .await;

    for query in dashboard_queries() {
        let answer = watchers.query(&query).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
    }

    signal("-KILL", gateway.pid()).await;
    pager.hears_of(&["ChatGatewayDown"], pending()).await;
    signal("-KILL", proxy.pid()).await;
    pager.hears_of(&["LlmProxyDown"], pending()).await;

    let mut call = pager
        .fired
        .borrow()
        .iter()
        .find(|alert| alert["labels"]["alertname"] == "LlmProxyDown")
        .unwrap()
        .clone();
    call["labels"]["instance"].take();
    assert_eq!(
        [&call["labels"], &call["annotations"]],
        [
            &json!({"alertname": "LlmProxyDown", "severity": "page", "job": "llm-proxy", "instance": null}),
            &json!({"summary": "llm-proxy does not answer on its admin listener"}),
        ]
    );
}

#[test]
fn minutes_of_rules_become_shorter_and_nothing_else_changes() {
    assert_eq!(
        shorter("expr: rate(a[5m]) > 0.05 * rate(b[10m])\nfor: 10m\nfor: 1m\nx: [rules.yml]\n"),
        "expr: rate(a[2500ms]) > 0.05 * rate(b[5000ms])\nfor: 5000ms\nfor: 2000ms\nx: [rules.yml]\n"
    );
}
