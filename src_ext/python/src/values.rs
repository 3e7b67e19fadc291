//! Converts Python's values to Cedar's, by the schema's types.

use crate::errors::if_any;
use crate::reader::{EACH, Reader, Refused, is_absent};
use crate::timestamps::iso_millis;
use crate::uid;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ztfast_bundle::ValueType;
use ztfast_cedar::ir::{Datum, Uid};
use ztfast_cedar::{NoExtension, construct_extension, read_extension};
use ztfast_engine::Code;

/// A scalar attribute's value in the form that a gate takes.
pub(crate) enum Scalar {
    /// The value of a Bool, Long, decimal, datetime or duration.
    Number(i64),
    Text(String),
    /// The value is an entity of the right type.
    Entity,
}

/// A kind of extension values: the name of Python's conversion, Cedar's constructor, and what messages ask for.
struct Extension {
    kind: &'static str,
    constructor: &'static str,
    wanted: &'static str,
    value: fn(i64) -> Datum,
}

const DECIMAL: Extension = Extension {
    kind: "decimal",
    constructor: "decimal",
    wanted: "a decimal (decimal.Decimal, an int of whole units, or text as \"12.34\")",
    value: Datum::Decimal,
};
const DATETIME: Extension = Extension {
    kind: "datetime",
    constructor: "datetime",
    wanted: "a datetime (an aware datetime.datetime, datetime64, an int of milliseconds since 1970, or text as \
             \"2024-10-15T09:30:00Z\")",
    value: Datum::Datetime,
};
const DURATION: Extension = Extension {
    kind: "duration",
    constructor: "duration",
    wanted: "a duration (datetime.timedelta, timedelta64 with a unit that has a length, an int of milliseconds, or \
             text as \"1h30m\")",
    value: Datum::Duration,
};
const ADDRESS: Extension = Extension {
    kind: "ipaddr",
    constructor: "ip",
    wanted: "an IP address (ipaddress object or text as \"10.0.0.0/8\")",
    // Addresses are not numbers: Python's conversion gives text.
    value: Datum::Long,
};
/// The number of elements after which the GIL is released and signals are handled.
const TURN: usize = 1 << 10;
/// How deep calls in Cedar's JSON may nest: an offset of a datetime by a duration is the deepest.
const CALLS: usize = 4;
const LONG: &str = "a Long (an int of 64 bits)";

impl Reader<'_> {
    /// Convert a scalar attribute's value. Raises for types that are not scalar.
    pub fn scalar(&self, ty: &ValueType, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Result<Scalar, Refused>> {
        self.read(self.scalar_of(ty, path, value))
    }

    fn scalar_of(&self, ty: &ValueType, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Scalar> {
        Ok(match ty {
            ValueType::Bool => Scalar::Number(i64::from(self.bool(path, value)?)),
            ValueType::Long => Scalar::Number(self.long(path, value)?),
            ValueType::String => Scalar::Text(self.text(path, value)?.into_owned()),
            _ => match self.value(ty, path, value)? {
                Datum::Decimal(number) | Datum::Datetime(number) | Datum::Duration(number) => Scalar::Number(number),
                Datum::Entity(_) => Scalar::Entity,
                _ => return Err(self.error(value, path, "a value that is a number")),
            },
        })
    }

    /// Convert a value to a type. Records a value that is out of range, and returns an arbitrary one in its place.
    pub fn value(&self, ty: &ValueType, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Datum> {
        match ty {
            ValueType::Bool => self.bool(path, value).map(Datum::Bool),
            ValueType::Long => self.long(path, value).map(Datum::Long),
            ValueType::String => Ok(Datum::String(Arc::from(&*self.text(path, value)?))),
            ValueType::Decimal => self.extension(&DECIMAL, path, value),
            ValueType::Datetime => self.extension(&DATETIME, path, value),
            ValueType::Duration => self.extension(&DURATION, path, value),
            ValueType::Ip => self.extension(&ADDRESS, path, value),
            ValueType::Entity(wanted) => {
                let wanted_text = || format!("an entity of type {wanted}");
                let (ty, id) =
                    if_any(value.py(), uid::extract(value))?.ok_or_else(|| self.error(value, path, &wanted_text()))?;
                self.charge(value.py(), path, ty.len() + id.len())?;
                if ty != *wanted {
                    return Err(self.error(value, path, &wanted_text()));
                }
                if let (Some(engine), Some(handle)) = (self.engine, uid::handle(value)?)
                    && engine.handle_uid(handle).is_none()
                {
                    let why = format!("{}: the handle for '{path}' is another engine's", self.action);
                    self.refuse(Refused { code: Code::UnknownHandle, why });
                }
                Ok(Datum::Entity(Uid::new(ty, id)))
            }
            ValueType::Set(element) => self.set(element, path, value),
            ValueType::Record(fields) => {
                let dict = self.dict(path, value)?;
                let mut record = BTreeMap::new();
                let mut absent = 0;
                for (name, required, ty) in fields {
                    match dict.get_item(name.as_str())? {
                        Some(value) if is_absent(&value)? && !required => absent += 1,
                        Some(value) => {
                            self.charge(value.py(), path, EACH)?;
                            let value = self.value(ty, &format!("{path}.{name}"), &value)?;
                            record.insert(Arc::from(name.as_str()), value);
                        }
                        None if *required => return Err(self.error(value, path, &format!("a record with {name:?}"))),
                        None => {}
                    }
                }
                if record.len() + absent != dict.len() {
                    let names: Vec<&str> = fields.iter().map(|(name, ..)| name.as_str()).collect();
                    return Err(self.error(value, path, &format!("a record of {} only", names.join(", "))));
                }
                Ok(Datum::Record(record))
            }
        }
    }

    fn set(&self, element: &ValueType, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Datum> {
        let wanted = "a set (set, frozenset, list or tuple)";
        let not_a_set = value.is_instance_of::<PyString>()
            || value.is_instance_of::<PyDict>()
            || value.is_instance_of::<PyBytes>()
            || value.is_instance_of::<PyByteArray>()
            // A uid is also a tuple.
            || uid::is_uid(value)?;
        let plain = value.is_instance_of::<PyList>()
            || value.is_instance_of::<PySet>()
            || value.is_instance_of::<PyFrozenSet>()
            || value.is_instance_of::<PyTuple>();
        // PyO3's own check for mappings loses an exception that a signal handler raises meanwhile (Ctrl-C).
        let mapping = || value.is_instance(&value.py().import("collections.abc")?.getattr("Mapping")?);
        // An iterable without a length may be endless, so `len` comes first.
        if not_a_set || (!plain && mapping()?) {
            return Err(self.error(value, path, wanted));
        }
        let (py, path) = (value.py(), format!("{path}[]"));
        let failed = |error: PyErr| self.failed(value, &path, wanted, error);
        let size = value.len().map_err(failed)?;
        self.charge(py, &path, size.saturating_mul(EACH))?;
        let mut elements = Vec::with_capacity(size.min(TURN));
        for read in value.try_iter().map_err(failed)? {
            let read = read.map_err(failed)?;
            // The set may have grown meanwhile, or its `len` may be wrong.
            if elements.len() >= size {
                self.charge(py, &path, EACH)?;
            }
            elements.push(self.value(element, &path, &read)?);
            if elements.len() % TURN == 0 {
                py.detach(|| {});
                py.check_signals()?;
            }
        }
        let sort = || elements.into_iter().collect::<BTreeSet<Datum>>();
        Ok(Datum::Set(if size > TURN { py.detach(sort) } else { sort() }))
    }

    pub fn bool(&self, path: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        if let Ok(value) = value.cast::<PyBool>() {
            return Ok(value.is_true());
        }
        self.converted("Bool", "a Bool", path, value)?.map_or(Ok(false), |made| made.extract())
    }

    pub fn long(&self, path: &str, value: &Bound<'_, PyAny>) -> PyResult<i64> {
        let made = if value.is_exact_instance_of::<PyInt>() {
            Some(value.clone())
        } else {
            self.converted("Long", LONG, path, value)?
        };
        let number = made.map(|made| self.number(&made, LONG, path, value)).transpose()?;
        Ok(number.flatten().unwrap_or(0))
    }

    /// Return the number of an int. Records one of more than 64 bits, and returns `None` for it.
    fn number(
        &self,
        made: &Bound<'_, PyAny>,
        wanted: &str,
        path: &str,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<Option<i64>> {
        let number = if_any(made.py(), made.extract())?;
        if number.is_none() {
            self.record_out_of_range(value, path, wanted, "it has more than 64 bits")?;
        }
        Ok(number)
    }

    pub fn text<'v>(&self, path: &str, value: &'v Bound<'_, PyAny>) -> PyResult<Cow<'v, str>> {
        let wanted = "a String (str)";
        if let Ok(text) = value.cast::<PyString>() {
            let characters = characters(text);
            self.charge(value.py(), path, characters)?;
            if let Ok(text) = text.to_cow() {
                self.charge(value.py(), path, text.len() - characters)?;
                return Ok(text);
            }
            self.record_out_of_range(value, path, wanted, "surrogates are no text in UTF-8")?;
            return Ok(Cow::Borrowed(""));
        }
        match self.converted("String", wanted, path, value)? {
            Some(made) if made.is_instance_of::<PyString>() => Ok(Cow::Owned(self.text(path, &made)?.into_owned())),
            Some(_) => Err(self.error(value, path, wanted)),
            None => Ok(Cow::Borrowed("")),
        }
    }

    /// Return whether a dict holds no more than a constructor's call in Cedar's JSON. This check comes first so that a
    /// large dict is refused without being serialised.
    fn is_call(&self, dict: &Bound<'_, PyDict>, path: &str, nesting: usize) -> PyResult<bool> {
        let Some(nesting) = nesting.checked_sub(1).filter(|_| dict.len() <= 2) else { return Ok(false) };
        for item in dict.items() {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let parts: Vec<Bound<'_, PyAny>> = match value.cast::<PyList>() {
                Ok(list) if list.len() > 2 => return Ok(false),
                Ok(list) => list.iter().collect(),
                Err(_) => vec![value],
            };
            for part in [key].into_iter().chain(parts) {
                if let Ok(inner) = part.cast::<PyDict>() {
                    if !self.is_call(inner, path, nesting)? {
                        return Ok(false);
                    }
                } else if let Ok(text) = part.cast::<PyString>() {
                    self.charge(part.py(), path, characters(text))?;
                } else {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn extension(&self, of: &Extension, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Datum> {
        let any = || (of.value)(0);
        let made = if value.is_instance_of::<PyString>() || value.is_instance_of::<PyDict>() {
            value.clone()
        } else {
            match self.converted(of.kind, of.wanted, path, value)? {
                Some(made) => made,
                None => return Ok(any()),
            }
        };
        if let Ok(text) = made.cast::<PyString>() {
            self.charge(value.py(), path, characters(text))?;
            let text = text.to_cow().unwrap_or(Cow::Borrowed("\u{fffd}"));
            let read = construct_extension(of.constructor, &text);
            let read = read.or_else(|why| {
                if of.kind == "datetime" { iso_millis(&text).map(Datum::Datetime).ok_or(why) } else { Err(why) }
            });
            return match read {
                Ok(read) => Ok(read),
                Err(why) => {
                    self.record_out_of_range(value, path, of.wanted, &why)?;
                    Ok(any())
                }
            };
        }
        if let Ok(dict) = made.cast::<PyDict>() {
            if !self.is_call(dict, path, CALLS)? {
                return Err(self.error(value, path, of.wanted));
            }
            let json =
                value.py().import("json")?.call_method1("dumps", (dict,)).and_then(|json| json.extract::<String>());
            let json = if_any(value.py(), json)?.ok_or_else(|| self.error(value, path, of.wanted))?;
            return match read_extension(of.constructor, &json) {
                Ok(read) => Ok(read),
                Err(NoExtension::Range(why)) => {
                    self.record_out_of_range(value, path, of.wanted, &why)?;
                    Ok(any())
                }
                Err(NoExtension::Type(why)) => Err(self.error(value, path, &format!("{} ({why})", of.wanted))),
            };
        }
        Ok(self.number(&made, of.wanted, path, value)?.map_or_else(any, of.value))
    }
}

/// Return the number of a text's characters. A subclass of str may have a `__len__` that says otherwise.
fn characters(text: &Bound<'_, PyString>) -> usize {
    // SAFETY: the pointer is that of a str, and the GIL or an attached thread state is held, as `text` shows.
    let length = unsafe { pyo3::ffi::PyUnicode_GetLength(text.as_ptr()) };
    usize::try_from(length).unwrap_or(usize::MAX)
}
