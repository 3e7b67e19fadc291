//! Finding a slot for another session.

use super::spare::Spare;
use super::table::{Claimed, Table, is_over};
use crate::slot::{STATUS_MASK, SessionSlot};
use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a process that found no slot believes it. Another one that was killed may have ended a session without
/// saying so.
const FULL_NS: i64 = 50_000_000;

impl Table {
    /// Return a slot for another session, claimed: one that was found and not used, else one never used, else that of
    /// the session revoked first, else that of an expired one, as far as this process knows; else any that is over.
    pub fn free_slot(&self, spare: &mut Spare, now_ns: i64) -> Option<(usize, Claimed<'_>)> {
        while let Some(number) = spare.returned.pop() {
            if let Some(found) = self.claim_if_over(number, None, now_ns) {
                return Some(found);
            }
        }
        let fresh = &self.state.control().fresh;
        let most = self.slots().len() as u64;
        while let Ok(number) =
            fresh.fetch_update(Ordering::AcqRel, Ordering::Acquire, |at| (at < most).then_some(at + 1))
        {
            if let Some(found) = self.claim_if_over(usize::try_from(number).ok()?, None, now_ns) {
                return Some(found);
            }
        }
        while let Some(id) = spare.revoked.pop_front() {
            if let Some(found) = self.claim_if_over(usize::try_from(id & self.mask).ok()?, Some(id), now_ns) {
                return Some(found);
            }
        }
        while let Some(&Reverse((to_ns, id))) = spare.ends.peek() {
            if to_ns > now_ns {
                break;
            }
            spare.ends.pop();
            if let Some(found) = self.claim_if_over(usize::try_from(id & self.mask).ok()?, Some(id), now_ns) {
                return Some(found);
            }
        }
        self.search(spare, now_ns)
    }

    /// Claim a slot if its session is over, and, where an id is given, if that is its session.
    fn claim_if_over(&self, number: usize, id: Option<u64>, now_ns: i64) -> Option<(usize, Claimed<'_>)> {
        let is_over = |slot: &SessionSlot| {
            let state = slot.state.load(Ordering::Acquire);
            id.is_none_or(|id| state & !STATUS_MASK == id) && is_over(slot, state, now_ns)
        };
        if !is_over(self.slots().get(number)?) {
            return None;
        }
        // Whoever writes the slot gives it to a session, or keeps one alive.
        let claimed = self.claim(number, Duration::ZERO)?;
        is_over(claimed.slot).then_some((number, claimed))
    }

    /// Look at every slot from where the last search ended. A search that would find nothing is not made again soon.
    fn search(&self, spare: &mut Spare, now_ns: i64) -> Option<(usize, Claimed<'_>)> {
        let ended = self.state.control().ended.load(Ordering::Acquire);
        if spare.full.is_some_and(|(before, until_ns)| before == ended && now_ns < until_ns) {
            return None;
        }
        let mut next_end_ns = i64::MAX;
        let slots = self.slots();
        for step in 0..slots.len() {
            let number = (spare.cursor + step) % slots.len();
            if let Some(found) = self.claim_if_over(number, None, now_ns) {
                spare.cursor = number + 1;
                spare.full = None;
                return Some(found);
            }
            let slot = slots.get(number)?;
            // Whoever claimed the slot of a session that is over may not use it.
            let is_over = is_over(slot, slot.state.load(Ordering::Acquire), now_ns);
            next_end_ns = next_end_ns.min(if is_over { now_ns } else { slot.to_ns.load(Ordering::Relaxed) });
        }
        spare.full = Some((ended, next_end_ns.min(now_ns.saturating_add(FULL_NS))));
        None
    }
}
