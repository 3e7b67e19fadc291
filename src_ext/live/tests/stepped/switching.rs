//! The changes of kills and markets, and what processes must find when the one that made a change was killed.

use super::stage::Stage;
use crate::host::Folder;
use crate::host::child::{Child, stop};
use std::sync::Arc;
use ztfast_live::{
    ActionKey, FIRM, FOR_ALL, KILLS, Kill, Market, MarketState, Released, Role, Scope, Sessions, Stopped, SwitchError,
    Switchboard, uid_bit, uid_hash,
};

const STRATEGY: (&str, &str) = ("Strategy", "s1");
const VENUE: (&str, &str) = ("Venue", "XNAS");
const ANN: (&str, &str) = ("User", "ann");
const AAPL: (&str, &str) = ("Instrument", "AAPL");
const MSFT: (&str, &str) = ("Instrument", "MSFT");
const IBM: (&str, &str) = ("Instrument", "IBM");
/// A time before all ends of kills.
const NOW_NS: i64 = 1_000;

/// What the child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switching {
    KillFirm,
    KillVenue,
    KillAgain,
    Release,
    AskToRelease,
    Halt,
    Calm,
    Normalise,
}

impl Switching {
    pub const ALL: [Self; 8] = [
        Self::KillFirm,
        Self::KillVenue,
        Self::KillAgain,
        Self::Release,
        Self::AskToRelease,
        Self::Halt,
        Self::Calm,
        Self::Normalise,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::KillFirm => "kill an action of the firm",
            Self::KillVenue => "kill a venue",
            Self::KillAgain => "kill the same again, whose release somebody asked for",
            Self::Release => "release a kill",
            Self::AskToRelease => "ask for a release by two persons",
            Self::Halt => "halt a market",
            Self::Calm => "set a halted market volatile",
            Self::Normalise => "set a market normal",
        }
    }

    /// Make the change, and return it as the lists show it.
    fn make(self, board: &Switchboard) {
        let released = |id: u64, by: &str| board.change(NOW_NS, |writer| writer.release(id, by, None)).unwrap();
        let killed = |kill: &Kill| board.change(NOW_NS, |writer| writer.kill(kill)).unwrap();
        let set = |uid, state| assert!(set(board, uid, state, "child").unwrap());
        match self {
            Self::KillFirm | Self::KillVenue | Self::KillAgain => assert!(killed(&self.new_kill()).is_ok()),
            Self::Release => assert_eq!(released(2, "child"), Ok(Released::Done)),
            Self::AskToRelease => assert_eq!(released(3, "child"), Ok(Released::Asked)),
            Self::Halt => set(IBM, MarketState::Halted),
            Self::Calm => set(AAPL, MarketState::Volatile),
            Self::Normalise => set(MSFT, MarketState::Normal),
        }
    }

    fn new_kill(self) -> Kill {
        match self {
            Self::KillFirm => kill(9, Scope::Firm, Stopped::Named(vec![("Action".to_owned(), "order.new".to_owned())])),
            Self::KillAgain => Kill { until_ns: Some((6_000, 6_000)), ..kill(3, entity(ANN), Stopped::Usual) },
            _ => kill(9, entity(VENUE), Stopped::Usual),
        }
    }

    /// Return the kills that may be listed afterwards, given those before: without the change, with it, and with what
    /// may be there in between.
    fn kills(self, before: &[Kill]) -> Vec<Vec<Kill>> {
        let mut after = before.to_vec();
        match self {
            Self::KillFirm | Self::KillVenue => after.push(self.new_kill()),
            Self::KillAgain => {
                // Decisions go by the second end, which comes first.
                let until = [(5_000, 5_000), (5_000, 6_000), (6_000, 6_000)];
                let with = |until| {
                    let other = Kill { until_ns: Some(until), ..self.new_kill() };
                    before.iter().map(|kill| if kill.id == 3 { other.clone() } else { kill.clone() }).collect()
                };
                return std::iter::once(after).chain(until.map(with)).collect();
            }
            Self::Release => after.retain(|kill| kill.id != 2),
            Self::AskToRelease => {
                after.iter_mut().filter(|kill| kill.id == 3).for_each(|kill| kill.asked_by = Some("child".to_owned()));
            }
            Self::Halt | Self::Calm | Self::Normalise => {}
        }
        vec![before.to_vec(), after]
    }

    /// Return the markets that may be listed afterwards.
    fn markets(self, before: &[Market]) -> [Vec<Market>; 2] {
        let mut after = before.to_vec();
        let changed = |uid: (&str, &str), state| market(uid, state, "child");
        match self {
            Self::Halt => after.push(changed(IBM, MarketState::Halted)),
            Self::Calm => {
                after.iter_mut().filter(|market| market.uid.1 == AAPL.1).for_each(|market| {
                    *market = changed(AAPL, MarketState::Volatile);
                });
            }
            Self::Normalise => after.retain(|market| market.uid.1 != MSFT.1),
            _ => {}
        }
        [before.to_vec(), after].map(sorted)
    }
}

fn entity(uid: (&str, &str)) -> Scope {
    Scope::Entity(uid.0.to_owned(), uid.1.to_owned())
}

fn kill(id: u64, scope: Scope, actions: Stopped) -> Kill {
    let (by, reason) = (format!("person {id}"), format!("reason {id}"));
    let since_ns = i64::try_from(id).unwrap();
    let (members, until_ns, two_persons, asked_by, by_switch) = (vec![], Some((5_000, 5_000)), id == 3, None, false);
    Kill { id, scope, actions, members, by, reason, since_ns, until_ns, two_persons, asked_by, by_switch }
}

fn market(uid: (&str, &str), state: MarketState, by: &str) -> Market {
    let (uid, by, reason) = ((uid.0.to_owned(), uid.1.to_owned()), by.to_owned(), format!("reason of {by}"));
    Market { uid, state, by, reason, since_ns: 7 }
}

fn set(board: &Switchboard, uid: (&str, &str), state: MarketState, by: &str) -> Result<bool, SwitchError> {
    board.change(NOW_NS, |writer| writer.set_market(uid, state, by, &format!("reason of {by}"), 7)).unwrap()
}

fn sorted(mut markets: Vec<Market>) -> Vec<Market> {
    markets.sort_by(|one, other| one.uid.cmp(&other.uid));
    markets
}

/// Return whether a kill stops what it is to stop.
fn is_in_force(board: &Switchboard, kill: &Kill) -> bool {
    let own = uid_hash("Action", "order.new");
    let key = ActionKey { exempt: false, own, groups: Box::default() };
    let (bit, uid) = match &kill.scope {
        Scope::Firm => (FIRM, None),
        Scope::Entity(ty, id) => (uid_bit(uid_hash(ty, id)), Some((ty, id))),
    };
    let bits = board.word() & bit;
    bits != 0 && board.stop(bits, Some(&key), NOW_NS, |scope| uid.is_some_and(|(ty, id)| scope.is(ty, id)))
}

/// The switches before a change.
pub struct SwitchScene {
    change: Switching,
    folder: Folder,
    own: (Sessions, Switchboard),
    reader: Switchboard,
    kills: Vec<Kill>,
    markets: Vec<Market>,
}

impl SwitchScene {
    pub fn new(change: Switching) -> Self {
        let folder = Folder::new();
        let state = Arc::new(folder.state(Role::Authority));
        let own = (Sessions::of(state.clone()), Switchboard::of(state));
        let reader = Switchboard::of(Arc::new(folder.state(Role::Decide)));
        let mut kills = vec![
            kill(1, entity(STRATEGY), Stopped::Everything),
            kill(2, entity(("Desk", "d1")), Stopped::Usual),
            kill(3, entity(ANN), Stopped::Usual),
        ];
        for kill in &kills {
            own.1.change(NOW_NS, |writer| writer.kill(kill)).unwrap().unwrap();
        }
        if change == Switching::KillAgain {
            let asked = own.1.change(NOW_NS, |writer| writer.release(3, "own", None)).unwrap();
            assert_eq!(asked, Ok(Released::Asked));
            kills[2].asked_by = Some("own".to_owned());
        }
        let markets = [market(AAPL, MarketState::Halted, "own"), market(MSFT, MarketState::Volatile, "own")];
        for Market { uid: (ty, id), state, by, .. } in &markets {
            set(&own.1, (ty, id), *state, by).unwrap();
        }
        let scene = Self { change, folder, own, reader, kills, markets: sorted(markets.into()) };
        scene.look_at(&scene.own.1).unwrap();
        scene
    }

    fn open(&self) -> Switchboard {
        Switchboard::of(Arc::new(self.folder.state(Role::Authority)))
    }

    fn look_at(&self, board: &Switchboard) -> Result<(), String> {
        let (kills, markets) = (board.kills(NOW_NS), sorted(board.markets()));
        if kills != self.reader.kills(NOW_NS) || markets != sorted(self.reader.markets()) {
            return Err("two processes see different switches".to_owned());
        }
        if !self.change.kills(&self.kills).contains(&kills) || !self.change.markets(&self.markets).contains(&markets) {
            return Err(format!("{kills:?} {markets:?}"));
        }
        for board in [board, &self.reader] {
            if let Some(kill) = kills.iter().find(|kill| !is_in_force(board, kill)) {
                return Err(format!("it is listed, and not in force: {kill:?}"));
            }
            for uid in [AAPL, MSFT, IBM] {
                let listed = markets.iter().find(|market| market.uid.1 == uid.1).map(|market| market.state);
                let has_bit = board.market_word() & uid_bit(uid_hash(uid.0, uid.1)) != 0;
                if board.market(uid.0, uid.1) != listed.unwrap_or(MarketState::Normal) || listed.is_some() && !has_bit {
                    return Err(format!("{uid:?} is listed as {listed:?}, and {:?}", board.market(uid.0, uid.1)));
                }
            }
        }
        Ok(())
    }
}

/// Make the change again, fill the table of kills, and undo everything. Return what is wrong.
pub fn use_all(first: &Switchboard, second: &Switchboard) -> Result<(), String> {
    let fail = |what: &str| Err(format!("{what}: {:?} {:?}", second.kills(NOW_NS), second.markets()));
    set(first, IBM, MarketState::Halted, "later").map_err(|error| error.to_string())?;
    if second.market(IBM.0, IBM.1) != MarketState::Halted {
        return fail("the market is not halted");
    }
    for uid in [AAPL, MSFT, IBM] {
        set(second, uid, MarketState::Normal, "later").map_err(|error| error.to_string())?;
    }
    let left = second.kills(NOW_NS).len();
    for number in left..KILLS {
        // The last ones may only be of the whole firm.
        let scope = if number < KILLS - FOR_ALL { entity(("Venue", &number.to_string())) } else { Scope::Firm };
        let new = kill(1_000 + number as u64, scope, Stopped::Everything);
        // Nobody gives two of these orders.
        let new = Kill { by: number.to_string(), ..new };
        let done = first.change(NOW_NS, |writer| writer.kill(&new)).map_err(|error| error.to_string())?;
        if done.is_err() || !is_in_force(second, &new) {
            return fail("a kill is not in force");
        }
    }
    let more = kill(9_999, Scope::Firm, Stopped::Usual);
    if first.change(NOW_NS, |writer| writer.kill(&more)).map_err(|error| error.to_string())?.is_ok() {
        return fail("there is room for one more");
    }
    second.change(NOW_NS, |writer| writer.drop_kills(|_| true)).map_err(|error| error.to_string())?;
    if first.word() != 0 || first.market_word() != 0 || !first.kills(NOW_NS).is_empty() {
        return fail("something is left");
    }
    Ok(())
}

impl Stage for SwitchScene {
    fn own(&self) -> Option<&Sessions> {
        Some(&self.own.0)
    }

    fn child(&self) -> Option<Child> {
        Child::stepped(|| {
            let board = self.open();
            stop();
            self.change.make(&board);
            stop();
        })
    }

    fn meanwhile(&self, _: usize) {}

    fn look(&self, turn: usize) -> Result<(), String> {
        let newest = self.open();
        let (first, second) = if turn.is_multiple_of(2) { (&newest, &self.own.1) } else { (&self.own.1, &newest) };
        self.look_at(first)?;
        self.look_at(second)?;
        use_all(first, second)
    }
}
