//! Checks a gate's mailbox while an engine puts snapshots and memory into it and the gate takes them.

#[allow(dead_code)] // these tests run only the code that threads share
#[path = "../../engine/src/mailbox.rs"]
mod mailbox;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use mailbox::Mailbox;

mod snapshot {
    use loom::sync::atomic::{AtomicU64, Ordering};

    /// A snapshot that holds its number only. A reader that gets it before it is complete reads 0.
    pub(crate) struct Snapshot(AtomicU64);

    impl Snapshot {
        pub fn new(number: u64) -> Self {
            let snapshot = Self(AtomicU64::new(0));
            snapshot.0.store(number, Ordering::Relaxed);
            snapshot
        }

        pub fn number(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }
}

mod working {
    use loom::alloc::Track;
    use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// Working memory that holds its number only. A gate that gets it before it is complete reads 0. `loom` fails a
    /// test that does not free it.
    pub(crate) struct WorkingMemory {
        number: Track<AtomicU64>,
        in_use: AtomicBool,
        pub next: Option<Box<Self>>,
    }

    impl WorkingMemory {
        pub fn new(number: u64) -> Self {
            let memory = Self { number: Track::new(AtomicU64::new(0)), in_use: AtomicBool::new(false), next: None };
            memory.number.get_ref().store(number, Ordering::Relaxed);
            memory
        }

        pub fn number(&self) -> u64 {
            self.number.get_ref().load(Ordering::Relaxed)
        }

        /// Say whether the gate uses it.
        pub fn set_in_use(&self, is: bool) {
            self.in_use.store(is, Ordering::Relaxed);
        }
    }

    impl Drop for WorkingMemory {
        fn drop(&mut self) {
            assert!(!self.in_use.load(Ordering::Relaxed), "it is freed while the gate uses it");
        }
    }
}

use snapshot::Snapshot;
use working::WorkingMemory;

#[allow(clippy::unnecessary_box_returns)] // mailboxes take boxes
fn memory(number: u64) -> Box<WorkingMemory> {
    Box::new(WorkingMemory::new(number))
}

/// The engine's side: it puts what it made into the mailbox, and then raises the version.
struct Writer {
    mailbox: Arc<Mailbox>,
    state: Arc<AtomicU64>,
    /// Snapshots that the engine keeps alive for readers.
    kept: Vec<Arc<Snapshot>>,
}

impl Writer {
    fn publish(&mut self, number: u64, grows: bool) {
        let snapshot = Arc::new(Snapshot::new(number));
        if grows {
            self.mailbox.put_memory(memory(number));
        }
        self.kept.push(snapshot.clone());
        self.mailbox.put(snapshot);
        self.state.store(number, Ordering::Release);
    }
}

/// The gate's side.
struct Reader {
    mailbox: Arc<Mailbox>,
    state: Arc<AtomicU64>,
    /// The number of the snapshot that the gate uses.
    number: u64,
    memory: Box<WorkingMemory>,
}

impl Reader {
    fn decide(&mut self) {
        let newest = self.state.load(Ordering::Acquire);
        if newest == self.number {
            return;
        }
        if let Some(snapshot) = self.mailbox.take() {
            assert!(snapshot.number() > self.number, "an older snapshot followed a newer one");
            self.number = snapshot.number();
            if let Some(memory) = self.mailbox.take_memory() {
                memory.set_in_use(true);
                self.memory.set_in_use(false);
                self.mailbox.give_back(std::mem::replace(&mut self.memory, memory));
            }
        }
        assert!(self.number >= newest, "the gate uses an older snapshot than the engine published");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.memory.set_in_use(false);
    }
}

fn both() -> (Writer, Reader) {
    let (mailbox, state) = (Arc::new(Mailbox::default()), Arc::new(AtomicU64::new(0)));
    let writer = Writer { mailbox: mailbox.clone(), state: state.clone(), kept: Vec::new() };
    let reader = Reader { mailbox, state, number: 0, memory: memory(0) };
    reader.memory.set_in_use(true);
    (writer, reader)
}

#[test]
fn the_newest_snapshot_is_used_and_none_is_lost_or_freed_twice() {
    loom::model(|| {
        let (mut writer, mut reader) = both();
        let publishing = thread::spawn(move || {
            (1..=2).for_each(|number| writer.publish(number, false));
            writer
        });
        reader.decide();
        reader.decide();
        let writer = publishing.join().unwrap();
        reader.decide();
        assert_eq!(reader.number, 2);
        drop((reader, writer));
    });
}

#[test]
fn working_memory_is_there_before_the_snapshot_that_needs_it() {
    loom::model(|| {
        let (mut writer, mut reader) = both();
        let publishing = thread::spawn(move || {
            (1..=2).for_each(|number| writer.publish(number, true));
            writer
        });
        reader.decide();
        let (needs, has) = (reader.number, reader.memory.number());
        assert!(has >= needs, "the gate uses snapshot {needs} with memory for {has}");
        let mut writer = publishing.join().unwrap();
        reader.decide();
        assert_eq!((reader.number, reader.memory.number()), (2, 2));
        // The engine's side frees the memory that was given back, or the mailbox does when it is dropped.
        writer.publish(3, true);
    });
}

#[test]
fn a_gate_that_leaves_frees_everything_and_marks_its_mailbox() {
    loom::model(|| {
        let (mut writer, mut reader) = both();
        let publishing = thread::spawn(move || {
            writer.publish(1, true);
            writer
        });
        reader.decide();
        reader.mailbox.leave();
        drop(reader);
        let mut writer = publishing.join().unwrap();
        assert!(writer.mailbox.is_gone());
        // The engine may publish before it notices that the gate has left.
        writer.publish(2, true);
    });
}

#[test]
fn a_snapshot_in_the_mailbox_is_released_when_the_gate_leaves() {
    loom::model(|| {
        let (mut writer, reader) = both();
        writer.publish(1, false);
        reader.mailbox.leave();
        assert_eq!(Arc::strong_count(&writer.kept[0]), 1);
    });
}

#[test]
fn a_gate_takes_its_snapshot_while_the_engine_is_dropped() {
    loom::model(|| {
        let (mut writer, mut reader) = both();
        writer.publish(1, true);
        let going = thread::spawn(move || drop(writer));
        reader.decide();
        going.join().unwrap();
        assert_eq!((reader.number, reader.memory.number()), (1, 1));
        reader.mailbox.leave();
    });
}
