//! The queue with its clock: deadlines, leaving, slots that come and go.

use std::time::Duration;

use tokio::time::Instant;

use super::{Admission, Asking, Load, NotAdmitted, Permit};
use crate::placement::{Prefix, UpstreamId};

mod fairness;
mod leaks;

const SHORT: Duration = Duration::from_secs(1);
pub(crate) static EMPTY: std::sync::LazyLock<Prefix> = std::sync::LazyLock::new(Prefix::default);

fn admission(max_requests: usize) -> Admission {
    Admission::new(max_requests, 1 << 20)
}

/// A request of the key `caller`, for 100 tokens in 100 bytes.
fn asking(caller: &str) -> Asking<'_> {
    Asking {
        caller,
        weight: std::num::NonZeroU32::MIN,
        max_in_flight: usize::MAX,
        user: "",
        max_in_flight_of_user: usize::MAX,
        n_prompt_tokens: 50,
        max_completion_tokens: 50,
        n_bytes: 100,
        prefix: &EMPTY,
    }
}

impl Admission {
    async fn ask(&self, caller: &str) -> Result<Permit, NotAdmitted> {
        self.enter(&asking(caller))?
            .permit(Instant::now() + SHORT)
            .await
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_the_order_they_came() {
    let admission = admission(8);
    admission.set_slots(UpstreamId(0), 1);
    let held = admission.ask("a").await.unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    let wait = |name| {
        let admission = &admission;
        let order = &order;
        async move {
            let permit = admission.ask("a").await.unwrap();
            order.lock().unwrap().push(name);
            drop(permit);
        }
    };
    let release = async move { drop(held) };
    tokio::join!(wait(1), wait(2), wait(3), release);
    assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_a_long_wait_at_its_deadline() {
    let admission = admission(1);
    admission.set_slots(UpstreamId(0), 1);
    let _held = admission.ask("a").await.unwrap();
    let began = Instant::now();
    let (waited, refused) = tokio::join!(admission.ask("a"), admission.ask("a"));
    // Nothing has been measured yet: 256 tokens are taken to last 5 s, and 100 run while 100 wait before the second.
    assert_eq!(
        refused.unwrap_err(),
        NotAdmitted::Full {
            retry_after_seconds: 4
        }
    );
    assert_eq!(
        waited.unwrap_err(),
        NotAdmitted::Timeout {
            retry_after_seconds: 1
        }
    );
    assert_eq!(began.elapsed(), SHORT);
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_is_out_of_the_queue_at_once() {
    let admission = admission(1000);
    admission.set_slots(UpstreamId(0), 1);
    let held = admission.ask("a").await.unwrap();
    let mut leaving: Vec<_> = (0..1000).map(|_| Box::pin(admission.ask("a"))).collect();
    for wait in &mut leaving {
        assert!(futures_util::poll!(wait.as_mut()).is_pending());
    }
    assert_eq!(
        admission.load(),
        Load {
            waiting: 1000,
            waiting_bytes: 100_000,
            in_flight: 1,
            slots: 1
        }
    );
    // In no order: the middle, the end, the beginning.
    for n in [500, 998, 0] {
        drop(leaving.swap_remove(n));
    }
    assert_eq!(admission.load().waiting, 997);
    drop(leaving);
    assert_eq!(
        admission.load(),
        Load {
            waiting: 0,
            waiting_bytes: 0,
            in_flight: 1,
            slots: 1
        }
    );
    drop(held);
    drop(admission.ask("a").await.unwrap());
    assert_eq!(admission.load().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_least_busy_upstream_is_taken_and_one_that_is_down_is_not() {
    let admission = admission(0);
    assert_eq!(
        admission.ask("a").await.unwrap_err(),
        NotAdmitted::NoUpstream
    );
    admission.set_slots(UpstreamId(0), 2);
    admission.set_slots(UpstreamId(1), 2);
    let mut held = Vec::new();
    for upstream in [0, 1, 0] {
        let permit = admission.ask("a").await.unwrap();
        assert_eq!(permit.upstream(), UpstreamId(upstream));
        held.push(permit);
    }
    admission.set_slots(UpstreamId(1), 0);
    assert!(matches!(
        admission.ask("a").await,
        Err(NotAdmitted::Full { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn when_the_last_upstream_goes_everybody_who_waits_is_refused_at_once() {
    let admission = admission(4);
    admission.set_slots(UpstreamId(0), 1);
    admission.set_slots(UpstreamId(1), 1);
    let _held = admission.ask("a").await.unwrap();
    let second = admission.ask("a").await.unwrap();
    let began = Instant::now();
    let go = async {
        admission.set_slots(UpstreamId(0), 0);
        assert_eq!(admission.load().waiting, 1, "one upstream is left");
        admission.forget(second.upstream());
        admission.set_slots(UpstreamId(0), 3);
    };
    let (waited, ()) = tokio::join!(admission.ask("a"), go);
    assert_eq!(waited.unwrap_err(), NotAdmitted::NoUpstream);
    assert_eq!(began.elapsed(), Duration::ZERO);
    admission.ask("a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_held_requests_wait_for_an_upstream_that_is_still_to_come() {
    let admission = admission(4);
    admission.set_slots(UpstreamId(0), 1);
    let held = admission.ask("a").await.unwrap();
    let change = async {
        admission.hold(true);
        admission.set_slots(UpstreamId(0), 0);
        drop(held);
        admission.forget(UpstreamId(0));
        assert_eq!(admission.load().waiting, 1);
        admission.set_slots(UpstreamId(1), 1);
    };
    let (waited, ()) = tokio::join!(admission.ask("a"), change);
    assert_eq!(waited.unwrap().upstream(), UpstreamId(1));
    admission.forget(UpstreamId(1));
    let give_up = async {
        assert_eq!(admission.load().waiting, 1);
        admission.hold(false);
    };
    let (refused, ()) = tokio::join!(admission.ask("a"), give_up);
    assert_eq!(refused.unwrap_err(), NotAdmitted::NoUpstream);
}

#[tokio::test(start_paused = true)]
async fn beside_others_no_more_start_than_were_seen_to_fit() {
    let admission = admission(8);
    let upstream = UpstreamId(0);
    admission.set_slots(upstream, 4);
    admission.set_others(upstream, 1, Some(1));
    assert!(!admission.is_short_of_slots());
    let mut held = admission.ask("a").await.unwrap();
    held.begin();
    let mut next = admission.enter(&asking("a")).unwrap();
    assert!(
        admission.is_short_of_slots(),
        "two slots seem free, but others may have taken them"
    );
    let mut last = admission.enter(&asking("a")).unwrap();
    let ours = super::Ours {
        in_flight: 1,
        computing: 1,
        begun: 1,
    };
    assert_eq!(admission.ours_at(upstream), ours);
    // A slot of ours is ours again at once.
    drop(held);
    let next = next.permit(Instant::now()).await.unwrap();
    admission.set_others(upstream, 1, Some(0));
    assert!(admission.is_short_of_slots());
    admission.set_others(upstream, 0, None);
    last.permit(Instant::now()).await.unwrap();
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_its_upstream_did_not_take_waits_again_in_its_old_place() {
    let admission = admission(4);
    admission.set_slots(UpstreamId(0), 1);
    admission.set_slots(UpstreamId(1), 1);
    let held = admission.ask("a").await.unwrap();
    let _held = admission.ask("a").await.unwrap();
    let later = admission.ask("a");
    let again = async {
        admission.set_slots(UpstreamId(0), 0);
        let mut ticket = admission.enter_again(held, &asking("a"))?;
        ticket.permit(Instant::now() + SHORT).await
    };
    let back = async { admission.set_slots(UpstreamId(2), 1) };
    let (later, again, ()) = tokio::join!(later, again, back);
    assert_eq!(again.unwrap().upstream(), UpstreamId(2));
    assert!(matches!(later, Err(NotAdmitted::Timeout { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_limit_was_raised_gets_every_slot_that_is_free() {
    let admission = admission(4);
    admission.set_slots(UpstreamId(0), 3);
    let limited = |max_in_flight| Asking {
        max_in_flight,
        ..asking("a")
    };
    let held = admission.enter(&limited(1)).unwrap();
    assert!(!held.waits(), "the first slot is free");
    let mut first = admission.enter(&limited(1)).unwrap();
    assert!(first.waits());
    let raised = admission.enter(&limited(3)).unwrap();
    assert!(
        !raised.waits(),
        "a slot is free, and the limit is not reached"
    );
    first.permit(Instant::now()).await.unwrap();
}

#[test]
fn answers_that_find_no_room_together_cost_nobody_a_place() {
    let admission = admission(8);
    admission.set_slots(UpstreamId(0), 1);
    let held = admission.enter(&asking("a")).unwrap();
    let others =
        [("a", 5), ("b", 3)].map(|(caller, n)| admission.enter_all(&asking(caller), n).unwrap());
    let refused = admission.enter_all(&asking("b"), 4).map(|_| ());
    assert!(
        matches!(refused, Err(NotAdmitted::Full { .. })),
        "{refused:?}"
    );
    assert_eq!(admission.load().waiting, 8, "all who waited wait");
    // A key that fills less than its part finds room for its answers all at once.
    let found = admission.enter_all(&asking("c"), 2).unwrap();
    assert_eq!((found.len(), admission.load().waiting), (2, 8));
    drop((held, others, found));
    assert_eq!(admission.load().waiting, 0);
}

#[test]
fn an_answer_keeps_its_place_once_others_of_its_request_have_begun() {
    let admission = admission(3);
    admission.set_slots(UpstreamId(0), 1);
    let several = admission.enter_all(&asking("a"), 4).unwrap();
    several
        .iter()
        .skip(1)
        .for_each(|ticket| admission.keep(ticket.place()));
    let refused = admission.enter(&asking("b")).map(|_| ());
    assert!(
        matches!(refused, Err(NotAdmitted::Full { .. })),
        "{refused:?}"
    );
    assert_eq!(admission.load().waiting, 3);
}
