"""Mutants of sessions, handles and the clock."""

from mutant import Loom, Mutant, Python, Rust

SESSIONS = "live/src/sessions.rs"
TABLE = "live/src/sessions/table.rs"
FREE = "live/src/sessions/free.rs"
TESTS = "live/src/sessions/tests.rs"
SLOT = "live/src/slot.rs"
REUSE = "live/src/sessions/reuse.rs"
STATE = "live/src/state.rs"
OWNERSHIP = "live/src/ownership.rs"
REGISTER = "live/src/register.rs"
OWNERS = "live/src/owners.rs"
PROCESS = "pages/src/process.rs"
NOTES = "live/src/notes.rs"
SHARED = "live/src/state/tests.rs"
COUNTED = "a_status_that_a_session_has_or_that_comes_after_its_end_changes_nothing_that_counts"
TAKEN = "claims_of_a_process_that_ended_are_taken_over"
MODEL = "loom/tests/slot.rs"
REUSED = "a_slot_that_is_reused_is_never_read_half_old_half_new"
STATES = "tests/api/test_shared_state.py::"
RENEWED = "a_session_that_expires_while_it_is_renewed_counts_as_changed_and_gets_the_note"
CLOSES = "a_child_neither_uses_nor_closes_another_file_with_the_number_of_one_that_it_does_not_share"
NEARER = "an_end_that_moves_nearer_prolongs_no_session_meanwhile"

MUTANTS = (
    Mutant(
        "sessions of another engine: ids have nothing that cannot be guessed",
        SESSIONS,
        "let tag = spare.random.next()? & !self.mask & !STATUS_MASK;",
        "let tag = (spare.random.next()? & 0 | 1 << 40) & !self.mask & !STATUS_MASK;",
    ),
    Mutant(
        "handles of another engine: all engines have one key",
        STATE,
        "let key = getrandom::u64()? >> 1;",
        "let key = getrandom::u64()? >> 63 >> 1;",
    ),
    Mutant(
        "a session lives on when the wall clock steps back",
        "live/src/slot.rs",
        "let to_ns = to_ns.min(awake_to_ns).min(self.to_ns.load(Ordering::Relaxed));",
        "let to_ns = to_ns.max(awake_to_ns.min(0));",
        Rust(TESTS, "a_wall_clock_that_steps_back_prolongs_nothing"),
    ),
    Mutant(
        "a session that is looked up by its slot alone: its tag is not compared",
        SESSIONS,
        "self.slots().get(self.number(session))?.valid(session, now_ns).map(|place| Place(place as usize))",
        "let slot = self.slots().get(self.number(session))?;\n"
        "        let session = SessionId(slot.state.load(Ordering::Relaxed));\n"
        "        slot.valid(session, now_ns).map(|place| Place(place as usize))",
        Rust(TESTS, "sessions_of_another_table_are_unknown"),
    ),
    Mutant(
        "a session that is changed by its slot alone: its tag is not compared",
        SLOT,
        "state & !STATUS_MASK == session.0 && session.0",
        "(state ^ session.0) & mask == 0 && session.0",
        Rust(TESTS, "ids_that_were_never_given_are_unknown"),
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
        "(is_of(state, session, mask) && !revoked && is_new).then_some(",
        "((is_of(state, session, mask) || revoked) && is_new).then_some(",
        Rust(TESTS, "revocation_is_for_good_and_quarantine_is_not"),
    ),
    Mutant(
        "quarantine is no status of its own",
        SLOT,
        "Self::Quarantined => 2 << 62,",
        "Self::Quarantined => 1 << 62,",
        Rust(TESTS, "revocation_is_for_good_and_quarantine_is_not"),
    ),
    Mutant(
        "a session is honoured a nanosecond beyond its end",
        SLOT,
        "now_ns < to && from <= now_ns;",
        "now_ns <= to && from <= now_ns;",
        Rust(TESTS, "a_session_is_good_within_its_validity_only"),
    ),
    Mutant(
        "a session begins a nanosecond late",
        SLOT,
        "now_ns < to && from <= now_ns;",
        "now_ns < to && from < now_ns;",
        Rust(TESTS, "a_session_is_good_within_its_validity_only"),
    ),
    Mutant(
        "a session that ends just now is said not to have begun",
        SESSIONS,
        "_ if now_ns >= slot.to_ns.load(Ordering::Relaxed) => Code::Expired,",
        "_ if now_ns > slot.to_ns.load(Ordering::Relaxed) => Code::Expired,",
        Rust(TESTS, "a_session_is_good_within_its_validity_only"),
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
        "self.state.store(opened.id | FREE, Ordering::Relaxed);",
        "",
        Loom(MODEL, REUSED),
    ),
    Mutant(
        "the next writer of a slot does not see what the one before wrote",
        "live/src/claims.rs",
        "claim, 0, Ordering::Release",
        "claim, 0, Ordering::Relaxed",
        Loom("loom/tests/claims.rs", "a_renewal_and_a_proof_never_reach_the_next_session_of_the_slot"),
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
        "        fence(Ordering::Release);\n        self.state.store(opened.id, Ordering::Release);\n",
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
        "self.state.store(opened.id | SessionStatus::Active.bits(), Ordering::Release);",
        "self.state.store(opened.id | SessionStatus::Active.bits(), Ordering::Relaxed);",
        Loom(MODEL, REUSED),
    ),
    Mutant(
        "the bounds of a session are read before its state: it is loaded relaxed",
        SLOT,
        "if self.state.load(Ordering::Acquire) != active {\n            return None;\n        }\n        // Whoever",
        "if self.state.load(Ordering::Relaxed) != active {\n            return None;\n        }\n        // Whoever",
        Loom(MODEL, REUSED),
    ),
    Mutant(
        "the state of a slot is read a second time before the fields are",
        SLOT,
        "        fence(Ordering::Acquire);\n        let good",
        "        let good",
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
        Rust(TESTS, "a_machine_that_slept_ends_sessions_though_its_wall_clock_stood_still"),
    ),
    Mutant(
        "a session's beginning does not follow the wall clock",
        SLOT,
        "self.from_ns.store(from_ns, Ordering::Release);",
        "self.from_ns.store(from_ns.min(self.from_ns.load(Ordering::Relaxed)), Ordering::Release);",
        Rust(TESTS, "sessions_begin_by_the_wall_clock"),
    ),
    Mutant(
        "a revoked session's slot is used again at once, though others were never used",
        FREE,
        "(at < most).then_some(at + 1)",
        "(at < most && spare.revoked.is_empty()).then_some(at + 1)",
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
        "a session gives way though its slot is another's by now",
        FREE,
        "id.is_none_or(|id| state & !STATUS_MASK == id) && is_over(slot, state, now_ns)",
        "id.is_some_and(|id| state != 0 * id) || is_over(slot, state, now_ns)",
        Rust(REUSE, "a_slot_that_was_given_on_is_not_taken_for_what_it_was"),
    ),
    Mutant(
        "a session gives way a moment before it is over",
        TABLE,
        "|| slot.to_ns.load(Ordering::Acquire) <= now_ns",
        "|| slot.to_ns.load(Ordering::Acquire) <= now_ns + 1",
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
    Mutant(
        "what is known about a session is read from half of another one",
        SLOT,
        "        let fields = self.live_fields();\n        fence(Ordering::Acquire);\n",
        "        let fields = self.live_fields();\n",
        Loom(MODEL, "what_is_known_about_a_session_is_never_half_another_ones"),
    ),
    Mutant(
        "a living writer's claim is taken from it",
        OWNERS,
        "|held| self.has_ended(held)",
        "|held| held != 0",
        Rust(SHARED, TAKEN),
    ),
    Mutant(
        "a claim of a process that ended is kept for ever",
        OWNERS,
        "|held| self.has_ended(held)",
        "|held| self.has_ended(held) && false",
        Rust(SHARED, TAKEN),
    ),
    Mutant(
        "claims that a process of the same number left behind are taken for its own",
        STATE,
        "state.details().iter().for_each(|details| state.owners.forget_claim(&details.writer));",
        "",
        Rust(SHARED, "a_slot_left_half_written_is_given_to_another_session"),
    ),
    Mutant(
        "a process that only decides changes a session",
        SESSIONS,
        "let is_writable = self.table.state.role() == Role::Authority;",
        "let is_writable = true;",
        Rust(SHARED, "what_one_process_admits_and_revokes_the_others_see"),
    ),
    Mutant(
        "a session that is over is renewed",
        SESSIONS,
        "if !is_of(state, session, self.mask) || is_over(claimed.slot, state, now.monotonic) {",
        "if !is_of(state, session, self.mask) {",
        Rust(SHARED, "proofs_renewals_and_factors_are_seen_by_all"),
    ),
    Mutant(
        "a full table stays full, whatever another process revokes",
        FREE,
        "is_some_and(|(before, until_ns)| before == ended && now_ns < until_ns)",
        "is_some_and(|(before, until_ns)| before <= ended && now_ns < until_ns)",
        Rust(SHARED, "a_full_table_refuses_at_once_and_knows_when_another_process_ends_a_session"),
    ),
    Mutant(
        "a state that was removed goes on as if it were there",
        STATE,
        "if own.nlink() == 0 {",
        "if own.nlink() == 9 {",
        Rust(SHARED, "a_file_that_was_removed_or_replaced_is_noticed_for_good"),
    ),
    Mutant(
        "a state that was replaced goes on as if it were there",
        STATE,
        "Ok(there) if (there.dev(), there.ino()) != (own.dev(), own.ino())",
        "Ok(there) if there.dev() != own.dev()",
        Rust(SHARED, "a_file_that_was_removed_or_replaced_is_noticed_for_good"),
    ),
    Mutant(
        "a status that a session has already counts as a change",
        SLOT,
        "&& !revoked && is_new)",
        "&& !revoked)",
        Rust(TESTS, COUNTED),
    ),
    Mutant(
        "a session that has expired counts as changed",
        SESSIONS,
        "let was = if is_live { Was::Live } else { Was::Expired };",
        "let was = if is_live | true { Was::Live } else { Was::Expired };",
        Rust(TESTS, COUNTED),
    ),
    Mutant(
        "a session that has expired keeps its status, though it may be renewed meanwhile",
        SESSIONS,
        "self.set_status(session, status).then_some(was)",
        "(is_live && self.set_status(session, status)).then_some(was)",
        Rust(TESTS, COUNTED),
    ),
    Mutant(
        "a session that expires while it is renewed does not count as changed",
        SESSIONS,
        "Some(Was::Expired) => self.was_renewed(session, status),",
        "Some(Was::Expired) => false,",
        Rust(TESTS, RENEWED),
    ),
    Mutant(
        "of many sessions, none is changed before all are listed",
        SESSIONS,
        "for record in self.records().filter(chosen) {",
        "for record in self.chosen(chosen) {",
        Rust(TESTS, "of_many_sessions_each_is_changed_before_the_next_one_is_looked_at"),
    ),
    Mutant(
        "a forked child keeps the file of owners, with its parent's locks",
        PROCESS,
        "unsafe { libc::close(i32::try_from(start - 1).unwrap_or(-1)) };",
        "let _ = start;",
        Rust(PROCESS, "a_child_has_no_share_in_a_file_and_its_locks"),
    ),
    Mutant(
        "a forked child closes what has the number of its parent's file",
        PROCESS,
        "if self.listed.swap(0, Ordering::AcqRel) != 0 {",
        "if self.listed.swap(0, Ordering::AcqRel) != FILE {",
        Rust(PROCESS, CLOSES),
    ),
    Mutant(
        "a forked child uses what has the number of its parent's file",
        PROCESS,
        "(self.listed.load(Ordering::Acquire) != 0).then_some(&*self.file)",
        "Some(&*self.file)",
        Rust(PROCESS, CLOSES),
    ),
    Mutant(
        "a fork does not wait for a thread that opens a file",
        PROCESS,
        "libc::pthread_atfork(Some(before_fork), ",
        "libc::pthread_atfork(None, ",
        Rust(PROCESS, "a_fork_waits_for_a_thread_that_opens_a_file"),
    ),
    Mutant(
        "a lock on a file of another filesystem is taken for the writers' lock",
        OWNERS,
        'is_writers_lock(line, own.ino()))\n                && is_file(&process.join("fd").join(descriptor), &own)',
        "is_writers_lock(line, own.ino()))",
        Python(STATES + "test_a_lock_on_a_file_with_the_same_inode_elsewhere_is_not_the_writers_lock"),
    ),
    Mutant(
        "a dead process's claim on a note stays with the next one of its number",
        STATE,
        "            state.notes().writers().for_each(|writer| state.owners.forget_claim(writer));\n",
        "",
        Rust(SHARED, "what_a_dead_process_left_of_a_note_is_written_anew_also_by_who_gets_its_number"),
    ),
    Mutant(
        "notes of markets push out those of kills and revocations",
        NOTES,
        "if deed.is_frequent() { frequent } else { usual }",
        "if deed.is_frequent() { usual } else { usual }",
        Rust(NOTES, "what_is_done_all_day_pushes_nothing_else_out"),
    ),
    Mutant(
        "a session's note is told for a later status",
        NOTES,
        "(found == u64::from(number) && noted.deed == deed)",
        "(found == u64::from(number))",
        Rust(TESTS, "a_note_says_who_gave_a_session_its_status"),
    ),
    Mutant(
        "an admission does not look for the state's file",
        "engine/src/sessions.rs",
        "        // Before names are registered in a file that nobody opens any more.\n"
        "        self.sessions.check_file()?;\n",
        "",
        Python("tests/faults/test_gone_states.py::test_an_admission_right_after_a_state_is_gone_is_refused"),
    ),
    Mutant(
        "sessions of a state that is gone are decided for",
        "engine/src/shared.rs",
        "if version & GONE != 0 {",
        "if version & GONE == 7 {",
        Python("tests/faults/test_gone_states.py"),
    ),
    Mutant(
        "a copy of a state is taken for the state",
        STATE,
        "if about.ino() != header.inode {",
        "if about.ino() == 0 {",
        Rust(SHARED, "a_file_that_is_not_the_state_is_refused_with_a_reason"),
    ),
    Mutant(
        "a state that was cut or grew is opened",
        STATE,
        "if about.len() != header.size {",
        "if about.len() < header.size / 2 {",
        Rust(SHARED, "a_file_that_is_not_the_state_is_refused_with_a_reason"),
    ),
    Mutant(
        "a state of another boot is opened",
        STATE,
        "if header.boot != boot() {",
        "if header.boot == [0; 16] {",
        Rust(SHARED, "a_state_of_another_boot_or_size_is_refused"),
    ),
    Mutant(
        "a state that its group may write is trusted",
        OWNERSHIP,
        "if about.mode() & 0o022 != 0 {",
        "if about.mode() & 0o002 != 0 {",
        Rust(SHARED, "what_others_may_write_is_refused"),
    ),
    Mutant(
        "a state that was removed is made anew by who may not make one",
        STATE,
        "(None, None) => return Err(at.refused(NO_STATE)),",
        "(None, None) => at.make(Capacity { sessions: 8, uids: 64 })?,",
        Rust(SHARED, "without_a_capacity_no_state_is_made"),
    ),
    Mutant(
        "the register takes uids of any length",
        REGISTER,
        "if ty.len().saturating_add(id.len()) > MAX_UID {",
        "if ty.len().saturating_add(id.len()) > self.text_bytes {",
        Rust(SHARED, "a_uid_that_is_too_long_for_the_register_takes_nothing_of_it"),
    ),
    Mutant(
        "whoever finds no place in the register takes room for a text",
        REGISTER,
        "if self.in_use().uids.0 >= self.entries.len() {",
        "if self.in_use().uids.0 > self.entries.len() {",
        Rust(SHARED, "a_uid_that_is_too_long_for_the_register_takes_nothing_of_it"),
    ),
    Mutant(
        "a proof is taken for younger than it was",
        "live/src/proof.rs",
        "let units = self.at_ns.saturating_sub(scale.base_ns) / scale.unit_ns;",
        "let units = self.at_ns.saturating_sub(scale.base_ns).saturating_add(scale.unit_ns - 1) / scale.unit_ns;",
        Rust("live/src/proof.rs", "a_proof_is_never_younger_than_it_was"),
    ),
    Mutant(
        "a proof that is too old to be held is half a year old",
        "live/src/proof.rs",
        "if self.at_ns == i64::MIN {\n            return i64::MAX;",
        "if self.at_ns == i64::MAX {\n            return i64::MAX;",
        Rust("live/src/proof.rs", "a_proof_is_never_younger_than_it_was"),
    ),
    Mutant(
        "the caller's clock goes back",
        "pages/src/decision_clock.rs",
        "Some(now_ns.fetch_max(ns, Ordering::AcqRel).max(ns))",
        "Some(now_ns.swap(ns, Ordering::AcqRel).max(ns))",
        Rust("pages/src/decision_clock.rs", "the_callers_clock_never_goes_back"),
    ),
    Mutant(
        "handles of another engine of the same state: both have one key for their own places",
        "live/src/handles.rs",
        "Ok(Self { shared, own: getrandom::u64()? >> 1, count: state.capacity().uids })",
        "Ok(Self { shared, own: shared, count: state.capacity().uids })",
        Python("tests/api/test_shared_state.py::test_a_uid_that_only_a_deciding_engine_names_is_its_own"),
    ),
)
