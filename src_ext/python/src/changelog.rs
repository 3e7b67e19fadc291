//! What was changed since a bundle came: each entity's own text in Cedar's JSON, and why a change is refused.

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

/// What became of each entity that was changed since the bundle came: its text in Cedar's JSON, or nothing where it was
/// taken out.
#[derive(Default)]
pub(crate) struct Log {
    pub entries: HashMap<OwnedUid, Option<Box<str>>>,
}

impl Log {
    /// How many bytes it takes, about.
    pub fn bytes(&self) -> usize {
        let entry = |((ty, id), text): (&OwnedUid, &Option<Box<str>>)| {
            ty.len() + id.len() + text.as_ref().map_or(0, |text| text.len()) + 2 * size_of::<(OwnedUid, usize, usize)>()
        };
        self.entries.iter().map(entry).sum()
    }

    /// Note entities that were put in, and those that were taken out.
    pub fn note(&mut self, put: Vec<(OwnedUid, Box<str>)>, taken: &[OwnedUid]) {
        self.entries.extend(put.into_iter().map(|(uid, text)| (uid, Some(text))));
        self.entries.extend(taken.iter().map(|uid| (uid.clone(), None)));
    }
}

/// The entities of a list in Cedar's JSON: as the engine takes them, and each with its own text.
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
                // A form that only Cedar knows.
                let own = reader.read(&file(&format!("[{}]", raw.get())))?;
                texts.extend(own.into_iter().map(|own| (entity_data(own).uid, raw.get().into())));
            }
        }
        // Actions come from the schema, and change nothing.
        let known: HashSet<&OwnedUid> = data.iter().map(|data| &data.uid).collect();
        texts.retain(|(uid, _)| known.contains(uid));
        Ok(Self { data, texts })
    }
}

/// The uid of an entity in one of the usual forms.
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
