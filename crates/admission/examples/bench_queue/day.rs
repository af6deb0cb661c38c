//! Plays people against engines behind the real queue. Virtual time: tokio's clock stands still and is moved from event
//! to event. One thread, so that the same plan gives the same day.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use admission::placement::Prefix;
use admission::{Permit, UpstreamCount};

use super::crowd::{Person, Question};
use super::door::{Door, DoorMeter, PersonAsking, upstream};
use super::machine::{Build, Machine, Progress, body, n_tokens};

/// Whom nothing answers asks again after so many seconds.
const ASK_AGAIN_SECONDS: f64 = 1.0;
/// A 4B model on four cores, whose answers share the memory's bandwidth, not its cores. llama-server keeps 8 GiB of parked
/// prompts unless it is told otherwise: 56,000 tokens of such a model.
const ENGINE: Build = Build {
    slots: 4,
    prefill_per_second: 120.0,
    decode_per_second: 12.0,
    crowding: 0.25,
    parked_tokens: 56_000,
    caches: true,
};

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DayPlan {
    pub(crate) engines: usize,
    pub(crate) people: usize,
    /// How long a person thinks before a question, in seconds, in the mean.
    pub(crate) thinks: f64,
    /// In seconds.
    pub(crate) lasts: f64,
    /// Requests that one more person always has at once, from `flood_from` on.
    pub(crate) flood: usize,
    pub(crate) flood_from: f64,
    /// Requests of one person that may hold a slot at once.
    pub(crate) at_once: usize,
    pub(crate) loss: Option<EngineLoss>,
    pub(crate) seed: u64,
}

/// Engines that are lost and come back empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineLoss {
    pub(crate) engines: usize,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// An answer that ended. Times are in seconds since the beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EndedAnswer {
    pub(crate) asked_at: f64,
    pub(crate) started_at: f64,
    pub(crate) ended_at: f64,
    /// Whether the person who floods asked.
    pub(crate) is_flood: bool,
    /// Of a question that is not its conversation's first: whether the engine still had nine tenths of what was said
    /// before.
    pub(crate) found: Option<bool>,
    pub(crate) n_prompt: u32,
    pub(crate) n_cached: u32,
    /// Prompt and completion, without what was cached: what the queue counts.
    pub(crate) n_tokens: u32,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct PlayedDay {
    pub(crate) answers: Vec<EndedAnswer>,
    /// Answers that broke off because their engine was lost.
    pub(crate) n_broken: usize,
    /// The most that waited at once.
    pub(crate) most_waiting: usize,
    pub(crate) meter: DoorMeter,
}

impl DayPlan {
    /// The slots of all engines.
    pub(crate) fn slots(&self) -> usize {
        self.engines * ENGINE.slots
    }

    /// Plays it.
    pub(crate) fn play(&self) -> PlayedDay {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing of the system");
        runtime.block_on(play(*self))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DayEvent {
    Asks { person: usize },
    Engine { engine: usize, version: u64 },
    Lost { engine: usize },
    Returns { engine: usize },
}

/// An event and when it is due; of two at the same time the one that was planned first comes first.
#[derive(Clone, Copy, Debug, PartialEq)]
struct DueEvent(f64, u64, DayEvent);

impl Eq for DueEvent {}

impl PartialOrd for DueEvent {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DueEvent {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

/// A person's request: asked, and perhaps under way.
struct OpenRequest {
    question: Question,
    asked_at: f64,
    permit: Option<Permit>,
    n_cached: u32,
    started_at: f64,
    first_token_at: f64,
}

struct PlayingDay {
    plan: DayPlan,
    now: f64,
    door: Door,
    engines: Vec<Machine>,
    people: Vec<Person>,
    /// Of each person, at most one.
    requests: Vec<Option<OpenRequest>>,
    events: BinaryHeap<Reverse<DueEvent>>,
    n_events: u64,
    n_waiting: usize,
    most_waiting: usize,
    n_broken: usize,
    answers: Vec<EndedAnswer>,
}

async fn play(plan: DayPlan) -> PlayedDay {
    let mut day = PlayingDay::new(plan);
    while let Some(Reverse(DueEvent(at, _, event))) = day.events.pop() {
        if at > plan.lasts {
            break;
        }
        tokio::time::advance(Duration::from_secs_f64(at - day.now)).await;
        day.now = at;
        day.happens(event);
        while let Some((person, admitted)) = day.door.admitted() {
            day.n_waiting -= 1;
            match admitted {
                Ok(permit) => day.start(person, permit),
                Err(_) => day.ask_again(person),
            }
        }
    }
    PlayedDay {
        answers: day.answers,
        n_broken: day.n_broken,
        most_waiting: day.most_waiting,
        meter: day.door.meter,
    }
}

impl PlayingDay {
    fn new(plan: DayPlan) -> Self {
        let mut people = Vec::new();
        for number in 0..plan.people {
            people.push(Person::new(
                number,
                format!("person-{number}"),
                false,
                plan.seed,
            ));
        }
        for number in plan.people..plan.people + plan.flood {
            people.push(Person::new(number, "flood".to_owned(), true, plan.seed));
        }
        let mut day = Self {
            plan,
            now: 0.0,
            door: Door::new(plan.engines, ENGINE.slots, plan.at_once),
            engines: vec![ENGINE; plan.engines]
                .into_iter()
                .map(Machine::new)
                .collect(),
            requests: people.iter().map(|_| None).collect(),
            people,
            events: BinaryHeap::new(),
            n_events: 0,
            n_waiting: 0,
            most_waiting: 0,
            n_broken: 0,
            answers: Vec::new(),
        };
        for person in 0..day.people.len() {
            day.plan_question(person);
        }
        if let Some(loss) = plan.loss {
            for engine in 0..loss.engines {
                day.at(loss.from, DayEvent::Lost { engine });
                day.at(loss.to, DayEvent::Returns { engine });
            }
        }
        day
    }

    fn at(&mut self, time: f64, event: DayEvent) {
        self.n_events += 1;
        self.events
            .push(Reverse(DueEvent(time, self.n_events, event)));
    }

    /// The person thinks, and then asks.
    fn plan_question(&mut self, person: usize) {
        let asking = &mut self.people[person];
        let thinks = if asking.floods {
            0.0
        } else {
            asking.thinks(self.plan.thinks)
        };
        let from = if asking.floods {
            self.plan.flood_from
        } else {
            0.0
        };
        let asked_at = self.now.max(from) + thinks;
        self.requests[person] = Some(OpenRequest {
            question: asking.asks(),
            asked_at,
            permit: None,
            n_cached: 0,
            started_at: 0.0,
            first_token_at: 0.0,
        });
        self.at(asked_at, DayEvent::Asks { person });
    }

    /// The same question once more. The wait counts from the first time.
    fn ask_again(&mut self, person: usize) {
        self.at(self.now + ASK_AGAIN_SECONDS, DayEvent::Asks { person });
    }

    fn happens(&mut self, event: DayEvent) {
        match event {
            DayEvent::Asks { person } => self.ask(person),
            DayEvent::Returns { engine } => {
                self.engines[engine].is_up = true;
                self.door
                    .tell(|admission| admission.set_slots(upstream(engine), ENGINE.slots));
            }
            DayEvent::Lost { engine } => {
                self.door
                    .tell(|admission| admission.set_slots(upstream(engine), 0));
                for person in self.engines[engine].fail(self.now) {
                    self.n_broken += 1;
                    let permit = self.requests[person]
                        .as_mut()
                        .and_then(|open| open.permit.take());
                    if let Some(permit) = permit {
                        self.door.release(permit);
                    }
                    self.ask_again(person);
                }
            }
            DayEvent::Engine { engine, version } if self.engines[engine].version == version => {
                for progress in self.engines[engine].step(self.now) {
                    match progress {
                        Progress::FirstToken { request } => self.first_token(request),
                        Progress::Done { request } => self.end(request),
                    }
                }
                self.watch(engine);
            }
            DayEvent::Engine { .. } => {}
        }
    }

    fn ask(&mut self, person: usize) {
        let Some(open) = &self.requests[person] else {
            return;
        };
        let prefix = Prefix::of(&body(&open.question.prompt));
        let entered = self.door.enter(&PersonAsking {
            number: person,
            user: &self.people[person].user,
            n_prompt_tokens: n_tokens(&open.question.prompt).into(),
            prefix: &prefix,
        });
        if entered.is_none() {
            self.ask_again(person);
            return;
        }
        self.n_waiting += 1;
        let n_waiting = self.door.admission.load().waiting;
        self.most_waiting = self.most_waiting.max(n_waiting);
    }

    fn start(&mut self, person: usize, mut permit: Permit) {
        let Some(open) = &mut self.requests[person] else {
            return;
        };
        let engine = permit.upstream().0 as usize;
        assert!(self.engines[engine].is_up, "engine {engine} was lost");
        self.door.tell(|_| permit.begin());
        open.permit = Some(permit);
        open.started_at = self.now;
        let question = &open.question;
        open.n_cached =
            self.engines[engine].start(self.now, person, &question.prompt, question.answer);
        self.watch(engine);
    }

    fn watch(&mut self, engine: usize) {
        let version = self.engines[engine].version;
        if let Some(time) = self.engines[engine].next_at() {
            self.at(time, DayEvent::Engine { engine, version });
        }
    }

    fn first_token(&mut self, person: usize) {
        let Some(open) = &mut self.requests[person] else {
            return;
        };
        open.first_token_at = self.now;
        if let Some(permit) = &mut open.permit {
            self.door.tell(|_| permit.token());
        }
    }

    fn end(&mut self, person: usize) {
        let Some(open) = self.requests[person].take() else {
            return;
        };
        let n_prompt = n_tokens(&open.question.prompt);
        let n_completion = open.question.answer.n_tokens;
        if let Some(mut permit) = open.permit {
            let count = UpstreamCount {
                n_prompt_tokens: n_prompt.into(),
                n_cached_tokens: Some(open.n_cached.into()),
                n_completion_tokens: n_completion.into(),
                prefill: Duration::from_secs_f64(open.first_token_at - open.started_at),
                decode: Duration::from_secs_f64(self.now - open.first_token_at),
            };
            self.door.tell(|_| permit.counted(count));
            self.door.release(permit);
        }
        let n_seen = open.question.n_seen;
        let has_most = f64::from(open.n_cached) >= 0.9 * f64::from(n_seen);
        self.answers.push(EndedAnswer {
            asked_at: open.asked_at,
            started_at: open.started_at,
            ended_at: self.now,
            is_flood: self.people[person].floods,
            found: (n_seen > 0).then_some(has_most),
            n_prompt,
            n_cached: open.n_cached,
            n_tokens: n_prompt - open.n_cached + n_completion,
        });
        self.plan_question(person);
    }
}
