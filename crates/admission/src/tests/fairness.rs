//! Fairness under a paused clock, over many seeds: callers that ask again and again, at the real queue.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Admission, EMPTY, admission};
use crate::Asking;
use crate::UpstreamCount;
use crate::placement::UpstreamId;
use crate::queue::tests::Seed;

const PATIENT: Duration = Duration::from_secs(1 << 30);

/// A key, and how its callers are.
#[derive(Clone, Copy)]
struct Key {
    name: &'static str,
    weight: u32,
    max_in_flight: usize,
    /// For whom its callers ask.
    user: &'static str,
    /// The most tokens of a prompt, and of a completion.
    most: (u64, u64),
    /// Says that prompt and completion are this much shorter than they are.
    lies: u64,
    /// How many percent of a prompt the upstream still has, which nobody knows before.
    cached: u64,
}

const KEY: Key = Key {
    name: "a",
    weight: 1,
    max_in_flight: usize::MAX,
    user: "",
    most: (600, 400),
    lies: 1,
    cached: 0,
};

/// Slots, and those who ask for them until the end of time.
struct World {
    admission: Admission,
    slots: usize,
    seed: RefCell<Seed>,
    end: Instant,
    running: Cell<usize>,
    longest_service: Cell<Duration>,
}

impl World {
    fn new(number: u64, slots: usize, lasts: Duration) -> Self {
        let admission = admission(1000);
        admission.set_slots(UpstreamId(0), slots);
        Self {
            admission,
            slots,
            seed: RefCell::new(Seed(number)),
            end: Instant::now() + lasts,
            running: Cell::new(0),
            longest_service: Cell::new(Duration::ZERO),
        }
    }

    fn number(&self, from: u64, to: u64) -> u64 {
        self.seed.borrow_mut().number(from, to)
    }

    /// Asks once, and returns the wait and the tokens.
    async fn ask(&self, key: &Key) -> (Duration, u64) {
        let n_prompt_tokens = self.number(1, key.most.0);
        let n_completion_tokens = self.number(1, key.most.1);
        let asking = Asking {
            caller: key.name,
            weight: NonZeroU32::new(key.weight).unwrap(),
            max_in_flight: key.max_in_flight,
            user: key.user,
            max_in_flight_of_user: usize::MAX,
            n_prompt_tokens: n_prompt_tokens / key.lies,
            max_completion_tokens: 2048 / key.lies,
            n_bytes: 100,
            prefix: &EMPTY,
        };
        let began = Instant::now();
        let mut permit = self
            .admission
            .enter(&asking)
            .unwrap()
            .permit(Instant::now() + PATIENT)
            .await
            .unwrap();
        let waited = began.elapsed();
        self.running.set(self.running.get() + 1);
        assert!(self.running.get() <= self.slots);
        permit.begin();
        let n_cached = n_prompt_tokens * key.cached / 100;
        let service = Duration::from_millis(n_prompt_tokens - n_cached + 20 * n_completion_tokens);
        tokio::time::sleep(service).await;
        self.longest_service
            .set(self.longest_service.get().max(service));
        permit.counted(UpstreamCount {
            n_prompt_tokens,
            n_cached_tokens: Some(n_cached),
            n_completion_tokens,
            ..UpstreamCount::default()
        });
        self.running.set(self.running.get() - 1);
        drop(permit);
        (waited, n_prompt_tokens - n_cached + n_completion_tokens)
    }

    /// Asks now and then until shortly before the end; returns the waits.
    async fn ask_sometimes(&self, key: &Key) -> Vec<Duration> {
        let mut waits = Vec::new();
        while Instant::now() < self.end - Duration::from_secs(30) {
            tokio::time::sleep(Duration::from_millis(self.number(1, 20_000))).await;
            let (waited, _) = self.ask(key).await;
            waits.push(waited);
        }
        waits
    }

    /// `callers` of each key ask again and again until the end; returns the tokens of each key until then.
    async fn crowd(&self, keys: &[Key], callers: usize) -> Vec<u64> {
        let sums: Vec<Cell<u64>> = keys.iter().map(|_| Cell::new(0)).collect();
        let keep_asking = async |key: &Key, sum: &Cell<u64>| {
            loop {
                let (_, n_tokens) = self.ask(key).await;
                if Instant::now() >= self.end {
                    return;
                }
                sum.set(sum.get() + n_tokens);
            }
        };
        let all = keys
            .iter()
            .zip(&sums)
            .flat_map(|caller| std::iter::repeat_n(caller, callers));
        join_all(all.map(|(key, sum)| keep_asking(key, sum))).await;
        sums.iter().map(Cell::get).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn beside_fifty_waiting_requests_a_light_key_waits_at_most_two_services() {
    for number in 0..300 {
        let world = World::new(number, 1 + number as usize % 4, Duration::from_secs(300));
        let light = Key {
            name: "light",
            most: (200, 100),
            ..KEY
        };
        // Long chats, whose prompts cost much less than they look, or none of that.
        let chats = Key {
            most: (20_000, 200),
            cached: 97,
            ..KEY
        };
        let heavy = [if number % 2 == 0 { KEY } else { chats }];
        let (waits, _) = tokio::join!(
            world.ask_sometimes(&light),
            world.crowd(&heavy, 50 + world.slots)
        );
        let most = world.longest_service.get() * 2;
        assert!(
            waits.iter().all(|wait| *wait <= most),
            "seed {number}: {waits:?}, most {most:?}"
        );
    }
}

/// Checks that keys of equal load get tokens by their weights, within a tenth.
async fn shares(number: u64, keys: &[Key]) {
    let world = World::new(number, 1 + number as usize % 4, Duration::from_secs(2000));
    let sums = world.crowd(keys, 12).await;
    let parts: Vec<f64> = sums
        .iter()
        .zip(keys)
        .map(|(sum, key)| *sum as f64 / f64::from(key.weight))
        .collect();
    let mean = parts.iter().sum::<f64>() / parts.len() as f64;
    assert!(
        parts.iter().all(|part| (part / mean - 1.0).abs() < 0.1),
        "seed {number}: {sums:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn keys_of_weights_one_and_three_get_tokens_one_to_three() {
    let three = Key {
        name: "b",
        weight: 3,
        ..KEY
    };
    for number in 0..20 {
        shares(number, &[KEY, three]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_of_long_requests_gets_as_many_tokens_as_one_of_short_ones() {
    let short = Key {
        most: (100, 60),
        ..KEY
    };
    let long = Key {
        name: "b",
        most: (900, 700),
        ..KEY
    };
    for number in 0..20 {
        shares(number, &[short, long]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn saying_less_than_is_taken_buys_nothing() {
    let liar = Key {
        name: "b",
        lies: 500,
        ..KEY
    };
    for number in 0..20 {
        shares(number, &[KEY, liar]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_at_its_limit_holds_up_nobody_and_no_key_starves() {
    let keys = [
        Key {
            name: "one at once",
            max_in_flight: 1,
            weight: 90,
            ..KEY
        },
        Key {
            name: "light",
            weight: 1,
            ..KEY
        },
        Key {
            name: "heavy",
            weight: 20,
            ..KEY
        },
    ];
    for number in 0..20 {
        let world = World::new(number, 4, Duration::from_secs(1000));
        let busy = async {
            // Beside a key that is at its limit all four slots stay busy.
            tokio::time::sleep(Duration::from_secs(1)).await;
            while Instant::now() < world.end {
                assert_eq!(world.running.get(), 4);
                tokio::time::sleep(
                    Duration::from_millis(world.number(1, 3000)) + Duration::from_micros(500),
                )
                .await;
            }
        };
        let (sums, ()) = tokio::join!(world.crowd(&keys, 12), busy);
        // 4000 s of slots make some 220,000 tokens, of which the limited key can have a quarter.
        let all: u64 = sums.iter().sum();
        assert!(
            (all / 5..all / 3).contains(&sums[0]),
            "seed {number}: {sums:?}"
        );
        let light = all - sums[0];
        assert!(
            (light / 25..light / 16).contains(&sums[1]),
            "seed {number}: {sums:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn beside_a_user_of_seventy_requests_another_waits_at_most_two_services() {
    for number in 0..100 {
        let world = World::new(number, 1 + number as usize % 4, Duration::from_secs(300));
        let heavy = Key {
            user: "heavy",
            ..KEY
        };
        let light = Key {
            user: "light",
            most: (200, 100),
            ..KEY
        };
        let heavy = [heavy];
        let (waits, _) = tokio::join!(
            world.ask_sometimes(&light),
            world.crowd(&heavy, 70 + world.slots)
        );
        let most = world.longest_service.get() * 2;
        assert!(
            waits.iter().all(|wait| *wait <= most),
            "seed {number}: {waits:?}, most {most:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_users_of_a_key_share_its_tokens_and_no_others() {
    let users = ["one", "two", "three"].map(|user| Key { user, ..KEY });
    let other = Key { name: "b", ..KEY };
    for number in 0..20 {
        let world = World::new(number, 1 + number as usize % 4, Duration::from_secs(2000));
        let keys = [users[0], users[1], users[2], other];
        let sums = world.crowd(&keys, 12).await;
        let all: u64 = sums.iter().sum();
        let parts = [6, 6, 6, 2].map(|part| all / part);
        for (sum, part) in sums.iter().zip(parts) {
            assert!(
                sum.abs_diff(part) * 10 < part,
                "seed {number}: {sums:?} instead of {parts:?}"
            );
        }
    }
}
