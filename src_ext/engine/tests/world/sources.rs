//! The sources of the world's bundles.

use super::kind::Kind;
use ztfast_bundle::{Form, Parts};
use ztfast_cedar::{Mode, SourceFile, Sources};
use ztfast_compile::Options;

const SCHEMA: &str = r"
entity Team;
entity User in [Team] = { level: Long, name: String, peers: Set<User>, at: { x: Long, y?: Set<Long> } } tags Set<String>;
entity Doc in [Team] = { owner: User, from: ipaddr };
entity Box;
action view appliesTo { principal: User, resource: Doc, context: { n: Long, s?: String, who?: User } };
";

const POLICIES: &str = r#"
permit (principal in Team::"t", action, resource) when { context.n > 3 && context.n + principal.level < 100 };
permit (principal, action, resource) when { resource.owner == principal || principal in resource };
forbid (principal, action, resource) when { principal.name like "a*b*" && context has s && context.s like "*x*" };
forbid (principal, action, resource) when { principal.peers.containsAny([context.who, resource.owner]) };
forbid (principal, action, resource) when { principal.at == {x: context.n} || [[1], [context.n]].contains([2]) };
@step_up("fido2") forbid (principal, action, resource) when { resource.from.isInRange(ip("fd00::/8")) && context.n > 7 };
forbid (principal, action, resource) when { principal.hasTag("k") && principal.getTag("k").contains(principal.name) && context.n > 1 };
"#;

const ENTITIES: &str = r#"[
{"uid": {"type": "Team", "id": "t"}, "attrs": {}, "parents": []},
{"uid": {"type": "User", "id": "u"}, "parents": [{"type": "Team", "id": "t"}], "tags": {"k": ["u", "v"]},
 "attrs": {"level": 2, "name": "axb", "peers": [{"type": "User", "id": "v"}], "at": {"x": 1, "y": [1, 2]}}},
{"uid": {"type": "User", "id": "v"}, "parents": [], "attrs": {"level": 9, "name": "", "peers": [], "at": {"x": 7}}},
{"uid": {"type": "Doc", "id": "d"}, "parents": [{"type": "Team", "id": "t"}],
 "attrs": {"owner": {"type": "User", "id": "v"}, "from": "fd00::1"}}
]"#;

pub fn compile(policies: &str, schema: &str, entities: Option<&str>, form: Option<Form>) -> Parts {
    let file = |name: &str, text: &str| SourceFile { name: name.into(), text: text.into() };
    let sources = Sources {
        files: vec![file("p.cedar", policies)],
        schema: file("s.cedarschema", schema),
        entities: entities.map(|entities| file("e.json", entities)),
    };
    let loaded = ztfast_cedar::load(&sources, Mode::Permissive, &|_, _| {}).unwrap_or_else(|error| panic!("{error}"));
    let options = Options { strict: true, form, ..Options::default() };
    ztfast_compile::compile(loaded.model, &sources, &options, None, &mut |_, _, _| {}).unwrap()
}

/// Compile the world's bundle, over the tables of another or anew. Its entities are read in the latter case only.
pub fn compile_from(base: Option<&ztfast_bundle::Bundle>) -> Result<Parts, ztfast_compile::CompileError> {
    let file = |name: &str, text: &str| SourceFile { name: name.into(), text: text.into() };
    let mut sources = Sources {
        files: vec![file("p.cedar", POLICIES)],
        schema: file("s.cedarschema", SCHEMA),
        entities: Some(file("e.json", ENTITIES)),
    };
    let store = ztfast_bundle::store_hash(SCHEMA, Some(ENTITIES));
    if base.is_some() {
        sources.entities = None;
    }
    let loaded = ztfast_cedar::load(&sources, Mode::Permissive, &|_, _| {}).unwrap_or_else(|error| panic!("{error}"));
    let options = Options { strict: true, store, ..Options::default() };
    ztfast_compile::compile(loaded.model, &sources, &options, base, &mut |_, _, _| {})
}

/// Compile the world's bundle.
pub fn parts(form: Option<Form>) -> Parts {
    compile(POLICIES, SCHEMA, Some(ENTITIES), form)
}

/// Compile the world's bundle with `count` more users and documents, from `u0` and `d0` on.
pub fn crowded(count: u32) -> Parts {
    use std::fmt::Write;
    let mut entities = ENTITIES.trim_end().trim_end_matches(']').to_owned();
    for n in 0..count {
        let team = if n % 3 == 0 { r#"{"type": "Team", "id": "t"}"# } else { "" };
        let peer = n * 7 % count;
        write!(
            entities,
            r#", {{"uid": {{"type": "User", "id": "u{n}"}}, "parents": [{team}], "tags": {{"k": ["n{n}", "x"]}}, "attrs":
            {{"level": {level}, "name": "a{n}b", "peers": [{{"type": "User", "id": "u{peer}"}}], "at": {{"x": {n}}}}}}},
            {{"uid": {{"type": "Doc", "id": "d{n}"}}, "parents": [{team}], "attrs":
            {{"owner": {{"type": "User", "id": "u{peer}"}}, "from": "10.{high}.{low}.1"}}}}"#,
            level = n % 90,
            high = n / 256 % 256,
            low = n % 256,
        )
        .unwrap();
    }
    compile(POLICIES, SCHEMA, Some(&(entities + "]")), None)
}

/// Compile a bundle whose decisions Cedar's own evaluator makes.
fn opaque_parts() -> Parts {
    let policy = "permit (principal, action, resource) when { ip(context.s).isLoopback() };";
    compile(policy, SCHEMA, Some(ENTITIES), None)
}

/// Compile a bundle that the world's gates do not fit.
fn foreign_parts() -> Parts {
    let schema = "entity Team, Box; entity User in [Team]; entity Doc; \
                  action view appliesTo { principal: User, resource: Doc, context: { n: String } };";
    compile("permit (principal, action, resource);", schema, None, None)
}

/// Compile the parts of a bundle.
pub fn parts_of(kind: Kind) -> Parts {
    match kind {
        Kind::World(form) => parts(form),
        Kind::Foreign => foreign_parts(),
        Kind::Opaque => opaque_parts(),
    }
}
