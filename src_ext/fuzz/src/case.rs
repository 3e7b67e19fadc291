//! A case: the inputs of one comparison, as text and values, and as the file that a failure leaves.

use crate::texts::{uid_json, value_json};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use ztfast_cedar::ir::{Datum, Uid};
use ztfast_cedar::{Authorizer, Mode, SourceFile, Sources};

/// Policies, schema, a store, and changes of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Case {
    /// The failure that the case shows.
    pub found: String,
    pub schema: String,
    pub policies: String,
    /// The links of templates, in the format of Cedar's command line.
    pub links: Option<String>,
    /// Whether a forbid that errs denies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict_errors: bool,
    /// The entities of the store, in Cedar's JSON.
    pub entities: Vec<Json>,
    pub steps: Vec<Step>,
}

/// A change of the bundle or the store, and the requests after it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Step {
    /// What the next bundle has besides the schema and the entities: the engine swaps to it before they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Swap>,
    /// Entities to upsert.
    pub upsert: Vec<Json>,
    /// Uids of entities to remove.
    pub remove: Vec<Json>,
    pub requests: Vec<RequestText>,
}

/// The policies of a bundle, and the links of templates.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Swap {
    pub policies: String,
    pub links: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict_errors: bool,
}

/// A request in Cedar's JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RequestText {
    pub principal: Json,
    pub action: Json,
    pub resource: Json,
    pub context: Json,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub principal: Uid,
    pub action: Uid,
    pub resource: Uid,
    pub context: Datum,
}

impl Ask {
    /// Convert to JSON.
    pub fn text(&self) -> RequestText {
        RequestText {
            principal: uid_json(&self.principal),
            action: uid_json(&self.action),
            resource: uid_json(&self.resource),
            context: value_json(&self.context),
        }
    }
}

impl RequestText {
    /// Convert to values.
    pub fn ask(&self, authorizer: &Authorizer) -> Result<Ask, String> {
        let uid = |json: &Json| uid_of(json).ok_or_else(|| format!("no uid: {json}"));
        let action = uid(&self.action)?;
        let context = authorizer.context_from_json(&action, &self.context.to_string()).map_err(|e| e.to_string())?;
        Ok(Ask { principal: uid(&self.principal)?, action, resource: uid(&self.resource)?, context })
    }
}

/// Read the uid in `{"type": ..., "id": ...}`.
pub(crate) fn uid_of(json: &Json) -> Option<Uid> {
    Some(Uid::new(json["type"].as_str()?, json["id"].as_str()?))
}

fn file(name: &str, text: String) -> SourceFile {
    SourceFile { name: name.to_owned(), text }
}

/// Make a file of a list of entities.
pub(crate) fn entity_file(entities: &[Json]) -> SourceFile {
    file("store.entities.json", Json::Array(entities.to_vec()).to_string())
}

impl Case {
    /// Return the case that a swap makes of this one, with the entities that the store then has.
    pub fn swapped(&self, swap: &Swap, entities: &[Json]) -> Self {
        Self {
            schema: self.schema.clone(),
            policies: swap.policies.clone(),
            links: swap.links.clone(),
            strict_errors: swap.strict_errors,
            entities: entities.to_vec(),
            ..Self::default()
        }
    }

    /// Return the sources to compile.
    pub fn sources(&self) -> Sources {
        let mut files = vec![file("case.cedar", self.policies.clone())];
        files.extend(self.links.iter().map(|links| file("case.links.json", links.clone())));
        Sources {
            files,
            schema: file("case.cedarschema", self.schema.clone()),
            entities: Some(entity_file(&self.entities)),
        }
    }

    /// Return the requests of each step as values.
    pub fn asks(&self) -> Result<Vec<Vec<Ask>>, String> {
        let sources = Sources { entities: None, ..self.sources() };
        let loaded = ztfast_cedar::load(&sources, Mode::Permissive, &|_, _| {}).map_err(|e| e.to_string())?;
        let of = |step: &Step| step.requests.iter().map(|request| request.ask(&loaded.authorizer)).collect();
        self.steps.iter().map(of).collect()
    }
}

/// Write an entity in Cedar's JSON.
pub(crate) fn entity_json(entity: &crate::world::Entity) -> Json {
    let fields = |fields: &std::collections::BTreeMap<std::sync::Arc<str>, Datum>| -> Json {
        Json::Object(fields.iter().map(|(key, value)| (key.to_string(), value_json(value))).collect())
    };
    let mut made = json!({
        "uid": uid_json(&entity.uid),
        "attrs": fields(&entity.attrs),
        "parents": entity.parents.iter().map(uid_json).collect::<Vec<_>>(),
    });
    if !entity.tags.is_empty() {
        made["tags"] = fields(&entity.tags);
    }
    made
}
