//! The table of functions behind `ztfast.h`: the hot path without a Python object.
//!
//! The header documents units, ownership and thread rules; this is their implementation.

use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::slice;
use ztfast_bundle::ValueType;
use ztfast_engine::{Batch, Code, Column, Determining, Gate, Handle, SessionId};

/// Version of the table. It changes when an entry changes its meaning; new entries only make it longer.
const ABI_VERSION: u32 = 1;

#[repr(C)]
pub(crate) struct Api {
    abi_version: u32,
    size: u32,
    pub(crate) allows: unsafe extern "C" fn(*mut Gate, u64, u32, *const i64, usize) -> u32,
    pub(crate) decide: unsafe extern "C" fn(*mut Gate, u64, u32, *const i64, usize, *mut Determining) -> u32,
    begin: unsafe extern "C" fn(*mut Gate),
    text: unsafe extern "C" fn(*mut Gate, *const u8, usize, *mut i64) -> u32,
    entity: unsafe extern "C" fn(*mut Gate, u32, *mut i64) -> u32,
    kinds: unsafe extern "C" fn(*mut Gate, *mut u8, usize) -> usize,
    policy: unsafe extern "C" fn(*mut Gate, u32, *mut usize) -> *const u8,
    epoch: unsafe extern "C" fn(*mut Gate) -> u64,
    batch_begin: unsafe extern "C" fn(*mut Gate) -> *mut Batch,
    batch_text: unsafe extern "C" fn(*mut Batch, *const u8, usize, *mut i64) -> u32,
    batch_run: unsafe extern "C" fn(*const Batch, usize, *const ApiColumn, *mut u8) -> u32,
    batch_end: unsafe extern "C" fn(*mut Batch),
}

/// A column of a batch. `each` 0: one value for all rows.
#[repr(C)]
struct ApiColumn {
    data: *const u8,
    len: usize,
    each: u32,
}

#[allow(clippy::cast_possible_truncation)] // a table of a dozen pointers
pub(crate) static API: Api = Api {
    abi_version: ABI_VERSION,
    size: size_of::<Api>() as u32,
    allows,
    decide,
    begin,
    text,
    entity,
    kinds,
    policy,
    epoch,
    batch_begin,
    batch_text,
    batch_run,
    batch_end,
};

/// The capsule that `ztfast.gate` and embedders import.
pub(crate) fn capsule(py: Python<'_>) -> PyResult<Bound<'_, PyCapsule>> {
    let pointer = std::ptr::NonNull::from(&API).cast();
    // SAFETY: the table is a static: it outlives every capsule, and nothing writes to it.
    unsafe { PyCapsule::new_with_pointer(py, pointer, c"ztfast._core._C_API") }
}

/// The caller's arguments.
///
/// # Safety
/// `values` points to `len` numbers, or `len` is 0.
unsafe fn numbers<'a>(values: *const i64, len: usize) -> &'a [i64] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(values, len) }
}

unsafe extern "C" fn allows(gate: *mut Gate, session: u64, resource: u32, values: *const i64, len: usize) -> u32 {
    // SAFETY: the header demands a live gate that no other thread uses during the call.
    let gate = unsafe { &mut *gate };
    // SAFETY: the header demands `len` numbers at `values`.
    let values = unsafe { numbers(values, len) };
    gate.allows(SessionId(session), Handle(resource), values) as u32
}

unsafe extern "C" fn decide(
    gate: *mut Gate,
    session: u64,
    resource: u32,
    values: *const i64,
    len: usize,
    determining: *mut Determining,
) -> u32 {
    // SAFETY: as in `allows`; the header demands that `determining` points to a struct of the caller's.
    let (gate, determining) = unsafe { (&mut *gate, &mut *determining) };
    // SAFETY: as in `allows`.
    let values = unsafe { numbers(values, len) };
    gate.decide(SessionId(session), Handle(resource), values, determining) as u32
}

unsafe extern "C" fn begin(gate: *mut Gate) {
    // SAFETY: as in `allows`.
    unsafe { &mut *gate }.begin();
}

/// Stores a text's number; 1 where there is room, else 0.
unsafe extern "C" fn text(gate: *mut Gate, text: *const u8, len: usize, number: *mut i64) -> u32 {
    // SAFETY: as in `allows`; the header demands `len` bytes at `text`, or `len` 0.
    let (gate, bytes) = unsafe { (&mut *gate, if len == 0 { &[] } else { slice::from_raw_parts(text, len) }) };
    let Some(found) = std::str::from_utf8(bytes).ok().and_then(|text| gate.text(text)) else { return 0 };
    // SAFETY: the header demands a number of the caller's.
    unsafe { number.write(found) };
    1
}

/// Stores an entity's number; 1 where the handle is something in this bundle, else 0.
unsafe extern "C" fn entity(gate: *mut Gate, handle: u32, number: *mut i64) -> u32 {
    // SAFETY: as in `allows`.
    let Some(found) = unsafe { &mut *gate }.entity(Handle(handle)) else { return 0 };
    // SAFETY: the header demands a number of the caller's.
    unsafe { number.write(found) };
    1
}

/// Stores the arguments' kinds (`ZTFAST_LONG`, ...); returns how many arguments there are.
unsafe extern "C" fn kinds(gate: *mut Gate, out: *mut u8, room: usize) -> usize {
    // SAFETY: as in `allows`.
    let types = unsafe { &*gate }.types();
    if types.len() <= room && !types.is_empty() {
        // SAFETY: the header demands `room` bytes at `out`.
        let out = unsafe { slice::from_raw_parts_mut(out, types.len()) };
        for (kind, ty) in out.iter_mut().zip(types) {
            *kind = match ty {
                ValueType::Bool => 1,
                ValueType::Long => 2,
                ValueType::String => 3,
                ValueType::Entity(_) => 4,
                ValueType::Decimal => 5,
                ValueType::Datetime => 6,
                ValueType::Duration => 7,
                ValueType::Ip | ValueType::Set(_) | ValueType::Record(_) => 0,
            };
        }
    }
    types.len()
}

/// The id (UTF-8, not terminated) of a policy of the bundle that the gate last decided by.
unsafe extern "C" fn policy(gate: *mut Gate, number: u32, len: *mut usize) -> *const u8 {
    // SAFETY: as in `allows`.
    let snapshot = unsafe { &*gate }.snapshot();
    let id = snapshot.bundle().policy_id(number).unwrap_or_default();
    // SAFETY: the header demands a length of the caller's.
    unsafe { len.write(id.len()) };
    id.as_ptr()
}

unsafe extern "C" fn epoch(gate: *mut Gate) -> u64 {
    // SAFETY: as in `allows`.
    unsafe { &*gate }.epoch()
}

unsafe extern "C" fn batch_begin(gate: *mut Gate) -> *mut Batch {
    // SAFETY: as in `allows`.
    Box::into_raw(Box::new(unsafe { &mut *gate }.batch()))
}

unsafe extern "C" fn batch_end(batch: *mut Batch) {
    // SAFETY: the header demands a pointer from `batch_begin`, given back once.
    drop(unsafe { Box::from_raw(batch) });
}

/// Stores a text's number for the columns of this batch; 1 where there is room, else 0.
unsafe extern "C" fn batch_text(batch: *mut Batch, text: *const u8, len: usize, number: *mut i64) -> u32 {
    // SAFETY: the header demands a live batch that is not running; and `len` bytes at `text`, or `len` 0.
    let (batch, bytes) = unsafe { (&mut *batch, if len == 0 { &[] } else { slice::from_raw_parts(text, len) }) };
    let Some(found) = std::str::from_utf8(bytes).ok().and_then(|text| batch.text(text)) else { return 0 };
    // SAFETY: the header demands a number of the caller's.
    unsafe { number.write(found) };
    1
}

/// Columns: sessions (u64), resources (u32), then one per argument (i64). 0, or 1 where their number does not fit.
unsafe extern "C" fn batch_run(batch: *const Batch, rows: usize, columns: *const ApiColumn, out: *mut u8) -> u32 {
    // SAFETY: the header demands a live batch; it may be shared.
    let batch = unsafe { &*batch };
    // SAFETY: the header demands room for `rows` codes.
    let out = if rows == 0 { &mut [][..] } else { unsafe { slice::from_raw_parts_mut(out, rows) } };
    // SAFETY: the header demands two columns and one per argument.
    let columns = unsafe { slice::from_raw_parts(columns, 2 + batch.types().len()) };
    let [sessions, resources, arguments @ ..] = columns else { return 1 };
    // SAFETY: the header demands these element types, and rows (or one value) in each.
    let (sessions, resources) = unsafe { (column::<u64>(sessions), column::<u32>(resources)) };
    let (Some(sessions), Some(resources)) = (sessions, resources) else { return 1 };
    // SAFETY: as above.
    let arguments: Option<Vec<_>> = arguments.iter().map(|argument| unsafe { column::<i64>(argument) }).collect();
    let Some(arguments) = arguments else { return 1 };
    batch.decide_many(sessions, resources, &arguments, out);
    0
}

/// # Safety
/// The column's data are `len` values of this type.
unsafe fn column<'a, T: Copy>(column: &ApiColumn) -> Option<Column<'a, T>> {
    let data = column.data.cast::<T>();
    let values: &[T] = if column.len == 0 {
        &[]
    } else if data.is_aligned() {
        // SAFETY: the caller's promise, and the alignment was looked at.
        unsafe { slice::from_raw_parts(data, column.len) }
    } else {
        return None;
    };
    Some(if column.each == 0 { Column::all(values) } else { Column::each(values) })
}

// The codes cross the boundary as plain numbers.
const _: () = assert!(Code::Allow as u32 == 1);
