//! Contexts: Python dicts to Cedar values and to requests, by the schema's types.
//!
//! A value of a wrong type raises. One of the right type that is out of its range is noted, and the rest is read on, so
//! that a wrong type beside it still raises: whoever asked has no value then, but what was noted.

use crate::errors::{raise, raise_from};
use crate::uid;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyInt, PyString, PyType};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ztfast_bundle::{Field, Node, ValueType};
use ztfast_engine::{Code, RequestBuilder};
use ztfast_explain::cell;
use ztfast_policy::ir::{Uid, Value};
use ztfast_policy::{NoExtension, construct_extension, ir, read_extension};
use ztfast_program::{Cell, Tag};

/// What is done with an attribute that is given: its field, its path, its value.
type Visit<'v> = &'v mut dyn FnMut(&Field, &str, &Bound<'_, PyAny>) -> PyResult<()>;

/// A request that cannot be decided, because of something that it brings along.
#[must_use]
#[derive(Debug)]
pub(crate) struct Refused {
    /// What it is denied with: a value is out of its type's range, or a handle is not this engine's.
    pub code: Code,
    /// What is to be said of it.
    pub why: String,
}

/// Reads values for one action, and names it and the attribute in what it raises.
pub(crate) struct Reader<'a> {
    action: &'a str,
    /// The engine whose handles are taken; without one the uids that they carry are.
    engine: Option<&'a ztfast_engine::Engine>,
    /// Why the request cannot be decided, if it cannot.
    refused: RefCell<Option<Refused>>,
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
    value: fn(i64) -> Value,
}

const DECIMAL: Extension = Extension {
    kind: "decimal",
    constructor: "decimal",
    wanted: "a decimal (decimal.Decimal, an int of whole units, or text as \"12.34\")",
    value: Value::Decimal,
};
const DATETIME: Extension = Extension {
    kind: "datetime",
    constructor: "datetime",
    wanted: "a datetime (an aware datetime.datetime, datetime64, an int of milliseconds since 1970, or text as \
             \"2024-10-15T09:30:00Z\")",
    value: Value::Datetime,
};
const DURATION: Extension = Extension {
    kind: "duration",
    constructor: "duration",
    wanted: "a duration (datetime.timedelta, timedelta64 with a unit that has a length, an int of milliseconds, or text \
             as \"1h30m\")",
    value: Value::Duration,
};
const ADDRESS: Extension = Extension {
    kind: "ipaddr",
    constructor: "ip",
    wanted: "an IP address (ipaddress object or text as \"10.0.0.0/8\")",
    // No number is an address: what converts them gives text.
    value: Value::Long,
};
const LONG: &str = "a Long (an int of 64 bits)";

impl<'a> Reader<'a> {
    pub const fn new(action: &'a str, engine: Option<&'a ztfast_engine::Engine>) -> Self {
        Self { action, engine, refused: RefCell::new(None) }
    }

    /// A whole context as a record.
    pub fn record(&self, fields: &[Field], dict: &Bound<'_, PyDict>) -> PyResult<Result<Value, Refused>> {
        let value = self.fields(fields, "", dict)?;
        Ok(self.refused.take().map_or(Ok(value), Err))
    }

    /// A whole context into a request's slots. Where a value is out of range, the request is not to be decided on.
    pub fn request(
        &self,
        fields: &[Field],
        dict: &Bound<'_, PyDict>,
        builder: &mut RequestBuilder<'_>,
    ) -> PyResult<Result<(), Refused>> {
        self.fill(fields, "", dict, builder)?;
        Ok(self.refused.take().map_or(Ok(()), Err))
    }

    /// A scalar attribute's value. Raises for types that have none.
    pub fn scalar(&self, ty: &ValueType, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Result<Scalar, Refused>> {
        let read = match ty {
            ValueType::Bool => Scalar::Number(i64::from(self.bool(path, value)?)),
            ValueType::Long => Scalar::Number(self.long(path, value)?),
            ValueType::String => Scalar::Text(self.text(path, value)?.into_owned()),
            _ => match self.value(ty, path, value)? {
                Value::Decimal(number) | Value::Datetime(number) | Value::Duration(number) => Scalar::Number(number),
                Value::Entity(_) => Scalar::Entity,
                _ => return Err(self.error(value, path, "a value that is a number")),
            },
        };
        Ok(self.refused.take().map_or(Ok(read), Err))
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

    fn fields(&self, fields: &[Field], prefix: &str, dict: &Bound<'_, PyDict>) -> PyResult<Value> {
        let mut record = BTreeMap::new();
        self.each(fields, prefix, dict, &mut |field, path, value| {
            let value = match &field.node {
                Node::Leaf { ty, .. } => self.value(ty, path, value)?,
                Node::Record { fields, .. } => self.fields(fields, &format!("{path}."), self.dict(path, value)?)?,
            };
            record.insert(Arc::from(field.name.as_str()), value);
            Ok(())
        })?;
        Ok(Value::Record(record))
    }

    fn fill(
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
                    self.fill(fields, &format!("{path}."), self.dict(path, value)?, builder)?;
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
        for (name, inner) in dict {
            let field = fields.iter().find(|field| name.eq(field.name.as_str()).unwrap_or(false));
            if !field.map_or(Ok(false), |field| Self::is_all_absent(field, &inner))? {
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
                    let missing: Vec<String> = fields
                        .iter()
                        .filter(|field| field.required && !given(field).unwrap_or(true))
                        .map(|field| format!("{prefix}{}", field.name))
                        .collect();
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
            ValueType::String => Ok(builder.text(&self.text(path, value)?)),
            _ => {
                let converted = self.value(ty, path, value)?;
                if let Some(cell) = cell(&converted, builder) {
                    return Ok(cell);
                }
                self.note(value, path, "entities of the schema", "an enumerated type has no such entity")?;
                Ok(Cell::default())
            }
        }
    }

    /// A value of a type; any value of it where it is out of range, which is noted.
    fn value(&self, ty: &ValueType, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
        match ty {
            ValueType::Bool => self.bool(path, value).map(Value::Bool),
            ValueType::Long => self.long(path, value).map(Value::Long),
            ValueType::String => Ok(Value::String(Arc::from(&*self.text(path, value)?))),
            ValueType::Decimal => self.extension(&DECIMAL, path, value),
            ValueType::Datetime => self.extension(&DATETIME, path, value),
            ValueType::Duration => self.extension(&DURATION, path, value),
            ValueType::Ip => self.extension(&ADDRESS, path, value),
            ValueType::Entity(wanted) => {
                let wanted_text = || format!("an entity of type {wanted}");
                let (ty, id) = uid::extract(value).map_err(|_| self.error(value, path, &wanted_text()))?;
                if ty != *wanted {
                    return Err(self.error(value, path, &wanted_text()));
                }
                if let (Some(engine), Some(handle)) = (self.engine, uid::handle(value))
                    && engine.handle_uid(handle).is_none()
                {
                    let why = format!("{}: the handle for '{path}' is another engine's", self.action);
                    *self.refused.borrow_mut() = Some(Refused { code: Code::UnknownHandle, why });
                }
                Ok(Value::Entity(Uid::new(ty, id)))
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
                Ok(Value::Record(record))
            }
        }
    }

    fn set(&self, element: &ValueType, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
        let wanted = "a set (set, frozenset, list or tuple)";
        let not_a_set = value.is_instance_of::<PyString>()
            || value.is_instance_of::<PyDict>()
            || value.is_instance_of::<PyBytes>()
            || value.is_instance_of::<PyByteArray>()
            // It is a tuple, too.
            || value.is_instance(Known::get(value.py())?.uid.bind(value.py()))?;
        let elements = value.try_iter().ok().filter(|_| !not_a_set);
        let elements = elements.ok_or_else(|| self.error(value, path, wanted))?;
        let path = format!("{path}[]");
        let elements: PyResult<BTreeSet<Value>> = elements.map(|value| self.value(element, &path, &value?)).collect();
        elements.map(Value::Set)
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
        let number = made.extract().ok();
        if number.is_none() {
            self.note(value, path, wanted, "it has more than 64 bits")?;
        }
        Ok(number)
    }

    fn text<'v>(&self, path: &str, value: &'v Bound<'_, PyAny>) -> PyResult<Cow<'v, str>> {
        let wanted = "a String (str)";
        if let Ok(text) = value.cast::<PyString>() {
            if let Ok(text) = text.to_cow() {
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

    fn extension(&self, of: &Extension, path: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
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
            let json =
                value.py().import("json")?.call_method1("dumps", (dict,)).and_then(|json| json.extract::<String>());
            let json = json.map_err(|_| self.error(value, path, of.wanted))?;
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

/// Whether a value says that its attribute is not there: `ztfast.ABSENT`, or what a masked array gives for such a row.
fn is_absent(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let known = Known::get(value.py())?;
    Ok(value.is(&known.absent) || value.is(&known.masked))
}

/// The instant of what `datetime.isoformat` writes of an aware datetime, in milliseconds, rounded down: offsets have a
/// colon there and seconds six digits, which Cedar's constructor refuses.
fn iso(text: &str) -> Option<Value> {
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
    Some(Value::Datetime(micros.div_euclid(1_000)))
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
