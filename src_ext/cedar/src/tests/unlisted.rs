//! Entities that the store lacks: what is warned of, where, and what is not.

use super::{file, load, sources};
use crate::{Diagnostic, Mode, Severity};

const HUMANS: &str = r#"[
  {"uid": {"type": "Desk", "id": "fx"}, "attrs": {}, "parents": []},
  {"uid": {"__entity": {"type": "Human", "id": "ann"}}, "attrs": {"name": "Ann", "limit": 1}, "parents": [{"type": "Desk", "id": "fx"}]},
  {"uid": {"type": "Human", "id": "zz"}, "attrs": {"name": "zz", "limit": 1},
   "parents": [{"type": "Desk", "id": "fx"}, {"type": "Desk", "id": "zz"}]}
]"#;

/// Return the warnings about policies and entities.
#[track_caller]
fn warnings(files: &[(&str, &str)], entities: Option<&str>) -> Vec<Diagnostic> {
    let mut sources = sources(files);
    sources.entities = entities.map(|text| file("e.json", text));
    let loaded = load(&sources, Mode::Strict).unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.warnings.iter().all(|warning| warning.severity == Severity::Warning));
    loaded.warnings.into_iter().filter(|warning| warning.message.contains("the store lacks")).collect()
}

fn said(found: &[Diagnostic]) -> Vec<(&str, &str, Option<u32>, Option<u32>)> {
    found.iter().map(|warning| (&*warning.message, &*warning.file, warning.line, warning.column)).collect()
}

#[test]
fn a_parent_is_named_with_its_place() {
    let message = "Human::\"zz\" has the parent Desk::\"zz\", which the store lacks";
    let found = warnings(&[("p.cedar", "permit (principal, action, resource);")], Some(HUMANS));
    assert_eq!(said(&found), [(message, "e.json", Some(5), Some(69))]);
    assert!(found[0].rendered.contains("e.json:5:69") && found[0].help.is_some(), "{}", found[0]);
}

#[test]
fn a_parent_of_many_is_named_once() {
    let more = r#"{"uid": {"type": "Human", "id": "z1"}, "attrs": {"name": "", "limit": 1}, "parents": [{"type": "Desk", "id": "zz"}]}"#;
    let entities = format!("{},{more},{}]", HUMANS.trim_end_matches(']'), more.replace("z1", "a1"));
    let found = warnings(&[("p.cedar", "permit (principal, action, resource);")], Some(&entities));
    let messages: Vec<&str> = found.iter().map(|warning| &*warning.message).collect();
    assert_eq!(messages, ["Human::\"a1\" and 2 more have the parent Desk::\"zz\", which the store lacks"]);
}

#[test]
fn scopes_and_conditions_are_looked_through() {
    let text = r#"@id("eq") forbid (principal == Human::"bob", action, resource);
@id("in") forbid (principal in Desk::"typo", action, resource);
@id("is in") forbid (principal is Human in Desk::"typo", action, resource);
@id("when") forbid (principal is Human, action, resource)
  when { [Human::"ann", Human::"eve"].contains(principal) || principal in Desk::"fy" };
@id("right") permit (principal in Desk::"fx", action, resource) unless { principal == Human::"ann" };
"#;
    let found = warnings(&[("p.cedar", text)], Some(HUMANS));
    let of = |id: &str, uid: &str| format!("policy `{id}` names {uid}, which the store lacks");
    let expected = [
        (of("eq", "Human::\"bob\""), 1, 32),
        (of("in", "Desk::\"typo\""), 2, 32),
        (of("is in", "Desk::\"typo\""), 3, 44),
        (of("when", "Human::\"eve\""), 5, 25),
        (of("when", "Desk::\"fy\""), 5, 75),
    ];
    let expected: Vec<_> = expected.iter().map(|(m, l, c)| (&**m, "p.cedar", Some(*l), Some(*c))).collect();
    assert_eq!(said(&found)[..5], expected, "{found:#?}");
    assert_eq!(found.len(), 6, "the parent too");
}

#[test]
fn links_are_named_where_they_stand_and_their_templates_once() {
    let template =
        "@id(\"t\") forbid (principal in ?principal, action, resource) unless { principal == Human::\"eve\" };";
    let links = r#"[{"template_id": "t", "link_id": "one", "args": {"?principal": "Desk::\"fx\""}},
 {"template_id": "t", "link_id": "two", "args": {"?principal": "Desk::\"typo\""}}]"#;
    let found = warnings(&[("t.cedar", template), ("l.links.json", links)], Some(HUMANS));
    let expected = [
        ("policy `one` names Human::\"eve\", which the store lacks", "t.cedar", Some(1), Some(83)),
        ("policy `two` names Desk::\"typo\", which the store lacks", "l.links.json", Some(2), Some(34)),
    ];
    assert_eq!(said(&found)[..2], expected, "{found:#?}");
}

#[test]
fn what_a_store_does_not_tell_is_not_warned_of() {
    // No store; enumerated types; actions and groups of actions; a type of which the store names no entity.
    let typo = "forbid (principal in Desk::\"typo\", action, resource);";
    assert_eq!(said(&warnings(&[("p.cedar", typo)], None)), []);
    assert_eq!(said(&warnings(&[("p.cedar", typo)], Some("[]"))), []);
    let text = r#"permit (principal, action in Action::"all", resource == Venue::"XNAS") when { action == Action::"view" };
        permit (principal, action == Action::"view", resource == Instrument::"new");"#;
    let found = warnings(&[("p.cedar", text)], Some(HUMANS));
    assert!(found.iter().all(|warning| warning.file == "e.json"), "{found:#?}");

    // Desks that have no entry but are parents: these are all that there are, for policies.
    let entities = HUMANS.replace(r#"{"uid": {"type": "Desk", "id": "fx"}, "attrs": {}, "parents": []},"#, "");
    let found = warnings(&[("p.cedar", typo), ("q.cedar", &typo.replace("typo", "zz"))], Some(&entities));
    let expected = ("policy `p.policy0` names Desk::\"typo\", which the store lacks", "p.cedar", Some(1), Some(22));
    assert_eq!(said(&found), [expected]);
}

#[test]
fn an_id_with_escapes_and_a_policy_in_json_have_a_warning_too() {
    let policy = r#"{"effect": "forbid", "principal": {"op": "in", "entity": {"type": "Desk", "id": "a\u001b[2J"}},
        "action": {"op": "All"}, "resource": {"op": "All"}, "conditions": []}"#;
    let entities = HUMANS.replace(r#""id": "zz"}]"#, r#""id": "\u007a\u001b"}]"#);
    let found = warnings(&[("p.json", policy)], Some(&entities));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!((&*found[0].file, &*found[1].file, found[1].line), ("p.json", "e.json", Some(4)));
    assert!(found.iter().all(|warning| !warning.message.contains('\u{1b}') && !warning.rendered.contains('\u{1b}')));
}

#[test]
fn the_number_of_warnings_is_bounded() {
    let forbid = |i: i32| format!("forbid (principal in Desk::\"d{i}\", action, resource);\n");
    let human = |i: i32| {
        format!(
            r#",{{"uid": {{"type": "Human", "id": "h{i}"}}, "attrs": {{"name": "", "limit": 1}}, "parents": [{{"type": "Desk", "id": "d{i}"}}]}}"#
        )
    };
    let many = (0..1_000).map(forbid).collect::<Vec<_>>().concat();
    let humans = (0..1_000).map(human).collect::<Vec<_>>().concat();
    let entities = format!("{}{humans}]", HUMANS.trim_end_matches(']'));
    let mut sources = sources(&[("p.cedar", &many)]);
    sources.entities = Some(file("e.json", &entities));
    let found = load(&sources, Mode::Strict).unwrap().warnings;
    let more = found.iter().filter(|warning| warning.message.contains("there are more of these")).count();
    assert_eq!((found.len(), more), (402, 2));
}
