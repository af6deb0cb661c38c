//! No permit is lost and none is given twice, whatever callers and upstreams do.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{collection, prop_assert, prop_assert_eq};

use super::{Admission, NotAdmitted, Permit, admission};
use crate::placement::UpstreamId;

const UPSTREAMS: usize = 3;

/// One thing that happens. Indices wrap around.
#[derive(Clone, Copy, Debug)]
enum Event {
    Ask(&'static str),
    StopWaiting(usize),
    End(usize, bool),
    Slots(usize, usize),
    /// Long enough for a deadline to pass, or not.
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        9 => prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(Event::Ask),
        2 => (0_usize..99).prop_map(Event::StopWaiting),
        5 => (0_usize..99, any::<bool>()).prop_map(|(at, begun)| Event::End(at, begun)),
        3 => (0..UPSTREAMS, 0_usize..4).prop_map(|(upstream, slots)| Event::Slots(upstream, slots)),
        1 => (1_u64..800).prop_map(Event::Pass),
    ]
}

type Wait<'a> = Pin<Box<dyn Future<Output = Result<Permit, NotAdmitted>> + 'a>>;

/// What callers hold, and how many slots each upstream has.
struct World<'a> {
    waiting: Vec<Wait<'a>>,
    held: Vec<Permit>,
    slots: [usize; UPSTREAMS],
}

impl<'a> World<'a> {
    fn in_flight(&self, upstream: usize) -> usize {
        self.held
            .iter()
            .filter(|permit| permit.upstream() == UpstreamId(upstream as u64))
            .count()
    }

    fn happen(&mut self, admission: &'a Admission, event: Event) {
        match event {
            Event::Ask(caller) => self.waiting.push(Box::pin(admission.ask(caller))),
            Event::StopWaiting(at) if !self.waiting.is_empty() => {
                drop(self.waiting.swap_remove(at % self.waiting.len()));
            }
            Event::End(at, begun) if !self.held.is_empty() => {
                let mut permit = self.held.swap_remove(at % self.held.len());
                if begun {
                    permit.begin();
                }
            }
            Event::Slots(upstream, slots) => {
                self.slots[upstream] = slots;
                admission.set_slots(UpstreamId(upstream as u64), slots);
            }
            Event::StopWaiting(_) | Event::End(..) | Event::Pass(_) => {}
        }
    }

    /// Takes in what was answered.
    async fn look(&mut self) {
        for mut wait in std::mem::take(&mut self.waiting) {
            match poll!(wait.as_mut()) {
                Poll::Pending => self.waiting.push(wait),
                Poll::Ready(Ok(permit)) => self.held.push(permit),
                Poll::Ready(Err(_)) => {}
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_slots_are_neither_lost_nor_given_twice(events in collection::vec(event(), 0..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let admission = admission(10);
            let mut world = World { waiting: Vec::new(), held: Vec::new(), slots: [0; UPSTREAMS] };
            for event in events {
                let before: Vec<usize> = (0..UPSTREAMS).map(|upstream| world.in_flight(upstream)).collect();
                if let Event::Pass(milliseconds) = event {
                    tokio::time::advance(Duration::from_millis(milliseconds)).await;
                }
                world.happen(&admission, event);
                // The first look lets the newcomer in, which may cost another its place.
                world.look().await;
                world.look().await;
                for (upstream, before) in before.into_iter().enumerate() {
                    let now = world.in_flight(upstream);
                    let slots = world.slots[upstream];
                    prop_assert!(now <= slots.max(before), "{now} on {slots} slots");
                    prop_assert!(world.waiting.is_empty() || now >= slots, "a slot is idle while someone waits");
                }
                let load = admission.load();
                prop_assert_eq!((load.in_flight, load.waiting), (world.held.len(), world.waiting.len()));
            }
            drop(world);
            let load = admission.load();
            prop_assert_eq!((load.in_flight, load.waiting, load.waiting_bytes), (0, 0, 0));
            for upstream in 0..UPSTREAMS {
                admission.set_slots(UpstreamId(upstream as u64), 1);
            }
            let mut held = Vec::new();
            for _ in 0..UPSTREAMS {
                held.push(admission.ask("a").await.unwrap());
            }
            prop_assert_eq!(admission.load().in_flight, UPSTREAMS);
            Ok(())
        })?;
    }
}
