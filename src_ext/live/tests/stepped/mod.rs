//! Steps a child through each change of a shared state, kills it, and looks at what it leaves behind.
//!
//! A process that was there before and one that opens the state anew look at everything, one after the other, in turns.
//! Other processes see what a process stores in the memory and what it asks of the system, so these moments matter.

mod change;
mod memory;
mod scene;

use crate::host::child::{Child, Step};
use crate::host::{End, admit};
use change::Change;
use memory::Memory;
use scene::{MEANWHILE, Scene};
use std::time::Instant;
use ztfast_live::Sessions;

/// A change with more instructions than this is not killed after each one.
const LONGEST: usize = 4096;

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
                let Some(mut memory) = own.map(Memory::of) else { return false };
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

/// Kill a child at a moment of a change. Return whether it was still at it, and what is wrong afterwards. By turns,
/// another process admits a session while the child stands still, and the first to look afterwards is another one.
fn kill_at(change: Change, moment: Moment, turn: usize) -> (bool, Result<(), String>) {
    let scene = Scene::new(change);
    let own = scene.there.as_ref().map(|(own, _)| own);
    let Some(child) = scene.child(change) else { return (false, Err("it cannot be stepped any more".to_owned())) };
    let was_at_it = moment.reach(&child, own);
    if let Some(own) = own.filter(|_| change.admits() && turn % 4 > 1) {
        // This takes the slot that the child wants, or finds the table full.
        let _ = admit(own, MEANWHILE, End::Never);
    }
    child.kill();
    (was_at_it, scene.look(change, turn.is_multiple_of(2)))
}

/// Count the instructions of a change.
fn count(change: Change) -> Option<usize> {
    let scene = Scene::new(change);
    let child = scene.child(change)?;
    let mut steps = 0;
    while child.step() == Step::Made {
        steps += 1;
    }
    Some(steps)
}

/// Kill a child at moments of all changes: after each instruction that changed the memory, at each system call, and
/// after some others or all. Return what was wrong; `None` if the system lets no process be stepped.
pub fn run(is_each: bool) -> Option<Vec<String>> {
    let (mut faults, mut all) = (Vec::new(), 0);
    for change in Change::ALL {
        let began = Instant::now();
        let instructions = count(change)?;
        let mut kills = 0;
        let mut kill = |moment| {
            let (was_at_it, looked) = kill_at(change, moment, kills);
            kills += 1;
            faults.extend(looked.err().map(|fault| format!("{}, {moment:?}: {fault}", change.name())));
            was_at_it
        };
        let (mut changes, mut calls) = (0, 0);
        while kill(Moment::Changes(changes + 1)) {
            changes += 1;
        }
        while kill(Moment::Calls(calls + 1)) {
            calls += 1;
        }
        // A child makes as many steps as this again and again.
        let apart = if is_each { instructions.div_ceil(LONGEST) } else { (instructions / 3).max(1) };
        for steps in (0..instructions).step_by(apart) {
            kill(Moment::Instructions(steps));
        }
        all += kills;
        let taken = began.elapsed().as_secs_f64();
        println!(
            "{}: {instructions} instructions, of which {changes} change the memory and {} call the system; {kills} kills, \
             also after each {apart}. instruction ({taken:.1} s)",
            change.name(),
            calls / 2,
        );
    }
    println!("{all} kills after chosen instructions");
    Some(faults)
}
