//! Cedar itself: for `explain`, for policies left to it, and for tests that hold the engine against it.

use crate::context::{Reader, action_text};
use crate::errors::{raise, refused};
use crate::uid;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::HashMap;
use std::sync::Arc;
use ztfast_bundle::{ActionMeta, Bundle, Field, Node};
use ztfast_engine::{ReferenceAnswer, UidRef};
use ztfast_policy::ir::{Ip, Uid, Value};
use ztfast_policy::{Mode, Sources};
use ztfast_program::{Arena, Cell, EntityRef, FOREIGN_STRING, Request, Tag};

/// Cedar over the sources that a bundle was compiled from.
pub(crate) struct Cedar {
    reference: ztfast_policy::Reference,
    /// Policy numbers by id.
    numbers: HashMap<String, u32>,
    bundle: Arc<Bundle>,
}

impl Cedar {
    /// Read the sources in a bundle again.
    pub fn new(bundle: &Arc<Bundle>) -> Result<Self, String> {
        let sources: Sources = serde_json::from_slice(bundle.sources_json()).map_err(|e| e.to_string())?;
        let loaded = ztfast_policy::load(&sources, Mode::Permissive).map_err(|e| e.to_string())?;
        Ok(Self::of(bundle, loaded.reference))
    }

    pub fn of(bundle: &Arc<Bundle>, reference: ztfast_policy::Reference) -> Self {
        let numbers =
            (0_u32..).zip(&bundle.meta().policies).map(|(number, policy)| (policy.id.clone(), number)).collect();
        Self { reference, numbers, bundle: bundle.clone() }
    }

    pub const fn reference(&self) -> &ztfast_policy::Reference {
        &self.reference
    }
}

/// The engine's view of a shared [`Cedar`].
pub(crate) struct Shared(pub Arc<Cedar>);

impl ztfast_engine::Reference for Shared {
    fn authorize(
        &self,
        action: u32,
        principal: UidRef<'_>,
        resource: UidRef<'_>,
        request: &Request<'_>,
        uid: &dyn Fn(EntityRef) -> Option<(String, String)>,
    ) -> Option<ReferenceAnswer> {
        let cedar = &*self.0;
        let action = cedar.bundle.meta().actions.get(action as usize)?;
        let values = Values { bundle: &cedar.bundle, request, uid };
        let context = values.context(&action.context)?;
        let ir = |uid: UidRef<'_>| Uid::new(uid.ty, uid.id);
        let action = Uid::new(action.ty.as_str(), action.id.as_str());
        let answer = cedar.reference.authorize(&ir(principal), &action, &ir(resource), &context).ok()?;
        let reasons: Option<Vec<u32>> = answer.reasons.iter().map(|id| cedar.numbers.get(&**id).copied()).collect();
        Some(ReferenceAnswer { allow: answer.allow, reasons: reasons? })
    }
}

/// A request's slots as Cedar values.
struct Values<'a> {
    bundle: &'a Bundle,
    request: &'a Request<'a>,
    uid: &'a dyn Fn(EntityRef) -> Option<(String, String)>,
}

impl Values<'_> {
    fn context(&self, fields: &[Field]) -> Option<Value> {
        let mut record = std::collections::BTreeMap::new();
        for field in fields {
            let value = match &field.node {
                Node::Leaf { slot, .. } => match self.request.slot(*slot) {
                    Some(cell) => self.value(cell)?,
                    None => continue,
                },
                Node::Record { presence: Some(slot), .. } if self.request.number(*slot).is_none() => continue,
                Node::Record { fields, .. } => self.context(fields)?,
            };
            record.insert(Arc::from(field.name.as_str()), value);
        }
        Some(Value::Record(record))
    }

    #[allow(clippy::cast_possible_truncation)] // numbers of texts and IPv4 addresses have 32 bits
    fn value(&self, cell: Cell) -> Option<Value> {
        let part = |at: u32| self.request.cells.get((cell.start() + at) as usize).copied();
        if !cell.is_scalar() && cell.arena() != Some(Arena::Request) {
            return None;
        }
        Some(match Tag::from_u32(cell.tag)? {
            Tag::Missing => return None,
            Tag::Bool => Value::Bool(cell.payload != 0),
            Tag::Long => Value::Long(cell.as_i64()),
            Tag::String => Value::String(self.text(cell.payload)?.into()),
            Tag::Entity => {
                let (ty, id) = (self.uid)(EntityRef::from_bits(cell.payload))?;
                Value::Entity(Uid::new(ty, id))
            }
            Tag::Decimal => Value::Decimal(cell.as_i64()),
            Tag::Datetime => Value::Datetime(cell.as_i64()),
            Tag::Duration => Value::Duration(cell.as_i64()),
            Tag::Ip4 => Value::Ip(Ip::V4(cell.payload as u32, (cell.payload >> 32) as u8)),
            Tag::Ip6 => Value::Ip(Ip::V6(part(0)?.wide_bits(), u8::try_from(cell.len()).ok()?)),
            Tag::Set => Value::Set((0..cell.len()).map(|at| self.value(part(at)?)).collect::<Option<_>>()?),
            Tag::Record => Value::Record(
                (0..cell.len())
                    .map(|at| Some((self.text(part(2 * at)?.payload)?.into(), self.value(part(2 * at + 1)?)?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }

    #[allow(clippy::cast_possible_truncation)] // numbers of texts have 32 bits
    fn text(&self, number: u64) -> Option<&str> {
        if number & FOREIGN_STRING == 0 {
            return self.bundle.string(number as u32);
        }
        std::str::from_utf8(self.request.strings.get(number as u32)?).ok()
    }
}

/// Cedar's own authorizer over the sources of a bundle, without anything of ours between.
#[pyclass(frozen, module = "ztfast._core")]
pub(crate) struct Reference {
    cedar: Arc<Cedar>,
}

#[pymethods]
impl Reference {
    #[new]
    fn new(py: Python<'_>, bundle: &crate::bundle::Bundle) -> PyResult<Self> {
        Ok(Self { cedar: bundle.cedar(py)? })
    }

    /// Cedar's decision: (allow, reasons, errors as (policy id, message)). The context is a dict by the schema's types.
    fn authorize(
        &self,
        py: Python<'_>,
        principal: &Bound<'_, PyAny>,
        action: &str,
        resource: &Bound<'_, PyAny>,
        context: &Bound<'_, PyDict>,
    ) -> PyResult<Answer> {
        let meta = &crate::engine::find_action(py, &self.cedar.bundle, action)?;
        let context = Reader { action: &action_text(meta) }.record(&meta.context, "", context)?;
        let uid = |value| uid::extract(value).map(|(ty, id)| Uid::new(ty, id));
        answer(py, &self.cedar, &uid(principal)?, meta, &uid(resource)?, &context)
    }
}

/// Decision, determining policies, and the policies that erred with their messages.
pub(crate) type Answer = (bool, Vec<String>, Vec<(String, String)>);

pub(crate) fn answer(
    py: Python<'_>,
    cedar: &Cedar,
    principal: &Uid,
    action: &ActionMeta,
    resource: &Uid,
    context: &Value,
) -> PyResult<Answer> {
    let action = Uid::new(action.ty.as_str(), action.id.as_str());
    let answer = cedar
        .reference
        .authorize(principal, &action, resource, context)
        .map_err(|error| raise(py, "ContextError", &error.to_string()))?;
    Ok((
        answer.allow,
        answer.reasons.iter().map(ToString::to_string).collect(),
        answer.errors.into_iter().map(|(id, message)| (id.to_string(), message)).collect(),
    ))
}

/// The error of sources that Cedar refuses.
pub(crate) fn load(py: Python<'_>, sources: &Sources, mode: Mode) -> PyResult<ztfast_policy::Loaded> {
    py.detach(|| ztfast_policy::load(sources, mode)).map_err(|error| refused(py, &error))
}
