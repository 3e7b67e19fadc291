//! A limit on the size of a schema once its common types are written out and its hierarchies closed, checked before
//! Cedar does either. Types that name others twice double with each step, so a page of text could take gigabytes.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The most attributes and elements of a type with all its parts; and of all types together, eight times as many.
const MAX_SIZE: u64 = 1 << 16;
const MAX_TOTAL: u64 = 1 << 19;
/// The most pairs of an action or entity type and an ancestor of it, over the hierarchy.
const MAX_ANCESTORS: usize = 1 << 20;
/// The most pairs of a type of principals and one of resources, over all actions: Cedar's validation looks at each.
const MAX_PAIRS: usize = 1 << 20;
/// The longest chain of common types, each of which contains the next.
const MAX_CHAIN: usize = 1 << 12;

/// Return why a schema, in Cedar's JSON, is too large, if it is.
pub(crate) fn too_large(schema: &Value) -> Option<String> {
    let namespaces: Vec<(&str, &Map<String, Value>)> =
        schema.as_object()?.iter().filter_map(|(name, space)| Some((&**name, space.as_object()?))).collect();
    let mut types = Types { known: HashMap::new(), deep: 0 };
    for &(space, declared) in &namespaces {
        for (name, ty) in entries(declared, "commonTypes") {
            types.known.insert(full(space, name), (space, ty, Size::Unknown));
        }
    }
    let (mut all, mut pairs) = (0_u64, 0_usize);
    let mut add = |what: String, size: u64| {
        all = all.saturating_add(size);
        let most = if size > MAX_SIZE { Some(MAX_SIZE) } else { (all > MAX_TOTAL).then_some(MAX_TOTAL) }?;
        let together = if size > MAX_SIZE { "" } else { ", together with all that come before it," };
        Some(format!(
            "{what} has more than {most} attributes{together} when the types that it is made of are written out: let \
             attributes be entities instead of repeated records"
        ))
    };
    for &(space, declared) in &namespaces {
        for (name, ty) in entries(declared, "commonTypes") {
            let why = add(format!("the type `{}`", full(space, name)), types.size(space, ty));
            if why.is_some() {
                return why;
            }
        }
        for (name, entity) in entries(declared, "entityTypes") {
            let of = ["shape", "tags"].map(|part| entity.get(part).map_or(0, |ty| types.size(space, ty)));
            let why = add(format!("the entity type `{}`", full(space, name)), of[0].saturating_add(of[1]));
            if why.is_some() {
                return why;
            }
        }
        for (name, action) in entries(declared, "actions") {
            let named = |of: &str| action.get("appliesTo")?.get(of)?.as_array().map(Vec::len);
            let both = named("principalTypes").unwrap_or(0).saturating_mul(named("resourceTypes").unwrap_or(0));
            pairs = pairs.saturating_add(both);
            if pairs > MAX_PAIRS {
                return Some(format!(
                    "the actions apply to more than {MAX_PAIRS} pairs of a type of principals and one of resources, at \
                     `{name}`: merge types that policies treat in the same way"
                ));
            }
            let context = action.get("appliesTo").and_then(|applies| applies.get("context"));
            let why = add(format!("the context of the action `{name}`"), context.map_or(0, |ty| types.size(space, ty)));
            if why.is_some() {
                return why;
            }
        }
    }
    hierarchies(&namespaces)
}

fn entries<'v>(space: &'v Map<String, Value>, what: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    space.get(what).and_then(Value::as_object).into_iter().flatten()
}

fn full(space: &str, name: &str) -> String {
    if space.is_empty() || name.contains("::") { name.to_owned() } else { format!("{space}::{name}") }
}

#[derive(Clone, Copy)]
enum Size {
    Unknown,
    /// The size is being computed: the type contains itself, which Cedar refuses.
    Open,
    Known(u64),
}

struct Types<'v> {
    /// Types by full name: namespace, declaration, and size.
    known: HashMap<String, (&'v str, &'v Value, Size)>,
    deep: usize,
}

impl<'v> Types<'v> {
    /// Return the number of attributes and elements of a type, written out.
    fn size(&mut self, space: &'v str, ty: &'v Value) -> u64 {
        let name = |key: &str| ty.get(key).and_then(Value::as_str);
        match name("type") {
            Some("Record") => {
                let attributes = ty.get("attributes").and_then(Value::as_object).into_iter().flatten();
                attributes.fold(1, |sum, (_, attribute)| sum.saturating_add(self.size(space, attribute)))
            }
            Some("Set") => ty.get("element").map_or(1, |element| self.size(space, element)).saturating_add(1),
            Some("EntityOrCommon") => name("name").map_or(1, |name| self.named(space, name)),
            Some("Entity" | "Extension" | "String" | "Long" | "Boolean" | "Bool") | None => 1,
            Some(name) => self.named(space, name),
        }
    }

    fn named(&mut self, space: &str, name: &str) -> u64 {
        // Cedar looks in the namespace first.
        let key = [full(space, name), name.to_owned()].into_iter().find(|key| self.known.contains_key(key));
        let Some((key, (space, ty, size))) = key.and_then(|key| Some((key.clone(), *self.known.get(&key)?))) else {
            return 1;
        };
        match size {
            Size::Known(size) => size,
            Size::Open => 1,
            Size::Unknown if self.deep >= MAX_CHAIN => u64::MAX,
            Size::Unknown => {
                self.known.insert(key.clone(), (space, ty, Size::Open));
                self.deep += 1;
                let size = self.size(space, ty);
                self.deep -= 1;
                self.known.insert(key, (space, ty, Size::Known(size)));
                size
            }
        }
    }
}

/// Return why the hierarchies of actions or entity types are too large, if they are.
fn hierarchies(namespaces: &[(&str, &Map<String, Value>)]) -> Option<String> {
    for (what, of, above) in [("entity types", "entityTypes", "memberOfTypes"), ("actions", "actions", "memberOf")] {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let all: Vec<(&str, &String, &Value)> = namespaces
            .iter()
            .flat_map(|&(space, declared)| entries(declared, of).map(move |(name, it)| (space, name, it)))
            .collect();
        for (number, (space, name, _)) in all.iter().enumerate() {
            numbers.insert(full(space, name), number);
        }
        let parents = |&(space, _, it): &(&str, &String, &Value)| -> Vec<usize> {
            let listed = it.get(above).and_then(Value::as_array).into_iter().flatten();
            let names = listed.filter_map(|one| one.as_str().or_else(|| one.get("id").and_then(Value::as_str)));
            names.filter_map(|name| numbers.get(&full(space, name)).or_else(|| numbers.get(name)).copied()).collect()
        };
        let parents: Vec<Vec<usize>> = all.iter().map(parents).collect();
        // For each element, the last one from which it was reached.
        let mut met = vec![usize::MAX; all.len()];
        let mut count = 0;
        for (from, (space, name, _)) in all.iter().enumerate() {
            let mut pending = vec![from];
            while let Some(at) = pending.pop() {
                for &parent in &parents[at] {
                    if std::mem::replace(&mut met[parent], from) != from {
                        count += 1;
                        pending.push(parent);
                    }
                }
                if count > MAX_ANCESTORS {
                    let name = full(space, name);
                    return Some(format!(
                        "the {what} have more than {MAX_ANCESTORS} pairs of one and another above it, at `{name}`: the \
                         hierarchy is too deep"
                    ));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(schema: &str) -> Option<String> {
        let (fragment, _) = cedar_policy::SchemaFragment::from_cedarschema_str(schema).unwrap();
        too_large(&fragment.to_json_value().unwrap())
    }

    /// Concatenate one declaration for each number.
    fn each(numbers: std::ops::Range<usize>, declare: impl Fn(usize) -> String) -> String {
        numbers.map(declare).collect::<Vec<_>>().concat()
    }

    fn doubling(steps: usize) -> String {
        let types = each(0..steps, |n| format!("type T{n} = {{ x: T{}, y: T{} }};", n + 1, n + 1));
        types + &format!("type T{steps} = {{ x: Long }};")
    }

    #[test]
    fn types_that_double_are_named() {
        assert_eq!(checked(&doubling(10)), None);
        for steps in [17, 40, 100, 3_000] {
            let why = checked(&doubling(steps)).unwrap();
            assert!(why.contains("the type `T"), "{why}");
        }
        let sets = each(0..40, |n| format!("type T{n} = {{ x: Set<T{}>, y: Set<T{}> }};", n + 1, n + 1));
        assert!(checked(&(sets + "type T40 = Long;")).is_some());
        assert!(checked(&format!("namespace A {{ {} }} entity E {{ a: A::T0 }};", doubling(30))).is_some());
    }

    #[test]
    fn what_only_entities_and_contexts_repeat_is_named() {
        let wide = each(0..200, |n| format!("a{n}: Long,"));
        let types = format!("type W = {{ {wide} }};");
        let attributes = each(0..400, |n| format!("w{n}: W,"));
        let why = checked(&format!("{types} entity E {{ {attributes} }};")).unwrap();
        assert!(why.contains("the entity type `E`"), "{why}");
        let why = checked(&format!(
            "{types} entity E; action go appliesTo {{ principal: E, resource: E, context: {{ {attributes} }} }};"
        ));
        assert!(why.is_some_and(|why| why.contains("the context of the action `go`")));
        let many = each(0..3_000, |n| format!("entity E{n} {{ w: W }};"));
        assert!(checked(&format!("{types} {many}")).is_some_and(|why| why.contains("together")));
        let honest = each(0..1_000, |n| format!("entity E{n} {{ w: W }};"));
        assert_eq!(checked(&format!("{types} {honest}")), None);
    }

    #[test]
    fn hierarchies_that_are_too_deep_are_named() {
        let types = |count: usize| each(1..count, |n| format!("entity E{n} in [E{}];", n - 1)) + "entity E0;";
        assert_eq!(checked(&types(1_000)), None);
        assert!(checked(&types(3_000)).is_some_and(|why| why.contains("entity types")));
        let actions = |count: usize| each(1..count, |n| format!("action a{n} in [a{}];", n - 1)) + "action a0;";
        assert_eq!(checked(&actions(1_000)), None);
        assert!(checked(&actions(3_000)).is_some_and(|why| why.contains("actions")));
    }

    #[test]
    fn actions_that_apply_to_everything_are_named() {
        let schema = |types: usize, actions: usize| {
            let entities = (0..types).map(|n| format!("entity E{n};")).collect::<Vec<_>>().concat();
            let all = (0..types).map(|n| format!("E{n}")).collect::<Vec<_>>().join(", ");
            let action = |n| format!("action a{n} appliesTo {{ principal: [{all}], resource: [{all}] }};");
            entities + &(0..actions).map(action).collect::<String>()
        };
        assert_eq!(checked(&schema(300, 10)), None);
        assert!(checked(&schema(1_100, 1)).is_some_and(|why| why.contains("at `a0`")));
        assert!(checked(&schema(400, 10)).is_some_and(|why| why.contains("at `a6`")));
    }

    #[test]
    fn types_that_are_made_of_themselves_end() {
        for schema in ["type A = { a: B, b: B }; type B = { a: A, b: A };", "type A = Set<A>;", "entity A in [A];"] {
            assert_eq!(checked(schema), None);
        }
    }
}
