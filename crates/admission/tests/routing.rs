//! The choice of an upstream, on simulated days: the proxy's own code beside asking the least busy one.

#[path = "../examples/bench_route/chance.rs"]
mod chance;
#[path = "../examples/bench_route/machine.rs"]
mod machine;
#[path = "../examples/bench_route/policy.rs"]
mod policy;
#[path = "../examples/bench_route/simulation.rs"]
mod simulation;
#[path = "../examples/bench_route/traces.rs"]
mod traces;

use policy::Policy;
use simulation::Trace;
use traces::Size;

/// How much worse than asking the least busy one a choice may be.
const MAX_WORSE: f64 = 1.05;
const SEEDS: u64 = 4;

/// All traces of a seed.
fn day(seed: u64) -> Vec<Trace> {
    traces::all(Size {
        machines: 6,
        conversations: 80,
        seed,
    })
}

/// Seconds to the first token and to the last, summed over all answers of all days.
fn seconds(days: &[Vec<Trace>], trace: usize, policy: Policy) -> (f64, f64) {
    let outcomes = days.iter().map(|day| simulation::run(&day[trace], policy));
    outcomes.fold((0.0, 0.0), |(first, total), outcome| {
        (
            first + outcome.first_token.iter().sum::<f64>(),
            total + outcome.total.iter().sum::<f64>(),
        )
    })
}

#[test]
fn the_choice_is_at_most_5_percent_worse_than_the_least_busy_one() {
    let days: Vec<_> = (1..=SEEDS).map(day).collect();
    for (number, trace) in days[0].iter().enumerate() {
        let least_busy = seconds(&days, number, Policy::LeastBusy);
        let ours = seconds(&days, number, Policy::Ours);
        let first = ours.0 / least_busy.0;
        let total = ours.1 / least_busy.1;
        let name = trace.name;
        assert!(
            first <= MAX_WORSE && total <= MAX_WORSE,
            "{name}: {first:.3} and {total:.3} of the least busy's"
        );
        if name == "questions on documents" {
            assert!(
                first < 0.5 && total < 0.7,
                "{name}: {first:.3} and {total:.3}"
            );
        }
    }
}

#[test]
fn every_policy_answers_every_question_and_the_simulated_cache_holds() {
    for trace in day(1) {
        let n_answers: usize = trace
            .conversations
            .iter()
            .map(|conversation| conversation.turns.len())
            .sum();
        for policy in Policy::ALL {
            let outcome = simulation::run(&trace, policy);
            let name = trace.name;
            let policy = policy.name();
            assert_eq!(outcome.total.len(), n_answers, "{name}, {policy}");
            assert!(outcome.n_cached < outcome.n_prompt, "{name}, {policy}");
            assert_eq!(
                outcome.n_cached == 0,
                name == "a cache that keeps nothing" || name == "no repeats"
            );
        }
    }
}
