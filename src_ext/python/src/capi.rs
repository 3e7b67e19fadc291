//! The table of functions behind `ztfast.h`: the hot path without a Python object.
//!
//! The header documents units, ownership and thread rules, and [`ztfast_embed::Api`] is the table's type; this file
//! fills it in. Every function catches panics: a panic denies, or becomes a status. On the hot path that costs no
//! instruction, since the landing pad replaces the one that would abort the process at the boundary.

mod guard;
mod parsing;
mod passing;

use self::guard::{decided, guarded, number, values};
use self::parsing::{parse, parse_address};
use self::passing::decide_values;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::ffi::c_char;
use std::mem::offset_of;
use std::{ptr, slice};
use ztfast_bundle::ValueType;
use ztfast_embed::{ABI_VERSION, ANY_AGE, Api, CAPSULE, Kind, RawBatch, RawColumn, RawGate, Status};
use ztfast_engine::{
    Batch, Code, Column, Decision, Determining, EntityError, Gate, Handle, MOST_PASSED, PrepareError, Principals,
    QuietGate, QuietLiveGate, SessionId,
};

#[allow(clippy::cast_possible_truncation)] // a table of some pointers
pub(crate) static API: Api = Api {
    abi_version: ABI_VERSION,
    size: size_of::<Api>() as u32,
    allows,
    decide,
    begin,
    text,
    entity,
    literal,
    kinds,
    policy,
    generation,
    gate_clone,
    gate_free,
    batch_begin,
    batch_text,
    batch_run,
    batch_evaluate,
    batch_end,
    code_name,
    status_text,
    refuse,
    gate_without,
    batch_without,
    batch_refuse,
    refresh,
    parse,
    set,
    address,
    element_kind,
    parse_address,
    decide_values,
    set_time,
    step_up,
};

/// The capsule that `ztfast.gate` and embedders import.
pub(crate) fn capsule(py: Python<'_>) -> PyResult<Bound<'_, PyCapsule>> {
    let pointer = ptr::NonNull::from(&API).cast();
    // SAFETY: the table is a static, so it outlives every capsule, and nothing writes to it.
    unsafe { PyCapsule::new_with_pointer(py, pointer, CAPSULE) }
}

unsafe extern "C" fn allows(gate: *mut RawGate, session: u64, resource: u64, data: *const i64, len: usize) -> u32 {
    // SAFETY: the header demands NULL, or a live gate that no other thread uses during the call; and `len` numbers.
    let (gate, values) = unsafe { (gate.cast::<Gate>().as_mut(), values(data, len)) };
    let (Some(gate), Some(values)) = (gate, values) else { return number(Decision::CORRUPT) };
    let (session, resource) = (SessionId(session), Handle(resource));
    // Each is a function of its own, so that no kind of decision saves registers for another one.
    if let Some(gate) = gate.quiet() {
        return allows_quietly(gate, session, resource, values);
    }
    match gate.quiet_live() {
        Some(gate) => allows_by_live(gate, session, resource, values),
        None => allows_otherwise(gate, session, resource, values),
    }
}

// Only `allows` calls these. As no panic leaves a C function, it can jump to them.
#[inline(never)]
#[allow(improper_ctypes_definitions)]
extern "C" fn allows_quietly(gate: QuietGate<'_>, session: SessionId, resource: Handle, values: &[i64]) -> u32 {
    decided(|| gate.allows(session, resource, values))
}

#[inline(never)]
#[allow(improper_ctypes_definitions)]
extern "C" fn allows_by_live(gate: QuietLiveGate<'_>, session: SessionId, resource: Handle, values: &[i64]) -> u32 {
    decided(|| gate.allows(session, resource, values))
}

#[inline(never)]
#[allow(improper_ctypes_definitions)]
extern "C" fn allows_otherwise(gate: &mut Gate, session: SessionId, resource: Handle, values: &[i64]) -> u32 {
    decided(|| gate.allows_otherwise(session, resource, values))
}

unsafe extern "C" fn decide(
    gate: *mut RawGate,
    session: u64,
    resource: u64,
    data: *const i64,
    len: usize,
    determining: *mut ztfast_embed::Determining,
) -> u32 {
    // SAFETY: as in `allows`; the header demands NULL or a struct of the caller's, whose layout is the engine's
    // (below).
    let (gate, values, determining) =
        unsafe { (gate.cast::<Gate>().as_mut(), values(data, len), determining.cast::<Determining>().as_mut()) };
    let Some(determining) = determining else { return number(Decision::CORRUPT) };
    determining.count = 0;
    let (Some(gate), Some(values)) = (gate, values) else { return number(Decision::CORRUPT) };
    decided(|| gate.decide(SessionId(session), Handle(resource), values, determining))
}

unsafe extern "C" fn begin(gate: *mut RawGate) -> i32 {
    // SAFETY: as in `allows`.
    let gate = unsafe { gate.cast::<Gate>().as_mut() };
    guarded(|| {
        gate.ok_or(Status::NULL)?.begin();
        Ok(())
    })
}

/// Store the number that `find` gives for a text.
///
/// # Safety
/// As the header demands: `data` is NULL or points to `len` bytes, `number` is NULL or the caller's.
unsafe fn number_of(
    data: *const u8,
    len: usize,
    number: *mut i64,
    find: impl FnOnce(&str) -> Option<i64>,
) -> Result<(), Status> {
    // SAFETY: the caller's promise.
    let (bytes, number) = unsafe { (values(data, len), number.as_mut()) };
    let (bytes, number) = bytes.zip(number).ok_or(Status::NULL)?;
    let text = std::str::from_utf8(bytes).map_err(|_| Status::UTF8)?;
    *number = find(text).ok_or(Status::CAPACITY)?;
    Ok(())
}

unsafe extern "C" fn text(gate: *mut RawGate, data: *const u8, len: usize, number: *mut i64) -> i32 {
    // SAFETY: as in `allows`.
    let gate = unsafe { gate.cast::<Gate>().as_mut() };
    guarded(|| {
        let gate = gate.ok_or(Status::NULL)?;
        // SAFETY: the header demands what `number_of` does.
        let found = unsafe { number_of(data, len, number, |text| gate.text(text)) };
        // A caller that ignores the status must not decide by a number that was never stored.
        found.inspect_err(|&status| gate.fail(if status == Status::UTF8 { Code::BadValue } else { Code::Corrupt }))
    })
}

unsafe extern "C" fn entity(gate: *mut RawGate, handle: u64, place: usize, number: *mut i64) -> i32 {
    // SAFETY: as in `allows`; `number` is NULL or the caller's.
    let (gate, number) = unsafe { (gate.cast::<Gate>().as_mut(), number.as_mut()) };
    guarded(|| {
        let gate = gate.ok_or(Status::NULL)?;
        let Some(number) = number else {
            gate.fail(Code::Corrupt);
            return Err(Status::NULL);
        };
        *number = gate.entity(Handle(handle), place).map_err(status_of)?;
        Ok(())
    })
}

const fn status_of(why: EntityError) -> Status {
    match why {
        EntityError::Missing => Status::HANDLE,
        EntityError::WrongType => Status::TYPE,
        EntityError::StaleGate => Status::STALE,
        EntityError::TooMany => Status::CAPACITY,
        EntityError::ForeignHandle => Status::FOREIGN,
    }
}

unsafe extern "C" fn set(
    gate: *mut RawGate,
    elements: *const i64,
    count: usize,
    place: usize,
    number: *mut i64,
) -> i32 {
    // SAFETY: as in `allows`; the header demands `count` elements, and `number` is NULL or the caller's.
    let (gate, elements, number) = unsafe { (gate.cast::<Gate>().as_mut(), values(elements, count), number.as_mut()) };
    guarded(|| {
        let gate = gate.ok_or(Status::NULL)?;
        let Some((elements, number)) = elements.zip(number) else {
            gate.fail(Code::Corrupt);
            return Err(Status::NULL);
        };
        *number = gate.set(elements, place).map_err(status_of)?;
        Ok(())
    })
}

unsafe extern "C" fn address(gate: *mut RawGate, bytes: *const u8, len: usize, prefix: u32, number: *mut i64) -> i32 {
    // SAFETY: as in `allows`; the header demands `len` bytes, and `number` is NULL or the caller's.
    let (gate, bytes, number) = unsafe { (gate.cast::<Gate>().as_mut(), values(bytes, len), number.as_mut()) };
    guarded(|| {
        let gate = gate.ok_or(Status::NULL)?;
        let Some((bytes, number)) = bytes.zip(number) else {
            gate.fail(Code::Corrupt);
            return Err(Status::NULL);
        };
        let bits = bytes.iter().fold(0_u128, |bits, &byte| bits << 8 | u128::from(byte));
        // Lengths and prefixes that no address has are refused as addresses that there are not.
        let prefix = if matches!(len, 4 | 16) { u8::try_from(prefix).unwrap_or(u8::MAX) } else { u8::MAX };
        *number = gate.address(bits, len == 16, prefix).map_err(status_of)?;
        Ok(())
    })
}

unsafe extern "C" fn element_kind(gate: *const RawGate, place: usize, kind: *mut u8) -> i32 {
    // SAFETY: as in `allows`; `kind` is NULL or the caller's.
    let (gate, kind) = unsafe { (gate.cast::<Gate>().as_ref(), kind.as_mut()) };
    guarded(|| {
        let (gate, kind) = gate.zip(kind).ok_or(Status::NULL)?;
        if gate.is_stale() {
            return Err(Status::STALE);
        }
        match gate.types().get(place) {
            Some(ValueType::Set(of)) => *kind = kind_of(of) as u8,
            _ => return Err(Status::TYPE),
        }
        Ok(())
    })
}

unsafe extern "C" fn literal(gate: *const RawGate, data: *const u8, len: usize, number: *mut i64) -> i32 {
    // SAFETY: as in `allows`.
    let gate = unsafe { gate.cast::<Gate>().as_ref() };
    guarded(|| {
        let gate = gate.ok_or(Status::NULL)?;
        // SAFETY: the header demands what `number_of` does.
        let found = unsafe { number_of(data, len, number, |text| gate.literal(text)) };
        found.map_err(|status| if status == Status::CAPACITY { Status::TEXT } else { status })
    })
}

unsafe extern "C" fn kinds(gate: *const RawGate, kinds: *mut u8, room: usize, count: *mut usize) -> i32 {
    // SAFETY: as in `allows`; `count` is NULL or the caller's.
    let (gate, count) = unsafe { (gate.cast::<Gate>().as_ref(), count.as_mut()) };
    guarded(|| {
        let (gate, count) = gate.zip(count).ok_or(Status::NULL)?;
        if gate.is_stale() {
            return Err(Status::STALE);
        }
        let types = gate.types();
        *count = types.len();
        if kinds.is_null() {
            return Ok(());
        }
        if types.len() > room {
            return Err(Status::CAPACITY);
        }
        // SAFETY: the header demands `room` bytes at `kinds`, which are at least these, and it is not NULL.
        let kinds = unsafe { slice::from_raw_parts_mut(kinds, types.len()) };
        kinds.iter_mut().zip(types).for_each(|(kind, ty)| *kind = kind_of(ty) as u8);
        Ok(())
    })
}

pub(crate) const fn kind_of(ty: &ValueType) -> Kind {
    match ty {
        ValueType::Bool => Kind::Bool,
        ValueType::Long => Kind::Long,
        ValueType::String => Kind::String,
        ValueType::Entity(_) => Kind::Entity,
        ValueType::Decimal => Kind::Decimal,
        ValueType::Datetime => Kind::Datetime,
        ValueType::Duration => Kind::Duration,
        ValueType::Ip => Kind::Address,
        ValueType::Set(of) if is_set_of_scalars(of) => Kind::Set,
        ValueType::Set(_) | ValueType::Record(_) => Kind::Other,
    }
}

const fn is_set_of_scalars(of: &ValueType) -> bool {
    !matches!(of, ValueType::Ip | ValueType::Set(_) | ValueType::Record(_))
}

unsafe extern "C" fn policy(gate: *const RawGate, number: u32, id: *mut *const u8, len: *mut usize) -> i32 {
    // SAFETY: as in `allows`; `id` and `len` are NULL or the caller's.
    let (gate, out) = unsafe { (gate.cast::<Gate>().as_ref(), id.as_mut().zip(len.as_mut())) };
    guarded(|| {
        let (gate, (id, len)) = gate.zip(out).ok_or(Status::NULL)?;
        let found = gate.snapshot().bundle().policy_id(number).ok_or(Status::POLICY)?;
        (*id, *len) = (found.as_ptr(), found.len());
        Ok(())
    })
}

unsafe extern "C" fn step_up(
    gate: *const RawGate,
    number: u32,
    factors: *mut *const u8,
    len: *mut usize,
    max_age: *mut u64,
) -> i32 {
    // SAFETY: as in `allows`; `factors`, `len` and `max_age` are NULL or the caller's.
    let (gate, out) =
        unsafe { (gate.cast::<Gate>().as_ref(), factors.as_mut().zip(len.as_mut()).zip(max_age.as_mut())) };
    guarded(|| {
        let (gate, ((factors, len), max_age)) = gate.zip(out).ok_or(Status::NULL)?;
        let bundle = gate.snapshot().bundle();
        bundle.policy_id(number).ok_or(Status::POLICY)?;
        (*factors, *len, *max_age) = match bundle.step_up(number) {
            Some(asked) => (asked.factors.as_ptr(), asked.factors.len(), asked.max_age.unwrap_or(ANY_AGE)),
            None => (ptr::null(), 0, ANY_AGE),
        };
        Ok(())
    })
}

unsafe extern "C" fn generation(gate: *const RawGate, generation: *mut u64) -> i32 {
    // SAFETY: as in `allows`; `generation` is NULL or the caller's.
    let (gate, generation) = unsafe { (gate.cast::<Gate>().as_ref(), generation.as_mut()) };
    guarded(|| {
        let (gate, generation) = gate.zip(generation).ok_or(Status::NULL)?;
        *generation = gate.generation();
        Ok(())
    })
}

unsafe extern "C" fn refresh(gate: *mut RawGate, generation: *mut u64) -> i32 {
    // SAFETY: as in `allows`; `generation` is NULL or the caller's.
    let (gate, generation) = unsafe { (gate.cast::<Gate>().as_mut(), generation.as_mut()) };
    guarded(|| {
        let (gate, generation) = gate.zip(generation).ok_or(Status::NULL)?;
        gate.refresh();
        *generation = gate.generation();
        if gate.is_stale() { Err(Status::STALE) } else { Ok(()) }
    })
}

unsafe extern "C" fn set_time(gate: *mut RawGate, ns: i64, shown: *mut i64) -> i32 {
    // SAFETY: as in `allows`; `shown` is NULL or the caller's.
    let (gate, shown) = unsafe { (gate.cast::<Gate>().as_mut(), shown.as_mut()) };
    guarded(|| {
        let (gate, shown) = gate.zip(shown).ok_or(Status::NULL)?;
        *shown = gate.set_time(ns).ok_or(Status::CLOCK)?;
        Ok(())
    })
}

unsafe extern "C" fn gate_clone(gate: *const RawGate, clone: *mut *mut RawGate) -> i32 {
    // SAFETY: as in `allows`; `clone` is NULL or the caller's.
    let (gate, clone) = unsafe { (gate.cast::<Gate>().as_ref(), clone.as_mut()) };
    guarded(|| {
        let (gate, clone) = gate.zip(clone).ok_or(Status::NULL)?;
        *clone = Box::into_raw(Box::new(gate.fork().map_err(|error| match error {
            PrepareError::Memory(_) => Status::CAPACITY,
            _ => Status::STALE,
        })?))
        .cast();
        Ok(())
    })
}

unsafe extern "C" fn refuse(gate: *mut RawGate, session: u64, resource: u64) -> u32 {
    // SAFETY: as in `allows`.
    let Some(gate) = (unsafe { gate.cast::<Gate>().as_mut() }) else { return number(Decision::CORRUPT) };
    decided(|| gate.refuse(SessionId(session), Handle(resource)))
}

unsafe extern "C" fn gate_without(gate: *const RawGate, absent: u64, clone: *mut *mut RawGate) -> i32 {
    // SAFETY: as in `allows`; `clone` is NULL or the caller's.
    let (gate, clone) = unsafe { (gate.cast::<Gate>().as_ref(), clone.as_mut()) };
    guarded(|| {
        let (gate, clone) = gate.zip(clone).ok_or(Status::NULL)?;
        let made = gate.seed().without(absent).map_err(|error| match error {
            PrepareError::Missing { .. } => Status::REQUIRED,
            _ => Status::CAPACITY,
        })?;
        *clone = Box::into_raw(Box::new(made.ok_or(Status::STALE)?)).cast();
        Ok(())
    })
}

/// Drop a value that was passed out as a pointer.
///
/// # Safety
/// The pointer is NULL, or came from `Box::into_raw` of this type, is passed back once, and is no longer in use.
unsafe fn drop_box<T>(pointer: *mut T) -> i32 {
    if pointer.is_null() {
        return Status::NULL.0;
    }
    guarded(|| {
        // SAFETY: the caller's promise; NULL was refused.
        drop(unsafe { Box::from_raw(pointer) });
        Ok(())
    })
}

unsafe extern "C" fn gate_free(gate: *mut RawGate) -> i32 {
    // SAFETY: the header demands NULL or a gate from `gate_clone` that is passed back once and no longer in use.
    unsafe { drop_box(gate.cast::<Gate>()) }
}

unsafe extern "C" fn batch_begin(gate: *mut RawGate, batch: *mut *mut RawBatch) -> i32 {
    // SAFETY: as in `allows`; `batch` is NULL or the caller's.
    let (gate, batch) = unsafe { (gate.cast::<Gate>().as_ref(), batch.as_mut()) };
    guarded(|| {
        let (gate, batch) = gate.zip(batch).ok_or(Status::NULL)?;
        *batch = Box::into_raw(Box::new(gate.batch())).cast();
        Ok(())
    })
}

unsafe extern "C" fn batch_without(batch: *const RawBatch, absent: u64, clone: *mut *mut RawBatch) -> i32 {
    // SAFETY: the header demands NULL, or a live batch that no text is added to meanwhile; `clone` is NULL or the
    // caller's.
    let (batch, clone) = unsafe { (batch.cast::<Batch>().as_ref(), clone.as_mut()) };
    guarded(|| {
        let (batch, clone) = batch.zip(clone).ok_or(Status::NULL)?;
        if batch.refusal().is_some() {
            return Err(Status::STALE);
        }
        *clone = Box::into_raw(Box::new(batch.without(absent).ok_or(Status::REQUIRED)?)).cast();
        Ok(())
    })
}

unsafe extern "C" fn batch_refuse(
    batch: *const RawBatch,
    rows: usize,
    columns: *const RawColumn,
    count: usize,
    sessions: u32,
    codes: *mut u8,
) -> i32 {
    let job = |batch: &Batch,
               principals: Principals<'_>,
               resources: Column<'_, u64>,
               arguments: &[RawColumn],
               decisions: &mut [Decision]| {
        if !arguments.is_empty() {
            return Err(Status::COLUMNS);
        }
        batch.refuse(principals, resources, decisions);
        Ok(())
    };
    // SAFETY: the header demands what `over_rows` does, and that the first column has the type that `sessions` says.
    unsafe {
        over_rows(
            batch,
            rows,
            columns,
            count,
            codes,
            |principals| {
                Ok(if sessions == 0 {
                    Principals::Handles(column(principals, rows)?)
                } else {
                    Principals::Sessions(column(principals, rows)?)
                })
            },
            job,
        )
    }
}

unsafe extern "C" fn batch_text(batch: *mut RawBatch, data: *const u8, len: usize, number: *mut i64) -> i32 {
    // SAFETY: the header demands NULL, or a live batch that does not run.
    let batch = unsafe { batch.cast::<Batch>().as_mut() };
    guarded(|| {
        let batch = batch.ok_or(Status::NULL)?;
        // SAFETY: the header demands what `number_of` does.
        unsafe { number_of(data, len, number, |text| batch.text(text)) }
    })
}

unsafe extern "C" fn batch_end(batch: *mut RawBatch) -> i32 {
    // SAFETY: the header demands NULL or a batch from `batch_begin` that is passed back once and no longer in use.
    unsafe { drop_box(batch.cast::<Batch>()) }
}

unsafe extern "C" fn batch_run(
    batch: *const RawBatch,
    rows: usize,
    columns: *const RawColumn,
    count: usize,
    codes: *mut u8,
) -> i32 {
    // SAFETY: the header demands what `decide_rows` does, and that the first column is of u64.
    unsafe {
        decide_rows(batch, rows, columns, count, codes, |principals| {
            Ok(Principals::Sessions(column(principals, rows)?))
        })
    }
}

unsafe extern "C" fn batch_evaluate(
    batch: *const RawBatch,
    rows: usize,
    columns: *const RawColumn,
    count: usize,
    codes: *mut u8,
) -> i32 {
    // SAFETY: the header demands what `decide_rows` does, and that the first column is of u64.
    unsafe {
        decide_rows(batch, rows, columns, count, codes, |principals| Ok(Principals::Handles(column(principals, rows)?)))
    }
}

/// Decide on each row.
///
/// # Safety
/// The caller keeps the promises of [`over_rows`]; the columns after the second are of i64.
unsafe fn decide_rows<'a>(
    batch: *const RawBatch,
    rows: usize,
    columns: *const RawColumn,
    count: usize,
    codes: *mut u8,
    principals: impl FnOnce(&RawColumn) -> Result<Principals<'a>, Status>,
) -> i32 {
    let job = |batch: &Batch,
               principals: Principals<'_>,
               resources: Column<'_, u64>,
               arguments: &[RawColumn],
               decisions: &mut [Decision]| {
        if arguments.len() != batch.types().len() {
            return Err(Status::COLUMNS);
        }
        // SAFETY: the caller's promise.
        let arguments = arguments.iter().map(|argument| unsafe { column::<i64>(argument, rows) });
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        batch.decide_many(principals, resources, &arguments, decisions).map_err(|_| Status::TYPE)
    };
    // SAFETY: the caller's promise.
    unsafe { over_rows(batch, rows, columns, count, codes, principals, job) }
}

/// Run a function over rows: it gets the sessions or principals, the resources and the other columns.
///
/// # Safety
/// As the header demands, `batch` is NULL or a live batch; `columns` is NULL or points to that many columns, which hold
/// the data that they describe, the second of u64; `codes` is NULL or has room for one code per row.
unsafe fn over_rows<'a>(
    batch: *const RawBatch,
    rows: usize,
    columns: *const RawColumn,
    count: usize,
    codes: *mut u8,
    principals: impl FnOnce(&RawColumn) -> Result<Principals<'a>, Status>,
    job: impl FnOnce(&Batch, Principals<'a>, Column<'_, u64>, &[RawColumn], &mut [Decision]) -> Result<(), Status>,
) -> i32 {
    if rows > isize::MAX as usize {
        return Status::COLUMNS.0;
    }
    if codes.is_null() && rows > 0 {
        return Status::NULL.0;
    }
    let decisions = if rows == 0 {
        &mut [][..]
    } else {
        // A row that no job reaches is denied.
        // SAFETY: the caller's promise, and it is not NULL.
        unsafe { ptr::write_bytes(codes, Decision::CORRUPT.number(), rows) };
        // SAFETY: the caller's promise; a decision is one byte (below), and each of these is one.
        unsafe { slice::from_raw_parts_mut(codes.cast::<Decision>(), rows) }
    };
    // SAFETY: the caller's promise; a batch may be shared.
    let (batch, columns) = unsafe { (batch.cast::<Batch>().as_ref(), values(columns, count)) };
    let status = guarded(|| {
        let (batch, columns) = batch.zip(columns).ok_or(Status::NULL)?;
        if batch.refusal().is_some() {
            batch.refuse_all(decisions);
            return Ok(());
        }
        let [first, resources, arguments @ ..] = columns else { return Err(Status::COLUMNS) };
        // SAFETY: the caller's promise.
        let (principals, resources) = (principals(first)?, unsafe { column::<u64>(resources, rows) }?);
        job(batch, principals, resources, arguments, decisions)
    });
    if status != Status::OK.0 {
        decisions.fill(Decision::CORRUPT);
    }
    status
}

/// # Safety
/// The column's data are values of this type, as many as it says.
unsafe fn column<'a, T: Copy>(column: &RawColumn, rows: usize) -> Result<Column<'a, T>, Status> {
    let data = column.data.cast::<T>();
    if column.len != if column.each == 0 { 1 } else { rows } || !data.is_aligned() {
        return Err(Status::COLUMNS);
    }
    // SAFETY: the caller's promise; the alignment was checked.
    let values = unsafe { values(data, column.len) }.ok_or(Status::NULL)?;
    Ok(if column.each == 0 { Column::all(values) } else { Column::each(values) })
}

extern "C" fn code_name(code: u32) -> *const c_char {
    ztfast_embed::Code(code).c_name().as_ptr()
}

extern "C" fn status_text(status: i32) -> *const c_char {
    Status(status).c_text().as_ptr()
}

// Types that cross the boundary have the same layout on both sides.
const _: () = {
    assert!(size_of::<Decision>() == 1);
    assert!(size_of::<Determining>() == size_of::<ztfast_embed::Determining>());
    assert!(offset_of!(Determining, policies) == offset_of!(ztfast_embed::Determining, policies));
    assert!(align_of::<Determining>() == align_of::<ztfast_embed::Determining>());
    let mut at = 0;
    while at < Code::ALL.len() {
        assert!(Code::ALL[at] as u32 == ztfast_embed::Code::ALL[at].0);
        at += 1;
    }
    assert!(Code::ALL.len() == ztfast_embed::Code::ALL.len());
    assert!(MOST_PASSED == ztfast_embed::MAX_VALUES);
};

const fn is_send<T: Send>() {}
const fn is_sync<T: Sync>() {}
// A gate may move between threads, and several threads may run one batch.
const _: () = {
    is_send::<Gate>();
    is_send::<Batch>();
    is_sync::<Batch>();
};
