//! Policy files, ids, templates and links.

use super::{errors, loaded, model, try_files, uid};
use crate::ir::{ActionScope, Scope};
use crate::{Mode, strictly_valid};

const STATIC: &str = "permit(principal, action, resource);";
const TEMPLATE: &str = "permit(principal in ?principal, action, resource == ?resource);";

#[track_caller]
fn ids(files: &[(&str, &str)]) -> Vec<String> {
    model(files).policies.iter().map(|policy| policy.id.to_string()).collect()
}

#[test]
fn policies_of_one_file_are_numbered() {
    let text = format!("{STATIC}\n@id(\"mine\") {STATIC}\n@id(\"\") {STATIC} @id {STATIC} {TEMPLATE} {STATIC}");
    // Templates and static policies share the count.
    assert_eq!(ids(&[("dir/p.cedar", &text)]), ["policy0", "mine", "policy2", "policy3", "policy5"]);
}

#[test]
fn ids_keep_the_order_of_the_file() {
    let text = STATIC.repeat(12);
    let expected: Vec<_> = (0..12).map(|i| format!("policy{i}")).collect();
    assert_eq!(ids(&[("p.cedar", &text)]), expected);
}

#[test]
fn policies_of_several_files_are_numbered_by_file() {
    let named = format!("@id(\"mine\") {STATIC} {STATIC}");
    let files = [("b/limits.cedar", STATIC), ("a/halt.v2.cedar", named.as_str())];
    assert_eq!(ids(&files), ["limits.policy0", "mine", "halt.v2.policy1"]);
    // A file of links contains no policies of its own.
    let files = [("limits.cedar", STATIC), ("links.json", "[]")];
    assert_eq!(ids(&files), ["policy0"]);
}

#[test]
fn policies_know_their_source_and_line() {
    let text = format!("// a comment\n\n@id(\"a\")\n{STATIC}\n  {STATIC}\n");
    let loaded = loaded(&[("one.cedar", STATIC), ("dir/two.cedar", &text)]);
    let [_, a, b] = &loaded.model.policies[..] else { panic!() };
    assert_eq!((a.file, a.line, &*a.source), (1, 3, "@id(\"a\")\npermit(principal, action, resource);"));
    assert_eq!((b.file, b.line, &*b.source), (1, 5, STATIC));
    assert_eq!(loaded.authorizer.policy_source("two.policy1"), Some(("dir/two.cedar", 5, STATIC)));
    assert_eq!(loaded.authorizer.policy_source("two.policy7"), None);
}

#[test]
fn duplicate_ids_name_both_places() {
    let one = format!("{STATIC}\n@id(\"x\")\n{STATIC}\n@id(\"x\")\n{STATIC}");
    let found = errors(&[("one.cedar", &one)], Mode::Permissive);
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("`x`: one.cedar:2 and one.cedar:4"), "{}", found[0]);
    assert_eq!((found[0].line, found[0].column), (Some(4), Some(1)));

    let two = format!("\n\n@id(\"x\") {TEMPLATE}");
    let found = errors(&[("one.cedar", &one[..one.rfind('@').unwrap()]), ("two.cedar", &two)], Mode::Permissive);
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("one.cedar:2 and two.cedar:3"), "{}", found[0]);

    // Stems may be equal too.
    let found = errors(&[("a/p.cedar", STATIC), ("b/p.cedar", STATIC)], Mode::Permissive);
    assert!(found[0].message.contains("`p.policy0`: a/p.cedar:1 and b/p.cedar:1"), "{}", found[0]);
}

#[test]
fn a_link_of_a_template_is_a_policy() {
    let text = format!("@id(\"t\") @owner(\"me\")\n{TEMPLATE}\n{STATIC}");
    let links = r#"[
        {"template_id": "t", "link_id": "l2", "args": {"?principal": "Desk::\"d\\u{41}\"", "?resource": "Instrument::\"i\""}},
        {"template_id": "t", "link_id": "l1", "args": {"?principal": "Human::\"h\"", "?resource": "Instrument::\"i\""}}
    ]"#;
    let loaded = loaded(&[("links.json", links), ("p.cedar", &text)]);
    let policies = &loaded.model.policies;
    assert_eq!(policies.iter().map(|p| &*p.id).collect::<Vec<_>>(), ["policy1", "l2", "l1"]);
    assert_eq!(policies[1].principal, Scope::In(uid("Desk::\"dA\"")));
    assert_eq!(policies[1].resource, Scope::Eq(uid("Instrument::\"i\"")));
    assert_eq!(policies[1].action, ActionScope::Any);
    assert_eq!(policies[1].annotations["owner"], "me".into());
    assert_eq!((policies[1].file, policies[1].line), (1, 1));
    assert_eq!(&*policies[1].source, format!("@id(\"t\") @owner(\"me\")\n{TEMPLATE}"));
    assert_eq!(policies[2].principal, Scope::In(uid("Human::\"h\"")));
}

#[test]
fn wrong_links_are_refused() {
    let text = format!("@id(\"t\") {TEMPLATE} @id(\"s\") {STATIC}");
    let table = [
        (r#"{"template_id": "u", "link_id": "l", "args": {}}"#, "link `l` of template `u`"),
        (r#"{"template_id": "s", "link_id": "l", "args": {}}"#, "link `l` of template `s`"),
        (r#"{"template_id": "t", "link_id": "l", "args": {"?principal": "Human::\"h\""}}"#, "?resource"),
        (r#"{"template_id": "t", "link_id": "l", "args": {"?action": "Human::\"h\""}}"#, "`?action` is not a slot"),
        (r#"{"template_id": "t", "link_id": "l", "args": {"?principal": "Human"}}"#, "`Human` is no entity uid"),
        (
            r#"{"template_id": "t", "link_id": "s", "args": {"?principal": "Human::\"h\"", "?resource": "Human::\"h\""}}"#,
            "duplicate policy id `s`: p.cedar:1 and links.json:2",
        ),
        (r#"{"template_id": "t", "id": "l", "args": {}}"#, "unknown field `id`"),
    ];
    for (link, words) in table {
        let links = format!("[\n{link}]");
        let found = errors(&[("p.cedar", &text), ("links.json", &links)], Mode::Permissive);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].message.contains(words), "{words}: {}", found[0]);
        assert_eq!((&*found[0].file, found[0].line), ("links.json", Some(2)), "{}", found[0]);
    }
}

const JSON: &str = r#"{
    "staticPolicies": {
        "zeta": {"effect": "permit", "principal": {"op": "All"}, "action": {"op": "All"}, "resource": {"op": "All"},
                 "conditions": [{"kind": "when", "body": {"&&": {
                    "left": {".": {"left": {"Var": "context"}, "attr": "a"}},
                    "right": {"Value": true}}}}]},
        "alpha": {"effect": "forbid", "principal": {"op": "All"}, "action": {"op": "All"}, "resource": {"op": "All"},
                 "conditions": [], "annotations": {"id": "mine"}}
    },
    "templates": {
        "t": {"effect": "permit", "principal": {"op": "in", "slot": "?principal"}, "action": {"op": "All"},
              "resource": {"op": "All"}, "conditions": [], "annotations": {"id": "tt"}}
    },
    "templateLinks": [{"templateId": "t", "newId": "l", "values": {"?principal": {"type": "Desk", "id": "d"}}}]
}"#;

#[test]
fn a_policy_set_in_json_is_read() {
    let loaded = loaded(&[("p.json", JSON), ("q.cedar", STATIC)]);
    let policies = &loaded.model.policies;
    assert_eq!(policies.iter().map(|p| &*p.id).collect::<Vec<_>>(), ["zeta", "mine", "q.policy0", "l"]);
    assert_eq!((policies[0].conjuncts.len(), policies[0].line), (1, 1));
    assert!(policies[0].source.starts_with("permit("), "{}", policies[0].source);
    assert_eq!(policies[3].principal, Scope::In(uid("Desk::\"d\"")));
    // A file of links can use templates of other files, by their final ids.
    let links = r#"[{"template_id": "tt", "link_id": "m", "args": {"?principal": "Human::\"h\""}}]"#;
    assert_eq!(ids(&[("p.json", JSON), ("l.json", links)]), ["zeta", "mine", "l", "m"]);
}

#[test]
fn a_single_policy_in_json_is_read() {
    let policy = r#"{"effect": "permit", "principal": {"op": "All"}, "action": {"op": "All"},
                     "resource": {"op": "All"}, "conditions": []}"#;
    assert_eq!(ids(&[("p.json", policy)]), ["policy0"]);
    assert_eq!(ids(&[("p.json", policy), ("q.cedar", STATIC)]), ["p.policy0", "q.policy0"]);
}

#[test]
fn strict_refuses_what_permissive_warns_of() {
    let wrong = "permit(principal, action == Action::\"view\", resource) when { principal.nothing };";
    let found = errors(&[("p.cedar", wrong)], Mode::Strict);
    assert!(found[0].message.contains("nothing"), "{}", found[0]);
    let loaded = try_files(&[("p.cedar", wrong)], Mode::Permissive).unwrap();
    assert_eq!(loaded.model.policies.len(), 1);
    assert!(loaded.warnings[0].message.contains("nothing"));
    assert!(!strictly_valid(&super::sources(&[("p.cedar", wrong)])).unwrap());
    // A policy that does not parse is refused in both modes.
    for mode in [Mode::Strict, Mode::Permissive] {
        try_files(&[("p.cedar", "permit(principal);")], mode).unwrap_err();
    }
}

#[test]
fn strictly_valid_agrees_with_load() {
    let template = "@id(\"t\") permit(principal == ?principal, action == Action::\"view\", resource);";
    let link =
        |uid: &str| format!(r#"[{{"template_id": "t", "link_id": "l", "args": {{"?principal": "{uid}::\"x\""}}}}]"#);
    for ty in ["Human", "Desk", "Nobody"] {
        let link = link(ty);
        let files = [("p.cedar", template), ("q.cedar", template.trim_start_matches("@id(\"t\")")), ("l.json", &link)];
        let valid = strictly_valid(&super::sources(&files)).unwrap();
        assert_eq!(valid, ty != "Nobody", "{ty}");
        assert_eq!(valid, try_files(&files, Mode::Strict).is_ok(), "{ty}");
    }
}

#[test]
fn a_model_may_have_no_policies() {
    assert!(ids(&[]).is_empty());
    assert!(ids(&[("empty.cedar", "// nothing\n")]).is_empty());
}

#[test]
fn templates_that_nothing_links_and_files_that_hold_nothing_are_warned_of() {
    let warnings = |files: &[(&str, &str)]| -> Vec<String> {
        loaded(files).warnings.iter().map(|warning| warning.message.clone()).collect()
    };
    let template = format!("{STATIC}\n@id(\"t\")\n{TEMPLATE}\n@id(\"u\")\n{TEMPLATE}");
    let uid = |kind: &str| format!("{kind}::\\\"d\\\"");
    let link = format!(
        "[{{\"template_id\": \"t\", \"link_id\": \"l\", \"args\": {{\"?principal\": \"{}\", \"?resource\": \"{}\"}}}}]",
        uid("Human"),
        uid("Instrument")
    );
    let found = warnings(&[("p.cedar", &template), ("l.json", &link)]);
    assert_eq!(found, ["template `u` is never linked, so it neither permits nor forbids anything"]);
    let found = loaded(&[("p.cedar", &template)]).warnings;
    assert_eq!(found.iter().map(|warning| warning.line).collect::<Vec<_>>(), [Some(2), Some(4)]);
    let nothing = "{\"staticPolicies\": {}, \"templates\": {}, \"templateLinks\": []}";
    let files = [("p.cedar", STATIC), ("cut.cedar", "// what was here?"), ("l.json", "[]"), ("s.json", nothing)];
    let said = ["there is no policy in this file", "there is no policy in this file", "there is no link in this file"];
    assert_eq!(warnings(&files), said);
}

#[test]
fn json_that_says_something_twice_is_refused() {
    let scope = "\"principal\": {\"op\": \"All\"}, \"action\": {\"op\": \"All\"}, \"resource\": {\"op\": \"All\"}, \"conditions\": []";
    let once = format!("{{\"effect\": \"forbid\", {scope}}}");
    assert_eq!(ids(&[("p.json", &once)]), ["policy0"]);
    let twice = format!("{{\"effect\": \"forbid\", \n {scope}, \"effect\": \"permit\"}}");
    let link = "[{\"template_id\": \"t\", \"link_id\": \"l\", \"args\": {}, \"args\": {}}]";
    for (text, line, key) in [(&*twice, 2, "effect"), (link, 1, "args")] {
        let found = errors(&[("p.json", text)], Mode::Strict);
        assert!(found[0].message.contains(&format!("the key `{key}` occurs twice")), "{}", found[0]);
        assert_eq!(found[0].line, Some(line));
    }
}

#[test]
fn names_from_outside_stay_on_their_line() {
    let found = errors(&[("a\n\u{1b}[2J\u{202e}.cedar", "permit(")], Mode::Strict);
    assert!(found[0].rendered.contains("a\\n\\u{1b}[2J\\u{202e}.cedar:1"), "{}", found[0]);
    let link = "[{\"template_id\": \"t\", \"link_id\": \"l\\nALLOW\", \"args\": {\"?x\\n\": \"\"}}]";
    let found = errors(&[("l.json", link)], Mode::Strict);
    assert!(!found[0].message.contains('\n'), "{}", found[0]);
    let found = errors(&[("r.cedar", "permit(principal, action, resource)\r\nwhen { \r1 + };\r\n")], Mode::Strict);
    assert_eq!((found[0].line, found[0].rendered.contains('\r')), (Some(2), false), "{}", found[0]);
}
