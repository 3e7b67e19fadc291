//! A case: everything that one comparison needs, as text and values; and as the file that a failure leaves.

use crate::literals::{uid_json, value_json};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use ztfast_cedar::ir::{Datum, Uid};
use ztfast_cedar::{Authorizer, Mode, SourceFile, Sources};

/// Policies, schema, a store, and what happens to it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Case {
    /// What went wrong, when it was found.
    pub found: String,
    pub schema: String,
    pub policies: String,
    /// Links of templates, as Cedar's command line has them.
    pub links: Option<String>,
    /// Entities of the store, in Cedar's JSON.
    pub entities: Vec<Json>,
    pub steps: Vec<Step>,
}

/// A change of the store, and requests after it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Entities that are put in.
    pub upsert: Vec<Json>,
    /// Uids of entities that are taken out.
    pub remove: Vec<Json>,
    pub requests: Vec<RequestText>,
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
    /// As JSON.
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
    /// As values.
    pub fn ask(&self, authorizer: &Authorizer) -> Result<Ask, String> {
        let uid = |json: &Json| uid_of(json).ok_or_else(|| format!("no uid: {json}"));
        let action = uid(&self.action)?;
        let context = authorizer.context_from_json(&action, &self.context.to_string()).map_err(|e| e.to_string())?;
        Ok(Ask { principal: uid(&self.principal)?, action, resource: uid(&self.resource)?, context })
    }
}

/// The uid of `{"type": ..., "id": ...}`.
pub(crate) fn uid_of(json: &Json) -> Option<Uid> {
    Some(Uid::new(json["type"].as_str()?, json["id"].as_str()?))
}

fn file(name: &str, text: String) -> SourceFile {
    SourceFile { name: name.to_owned(), text }
}

/// A list of entities as a file.
pub(crate) fn entity_file(entities: &[Json]) -> SourceFile {
    file("store.entities.json", Json::Array(entities.to_vec()).to_string())
}

impl Case {
    /// What is compiled.
    pub fn sources(&self) -> Sources {
        let mut files = vec![file("case.cedar", self.policies.clone())];
        files.extend(self.links.iter().map(|links| file("case.links.json", links.clone())));
        Sources {
            files,
            schema: file("case.cedarschema", self.schema.clone()),
            entities: Some(entity_file(&self.entities)),
        }
    }

    /// The requests of each step as values.
    pub fn asks(&self) -> Result<Vec<Vec<Ask>>, String> {
        let sources = Sources { entities: None, ..self.sources() };
        let loaded = ztfast_cedar::load(&sources, Mode::Permissive, &|_, _| {}).map_err(|e| e.to_string())?;
        let of = |step: &Step| step.requests.iter().map(|request| request.ask(&loaded.authorizer)).collect();
        self.steps.iter().map(of).collect()
    }
}

/// An entity in Cedar's JSON.
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
