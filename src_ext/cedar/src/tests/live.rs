//! Tests of where a schema may have live attributes.

use super::{file, sources};
use crate::live::{ATTRIBUTES, LIVE_SCHEMA};
use crate::{Diagnostic, Mode, SourceFile};

const NINE: &str = "{ authAge: duration, factors: Set<String>, assurance: Long, risk: Long, market: String, \
                    channel: String, region?: String, onBehalfOf?: String, time: datetime }";

/// Return the errors of a schema.
fn errors(schema: SourceFile) -> Vec<Diagnostic> {
    let sources = crate::Sources { schema, ..sources(&[]) };
    crate::load(&sources, Mode::Strict, &|_, _| {}).map_or_else(|error| error.diagnostics, |_| Vec::new())
}

/// Return the errors of a schema whose second line is this one.
fn of(line: &str) -> Vec<Diagnostic> {
    errors(file("desk.cedarschema", &format!("entity User;\n{line}\nentity Book;\n")))
}

fn action(context: &str) -> String {
    format!("action \"buy\" appliesTo {{ principal: User, resource: Book, context: {context} }};")
}

#[test]
fn the_names_are_those_of_the_fragment() {
    let fragment = cedar_policy::SchemaFragment::from_cedarschema_str(LIVE_SCHEMA).unwrap().0;
    let json = fragment.to_json_value().unwrap();
    let mut declared: Vec<_> =
        json["ztfast"]["commonTypes"]["Live"]["attributes"].as_object().unwrap().keys().collect();
    let mut names = ATTRIBUTES;
    declared.sort();
    names.sort_unstable();
    assert_eq!(declared, names);
}

#[test]
fn live_attributes_stand_only_where_an_engine_fills_them_in() {
    let live = "ztfast::Live";
    let copied = NINE.replace(" }", ", more: Long }");
    let refused = [
        (action("{ order: { live: ztfast::Live } }"), "`order.live` of the context of Action::\"buy\""),
        (action("{ other: ztfast::Live }"), "`other` of the context"),
        (action("{ live: ztfast::Live, other?: ztfast::Live }"), "`other` of the context"),
        (action(live), "the context of Action::\"buy\" has"),
        (action(NINE), "the context of Action::\"buy\" has"),
        (action(&format!("{{ other: {NINE} }}")), "`other` of the context"),
        (action(&format!("{{ other: {copied} }}")), "`other` of the context"),
        (action("{ live: Set<ztfast::Live> }"), "`live` of the context"),
        (action("{ seen: Set<{ by: ztfast::Live }> }"), "`seen.by` of the context"),
        (format!("type Copy = {NINE}; {}", action("{ order: Copy }")), "`order` of the context"),
        (format!("type Copy = ztfast::Live; {}", action("{ a: { b: Copy } }")), "`a.b` of the context"),
        ("entity Human { live: ztfast::Live };".to_owned(), "`live` of the entity type Human"),
        (format!("entity Human = {NINE};"), "the entity type Human has"),
        ("entity Human tags ztfast::Live;".to_owned(), "the tags of the entity type Human has"),
        ("entity Human tags Set<{ by: ztfast::Live }>;".to_owned(), "the tags of the entity type Human has"),
    ];
    for (line, says) in refused {
        let found = of(&line);
        assert_eq!(found.len(), 1, "{line}: {found:#?}");
        assert!(found[0].message.contains(says), "{line}: {}", found[0].message);
        assert_eq!((&*found[0].file, found[0].line), ("desk.cedarschema", Some(2)), "{line}");
        assert!(found[0].help.as_ref().is_some_and(|help| help.contains("`live: ztfast::Live`")), "{line}");
    }
    let accepted = [
        action("{ live: ztfast::Live }"),
        action(&format!("{{ live: {NINE} }}")),
        format!("type Copy = ztfast::Live; {}", action("{ live: Copy }")),
        action("{ other: { risk: Long }, live: { risk: Long, region?: String } }"),
        action("{ other: Set<String>, live: Bool }"),
        "type Unused = { a: ztfast::Live };".to_owned(),
        "entity Human { risk: Long, region?: String };".to_owned(),
    ];
    for line in accepted {
        assert_eq!(of(&line), [], "{line}");
    }
}

#[test]
fn a_schema_in_json_says_where() {
    let live = r#"{"type": "Record", "attributes": {"order": {"type": "EntityOrCommon", "name": "ztfast::Live"}}}"#;
    let applies = format!(r#"{{"principalTypes": ["User"], "resourceTypes": ["User"], "context": {live}}}"#);
    let text = format!(
        "{{\"\": {{\"entityTypes\": {{\"User\": {{}}}},\n\"actions\": {{\n\"buy\": {{\"appliesTo\": {applies}}}}}}}}}"
    );
    let found = errors(file("desk.json", &text));
    assert_eq!((found.len(), found[0].line), (1, Some(3)), "{found:#?}");
    assert!(found[0].message.contains("`order` of the context of Action::\"buy\""), "{}", found[0]);
}
