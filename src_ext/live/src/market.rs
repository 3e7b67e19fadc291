//! The state of markets: of an instrument, a venue or any other resource.
//!
//! A hash table with open addressing, in memory that processes share. A decision looks for a resource and what it is
//! in, and only while some market is not normal. A record keeps its uid while its market is not normal.

use crate::refusal::{MARKETS, SwitchError, must_fit};
use crate::texts::Text;
use crate::uid_bits::{uid_bit, uid_hash};
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
    assert!(size_of::<Markets>() == 64 + MARKETS * 8 + MARKETS * size_of::<MarketRecord>());
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
        self.heads.iter().zip(&self.records).filter_map(|(head, record)| record.market(head)).collect()
    }

    /// Compute which bits are set.
    fn bits(&self) -> u64 {
        let used = |(head, record): (&AtomicU64, &MarketRecord)| {
            let (hash, state) = (head.load(Ordering::Relaxed), record.state.load(Ordering::Relaxed));
            if hash & USED == 0 || market_of(state) == MarketState::Normal {
                return 0;
            }
            uid_bit(hash & !USED)
        };
        self.heads.iter().zip(&self.records).map(used).fold(0, |all, bit| all | bit)
    }

    /// Let lookups stop sooner: a record that is normal becomes empty if the next one is.
    fn shorten(&self) {
        let is_normal = |at: usize| {
            let record = self.records.get(at);
            record.is_some_and(|record| market_of(record.state.load(Ordering::Relaxed)) == MarketState::Normal)
        };
        let head = |at: usize| self.heads.get(at % MARKETS);
        for at in (0..2 * MARKETS).rev() {
            let (Some(this), Some(next)) = (head(at), head(at + 1)) else { continue };
            let hash = this.load(Ordering::Relaxed);
            if next.load(Ordering::Relaxed) == EMPTY && (hash == WRITING || hash & USED != 0 && is_normal(at % MARKETS))
            {
                this.store(EMPTY, Ordering::Release);
            }
        }
    }
}

impl MarketRecord {
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
    /// Set the own state of a resource. The caller excludes other writers.
    pub fn set(
        &self,
        (ty, id): (&str, &str),
        state: MarketState,
        by: &str,
        reason: &str,
        since_ns: i64,
    ) -> Result<(), SwitchError> {
        must_fit::<31>("the resource's type", ty)?;
        must_fit::<31>("the resource's id", id)?;
        must_fit::<16>("by", by)?;
        must_fit::<32>("reason", reason)?;
        let hash = uid_hash(ty, id);
        let (known, spare) = self.find(ty, id);
        let is_normal = state == MarketState::Normal;
        let spare = if known.is_some() || is_normal { None } else { Some(spare.ok_or(SwitchError::ManyMarkets)?) };
        // The bit comes first: if this process is killed in between, decisions look for what is not there.
        self.word.fetch_or(if is_normal { 0 } else { uid_bit(hash) }, Ordering::SeqCst);
        if let Some((_, record)) = known {
            record.set(state, by, reason, since_ns);
        }
        if let Some((head, record)) = spare {
            head.store(WRITING, Ordering::Relaxed);
            // The uid must become visible only after the head that takes the record out of use.
            fence(Ordering::Release);
            record.ty.write(ty);
            record.id.write(id);
            record.set(state, by, reason, since_ns);
            head.store(hash | USED, Ordering::Release);
        }
        if is_normal {
            self.shorten();
        }
        self.word.store(self.bits(), Ordering::SeqCst);
        // The stores above leave this processor before this returns.
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Return the entry of a uid, and the first one that could be given to it.
    fn find(&self, ty: &str, id: &str) -> (Option<Entry<'_>>, Option<Entry<'_>>) {
        let (mut spare, head) = (None, uid_hash(ty, id) | USED);
        for at in Self::places(head) {
            let Some(entry) = self.heads.get(at).zip(self.records.get(at)) else { break };
            let hash = entry.0.load(Ordering::Relaxed);
            if hash == head && entry.1.ty.is(ty) && entry.1.id.is(id) {
                return (Some(entry), None);
            }
            let is_normal = market_of(entry.1.state.load(Ordering::Relaxed)) == MarketState::Normal;
            if spare.is_none() && (hash & USED == 0 || is_normal) {
                spare = Some(entry);
            }
            if hash == EMPTY {
                break;
            }
        }
        (None, spare)
    }
}
