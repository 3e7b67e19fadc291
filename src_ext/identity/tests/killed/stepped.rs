//! Steps a child through each change, kills it, and looks at what it leaves behind: by a process that was there before,
//! and by one that comes afterwards.

use crate::child::{Child, Step, stop};
use crate::host::{Folder, Words, digest, is_whole, key, line, own_ground, row};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use ztfast_identity::{Kept, Lookup, Revoked, Row, RowGround, Table, number};

/// Of the instructions that do not change the table's memory, so many are looked at where not all are. Of changes of the
/// list never all are: others see what a process asks of the system, and nothing in between.
const SAMPLE: usize = 12;
const SAMPLE_OF_LIST: usize = 200;

/// What the child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    PutFree,
    PutOver,
    PutEvicting,
    Fall,
    Append,
    AppendFirst,
    AppendAfterTorn,
    AppendBesideChild,
    PutBesideChild,
    MakeTable,
    MakeList,
}

/// How long a child's child lives: longer than anybody waits for a lock.
const LIFE: Duration = Duration::from_secs(12);

/// The key that is put, and the turn of the child's row. The rows that were there before are of turn 0.
const TARGET: u64 = 3;
const TURN: u64 = 9;
/// The ground on which some rows rest, and that falls.
const GROUND: u64 = 4_711;
/// The ground that the child revokes, and one that is revoked afterwards.
const REVOKED: u64 = 70;
const LATER: u64 = 71;

impl Change {
    const ALL: [Self; 11] = [
        Self::PutFree,
        Self::PutOver,
        Self::PutEvicting,
        Self::Fall,
        Self::Append,
        Self::AppendFirst,
        Self::AppendAfterTorn,
        Self::AppendBesideChild,
        Self::PutBesideChild,
        Self::MakeTable,
        Self::MakeList,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::PutFree => "put a row where there is room",
            Self::PutOver => "put a row in the place of the one before",
            Self::PutEvicting => "put a row in the place of another key's",
            Self::Fall => "make rows fall",
            Self::Append => "revoke a ground",
            Self::AppendFirst => "revoke the first ground",
            Self::AppendAfterTorn => "revoke a ground after a line that was not finished",
            Self::AppendBesideChild => "revoke a ground, as the parent of a process that lives on",
            Self::PutBesideChild => "put a row, as the parent of a process that lives on",
            Self::MakeTable => "make the table",
            Self::MakeList => "make the list",
        }
    }

    const fn makes(self) -> bool {
        matches!(self, Self::MakeTable | Self::MakeList)
    }

    const fn puts(self) -> bool {
        matches!(self, Self::PutFree | Self::PutOver | Self::PutEvicting | Self::PutBesideChild)
    }

    const fn appends(self) -> bool {
        matches!(self, Self::Append | Self::AppendFirst | Self::AppendAfterTorn | Self::AppendBesideChild)
    }

    /// Return whether the child has a child, which must keep no lock of its parent's.
    const fn is_parent(self) -> bool {
        matches!(self, Self::AppendBesideChild | Self::PutBesideChild)
    }

    /// Return the numbers of the keys that are in the table before.
    fn rows_before(self) -> Vec<u64> {
        match self {
            Self::PutFree => vec![0, 1, 2],
            Self::PutEvicting => (10..18).collect(),
            _ => (0..8).collect(),
        }
    }

    fn lines_before(self) -> u64 {
        if self == Self::AppendFirst { 0 } else { 3 }
    }
}

/// A row that rests on the ground that falls.
fn falling(number: u64) -> Row {
    let grounds = [RowGround { kind: 1, number: own_ground(number, 0) }, RowGround { kind: 2, number: GROUND }];
    Row::new(key(number), 1, (0, i64::MAX), 5, &grounds, b"some text").unwrap()
}

/// Everything before a change.
struct Scene {
    change: Change,
    folder: Folder,
    there: Option<(Table, Revoked)>,
    /// Whether the change has returned, and whether the child's child lives.
    board: Option<Words>,
}

impl Scene {
    fn new(change: Change) -> Self {
        let folder = Folder::new();
        if change.makes() {
            return Self { change, folder, there: None, board: None };
        }
        let (table, list) = (folder.table(1), folder.list());
        for line_number in 0..change.lines_before() {
            list.append(&line(line_number)).unwrap();
        }
        let now = list.current().unwrap();
        for number in change.rows_before() {
            let row = if change == Change::Fall && number % 2 == 1 { falling(number) } else { row(number, 0) };
            assert_eq!(table.put(&row, table.begin(), i64::try_from(number).unwrap(), &now).unwrap(), Kept::Kept);
        }
        if change == Change::AppendAfterTorn {
            let mut file = File::options().append(true).open(folder.path("revoked")).unwrap();
            file.write_all(br#"{"kind":"key","digest":"4f"#).unwrap();
        }
        let board = Some(folder.board(2));
        Self { change, folder, there: Some((table, list)), board }
    }

    fn words(&self) -> (&AtomicU64, &AtomicU64) {
        let words = self.board.as_ref().map_or(&[][..], Words::all);
        (&words[0], &words[1])
    }

    fn child(&self) -> Option<Child> {
        Child::stepped(|| {
            if self.change.makes() {
                stop();
                match self.change {
                    Change::MakeTable => drop(self.folder.table(1)),
                    _ => drop(self.folder.list()),
                }
                stop();
                return;
            }
            let (table, list) = (self.folder.table(1), self.folder.list());
            let (said, living) = self.words();
            let living = self.change.is_parent().then(|| {
                let child = Child::of(|| {
                    living.store(1, Ordering::SeqCst);
                    std::thread::sleep(LIFE);
                });
                // It has closed its parent's files by then.
                while living.load(Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
                child
            });
            let (now, begun, row) = (list.current().unwrap(), table.begin(), row(TARGET, TURN));
            stop();
            match self.change {
                _ if self.change.puts() => {
                    assert_eq!(table.put(&row, begun, 1 << 40, &now).unwrap(), Kept::Kept);
                }
                Change::Fall => assert_eq!(table.fall(GROUND).len(), 4),
                _ => drop(list.append(&line(REVOKED)).unwrap()),
            }
            said.store(1, Ordering::SeqCst);
            stop();
            drop(living);
        })
    }

    /// Return what is wrong when the child was killed.
    fn fault(&self, turn: usize) -> Result<(), String> {
        let Some((table, list)) = &self.there else {
            let (table, list) = (self.folder.table(1), self.folder.list());
            let is_clean =
                self.folder.count() == 2 && table.is_empty() && list.current().is_ok_and(|now| now.is_empty());
            return if is_clean { use_table(&table, &list) } else { Err(format!("{} files", self.folder.count())) };
        };
        let is_done = self.words().0.load(Ordering::SeqCst) == 1;
        // By turns, another process looks first.
        let newest = turn.is_multiple_of(2).then(|| (self.folder.table(1), self.folder.list()));
        self.look_at(table, list, is_done)?;
        let newest = newest.unwrap_or_else(|| (self.folder.table(1), self.folder.list()));
        self.look_at(&newest.0, &newest.1, is_done)?;
        let had = newest.1.current().map_err(|error| error.to_string())?.contains(number(&digest(REVOKED)));
        let (first, second) = if turn.is_multiple_of(3) { (list, &newest.1) } else { (&newest.1, list) };
        first.append(&line(LATER)).map_err(|error| error.to_string())?;
        let lines = second.lines().map_err(|error| error.to_string())?;
        let wanted: Vec<u64> = (0..self.change.lines_before()).chain(had.then_some(REVOKED)).chain([LATER]).collect();
        if lines != wanted.iter().map(|&number| line(number)).collect::<Vec<_>>() {
            return Err(format!("the list has {lines:?}"));
        }
        if self.change == Change::Fall {
            let _ = newest.0.fall(GROUND);
            let stands = table.rows().filter(|row| row.rests_on(GROUND)).any(|row| row.fallen != Some(GROUND));
            if stands || table.rows().filter(|row| row.fallen.is_some()).count() != 4 {
                return Err("not the rows fell that rest on the ground".to_owned());
            }
        }
        use_table(&newest.0, list)?;
        use_table(table, &newest.1)
    }

    fn look_at(&self, table: &Table, list: &Revoked, is_done: bool) -> Result<(), String> {
        let now = list.current().map_err(|error| error.to_string())?;
        if let Some(lost) = (0..self.change.lines_before()).find(|&line| !now.contains(number(&digest(line)))) {
            return Err(format!("line {lost} is forgotten"));
        }
        let appends = self.change.appends();
        let has = now.contains(number(&digest(REVOKED)));
        if has && !appends || appends && is_done && !has || now.len() != self.change.lines_before() + u64::from(has) {
            return Err(format!("the list has {} lines, and {is_done} is said", now.len()));
        }
        let mut out = Row::empty();
        let mut look = |number: u64| (table.get(&key(number), 1, 5, &now, &mut out), out.clone());
        let puts = self.change.puts();
        let mut missing = 0;
        for number in self.change.rows_before() {
            let wanted = if self.change == Change::Fall && number % 2 == 1 { falling(number) } else { row(number, 0) };
            let (found, row) = look(number);
            let is_good = match found {
                Lookup::Found => row == wanted || puts && number == TARGET && row == self::row(TARGET, TURN),
                Lookup::Fallen(GROUND) => self.change == Change::Fall && number % 2 == 1,
                Lookup::Missing => {
                    missing += 1;
                    puts
                }
                _ => false,
            };
            if !is_good || is_done && self.change == Change::Fall && number % 2 == 1 && found == Lookup::Found {
                return Err(format!("row {number} is {found:?}: {row:?}"));
            }
        }
        let (found, row) = look(TARGET);
        let is_new = found == Lookup::Found && row == self::row(TARGET, TURN);
        let may_miss = usize::from(self.change != Change::PutFree);
        if missing > may_miss || is_done && puts && !is_new {
            return Err(format!("{missing} rows are gone, and the new one is {found:?}"));
        }
        Ok(())
    }
}

/// Put and find as many rows as there can be.
fn use_table(table: &Table, list: &Revoked) -> Result<(), String> {
    let now = list.current().map_err(|error| error.to_string())?;
    for number in 100..108 {
        let kept = table.put(&row(number, 5), table.begin(), i64::MAX - 1, &now).map_err(|error| error.to_string())?;
        if kept != Kept::Kept {
            return Err(format!("{kept:?}"));
        }
    }
    let is_full = table.rows().filter(is_whole).count() == 8 && table.len() == 8;
    let mut out = Row::empty();
    let all = (100..108).all(|number| table.get(&key(number), 1, 5, &now, &mut out) == Lookup::Found);
    if is_full && all { Ok(()) } else { Err("the table cannot be filled".to_owned()) }
}

/// A moment between two instructions: the address of the next one, and for which time it is that.
type Between = (usize, usize);

/// Step a child through a change. Return the moments after which the table's memory has changed, and all moments.
fn trace(change: Change) -> Option<(Vec<Between>, Vec<Between>)> {
    let scene = Scene::new(change);
    let child = scene.child()?;
    let memory = scene.there.is_some().then(|| scene.folder.map("credentials"));
    let words = || memory.iter().flat_map(Words::all).map(|word| word.load(Ordering::Relaxed));
    let mut before: Vec<u64> = words().collect();
    let (mut changes, mut all, mut times) = (Vec::new(), Vec::new(), HashMap::new());
    while child.step() == Step::Made {
        let next = child.next();
        let time = times.entry(next).or_insert(0_usize);
        *time += 1;
        all.push((next, *time));
        if !words().eq(before.iter().copied()) {
            before = words().collect();
            changes.push((next, *time));
        }
    }
    Some((changes, all))
}

/// Kill a child at moments of a change. Return how often; `None` if the system lets no process be stepped.
fn kill_in(change: Change, is_each: bool, faults: &mut Vec<String>) -> Option<usize> {
    let began = Instant::now();
    let mut kills = 0;
    let mut kill = |what: &str, reach: &dyn Fn(&Child) -> bool| {
        let scene = Scene::new(change);
        let child = scene.child()?;
        let was_at_it = reach(&child);
        child.kill();
        if let Err(fault) = scene.fault(kills) {
            faults.push(format!("{}, {what}: {fault}", change.name()));
        }
        kills += 1;
        Some(was_at_it)
    };
    let mut calls = 0;
    while kill(&format!("at begin or end {} of a system call", calls + 1), &|child| {
        (0..=calls).all(|_| child.go_to_call() == Step::Made)
    })? {
        calls += 1;
    }
    // What is in the memory does not depend on children.
    let (changes, all) = if change.is_parent() { (Vec::new(), Vec::new()) } else { trace(change)? };
    let sample = match (is_each, changes.is_empty()) {
        (true, false) => usize::MAX,
        (true, true) => SAMPLE_OF_LIST,
        (false, _) => SAMPLE,
    };
    let apart = all.len().div_ceil(sample).max(1);
    let sample: Vec<Between> = all.iter().copied().step_by(apart).collect();
    let mut missed = 0;
    for &(next, times) in changes.iter().chain(&sample) {
        let was_at_it =
            kill(&format!("before {next:#x} for the {times}. time"), &|child| child.go_to(next, times) == Step::Made)?;
        missed += usize::from(!was_at_it);
    }
    println!(
        "{}: {} instructions, of which {} change the table and {} call the system; {kills} kills, of which {missed} came too \
         late ({:.1} s)",
        change.name(),
        all.len(),
        changes.len(),
        calls / 2,
        began.elapsed().as_secs_f64(),
    );
    Some(kills)
}

/// Kill children in the changes whose names contain a text. Return what was wrong; `None` if the system lets no process
/// be stepped.
pub fn run(is_each: bool, named: &str) -> Option<Vec<String>> {
    let (mut faults, mut kills) = (Vec::new(), 0);
    for change in Change::ALL.into_iter().filter(|change| change.name().contains(named)) {
        kills += kill_in(change, is_each, &mut faults)?;
    }
    println!("{kills} kills in changes that were stepped through");
    Some(faults)
}
