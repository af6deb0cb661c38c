//! How far one queue in one process goes: the real queue and choice of an upstream before hundreds of simulated engines
//! and thousands of people, in virtual time. What happens is the same every time; what it costs depends on the machine.
//! `cargo xtask bench queue` builds and runs it.

#[path = "../bench_route/chance.rs"]
mod chance;
mod crowd;
mod day;
mod door;
mod figures;
mod grid;
#[path = "../bench_route/machine.rs"]
mod machine;

use std::time::Instant;

use day::{DayPlan, EngineLoss};
use figures::{AnswerGroup, at_share};

const ENGINES: [usize; 4] = [1, 10, 100, 300];
const WAITING: [usize; 4] = [100, 1_000, 10_000, 50_000];
const PEOPLE_PER_SLOT: usize = 10;
/// In the rows with few people, who think for a sixth of the time, so that as many slots are busy.
const FEW_PER_SLOT: usize = 2;
/// People who read, write and do other things between two questions.
const CALM_SECONDS: f64 = 600.0;
/// The same with few people.
const FEW_SECONDS: f64 = 100.0;
/// People who ask again at once: several wait for each slot.
const RUSH_SECONDS: f64 = 20.0;
const LASTS: f64 = 3_600.0;
/// What comes before it is for warming up.
const FROM: f64 = 900.0;
/// Requests that one person has at once, in the table of fairness.
const FLOOD: usize = 200;
/// How many of them may hold a slot, in its second rows.
const AT_ONCE: usize = 4;

fn main() {
    let given = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let seed = given.unwrap_or(1);
    println!(
        "Engines with 4 slots each, {PEOPLE_PER_SLOT} people to a slot, or {FEW_PER_SLOT} in the rows with few; seed {seed}"
    );
    crowds(seed);
    costs();
    floods(seed);
    losses(seed);
}

fn plan(engines: usize, thinks: f64, seed: u64) -> DayPlan {
    DayPlan {
        engines,
        people: engines * 4 * PEOPLE_PER_SLOT,
        thinks,
        lasts: LASTS,
        flood: 0,
        flood_from: FROM,
        at_once: usize::MAX,
        loss: None,
        seed,
    }
}

fn crowds(seed: u64) {
    println!("\n### An hour of people\n");
    println!(
        "| engines, people | slots busy | most waiting | wait p50 s | p99 s | prefix found | prompt cached | answers | \
         µs of the queue per answer | answers per second of a core | enter p50 / p90 µs | end p50 / p90 µs | took |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let crowds = [
        ("few", FEW_PER_SLOT, FEW_SECONDS),
        ("calm", PEOPLE_PER_SLOT, CALM_SECONDS),
        ("rush", PEOPLE_PER_SLOT, RUSH_SECONDS),
    ];
    for (name, per_slot, thinks) in crowds {
        for engines in ENGINES {
            let plan = DayPlan {
                people: engines * 4 * per_slot,
                ..plan(engines, thinks, seed)
            };
            let began = Instant::now();
            let mut day = plan.play();
            let took = began.elapsed().as_secs_f64();
            let group = AnswerGroup::begun(&day.answers, FROM, LASTS);
            let busy = group.slot_seconds() / (LASTS - FROM) / plan.slots() as f64;
            let each = day.meter.seconds() / day.answers.len().max(1) as f64;
            println!(
                "| {engines}, {} {name} | {:.0} % | {} | {:.2} | {:.2} | {:.0} % | {:.0} % | {} | {:.2} | {:.0} | {} | {} | {took:.1} s |",
                plan.people,
                busy * 100.0,
                day.most_waiting,
                group.wait(0.5),
                group.wait(0.99),
                group.found() * 100.0,
                group.cached() * 100.0,
                group.n(),
                each * 1e6,
                1.0 / each,
                spread(&day.meter.enter),
                spread(&day.meter.release),
            );
        }
    }
}

/// Median and 90th percentile of sorted times, as microseconds.
fn spread(nanos: &[u32]) -> String {
    let [p50, p90] = [0.5, 0.9].map(|share| at_share(nanos, share).unwrap_or_default());
    format!("{} / {}", micros(p50), micros(p90))
}

fn micros(nanos: u32) -> String {
    format!("{:.2}", f64::from(nanos) / 1e3)
}

fn costs() {
    println!(
        "\n### One decision, median µs: somebody comes / an answer ends and the next begins / a place is told\n"
    );
    let waiting = WAITING.map(|n| format!("{n} wait"));
    println!(
        "| engines | half the slots free | one slot free | {} |",
        waiting.join(" | ")
    );
    println!("|---|--:|--:|{}", "--:|".repeat(WAITING.len()));
    for engines in ENGINES {
        let n_slots = (engines * 4) as f64;
        let mut cells = vec![
            grid::measure(engines, 0, 0.5),
            grid::measure(engines, 0, (n_slots - 1.0) / n_slots),
        ];
        cells.extend(WAITING.map(|n| grid::measure(engines, n, 1.0)));
        let cells: Vec<String> = cells.into_iter().map(cell).collect();
        println!("| {engines} | {} |", cells.join(" | "));
    }
}

fn cell(costs: grid::DecisionCosts) -> String {
    let forecast = costs.forecast.map_or_else(|| "–".to_owned(), micros);
    format!(
        "{} / {} / {forecast}",
        micros(costs.enter),
        micros(costs.release)
    )
}

fn floods(seed: u64) {
    println!("\n### One person has {FLOOD} requests at once, all the time\n");
    println!(
        "| 10 engines, 400 people | the flood may hold | others' wait p50 / p99 s | their prefix found | their answers | \
         the flood's tokens beside the mean of the others | its share of all | its wait p50 s |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (name, thinks) in [("calm", CALM_SECONDS), ("rush", RUSH_SECONDS)] {
        let alone = plan(10, thinks, seed);
        let any = DayPlan {
            flood: FLOOD,
            ..alone
        };
        let few = DayPlan {
            at_once: AT_ONCE,
            ..any
        };
        for (held, plan) in [("no flood", alone), ("any number", any), ("4 slots", few)] {
            let day = plan.play();
            let group = AnswerGroup::begun(&day.answers, FROM, LASTS);
            let others = group.of(false);
            let flood = group.of(true);
            let mean = others.n_tokens() as f64 / plan.people as f64;
            println!(
                "| {name} | {held} | {:.2} / {:.2} | {:.0} % | {} | {:.1} | {:.1} % | {:.1} |",
                others.wait(0.5),
                others.wait(0.99),
                others.found() * 100.0,
                others.n(),
                flood.n_tokens() as f64 / mean,
                flood.n_tokens() as f64 / group.n_tokens() as f64 * 100.0,
                flood.wait(0.5),
            );
        }
    }
}

fn losses(seed: u64) {
    let lost = 1_800.0;
    let back = 2_400.0;
    let spans = [
        ("before", FROM, lost),
        ("lost", lost, back),
        ("the minute after", back, back + 60.0),
        ("then", back + 60.0, LASTS),
    ];
    println!("\n### A quarter of the engines is lost for ten minutes, and comes back empty\n");
    let names = spans.map(|(name, ..)| name);
    println!("Wait p50 / p99 s, and prefixes found, of calm people.\n");
    println!("| engines | answers broken | {} |", names.join(" | "));
    println!("|---|--:|{}", "--:|".repeat(spans.len()));
    for engines in [10, 100, 300] {
        let loss = EngineLoss {
            engines: engines / 4,
            from: lost,
            to: back,
        };
        let plan = DayPlan {
            loss: Some(loss),
            ..plan(engines, CALM_SECONDS, seed)
        };
        let day = plan.play();
        let cells = spans.map(|(_, from, to)| {
            let group = AnswerGroup::begun(&day.answers, from, to);
            format!(
                "{:.2} / {:.2}, {:.0} %",
                group.wait(0.5),
                group.wait(0.99),
                group.found() * 100.0
            )
        });
        println!("| {engines} | {} | {} |", day.n_broken, cells.join(" | "));
    }
}
