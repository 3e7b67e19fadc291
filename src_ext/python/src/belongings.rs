//! Objects that live as long as a bundle decides: those that represent it in Python, and the reader of entities.

use crate::bundle::Bundle;
use crate::changelog::Refusal;
use crate::errors::raise;
use pyo3::prelude::*;
use serde::Deserialize;
use std::sync::Arc;
use ztfast_cedar::{EntityReader, SourceFile};
use ztfast_engine::{Attached, Snapshot};

/// The objects that the engine keeps with a bundle and drops with it.
pub(crate) struct Belongings {
    /// The core's bundle, for Cedar's own answers.
    pub bundle: Py<Bundle>,
    /// The `ztfast.Bundle` that represents it.
    pub shown: Py<PyAny>,
    /// Reads entities by the bundle's schema. It is made before the bundle decides, so that the first change takes no
    /// longer than others.
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

    /// Return the belongings of a snapshot's bundle.
    pub fn of<'s>(py: Python<'_>, snapshot: &'s Snapshot) -> PyResult<&'s Self> {
        let attached = snapshot.attached().and_then(|attached| attached.downcast_ref::<Self>());
        attached.ok_or_else(|| raise(py, "Error", "the bundle has no owner: this is a bug of ztfast"))
    }
}

/// Make a reader of entities by a bundle's schema. Of the sources this reads the schema alone: there may be many
/// policies.
pub(crate) fn entity_reader(bundle: &ztfast_bundle::Bundle) -> Result<Arc<EntityReader>, Refusal> {
    #[derive(Deserialize)]
    struct Schema {
        schema: SourceFile,
    }
    let damaged = |error: &dyn std::fmt::Display| Refusal::Damaged(error.to_string());
    let sources = bundle.sources().map_err(|error| damaged(&error))?;
    let sources: Schema = serde_json::from_slice(sources).map_err(|error| damaged(&error))?;
    EntityReader::new(&sources.schema).map(Arc::new).map_err(Refusal::Load)
}
