//! Which upstream a request should go to: several policies on the same simulated llama-servers and conversations, ours
//! being the proxy's own code. Deterministic. `cargo xtask bench route` builds and runs it.

mod chance;
mod machine;
mod policy;
mod simulation;
mod traces;

use policy::Policy;
use simulation::Outcome;
use traces::Size;

/// Machines of 4 slots, conversations, and seeds that a row is the mean of.
const SIZE: [u64; 3] = [64, 1_000, 1];

fn main() {
    let given: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    let [machines, conversations, seeds] = given.try_into().unwrap_or(SIZE);
    println!(
        "{machines} machines with 4 slots each, {conversations} conversations, mean of {seeds} seeds; seconds"
    );
    let size = Size {
        machines: machines as usize,
        conversations: conversations as usize,
        seed: 1,
    };
    let n_traces = traces::all(size).len();
    for number in 0..n_traces {
        println!(
            "\n| {} | first token, mean | p99 | whole answer, mean | p99 | prompt cached |",
            traces::all(size)[number].name
        );
        println!("|---|--:|--:|--:|--:|--:|");
        let mut least_busy = (0.0, 0.0);
        for policy in Policy::ALL {
            let outcomes: Vec<Outcome> = (1..=seeds)
                .map(|seed| {
                    let size = Size { seed, ..size };
                    simulation::run(&traces::all(size).swap_remove(number), policy)
                })
                .collect();
            let row = Row::of(&outcomes);
            if policy == Policy::LeastBusy {
                least_busy = (row.first_token, row.total);
            }
            let beside = if policy == Policy::Ours {
                format!(
                    " {:+.0} %, {:+.0} % |",
                    percent(row.first_token, least_busy.0),
                    percent(row.total, least_busy.1)
                )
            } else {
                String::new()
            };
            println!(
                "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} % |{beside}",
                policy.name(),
                row.first_token,
                row.first_token_p99,
                row.total,
                row.total_p99,
                row.cached * 100.0
            );
        }
    }
}

struct Row {
    first_token: f64,
    first_token_p99: f64,
    total: f64,
    total_p99: f64,
    cached: f64,
}

/// How much more ours is than theirs, in percent.
fn percent(ours: f64, theirs: f64) -> f64 {
    (ours / theirs - 1.0) * 100.0
}

fn mean(outcomes: &[Outcome], value: impl Fn(&Outcome) -> f64) -> f64 {
    outcomes.iter().map(value).sum::<f64>() / outcomes.len() as f64
}

impl Row {
    fn of(outcomes: &[Outcome]) -> Self {
        Self {
            first_token: mean(outcomes, |outcome| average(&outcome.first_token)),
            first_token_p99: mean(outcomes, |outcome| p99(&outcome.first_token)),
            total: mean(outcomes, |outcome| average(&outcome.total)),
            total_p99: mean(outcomes, |outcome| p99(&outcome.total)),
            cached: mean(outcomes, |outcome| {
                outcome.n_cached as f64 / outcome.n_prompt as f64
            }),
        }
    }
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn p99(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)]
}
