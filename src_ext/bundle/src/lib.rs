//! The bundle: one file that holds everything a decision reads. Decisions read its tables in place.
//!
//! The compiler fills [`Parts`], and [`Parts::write`] lays them out. [`Bundle`] holds the file's bytes in its own
//! memory and returns its tables as slices. Every byte of a file is covered by a hash: the header has a hash of the
//! table of sections, and the table a hash of each section with its padding. Header and table are checked when the file
//! is opened. The sections, and the sums of their counts, are checked before first use ([`Bundle::check`]). Neither
//! check promises that the tables fit each other, so readers must check every index, and do.
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(not(target_endian = "little"))]
compile_error!("the bundle is used where it lies, and its numbers are little-endian");

mod bounds;
mod file;
mod index;
mod memory;
mod meta;
mod records;
mod residual;
mod save;
mod sections;
mod view;

pub use file::{FORMAT_VERSION, OpenError, store_hash};
pub use index::{build_entity_index, build_string_index};
pub use meta::{ActionMeta, ActionStats, Field, LayerStats, Memory, Meta, Node, Scopes, Stats, Store, ValueType};
pub use records::{
    ActionRec, BLOCK_BITS, BLOCK_WORDS, BitmapRec, CellKind, ClassPair, ClassRec, Form, LayerRec, NO_MAX_AGE, PlanRec,
    PolicyRec, RangeRec, RowRec, SelectorRec, Span, Test, TypeRec, cell_kind, cell_program, pack_cell,
};
pub use residual::{ERRED, Program, Residual, ResidualView, Tests, TooLong, write_program};
pub use save::{SaveError, write_file};
pub use sections::Parts;
pub use view::{Bundle, PolicyView, StepUp};
