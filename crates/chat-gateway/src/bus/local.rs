//! The bus of a single gateway: it keeps deposits in memory, and has nobody to tell anything.
//!
//! The deposits are bounded for each depositor and as a whole. At a bound, the oldest one is dropped.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::{DEPOSIT_LIFETIME, MAX_DEPOSITS_EACH};

/// The most deposits that are kept at once.
const MAX_DEPOSITS: usize = 16 * 1024;

/// What is deposited in this process.
#[derive(Clone, Default)]
pub struct LocalBus(Arc<Mutex<Deposits>>);

#[derive(Default)]
struct Deposits {
    kept: HashMap<u128, Deposit>,
    /// Every key of `kept`, oldest first, and some that were withdrawn.
    ages: VecDeque<(Instant, u128)>,
}

struct Deposit {
    depositor: Box<str>,
    value: String,
}

impl fmt::Debug for LocalBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalBus")
    }
}

impl LocalBus {
    pub(super) fn deposit(&self, depositor: &str, key: u128, value: String) {
        let mut deposits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        deposits.forget_expired();
        deposits.make_room(depositor);
        let depositor = depositor.into();
        deposits.kept.insert(key, Deposit { depositor, value });
        deposits.ages.push_back((Instant::now(), key));
    }

    pub(super) fn withdraw(&self, key: u128) -> Option<String> {
        let mut deposits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        deposits.forget_expired();
        deposits.kept.remove(&key).map(|deposit| deposit.value)
    }
}

impl Deposits {
    fn forget_expired(&mut self) {
        while let Some((since, key)) = self.ages.front() {
            if since.elapsed() < DEPOSIT_LIFETIME && self.kept.contains_key(key) {
                break;
            }
            self.kept.remove(key);
            self.ages.pop_front();
        }
    }

    fn make_room(&mut self, depositor: &str) {
        // Withdrawn keys keep their place in `ages` until they are the oldest; this drops them when they are many.
        if self.ages.len() >= MAX_DEPOSITS {
            self.ages.retain(|(_, key)| self.kept.contains_key(key));
        }
        let n_theirs = self
            .kept
            .values()
            .filter(|other| *other.depositor == *depositor)
            .count();
        let mut ages = self.ages.iter().map(|(_, key)| *key);
        let oldest = if n_theirs >= MAX_DEPOSITS_EACH {
            ages.find(|key| {
                let kept = self.kept.get(key);
                kept.is_some_and(|other| *other.depositor == *depositor)
            })
        } else if self.kept.len() >= MAX_DEPOSITS {
            ages.find(|key| self.kept.contains_key(key))
        } else {
            None
        };
        if let Some(oldest) = oldest {
            self.kept.remove(&oldest);
        }
    }
}
