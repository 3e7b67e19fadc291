//! The changes made since a bundle began to decide: each entity's own text in Cedar's JSON, and why a change is
//! refused.

use crate::errors::raise;
use crate::exceptions::{engine_error, forked, policy_error};
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use ztfast_cedar::{EntityReader, LoadError, SourceFile};
use ztfast_engine::{ChangeError, EntityData, SwapError};
use ztfast_explain::entity_data;

/// A type and an id.
pub(crate) type OwnedUid = (String, String);

/// The newest state of each entity that was changed since the bundle began to decide: its text in Cedar's JSON, or
/// `None` where it was removed.
#[derive(Default)]
pub(crate) struct Log {
    pub entries: HashMap<OwnedUid, Option<Box<str>>>,
}

impl Log {
    /// Estimate how many bytes the log takes.
    pub fn bytes(&self) -> usize {
        let entry = |((ty, id), text): (&OwnedUid, &Option<Box<str>>)| {
            ty.len() + id.len() + text.as_ref().map_or(0, |text| text.len()) + 2 * size_of::<(OwnedUid, usize, usize)>()
        };
        self.entries.iter().map(entry).sum()
    }

    /// Record upserts and removals.
    pub fn record(&mut self, upserts: Vec<(OwnedUid, Box<str>)>, removals: &[OwnedUid]) {
        self.entries.extend(upserts.into_iter().map(|(uid, text)| (uid, Some(text))));
        self.entries.extend(removals.iter().map(|uid| (uid.clone(), None)));
    }
}

/// The entities of a list in Cedar's JSON, in the form that the engine takes, and the text of each.
pub(crate) struct Given {
    pub data: Vec<EntityData>,
    pub texts: Vec<(OwnedUid, Box<str>)>,
}

impl Given {
    pub fn read(reader: &EntityReader, name: &str, text: &str) -> Result<Self, LoadError> {
        let file = |text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
        let data: Vec<EntityData> = reader.read(&file(text))?.into_iter().map(entity_data).collect();
        let raw: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        let mut texts = Vec::with_capacity(raw.len());
        for raw in raw {
            if let Some(uid) = uid_of(raw.get()) {
                texts.push((uid, raw.get().into()));
            } else {
                // Only Cedar reads this form of a uid.
                let own = reader.read(&file(&format!("[{}]", raw.get())))?;
                texts.extend(own.into_iter().map(|own| (entity_data(own).uid, raw.get().into())));
            }
        }
        // Actions come from the schema, so upserts of them have no effect.
        let known: HashSet<&OwnedUid> = data.iter().map(|data| &data.uid).collect();
        texts.retain(|(uid, _)| known.contains(uid));
        Ok(Self { data, texts })
    }
}

/// Return the uid of an entity whose uid has one of the usual forms.
fn uid_of(text: &str) -> Option<OwnedUid> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Plain {
        r#type: String,
        id: String,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Uid {
        Plain(Plain),
        Marked { __entity: Plain },
    }
    #[derive(Deserialize)]
    struct Entity {
        uid: Uid,
    }
    let Entity { uid: Uid::Plain(uid) | Uid::Marked { __entity: uid } } = serde_json::from_str(text).ok()?;
    Some((uid.r#type, uid.id))
}

/// Why a change or a swap was refused.
pub(crate) enum Refusal {
    Damaged(String),
    Load(LoadError),
    Swap(SwapError),
}

impl Refusal {
    pub fn raise(&self, py: Python<'_>) -> PyErr {
        match self {
            Self::Damaged(why) => raise(py, "BundleError", why),
            Self::Load(error) => policy_error(py, error),
            Self::Swap(SwapError::Engine(error)) => engine_error(py, error),
            Self::Swap(SwapError::Change(ChangeError::Forked(_))) => forked(py),
            Self::Swap(error) => raise(py, "EntityError", &error.to_string()),
        }
    }
}
