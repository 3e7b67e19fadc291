//! The state of markets: of an instrument, a venue or any other resource.
//!
//! A hash table with open addressing, in memory that processes share. A decision looks for a resource and what it is
//! in, and only while some market is not normal. A record keeps its uid while its market is not normal.

use crate::refusal::{MARKETS, SwitchError, must_fit};
use crate::texts::Text;
use crate::uid_bits::{uid_bit, uid_hash};
use crate::used;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

/// The state of a market. A later one is severer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MarketState {
    /// Trading goes on.
    Normal,
    /// Prices move fast.
    Volatile,
    /// Trading is halted.
    Halted,
}

impl MarketState {
    /// All states, the severest last.
    pub const ALL: [Self; 3] = [Self::Normal, Self::Volatile, Self::Halted];

    /// Return the name, as policies have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Volatile => "volatile",
            Self::Halted => "halted",
        }
    }

    /// Return the state of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A market that is not normal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    /// The resource's type and id.
    pub uid: (String, String),
    /// Its own state.
    pub state: MarketState,
    /// Who set it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, in nanoseconds since the epoch.
    pub since_ns: i64,
}

/// A head that is no hash: of a record that was never used, and of one whose uid is being written.
const EMPTY: u64 = 0;
const WRITING: u64 = 1;
/// The bit that every other head has.
const USED: u64 = 1 << 63;

/// The bits of a record's state: the market's, and which note is in force. A number above them grows with each change.
const STATE_MASK: u64 = 3;
const NOTE_BIT: u64 = 4;
const CHANGE_STEP: u64 = 8;

/// How often a lookup begins again because a record got another uid meanwhile.
const TRIES: usize = 16;

/// All markets. Zeros mean that all are normal.
#[derive(zerocopy::FromZeros)]
#[repr(C, align(64))]
pub(crate) struct Markets {
    /// The bits of all uids whose market is not normal; there may be more bits. 0 while all are normal.
    word: AtomicU64,
    spare: [AtomicU64; 7],
    /// Which markets may be other than normal.
    used: [AtomicU64; MARKETS / 64],
    /// The hashes of the records' uids.
    heads: [AtomicU64; MARKETS],
    records: [MarketRecord; MARKETS],
}

#[derive(zerocopy::FromZeros)]
#[repr(C, align(64))]
struct MarketRecord {
    state: AtomicU64,
    ty: Text<31>,
    id: Text<31>,
    /// One is in force while the other is written.
    notes: [Note; 2],
    spare: AtomicU64,
}

// Without padding, the memory is atomics only, of which any bytes are values.
const _: () = {
    assert!(size_of::<Note>() == size_of::<Text<16>>() + size_of::<Text<32>>() + 8);
    assert!(size_of::<MarketRecord>() == 8 + 2 * size_of::<Text<31>>() + 2 * size_of::<Note>() + 8);
    assert!(size_of::<Markets>() == 64 + MARKETS / 8 + MARKETS * 8 + MARKETS * size_of::<MarketRecord>());
};

/// Who set a state, and why.
#[derive(zerocopy::FromZeros)]
#[repr(C)]
struct Note {
    by: Text<16>,
    reason: Text<32>,
    since_ns: AtomicI64,
}

/// Return the market in a record's state. What no writer writes counts as the severest.
fn market_of(state: u64) -> MarketState {
    usize::try_from(state & STATE_MASK)
        .ok()
        .and_then(|at| MarketState::ALL.get(at))
        .copied()
        .unwrap_or(MarketState::Halted)
}

impl Markets {
    #[inline]
    pub fn word(&self) -> u64 {
        self.word.load(Ordering::Acquire)
    }

    /// Return the records in which a uid may lie, in the order in which they are tried.
    fn places(hash: u64) -> impl Iterator<Item = usize> {
        #[allow(clippy::cast_possible_truncation)] // a place in the table
        (0..MARKETS).map(move |step| (hash as usize).wrapping_add(step) % MARKETS)
    }

    fn entry(&self, at: usize) -> Option<Entry<'_>> {
        self.heads.get(at).zip(self.records.get(at))
    }

    /// Return the own state of a uid.
    pub fn get(&self, ty: &str, id: &str) -> MarketState {
        let head = uid_hash(ty, id) | USED;
        'again: for _ in 0..TRIES {
            for at in Self::places(head) {
                let (Some(found), Some(record)) = (self.heads.get(at), self.records.get(at)) else { break };
                match found.load(Ordering::Acquire) {
                    EMPTY => return MarketState::Normal,
                    this if this == head => {}
                    _ => continue,
                }
                let is_it = record.ty.is(ty) && record.id.is(id);
                let state = record.state.load(Ordering::Relaxed);
                fence(Ordering::Acquire);
                if found.load(Ordering::Relaxed) != head {
                    continue 'again;
                }
                if is_it {
                    return market_of(state);
                }
            }
            return MarketState::Normal;
        }
        MarketState::Halted
    }

    /// List the markets that are not normal. One that changes meanwhile has its old or its new state.
    pub fn list(&self) -> Vec<Market> {
        let entries = used::places(&self.used).filter_map(|at| self.entry(at));
        entries.filter_map(|(head, record)| record.market(head)).collect()
    }

    /// Compute the words from the records. Both hold what they must in between.
    fn settle(&self) {
        let mut bits = 0;
        used::retain(&self.used, |at| {
            let Some((head, record)) = self.entry(at) else { return false };
            let hash = head.load(Ordering::Relaxed);
            let is_in_force = hash & USED != 0 && !record.is_normal();
            bits |= if is_in_force { uid_bit(hash & !USED) } else { 0 };
            is_in_force
        });
        self.word.store(bits, Ordering::SeqCst);
        // The stores above leave this processor before the caller goes on.
        fence(Ordering::SeqCst);
    }

    /// Let lookups of a uid stop sooner: the records before the empty one at which they stop become empty, as far as
    /// they are of no use and no lookup of another passes them.
    fn shorten(&self, hash: u64) {
        let is_empty = |&at: &usize| self.heads.get(at).is_some_and(|head| head.load(Ordering::Relaxed) == EMPTY);
        // Where none is empty, a first round finds how many records lookups pass that begin at the table's end.
        let (end, first) = Self::places(hash).find(is_empty).map_or((0, MARKETS), |end| (end, 0));
        // How many of the records from the next one on, backwards, a lookup passes.
        let mut passed = 0_usize;
        for step in 1..=first + MARKETS {
            let at = (end + 2 * MARKETS - step) % MARKETS;
            let Some((head, record)) = self.entry(at) else { return };
            let (hash, is_passed) = (head.load(Ordering::Relaxed), passed > 0);
            passed = passed.saturating_sub(1);
            if hash == EMPTY {
                return;
            }
            if hash & USED != 0 && !record.is_normal() {
                let begin = Self::places(hash).next().unwrap_or(at);
                passed = passed.max((at + MARKETS - begin) % MARKETS);
            } else if !is_passed && step > first {
                head.store(EMPTY, Ordering::Release);
            }
        }
    }
}

impl MarketRecord {
    fn is_normal(&self) -> bool {
        market_of(self.state.load(Ordering::Relaxed)) == MarketState::Normal
    }

    fn market(&self, head: &AtomicU64) -> Option<Market> {
        for _ in 0..TRIES {
            let before = (head.load(Ordering::Acquire), self.state.load(Ordering::Acquire));
            let state = market_of(before.1);
            if before.0 & USED == 0 || state == MarketState::Normal {
                return None;
            }
            let note = &self.notes[usize::from(before.1 & NOTE_BIT != 0)];
            let market = Market {
                uid: (self.ty.copy(), self.id.copy()),
                state,
                by: note.by.copy(),
                reason: note.reason.copy(),
                since_ns: note.since_ns.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if before == (head.load(Ordering::Relaxed), self.state.load(Ordering::Relaxed)) {
                return Some(market);
            }
        }
        None
    }

    /// Set the state, with a note that is written first.
    fn set(&self, market: MarketState, by: &str, reason: &str, since_ns: i64) {
        let old = self.state.load(Ordering::Relaxed);
        let other = old & NOTE_BIT ^ NOTE_BIT;
        let note = &self.notes[usize::from(other != 0)];
        // Whoever sees these also sees that the state has changed since the other note was in force.
        fence(Ordering::Release);
        note.by.write(by);
        note.reason.write(reason);
        note.since_ns.store(since_ns, Ordering::Relaxed);
        let number = (old / CHANGE_STEP).wrapping_add(1).wrapping_mul(CHANGE_STEP);
        self.state.store(number | other | market as u64, Ordering::Release);
    }
}

/// A record's head, and the record.
type Entry<'a> = (&'a AtomicU64, &'a MarketRecord);

impl Markets {
    /// Set the own state of a resource, and return whether it had another one. The caller excludes other writers.
    pub fn set(
        &self,
        (ty, id): (&str, &str),
        state: MarketState,
        by: &str,
        reason: &str,
        since_ns: i64,
    ) -> Result<bool, SwitchError> {
        must_fit::<31>("the resource's type", ty)?;
        must_fit::<31>("the resource's id", id)?;
        must_fit::<16>("by", by)?;
        must_fit::<32>("reason", reason)?;
        let hash = uid_hash(ty, id);
        let (known, spare) = self.find(ty, id);
        let is_normal = state == MarketState::Normal;
        let spare = if known.is_some() || is_normal { None } else { Some(spare.ok_or(SwitchError::ManyMarkets)?) };
        let record = known.and_then(|at| self.records.get(at));
        let before = record.map_or(MarketState::Normal, |record| market_of(record.state.load(Ordering::Relaxed)));
        if let Some(at) = known.or(spare).filter(|_| !is_normal) {
            // The bits come first: if this process is killed in between, decisions look for what is not there.
            used::take(&self.used, at);
            self.word.fetch_or(uid_bit(hash), Ordering::SeqCst);
        }
        if let Some((_, record)) = known.and_then(|at| self.entry(at)) {
            record.set(state, by, reason, since_ns);
        }
        if let Some((head, record)) = spare.and_then(|at| self.entry(at)) {
            head.store(WRITING, Ordering::Relaxed);
            // The uid must become visible only after the head that takes the record out of use.
            fence(Ordering::Release);
            record.ty.write(ty);
            record.id.write(id);
            record.set(state, by, reason, since_ns);
            head.store(hash | USED, Ordering::Release);
        }
        self.shorten(hash);
        self.settle();
        Ok(before != state)
    }

    /// Return the place of a uid, and the first one that could be given to it.
    fn find(&self, ty: &str, id: &str) -> (Option<usize>, Option<usize>) {
        let (mut spare, head) = (None, uid_hash(ty, id) | USED);
        for at in Self::places(head) {
            let Some((found, record)) = self.entry(at) else { break };
            let hash = found.load(Ordering::Relaxed);
            if hash == head && record.ty.is(ty) && record.id.is(id) {
                return (Some(at), None);
            }
            if spare.is_none() && (hash & USED == 0 || record.is_normal()) {
                spare = Some(at);
            }
            if hash == EMPTY {
                break;
            }
        }
        (None, spare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    /// Return ids whose records are looked for from one place on.
    fn meeting(count: usize) -> Vec<String> {
        let is_there = |id: &String| uid_hash("I", id).is_multiple_of(MARKETS as u64);
        (0..).map(|number: u64| number.to_string()).filter(is_there).take(count).collect()
    }

    fn set(markets: &Markets, id: &str, state: MarketState) -> bool {
        markets.set(("I", id), state, "ann", "why", 0).unwrap()
    }

    fn is_empty(markets: &Markets) -> bool {
        let are_zero = |words: &[AtomicU64]| words.iter().all(|word| word.load(Ordering::Relaxed) == 0);
        are_zero(&markets.heads) && are_zero(&markets.used) && markets.word() == 0
    }

    #[test]
    #[cfg_attr(miri, ignore = "it looks for ids that meet, which takes Miri minutes")]
    fn nothing_is_left_to_look_at_when_all_markets_are_normal_again() {
        let (markets, ids) = (Markets::new_box_zeroed().unwrap(), meeting(4));
        for first in 0..ids.len() {
            for id in &ids {
                set(&markets, id, MarketState::Halted);
            }
            for step in 0..ids.len() {
                assert_eq!(markets.list().len(), ids.len() - step);
                set(&markets, &ids[(first + step * 3) % ids.len()], MarketState::Normal);
            }
            assert!(is_empty(&markets), "from {first}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it looks for ids that meet, which takes Miri minutes")]
    fn only_another_state_is_a_change() {
        use MarketState::{Halted, Normal, Volatile};
        let (markets, ids) = (Markets::new_box_zeroed().unwrap(), meeting(2));
        // The second one lies behind the first one, which is normal in between.
        for (id, state, changes) in [
            (0, Normal, false),
            (0, Halted, true),
            (0, Halted, false),
            (1, Volatile, true),
            (0, Normal, true),
            (0, Normal, false),
            (1, Volatile, false),
            (1, Halted, true),
            (0, Volatile, true),
        ] {
            assert_eq!(set(&markets, &ids[id], state), changes, "{id} {state:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it fills whole tables, which takes Miri minutes")]
    fn a_table_that_was_full_is_looked_through_no_longer() {
        let markets = Markets::new_box_zeroed().unwrap();
        let empty = || markets.heads.iter().filter(|head| head.load(Ordering::Relaxed) == EMPTY).count();
        let ids: Vec<String> = (0..MARKETS).map(|id| id.to_string()).collect();
        for kept in [0, 1, 100] {
            for id in &ids {
                set(&markets, id, MarketState::Halted);
            }
            assert_eq!((markets.list().len(), empty()), (MARKETS, 0));
            for (done, id) in ids.iter().skip(kept).enumerate() {
                set(&markets, id, MarketState::Normal);
                let (normal, rest) = ids[kept..].split_at(done + 1);
                if done % 97 == 0 || rest.is_empty() {
                    assert!(normal.iter().all(|id| markets.get("I", id) == MarketState::Normal), "{done}");
                    let halted = rest.iter().chain(&ids[..kept]);
                    assert!(halted.into_iter().all(|id| markets.get("I", id) == MarketState::Halted), "{done}");
                }
            }
            // What is left is in force, or passed by the lookup of one that is.
            let left = MARKETS - empty();
            assert!((kept..=kept + kept / 5).contains(&left), "{left} of {MARKETS} are left for {kept}");
        }
    }

    #[test]
    fn the_note_in_force_is_kept_while_the_next_one_is_written() {
        let record = MarketRecord::new_box_zeroed().unwrap();
        let mut before = String::new();
        for by in ["ann", "bob", "eve"] {
            record.set(MarketState::Halted, by, "why", 0);
            let in_force = usize::from(record.state.load(Ordering::Relaxed) & NOTE_BIT != 0);
            let [this, other] = [in_force, 1 - in_force].map(|at| record.notes[at].by.copy());
            assert_eq!((this.as_str(), &other), (by, &before));
            before = this;
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it looks for ids that meet, which takes Miri minutes")]
    fn what_killed_writers_left_is_cleared_by_the_next_one_that_comes_by() {
        let (markets, ids) = (Markets::new_box_zeroed().unwrap(), meeting(3));
        // One was killed before it wrote the uid, one after it set the state, and one before it cleared the head.
        markets.heads[0].store(WRITING, Ordering::Relaxed);
        markets.heads[1].store(WRITING, Ordering::Relaxed);
        markets.records[1].set(MarketState::Halted, "ann", "why", 0);
        markets.heads[2].store(uid_hash("I", &ids[2]) | USED, Ordering::Relaxed);
        (0..3).for_each(|at| used::take(&markets.used, at));
        assert!(markets.list().is_empty());
        set(&markets, &ids[0], MarketState::Volatile);
        assert_eq!((markets.list().len(), markets.get("I", &ids[0])), (1, MarketState::Volatile));
        set(&markets, &ids[0], MarketState::Normal);
        assert!(is_empty(&markets));
    }
}
