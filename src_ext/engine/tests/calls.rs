//! Sets and addresses that a gate's call brings.
#![cfg(not(ztfast_rtsan))]

mod world;

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use world::sources::compile;
use ztfast_bundle::Bundle;
use ztfast_engine::{
    Admission, AttrValue, Code, Decision, Engine, EngineOptions, EntityData, EntityError, Gate, Given, Handle, Passed,
    SessionId, Source,
};

const SCHEMA: &str = "
entity User, Doc, Other;
action view appliesTo { principal: User, resource: Doc, context: {
  texts: Set<String>, more: Set<String>, who: Set<User>, numbers: Set<Long>, from: ipaddr, records: Set<{ x: Long }>,
} };
action see appliesTo { principal: User, resource: Doc, context: {
  texts: Set<String>, more: Set<String>, who: Set<User>, numbers: Set<Long>, from: ipaddr,
} };
";

struct Desk {
    engine: Arc<Engine>,
    session: SessionId,
    doc: Handle,
}

impl Desk {
    /// Make a desk whose only policy permits where a condition holds.
    fn new(condition: &str) -> Self {
        let policy = format!("permit (principal, action, resource) when {{ {condition} }};");
        let bundle = Arc::new(Bundle::of(&compile(&policy, SCHEMA, None, None)).unwrap());
        let engine = Engine::new(bundle, None, EngineOptions::default()).unwrap();
        let (principal, doc) = (engine.handle("User", "u").unwrap(), engine.handle("Doc", "d").unwrap());
        let session = engine.admit(&Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX }).unwrap();
        Self { engine, session, doc }
    }

    fn gate(&self) -> Gate {
        self.engine.prepare("Action", "see", &["texts", "more", "who", "numbers", "from"]).unwrap()
    }

    /// Return a session of a user, given by its handle.
    fn admitted(&self, user: i64) -> SessionId {
        let principal = Handle(user.cast_unsigned());
        self.engine.admit(&Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX }).unwrap()
    }

    fn user(&self, id: &str) -> i64 {
        self.engine.handle("User", id).unwrap().0.cast_signed()
    }

    /// Decide a call that brings these values.
    fn allows(&self, texts: &[&str], more: &[&str], who: &[&str], numbers: &[i64], from: (u128, bool, u8)) -> Code {
        let mut gate = self.gate();
        gate.begin();
        let mut numbered = |texts: &[&str]| texts.iter().map(|text| gate.text(text).unwrap()).collect::<Vec<_>>();
        let numbered = (numbered(texts), numbered(more));
        let who: Vec<i64> = who.iter().map(|id| self.user(id)).collect();
        let values = [
            gate.set(&numbered.0, 0).unwrap(),
            gate.set(&numbered.1, 1).unwrap(),
            gate.set(&who, 2).unwrap(),
            gate.set(numbers, 3).unwrap(),
            gate.address(from.0, from.1, from.2).unwrap(),
        ];
        let code = gate.allows(self.session, self.doc, &values);
        let given = given(&[texts, more], &[&who, numbers], from);
        let by_answers = self.passed(&mut gate, &given);
        assert!(by_answers.is_none_or(|answered| code == answered), "{by_answers:?}, and {code:?} if all is kept");
        let generation = gate.generation();
        let mut passed = gate.pass(generation).unwrap();
        for value in given {
            passed.value(Some(value)).unwrap();
        }
        assert_eq!(passed.allows(self.session, self.doc), Some(code), "passed in one step");
        code.code()
    }

    /// Decide by values of which those are not kept that need not be.
    fn passed(&self, gate: &mut Gate, given: &[Value<'_>]) -> Option<Code> {
        let values = given.iter().cloned().map(Some);
        gate.allows_passed(gate.generation(), (self.session, self.doc), values).map(Decision::code)
    }
}

type Value<'v> = Given<'v, std::vec::IntoIter<Option<Passed<'v>>>>;

fn given<'v>(texts: &[&[&'v str]], numbers: &[&[i64]], from: (u128, bool, u8)) -> Vec<Value<'v>> {
    let texts = texts.iter().map(|all| all.iter().map(|text| Some(Passed::Text(text))).collect::<Vec<_>>());
    let numbers = numbers.iter().map(|all| all.iter().map(|&number| Some(Passed::Number(number))).collect());
    let sets = texts.chain(numbers).map(|set: Vec<_>| Given::Set(set.into_iter()));
    sets.chain([Given::One(Passed::Address(from.0, from.1, from.2))]).collect()
}

const HOME: (u128, bool, u8) = (0x7F00_0001, false, 32);

#[test]
fn sets_and_addresses_mean_what_they_do_in_a_context() {
    let allowed = |condition: &str, texts: &[&str], more: &[&str], who: &[&str], numbers: &[i64], from| {
        Desk::new(condition).allows(texts, more, who, numbers, from) == Code::Allow
    };
    for (condition, texts, more, expected) in [
        ("context.texts.isEmpty()", &[][..], &["a"][..], true),
        ("context.texts.isEmpty()", &["a"], &[], false),
        ("!context.texts.isEmpty() && context.more.isEmpty()", &["a"], &[], true),
        ("context.texts.contains(\"b\")", &["a", "b"], &[], true),
        ("context.texts.contains(\"b\")", &["a", "c"], &[], false),
        ("context.texts == context.more", &["a", "x", "a"], &["x", "a"], true),
        ("context.texts == context.more", &["a", "x"], &["x", "y"], false),
        ("context.texts == context.more", &[], &[], true),
        ("context.texts == [\"b\", \"a\"]", &["a", "b", "a"], &[], true),
        ("context.texts.containsAny([\"x\", \"y\"])", &["z", "y"], &[], true),
        ("context.texts.containsAll(context.more)", &["a", "b", "c"], &["c", "a"], true),
        ("context.texts.containsAll(context.more)", &["a", "b"], &["c", "a"], false),
        ("context.texts == context.numbers", &[], &[], false),
    ] {
        assert_eq!(allowed(condition, texts, more, &["v"], &[1], HOME), expected, "{condition} {texts:?} {more:?}");
    }
    assert!(allowed("context.who.contains(principal)", &[], &[], &["v", "u"], &[], HOME));
    assert!(!allowed("context.who.contains(principal)", &[], &[], &["v", "w"], &[], HOME));
    assert!(allowed("context.numbers == [1, -1]", &[], &[], &[], &[-1, 1, 1, -1], HOME));
    assert!(allowed("context.from.isLoopback()", &[], &[], &[], &[], HOME));
    assert!(!allowed("context.from.isLoopback()", &[], &[], &[], &[], (0x0A00_0001, false, 32)));
    assert!(allowed("context.from.isInRange(ip(\"10.0.0.0/8\"))", &[], &[], &[], &[], (0x0A01_0203, false, 24)));
    assert!(allowed("context.from == ip(\"fe80::1/64\")", &[], &[], &[], &[], (0xFE80_u128 << 112 | 1, true, 64)));
    assert!(!allowed("context.from == ip(\"fe80::1/64\")", &[], &[], &[], &[], (0xFE80_u128 << 112 | 1, true, 65)));
}

#[test]
fn values_that_are_not_kept_decide_what_they_do_if_they_are() {
    let texts = ["a", "b", "x", "y"];
    for (condition, from, expected) in [
        ("context.texts.contains(\"b\")", HOME, Code::Allow),
        ("context.texts.contains(\"c\")", HOME, Code::Default),
        ("context.texts.containsAll([\"a\", \"y\"])", HOME, Code::Allow),
        ("context.texts.containsAll([\"a\", \"z\"])", HOME, Code::Default),
        ("context.texts.containsAny([\"z\", \"y\"])", HOME, Code::Allow),
        ("context.texts.containsAny([\"z\", \"c\"])", HOME, Code::Default),
        ("context.texts.containsAll([]) && !context.texts.containsAny([])", HOME, Code::Allow),
        ("context.numbers.contains(-1) && !context.numbers.contains(2)", HOME, Code::Allow),
        ("context.more.isEmpty() && !context.texts.isEmpty()", HOME, Code::Allow),
        ("context.from.isInRange(ip(\"127.0.0.0/8\"))", HOME, Code::Allow),
        ("context.from.isInRange(ip(\"127.0.0.0/8\"))", (0x7F00_0001, false, 7), Code::Default),
        ("context.from.isLoopback() && !context.from.isMulticast()", HOME, Code::Allow),
        ("context.from.isMulticast()", (0xE000_0001, false, 32), Code::Allow),
        ("context.from.isMulticast()", (0xE000_0001, false, 3), Code::Default),
        ("context.texts.contains(\"b\") && context.who.contains(principal)", HOME, Code::Allow),
        ("!context.who.contains(principal)", HOME, Code::Default),
        ("!context.numbers.contains(principal)", HOME, Code::Allow),
        ("context.who.contains(principal) && context.who.contains(User::\"u\")", HOME, Code::Allow),
        ("context.who.contains(principal) && context.who.contains(User::\"v\")", HOME, Code::Default),
    ] {
        let desk = Desk::new(condition);
        let who = [desk.user("u")];
        let given = given(&[&texts, &[]], &[&who, &[1, -1]], from);
        let mut gate = desk.gate();
        assert_eq!(desk.passed(&mut gate, &given), Some(expected), "{condition}");
        assert_eq!(desk.allows(&texts, &[], &["u"], &[1, -1], from), expected, "{condition}");
    }
}

#[test]
fn values_that_are_not_kept_are_left_to_those_that_are_where_they_must_be() {
    let desk = Desk::new("context.texts.contains(\"a\") && context.from.isInRange(ip(\"127.0.0.0/8\"))");
    let (mut gate, who) = (desk.gate(), [desk.user("u")]);
    let decided = |gate: &mut Gate, texts: &[&str], who: &[i64], from| {
        desk.passed(gate, &given(&[texts, texts], &[who, &[]], from))
    };
    let many: Vec<String> = (0..17).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "a".repeat(257);
    assert_eq!(decided(&mut gate, &["a"], &who, HOME), Some(Code::Allow));
    assert_eq!(decided(&mut gate, &many[..15], &who, HOME), Some(Code::Default));
    assert_eq!(decided(&mut gate, &[&long[..256]], &who, HOME), Some(Code::Default));
    assert_eq!(decided(&mut gate, &many, &[], HOME), None, "more elements than are looked at");
    assert_eq!(decided(&mut gate, &[&long], &who, HOME), None, "a long text");
    assert_eq!(decided(&mut gate, &["a"], &who, (1, true, 128)), None, "an address of IPv6");
    assert_eq!(decided(&mut gate, &["a"], &who, (0x7F00_0001, false, 33)), None, "a prefix that there is not");
    assert_eq!(decided(&mut gate, &["a"], &who, (1 << 40, false, 32)), None, "an address that there is not");
    let other = desk.engine.handle("Other", "o").unwrap().0.cast_signed();
    let foreign = Desk::new("true").user("u");
    for stranger in [other, foreign] {
        assert_eq!(decided(&mut gate, &["a"], &[stranger], HOME), None, "an entity that is none of the type");
    }
    let whole = given(&[&["a"], &[]], &[&who, &[]], HOME);
    assert_eq!(desk.passed(&mut gate, &whole), Some(Code::Allow));
    assert_eq!(desk.passed(&mut gate, &whole[..4]), None, "a value is missing");
    let swapped: Vec<_> = whole.iter().rev().cloned().collect();
    assert_eq!(desk.passed(&mut gate, &swapped), None, "sets and addresses in each other's place");
    let mut forged = whole.clone();
    forged[0] = Given::Set(vec![Some(Passed::Number(1 << 32))].into_iter());
    assert_eq!(desk.passed(&mut gate, &forged), None, "a number of another call as a text");
    let values = || whole.iter().cloned().map(Some);
    let pair = (desk.session, desk.doc);
    assert_eq!(gate.allows_passed(gate.generation() + 1, pair, values()), None, "another generation");
    gate.begin();
    assert_eq!(desk.passed(&mut gate, &whole), None, "a call was begun");
    gate.refresh();
    assert_eq!(desk.passed(&mut gate, &whole), Some(Code::Allow));
}

/// A value that is passed with a token.
struct Named<'v>(Value<'v>, u64);

impl<'v> Source<'v> for Named<'v> {
    type Element = Option<Passed<'v>>;

    fn number(self) -> Option<i64> {
        Some(self.0).number()
    }

    fn text(self) -> Option<Passed<'v>> {
        Some(self.0).text()
    }

    fn address(self) -> Option<(u128, bool, u8)> {
        Some(self.0).address()
    }

    fn elements(self) -> Option<impl ExactSizeIterator<Item = Self::Element>> {
        Some(self.0).elements()
    }

    fn handle(&self) -> Option<i64> {
        Some(self.0.clone()).handle()
    }

    fn ip4(&self) -> Option<(u32, u8)> {
        Some(self.0.clone()).ip4()
    }

    fn few_handles(&self) -> Option<(i64, Option<i64>)> {
        let numbers = Some(self.0.clone()).elements()?.map(Source::number).collect::<Option<Vec<_>>>()?;
        match numbers[..] {
            [first] => Some((first, None)),
            [first, second] => Some((first, Some(second))),
            _ => None,
        }
    }

    fn token(&self) -> u64 {
        self.1
    }
}

#[test]
fn a_value_with_a_token_answers_what_it_did_before_and_no_other() {
    let desk = Desk::new("context.texts.contains(\"a\") && !context.more.contains(\"a\")");
    let (mut gate, who) = (desk.gate(), [desk.user("u")]);
    let mut decide = |texts: &[&str], more: &[&str], tokens: [u64; 2]| {
        let named = given(&[texts, more], &[&who, &[]], HOME).into_iter().zip([tokens[0], tokens[1], 0, 0, 0]);
        let named = named.map(|(value, token)| Named(value, token));
        gate.allows_passed(gate.generation(), (desk.session, desk.doc), named).map(Decision::code)
    };
    for _ in 0..3 {
        assert_eq!(decide(&["a"], &["b"], [1, 2]), Some(Code::Allow));
        assert_eq!(decide(&["a"], &["a"], [1, 1]), Some(Code::Default), "one value for both arguments");
        assert_eq!(decide(&["b"], &["b"], [2, 2]), Some(Code::Default));
        // These share their place with the first.
        assert_eq!(decide(&["b"], &["a"], [5, 6]), Some(Code::Default));
        assert_eq!(decide(&["a"], &[], [0, 0]), Some(Code::Allow), "no token");
    }
    assert_eq!(decide(&["a"], &["b"], [1, 2]), Some(Code::Allow));
    // The token says which value it is: its elements are not looked at again.
    assert_eq!(decide(&["b"], &["b"], [1, 2]), Some(Code::Allow));
    let other = "permit (principal, action, resource) when { context.more.contains(\"b\") };";
    desk.engine.swap(Arc::new(Bundle::of(&compile(other, SCHEMA, None, None)).unwrap()), None).unwrap();
    assert!(!gate.is_stale());
    let mut later = |texts: &[&str], more: &[&str]| {
        gate.refresh();
        let named = given(&[texts, more], &[&who, &[]], HOME).into_iter().zip([1, 2, 0, 0, 0]);
        let named = named.map(|(value, token)| Named(value, token));
        gate.allows_passed(gate.generation(), (desk.session, desk.doc), named).map(Decision::code)
    };
    assert_eq!(later(&["a"], &["c"]), Some(Code::Default), "another bundle asks for something else");
    assert_eq!(later(&["a"], &["b"]), Some(Code::Default), "this bundle's answer is remembered");
}

#[test]
fn what_a_set_answers_about_the_principal_is_remembered_for_that_session() {
    for (condition, about_principal) in
        [("context.who.contains(principal)", true), ("context.who.contains(User::\"v\")", false)]
    {
        let desk = Desk::new(condition);
        let (mut gate, u, v, w) = (desk.gate(), desk.user("u"), desk.user("v"), desk.user("w"));
        let sessions = [(desk.session, u), (desk.admitted(v), v)];
        for who in [&[u][..], &[v], &[u, v], &[w, v], &[v, w], &[w, w], &[u, w, w], &[]] {
            // Each session asks right after the other one, and then again.
            for (session, principal) in sessions.into_iter().chain(sessions).flat_map(|session| [session; 2]) {
                let named = given(&[&[], &[]], &[who, &[]], HOME).into_iter().zip([1, 2, 3, 4, 0]);
                let named = named.map(|(value, token)| Named(value, token));
                let decided = gate.allows_passed(gate.generation(), (session, desk.doc), named);
                let expected = who.contains(if about_principal { &principal } else { &v });
                let expected = if expected { Code::Allow } else { Code::Default };
                assert_eq!(decided.map(Decision::code), Some(expected), "{condition}: {who:?}");
            }
        }
    }
}

#[test]
fn a_denial_never_allows() {
    let desk = Desk::new("true");
    for code in Code::ALL {
        let expected = if code == Code::Allow { Code::Corrupt } else { code };
        assert_eq!(desk.engine.deny(desk.session, code), expected);
    }
    let snapshot = desk.engine.snapshot();
    let refuse =
        |action, session, resource| desk.engine.refuse(&snapshot, action, session, resource, Code::TooLarge).code();
    assert_eq!(refuse(Some(0), desk.session, desk.doc), Code::TooLarge);
    assert_eq!(refuse(None, desk.session, desk.doc), Code::StaleGate);
    assert_eq!(refuse(Some(0), SessionId(1), desk.doc), Code::UnknownSession);
    assert_eq!(refuse(Some(0), desk.session, Handle(1)), Code::UnknownHandle);
}

/// Brings something that a call may not.
type Attempt<'a> = &'a dyn Fn(&mut Gate) -> Result<i64, EntityError>;

#[test]
fn what_a_call_may_not_bring_is_refused_and_denies() {
    let desk = Desk::new("true");
    let other = desk.engine.handle("Other", "o").unwrap().0.cast_signed();
    let foreign = Desk::new("true").user("u");
    let attempts: [(Attempt<'_>, EntityError, Code); 8] = [
        (&|gate| gate.set(&[other], 2), EntityError::WrongType, Code::Corrupt),
        (&|gate| gate.set(&[foreign], 2), EntityError::ForeignHandle, Code::UnknownHandle),
        (&|gate| gate.set(&[], 4), EntityError::WrongType, Code::Corrupt),
        (&|gate| gate.set(&[], 9), EntityError::WrongType, Code::Corrupt),
        (&|gate| gate.set(&[1 << 32], 0), EntityError::WrongType, Code::Corrupt),
        (&|gate| gate.set(&[7; 2_000], 3), EntityError::TooMany, Code::TooLarge),
        (&|gate| gate.address(1 << 40, false, 32), EntityError::Missing, Code::BadValue),
        (&|gate| gate.address(1, true, 129), EntityError::Missing, Code::BadValue),
    ];
    for (at, (attempt, why, code)) in attempts.into_iter().enumerate() {
        let mut gate = desk.gate();
        assert_eq!(attempt(&mut gate), Err(EntityError::Missing), "{at}: without a call");
        gate.begin();
        let home = gate.address(HOME.0, HOME.1, HOME.2).unwrap();
        assert_eq!(attempt(&mut gate), Err(why), "{at}");
        assert_eq!(gate.allows(desk.session, desk.doc, &[0, 0, 0, 0, home]), code, "{at}");
    }
}

#[test]
fn numbers_of_another_call_or_another_argument_are_corrupt() {
    let desk = Desk::new("true");
    let mut gate = desk.gate();
    let call = |gate: &mut Gate| {
        gate.begin();
        let text = gate.text("never seen").unwrap();
        let user = desk.user("v");
        let sets = [gate.set(&[text], 0), gate.set(&[user], 2), gate.set(&[7], 3)].map(Result::unwrap);
        (sets, gate.address(HOME.0, HOME.1, HOME.2).unwrap())
    };
    let ([texts, who, numbers], home) = call(&mut gate);
    assert_eq!(gate.allows(desk.session, desk.doc, &[texts, 0, who, numbers, home]), Code::Allow);
    assert_eq!(gate.allows(desk.session, desk.doc, &[texts, 0, who, numbers, home]), Code::Corrupt);
    // Each call gives other numbers, so those of the first call are tried before another call brings anything.
    for at in 0..8 {
        let ([texts, who, numbers], home) = call(&mut gate);
        let wrong = [
            [who, 0, who, numbers, home],
            [numbers, 0, who, numbers, home],
            [home, 0, who, numbers, home],
            [texts, 0, texts, numbers, home],
            [texts, 0, who, numbers, numbers],
            [texts, 0, who, numbers, 0],
            [1, 0, who, numbers, home],
            [texts, -1, who, numbers, home],
        ];
        assert_eq!(gate.allows(desk.session, desk.doc, &wrong[at]), Code::Corrupt, "{at}");
    }
}

#[test]
fn a_call_brings_only_so_much() {
    let desk = Desk::new("context.numbers.contains(7)");
    let mut gate = desk.gate();
    gate.begin();
    let home = gate.address(HOME.0, HOME.1, HOME.2).unwrap();
    let numbers: Vec<i64> = (0..1_000).collect();
    let set = gate.set(&numbers, 3).unwrap();
    assert_eq!(gate.set(&numbers, 3), Err(EntityError::TooMany));
    assert_eq!(gate.allows(desk.session, desk.doc, &[0, 0, 0, set, home]), Code::TooLarge);
    gate.begin();
    let home = gate.address(HOME.0, HOME.1, HOME.2).unwrap();
    for number in 0..62 {
        gate.set(&[number], 3).unwrap();
    }
    let set = gate.set(&[7], 3).unwrap();
    assert_eq!(gate.allows(desk.session, desk.doc, &[0, 0, 0, set, home]), Code::Allow);
    gate.begin();
    let made: Vec<_> = (0..65).map(|number| gate.set(&[number], 3)).collect();
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 64);
}

#[test]
fn sets_of_records_have_no_numbers() {
    let desk = Desk::new("true");
    let names = ["texts", "more", "who", "numbers", "from", "records"];
    let mut gate = desk.engine.prepare("Action", "view", &names).unwrap();
    gate.begin();
    assert_eq!(gate.set(&[], 5), Err(EntityError::WrongType));
    gate.begin();
    assert_eq!(gate.allows(desk.session, desk.doc, &[0; 6]), Code::Corrupt);
}

/// What a gate found out about entities of the context when it was prepared is of the bundle.
#[test]
fn a_change_of_an_entity_in_the_context_is_seen() {
    let schema = "
        entity Team; entity User in [Team] { limit: Long }; entity Doc;
        action see appliesTo { principal: User, resource: Doc, context: { who: User } };
    ";
    let entities = r#"[{"uid": {"type": "User", "id": "u"}, "attrs": {"limit": 5}, "parents": []}]"#;
    let policy = r#"permit (principal, action, resource) when { context.who.limit > 3 || context.who in Team::"t" };"#;
    let bundle = Arc::new(Bundle::of(&compile(policy, schema, Some(entities), None)).unwrap());
    let engine = Engine::new(bundle, None, EngineOptions::default()).unwrap();
    let handle = |ty: &str, id: &str| engine.handle(ty, id).unwrap();
    let admit = |principal| engine.admit(&Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX }).unwrap();
    let (session, doc) = (admit(handle("User", "v")), handle("Doc", "d"));
    let mut gate = engine.prepare("Action", "see", &["who"]).unwrap();
    let mut code = |id: &str| {
        gate.begin();
        let who = gate.entity(handle("User", id), 0).unwrap();
        let code = gate.allows(session, doc, &[who]);
        let who = Passed::Number(handle("User", id).0.cast_signed());
        let passed: [Option<Value<'_>>; 1] = [Some(Given::One(who))];
        assert_eq!(gate.allows_passed(gate.generation(), (session, doc), passed.into_iter()), Some(code));
        code
    };
    let user = |id: &str, limit, parents: &[&str]| EntityData {
        uid: ("User".into(), id.into()),
        parents: parents.iter().map(|&team| ("Team".into(), team.into())).collect(),
        attrs: vec![("limit".into(), AttrValue::Long(limit))],
        tags: Vec::new(),
    };
    let limit = |id: &str, limit| user(id, limit, &[]);
    assert_eq!([code("u"), code("w")], [Code::Allow, Code::Default]);
    engine.change(&[limit("u", 1), limit("w", 9)], &[]).unwrap();
    assert_eq!([code("u"), code("w")], [Code::Default, Code::Allow]);
    engine.change(&[limit("u", 4)], &[("User".into(), "w".into())]).unwrap();
    assert_eq!([code("u"), code("w")], [Code::Allow, Code::Default]);
    engine.change(&[user("u", 0, &["t"]), user("w", 0, &["other"])], &[]).unwrap();
    assert_eq!([code("u"), code("w")], [Code::Allow, Code::Default]);
}

/// A gate that made these comparisons for all entities would not be prepared for a minute.
#[test]
fn what_is_found_out_beforehand_takes_bounded_time() {
    let schema = "
        entity User { name: String }; entity Doc;
        action see appliesTo { principal: User, resource: Doc, context: { who: User } };
    ";
    let name = "a".repeat(2_000);
    let user =
        |n: u32| format!(r#"{{"uid": {{"type": "User", "id": "{n}"}}, "attrs": {{"name": "{name}"}}, "parents": []}}"#);
    let users: Vec<String> = (0..400).map(user).collect();
    let policies: Vec<String> = (0..20)
        .map(|n| {
            let pattern = format!("*{}{n}b*", "a".repeat(400));
            format!("permit (principal, action, resource) when {{ context.who.name like \"{pattern}\" }};")
        })
        .collect();
    let entities = format!("[{}]", users.join(", "));
    let bundle = Arc::new(Bundle::of(&compile(&policies.join("\n"), schema, Some(&entities), None)).unwrap());
    let engine = Arc::new(Engine::new(bundle, None, EngineOptions::default()).unwrap());
    let (sender, prepared) = mpsc::channel();
    let preparing = Arc::clone(&engine);
    // Another thread, so that this fails as soon as it takes too long.
    std::thread::spawn(move || sender.send(Box::new(preparing.prepare("Action", "see", &["who"]).unwrap())).is_ok());
    let mut gate = prepared.recv_timeout(Duration::from_secs(5)).unwrap();
    let (principal, doc) = (engine.handle("User", "0").unwrap(), engine.handle("Doc", "d").unwrap());
    let session = engine.admit(&Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX }).unwrap();
    gate.begin();
    let who = gate.entity(principal, 0).unwrap();
    let began = Instant::now();
    assert_eq!(gate.allows(session, doc, &[who]), Code::Default);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
