//! What an engine and a gate hand each other, while both do.

#[allow(dead_code)] // only what threads share is run here
#[path = "../../engine/src/mailbox.rs"]
mod mailbox;

use loom::alloc::Track;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use mailbox::Mailbox;

mod snapshot {
    use loom::sync::atomic::{AtomicU64, Ordering};

    /// A snapshot, by its number: who takes it before it is whole reads 0.
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
    /// Working memory, by its number. `loom` fails the test where one is not freed.
    pub(crate) struct WorkingMemory {
        pub number: super::Track<u64>,
        pub next: Option<Box<Self>>,
    }
}

use snapshot::Snapshot;
use working::WorkingMemory;

#[allow(clippy::unnecessary_box_returns)] // mailboxes take boxes
fn memory(number: u64) -> Box<WorkingMemory> {
    Box::new(WorkingMemory { number: Track::new(number), next: None })
}

/// The engine's side: it lays in what it made, and then says so.
struct Writer {
    mailbox: Arc<Mailbox>,
    state: Arc<AtomicU64>,
    /// What it keeps alive for whoever decides.
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
    /// The number of the snapshot that it decides by.
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
            assert!(snapshot.number() > self.number, "an older snapshot came after a newer one");
            self.number = snapshot.number();
            if let Some(memory) = self.mailbox.take_memory() {
                self.mailbox.give_back(std::mem::replace(&mut self.memory, memory));
            }
        }
        assert!(self.number >= newest, "it decides by an older snapshot than the engine said there is");
    }
}

fn both() -> (Writer, Reader) {
    let (mailbox, state) = (Arc::new(Mailbox::default()), Arc::new(AtomicU64::new(0)));
    let writer = Writer { mailbox: mailbox.clone(), state: state.clone(), kept: Vec::new() };
    (writer, Reader { mailbox, state, number: 0, memory: memory(0) })
}

#[test]
fn the_newest_snapshot_is_decided_by_and_none_is_lost_or_freed_twice() {
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
        let (needs, has) = (reader.number, *reader.memory.number.get_ref());
        assert!(has >= needs, "it decides by snapshot {needs} in memory for {has}");
        let mut writer = publishing.join().unwrap();
        reader.decide();
        assert_eq!((reader.number, *reader.memory.number.get_ref()), (2, 2));
        // What came back is freed by the engine's side, or with the mailbox.
        writer.publish(3, true);
    });
}

#[test]
fn a_gate_that_goes_leaves_nothing_and_says_so() {
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
        // The engine may not have noticed yet.
        writer.publish(2, true);
    });
}

#[test]
fn what_lay_there_for_a_gate_that_goes_is_let_go_of() {
    loom::model(|| {
        let (mut writer, reader) = both();
        writer.publish(1, false);
        reader.mailbox.leave();
        assert_eq!(Arc::strong_count(&writer.kept[0]), 1);
    });
}

#[test]
fn an_engine_that_goes_first_leaves_what_the_gate_still_takes() {
    loom::model(|| {
        let (mut writer, mut reader) = both();
        writer.publish(1, true);
        let going = thread::spawn(move || drop(writer));
        reader.decide();
        going.join().unwrap();
        assert_eq!((reader.number, *reader.memory.number.get_ref()), (1, 1));
        reader.mailbox.leave();
    });
}
