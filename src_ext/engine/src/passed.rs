//! The values of one decision, passed in one step with it.
//!
//! The numbers of texts, entities, sets and addresses do not leave this step, so that nothing has to check whose they
//! are. What is unusual is not decided here: the caller then begins a call, whose functions say what is wrong.

use crate::asks::{Ask, Asks, NOT_KEPT, Span};
use crate::binding::{Argument, Binding};
use crate::checks::Answers;
use crate::decide::{Determining, EffectByAnswers, EffectOnly, Sink};
use crate::exit::{Decision, leave};
use crate::gate::Gate;
use crate::live_attributes::LivePath;
use crate::memo::{Known, MOST_PLACES, Memo, NO_SESSION, NO_TOKEN};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::working::{CallValues, EMPTY_SET};
use std::sync::Arc;
use ztfast_bundle::ValueType;
use ztfast_codes::Code;
use ztfast_live::{Handle, SessionId};
use ztfast_vm::{Tag, Value};

/// The most values of a decision that are passed in one step.
pub const MOST_PASSED: usize = 16;
const _: () = assert!(MOST_PASSED <= MOST_PLACES);
/// The most texts that the bundle lacks, and the longest of them, and the most elements of a set that are not kept. A
/// call has room for more, so that a decision does not depend on whether values are kept.
const MOST_UNKNOWN: u32 = 32;
const LONGEST: usize = 256;
const MOST_ELEMENTS: usize = 16;
/// The bits of an entity's number in a set that is remembered, and what stands for no entity.
const ENTITY_BITS: u32 = 29;
const NO_ENTITY: u64 = (1 << ENTITY_BITS) - 1;

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

/// The values of one decision. The bundle, its changes and the kills are those of the moment of the decision, or
/// nothing is decided.
pub struct PassedValues<'g> {
    gate: &'g mut Gate,
    numbers: [i64; MOST_PASSED],
    count: usize,
}

/// A value as its caller has it, which is read as what its argument is. `None` if it is nothing of that kind.
pub trait Source<'v>: Sized {
    /// An element of a set.
    type Element: Source<'v>;
    /// Return a number, or the handle of an entity.
    fn number(self) -> Option<i64>;
    /// Return a text or its number, but no address.
    fn text(self) -> Option<Passed<'v>>;
    /// Return the fields of an address.
    fn address(self) -> Option<(u128, bool, u8)>;
    /// Return the elements of a set.
    fn elements(self) -> Option<impl ExactSizeIterator<Item = Self::Element>>;
    /// Return what names this text or set, and no other of this gate's; 0 for nothing.
    #[inline]
    fn token(&self) -> u64 {
        NO_TOKEN
    }
    /// Return the handle of an entity.
    fn handle(&self) -> Option<i64>;
    /// Return the handles of a set of one entity or two, if that takes little.
    #[inline]
    fn few_handles(&self) -> Option<(i64, Option<i64>)> {
        None
    }
    /// Return an IPv4 address and the length of its prefix.
    fn ip4(&self) -> Option<(u32, u8)>;
}

/// Return an IPv4 address, given the fields of any.
fn ip4_of(given: Option<(u128, bool, u8)>) -> Option<(u32, u8)> {
    let (bits, _, prefix) = given.filter(|(_, is_v6, _)| !is_v6)?;
    Some((u32::try_from(bits).ok()?, prefix))
}

impl<'v> Source<'v> for Option<Passed<'v>> {
    type Element = Self;

    #[inline]
    fn number(self) -> Option<i64> {
        if let Passed::Number(number) = self? { Some(number) } else { None }
    }

    #[inline]
    fn text(self) -> Option<Passed<'v>> {
        self.filter(|given| !matches!(given, Passed::Address(..)))
    }

    #[inline]
    fn address(self) -> Option<(u128, bool, u8)> {
        if let Passed::Address(bits, is_v6, prefix) = self? { Some((bits, is_v6, prefix)) } else { None }
    }

    #[inline]
    fn elements(self) -> Option<impl ExactSizeIterator<Item = Self>> {
        None::<std::iter::Empty<Self>>
    }

    #[inline]
    fn handle(&self) -> Option<i64> {
        self.number()
    }

    #[inline]
    fn ip4(&self) -> Option<(u32, u8)> {
        ip4_of(self.address())
    }
}

impl<'v, S: ExactSizeIterator<Item = Option<Passed<'v>>>> Source<'v> for Option<Given<'v, S>> {
    type Element = Option<Passed<'v>>;

    #[inline]
    fn number(self) -> Option<i64> {
        if let Given::One(given) = self? { Some(given).number() } else { None }
    }

    #[inline]
    fn text(self) -> Option<Passed<'v>> {
        if let Given::One(given) = self? { Some(given).text() } else { None }
    }

    #[inline]
    fn address(self) -> Option<(u128, bool, u8)> {
        if let Given::One(given) = self? { Some(given).address() } else { None }
    }

    #[inline]
    fn elements(self) -> Option<impl ExactSizeIterator<Item = Self::Element>> {
        if let Given::Set(elements) = self? { Some(elements) } else { None }
    }

    #[inline]
    fn handle(&self) -> Option<i64> {
        if let Some(Given::One(Passed::Number(number))) = self { Some(*number) } else { None }
    }

    #[inline]
    fn ip4(&self) -> Option<(u32, u8)> {
        if let Some(Given::One(given)) = self { Some(*given).ip4() } else { None }
    }
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
    pub fn allows_passed<'v>(
        &mut self,
        generation: u64,
        (session, resource): (SessionId, Handle),
        values: impl ExactSizeIterator<Item = impl Source<'v>>,
    ) -> Option<Decision> {
        // What is swapped, begun or killed from here on, this decision does not see.
        if self.shared.disquiet(self.expected_passed) != 0 && !self.may_be_passed(session, resource) {
            return None;
        }
        let Self { shared, snapshot, binding: Some(binding), brought, memo: Some(memo), .. } = &mut *self else {
            return None;
        };
        if snapshot.loaded.generation != generation {
            return None;
        }
        let asks = &binding.table.asks;
        if asks.keeps {
            brought.clear();
        }
        let (mut by_answers, mut unknown, mut numbers) = (EffectByAnswers::default(), 0, [0; MOST_PASSED]);
        let callers = numbers.get_mut(..asks.arguments.len()).filter(|callers| values.len() == callers.len())?;
        let mut read = 0;
        for (place, (number, (ask, value))) in callers.iter_mut().zip(asks.arguments.iter().zip(values)).enumerate() {
            *number = if let Ask::Number(asked) = *ask {
                asks.number_asked(asked, value, &mut by_answers.answers)?
            } else {
                let (token, about) = name(snapshot, asks, session, ask, &value)?;
                if let Some(known) = memo.get(token, place, about) {
                    by_answers.answers.join(&known.answers);
                    unknown += known.unknown;
                    known.number
                } else {
                    let answers = &mut by_answers.answers;
                    let mut answering =
                        Answering { shared, session, snapshot, binding, brought, answers, unknown: &mut unknown };
                    if token == NO_TOKEN {
                        answering.asked(ask, place, value)?
                    } else {
                        answering.asked_and_remembered(memo, (token, about), ask, place, value)?
                    }
                }
            };
            read = place + 1;
        }
        // An iterator may be shorter than it says.
        if read != callers.len() || unknown > MOST_UNKNOWN {
            return None;
        }
        let (live_path, all) = (binding.live_path, binding.types.len());
        let code = if !self.has_own_path {
            self.decide_now(session, resource, callers, &mut by_answers)
        } else if live_path == LivePath::Few {
            self.by_few_passed(session, resource, numbers.get_mut(..all)?, &mut by_answers)
        } else {
            self.decide_by_own_path(session, resource, callers, &mut by_answers)
        };
        // A decision that needs the values was not made.
        if by_answers.needs_values { None } else { Some(leave(code)) }
    }

    /// Decide by the gate's snapshot, where these values were looked up. `None` if it is not the newest, or a kill
    /// stops the action.
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

/// Return the token of a value, which is no number, and the session about whose principal it may answer.
#[inline(always)]
#[allow(clippy::inline_always)] // on the hot path
fn name<'v>(
    snapshot: &Arc<Snapshot>,
    asks: &Asks,
    session: SessionId,
    ask: &Ask,
    given: &impl Source<'v>,
) -> Option<(u64, SessionId)> {
    let token = match ask {
        Ask::Set { kind: Tag::Entity, .. } => {
            let about = if asks.principal { session } else { NO_SESSION };
            return Some((token_of_entities(snapshot, given), about));
        }
        Ask::Text(_) | Ask::Set { .. } => given.token(),
        Ask::Entity { .. } => given.handle()?.cast_unsigned(),
        Ask::Address(_) => {
            given.ip4().map_or(NO_TOKEN, |(address, prefix)| (u64::from(address) << 8 | u64::from(prefix)) + 1)
        }
        Ask::Kept | Ask::Number(_) => NO_TOKEN,
    };
    Some((token, NO_SESSION))
}

/// Return the number of an entity, given by its handle, that no other has in this bundle.
#[inline]
fn own(snapshot: &Snapshot, handle: i64) -> u64 {
    snapshot.loaded.key.place(Handle(handle.cast_unsigned())).0 as u64
}

/// Return the token of a set of one entity or two.
#[inline]
fn token_of_entities<'v>(snapshot: &Snapshot, given: &impl Source<'v>) -> u64 {
    let Some((first, second)) = given.few_handles() else { return NO_TOKEN };
    let (first, second) = (own(snapshot, first), second.map(|second| own(snapshot, second)));
    if first >= NO_ENTITY || second.is_some_and(|second| second >= NO_ENTITY) {
        return NO_TOKEN;
    }
    (second.unwrap_or(NO_ENTITY) << ENTITY_BITS | first) + 1
}

/// What values answer while they are passed.
struct Answering<'g> {
    shared: &'g Shared,
    session: SessionId,
    snapshot: &'g Snapshot,
    binding: &'g Binding,
    brought: &'g mut CallValues,
    answers: &'g mut Answers,
    /// How many texts that the bundle lacks were passed.
    unknown: &'g mut u32,
}

impl Answering<'_> {
    /// Answer the checks that ask for a value, and remember the answers.
    #[inline(never)]
    fn asked_and_remembered<'v>(
        &mut self,
        memo: &mut Memo,
        (token, about): (u64, SessionId),
        ask: &Ask,
        place: usize,
        given: impl Source<'v>,
    ) -> Option<i64> {
        let (before, unknown) = (std::mem::take(self.answers), *self.unknown);
        let number = self.asked(ask, place, given)?;
        let known = Known { answers: *self.answers, number, unknown: *self.unknown - unknown };
        self.answers.join(&before);
        memo.put(token, place, about, known);
        Some(number)
    }

    /// Answer the checks that ask for a value.
    #[inline]
    fn asked<'v>(&mut self, ask: &Ask, place: usize, given: impl Source<'v>) -> Option<i64> {
        let asks = &self.binding.table.asks;
        match *ask {
            Ask::Number(asked) => asks.number_asked(asked, given, self.answers),
            Ask::Entity { ty, checks, first, answers } => {
                let number = self.entity(place, ty, given.number()?)?;
                if checks != 0 && self.snapshot.changes.is_none() {
                    asks.entity((checks, first, answers), number.cast_unsigned(), self.answers)?;
                }
                Some(number)
            }
            Ask::Text(asked) => {
                let given = given.text()?;
                if asked.0 != asked.1 {
                    let text = match given {
                        Passed::Number(number) => known_text(self.snapshot, number)?,
                        Passed::Text(text) | Passed::Unknown(text) => text.as_bytes(),
                        Passed::Address(..) => return None,
                    };
                    asks.text(asked, text, self.answers)?;
                }
                self.text(given)
            }
            Ask::Address(asked) => {
                let (bits, is_v6, prefix) = given.address()?;
                if is_v6 || prefix > 32 {
                    return None;
                }
                asks.ip4(asked, u32::try_from(bits).ok()?, prefix.into(), self.answers)?;
                Some(NOT_KEPT)
            }
            Ask::Set { kind, ty, elements, asked } => {
                let all = given.elements()?;
                if all.len() > MOST_ELEMENTS {
                    return None;
                }
                let (mut found, mut number) = (0, EMPTY_SET);
                let principal =
                    if asks.principal { Some(principal_of(self.shared, self.snapshot, self.session)?) } else { None };
                for element in all {
                    let payload = match kind {
                        Tag::String => self.text(element.text()?)?,
                        Tag::Entity => self.entity_of_set(place, ty, element.number()?)?,
                        Tag::Bool => i64::from(element.number()? != 0),
                        _ => element.number()?,
                    };
                    found |= asks.element(elements, payload.cast_unsigned(), principal);
                    number = NOT_KEPT;
                }
                asks.set(asked, found, self.answers)?;
                Some(number)
            }
            Ask::Kept => self.kept(place, given),
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
        *self.unknown += 1;
        (*self.unknown <= MOST_UNKNOWN && text.len() <= LONGEST).then_some(NOT_KEPT)
    }

    /// Return the number of an entity. Where the register gives it another one, no answer changes: those about the
    /// principal are of a session, and whoever has a session is in the register.
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
    fn kept<'v>(&mut self, place: usize, given: impl Source<'v>) -> Option<i64> {
        let argument = (*self.binding.arguments.get(place)?, self.binding.types.get(place)?);
        keep(self.snapshot, self.brought, argument, given)
    }
}

impl Asks {
    /// Answer the checks that ask for a number, and return it. Most are numbers of which none asks.
    #[inline]
    fn number_asked<'v>(&self, asked: Span, given: impl Source<'v>, answers: &mut Answers) -> Option<i64> {
        let number = given.number()?;
        if asked.0 != asked.1 {
            answer_by_number(self, asked, number, answers)?;
        }
        Some(number)
    }
}

#[inline(never)]
fn answer_by_number(asks: &Asks, asked: Span, number: i64, answers: &mut Answers) -> Option<()> {
    asks.number(asked, number, answers)
}

/// Return the principal of a session, as sets have it. `None` if the session or the entity is not there. Another
/// snapshot may say otherwise, and then this one decides nothing.
#[inline(never)]
fn principal_of(shared: &Shared, snapshot: &Snapshot, session: SessionId) -> Option<u64> {
    let place = shared.sessions.valid(session, shared.now_ns())?;
    Some(snapshot.entity(place)?.bits())
}

/// Return a text that the bundle holds.
#[inline(never)]
fn known_text(snapshot: &Snapshot, number: i64) -> Option<&[u8]> {
    snapshot.loaded.bundle.store().strings.get(u32::try_from(number).ok()?)
}

/// Keep a value. Return its number; `None` if it is not of the argument's type, or there is no room.
#[inline]
fn keep<'v>(
    snapshot: &Snapshot,
    brought: &mut CallValues,
    (argument, ty): (Argument, &ValueType),
    given: impl Source<'v>,
) -> Option<i64> {
    match argument {
        Argument::Itself => given.number(),
        Argument::Text => keep_text(snapshot, brought, given.text()?),
        Argument::Entity(number) => Some(entity_value(snapshot, given.number()?, number, ty)?.as_i64()),
        Argument::Address => {
            let (bits, is_v6, prefix) = given.address()?;
            let longest = if is_v6 { 128 } else { 32 };
            if prefix <= longest { brought.address(bits, is_v6, prefix) } else { None }
        }
        Argument::Set(kind, number) => {
            let ValueType::Set(ty) = ty else { return None };
            let (elements, start) = (given.elements()?, brought.begin_set()?);
            for element in elements {
                let value = match kind {
                    Tag::String => Value::number(Tag::String, keep_text(snapshot, brought, element.text()?)?),
                    Tag::Entity => entity_value(snapshot, element.number()?, number, ty)?,
                    Tag::Bool => Value::bool(element.number()? != 0),
                    kind => Value::number(kind, element.number()?),
                };
                brought.push(value)?;
            }
            brought.set(start)
        }
        Argument::Nothing => None,
    }
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
    /// Pass a value. `None` if it is not of the argument's type, or there is no room for it.
    #[inline]
    pub fn value<'v>(&mut self, given: impl Source<'v>) -> Option<()> {
        let Gate { snapshot, binding, brought, .. } = &mut *self.gate;
        let binding = binding.as_deref().filter(|binding| self.count < binding.callers)?;
        let argument = (*binding.arguments.get(self.count)?, binding.types.get(self.count)?);
        *self.numbers.get_mut(self.count)? = keep(snapshot, brought, argument, given)?;
        self.count += 1;
        Some(())
    }

    /// Decide. `None` if a bundle, a change or a kill came meanwhile.
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn allows(&mut self, session: SessionId, resource: Handle) -> Option<Decision> {
        let code = self.walk(session, resource, &mut EffectOnly)?;
        Some(leave(code))
    }

    /// Decide, and record the policies that determine the decision. `None` as for [`Self::allows`].
    #[cfg_attr(ztfast_rtsan, sanitize(realtime = "nonblocking"))]
    #[inline]
    pub fn decide(&mut self, session: SessionId, resource: Handle, determining: &mut Determining) -> Option<Decision> {
        determining.clear();
        let code = self.walk(session, resource, determining);
        determining.sort();
        code.map(leave)
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    fn walk(&mut self, session: SessionId, resource: Handle, sink: &mut impl Sink) -> Option<Code> {
        let Self { gate, numbers, count } = self;
        gate.decide_if_current(session, resource, numbers.get(..*count).unwrap_or_default(), sink)
    }
}
