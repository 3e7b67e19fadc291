//! Programs: values, instructions and the interpreter.
//!
//! The compiler runs programs over entities to classify them; the engine runs what is left at decision time. Both use
//! this interpreter, so Cedar's expressions have one semantics in the product, and differential tests compare it with
//! Cedar. The interpreter neither allocates nor panics, and every loop is bounded: jumps only go forward, and
//! comparisons of nested values draw on a budget.
//!
//! The semantics follow the Cedar Language Specification
//! (<https://docs.cedarpolicy.com/policies/syntax-operators.html>) and the evaluator of the pinned `cedar-policy-core`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod instr;
mod interpreter;
pub mod literals;
mod ops;
mod predicate;
mod reader;
mod single;
mod store;
mod value;

pub use instr::{ExtOp, Instr, Op};
pub use interpreter::{ARENA_VALUES, BUDGET, STACK_VALUES, Scratch, Vm};
pub use ops::Fault;
pub use predicate::Predicate;
pub use single::{Elements, Single};
pub use store::{
    ChangedEntities, EntityRec, Facts, PARENT, PRESENT, PatternRec, REFERRED, Request, StoreView, StringsView,
    WILDCARD, field,
};
pub use value::{ADDED_STRING, Arena, EntityRef, FOREIGN_STRING, Tag, Value};
