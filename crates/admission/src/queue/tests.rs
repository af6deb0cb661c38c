//! The fair order alone, without clocks or tasks: what holds after any history, and how good the forecasts are.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::{Just, Strategy, prop_oneof, proptest};
use proptest::{collection, prop_assert, prop_assert_eq};

use super::{Asking, FairQueue, Forecast, Grant, QueueNow, QueuePlace, Spent};

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
const USERS: [&str; 3] = ["", "x", "y"];

/// Numbers that look random and are the same in every run.
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    /// One of `from..=to`.
    pub(crate) fn number(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (bits ^ (bits >> 31)) % (to - from + 1)
    }
}

fn weight(weight: u32) -> NonZeroU32 {
    NonZeroU32::new(weight).unwrap()
}

/// A request of 100 tokens in 100 bytes.
fn asking(key: usize) -> Asking<'static> {
    Asking {
        caller: KEYS[key],
        weight: NonZeroU32::MIN,
        max_in_flight: usize::MAX,
        user: "",
        max_in_flight_of_user: usize::MAX,
        n_prompt_tokens: 50,
        max_completion_tokens: 50,
        n_bytes: 100,
        prefix: &crate::tests::EMPTY,
    }
}

/// One thing that happens. Indices wrap around.
#[derive(Clone, Debug)]
enum Event {
    Enter {
        key: usize,
        user: usize,
        weight: u32,
        n_tokens: u64,
        n_bytes: usize,
    },
    Leave(usize),
    Finish(usize, Option<u64>),
    Slots(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..KEYS.len(), 0..USERS.len(), 1_u32..4, 0_u64..3000, 1_usize..400)
            .prop_map(|(key, user, weight, n_tokens, n_bytes)| Event::Enter { key, user, weight, n_tokens, n_bytes }),
        1 => (0_usize..99).prop_map(Event::Leave),
        2 => (0_usize..99, prop_oneof![Just(None), (0_u64..9000).prop_map(Some)])
            .prop_map(|(at, spent)| Event::Finish(at, spent)),
        1 => (0_usize..5).prop_map(Event::Slots),
    ]
}

/// A user of a key, by number.
type Who = (usize, usize);

/// What the queue must agree with: each user's requests in order, and what runs. Key `n` may run `n + 1` at once, and
/// so may user `n` of each key.
#[derive(Default)]
struct Model {
    waiting: BTreeMap<Who, VecDeque<(QueuePlace, usize)>>,
    running: Vec<(Who, Grant)>,
    slots: usize,
}

impl Model {
    /// Whether the limits of the key and of the user let a request start.
    fn is_below_limits(&self, (key, user): Who) -> bool {
        let of_key = self.running.iter().filter(|((k, _), _)| *k == key);
        let of_user = of_key.clone().filter(|((_, u), _)| *u == user);
        of_key.count() <= key && of_user.count() <= user
    }

    fn remove(&mut self, place: QueuePlace) -> Option<usize> {
        self.waiting.values_mut().find_map(|lane| {
            let at = lane.iter().position(|(waiting, _)| *waiting == place)?;
            lane.remove(at).map(|(_, n_bytes)| n_bytes)
        })
    }

    /// Gives out the free slots and checks each grant.
    fn dispatch(&mut self, queue: &mut FairQueue<Who>) {
        while self.running.len() < self.slots {
            let waiting = self.waiting.iter().filter(|(_, lane)| !lane.is_empty());
            let eligible: Vec<Who> = waiting
                .map(|(who, _)| *who)
                .filter(|who| self.is_below_limits(*who))
                .collect();
            let Some((grant, who)) = queue.grant(Duration::ZERO) else {
                assert_eq!(eligible, [], "a slot is idle while a user may use it");
                return;
            };
            assert!(eligible.contains(&who), "{who:?} got a slot");
            let (first, _) = self.waiting.get_mut(&who).unwrap().pop_front().unwrap();
            assert_eq!(
                queue.leave(first),
                None,
                "the longest wait of a user is over first"
            );
            self.running.push((who, grant));
        }
    }
}

proptest! {
    #[test]
    fn after_any_history_the_queue_is_in_order_bounded_and_leaves_no_slot_idle(
        events in collection::vec(event(), 0..200),
    ) {
        let mut queue = FairQueue::new(8, 1000);
        let mut model = Model::default();
        for event in events {
            match event {
                Event::Enter { key, user, weight: heavy, n_tokens, n_bytes } => {
                    let asking = Asking {
                        weight: weight(heavy),
                        max_in_flight: key + 1,
                        user: USERS[user],
                        max_in_flight_of_user: user + 1,
                        n_prompt_tokens: n_tokens,
                        n_bytes,
                        ..asking(key)
                    };
                    let place = queue.enter(&asking, (key, user));
                    model.waiting.entry((key, user)).or_default().push_back((place, n_bytes));
                    model.dispatch(&mut queue);
                    let dropped: Vec<QueuePlace> =
                        queue.trim(&[place]).into_iter().map(|(place, _)| place).collect();
                    prop_assert!(dropped == [place] || !dropped.contains(&place));
                    for dropped in dropped {
                        let newest = model.waiting.values().any(|lane| lane.back().is_some_and(|(last, _)| *last == dropped));
                        prop_assert!(newest, "the newest of a user gives way");
                        model.remove(dropped);
                    }
                }
                Event::Leave(at) => {
                    let places: Vec<QueuePlace> = model.waiting.values().flatten().map(|(place, _)| *place).collect();
                    if let Some(place) = places.get(at % places.len().max(1)) {
                        model.remove(*place);
                        prop_assert!(queue.leave(*place).is_some());
                        prop_assert!(queue.leave(*place).is_none());
                    }
                }
                Event::Finish(at, spent) => {
                    if !model.running.is_empty() {
                        let (_, grant) = model.running.swap_remove(at % model.running.len());
                        let spent = spent.map(|n_tokens| Spent {
                            n_prompt_tokens: n_tokens,
                            n_completion_tokens: n_tokens,
                            time: Duration::from_millis(n_tokens),
                        });
                        queue.finish(grant, spent);
                        model.dispatch(&mut queue);
                    }
                }
                Event::Slots(slots) => {
                    model.slots = slots;
                    model.dispatch(&mut queue);
                }
            }
            let waiting = model.waiting.values().flatten();
            let (requests, bytes) = waiting.fold((0, 0), |(n, sum), (_, n_bytes)| (n + 1, sum + n_bytes));
            prop_assert_eq!((queue.n_requests(), queue.n_bytes()), (requests, bytes));
            prop_assert!(requests <= 8 && bytes <= 1000);
        }
    }

    #[test]
    fn a_further_key_finds_room_however_full_the_queue_is(
        others in collection::vec((0_usize..4, 1_usize..300), 0..40),
        n_bytes in 1_usize..=200,
    ) {
        // The others are four, so a fifth of the queue is free for the fifth key.
        let mut queue = FairQueue::new(10, 1000);
        for (key, n_bytes) in others {
            let place = queue.enter(&Asking { n_bytes, ..asking(key) }, key);
            queue.trim(&[place]);
        }
        let place = queue.enter(&Asking { n_bytes, ..asking(4) }, 4);
        let dropped = queue.trim(&[place]);
        prop_assert!(dropped.iter().all(|(_, key)| *key != 4), "{:?}", dropped);
    }
}

#[test]
fn a_lone_key_may_fill_the_queue_and_one_that_comes_later_gets_its_part_of_it() {
    let mut queue = FairQueue::new(8, 1 << 20);
    let refused = |queue: &mut FairQueue<usize>, key| {
        let place = queue.enter(&asking(key), key);
        queue
            .trim(&[place])
            .into_iter()
            .map(|(_, key)| key)
            .collect::<Vec<usize>>()
    };
    for _ in 0..8 {
        assert_eq!(refused(&mut queue, 0), [0; 0]);
    }
    assert_eq!(refused(&mut queue, 0), [0]);
    for _ in 0..4 {
        assert_eq!(refused(&mut queue, 1), [0]);
    }
    assert_eq!(refused(&mut queue, 1), [1]);
    assert_eq!(refused(&mut queue, 0), [0]);
    // A key of twice the weight may have twice as much.
    let heavy = Asking {
        weight: weight(2),
        ..asking(2)
    };
    for _ in 0..4 {
        let place = queue.enter(&heavy, 2);
        assert!(queue.trim(&[place]).iter().all(|(_, key)| *key != 2));
    }
    let place = queue.enter(&heavy, 2);
    assert_eq!(queue.trim(&[place]), [(place, 2)]);
}

#[test]
fn a_newcomer_that_does_not_fit_costs_nobody_their_place() {
    let mut queue = FairQueue::new(100, 1000);
    for _ in 0..6 {
        let place = queue.enter(&asking(0), 0);
        assert_eq!(queue.trim(&[place]), []);
    }
    let place = queue.enter(
        &Asking {
            n_bytes: 950,
            ..asking(1)
        },
        1,
    );
    assert_eq!(queue.trim(&[place]), [(place, 1)]);
    assert_eq!((queue.n_requests(), queue.n_bytes()), (6, 600));
}

#[test]
fn a_key_that_was_away_is_next_but_has_saved_nothing_up() {
    let mut queue = FairQueue::new(100, 1 << 20);
    let spent = Spent {
        n_prompt_tokens: 50,
        n_completion_tokens: 50,
        time: Duration::from_secs(1),
    };
    let one_slot = |queue: &mut FairQueue<usize>, n: usize| -> String {
        let turn = |_| {
            let (grant, key) = queue.grant(Duration::ZERO).unwrap();
            queue.finish(grant, Some(spent));
            KEYS[key]
        };
        (0..n).map(turn).collect()
    };
    for _ in 0..40 {
        queue.enter(&asking(0), 0);
    }
    assert_eq!(one_slot(&mut queue, 20), "a".repeat(20));
    for _ in 0..4 {
        queue.enter(&asking(1), 1);
    }
    assert_eq!(one_slot(&mut queue, 10), "babababaaa");
}

#[test]
fn free_slots_are_shared_by_weight_before_any_answer_has_ended() {
    let mut queue = FairQueue::new(100, 1 << 20);
    for _ in 0..8 {
        queue.enter(&asking(0), 0);
        queue.enter(
            &Asking {
                weight: weight(3),
                ..asking(1)
            },
            1,
        );
    }
    let mut of_the_heavy_key = |n: usize| {
        (0..n)
            .map(|_| queue.grant(Duration::ZERO).unwrap().1)
            .sum::<usize>()
    };
    assert_eq!((of_the_heavy_key(4), of_the_heavy_key(4)), (3, 3));
}

/// A simulation of `slots` slots without a clock: time is a number of seconds.
struct Slots {
    queue: FairQueue<usize>,
    slots: usize,
    now: f64,
    /// When each running request ends, which it is, and what it took.
    running: Vec<(f64, Grant, Spent)>,
    /// What each request will take.
    script: Vec<Spent>,
    started: Vec<Option<f64>>,
}

impl Slots {
    fn new(slots: usize) -> Self {
        let queue = FairQueue::new(usize::MAX >> 32, usize::MAX >> 32);
        Self {
            queue,
            slots,
            now: 0.0,
            running: Vec::new(),
            script: Vec::new(),
            started: Vec::new(),
        }
    }

    /// A prompt of `n_prompt` tokens, estimated within a quarter, and a completion that nobody knows before.
    fn enter(&mut self, seed: &mut Seed, asking: &Asking<'_>) -> QueuePlace {
        let n_prompt = seed.number(20, 800);
        let n_completion = seed.number(10, 600);
        let time = Duration::from_millis(n_prompt * 2 + n_completion * 20);
        let asking = Asking {
            n_prompt_tokens: n_prompt * seed.number(100, 125) / 100,
            max_completion_tokens: 2048,
            ..*asking
        };
        let place = self.queue.enter(&asking, self.script.len());
        self.script.push(Spent {
            n_prompt_tokens: n_prompt,
            n_completion_tokens: n_completion,
            time,
        });
        self.started.push(None);
        self.dispatch();
        place
    }

    fn now(&self) -> QueueNow {
        QueueNow {
            time: Duration::from_secs_f64(self.now),
            n_slots: self.slots,
        }
    }

    fn dispatch(&mut self) {
        while self.running.len() < self.slots {
            let Some((grant, request)) = self.queue.grant(self.now().time) else {
                return;
            };
            let spent = self.script[request];
            self.started[request] = Some(self.now);
            self.running
                .push((self.now + spent.time.as_secs_f64(), grant, spent));
        }
    }

    /// The next answer ends; `false` when none runs.
    fn step(&mut self) -> bool {
        let ends = self.running.iter().enumerate();
        let Some((at, _)) = ends.min_by(|(_, one), (_, other)| one.0.total_cmp(&other.0)) else {
            return false;
        };
        let (end, grant, spent) = self.running.swap_remove(at);
        self.now = end;
        self.queue.finish(grant, Some(spent));
        self.dispatch();
        true
    }
}

#[test]
fn a_forecast_is_what_then_happens() {
    let mut ratios = Vec::new();
    let mut misplaced = 0;
    for number in 0..300 {
        let mut seed = Seed(number);
        let mut slots = Slots::new(seed.number(1, 6) as usize);
        let mut key = |key| Asking {
            weight: weight(seed.number(1, 4) as u32),
            max_in_flight: if seed.number(0, 3) == 0 {
                1
            } else {
                usize::MAX
            },
            ..asking(key)
        };
        let keys: Vec<Asking<'_>> = (0..1 + number as usize % KEYS.len())
            .map(&mut key)
            .collect();
        let any = |seed: &mut Seed| keys[seed.number(0, keys.len() as u64 - 1) as usize];
        // What has been measured so far, and then a full queue.
        for _ in 0..60 {
            let asking = any(&mut seed);
            slots.enter(&mut seed, &asking);
            slots.step();
        }
        for _ in 0..seed.number(10, 60) {
            let asking = any(&mut seed);
            slots.enter(&mut seed, &asking);
        }
        let now = slots.now;
        let mut expected = Vec::new();
        for asking in &keys {
            let request = slots.script.len();
            let place = slots.enter(&mut seed, asking);
            if let Some(forecast) = slots.queue.forecast(place, slots.now()) {
                expected.push((request, forecast));
                // One that was refused in its place would have been told the same.
                let waiter = slots.queue.leave(place).unwrap();
                assert_eq!(
                    slots.queue.wait_of_another(place, slots.now()),
                    forecast.wait
                );
                let again = Asking {
                    n_prompt_tokens: slots.script[request].n_prompt_tokens,
                    ..*asking
                };
                slots.queue.enter(&again, waiter);
            }
        }
        while slots.step() {}
        let later = |at: &f64| *at > now;
        let order: Vec<f64> = slots
            .started
            .iter()
            .flatten()
            .copied()
            .filter(later)
            .collect();
        for (request, Forecast { position, wait }) in expected {
            let started = slots.started[request].unwrap();
            ratios.push((started - now) / wait.as_secs_f64());
            let before = order.iter().filter(|at| **at < started).count();
            misplaced += usize::from((before + 1).abs_diff(position) > 2 + before / 4);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let part = |percent| ratios[ratios.len() * percent / 100];
    eprintln!(
        "{} {:?} {misplaced}",
        ratios.len(),
        [1, 5, 10, 50, 90, 95, 99].map(part)
    );
    assert!(
        (0.9..1.1).contains(&part(50)),
        "half of the waits are shorter than foretold: {}",
        part(50)
    );
    assert!(
        part(5) > 0.5 && part(95) < 2.0,
        "nine of ten are within a factor of two: {} {}",
        part(5),
        part(95)
    );
    assert!(
        misplaced * 10 < ratios.len(),
        "nine of ten positions are right: {misplaced} are not"
    );
}

#[test]
fn the_newest_request_of_the_user_with_most_gives_way_inside_a_key() {
    let mut queue = FairQueue::new(8, 1 << 20);
    let enter = |queue: &mut FairQueue<&'static str>, user: &'static str| -> Vec<&'static str> {
        let place = queue.enter(&Asking { user, ..asking(0) }, user);
        let dropped = queue.trim(&[place]).into_iter();
        dropped.map(|(_, user)| user).collect()
    };
    for _ in 0..8 {
        assert_eq!(enter(&mut queue, "heavy"), [""; 0]);
    }
    for _ in 0..4 {
        assert_eq!(enter(&mut queue, "light"), ["heavy"]);
    }
    assert_eq!(enter(&mut queue, "light"), ["light"]);
    assert_eq!(enter(&mut queue, "heavy"), ["heavy"]);
}

#[test]
fn users_that_went_are_forgotten() {
    let mut queue = FairQueue::new(1000, 1 << 20);
    for number in 0..100_000 {
        let user = format!("visitor {number}");
        queue.enter(
            &Asking {
                user: &user,
                ..asking(0)
            },
            0,
        );
        let (grant, _) = queue.grant(Duration::ZERO).unwrap();
        queue.finish(
            grant,
            Some(Spent {
                n_completion_tokens: number % 500,
                ..Spent::default()
            }),
        );
    }
    assert!(queue.lanes[0].n_users() < 10);
}
