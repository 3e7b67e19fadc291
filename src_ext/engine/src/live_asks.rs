//! What a gate asks of the live attributes that are texts and sets of texts, answered by their numbers in the state.
//!
//! A state gives the names of factors, regions and channels numbers, and never changes or removes a name. What a gate
//! asks of a name is therefore found once, and kept in one word that any thread may write: all find the same.

use crate::asks::{Ask, Asks, MOST_ELEMENTS, NOT_KEPT, Span};
use crate::checks::Answers;
use crate::memo::{Known, Memo, NO_SESSION};
use crate::working::EMPTY_SET;
use std::sync::atomic::{AtomicU64, Ordering};
use ztfast_bundle::Bundle;
use ztfast_codes::Code;
use ztfast_live::{MAX_FACTORS, MAX_NAME, MarketState, OTHER_NAMES, State};
use ztfast_pages::{MemoryError, Residence, Resident};

/// The most factors for which a gate asks by their numbers.
const MOST_FACTORS: usize = 11;
/// The bits of a factor's number, and of how many there are.
const BITS: u32 = 5;
const MASK: u64 = (1 << BITS) - 1;
/// The number of a factor that no session has proved yet, and a count that is none.
const NONE: u64 = MASK;
const _: () = assert!(MAX_FACTORS < (1 << BITS) - 1 && (MOST_FACTORS + 1) * (BITS as usize) < 64);
const _: () = assert!(MOST_FACTORS <= MOST_ELEMENTS);

/// The most checks that one text answers.
const MOST_TEXT_CHECKS: usize = 30;
/// The bit of a text that the bundle has, below it the text's number, and above it the results of checks.
const HAS: u64 = 1 << 32;
/// A name that no decision met yet.
const NEW: u64 = u64::MAX;
const _: () = assert!(33 + MOST_TEXT_CHECKS < 64);

/// How a credential was proved where nothing is said about that.
pub(crate) const TRUSTED: &str = "trusted";
/// The code of a decision whose state lacks what a session refers to.
pub(crate) const LOST: Code = Code::Corrupt;

/// The answers of names of one kind, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Names(Box<[AtomicU64]>);

/// The factors among the values of a decision: their place, the elements for which the gate asks, and what it asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskedFactors {
    pub place: u16,
    pub elements: Span,
    pub asked: Span,
}

/// The answers of a gate's live attributes.
#[derive(Debug)]
pub(crate) struct LiveAsks {
    /// Whether the live attributes are numbers of the proof, and factors whose set is not kept.
    pub is_quick: bool,
    pub factors: Option<AskedFactors>,
    /// The number of names of factors when they were looked up, and the numbers of those for which the gate asks.
    numbers: AtomicU64,
    /// Regions and channels.
    pub regions: Names,
    pub channels: Names,
    /// The channel of sessions without one, and the states of markets.
    pub trusted: u64,
    pub markets: [u64; MarketState::ALL.len()],
}

impl Default for LiveAsks {
    fn default() -> Self {
        let (is_quick, factors, numbers) = (false, None, AtomicU64::new(NONE));
        let (regions, channels, markets) = (Names::default(), Names::default(), Default::default());
        Self { is_quick, factors, numbers, regions, channels, trusted: 0, markets }
    }
}

impl Names {
    /// Make room for the answers of all names.
    pub fn new() -> Self {
        Self((0..OTHER_NAMES).map(|_| AtomicU64::new(NEW)).collect())
    }
}

/// Return whether the checks of a live attribute can be answered by numbers.
pub(crate) fn is_answered(ask: &Ask) -> bool {
    let fits = |(start, end): Span, most| usize::from(end - start) <= most;
    match ask {
        Ask::Set { elements, .. } => fits(*elements, MOST_FACTORS),
        Ask::Text(asked) => fits(*asked, MOST_TEXT_CHECKS),
        _ => true,
    }
}

impl LiveAsks {
    /// Answer the checks of a session's factors, given by their bits, and put their number in its place.
    ///
    /// # Errors
    /// The state lacks the name of one.
    #[inline]
    pub fn put_factors(
        &self,
        asks: &Asks,
        asked: &AskedFactors,
        bits: u32,
        given: (&Bundle, &State),
        memo: Option<&mut Memo>,
        (numbers, answers): (&mut [i64], &mut Answers),
    ) -> Result<(), Code> {
        // What these factors answer stays the same when others get names.
        let (token, place) = (u64::from(bits) + 1, asked.place.into());
        let known = match memo.as_deref().and_then(|memo| memo.get(token, place, NO_SESSION)) {
            Some(known) => *known,
            None => self.new_factors(asks, asked, bits, given, (token, memo))?,
        };
        answers.join(&known.answers);
        *numbers.get_mut(usize::from(asked.place)).ok_or(LOST)? = known.number;
        Ok(())
    }

    /// Return what factors answer, and remember it.
    #[inline(never)]
    fn new_factors(
        &self,
        asks: &Asks,
        asked: &AskedFactors,
        bits: u32,
        given: (&Bundle, &State),
        (token, memo): (u64, Option<&mut Memo>),
    ) -> Result<Known, Code> {
        let mut answers = Answers::default();
        let number = self.factors(asks, (asked.elements, asked.asked), bits, given, &mut answers)?;
        let known = Known { answers, number, unknown: 0 };
        if let Some(memo) = memo {
            memo.put(token, asked.place.into(), NO_SESSION, known);
        }
        Ok(known)
    }

    /// Answer the checks of a session's factors, given by their bits, and return their number.
    ///
    /// # Errors
    /// The state lacks the name of one.
    #[inline]
    pub fn factors(
        &self,
        asks: &Asks,
        (elements, asked): (Span, Span),
        bits: u32,
        (bundle, state): (&Bundle, &State),
        answers: &mut Answers,
    ) -> Result<i64, Code> {
        let count = u64::from(state.factor_count()).min(MAX_FACTORS as u64);
        // Whoever sees a session's factor also sees the count that was raised before.
        if u64::from(bits) >> count != 0 {
            return Err(LOST);
        }
        let mut numbers = self.numbers.load(Ordering::Relaxed);
        if numbers & MASK != count {
            numbers = self.look_factors_up(asks, elements, count, bundle, state);
        }
        let mut found = 0;
        for at in 0..elements.1 - elements.0 {
            numbers >>= BITS;
            found |= (bits >> (numbers & MASK) & 1) << at;
        }
        asks.set(asked, found, answers).ok_or(LOST)?;
        Ok(if bits == 0 { EMPTY_SET } else { NOT_KEPT })
    }

    /// Find the numbers of the factors for which the gate asks, where there are new names. The count comes first:
    /// names that are added meanwhile are found again.
    #[cold]
    #[inline(never)]
    fn look_factors_up(&self, asks: &Asks, elements: Span, count: u64, bundle: &Bundle, state: &State) -> u64 {
        let all = asks.elements.get(usize::from(elements.0)..usize::from(elements.1)).unwrap_or_default();
        let number = |&element: &u64| {
            let name = bundle.string(u32::try_from(element).ok()?)?;
            state.factor_number(name).map(u64::from).filter(|number| *number < count)
        };
        let numbers = all.iter().rev().fold(0, |word, element| (word << BITS) | number(element).unwrap_or(NONE));
        let word = numbers << BITS | count;
        self.numbers.store(word, Ordering::Relaxed);
        word
    }

    /// Make the memory resident. The result must be dropped before this.
    pub fn hold(&self, what: &'static str, residence: Residence) -> Result<[Resident; 2], MemoryError> {
        let Self { is_quick: _, factors: _, numbers: _, regions, channels, trusted: _, markets: _ } = self;
        Ok([Resident::read(what, &regions.0, residence)?, Resident::read(what, &channels.0, residence)?])
    }
}

impl Asks {
    /// Return what is known of a text: its number in the bundle, if it has one, and the results of checks.
    pub fn word(&self, asked: Span, text: &str, bundle: &Bundle) -> Option<u64> {
        let number = bundle.find_string(text).map_or(0, |number| HAS | u64::from(number));
        let singles = self.singles.get(usize::from(asked.0)..usize::from(asked.1))?;
        let mut word = number;
        for (at, (_, single)) in singles.iter().enumerate() {
            word |= u64::from(single.of_text(text.as_bytes())?) << (33 + at);
        }
        Some(word)
    }

    /// Answer the checks of a text by what is known of it, and return its number.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the low half is the number
    pub fn by_word(&self, asked: Span, word: u64, answers: &mut Answers) -> i64 {
        let singles = self.singles.get(usize::from(asked.0)..usize::from(asked.1)).unwrap_or_default();
        let mut results = word >> 33;
        for (check, _) in singles {
            answers.add(*check, results & 1 != 0);
            results >>= 1;
        }
        if word & HAS != 0 { i64::from(word as u32) } else { NOT_KEPT }
    }
}

impl Names {
    /// Return what is known of the name with a number.
    ///
    /// # Errors
    /// The state lacks the name.
    #[inline]
    pub fn name(&self, asks: &Asks, asked: Span, number: u32, given: (&Bundle, &State)) -> Result<u64, Code> {
        let known = self.0.get(number as usize).ok_or(LOST)?;
        match known.load(Ordering::Relaxed) {
            NEW => look_name_up(asks, asked, known, number, given),
            word => Ok(word),
        }
    }
}

#[cold]
#[inline(never)]
fn look_name_up(
    asks: &Asks,
    asked: Span,
    known: &AtomicU64,
    number: u32,
    (bundle, state): (&Bundle, &State),
) -> Result<u64, Code> {
    let mut name = [0; MAX_NAME];
    let name = state.name(number, &mut name).ok_or(LOST)?;
    let word = asks.word(asked, name, bundle).ok_or(LOST)?;
    known.store(word, Ordering::Relaxed);
    Ok(word)
}
