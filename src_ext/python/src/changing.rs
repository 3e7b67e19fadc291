//! Swaps and changes as Python asks for them: what came with a bundle, and what was changed since.

use crate::bundle::Bundle;
use crate::errors::{forked, raise, refused};
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use ztfast_bundle::OpenError;
use ztfast_cedar::{EntityReader, LoadError, SourceFile};
use ztfast_engine::{Attached, ChangeError, EngineError, EntityData, Snapshot, StaleGates, Swap, SwapError};
use ztfast_explain::entity_data;

/// What comes and goes with a bundle.
pub(crate) struct Belongings {
    /// The core's bundle, for Cedar's own answers, and the `ztfast.Bundle` that shows it.
    pub bundle: Py<Bundle>,
    pub shown: Py<PyAny>,
    /// Reads entities by the bundle's schema: made with it, so that the first change takes no longer than others.
    pub reader: Arc<EntityReader>,
}

impl Belongings {
    pub fn new(py: Python<'_>, bundle: &Bound<'_, Bundle>, shown: Py<PyAny>) -> PyResult<Self> {
        let inner = bundle.get().inner.clone();
        let reader = py.detach(|| entity_reader(&inner)).map_err(|refusal| refusal.raise(py))?;
        Ok(Self { bundle: bundle.clone().unbind(), shown, reader })
    }

    pub fn attach(self) -> Attached {
        Arc::new(self)
    }

    /// Those of a snapshot's bundle.
    pub fn of<'s>(py: Python<'_>, snapshot: &'s Snapshot) -> PyResult<&'s Self> {
        let attached = snapshot.attached().and_then(|attached| attached.downcast_ref::<Self>());
        attached.ok_or_else(|| raise(py, "Error", "the bundle has no owner: this is a bug of ztfast"))
    }
}

/// What reads entities by a bundle's schema. Of the sources only the schema is read: the policies may be many.
fn entity_reader(bundle: &ztfast_bundle::Bundle) -> Result<Arc<EntityReader>, Refusal> {
    #[derive(Deserialize)]
    struct Schema {
        schema: SourceFile,
    }
    let damaged = |error: &dyn std::fmt::Display| Refusal::Damaged(error.to_string());
    let sources = bundle.sources().map_err(|error| damaged(&error))?;
    let sources: Schema = serde_json::from_slice(sources).map_err(|error| damaged(&error))?;
    EntityReader::new(&sources.schema).map(Arc::new).map_err(Refusal::Load)
}

/// A type and an id.
pub(crate) type OwnedUid = (String, String);

/// What became of each entity that was changed since the bundle came: its text in Cedar's JSON, or nothing where it was
/// taken out.
#[derive(Default)]
pub(crate) struct Log {
    entries: HashMap<OwnedUid, Option<Box<str>>>,
}

/// Why a change or a swap was refused.
enum Refusal {
    Damaged(String),
    Load(LoadError),
    Swap(SwapError),
}

/// What came of a swap.
#[derive(Default)]
pub(crate) struct Swapped {
    /// Changes that were made again, and those that were forgotten.
    pub kept: Vec<OwnedUid>,
    pub forgotten: Vec<OwnedUid>,
    /// Gates for whose sake it was refused.
    pub stale: Vec<StaleGates>,
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

/// Put entities into the store, and take some out.
pub(crate) fn change(
    py: Python<'_>,
    engine: &super::engine::Engine,
    upserts: Option<&str>,
    removals: &[OwnedUid],
) -> PyResult<()> {
    // Before any lock is taken: whoever held it at the fork gives it back in the parent only.
    if engine.inner.is_forked() {
        return Err(forked(py));
    }
    // No Python code runs in here: whoever waits for the lock waits for nobody who waits for Python.
    let snapshot = engine.inner.snapshot();
    let reader = Belongings::of(py, &snapshot)?.reader.clone();
    drop(snapshot);
    let done = py.detach(|| {
        let mut log = engine.log.lock().unwrap_or_else(PoisonError::into_inner);
        // A bundle may have come since.
        let snapshot = engine.inner.snapshot();
        let newest = snapshot.attached().and_then(|attached| attached.downcast_ref::<Belongings>());
        let reader = newest.map_or(&reader, |newest| &newest.reader);
        let given = match upserts {
            Some(text) => Given::read(reader, "<entities>", text).map_err(Refusal::Load)?,
            None => Given { data: Vec::new(), texts: Vec::new() },
        };
        engine.inner.change(&given.data, removals).map_err(|error| Refusal::Swap(error.into()))?;
        log.note(given.texts, removals);
        Ok(())
    });
    done.map_err(|refusal: Refusal| refusal.raise(py))
}

/// Decide by another bundle from now on, with what comes in the same step.
pub(crate) fn swap(
    py: Python<'_>,
    engine: &super::engine::Engine,
    (bundle, shown): (&Bound<'_, Bundle>, Py<PyAny>),
    keep: bool,
    upserts: Option<&str>,
    allow_stale: bool,
) -> PyResult<Swapped> {
    // Before any lock is taken: whoever held it at the fork gives it back in the parent only.
    if engine.inner.is_forked() {
        return Err(forked(py));
    }
    let fallback = bundle.get().fallback(py)?;
    let (inner, owner) = (bundle.get().inner.clone(), bundle.clone().unbind());
    // All at once: whoever lets go of the GIL may wait long for it.
    let done = py.detach(move || {
        let reader = entity_reader(&inner)?;
        let attached = Some(Belongings { bundle: owner, shown, reader: reader.clone() }.attach());
        // As above.
        let mut log = engine.log.lock().unwrap_or_else(PoisonError::into_inner);
        let given = match upserts {
            Some(text) => Given::read(&reader, "<entities>", text).map_err(Refusal::Load)?,
            None => Given { data: Vec::new(), texts: Vec::new() },
        };
        let named: HashSet<&OwnedUid> = given.texts.iter().map(|(uid, _)| uid).collect();
        let mut done = Swapped::default();
        let mut data = Vec::new();
        let mut removals: Vec<OwnedUid> = Vec::new();
        if keep {
            let kept = log.entries.iter().filter(|(uid, _)| !named.contains(uid));
            let texts: Vec<&str> = kept.clone().filter_map(|(_, text)| text.as_deref()).collect();
            let text = format!("[{}]", texts.join(",\n"));
            data = Given::read(&reader, "<changes since the last bundle>", &text).map_err(Refusal::Load)?.data;
            let has = names(&inner);
            removals = kept.filter(|(uid, text)| text.is_none() && has(uid)).map(|(uid, _)| uid.clone()).collect();
            done.kept = log.entries.keys().filter(|uid| !named.contains(uid)).cloned().collect();
        } else {
            done.forgotten = log.entries.keys().filter(|uid| !named.contains(uid)).cloned().collect();
        }
        data.extend(given.data.iter().cloned());
        let swap = Swap { fallback, attached, upserts: &data, removals: &removals, allow_stale };
        match engine.inner.swap_with(inner.clone(), swap) {
            Ok(()) => {}
            Err(SwapError::Stale(stale)) => return Ok(Swapped { stale, ..Swapped::default() }),
            Err(error) => return Err(Refusal::Swap(error)),
        }
        if !keep {
            log.entries = HashMap::new();
        }
        log.note(given.texts, &[]);
        done.kept.sort_unstable();
        done.forgotten.sort_unstable();
        Ok(done)
    });
    done.map_err(|refusal: Refusal| refusal.raise(py))
}

/// Whether a bundle names an entity: of others there is nothing to take out, and noting that they are not there takes room.
fn names(bundle: &ztfast_bundle::Bundle) -> impl Fn(&OwnedUid) -> bool {
    let name = |record: &ztfast_bundle::TypeRec| bundle.string(record.name);
    let types: HashMap<&str, u32> =
        (0_u32..).zip(bundle.types()).filter_map(|(number, record)| Some((name(record)?, number))).collect();
    move |(ty, id)| types.get(ty.as_str()).is_some_and(|&number| bundle.find_entity(number, id).is_some())
}

/// Decide by the same bundle from now on, without what nobody needs.
pub(crate) fn compact(py: Python<'_>, engine: &super::engine::Engine) -> PyResult<()> {
    // Before any lock is taken: whoever held it at the fork gives it back in the parent only.
    if engine.inner.is_forked() {
        return Err(forked(py));
    }
    // Another swap may come between: then it has done the work, unless changes came after it.
    let snapshot = engine.inner.snapshot();
    let belongings = Belongings::of(py, &snapshot)?;
    let fallback = belongings.bundle.get().fallback(py)?;
    let (bundle, reader) = (snapshot.bundle().clone(), belongings.reader.clone());
    let attached = snapshot.attached().cloned();
    drop(snapshot);
    let done = py.detach(move || {
        let mut log = engine.log.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(engine.inner.snapshot().bundle(), &bundle) {
            return Ok(());
        }
        let texts: Vec<&str> = log.entries.values().filter_map(|text| text.as_deref()).collect();
        let text = format!("[{}]", texts.join(",\n"));
        let data = Given::read(&reader, "<changes since the last bundle>", &text).map_err(Refusal::Load)?.data;
        let has = names(&bundle);
        let taken = log.entries.iter().filter(|(uid, text)| text.is_none() && has(uid));
        let removals: Vec<OwnedUid> = taken.map(|(uid, _)| uid.clone()).collect();
        let swap = Swap { fallback, attached, upserts: &data, removals: &removals, allow_stale: true };
        engine.inner.swap_with(bundle.clone(), swap).map_err(Refusal::Swap)?;
        log.entries.retain(|uid, text| text.is_some() || has(uid));
        log.entries.shrink_to_fit();
        Ok(())
    });
    done.map_err(|refusal: Refusal| refusal.raise(py))
}

impl Refusal {
    fn raise(&self, py: Python<'_>) -> PyErr {
        match self {
            Self::Damaged(why) => raise(py, "BundleError", why),
            Self::Load(error) => refused(py, error),
            Self::Swap(SwapError::Engine(error)) => no_engine(py, error),
            Self::Swap(SwapError::Change(ChangeError::Forked(_))) => forked(py),
            Self::Swap(error) => raise(py, "EntityError", &error.to_string()),
        }
    }
}

/// Why there is no engine over a bundle, as an exception.
pub(crate) fn no_engine(py: Python<'_>, error: &EngineError) -> PyErr {
    let class = match error {
        EngineError::Forked(_) => return crate::errors::forked(py),
        EngineError::Memory(_)
        | EngineError::NoRandomness(_)
        | EngineError::Process(_)
        | EngineError::Bundle(OpenError::Copy { .. }) => "CapacityError",
        EngineError::Bundle(_) => "BundleError",
    };
    raise(py, class, &error.to_string())
}
