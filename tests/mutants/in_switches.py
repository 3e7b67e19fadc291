"""Mutants of kills and markets."""

from mutant import Loom, Mutant, Python, Rust

SWITCHES = "live/src/switches.rs"
MARKET = "live/src/market.rs"
TEXTS = "live/src/texts.rs"
SWITCHING = "engine/src/switching.rs"
TESTS = "live/src/switches/tests.rs"
MODEL = "loom/tests/texts.rs"
HALF = "a_record_that_is_written_anew_is_never_read_half_old_half_new"
KILLS = Python("tests/api/test_kills.py")

MUTANTS = (
    Mutant(
        "kills: a record is read once, whatever a writer does meanwhile",
        TEXTS,
        "if self.0.load(Ordering::Relaxed) == before {",
        "if before != 0 {",
        Loom(MODEL, HALF),
    ),
    Mutant(
        "kills: the fields of a record are read after its state was looked at again",
        TEXTS,
        "            fence(Ordering::Acquire);\n            if self",
        "            if self",
        Loom(MODEL, HALF),
    ),
    Mutant(
        "kills: a record is written before it is withdrawn",
        TEXTS,
        "        // The fields must become visible only after this.\n        fence(Ordering::Release);\n",
        "",
        Loom(MODEL, HALF),
    ),
    Mutant(
        "kills: a length that cannot be right is no scope",
        TEXTS,
        "if len > Self::MOST as u64 {\n            return true;",
        "if len > Self::MOST as u64 {\n            return false;",
        Rust(TESTS, "broken_memory_is_read_within_bounds_and_stops_rather_than_allows"),
    ),
    Mutant(
        "kills: a text is compared up to its last whole word",
        TEXTS,
        "text.as_bytes().chunks(8).zip",
        "text.as_bytes().chunks_exact(8).zip",
        Rust(TESTS, "a_kill_stops_its_scope_until_it_is_released"),
    ),
    Mutant(
        "kills: a record that changes all the time stops nothing",
        SWITCHES,
        "if matches!(found, Read::Found(true) | Read::Changing) {",
        "if matches!(found, Read::Found(true)) {",
        Rust(TESTS, "a_record_that_changes_all_the_time_stops"),
    ),
    Mutant(
        "kills: they never end",
        SWITCHES,
        "&& record.until_ns.load(Ordering::Relaxed) > now_ns",
        "&& record.until_ns.load(Ordering::Relaxed) > 0",
        Rust(TESTS, "a_kill_whose_time_is_over_stops_nothing"),
    ),
    Mutant(
        "kills: exempt actions are stopped",
        SWITCHES,
        "USUAL => !action.exempt,",
        "USUAL => true,",
        KILLS,
    ),
    Mutant(
        "kills: an action that left a killed group goes on",
        SWITCHES,
        "|| hashes().skip(names).take(all).any(|hash| hash == action.own)",
        "",
        KILLS,
    ),
    Mutant(
        "kills: what was in a group stands for what is in it",
        SWITCHES,
        "hashes().skip(names).take(all).any(|hash| hash == action.own)",
        "hashes().skip(names).take(all).any(named)",
        Rust(TESTS, "a_kill_stops_its_actions"),
    ),
    Mutant(
        "kills: the same person releases a kill that needs two",
        SWITCHES,
        "Some(other) if is_same_person(other, by) =>",
        "Some(other) if other.is_empty() =>",
        KILLS,
    ),
    Mutant(
        "kills: one person is enough",
        SWITCHES,
        "None if kill.two_persons => {",
        "None if kill.two_persons && kill.by_switch => {",
        KILLS,
    ),
    Mutant(
        "kills: a request for a release is kept for the next kill of its record",
        SWITCHES,
        "if asked % REQUEST_STEP != number % REQUEST_STEP {",
        "if asked % REQUEST_STEP == 0 {",
        Rust(TESTS, "two_persons_release_a_kill_where_two_must"),
    ),
    Mutant(
        "kills: the name of who asked is read while another is written",
        SWITCHES,
        "(self.asked.load(Ordering::Relaxed) == asked).then_some(by)",
        "Some(by)",
        Rust(TESTS, "readers_see_a_whole_name_of_who_asked_while_others_ask"),
    ),
    Mutant(
        "kills: the word keeps the bits of kills that are released",
        SWITCHES,
        "word.store(bits, Ordering::SeqCst);",
        "word.fetch_or(bits, Ordering::SeqCst);",
        Rust(TESTS, "a_kill_stops_its_scope_until_it_is_released"),
    ),
    Mutant(
        "markets: a lookup ends at the first record",
        MARKET,
        "_ => continue,",
        "_ => return MarketState::Normal,",
        Rust(TESTS, "markets_keep_their_states_while_others_come_and_go"),
    ),
    Mutant(
        "markets: a record in the middle of others becomes empty",
        MARKET,
        "if next.load(Ordering::Relaxed) == EMPTY && (",
        "if next.load(Ordering::Relaxed) != WRITING && (",
        Rust(TESTS, "markets_keep_their_states_while_others_come_and_go"),
    ),
    Mutant(
        "markets: the note in force is written over",
        MARKET,
        "let other = old & NOTE_BIT ^ NOTE_BIT;",
        "let other = old & NOTE_BIT;",
        Rust(TESTS, "threads_see_whole_kills_and_what_was_done_before"),
    ),
    Mutant(
        "kills: what an entity is in is not looked at",
        SWITCHING,
        "all |= 1 << bits.get(index as usize)?;",
        "all |= 1 << (bits.get(index as usize)? & 0);",
        KILLS,
    ),
    Mutant(
        "kills: of what an entity is in, the first alone is looked at",
        SWITCHING,
        ".any(|&index| self.with_uid(EntityRef::known(index)",
        ".take(1).any(|&index| self.with_uid(EntityRef::known(index)",
        KILLS,
    ),
    Mutant(
        "kills: the resource is not looked at",
        SWITCHING,
        "entities().any(|entity|",
        "entities().take(1).any(|entity|",
        KILLS,
    ),
    Mutant(
        "kills: an entity that the store lacks has no bit",
        SWITCHING,
        "self.with_uid(entity, foreign, |ty, id| uid_bit(uid_hash(ty, id))).unwrap_or_default()",
        "0",
        KILLS,
    ),
    Mutant(
        "kills: the switch lifts what it did not make",
        SWITCHING,
        "drop_kills(|kill| kill.by_switch && is_meant(kill))",
        "drop_kills(is_meant)",
        KILLS,
    ),
    Mutant(
        "markets: the last state that is found counts",
        SWITCHING,
        "severest = severest.max(switches.market(ty, id));",
        "severest = switches.market(ty, id);",
        KILLS,
    ),
    Mutant(
        "kills: rows of a batch are not looked at",
        "engine/src/batch.rs",
        "if principals.are_sessions() && self.is_stopped(places.0, places.1, now_ns) {",
        "if principals.are_sessions() && places.0 == Place(usize::MAX) {",
        KILLS,
    ),
    Mutant(
        "kills: rows that differ in their arguments only are not looked at",
        "engine/src/batch.rs",
        "(self.is_killed(now_ns) || self.is_stopped(place, resource, now_ns)).then_some(Code::Killed)",
        "(self.is_killed(now_ns) && self.is_stopped(place, resource, now_ns)).then_some(Code::Killed)",
        KILLS,
    ),
    Mutant(
        "kills: by policy alone they stop too",
        "engine/src/batch.rs",
        "if principals.are_sessions() && self.is_stopped(places.0, places.1, now_ns) {",
        "if self.is_stopped(places.0, places.1, now_ns) {",
        KILLS,
    ),
    Mutant(
        "kills: a decision over a dict looks at none",
        "python/src/deciding.rs",
        "self.shared.denial(self.snapshot, action, session, resource.ok(), &of_request) {",
        "self.shared.denial(self.snapshot, action, session, None, &of_request).filter(|_| resource.is_err()) {",
        KILLS,
    ),
    Mutant(
        "kills: entitlements look at none",
        "python/src/deciding.rs",
        "*allowed = self.shared.denial(self.snapshot, action, session, Some(resource), &|_| None).is_none();",
        "let _ = (session, resource, allowed);",
        KILLS,
    ),
    Mutant(
        "kills: one that moves to a record that a reader has passed stops nothing",
        SWITCHES,
        "if found.is_some() || self.changes() == before {",
        "if found.is_some() || before != u64::MAX {",
        Rust(TESTS, "a_kill_that_moves_to_another_record_is_in_force_all_the_time"),
    ),
    Mutant(
        "kills: the firm and the entities are looked at by two readings of the clock",
        "engine/src/evaluate.rs",
        "self.stops_between(snapshot, Some(action), entities, foreign, now_ns);",
        "self.stops_between(snapshot, Some(action), entities, foreign, self.now_ns().max(now_ns));",
        Rust(
            "engine/tests/side_by_side.rs",
            "a_kill_of_the_firm_that_is_made_before_one_of_an_entity_ends_follows_it_at_once",
        ),
    ),
    Mutant(
        "kills: one that moves to the firm after a reader looked at that stops nothing",
        "engine/src/evaluate.rs",
        "self.switches.at_one_moment(Code::Killed, || {",
        "Some(()).and_then(|()| {",
        Rust("engine/tests/side_by_side.rs", "a_kill_that_moves_from_an_entity_to_the_firm_is_in_force_all_the_time"),
    ),
    Mutant(
        "kills: a reader that writers overtake each time lets go on",
        SWITCHES,
        "        Some(otherwise)\n",
        "        None\n",
        Rust(TESTS, "what_is_let_go_on_all_the_time_stops"),
    ),
)
