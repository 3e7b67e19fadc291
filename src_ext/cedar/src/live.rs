//! Live attributes: what an engine knows of a session, as Cedar reads it.
//!
//! A schema need not declare the type `ztfast::Live`: a fragment with it is added to each schema that names it. An
//! action's context has the values under the name `live`.

use crate::diagnostic::{self, Diagnostic, Label, Severity, shown};
use crate::ir::{Attribute, Type};
use crate::sources::SourceFile;
use cedar_policy::{Schema, SchemaError, SchemaFragment};
use cedar_policy_core::parser::Loc;
use cedar_policy_core::validator::ValidatorSchema;
use cedar_policy_core::validator::types::{Attributes, Type as CedarType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the attribute that an engine fills in.
pub const LIVE: &str = "live";

/// The fragment of the schema, in Cedar's syntax.
pub const LIVE_SCHEMA: &str = include_str!("live.cedarschema");

/// The attributes of `ztfast::Live`.
pub(crate) const ATTRIBUTES: [&str; 9] =
    ["authAge", "factors", "assurance", "risk", "market", "channel", "region", "onBehalfOf", "time"];

/// Add the fragment to a schema that does not declare the type itself. `None` if it declares another type of this name.
pub(crate) fn with_live(fragment: SchemaFragment) -> Option<Result<Schema, SchemaError>> {
    let live = SchemaFragment::from_cedarschema_str(LIVE_SCHEMA).ok()?.0;
    let declared = |fragment: &SchemaFragment| {
        let json = fragment.clone().to_json_value().ok()?;
        json.get("ztfast")?.get("commonTypes")?.get("Live").cloned()
    };
    match declared(&fragment) {
        None => Some(Schema::from_schema_fragments([fragment, live])),
        same if same == declared(&live) => Some(Schema::from_schema_fragments([fragment])),
        Some(_) => None,
    }
}

/// Return whether a context's attribute is filled in by the engine: a record named `live`.
///
/// # Errors
/// The problem, if the record has attributes that the engine cannot fill in.
pub(crate) fn is_live(name: &str, attribute: &Attribute) -> Result<bool, String> {
    let Type::Record(own) = &attribute.ty else { return Ok(false) };
    if name != LIVE {
        return Ok(false);
    }
    if !attribute.required {
        return Err("the attribute `live?`, which must not be optional".to_owned());
    }
    for (name, own) in own {
        let wanted = match &**name {
            "authAge" => "duration",
            "factors" => "Set<String>",
            "assurance" | "risk" => "Long",
            "market" | "channel" | "region" => "String",
            "onBehalfOf" => "String or an entity type",
            "time" => "datetime",
            _ => return Err(format!("in `live` the attribute `{name}`, which ztfast::Live lacks")),
        };
        let fits = match (&**name, &own.ty) {
            ("authAge", Type::Duration)
            | ("assurance" | "risk", Type::Long)
            | ("market" | "channel" | "region", Type::String)
            | ("onBehalfOf", Type::String | Type::Entity(_))
            | ("time", Type::Datetime) => true,
            ("factors", Type::Set(of)) => **of == Type::String,
            _ => false,
        };
        if !fits {
            return Err(format!("in `live` the attribute `{name}` of another type than {wanted}"));
        }
        if own.required && matches!(&**name, "region" | "onBehalfOf") {
            return Err(format!("in `live` the attribute `{name}`, which must be optional"));
        }
    }
    Ok(true)
}

/// Return whether a context has live attributes.
///
/// # Errors
/// As [`is_live`].
pub(crate) fn has_live(context: &BTreeMap<Arc<str>, Attribute>) -> Result<bool, String> {
    context.get(LIVE).map_or(Ok(false), |attribute| is_live(LIVE, attribute))
}

/// Refuse every record with the attributes of `ztfast::Live` that no engine fills in: what stood in it would be what a
/// caller or an entity says of itself, while policies read it as what the engine knows.
pub(crate) fn refuse_misplaced(file: &SourceFile, schema: &ValidatorSchema, diagnostics: &mut Vec<Diagnostic>) {
    let mut found = Vec::new();
    for ty in schema.entity_types() {
        let mut path = Vec::new();
        let owner = format!("the entity type {}", ty.name());
        if in_attributes(ty.attributes(), &mut path) {
            found.push((path_of(&path, &owner), ty.loc.as_ref(), ty.name().to_string(), "an entity's author says"));
        } else if ty.tag_type().is_some_and(|tags| in_type(tags, &mut path)) {
            found.push((
                format!("the type of the tags of {owner}"),
                ty.loc.as_ref(),
                ty.name().to_string(),
                "an entity's author says",
            ));
        }
    }
    for action in schema.action_ids() {
        let mut path = Vec::new();
        let owner = format!("the context of {}", action.name());
        let id: &str = action.name().eid().as_ref();
        if action.context().is_some_and(|context| in_context(context, &mut path)) {
            found.push((path_of(&path, &owner), action.loc(), id.to_owned(), "the caller says"));
        }
    }
    found.sort();
    for (place, loc, name, whose) in found {
        let message = format!(
            "{} has the attributes of ztfast::Live, but an engine fills in only the attribute `live` of a context: \
             here they would be what {whose}",
            shown(&place)
        );
        let help = "write `live: ztfast::Live` directly into the contexts of actions; a record of your own must lack one of \
                    the nine names";
        let label = label_of(file, loc, &name);
        diagnostics.push(diagnostic::build(
            Severity::Error,
            file,
            message,
            Some(help.to_owned()),
            label.into_iter().collect(),
        ));
    }
}

/// Return where a declaration stands. A schema in JSON has no places: there it is where its name first stands.
fn label_of(file: &SourceFile, loc: Option<&Loc>, name: &str) -> Option<Label> {
    if let Some(loc) = loc {
        return Some(Label::new(loc.start(), loc.end() - loc.start()));
    }
    let own = name.rsplit("::").next().unwrap_or(name);
    let quoted = format!("\"{own}\"");
    file.text.find(&quoted).map(|at| Label::new(at, quoted.len()))
}

fn path_of(path: &[&str], owner: &str) -> String {
    if path.is_empty() { owner.to_owned() } else { format!("the attribute `{}` of {owner}", path.join(".")) }
}

/// Return whether a context has such a record, other than the one that the engine fills in. `path` becomes its place.
fn in_context<'t>(context: &'t CedarType, path: &mut Vec<&'t str>) -> bool {
    let CedarType::Record { attrs, .. } = context else { return false };
    is_live_record(attrs)
        || attrs.iter().any(|(name, attribute)| {
            let is_filled_in = name == LIVE && matches!(*attribute.attr_type, CedarType::Record { .. });
            !is_filled_in && in_attribute(name, &attribute.attr_type, path)
        })
}

fn in_attributes<'t>(attributes: &'t Attributes, path: &mut Vec<&'t str>) -> bool {
    is_live_record(attributes)
        || attributes.iter().any(|(name, attribute)| in_attribute(name, &attribute.attr_type, path))
}

fn in_attribute<'t>(name: &'t str, ty: &'t CedarType, path: &mut Vec<&'t str>) -> bool {
    path.push(name);
    let found = in_type(ty, path);
    if !found {
        path.pop();
    }
    found
}

fn in_type<'t>(ty: &'t CedarType, path: &mut Vec<&'t str>) -> bool {
    match ty {
        CedarType::Record { attrs, .. } => in_attributes(attrs, path),
        CedarType::Set { element_type: Some(element) } => in_type(element, path),
        _ => false,
    }
}

fn is_live_record(attributes: &Attributes) -> bool {
    ATTRIBUTES.iter().all(|name| attributes.get_attr(name).is_some())
}
