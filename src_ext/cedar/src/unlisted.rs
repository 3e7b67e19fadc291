//! Warnings about entities that the store lacks, but that policies name or that entities have as parents: the id is
//! probably misspelt, and a forbid with a misspelt id forbids nothing.
//!
//! An entity need not be listed: requests may bring it, an upsert may add it later, and a store may leave out groups
//! that have no attributes. So these are warnings, and only for types of which the store says which entities there are:
//! by listing some, or, for policies, by naming some as parents.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cedar_policy_core::ast::{
    EntityReference, EntityUID, Expr, ExprKind, Literal, PrincipalOrResourceConstraint, Template,
};
use cedar_policy_core::parser::Loc;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::diagnostic::{self, Diagnostic, Label, MAX_REPORTED, Severity, shown};
use crate::ir::{Model, Uid};
use crate::policies::{Place, Policies};
use crate::sources::{SourceFile, Sources};
use crate::values::Names;

const HELP: &str = "correct the id or add the entity; if the entity comes later (Engine.upsert), nothing is wrong";

/// Warn of entities that the store lacks. Without a file of entities there is nothing to compare with.
pub(crate) fn warn(policies: &Policies, sources: &Sources, model: &Model, diagnostics: &mut Vec<Diagnostic>) {
    let Some(file) = &sources.entities else { return };
    let listed = Listed::of(model);
    for (found, file) in
        [(in_policies(policies, &sources.files, &listed), &sources.schema), (in_parents(file, model, &listed), file)]
    {
        let more = found.len() > MAX_REPORTED;
        diagnostics.extend(found.into_iter().take(MAX_REPORTED));
        if more {
            diagnostics.push(diagnostic::more(Severity::Warning, file));
        }
    }
}

/// The entities of a store, and what it tells about others.
struct Listed<'m> {
    model: &'m Model,
    types: HashSet<&'m str>,
    parents: HashSet<&'m Uid>,
    types_of_parents: HashSet<&'m str>,
}

impl<'m> Listed<'m> {
    fn of(model: &'m Model) -> Self {
        // Entities of enumerated types need no entry, and Cedar refuses others. Actions are in no list of types.
        let open = model.types.iter().filter(|ty| ty.enumerated.is_none());
        let open: HashSet<&str> = open.map(|ty| &*ty.name).collect();
        let parents: HashSet<&Uid> =
            model.entities.iter().flat_map(|entity| &entity.parents).filter(|uid| open.contains(&*uid.ty)).collect();
        // The entities are sorted, so those of a type are neighbours.
        let runs = model.entities.chunk_by(|a, b| a.uid.ty == b.uid.ty).filter_map(|run| Some(&*run.first()?.uid.ty));
        Self {
            model,
            types: runs.filter(|ty| open.contains(ty)).collect(),
            types_of_parents: parents.iter().map(|uid| &*uid.ty).collect(),
            parents,
        }
    }

    /// Return whether the store lists entities of this one's type, but not this one.
    fn lacks(&self, uid: &Uid) -> bool {
        self.types.contains(&*uid.ty) && self.model.entities.binary_search_by(|entity| entity.uid.cmp(uid)).is_err()
    }

    /// Return whether the store does not list an entity, though it lists others of its type, or, if it lists none, has
    /// others as parents, but not this one.
    fn knows_others_only(&self, uid: &Uid) -> bool {
        if self.types.contains(&*uid.ty) {
            return self.lacks(uid);
        }
        self.types_of_parents.contains(&*uid.ty) && !self.parents.contains(uid)
    }
}

/// Find the entities that scopes, conditions and links name.
fn in_policies(policies: &Policies, files: &[SourceFile], listed: &Listed<'_>) -> Vec<Diagnostic> {
    let mut names = Names::default();
    let mut found = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    for id in &policies.order {
        let (Some(policy), Some(origin)) = (policies.set.policy(id), policies.origins.get(id)) else { continue };
        let policy = policy.as_ref();
        let mut named: BTreeSet<(Option<(usize, usize)>, Uid)> = BTreeSet::new();
        // The links of a template share its text.
        if policy.env().is_empty() || seen.insert(policy.template().id().as_ref()) {
            in_text(policy.template(), &mut |uid, loc| {
                named.insert((loc.map(|loc| (loc.start(), loc.end() - loc.start())), names.uid(uid)));
            });
        }
        let filled: BTreeSet<Uid> = policy.env().values().map(|uid| names.uid(uid)).collect();
        let by_link = filled.into_iter().map(|uid| (&origin.named, origin.named.label.clone(), uid));
        let text = Place { file: origin.file, label: None };
        let by_text = named.into_iter().map(|(at, uid)| (&text, at.map(|(start, len)| Label::new(start, len)), uid));
        for (place, label, uid) in by_text.chain(by_link).filter(|(.., uid)| listed.knows_others_only(uid)) {
            let message = format!("policy `{}` names {}, which the store lacks", shown(id.as_ref()), uid);
            let labels = label.into_iter().collect();
            let help = Some(HELP.to_owned());
            found.push(diagnostic::build(Severity::Warning, &files[place.file], message, help, labels));
            if found.len() > MAX_REPORTED {
                return found;
            }
        }
    }
    found
}

/// Visit the uids in the text of a policy or template, but not the scope of its actions, which Cedar checks.
fn in_text(template: &Template, visit: &mut dyn FnMut(&EntityUID, Option<&Loc>)) {
    for scope in [template.principal_constraint().as_inner(), template.resource_constraint().as_inner()] {
        match scope {
            PrincipalOrResourceConstraint::Eq(EntityReference::EUID(uid))
            | PrincipalOrResourceConstraint::In(EntityReference::EUID(uid))
            | PrincipalOrResourceConstraint::IsIn(_, EntityReference::EUID(uid)) => visit(uid, uid.loc()),
            _ => {}
        }
    }
    for part in template.non_scope_constraints().into_iter().flat_map(Expr::subexpressions) {
        if let ExprKind::Lit(Literal::EntityUID(uid)) = part.expr_kind() {
            visit(uid, uid.loc().or(part.source_loc()));
        }
    }
}

/// Find the parents that are not listed. One warning is enough for each, as many entities may have it.
fn in_parents(file: &SourceFile, model: &Model, listed: &Listed<'_>) -> Vec<Diagnostic> {
    let lacking: BTreeSet<&Uid> = listed.parents.iter().copied().filter(|uid| listed.lacks(uid)).collect();
    let lacking: BTreeSet<&Uid> = lacking.into_iter().take(MAX_REPORTED + 1).collect();
    if lacking.is_empty() {
        return Vec::new();
    }
    // The first entity below each, and how many others there are.
    let mut below: BTreeMap<&Uid, (&Uid, usize)> = BTreeMap::new();
    for entity in &model.entities {
        for parent in entity.parents.iter().filter(|parent| lacking.contains(parent)) {
            below.entry(parent).and_modify(|(_, others)| *others += 1).or_insert((&entity.uid, 0));
        }
    }
    let places = places(file, &below.values().map(|(child, _)| *child).collect());
    let warning = |(parent, (child, others)): (&Uid, (&Uid, usize))| {
        let message = match others {
            0 => format!("{child} has the parent {parent}, which the store lacks"),
            _ => format!("{child} and {others} more have the parent {parent}, which the store lacks"),
        };
        let label = places.get(child).map(|&(start, text)| {
            let quoted = serde_json::to_string(&*parent.id).unwrap_or_default();
            match text.rfind(&quoted) {
                Some(at) => Label::new(start + at, quoted.len()),
                None => Label::new(start, text.lines().next().map_or(0, str::len)),
            }
        });
        let labels = label.into_iter().collect();
        diagnostic::build(Severity::Warning, file, message, Some(HELP.to_owned()), labels)
    };
    below.into_iter().map(warning).collect()
}

/// Find where the file lists these entities: the offset and the text of each.
fn places<'f>(file: &'f SourceFile, wanted: &HashSet<&Uid>) -> HashMap<Uid, (usize, &'f str)> {
    #[derive(Deserialize)]
    struct Entity {
        uid: Reference,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Reference {
        Escaped { __entity: Parts },
        Plain(Parts),
    }
    #[derive(Deserialize)]
    struct Parts {
        #[serde(rename = "type")]
        ty: String,
        id: String,
    }
    let list: Vec<&'f RawValue> = serde_json::from_str(&file.text).unwrap_or_default();
    let entities = list.into_iter().filter_map(|raw| {
        let (Reference::Escaped { __entity: parts } | Reference::Plain(parts)) =
            serde_json::from_str::<Entity>(raw.get()).ok()?.uid;
        let uid = Uid::new(parts.ty, parts.id);
        // Raw values borrow from the text, so their place in it is the difference of the addresses.
        let start = (raw.get().as_ptr() as usize).saturating_sub(file.text.as_ptr() as usize);
        wanted.contains(&uid).then_some((uid, (start, raw.get())))
    });
    entities.collect()
}
