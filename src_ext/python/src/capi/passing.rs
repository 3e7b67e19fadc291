//! The function of the table that takes a decision's values in one step, and how it reads them.

use super::guard::{number, values};
use std::panic::{AssertUnwindSafe, catch_unwind};
use ztfast_embed::{Kind, MAX_VALUES, REMEMBERED, RawGate, RawValue, UNDECIDED, UNKNOWN_TEXT};
use ztfast_engine::{Decision, Determining, Gate, Handle, Passed, SessionId, Source};

pub(super) unsafe extern "C" fn decide_values(
    gate: *mut RawGate,
    session: u64,
    resource: u64,
    data: *const RawValue,
    count: usize,
    generation: u64,
    determining: *mut ztfast_embed::Determining,
) -> u32 {
    // SAFETY: the header demands NULL, or a live gate that no other thread uses during the call; `count` values; and
    // NULL or a struct of the caller's, whose layout is the engine's.
    let (gate, mut determining) = unsafe { (gate.cast::<Gate>().as_mut(), determining.cast::<Determining>().as_mut()) };
    if let Some(determining) = &mut determining {
        determining.count = 0;
    }
    if count > MAX_VALUES {
        return UNDECIDED;
    }
    // SAFETY: as above.
    let given = unsafe { values(data, count) };
    let (Some(gate), Some(given)) = (gate, given) else { return UNDECIDED };
    let decided = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the header demands that values point to what they say.
        let values = given.iter().map(|value| unsafe { Raw::new(value) });
        let entities = (SessionId(session), Handle(resource));
        if determining.is_none()
            && let decision @ Some(_) = gate.allows_passed(generation, entities, values.clone())
        {
            return decision;
        }
        decide_kept(gate, generation, entities, values, determining)
    }));
    decided.unwrap_or(Some(Decision::CORRUPT)).map_or(UNDECIDED, number)
}

/// Keep the values, and decide.
#[inline(never)]
fn decide_kept<'v>(
    gate: &mut Gate,
    generation: u64,
    (session, resource): (SessionId, Handle),
    mut values: impl Iterator<Item = Raw<'v>>,
    determining: Option<&mut Determining>,
) -> Option<Decision> {
    let mut passed = gate.pass(generation)?;
    values.try_for_each(|value| passed.value(value))?;
    match determining {
        Some(determining) => passed.decide(session, resource, determining),
        None => passed.allows(session, resource),
    }
}

const NUMBER: u32 = 0;
const TEXT: u32 = Kind::String as u32;
const ADDRESS: u32 = Kind::Address as u32;
const SET: u32 = Kind::Set as u32;

/// A value that points to what it says.
#[derive(Clone, Copy)]
struct Raw<'v>(&'v RawValue);

impl<'v> Raw<'v> {
    /// # Safety
    /// As the header demands: if the kind says so, `data` points to `length` bytes or values, and so do these values.
    #[inline]
    const unsafe fn new(value: &'v RawValue) -> Self {
        Self(value)
    }

    #[inline]
    const fn kind(self) -> u32 {
        self.0.kind & !REMEMBERED
    }

    /// Return the bytes of a text or an address. `None` if this is no such value.
    #[inline]
    fn bytes(self, kind: u32) -> Option<&'v [u8]> {
        if self.kind() != kind {
            return None;
        }
        // SAFETY: the promise of `new`, for these two kinds.
        unsafe { values(self.0.data.cast::<u8>(), self.0.length as usize) }
    }
}

impl<'v> Source<'v> for Raw<'v> {
    type Element = Self;

    #[inline]
    fn number(self) -> Option<i64> {
        (self.kind() == NUMBER).then_some(self.0.number)
    }

    #[inline]
    fn text(self) -> Option<Passed<'v>> {
        if self.kind() == NUMBER {
            return Some(Passed::Number(self.0.number));
        }
        let bytes = self.bytes(TEXT)?;
        let text = if is_short_ascii(bytes) {
            // SAFETY: ASCII is UTF-8.
            unsafe { std::str::from_utf8_unchecked(bytes) }
        } else {
            std::str::from_utf8(bytes).ok()?
        };
        let is_unknown = self.0.number == UNKNOWN_TEXT || self.0.kind & REMEMBERED != 0;
        Some(if is_unknown { Passed::Unknown(text) } else { Passed::Text(text) })
    }

    #[inline]
    fn address(self) -> Option<(u128, bool, u8)> {
        let (bytes, prefix) = (self.bytes(ADDRESS)?, u8::try_from(self.0.number).ok()?);
        if let Ok(&bytes) = <&[u8; 4]>::try_from(bytes) {
            return Some((u32::from_be_bytes(bytes).into(), false, prefix));
        }
        let &bytes = <&[u8; 16]>::try_from(bytes).ok()?;
        Some((u128::from_be_bytes(bytes), true, prefix))
    }

    #[inline]
    fn elements(self) -> Option<impl ExactSizeIterator<Item = Self>> {
        if self.kind() != SET {
            return None;
        }
        // SAFETY: the promise of `new`.
        let elements = unsafe { values(self.0.data.cast::<RawValue>(), self.0.length as usize) }?;
        // SAFETY: the promise of `new`, which is also one of the elements.
        Some(elements.iter().map(|element| unsafe { Self::new(element) }))
    }

    #[inline]
    fn handle(&self) -> Option<i64> {
        self.number()
    }

    #[inline]
    fn few_handles(&self) -> Option<(i64, Option<i64>)> {
        if self.kind() != SET || self.0.length > 2 {
            return None;
        }
        let mut elements = self.elements()?;
        let first = elements.next()?.number()?;
        match elements.next() {
            Some(second) => Some((first, Some(second.number()?))),
            None => Some((first, None)),
        }
    }

    #[inline]
    fn ip4(&self) -> Option<(u32, u8)> {
        let bytes = self.bytes(ADDRESS)?;
        Some((u32::from_be_bytes(*<&[u8; 4]>::try_from(bytes).ok()?), u8::try_from(self.0.number).ok()?))
    }

    #[inline]
    fn token(&self) -> u64 {
        if self.0.kind & REMEMBERED == 0 {
            return 0;
        }
        // Numbers of texts that the bundle holds, and the caller's own, do not meet.
        let number = self.0.number.cast_unsigned();
        if number >> 62 == 0 { number << 1 | u64::from(self.kind() == NUMBER) } else { 0 }
    }
}

/// Return whether a text is ASCII and short, as most are, so that this takes few instructions.
#[inline]
fn is_short_ascii(bytes: &[u8]) -> bool {
    match bytes.len() {
        0..4 => bytes.iter().fold(0, |all, &byte| all | byte) < 0x80,
        4..=8 => are_ends_ascii::<4>(bytes),
        9..=16 => are_ends_ascii::<8>(bytes),
        _ => false,
    }
}

/// Return whether the first and the last bytes are ASCII, so many of them.
#[inline]
fn are_ends_ascii<const N: usize>(bytes: &[u8]) -> bool {
    let are = |part: Option<&[u8; N]>| part.is_some_and(|part| part.iter().fold(0, |all, &byte| all | byte) < 0x80);
    are(bytes.first_chunk()) && are(bytes.last_chunk())
}
