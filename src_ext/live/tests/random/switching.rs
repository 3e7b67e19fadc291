//! Kills and markets of processes that are killed at random moments.
//!
//! Each process has places for kills and for markets of its own, and the one that follows it takes them over. Before
//! and after a change it writes to the board what it asks for, so everybody knows what must be in force and what not.

use std::sync::atomic::{AtomicU64, Ordering};
use ztfast_live::{
    ActionKey, FIRM, Kill, MARKETS, MarketState, Released, Scope, Stopped, SwitchError, Switchboard, uid_bit, uid_hash,
};
use ztfast_pages::monotonic_ns;

/// How many kills and markets each process has.
const KILLS_OF_EACH: usize = 24;
const MARKETS_OF_EACH: usize = 16;

/// How far the change of a kill has come, in the low bits of its word. Above them is its id.
const NONE: u64 = 0;
const KILLING: u64 = 1;
const KILLED: u64 = 2;
const ASKING: u64 = 3;
const ASKED: u64 = 4;
const RELEASING: u64 = 5;
const PHASE: u64 = 7;

/// In the word of a market: its state, the one that it gets, and whether it is being set. Above them is a number.
const TO: u32 = 2;
const SETTING: u64 = 16;
const NEXT: u64 = 32;

/// What processes say of kills and markets.
#[derive(zerocopy::FromZeros)]
#[repr(C)]
pub struct SwitchDoings {
    kills: [[AtomicU64; KILLS_OF_EACH]; 2],
    markets: [[AtomicU64; MARKETS_OF_EACH]; 2],
    /// How many kills were made, asked to be released and released, and how many markets were set.
    pub made: AtomicU64,
    pub asked: AtomicU64,
    pub released: AtomicU64,
    pub set: AtomicU64,
}

/// A kill of a process, by the process and the kill's number.
#[derive(Clone, Copy)]
struct Whose(usize, usize);

impl Whose {
    fn name(self) -> String {
        format!("{}-{}", self.0, self.1)
    }

    /// Return whether the kill is of an action of the firm. Others are of a desk.
    const fn is_of_firm(self) -> bool {
        self.1 % 4 == 3
    }

    fn kill(self, id: u64, member: u64) -> Kill {
        let uid = |ty: &str| (ty.to_owned(), self.name());
        let (scope, actions, members) = if self.is_of_firm() {
            (Scope::Firm, Stopped::Named(vec![uid("Action")]), vec![member])
        } else {
            let (ty, id) = uid("Desk");
            (Scope::Entity(ty, id), Stopped::Usual, vec![])
        };
        let (by, reason, two_persons) = (self.name(), "a test".to_owned(), self.1.is_multiple_of(2));
        let (since_ns, until_ns, asked_by, by_switch) = (0, None, None, false);
        Kill { id, scope, actions, members, by, reason, since_ns, until_ns, two_persons, asked_by, by_switch }
    }

    fn is_in_force(self, board: &Switchboard) -> bool {
        let name = self.name();
        let key = ActionKey { exempt: false, own: uid_hash("Action", &name), groups: Box::default() };
        let bit = if self.is_of_firm() { FIRM } else { uid_bit(uid_hash("Desk", &name)) };
        let bits = board.word() & bit;
        bits != 0 && board.stop(bits, Some(&key), monotonic_ns(), |scope| scope.is("Desk", &name))
    }
}

/// Return the ids of all markets. Their records are looked for in few places.
fn market_ids() -> Vec<String> {
    let meets = |id: &String| uid_hash("Market", id) % (MARKETS as u64) < 4;
    (0..).map(|number: u64| number.to_string()).filter(meets).take(2 * MARKETS_OF_EACH).collect()
}

fn state_in(bits: u64) -> MarketState {
    MarketState::ALL[usize::try_from(bits & 3).unwrap()]
}

/// The kills and markets, as one process sees them.
pub struct Switching<'b> {
    doings: &'b SwitchDoings,
    board: Switchboard,
    ids: Vec<String>,
}

impl<'b> Switching<'b> {
    pub fn new(doings: &'b SwitchDoings, board: Switchboard) -> Self {
        Self { doings, board, ids: market_ids() }
    }

    fn market_of(&self, process: usize, number: usize) -> &str {
        &self.ids[process * MARKETS_OF_EACH + number]
    }

    /// Change a switch of a process. Return what is wrong.
    pub fn change(&self, process: usize, random: u64) -> Result<(), String> {
        let pick = |count: usize| usize::try_from(random >> 32).unwrap() % count;
        if random.is_multiple_of(3) {
            self.change_market(process, pick(MARKETS_OF_EACH), random)
        } else {
            self.change_kill(Whose(process, pick(KILLS_OF_EACH)), random)
        }
    }

    fn change_kill(&self, whose: Whose, random: u64) -> Result<(), String> {
        let word = &self.doings.kills[whose.0][whose.1];
        let before = word.load(Ordering::SeqCst);
        let say = |id: u64, phase: u64| word.store(id << 3 | phase, Ordering::SeqCst);
        let release = |id: u64, by: &str, other: Option<&str>| {
            self.board.change(monotonic_ns(), |writer| writer.release(id, by, other)).ok()
        };
        let id = before >> 3;
        let count = |counted: &AtomicU64| counted.fetch_add(1, Ordering::SeqCst);
        match before & PHASE {
            NONE => {
                let id = random >> 16 | 1;
                say(id, KILLING);
                let kill = whose.kill(id, random % 8);
                match self.board.change(monotonic_ns(), |writer| writer.kill(&kill)) {
                    Ok(Ok(done)) if done == kill => count(&self.doings.made),
                    Ok(done) => return Err(format!("{kill:?} is {done:?}")),
                    // Another process was at it for long.
                    Err(_) => {
                        say(id, NONE);
                        return Ok(());
                    }
                };
                say(id, KILLED);
            }
            KILLED if random & 64 != 0 => {
                // What is killed again is in force all the time.
                let again = whose.kill(1, random % 8);
                match self.board.change(monotonic_ns(), |writer| writer.kill(&again)) {
                    Ok(Ok(done)) if done.id == id => {}
                    Ok(done) => return Err(format!("{id} is {done:?}")),
                    Err(_) => {}
                }
            }
            KILLED if whose.kill(id, 0).two_persons => {
                say(id, ASKING);
                match release(id, "first", None) {
                    Some(Ok(Released::Asked)) => count(&self.doings.asked),
                    Some(done) => return Err(format!("the release of {id} is {done:?}, and not asked for")),
                    None => {
                        say(id, KILLED);
                        return Ok(());
                    }
                };
                say(id, ASKED);
            }
            KILLED | ASKED => {
                say(id, RELEASING);
                match release(id, "second", None) {
                    Some(Ok(Released::Done)) => count(&self.doings.released),
                    Some(done) => return Err(format!("the release of {id} is {done:?}")),
                    None => {
                        say(id, before & PHASE);
                        return Ok(());
                    }
                };
                say(id, NONE);
            }
            _ => self.finish_kill(whose)?,
        }
        Ok(())
    }

    /// Release what a process was at when it was killed.
    fn finish_kill(&self, whose: Whose) -> Result<(), String> {
        let word = &self.doings.kills[whose.0][whose.1];
        let (id, phase) = (word.load(Ordering::SeqCst) >> 3, word.load(Ordering::SeqCst) & PHASE);
        word.store(id << 3 | RELEASING, Ordering::SeqCst);
        let done = self.board.change(monotonic_ns(), |writer| writer.release(id, "first", Some("second")));
        let may_be_unknown = phase != ASKING;
        match done.map_err(|error| error.to_string())? {
            Ok(Released::Done) => {}
            Err(SwitchError::UnknownKill(_)) if may_be_unknown => {}
            done => return Err(format!("the release of what was left of {id} is {done:?}")),
        }
        word.store(id << 3 | NONE, Ordering::SeqCst);
        Ok(())
    }

    fn change_market(&self, process: usize, number: usize, random: u64) -> Result<(), String> {
        let word = &self.doings.markets[process][number];
        let (id, before) = (self.market_of(process, number), word.load(Ordering::SeqCst));
        // A process that was killed may have set it or not.
        let from = if before & SETTING == 0 { before & 3 } else { self.board.market("Market", id) as u64 };
        let (to, number) = (random >> 8 & 0xFF_FFFF, (before / NEXT + 1) * NEXT);
        let to = to % 3;
        word.store(number | SETTING | to << TO | from, Ordering::SeqCst);
        let set =
            |writer: &ztfast_live::Writer<'_>| writer.set_market(("Market", id), state_in(to), "ann", "a test", 0);
        let now = match self.board.change(monotonic_ns(), set) {
            Ok(Ok(_)) => to,
            Ok(Err(error)) => return Err(format!("market {id}: {error}")),
            Err(_) => from,
        };
        word.store(number | now << TO | now, Ordering::SeqCst);
        self.doings.set.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Return at how many changes of kills and of markets a process was when it was killed.
    pub fn left_by(&self, process: usize) -> [u64; 2] {
        let is_at_it = |word: &&AtomicU64| {
            let phase = word.load(Ordering::SeqCst) & PHASE;
            [KILLING, ASKING, RELEASING].contains(&phase)
        };
        let kills = self.doings.kills[process].iter().filter(is_at_it).count();
        let is_set = |word: &&AtomicU64| word.load(Ordering::SeqCst) & SETTING != 0;
        [kills as u64, self.doings.markets[process].iter().filter(is_set).count() as u64]
    }

    /// Finish what a process was at when it was killed.
    pub fn finish(&self, process: usize) -> Result<(), String> {
        for number in 0..KILLS_OF_EACH {
            let phase = self.doings.kills[process][number].load(Ordering::SeqCst) & PHASE;
            if [KILLING, ASKING, RELEASING].contains(&phase) {
                self.finish_kill(Whose(process, number))?;
            }
        }
        (0..MARKETS_OF_EACH)
            .filter(|&number| self.doings.markets[process][number].load(Ordering::SeqCst) & SETTING != 0)
            .try_for_each(|number| self.change_market(process, number, 0))
    }

    /// Return what is wrong: a kill that was made and is not in force, one that is and nobody asked for, or a market in
    /// another state.
    pub fn fault(&self) -> Option<String> {
        let all = |count: usize| (0..2).flat_map(move |process| (0..count).map(move |number| (process, number)));
        all(KILLS_OF_EACH)
            .find_map(|(process, number)| self.fault_of_kill(Whose(process, number)))
            .or_else(|| all(MARKETS_OF_EACH).find_map(|(process, number)| self.fault_of_market(process, number)))
            .or_else(|| self.fault_of_list())
    }

    fn fault_of_kill(&self, whose: Whose) -> Option<String> {
        let word = &self.doings.kills[whose.0][whose.1];
        let before = word.load(Ordering::SeqCst);
        let is_in_force = whose.is_in_force(&self.board);
        let is_right = match before & PHASE {
            NONE => !is_in_force,
            KILLED | ASKING | ASKED => is_in_force,
            _ => true,
        };
        let is_wrong = !is_right && word.load(Ordering::SeqCst) == before;
        is_wrong.then(|| format!("kill {} in phase {}: in force is {is_in_force}", before >> 3, before & PHASE))
    }

    fn fault_of_market(&self, process: usize, number: usize) -> Option<String> {
        let (word, id) = (&self.doings.markets[process][number], self.market_of(process, number));
        let before = word.load(Ordering::SeqCst);
        let (state, bits) = (self.board.market("Market", id), self.board.market_word());
        let is_right = state == state_in(before) || state == state_in(before >> TO);
        let has_bit = state == MarketState::Normal || bits & uid_bit(uid_hash("Market", id)) != 0;
        let is_wrong = !(is_right && has_bit) && word.load(Ordering::SeqCst) == before;
        is_wrong.then(|| format!("market {id} is {state:?}, its bit is {has_bit}, and {before:#x} was said"))
    }

    /// Look for kills that nobody made, or whose release somebody asked for that nobody is said to ask for.
    fn fault_of_list(&self) -> Option<String> {
        let words = || self.doings.kills.iter().flatten().map(|word| word.load(Ordering::SeqCst)).collect::<Vec<_>>();
        let (before, kills) = (words(), self.board.kills(monotonic_ns()));
        let after = words();
        kills.iter().find_map(|kill| {
            let is_of = |words: &[u64]| words.iter().copied().find(|word| word >> 3 == kill.id);
            let (one, other) = (is_of(&before), is_of(&after));
            let phase = one.filter(|_| one == other).map(|word| word & PHASE);
            let is_right = match phase {
                // Its word changed meanwhile.
                None => one.is_some() || other.is_some(),
                Some(NONE) => false,
                Some(KILLED) => kill.asked_by.is_none(),
                Some(_) => true,
            };
            (!is_right).then(|| format!("{kill:?} is listed in phase {phase:?}"))
        })
    }

    /// Undo everything, as the only process.
    pub fn undo(&self) -> Result<(), String> {
        for process in 0..2 {
            self.finish(process)?;
            for number in 0..MARKETS_OF_EACH {
                self.change_market(process, number, 0)?;
            }
            for number in 0..KILLS_OF_EACH {
                let word = &self.doings.kills[process][number];
                if word.load(Ordering::SeqCst) & PHASE != NONE {
                    self.finish_kill(Whose(process, number))?;
                }
            }
        }
        let is_clear = self.board.word() == 0 && self.board.market_word() == 0;
        if is_clear {
            Ok(())
        } else {
            Err(format!("{:?} and {:?} are left", self.board.kills(0), self.board.markets()))
        }
    }
}
