//! The sections of a bundle: their names, elements, and order in the file.

use crate::file::{self, Place, Section};
use crate::records::{
    ActionRec, BitmapRec, ClassPair, ClassRec, LayerRec, PlanRec, PolicyRec, RowRec, SelectorRec, Span, TypeRec,
};
use std::ops::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use ztfast_vm::{EntityRec, Instr, PatternRec, StoreView, StringsView, Value};

/// Declare the owned form and the form in the file.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident: $element:ty,)*) => {
        /// A bundle's sections while they are being built.
        #[derive(Debug, Default, Clone)]
        pub struct Parts {
            $($(#[$doc])* pub $name: Vec<$element>,)*
        }

        impl Parts {
            fn sections(&self) -> Vec<Section<'_>> {
                vec![$(Section { bytes: self.$name.as_bytes(), element: size_of::<$element>() },)*]
            }
        }

        /// The sections of a file in memory.
        #[derive(Clone, Copy)]
        pub(crate) struct Views {
            $(pub $name: &'static [$element],)*
        }

        /// The sizes of the sections' elements.
        pub(crate) const ELEMENTS: &[usize] = &[$(size_of::<$element>(),)*];

        impl Views {
            /// Read the sections at these places of `data`.
            pub fn new(data: &'static [u8], places: &[Place]) -> Option<Self> {
                let mut places = places.iter();
                Some(Self { $($name: slice(data, places.next()?.range.clone())?,)* })
            }
        }
    };
}

/// Pass the sections' names and types, in their order in the file, to the macro `define`.
macro_rules! for_each_section {
    ($define:ident) => {
        $define! {
            /// The bundle's description ([`Meta`]) as JSON.
            meta_json: u8,
            /// Policies and schema as JSON, for Cedar to explain decisions.
            sources_json: u8,
            /// Policies.
            policies: PolicyRec,
            /// Keys and values of the policies' annotations, as numbers of strings.
            annotations: u32,
            /// The start of each string in `string_bytes`, and the end of the last.
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
            /// The patterns' elements.
            pattern_elems: u32,
            /// The classes of each entity.
            classes: ClassPair,
            /// Selectors of principals.
            principal_selectors: SelectorRec,
            /// Selectors of resources.
            resource_selectors: SelectorRec,
            /// The entities that selectors name.
            selector_entities: u32,
            /// The places of the code of selectors' conditions.
            selector_code: Span,
            /// Classes of principals.
            principal_classes: ClassRec,
            /// Classes of resources.
            resource_classes: ClassRec,
            /// The parts of classes, as numbers of `parts`.
            class_parts: u32,
            /// Lists of selectors.
            parts: Span,
            /// The lists' selectors.
            part_selectors: u32,
            /// Actions.
            actions: ActionRec,
            /// Kinds of the actions' context slots.
            slot_kinds: u32,
            /// Layers of the actions.
            layers: LayerRec,
            /// The policies of the layers.
            plans: PlanRec,
            /// For each layer and side, the map from classes to the layer's classes.
            maps: u32,
            /// Cells of dense tables and of rows.
            table: u32,
            /// Rows.
            rows: RowRec,
            /// The rows' bitmaps.
            bitmaps: BitmapRec,
            /// The start of each set.
            set_places: u32,
            /// Sets of policies: summaries and blocks.
            sets: u64,
            /// Programs, each contiguous.
            programs: u64,
            /// The code of the programs' conjuncts.
            code: Instr,
        }
    };
}
pub(crate) use for_each_section;

for_each_section!(sections);

impl Parts {
    /// Lay out the file.
    #[must_use]
    pub fn write(&self) -> Box<[u64]> {
        file::write(&self.sections())
    }
}

/// Return a section as a slice of its elements.
fn slice<T: FromBytes + Immutable + KnownLayout>(data: &'static [u8], range: Range<usize>) -> Option<&'static [T]> {
    <[T]>::ref_from_bytes(data.get(range)?).ok()
}

impl Views {
    /// Return the tables that programs read.
    #[inline]
    pub fn store(&self) -> StoreView<'static> {
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
