//! Checks a record of kill switches while it is withdrawn, written, published and read.

#[allow(dead_code)] // these tests run only the code that threads share
#[path = "../../live/src/texts.rs"]
mod texts;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use texts::{Read, StateWord};

/// A record of two words, which are always equal where it is published.
#[derive(Default)]
struct Record {
    state: StateWord,
    words: [AtomicU64; 2],
}

impl Record {
    fn write(&self, word: u64) {
        self.state.withdraw();
        self.words.iter().for_each(|place| place.store(word, Ordering::Relaxed));
        self.state.publish(word);
    }

    /// Begin to write as a process does that is killed before it publishes the record.
    fn write_half(&self, word: u64) {
        self.state.withdraw();
        self.words[0].store(word, Ordering::Relaxed);
    }

    /// Return what is read: the tag and both words.
    fn read(&self) -> Read<[u64; 3]> {
        self.state.read(|tag| [tag, self.words[0].load(Ordering::Relaxed), self.words[1].load(Ordering::Relaxed)])
    }
}

fn is_whole(found: &Read<[u64; 3]>) -> bool {
    match found {
        Read::Found([tag, first, second]) => tag == first && first == second,
        Read::Nothing | Read::Changing => true,
    }
}

/// Return a record that was published with the word 1.
fn record() -> Arc<Record> {
    let record = Record::default();
    assert_eq!(record.read(), Read::Nothing);
    record.write(1);
    Arc::new(record)
}

/// Let a thread write, and return what was read meanwhile and afterwards.
fn race(write: fn(&Record)) -> [Read<[u64; 3]>; 2] {
    let record = record();
    let writer = thread::spawn({
        let record = record.clone();
        move || write(&record)
    });
    let found = record.read();
    writer.join().unwrap();
    [found, record.read()]
}

#[test]
fn a_record_that_is_written_anew_is_never_read_half_old_half_new() {
    loom::model(|| {
        let [found, left] = race(|record| record.write(2));
        assert!(is_whole(&found), "{found:?}");
        assert_eq!(left, Read::Found([2, 2, 2]));
    });
}

#[test]
fn what_half_a_writer_left_is_never_read() {
    loom::model(|| {
        let [found, left] = race(|record| record.write_half(2));
        assert!(is_whole(&found), "{found:?}");
        assert_eq!(left, Read::Nothing);
    });
}

#[test]
fn the_next_writer_uses_what_half_a_writer_left() {
    loom::model(|| {
        let [found, left] = race(|record| {
            record.write_half(2);
            record.write(3);
        });
        assert!(is_whole(&found), "{found:?}");
        assert_eq!(left, Read::Found([3, 3, 3]));
    });
}
