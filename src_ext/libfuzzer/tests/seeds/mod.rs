//! Compiles small bundles with tables of all forms.

use ztfast_bundle::{Bundle, Form};
use ztfast_cedar::{Mode, SourceFile, Sources};
use ztfast_compile::Options;

const SCHEMA: &str = r"
entity Team;
entity User in [Team] = { level: Long, name: String, peers: Set<User>, at: { x: Long, y?: Set<Long> } } tags Set<String>;
entity Doc in [Team] = { owner: User, from: ipaddr };
action all;
action read, write in [all] appliesTo { principal: User, resource: Doc,
    context: { n: Long, s?: String, who?: User, more?: { when: datetime, price: decimal } } };
";

const POLICIES: &str = r#"
permit (principal in Team::"t", action, resource) when { context.n > 3 && context.n + principal.level < 100 };
permit (principal, action in Action::"all", resource) when { resource.owner == principal || principal in resource };
forbid (principal, action, resource) when { principal.name like "a*b*" && context has s && context.s like "*x*" };
forbid (principal, action, resource) when { context has who && principal.peers.containsAny([context.who, resource.owner]) };
@why("none") forbid (principal, action, resource) when { principal.at == {x: context.n} || [[1], [context.n]].contains([2]) };
forbid (principal, action, resource) when { resource.from.isInRange(ip("fd00::/8")) && context.n == 1 };
forbid (principal, action == Action::"write", resource) when { principal.hasTag("k") && principal.getTag("k").contains(principal.name) };
forbid (principal, action, resource) when { context has more && context.more.price > decimal("1.5") };
"#;

const TWO: &str = r#"
permit (principal in Team::"t", action, resource) when { context.n > 3 };
forbid (principal, action == Action::"write", resource) when { resource.owner == principal };
"#;

/// The first is left to Cedar's own evaluator, of which there is none here.
const OPAQUE: &str = r#"
permit (principal, action, resource) when { context has s && ip(context.s).isLoopback() };
permit (principal == User::"u", action, resource);
"#;

const ENTITIES: &str = r#"[
{"uid": {"type": "Team", "id": "t"}, "attrs": {}, "parents": []},
{"uid": {"type": "User", "id": "u"}, "parents": [{"type": "Team", "id": "t"}], "tags": {"k": ["u", "v"]},
 "attrs": {"level": 2, "name": "axb", "peers": [{"type": "User", "id": "v"}], "at": {"x": 1, "y": [1, 2]}}},
{"uid": {"type": "User", "id": "v"}, "parents": [], "attrs": {"level": 9, "name": "", "peers": [], "at": {"x": 7}}},
{"uid": {"type": "Doc", "id": "d"}, "parents": [{"type": "Team", "id": "t"}],
 "attrs": {"owner": {"type": "User", "id": "v"}, "from": "fd00::1"}}
]"#;

/// A small bundle's file, without the sources, which no decision reads.
fn seed(policies: &str, entities: Option<&str>, options: &Options) -> Vec<u8> {
    let file = |name: &str, text: &str| SourceFile { name: name.into(), text: text.into() };
    let sources = Sources {
        files: vec![file("p.cedar", policies)],
        schema: file("s.cedarschema", SCHEMA),
        entities: entities.map(|entities| file("e.json", entities)),
    };
    let loaded = ztfast_cedar::load(&sources, Mode::Permissive, &|_, _| {}).unwrap_or_else(|error| panic!("{error}"));
    let mut parts = ztfast_compile::compile(loaded.model, &sources, options, None, &mut |_, _, _| {}).unwrap();
    parts.sources_json.clear();
    Bundle::of(&parts).unwrap().bytes().to_vec()
}

/// The seeds, by name. Sets are as wide as a block, so they are of the few policies.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of_form = |form| Options { strict: true, form, ..Options::default() };
    let split = Options { split: true, exempt: Some(("Action".into(), "write".into())), ..of_form(None) };
    vec![
        ("dense", seed(POLICIES, Some(ENTITIES), &of_form(Some(Form::Dense)))),
        ("rows", seed(POLICIES, Some(ENTITIES), &of_form(Some(Form::Rows)))),
        ("sets", seed(TWO, Some(ENTITIES), &of_form(Some(Form::Sets)))),
        ("layers", seed(POLICIES, Some(ENTITIES), &split)),
        ("opaque", seed(OPAQUE, Some(ENTITIES), &of_form(None))),
        ("empty", seed(POLICIES, None, &of_form(None))),
    ]
}
