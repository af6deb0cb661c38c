//! A load's figures as cells of Markdown.

use serde_json::Value;

/// A table: its head, and rows that each have the cells of one gateway.
#[derive(Debug)]
pub(in crate::bench) struct GatewayTable(String);

impl GatewayTable {
    pub(in crate::bench) fn new(columns: &[&str]) -> Self {
        let lines = "--:|".repeat(columns.len() - 1);
        Self(format!("| | {} |\n|---|{lines}---|\n", columns.join(" | ")))
    }

    /// Adds a row, which says why where there are no cells.
    pub(in crate::bench) fn row(&mut self, name: &str, cells: anyhow::Result<Vec<String>>) {
        let cells = cells.unwrap_or_else(|error| vec![format!("{error:#}")]);
        self.0
            .push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }

    pub(in crate::bench) fn text(&self) -> &str {
        &self.0
    }
}

/// A number with its thousands apart.
pub(in crate::bench) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds as milliseconds.
pub(in crate::bench) fn millis(micros: &Value) -> String {
    let micros = micros.as_f64();
    micros.map_or_else(|| "–".to_owned(), |micros| format!("{:.2}", micros / 1e3))
}

/// The processor time of process `name` for each of `n` tokens.
pub(in crate::bench) fn cpu(seen: &Value, name: &str, n: f64) -> String {
    let seconds = seen["costs"][name]["cpu_seconds"].as_f64();
    let seconds = seconds.filter(|_| n > 0.0);
    seconds.map_or_else(
        || "–".to_owned(),
        |seconds| format!("{:.1} µs", seconds * 1e6 / n),
    )
}

/// The load's share of all the processor time there was.
pub(in crate::bench) fn share_of_load(seen: &Value) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let whole = seen["cost_seconds"].as_f64().unwrap_or_default() * cores as f64;
    let load = seen["costs"]["load"]["cpu_seconds"].as_f64();
    load.map_or_else(String::new, |load| format!("{:.0} %", load / whole * 100.0))
}

/// Memory that `n` of something took, each, between two readings in KiB.
pub(in crate::bench) fn each(before: &Value, after: &Value, n: f64) -> String {
    match (before.as_f64(), after.as_f64()) {
        (Some(before), Some(after)) if n > 0.0 => format!("{:.1} KiB", (after - before) / n),
        _ => "–".to_owned(),
    }
}

/// KiB as MiB.
pub(in crate::bench) fn mebibytes(kib: &Value) -> String {
    let kib = kib.as_f64();
    kib.map_or_else(
        || "–".to_owned(),
        |kib| format!("{:.0} MiB", (kib / 1024.0).ceil()),
    )
}

/// `none`, or how many of each kind.
pub(in crate::bench) fn failures(seen: &Value) -> String {
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

    use super::{count, cpu, each, failures, mebibytes, millis};

    #[test]
    fn figures_are_short_and_a_missing_one_is_a_dash() {
        assert_eq!(count(1_234_567.4), "1,234,567");
        assert_eq!(count(999.0), "999");
        assert_eq!(millis(&json!(1234)), "1.23");
        assert_eq!(millis(&json!(null)), "–");
        let seen = json!({"costs": {"gateway": {"cpu_seconds": 0.5}}, "failures": {"Error": 2}});
        assert_eq!(cpu(&seen, "gateway", 250_000.0), "2.0 µs");
        assert_eq!(cpu(&seen, "proxy", 250_000.0), "–");
        assert_eq!(each(&json!(100), &json!(1100), 200.0), "5.0 KiB");
        assert_eq!(mebibytes(&json!(2049.0)), "3 MiB");
        assert_eq!(mebibytes(&json!(2048)), "2 MiB");
        assert_eq!(mebibytes(&json!(null)), "–");
        assert_eq!(failures(&seen), "2 Error");
        assert_eq!(failures(&json!({"failures": {}})), "none");
    }
}
