//! Swaps and changes for Python, and the changes that a swap keeps.

use crate::belongings::{Belongings, entity_reader};
use crate::bundle::Bundle;
use crate::changelog::{Given, Log, OwnedUid, Refusal};
use crate::exceptions::forked;
use pyo3::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use ztfast_engine::{Engine, StaleGates, Swap, SwapError};

/// The outcome of a swap.
#[derive(Default)]
pub(crate) struct Swapped {
    /// Entities whose changes were repeated over the new bundle.
    pub kept: Vec<OwnedUid>,
    /// Entities whose changes were dropped.
    pub forgotten: Vec<OwnedUid>,
    /// Gates that the new bundle does not fit, for which the swap was refused.
    pub stale: Vec<StaleGates>,
}

/// Put entities into the store, and remove others.
pub(crate) fn change(
    py: Python<'_>,
    engine: &Engine,
    log: &Mutex<Log>,
    upserts: Option<&str>,
    removals: &[OwnedUid],
) -> PyResult<()> {
    // This comes before any lock: a thread that held one at the fork releases it in the parent only.
    if engine.is_forked() {
        return Err(forked(py));
    }
    // No Python code runs while the lock is held, and its holder does not wait for the GIL, so that waiting for the
    // lock cannot deadlock.
    let snapshot = engine.snapshot();
    let reader = Belongings::of(py, &snapshot)?.reader.clone();
    drop(snapshot);
    let done = py.detach(|| {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have swapped the bundle meanwhile.
        let snapshot = engine.snapshot();
        let newest = snapshot.attached().and_then(|attached| attached.downcast_ref::<Belongings>());
        let reader = newest.map_or(&reader, |newest| &newest.reader);
        let given = match upserts {
            Some(text) => Given::read(reader, "<entities>", text).map_err(Refusal::Load)?,
            None => Given { data: Vec::new(), texts: Vec::new() },
        };
        engine.change(&given.data, removals).map_err(|error| Refusal::Swap(error.into()))?;
        log.record(given.texts, removals);
        Ok(())
    });
    done.map_err(|refusal: Refusal| refusal.raise(py))
}

/// Swap the bundle, and apply changes in the same step.
pub(crate) fn swap(
    py: Python<'_>,
    (engine, log): (&Engine, &Mutex<Log>),
    (bundle, shown): (&Bound<'_, Bundle>, Py<PyAny>),
    keep: bool,
    upserts: Option<&str>,
    allow_stale: bool,
) -> PyResult<Swapped> {
    // This comes before any lock: a thread that held one at the fork releases it in the parent only.
    if engine.is_forked() {
        return Err(forked(py));
    }
    let fallback = bundle.get().fallback(py)?;
    let (inner, owner) = (bundle.get().inner.clone(), bundle.clone().unbind());
    // The GIL is released once for all steps: a thread may wait long to get it back.
    let done = py.detach(move || {
        let reader = entity_reader(&inner)?;
        let attached = Some(Belongings { bundle: owner, shown, reader: reader.clone() }.attach());
        // As in `change`, no Python code runs while the lock is held.
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
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
        match engine.swap_with(inner.clone(), swap) {
            Ok(()) => {}
            Err(SwapError::Stale(stale)) => return Ok(Swapped { stale, ..Swapped::default() }),
            Err(error) => return Err(Refusal::Swap(error)),
        }
        if !keep {
            log.entries = HashMap::new();
        }
        log.record(given.texts, &[]);
        done.kept.sort_unstable();
        done.forgotten.sort_unstable();
        Ok(done)
    });
    done.map_err(|refusal: Refusal| refusal.raise(py))
}

/// Return a function that tells whether a bundle names an entity. Other entities need no removal, and recording one
/// takes memory.
fn names(bundle: &ztfast_bundle::Bundle) -> impl Fn(&OwnedUid) -> bool {
    let name = |record: &ztfast_bundle::TypeRec| bundle.string(record.name);
    let types: HashMap<&str, u32> =
        (0_u32..).zip(bundle.types()).filter_map(|(number, record)| Some((name(record)?, number))).collect();
    move |(ty, id)| types.get(ty.as_str()).is_some_and(|&number| bundle.find_entity(number, id).is_some())
}

/// Swap to the same bundle, repeat the changes, and drop what decisions no longer need.
pub(crate) fn compact(py: Python<'_>, engine: &Engine, log: &Mutex<Log>) -> PyResult<()> {
    // This comes before any lock: a thread that held one at the fork releases it in the parent only.
    if engine.is_forked() {
        return Err(forked(py));
    }
    // Another swap may come first. It has then done this work, but for changes that came after it.
    let snapshot = engine.snapshot();
    let belongings = Belongings::of(py, &snapshot)?;
    let fallback = belongings.bundle.get().fallback(py)?;
    let (bundle, reader) = (snapshot.bundle().clone(), belongings.reader.clone());
    let attached = snapshot.attached().cloned();
    drop(snapshot);
    let done = py.detach(move || {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(engine.snapshot().bundle(), &bundle) {
            return Ok(());
        }
        let texts: Vec<&str> = log.entries.values().filter_map(|text| text.as_deref()).collect();
        let text = format!("[{}]", texts.join(",\n"));
        let data = Given::read(&reader, "<changes since the last bundle>", &text).map_err(Refusal::Load)?.data;
        let has = names(&bundle);
        let taken = log.entries.iter().filter(|(uid, text)| text.is_none() && has(uid));
        let removals: Vec<OwnedUid> = taken.map(|(uid, _)| uid.clone()).collect();
        let swap = Swap { fallback, attached, upserts: &data, removals: &removals, allow_stale: true };
        engine.swap_with(bundle.clone(), swap).map_err(Refusal::Swap)?;
        log.entries.retain(|uid, text| text.is_some() || has(uid));
        log.entries.shrink_to_fit();
        Ok(())
    });
    done.map_err(|refusal: Refusal| refusal.raise(py))
}
