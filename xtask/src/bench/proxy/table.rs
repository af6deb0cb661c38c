//! The results of a load as rows of Markdown, compared with the first server (the mock itself) and with nginx.

use std::fmt;

use anyhow::Result;
use serde_json::Value;

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    head: String,
    rows: Vec<PeerRow>,
}

#[derive(Debug)]
struct PeerRow {
    name: String,
    /// The figure that is compared.
    rate: Option<f64>,
    cells: Vec<String>,
}

impl Table {
    fn new(columns: &[&str]) -> Self {
        let lines = "--:|".repeat(columns.len() - 1);
        Self {
            head: format!("| | {} |\n|---|{lines}---|", columns.join(" | ")),
            rows: Vec::new(),
        }
    }

    /// A table of a closed loop.
    pub(super) fn throughput(rate: &str, cpu: &str) -> Self {
        Self::new(&[
            rate,
            "of direct",
            "of nginx",
            "p50 ms",
            "p99 ms",
            cpu,
            "memory",
            "failures",
        ])
    }

    /// Adds a server's result in a closed loop; each answer counts as `units`.
    pub(super) fn throughput_row(&mut self, name: &str, seen: Result<Value>, units: f64) {
        let row = seen.map(|seen| {
            let answers = seen["answers"].as_f64().unwrap_or_default() * units;
            let cells = vec![
                millis(&seen["micros"]["p50"]),
                millis(&seen["micros"]["p99"]),
                cpu(&seen, answers),
                memory(&seen),
                failures(&seen),
            ];
            (
                Some(seen["per_second"].as_f64().unwrap_or_default() * units),
                cells,
            )
        });
        self.add(name, row);
    }

    /// A table of paced streams.
    pub(super) fn paced() -> Self {
        Self::new(&[
            "whole streams",
            "p50 ms",
            "p99 ms",
            "max ms",
            "CPU per token",
            "memory",
            "failures",
        ])
    }

    /// Adds a server's result with paced streams.
    pub(super) fn paced_row(&mut self, name: &str, seen: Result<Value>) {
        let row = seen.map(|seen| {
            let per_stream = number(&seen, "cost_seconds") * 1e3 / number(&seen, "pace");
            let tokens = number(&seen, "streams") * per_stream;
            let cells = vec![
                format!("{} of {}", seen["whole"], seen["streams"]),
                millis(&seen["micros"]["p50"]),
                millis(&seen["micros"]["p99"]),
                millis(&seen["micros"]["max"]),
                cpu(&seen, tokens),
                memory(&seen),
                failures(&seen),
            ];
            (None, cells)
        });
        self.add(name, row);
    }

    /// A table of clients that leave.
    pub(super) fn leave() -> Self {
        Self::new(&[
            "streaming p50 / max ms",
            "before the header",
            "whole answer",
            "never seen",
        ])
    }

    /// Adds a server's result with clients that leave.
    pub(super) fn leave_row(&mut self, name: &str, seen: Result<Value>) {
        let row = seen.map(|seen| {
            let phases = ["streaming", "before the header", "whole answer"];
            let mut cells: Vec<String> = phases
                .iter()
                .map(|phase| times(&seen[phase]["micros"]))
                .collect();
            let never = phases
                .iter()
                .map(|phase| seen[phase]["never"].as_u64().unwrap_or_default());
            cells.push(never.sum::<u64>().to_string());
            (None, cells)
        });
        self.add(name, row);
    }

    fn add(&mut self, name: &str, row: Result<(Option<f64>, Vec<String>)>) {
        let (rate, cells) = row.unwrap_or_else(|error| (None, vec![format!("{error:#}")]));
        self.rows.push(PeerRow {
            name: name.to_owned(),
            rate,
            cells,
        });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direct = self.rows.first().and_then(|row| row.rate);
        let nginx = self
            .rows
            .iter()
            .find(|row| row.name == "nginx")
            .and_then(|row| row.rate);
        writeln!(f, "{}", self.head)?;
        for row in &self.rows {
            write!(f, "| {} |", row.name)?;
            if let Some(rate) = row.rate {
                let of_direct = share(rate, direct);
                let of_nginx = share(rate, nginx);
                write!(f, " {rate:.0} | {of_direct} | {of_nginx} |")?;
            }
            row.cells
                .iter()
                .try_for_each(|cell| write!(f, " {cell} |"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

fn share(rate: f64, of: Option<f64>) -> String {
    of.map_or_else(String::new, |of| format!("{:.2}", rate / of))
}

fn number(seen: &Value, name: &str) -> f64 {
    seen[name].as_f64().unwrap_or_default()
}

/// The median and the maximum, if the upstream noticed that a client left.
fn times(micros: &Value) -> String {
    if micros["p50"].is_null() {
        "not within 2 s".to_owned()
    } else {
        format!("{} / {}", millis(&micros["p50"]), millis(&micros["max"]))
    }
}

/// Microseconds as milliseconds.
fn millis(micros: &Value) -> String {
    micros
        .as_f64()
        .map_or_else(|| "–".to_owned(), |micros| format!("{:.2}", micros / 1e3))
}

/// The server's processor time for each of `n` answers or tokens.
fn cpu(seen: &Value, n: f64) -> String {
    let seconds = seen["cost"]["cpu_seconds"].as_f64().filter(|_| n > 0.0);
    seconds.map_or_else(
        || "–".to_owned(),
        |seconds| format!("{:.1} µs", seconds * 1e6 / n),
    )
}

fn memory(seen: &Value) -> String {
    seen["cost"]["rss_kib"]
        .as_u64()
        .map(|kib| format!("{} MiB", kib.div_ceil(1024)))
        .unwrap_or_default()
}

/// `none`, or how many of each kind.
fn failures(seen: &Value) -> String {
    let counts = seen["failures"].as_object().into_iter().flatten();
    let counts: Vec<String> = counts.map(|(kind, n)| format!("{n} {kind}")).collect();
    if counts.is_empty() {
        "none".to_owned()
    } else {
        counts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Table;

    #[test]
    fn rows_show_their_shares_and_a_missing_server_says_why() {
        let seen = |per_second: u64| {
            Ok(
                json!({"answers": 2000, "per_second": per_second, "micros": {"p50": 100, "p99": 2500, "max": 3000},
                "failures": {}, "cost": {"rss_kib": 2049, "cpu_seconds": 0.1}}),
            )
        };
        let mut table = Table::throughput("answers/s", "CPU");
        table.throughput_row("direct", seen(1000), 1.0);
        table.throughput_row("nginx", seen(800), 1.0);
        table.throughput_row("x", seen(400), 1.0);
        table.throughput_row("y", Err(anyhow::anyhow!("not installed")), 1.0);
        let rows: Vec<String> = table
            .to_string()
            .lines()
            .skip(2)
            .map(str::to_owned)
            .collect();
        assert_eq!(
            rows,
            [
                "| direct | 1000 | 1.00 | 1.25 | 0.10 | 2.50 | 50.0 µs | 3 MiB | none |",
                "| nginx | 800 | 0.80 | 1.00 | 0.10 | 2.50 | 50.0 µs | 3 MiB | none |",
                "| x | 400 | 0.40 | 0.50 | 0.10 | 2.50 | 50.0 µs | 3 MiB | none |",
                "| y | not installed |",
            ]
        );
    }
}
