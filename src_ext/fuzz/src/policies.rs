//! Random policy sets: with sizes near word boundaries, templates, clauses of both kinds, and conditions that many
//! policies share.

use crate::dice::{chance, pick};
use crate::exprs::Exprs;
use crate::texts::{quoted, uid_text};
use crate::tree::Tree;
use crate::world::World;
use fastrand::Rng;
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// A policy or a template.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub forbid: bool,
    /// Whether this forbid asks for a step-up.
    pub step_up: bool,
    /// The constraints on principal, action and resource.
    pub scope: [String; 3],
    /// The clauses: whether `when` or `unless`, and the condition.
    pub clauses: Vec<(bool, Tree)>,
    /// The links, if this is a template: values of its slots.
    pub links: Vec<Vec<(&'static str, String)>>,
}

impl Policy {
    fn text(&self) -> String {
        let asks = if self.step_up { "@step_up(\"fido2\") " } else { "" };
        let effect = if self.forbid { "forbid" } else { "permit" };
        let mut text = format!("{asks}{effect} ({})", self.scope.join(", "));
        for (when, condition) in &self.clauses {
            let _ = write!(text, "\n  {} {{ {} }}", if *when { "when" } else { "unless" }, condition.text());
        }
        text + ";"
    }

    fn is_template(&self) -> bool {
        self.scope.iter().any(|constraint| constraint.contains('?'))
    }
}

/// Let most forbids of some policy sets ask for a step-up.
pub(crate) fn ask_for_step_ups<'p>(rng: &mut Rng, policies: impl Iterator<Item = &'p mut Policy>) {
    if chance(rng, 60) {
        policies.filter(|policy| policy.forbid).for_each(|policy| policy.step_up = chance(rng, 90));
    }
}

/// Write the policies in Cedar's syntax.
pub(crate) fn text(policies: &[Policy]) -> String {
    policies.iter().map(Policy::text).collect::<Vec<_>>().join("\n")
}

/// Write the links of the templates in the format of Cedar's command line.
pub(crate) fn links(policies: &[Policy]) -> Option<String> {
    let mut all: Vec<Json> = Vec::new();
    for (number, policy) in policies.iter().enumerate().filter(|(_, policy)| policy.is_template()) {
        for (at, link) in policy.links.iter().enumerate() {
            let args: serde_json::Map<String, Json> =
                link.iter().map(|(slot, uid)| ((*slot).to_owned(), json!(uid))).collect();
            all.push(json!({
                "template_id": format!("policy{number}"), "link_id": format!("link{number}.{at}"), "args": args,
            }));
        }
    }
    (!all.is_empty()).then(|| Json::Array(all).to_string())
}

const SIZES: [usize; 24] = [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8, 12, 20, 63, 64, 65, 511, 513];

/// Make a policy set for a world.
pub(crate) fn policies(rng: &mut Rng, world: &World) -> Vec<Policy> {
    let near_miss = if chance(rng, 30) { 4 } else { 0 };
    let mut shared: Vec<(bool, Tree)> = Vec::new();
    let mut all: Vec<Policy> = Vec::new();
    // Most worlds are small, because Cedar evaluates every policy of a large one.
    let count = if chance(rng, 70) { SIZES[rng.usize(0..17)] } else { *pick(rng, &SIZES) };
    let crowd = count > 50;
    // Policies of one kind lie next to each other in a set.
    let uniform = crowd && rng.bool();
    let forbid = rng.bool();
    let side = |rng: &mut Rng, name: &str| {
        if rng.bool() { name.to_owned() } else { format!("{name} is {}", pick(rng, &world.types).name) }
    };
    let scope = [side(rng, "principal"), "action".to_owned(), side(rng, "resource")];
    while all.len() < count {
        if !all.is_empty() && chance(rng, if crowd { 25 } else { 6 }) {
            let again = pick(rng, &all).clone();
            all.push(again);
            continue;
        }
        let only = if uniform { Some("context") } else { None };
        let mut one = policy(rng, world, near_miss, crowd, only, &mut shared);
        if uniform {
            one.forbid = forbid;
            for (constraint, plain) in one.scope.iter_mut().zip(&scope) {
                constraint.clone_from(plain);
            }
        }
        all.push(one);
    }
    all
}

fn policy(
    rng: &mut Rng,
    world: &World,
    near_miss: u32,
    crowd: bool,
    only: Option<&'static str>,
    shared: &mut Vec<(bool, Tree)>,
) -> Policy {
    let actions = world.applicable();
    let action = *pick(rng, &actions);
    let Some((principals, resources)) = &action.applies else { unreachable!("only such actions are picked") };
    let (principal, resource) = (*pick(rng, principals), *pick(rng, resources));
    let template = chance(rng, 12);
    let mut slots: Vec<(&'static str, usize)> = Vec::new();
    let mut side = |rng: &mut Rng, name: &str, slot: &'static str, own: usize| {
        let above = world.types[own].above.clone();
        let mut entity = |rng: &mut Rng| {
            let of = if above.is_empty() || rng.bool() { own } else { *pick(rng, &above) };
            if template && chance(rng, 60) {
                slots.push((slot, of));
                return slot.to_owned();
            }
            uid_text(&world.uid(rng, of))
        };
        let ty = &world.types[own].name;
        match rng.u32(0..12) {
            0..5 => name.to_owned(),
            5 | 6 => format!("{name} == {}", entity(rng)),
            7..9 => format!("{name} in {}", entity(rng)),
            9..11 => format!("{name} is {ty}"),
            _ => format!("{name} is {ty} in {}", entity(rng)),
        }
    };
    let of_principal = side(rng, "principal", "?principal", principal);
    let of_resource = side(rng, "resource", "?resource", resource);
    let uid = |id: &str| format!("{}::{}", action.uid.ty, quoted(id));
    let of_action = match rng.u32(0..10) {
        0..3 => "action".to_owned(),
        3..6 => format!("action == {}", uid(&action.uid.id)),
        6..8 => format!("action in {}", uid(&pick(rng, &world.actions).uid.id)),
        _ => {
            let other = uid(&pick(rng, &world.actions).uid.id);
            format!("action in [{}, {other}]", uid(action.groups.first().map_or(&*action.uid.id, |group| group)))
        }
    };
    let mut clauses = Vec::new();
    let count = if crowd { rng.usize(0..2) } else { rng.usize(0..4) };
    for _ in 0..count {
        if !shared.is_empty() && chance(rng, if crowd { 60 } else { 25 }) {
            clauses.push(pick(rng, shared).clone());
            continue;
        }
        let mut exprs = Exprs::new(world, action, principal, resource, near_miss);
        // Conditions on one side are resolved at compilation.
        exprs.only = only.or([None, None, None, Some("principal"), Some("resource"), Some("context")][rng.usize(0..6)]);
        let depth = if crowd { rng.u32(0..2) } else { rng.u32(0..4) };
        let condition = exprs.guarded(rng, depth);
        clauses.extend(exprs.earlier.into_iter().map(|guard| (true, Tree::leaf(crate::tree::Kind::Bool, guard))));
        let clause = (rng.u32(0..3) > 0, condition);
        shared.push(clause.clone());
        clauses.push(clause);
    }
    let links = (0..rng.usize(1..4))
        .map(|_| slots.iter().map(|&(slot, ty)| (slot, uid_text(&world.uid(rng, ty)))).collect())
        .collect();
    Policy { forbid: chance(rng, 35), step_up: false, scope: [of_principal, of_action, of_resource], clauses, links }
}
