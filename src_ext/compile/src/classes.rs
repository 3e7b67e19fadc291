//! Classification: all entities of a type for which the same selectors hold form one class.
//!
//! Selectors that name an entity are found by an index over the entity and its ancestors. The others read values. They
//! are evaluated once for each combination of the values that they read, not once for each entity: a thousand
//! conditions on `resource.sector` cost a thousand evaluations per sector, whether there are a hundred resources or a
//! million.
//!
//! A class is stored as a few *parts*, which are lists of selectors: one for those found by the index, and one for each
//! group of conditions that read the same values. So a class costs a few words, however many selectors hold.

use crate::plan::{Conjunct, Plans, Selector, Selectors, Side};
use crate::tables::Tables;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use ztfast_cedar::ir::{Binary, Expr, Var};
use ztfast_vm::{EntityRef, Fault, Instr, Request, Scratch, StoreView, Vm, field};

/// The classes of one side. Class 0 holds the entities to which no action applies.
pub(crate) struct Classes {
    /// The class of each entity.
    pub of_entity: Vec<u32>,
    pub all: Vec<Class>,
    /// Lists of selectors, each sorted.
    pub parts: Vec<Box<[u32]>>,
}

/// A class.
pub(crate) struct Class {
    pub ty: u32,
    /// The numbers of the parts.
    pub parts: Box<[u32]>,
    /// One of the class's entities.
    pub sample: EntityRef,
}

/// Classify the entities of these types.
pub(crate) fn classes(
    side: Side,
    types: &[bool],
    plans: &Plans,
    tables: &mut Tables,
    progress: &mut dyn FnMut(usize),
) -> Classes {
    let selectors = if side == Side::Principal { &plans.principal } else { &plans.resource };
    let families = Families::new(selectors, &plans.conjuncts, side.var(), tables);
    let tables = &*tables;
    let view = tables.view();
    let mut sorter = Sorter {
        selectors,
        conjuncts: &plans.conjuncts,
        index: Index::new(selectors),
        view: &view,
        scratch: Scratch::default(),
        parts: Vec::new(),
        part_numbers: FxHashMap::default(),
    };
    let mut known: Vec<FxHashMap<Vec<u64>, u32>> = families.all.iter().map(|_| FxHashMap::default()).collect();
    let nothing = Class { ty: u32::MAX, parts: Box::default(), sample: EntityRef::known(0) };
    let mut classes = Classes { of_entity: vec![0; tables.entities.len()], all: vec![nothing], parts: Vec::new() };
    let mut numbers: FxHashMap<(u32, Vec<u32>), u32> = FxHashMap::default();
    let (mut parts, mut signature): (Vec<u32>, Vec<u64>) = (Vec::new(), Vec::new());
    for (number, record) in tables.entities.iter().enumerate() {
        if number.is_multiple_of(1 << 16) {
            progress(number);
        }
        let stand_in = record.id == u32::MAX;
        let listed = tables.types.get(record.ty as usize).is_some_and(|ty| ty.enumerated == 1);
        if !types.get(record.ty as usize).is_some_and(|&wanted| wanted) || (stand_in && listed) {
            continue;
        }
        let entity = tables.sample(u32::try_from(number).expect("the tables check the number of entities"));
        parts.clear();
        sorter.by_index(entity, record.ty, &mut parts);
        for (family, known) in families.all.iter().zip(&mut known) {
            signature.clear();
            let part = if sign(&family.atoms, entity, tables, &view, &mut signature) {
                if let Some(&part) = known.get(&signature) {
                    part
                } else {
                    let part = sorter.part(entity, record.ty, &family.selectors);
                    known.insert(signature.clone(), part);
                    part
                }
            } else {
                sorter.part(entity, record.ty, &family.selectors)
            };
            if part != NOTHING {
                parts.push(part);
            }
        }
        let class = numbers.entry((record.ty, std::mem::take(&mut parts))).or_insert_with_key(|(ty, parts)| {
            classes.all.push(Class { ty: *ty, parts: parts.as_slice().into(), sample: entity });
            u32::try_from(classes.all.len() - 1).expect("classes are no more than entities")
        });
        classes.of_entity[number] = *class;
    }
    classes.parts = sorter.parts;
    classes
}

/// The part without selectors, which is not stored.
const NOTHING: u32 = u32::MAX;

struct Sorter<'a> {
    selectors: &'a Selectors,
    conjuncts: &'a [Conjunct],
    index: Index,
    view: &'a StoreView<'a>,
    scratch: Scratch,
    parts: Vec<Box<[u32]>>,
    part_numbers: FxHashMap<Box<[u32]>, u32>,
}

impl Sorter<'_> {
    /// Add the part of the selectors that name the entity or an ancestor.
    fn by_index(&mut self, entity: EntityRef, ty: u32, parts: &mut Vec<u32>) {
        if self.index.is_empty() {
            return;
        }
        let ancestors = self.view.facts(entity).map_or(&[][..], |facts| facts.ancestors);
        let mut candidates: Vec<u32> = Vec::new();
        if entity.foreign == 0 {
            candidates.extend(self.index.by_entity.get(&entity.index).into_iter().flatten());
            candidates.extend(self.index.by_ancestor.get(&entity.index).into_iter().flatten());
        }
        for above in ancestors {
            candidates.extend(self.index.by_ancestor.get(above).into_iter().flatten());
        }
        candidates.sort_unstable();
        candidates.dedup();
        let part = self.part(entity, ty, &candidates);
        if part != NOTHING {
            parts.push(part);
        }
    }

    /// Return the part of those of these selectors that hold.
    fn part(&mut self, entity: EntityRef, ty: u32, selectors: &[u32]) -> u32 {
        let mut holding: Vec<u32> = Vec::new();
        for &number in selectors {
            if self.holds(entity, ty, &self.selectors.all[number as usize]) {
                holding.push(number);
            }
        }
        if holding.is_empty() {
            return NOTHING;
        }
        let parts = &mut self.parts;
        *self.part_numbers.entry(holding.into_boxed_slice()).or_insert_with_key(|holding| {
            parts.push(holding.clone());
            u32::try_from(parts.len() - 1).expect("parts are no more than entities and groups of conditions")
        })
    }

    fn holds(&mut self, entity: EntityRef, ty: u32, selector: &Selector) -> bool {
        let known = entity.foreign == 0;
        let within = |above: &u32| {
            (known && *above == entity.index)
                || self.view.facts(entity).is_some_and(|facts| facts.ancestors.binary_search(above).is_ok())
        };
        selector.ty.is_none_or(|wanted| wanted == ty)
            && selector.entity.is_none_or(|wanted| known && wanted == entity.index)
            && (selector.within.is_empty() || selector.within.iter().any(within))
            && selector.conjuncts.iter().all(|&conjunct| {
                let code = &self.conjuncts[conjunct as usize].code;
                run(self.view, entity, entity, &mut self.scratch, |vm| vm.holds(code)) == Ok(true)
            })
    }
}

/// Selectors by the entities that they name.
#[derive(Default)]
struct Index {
    by_entity: FxHashMap<u32, Vec<u32>>,
    by_ancestor: FxHashMap<u32, Vec<u32>>,
}

impl Index {
    fn new(selectors: &Selectors) -> Self {
        let mut index = Self::default();
        for (number, selector) in (0_u32..).zip(&selectors.all) {
            if let Some(entity) = selector.entity {
                index.by_entity.entry(entity).or_default().push(number);
            } else {
                for &above in &selector.within {
                    index.by_ancestor.entry(above).or_default().push(number);
                }
            }
        }
        index
    }

    fn is_empty(&self) -> bool {
        self.by_entity.is_empty() && self.by_ancestor.is_empty()
    }
}

/// The properties of an entity that expressions over one side read. The expressions do not tell entities apart that
/// agree in these.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[allow(clippy::struct_excessive_bools)] // each is one property that is read or not
pub(crate) struct Atoms {
    attrs: BTreeSet<u32>,
    tags: bool,
    ancestors: bool,
    /// Whether the entity is one that the policies name.
    named: bool,
    /// The entity's identity.
    identity: bool,
}

impl Atoms {
    /// Add what an expression reads of a variable.
    pub fn read(&mut self, expr: &Expr, var: Var, tables: &mut Tables) {
        let is_var = |expr: &Expr| *expr == Expr::Var(var);
        match expr {
            Expr::Var(found) if *found == var => self.identity = true,
            Expr::GetAttr(operand, name) if is_var(operand) => _ = self.attrs.insert(tables.string(name)),
            Expr::HasAttr(operand, path) if is_var(operand) => {
                self.attrs.extend(path.first().map(|name| tables.string(name)));
            }
            Expr::Is(operand, _) if is_var(operand) => {}
            Expr::Binary(Binary::In, operand, other) if is_var(operand) && matches!(**other, Expr::Datum(_)) => {
                (self.ancestors, self.named) = (true, true);
            }
            Expr::Binary(Binary::Eq, a, b)
                if (is_var(a) && matches!(**b, Expr::Datum(_))) || (is_var(b) && matches!(**a, Expr::Datum(_))) =>
            {
                self.named = true;
            }
            Expr::Binary(Binary::GetTag | Binary::HasTag, operand, key) if is_var(operand) => {
                self.tags = true;
                self.read(key, var, tables);
            }
            _ => expr.children(&mut |child| self.read(child, var, tables)),
        }
    }
}

/// Append the properties of an entity to a signature; `false` if each entity has its own.
///
/// Equal values have equal bits, and equal lists and slices share one place, so places stand for contents.
pub(crate) fn sign(
    atoms: &Atoms,
    entity: EntityRef,
    tables: &Tables,
    view: &StoreView<'_>,
    out: &mut Vec<u64>,
) -> bool {
    let (Some(record), Some(facts)) = (view.entity(entity), view.facts(entity)) else { return false };
    if atoms.identity {
        return false;
    }
    out.push(u64::from(record.ty));
    for &name in &atoms.attrs {
        match field(facts.attrs, u64::from(name)) {
            Some(value) => out.extend([u64::from(value.tag) << 32 | u64::from(value.aux), value.payload]),
            None => out.push(u64::MAX),
        }
    }
    if atoms.tags {
        out.push(u64::from(record.tags_start) << 32 | u64::from(record.tags_len));
    }
    if atoms.ancestors {
        out.push(u64::from(record.ancestors_start) << 32 | u64::from(record.ancestors_len));
    }
    if atoms.named {
        let named = tables.named.get(entity.index as usize).is_some_and(|&named| named);
        out.push(if named { u64::from(entity.index) } else { u64::MAX });
    }
    true
}

/// Selectors that name no entity, grouped by what they read.
struct Families {
    all: Vec<Family>,
}

struct Family {
    atoms: Atoms,
    selectors: Vec<u32>,
}

impl Families {
    fn new(selectors: &Selectors, conjuncts: &[Conjunct], var: Var, tables: &mut Tables) -> Self {
        let mut numbers: FxHashMap<Atoms, usize> = FxHashMap::default();
        let mut all: Vec<Family> = Vec::new();
        let mut of_conjunct: FxHashMap<u32, Atoms> = FxHashMap::default();
        for (number, selector) in (0_u32..).zip(&selectors.all).skip(1) {
            if selector.entity.is_some() || !selector.within.is_empty() {
                continue;
            }
            let mut atoms = Atoms::default();
            for &conjunct in &selector.conjuncts {
                let own = of_conjunct.entry(conjunct).or_insert_with(|| {
                    let mut own = Atoms::default();
                    own.read(&conjuncts[conjunct as usize].expr, var, tables);
                    own
                });
                atoms.attrs.extend(&own.attrs);
                atoms.tags |= own.tags;
                atoms.ancestors |= own.ancestors;
                atoms.named |= own.named;
                atoms.identity |= own.identity;
            }
            let at = *numbers.entry(atoms.clone()).or_insert_with(|| {
                all.push(Family { atoms, selectors: Vec::new() });
                all.len() - 1
            });
            all[at].selectors.push(number);
        }
        Self { all }
    }
}

/// Run `job` over one or two entities.
pub(crate) fn run<T>(
    view: &StoreView<'_>,
    principal: EntityRef,
    resource: EntityRef,
    scratch: &mut Scratch,
    job: impl FnOnce(&mut Vm<'_, '_>) -> T,
) -> T {
    let request = Request::bare(principal, resource);
    job(&mut Vm::new(view, &request, scratch))
}

/// Return whether a conjunct over both sides holds for these two entities.
pub(crate) fn holds(
    view: &StoreView<'_>,
    code: &[Instr],
    principal: EntityRef,
    resource: EntityRef,
    scratch: &mut Scratch,
) -> bool {
    run(view, principal, resource, scratch, |vm| vm.holds(code)) == Ok::<bool, Fault>(true)
}
