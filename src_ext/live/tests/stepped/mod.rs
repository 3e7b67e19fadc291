//! Steps a child through each change of a shared state, kills it, and looks at what it leaves behind.
//!
//! A process that was there before and one that opens the state anew look at everything, one after the other, in turns.
//! Other processes see what a process stores in the memory and what it asks of the system, so these moments matter.

mod change;
mod memory;
mod scene;
mod stage;
pub mod switching;

use crate::host::child::{Child, Step};
use crate::host::shared;
use change::Change;
use memory::{Copies, Memory, Pages, Part};
use scene::Scene;
use stage::Stage;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use switching::{SwitchScene, Switching};

/// How many of the instructions that change switches are looked at, where not all are.
const SAMPLE: usize = 6;
/// How many children are stepped through a change to learn its instructions.
const TRACES: usize = 3;

/// A moment between two instructions of a change.
#[derive(Clone, Copy)]
struct Between {
    /// How many instructions were made by the child that was stepped.
    made: usize,
    /// The address of the next one, and for which time it is the next one.
    next: usize,
    times: usize,
}

/// When a child is killed.
#[derive(Clone, Copy)]
enum Moment {
    Between(Between),
    /// After the instruction that changes the memory for this time.
    Changes(usize),
    /// At this begin or end of a system call.
    Calls(usize),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between(Between { made, next, times }) => {
                write!(f, "after {made} instructions, before {next:#x} for the {times}. time")
            }
            Self::Changes(count) => write!(f, "after change {count} of the memory"),
            Self::Calls(count) => write!(f, "at begin or end {count} of a system call"),
        }
    }
}

impl Moment {
    /// Let a child go on up to the moment. Return whether the change was still under way then.
    fn reach(self, child: &Child, mut memory: Option<Memory<'_>>) -> bool {
        match self {
            Self::Between(Between { next, times, .. }) => child.go_to(next, times) == Step::Made,
            Self::Calls(count) => (0..count).all(|_| child.go_to_call() == Step::Made),
            Self::Changes(count) => {
                let Some(memory) = &mut memory else { return false };
                let mut changes = 0;
                while changes < count {
                    if child.step() == Step::Stopped {
                        return false;
                    }
                    changes += usize::from(memory.renew());
                }
                true
            }
        }
    }
}

/// What a child did that was stepped through a change.
struct Trace {
    /// The moments before each instruction.
    moments: Vec<Between>,
    /// After how many instructions the memory had changed.
    changes: Vec<usize>,
}

/// The kills in one change.
struct Kills<'a> {
    name: &'a str,
    stage: &'a dyn Fn() -> Box<dyn Stage>,
    count: usize,
    faults: &'a mut Vec<String>,
}

impl Kills<'_> {
    /// Kill a child at a moment, and look at what it leaves behind. Return whether it was still at the change.
    fn kill_at(&mut self, moment: Moment, pages: &Pages) -> bool {
        let stage = (self.stage)();
        let Some(child) = stage.child() else { return false };
        let was_at_it = moment.reach(&child, stage.own().map(|own| pages.of(own)));
        stage.meanwhile(self.count);
        child.kill();
        if let Err(fault) = stage.look(self.count) {
            self.faults.push(format!("{}, {moment}: {fault}", self.name));
        }
        self.count += 1;
        was_at_it
    }

    /// Return the pages that are others after the change.
    fn pages(&self, part: Part) -> Option<Pages> {
        let stage = (self.stage)();
        let before = stage.own().map(|own| Copies::of(own, part));
        let child = stage.child()?;
        while child.go_to_call() == Step::Made {}
        Some(before.as_ref().map(Copies::changed).unwrap_or_default())
    }

    /// Step a child through the change.
    fn trace(&self, pages: &Pages) -> Option<Trace> {
        let stage = (self.stage)();
        let mut memory = stage.own().map(|own| pages.of(own));
        let child = stage.child()?;
        let (mut moments, mut changes, mut times) = (Vec::new(), Vec::new(), HashMap::new());
        loop {
            let next = child.next();
            let time = times.entry(next).or_insert(0);
            *time += 1;
            let moment = Between { made: moments.len(), next, times: *time };
            if child.step() == Step::Stopped {
                return Some(Trace { moments, changes });
            }
            moments.push(moment);
            if memory.as_mut().is_some_and(Memory::renew) {
                changes.push(moments.len());
            }
        }
    }
}

/// Kill a child at moments of a change: after each instruction that changed the memory, at each system call, and after
/// some others or all. Return how often; `None` if the system lets no process be stepped.
fn kill_in(
    name: &str,
    stage: &dyn Fn() -> Box<dyn Stage>,
    part: Part,
    is_each: bool,
    faults: &mut Vec<String>,
) -> Option<usize> {
    let began = Instant::now();
    let mut kills = Kills { name, stage, count: 0, faults };
    let pages = kills.pages(part)?;
    let mut calls = 0;
    while kills.kill_at(Moment::Calls(calls + 1), &pages) {
        calls += 1;
    }
    // A child that is stepped is slow, so that a clock goes on while it is read, and is read again. The children that
    // are killed are quicker, so the shortest of some traces is the most like theirs.
    let traces = (0..TRACES).map(|_| kills.trace(&pages)).collect::<Option<Vec<_>>>()?;
    let Trace { moments, changes: stores } = traces.into_iter().min_by_key(|trace| trace.moments.len())?;
    let (instructions, mut changes) = (moments.len(), stores.len());
    if part == Part::Switches {
        // These changes read no clock, so each child makes the same instructions.
        let sample = if is_each { usize::MAX } else { stores.len().div_ceil(SAMPLE) };
        for &made in stores.iter().rev().step_by(sample) {
            kills.kill_at(Moment::Between(moments[made]), &pages);
        }
    } else {
        changes = 0;
        while kills.kill_at(Moment::Changes(changes + 1), &pages) {
            changes += 1;
        }
    }
    let apart = if is_each { 1 } else { (instructions / 2).max(1) };
    let (mut missed, mut last) = (0, HashMap::new());
    for &moment in moments.iter().step_by(apart) {
        let Between { next, times, .. } = moment;
        // Where a child came to an instruction less often, the next ones do too.
        if last.get(&next).is_some_and(|&last| times >= last) {
            missed += 1;
        } else if !kills.kill_at(Moment::Between(moment), &pages) {
            last.insert(next, times);
            missed += 1;
        }
    }
    if is_each && part == Part::Switches && missed > moments.len() / 10 {
        kills.faults.push(format!("{name}: {missed} of {} moments were never reached", moments.len()));
    }
    println!(
        "{name}: {instructions} instructions, of which {changes} change the memory and {} call the system; {} kills, also \
         after each {apart}. instruction but {missed} that only a stepped child makes ({:.1} s)",
        calls / 2,
        kills.count,
        began.elapsed().as_secs_f64(),
    );
    Some(kills.count)
}

/// Makes the stage of a change.
type MakeStage = Box<dyn Fn() -> Box<dyn Stage>>;

/// Return the changes whose names contain a text.
fn changes(named: &str) -> Vec<(&'static str, Part, MakeStage)> {
    let of_sessions = Change::ALL.map(|change| {
        let stage = move || Box::new(Scene::new(change)) as Box<dyn Stage>;
        (change.name(), Part::Rest, Box::new(stage) as MakeStage)
    });
    let of_switches = Switching::ALL.map(|change| {
        let stage = move || Box::new(SwitchScene::new(change)) as Box<dyn Stage>;
        (change.name(), Part::Switches, Box::new(stage) as MakeStage)
    });
    of_sessions.into_iter().chain(of_switches).filter(|(name, ..)| name.contains(named)).collect()
}

/// Kill children in the changes whose names contain a text: on each processor, in one change at a time. Return what was
/// wrong; `None` if the system lets no process be stepped.
pub fn run(is_each: bool, named: &str) -> Option<Vec<String>> {
    let (began, shared, changes) = (Instant::now(), shared::<Shared>(), changes(named));
    let kill = |processor: usize| {
        stay_on(processor);
        let mut faults = Vec::new();
        while let Some((name, part, stage)) = changes.get(shared.next.fetch_add(1, Ordering::SeqCst)) {
            match kill_in(name, stage, *part, is_each, &mut faults) {
                Some(kills) => shared.kills.fetch_add(kills, Ordering::SeqCst),
                None => shared.refused.fetch_add(1, Ordering::SeqCst),
            };
        }
        assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    };
    let killers: Vec<Child> = processors().into_iter().map(|processor| Child::of(|| kill(processor))).collect();
    let failed = killers.into_iter().map(Child::ends_well).filter(|is_well| !is_well).count();
    if shared.refused.load(Ordering::SeqCst) > 0 {
        return None;
    }
    let (kills, seconds) = (shared.kills.load(Ordering::SeqCst), began.elapsed().as_secs_f64());
    println!("{kills} kills in {} changes ({seconds:.1} s)", changes.len());
    Some(if failed == 0 { vec![] } else { vec![format!("{failed} processes met faults, which they printed")] })
}

/// What the processes share that kill children.
#[derive(zerocopy::FromZeros)]
#[repr(C)]
struct Shared {
    /// The number of the next change that nobody has taken.
    next: AtomicUsize,
    kills: AtomicUsize,
    refused: AtomicUsize,
}

/// Return the numbers of the processors that this process may use.
fn processors() -> Vec<usize> {
    // SAFETY: the set consists of numbers, for which zeros are valid, and the calls read or write only it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&processor| libc::CPU_ISSET(processor, &set)).collect()
    }
}

/// Keep this process, and its children, on one processor: they take turns, and a processor that sleeps wakes up late.
fn stay_on(processor: usize) {
    // SAFETY: as above.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}
