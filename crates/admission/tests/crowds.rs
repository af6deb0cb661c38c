//! Hundreds of people before simulated engines, in virtual time: what the real queue and the real choice of an upstream
//! promise them.

#[path = "../examples/bench_route/chance.rs"]
mod chance;
#[path = "../examples/bench_queue/crowd.rs"]
mod crowd;
#[expect(dead_code, reason = "the bench measures more than is promised")]
#[path = "../examples/bench_queue/day.rs"]
mod day;
#[expect(dead_code, reason = "the bench measures more than is promised")]
#[path = "../examples/bench_queue/door.rs"]
mod door;
#[expect(dead_code, reason = "the bench measures more than is promised")]
#[path = "../examples/bench_queue/figures.rs"]
mod figures;
#[path = "../examples/bench_route/machine.rs"]
mod machine;

use day::{DayPlan, EngineLoss};
use figures::AnswerGroup;

const ENGINES: usize = 8;
const LASTS: f64 = 900.0;
/// What comes before it is for warming up.
const FROM: f64 = 300.0;

/// Some slots are always free.
const CALM: DayPlan = DayPlan {
    engines: ENGINES,
    people: ENGINES * 4 * 10,
    thinks: 600.0,
    lasts: LASTS,
    flood: 0,
    flood_from: FROM,
    at_once: usize::MAX,
    loss: None,
    seed: 1,
};
/// Several wait for each slot.
const RUSH: DayPlan = DayPlan {
    thinks: 20.0,
    ..CALM
};

fn begun(plan: &DayPlan) -> AnswerGroup {
    AnswerGroup::begun(&plan.play().answers, FROM, LASTS)
}

#[test]
fn the_same_seed_gives_the_same_day_and_another_seed_another() {
    let day = RUSH.play();
    assert_eq!(RUSH.play().answers, day.answers);
    let other = DayPlan { seed: 2, ..RUSH };
    assert_ne!(other.play().answers, day.answers);
}

#[test]
fn one_person_who_floods_gets_no_more_than_each_of_those_who_wait() {
    let alone = begun(&RUSH);
    let flooded = begun(&DayPlan { flood: 100, ..RUSH });
    let others = flooded.of(false);
    let mean = others.n_tokens() as f64 / RUSH.people as f64;
    let share = flooded.of(true).n_tokens() as f64 / mean;
    assert!(
        share > 0.5 && share < 1.5,
        "{share:.2} times the mean of the others"
    );
    let waits = (others.wait(0.99), alone.wait(0.99));
    assert!(waits.0 < 1.1 * waits.1, "{waits:?}");
}

#[test]
fn all_slots_of_engines_that_were_lost_are_used_again_after_their_return() {
    let loss = EngineLoss {
        engines: ENGINES / 4,
        from: 400.0,
        to: 500.0,
    };
    let plan = DayPlan {
        loss: Some(loss),
        ..RUSH
    };
    let day = plan.play();
    assert_eq!(day.n_broken, loss.engines * plan.slots() / ENGINES);
    // What began later may not have ended yet.
    let from = loss.to + 60.0;
    let to = LASTS - 180.0;
    let after = AnswerGroup::begun(&day.answers, from, to);
    let busy = after.slot_seconds() / (to - from) / plan.slots() as f64;
    assert!(busy > 0.9, "{busy:.2} of the slots are busy");
}
