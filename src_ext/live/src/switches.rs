//! Kill switches and market states, in memory that processes share.
//!
//! Decisions read one word, which is 0 while nothing is killed. Otherwise it holds a bit for each scope, found by a
//! hash of its uid, so a decision whose principal and resource have none of these bits goes on. The others look at the
//! records. Nobody waits: a record is published by its state word ([`StateWord`]), and read again if it changed. A
//! count grows before anything is let go on, so several are seen as of one moment ([`Switches::at_one_moment`]).
//!
//! Writers exclude each other by a lock of the caller's, and may be killed at any instruction. So a bit is set before
//! its record is published, and a record is withdrawn before its bit is cleared: what a writer leaves costs time, until
//! the next writer computes the words again, and nothing else.

use crate::market::{Market, MarketState, Markets};
use crate::refusal::{ACTIONS, KILLS, SwitchError, must_fit};
use crate::texts::{Read, StateWord, Text};
use crate::uid_bits::{FIRM, bit_number, uid_hash};
use crate::used;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

/// How many of the kills are kept for those of the whole firm.
pub const FOR_ALL: usize = 8;
/// The version of the layout of [`Switches`].
pub const SWITCHES_LAYOUT: u32 = 3;
/// How often a reader that writers overtake looks again.
const TRIES: usize = 16;

/// Whom a kill concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every principal and every resource.
    Firm,
    /// An entity, by type and id: requests whose principal or resource is this entity or in it.
    Entity(String, String),
}

/// The actions that a kill stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// All actions but those that a bundle exempts.
    Usual,
    /// All actions.
    Everything,
    /// These actions and groups of actions, by type and id, exempt or not.
    Named(Vec<(String, String)>),
}

/// A kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// A random number by which it is released.
    pub id: u64,
    /// Whom it concerns.
    pub scope: Scope,
    /// What it stops.
    pub actions: Stopped,
    /// The hashes of the actions that were in the named groups when the kill was made. These stay stopped if another
    /// bundle takes them out.
    pub members: Vec<u64>,
    /// Who made it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, in nanoseconds since the epoch.
    pub since_ns: i64,
    /// Its end, in nanoseconds since the epoch, and by the monotonic clock, which decides. `None` if it has none.
    pub until_ns: Option<(i64, i64)>,
    /// Whether two persons must release it.
    pub two_persons: bool,
    /// Who asked for the release first.
    pub asked_by: Option<String>,
    /// Whether it was made by a kill switch without a name, which lifts it too.
    pub by_switch: bool,
}

impl Kill {
    /// Return the type and the id of its scope; empty texts for the firm.
    fn uid(&self) -> (&str, &str) {
        match &self.scope {
            Scope::Firm => ("", ""),
            Scope::Entity(ty, id) => (ty, id),
        }
    }

    /// Return the number of the bit of its scope.
    fn bit_number(&self) -> u64 {
        match &self.scope {
            Scope::Firm => OF_FIRM,
            Scope::Entity(ty, id) => bit_number(uid_hash(ty, id)).into(),
        }
    }

    /// Return which actions it stops, as a tag has it, and those that it names.
    fn stopped(&self) -> (u64, &[(String, String)]) {
        match &self.actions {
            Stopped::Usual => (USUAL, &[]),
            Stopped::Everything => (EVERYTHING, &[]),
            Stopped::Named(uids) => (NAMED, uids),
        }
    }

    fn flags(&self) -> u64 {
        let flag = |on: bool, flag: u64| if on { flag } else { 0 };
        flag(self.two_persons, TWO_PERSONS) | flag(self.by_switch, BY_SWITCH)
    }
}

/// What a decision says of its action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionKey {
    /// Whether the bundle exempts the action.
    pub exempt: bool,
    /// The hash of its uid.
    pub own: u64,
    /// The hashes of the groups that it is in.
    pub groups: Box<[u64]>,
}

/// What a release did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The kill is gone.
    Done,
    /// A second person must release it too.
    Asked,
}

/// In `asked` of a record: what is below it is the number of a publication.
const REQUEST_STEP: u64 = 1 << 48;

const TWO_PERSONS: u64 = 1;
const BY_SWITCH: u64 = 2;

/// In the tag of a record's state: the number of the scope's bit, then which actions it stops.
const BIT_NUMBER: u64 = 63;
const OF_FIRM: u64 = FIRM.trailing_zeros() as u64;
const USUAL: u64 = 0;
const EVERYTHING: u64 = 1;
const NAMED: u64 = 2;

/// The kill switches and the market states of an engine, or of all engines that share the memory.
///
/// Zeros are valid, and mean that nothing is killed and all markets are normal.
#[derive(zerocopy::FromZeros)]
#[repr(C, align(64))]
pub struct Switches {
    /// The bits of all kills; there may be more bits. It has a cache line of its own, which is written rarely.
    word: AtomicU64,
    padding_of_word: [AtomicU64; 7],
    /// Which records may be published.
    used: [AtomicU64; KILLS / 64],
    /// How often something was let go on: a kill withdrawn, or a market set.
    changes: AtomicU64,
    padding_of_used: [AtomicU64; 3],
    states: [StateWord; KILLS],
    kills: [KillRecord; KILLS],
    markets: Markets,
}

#[derive(zerocopy::FromZeros)]
#[repr(C, align(64))]
struct KillRecord {
    id: AtomicU64,
    /// The end by the monotonic clock, and by the wall clock; `i64::MAX` for none.
    until_ns: AtomicI64,
    until_wall_ns: AtomicI64,
    since_ns: AtomicI64,
    flags: AtomicU64,
    /// How many of `hashes` are of actions and groups that the kill names, and of actions that were in these groups.
    names: AtomicU64,
    members: AtomicU64,
    /// The number of the publication for which `asked_by` was written, and above it how often requests came and were
    /// voided, so that a reader notices that `asked_by` was another name meanwhile.
    asked: AtomicU64,
    hashes: [AtomicU64; ACTIONS],
    ty: Text<31>,
    id_text: Text<31>,
    by: Text<16>,
    reason: Text<32>,
    asked_by: Text<16>,
    /// The named actions: for each part of each uid, its length, a colon and the part.
    actions: Text<256>,
    padding: [AtomicU64; 4],
}

// Without padding, the memory is atomics only, of which any bytes are values.
const _: () = {
    let texts = size_of::<Text<31>>() * 2 + size_of::<Text<16>>() * 2 + size_of::<Text<32>>() + size_of::<Text<256>>();
    assert!(size_of::<KillRecord>() == 8 * 8 + 8 * ACTIONS + texts + 4 * 8);
    let words = 2 * 64 + KILLS * 8;
    assert!(size_of::<Switches>() == words + KILLS * size_of::<KillRecord>() + size_of::<Markets>());
    assert!(align_of::<Switches>() == 64);
};

/// The scope of a kill that a decision looks at.
pub struct ScopeText<'a> {
    record: &'a KillRecord,
    bit: u64,
}

impl ScopeText<'_> {
    /// Return whether the scope is this entity.
    #[inline]
    #[must_use]
    pub fn is(&self, ty: &str, id: &str) -> bool {
        self.record.id_text.is(id) && self.record.ty.is(ty)
    }

    /// Return the bit of the scope.
    #[inline]
    #[must_use]
    pub const fn bit(&self) -> u64 {
        self.bit
    }
}

/// Return whether two names are of one person, as far as their letters tell.
fn is_same_person(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

impl Switches {
    /// Return the word that decisions read: 0 while nothing is killed, otherwise the bits of all scopes.
    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    #[must_use]
    pub fn word(&self) -> u64 {
        self.word.load(Ordering::Acquire)
    }

    /// Return the same by a relaxed load, for a caller that orders what follows by a fence.
    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    #[must_use]
    pub fn word_relaxed(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }

    /// Return the bits of all uids whose market is not normal; 0 while all are.
    #[inline]
    #[must_use]
    pub fn market_word(&self) -> u64 {
        self.markets.word()
    }

    /// Return the own state of a resource, whatever it is in.
    #[must_use]
    pub fn market(&self, ty: &str, id: &str) -> MarketState {
        self.markets.get(ty, id)
    }

    /// List the markets that are not normal.
    #[must_use]
    pub fn markets(&self) -> Vec<Market> {
        self.markets.list()
    }

    /// Return whether a kill stops an action at this time, by the monotonic clock. Only kills whose bit is in `bits`
    /// are looked at. `is_in` says whether the principal or the resource is the scope or in it. Without an action, any
    /// is meant.
    ///
    /// All records are those of one moment, and records that change all the time stop.
    pub fn stop(
        &self,
        bits: u64,
        action: Option<&ActionKey>,
        now_ns: i64,
        mut is_in: impl FnMut(&ScopeText<'_>) -> bool,
    ) -> bool {
        let stops = || self.stop_in_passing(bits & self.word(), action, now_ns, &mut is_in).then_some(());
        self.at_one_moment((), stops).is_some()
    }

    /// Look at several kills or markets as of one moment: while they are looked at one after the other, one may be made
    /// where `look` was already, and another let go on where it was not yet.
    ///
    /// Return what `look` finds, at once; `None` if it finds nothing, and nothing was let go on meanwhile; `otherwise`
    /// if something is let go on each time.
    #[inline]
    pub fn at_one_moment<T>(&self, otherwise: T, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        for _ in 0..TRIES {
            let before = self.changes();
            let found = look();
            if found.is_some() || self.changes() == before {
                return found;
            }
        }
        Some(otherwise)
    }

    /// Return a number that grows before anything is let go on. Whoever reads it before and after what it looks at, and
    /// finds it the same, has seen all that was in force at the beginning.
    #[inline]
    fn changes(&self) -> u64 {
        fence(Ordering::Acquire);
        self.changes.load(Ordering::Acquire)
    }

    /// Announce that something is let go on, before it is: whoever sees it gone also sees this.
    fn announce_change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    fn stop_in_passing(
        &self,
        bits: u64,
        action: Option<&ActionKey>,
        now_ns: i64,
        is_in: &mut impl FnMut(&ScopeText<'_>) -> bool,
    ) -> bool {
        if bits == 0 {
            return false;
        }
        for (block, used) in self.used.iter().enumerate() {
            let mut left = used.load(Ordering::Acquire);
            while left != 0 {
                let at = block * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                let (Some(state), Some(record)) = (self.states.get(at), self.kills.get(at)) else { break };
                let found = state.read(|tag| {
                    let bit = 1 << (tag & BIT_NUMBER);
                    bits & bit != 0
                        && record.until_ns.load(Ordering::Relaxed) > now_ns
                        && record.stops(tag >> 6, action)
                        && (bit == FIRM || is_in(&ScopeText { record, bit }))
                });
                if matches!(found, Read::Found(true) | Read::Changing) {
                    return true;
                }
            }
        }
        false
    }

    /// List the kills whose time is not over at this time, by the monotonic clock. One that changes all the time is
    /// left out.
    #[must_use]
    pub fn kills(&self, now_ns: i64) -> Vec<Kill> {
        let kill = |(state, record): (&StateWord, &KillRecord)| {
            let number = state.number();
            match state.read(|tag| record.kill(tag, number)) {
                Read::Found(kill) => Some(kill),
                Read::Nothing | Read::Changing => None,
            }
        };
        let lasts = |kill: &Kill| kill.until_ns.is_none_or(|(_, until)| until > now_ns);
        let mut kills = Vec::new();
        // One that moves to another record while the list is made is in it all the same.
        let _ = self.at_one_moment((), || {
            kills = self.used().filter_map(kill).filter(lasts).collect();
            None
        });
        kills.sort_by_key(|kill| kill.since_ns);
        kills
    }

    /// Return the records that may be published, with their states.
    fn used(&self) -> impl Iterator<Item = (&StateWord, &KillRecord)> {
        used::places(&self.used).filter_map(|at| Some((self.states.get(at)?, self.kills.get(at)?)))
    }

    /// Return whether the word has bits, or records, of kills that are over: those whose time is, and what a process
    /// left that was killed while it wrote. Decisions go by them no longer, but they look.
    #[must_use]
    pub fn is_stale(&self, now_ns: i64) -> bool {
        let word = self.word();
        if word == 0 {
            return false;
        }
        let mut bits = 0;
        for (state, record) in self.used() {
            let of_record = |tag| (1_u64 << (tag & BIT_NUMBER), record.until_ns.load(Ordering::Relaxed));
            match state.read(of_record) {
                Read::Found((_, until_ns)) if until_ns <= now_ns => return true,
                Read::Found((bit, _)) => bits |= bit,
                Read::Nothing | Read::Changing => {}
            }
        }
        word != bits
    }

    /// Begin to write. The caller excludes all other writers, of all processes, until the writer is dropped. Kills
    /// whose time is over at this time, by the monotonic clock, are dropped.
    #[must_use]
    pub fn writer(&self, now_ns: i64) -> Writer<'_> {
        let writer = Writer { switches: self, now_ns };
        writer.retain(|found| found.record.until_ns.load(Ordering::Relaxed) > now_ns);
        writer
    }
}

impl KillRecord {
    /// Return whether the kill stops an action.
    #[inline]
    fn stops(&self, kind: u64, action: Option<&ActionKey>) -> bool {
        // An action that is not of the bundle is stopped as soon as anything is.
        let Some(action) = action else { return true };
        match kind {
            USUAL => !action.exempt,
            NAMED => {
                let count = |count: &AtomicU64| usize::try_from(count.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
                let (names, all) = (count(&self.names), count(&self.members));
                let named = |hash: u64| hash == action.own || action.groups.contains(&hash);
                let hashes = || self.hashes.iter().map(|hash| hash.load(Ordering::Relaxed));
                hashes().take(names).any(named) || hashes().skip(names).take(all).any(|hash| hash == action.own)
            }
            _ => true,
        }
    }

    /// Return whether a person who gives this order has given it already, whatever the reasons and the ends.
    fn is_of_order(&self, tag: u64, kill: &Kill) -> bool {
        let (ty, id) = kill.uid();
        let (kind, named) = kill.stopped();
        tag == kind << 6 | kill.bit_number()
            && self.flags.load(Ordering::Relaxed) == kill.flags()
            && self.by.is(&kill.by)
            && self.ty.is(ty)
            && self.id_text.is(id)
            && self.actions.is(&text_of(named))
    }

    /// Copy the record, which may change meanwhile.
    fn kill(&self, tag: u64, number: u64) -> Kill {
        let flags = self.flags.load(Ordering::Relaxed);
        let until = (self.until_wall_ns.load(Ordering::Relaxed), self.until_ns.load(Ordering::Relaxed));
        let count = |count: &AtomicU64| usize::try_from(count.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let members = self.hashes.iter().skip(count(&self.names)).take(count(&self.members));
        let asked_by = self.asked_by(number);
        Kill {
            id: self.id.load(Ordering::Relaxed),
            scope: match tag & BIT_NUMBER {
                OF_FIRM => Scope::Firm,
                _ => Scope::Entity(self.ty.copy(), self.id_text.copy()),
            },
            actions: match tag >> 6 {
                USUAL => Stopped::Usual,
                NAMED => Stopped::Named(uids_in(&self.actions.copy())),
                _ => Stopped::Everything,
            },
            members: members.map(|hash| hash.load(Ordering::Relaxed)).collect(),
            by: self.by.copy(),
            reason: self.reason.copy(),
            since_ns: self.since_ns.load(Ordering::Relaxed),
            until_ns: (until.1 != i64::MAX).then_some(until),
            two_persons: flags & TWO_PERSONS != 0,
            asked_by,
            by_switch: flags & BY_SWITCH != 0,
        }
    }

    /// Return who asked for the release of the publication with this number.
    fn asked_by(&self, number: u64) -> Option<String> {
        let asked = self.asked.load(Ordering::Acquire);
        if asked % REQUEST_STEP != number % REQUEST_STEP {
            return None;
        }
        let by = self.asked_by.copy();
        // A kill that is made again voids the request while the record stays published, and the next request writes
        // another name.
        fence(Ordering::Acquire);
        (self.asked.load(Ordering::Relaxed) == asked).then_some(by)
    }

    /// Keep who asks for the release of the publication with this number.
    fn ask(&self, by: &str, number: u64) {
        self.void_request();
        self.asked_by.write(by);
        self.asked.fetch_or(number % REQUEST_STEP, Ordering::Release);
    }

    /// Forget who asked for the release. Then `asked_by` may be written.
    fn void_request(&self) {
        let request = (self.asked.load(Ordering::Relaxed) / REQUEST_STEP).wrapping_add(1);
        // No publication has the number 0.
        self.asked.store(request.wrapping_mul(REQUEST_STEP), Ordering::Relaxed);
        fence(Ordering::Release);
    }
}

/// Write uids as a record keeps them.
fn text_of(uids: &[(String, String)]) -> String {
    let parts: Vec<String> =
        uids.iter().flat_map(|(ty, id)| [ty, id]).map(|part| format!("{}:{part}", part.len())).collect();
    parts.concat()
}

/// Read uids as [`text_of`] writes them, as far as the text is right.
fn uids_in(mut text: &str) -> Vec<(String, String)> {
    let mut part = || {
        let (len, rest) = text.split_once(':')?;
        let (part, rest) = rest.split_at_checked(len.parse().ok()?)?;
        text = rest;
        Some(part.to_owned())
    };
    std::iter::from_fn(|| part().zip(part())).collect()
}

/// The one who changes the switches now.
pub struct Writer<'a> {
    switches: &'a Switches,
    now_ns: i64,
}

/// A record that is published, as its only writer finds it.
#[derive(Clone, Copy)]
struct Published<'a> {
    at: usize,
    tag: u64,
    state: &'a StateWord,
    record: &'a KillRecord,
}

impl Published<'_> {
    fn id(&self) -> u64 {
        self.record.id.load(Ordering::Relaxed)
    }

    fn kill(&self) -> Kill {
        self.record.kill(self.tag, self.state.number())
    }
}

impl Writer<'_> {
    fn published_at(&self, at: usize) -> Option<Published<'_>> {
        let (state, record) = (self.switches.states.get(at)?, self.switches.kills.get(at)?);
        match state.read(|tag| tag) {
            Read::Found(tag) => Some(Published { at, tag, state, record }),
            Read::Nothing | Read::Changing => None,
        }
    }

    fn published(&self) -> impl Iterator<Item = Published<'_>> {
        used::places(&self.switches.used).filter_map(|at| self.published_at(at))
    }

    /// Withdraw the records that are not to be kept, and compute the words from the others. Both hold what they must in
    /// between.
    fn retain(&self, mut is_kept: impl FnMut(&Published<'_>) -> bool) {
        let Switches { used, word, .. } = self.switches;
        let mut bits = 0;
        used::retain(used, |at| {
            let Some(found) = self.published_at(at) else { return false };
            if is_kept(&found) {
                bits |= 1 << (found.tag & BIT_NUMBER);
                return true;
            }
            self.switches.announce_change();
            found.state.withdraw();
            false
        });
        word.store(bits, Ordering::SeqCst);
        // The stores above leave this processor before the caller goes on.
        fence(Ordering::SeqCst);
    }

    /// List the kills.
    #[must_use]
    pub fn kills(&self) -> Vec<Kill> {
        self.switches.kills(self.now_ns)
    }

    /// Stop what a kill says. Decisions that begin after this returns, in whatever process, see it. `asked_by` is not
    /// kept. Return the kill in force.
    ///
    /// If the same person has stopped the same already, that kill lasts until the later of both ends, and nobody has
    /// asked for its release: who kills again and again takes no record from others.
    ///
    /// # Errors
    /// [`SwitchError`]; nothing has changed then.
    pub fn kill(&self, kill: &Kill) -> Result<Kill, SwitchError> {
        let Some(found) = self.published().find(|found| found.record.is_of_order(found.tag, kill)) else {
            self.add(kill)?;
            return Ok(kill.clone());
        };
        let known = found.kill();
        let until_ns = known.until_ns.zip(kill.until_ns).map(|(one, other)| if one.1 < other.1 { other } else { one });
        // What another bundle took out of a group stays stopped.
        let missing = kill.members.iter().filter(|hash| !known.members.contains(hash));
        let members: Vec<u64> = known.members.iter().chain(missing).copied().collect();
        let is_complete = members.len() == known.members.len();
        let both = Kill { until_ns, members, asked_by: None, ..known };
        if is_complete {
            Self::prolong(found.record, until_ns);
        } else {
            self.add(&both)?;
            // If this process is killed before, two records stop the same until they are released by their common id.
            self.retain(|other| other.at != found.at);
        }
        Ok(both)
    }

    /// Give a record another end, and forget who asked for its release. The record stays in force meanwhile.
    fn prolong(record: &KillRecord, until_ns: Option<(i64, i64)>) {
        let (until_wall_ns, until_ns) = until_ns.unwrap_or((i64::MAX, i64::MAX));
        record.void_request();
        record.until_ns.store(until_ns, Ordering::SeqCst);
        record.until_wall_ns.store(until_wall_ns, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Write a kill into a free record.
    fn add(&self, kill: &Kill) -> Result<(), SwitchError> {
        let Switches { states, kills, used, word, .. } = self.switches;
        must_fit::<16>("by", &kill.by)?;
        must_fit::<32>("reason", &kill.reason)?;
        let (ty, id) = kill.uid();
        must_fit::<31>("the scope's type", ty)?;
        must_fit::<31>("the scope's id", id)?;
        let (kind, named) = kill.stopped();
        let actions = text_of(named);
        must_fit::<256>("the list of actions", &actions)?;
        let count = named.len() + kill.members.len();
        if count > ACTIONS {
            return Err(SwitchError::ManyActions(count));
        }
        // The last ones are for the whole firm, which can be stopped whatever else is.
        let is_for_all = kill.scope == Scope::Firm && !matches!(kill.actions, Stopped::Named(_));
        let most = if is_for_all { KILLS } else { KILLS - FOR_ALL };
        let free = used::first_free(used).filter(|_| used::count(used) < most);
        let free = free.and_then(|at| Some((at, states.get(at)?, kills.get(at)?)));
        let (at, state, record) = free.ok_or(SwitchError::ManyKills)?;
        state.withdraw();
        record.id.store(kill.id, Ordering::Relaxed);
        let (until_wall_ns, until_ns) = kill.until_ns.unwrap_or((i64::MAX, i64::MAX));
        record.until_ns.store(until_ns, Ordering::Relaxed);
        record.until_wall_ns.store(until_wall_ns, Ordering::Relaxed);
        record.since_ns.store(kill.since_ns, Ordering::Relaxed);
        record.flags.store(kill.flags(), Ordering::Relaxed);
        record.names.store(named.len() as u64, Ordering::Relaxed);
        record.members.store(kill.members.len() as u64, Ordering::Relaxed);
        let hashes = named.iter().map(|(ty, id)| uid_hash(ty, id)).chain(kill.members.iter().copied());
        record.hashes.iter().zip(hashes).for_each(|(place, hash)| place.store(hash, Ordering::Relaxed));
        record.ty.write(ty);
        record.id_text.write(id);
        record.by.write(&kill.by);
        record.reason.write(&kill.reason);
        record.actions.write(&actions);
        let number = kill.bit_number();
        used::take(used, at);
        word.fetch_or(1 << number, Ordering::SeqCst);
        state.publish(kind << 6 | number);
        // As in `retain`.
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Release a kill. If two persons must, and `approved_by` is not given, the first call is a request, and the second
    /// must be by somebody else.
    ///
    /// # Errors
    /// [`SwitchError::UnknownKill`], [`SwitchError::SamePerson`], [`SwitchError::TooLong`]; nothing has changed then.
    pub fn release(&self, id: u64, by: &str, approved_by: Option<&str>) -> Result<Released, SwitchError> {
        must_fit::<16>("by", by)?;
        let found = self.published().find(|found| found.id() == id).ok_or(SwitchError::UnknownKill(id))?;
        let asked_by = found.record.asked_by(found.state.number());
        match approved_by.or(asked_by.as_deref()) {
            Some(other) if is_same_person(other, by) => return Err(SwitchError::SamePerson(by.to_owned())),
            None if found.record.flags.load(Ordering::Relaxed) & TWO_PERSONS != 0 => {
                found.record.ask(by, found.state.number());
                fence(Ordering::SeqCst);
                return Ok(Released::Asked);
            }
            Some(_) | None => {}
        }
        self.retain(|found| found.id() != id);
        Ok(Released::Done)
    }

    /// Set the own state of a resource, and return whether it had another one. Decisions that begin after this returns,
    /// in whatever process, see it.
    ///
    /// # Errors
    /// [`SwitchError::TooLong`], and [`SwitchError::ManyMarkets`]; nothing has changed then.
    pub fn set_market(
        &self,
        uid: (&str, &str),
        state: MarketState,
        by: &str,
        reason: &str,
        since_ns: i64,
    ) -> Result<bool, SwitchError> {
        self.switches.announce_change();
        self.switches.markets.set(uid, state, by, reason, since_ns)
    }

    /// Release all kills of a kind.
    pub fn drop_kills(&self, mut which: impl FnMut(&Kill) -> bool) {
        self.retain(|found| !which(&found.kill()));
    }
}

#[cfg(test)]
mod tests;
