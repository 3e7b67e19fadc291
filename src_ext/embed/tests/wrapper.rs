//! The wrapper passes arguments and results of a table's functions correctly, shown with functions that record their
//! calls.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::{ptr, slice};
use ztfast_embed::{
    ABI_VERSION, AbiError, Api, Code, Column, Determining, Gate, Kind, RawBatch, RawColumn, RawGate, RawValue, Status,
    StepUp, UNDECIDED, Value,
};

thread_local! {
    static CALLS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn record(call: String) {
    CALLS.with_borrow_mut(|calls| calls.push(call));
}

fn calls() -> Vec<String> {
    CALLS.take()
}

unsafe extern "C" fn allows(_: *mut RawGate, session: u64, resource: u64, values: *const i64, count: usize) -> u32 {
    // SAFETY: the wrapper passes a slice.
    let values = unsafe { std::slice::from_raw_parts(values, count) };
    record(format!("allows {session} {resource} {values:?}"));
    if values.len() == 2 { Code::ALLOW.0 } else { Code::CORRUPT.0 }
}

unsafe extern "C" fn decide(
    _: *mut RawGate,
    _: u64,
    _: u64,
    _: *const i64,
    _: usize,
    determining: *mut Determining,
) -> u32 {
    // SAFETY: the wrapper passes a reference.
    let determining = unsafe { &mut *determining };
    (determining.count, determining.policies[0]) = (1, 41);
    Code::FORBID.0
}

unsafe extern "C" fn begin(_: *mut RawGate) -> i32 {
    record("begin".to_owned());
    Status::OK.0
}

unsafe extern "C" fn text(_: *mut RawGate, text: *const u8, len: usize, number: *mut i64) -> i32 {
    if len > 8 {
        return Status::CAPACITY.0;
    }
    // SAFETY: the wrapper passes a slice and a number.
    unsafe { number.write(i64::from(*text)) };
    Status::OK.0
}

unsafe extern "C" fn entity(_: *mut RawGate, handle: u64, place: usize, number: *mut i64) -> i32 {
    if place > 1 {
        return Status::TYPE.0;
    }
    if handle == 0 {
        return Status::HANDLE.0;
    }
    // SAFETY: the wrapper passes a number.
    unsafe { number.write(handle.cast_signed() * 10) };
    Status::OK.0
}

unsafe extern "C" fn literal(_: *const RawGate, _: *const u8, len: usize, number: *mut i64) -> i32 {
    if len > 3 {
        return Status::TEXT.0;
    }
    // SAFETY: the wrapper passes a number.
    unsafe { number.write(-7) };
    Status::OK.0
}

unsafe extern "C" fn kinds(_: *const RawGate, kinds: *mut u8, room: usize, count: *mut usize) -> i32 {
    assert!(room >= 3, "room for all arguments that a gate can have");
    // SAFETY: the array is long enough, and the wrapper passes a count. 200 is a kind of a later version.
    unsafe {
        kinds.copy_from([2_u8, 3, 200].as_ptr(), 3);
        count.write(3);
    }
    Status::OK.0
}

unsafe extern "C" fn policy(_: *const RawGate, policy: u32, id: *mut *const u8, len: *mut usize) -> i32 {
    const ID: &str = "no-penny-limits";
    if policy != 41 {
        return Status::POLICY.0;
    }
    // SAFETY: the wrapper passes both.
    unsafe {
        id.write(ID.as_ptr());
        len.write(ID.len());
    }
    Status::OK.0
}

unsafe extern "C" fn step_up(
    _: *const RawGate,
    policy: u32,
    factors: *mut *const u8,
    len: *mut usize,
    max_age: *mut u64,
) -> i32 {
    const FACTORS: &str = "fido2 pin";
    let (text, seconds) = match policy {
        40 => (FACTORS, 60),
        41 => return Status::OK.0,
        43 => (FACTORS, u64::MAX),
        _ => return Status::POLICY.0,
    };
    // SAFETY: the wrapper passes all three.
    unsafe {
        factors.write(text.as_ptr());
        len.write(text.len());
        max_age.write(seconds);
    }
    Status::OK.0
}

unsafe extern "C" fn generation(_: *const RawGate, generation: *mut u64) -> i32 {
    // SAFETY: the wrapper passes a number.
    unsafe { generation.write(9) };
    Status::OK.0
}

/// Clone a gate. Gates and batches are numbers here: no function reads behind the pointers.
unsafe extern "C" fn gate_clone(gate: *const RawGate, clone: *mut *mut RawGate) -> i32 {
    if gate.is_null() {
        return Status::NULL.0;
    }
    record(format!("clone {}", gate.addr()));
    // SAFETY: the wrapper passes memory for a pointer.
    unsafe { clone.write(ptr::without_provenance_mut(gate.addr() + 1)) };
    Status::OK.0
}

unsafe extern "C" fn gate_free(gate: *mut RawGate) -> i32 {
    record(format!("free {}", gate.addr()));
    Status::OK.0
}

unsafe extern "C" fn batch_begin(_: *mut RawGate, batch: *mut *mut RawBatch) -> i32 {
    // SAFETY: the wrapper passes memory for a pointer.
    unsafe { batch.write(ptr::without_provenance_mut(77)) };
    Status::OK.0
}

unsafe extern "C" fn batch_text(_: *mut RawBatch, _: *const u8, len: usize, number: *mut i64) -> i32 {
    // SAFETY: the wrapper passes a number.
    unsafe { number.write(i64::try_from(len).unwrap_or(0)) };
    Status::OK.0
}

unsafe extern "C" fn batch_run(
    _: *const RawBatch,
    rows: usize,
    columns: *const RawColumn,
    count: usize,
    codes: *mut u8,
) -> i32 {
    // SAFETY: the wrapper passes slices.
    let (columns, codes) =
        unsafe { (std::slice::from_raw_parts(columns, count), std::slice::from_raw_parts_mut(codes, rows)) };
    let laid_out: Vec<(usize, u32)> = columns.iter().map(|column| (column.len, column.each)).collect();
    record(format!("run {rows} {laid_out:?}"));
    codes.fill(1);
    Status::OK.0
}

unsafe extern "C" fn batch_evaluate(
    batch: *const RawBatch,
    rows: usize,
    columns: *const RawColumn,
    count: usize,
    codes: *mut u8,
) -> i32 {
    record("evaluate".to_owned());
    // SAFETY: as in `batch_run`.
    unsafe { batch_run(batch, rows, columns, count, codes) }
}

unsafe extern "C" fn batch_end(batch: *mut RawBatch) -> i32 {
    record(format!("end {}", batch.addr()));
    Status::OK.0
}

extern "C" fn code_name(code: u32) -> *const c_char {
    Code(code).c_name().as_ptr()
}

extern "C" fn status_text(status: i32) -> *const c_char {
    Status(status).c_text().as_ptr()
}

unsafe extern "C" fn refuse(_: *mut RawGate, session: u64, _: u64) -> u32 {
    if session == 0 { Code::UNKNOWN_SESSION.0 } else { Code::BAD_VALUE.0 }
}

unsafe extern "C" fn gate_without(gate: *const RawGate, absent: u64, clone: *mut *mut RawGate) -> i32 {
    if absent == 1 {
        return Status::REQUIRED.0;
    }
    // SAFETY: the wrapper passes memory for a pointer.
    unsafe { clone.write(ptr::without_provenance_mut(gate.addr() + 1)) };
    Status::OK.0
}

unsafe extern "C" fn batch_without(batch: *const RawBatch, absent: u64, clone: *mut *mut RawBatch) -> i32 {
    if absent == 1 {
        return Status::REQUIRED.0;
    }
    // SAFETY: the wrapper passes memory for a pointer.
    unsafe { clone.write(ptr::without_provenance_mut(batch.addr() + 1)) };
    Status::OK.0
}

unsafe extern "C" fn batch_refuse(
    _: *const RawBatch,
    _: usize,
    _: *const RawColumn,
    _: usize,
    _: u32,
    _: *mut u8,
) -> i32 {
    Status::OK.0
}

unsafe extern "C" fn refresh(gate: *mut RawGate, generation: *mut u64) -> i32 {
    record("refresh".to_owned());
    // SAFETY: the wrapper gives a number.
    unsafe { generation.write(10) };
    if gate.addr() == 2001 { Status::STALE.0 } else { Status::OK.0 }
}

unsafe extern "C" fn parse(kind: u32, text: *const u8, len: usize, number: *mut i64) -> i32 {
    // SAFETY: the wrapper gives a text and a number.
    let text = unsafe { slice::from_raw_parts(text, len) };
    record(format!("parse {kind} {}", String::from_utf8_lossy(text)));
    // SAFETY: as above.
    unsafe { number.write(15_000) };
    if text.is_empty() { Status::VALUE.0 } else { Status::OK.0 }
}

unsafe extern "C" fn set(_: *mut RawGate, elements: *const i64, count: usize, place: usize, number: *mut i64) -> i32 {
    if place != 2 {
        return Status::TYPE.0;
    }
    // SAFETY: the wrapper passes a slice, and a number.
    unsafe { number.write(std::slice::from_raw_parts(elements, count).iter().sum()) };
    Status::OK.0
}

unsafe extern "C" fn address(_: *mut RawGate, bytes: *const u8, len: usize, prefix: u32, number: *mut i64) -> i32 {
    // SAFETY: the wrapper passes as many bytes.
    let bytes = unsafe { std::slice::from_raw_parts(bytes, len) };
    if prefix > 8 * u32::try_from(len).expect("an address is short") {
        return Status::HANDLE.0;
    }
    record(format!("address {bytes:?} {prefix}"));
    // SAFETY: the wrapper passes a number.
    unsafe { number.write(3) };
    Status::OK.0
}

unsafe extern "C" fn element_kind(_: *const RawGate, place: usize, kind: *mut u8) -> i32 {
    if place != 2 {
        return Status::TYPE.0;
    }
    // SAFETY: the wrapper passes memory for a kind.
    unsafe { kind.write(3) };
    Status::OK.0
}

unsafe extern "C" fn parse_address(_: *const u8, _: usize, _: *mut u8, _: *mut usize, _: *mut u32) -> i32 {
    Status::VALUE.0
}

/// The clock of gate 1001 is the caller's, and stands at 5.
unsafe extern "C" fn set_time(gate: *mut RawGate, ns: i64, shown: *mut i64) -> i32 {
    record(format!("set_time {ns}"));
    if gate.addr() != 1001 {
        return Status::CLOCK.0;
    }
    // SAFETY: the wrapper passes a local variable.
    unsafe { *shown = ns.max(5) };
    Status::OK.0
}

/// Record the values, and decide nothing about other generations than 9.
unsafe extern "C" fn decide_values(
    _: *mut RawGate,
    session: u64,
    resource: u64,
    values: *const RawValue,
    count: usize,
    generation: u64,
    determining: *mut Determining,
) -> u32 {
    fn shown(value: &RawValue) -> String {
        // SAFETY: the wrapper passes as many bytes, or values.
        let bytes = || unsafe { std::slice::from_raw_parts(value.data.cast::<u8>(), value.length as usize) };
        match value.kind {
            3 => format!("{:?}", std::str::from_utf8(bytes())),
            8 => format!("{:?}/{}", bytes(), value.number),
            9 => {
                // SAFETY: as above.
                let all = unsafe { std::slice::from_raw_parts(value.data.cast::<RawValue>(), value.length as usize) };
                format!("{:?}", all.iter().map(shown).collect::<Vec<_>>())
            }
            _ => value.number.to_string(),
        }
    }
    // SAFETY: the wrapper passes a slice.
    let values = unsafe { std::slice::from_raw_parts(values, count) };
    record(format!("values {session} {resource} {:?}", values.iter().map(shown).collect::<Vec<_>>()));
    if generation != 9 {
        return UNDECIDED;
    }
    // SAFETY: the wrapper passes a reference or NULL.
    if let Some(determining) = unsafe { determining.as_mut() } {
        (determining.count, determining.policies[0]) = (1, 41);
    }
    Code::ALLOW.0
}

#[allow(clippy::cast_possible_truncation)] // a table of some pointers
static FAKE: Api = Api {
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

fn gate() -> Gate {
    // SAFETY: the fake reads behind no pointer.
    unsafe { Gate::clone_of(&FAKE, 1000) }.expect("the fake refuses only NULL")
}

#[test]
fn only_a_table_of_this_version_and_size_is_taken() {
    let taken = |numbers: &[u32; 2]| {
        // SAFETY: only the two numbers are read before the table is refused.
        unsafe { Api::from_capsule(ptr::from_ref(numbers).cast::<c_void>()) }.unwrap_err()
    };
    assert_eq!(taken(&[ABI_VERSION - 1, 4096]), AbiError::Version(ABI_VERSION - 1));
    assert_eq!(taken(&[ABI_VERSION + 1, 4096]), AbiError::Version(ABI_VERSION + 1));
    assert_eq!(taken(&[ABI_VERSION, FAKE.size - 8]), AbiError::Size(FAKE.size - 8));
    assert!(taken(&[ABI_VERSION, 8]).to_string().contains(&format!("{} bytes", FAKE.size)));
    // SAFETY: the fake is a static.
    let api = unsafe { Api::from_capsule(ptr::from_ref(&FAKE).cast()) }.expect("the fake is whole");
    assert!(ptr::eq(api, &raw const FAKE));
}

#[test]
fn a_gate_is_a_clone_and_is_given_back_once() {
    // SAFETY: NULL is refused.
    assert_eq!(unsafe { Gate::clone_of(&FAKE, 0) }.unwrap_err(), Status::NULL);
    let first = gate();
    let second = first.try_clone().expect("the fake clones");
    drop(first);
    drop(second);
    assert_eq!(calls(), ["clone 1000", "clone 1001", "free 1001", "free 1002"]);
}

#[test]
fn decisions_go_through_with_their_numbers_and_names() {
    let mut gate = gate();
    calls();
    assert!(gate.allows(7, 3, &[250_000, -1]).is_allow());
    assert_eq!(gate.allows(7, 3, &[]), Code::CORRUPT);
    let mut determining = Determining::default();
    assert_eq!(gate.decide(7, 3, &[1], &mut determining).name(), "FORBID");
    assert_eq!(determining.as_slice(), [41]);
    assert_eq!(gate.policy(41), Ok("no-penny-limits"));
    assert_eq!(gate.policy(42), Err(Status::POLICY));
    assert_eq!(gate.step_up(40), Ok(Some(StepUp { factors: "fido2 pin", max_age: Some(60) })));
    assert_eq!(gate.step_up(43), Ok(Some(StepUp { factors: "fido2 pin", max_age: None })));
    assert_eq!(gate.step_up(41), Ok(None));
    assert_eq!(gate.step_up(42), Err(Status::POLICY));
    assert_eq!(gate.generation(), Ok(9));
    assert_eq!(calls(), ["allows 7 3 [250000, -1]", "allows 7 3 []"]);
}

#[test]
fn texts_entities_and_kinds_are_values_or_statuses() {
    let mut gate = gate();
    gate.begin().expect("the fake begins");
    assert_eq!(gate.text("FIX"), Ok(i64::from(b'F')));
    assert_eq!(gate.text("too long a text"), Err(Status::CAPACITY));
    assert_eq!((gate.literal("FIX"), gate.literal("too long a text")), (Ok(-7), Err(Status::TEXT)));
    assert_eq!((gate.entity(4, 1), gate.entity(0, 1)), (Ok(40), Err(Status::HANDLE)));
    assert_eq!(gate.entity(4, 2), Err(Status::TYPE));
    assert_eq!(gate.kinds(), Ok(vec![Kind::Long, Kind::String, Kind::Other]));
}

#[test]
fn sets_and_addresses_have_numbers_or_statuses() {
    let mut gate = gate();
    calls();
    assert_eq!((gate.set(&[4, 5], 2), gate.set(&[], 2), gate.set(&[], 1)), (Ok(9), Ok(0), Err(Status::TYPE)));
    assert_eq!((gate.element_kind(2), gate.element_kind(0)), (Ok(Kind::String), Err(Status::TYPE)));
    assert_eq!(gate.address([10, 0, 0, 1].into(), 32), Ok(3));
    assert_eq!(gate.address([0, 0, 0, 0, 0, 0, 0, 1].into(), 128), Ok(3));
    assert_eq!(gate.address([10, 0, 0, 1].into(), 33), Err(Status::HANDLE));
    assert_eq!(calls(), ["address [10, 0, 0, 1] 32", "address [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] 128"]);
}

#[test]
fn values_are_passed_as_what_they_are() {
    let mut gate = gate();
    calls();
    let elements = [Value::number(4), Value::text("é")];
    let values = [Value::text("FIX"), Value::set(&elements), Value::set(&[]), Value::address(&[10, 0, 0, 1], 24)];
    let mut determining = Determining::default();
    assert_eq!(gate.decide_values(7, 3, &values, 9, Some(&mut determining)), Some(Code::ALLOW));
    assert_eq!(determining.as_slice(), [41]);
    assert_eq!(gate.decide_values(7, 3, &[], 9, None), Some(Code::ALLOW));
    assert_eq!(gate.decide_values(7, 3, &[Value::number(-1)], 8, None), None);
    let first = r#"values 7 3 ["Ok(\"FIX\")", "[\"4\", \"Ok(\\\"é\\\")\"]", "[]", "[10, 0, 0, 1]/24"]"#;
    assert_eq!(calls(), [first, "values 7 3 []", r#"values 7 3 ["-1"]"#]);
}

#[test]
fn a_gate_gives_its_engine_the_time_where_that_is_the_callers() {
    let mut gate = gate();
    // SAFETY: the fake looks behind no pointer.
    let mut other = unsafe { Gate::clone_of(&FAKE, 2000) }.expect("the fake refuses only NULL");
    calls();
    assert_eq!((gate.set_time(7), gate.set_time(3), other.set_time(7)), (Ok(7), Ok(5), Err(Status::CLOCK)));
    assert_eq!(calls(), ["set_time 7", "set_time 3", "set_time 7"]);
}

#[test]
fn a_gate_is_refreshed_or_says_that_it_is_stale() {
    let mut gate = gate();
    // SAFETY: the fake looks behind no pointer.
    let mut stale = unsafe { Gate::clone_of(&FAKE, 2000) }.expect("the fake refuses only NULL");
    calls();
    assert_eq!((gate.refresh(), stale.refresh()), (Ok(10), Err(Status::STALE)));
    assert_eq!(calls(), ["refresh", "refresh"]);
}

#[test]
fn texts_are_parsed_by_their_kind() {
    calls();
    assert_eq!(FAKE.parse(Kind::Decimal, "1.5"), Ok(15_000));
    assert_eq!(FAKE.parse(Kind::Duration, ""), Err(Status::VALUE));
    assert_eq!(calls(), ["parse 5 1.5", "parse 7 "]);
}

#[test]
fn what_is_absent_or_out_of_range_has_its_own_way() {
    let mut gate = gate();
    assert_eq!((gate.refuse(1, 2), gate.refuse(0, 2)), (Code::BAD_VALUE, Code::UNKNOWN_SESSION));
    assert!(gate.without(2).is_ok());
    assert_eq!(gate.without(1).unwrap_err(), Status::REQUIRED);
    let batch = gate.batch().expect("the fake makes batches");
    assert!(batch.without(2).is_ok());
    assert_eq!(batch.without(1).unwrap_err(), Status::REQUIRED);
}

#[test]
fn batches_lay_their_columns_out() {
    let mut gate = gate();
    let mut batch = gate.batch().expect("the fake makes batches");
    assert_eq!(batch.text("four"), Ok(4));
    calls();
    let mut codes = [0; 3];
    let (sessions, quantities) = ([1, 2, 3], [10, 20, 30]);
    let ran = batch.run(Column::Each(&sessions), Column::All(&9), &[Column::Each(&quantities)], &mut codes);
    assert_eq!((ran, codes), (Ok(()), [1; 3]));
    let many = [Column::All(&0); 65];
    let refused = batch.run(Column::All(&1), Column::All(&9), &many, &mut codes);
    assert_eq!((refused, codes), (Err(Status::COLUMNS), [12; 3]));
    let principals = Column::Each(&[1, 2, 3]);
    let evaluated = batch.evaluate(principals, Column::All(&9), &[Column::All(&10)], &mut codes);
    assert_eq!((evaluated, codes), (Ok(()), [1; 3]));
    drop(batch);
    let expected = ["run 3 [(3, 1), (1, 0), (3, 1)]", "evaluate", "run 3 [(3, 1), (1, 0), (1, 0)]", "end 77"];
    assert_eq!(calls(), expected);
}

#[test]
fn every_code_and_status_has_a_name_of_its_own() {
    let names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    let texts: Vec<&CStr> = Status::ALL.iter().map(|status| status.c_text()).collect();
    let distinct = |count: usize, all: usize| assert_eq!(count, all);
    distinct(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len());
    distinct(texts.iter().collect::<std::collections::HashSet<_>>().len(), texts.len());
    assert_eq!((Code(200).name(), Status(1).name()), ("UNKNOWN_CODE", "UNKNOWN_STATUS"));
    assert_eq!(Status(1).text(), "an unknown status");
    assert!(!Code(2).is_allow());
}
