//! Kills two processes at random moments while they put rows, look rows up, make rows fall and revoke grounds.
//!
//! What a process has revoked it writes to a board in memory when the call has returned: from then on nobody may
//! forget.

use crate::child::Child;
use crate::host::{Folder, Words, digest, is_whole, key, line, own_ground, row};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use ztfast_identity::{Kept, Lookup, Revoked, Row, Table, TableError, number};

/// The keys of rows. The table has room for fewer.
const KEYS: u64 = 64;
const SETS: usize = 2;
/// The words of the board: for each process, what it counts, and how many grounds of its own it has revoked.
const PUTS: usize = 0;
const GETS: usize = 1;
const REVOKED: usize = 2;
const FAULTS: usize = 3;
const OF_EACH: usize = 8;

/// A process that writes until it is killed.
struct Worker {
    table: Table,
    list: Revoked,
    process: usize,
    random: u64,
}

impl Worker {
    fn below(&mut self, most: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % most
    }

    fn run(&mut self, board: &Words) -> ! {
        let own = &board.all()[self.process * OF_EACH..];
        let count = |at: usize| own[at].fetch_add(1, Ordering::SeqCst);
        let mut out = Row::empty();
        loop {
            let (number, turn) = (self.below(KEYS), self.below(1 << 20));
            let list = self.list.current().unwrap();
            match self.below(40) {
                0 => {
                    // Each process revokes its grounds one after the other, and the one that follows it goes on.
                    let next = own[REVOKED].load(Ordering::SeqCst) * 2 + self.process as u64;
                    self.list.append(&line(next)).unwrap();
                    count(REVOKED);
                }
                1 => drop(self.table.fall(own_ground(number, turn))),
                2..15 => {
                    let begun = self.table.begin();
                    match self.table.put(&row(number, turn), begun, 5, &list) {
                        Ok(Kept::Kept | Kept::Late) => count(PUTS),
                        // Another process was stopped by the system for long.
                        Err(TableError::Busy { .. }) => 0,
                        Ok(Kept::Revoked(_)) | Err(_) => count(FAULTS),
                    };
                }
                _ => {
                    let found = self.table.get(&key(number), 1, 5, &list, &mut out);
                    if found == Lookup::Found && !(out.key == key(number) && is_whole(&out)) {
                        println!("process {} found {out:?}", self.process);
                        count(FAULTS);
                    }
                    count(GETS);
                }
            }
        }
    }
}

/// Return how many grounds each process has revoked.
fn revoked(board: &Words) -> [u64; 2] {
    [0, 1].map(|process| board.all()[process * OF_EACH + REVOKED].load(Ordering::SeqCst))
}

/// Return what is wrong: with what is in the table, and with what is in the list.
fn fault(table: &Table, list: &Revoked, board: &Words) -> Option<String> {
    if let Some(row) = table.rows().find(|row| !is_whole(row)) {
        return Some(format!("a row of several: {row:?}"));
    }
    // What was revoked before this looks is in the list.
    let revoked = revoked(board);
    let now = match list.current() {
        Ok(now) => now,
        Err(error) => return Some(error.to_string()),
    };
    (0..).zip(revoked).find_map(|(process, revoked)| {
        let lost = (0..revoked).find(|turn| !now.contains(number(&digest(turn * 2 + process))))?;
        Some(format!("revocation {lost} of process {process} is forgotten"))
    })
}

/// Use all rows.
fn use_all(table: &Table, list: &Revoked, turn: u64) -> Result<(), String> {
    let now = list.current().map_err(|error| error.to_string())?;
    for number in 0..KEYS {
        let kept = table.put(&row(number, turn), table.begin(), 5, &now);
        let found = table.get(&key(number), 1, 5, &now, &mut Row::empty());
        if !matches!(kept, Ok(Kept::Kept)) || found != Lookup::Found {
            return Err(format!("row {number} is {kept:?} and {found:?}"));
        }
    }
    (table.len() == table.capacity()).then_some(()).ok_or_else(|| format!("{} rows", table.len()))
}

/// Kill processes so often. Return what was wrong.
pub fn run(kills: u64) -> Vec<String> {
    let (folder, began) = (Folder::new(), Instant::now());
    let (table, list) = (folder.table(SETS), folder.list());
    let board = folder.board(2 * OF_EACH);
    let start = |process: usize, seed: u64| {
        Child::of(|| {
            let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            Worker { table: folder.table(SETS), list: folder.list(), process, random }.run(&board)
        })
    };
    let mut faults = Vec::new();
    let mut children = [0, 1].map(|process| Some(start(process, 7 + process as u64)));
    let mut random = 0x1234_5678_9ABC_DEF1_u64;
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros(1_000 + (random >> 33) % 4_000));
        let process = usize::try_from(random >> 60 & 1).unwrap();
        if let Some(child) = children[process].take() {
            assert!(!child.has_ended(), "process {process} ended by itself");
            child.kill();
        }
        faults.extend(fault(&table, &list, &board));
        if kill % 16 == 0 {
            faults.extend(fault(&folder.table(SETS), &folder.list(), &board));
        }
        children[process] = Some(start(process, kill + 100));
        if faults.len() > 5 {
            break;
        }
    }
    children.into_iter().flatten().for_each(Child::kill);
    let sum = |at: usize| (0..2).map(|process| board.all()[process * OF_EACH + at].load(Ordering::SeqCst)).sum::<u64>();
    let again = (folder.table(SETS), folder.list());
    for (table, list) in [(&table, &list), (&again.0, &again.1), (&table, &again.1)] {
        faults.extend(fault(table, list, &board));
        faults.extend(use_all(table, list, 1 << 21).err());
    }
    if sum(FAULTS) > 0 {
        faults.push(format!("processes met {} faults, which they printed", sum(FAULTS)));
    }
    if kills > 100 && [PUTS, GETS, REVOKED].iter().any(|&at| sum(at) < 10) {
        faults.push("processes did hardly anything".to_owned());
    }
    println!(
        "{kills} kills at random moments of {} rows put, {} look-ups and {} revocations ({:.1} s)",
        sum(PUTS),
        sum(GETS),
        sum(REVOKED),
        began.elapsed().as_secs_f64()
    );
    faults
}
