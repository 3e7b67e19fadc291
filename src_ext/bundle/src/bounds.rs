//! What a bundle's counts come to, checked before anything is done by them.
//!
//! Hashes say that a file is what its writer wrote, not that he meant well. Every index is checked when it is used; but lists
//! may overlap, so that a small file names more elements than it has bytes, and whoever walks all of them never ends. Here
//! they are added up, without walking any: what takes an engine long to read, or much memory, is refused.

use crate::file::OpenError;
use crate::meta::Meta;
use crate::records::Span;
use crate::sections::Views;
use ztfast_vm::Value;

/// Elements that any bundle may name, however small it is: a tenth of a second's work.
const ANY: u64 = 1 << 24;
/// Elements more for each byte of the file. Lists that many share are kept once: the compiler's own files stay far below.
const EACH_BYTE: u64 = 256;
/// Layers of an action; the compiler makes no more than three.
const LAYERS: u32 = 16;
/// Entities that conditions look away: no expression is nested deeper.
const REACH: u32 = 1 << 14;

struct Budget {
    part: &'static str,
    left: u64,
}

impl Budget {
    fn spend(&mut self, steps: u64) -> Result<(), OpenError> {
        self.left = self.left.checked_sub(steps).ok_or_else(|| refused(self.part, "it names more than it has"))?;
        Ok(())
    }
}

fn refused(part: &str, what: &'static str) -> OpenError {
    OpenError::Damaged { part: part.to_owned(), what }
}

/// Check that nothing in the bundle is longer than its size allows.
pub(crate) fn check(views: &Views, meta: &Meta, bytes: usize) -> Result<(), OpenError> {
    let most = ANY + EACH_BYTE * bytes as u64;
    let budget = |part| Budget { part, left: most };
    let texts = views.string_offsets;
    if !texts.is_sorted() || texts.last().is_some_and(|&end| end as usize > views.string_bytes.len()) {
        return Err(refused("table of texts", "its places are not in order"));
    }
    actions(views, meta)?;
    selectors(views, budget("selectors"))?;
    classes(views, most)?;
    let mut plans = budget("plans");
    views.layers.iter().try_for_each(|layer| plans.spend(u64::from(layer.plans.len)))?;
    named(views, budget("names"))?;
    // Those who turn them round number them in 32 bits.
    let counted = |part| Budget { part, left: most.min(u64::from(u32::MAX)) };
    entities(views, counted("entities"), counted("hierarchy"))
}

fn actions(views: &Views, meta: &Meta) -> Result<(), OpenError> {
    let within = |span: Span, all: usize| span.start as usize + span.len as usize <= all;
    for action in views.actions {
        if !within(action.slots, views.slot_kinds.len()) {
            return Err(refused("table of actions", "there are no such context slots"));
        }
        if !within(action.layers, views.layers.len()) || action.layers.len > LAYERS {
            return Err(refused("table of actions", "there are no such layers"));
        }
    }
    if meta.reach > REACH {
        return Err(refused("description", "no condition looks so far"));
    }
    Ok(())
}

/// Adding up spans of spans: where each begins, of how many elements.
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

    /// What the lengths in a span come to; those that are not there, to nothing.
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

/// Each class may be walked at one decision, and those that selectors alone make are walked when an engine is made.
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

/// Names and annotations, which are copied whenever they are asked for.
fn named(views: &Views, mut budget: Budget) -> Result<(), OpenError> {
    let strings = views.store().strings;
    let length = |number: u32| strings.get(number).map_or(0, |text| text.len() as u64) + 1;
    views.types.iter().try_for_each(|ty| budget.spend(length(ty.name)))?;
    let annotations = Sums::new(views.annotations.iter().map(|&text| length(text)));
    for policy in views.policies {
        budget.spend(length(policy.id) + length(policy.file) + length(policy.fallback))?;
        // In pairs, so twice as long: more than a 32-bit number counts is more than there is.
        let len = policy.annotations_len.saturating_mul(2);
        budget.spend(annotations.of(Span { start: policy.annotations_start, len }))?;
    }
    Ok(())
}

/// Entities' values, with all that is nested in them, and their parents and ancestors.
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

/// How many values lie in others, level by level: values share their parts, so this may be far more than there are values.
struct Nested {
    /// The sets and records that hold anything, by their place, and what lies in all of them up to there.
    sums: Vec<(usize, u64)>,
    values: usize,
}

impl Nested {
    fn new(values: &[Value]) -> Self {
        let mut nested = Self { sums: Vec::new(), values: values.len() };
        let mut sum = 0_u64;
        for (at, value) in values.iter().enumerate().take(u32::MAX as usize) {
            // Parts lie before what they are parts of. What says otherwise is no value, and is not followed.
            if let Some((start, end)) = value.parts_before(at) {
                // More is more than any budget, and a sum of such must stay one of which a part can be told.
                sum += nested.of(start, end).min(1 << 32);
                nested.sums.push((at, sum));
            }
        }
        nested
    }

    /// What lies in the values at these places, with themselves.
    fn of(&self, start: usize, end: usize) -> u64 {
        let upto = |place: usize| {
            let before = self.sums.partition_point(|&(at, _)| at < place);
            before.checked_sub(1).and_then(|last| self.sums.get(last)).map_or(0, |&(_, sum)| sum)
        };
        let own = end.min(self.values).saturating_sub(start) as u64;
        upto(end).saturating_sub(upto(start)).saturating_add(own)
    }
}
