//! Steps a child through each change of a shared state, kills it, and looks at what it leaves behind.
//!
//! A process that was there before and one that opens the state anew look at everything, one after the other, in turns.
//! Other processes see what a process stores in the memory and what it asks of the system, so these moments matter.

mod change;
mod memory;
mod scene;
mod stage;
mod switching;

use crate::host::child::{Child, Step};
use change::Change;
use memory::{Memory, Part};
use scene::Scene;
use stage::Stage;
use std::time::Instant;
use switching::{SwitchScene, Switching};
use ztfast_live::Sessions;

/// A change with more instructions than this is not killed after each one.
const LONGEST: usize = 4096;
/// How many of the instructions that change switches are looked at, where not all are.
const SAMPLE: usize = 6;

/// When a child is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After this many instructions.
    Instructions(usize),
    /// After the instruction that changes the memory for this time.
    Changes(usize),
    /// At this begin or end of a system call.
    Calls(usize),
}

impl Moment {
    /// Let a child go on up to the moment. Return whether the change was still under way then.
    fn reach(self, child: &Child, own: Option<&Sessions>) -> bool {
        match self {
            Self::Instructions(count) => (0..count).all(|_| child.step() == Step::Made),
            Self::Calls(count) => (0..count).all(|_| child.go_to_call() == Step::Made),
            Self::Changes(count) => {
                let Some(mut memory) = own.map(|own| Memory::of(own, Part::Rest)) else { return false };
                let mut changes = 0;
                while changes < count {
                    if child.step() == Step::Stopped {
                        return false;
                    }
                    if memory.has_changed() {
                        changes += 1;
                        memory.renew();
                    }
                }
                true
            }
        }
    }
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
    fn kill_at(&mut self, moment: Moment) -> bool {
        let stage = (self.stage)();
        let Some(child) = stage.child() else { return false };
        let was_at_it = moment.reach(&child, stage.own());
        stage.meanwhile(self.count);
        child.kill();
        if let Err(fault) = stage.look(self.count) {
            self.faults.push(format!("{}, {moment:?}: {fault}", self.name));
        }
        self.count += 1;
        was_at_it
    }

    /// Return after which instructions switches are others than before, and how many instructions there are. Only the
    /// pages that are others in the end are looked at.
    fn instructions(&self, part: Part) -> Option<(Vec<usize>, usize)> {
        let (first, stage) = ((self.stage)(), (self.stage)());
        let whole = first.own().filter(|_| part == Part::Switches).map(|own| Memory::of(own, part));
        if whole.is_some() {
            let child = first.child()?;
            while child.go_to_call() == Step::Made {}
        }
        let (mut changes, mut steps) = (Vec::new(), 0);
        let pages = whole.map(Memory::changed);
        let mut memory = first.own().zip(stage.own()).and_then(|(of, own)| Some(pages.as_ref()?.in_state(of, own)));
        let child = stage.child()?;
        while child.step() == Step::Made {
            steps += 1;
            if let Some(memory) = memory.as_mut().filter(|memory| memory.has_changed()) {
                changes.push(steps);
                memory.renew();
            }
        }
        Some((changes, steps))
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
    let (stores, instructions) = kills.instructions(part)?;
    let (mut changes, mut calls) = (stores.len(), 0);
    if part == Part::Switches {
        // These changes read no clock, so each child makes the same instructions.
        let sample = if is_each { 1 } else { stores.len().div_ceil(SAMPLE) };
        for &steps in stores.iter().rev().step_by(sample) {
            kills.kill_at(Moment::Instructions(steps));
        }
    } else {
        while kills.kill_at(Moment::Changes(changes + 1)) {
            changes += 1;
        }
    }
    while kills.kill_at(Moment::Calls(calls + 1)) {
        calls += 1;
    }
    // A child makes as many steps as this again and again.
    let apart = if is_each { instructions.div_ceil(LONGEST) } else { (instructions / 2).max(1) };
    for steps in (0..instructions).step_by(apart) {
        kills.kill_at(Moment::Instructions(steps));
    }
    println!(
        "{name}: {instructions} instructions, of which {changes} change the memory and {} call the system; {} kills, also \
         after each {apart}. instruction ({:.1} s)",
        calls / 2,
        kills.count,
        began.elapsed().as_secs_f64(),
    );
    Some(kills.count)
}

/// Kill children in all changes. Return what was wrong; `None` if the system lets no process be stepped.
pub fn run(is_each: bool) -> Option<Vec<String>> {
    stay_here();
    let (mut faults, mut kills) = (Vec::new(), 0);
    for change in Change::ALL {
        let stage = || Box::new(Scene::new(change)) as Box<dyn Stage>;
        kills += kill_in(change.name(), &stage, Part::Rest, is_each, &mut faults)?;
    }
    for change in Switching::ALL {
        let stage = || Box::new(SwitchScene::new(change)) as Box<dyn Stage>;
        kills += kill_in(change.name(), &stage, Part::Switches, is_each, &mut faults)?;
    }
    println!("{kills} kills after chosen instructions");
    Some(faults)
}

/// Keep this process, and its children, on one processor: they take turns, and a processor that sleeps wakes up late.
fn stay_here() {
    // SAFETY: the set consists of numbers, for which zeros are valid, and the calls read or write only it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if let Ok(here) = usize::try_from(libc::sched_getcpu()) {
            libc::CPU_SET(here, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        }
    }
}
