"""Mutants of a gate's mailbox: `mailbox.rs`."""

from mutant import Loom, Mutant

MAILBOX = "engine/src/mailbox.rs"
MODEL = "loom/tests/mailbox.rs"
NEWEST = "the_newest_snapshot_is_used_and_none_is_lost_or_freed_twice"
WORKING = "working_memory_is_there_before_the_snapshot_that_needs_it"

MUTANTS = (
    Mutant(
        "mailbox: a snapshot is taken in two steps: one that is put in between them is lost",
        MAILBOX,
        "let old = self.snapshot.swap(new, Ordering::AcqRel);",
        "let old = self.snapshot.load(Ordering::Acquire);\n        self.snapshot.store(new, Ordering::Release);",
        Loom(MODEL, NEWEST),
    ),
    Mutant(
        "mailbox: a snapshot is put in before it is complete: its exchange releases nothing",
        MAILBOX,
        "self.snapshot.swap(new, Ordering::AcqRel)",
        "self.snapshot.swap(new, Ordering::Acquire)",
        Loom(MODEL, NEWEST),
    ),
    Mutant(
        "mailbox: a snapshot is read before it is complete: its exchange acquires nothing",
        MAILBOX,
        "self.snapshot.swap(new, Ordering::AcqRel)",
        "self.snapshot.swap(new, Ordering::Release)",
        Loom(MODEL, NEWEST),
    ),
    Mutant(
        "mailbox: a snapshot that was never taken is not freed",
        MAILBOX,
        "drop(self.exchange(Arc::into_raw(snapshot).cast_mut()));",
        "std::mem::forget(self.exchange(Arc::into_raw(snapshot).cast_mut()));",
        Loom(MODEL, NEWEST),
    ),
    Mutant(
        "mailbox: working memory is put in before it is complete: its exchange releases nothing",
        MAILBOX,
        "Box::into_raw), Ordering::AcqRel);",
        "Box::into_raw), Ordering::Acquire);",
        Loom(MODEL, WORKING),
    ),
    Mutant(
        "mailbox: working memory is freed before the gate is done with it: its exchange acquires nothing",
        MAILBOX,
        "Box::into_raw), Ordering::AcqRel);",
        "Box::into_raw), Ordering::Release);",
        Loom(MODEL, WORKING),
    ),
    Mutant(
        "mailbox: of what a gate gave back the last alone is freed",
        MAILBOX,
        "memory.next = exchange_memory(&self.used, None);",
        "std::mem::forget(exchange_memory(&self.used, None));",
        Loom(MODEL, WORKING),
    ),
    Mutant(
        "mailbox: a gate that leaves keeps the snapshot that waited for it",
        MAILBOX,
        "        drop(self.take());\n        self.gone",
        "        self.gone",
        Loom(MODEL, "a_snapshot_in_the_mailbox_is_released_when_the_gate_leaves"),
    ),
    Mutant(
        "mailbox: working memory that was never taken is not freed",
        MAILBOX,
        "drop(self.take_memory());",
        "",
        Loom(MODEL, "a_gate_that_leaves_frees_everything_and_marks_its_mailbox"),
    ),
)
