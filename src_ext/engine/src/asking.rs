//! Finds out what the lines of a gate ask of each argument.

use crate::asks::{Ask, Asks, ENTITY_CHECKS, MOST_ELEMENTS, NEVER, OfSet, PRINCIPAL, Span};
use crate::binding::{Argument, Binding};
use crate::checks::{Check, REMEMBERED};
use crate::lines::Lines;
use crate::live_asks::{AskedFactors, LiveAsks, Names, TRUSTED, is_answered};
use crate::live_attributes::LiveAttribute;
use std::collections::BTreeSet;
use ztfast_bundle::Bundle;
use ztfast_live::MarketState;
use ztfast_vm::{Instr, Op, Single, Tag};

/// Find out what the lines of a gate ask.
pub(crate) fn asks_of(binding: &Binding, bundle: &Bundle, lines: &Lines) -> Asks {
    let code = bundle.code();
    let mut kept: BTreeSet<usize> = lines.summed().collect();
    let mut singles = Vec::new();
    for (number, check) in lines.checks().iter().enumerate() {
        let (start, len) = check.code;
        let code = code.get(start as usize..start as usize + len as usize).unwrap_or_default();
        let places = places(binding, code);
        let bit = u16::try_from(number).ok().filter(|number| *number < REMEMBERED).map(|number| 1 << number);
        match (&check.single, bit) {
            (Some(single), Some(bit)) if places.iter().eq([&usize::from(single.place())]) => {
                singles.push((bit, single));
            }
            _ => kept.extend(places),
        }
    }
    let mut asks = Builder::default();
    let arguments: Vec<Ask> = binding
        .arguments
        .iter()
        .enumerate()
        .map(|(place, &argument)| {
            let own = singles.iter().filter(|(_, single)| usize::from(single.place()) == place).copied();
            match argument {
                Argument::Entity(ty) => asks.entity(ty, place, lines.checks()),
                argument => asks.argument(argument, kept.contains(&place), own.collect()),
            }
            .filter(|ask| place < binding.callers || is_answered(ask))
            .unwrap_or(Ask::Kept)
        })
        .collect();
    let keeps = arguments.contains(&Ask::Kept);
    let (arguments, others) = arguments.split_at_checked(binding.callers).unwrap_or_default();
    let of_live = others.iter().copied().take(binding.live.len()).collect();
    let Builder { singles, elements, sets, entities, principal } = asks;
    let (singles, elements) = (singles.into(), elements.into());
    Asks {
        arguments: arguments.into(),
        of_live,
        keeps,
        principal,
        singles,
        elements,
        sets: sets.into(),
        entities: entities.into(),
    }
}

/// Prepare the answers of live attributes that are texts, and answer for those that are known.
pub(crate) fn live_asks_of(binding: &Binding, bundle: &Bundle, asks: &Asks) -> LiveAsks {
    let mut live = LiveAsks::default();
    live.is_quick = true;
    for (place, (attribute, ask)) in (binding.callers..).zip(binding.live.iter().zip(&asks.of_live)) {
        if let (LiveAttribute::Factors, Ask::Set { elements, asked, .. }) = (attribute, ask) {
            let place = u16::try_from(place).ok();
            live.factors = place.map(|place| AskedFactors { place, elements: *elements, asked: *asked });
        }
        live.is_quick &= attribute.is_of_proof() || *attribute == LiveAttribute::Factors && live.factors.is_some();
        let Ask::Text(asked) = *ask else { continue };
        let word = |text: &str| asks.word(asked, text, bundle).unwrap_or_default();
        match attribute {
            LiveAttribute::Region => live.regions = Names::new(),
            LiveAttribute::Channel => (live.channels, live.trusted) = (Names::new(), word(TRUSTED)),
            LiveAttribute::Market => live.markets = MarketState::ALL.map(|state| word(state.name())),
            _ => {}
        }
    }
    live
}

/// Return the places of the arguments that some code reads.
fn places(binding: &Binding, code: &[Instr]) -> BTreeSet<usize> {
    let slots = [Op::Slot, Op::SlotOrMissing, Op::HasSlot, Op::NeedSlot].map(|op| op as u8);
    let of = |instr: &Instr| binding.positions.get(instr.imm as usize).map(|&place| usize::from(place));
    let read = code.iter().filter(|instr| slots.contains(&instr.op)).filter_map(of);
    read.filter(|&place| place < binding.arguments.len()).collect()
}

#[derive(Default)]
struct Builder {
    singles: Vec<(u64, Single)>,
    elements: Vec<u64>,
    sets: Vec<OfSet>,
    entities: Vec<u64>,
    principal: bool,
}

impl Builder {
    /// Return what these checks ask of an argument; `None` if its value is kept.
    fn argument(&mut self, argument: Argument, is_kept: bool, own: Vec<(u64, &Single)>) -> Option<Ask> {
        Some(match argument {
            // These are numbers, which are kept whatever asks for them.
            Argument::Itself => Ask::Number(self.singles(own)?),
            Argument::Entity(_) | Argument::Nothing => return None,
            _ if is_kept => return None,
            Argument::Text => Ask::Text(self.singles(own)?),
            Argument::Address => Ask::Address(self.singles(own)?),
            Argument::Set(kind, ty) => {
                let (mut payloads, first) = (Vec::new(), self.sets.len());
                for (check, single) in own {
                    if single.asks_for_principal() {
                        let elements = if kind == Tag::Entity { PRINCIPAL } else { NEVER };
                        self.sets.push(OfSet { check, elements, all: true });
                        self.principal = true;
                        continue;
                    }
                    let asked = single.elements()?;
                    let mut elements = 0;
                    for &payload in asked.payloads() {
                        if asked.kind != kind as u32 {
                            elements |= NEVER;
                            continue;
                        }
                        let at = payloads.iter().position(|own| *own == payload).unwrap_or(payloads.len());
                        if at == payloads.len() {
                            payloads.push(payload);
                        }
                        elements |= if at < MOST_ELEMENTS { 1 << at } else { return None };
                    }
                    self.sets.push(OfSet { check, elements, all: asked.all });
                }
                let start = self.elements.len();
                self.elements.extend(payloads);
                let (elements, asked) = (span_of(start, self.elements.len())?, span_of(first, self.sets.len())?);
                Ask::Set { kind, ty, elements, asked }
            }
        })
    }

    /// Return what checks ask of an entity of this type, the argument at a place.
    fn entity(&mut self, ty: u32, place: usize, all: &[Check]) -> Option<Ask> {
        let start = self.entities.len();
        let (mut checks, mut from) = (0, 0);
        for (check, number) in all.iter().zip(0..ENTITY_CHECKS) {
            let Some(of_entity) = &check.of_entity else { continue };
            let (own, first, results) = of_entity.results();
            if usize::from(own) != place {
                continue;
            }
            if checks == 0 {
                self.entities.resize(start + results.len(), 0);
            }
            // All are of the entities of one type.
            if checks != 0 && (first != from || results.len() != self.entities.len() - start) {
                continue;
            }
            (checks, from) = (checks | 1 << number, first);
            for (result, answers) in results.zip(self.entities.get_mut(start..).unwrap_or_default()) {
                let bit = 1_u64 << number;
                *answers |= match result {
                    Some(true) => bit,
                    Some(false) => 0,
                    None => bit << ENTITY_CHECKS,
                };
            }
        }
        let answers = (u32::try_from(start).ok()?, u32::try_from(self.entities.len()).ok()?);
        Some(Ask::Entity { ty, checks, first: from, answers })
    }

    fn singles(&mut self, own: Vec<(u64, &Single)>) -> Option<Span> {
        let start = self.singles.len();
        self.singles.extend(own.into_iter().map(|(check, single)| (check, single.clone())));
        span_of(start, self.singles.len())
    }
}

fn span_of(start: usize, end: usize) -> Option<Span> {
    Some((u16::try_from(start).ok()?, u16::try_from(end).ok()?))
}
