//! The binding of a gate: maps its arguments to the context slots of an action, or says why they do not fit.

use crate::cells::GateTable;
use crate::live_attributes::{LIVE, LiveAttribute, LivePath, NumberPlaces, positions_without, read_by};
use crate::working::Brings;
use std::fmt;
use ztfast_bundle::{ActionRec, Bundle, Field, LayerRec, Node, ValueType};
use ztfast_pages::{Forked, MemoryError, Resident};
use ztfast_vm::Tag;

/// The specification of a gate: what it was prepared for.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct GateSpec {
    pub ty: Box<str>,
    pub id: Box<str>,
    /// The paths of the arguments' attributes. A path names the same attribute in every bundle; a joined text might
    /// not.
    pub paths: Box<[Path]>,
    /// The types of the arguments. Callers convert values by them, so a bundle with other types does not fit the gate.
    pub types: Box<[ValueType]>,
    /// Whether the engine fills in live attributes of the action.
    pub live: bool,
}

impl GateSpec {
    /// Return the paths, joined by points.
    pub fn labels(&self) -> Vec<String> {
        self.paths.iter().map(|path| path.join(".")).collect()
    }

    /// Return what a decision of the gate brings: its call, and the engine.
    pub fn brings(&self) -> Brings {
        if self.live { Brings::Composites } else { self.call_brings() }
    }

    /// Return what a call of the gate brings.
    pub fn call_brings(&self) -> Brings {
        let composite = |ty: &ValueType| matches!(ty, ValueType::Ip | ValueType::Set(_));
        let text = |ty: &ValueType| matches!(ty, ValueType::String | ValueType::Entity(_));
        if self.types.iter().any(composite) {
            Brings::Composites
        } else if self.types.iter().any(text) {
            Brings::Texts
        } else {
            Brings::Nothing
        }
    }
}

/// The mapping of a gate's arguments to an action's context.
#[derive(Debug)]
pub(crate) struct Binding {
    pub action: u32,
    pub layers: Box<[LayerRec]>,
    /// Whether a forbid of the action asks for a step-up.
    pub step_up: bool,
    /// For each context slot, the position of its argument, or `u16::MAX`.
    pub positions: Box<[u16]>,
    pub kinds: Box<[u32]>,
    /// The paths of the arguments' attributes.
    pub paths: Box<[Path]>,
    /// The types of the arguments, and what their numbers stand for.
    pub types: Box<[ValueType]>,
    pub arguments: Box<[Argument]>,
    /// The number of arguments that the caller passes. Live attributes follow.
    pub callers: usize,
    /// The live attributes that the engine adds.
    pub live: Box<[LiveAttribute]>,
    pub numbers: NumberPlaces,
    pub live_path: LivePath,
    /// How many of them, the last ones, may be absent. For each of these there is another argument behind all others,
    /// which is 1 if it is there, and 0 if not.
    pub optional: usize,
    /// If some of them may be absent: [`Self::positions`] without each combination of these.
    pub positions_without: Box<[Box<[u16]>]>,
    /// The number of values that a decision takes; `usize::MAX` if some argument cannot be passed as a number.
    pub count: usize,
    /// The number of columns that a batch takes; `usize::MAX` if some argument cannot be passed in a column.
    pub columns: usize,
    /// The pages of the table. The field stands before it, so that it is dropped before it.
    pub resident: Vec<Resident>,
    /// The gate's own table; empty if the binding is not a gate's, or the gate can have none.
    pub table: GateTable,
}

impl Binding {
    /// Return the place of the argument that says whether a live attribute is there, if that may be absent.
    pub fn presence(&self, place: usize) -> Option<usize> {
        let end = self.callers + self.live.len();
        (end - self.optional..end).contains(&place).then_some(place + self.optional)
    }

    /// Return the positions of the context's slots, of which those of absent attributes have none.
    #[inline]
    pub fn positions_for(&self, numbers: &[i64]) -> Option<&[u16]> {
        if self.optional == 0 {
            return Some(&self.positions);
        }
        let mut absent = 0;
        let (end, first) = (self.callers + self.live.len(), self.live.len() - self.optional);
        for (place, attribute) in (end..).zip(self.live.iter().skip(first)) {
            absent |= if *numbers.get(place)? == 0 { attribute.bit() } else { 0 };
        }
        match absent.checked_sub(1) {
            None => Some(&self.positions),
            Some(at) => self.positions_without.get(at).map(|positions| &**positions),
        }
    }
}

/// What the number of an argument stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Argument {
    /// The value itself.
    Itself,
    Text,
    /// An entity of the type with this number.
    Entity(u32),
    /// A set of scalars of this kind, and for entities of the type with this number.
    Set(Tag, u32),
    Address,
    /// Nothing: no number can be passed.
    Nothing,
}

/// Where a gate's arguments are in a bundle, for a request that is made of their values without the gate.
#[derive(Debug)]
pub struct Arguments(pub(crate) Binding);

impl Arguments {
    /// Return the action's number.
    #[must_use]
    pub const fn action(&self) -> u32 {
        self.0.action
    }

    /// Return the place of the argument that fills a slot of the action's context.
    #[must_use]
    pub fn place(&self, slot: u32) -> Option<usize> {
        let place = *self.0.positions.get(slot as usize)?;
        (place != u16::MAX).then_some(usize::from(place))
    }
}

/// Stands for "no type" among the numbers of types.
pub(crate) const NO_TYPE: u32 = u32::MAX;

/// Why a gate could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The bundle has no such action.
    #[error("the bundle has no action {ty}::{id:?} that applies to anything")]
    UnknownAction {
        /// The action's type.
        ty: String,
        /// The action's id.
        id: String,
    },
    /// The action has no such context attribute.
    #[error("{action} has no context attribute {name}; it has {known}", known = list(known))]
    UnknownAttribute {
        /// The action.
        action: String,
        /// The name given.
        name: String,
        /// All names of the action's context attributes.
        known: Vec<String>,
    },
    /// A required attribute was not named.
    #[error("{action} also requires the context attributes {names}", names = list(names))]
    Missing {
        /// The action.
        action: String,
        /// The names.
        names: Vec<String>,
    },
    /// The system refused memory, or refused to hold it as the options ask.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The engine belongs to another process.
    #[error(transparent)]
    Forked(#[from] Forked),
    /// The engine fills the attribute in, or did not when the gate was prepared.
    #[error("{action}: `{LIVE}` is what the engine knows of the session, so no call can give {name}")]
    Live {
        /// The action.
        action: String,
        /// The name.
        name: String,
    },
    /// A name was given twice.
    #[error("the context attribute {name} is named twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A name fits two attributes.
    #[error("{action} has two context attributes {name}: name one by its path, {} or {}", paths[0], paths[1])]
    Ambiguous {
        /// The action.
        action: String,
        /// The name given.
        name: String,
        /// The paths of both.
        paths: [String; 2],
    },
    /// An attribute's type has changed.
    #[error("{action}: the context attribute {name:?} was {before} and is {now}")]
    Type {
        /// The action.
        action: String,
        /// The name.
        name: String,
        /// The type that the gate was prepared for.
        before: String,
        /// The type in the bundle.
        now: String,
    },
}

impl PrepareError {
    pub(crate) fn of(error: BindError, ty: &str, id: &str) -> Self {
        let action = format!("{ty}::{id:?}");
        match error {
            BindError::UnknownAction => Self::UnknownAction { ty: ty.to_owned(), id: id.to_owned() },
            BindError::UnknownAttribute { name, known } => Self::UnknownAttribute { action, name, known },
            BindError::Ambiguous { name, paths } => Self::Ambiguous { action, name, paths },
            BindError::Twice { name } => Self::Twice { name },
            BindError::Live { name } => Self::Live { action, name },
            BindError::Missing { names } => Self::Missing { action, names },
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Return the paths of the attributes that names refer to. A text refers to the attribute whose path, joined by points,
/// is that text. A text that fits two attributes is refused.
pub(crate) fn paths(bundle: &Bundle, action: Option<u32>, names: &[Name<'_>]) -> Result<Box<[Path]>, BindError> {
    let number = action.ok_or(BindError::UnknownAction)?;
    let meta = bundle.meta().actions.get(number as usize).ok_or(BindError::UnknownAction)?;
    let known = leaves(&meta.context);
    let mut paths: Vec<Path> = Vec::with_capacity(names.len());
    for name in names {
        let is = |path: &&Vec<&str>| match name {
            Name::Text(text) => joins_to(path, text),
            Name::Path(wanted) => path[..] == **wanted,
        };
        let mut found = known.iter().filter(is);
        let Some(path) = found.next() else {
            let known = known.iter().map(|path| label(path, &known)).collect();
            return Err(BindError::UnknownAttribute { name: name.to_string(), known });
        };
        if let Some(other) = found.next() {
            return Err(BindError::Ambiguous { name: name.to_string(), paths: [exact(path), exact(other)] });
        }
        let path: Path = path.iter().map(|&part| part.into()).collect();
        if paths.contains(&path) {
            return Err(BindError::Twice { name: name.to_string() });
        }
        paths.push(path);
    }
    Ok(paths.into())
}

/// Bind the arguments of a gate to an action of a bundle.
pub(crate) fn bind_spec(bundle: &Bundle, action: Option<u32>, spec: &GateSpec) -> Result<Binding, PrepareError> {
    let binding = bind(bundle, action, &spec.paths).map_err(|error| PrepareError::of(error, &spec.ty, &spec.id))?;
    let is_live = bundle.meta().actions.get(binding.action as usize).is_some_and(|meta| meta.live.is_some());
    if is_live != spec.live {
        let (action, name) = (format!("{}::{:?}", spec.ty, spec.id), LIVE.to_owned());
        return Err(PrepareError::Live { action, name });
    }
    let types = || spec.types.iter().zip(&binding.types).enumerate();
    if let Some((at, (before, now))) = types().find(|(_, (before, now))| before != now) {
        return Err(PrepareError::Type {
            action: format!("{}::{:?}", spec.ty, spec.id),
            name: spec.paths[at].join("."),
            before: type_text(before),
            now: type_text(now),
        });
    }
    Ok(binding)
}

/// Write a type about as a schema does.
fn type_text(ty: &ValueType) -> String {
    match ty {
        ValueType::Entity(ty) => format!("an entity of {ty:?}"),
        other => format!("{other:?}"),
    }
}

/// Bind arguments, given as paths of attributes, to an action's context.
pub(crate) fn bind(bundle: &Bundle, number: Option<u32>, names: &[Path]) -> Result<Binding, BindError> {
    let number = number.ok_or(BindError::UnknownAction)?;
    let meta = bundle.meta().actions.get(number as usize).ok_or(BindError::UnknownAction)?;
    let action = *bundle.actions().get(number as usize).ok_or(BindError::UnknownAction)?;
    let kinds: Box<[u32]> = slot_kinds(bundle, &action).ok_or(BindError::UnknownAction)?.into();
    let layers: Box<[LayerRec]> = layers(bundle, &action).ok_or(BindError::UnknownAction)?.into();
    let callers = names.len();
    if meta.live.is_some()
        && let Some(name) = names.iter().find(|name| begins(name, &[LIVE]))
    {
        return Err(BindError::Live { name: name.join(".") });
    }
    let read = read_by(meta).map(|(_, name)| -> Path { [LIVE.into(), name.into()].into() });
    let names: &[Path] = &names.iter().cloned().chain(read).collect::<Vec<_>>();
    let mut binder = Binder {
        names,
        types: vec![None; names.len()],
        positions: vec![u16::MAX; kinds.len()].into(),
        missing: Vec::new(),
    };
    binder.fields(&mut Vec::new(), &meta.context, true);
    let known = leaves(&meta.context);
    if let Some(at) = binder.types.iter().position(Option::is_none) {
        let name = exact(&names[at].iter().map(|part| &**part).collect::<Vec<_>>());
        let known = known.iter().map(|path| label(path, &known)).collect();
        return Err(BindError::UnknownAttribute { name, known });
    }
    if meta.live.is_some() {
        // What no policy reads is not filled in.
        binder.missing.retain(|path| path.first() != Some(&LIVE));
    }
    if !binder.missing.is_empty() {
        return Err(BindError::Missing { names: binder.missing.iter().map(|path| label(path, &known)).collect() });
    }
    let live: Box<[LiveAttribute]> = read_by(meta).map(|(attribute, _)| attribute).collect();
    let optional = live.iter().filter(|attribute| attribute.bit() != 0).count();
    let presences = std::iter::repeat_n(ValueType::Long, optional);
    let types: Box<[ValueType]> = binder.types.into_iter().flatten().chain(presences).collect();
    let own = types.get(..callers).unwrap_or_default();
    let columns = if own.iter().any(|ty| matches!(ty, ValueType::Ip | ValueType::Set(_) | ValueType::Record(_))) {
        usize::MAX
    } else {
        callers
    };
    let is_no_number = |ty: &ValueType| match ty {
        ValueType::Set(of) => scalar_kind(of).is_none(),
        ValueType::Record(_) => true,
        _ => false,
    };
    let count = if own.iter().any(is_no_number) { usize::MAX } else { types.len() };
    let arguments = types.iter().map(|ty| argument(bundle, ty)).collect();
    let (paths, positions) = (names.into(), binder.positions);
    let (resident, table) = (Vec::new(), GateTable::default());
    let step_up = action.step_up != 0;
    let positions_without = positions_without(&positions, &live, callers);
    let numbers = NumberPlaces::of(&live, callers);
    Ok(Binding {
        action: number,
        layers,
        step_up,
        positions,
        kinds,
        paths,
        types,
        arguments,
        callers,
        live,
        numbers,
        live_path: LivePath::Walk,
        optional,
        positions_without,
        count,
        columns,
        resident,
        table,
    })
}

/// Return the kind of a type's values, if a value alone is the whole value.
pub(crate) const fn scalar_kind(ty: &ValueType) -> Option<Tag> {
    Some(match ty {
        ValueType::Bool => Tag::Bool,
        ValueType::Long => Tag::Long,
        ValueType::String => Tag::String,
        ValueType::Entity(_) => Tag::Entity,
        ValueType::Decimal => Tag::Decimal,
        ValueType::Datetime => Tag::Datetime,
        ValueType::Duration => Tag::Duration,
        ValueType::Ip | ValueType::Set(_) | ValueType::Record(_) => return None,
    })
}

/// Return what the number of an argument of a type stands for.
fn argument(bundle: &Bundle, ty: &ValueType) -> Argument {
    let number = |ty: &ValueType| match ty {
        ValueType::Entity(name) => type_number(bundle, name).unwrap_or(NO_TYPE),
        _ => NO_TYPE,
    };
    match ty {
        ValueType::String => Argument::Text,
        ValueType::Entity(_) => Argument::Entity(number(ty)),
        ValueType::Ip => Argument::Address,
        ValueType::Set(of) => scalar_kind(of).map_or(Argument::Nothing, |kind| Argument::Set(kind, number(of))),
        ValueType::Record(_) => Argument::Nothing,
        ValueType::Bool | ValueType::Long | ValueType::Decimal | ValueType::Datetime | ValueType::Duration => {
            Argument::Itself
        }
    }
}

/// Return the number of a type.
fn type_number(bundle: &Bundle, name: &str) -> Option<u32> {
    let at = bundle.types().iter().position(|record| bundle.string(record.name) == Some(name))?;
    u32::try_from(at).ok()
}

/// Return the arguments whose bits in `absent` are 0.
pub(crate) fn without<T: Clone>(arguments: &[T], absent: u64) -> Box<[T]> {
    let is_there = |at: usize| u32::try_from(at).ok().and_then(|at| absent.checked_shr(at)).unwrap_or(0) & 1 == 0;
    arguments.iter().enumerate().filter(|(at, _)| is_there(*at)).map(|(_, argument)| argument.clone()).collect()
}

/// Return the kinds of an action's context slots.
pub(crate) fn slot_kinds<'b>(bundle: &'b Bundle, action: &ActionRec) -> Option<&'b [u32]> {
    let start = action.slots.start as usize;
    bundle.slot_kinds().get(start..start.checked_add(action.slots.len as usize)?)
}

/// Return the layers of an action.
pub(crate) fn layers<'b>(bundle: &'b Bundle, action: &ActionRec) -> Option<&'b [LayerRec]> {
    let start = action.layers.start as usize;
    bundle.layers().get(start..start.checked_add(action.layers.len as usize)?)
}

/// The path of an attribute in a context: the names of the records around it, then its own.
pub(crate) type Path = Box<[Box<str>]>;

/// The name by which an argument refers to its attribute.
#[derive(Debug, Clone, Copy)]
pub enum Name<'a> {
    /// The attribute's path, joined by points. Names may contain points, so a text that fits two attributes is refused.
    Text(&'a str),
    /// The attribute's path, part by part.
    Path(&'a [&'a str]),
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Path(path) => f.write_str(&exact(path)),
        }
    }
}

/// Return the paths of a context's attributes, down to those that are not records.
fn leaves(fields: &[Field]) -> Vec<Vec<&str>> {
    fn add<'f>(above: &mut Vec<&'f str>, fields: &'f [Field], all: &mut Vec<Vec<&'f str>>) {
        for field in fields {
            above.push(&field.name);
            match &field.node {
                Node::Leaf { .. } => all.push(above.clone()),
                Node::Record { fields, .. } => add(above, fields, all),
            }
            above.pop();
        }
    }
    let mut all = Vec::new();
    add(&mut Vec::new(), fields, &mut all);
    all
}

/// Return whether a path, joined by points, is this text.
fn joins_to(path: &[&str], text: &str) -> bool {
    let mut rest = Some(text);
    for (at, part) in path.iter().enumerate() {
        let ahead = if at == 0 { rest } else { rest.and_then(|rest| rest.strip_prefix('.')) };
        rest = ahead.and_then(|rest| rest.strip_prefix(part));
    }
    rest == Some("")
}

/// Write a path exactly, as a tuple.
fn exact(path: &[&str]) -> String {
    match path {
        [one] => format!("({one:?},)"),
        _ => format!("({})", path.iter().map(|part| format!("{part:?}")).collect::<Vec<_>>().join(", ")),
    }
}

/// Write a path joined by points, or exactly if the joined text fits another path too.
fn label(path: &[&str], all: &[Vec<&str>]) -> String {
    let text = path.join(".");
    if all.iter().filter(|other| joins_to(other, &text)).count() == 1 { text } else { exact(path) }
}

/// Why arguments do not fit an action's context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BindError {
    UnknownAction,
    UnknownAttribute { name: String, known: Vec<String> },
    Ambiguous { name: String, paths: [String; 2] },
    Twice { name: String },
    Live { name: String },
    Missing { names: Vec<String> },
}

struct Binder<'a> {
    names: &'a [Path],
    types: Vec<Option<ValueType>>,
    positions: Box<[u16]>,
    missing: Vec<Vec<&'a str>>,
}

impl<'a> Binder<'a> {
    /// Bind the fields of a record. Return the position of one of its arguments, if it has any.
    fn fields(&mut self, path: &mut Vec<&'a str>, fields: &'a [Field], required: bool) -> Option<u16> {
        let mut given = None;
        for field in fields {
            path.push(&field.name);
            let needed = required && field.required;
            match &field.node {
                Node::Leaf { slot, ty } => {
                    let place = self.names.iter().position(|name| begins(name, path) && name.len() == path.len());
                    if let Some(place) = place.and_then(|place| u16::try_from(place).ok()) {
                        self.types[place as usize] = Some(ty.clone());
                        if let Some(position) = self.positions.get_mut(*slot as usize) {
                            *position = place;
                        }
                        given = Some(place);
                    } else if needed {
                        self.missing.push(path.clone());
                    }
                }
                Node::Record { presence, fields } => {
                    // An optional record is present iff one of its attributes is given. Then it must be whole.
                    let there = needed || self.names.iter().any(|name| begins(name, path));
                    let inner = self.fields(path, fields, there);
                    if let (Some(slot), Some(place)) = (presence, inner)
                        && let Some(position) = self.positions.get_mut(*slot as usize)
                    {
                        *position = place;
                    }
                    given = inner.or(given);
                }
            }
            path.pop();
        }
        given
    }
}

/// Return whether a path begins with another.
fn begins(path: &Path, with: &[&str]) -> bool {
    path.len() >= with.len() && path.iter().zip(with).all(|(part, with)| **part == **with)
}
