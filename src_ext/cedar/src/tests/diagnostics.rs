//! Errors have a place: file, line, column and the text underlined.

use super::{SCHEMA, errors, file, load, sources};
use crate::{Diagnostic, Mode, Severity, Sources};

/// Assert that a diagnostic is at this place and underlines something there.
#[track_caller]
fn at(diagnostic: &Diagnostic, name: &str, line: u32, column: u32) {
    assert_eq!(
        (&*diagnostic.file, diagnostic.line, diagnostic.column),
        (name, Some(line), Some(column)),
        "{diagnostic}"
    );
    assert!(diagnostic.rendered.contains(&format!("{name}:{line}:{column}")), "{diagnostic}");
    assert!(diagnostic.rendered.contains('^'), "{diagnostic}");
    assert!((diagnostic.end_line, diagnostic.end_column) >= (diagnostic.line, diagnostic.column));
}

#[track_caller]
fn refused(sources: &Sources) -> Vec<Diagnostic> {
    load(sources, Mode::Permissive).unwrap_err().diagnostics
}

#[test]
fn policies_that_do_not_parse_are_named_with_their_place() {
    let text = "permit(principal, action, resource);\n\npermit(principal, action, resource) when {\n  1 ==\n};\n";
    let found =
        errors(&[("good.cedar", "permit(principal, action, resource);"), ("dir/bad.cedar", text)], Mode::Strict);
    assert_eq!(found.len(), 1);
    at(&found[0], "dir/bad.cedar", 5, 1);
    assert!(found[0].message.contains("unexpected token `}`"), "{}", found[0]);
}

#[test]
fn all_errors_of_all_files_are_told() {
    let one = "permit(principl, action, resource);\npermit(principal, action, resorce);";
    let two = "permit(principal, action, resource) when { foo() };";
    let found = errors(&[("one.cedar", one), ("two.cedar", two)], Mode::Strict);
    assert_eq!(found.len(), 3, "{found:#?}");
    at(&found[0], "one.cedar", 1, 8);
    at(&found[1], "one.cedar", 2, 27);
    at(&found[2], "two.cedar", 1, 44);
    let shown = load(&sources(&[("one.cedar", one), ("two.cedar", two)]), Mode::Strict).unwrap_err().to_string();
    for place in ["one.cedar:1:8", "one.cedar:2:27", "two.cedar:1:44"] {
        assert!(shown.contains(place), "{shown}");
    }
}

#[test]
fn what_validation_refuses_is_named_with_its_place() {
    let text = "// é\n@id(\"limit\")\npermit(principal, action == Action::\"view\", resource)\n  when { principal has limit && principal.limitt > 1 };\n\
                permit(principal == Humn::\"h\", action, resource);\n";
    let found = errors(&[("p.cedar", text)], Mode::Strict);
    let typo = found.iter().find(|d| d.message.contains("limitt")).unwrap();
    at(typo, "p.cedar", 4, 33);
    assert!(typo.message.contains("policy `limit`"), "{typo}");
    assert_eq!(typo.severity, Severity::Error);
    let ty = found.iter().find(|d| d.message.contains("Humn") && d.help.is_some()).unwrap();
    at(ty, "p.cedar", 5, 21);
    assert!(ty.help.as_ref().unwrap().contains("Human"), "{ty}");
    assert!(ty.rendered.contains("help"), "{ty}");
}

#[test]
fn warnings_are_no_errors() {
    let text = "permit(principal, action == Action::\"view\", resource is Desk);";
    let loaded = load(&sources(&[("p.cedar", text)]), Mode::Strict).unwrap();
    assert!(!loaded.warnings.is_empty());
    for warning in &loaded.warnings {
        assert_eq!(warning.severity, Severity::Warning);
        at(warning, "p.cedar", 1, 1);
    }
}

#[test]
fn errors_of_schemas_in_both_syntaxes_have_a_place() {
    let mut sources = sources(&[]);
    sources.schema.text = "entity Human;\naction view appliesTo { principal: Human, resource: Desk };".to_owned();
    let found = refused(&sources);
    assert_eq!(found.len(), 1, "{found:#?}");
    at(&found[0], "desk.cedarschema", 2, 53);

    sources.schema.text = "entity Human\naction view;".to_owned();
    at(&refused(&sources)[0], "desk.cedarschema", 2, 1);

    sources.schema = file("s.json", "{\n  \"\": {\n    \"entityTypes\": {},\n    \"action\": {}\n  }\n}");
    let found = refused(&sources);
    assert_eq!((&*found[0].file, found[0].line), ("s.json", Some(4)), "{}", found[0]);
    at(&found[0], "s.json", 4, found[0].column.unwrap());

    sources.schema = file("s.json", "{\n");
    assert_eq!(refused(&sources)[0].line, Some(2), "{}", refused(&sources)[0]);
}

#[test]
fn errors_of_policies_and_schema_together() {
    let mut sources = sources(&[("p.cedar", "permit();")]);
    sources.schema.text.push_str("entity;");
    let found = refused(&sources);
    assert!(found.iter().any(|d| d.file == "p.cedar") && found.iter().any(|d| d.file == "desk.cedarschema"));
}

#[test]
fn wrong_entities_are_refused() {
    let mut sources = sources(&[]);
    let human = |id: &str, limit: &str| {
        format!(
            r#"{{"uid": {{"type": "Human", "id": "{id}"}}, "attrs": {{"name": "n", "limit": {limit}}}, "parents": []}}"#
        )
    };
    sources.entities = Some(file(
        "e.json",
        &format!("[\n  {},\n  {},\n  {}\n]", human("a", "1"), human("b", "\"1\""), human("c", "{}")),
    ));
    let found = refused(&sources);
    assert_eq!(found.len(), 2, "all of them: {found:#?}");
    at(&found[0], "e.json", 3, 3);
    at(&found[1], "e.json", 4, 3);
    assert!(found[0].message.contains("limit") && found[0].message.contains("Human::\"b\""), "{}", found[0]);

    sources.entities = Some(file("e.json", "[\n  {\"uid\": ]"));
    at(&refused(&sources)[0], "e.json", 2, 11);

    // The number of errors reported is bounded.
    let many: Vec<_> = (0..1_000).map(|i| human(&i.to_string(), "\"1\"")).collect();
    sources.entities = Some(file("e.json", &format!("[{}]", many.join(",\n"))));
    let found = refused(&sources);
    assert_eq!(found.len(), 201);
    assert!(found[200].message.contains("there are more of these"), "{}", found[200]);

    // Each entity is valid, but not both together.
    sources.entities = Some(file("e.json", &format!("[{}, {}]", human("a", "1"), human("a", "2"))));
    let found = refused(&sources);
    assert!(found[0].message.contains("Human::\"a\"") && found[0].rendered.contains("e.json"), "{}", found[0]);
}

#[test]
fn errors_of_policies_in_json_have_a_place() {
    let found = errors(&[("p.json", "{\n \"staticPolicies\": 1 }")], Mode::Strict);
    at(&found[0], "p.json", 2, found[0].column.unwrap());
    let body = |body: &str| {
        format!(
            r#"{{"staticPolicies": {{"p": {{"effect": "permit", "principal": {{"op": "All"}}, "action": {{"op": "All"}},
            "resource": {{"op": "All"}}, "conditions": [{{"kind": "when", "body": {body}}}]}}}}, "templates": {{}}, "templateLinks": []}}"#
        )
    };
    // Cedar gives no place for errors in a JSON policy; offsets into its strings must not be taken for one.
    for wrong in [r#"{"nothing": []}"#, r#"{"Value": {"__entity": {"type": "a b", "id": "x"}}}"#] {
        let found = errors(&[("p.json", &body(wrong))], Mode::Strict);
        assert_eq!(found.len(), 1);
        assert!(found[0].rendered.contains("p.json"), "{}", found[0]);
    }
    let found =
        errors(&[("p.json", &body(r#"{".": {"left": {"Var": "principal"}, "attr": "nothing"}}"#))], Mode::Strict);
    assert!(found[0].message.contains("policy `p`") && found[0].rendered.contains("p.json"), "{}", found[0]);
}

#[test]
fn errors_at_the_end_of_a_file_have_a_place() {
    for text in ["permit(principal, action, resource)", "permit(principal, action, resource)\n\n// é\n"] {
        let found = errors(&[("p.cedar", text)], Mode::Strict);
        at(&found[0], "p.cedar", found[0].line.unwrap(), found[0].column.unwrap());
    }
    for text in ["{", "[", "", " "] {
        let found = errors(&[("p.json", text)], Mode::Strict);
        assert!(found[0].rendered.contains("p.json"), "{}", found[0]);
    }
}

#[test]
fn a_schema_with_externals_is_refused() {
    let mut sources = sources(&[]);
    sources.schema.text = format!("external entity Other;\n{SCHEMA}");
    let found = refused(&sources);
    assert!(!found.is_empty() && found.iter().all(|d| d.file == "desk.cedarschema"), "{found:#?}");
}

#[test]
fn a_long_line_is_shown_in_part() {
    for before in [500, 70_000, 200_000] {
        let padding = "true && ".repeat(before / 8);
        let text = format!(
            "permit (principal, action, resource) when {{ {padding}principal.nothing == 1 && {padding}true }};"
        );
        let found = errors(&[("p.cedar", &text)], Mode::Strict);
        let rendered = &found[0].rendered;
        assert!(rendered.contains("principal.nothing") && rendered.contains("^^^^"), "{rendered}");
        assert!(rendered.contains("p.cedar:1:") && rendered.lines().all(|line| line.len() < 200), "{rendered}");
        let (shown, marks) = rendered.lines().zip(rendered.lines().skip(1)).find(|(_, l)| l.contains("^^^")).unwrap();
        let marked = &shown[marks.find('^').unwrap()..=marks.rfind('^').unwrap()];
        assert!(marked.starts_with("principal.nothing"), "{rendered}");
    }
}
