//! The check that a good engineer would write by hand for exactly these rules, over numbers instead of names.
//!
//! One table has the limits of a strategy in a book: its own and its desk's. Venues are bits. All other conditions are
//! checked only if an order needs them. The same rules are called by the numbers of algorithm and instrument, or by
//! their names, with and without a session, which is checked as ztfast checks it.

use crate::outcome::Outcome;
use crate::serve::Peer;
use crate::world::{self, Tables};
use rustc_hash::{FxHashMap, FxHashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

/// The limits of a permit; an order must fit both.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Limit {
    notional: i64,
    qty: i64,
}

impl Limit {
    const NOTHING: Self = Self { notional: i64::MIN, qty: i64::MIN };

    const fn fits(self, notional: i64, qty: i64) -> bool {
        notional <= self.notional && qty <= self.qty
    }
}

struct Algo {
    /// The begin of its strategy's row in the table.
    row: u32,
    desk: u32,
    venues: u16,
    region: u8,
}

struct Instrument {
    book: u32,
    /// One bit.
    venue: u16,
    region: u8,
    dark: bool,
    restricted: bool,
    /// Whether a wall may name it.
    listed: bool,
}

/// The rules, as tables.
struct Rules {
    algos: Vec<Algo>,
    instruments: Vec<Instrument>,
    /// The number of the limits for each strategy and book; 0 means no permit.
    cells: Vec<u32>,
    limits: Vec<[Limit; 2]>,
    /// The pairs of desk and instrument that a wall forbids.
    walls: FxHashSet<(u32, u32)>,
    max_notional: i64,
    max_dark_qty: i64,
}

impl Rules {
    #[inline]
    fn allows(&self, algo: u32, instrument: u32, notional: i64, qty: i64) -> bool {
        let (Some(who), Some(what)) = (self.algos.get(algo as usize), self.instruments.get(instrument as usize)) else {
            return false;
        };
        if what.restricted
            || who.region != what.region
            || who.venues & what.venue == 0
            || notional > self.max_notional
            || (what.dark && qty > self.max_dark_qty)
            || (what.listed && self.walls.contains(&(who.desk, instrument)))
        {
            return false;
        }
        let cell = self.cells.get((who.row + what.book) as usize).copied().unwrap_or(0);
        let Some(&[first, second]) = self.limits.get(cell as usize) else { return false };
        first.fits(notional, qty) || second.fits(notional, qty)
    }
}

/// The numbers of names, in the order of their first use.
#[derive(Default)]
struct Names(FxHashMap<Box<str>, u32>);

impl Names {
    fn of<'n>(names: impl Iterator<Item = &'n String>) -> Self {
        let mut all = Self::default();
        for name in names {
            all.number(name);
        }
        all
    }

    #[allow(clippy::cast_possible_truncation)] // there are a few thousand
    fn number(&mut self, name: &str) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(name.into()).or_insert(next)
    }
}

fn rules(tables: &Tables) -> Outcome<Rules> {
    let (mut desks, mut strategies, mut books) = (Names::default(), Names::default(), Names::default());
    let (mut regions, mut venues) = (Names::default(), Names::default());
    for (_, book, region, venue, ..) in &tables.instruments {
        books.number(book);
        regions.number(region);
        venues.number(venue);
    }
    let width = u32::try_from(books.0.len())?;
    let mut bit = |venue: &str| 1_u16.checked_shl(venues.number(venue)).ok_or("more than 16 venues");
    let mut desk_of = FxHashMap::default();
    let mut algos = Vec::new();
    for (_, strategy, desk, region, access) in &tables.algos {
        let access: Vec<u16> = access.iter().map(|venue| bit(venue)).collect::<Result<_, _>>()?;
        desk_of.insert(strategy.as_str(), desk.as_str());
        algos.push(Algo {
            row: strategies.number(strategy) * width,
            desk: desks.number(desk),
            venues: access.iter().fold(0, |all, one| all | one),
            region: u8::try_from(regions.number(region))?,
        });
    }
    let mut instruments = Vec::new();
    let mut walls = FxHashSet::default();
    for (number, (_, book, region, venue, dark, lists)) in (0..).zip(&tables.instruments) {
        let mut listed = false;
        for (desk, _) in tables.walls.iter().filter(|(_, list)| lists.contains(list)) {
            listed = true;
            walls.insert((desks.number(desk), number));
        }
        instruments.push(Instrument {
            book: books.number(book),
            venue: bit(venue)?,
            region: u8::try_from(regions.number(region))?,
            dark: *dark,
            restricted: lists.iter().any(|list| list == "restricted"),
            listed,
        });
    }
    let permits: FxHashMap<(&str, &str), Limit> = tables
        .permits
        .iter()
        .map(|(group, book, notional, qty)| ((group.as_str(), book.as_str()), Limit { notional: *notional, qty: *qty }))
        .collect();
    if permits.len() != tables.permits.len() {
        return Err("two permits of one desk or strategy for one book".into());
    }
    let mut limits = vec![[Limit::NOTHING; 2]];
    let mut known = FxHashMap::from_iter([(limits[0], 0)]);
    let mut cells = vec![0; strategies.0.len() * books.0.len()];
    for (strategy, &at) in &strategies.0 {
        for (book, &column) in &books.0 {
            let limit = |group: &str| permits.get(&(group, &**book)).copied().unwrap_or(Limit::NOTHING);
            let both = [limit(desk_of[&**strategy]), limit(strategy)];
            let cell = *known.entry(both).or_insert_with(|| {
                limits.push(both);
                limits.len() - 1
            });
            cells[(at * width + column) as usize] = u32::try_from(cell)?;
        }
    }
    let (max_notional, max_dark_qty) = (tables.max_notional, tables.max_dark_qty);
    Ok(Rules { algos, instruments, cells, limits, walls, max_notional, max_dark_qty })
}

/// Number algorithms and instruments by their places in the tables.
fn ids(tables: &Tables) -> (Names, Names) {
    (Names::of(tables.algos.iter().map(|(id, ..)| id)), Names::of(tables.instruments.iter().map(|(id, ..)| id)))
}

/// A request by numbers: algorithm (or its session) and instrument.
pub struct Numbered {
    who: u32,
    what: u32,
    notional: i64,
    qty: i64,
}

fn numbered(tables: &Tables, folder: &Path) -> Outcome<Vec<Numbered>> {
    let (mut algos, mut instruments) = ids(tables);
    let number = |order: world::Order| Numbered {
        who: algos.number(&order.0),
        what: instruments.number(&order.1),
        notional: order.2,
        qty: order.3,
    };
    Ok(world::orders(folder)?.into_iter().map(number).collect())
}

/// The check by the numbers of algorithm and instrument, without a session.
pub struct ById(Rules);

impl Peer for ById {
    type Request = Numbered;

    fn allows(&mut self, order: &Numbered) -> bool {
        self.0.allows(order.who, order.what, order.notional, order.qty)
    }
}

/// Set up [`ById`].
pub fn by_id(folder: &Path) -> Outcome<(ById, Vec<Numbered>)> {
    let tables = world::tables(folder)?;
    Ok((ById(rules(&tables)?), numbered(&tables, folder)?))
}

const ACTIVE: u32 = 1;

/// A session. Another thread may revoke it at any time.
struct Session {
    status: AtomicU32,
    algo: u32,
    not_before_ns: AtomicI64,
    not_after_ns: AtomicI64,
}

/// The kill switch and the sessions, which ztfast checks before any policy.
struct Sessions {
    killed: AtomicBool,
    all: Vec<Session>,
}

impl Sessions {
    /// Make a session for each algorithm, with the same number.
    fn new(algos: &[Algo]) -> Self {
        let session = |(algo, _)| Session {
            status: AtomicU32::new(ACTIVE),
            algo,
            not_before_ns: AtomicI64::new(0),
            not_after_ns: AtomicI64::new(i64::MAX),
        };
        Self { killed: AtomicBool::new(false), all: (0..).zip(algos).map(session).collect() }
    }

    /// Return the algorithm of a session, if the session is active and valid and the kill switch is off.
    #[inline]
    fn algo(&self, number: u32) -> Option<u32> {
        // A gate reads this clock, and ztfast converts a session's bounds to it.
        let now_ns = ztfast_engine::monotonic_ns();
        let session = self.all.get(number as usize)?;
        let good = session.status.load(Ordering::Acquire) == ACTIVE
            && now_ns < session.not_after_ns.load(Ordering::Relaxed)
            && session.not_before_ns.load(Ordering::Relaxed) <= now_ns
            && !self.killed.load(Ordering::Acquire);
        good.then_some(session.algo)
    }
}

/// The check by the number of a session, which is checked as ztfast checks it: kill switch, status, validity, clock.
pub struct BySession {
    rules: Rules,
    sessions: Sessions,
}

impl Peer for BySession {
    type Request = Numbered;

    fn allows(&mut self, order: &Numbered) -> bool {
        let Some(algo) = self.sessions.algo(order.who) else { return false };
        self.rules.allows(algo, order.what, order.notional, order.qty)
    }
}

/// Set up [`BySession`], with a session for each algorithm.
pub fn by_session(folder: &Path) -> Outcome<(BySession, Vec<Numbered>)> {
    let tables = world::tables(folder)?;
    let rules = rules(&tables)?;
    let sessions = Sessions::new(&rules.algos);
    Ok((BySession { rules, sessions }, numbered(&tables, folder)?))
}

/// The check by names, which are looked up first: the name of an algorithm or, if sessions are checked, of its session.
pub struct ByString<const CHECKED: bool> {
    rules: Rules,
    sessions: Sessions,
    algos: Names,
    instruments: Names,
}

impl<const CHECKED: bool> Peer for ByString<CHECKED> {
    type Request = world::Order;

    fn allows(&mut self, order: &world::Order) -> bool {
        let found = self.algos.0.get(order.0.as_str()).copied();
        let algo = if CHECKED { found.and_then(|session| self.sessions.algo(session)) } else { found };
        let instrument = self.instruments.0.get(order.1.as_str()).copied();
        let (Some(algo), Some(instrument)) = (algo, instrument) else { return false };
        self.rules.allows(algo, instrument, order.2, order.3)
    }
}

/// Set up [`ByString`].
pub fn by_string<const CHECKED: bool>(folder: &Path) -> Outcome<(ByString<CHECKED>, Vec<world::Order>)> {
    let tables = world::tables(folder)?;
    let (algos, instruments) = ids(&tables);
    let rules = rules(&tables)?;
    let sessions = Sessions::new(&rules.algos);
    Ok((ByString { rules, sessions, algos, instruments }, world::orders(folder)?))
}
