"""Mutants of live attributes."""

from mutant import Mutant, Python, Rust

LIVE = Python("tests/api/test_live_attributes.py")

MUTANTS = (
    Mutant(
        "live attributes: an absent one is the caller's last value",
        "engine/src/live_attributes.rs",
        "(1..4).map(of).collect()",
        "(1..4).map(|_| of(0)).collect()",
        LIVE,
    ),
    Mutant(
        "live attributes: the entity acted for hides the region",
        "engine/src/live_attributes.rs",
        "Self::OnBehalfOf => 2,",
        "Self::OnBehalfOf => 3,",
        LIVE,
    ),
    Mutant(
        "live attributes: the first factor alone is known",
        "engine/src/live.rs",
        "for number in (0..).take(MAX_FACTORS).filter(|number| bits >> number & 1 != 0) {",
        "for number in (0..).take(1).filter(|number| bits >> number & 1 != 0) {",
        LIVE,
    ),
    Mutant(
        "live attributes: names of factors are looked up once",
        "engine/src/live_asks.rs",
        "if numbers & MASK != count {",
        "if numbers & MASK == NONE {",
        LIVE,
    ),
    Mutant(
        "live attributes: a check assumes that an absent one is present",
        "engine/src/hot.rs",
        "positions: binding.positions_for(arguments.numbers)?,",
        "positions: &binding.positions,",
        LIVE,
    ),
    Mutant(
        "live attributes: who asks for an absent one gets a number",
        "engine/src/lift.rs",
        "self.presence(place).is_none_or(|presence| case.demand(&Sum::argument(presence), 1, MOST))",
        "self.presence(place).is_none_or(|presence| case.demand(&Sum::argument(presence), 0, MOST))",
        LIVE,
    ),
    Mutant(
        "live attributes: rows of one session have the first one's market",
        "engine/src/live_rows.rs",
        "sessions.one().is_some() && !binding.live.contains(&LiveAttribute::Market)",
        "sessions.one().is_some()",
        LIVE,
    ),
    Mutant(
        "live attributes: rows of one session keep each other's texts",
        "engine/src/live_rows.rs",
        "brought.back_to(&bare);",
        "",
        LIVE,
    ),
    Mutant(
        "live attributes: an entity of another type is absent",
        "engine/src/live.rs",
        "let found = self.snapshot.entity_of(entity, number, ty).map_err(|_| Code::BadValue)?;",
        "let found = self.snapshot.entity_of(entity, number, ty).map_err(|_| Code::Default)?;",
        LIVE,
    ),
    Mutant(
        "live attributes: what a decision brought is there in the next",
        "engine/src/gate.rs",
        "if !self.looks_up {\n            self.brought.clear();",
        "if self.looks_up {\n            self.brought.clear();",
        LIVE,
    ),
    Mutant(
        "live attributes: a batch's texts keep their numbers",
        "engine/src/live_rows.rs",
        "*number = if *argument == Argument::Text && bits & FOREIGN_STRING != 0 {",
        "*number = if *argument == Argument::Text && bits & FOREIGN_STRING != 0 && row > 1000 {",
        LIVE,
    ),
    Mutant(
        "live attributes: a gate may be given them",
        "engine/src/binding.rs",
        "let Some(name) = names.iter().find(|name| begins(name, &[LIVE]))\n    {",
        "let Some(name) = names.iter().find(|name| begins(name, &[LIVE, LIVE]))\n    {",
        LIVE,
    ),
    Mutant(
        "live attributes: entitlements have the first resource's market",
        "engine/src/live.rs",
        "self.numbers.get(at));",
        "self.numbers.get(at.min(0)));",
        LIVE,
    ),
    Mutant(
        "live attributes: what `has` asks for is not looked up",
        "compile/src/live.rs",
        "Expr::HasAttr(of, path) if is_live(of) => self.names.extend(path.first().map(ToString::to_string)),",
        "Expr::HasAttr(of, path) if is_live(of) => self.names.extend(path.get(1).map(ToString::to_string)),",
        LIVE,
    ),
    Mutant(
        "live attributes: a whole record is not looked up",
        "compile/src/live.rs",
        "self.all |= **name == *LIVE",
        "self.all &= **name == *LIVE",
        LIVE,
    ),
    Mutant(
        "live attributes: the text of a long uid has no room for its escapes",
        "engine/src/live.rs",
        "const MOST_UID: usize = 6 * MAX_UID + 4;",
        "const MOST_UID: usize = MAX_UID + 4;",
        Rust("engine/src/live.rs", "a_uid_is_written_as_its_escapes_say_whatever_its_length"),
    ),
)
