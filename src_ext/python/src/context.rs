//! Contexts: Python dicts to Cedar values and to requests, by the schema's types.

use crate::errors::raise;
use crate::uid;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyMapping, PyString};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ztfast_bundle::{Field, Node, ValueType};
use ztfast_engine::{Code, RequestBuilder};
use ztfast_explain::cell;
use ztfast_policy::ir::{Uid, Value};
use ztfast_policy::{construct_extension, ir};
use ztfast_program::{Cell, Tag};

/// What is done with an attribute that is given: its field, its path, its value.
type Visit<'v> = &'v mut dyn FnMut(&Field, &str, &Bound<'_, PyAny>) -> PyResult<()>;

/// Reads values for one action, and names it and the attribute in what it raises.
pub(crate) struct Reader<'a> {
    action: &'a str,
    /// The engine whose handles are taken; without one the uids that they carry are.
    engine: Option<&'a ztfast_engine::Engine>,
    /// What the request is denied with, because of something that it brings along.
    refusal: std::cell::Cell<Option<Code>>,
}

impl<'a> Reader<'a> {
    pub const fn new(action: &'a str, engine: Option<&'a ztfast_engine::Engine>) -> Self {
        Self { action, engine, refusal: std::cell::Cell::new(None) }
    }

    /// What the request read is denied with, if it brings something along that cannot be decided on.
    pub const fn refusal(&self) -> Option<Code> {
        self.refusal.get()
    }

    /// Deny the request, unless it is already.
    fn refuse(&self, code: Code) {
        self.refusal.set(self.refusal.get().or(Some(code)));
    }

    fn error(&self, value: &Bound<'_, PyAny>, path: &str, wanted: &str) -> PyErr {
        let py = value.py();
        let given = value.get_type().qualname().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let shown = value.repr().map_or_else(|_| String::new(), |repr| format!(": {repr}"));
        let message = format!("{}: context attribute {path:?}: wanted {wanted}; got {given}{shown}", self.action);
        raise(py, "ContextError", &message)
    }

    /// A whole context as a record.
    pub fn record(&self, fields: &[Field], prefix: &str, dict: &Bound<'_, PyDict>) -> PyResult<Value> {
        let mut record = BTreeMap::new();
        self.each(fields, prefix, dict, &mut |field, path, value| {
            let value = match &field.node {
                Node::Leaf { ty, .. } => self.value(ty, path, value)?,
                Node::Record { fields, .. } => self.record(fields, &format!("{path}."), self.dict(path, value)?)?,
            };
            record.insert(Arc::from(field.name.as_str()), value);
            Ok(())
        })?;
        Ok(Value::Record(record))
    }

    /// A whole context into a request's slots.
    pub fn request(
        &self,
        fields: &[Field],
        prefix: &str,
        dict: &Bound<'_, PyDict>,
        builder: &mut RequestBuilder<'_>,
    ) -> PyResult<()> {
        self.each(fields, prefix, dict, &mut |field, path, value| {
            match &field.node {
                Node::Leaf { slot, ty } => {
                    let cell = self.cell(ty, path, value, builder)?;
                    builder.put(*slot, cell);
                }
                Node::Record { presence, fields } => {
                    if let Some(slot) = presence {
                        builder.put(*slot, Cell::bool(true));
                    }
                    self.request(fields, &format!("{path}."), self.dict(path, value)?, builder)?;
                }
            }
            Ok(())
        })
    }

    /// Visit each attribute that is given; raise for those that are missing or not in the schema.
    fn each(&self, fields: &[Field], prefix: &str, dict: &Bound<'_, PyDict>, visit: Visit<'_>) -> PyResult<()> {
        let py = dict.py();
        let mut used = 0;
        for field in fields {
            match dict.get_item(field.name.as_str())? {
                Some(value) if prefix.is_empty() => visit(field, &field.name, &value)?,
                Some(value) => visit(field, &format!("{prefix}{}", field.name), &value)?,
                None if field.required => {
                    let missing: Vec<String> = fields
                        .iter()
                        .filter(|field| field.required && !dict.contains(field.name.as_str()).unwrap_or(true))
                        .map(|field| format!("{prefix}{}", field.name))
                        .collect();
                    let message =
                        format!("{}: the context lacks the required attributes {}", self.action, missing.join(", "));
                    return Err(raise(py, "ContextError", &message));
                }
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
            if !name.as_deref().is_some_and(|name| known.contains(&name)) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let message = format!(
                    "{}: the schema has no context attribute {}{}; it has {known}",
                    self.action,
                    prefix,
                    name.map_or_else(
                        || key.repr().map_or_else(|_| "?".into(), |r| r.to_string()),
                        |n| format!("{n:?}")
                    )
                );
                return Err(raise(py, "ContextError", &message));
            }
        }
        Ok(())
    }

    fn dict<'v, 'py>(&self, path: &str, value: &'v Bound<'py, PyAny>) -> PyResult<&'v Bound<'py, PyDict>> {
        value.cast::<PyDict>().map_err(|_| self.error(value, path, "a record (dict)"))
    }

    /// A value's cell: scalars at once, the rest by way of [`Self::value`].
    fn cell(
        &self,
        ty: &ValueType,
        path: &str,
        value: &Bound<'_, PyAny>,
        builder: &mut RequestBuilder<'_>,
    ) -> PyResult<Cell> {
        match ty {
            ValueType::Long => Ok(Cell::number(Tag::Long, self.long(path, value)?)),
            ValueType::Bool => Ok(Cell::bool(self.bool(path, value)?)),
            ValueType::String => Ok(builder.text(&self.text(path, value)?.to_cow()?)),
            _ => {
                let converted = self.value(ty, path, value)?;
                cell(&converted, builder).ok_or_else(|| self.error(value, path, "entities of types in the schema"))
            }
        }
    }

    /// The number of a scalar argument of a gate; `None` for types whose values are no number.
    pub fn value(&self, ty: &ValueType, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
        match ty {
            ValueType::Bool => self.bool(path, value).map(Value::Bool),
            ValueType::Long => self.long(path, value).map(Value::Long),
            ValueType::String => Ok(Value::String(Arc::from(&*self.text(path, value)?.to_cow()?))),
            ValueType::Decimal => {
                self.extension("decimal", "a decimal (decimal.Decimal or text as \"12.34\")", path, value)
            }
            ValueType::Datetime => self.extension(
                "datetime",
                "a datetime (an aware datetime.datetime or text as \"2024-10-15T09:30:00Z\")",
                path,
                value,
            ),
            ValueType::Duration => {
                self.extension("duration", "a duration (datetime.timedelta or text as \"1h30m\")", path, value)
            }
            ValueType::Ip => {
                self.extension("ip", "an IP address (ipaddress object or text as \"10.0.0.0/8\")", path, value)
            }
            ValueType::Entity(wanted) => {
                let wanted_text = || format!("an entity of type {wanted}");
                let (ty, id) = uid::extract(value).map_err(|_| self.error(value, path, &wanted_text()))?;
                if ty != *wanted {
                    return Err(self.error(value, path, &wanted_text()));
                }
                if let (Some(engine), Some(handle)) = (self.engine, uid::handle(value))
                    && engine.handle_uid(handle).is_none()
                {
                    self.refuse(Code::UnknownHandle);
                }
                Ok(Value::Entity(Uid::new(ty, id)))
            }
            ValueType::Set(element) => {
                let not_a_set = value.is_instance_of::<PyString>() || value.is_instance_of::<PyDict>();
                let elements = value.try_iter().ok().filter(|_| !not_a_set);
                let elements =
                    elements.ok_or_else(|| self.error(value, path, "a set (set, frozenset, list or tuple)"))?;
                let path = format!("{path}[]");
                let elements: PyResult<BTreeSet<Value>> =
                    elements.map(|value| self.value(element, &path, &value?)).collect();
                elements.map(Value::Set)
            }
            ValueType::Record(fields) => {
                let dict = self.dict(path, value)?;
                let mut record = BTreeMap::new();
                for (name, required, ty) in fields {
                    match dict.get_item(name.as_str())? {
                        Some(value) => {
                            let value = self.value(ty, &format!("{path}.{name}"), &value)?;
                            record.insert(Arc::from(name.as_str()), value);
                        }
                        None if *required => return Err(self.error(value, path, &format!("a record with {name:?}"))),
                        None => {}
                    }
                }
                if record.len() != dict.len() {
                    let names: Vec<&str> = fields.iter().map(|(name, ..)| name.as_str()).collect();
                    return Err(self.error(value, path, &format!("a record of {} only", names.join(", "))));
                }
                Ok(Value::Record(record))
            }
        }
    }

    fn bool(&self, path: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        value.extract::<bool>().map_err(|_| self.error(value, path, "a Bool"))
    }

    fn long(&self, path: &str, value: &Bound<'_, PyAny>) -> PyResult<i64> {
        let wanted = "a Long (an int of 64 bits)";
        if value.is_instance_of::<PyBool>() || value.is_instance_of::<PyFloat>() {
            return Err(self.error(value, path, wanted));
        }
        value.extract::<i64>().map_err(|_| self.error(value, path, wanted))
    }

    fn text<'v, 'py>(&self, path: &str, value: &'v Bound<'py, PyAny>) -> PyResult<&'v Bound<'py, PyString>> {
        value.cast::<PyString>().map_err(|_| self.error(value, path, "a String"))
    }

    fn extension(&self, kind: &str, wanted: &str, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
        let made = native(kind, value)?;
        let text = match made {
            Some(Native::Value(value)) => return Ok(value),
            Some(Native::Text(text)) => text,
            None => return Err(self.error(value, path, wanted)),
        };
        construct_extension(kind, &text).map_err(|why| self.error(value, path, &format!("{wanted} ({why})")))
    }
}

enum Native {
    Value(Value),
    Text(String),
}

/// What a Python value says as an extension value of a kind: text for Cedar's constructor, or the value itself.
fn native(kind: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<Native>> {
    let py = value.py();
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Some(Native::Text(text.to_string())));
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        return Ok(extension_json(kind, dict));
    }
    let is = |module: &str, class: &str| -> PyResult<bool> { value.is_instance(&py.import(module)?.getattr(class)?) };
    match kind {
        "decimal" if is("decimal", "Decimal")? => {
            let text: String = value.call_method1("__format__", ("f",))?.extract()?;
            let text = if text.contains('.') { text } else { format!("{text}.0") };
            Ok(Some(Native::Text(text)))
        }
        "datetime" if is("datetime", "datetime")? && !value.getattr("tzinfo")?.is_none() => {
            let timezone = py.import("datetime")?.getattr("timezone")?.getattr("utc")?;
            let epoch = py.import("datetime")?.getattr("datetime")?.call_method1("fromtimestamp", (0, timezone))?;
            Ok(milliseconds(&value.sub(epoch)?)?.map(|ms| Native::Value(Value::Datetime(ms))))
        }
        "duration" if is("datetime", "timedelta")? => {
            Ok(milliseconds(value)?.map(|ms| Native::Value(Value::Duration(ms))))
        }
        "datetime" | "duration" => {
            let (class, unit) =
                if kind == "datetime" { ("datetime64", "datetime64[ms]") } else { ("timedelta64", "timedelta64[ms]") };
            if !is("numpy", class)? || value.ne(value)? {
                return Ok(None);
            }
            let ms = value.call_method1("astype", (unit,))?.call_method1("astype", ("int64",))?.extract()?;
            Ok(Some(Native::Value(if kind == "datetime" { Value::Datetime(ms) } else { Value::Duration(ms) })))
        }
        "ip" if is("ipaddress", "_IPAddressBase")? => Ok(Some(Native::Text(value.str()?.to_string()))),
        _ => Ok(None),
    }
}

/// Whole milliseconds of a timedelta, rounded down.
fn milliseconds(delta: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    let days: i64 = delta.getattr("days")?.extract()?;
    let seconds: i64 = delta.getattr("seconds")?.extract()?;
    let micros: i64 = delta.getattr("microseconds")?.extract()?;
    Ok(days.checked_mul(86_400_000).and_then(|ms| ms.checked_add(seconds * 1_000 + micros.div_euclid(1_000))))
}

/// What `{"__extn": {"fn": kind, "arg": text}}` says; also the other form that Cedar writes for a datetime,
/// `{"__extn": {"fn": "offset", "args": [datetime, duration]}}`.
fn extension_json(kind: &str, dict: &Bound<'_, PyDict>) -> Option<Native> {
    let inner = dict.get_item("__extn").ok()??;
    let inner = inner.cast::<PyMapping>().ok()?;
    let function: String = inner.get_item("fn").ok()?.extract().ok()?;
    if function == kind {
        return inner.get_item("arg").ok()?.extract().ok().map(Native::Text);
    }
    if (kind, function.as_str()) != ("datetime", "offset") {
        return None;
    }
    let [from, by]: [Bound<'_, PyDict>; 2] = inner.get_item("args").ok()?.extract().ok()?;
    let part = |kind: &str, dict: &Bound<'_, PyDict>| match extension_json(kind, dict)? {
        Native::Value(value) => Some(value),
        Native::Text(text) => construct_extension(kind, &text).ok(),
    };
    match (part("datetime", &from)?, part("duration", &by)?) {
        (Value::Datetime(from), Value::Duration(by)) => Some(Native::Value(Value::Datetime(from.checked_add(by)?))),
        _ => None,
    }
}

/// An action's uid as Cedar text.
pub(crate) fn action_text(action: &ztfast_bundle::ActionMeta) -> String {
    ir::Uid::new(action.ty.as_str(), action.id.as_str()).to_string()
}
