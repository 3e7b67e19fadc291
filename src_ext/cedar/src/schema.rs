//! The schema, read in either of Cedar's syntaxes, and its parts that the compiler needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::{Schema, SchemaFragment};
use cedar_policy_core::validator::types::{Attributes, EntityKind, OpenTag, Type as CedarType};
use cedar_policy_core::validator::{ValidatorActionId, ValidatorEntityTypeKind, ValidatorSchema};

use crate::diagnostic::{self, Diagnostic, Label, Severity};
use crate::expansion::too_large;
use crate::ir::{Action, Attribute, EntityType, Type, Uid};
use crate::live::{has_live, refuse_misplaced, with_live};
use crate::nesting::{Brackets, too_deep};
use crate::sources::SourceFile;
use crate::values::Names;

/// Read a schema. Warnings are added to `diagnostics`, and so are the errors if the schema is refused.
pub(crate) fn parse(file: &SourceFile, diagnostics: &mut Vec<Diagnostic>) -> Option<Schema> {
    let refuse = |diagnostics: &mut Vec<Diagnostic>, what: String, labels| {
        diagnostics.push(diagnostic::build(Severity::Error, file, what, None, labels));
    };
    let schema = if is_json(file) {
        // Cedar reports texts that are not JSON best.
        let value = serde_json::from_str(file.text.trim_start_matches('\u{feff}'));
        if let Some(what) = value.ok().as_ref().and_then(too_large) {
            refuse(diagnostics, what, Vec::new());
            return None;
        }
        let fragment = || SchemaFragment::from_json_str(&file.text).ok();
        let schema = match names_live(file).then(fragment).flatten() {
            None => Schema::from_json_str(&file.text),
            Some(fragment) => {
                let Some(schema) = with_live(fragment) else {
                    refuse(diagnostics, OTHER_LIVE.to_owned(), Vec::new());
                    return None;
                };
                schema
            }
        };
        match schema {
            Ok(schema) => schema,
            Err(error) => {
                diagnostics.push(diagnostic::of_cedar(Severity::Error, file, &error, None));
                return None;
            }
        }
    } else {
        if let Some((at, what)) = too_deep(&file.text, Brackets::OfSchema) {
            refuse(diagnostics, what, vec![Label::new(at, 1)]);
            return None;
        }
        let fragment = SchemaFragment::from_cedarschema_str(&file.text).ok();
        let value = fragment.as_ref().and_then(|(fragment, _)| fragment.clone().to_json_value().ok());
        if let Some(what) = value.as_ref().and_then(too_large) {
            refuse(diagnostics, what, Vec::new());
            return None;
        }
        if let Some((fragment, warnings)) = fragment.filter(|_| names_live(file)) {
            diagnostics.extend(warnings.map(|w| diagnostic::of_cedar(Severity::Warning, file, &w, None)));
            return match with_live(fragment) {
                Some(Ok(schema)) => complete(file, schema, diagnostics),
                Some(Err(error)) => {
                    diagnostics.push(diagnostic::of_cedar(Severity::Error, file, &error, None));
                    None
                }
                None => {
                    refuse(diagnostics, OTHER_LIVE.to_owned(), Vec::new());
                    None
                }
            };
        }
        match Schema::from_cedarschema_str(&file.text) {
            Ok((schema, warnings)) => {
                diagnostics.extend(warnings.map(|w| diagnostic::of_cedar(Severity::Warning, file, &w, None)));
                schema
            }
            Err(error) => {
                diagnostics.extend(diagnostic::all_of_cedar(Severity::Error, file, &error));
                return None;
            }
        }
    };
    complete(file, schema, diagnostics)
}

/// The message for a schema that declares another type of our name.
const OTHER_LIVE: &str =
    "the schema declares the type ztfast::Live otherwise than ztfast does: leave the declaration out";

/// Return whether a schema may name the type of live attributes.
fn names_live(file: &SourceFile) -> bool {
    file.text.contains("ztfast")
}

/// Refuse a schema with `external` declarations, which is a fragment: what its actions apply to is unknown. Refuse live
/// attributes where no engine fills them in.
fn complete(file: &SourceFile, schema: Schema, diagnostics: &mut Vec<Diagnostic>) -> Option<Schema> {
    if let Err(error) = schema.as_ref().check_complete() {
        diagnostics.push(diagnostic::of_cedar(Severity::Error, file, &error, None));
        return None;
    }
    let before = diagnostics.len();
    refuse_misplaced(file, schema.as_ref(), diagnostics);
    (diagnostics.len() == before).then_some(schema)
}

/// Return whether the file is JSON: Cedar's own syntax never begins with a brace.
fn is_json(file: &SourceFile) -> bool {
    file.first_char() == Some('{') || file.is_named_json()
}

/// Return the actions that apply to something, sorted by uid.
pub(crate) fn actions(
    file: &SourceFile,
    schema: &ValidatorSchema,
    names: &mut Names,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Action> {
    let ancestors: BTreeMap<Uid, BTreeSet<Uid>> = match schema.action_entities() {
        Ok(entities) => entities
            .iter()
            .map(|entity| (names.uid(entity.uid()), entity.ancestors().map(|uid| names.uid(uid)).collect()))
            .collect(),
        Err(error) => {
            diagnostics.push(diagnostic::of_cedar(Severity::Error, file, &error, None));
            return Vec::new();
        }
    };
    let mut actions: Vec<Action> = schema
        .action_ids()
        .filter_map(|declared| {
            let uid = names.uid(declared.name());
            let principals: BTreeSet<Arc<str>> = declared.applies_to_principals().map(|ty| names.ty(ty)).collect();
            let resources: BTreeSet<Arc<str>> = declared.applies_to_resources().map(|ty| names.ty(ty)).collect();
            if principals.is_empty() || resources.is_empty() {
                return None;
            }
            let context = context(declared, names).and_then(|context| {
                let live = has_live(&context)?;
                Ok((context, live))
            });
            match context {
                Ok((context, live)) => {
                    let ancestors = ancestors.get(&uid).cloned().unwrap_or_default();
                    Some(Action { uid, ancestors, principals, resources, context, live })
                }
                Err(what) => {
                    let label = declared.loc().map(|loc| Label::new(loc.start(), loc.end() - loc.start()));
                    diagnostics.push(diagnostic::build(
                        Severity::Error,
                        file,
                        format!("the context of {uid} has {what}"),
                        None,
                        label.into_iter().collect(),
                    ));
                    None
                }
            }
        })
        .collect();
    actions.sort_by(|a, b| a.uid.cmp(&b.uid));
    actions
}

/// Return the entity types, sorted by name.
pub(crate) fn types(schema: &ValidatorSchema, names: &mut Names) -> Vec<EntityType> {
    let mut types: Vec<EntityType> = schema
        .entity_types()
        .map(|ty| EntityType {
            name: names.ty(ty.name()),
            enumerated: match &ty.kind {
                ValidatorEntityTypeKind::Enum(ids) => Some(ids.iter().map(|id| names.get(id.as_ref())).collect()),
                _ => None,
            },
            above: schema
                .entity_types()
                .filter(|other| other.descendants.contains(ty.name()))
                .map(|other| names.ty(other.name()))
                .collect(),
        })
        .collect();
    types.sort_by(|a, b| a.name.cmp(&b.name));
    types
}

fn context(action: &ValidatorActionId, names: &mut Names) -> Result<BTreeMap<Arc<str>, Attribute>, String> {
    match action.context() {
        None => Ok(BTreeMap::new()),
        Some(CedarType::Record { attrs, open_attributes: OpenTag::ClosedAttributes }) => attributes(attrs, names),
        Some(_) => Err("a type that is not a closed record".to_owned()),
    }
}

/// Convert the validator's attributes to ours.
pub(crate) fn attributes(attrs: &Attributes, names: &mut Names) -> Result<BTreeMap<Arc<str>, Attribute>, String> {
    attrs
        .iter()
        .map(|(key, attribute)| {
            let ty = of_cedar(&attribute.attr_type, names).map_err(|what| format!("in `{key}` {what}"))?;
            Ok((names.get(key), Attribute { ty, required: attribute.is_required }))
        })
        .collect()
}

/// Convert a type of the validator's to ours. The validator has types that no schema can express; those are refused.
fn of_cedar(ty: &CedarType, names: &mut Names) -> Result<Type, String> {
    Ok(match ty {
        CedarType::Bool(_) => Type::Bool,
        CedarType::Long => Type::Long,
        CedarType::String => Type::String,
        CedarType::Entity(EntityKind::Entity(lub)) => match lub.get_single_entity() {
            Some(ty) => Type::Entity(names.ty(ty)),
            None => return Err("an entity of one of several types".to_owned()),
        },
        CedarType::Set { element_type: Some(element) } => Type::Set(Box::new(of_cedar(element, names)?)),
        CedarType::Record { attrs, open_attributes: OpenTag::ClosedAttributes } => {
            Type::Record(attributes(attrs, names)?)
        }
        CedarType::ExtensionType { name } => match name.to_string().as_str() {
            "decimal" => Type::Decimal,
            "datetime" => Type::Datetime,
            "duration" => Type::Duration,
            "ipaddr" => Type::Ip,
            other => return Err(format!("the extension type `{other}`, which is not supported")),
        },
        CedarType::Never
        | CedarType::Entity(EntityKind::AnyEntity)
        | CedarType::Set { element_type: None }
        | CedarType::Record { .. } => return Err("a type that a schema cannot express".to_owned()),
    })
}
