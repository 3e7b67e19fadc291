//! Conditions on one argument that are decided without a request: elements of a set, the beginning of a text, a
//! network of an address, a time of the day.

use crate::instr::ExtOp;
use crate::ops::{DAY_MS, ip4};
use crate::predicate::Predicate;
use crate::store::{StoreView, StringsView, WILDCARD};
use crate::value::{ADDED_STRING, Arena, FOREIGN_STRING, Tag, Value};

/// The most elements of a set that is searched from its beginning to its end.
const FEW: usize = 16;

/// The most elements that a condition asks of one set.
const MOST: usize = 4;

/// The longest beginning of a text.
const LONGEST: usize = 24;

/// A condition on one argument. Places are those among the request's numbers.
#[derive(Debug, Clone)]
pub struct Single {
    place: u16,
    question: Question,
}

/// Nothing here points to other memory, so that a condition is one piece of memory.
#[derive(Debug, Clone)]
enum Question {
    /// Whether the set contains some elements.
    Elements(Elements),
    /// Whether the set contains the principal.
    Principal,
    /// Whether the text begins with these ASCII characters, so many of them.
    Beginning([u8; LONGEST], usize),
    /// Whether the address or range is in this IPv4 range.
    Network { network: u32, length: u32 },
    /// Whether the datetime's time of the day is between these two, in milliseconds.
    TimeOfDay { low: i64, high: i64 },
}

/// Elements that a condition asks of a set, all of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Elements {
    /// The [`Tag`]'s number.
    pub kind: u32,
    /// Whether the set must contain all of them; otherwise, any.
    pub all: bool,
    payloads: [u64; MOST],
    count: usize,
}

impl Elements {
    fn of(values: &[Value], all: bool) -> Option<Self> {
        let kind = values.first().map_or(0, |first| first.tag);
        let mut payloads = [0; MOST];
        for (payload, value) in payloads.get_mut(..values.len())?.iter_mut().zip(values) {
            if value.tag != kind || !value.is_scalar() {
                return None;
            }
            *payload = value.payload;
        }
        Some(Self { kind, all, payloads, count: values.len() })
    }

    /// Return the elements' payloads.
    #[inline]
    #[must_use]
    pub fn payloads(&self) -> &[u64] {
        self.payloads.get(..self.count).unwrap_or_default()
    }
}

impl Single {
    /// Read a predicate as a condition on one argument; `None` if it is none of these.
    #[must_use]
    pub fn of(predicate: &Predicate, store: &StoreView<'_>) -> Option<Self> {
        let (place, question) = Self::elements_of(predicate, store)
            .or_else(|| Self::beginning_of(predicate, store))
            .or_else(|| Self::network_of(predicate))
            .or_else(|| {
                let (place, low, high) = predicate.time_of_day()?;
                Some((place, Question::TimeOfDay { low, high }))
            })?;
        Some(Self { place, question })
    }

    fn elements_of(predicate: &Predicate, store: &StoreView<'_>) -> Option<(u16, Question)> {
        if let Some(place) = predicate.composite_contains_principal() {
            return Some((place, Question::Principal));
        }
        if let Some((place, element)) = predicate.composite_contains() {
            return Some((place, Question::Elements(Elements::of(&[element], true)?)));
        }
        let (place, set, all) = predicate.composite_contains_each()?;
        if !set.is(Tag::Set) || set.arena() != Arena::Bundle {
            return None;
        }
        let start = set.start() as usize;
        let elements = store.values.get(start..start.checked_add(set.len() as usize)?)?;
        Some((place, Question::Elements(Elements::of(elements, all)?)))
    }

    fn beginning_of(predicate: &Predicate, store: &StoreView<'_>) -> Option<(u16, Question)> {
        let (place, pattern) = predicate.text_is_like()?;
        let pattern = store.patterns.get(pattern as usize)?;
        let start = pattern.start as usize;
        let elements = store.pattern_elems.get(start..start.checked_add(pattern.len as usize)?)?;
        let [beginning @ .., WILDCARD] = elements else { return None };
        let ascii = |&element: &u32| u8::try_from(element).ok().filter(u8::is_ascii);
        let mut bytes = [0; LONGEST];
        for (byte, element) in bytes.get_mut(..beginning.len())?.iter_mut().zip(beginning) {
            *byte = ascii(element)?;
        }
        Some((place, Question::Beginning(bytes, beginning.len())))
    }

    fn network_of(predicate: &Predicate) -> Option<(u16, Question)> {
        let (place, method, range) = predicate.address_method()?;
        let (network, length) = match method {
            ExtOp::IsInRange => ip4(range)?,
            ExtOp::IsLoopback => (0x7F00_0000, 8),
            ExtOp::IsMulticast => (0xE000_0000, 4),
            _ => return None,
        };
        Some((place, Question::Network { network, length }))
    }

    /// Return the argument's place.
    #[must_use]
    pub const fn place(&self) -> u16 {
        self.place
    }

    /// Return the elements of which this asks whether a set contains them; `None` if it asks something else.
    #[must_use]
    pub const fn elements(&self) -> Option<&Elements> {
        match &self.question {
            Question::Elements(elements) => Some(elements),
            _ => None,
        }
    }

    /// Return whether this asks if a set contains the principal.
    #[must_use]
    pub const fn asks_for_principal(&self) -> bool {
        matches!(self.question, Question::Principal)
    }

    /// Return whether the condition holds of a number; `None` if it asks for something else.
    #[inline]
    #[must_use]
    pub const fn of_number(&self, number: i64) -> Option<bool> {
        let Question::TimeOfDay { low, high } = self.question else { return None };
        let time = number.rem_euclid(DAY_MS);
        Some(low <= time && time <= high)
    }

    /// Return whether the condition holds of a text; `None` if it asks for something else.
    #[inline]
    #[must_use]
    pub fn of_text(&self, text: &[u8]) -> Option<bool> {
        let Question::Beginning(bytes, len) = &self.question else { return None };
        // In UTF-8 the bytes of these characters are part of no other.
        Some(text.get(..*len).is_some_and(|own| equal(own, bytes.get(..*len).unwrap_or_default())))
    }

    /// Return whether the condition holds of an IPv4 address or range; `None` if it asks for something else.
    #[inline]
    #[must_use]
    pub const fn of_ip4(&self, address: u32, prefix: u32) -> Option<bool> {
        let Question::Network { network, length } = self.question else { return None };
        Some((address ^ network) as u64 >> (32 - length) == 0 && length <= prefix)
    }

    /// Return whether the condition holds; `None` if that is left to the predicate. `arena` and `strings` are the
    /// request's, and `known` are the bundle's strings.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // unpacking truncates on purpose
    pub fn holds(
        &self,
        numbers: &[i64],
        arena: &[Value],
        strings: StringsView<'_>,
        known: StringsView<'_>,
    ) -> Option<bool> {
        let number = numbers.get(usize::from(self.place))?.cast_unsigned();
        match &self.question {
            Question::Elements(elements) => {
                let set = arena.get(number as u32 as usize)?;
                let (start, len) = (set.start() as usize, set.len() as usize);
                if !set.is(Tag::Set) || !set.is_sorted() || set.arena() != Arena::Request || len > FEW {
                    return None;
                }
                let own = arena.get(start..start + len)?;
                let has = |&payload: &u64| own.iter().any(|own| own.tag == elements.kind && own.payload == payload);
                let mut payloads = elements.payloads().iter();
                Some(if elements.all { payloads.all(has) } else { payloads.any(has) })
            }
            Question::Beginning(..) => {
                let text = if number & FOREIGN_STRING != 0 {
                    strings.get(number as u32)?
                } else if number & ADDED_STRING != 0 {
                    return None;
                } else {
                    known.get(number as u32)?
                };
                self.of_text(text)
            }
            Question::Network { .. } => {
                let (address, prefix) = ip4(*arena.get(number as u32 as usize)?)?;
                self.of_ip4(address, prefix)
            }
            Question::TimeOfDay { .. } => self.of_number(number.cast_signed()),
            Question::Principal => None,
        }
    }
}

/// Return whether two texts of one length are equal. Most are short, for which this takes less than a call.
#[inline]
fn equal(first: &[u8], second: &[u8]) -> bool {
    match first.len() {
        0..4 => first.iter().eq(second),
        4..=8 => have_equal_ends::<4>(first, second),
        9..=16 => have_equal_ends::<8>(first, second),
        _ => first == second,
    }
}

#[inline]
fn have_equal_ends<const N: usize>(first: &[u8], second: &[u8]) -> bool {
    first.first_chunk::<N>() == second.first_chunk() && first.last_chunk::<N>() == second.last_chunk()
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, equal};

    #[test]
    fn texts_of_one_length_are_equal_iff_all_bytes_are() {
        for len in 0..=LONGEST {
            let text = [b'x'].repeat(len);
            assert!(equal(&text, &text.clone()), "{len}");
            for at in 0..len {
                let mut other = text.clone();
                other[at] = b'y';
                assert!(!equal(&text, &other), "{len} {at}");
            }
        }
    }
}
