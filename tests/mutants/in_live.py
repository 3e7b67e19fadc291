"""Mutants of sessions, handles and the clock."""

from mutant import Loom, Mutant, Rust

SESSIONS = "live/src/sessions.rs"
SLOT = "live/src/slot.rs"
REUSE = "live/src/sessions/reuse.rs"
MODEL = "loom/tests/slot.rs"
REUSED = "a_slot_that_is_reused_is_never_read_half_old_half_new"
NEARER = "an_end_that_moves_nearer_prolongs_no_session_meanwhile"

MUTANTS = (
    Mutant(
        "sessions of another engine: ids have nothing that cannot be guessed",
        "live/src/sessions.rs",
        "let tag = spare.random.next()? & !self.mask & !STATUS_MASK;",
        "let tag = (spare.random.next()? & 0 | 1 << 40) & !self.mask & !STATUS_MASK;",
    ),
    Mutant(
        "handles of another engine: all engines have one key",
        "live/src/handles.rs",
        "Ok(Self(getrandom::u64()? >> 1))",
        "Ok(Self(getrandom::u64()? >> 63 >> 1))",
    ),
    Mutant(
        "a session lives on when the wall clock steps back",
        "live/src/slot.rs",
        "let to_ns = to_ns.min(awake_to_ns).min(self.to_ns.load(Ordering::Relaxed));",
        "let to_ns = to_ns.max(awake_to_ns.min(0));",
        Rust("live/src/sessions.rs", "a_wall_clock_that_steps_back_prolongs_nothing"),
    ),
    Mutant(
        "a session that is looked up by its slot alone: its tag is not compared",
        SESSIONS,
        "self.slots().get(self.number(session))?.valid(session, now_ns).map(|place| Place(place as usize))",
        "let slot = self.slots().get(self.number(session))?;\n"
        "        let session = SessionId(slot.state.load(Ordering::Relaxed));\n"
        "        slot.valid(session, now_ns).map(|place| Place(place as usize))",
        Rust(SESSIONS, "sessions_of_another_table_are_unknown"),
    ),
    Mutant(
        "a session that is changed by its slot alone: its tag is not compared",
        SLOT,
        "state & !STATUS_MASK == session.0 && session.0",
        "(state ^ session.0) & mask == 0 && session.0",
        Rust(SESSIONS, "ids_that_were_never_given_are_unknown"),
    ),
    Mutant(
        "an id without a tag is that of a slot never used",
        SLOT,
        "state & !STATUS_MASK == session.0 && session.0 & !mask != 0 &&",
        "state & !STATUS_MASK == session.0 &&",
        Rust(REUSE, "an_id_without_a_tag_is_no_session"),
    ),
    Mutant(
        "a revoked session is made active again",
        SLOT,
        "(is_of(state, session, mask) && !revoked).then_some(",
        "(is_of(state, session, mask) || revoked).then_some(",
        Rust(SESSIONS, "revocation_is_for_good_and_quarantine_is_not"),
    ),
    Mutant(
        "quarantine is no status of its own",
        SLOT,
        "Self::Quarantined => 2 << 62,",
        "Self::Quarantined => 1 << 62,",
        Rust(SESSIONS, "revocation_is_for_good_and_quarantine_is_not"),
    ),
    Mutant(
        "a session is honoured a nanosecond beyond its end",
        SLOT,
        "now_ns < to && from <= now_ns;",
        "now_ns <= to && from <= now_ns;",
        Rust(SESSIONS, "a_session_is_good_within_its_validity_only"),
    ),
    Mutant(
        "a session begins a nanosecond late",
        SLOT,
        "now_ns < to && from <= now_ns;",
        "now_ns < to && from < now_ns;",
        Rust(SESSIONS, "a_session_is_good_within_its_validity_only"),
    ),
    Mutant(
        "a session that ends just now is said not to have begun",
        SESSIONS,
        "_ if now_ns >= slot.to_ns.load(Ordering::Relaxed) => Code::Expired,",
        "_ if now_ns > slot.to_ns.load(Ordering::Relaxed) => Code::Expired,",
        Rust(SESSIONS, "a_session_is_good_within_its_validity_only"),
    ),
    Mutant(
        "a slot is not read a second time: half of it may be another session's",
        SLOT,
        "self.state.load(Ordering::Relaxed) == active && now_ns < to",
        "now_ns < to",
        Loom(MODEL, REUSED),
    ),
    Mutant(
        "a slot is not taken out of use while it is given to another session",
        SLOT,
        "self.state.store(id | FREE, Ordering::Relaxed);",
        "",
        Loom(MODEL, REUSED),
    ),
    Mutant(
        "a session's bounds come nearer beginning first",
        SLOT,
        "        self.to_ns.store(to_ns, Ordering::Release);\n        self.from_ns.store(from_ns, Ordering::Release);\n",
        "        self.from_ns.store(from_ns, Ordering::Release);\n        self.to_ns.store(to_ns, Ordering::Release);\n",
        Loom(MODEL, NEARER),
    ),
    Mutant(
        "a slot is in use again before its bounds are stored",
        SLOT,
        "        fence(Ordering::Release);\n",
        "        fence(Ordering::Release);\n        self.state.store(id, Ordering::Release);\n",
        Loom(MODEL, REUSED),
    ),
    Mutant(
        "the bounds of a new session are seen before its slot is seen out of use",
        SLOT,
        "        fence(Ordering::Release);\n",
        "",
        Loom(MODEL, REUSED),
    ),
    Mutant(
        "a new session is seen before its bounds: its state is stored relaxed",
        SLOT,
        "self.state.store(id | SessionStatus::Active.bits(), Ordering::Release);",
        "self.state.store(id | SessionStatus::Active.bits(), Ordering::Relaxed);",
        Loom(MODEL, REUSED),
    ),
    Mutant(
        "the bounds of a session are read before its state: it is loaded relaxed",
        SLOT,
        "if self.state.load(Ordering::Acquire) != active {",
        "if self.state.load(Ordering::Relaxed) != active {",
        Loom(MODEL, REUSED),
    ),
    Mutant(
        "the state of a slot is read a second time before the fields are",
        SLOT,
        "        fence(Ordering::Acquire);\n",
        "",
        Loom(MODEL, REUSED),
    ),
    Mutant(
        "an earlier beginning is read without the earlier end: it is loaded relaxed",
        SLOT,
        "(self.from_ns.load(Ordering::Acquire), self.to_ns.load(Ordering::Relaxed));",
        "(self.from_ns.load(Ordering::Relaxed), self.to_ns.load(Ordering::Relaxed));",
        Loom(MODEL, NEARER),
    ),
    Mutant(
        "an earlier beginning is seen before the earlier end: it is stored relaxed",
        SLOT,
        "self.from_ns.store(from_ns, Ordering::Release);",
        "self.from_ns.store(from_ns, Ordering::Relaxed);",
        Loom(MODEL, NEARER),
    ),
    Mutant(
        "a status is compared and stored in two steps: a revocation between them is lost",
        SLOT,
        ".then_some(session.0 | status.bits())\n        });\n",
        ".then_some(state)\n        });\n"
        "        let changed = changed.inspect(|_| self.state.store(session.0 | status.bits(), Ordering::Release));\n",
        Loom(MODEL, "a_revocation_is_final_whatever_status_another_thread_sets"),
    ),
    Mutant(
        "a revocation is overwritten by what another thread sets meanwhile",
        SLOT,
        "let revoked = state & STATUS_MASK == SessionStatus::Revoked.bits();",
        "let revoked = state & STATUS_MASK == SessionStatus::Revoked.bits() && status == SessionStatus::Active;",
        Loom(MODEL, "a_revocation_is_final_whatever_status_another_thread_sets"),
    ),
    Mutant(
        "the time that the machine slept does not count",
        SLOT,
        "let to_ns = to_ns.min(awake_to_ns).min(",
        "let to_ns = to_ns.min(",
        Rust(SESSIONS, "a_machine_that_slept_ends_sessions_though_its_wall_clock_stood_still"),
    ),
    Mutant(
        "a session's beginning does not follow the wall clock",
        SLOT,
        "self.from_ns.store(from_ns, Ordering::Release);",
        "self.from_ns.store(from_ns.min(self.from_ns.load(Ordering::Relaxed)), Ordering::Release);",
        Rust(SESSIONS, "sessions_begin_by_the_wall_clock"),
    ),
    Mutant(
        "a revoked session's slot is used again at once, though others were never used",
        SESSIONS,
        "if spare.fresh < self.slots.len() {",
        "if spare.fresh < self.slots.len() && spare.revoked.is_empty() {",
        Rust(REUSE, "a_revoked_session_is_known_to_be_while_other_slots_are_free"),
    ),
    Mutant(
        "the session that was revoked last gives way first",
        SESSIONS,
        "self.table.spare().revoked.push_back(session.0);",
        "self.table.spare().revoked.push_front(session.0);",
        Rust(REUSE, "of_two_revoked_sessions_the_one_that_was_revoked_first_gives_way"),
    ),
    Mutant(
        "a revoked session gives way though its slot is another's by now",
        SESSIONS,
        "slot.state.load(Ordering::Relaxed) == id | SessionStatus::Revoked.bits();",
        "slot.state.load(Ordering::Relaxed) != 0 * id;",
        Rust(REUSE, "a_slot_that_was_given_on_is_not_taken_for_what_it_was"),
    ),
    Mutant(
        "a session that is over gives way though its slot is another's by now",
        SESSIONS,
        "slot.state.load(Ordering::Relaxed) & !STATUS_MASK == id;",
        "slot.state.load(Ordering::Relaxed) != 0 * id;",
        Rust(REUSE, "a_slot_that_was_given_on_is_not_taken_for_what_it_was"),
    ),
    Mutant(
        "a session gives way a moment before it is over",
        SESSIONS,
        "if to_ns > now_ns {",
        "if to_ns > now_ns + 1 {",
        Rust(REUSE, "a_session_gives_way_when_it_is_over_and_not_before"),
    ),
    Mutant(
        "a principal whose session is in quarantine gives its place away",
        SESSIONS,
        "let is_good = status != FREE && status != SessionStatus::Revoked.bits();",
        "let is_good = status == SessionStatus::Active.bits();",
        Rust(REUSE, "principals_are_needed_until_their_sessions_are_over"),
    ),
    Mutant(
        "a principal whose session was revoked keeps its place",
        SESSIONS,
        "let is_good = status != FREE && status != SessionStatus::Revoked.bits();",
        "let is_good = status != FREE;",
        Rust(REUSE, "principals_are_needed_until_their_sessions_are_over"),
    ),
)
