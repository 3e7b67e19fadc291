//! The values of one decision, passed in one step with it.
//!
//! The numbers of texts, entities, sets and addresses do not leave this step, so that nothing has to check whose they
//! are. What is unusual is not decided here: the caller then begins a call, whose functions say what is wrong.

use crate::asks::{Ask, NOT_KEPT};
use crate::binding::{Argument, Binding};
use crate::checks::Answers;
use crate::decide::{Determining, EffectByAnswers, EffectOnly, Sink};
use crate::gate::{Call, Gate};
use crate::snapshot::Snapshot;
use crate::working::{CallValues, EMPTY_SET};
use ztfast_bundle::ValueType;
use ztfast_codes::Code;
use ztfast_live::{Handle, SessionId};
use ztfast_vm::{Tag, Value};

/// The most values of a decision that are passed in one step.
pub const MOST_PASSED: usize = 16;
/// The most texts that the bundle lacks, and the longest of them, and the most elements of a set that are not kept. A
/// call has room for more, so that a decision does not depend on whether values are kept.
const MOST_UNKNOWN: u32 = 32;
const LONGEST: usize = 256;
const MOST_ELEMENTS: usize = 16;

/// A value, or an element of a set.
#[derive(Debug, Clone, Copy)]
pub enum Passed<'v> {
    /// A number, the handle of an entity, or the number of a text that the bundle holds.
    Number(i64),
    /// A text.
    Text(&'v str),
    /// A text that the bundle lacks, as the caller knows from an earlier call of this generation.
    Unknown(&'v str),
    /// An IP address or range: 128 bits, of which an IPv4 address has the low 32; whether it is an IPv6 address; and
    /// the length of the prefix.
    Address(u128, bool, u8),
}

/// A value that is no set, or the elements of a set.
#[derive(Debug, Clone, Copy)]
pub enum Given<'v, S> {
    /// A value that is no set.
    One(Passed<'v>),
    /// A set.
    Set(S),
}

/// The values of one decision. The bundle, its changes and the kill switch are those of the moment of the decision, or
/// nothing is decided.
pub struct PassedValues<'g> {
    gate: &'g mut Gate,
    numbers: [i64; MOST_PASSED],
    count: usize,
}

impl Gate {
    /// Begin to pass the values of a decision. This ends a call that was begun. `None` if numbers of texts are of
    /// another bundle generation than the newest, or in a forked child.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn pass(&mut self, generation: u64) -> Option<PassedValues<'_>> {
        self.refresh();
        if self.generation() != generation || self.shared.is_forked() {
            return None;
        }
        self.brought.clear();
        Some(PassedValues { gate: self, numbers: [0; MOST_PASSED], count: 0 })
    }
}

impl Gate {
    /// Decide by values that are passed in one step, without keeping those of which only checks ask, which they answer
    /// at once. This does not end a call that was begun. `None` if that cannot be done: [`Self::pass`] then may.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn allows_passed<'v, S: ExactSizeIterator<Item = Option<Passed<'v>>>>(
        &mut self,
        generation: u64,
        (session, resource): (SessionId, Handle),
        values: impl Iterator<Item = Option<Given<'v, S>>>,
    ) -> Option<Code> {
        let Self { shared, snapshot, binding, brought, call, .. } = self;
        let binding = binding.as_deref()?;
        if shared.is_forked()
            || snapshot.loaded.generation != generation
            || *call != Call::None
            || binding.table.is_empty()
        {
            return None;
        }
        if binding.table.asks.keeps {
            brought.clear();
        }
        let mut by_answers = EffectByAnswers::default();
        let mut answering =
            Answering { snapshot, binding, brought, answers: &mut by_answers.answers, unknown: MOST_UNKNOWN };
        let (mut numbers, mut count) = ([0; MOST_PASSED], 0);
        for given in values {
            *numbers.get_mut(count)? = answering.number(count, given?)?;
            count += 1;
        }
        let code = self.decide_if_current(session, resource, numbers.get(..count)?, &mut by_answers)?;
        (!by_answers.needs_values).then_some(code)
    }

    /// Decide by the gate's snapshot, where these values were looked up. `None` if it is not the newest, or the kill
    /// switch stops the action.
    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    fn decide_if_current(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        sink: &mut impl Sink,
    ) -> Option<Code> {
        let is_quiet =
            self.shared.disquiet(self.snapshot.version) == 0 || self.is_newest_and_not_killed(session, resource);
        // The session's place may have been reused if there is a newer epoch of uids, which comes before its bundle.
        if !is_quiet || !self.snapshot.loaded.uids.is_newest() {
            return None;
        }
        if self.has_own_path {
            return Some(self.decide_by_own_path(session, resource, values, sink));
        }
        Some(self.decide_now(session, resource, values, sink))
    }
}

/// What values answer while they are passed.
struct Answering<'g> {
    snapshot: &'g Snapshot,
    binding: &'g Binding,
    brought: &'g mut CallValues,
    answers: &'g mut Answers,
    /// How many more texts that the bundle lacks may be passed.
    unknown: u32,
}

impl Answering<'_> {
    /// Return the number of a value, which the argument at a place has, and answer the checks that ask for it.
    #[inline]
    fn number<'v>(
        &mut self,
        place: usize,
        given: Given<'v, impl ExactSizeIterator<Item = Option<Passed<'v>>>>,
    ) -> Option<i64> {
        let asks = &self.binding.table.asks;
        let ask = asks.arguments.get(place)?;
        // Most values are numbers of which no check asks.
        if let (Ask::Number((first, end)), Given::One(Passed::Number(number))) = (ask, &given)
            && first == end
        {
            return Some(*number);
        }
        match (*ask, given) {
            (Ask::Number(asked), Given::One(Passed::Number(number))) => {
                asks.number(asked, number, self.answers)?;
                Some(number)
            }
            (Ask::Entity { ty, checks, first, answers }, Given::One(Passed::Number(handle))) => {
                let number = self.entity(place, ty, handle)?;
                if checks != 0 && self.snapshot.changes.is_none() {
                    asks.entity((checks, first, answers), number.cast_unsigned(), self.answers)?;
                }
                Some(number)
            }
            (Ask::Text(asked), Given::One(given)) => {
                if let Passed::Number(number) = given {
                    if asked.0 != asked.1 {
                        let text = self.snapshot.loaded.bundle.store().strings.get(u32::try_from(number).ok()?)?;
                        asks.text(asked, text, self.answers)?;
                    }
                } else if let Passed::Text(text) | Passed::Unknown(text) = given {
                    asks.text(asked, text.as_bytes(), self.answers)?;
                }
                self.text(given)
            }
            (Ask::Address(asked), Given::One(Passed::Address(bits, false, prefix))) if prefix <= 32 => {
                asks.ip4(asked, u32::try_from(bits).ok()?, prefix.into(), self.answers)?;
                Some(NOT_KEPT)
            }
            (Ask::Set { kind, ty, elements, asked }, Given::Set(all)) => {
                if all.len() > MOST_ELEMENTS {
                    return None;
                }
                let (mut found, mut number) = (0, EMPTY_SET);
                for element in all {
                    let payload = match (kind, element?) {
                        (Tag::String, given) => self.text(given)?,
                        (Tag::Entity, Passed::Number(handle)) => self.entity_of_set(place, ty, handle)?,
                        (Tag::Bool, Passed::Number(number)) => i64::from(number != 0),
                        (_, Passed::Number(number)) => number,
                        _ => return None,
                    };
                    found |= asks.element(elements, payload.cast_unsigned());
                    number = NOT_KEPT;
                }
                asks.set(asked, found, self.answers)?;
                Some(number)
            }
            (Ask::Kept, given) => self.kept(place, given),
            _ => None,
        }
    }

    /// Return the number of a text that is not kept.
    #[inline]
    fn text(&mut self, given: Passed<'_>) -> Option<i64> {
        let text = match given {
            Passed::Number(number) => return u32::try_from(number).ok().map(i64::from),
            Passed::Text(text) => match self.snapshot.loaded.bundle.find_string(text) {
                Some(known) => return Some(i64::from(known)),
                None => text,
            },
            Passed::Unknown(text) => text,
            Passed::Address(..) => return None,
        };
        self.unknown = self.unknown.checked_sub(1)?;
        (text.len() <= LONGEST).then_some(NOT_KEPT)
    }

    #[inline]
    fn entity(&self, place: usize, number: u32, handle: i64) -> Option<i64> {
        entity_value(self.snapshot, handle, number, self.binding.types.get(place)?)?.as_i64().into()
    }

    #[inline(never)]
    fn entity_of_set(&self, place: usize, number: u32, handle: i64) -> Option<i64> {
        let ValueType::Set(ty) = self.binding.types.get(place)? else { return None };
        entity_value(self.snapshot, handle, number, ty)?.as_i64().into()
    }

    /// Keep a value, and return its number.
    #[inline(never)]
    fn kept<'v>(&mut self, place: usize, given: Given<'v, impl Iterator<Item = Option<Passed<'v>>>>) -> Option<i64> {
        let (argument, ty) = (*self.binding.arguments.get(place)?, self.binding.types.get(place)?);
        match given {
            Given::One(given) => keep(self.snapshot, self.brought, (argument, ty), given),
            Given::Set(elements) => keep_set(self.snapshot, self.brought, (argument, ty), elements),
        }
    }
}

/// Keep a value that is no set. Return its number; `None` if it is not of the argument's type, or there is no room.
#[inline]
fn keep(
    snapshot: &Snapshot,
    brought: &mut CallValues,
    (argument, ty): (Argument, &ValueType),
    given: Passed<'_>,
) -> Option<i64> {
    match (argument, given) {
        (Argument::Itself, Passed::Number(number)) => Some(number),
        (Argument::Text, given) => keep_text(snapshot, brought, given),
        (Argument::Entity(number), Passed::Number(handle)) => {
            Some(entity_value(snapshot, handle, number, ty)?.as_i64())
        }
        (Argument::Address, Passed::Address(bits, is_v6, prefix)) if prefix <= if is_v6 { 128 } else { 32 } => {
            brought.address(bits, is_v6, prefix)
        }
        _ => None,
    }
}

/// Keep a set, as [`keep`] does.
#[inline]
fn keep_set<'v>(
    snapshot: &Snapshot,
    brought: &mut CallValues,
    (argument, ty): (Argument, &ValueType),
    elements: impl Iterator<Item = Option<Passed<'v>>>,
) -> Option<i64> {
    let (Argument::Set(kind, number), ValueType::Set(ty)) = (argument, ty) else { return None };
    let start = brought.begin_set()?;
    for element in elements {
        let value = match (kind, element?) {
            (Tag::String, given) => Value::number(Tag::String, keep_text(snapshot, brought, given)?),
            (Tag::Entity, Passed::Number(handle)) => entity_value(snapshot, handle, number, ty)?,
            (Tag::Bool, Passed::Number(number)) => Value::bool(number != 0),
            (kind, Passed::Number(number)) => Value::number(kind, number),
            _ => return None,
        };
        brought.push(value)?;
    }
    brought.set(start)
}

#[inline]
#[allow(clippy::cast_possible_wrap)] // the bits are what counts
fn keep_text(snapshot: &Snapshot, brought: &mut CallValues, given: Passed<'_>) -> Option<i64> {
    match given {
        // Texts that came with a change or a call have larger numbers.
        Passed::Number(number) => u32::try_from(number).is_ok().then_some(number),
        Passed::Text(text) => {
            let known = snapshot.string(text);
            known.or_else(|| brought.number(text)).map(|number| number as i64)
        }
        Passed::Unknown(text) => {
            let added = snapshot.changes.as_ref().and_then(|changes| changes.string(text));
            added.or_else(|| brought.number(text)).map(|number| number as i64)
        }
        Passed::Address(..) => None,
    }
}

/// Return the entity of a handle as a value; `None` if it is none of the type, of which this takes the number and the
/// name.
#[inline]
fn entity_value(snapshot: &Snapshot, handle: i64, number: u32, ty: &ValueType) -> Option<Value> {
    let place = snapshot.loaded.key.place(Handle(handle.cast_unsigned()));
    snapshot.entity_of(place, number, ty).ok().map(Value::entity)
}

impl PassedValues<'_> {
    /// Pass a value that is no set. `None` if it is not of the argument's type, or there is no room for it.
    #[inline]
    pub fn value(&mut self, given: Passed<'_>) -> Option<()> {
        self.keep(|snapshot, brought, argument| keep(snapshot, brought, argument, given))
    }

    /// Pass a set. `None` if an element is not of the type, or there is no room for it.
    #[inline]
    pub fn set<'v>(&mut self, elements: impl Iterator<Item = Option<Passed<'v>>>) -> Option<()> {
        self.keep(|snapshot, brought, argument| keep_set(snapshot, brought, argument, elements))
    }

    #[inline]
    fn keep(
        &mut self,
        keep: impl FnOnce(&Snapshot, &mut CallValues, (Argument, &ValueType)) -> Option<i64>,
    ) -> Option<()> {
        let Gate { snapshot, binding, brought, .. } = &mut *self.gate;
        let binding = binding.as_deref().filter(|binding| self.count < binding.callers)?;
        let argument = (*binding.arguments.get(self.count)?, binding.types.get(self.count)?);
        *self.numbers.get_mut(self.count)? = keep(snapshot, brought, argument)?;
        self.count += 1;
        Some(())
    }

    /// Decide. `None` if a bundle, a change or the kill switch came meanwhile.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn allows(&mut self, session: SessionId, resource: Handle) -> Option<Code> {
        self.walk(session, resource, &mut EffectOnly)
    }

    /// Decide, and record the policies that determine the decision. `None` as for [`Self::allows`].
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn decide(&mut self, session: SessionId, resource: Handle, determining: &mut Determining) -> Option<Code> {
        determining.clear();
        let code = self.walk(session, resource, determining);
        determining.sort();
        code
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    fn walk(&mut self, session: SessionId, resource: Handle, sink: &mut impl Sink) -> Option<Code> {
        let Self { gate, numbers, count } = self;
        gate.decide_if_current(session, resource, numbers.get(..*count).unwrap_or_default(), sink)
    }
}
