//! The table of functions, as it lies in memory. `ztfast.h` declares it in C, with units, ownership and thread rules.

use crate::code::{Kind, Status};
use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::marker::{PhantomData, PhantomPinned};

/// The name of the capsule that holds the table.
pub const CAPSULE: &CStr = c"ztfast._core._C_API";
/// The version of the table. It changes when an entry changes its meaning; new entries only make the table longer.
pub const ABI_VERSION: u32 = 3;
/// The most arguments of a gate.
pub const MAX_ARGUMENTS: usize = 64;
/// The most values that `decide_values` takes.
pub const MAX_VALUES: usize = 16;
/// The number of policies that [`Determining`] can hold.
pub const MAX_DETERMINING: usize = 64;

/// What `decide_values` returns if it decides nothing.
pub const UNDECIDED: u32 = 256;

/// Stands for "any time ago" in what `step_up` gives.
pub const ANY_AGE: u64 = u64::MAX;

/// Stands beside a text of which the caller knows that the bundle of this generation lacks it.
pub const UNKNOWN_TEXT: i64 = -1;
/// Added to the kind of a value that the gate may know from before.
pub const REMEMBERED: u32 = 256;

/// A gate of the core. It is only used behind a pointer.
#[repr(C)]
pub struct RawGate {
    _opaque: [u8; 0],
    _not_send_not_sync_not_unpin: PhantomData<(*mut u8, PhantomPinned)>,
}

/// A batch of the core. It is only used behind a pointer.
#[repr(C)]
pub struct RawBatch {
    _opaque: [u8; 0],
    _not_send_not_sync_not_unpin: PhantomData<(*mut u8, PhantomPinned)>,
}

/// The numbers of the policies that determine a decision.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Determining {
    /// How many policies there are. Those beyond [`MAX_DETERMINING`] are counted but not kept.
    pub count: u32,
    /// Their numbers, in the order of the policies.
    pub policies: [u32; MAX_DETERMINING],
}

impl Default for Determining {
    fn default() -> Self {
        Self { count: 0, policies: [0; MAX_DETERMINING] }
    }
}

impl Determining {
    /// Return the numbers that were kept.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        self.policies.get(..self.count as usize).unwrap_or(&self.policies)
    }
}

/// A column of a batch, as the table takes it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct RawColumn {
    /// `len` values, aligned for their type.
    pub data: *const c_void,
    /// The number of values.
    pub len: usize,
    /// 1 for a value per row; 0 if the first value is for all rows.
    pub each: u32,
}

/// A value of a decision, as the table takes it with `decide_values`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct RawValue {
    /// A number, the handle of an entity, the number of a text that the bundle holds, or the length of an address's
    /// prefix. With the bytes of a text: 0, or [`UNKNOWN_TEXT`].
    pub number: i64,
    /// By `kind` the bytes of a text or an address, or the elements of a set.
    pub data: *const c_void,
    /// The number of bytes or elements.
    pub length: u32,
    /// [`Kind::String`](crate::Kind::String), [`Kind::Set`](crate::Kind::Set) or
    /// [`Kind::Address`](crate::Kind::Address) if `data` points to the value; otherwise 0. With [`REMEMBERED`] the
    /// `number` of a set, or of a text that the bundle lacks, is the caller's own for this value: no other set or text
    /// has it that is passed to this gate.
    pub kind: u32,
}

/// The table. [`Api::from_capsule`] returns it; [`crate::Gate`] and [`crate::Batch`] call it.
#[repr(C)]
#[derive(Debug)]
pub struct Api {
    /// The core's [`ABI_VERSION`].
    pub abi_version: u32,
    /// The size of this struct in the core.
    pub size: u32,
    /// `allows(gate, session, resource, values, count)`: a code.
    pub allows: unsafe extern "C" fn(*mut RawGate, u64, u64, *const i64, usize) -> u32,
    /// `decide(gate, session, resource, values, count, determining)`: a code.
    pub decide: unsafe extern "C" fn(*mut RawGate, u64, u64, *const i64, usize, *mut Determining) -> u32,
    /// `begin(gate)`.
    pub begin: unsafe extern "C" fn(*mut RawGate) -> i32,
    /// `text(gate, text, len, &number)`.
    pub text: unsafe extern "C" fn(*mut RawGate, *const u8, usize, *mut i64) -> i32,
    /// `entity(gate, handle, place, &number)`.
    pub entity: unsafe extern "C" fn(*mut RawGate, u64, usize, *mut i64) -> i32,
    /// `literal(gate, text, len, &number)`.
    pub literal: unsafe extern "C" fn(*const RawGate, *const u8, usize, *mut i64) -> i32,
    /// `kinds(gate, kinds, room, &count)`.
    pub kinds: unsafe extern "C" fn(*const RawGate, *mut u8, usize, *mut usize) -> i32,
    /// `policy(gate, policy, &id, &len)`.
    pub policy: unsafe extern "C" fn(*const RawGate, u32, *mut *const u8, *mut usize) -> i32,
    /// `generation(gate, &generation)`.
    pub generation: unsafe extern "C" fn(*const RawGate, *mut u64) -> i32,
    /// `gate_clone(gate, &clone)`.
    pub gate_clone: unsafe extern "C" fn(*const RawGate, *mut *mut RawGate) -> i32,
    /// `gate_free(gate)`.
    pub gate_free: unsafe extern "C" fn(*mut RawGate) -> i32,
    /// `batch_begin(gate, &batch)`.
    pub batch_begin: unsafe extern "C" fn(*mut RawGate, *mut *mut RawBatch) -> i32,
    /// `batch_text(batch, text, len, &number)`.
    pub batch_text: unsafe extern "C" fn(*mut RawBatch, *const u8, usize, *mut i64) -> i32,
    /// `batch_run(batch, rows, columns, count, codes)`.
    pub batch_run: unsafe extern "C" fn(*const RawBatch, usize, *const RawColumn, usize, *mut u8) -> i32,
    /// `batch_evaluate(batch, rows, columns, count, codes)`.
    pub batch_evaluate: unsafe extern "C" fn(*const RawBatch, usize, *const RawColumn, usize, *mut u8) -> i32,
    /// `batch_end(batch)`.
    pub batch_end: unsafe extern "C" fn(*mut RawBatch) -> i32,
    /// `code_name(code)`: static, ends with NUL, never NULL.
    pub code_name: extern "C" fn(u32) -> *const c_char,
    /// `status_text(status)`: static, ends with NUL, never NULL.
    pub status_text: extern "C" fn(i32) -> *const c_char,
    /// `refuse(gate, session, resource)`: a code.
    pub refuse: unsafe extern "C" fn(*mut RawGate, u64, u64) -> u32,
    /// `gate_without(gate, absent, &clone)`.
    pub gate_without: unsafe extern "C" fn(*const RawGate, u64, *mut *mut RawGate) -> i32,
    /// `batch_without(batch, absent, &clone)`.
    pub batch_without: unsafe extern "C" fn(*const RawBatch, u64, *mut *mut RawBatch) -> i32,
    /// `batch_refuse(batch, rows, columns, count, sessions, codes)`.
    pub batch_refuse: unsafe extern "C" fn(*const RawBatch, usize, *const RawColumn, usize, u32, *mut u8) -> i32,
    /// `refresh(gate, &generation)`.
    pub refresh: unsafe extern "C" fn(*mut RawGate, *mut u64) -> i32,
    /// `parse(kind, text, len, &number)`.
    pub parse: unsafe extern "C" fn(u32, *const u8, usize, *mut i64) -> i32,
    /// `set(gate, elements, count, place, &number)`.
    pub set: unsafe extern "C" fn(*mut RawGate, *const i64, usize, usize, *mut i64) -> i32,
    /// `address(gate, bytes, len, prefix, &number)`.
    pub address: unsafe extern "C" fn(*mut RawGate, *const u8, usize, u32, *mut i64) -> i32,
    /// `element_kind(gate, place, &kind)`.
    pub element_kind: unsafe extern "C" fn(*const RawGate, usize, *mut u8) -> i32,
    /// `parse_address(text, len, bytes, &bytes_len, &prefix)`.
    pub parse_address: unsafe extern "C" fn(*const u8, usize, *mut u8, *mut usize, *mut u32) -> i32,
    /// `decide_values(gate, session, resource, values, count, generation, determining)`: a code, or [`UNDECIDED`].
    pub decide_values:
        unsafe extern "C" fn(*mut RawGate, u64, u64, *const RawValue, usize, u64, *mut Determining) -> u32,
    /// `set_time(gate, ns, &shown)`.
    pub set_time: unsafe extern "C" fn(*mut RawGate, i64, *mut i64) -> i32,
    /// `step_up(gate, policy, &factors, &len, &max_age)`.
    pub step_up: unsafe extern "C" fn(*const RawGate, u32, *mut *const u8, *mut usize, *mut u64) -> i32,
}

/// Why a table cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbiError {
    /// The pointer is null: the capsule could not be imported.
    Null,
    /// The core's table has this other version.
    Version(u32),
    /// The core's table has only this many bytes.
    Size(u32),
}

impl fmt::Display for AbiError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => write!(out, "no table of functions: import the capsule {CAPSULE:?} first"),
            Self::Version(found) => write!(
                out,
                "built for version {ABI_VERSION} of ztfast's functions, but ztfast._core has version {found}: \
                 build against the ztfast that is installed"
            ),
            Self::Size(found) => write!(
                out,
                "built for a table of {} bytes, but that of ztfast._core has {found}: \
                 install the ztfast that this was built against, or a newer one",
                size_of::<Api>()
            ),
        }
    }
}

impl std::error::Error for AbiError {}

impl Api {
    /// Return the table in the capsule [`CAPSULE`], if this crate can call it.
    ///
    /// # Safety
    /// The pointer is null, or was returned by `PyCapsule_Import` (or `PyCapsule_GetPointer`) for the capsule
    /// [`CAPSULE`]: it points to a table that is never changed or freed while the process lives.
    ///
    /// # Errors
    /// [`AbiError`] if the core's table has another version or is shorter.
    ///
    /// ```
    /// use ztfast_embed::{AbiError, Api};
    /// // SAFETY: null is refused.
    /// assert_eq!(unsafe { Api::from_capsule(std::ptr::null()) }.unwrap_err(), AbiError::Null);
    /// ```
    pub unsafe fn from_capsule(pointer: *const c_void) -> Result<&'static Self, AbiError> {
        if pointer.is_null() {
            return Err(AbiError::Null);
        }
        // SAFETY: the caller promises this. Every version of the table begins with these two numbers. Other entries may
        // be missing, so no reference to the whole table is made before these were checked.
        let [version, size] = unsafe { pointer.cast::<[u32; 2]>().read() };
        if version != ABI_VERSION {
            return Err(AbiError::Version(version));
        }
        if (size as usize) < size_of::<Self>() {
            return Err(AbiError::Size(size));
        }
        // SAFETY: the caller promises this; version and size show that all entries exist.
        Ok(unsafe { &*pointer.cast::<Self>() })
    }

    /// Return the number of a decimal, datetime or duration that is given as a text.
    ///
    /// # Errors
    /// [`Status::VALUE`] if the text is no such value or is out of its range: [`crate::Gate::refuse`] gives the denial.
    /// [`Status::TYPE`] for other kinds.
    pub fn parse(&self, kind: Kind, text: &str) -> Result<i64, Status> {
        let mut number = 0;
        // SAFETY: the text is borrowed for the call, and the number is a local variable.
        let status = unsafe { (self.parse)(kind as u32, text.as_ptr(), text.len(), &raw mut number) };
        Status(status).ok()?;
        Ok(number)
    }
}
