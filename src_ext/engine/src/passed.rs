//! The values of one decision, passed in one step with it.
//!
//! The numbers of texts, entities, sets and addresses do not leave this step, so that nothing has to check whose they
//! are. What is unusual is not decided here: the caller then begins a call, whose functions say what is wrong.

use crate::binding::Argument;
use crate::decide::{Determining, EffectOnly, Sink};
use crate::gate::Gate;
use crate::shared::quiet;
use ztfast_bundle::ValueType;
use ztfast_codes::Code;
use ztfast_live::{Handle, SessionId};
use ztfast_vm::{Tag, Value};

/// The most values of a decision that are passed in one step.
pub const MOST_PASSED: usize = 16;

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

impl PassedValues<'_> {
    /// Return what the next number stands for; `None` after the last one, and if the gate is stale.
    #[inline]
    fn next_argument(&self) -> Option<Argument> {
        self.gate.binding.as_ref()?.arguments.get(self.count).copied()
    }

    /// Pass a value that is no set. `None` if it is not of the argument's type, or there is no room for it.
    #[inline]
    pub fn value(&mut self, given: Passed<'_>) -> Option<()> {
        match given {
            Passed::Number(number) => self.number(number),
            Passed::Address(bits, is_v6, prefix) => {
                if self.next_argument()? != Argument::Address || prefix > if is_v6 { 128 } else { 32 } {
                    return None;
                }
                let number = self.gate.brought.address(bits, is_v6, prefix)?;
                self.push(number)
            }
            Passed::Text(_) | Passed::Unknown(_) => {
                if self.next_argument()? != Argument::Text {
                    return None;
                }
                let number = self.text(given)?;
                self.push(number)
            }
        }
    }

    #[inline]
    fn number(&mut self, given: i64) -> Option<()> {
        let argument = self.next_argument()?;
        let number = if argument == Argument::Itself {
            given
        } else if argument == Argument::Text {
            self.text(Passed::Number(given))?
        } else {
            let Argument::Entity(number) = argument else { return None };
            let binding = self.gate.binding.as_ref()?;
            self.gate.entity_value(given, number, binding.types.get(self.count)?)?.as_i64()
        };
        self.push(number)
    }

    /// Pass a set. `None` if an element is not of the type, or there is no room for it.
    #[inline]
    pub fn set<'v>(&mut self, elements: impl Iterator<Item = Option<Passed<'v>>>) -> Option<()> {
        let Argument::Set(kind, number) = self.next_argument()? else { return None };
        let start = self.gate.brought.begin_set()?;
        for element in elements {
            let value = match (kind, element?) {
                (Tag::String, given) => Value::number(Tag::String, self.text(given)?),
                (Tag::Entity, Passed::Number(handle)) => {
                    let binding = self.gate.binding.as_ref()?;
                    let Some(ValueType::Set(ty)) = binding.types.get(self.count) else { return None };
                    self.gate.entity_value(handle, number, ty)?
                }
                (Tag::Bool, Passed::Number(number)) => Value::bool(number != 0),
                (kind, Passed::Number(number)) => Value::number(kind, number),
                _ => return None,
            };
            self.gate.brought.push(value)?;
        }
        let number = self.gate.brought.set(start)?;
        self.push(number)
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
        let is_quiet = gate.shared.state() == quiet(gate.snapshot.version) || gate.is_newest_and_not_killed();
        // The session's place may have been reused if there is a newer epoch of uids, which comes before its bundle.
        if !is_quiet || !gate.snapshot.loaded.uids.is_newest() {
            return None;
        }
        let values = numbers.get(..*count).unwrap_or_default();
        if gate.has_own_clock {
            return Some(gate.decide_by_own_clock(session, resource, values, sink));
        }
        Some(gate.decide_now(session, resource, values, sink))
    }

    #[inline]
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    fn text(&mut self, given: Passed<'_>) -> Option<i64> {
        match given {
            // Texts that came with a change or a call have larger numbers.
            Passed::Number(number) => u32::try_from(number).is_ok().then_some(number),
            Passed::Text(text) => {
                let known = self.gate.snapshot.string(text);
                known.or_else(|| self.gate.brought.number(text)).map(|number| number as i64)
            }
            Passed::Unknown(text) => {
                let added = self.gate.snapshot.changes.as_ref().and_then(|changes| changes.string(text));
                added.or_else(|| self.gate.brought.number(text)).map(|number| number as i64)
            }
            Passed::Address(..) => None,
        }
    }

    #[inline]
    fn push(&mut self, number: i64) -> Option<()> {
        *self.numbers.get_mut(self.count)? = number;
        self.count += 1;
        Some(())
    }
}
