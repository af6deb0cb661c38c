//! The task that watches one upstream: when it is probed, and when its slots are counted.

use common::shutdown::Shutdown;
use std::time::Duration;
use tokio::time::Instant;

use super::member::{Member, MemberStatus};
use super::others::SlotCount;
use super::{Fleet, chance, probe};

/// Probes in a row that must time out before an upstream that answered counts as gone.
const MAX_SLOW_PROBES: u32 = 3;
/// Between two checks whether somebody waits for slots that others may hold.
const CHECK: Duration = Duration::from_millis(20);
/// Between two looks at whether the drain has anything left to wait for.
const DRAINED: Duration = Duration::from_millis(50);

impl Fleet {
    /// Watches one upstream for as long as it is a member.
    pub(super) async fn watch_one(&self, member: &Member) {
        let mut n_slow = 0;
        let mut counted_at = None::<Instant>;
        while self.member(member.id).is_some() {
            let began = Instant::now();
            let was_up = member.is_up();
            let doubt = member.state().doubt;
            let probed = probe::probe(self, member, doubt).await;
            // Failures cause probes, but not counts: `/slots` goes through the engine's queue.
            let is_due = !was_up || counted_at.is_none_or(|at| at + self.probe_up <= began);
            if probed.is_some_and(MemberStatus::is_up) && doubt.is_none() && is_due {
                // Before it gets its first request: another llm-proxy may have some there.
                counted_at = Some(began);
                self.count_others(member).await;
            }
            match probed {
                None if n_slow + 1 < MAX_SLOW_PROBES && member.is_up() => n_slow += 1,
                None => self.saw(member, MemberStatus::Silent),
                // A doubt that arose meanwhile was not looked into.
                Some(status) if status.is_up() && member.state().doubt != doubt => {}
                Some(status) => {
                    n_slow = 0;
                    self.saw(member, status);
                }
            }
            member.was_probed(began);
            self.until_due(member, began, n_slow == 0).await;
        }
    }

    /// Waits until the next probe is due. Meanwhile the slots that others hold are counted while somebody waits.
    async fn until_due(&self, member: &Member, began: Instant, is_prompt: bool) {
        let soon = began + self.probe_down.mul_f64(0.8 + chance() / 5.0);
        let is_calm = is_prompt && member.is_up() && member.state().doubt.is_none();
        let mut due = match is_calm {
            true => began + self.probe_up,
            false => self.due(member, soon),
        };
        loop {
            let is_shared = member.is_up() && member.state().others.is_near();
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                () = member.wanted_now() => return,
                () = member.probe_again.notified() => due = self.due(member, soon),
                () = tokio::time::sleep(CHECK), if is_shared => self.recount(member).await,
            }
        }
    }

    /// When a member that failed may be asked again: not while it is left alone, unless there is no other.
    fn due(&self, member: &Member, soon: Instant) -> Instant {
        if self.others_are_up(member) {
            soon.max(Instant::now() + member.rest())
        } else {
            soon
        }
    }

    /// Counts again when somebody waits. Nobody starts in a slot that the last count showed idle a while ago.
    async fn recount(&self, member: &Member) {
        let n_others = member.state().others.n();
        let next_look = member.state().others.next_look();
        if !self.admission.is_short_of_slots() {
            self.admission.set_others(member.id, n_others, Some(0));
        } else if next_look.is_none_or(|at| at <= Instant::now()) {
            self.count_others(member).await;
        }
    }

    /// Counts the slots that others hold, who ask the upstream too. Where nothing says so, what was believed stays.
    async fn count_others(&self, member: &Member) {
        let before = self.admission.ours_at(member.id);
        let Some(slots) = probe::slots(&self.client, &member.upstream).await else {
            return;
        };
        let after = self.admission.ours_at(member.id);
        let seen = SlotCount::of(slots, before, after);
        let mut state = member.state();
        let spare = state.others.look(Instant::now(), seen);
        let n_others = state.others.n();
        drop(state);
        self.admission.set_others(member.id, n_others, spare);
    }

    /// Waits until the drain has begun and nothing waits or runs any longer, or until it ends.
    pub(super) async fn drained(&self, shutdown: &Shutdown) {
        shutdown.draining().await;
        let idle = async {
            loop {
                let load = self.admission.load();
                if load.waiting == 0 && load.in_flight == 0 {
                    return;
                }
                tokio::time::sleep(DRAINED).await;
            }
        };
        tokio::select! {
            () = shutdown.closing() => {}
            () = idle => {}
        }
    }
}
