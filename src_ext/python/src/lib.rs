//! `ztfast._core`: all of the Python API that is off the hot path, and the table of functions that the gate calls.
//!
//! This module takes uids as text and contexts as dicts, and converts errors to `ztfast.Error`s. The hot path is
//! [`capi`], which `ztfast.gate` and embedders call without touching a Python object.
#![deny(unsafe_op_in_unsafe_fn)]
// PyO3 passes converted arguments by value.
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
mod credentials;
mod deciding;
mod engine;
mod errors;
mod exceptions;
mod gate;
mod histogram;
mod identity;
mod live;
mod measure;
mod reader;
mod releasing;
mod sessions;
mod switches;
mod timestamps;
mod uid;
mod values;

use pyo3::prelude::*;

/// The compiled core of ztfast. Use the names in `ztfast`; these are not for direct use.
///
/// Nothing here relies on the GIL. Classes that several threads share change only state that is atomic or has a lock of
/// its own, and `PyO3` lends classes that are not frozen to one thread at a time.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::authorizer::Authorizer;
    #[pymodule_export]
    use crate::bundle::{Bundle, compile, live_schema, strictly_valid, write_file};
    #[pymodule_export]
    use crate::credentials::{Credentials, Moment};
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::gate::Gate;
    #[pymodule_export]
    use crate::histogram::Histogram;
    #[pymodule_export]
    use crate::identity::{Verifier, inspect_certificate, verify_signature};
    #[pymodule_export]
    use crate::measure::{
        Chain, closed_loop, empty_loop, open_loop, spin, ticks_per_ns, time_all, time_calls, time_counter, time_each,
        time_loads, time_nothing, time_pointer_calls, time_session_clock, time_table,
    };
    #[pymodule_export]
    use crate::switches::Switches;
    #[pymodule_export]
    use crate::uid::{check_uid, extract_uid, parse_uid, register_uid, uid_text};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        let codes: Vec<(u8, &str)> = ztfast_engine::Code::ALL.iter().map(|&code| (code as u8, code.name())).collect();
        module.add("CODES", codes)?;
        module.add("EACH", crate::reader::EACH)?;
        module.add("MAX_CREDENTIALS", ztfast_identity::MAX_ROWS)?;
        module.add("DEBUG", cfg!(debug_assertions))?;
        // Name and version by turns, as the build script found them.
        let crypto: Vec<&str> = env!("ZTFAST_CRYPTO").split_whitespace().collect();
        let pairs = crypto.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        module.add("CRYPTO", pairs.collect::<Vec<_>>())?;
        module.add("_C_API", crate::capi::capsule(module.py())?)
    }
}
