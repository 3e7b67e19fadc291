//! Exact conversion of values and uids between Cedar's representation and ours.
//!
//! Extension values are opaque in Cedar, which only offers the call that makes them. So a `decimal` is read from the
//! text of `decimal("1.2500")`, and written by calling Cedar's own constructor.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::thread::LocalKey;

use cedar_policy_core::ast::{self, Literal, PartialValue, RestrictedExpr, ValueKind};
use cedar_policy_core::entities::json::err::JsonDeserializationErrorContext;
use cedar_policy_core::entities::json::{SchemaType, ValueParser};
use cedar_policy_core::evaluator::{EvaluationError, RestrictedEvaluator};
use cedar_policy_core::extensions::Extensions;

use crate::diagnostic::describe;
use crate::ir::{Datum, Ip, Uid};

/// Interned texts: types, ids and attributes occur many times.
#[derive(Default)]
pub(crate) struct Names(HashSet<Arc<str>>);

impl Names {
    pub(crate) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new: Arc<str> = Arc::from(text);
        self.0.insert(new.clone());
        new
    }

    pub(crate) fn ty(&mut self, ty: &ast::EntityType) -> Arc<str> {
        self.get(&ty.to_string())
    }

    pub(crate) fn uid(&mut self, uid: &ast::EntityUID) -> Uid {
        Uid { ty: self.ty(uid.entity_type()), id: self.get(uid.eid().as_ref()) }
    }
}

/// Parse an entity uid in Cedar's syntax, `Type::"id"`, with its escapes. The text must contain nothing else: no
/// comment and no white space, which Cedar's own parser of uids accepts.
///
/// # Errors
/// The problem, in Cedar's words if Cedar refuses the text too.
pub fn parse_uid(text: &str) -> Result<Uid, String> {
    let (ty, id) = uid_parts(text)?;
    Ok(Uid::new(ty, &*id))
}

/// Parse a uid as [`parse_uid`] does, without copying texts that have no escapes.
///
/// # Errors
/// As [`parse_uid`].
pub fn uid_parts(text: &str) -> Result<(&str, Cow<'_, str>), String> {
    if let Some((ty, literal)) = text.split_once("::\"")
        && let Some(id) = literal.strip_suffix('"')
        && is_type_name(ty)
    {
        if !id.contains(['"', '\\']) && !id.contains(char::is_control) {
            return Ok((ty, Cow::Borrowed(id)));
        }
        // An unescaped quote would end the literal.
        let mut rest = id.chars();
        let mut whole = true;
        while let Some(char) = rest.next() {
            whole &= char != '"' && (char != '\\' || rest.next().is_some());
        }
        if whole {
            let uid: ast::EntityUID = text.parse().map_err(|error| sentence(&error))?;
            return Ok((ty, Cow::Owned(AsRef::<str>::as_ref(uid.eid()).to_owned())));
        }
    }
    Err(match text.parse::<ast::EntityUID>() {
        Err(error) => sentence(&error),
        Ok(_) => {
            "a uid is the name of a type, `::` and one text in double quotes: no white space, comment or anything \
                  else before, between or after them"
                .to_owned()
        }
    })
}

/// Return whether a text is the name of an entity type as Cedar writes it, `Settlement::Instruction`, without reserved
/// words.
#[must_use]
pub fn is_type_name(text: &str) -> bool {
    const RESERVED: [&str; 10] = ["true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar"];
    text.split("::").all(|part| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !RESERVED.contains(&part)
    })
}

/// Write a uid in Cedar's syntax; [`parse_uid`] reads it back.
#[must_use]
pub fn uid_text(uid: &Uid) -> String {
    uid.to_string()
}

/// Make an extension value with Cedar's own constructor `kind`: `decimal`, `ip`, `datetime` or `duration`.
///
/// # Errors
/// Cedar's own message, with its advice, if the text is not valid for that kind.
pub fn construct_extension(kind: &str, text: &str) -> Result<Datum, String> {
    if !is_constructor(kind) {
        return Err(format!(
            "`{kind}` is not a constructor of an extension type: write decimal, ip, datetime or duration"
        ));
    }
    let value = call(kind, &[ast::Value::from(text.to_owned())])?;
    of_cedar(&value, &mut Names::default())
}

/// Why an extension value cannot be read from JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoExtension {
    /// The JSON is not a value of this type.
    Type(String),
    /// The JSON is a value of this type, but out of its range.
    Range(String),
}

/// Read an extension value of the constructor `kind` from JSON, as Cedar does if a schema gives the type: a text,
/// `{"__extn": {"fn": ..., "arg": ...}}`, or the same without `__extn`.
///
/// # Errors
/// [`NoExtension`], with Cedar's own message.
pub fn read_extension(kind: &str, json: &str) -> Result<Datum, NoExtension> {
    let ty = |error: &dyn std::fmt::Display| NoExtension::Type(error.to_string());
    let json: serde_json::Value = serde_json::from_str(json).map_err(|error| ty(&error))?;
    let name = if kind == "ip" { "ipaddr" } else { kind };
    let name = once(&FUNCTIONS, name, |name| ast::Name::parse_unqualified_name(name).map_err(|e| sentence(&e)));
    let expected = SchemaType::Extension { name: name.map_err(NoExtension::Type)? };
    let extensions = Extensions::all_available();
    let context = || JsonDeserializationErrorContext::Context;
    let read = ValueParser::new(extensions).val_into_restricted_expr(json, Some(&expected), &context);
    let read = read.map_err(|error| NoExtension::Type(sentence(&error)))?;
    let value = RestrictedEvaluator::new(extensions).interpret(read.as_borrowed()).map_err(|error| match error {
        EvaluationError::FailedExtensionFunctionExecution(_) => NoExtension::Range(sentence(&error)),
        _ => NoExtension::Type(sentence(&error)),
    })?;
    let value = of_cedar(&value, &mut Names::default()).map_err(NoExtension::Type)?;
    let fits = match value {
        Datum::Decimal(_) => "decimal",
        Datum::Datetime(_) => "datetime",
        Datum::Duration(_) => "duration",
        Datum::Ip(_) => "ip",
        _ => "",
    };
    if fits == kind { Ok(value) } else { Err(NoExtension::Type("it is a value of another type".to_owned())) }
}

/// Return whether the function of this name makes an extension value of a string.
pub(crate) fn is_constructor(name: &str) -> bool {
    matches!(name, "decimal" | "ip" | "datetime" | "duration")
}

/// Names that Cedar has parsed, by text: parsing one takes longer than everything else that is done with it.
type Known<T> = RefCell<HashMap<Arc<str>, T>>;

/// The most names that a thread caches. A schema has fewer, and texts from outside must not fill the memory.
const MOST_KNOWN: usize = 1 << 10;

thread_local! {
    static TYPES: Known<ast::EntityType> = RefCell::default();
    static FUNCTIONS: Known<ast::Name> = RefCell::default();
}

/// Parse a name, or return it from the cache.
fn once<T: Clone>(
    known: &'static LocalKey<Known<T>>,
    text: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, String> {
    if let Some(found) = known.with_borrow(|known| known.get(text).cloned()) {
        return Ok(found);
    }
    let found = read(text)?;
    known.with_borrow_mut(|known| {
        if known.len() < MOST_KNOWN {
            known.insert(text.into(), found.clone());
        }
    });
    Ok(found)
}

/// Call an extension function of Cedar.
pub(crate) fn call(name: &str, args: &[ast::Value]) -> Result<ast::Value, String> {
    let name = once(&FUNCTIONS, name, |name| ast::Name::parse_unqualified_name(name).map_err(|e| sentence(&e)))?;
    let function = Extensions::all_available().func(&name).map_err(|error| error.to_string())?;
    match function.call(args) {
        Ok(PartialValue::Value(value)) => Ok(value),
        Ok(PartialValue::Residual(_)) => Err(format!("`{name}` gives no value here")),
        Err(error) => Err(sentence(&error)),
    }
}

/// Convert a uid to Cedar's representation. This fails if its type is not a name.
pub(crate) fn uid_to_cedar(uid: &Uid) -> Result<ast::EntityUID, String> {
    let ty = once(&TYPES, &uid.ty, |ty| {
        ast::EntityType::from_normalized_str(ty).map_err(|e| format!("`{ty}` is not the name of an entity type: {e}"))
    })?;
    Ok(ast::EntityUID::from_components(ty, ast::Eid::new(&*uid.id), None))
}

/// Convert a value to Cedar's representation. This fails for uids and IP ranges that Cedar cannot represent.
pub(crate) fn to_cedar(value: &Datum) -> Result<ast::Value, String> {
    let text = |text: String| [ast::Value::from(text)];
    Ok(match value {
        Datum::Bool(b) => ast::Value::from(*b),
        Datum::Long(n) => ast::Value::from(*n),
        Datum::String(s) => ast::Value::from(&**s),
        Datum::Entity(uid) => ast::Value::from(uid_to_cedar(uid)?),
        Datum::Decimal(n) => call("decimal", &text(decimal_text(*n)))?,
        Datum::Duration(ms) => call("duration", &text(format!("{ms}ms")))?,
        // Cedar reads years 0 to 9999 only, but an offset reaches every instant.
        Datum::Datetime(ms) => {
            let epoch = call("datetime", &text("1970-01-01".to_owned()))?;
            let since = call("duration", &text(format!("{ms}ms")))?;
            call("offset", &[epoch, since])?
        }
        Datum::Ip(ip) => call("ip", &text(ip_text(*ip)))?,
        Datum::Set(elements) => ast::Value::set(elements.iter().map(to_cedar).collect::<Result<Vec<_>, _>>()?, None),
        Datum::Record(fields) => {
            let fields = fields.iter().map(|(key, value)| Ok((&**key, to_cedar(value)?)));
            ast::Value::record(fields.collect::<Result<Vec<_>, String>>()?, None)
        }
    })
}

/// Convert Cedar's value to ours.
pub(crate) fn of_cedar(value: &ast::Value, names: &mut Names) -> Result<Datum, String> {
    Ok(match value.value_kind() {
        ValueKind::Lit(literal) => of_literal(literal, names),
        ValueKind::Set(set) => Datum::Set(set.iter().map(|v| of_cedar(v, names)).collect::<Result<_, _>>()?),
        ValueKind::Record(fields) => Datum::Record(
            fields.iter().map(|(key, v)| Ok((names.get(key), of_cedar(v, names)?))).collect::<Result<_, String>>()?,
        ),
        ValueKind::ExtensionValue(value) => {
            let (function, args) = value.value().canonical_repr();
            of_call(&function.to_string(), &args)
                .ok_or_else(|| format!("a value of the extension type `{}` cannot be read", value.typename()))?
        }
    })
}

pub(crate) fn of_literal(literal: &Literal, names: &mut Names) -> Datum {
    match literal {
        Literal::Bool(b) => Datum::Bool(*b),
        Literal::Long(n) => Datum::Long(*n),
        Literal::String(s) => Datum::String(names.get(s)),
        Literal::EntityUID(uid) => Datum::Entity(names.uid(uid)),
    }
}

/// Convert attributes or tags to our record. They hold no unknowns, because partial evaluation is not used.
pub(crate) fn of_fields<'a>(
    fields: impl Iterator<Item = (impl AsRef<str>, &'a PartialValue)>,
    names: &mut Names,
) -> Result<BTreeMap<Arc<str>, Datum>, String> {
    fields
        .map(|(key, value)| match value {
            PartialValue::Value(value) => Ok((names.get(key.as_ref()), of_cedar(value, names)?)),
            PartialValue::Residual(_) => Err(format!("attribute `{}` has no value", key.as_ref())),
        })
        .collect()
}

/// Read the canonical call that makes an extension value.
fn of_call(function: &str, args: &[RestrictedExpr]) -> Option<Datum> {
    if function == "offset" {
        let [epoch, since] = args else { return None };
        let (name, mut text) = epoch.as_extn_fn_call()?;
        let text = text.next()?;
        if name.to_string() != "datetime" || text.as_string()? != "1970-01-01" {
            return None;
        }
        let (name, mut text) = since.as_extn_fn_call()?;
        let text = text.next()?;
        return (name.to_string() == "duration").then(|| milliseconds(text.as_string()?))?.map(Datum::Datetime);
    }
    let [text] = args else { return None };
    let text = text.as_string()?;
    match function {
        "decimal" => decimal(text).map(Datum::Decimal),
        "duration" => milliseconds(text).map(Datum::Duration),
        "ip" => ip(text).map(Datum::Ip),
        _ => None,
    }
}

fn milliseconds(text: &str) -> Option<i64> {
    text.strip_suffix("ms")?.parse().ok()
}

/// Read a decimal in its canonical form, which has four digits behind the point.
fn decimal(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.')?;
    if fraction.len() != 4 {
        return None;
    }
    // The digits without the point are the number times 10,000. The sign is part of them, so "-0.5000" works too.
    format!("{whole}{fraction}").parse().ok()
}

fn decimal_text(n: i64) -> String {
    let sign = if n < 0 { "-" } else { "" };
    let magnitude = n.unsigned_abs();
    format!("{sign}{}.{:04}", magnitude / 10_000, magnitude % 10_000)
}

fn ip(text: &str) -> Option<Ip> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = prefix.parse().ok()?;
    // The standard library reads Cedar's canonical form, including `::ffff:1.2.3.4`.
    Some(match address.parse().ok()? {
        IpAddr::V4(address) => Ip::V4(address.into(), prefix),
        IpAddr::V6(address) => Ip::V6(address.into(), prefix),
    })
}

fn ip_text(ip: Ip) -> String {
    match ip {
        Ip::V4(bits, prefix) => format!("{}/{prefix}", Ipv4Addr::from(bits)),
        Ip::V6(bits, prefix) => {
            // All groups are written in full, because Cedar refuses the dotted form in which `Display` writes mapped
            // IPv4 addresses.
            let groups: Vec<String> = Ipv6Addr::from(bits).segments().iter().map(|g| format!("{g:x}")).collect();
            format!("{}/{prefix}", groups.join(":"))
        }
    }
}

/// Write an error and its advice in one line.
pub(crate) fn sentence(error: &(dyn miette::Diagnostic + 'static)) -> String {
    match describe(error) {
        (message, Some(help)) => format!("{message} ({help})"),
        (message, None) => message,
    }
}
