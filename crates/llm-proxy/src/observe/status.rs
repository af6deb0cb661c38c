//! How llm-proxy is doing, now: the document of `/status`, and the same as text for people.
//!
//! It holds names, counts and times, and no secret: the admin listener shows it to whoever reaches it.

use std::fmt::Write as _;
use std::time::Duration;

use admission::LaneStatus;
use serde::{Deserialize, Serialize};

/// Everything that `/status` says. Durations are in seconds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Status {
    /// Of llm-proxy.
    pub version: String,
    /// Since the start.
    pub uptime_seconds: u64,
    /// Why a request sent now would not be served; `null` when it would.
    pub not_ready: Option<String>,
    /// The model's alias.
    pub model: String,
    /// Slots of the upstreams that answer.
    pub slots: usize,
    /// Those of them that are taken.
    pub busy: usize,
    /// Requests that are refused because engines died under them.
    #[serde(default)]
    pub quarantined: usize,
    /// Each upstream.
    pub upstreams: Vec<Upstream>,
    /// Each key that has something waiting or running.
    pub keys: Vec<Key>,
    /// What the last minute brought, a second.
    pub last_minute: LastMinute,
    /// How long first tokens took lately.
    pub first_token: FirstToken,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Upstream {
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
    /// How long a further request of this key would wait.
    pub wait_seconds: f64,
}

impl Key {
    /// What the queue says of a key's lane.
    pub(crate) fn of(lane: LaneStatus) -> Self {
        Self {
            key: lane.caller,
            waiting: lane.waiting,
            running: lane.running,
            wait_seconds: thousandths(lane.wait.as_secs_f64()),
        }
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
        let at = |share: usize| {
            sorted
                .get(sorted.len() * share / 100)
                .map(Duration::as_secs_f64)
                .map(thousandths)
        };
        Self {
            count: sorted.len(),
            p50_seconds: at(50),
            p95_seconds: at(95),
        }
    }
}

/// A number of seconds, or a rate, to three decimals.
pub(crate) fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

impl Status {
    /// For people; with `colours` for a terminal.
    #[must_use]
    pub fn text(&self, colours: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colours {
                format!("\x1b[{code}m{text}\x1b[0m")
            } else {
                text.to_owned()
            }
        };
        let mut page = String::new();
        let state = match &self.not_ready {
            None => paint("32", "ready"),
            Some(reason) => paint("31", &format!("not ready: {reason}")),
        };
        let waiting: usize = self.keys.iter().map(|key| key.waiting).sum();
        let title = paint("1", &format!("llm-proxy {}", self.version));
        let mut line = |text: String| {
            let _infallible = writeln!(page, "{}", text.trim_end());
        };
        line(format!(
            "{title}   up {}   {state}",
            period(self.uptime_seconds)
        ));
        let quarantined = match self.quarantined {
            0 => String::new(),
            n => paint("31", &format!("   {n} in quarantine")),
        };
        line(format!(
            "{}   {} of {} slots busy   {waiting} waiting{quarantined}",
            self.model, self.busy, self.slots
        ));
        line(String::new());
        let minute = &self.last_minute;
        line(format!(
            "last minute    {:.1} requests/s   {:.1} refused/s   {:.1} tokens/s",
            minute.requests_per_second, minute.refused_per_second, minute.tokens_per_second
        ));
        let seconds =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2} s"));
        let first = &self.first_token;
        line(format!(
            "first token    p50 {}   p95 {}   of {} in 5 minutes",
            seconds(first.p50_seconds),
            seconds(first.p95_seconds),
            first.count
        ));
        line(String::new());
        line(paint(
            "1",
            &format!(
                "{:<28} {:>5} {:>5} {:>8}   {}",
                "UPSTREAM", "BUSY", "SLOTS", "CONTEXT", "STATE"
            ),
        ));
        for upstream in &self.upstreams {
            let n_ctx = upstream
                .n_ctx
                .map_or("-".to_owned(), |n_ctx| n_ctx.to_string());
            let mut state = upstream.state.clone();
            if upstream.ejected_seconds > 0 {
                let _infallible = write!(state, "; asked again in {} s", upstream.ejected_seconds);
            }
            let state = if upstream.up {
                state
            } else {
                paint("31", &state)
            };
            let (name, busy, slots) = (&upstream.upstream, upstream.busy, upstream.slots);
            line(format!(
                "{name:<28} {busy:>5} {slots:>5} {n_ctx:>8}   {state}"
            ));
        }
        line(String::new());
        line(paint(
            "1",
            &format!(
                "{:<28} {:>7} {:>7}   {}",
                "KEY", "WAITING", "RUNNING", "A FURTHER ONE WAITS"
            ),
        ));
        for key in &self.keys {
            let (name, waiting, running) = (&key.key, key.waiting, key.running);
            line(format!(
                "{name:<28} {waiting:>7} {running:>7}   {:.0} s",
                key.wait_seconds
            ));
        }
        if self.keys.is_empty() {
            line("nobody asks".to_owned());
        }
        page
    }
}

/// Seconds as people say them.
fn period(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
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

    use super::{FirstToken, Key, LastMinute, Status, Upstream};

    #[test]
    fn people_read_one_page_without_colours_and_a_terminal_shows_what_is_wrong_in_red() {
        let upstream = |name: &str, up: bool| Upstream {
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
        let status = Status {
            version: "1.2.3".to_owned(),
            uptime_seconds: 3_780,
            not_ready: None,
            model: "a-model".to_owned(),
            slots: 2,
            busy: 1,
            quarantined: 2,
            upstreams: vec![upstream("one:8080", true), upstream("two:8080", false)],
            keys: vec![Key {
                key: "app".to_owned(),
                waiting: 3,
                running: 1,
                wait_seconds: 11.6,
            }],
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

last minute    1.2 requests/s   0.0 refused/s   20.0 tokens/s
first token    p50 0.30 s   p95 0.40 s   of 4 in 5 minutes

UPSTREAM                      BUSY SLOTS  CONTEXT   STATE
one:8080                         1     2     4096   it answers
two:8080                         0     2        -   it cannot be reached; asked again in 8 s

KEY                          WAITING RUNNING   A FURTHER ONE WAITS
app                                3       1   12 s
";
        assert_eq!(status.text(false), page);
        assert!(
            status
                .text(true)
                .contains("\x1b[31mit cannot be reached; asked again in 8 s\x1b[0m")
        );
    }
}
