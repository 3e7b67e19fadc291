//! The sections of a bundle: what they are called, what they hold, and in which order they lie in the file.

use crate::file::{self, Place, Section};
use crate::records::{
    ActionRec, ClassPair, ClassRec, LayerRec, MarkRec, PlanRec, PolicyRec, RowRec, SelectorRec, Span, TypeRec,
};
use std::ops::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use ztfast_vm::{EntityRec, Instr, PatternRec, StoreView, StringsView, Value};

/// Declares the owned form and the form in the file.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident: $element:ty,)*) => {
        /// A bundle's sections while they are being made.
        #[derive(Debug, Default, Clone)]
        pub struct Parts {
            $($(#[$doc])* pub $name: Vec<$element>,)*
        }

        impl Parts {
            fn sections(&self) -> Vec<Section<'_>> {
                vec![$(Section { bytes: self.$name.as_bytes(), element: size_of::<$element>() },)*]
            }
        }

        /// The sections of a mapped file.
        #[derive(Clone, Copy)]
        pub(crate) struct Views {
            $(pub $name: &'static [$element],)*
        }

        /// The sizes of the sections' elements.
        pub(crate) const ELEMENTS: &[usize] = &[$(size_of::<$element>(),)*];

        impl Views {
            /// The sections at these places of `data`.
            pub fn new(data: &'static [u8], places: &[Place]) -> Option<Self> {
                let mut places = places.iter();
                Some(Self { $($name: slice(data, places.next()?.range.clone())?,)* })
            }
        }
    };
}

/// The sections, in their order in the file: `define` is a macro that is given names and types.
macro_rules! for_each_section {
    ($define:ident) => {
        $define! {
            /// The bundle's description ([`Meta`]) as JSON.
            meta_json: u8,
            /// Policies and schema as JSON, so that Cedar itself can explain a decision.
            sources_json: u8,
            /// Policies.
            policies: PolicyRec,
            /// Keys and values of the policies' annotations, as numbers of strings.
            annotations: u32,
            /// Where each string begins in `string_bytes`, and one past the last.
            string_offsets: u32,
            /// The strings, UTF-8.
            string_bytes: u8,
            /// Index over the strings.
            string_index: u32,
            /// Entity types.
            types: TypeRec,
            /// Entities.
            entities: EntityRec,
            /// Index over the entities.
            entity_index: u32,
            /// Ancestors and parents of entities.
            ancestors: u32,
            /// The value pool.
            values: Value,
            /// Patterns of `like`.
            patterns: PatternRec,
            /// Their elements.
            pattern_elems: u32,
            /// For each entity its classes.
            classes: ClassPair,
            /// What principals are asked for.
            principal_selectors: SelectorRec,
            /// What resources are asked for.
            resource_selectors: SelectorRec,
            /// Entities that selectors name.
            selector_entities: u32,
            /// Where the code of selectors' conditions is.
            selector_code: Span,
            /// Classes of principals.
            principal_classes: ClassRec,
            /// Classes of resources.
            resource_classes: ClassRec,
            /// Parts of classes, as numbers of `parts`.
            class_parts: u32,
            /// Lists of selectors.
            parts: Span,
            /// Their selectors.
            part_selectors: u32,
            /// Actions.
            actions: ActionRec,
            /// Kinds of the actions' context slots.
            slot_kinds: u32,
            /// Layers of the actions.
            layers: LayerRec,
            /// Policies of the layers.
            plans: PlanRec,
            /// For each layer and side: the layer's class for each class.
            maps: u32,
            /// Cells of dense tables and of rows.
            table: u32,
            /// Rows.
            rows: RowRec,
            /// Their marks.
            marks: MarkRec,
            /// Where each set begins.
            set_places: u32,
            /// Sets of policies: summaries and blocks.
            sets: u64,
            /// Programs, each in one piece.
            programs: u64,
            /// Code of their conjuncts.
            code: Instr,
        }
    };
}
pub(crate) use for_each_section;

for_each_section!(sections);

impl Parts {
    /// The file.
    #[must_use]
    pub fn write(&self) -> Box<[u64]> {
        file::write(&self.sections())
    }
}

/// A section as a slice of its elements.
fn slice<T: FromBytes + Immutable + KnownLayout>(data: &'static [u8], range: Range<usize>) -> Option<&'static [T]> {
    <[T]>::ref_from_bytes(data.get(range)?).ok()
}

impl Views {
    /// The tables that programs read.
    #[inline]
    pub fn store(&self) -> StoreView<'_> {
        StoreView {
            values: self.values,
            strings: StringsView { offsets: self.string_offsets, bytes: self.string_bytes },
            entities: self.entities,
            ancestors: self.ancestors,
            patterns: self.patterns,
            pattern_elems: self.pattern_elems,
            changes: None,
        }
    }
}
