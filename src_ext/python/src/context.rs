//! Converts contexts, which are Python dicts, to Cedar values and to requests, by the schema's types.
//!
//! A value of a wrong type raises. A value of the right type that is out of its range is recorded, and reading goes on,
//! so that a wrong type beside it still raises. The caller then gets the record instead of a value.

use crate::errors::{if_any, raise, shown};
use crate::reader::{EACH, Reader, Refused, is_absent};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::collections::BTreeMap;
use std::sync::Arc;
use ztfast_bundle::{Field, Node, ValueType};
use ztfast_cedar::ir::Datum;
use ztfast_engine::{Code, RequestBuilder};
use ztfast_explain::request_value;
use ztfast_vm::{Tag, Value};

/// A function that is called for each attribute that is given, with its field, its path and its value.
type Visit<'v> = &'v mut dyn FnMut(&Field, &str, &Bound<'_, PyAny>) -> PyResult<()>;

impl Reader<'_> {
    /// Convert a whole context to a record.
    pub fn record(&self, fields: &[Field], dict: &Bound<'_, PyDict>) -> PyResult<Result<Datum, Refused>> {
        self.read(self.fields(fields, "", dict))
    }

    /// Put a whole context into a request's slots. A request with a value that is out of range must not be decided.
    pub fn request(
        &self,
        fields: &[Field],
        dict: &Bound<'_, PyDict>,
        builder: &mut RequestBuilder<'_>,
    ) -> PyResult<Result<(), Refused>> {
        let mut large = Vec::new();
        let read = self.fill(fields, "", dict, builder, &mut large);
        self.filled(dict.py(), read, large, builder)
    }

    /// Put the sets and records into their slots, unless the request was refused.
    pub fn filled(
        &self,
        py: Python<'_>,
        read: PyResult<()>,
        large: Vec<Pending>,
        builder: &mut RequestBuilder<'_>,
    ) -> PyResult<Result<(), Refused>> {
        let filled = match self.read(read)? {
            Ok(()) if large.is_empty() => return Ok(Ok(())),
            Ok(()) if self.is_large() => py.detach(|| put(large, builder)),
            Ok(()) => put(large, builder),
            Err(out) => return Ok(Err(out)),
        };
        Ok(filled.map_err(|path| Refused {
            code: Code::BadValue,
            why: format!("{}: context attribute '{path}': an enumerated type has no such entity", self.action),
        }))
    }

    fn fields(&self, fields: &[Field], prefix: &str, dict: &Bound<'_, PyDict>) -> PyResult<Datum> {
        let mut record = BTreeMap::new();
        self.each(fields, prefix, dict, &mut |field, path, value| {
            let value = match &field.node {
                Node::Leaf { ty, .. } => self.value(ty, path, value)?,
                Node::Record { fields, .. } => self.fields(fields, &format!("{path}."), self.dict(path, value)?)?,
            };
            record.insert(Arc::from(field.name.as_str()), value);
            Ok(())
        })?;
        Ok(Datum::Record(record))
    }

    fn fill(
        &self,
        fields: &[Field],
        prefix: &str,
        dict: &Bound<'_, PyDict>,
        builder: &mut RequestBuilder<'_>,
        large: &mut Vec<Pending>,
    ) -> PyResult<()> {
        self.each(fields, prefix, dict, &mut |field, path, value| {
            match &field.node {
                Node::Leaf { slot, ty } => self.fill_leaf(*slot, ty, path, value, builder, large)?,
                Node::Record { presence, fields } => {
                    if let Some(slot) = presence {
                        builder.put(*slot, Value::bool(true));
                    }
                    self.fill(fields, &format!("{path}."), self.dict(path, value)?, builder, large)?;
                }
            }
            Ok(())
        })
    }

    /// Put one value into its slot. Sets and records follow when all values have been read.
    pub fn fill_leaf(
        &self,
        slot: u32,
        ty: &ValueType,
        path: &str,
        value: &Bound<'_, PyAny>,
        builder: &mut RequestBuilder<'_>,
        large: &mut Vec<Pending>,
    ) -> PyResult<()> {
        if matches!(ty, ValueType::Set(_) | ValueType::Record(_)) {
            let value = self.value(ty, path, value)?;
            large.push(Pending { slot, path: path.to_owned(), value });
        } else {
            let found = self.request_value(ty, path, value, builder)?;
            builder.put(slot, found);
        }
        Ok(())
    }

    /// Return the exception for required attributes that the context lacks.
    pub fn lacks(&self, py: Python<'_>, missing: &[String]) -> PyErr {
        let missing = missing.join(", ");
        raise(py, "ContextError", &format!("{}: the context lacks the required attributes {missing}", self.action))
    }

    /// Return whether an attribute is given. An absent value counts as left out, and so does an optional record whose
    /// attributes are all absent.
    fn is_given(field: &Field, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        if is_absent(value)? {
            return Ok(false);
        }
        if field.required || matches!(field.node, Node::Leaf { .. }) {
            return Ok(true);
        }
        Ok(!Self::is_all_absent(field, value)?)
    }

    /// Return whether a value is absent, or is a record whose given attributes are all absent.
    fn is_all_absent(field: &Field, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        if is_absent(value)? {
            return Ok(true);
        }
        let (Node::Record { fields, .. }, Ok(dict)) = (&field.node, value.cast::<PyDict>()) else { return Ok(false) };
        // This iterates over a copy: comparing a key may run code of the key's class, which may change the dict.
        for item in dict.items() {
            let (name, inner): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let mut named = None;
            for field in fields {
                if named.is_none() && if_any(value.py(), name.eq(field.name.as_str()))?.unwrap_or(false) {
                    named = Some(field);
                }
            }
            if !named.map_or(Ok(false), |field| Self::is_all_absent(field, &inner))? {
                return Ok(false);
            }
        }
        Ok(!dict.is_empty())
    }

    /// Visit each attribute that is given; raise for those that are missing or not in the schema.
    fn each(&self, fields: &[Field], prefix: &str, dict: &Bound<'_, PyDict>, visit: Visit<'_>) -> PyResult<()> {
        let py = dict.py();
        let mut used = 0;
        for field in fields {
            match dict.get_item(field.name.as_str())? {
                Some(value) if Self::is_given(field, &value)? => {
                    self.charge(py, &field.name, EACH)?;
                    if prefix.is_empty() {
                        visit(field, &field.name, &value)?;
                    } else {
                        visit(field, &format!("{prefix}{}", field.name), &value)?;
                    }
                }
                _ if field.required => {
                    let given = |field: &Field| -> PyResult<bool> {
                        dict.get_item(field.name.as_str())?.map_or(Ok(false), |value| Self::is_given(field, &value))
                    };
                    let mut missing = Vec::new();
                    for field in fields.iter().filter(|field| field.required) {
                        if !if_any(py, given(field))?.unwrap_or(true) {
                            missing.push(format!("{prefix}{}", field.name));
                        }
                    }
                    return Err(self.lacks(py, &missing));
                }
                Some(_) => {}
                None => continue,
            }
            used += 1;
        }
        if used == dict.len() {
            return Ok(());
        }
        let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        for key in dict.keys() {
            let name: Option<String> = key.extract().ok();
            if self.fills_live && prefix.is_empty() && name.as_deref() == Some("live") {
                let message = format!(
                    "{}: `live` is what the engine knows of the session, so no context of a session can give it",
                    self.action
                );
                return Err(raise(py, "ContextError", &message));
            }
            if !name.as_deref().is_some_and(|name| known.contains(&name)) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let message = format!(
                    "{}: the schema has no context attribute {}{}; it has {known}",
                    self.action,
                    prefix,
                    name.map_or_else(|| shown(&key), |name| Ok(format!("{name:?}")))?
                );
                return Err(raise(py, "ContextError", &message));
            }
        }
        // All names are the schema's, yet looking them up did not find some: these keys do not equal their own text.
        if dict.len() > used {
            let odd = dict.keys().iter().find(|key| !key.is_exact_instance_of::<PyString>());
            let odd =
                odd.and_then(|key| key.get_type().name().ok()).map_or_else(|| "str".into(), |name| name.to_string());
            let message = format!(
                "{}: the context has an attribute by a key that is not equal to its name ({odd}): wanted names as str",
                self.action
            );
            return Err(raise(py, "ContextError", &message));
        }
        Ok(())
    }

    /// Convert a value for the request: scalars directly, others through [`Self::value`].
    fn request_value(
        &self,
        ty: &ValueType,
        path: &str,
        value: &Bound<'_, PyAny>,
        builder: &mut RequestBuilder<'_>,
    ) -> PyResult<Value> {
        match ty {
            ValueType::Long => Ok(Value::number(Tag::Long, self.long(path, value)?)),
            ValueType::Bool => Ok(Value::bool(self.bool(path, value)?)),
            ValueType::String => Ok(builder.text(&self.text(path, value)?)),
            _ => {
                let converted = self.value(ty, path, value)?;
                if let Some(found) = request_value(&converted, builder) {
                    return Ok(found);
                }
                self.record_out_of_range(
                    value,
                    path,
                    "entities of the schema",
                    "an enumerated type has no such entity",
                )?;
                Ok(Value::default())
            }
        }
    }
}

/// A set or a record that is not in its slot yet.
pub(crate) struct Pending {
    slot: u32,
    path: String,
    value: Datum,
}

/// Put all of them into their slots. The error is the path of a value with an entity that its type cannot have.
fn put(all: Vec<Pending>, builder: &mut RequestBuilder<'_>) -> Result<(), String> {
    for Pending { slot, path, value } in all {
        let Some(found) = request_value(&value, builder) else { return Err(path) };
        builder.put(slot, found);
    }
    Ok(())
}
