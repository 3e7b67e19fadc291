//! What the checks of a gate ask of each argument, and the answers that a value gives while it is passed.
//!
//! Where nothing else asks for the value of a text, a set or an address, it is not kept.

use crate::checks::Answers;
use crate::working::EMPTY_SET;
use ztfast_pages::{MemoryError, Residence, Resident};
use ztfast_vm::{FOREIGN_STRING, Single, Tag};

/// The most elements of all sets that the checks of one argument ask for.
pub(crate) const MOST_ELEMENTS: usize = 30;
/// The bit of the principal, where a set of entities contains it.
pub(crate) const PRINCIPAL: u32 = 1 << MOST_ELEMENTS;
/// The bit of an element that no set of an argument contains, because it is of another kind.
pub(crate) const NEVER: u32 = 1 << (MOST_ELEMENTS + 1);
/// The checks that are answered by an entity.
pub(crate) const ENTITY_CHECKS: u32 = 32;
/// The number of a text, a set or an address that is not kept, unless the bundle has the text or the set is empty.
pub(crate) const NOT_KEPT: i64 = FOREIGN_STRING.cast_signed();
const _: () = assert!(NOT_KEPT != EMPTY_SET);

/// The part of a list.
pub(crate) type Span = (u16, u16);

/// What a gate asks of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The value, as programs read it.
    Kept,
    /// The number.
    Number(Span),
    /// The number of the entity, which has the type with this number. The checks with these bits are answered for the
    /// entities of the bundle from the first on, in the part of the list that begins and ends here.
    Entity {
        ty: u32,
        checks: u32,
        first: u32,
        answers: (u32, u32),
    },
    /// The number, if the bundle has the text.
    Text(Span),
    Address(Span),
    /// Elements of a set whose elements are of this kind, and for entities of the type with this number.
    Set {
        kind: Tag,
        ty: u32,
        elements: Span,
        asked: Span,
    },
}

/// What a check asks of a set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfSet {
    pub check: u64,
    pub elements: u32,
    /// Whether the set must contain all of the elements; otherwise, any.
    pub all: bool,
}

/// What a gate asks of its arguments.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    pub arguments: Box<[Ask]>,
    /// What it asks of the live attributes that it reads.
    pub of_live: Box<[Ask]>,
    /// Whether some argument or live attribute is kept.
    pub keeps: bool,
    /// Whether some check asks if a set contains the principal.
    pub principal: bool,
    /// The bit of each check, and what it asks.
    pub singles: Box<[(u64, Single)]>,
    pub elements: Box<[u64]>,
    pub sets: Box<[OfSet]>,
    /// For each entity the checks that are true, and above them those that fail.
    pub entities: Box<[u64]>,
}

impl Asks {
    /// Answer the checks of a number.
    #[inline]
    pub fn number(&self, asked: Span, number: i64, answers: &mut Answers) -> Option<()> {
        self.each(asked, answers, |single| single.of_number(number))
    }

    /// Answer the checks of a text.
    #[inline]
    pub fn text(&self, asked: Span, text: &[u8], answers: &mut Answers) -> Option<()> {
        self.each(asked, answers, |single| single.of_text(text))
    }

    /// Answer the checks of an IPv4 address or range.
    #[inline]
    pub fn ip4(&self, asked: Span, address: u32, prefix: u32, answers: &mut Answers) -> Option<()> {
        self.each(asked, answers, |single| single.of_ip4(address, prefix))
    }

    #[inline]
    fn each(&self, asked: Span, answers: &mut Answers, holds: impl Fn(&Single) -> Option<bool>) -> Option<()> {
        for (check, single) in self.singles.get(span(asked))? {
            answers.add(*check, holds(single)?);
        }
        Some(())
    }

    /// Return the bits of an element, given by its payload. The principal's payload is given if some check asks for it.
    #[inline]
    pub fn element(&self, elements: Span, payload: u64, principal: Option<u64>) -> u32 {
        let all = self.elements.get(span(elements)).unwrap_or_default();
        // They differ from each other.
        let found = all.iter().zip(0..).find(|(own, _)| **own == payload).map_or(0, |(_, at)| 1 << at);
        if principal == Some(payload) { found | PRINCIPAL } else { found }
    }

    /// Answer the checks of a set whose elements have these bits.
    #[inline]
    pub fn set(&self, asked: Span, found: u32, answers: &mut Answers) -> Option<()> {
        for &OfSet { check, elements, all } in self.sets.get(span(asked))? {
            let own = found & elements;
            answers.add(check, if all { own == elements } else { own != 0 });
        }
        Some(())
    }

    /// Answer the checks of an entity of the bundle, given by its number.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the low half is the index, and the checks that are true
    pub fn entity(
        &self,
        (checks, first, own): (u32, u32, (u32, u32)),
        number: u64,
        answers: &mut Answers,
    ) -> Option<()> {
        let at = (number as u32).checked_sub(first)?;
        let found = *self.entities.get(own.0 as usize..own.1 as usize)?.get(at as usize)?;
        answers.known |= u64::from(checks);
        answers.holds |= u64::from(found as u32);
        answers.fails |= found >> ENTITY_CHECKS;
        Some(())
    }

    /// Make the memory resident. The result must be dropped before this.
    pub fn hold(&self, what: &'static str, residence: Residence) -> Result<[Resident; 6], MemoryError> {
        // All are taken apart, so that no field is forgotten.
        let Self { arguments, of_live, keeps: _, principal: _, singles, elements, sets, entities } = self;
        Ok([
            Resident::read(what, of_live, residence)?,
            Resident::read(what, arguments, residence)?,
            Resident::read(what, singles, residence)?,
            Resident::read(what, elements, residence)?,
            Resident::read(what, sets, residence)?,
            Resident::read(what, entities, residence)?,
        ])
    }
}

#[inline]
fn span((start, end): Span) -> std::ops::Range<usize> {
    usize::from(start)..usize::from(end)
}
