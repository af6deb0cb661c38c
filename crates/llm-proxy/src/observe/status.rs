//! How llm-proxy is doing, now: the document of `/status`, and the same as text for people.
//!
//! It holds names, counts and times, and no secret: the admin listener shows it to whoever reaches it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything that `/status` says. Durations are in seconds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ProxyStatus {
    /// Of llm-proxy.
    pub version: String,
    /// Since the start.
    pub uptime_seconds: u64,
    /// Why a request sent now would not be served; `null` when it would.
    pub not_ready: Option<String>,
    /// Why the keys file as it is now is refused, and the keys from before stay good; `null` when it is in force.
    pub keys_file_refused: Option<String>,
    /// The model's alias.
    pub model: String,
    /// Slots of the upstreams that answer.
    pub slots: usize,
    /// Those of them that are taken.
    pub busy: usize,
    /// Requests that are refused because engines died under them.
    #[serde(default)]
    pub quarantined: usize,
    /// The addresses that an operator drains, not all of which need be upstreams, and `new` for those that join.
    #[serde(default)]
    pub drained: Vec<String>,
    /// Each upstream.
    pub upstreams: Vec<UpstreamStatus>,
    /// Each key that has something waiting or running, or has used something today.
    pub keys: Vec<Key>,
    /// What the last minute brought, a second.
    pub last_minute: LastMinute,
    /// How long first tokens took lately.
    pub first_token: FirstToken,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct UpstreamStatus {
    /// `HOST:PORT`.
    pub upstream: String,
    /// Whether requests are sent there.
    pub up: bool,
    /// What was last seen of it, in words.
    pub state: String,
    /// Its slots.
    pub slots: usize,
    /// Those of them that are taken.
    pub busy: usize,
    /// Tokens of one slot's context, when it is up.
    pub n_ctx: Option<u64>,
    /// How long it is still left alone.
    pub ejected_seconds: u64,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Key {
    /// Its name.
    pub key: String,
    /// Requests in the queue.
    pub waiting: usize,
    /// Requests with a slot.
    pub running: usize,
    /// How long a further request of this key would wait; `null` when none waits or runs.
    pub wait_seconds: Option<f64>,
    /// Requests since midnight UTC.
    #[serde(default)]
    pub requests_today: u64,
    /// Tokens since midnight UTC, with what running answers have reserved.
    #[serde(default)]
    pub tokens_today: u64,
    /// Each limit that the key has.
    #[serde(default)]
    pub limits: Vec<LimitStatus>,
}

/// A limit of a key, and how much of it is used.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct LimitStatus {
    /// Its field in the keys file.
    pub limit: String,
    /// How much it allows.
    pub allowed: u64,
    /// How much of that is used now.
    pub used: u64,
    /// Until all of it can be used again; `null` where only the end of an answer frees it.
    pub reset_seconds: Option<f64>,
}

impl LimitStatus {
    /// For people: `59/60 requests per minute`.
    fn text(&self) -> String {
        let limit = self.limit.replace('_', " ");
        format!("{}/{} {limit}", self.used, self.allowed)
    }
}

/// Events a second.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct LastMinute {
    /// Requests that ended.
    pub requests_per_second: f64,
    /// Those of them that were answered with an error.
    pub refused_per_second: f64,
    /// Tokens that came.
    pub tokens_per_second: f64,
}

/// The first tokens of the last five minutes, at most the last 512.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FirstToken {
    /// How many.
    pub count: usize,
    /// The middle one.
    pub p50_seconds: Option<f64>,
    /// The one that 5 of 100 are slower than.
    pub p95_seconds: Option<f64>,
}

impl FirstToken {
    /// Of `sorted` times.
    pub(crate) fn of(sorted: &[Duration]) -> Self {
        Self {
            count: sorted.len(),
            p50_seconds: percentile(sorted, 50),
            p95_seconds: percentile(sorted, 95),
        }
    }
}

/// The one of `sorted` times that `percent` of 100 are below, in seconds.
fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let one = sorted.get(sorted.len() * percent / 100)?;
    Some(thousandths(one.as_secs_f64()))
}

/// A number of seconds, or a rate, to three decimals.
pub(crate) fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

impl ProxyStatus {
    /// For people; with `colours` for a terminal.
    #[must_use]
    pub fn text(&self, colours: bool) -> String {
        let mut page = Page {
            text: String::new(),
            colours,
        };
        self.write_summary(&mut page);
        self.write_upstreams(&mut page);
        self.write_keys(&mut page);
        page.text
    }

    fn write_summary(&self, page: &mut Page) {
        let state = match &self.not_ready {
            None => page.paint(GREEN, "ready"),
            Some(reason) => page.paint(RED, &format!("not ready: {reason}")),
        };
        let waiting: usize = self.keys.iter().map(|key| key.waiting).sum();
        let title = page.paint(BOLD, &format!("llm-proxy {}", self.version));
        let uptime = period(self.uptime_seconds);
        page.line(&format!("{title}   up {uptime}   {state}"));
        let quarantined = match self.quarantined {
            0 => String::new(),
            n => page.paint(RED, &format!("   {n} in quarantine")),
        };
        page.line(&format!(
            "{}   {} of {} slots busy   {waiting} waiting{quarantined}",
            self.model, self.busy, self.slots
        ));
        if let Some(problem) = &self.keys_file_refused {
            let text =
                format!("the keys file is refused, the keys from before stay good: {problem}");
            let text = page.paint(RED, &text);
            page.line(&text);
        }
        page.line("");
        let minute = &self.last_minute;
        page.line(&format!(
            "last minute    {:.1} requests/s   {:.1} refused/s   {:.1} tokens/s",
            minute.requests_per_second, minute.refused_per_second, minute.tokens_per_second
        ));
        let first = &self.first_token;
        page.line(&format!(
            "first token    p50 {}   p95 {}   of {} in 5 minutes",
            seconds(first.p50_seconds),
            seconds(first.p95_seconds),
            first.count
        ));
    }

    fn write_upstreams(&self, page: &mut Page) {
        page.line("");
        page.heading(&format!(
            "{:<28} {:>5} {:>5} {:>8}   {}",
            "UPSTREAM", "BUSY", "SLOTS", "CONTEXT", "STATE"
        ));
        for upstream in &self.upstreams {
            let n_ctx = match upstream.n_ctx {
                Some(n_ctx) => n_ctx.to_string(),
                None => "-".to_owned(),
            };
            let mut state = upstream.state.clone();
            if upstream.ejected_seconds > 0 {
                state += &format!("; asked again in {} s", upstream.ejected_seconds);
            }
            if !upstream.up {
                state = page.paint(RED, &state);
            }
            page.line(&format!(
                "{:<28} {:>5} {:>5} {n_ctx:>8}   {state}",
                upstream.upstream, upstream.busy, upstream.slots
            ));
        }
    }

    fn write_keys(&self, page: &mut Page) {
        page.line("");
        page.heading(&format!(
            "{:<28} {:>7} {:>7} {:>10} {:>14} {:>12}   {}",
            "KEY",
            "WAITING",
            "RUNNING",
            "NEXT WAITS",
            "REQUESTS TODAY",
            "TOKENS TODAY",
            "USED OF ITS LIMITS"
        ));
        for key in &self.keys {
            let wait = match key.wait_seconds {
                Some(wait) => format!("{wait:.0} s"),
                None => "-".to_owned(),
            };
            let limits: Vec<String> = key
                .limits
                .iter()
                .map(|limit| {
                    if limit.used >= limit.allowed {
                        page.paint(RED, &limit.text())
                    } else {
                        limit.text()
                    }
                })
                .collect();
            page.line(&format!(
                "{:<28} {:>7} {:>7} {wait:>10} {:>14} {:>12}   {}",
                key.key,
                key.waiting,
                key.running,
                key.requests_today,
                key.tokens_today,
                limits.join(", ")
            ));
        }
        if self.keys.is_empty() {
            page.line("no requests today");
        }
    }
}

/// The colours of a terminal.
const BOLD: &str = "1";
const RED: &str = "31";
const GREEN: &str = "32";

/// Text for people.
struct Page {
    text: String,
    colours: bool,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    fn heading(&mut self, text: &str) {
        let text = self.paint(BOLD, text);
        self.line(&text);
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn seconds(value: Option<f64>) -> String {
    match value {
        Some(value) => format!("{value:.2} s"),
        None => "-".to_owned(),
    }
}

/// Seconds as people say them.
fn period(seconds: u64) -> String {
    let minutes = seconds / 60;
    let hours = seconds / 3600;
    let days = seconds / 86_400;
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FirstToken, Key, LastMinute, LimitStatus, ProxyStatus, UpstreamStatus};

    fn limit(limit: &str, used: u64, allowed: u64) -> LimitStatus {
        LimitStatus {
            limit: limit.to_owned(),
            allowed,
            used,
            reset_seconds: Some(1.5),
        }
    }

    #[test]
    fn the_page_has_no_colours_and_a_terminal_shows_failures_in_red() {
        let upstream = |name: &str, up: bool| UpstreamStatus {
            upstream: name.to_owned(),
            up,
            state: if up {
                "it answers"
            } else {
                "it cannot be reached"
            }
            .to_owned(),
            slots: 2,
            busy: usize::from(up),
            n_ctx: up.then_some(4096),
            ejected_seconds: if up { 0 } else { 8 },
        };
        let status = ProxyStatus {
            version: "1.2.3".to_owned(),
            uptime_seconds: 3_780,
            not_ready: None,
            keys_file_refused: Some("line 2: it is wrong".to_owned()),
            model: "a-model".to_owned(),
            slots: 2,
            busy: 1,
            quarantined: 2,
            drained: Vec::new(),
            upstreams: vec![upstream("one:8080", true), upstream("two:8080", false)],
            keys: vec![
                Key {
                    key: "app".to_owned(),
                    waiting: 3,
                    running: 1,
                    wait_seconds: Some(11.6),
                    requests_today: 41,
                    tokens_today: 12_034,
                    limits: vec![
                        limit("requests_per_minute", 60, 60),
                        limit("tokens_per_day", 12_034, 1_000_000),
                    ],
                },
                Key {
                    key: "quiet".to_owned(),
                    waiting: 0,
                    running: 0,
                    wait_seconds: None,
                    requests_today: 1,
                    tokens_today: 8,
                    limits: Vec::new(),
                },
            ],
            last_minute: LastMinute {
                requests_per_second: 1.25,
                refused_per_second: 0.0,
                tokens_per_second: 20.0,
            },
            first_token: FirstToken::of(&[100, 200, 300, 400].map(Duration::from_millis)),
        };
        let page = "\
llm-proxy 1.2.3   up 1 h 3 min   ready
a-model   1 of 2 slots busy   3 waiting   2 in quarantine
the keys file is refused, the keys from before stay good: line 2: it is wrong

last minute    1.2 requests/s   0.0 refused/s   20.0 tokens/s
first token    p50 0.30 s   p95 0.40 s   of 4 in 5 minutes

UPSTREAM                      BUSY SLOTS  CONTEXT   STATE
one:8080                         1     2     4096   it answers
two:8080                         0     2        -   it cannot be reached; asked again in 8 s

KEY                          WAITING RUNNING NEXT WAITS REQUESTS TODAY TOKENS TODAY   USED OF ITS LIMITS
app                                3       1       12 s             41        12034   60/60 requests per minute, 12034/1000000 tokens per day
quiet                              0       0          -              1            8
";
        assert_eq!(status.text(false), page);
        assert!(
            status
                .text(true)
                .contains("\x1b[31m60/60 requests per minute\x1b[0m, 12034/1000000 tokens per day")
        );
        assert!(
            status
                .text(true)
                .contains("\x1b[31mit cannot be reached; asked again in 8 s\x1b[0m")
        );
    }
}
