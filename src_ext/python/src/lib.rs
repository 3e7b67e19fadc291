//! `ztfast._core`: everything that is rich and not hot, and the table of functions that the gate calls.
//!
//! This module takes uids as text and contexts as dicts, and turns what goes wrong into `ztfast.Error`s. The hot path
//! is not here but in [`capi`], called by `ztfast.gate` and by embedders without touching a Python object.
#![deny(unsafe_op_in_unsafe_fn)]
// PyO3 hands over what it has converted from Python objects: owned.
#![allow(clippy::needless_pass_by_value)]

mod action;
mod allocator;
mod arguments;
mod authorizer;
mod belongings;
mod bundle;
mod capi;
mod changelog;
mod changing;
mod context;
mod deciding;
mod engine;
mod errors;
mod exceptions;
mod gate;
mod histogram;
mod measure;
mod reader;
mod releasing;
mod timestamps;
mod uid;
mod values;

use pyo3::prelude::*;

/// The compiled core of ztfast. Use the names in `ztfast`; these are not for direct use.
///
/// What classes that several threads share change is atomic or has a lock of its own, and `PyO3` lends what is not
/// frozen to one thread at a time: nothing relies on the GIL.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::authorizer::Authorizer;
    #[pymodule_export]
    use crate::bundle::{Bundle, compile, strictly_valid, write_file};
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::gate::Gate;
    #[pymodule_export]
    use crate::histogram::Histogram;
    #[pymodule_export]
    use crate::measure::{
        Chain, closed_loop, empty_loop, open_loop, spin, ticks_per_ns, time_all, time_counter, time_each, time_loads,
        time_nothing, time_pointer_calls, time_session_clock, time_table,
    };
    #[pymodule_export]
    use crate::uid::{check_uid, extract_uid, parse_uid, register_uid, uid_text};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        let codes: Vec<(u8, &str)> = ztfast_engine::Code::ALL.iter().map(|&code| (code as u8, code.name())).collect();
        module.add("CODES", codes)?;
        module.add("DEBUG", cfg!(debug_assertions))?;
        module.add("_C_API", crate::capi::capsule(module.py())?)
    }
}
