//! Kills two processes at random moments while they admit, renew, revoke, prove, name, kill, release, set markets and
//! decide.
//!
//! What a process did, and must hold from then on, it writes to a board in memory that the others see.

mod switching;

use crate::host::child::Child;
use crate::host::{End, Folder, admit, fault_of, fault_of_uids, fill_and_empty, proof, shared};
use crate::stepped::switching::use_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use switching::{SwitchDoings, Switching};
use ztfast_live::{ChangeSessionError, Place, Role, SessionId, SessionStatus, Sessions, Switchboard};
use ztfast_pages::monotonic_ns;

/// How many ids of sessions each process keeps on the board.
const KEPT: usize = 512;
/// The uids that processes register.
const NAMES: usize = 40;
/// The first principal of those that are admitted while no other process runs.
const LATER: usize = 3_000_000;

/// What one process did.
#[derive(zerocopy::FromZeros)]
#[repr(C)]
struct Doings {
    /// The ids of sessions that it admitted, each with its principal.
    admitted: [[AtomicU64; 2]; KEPT],
    /// The ids of sessions that it revoked, after the call had returned.
    revoked: [AtomicU64; KEPT],
    admissions: AtomicU64,
    revocations: AtomicU64,
    /// All other changes.
    changes: AtomicU64,
    decisions: AtomicU64,
    /// How often another process kept a session for too long.
    busy: AtomicU64,
    /// How often something was wrong.
    faults: AtomicU64,
}

/// What all processes see.
#[derive(zerocopy::FromZeros)]
#[repr(C)]
struct Board {
    doings: [Doings; 2],
    /// The places of uids, plus one.
    places: [AtomicU64; NAMES],
    switches: SwitchDoings,
}

impl Board {
    fn sum(&self, of: impl Fn(&Doings) -> &AtomicU64) -> u64 {
        self.doings.iter().map(|doings| of(doings).load(Ordering::SeqCst)).sum()
    }

    /// Return an id that was revoked, which no process may decide by.
    fn revived(&self, sessions: &Sessions) -> Option<SessionId> {
        let ids = self.doings.iter().flat_map(|doings| &doings.revoked);
        let mut ids = ids.map(|id| SessionId(id.load(Ordering::SeqCst))).filter(|id| id.0 != 0);
        ids.find(|&id| sessions.valid(id, monotonic_ns()).is_some())
    }
}

/// A process that changes the state until it is killed.
struct Worker {
    sessions: Sessions,
    switches: Switching<'static>,
    board: &'static Board,
    number: usize,
    random: u64,
}

impl Worker {
    /// Return a random number below `most`.
    fn below(&mut self, most: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 11).unwrap() % most
    }

    const fn own(&self) -> &'static Doings {
        &self.board.doings[self.number]
    }

    /// Return the id and the principal of a session that some process admitted.
    fn session(&mut self) -> Option<(SessionId, usize)> {
        let (of, at) = (self.below(2), self.below(KEPT));
        let [id, principal] = &self.board.doings[of].admitted[at];
        let before = id.load(Ordering::SeqCst);
        let principal = principal.load(Ordering::SeqCst);
        let is_whole = before != 0 && id.load(Ordering::SeqCst) == before;
        is_whole.then(|| (SessionId(before), usize::try_from(principal).unwrap()))
    }

    fn fail(&self, what: &str) {
        println!("process {}: {what}", self.number);
        self.own().faults.fetch_add(1, Ordering::SeqCst);
    }

    fn run(&mut self) -> ! {
        if let Err(fault) = self.switches.finish(self.number) {
            self.fail(&fault);
        }
        loop {
            match self.below(20) {
                0..4 => self.admit(),
                4..10 => self.revoke(),
                10 | 11 => self.change(),
                12 => self.register(),
                13 => self.look(),
                14 | 15 => (0..16).for_each(|_| self.decide()),
                _ => self.switch(),
            }
        }
    }

    fn admit(&mut self) {
        let (principal, end) = (1 + self.below(1_000_000), End::ALL[self.below(4)]);
        let Ok(session) = admit(&self.sessions, principal, end) else { return };
        let at = self.own().admissions.fetch_add(1, Ordering::SeqCst);
        let [id, of] = &self.own().admitted[usize::try_from(at).unwrap() % KEPT];
        id.store(0, Ordering::SeqCst);
        of.store(principal as u64, Ordering::SeqCst);
        id.store(session.0, Ordering::SeqCst);
        if end != End::Over && self.sessions.valid(session, monotonic_ns()).is_none_or(|place| place.0 != principal) {
            // Another process may have revoked it or put it into quarantine already, or given its slot on.
            let record = self.sessions.record(session);
            if record.is_some_and(|record| record.status == SessionStatus::Active && record.to_ns > monotonic_ns()) {
                self.fail(&format!("admitted for {principal}: {record:?}"));
            }
        }
    }

    fn revoke(&mut self) {
        let Some((session, principal)) = self.session() else { return };
        let revoked = if self.below(4) == 0 {
            let chosen = |record: &ztfast_live::SessionRecord| record.principal.0 == principal;
            self.sessions.set_all(SessionStatus::Revoked, None, chosen) > 0 && self.sessions.record(session).is_some()
        } else {
            self.sessions.set(session, SessionStatus::Revoked)
        };
        if !revoked || self.sessions.record(session).is_some_and(|record| record.status != SessionStatus::Revoked) {
            return;
        }
        if self.sessions.valid(session, monotonic_ns()).is_some() {
            self.fail("a revoked session is valid");
        }
        let at = self.own().revocations.fetch_add(1, Ordering::SeqCst);
        self.own().revoked[usize::try_from(at).unwrap() % KEPT].store(session.0, Ordering::SeqCst);
    }

    fn change(&mut self) {
        let Some((session, principal)) = self.session() else { return };
        let (turn, end) = (u8::try_from(self.below(4)).unwrap(), End::ALL[1 + self.below(3)]);
        let base_ns = self.sessions.state().base_ns();
        let changed = match self.below(4) {
            0 => self.sessions.renew(session, end.of(principal)),
            1 => self.sessions.present(session, |_| proof(principal, turn, base_ns)),
            turn => {
                let status = if turn == 2 { SessionStatus::Quarantined } else { SessionStatus::Active };
                let _ = self.sessions.set(session, status);
                Ok(())
            }
        };
        let counted = if changed == Err(ChangeSessionError::Busy) { &self.own().busy } else { &self.own().changes };
        counted.fetch_add(1, Ordering::SeqCst);
    }

    fn register(&mut self) {
        let number = self.below(NAMES);
        let id = format!("user {number}");
        // A process that is killed in the midst of it takes a place with it, so that the register gets full.
        let Some(uids) = self.sessions.state().uids() else { return };
        let Ok(place) = uids.register("User", &id) else { return };
        let known = &self.board.places[number];
        let before = known.compare_exchange(0, place as u64 + 1, Ordering::SeqCst, Ordering::SeqCst);
        if before.is_err_and(|before| before != place as u64 + 1) || uids.get(place) != Some(("User", &id)) {
            self.fail(&format!("{id} is at {place}, and was known as {before:?}"));
        }
    }

    fn switch(&mut self) {
        let random = (self.below(1 << 30) as u64) << 32 | self.below(1 << 32) as u64;
        if let Err(fault) = self.switches.change(self.number, random) {
            self.fail(&fault);
        }
    }

    fn look(&mut self) {
        if let Some(fault) = self.switches.fault() {
            self.fail(&fault);
        }
        let base_ns = self.sessions.state().base_ns();
        if let Some(fault) = self.sessions.all().iter().find_map(|record| fault_of(record, &End::ALL, base_ns)) {
            self.fail(&fault);
        }
        if let Some(id) = self.board.revived(&self.sessions) {
            self.fail(&format!("{id:?} was revoked, and is valid"));
        }
    }

    fn decide(&mut self) {
        let Some((session, principal)) = self.session() else { return };
        let found = self.sessions.valid(session, monotonic_ns());
        if found.is_some_and(|place| place != Place(principal)) {
            self.fail(&format!("{session:?} of {principal} is {found:?}"));
        }
        self.own().decisions.fetch_add(1, Ordering::SeqCst);
    }
}

/// Return what is wrong with a state whose processes run.
fn look(sessions: &Sessions, switches: &Switching<'_>, board: &Board) -> Result<(), String> {
    if let Some(fault) = switches.fault() {
        return Err(fault);
    }
    let base_ns = sessions.state().base_ns();
    let fault = sessions.all().iter().find_map(|record| fault_of(record, &End::ALL, base_ns));
    if let Some(fault) = fault.or_else(|| board.revived(sessions).map(|id| format!("{id:?} is valid again"))) {
        return Err(fault);
    }
    match board.sum(|doings| &doings.faults) {
        0 => Ok(()),
        faults => Err(format!("the processes met {faults} faults")),
    }
}

/// Return what is wrong with a state that only this process has open.
fn look_alone(
    folder: &Folder,
    (own, switches): (&Sessions, &Switching<'_>),
    board: &'static Board,
    newest_first: bool,
) -> Result<(), String> {
    let newest = Arc::new(folder.state(Role::Authority));
    let (newest, newest_board) = (Sessions::of(newest.clone()), Switchboard::of(newest));
    look(own, switches, board)?;
    Switching::new(&board.switches, Switchboard::of(Arc::new(folder.state(Role::Authority)))).undo()?;
    use_all(&newest_board, &Switchboard::of(Arc::new(folder.state(Role::Authority))))?;
    let known = (0..).zip(&board.places).map(|(number, place)| (number, place.load(Ordering::SeqCst)));
    let known: Vec<(String, usize)> = known
        .filter(|(_, place)| *place != 0)
        .map(|(number, place): (u32, u64)| (format!("user {number}"), usize::try_from(place - 1).unwrap()))
        .collect();
    if let Some(fault) = fault_of_uids(&newest, &known) {
        return Err(fault);
    }
    let (first, second) = if newest_first { (&newest, own) } else { (own, &newest) };
    fill_and_empty(first, second, LATER)?;
    look(own, switches, board)
}

/// Kill processes at random moments, so often. Return what was wrong.
pub fn run(kills: usize) -> Vec<String> {
    let (folder, board, began) = (Folder::new(), shared::<Board>(), Instant::now());
    let open = || {
        let state = Arc::new(folder.state(Role::Authority));
        (Sessions::of(state.clone()), Switching::new(&board.switches, Switchboard::of(state)))
    };
    let (own, switches) = open();
    let mut random = u64::from(std::process::id()) << 32 | 1 | u64::from(began.elapsed().subsec_nanos());
    let mut next = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    let start = |number: usize, random: u64| {
        Child::of(|| {
            let (sessions, switches) = open();
            Worker { sessions, switches, board, number, random: random + 1 }.run()
        })
    };
    let mut workers = [0, 1].map(|number| Some(start(number, next(u64::MAX))));
    let (mut faults, mut met) = (Vec::new(), [0, 0]);
    for turn in 0..kills {
        std::thread::sleep(Duration::from_micros(next(3_000)));
        let number = usize::try_from(next(2)).unwrap();
        let worker = workers[number].take();
        if worker.as_ref().is_some_and(Child::has_ended) {
            faults.push(format!("process {number} ended by itself"));
        }
        drop(worker);
        for (met, left) in met.iter_mut().zip(switches.left_by(number)) {
            *met += left;
        }
        faults.extend(look(&own, &switches, board).err());
        if turn % 64 == 63 || turn + 1 == kills {
            workers = [None, None];
            faults.extend(look_alone(&folder, (&own, &switches), board, turn % 128 < 64).err());
        }
        if faults.len() > 20 || turn + 1 == kills {
            break;
        }
        for (number, worker) in workers.iter_mut().enumerate().filter(|(_, worker)| worker.is_none()) {
            *worker = Some(start(number, next(u64::MAX)));
        }
    }
    println!(
        "{kills} kills at random moments of {} admissions, {} revocations, {} other changes and {} decisions ({:.1} s); \
         {} changes were refused because another process was at the session",
        board.sum(|doings| &doings.admissions),
        board.sum(|doings| &doings.revocations),
        board.sum(|doings| &doings.changes),
        board.sum(|doings| &doings.decisions),
        began.elapsed().as_secs_f64(),
        board.sum(|doings| &doings.busy),
    );
    let SwitchDoings { made, asked, released, set, .. } = &board.switches;
    let [made, asked, released, set] = [made, asked, released, set].map(|count| count.load(Ordering::SeqCst));
    println!(
        "meanwhile {made} kills of what processes do, {asked} requests and {released} releases of them, and {set} settings \
         of markets; a process was killed within {} changes of kills and {} of markets",
        met[0], met[1],
    );
    if kills >= 1_000 && met.contains(&0) {
        faults.push(format!("no process was killed within a change of kills or of markets: {met:?}"));
    }
    faults
}
