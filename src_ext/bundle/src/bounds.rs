//! The check of a bundle's counts, before anything is done by them.
//!
//! Hashes show that a file is as its writer wrote it, not that the writer was honest. Every index is checked when it is
//! used. But lists may overlap, so a small file can name more elements than it has bytes, and a loop over all of them
//! would not end in time. This check adds the counts up without visiting the elements. It refuses a bundle that would
//! take an engine long to read, or much memory.

use crate::file::OpenError;
use crate::meta::Meta;
use crate::records::Span;
use crate::sections::Views;
use ztfast_vm::Value;

/// The elements that any bundle may name, however small it is: a tenth of a second's work.
const ANY: u64 = 1 << 24;
/// The further elements allowed per byte of the file. Shared lists are stored once: the compiler's own files stay far
/// below.
const EACH_BYTE: u64 = 256;
/// The most layers of an action. The compiler makes at most three.
const LAYERS: u32 = 16;
/// The most entities between principal or resource and what a condition reads. No expression nests deeper.
const REACH: u32 = 1 << 14;

struct Budget {
    part: &'static str,
    left: u64,
}

impl Budget {
    fn spend(&mut self, steps: u64) -> Result<(), OpenError> {
        self.left =
            self.left.checked_sub(steps).ok_or_else(|| refused(self.part, "it names more elements than it has"))?;
        Ok(())
    }
}

fn refused(part: &str, what: &'static str) -> OpenError {
    OpenError::Damaged { part: part.to_owned(), what }
}

/// Check that the bundle names no more than its size allows.
pub(crate) fn check(views: &Views, meta: &Meta, bytes: usize) -> Result<(), OpenError> {
    let most = ANY + EACH_BYTE * bytes as u64;
    let budget = |part| Budget { part, left: most };
    let texts = views.string_offsets;
    if !texts.is_sorted() || texts.last().is_some_and(|&end| end as usize > views.string_bytes.len()) {
        return Err(refused("table of texts", "its offsets are not in order"));
    }
    actions(views, meta)?;
    selectors(views, budget("selectors"))?;
    classes(views, most)?;
    let mut plans = budget("plans");
    views.layers.iter().try_for_each(|layer| plans.spend(u64::from(layer.plans.len)))?;
    named(views, budget("names"))?;
    // The reverse lists number these in 32 bits.
    let counted = |part| Budget { part, left: most.min(u64::from(u32::MAX)) };
    entities(views, counted("entities"), counted("hierarchy"))
}

fn actions(views: &Views, meta: &Meta) -> Result<(), OpenError> {
    let within = |span: Span, all: usize| span.start as usize + span.len as usize <= all;
    for action in views.actions {
        if !within(action.slots, views.slot_kinds.len()) {
            return Err(refused("table of actions", "it names context slots that do not exist"));
        }
        if !within(action.layers, views.layers.len()) || action.layers.len > LAYERS {
            return Err(refused("table of actions", "it names layers that do not exist"));
        }
    }
    if meta.reach > REACH {
        return Err(refused("description", "its reach is too large"));
    }
    Ok(())
}

/// Prefix sums of lengths, to add up spans of spans.
struct Sums(Vec<u64>);

impl Sums {
    fn new(lengths: impl Iterator<Item = u64>) -> Self {
        let mut sums = vec![0];
        sums.extend(lengths.scan(0_u64, |sum, length| {
            *sum = sum.saturating_add(length);
            Some(*sum)
        }));
        Self(sums)
    }

    /// Return the sum of the lengths in a span. Lengths beyond the table count as 0.
    fn of(&self, span: Span) -> u64 {
        let last = self.0.len() - 1;
        let at = |at: usize| self.0.get(at.min(last)).copied().unwrap_or_default();
        at(span.start as usize + span.len as usize).saturating_sub(at(span.start as usize))
    }
}

fn selectors(views: &Views, mut budget: Budget) -> Result<(), OpenError> {
    let code = Sums::new(views.selector_code.iter().map(|place| u64::from(place.len) + 1));
    for selector in views.principal_selectors.iter().chain(views.resource_selectors) {
        budget.spend(u64::from(selector.within.len))?;
        budget.spend(code.of(selector.conjuncts))?;
    }
    Ok(())
}

/// Check the classes. A decision may read the selectors of any one class, and a new engine reads those of all classes
/// that no refinement split.
fn classes(views: &Views, most: u64) -> Result<(), OpenError> {
    let lists = views.parts;
    let of_part = |&part: &u32| lists.get(part as usize).map_or(0, |list| u64::from(list.len)) + 1;
    let parts = Sums::new(views.class_parts.iter().map(of_part));
    for side in [views.principal_classes, views.resource_classes] {
        let mut all = Budget { part: "classes", left: most };
        for class in side {
            let length = parts.of(Span { start: class.parts_start, len: class.parts_len });
            if class.split == 0 {
                all.spend(length)?;
            } else {
                Budget { part: "classes", left: most }.spend(length)?;
            }
        }
    }
    Ok(())
}

/// Check names and annotations, which are copied each time they are asked for.
fn named(views: &Views, mut budget: Budget) -> Result<(), OpenError> {
    let strings = views.store().strings;
    let length = |number: u32| strings.get(number).map_or(0, |text| text.len() as u64) + 1;
    views.types.iter().try_for_each(|ty| budget.spend(length(ty.name)))?;
    let annotations = Sums::new(views.annotations.iter().map(|&text| length(text)));
    for policy in views.policies {
        budget.spend(length(policy.id) + length(policy.file) + length(policy.fallback))?;
        // These are pairs, so the list is twice as long. A length that saturates exceeds every list.
        let len = policy.annotations_len.saturating_mul(2);
        budget.spend(annotations.of(Span { start: policy.annotations_start, len }))?;
    }
    Ok(())
}

/// Check entities' values, with everything nested in them, and their parents.
fn entities(views: &Views, mut values: Budget, mut hierarchy: Budget) -> Result<(), OpenError> {
    let nested = Nested::new(views.values);
    for entity in views.entities {
        for (start, len) in [(entity.attrs_start, entity.attrs_len), (entity.tags_start, entity.tags_len)] {
            values.spend(nested.of(start as usize, start as usize + 2 * len as usize))?;
        }
        hierarchy.spend(u64::from(entity.parents_len))?;
    }
    Ok(())
}

/// The numbers of values nested in others. Values share their parts, so this may be far more than the number of values.
struct Nested {
    /// For each set and record that has parts: its place, and the number of values nested in it and those before it.
    sums: Vec<(usize, u64)>,
    values: usize,
}

impl Nested {
    fn new(values: &[Value]) -> Self {
        let mut nested = Self { sums: Vec::new(), values: values.len() };
        let mut sum = 0_u64;
        for (at, value) in values.iter().enumerate().take(u32::MAX as usize) {
            // Parts lie before their composite. A value that says otherwise is invalid, and is not followed.
            if let Some((start, end)) = value.parts_before(at) {
                // A larger number exceeds every budget, and the sums must stay exact enough to subtract.
                sum += nested.of(start, end).min(1 << 32);
                nested.sums.push((at, sum));
            }
        }
        nested
    }

    /// Return the number of values at these places, with everything nested in them.
    fn of(&self, start: usize, end: usize) -> u64 {
        let upto = |place: usize| {
            let before = self.sums.partition_point(|&(at, _)| at < place);
            before.checked_sub(1).and_then(|last| self.sums.get(last)).map_or(0, |&(_, sum)| sum)
        };
        let own = end.min(self.values).saturating_sub(start) as u64;
        upto(end).saturating_sub(upto(start)).saturating_add(own)
    }
}
