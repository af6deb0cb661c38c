//! Plays a trace against a policy: one fair queue in front, machines behind it, conversations that go on after an answer.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use admission::placement::{Placed, PromptCount, Seat};

use super::machine::{Build, Machine, Piece, Progress, body, n_tokens};
use super::policy::{Chooser, Policy, upstream};

/// After a failure a caller asks again.
const ASK_AGAIN_SECONDS: f64 = 1.0;

/// A conversation: each turn waits for the answer before it.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    pub(crate) starts_at: f64,
    pub(crate) turns: Vec<Turn>,
}

/// One question and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// What is said since the answer before.
    pub(crate) says: Vec<Piece>,
    pub(crate) answer: Piece,
    /// How long its sender thinks, in seconds.
    pub(crate) thinks: f64,
}

/// Machines that are lost and come back empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) machine: usize,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// What happens, whatever the policy.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) name: &'static str,
    pub(crate) machines: Vec<Build>,
    pub(crate) conversations: Vec<Conversation>,
    pub(crate) outages: Vec<Outage>,
}

/// What came of it; times in seconds, in the order of the answers.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) first_token: Vec<f64>,
    pub(crate) total: Vec<f64>,
    pub(crate) n_prompt: u64,
    pub(crate) n_cached: u64,
}

#[derive(Debug)]
struct Request {
    conversation: usize,
    turn: usize,
    asked_at: f64,
    prompt: Vec<Piece>,
    at: Option<(usize, Option<Placed>)>,
    n_cached: u32,
    started_at: f64,
    first_token_at: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Asks { request: usize },
    Machine { machine: usize, version: u64 },
    Fails { machine: usize },
    Returns { machine: usize },
}

/// A time that can be sorted.
#[derive(Clone, Copy, Debug, PartialEq)]
struct At(f64, u64);

impl Eq for At {}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for At {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

/// See the file's head.
pub(crate) fn run(trace: &Trace, policy: Policy) -> Outcome {
    let mut world = World {
        trace,
        chooser: Chooser::new(policy),
        machines: trace.machines.iter().copied().map(Machine::new).collect(),
        requests: Vec::new(),
        waiting: VecDeque::new(),
        events: BinaryHeap::new(),
        pending: Vec::new(),
        outcome: Outcome::default(),
    };
    for (number, conversation) in trace.conversations.iter().enumerate() {
        world.ask(conversation.starts_at, number, 0, Vec::new());
    }
    for outage in &trace.outages {
        world.at(
            outage.from,
            Event::Fails {
                machine: outage.machine,
            },
        );
        world.at(
            outage.to,
            Event::Returns {
                machine: outage.machine,
            },
        );
    }
    while let Some(Reverse((At(now, number), ()))) = world.events.pop() {
        let event = world.pending[number as usize];
        world.happens(now, event);
    }
    world.outcome
}

struct World<'a> {
    trace: &'a Trace,
    chooser: Chooser,
    machines: Vec<Machine>,
    requests: Vec<Request>,
    waiting: VecDeque<usize>,
    events: BinaryHeap<Reverse<(At, ())>>,
    pending: Vec<Event>,
    outcome: Outcome,
}

impl World<'_> {
    fn at(&mut self, time: f64, event: Event) {
        self.events
            .push(Reverse((At(time, self.pending.len() as u64), ())));
        self.pending.push(event);
    }

    fn ask(&mut self, time: f64, conversation: usize, turn: usize, mut prompt: Vec<Piece>) {
        prompt.extend_from_slice(&self.trace.conversations[conversation].turns[turn].says);
        let request = self.requests.len();
        self.requests.push(Request {
            conversation,
            turn,
            asked_at: time,
            prompt,
            at: None,
            n_cached: 0,
            started_at: 0.0,
            first_token_at: 0.0,
        });
        self.at(time, Event::Asks { request });
    }

    fn happens(&mut self, now: f64, event: Event) {
        match event {
            Event::Asks { request } => self.waiting.push_back(request),
            Event::Returns { machine } => self.machines[machine].is_up = true,
            Event::Fails { machine } => {
                for request in self.machines[machine].fail(now) {
                    let placed = self.requests[request]
                        .at
                        .take()
                        .and_then(|(_, placed)| placed);
                    self.chooser.released(placed.as_ref());
                    self.at(now + ASK_AGAIN_SECONDS, Event::Asks { request });
                }
            }
            Event::Machine { machine, version } if self.machines[machine].version == version => {
                for progress in self.machines[machine].step(now) {
                    match progress {
                        Progress::FirstToken { request } => self.first_token(now, request),
                        Progress::Done { request } => self.done(now, request),
                    }
                }
                self.watch(machine);
            }
            Event::Machine { .. } => {}
        }
        while let Some(request) = self.waiting.front().copied() {
            let seats = self.seats();
            if seats.is_empty() {
                break;
            }
            self.waiting.pop_front();
            self.start(now, request, &seats);
        }
    }

    fn seats(&self) -> Vec<Seat> {
        let free = self
            .machines
            .iter()
            .enumerate()
            .filter(|(_, machine)| machine.is_up);
        let seat = free.map(|(number, machine)| Seat {
            upstream: upstream(number),
            slots: machine.build.slots,
            in_flight: machine.in_flight(),
        });
        seat.filter(|seat| seat.in_flight < seat.slots).collect()
    }

    fn start(&mut self, now: f64, number: usize, seats: &[Seat]) {
        let body = body(&self.requests[number].prompt);
        let (machine, placed) = self.chooser.choose(&body, seats);
        let request = &mut self.requests[number];
        let answer = self.trace.conversations[request.conversation].turns[request.turn].answer;
        request.started_at = now;
        request.n_cached = self.machines[machine].start(now, number, &request.prompt, answer);
        request.at = Some((machine, placed));
        self.watch(machine);
    }

    fn watch(&mut self, machine: usize) {
        let version = self.machines[machine].version;
        if let Some(time) = self.machines[machine].next_at() {
            self.at(time, Event::Machine { machine, version });
        }
    }

    fn first_token(&mut self, now: f64, number: usize) {
        let request = &mut self.requests[number];
        request.first_token_at = now;
        let placed = request.at.as_ref().and_then(|(_, placed)| placed.as_ref());
        self.chooser.prefilled(placed);
    }

    fn done(&mut self, now: f64, number: usize) {
        let request = &mut self.requests[number];
        let placed = request.at.take().and_then(|(_, placed)| placed);
        let counted = PromptCount {
            n_cached: request.n_cached.into(),
            n_prompt: n_tokens(&request.prompt).into(),
            prefill: Duration::from_secs_f64(request.first_token_at - request.started_at),
            decode: Duration::from_secs_f64(now - request.first_token_at),
        };
        self.chooser.counted(placed.as_ref(), counted);
        self.chooser.released(placed.as_ref());
        self.outcome
            .first_token
            .push(request.first_token_at - request.asked_at);
        self.outcome.total.push(now - request.asked_at);
        self.outcome.n_prompt += u64::from(n_tokens(&request.prompt));
        self.outcome.n_cached += u64::from(request.n_cached);
        let conversation = request.conversation;
        let turn = request.turn + 1;
        let before = &self.trace.conversations[conversation].turns[turn - 1];
        if turn < self.trace.conversations[conversation].turns.len() {
            let mut prompt = std::mem::take(&mut request.prompt);
            prompt.push(before.answer);
            self.ask(now + before.thinks, conversation, turn, prompt);
        }
    }
}
