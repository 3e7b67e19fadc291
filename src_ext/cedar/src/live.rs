//! Live attributes: what an engine knows of a session, as Cedar reads it.
//!
//! A schema need not declare the type `ztfast::Live`: a fragment with it is added to each schema that names it. An
//! action's context has the values under the name `live`.

use crate::ir::{Attribute, Type};
use cedar_policy::{Schema, SchemaError, SchemaFragment};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the attribute that an engine fills in.
pub const LIVE: &str = "live";

/// The fragment of the schema, in Cedar's syntax.
pub const LIVE_SCHEMA: &str = include_str!("live.cedarschema");

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
