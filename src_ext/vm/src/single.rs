//! Conditions on one argument that are decided without a request: an element of a set, the beginning of a text, a
//! network of an address.

use crate::ops::ip4;
use crate::predicate::Predicate;
use crate::store::{StoreView, StringsView, WILDCARD};
use crate::value::{ADDED_STRING, Arena, FOREIGN_STRING, Tag, Value};

/// The most elements of a set that is searched from its beginning to its end.
const FEW: usize = 16;

/// The longest beginning of a text.
const LONGEST: usize = 24;

/// A condition on one argument. Places are those among the request's numbers.
#[derive(Debug, Clone)]
pub struct Single {
    place: u16,
    question: Question,
}

#[derive(Debug, Clone)]
enum Question {
    /// Whether the set contains this scalar.
    Element(Value),
    /// Whether the text begins with these ASCII characters, so many of them. They lie here, so that a condition is one
    /// piece of memory.
    Beginning([u8; LONGEST], usize),
    /// Whether the address or range is in this IPv4 range.
    Network { network: u32, length: u32 },
}

impl Single {
    /// Read a predicate as a condition on one argument; `None` if it is none of these.
    #[must_use]
    pub fn of(predicate: &Predicate, store: &StoreView<'_>) -> Option<Self> {
        if let Some((place, element)) = predicate.composite_contains() {
            return element.is_scalar().then_some(Self { place, question: Question::Element(element) });
        }
        if let Some((place, pattern)) = predicate.text_is_like() {
            let pattern = store.patterns.get(pattern as usize)?;
            let start = pattern.start as usize;
            let elements = store.pattern_elems.get(start..start.checked_add(pattern.len as usize)?)?;
            let [beginning @ .., WILDCARD] = elements else { return None };
            let ascii = |&element: &u32| u8::try_from(element).ok().filter(u8::is_ascii);
            let mut bytes = [0; LONGEST];
            for (byte, element) in bytes.get_mut(..beginning.len())?.iter_mut().zip(beginning) {
                *byte = ascii(element)?;
            }
            return Some(Self { place, question: Question::Beginning(bytes, beginning.len()) });
        }
        let (place, range) = predicate.address_is_in()?;
        let (network, length) = ip4(range)?;
        Some(Self { place, question: Question::Network { network, length } })
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
        Some(match &self.question {
            Question::Element(element) => {
                let set = arena.get(number as u32 as usize)?;
                let (start, len) = (set.start() as usize, set.len() as usize);
                if !set.is(Tag::Set) || !set.is_sorted() || set.arena() != Arena::Request || len > FEW {
                    return None;
                }
                arena.get(start..start + len)?.iter().any(|own| own.key() == element.key())
            }
            Question::Beginning(bytes, len) => {
                let beginning = bytes.get(..*len)?;
                let text = if number & FOREIGN_STRING != 0 {
                    strings.get(number as u32)?
                } else if number & ADDED_STRING != 0 {
                    return None;
                } else {
                    known.get(number as u32)?
                };
                // In UTF-8 the bytes of these characters are part of no other.
                text.len() >= beginning.len() && beginning.iter().zip(text).all(|(wanted, found)| wanted == found)
            }
            Question::Network { network, length } => {
                let (address, prefix) = ip4(*arena.get(number as u32 as usize)?)?;
                u64::from(address ^ network) >> (32 - length) == 0 && *length <= prefix
            }
        })
    }
}
