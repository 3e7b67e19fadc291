//! Live attributes: what an engine knows of a session, as arguments that a decision adds to those of its caller.
//!
//! A binding lists the attributes that some policy of its action reads. Tables, checks and the interpreter see them as
//! any argument, behind those of the caller.

use crate::asks::Ask;
use crate::binding::{Argument, Binding};
use crate::checks::Answers;
use crate::decide::{Sink, Walk};
use crate::live_asks::{LOST, TRUSTED};
use crate::live_attributes::{LIVE, LiveAttribute, read_by};
use crate::request::RequestBuilder;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::working::CallValues;
use std::fmt::{self, Write};
use ztfast_bundle::{ActionMeta, ClassPair, Field, Node, ValueType};
use ztfast_codes::Code;
use ztfast_live::{LiveAttributes, MAX_FACTORS, MAX_NAME, MAX_UID, MarketState, OwnedUid, Place, SessionId};
use ztfast_vm::{EntityRef, Request, Scratch, Tag, Value};

/// The most values of a decision with live attributes, theirs included.
pub(crate) const MOST_VALUES: usize = 80;
/// The most bytes of the text of an entity's uid that fits into a shared state: an escape makes 6 bytes of one at most,
/// as of U+007F, and 4 stand around the id. And those of one that is put together with less memory to clear.
const MOST_UID: usize = 6 * MAX_UID + 4;
const SHORT_UID: usize = 64;

/// A text of limited length.
struct Text<const MOST: usize> {
    bytes: [u8; MOST],
    len: usize,
}

impl<const MOST: usize> Write for Text<MOST> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Return whether Cedar writes a byte of an id as it is. Of others, [`str::escape_debug`] says what it writes.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\')
}

impl<const MOST: usize> Text<MOST> {
    /// Write a uid as Cedar does. `None` if it is too long.
    #[inline]
    fn of_uid((ty, id): (&str, &str)) -> Option<Self> {
        let mut text = Self { bytes: [0; MOST], len: 0 };
        text.write_str(ty).ok()?;
        text.write_str("::\"").ok()?;
        if id.bytes().all(is_plain) {
            text.write_str(id).ok()?;
        } else {
            write!(text, "{}", id.escape_debug()).ok()?;
        }
        text.write_str("\"").ok()?;
        Some(text)
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// Looks the live attributes of one decision up.
pub(crate) struct Filler<'a> {
    pub shared: &'a Shared,
    pub snapshot: &'a Snapshot,
    pub binding: &'a Binding,
    /// What the session's slot says, read at one moment.
    pub live: LiveAttributes,
    pub now_ns: i64,
    /// Finds the resource, whose market policies may ask for.
    pub resource: &'a dyn Fn() -> Option<EntityRef>,
}

impl Filler<'_> {
    /// Put all live attributes behind the values of the caller, which are followed by zeros.
    ///
    /// # Errors
    /// The code of the denial.
    pub fn fill(&self, brought: &mut CallValues, numbers: &mut [i64], answers: &mut Answers) -> Result<(), Code> {
        if numbers.len() < self.binding.types.len() {
            return Err(Code::TooLarge);
        }
        let proof = self.live.proof;
        self.binding.numbers.put(|| proof.age_ms(self.now_ns), || proof, numbers);
        self.fill_others(true, brought, numbers, answers)
    }

    /// Put the attributes that are no numbers of the proof, and answer the checks that ask for them. Unless all are
    /// `kept`, texts and sets of which only checks ask have no other number than `NOT_KEPT`.
    ///
    /// # Errors
    /// As [`Self::fill`].
    #[inline(never)]
    pub fn fill_others(
        &self,
        kept: bool,
        brought: &mut CallValues,
        numbers: &mut [i64],
        answers: &mut Answers,
    ) -> Result<(), Code> {
        let Binding { live, callers, optional, table, .. } = self.binding;
        for (place, attribute) in (*callers..).zip(live).filter(|(_, attribute)| !attribute.is_of_proof()) {
            let ask = table.asks.of_live.get(place - callers).unwrap_or(&Ask::Kept);
            let is_absent = match attribute {
                LiveAttribute::Region => self.live.region.is_none(),
                LiveAttribute::OnBehalfOf => self.live.on_behalf_of.is_none(),
                _ => false,
            };
            if is_absent {
                continue;
            }
            let answered = match (attribute, ask) {
                (_, Ask::Kept) => None,
                _ => Some(self.answered(*attribute, place, ask, answers)?),
            };
            let number = match answered.filter(|_| !kept || *attribute == LiveAttribute::Time) {
                Some(number) => number,
                None => self.kept(*attribute, place, brought)?,
            };
            *numbers.get_mut(place).ok_or(LOST)? = number;
            if attribute.bit() != 0 {
                *numbers.get_mut(place + optional).ok_or(LOST)? = 1;
            }
        }
        Ok(())
    }

    /// Answer the checks of an attribute that is not kept, and return its number.
    #[inline]
    fn answered(&self, attribute: LiveAttribute, place: usize, ask: &Ask, answers: &mut Answers) -> Result<i64, Code> {
        let (asks, live) = (&self.binding.table.asks, &self.binding.table.live);
        let bundle = &*self.snapshot.loaded.bundle;
        let given = (bundle, self.shared.sessions.state());
        let (asked, word) = match (*ask, attribute) {
            (Ask::Set { elements, asked, .. }, LiveAttribute::Factors) => {
                return live.factors(asks, (elements, asked), self.live.proof.factors, given, answers);
            }
            (Ask::Text(asked), LiveAttribute::Region) => {
                (asked, live.regions.name(asks, asked, self.live.region.ok_or(LOST)?, given)?)
            }
            (Ask::Text(asked), LiveAttribute::Channel) => match self.live.channel {
                Some(number) => (asked, live.channels.name(asks, asked, number, given)?),
                None => (asked, live.trusted),
            },
            (Ask::Text(asked), LiveAttribute::Market) => {
                (asked, *live.markets.get(self.market() as usize).ok_or(LOST)?)
            }
            (Ask::Text(asked), _) => (asked, self.with_acted_for(|uid| asks.word(asked, uid, bundle).ok_or(LOST))?),
            (Ask::Entity { ty, .. }, _) => return self.entity(ty, place),
            (Ask::Number(asked), LiveAttribute::Time) => {
                let time_ms = self.shared.wall_ms();
                asks.number(asked, time_ms, answers).ok_or(LOST)?;
                return Ok(time_ms);
            }
            _ => return Err(LOST),
        };
        Ok(asks.by_word(asked, word, answers))
    }

    /// Return the number of a text, a set or an entity that is kept.
    #[inline(never)]
    fn kept(&self, attribute: LiveAttribute, place: usize, brought: &mut CallValues) -> Result<i64, Code> {
        let text = match attribute {
            LiveAttribute::Factors => return self.factors(self.live.proof.factors, brought),
            LiveAttribute::OnBehalfOf => {
                if let Some(&Argument::Entity(number)) = self.binding.arguments.get(place) {
                    return self.entity(number, place);
                }
                return self.with_acted_for(|uid| self.text(uid, brought));
            }
            LiveAttribute::Region => return self.name(self.live.region.ok_or(LOST)?, brought),
            LiveAttribute::Channel => match self.live.channel {
                Some(number) => return self.name(number, brought),
                None => TRUSTED,
            },
            LiveAttribute::Market => self.market().name(),
            LiveAttribute::Time => return Ok(self.shared.wall_ms()),
            _ => return Err(LOST),
        };
        self.text(text, brought)
    }

    #[inline]
    fn market(&self) -> MarketState {
        let market = |resource| self.shared.market(self.snapshot, resource, &|_| None);
        (self.resource)().map_or(MarketState::Normal, market)
    }

    /// Return the number of the name of a region or a channel.
    #[inline(never)]
    fn name(&self, number: u32, brought: &mut CallValues) -> Result<i64, Code> {
        let mut name = [0; MAX_NAME];
        let name = self.shared.sessions.state().name(number, &mut name).ok_or(LOST)?;
        self.text(name, brought)
    }

    #[inline(never)]
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    fn text(&self, text: &str, brought: &mut CallValues) -> Result<i64, Code> {
        let known = self.snapshot.string(text).or_else(|| brought.number(text));
        known.map(|number| number as i64).ok_or(Code::TooLarge)
    }

    #[inline(never)]
    fn factors(&self, bits: u32, brought: &mut CallValues) -> Result<i64, Code> {
        let start = brought.begin_set().ok_or(Code::TooLarge)?;
        for number in (0..).take(MAX_FACTORS).filter(|number| bits >> number & 1 != 0) {
            let mut name = [0; MAX_NAME];
            let name = self.shared.sessions.state().factor_name(number, &mut name).ok_or(LOST)?;
            let text = self.text(name, brought)?;
            brought.push(Value::number(Tag::String, text)).ok_or(Code::TooLarge)?;
        }
        brought.set(start).ok_or(Code::TooLarge)
    }

    /// Return the number of the entity for which the principal acts, which must be of the type with this number.
    #[inline(never)]
    fn entity(&self, number: u32, place: usize) -> Result<i64, Code> {
        let (ty, entity) = self.binding.types.get(place).zip(self.live.on_behalf_of).ok_or(LOST)?;
        let found = self.snapshot.entity_of(entity, number, ty).map_err(|_| Code::BadValue)?;
        Ok(found.bits().cast_signed())
    }

    /// Use the text of the entity for which the principal acts.
    #[inline(never)]
    fn with_acted_for<T>(&self, job: impl FnOnce(&str) -> Result<T, Code>) -> Result<T, Code> {
        let uid = self.snapshot.loaded.uids.get(self.live.on_behalf_of.ok_or(LOST)?).ok_or(Code::UnknownHandle)?;
        match Text::<SHORT_UID>::of_uid(uid) {
            Some(text) => job(text.as_str()),
            None => with_long(uid, job),
        }
    }
}

/// Use the text of a uid that is not short. Its memory is not part of what every decision has.
#[cold]
#[inline(never)]
fn with_long<T>(uid: (&str, &str), job: impl FnOnce(&str) -> Result<T, Code>) -> Result<T, Code> {
    job(Text::<MOST_UID>::of_uid(uid).ok_or(Code::TooLarge)?.as_str())
}

impl Binding {
    /// Decide by a walk over values with live attributes, of which some may be absent.
    #[allow(clippy::too_many_arguments)] // a gate and a batch keep them in different places
    pub(crate) fn walk_live<N: Sink>(
        &self,
        snapshot: &Snapshot,
        (principal, resource): (EntityRef, EntityRef),
        classes: ClassPair,
        numbers: &[i64],
        brought: &CallValues,
        scratch: &mut Scratch,
        sink: &mut N,
    ) -> Code {
        let Some(positions) = self.positions_for(numbers) else { return Code::Corrupt };
        let request = Request {
            principal,
            resource,
            numbers,
            positions,
            kinds: &self.kinds,
            arena: brought.values(),
            strings: brought.view(),
        };
        let (action, layers, foreign) = (self.action, &self.layers, &|_| None);
        let walk = Walk { snapshot, action, layers, classes, request: &request, foreign };
        match walk.decide(scratch, sink) {
            Code::Forbid if self.step_up => walk.forbidden(scratch),
            code => code,
        }
    }
}

/// What an engine knows of a session, for requests that are built without a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveValues {
    /// How long ago the principal last proved who it is, in milliseconds.
    pub auth_age_ms: i64,
    /// By which factors.
    pub factors: Vec<String>,
    /// How sure that is.
    pub assurance: i64,
    /// The risk.
    pub risk: i64,
    /// The state of the resource's market.
    pub market: MarketState,
    /// How the credential was proved.
    pub channel: String,
    /// The region.
    pub region: Option<String>,
    /// The entity for which the principal acts.
    pub on_behalf_of: Option<OwnedUid>,
    /// The time of the decision, in milliseconds since the epoch.
    pub time_ms: i64,
}

impl Shared {
    /// Return the wall clock's time of a decision, in milliseconds since the epoch.
    pub(crate) fn wall_ms(&self) -> i64 {
        self.sessions.state().wall_ns().div_euclid(1_000_000)
    }

    /// Return what decisions know of a session, without a resource: its market is normal.
    ///
    /// # Errors
    /// The code of the denial.
    pub fn live_values(&self, snapshot: &Snapshot, session: SessionId) -> Result<LiveValues, Code> {
        let now_ns = self.now_ns();
        let Some(live) = self.sessions.live(session) else {
            return Err(self.principal(session, now_ns, false).err().unwrap_or(Code::UnknownSession));
        };
        let state = self.sessions.state();
        let name = |number: u32| state.name(number, &mut [0; MAX_NAME]).map(str::to_owned).ok_or(LOST);
        let factor = |number: u32| state.factor_name(number, &mut [0; MAX_NAME]).map(str::to_owned).ok_or(LOST);
        let factors = (0..).take(MAX_FACTORS).filter(|number| live.proof.factors >> number & 1 != 0);
        let uid = |place: Place| {
            let (ty, id) = snapshot.loaded.uids.get(place).ok_or(Code::UnknownHandle)?;
            Ok::<OwnedUid, Code>((ty.into(), id.into()))
        };
        Ok(LiveValues {
            auth_age_ms: live.proof.age_ms(now_ns),
            factors: factors.map(factor).collect::<Result<_, _>>()?,
            assurance: live.proof.assurance.into(),
            risk: live.proof.risk.into(),
            market: MarketState::Normal,
            channel: live.channel.map_or(Ok(TRUSTED.to_owned()), name)?,
            region: live.region.map(name).transpose()?,
            on_behalf_of: live.on_behalf_of.map(uid).transpose()?,
            time_ms: self.wall_ms(),
        })
    }
}

/// The slot of a context that has the state of a resource's market, and the numbers of the states' names.
#[derive(Debug, Clone, Copy)]
pub struct MarketSlot {
    slot: usize,
    numbers: [i64; MarketState::ALL.len()],
}

impl MarketSlot {
    /// Return the slot, if the context has one.
    pub fn of(context: &[Field], builder: &mut RequestBuilder<'_>) -> Option<Self> {
        let Node::Record { fields, .. } = &context.iter().find(|field| field.name == LIVE)?.node else { return None };
        let Node::Leaf { slot, .. } = fields.iter().find(|field| field.name == "market")?.node else { return None };
        let numbers = MarketState::ALL.map(|state| builder.text(state.name()).as_i64());
        Some(Self { slot: slot as usize, numbers })
    }

    /// Put a resource's market into the numbers of a request that was built in the order of the slots.
    pub(crate) fn put(&self, market: MarketState, numbers: &mut [i64]) {
        let number = MarketState::ALL.iter().position(|state| *state == market).and_then(|at| self.numbers.get(at));
        if let (Some(to), Some(&number)) = (numbers.get_mut(self.slot), number) {
            *to = number;
        }
    }
}

impl LiveValues {
    /// Return the values of a decision on a resource. `foreign` gives the uids of entities that only the request knows.
    #[must_use]
    pub fn on(
        self,
        shared: &Shared,
        snapshot: &Snapshot,
        resource: EntityRef,
        foreign: &dyn Fn(u32) -> Option<OwnedUid>,
    ) -> Self {
        Self { market: shared.market(snapshot, resource, foreign), ..self }
    }

    /// Put the values into the slots of a context that has these attributes.
    ///
    /// # Errors
    /// The code of the denial: the entity for which the principal acts is not of the attribute's type, or its uid is
    /// too long.
    pub fn put(&self, action: &ActionMeta, builder: &mut RequestBuilder<'_>) -> Result<(), Code> {
        let context = &action.context;
        let live = context.iter().find(|field| field.name == LIVE).map(|field| &field.node);
        let Some(Node::Record { fields, .. }) = live else { return Ok(()) };
        for field in fields {
            let Node::Leaf { slot, ty } = &field.node else { return Err(LOST) };
            let Some((attribute, _)) = read_by(action).find(|(_, name)| *name == field.name) else { continue };
            let value = match attribute {
                LiveAttribute::AuthAge => Some(Value::number(Tag::Duration, self.auth_age_ms)),
                LiveAttribute::Factors => {
                    let names = self.factors.iter().map(|name| builder.text(name)).collect();
                    Some(builder.set(names))
                }
                LiveAttribute::Assurance => Some(Value::number(Tag::Long, self.assurance)),
                LiveAttribute::Risk => Some(Value::number(Tag::Long, self.risk)),
                LiveAttribute::Market => Some(builder.text(self.market.name())),
                LiveAttribute::Channel => Some(builder.text(&self.channel)),
                LiveAttribute::Time => Some(Value::number(Tag::Datetime, self.time_ms)),
                LiveAttribute::Region => self.region.as_ref().map(|region| builder.text(region)),
                LiveAttribute::OnBehalfOf => match &self.on_behalf_of {
                    None => None,
                    Some((of, id)) => Some(match ty {
                        ValueType::Entity(name) if **name != **of => return Err(Code::BadValue),
                        ValueType::Entity(_) => Value::entity(builder.entity(of, id).ok_or(Code::BadValue)?),
                        _ => with_long((of, id), |text| Ok(builder.text(text)))?,
                    }),
                },
            };
            if let Some(value) = value {
                builder.put(*slot, value);
            }
        }
        Ok(())
    }

    /// Return the text of the entity for which the principal acts, as policies read it.
    #[must_use]
    pub fn on_behalf_of_text(&self) -> Option<String> {
        let (ty, id) = self.on_behalf_of.as_ref()?;
        Some(Text::<MOST_UID>::of_uid((ty, id))?.as_str().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_written_as_its_escapes_say_whatever_its_length() {
        let of = |ty: &str, id: &str| Text::<SHORT_UID>::of_uid((ty, id)).map(|text| text.as_str().to_owned());
        for character in (0..=0x2FF_u32).chain([0x200B, 0x1F600]).filter_map(char::from_u32) {
            for id in [character.to_string(), format!("a{character}b")] {
                assert_eq!(of("N::User", &id), Some(format!("N::User::\"{}\"", id.escape_debug())), "{id:?}");
            }
        }
        for length in 0..SHORT_UID {
            let id = "x".repeat(length);
            let expected = format!("U::\"{id}\"");
            assert_eq!(of("U", &id), (expected.len() <= SHORT_UID).then_some(expected));
        }
        // The longest uids of a shared state fit, of whatever characters.
        for character in (0..=0x10_FFFF).filter_map(char::from_u32) {
            let (written, given) = (character.escape_debug().map(char::len_utf8).sum::<usize>(), character.len_utf8());
            assert!(written <= 6 * given, "{character:?}");
        }
        for text in ["x", "\u{7F}"].map(|character| character.repeat(MAX_UID - 1)) {
            let expected = format!("U::\"{}\"", text.escape_debug());
            assert_eq!(Text::<MOST_UID>::of_uid(("U", &text)).map(|text| text.as_str().to_owned()), Some(expected));
        }
        assert!(Text::<MOST_UID>::of_uid(("U", &"x".repeat(MOST_UID))).is_none());
    }
}
