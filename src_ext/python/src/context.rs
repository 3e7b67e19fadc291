//! Contexts: Python dicts to Cedar values and to requests, by the schema's types.
//!
//! A value of a wrong type raises. One of the right type that is out of its range is noted, and the rest is read on, so
//! that a wrong type beside it still raises: whoever asked has no value then, but what was noted.

use crate::errors::{if_any, raise, raise_from, shown};
use crate::uid;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ztfast_bundle::{Field, Node, ValueType};
use ztfast_cedar::ir::{Datum, Uid};
use ztfast_cedar::{NoExtension, construct_extension, ir, read_extension};
use ztfast_engine::{Code, RequestBuilder};
use ztfast_explain::request_value;
use ztfast_vm::{Tag, Value};

/// What is done with an attribute that is given: its field, its path, its value.
type Visit<'v> = &'v mut dyn FnMut(&Field, &str, &Bound<'_, PyAny>) -> PyResult<()>;

/// A request that cannot be decided, because of something that it brings along.
#[must_use]
#[derive(Debug)]
pub(crate) struct Refused {
    /// What it is denied with: a value is out of its type's range, a handle is not this engine's, or it is more than is taken.
    pub code: Code,
    /// What is to be said of it.
    pub why: String,
}

/// Bytes that each attribute and each element counts for, whatever it is.
pub(crate) const EACH: usize = 16;
/// Elements after which other threads, and signals, have their turn.
const TURN: usize = 1 << 10;
/// Bytes from which it is worth the while to let other threads go on: sorting, building and deciding then take longer than
/// that does.
const LARGE: usize = 1 << 12;

/// Reads values for one action, and names it and the attribute in what it raises.
pub(crate) struct Reader<'a> {
    action: &'a str,
    /// The engine whose handles are taken; without one the uids that they carry are.
    engine: Option<&'a ztfast_engine::Engine>,
    /// Why the request cannot be decided, if it cannot.
    refused: RefCell<Option<Refused>>,
    /// Bytes that a context may take.
    most: usize,
    left: Cell<usize>,
}

/// A scalar attribute's value, as a gate takes it.
pub(crate) enum Scalar {
    /// A Bool, Long, decimal, datetime or duration.
    Number(i64),
    Text(String),
    /// It is one of the right type.
    Entity,
}

/// What is asked for again and again.
struct Known {
    absent: Py<PyAny>,
    masked: Py<PyAny>,
    convert: Py<PyAny>,
    out_of_range: Py<PyType>,
    uid: Py<PyAny>,
}

impl Known {
    fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static KNOWN: PyOnceLock<Known> = PyOnceLock::new();
        KNOWN.get_or_try_init(py, || {
            let values = py.import("ztfast.values")?;
            Ok(Self {
                absent: values.getattr("ABSENT")?.unbind(),
                masked: py.import("numpy.ma")?.getattr("masked")?.unbind(),
                convert: values.getattr("convert")?.unbind(),
                out_of_range: values.getattr("OutOfRange")?.cast_into::<PyType>()?.unbind(),
                uid: py.import("ztfast.uid")?.getattr("Uid")?.unbind(),
            })
        })
    }
}

/// The kinds of extension values: what converts Python's, what Cedar's constructor is, and what is wanted.
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
    wanted: "a duration (datetime.timedelta, timedelta64 with a unit that has a length, an int of milliseconds, or text \
             as \"1h30m\")",
    value: Datum::Duration,
};
const ADDRESS: Extension = Extension {
    kind: "ipaddr",
    constructor: "ip",
    wanted: "an IP address (ipaddress object or text as \"10.0.0.0/8\")",
    // No number is an address: what converts them gives text.
    value: Datum::Long,
};
/// Nesting of calls in Cedar's JSON: an offset of a datetime by a duration.
const CALLS: usize = 4;
const LONG: &str = "a Long (an int of 64 bits)";

impl<'a> Reader<'a> {
    /// A reader of contexts as large as the engine takes them.
    pub fn new(action: &'a str, engine: Option<&'a ztfast_engine::Engine>) -> Self {
        let most = engine.map_or(usize::MAX, |engine| engine.max_context());
        Self { action, engine, refused: RefCell::new(None), most, left: Cell::new(most) }
    }

    /// Whether what was read is so large that it pays to let other threads go on.
    pub const fn is_large(&self) -> bool {
        self.most - self.left.get() > LARGE
    }

    /// Take room for something, before anything is done with it. `Err` where there is none, so that nothing more is read.
    fn charge(&self, py: Python<'_>, path: &str, bytes: usize) -> PyResult<()> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.unwrap_or(0));
        if left.is_some() {
            return Ok(());
        }
        let why = format!(
            "{}: the context takes more than max_context={} bytes, at attribute '{path}': {EACH} for each attribute and \
             element, and those of the texts",
            self.action, self.most
        );
        let error = raise(py, "ContextError", &why);
        *self.refused.borrow_mut() = Some(Refused { code: Code::TooLarge, why });
        Err(error)
    }

    /// What was read, unless it is not to be decided on.
    fn read<T>(&self, read: PyResult<T>) -> PyResult<Result<T, Refused>> {
        match (self.refused.take(), read) {
            (Some(out), Err(_)) if out.code == Code::TooLarge => Ok(Err(out)),
            (_, Err(error)) => Err(error),
            (Some(out), Ok(_)) => Ok(Err(out)),
            (None, Ok(read)) => Ok(Ok(read)),
        }
    }

    /// A whole context as a record.
    pub fn record(&self, fields: &[Field], dict: &Bound<'_, PyDict>) -> PyResult<Result<Datum, Refused>> {
        self.read(self.fields(fields, "", dict))
    }

    /// A whole context into a request's slots. Where a value is out of range, the request is not to be decided on.
    pub fn request(
        &self,
        fields: &[Field],
        dict: &Bound<'_, PyDict>,
        builder: &mut RequestBuilder<'_>,
    ) -> PyResult<Result<(), Refused>> {
        let mut large = Vec::new();
        let filled = match self.read(self.fill(fields, "", dict, builder, &mut large))? {
            Ok(()) if large.is_empty() => return Ok(Ok(())),
            Ok(()) if self.is_large() => dict.py().detach(|| put(large, builder)),
            Ok(()) => put(large, builder),
            Err(out) => return Ok(Err(out)),
        };
        Ok(filled.map_err(|path| Refused {
            code: Code::BadValue,
            why: format!("{}: context attribute '{path}': an enumerated type has no such entity", self.action),
        }))
    }

    /// A scalar attribute's value. Raises for types that have none.
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

    fn error(&self, value: &Bound<'_, PyAny>, path: &str, wanted: &str) -> PyErr {
        match self.message(value, path, wanted) {
            Ok(message) => raise(value.py(), "ContextError", &message),
            Err(error) => error,
        }
    }

    /// What is said of a value. Showing it runs its own code, which may fail, or be interrupted.
    fn message(&self, value: &Bound<'_, PyAny>, path: &str, wanted: &str) -> PyResult<String> {
        let given = value.get_type().qualname().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let mut shown = match value.repr() {
            Ok(repr) => format!(": {}", repr.to_string_lossy()),
            Err(error) if error.is_instance_of::<PyException>(value.py()) => String::new(),
            Err(error) => return Err(error),
        };
        if let Some((end, _)) = shown.char_indices().nth(200) {
            shown.truncate(end);
            shown.push_str("...");
        }
        Ok(format!("{}: context attribute '{path}': wanted {wanted}; got {given}{shown}", self.action))
    }

    /// Note that a value is out of its range.
    fn note(&self, value: &Bound<'_, PyAny>, path: &str, wanted: &str, why: &str) -> PyResult<()> {
        if self.refused.borrow().is_none() {
            let why = format!("{}, which is out of its range: {why}", self.message(value, path, wanted)?);
            *self.refused.borrow_mut() = Some(Refused { code: Code::BadValue, why });
        }
        Ok(())
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
                Node::Leaf { slot, ty: ty @ (ValueType::Set(_) | ValueType::Record(_)) } => {
                    let value = self.value(ty, path, value)?;
                    large.push(Pending { slot: *slot, path: path.to_owned(), value });
                }
                Node::Leaf { slot, ty } => {
                    let found = self.request_value(ty, path, value, builder)?;
                    builder.put(*slot, found);
                }
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

    /// Whether an attribute is there: what is absent is as if it were left out, and so is an optional record of which all
    /// is absent.
    fn is_given(field: &Field, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        if is_absent(value)? {
            return Ok(false);
        }
        if field.required || matches!(field.node, Node::Leaf { .. }) {
            return Ok(true);
        }
        Ok(!Self::is_all_absent(field, value)?)
    }

    /// Whether all that a record is given is absent.
    fn is_all_absent(field: &Field, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        if is_absent(value)? {
            return Ok(true);
        }
        let (Node::Record { fields, .. }, Ok(dict)) = (&field.node, value.cast::<PyDict>()) else { return Ok(false) };
        // A copy: comparing a key may run anybody's code.
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
                    let message =
                        format!("{}: the context lacks the required attributes {}", self.action, missing.join(", "));
                    return Err(raise(py, "ContextError", &message));
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
        // All names are the schema's, yet some were not found by them: keys that are equal to something else than their text.
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

    fn dict<'v, 'py>(&self, path: &str, value: &'v Bound<'py, PyAny>) -> PyResult<&'v Bound<'py, PyDict>> {
        value.cast::<PyDict>().map_err(|_| self.error(value, path, "a record (dict)"))
    }

    /// A value in the request: scalars at once, the rest by way of [`Self::value`].
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
                self.note(value, path, "entities of the schema", "an enumerated type has no such entity")?;
                Ok(Value::default())
            }
        }
    }

    /// A value of a type; any value of it where it is out of range, which is noted.
    fn value(&self, ty: &ValueType, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Datum> {
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
                    *self.refused.borrow_mut() = Some(Refused { code: Code::UnknownHandle, why });
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
            // It is a tuple, too.
            || value.is_instance(Known::get(value.py())?.uid.bind(value.py()))?;
        let plain = value.is_instance_of::<PyList>()
            || value.is_instance_of::<PySet>()
            || value.is_instance_of::<PyFrozenSet>()
            || value.is_instance_of::<PyTuple>();
        // PyO3's own question whether it is a mapping loses what a signal's handler raises meanwhile (Ctrl-C).
        let mapping = || value.is_instance(&value.py().import("collections.abc")?.getattr("Mapping")?);
        // What has no size may have no end.
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
            // It may have grown meanwhile, or not said the truth.
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

    /// What a value's own code raised, as what it means here.
    fn failed(&self, value: &Bound<'_, PyAny>, path: &str, wanted: &str, error: PyErr) -> PyErr {
        let py = value.py();
        if !error.is_instance_of::<PyException>(py) {
            return error;
        }
        match self.message(value, path, wanted) {
            Ok(message) => raise_from(py, "ContextError", &format!("{message}: {error}"), error),
            Err(error) => error,
        }
    }

    /// What Python makes of a value that is not plainly of its type; `None` where it is out of range, which is noted.
    fn converted<'py>(
        &self,
        kind: &str,
        wanted: &str,
        path: &str,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = value.py();
        let known = Known::get(py)?;
        match known.convert.bind(py).call1((kind, value)) {
            Ok(made) if made.is(py.NotImplemented()) => Err(self.error(value, path, wanted)),
            Ok(made) => Ok(Some(made)),
            Err(error) if error.is_instance(py, known.out_of_range.bind(py)) => {
                self.note(value, path, wanted, &error.value(py).to_string())?;
                Ok(None)
            }
            // What a value's own code raises.
            Err(error) if error.is_instance_of::<PyException>(py) => {
                Err(raise_from(py, "ContextError", &self.message(value, path, wanted)?, error))
            }
            Err(error) => Err(error),
        }
    }

    fn bool(&self, path: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        if let Ok(value) = value.cast::<PyBool>() {
            return Ok(value.is_true());
        }
        self.converted("Bool", "a Bool", path, value)?.map_or(Ok(false), |made| made.extract())
    }

    fn long(&self, path: &str, value: &Bound<'_, PyAny>) -> PyResult<i64> {
        let made = if value.is_exact_instance_of::<PyInt>() {
            Some(value.clone())
        } else {
            self.converted("Long", LONG, path, value)?
        };
        let number = made.map(|made| self.number(&made, LONG, path, value)).transpose()?;
        Ok(number.flatten().unwrap_or(0))
    }

    /// The number of an int; `None` where it has more than 64 bits, which is noted.
    fn number(
        &self,
        made: &Bound<'_, PyAny>,
        wanted: &str,
        path: &str,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<Option<i64>> {
        let number = if_any(made.py(), made.extract())?;
        if number.is_none() {
            self.note(value, path, wanted, "it has more than 64 bits")?;
        }
        Ok(number)
    }

    fn text<'v>(&self, path: &str, value: &'v Bound<'_, PyAny>) -> PyResult<Cow<'v, str>> {
        let wanted = "a String (str)";
        if let Ok(text) = value.cast::<PyString>() {
            let characters = text.as_any().len()?;
            self.charge(value.py(), path, characters)?;
            if let Ok(text) = text.to_cow() {
                self.charge(value.py(), path, text.len() - characters)?;
                return Ok(text);
            }
            self.note(value, path, wanted, "surrogates are no text in UTF-8")?;
            return Ok(Cow::Borrowed(""));
        }
        match self.converted("String", wanted, path, value)? {
            Some(made) => Ok(Cow::Owned(self.text(path, &made)?.into_owned())),
            None => Ok(Cow::Borrowed("")),
        }
    }

    /// Whether a dict has no more in it than a constructor's call in Cedar's JSON: nothing large is written out to find that
    /// it is none.
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
                    self.charge(part.py(), path, text.as_any().len()?)?;
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
            self.charge(value.py(), path, text.as_any().len()?)?;
            let text = text.to_cow().unwrap_or(Cow::Borrowed("\u{fffd}"));
            let read = construct_extension(of.constructor, &text);
            let read = read.or_else(|why| if of.kind == "datetime" { iso(&text).ok_or(why) } else { Err(why) });
            return match read {
                Ok(read) => Ok(read),
                Err(why) => {
                    self.note(value, path, of.wanted, &why)?;
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
                    self.note(value, path, of.wanted, &why)?;
                    Ok(any())
                }
                Err(NoExtension::Type(why)) => Err(self.error(value, path, &format!("{} ({why})", of.wanted))),
            };
        }
        Ok(self.number(&made, of.wanted, path, value)?.map_or_else(any, of.value))
    }
}

/// A set or a record that is still to be put into its slot.
struct Pending {
    slot: u32,
    path: String,
    value: Datum,
}

/// Put them all; the path of one that names an entity that there cannot be.
fn put(all: Vec<Pending>, builder: &mut RequestBuilder<'_>) -> Result<(), String> {
    for Pending { slot, path, value } in all {
        let Some(found) = request_value(&value, builder) else { return Err(path) };
        builder.put(slot, found);
    }
    Ok(())
}

/// Whether a value says that its attribute is not there: `ztfast.ABSENT`, or what a masked array gives for such a row.
fn is_absent(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let known = Known::get(value.py())?;
    Ok(value.is(&known.absent) || value.is(&known.masked))
}

/// The instant of what `datetime.isoformat` writes of an aware datetime, in milliseconds, rounded down: offsets have a
/// colon there and seconds six digits, which Cedar's constructor refuses.
fn iso(text: &str) -> Option<Datum> {
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None }
    };
    let is = |at: usize, what: u8| text.as_bytes().get(at) == Some(&what);
    if !(is(4, b'-') && is(7, b'-') && is(10, b'T') && is(13, b':')) {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let clock = text.get(11..)?;
    let end = clock.find(['Z', '+', '-'])?;
    let (clock, zone) = clock.split_at_checked(end)?;
    let offset = match zone.as_bytes().first()? {
        b'Z' if zone.len() == 1 => 0,
        b'+' => clock_micros(zone.get(1..)?)?,
        b'-' => -clock_micros(zone.get(1..)?)?,
        _ => return None,
    };
    let days = days_from_civil(year, month, day)?;
    let micros = days * 86_400_000_000 + clock_micros(clock)? - offset;
    Some(Datum::Datetime(micros.div_euclid(1_000)))
}

/// Microseconds of `HH:MM`, `HH:MM:SS`, `HH:MM:SS.mmm` or `HH:MM:SS.mmmmmm`.
fn clock_micros(text: &str) -> Option<i64> {
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok())?;
    let two = |part: &str, below: i64| number(part).filter(|&n| part.len() == 2 && n < below);
    let (clock, fraction) = text.split_once('.').map_or((text, None), |(clock, fraction)| (clock, Some(fraction)));
    let mut parts = clock.split(':');
    let (hours, minutes) = (two(parts.next()?, 24)?, two(parts.next()?, 60)?);
    let seconds = match (parts.next(), fraction) {
        (Some(seconds), _) => two(seconds, 60)?,
        (None, None) => 0,
        (None, Some(_)) => return None,
    };
    let micros = match fraction {
        None => 0,
        Some(fraction) if fraction.len() == 6 => number(fraction)?,
        Some(fraction) if fraction.len() == 3 => number(fraction)? * 1_000,
        Some(_) => return None,
    };
    parts.next().is_none().then_some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

/// Days since 1970-01-01 of a date of the years 1 to 9999; `None` for one that there is not.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1 || !(1..=length).contains(&day) {
        return None;
    }
    // Years that begin in March have the leap day at their end (Howard Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// An action's uid as Cedar text.
pub(crate) fn action_text(action: &ztfast_bundle::ActionMeta) -> String {
    ir::Uid::new(action.ty.as_str(), action.id.as_str()).to_string()
}
