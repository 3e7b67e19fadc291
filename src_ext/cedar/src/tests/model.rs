//! The model has the right schema and entities.

use std::collections::BTreeMap;

use super::load;
use super::{SCHEMA, file, model, sources, uid};
use crate::Mode;
use crate::ir::{Attribute, Datum, Entity, Ip, Type};

fn attribute(ty: Type, required: bool) -> Attribute {
    Attribute { ty, required }
}

#[test]
fn actions_have_their_groups_and_types() {
    let model = model(&[]);
    let names: Vec<_> = model.actions.iter().map(|action| &*action.uid.id).collect();
    assert_eq!(names, ["order.new", "view"], "no groups");
    let [order, view] = &model.actions[..] else { panic!() };
    assert_eq!(order.ancestors, [uid("Action::\"all\""), uid("Action::\"trade\"")].into());
    assert_eq!(order.principals, ["Human".into()].into());
    assert_eq!(view.principals, ["Human".into(), "Desk".into()].into());
    assert_eq!(view.resources, ["Instrument".into(), "Venue".into()].into());
    assert_eq!((view.ancestors.len(), view.context.len()), (0, 0));
    let leg = Type::Record(BTreeMap::from([
        ("qty".into(), attribute(Type::Long, true)),
        ("venue".into(), attribute(Type::Entity("Venue".into()), true)),
    ]));
    let order_type = Type::Record(BTreeMap::from([
        ("notional".into(), attribute(Type::Decimal, true)),
        ("legs".into(), attribute(Type::Set(Box::new(leg)), false)),
    ]));
    assert_eq!(
        order.context,
        BTreeMap::from([
            ("order".into(), attribute(order_type, true)),
            ("ip".into(), attribute(Type::Ip, true)),
            ("age".into(), attribute(Type::Duration, true)),
            ("at".into(), attribute(Type::Datetime, true)),
            ("ok".into(), attribute(Type::Bool, false)),
            ("by".into(), attribute(Type::Entity("Human".into()), false)),
        ])
    );
}

#[test]
fn types_are_the_schemas() {
    let model = model(&[]);
    let types: Vec<_> = model.types.iter().map(|ty| (&*ty.name, ty.enumerated.clone())).collect();
    let venues = Some(["XLON".into(), "XNAS".into()].into());
    assert_eq!(types, [("Desk", None), ("Human", None), ("Instrument", None), ("Venue", venues)]);
}

#[test]
fn the_schemas_actions_are_entities() {
    let model = model(&[]);
    let uids: Vec<_> = model.entities.iter().map(|entity| &*entity.uid.id).collect();
    assert_eq!(uids, ["all", "order.new", "trade", "view"]);
    let order = &model.entities[1];
    assert_eq!(order.parents, [uid("Action::\"all\""), uid("Action::\"trade\"")]);
}

fn attr<'e>(entity: &'e Entity, name: &str) -> &'e Datum {
    entity.attrs.iter().find(|(key, _)| &**key == name).map(|(_, value)| value).unwrap()
}

#[test]
fn entities_and_their_attributes_are_read() {
    let mut sources = sources(&[]);
    sources.entities = Some(file(
        "e.json",
        r#"[
        {"uid": {"type": "Instrument", "id": "i"}, "parents": [],
         "attrs": {"venue": {"type": "Venue", "id": "XNAS"}, "closes": "2024-01-01T20:00:00Z",
                   "owner": {"__entity": {"type": "Human", "id": "nobody"}}}},
        {"uid": {"type": "Human", "id": "h"}, "parents": [{"type": "Desk", "id": "d"}],
         "attrs": {"name": "\u00e9", "limit": -9223372036854775808}, "tags": {"k": "v"}},
        {"uid": {"type": "Desk", "id": "d"}, "parents": [], "attrs": {}}
    ]"#,
    ));
    let model = load(&sources, Mode::Strict).unwrap().model;
    let names: Vec<_> = model.entities.iter().map(|entity| entity.uid.to_string()).collect();
    assert_eq!(names[4..], ["Desk::\"d\"", "Human::\"h\"", "Instrument::\"i\""]);
    let [_, h, i] = &model.entities[4..] else { panic!() };
    assert_eq!(h.parents, [uid("Desk::\"d\"")]);
    assert_eq!(*attr(h, "limit"), Datum::Long(i64::MIN));
    assert_eq!(*attr(h, "name"), Datum::String("é".into()));
    assert_eq!(h.tags, [("k".into(), Datum::String("v".into()))]);
    assert_eq!(*attr(i, "closes"), Datum::Datetime(1_704_139_200_000));
    assert_eq!(*attr(i, "venue"), Datum::Entity(uid("Venue::\"XNAS\"")));
    assert_eq!(*attr(i, "owner"), Datum::Entity(uid("Human::\"nobody\"")), "need not be in the store");
}

#[test]
fn parents_are_those_listed_and_namespaces_qualified() {
    let mut sources = sources(&[]);
    sources.schema.text = r"
        namespace Shop::A { entity G in [G]; entity U in [G] { at: ipaddr }; type T = { u: U };
        action go appliesTo { principal: U, resource: G, context: { t: T } }; }"
        .to_owned();
    sources.entities = Some(file(
        "e.json",
        r#"[{"uid": {"type": "Shop::A::U", "id": "u"}, "attrs": {"at": "::1"}, "parents": [{"type": "Shop::A::G", "id": "1"}]},
            {"uid": {"type": "Shop::A::G", "id": "1"}, "attrs": {}, "parents": [{"type": "Shop::A::G", "id": "2"}]},
            {"uid": {"type": "Shop::A::G", "id": "2"}, "attrs": {}, "parents": []}]"#,
    ));
    let model = load(&sources, Mode::Strict).unwrap().model;
    let user = model.entities.iter().find(|e| &*e.uid.ty == "Shop::A::U").unwrap();
    assert_eq!(user.parents, [uid("Shop::A::G::\"1\"")]);
    assert_eq!(*attr(user, "at"), Datum::Ip(Ip::V6(1, 128)));
    assert_eq!(model.actions[0].uid, uid("Shop::A::Action::\"go\""));
    let Type::Record(t) = &model.actions[0].context["t"].ty else { panic!() };
    assert_eq!(t["u"].ty, Type::Entity("Shop::A::U".into()));
}

#[test]
fn both_syntaxes_of_the_schema_give_the_same() {
    let (fragment, _) = cedar_policy::SchemaFragment::from_cedarschema_str(SCHEMA).unwrap();
    let mut as_json = sources(&[]);
    as_json.schema = file("schema.txt", &fragment.to_json_string().unwrap());
    let (json, text) = (load(&as_json, Mode::Strict).unwrap().model, model(&[]));
    assert_eq!(format!("{json:?}"), format!("{text:?}"));
}

#[test]
fn sources_survive_serialization() {
    let sources = sources(&[("p.cedar", "permit(principal, action, resource);")]);
    let text = serde_json::to_string(&sources).unwrap();
    assert_eq!(serde_json::from_str::<crate::Sources>(&text).unwrap(), sources);
}

/// Both readers read an entity alike, in every notation.
#[test]
fn plain_entities_are_read_as_cedar_reads_them() {
    let mut sources = sources(&[]);
    sources.schema.text = r#"
        entity G in [G, K]; entity K enum ["a"]; entity E;
        entity U in [G] { l: Long, s: String, b?: Bool, u?: U, k?: K, e?: Set<Long>, d?: decimal } tags Long;
        action go appliesTo { principal: U, resource: G };"#
        .to_owned();
    let g = r#"{"type": "G", "id": "g"}"#;
    let (uid, attrs) = (r#""uid": {"type": "U", "id": "u"}"#, r#""l": 1, "s": "x""#);
    let accepted = [
        format!(r#"{{{uid}, "attrs": {{{attrs}}}, "parents": []}}"#),
        format!(
            r#"{{"parents": [{g}, {g}], "attrs": {{"s": "\u00e9\n\"", "l": -9223372036854775808, "b": true}}, {uid}}}"#
        ),
        format!(r#"{{{uid}, "attrs": {{{attrs}, "u": {{"type": "U", "id": "\u0041"}}}}, "parents": [{g}]}}"#),
        format!(r#"{{{uid}, "attrs": {{{attrs}, "u": {{"__entity": {{"id": "u", "type": "U"}}}}}}, "parents": []}}"#),
        format!(r#"{{{uid}, "attrs": {{{attrs}, "k": {{"type": "K", "id": "a"}}}}, "parents": []}}"#),
        format!(r#"{{{uid}, "attrs": {{{attrs}, "e": [1, 1, 2], "d": "1.5"}}, "parents": [], "tags": {{"t": 1}}}}"#),
        format!(r#"{{"uid": {{"__entity": {{"type": "U", "id": "u"}}}}, "attrs": {{{attrs}}}, "parents": []}}"#),
        r#"{"uid": {"type": "G", "id": "g"}, "attrs": {}, "parents": [{"type": "K", "id": "a"}]}"#.to_owned(),
        r#"{"uid": {"type": "Action", "id": "go"}, "attrs": {}, "parents": []}"#.to_owned(),
        r#"{"uid": {"type": "E", "id": "Action"}, "attrs": {}, "parents": []}"#.to_owned(),
        format!(r#"{{{uid}, "attrs": {{{attrs}}}, "parents": [], "more": 1}}"#),
    ];
    for text in accepted {
        sources.entities = Some(file("e.json", &format!("[{text}]")));
        let loaded = load(&sources, Mode::Strict).unwrap_or_else(|error| panic!("{text}: {error}"));
        let cedar = loaded.authorizer.store(sources.entities.as_ref()).unwrap();
        assert_eq!(loaded.model.entities, cedar.entities(), "{text}");
    }
    let refused = [
        format!(r#"{{{uid}, "attrs": {{"l": 1}}, "parents": []}}"#),
        format!(r#"{{{uid}, "attrs": {{{attrs}, "x": 1}}, "parents": []}}"#),
        format!(r#"{{{uid}, "attrs": {{{attrs}, "l": 1}}, "parents": []}}"#),
        format!(r#"{{{uid}, "attrs": {{"l": 9223372036854775808, "s": ""}}, "parents": []}}"#),
        format!(r#"{{{uid}, "attrs": {{"l": 1.0, "s": ""}}, "parents": []}}"#),
        format!(r#"{{{uid}, "attrs": {{"l": "1", "s": ""}}, "parents": []}}"#),
        format!(r#"{{{uid}, "attrs": {{{attrs}, "u": {g}}}, "parents": []}}"#),
        format!(r#"{{{uid}, "attrs": {{{attrs}}}, "parents": [{{"type": "U", "id": "v"}}]}}"#),
        format!(r#"{{{uid}, "attrs": {{{attrs}}}, "parents": [{{"type": "E", "id": "v"}}]}}"#),
        format!(r#"{{{uid}, "attrs": {{{attrs}, "k": {{"type": "K", "id": "z"}}}}, "parents": []}}"#),
        r#"{"uid": {"type": "K", "id": "z"}, "attrs": {}, "parents": []}"#.to_owned(),
        r#"{"uid": {"type": "X", "id": "z"}, "attrs": {}, "parents": []}"#.to_owned(),
        r#"{"uid": {"type": "G", "id": "g"}, "attrs": {}, "parents": [{"type": "K", "id": "z"}]}"#.to_owned(),
        r#"{"uid": {"type": "Action", "id": "other"}, "attrs": {}, "parents": []}"#.to_owned(),
        format!(r#"{{"uid": {g}, "attrs": {{}}, "parents": [{g}]}}"#),
        format!(r#"{{{uid}, "attrs": {{{attrs}}}, "parents": []}}, {{{uid}, "attrs": {{{attrs}}}, "parents": [{g}]}}"#),
        r#"{"uid": {"type": "G", "id": "1"}, "attrs": {}, "parents": [{"type": "G", "id": "2"}]},
           {"uid": {"type": "G", "id": "2"}, "attrs": {}, "parents": [{"type": "G", "id": "1"}]}"#
            .to_owned(),
    ];
    let authorizer = load(&super::Sources { entities: None, ..sources.clone() }, Mode::Strict).unwrap().authorizer;
    for text in refused {
        sources.entities = Some(file("e.json", &format!("[{text}]")));
        assert!(authorizer.store(sources.entities.as_ref()).is_err(), "Cedar takes {text}");
        assert!(load(&sources, Mode::Strict).is_err(), "{text}");
    }
}
