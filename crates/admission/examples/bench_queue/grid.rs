//! What one decision costs beside so many engines and so many who wait, by itself: no engines, no time that passes.

use std::time::Instant;

use admission::placement::Prefix;
use admission::{Permit, QueuePlace};

use super::chance::Chance;
use super::crowd::Person;
use super::door::{Door, PersonAsking, nanos};
use super::figures::at_share;
use super::machine::{body, n_tokens};

const SLOTS: usize = 4;
const ROUNDS: usize = 2_000;
/// Forecasts take longer with many who wait.
const FORECASTS: usize = 200;

/// Nanoseconds, each the median of many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecisionCosts {
    /// Somebody comes.
    pub(crate) enter: u32,
    /// An answer ends, and the next in line gets its slot.
    pub(crate) release: u32,
    /// A caller is told its place in the queue; `None` where nobody waits.
    pub(crate) forecast: Option<u32>,
}

/// A fleet in which `n_running` slots are taken, and then `n_waiting` wait.
struct LoadedDoor {
    door: Door,
    prefixes: Vec<(Prefix, u64)>,
    permits: Vec<Option<Permit>>,
    places: Vec<Option<QueuePlace>>,
    running: Vec<usize>,
}

/// Measures with `n_waiting` who wait for the slots of `engines`; without any, `busy` of the slots are taken.
pub(crate) fn measure(engines: usize, n_waiting: usize, busy: f64) -> DecisionCosts {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing of the system");
    let _entered = runtime.enter();
    let n_slots = engines * SLOTS;
    let n_running = if n_waiting > 0 {
        n_slots
    } else {
        ((n_slots as f64 * busy) as usize).max(1)
    };
    let mut loaded = LoadedDoor::new(engines, n_running + n_waiting);
    let mut chance = Chance::new(1);
    let begun = loaded.door.meter.enter.len();
    for _ in 0..ROUNDS {
        let at = chance.below(loaded.running.len() as u64) as usize;
        let person = loaded.running.swap_remove(at);
        if let Some(permit) = loaded.permits[person].take() {
            loaded.door.release(permit);
        }
        loaded.enter(person);
        loaded.settle();
    }
    DecisionCosts {
        enter: median(&mut loaded.door.meter.enter[begun..]),
        release: median(&mut loaded.door.meter.release),
        forecast: loaded.forecast(&mut chance),
    }
}

impl LoadedDoor {
    fn new(engines: usize, n_people: usize) -> Self {
        let mut prefixes = Vec::with_capacity(n_people);
        for number in 0..n_people {
            let mut person = Person::new(number, String::new(), false, 1);
            let question = person.asks();
            let question = if number % 2 == 0 {
                question
            } else {
                person.asks()
            };
            let prefix = Prefix::of(&body(&question.prompt));
            prefixes.push((prefix, n_tokens(&question.prompt).into()));
        }
        let mut loaded = Self {
            door: Door::new(engines, SLOTS, usize::MAX),
            permits: prefixes.iter().map(|_| None).collect(),
            places: vec![None; n_people],
            prefixes,
            running: Vec::new(),
        };
        for person in 0..n_people {
            loaded.enter(person);
            loaded.settle();
        }
        loaded
    }

    fn enter(&mut self, person: usize) {
        let (prefix, n_prompt_tokens) = &self.prefixes[person];
        self.places[person] = self.door.enter(&PersonAsking {
            number: person,
            user: &person.to_string(),
            n_prompt_tokens: *n_prompt_tokens,
            prefix,
        });
    }

    /// Whoever has a slot begins, and its prompt is computed.
    fn settle(&mut self) {
        while let Some((person, admitted)) = self.door.admitted() {
            let Ok(mut permit) = admitted else { continue };
            permit.begin();
            permit.token();
            self.permits[person] = Some(permit);
            self.places[person] = None;
            self.running.push(person);
        }
    }

    fn forecast(&self, chance: &mut Chance) -> Option<u32> {
        let waiting: Vec<QueuePlace> = self.places.iter().copied().flatten().collect();
        if waiting.is_empty() {
            return None;
        }
        let mut costs = Vec::with_capacity(FORECASTS);
        for _ in 0..FORECASTS {
            let place = waiting[chance.below(waiting.len() as u64) as usize];
            let began = Instant::now();
            let forecast = self.door.admission.forecast(place);
            costs.push(nanos(began));
            assert!(forecast.is_some(), "it waits");
        }
        Some(median(&mut costs))
    }
}

fn median(costs: &mut [u32]) -> u32 {
    costs.sort_unstable();
    at_share(costs, 0.5).unwrap_or_default()
}
