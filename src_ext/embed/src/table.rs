//! The table of functions, as it lies in memory. `ztfast.h` says the same in C; units, ownership and thread rules are there.

use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::marker::{PhantomData, PhantomPinned};

/// Name of the capsule that holds the table.
pub const CAPSULE: &CStr = c"ztfast._core._C_API";
/// Version of the table. It changes when an entry changes its meaning; new entries only make the table longer.
pub const ABI_VERSION: u32 = 3;
/// Arguments that a gate can have, at most.
pub const MAX_ARGUMENTS: usize = 64;
/// Determining policies that [`Determining`] has room for.
pub const MAX_DETERMINING: usize = 64;

/// A gate of the core's: only ever behind a pointer.
#[repr(C)]
pub struct RawGate {
    _opaque: [u8; 0],
    _not_send_not_sync_not_unpin: PhantomData<(*mut u8, PhantomPinned)>,
}

/// A batch of the core's: only ever behind a pointer.
#[repr(C)]
pub struct RawBatch {
    _opaque: [u8; 0],
    _not_send_not_sync_not_unpin: PhantomData<(*mut u8, PhantomPinned)>,
}

/// The policies that determined a decision, by number.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Determining {
    /// How many there are; more than [`MAX_DETERMINING`] are counted but not kept.
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
    /// The numbers that are kept.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        self.policies.get(..self.count as usize).unwrap_or(&self.policies)
    }
}

/// A column of a batch as the table takes it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct RawColumn {
    /// `len` values, aligned as their type is.
    pub data: *const c_void,
    /// How many there are.
    pub len: usize,
    /// 1: a value per row. 0: the first value is for all rows.
    pub each: u32,
}

/// The table. Take it by [`Api::from_capsule`]; [`crate::Gate`] and [`crate::Batch`] call it.
#[repr(C)]
#[derive(Debug)]
pub struct Api {
    /// [`ABI_VERSION`] of the core.
    pub abi_version: u32,
    /// Bytes of this struct as the core knows it.
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
}

/// Why a table cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbiError {
    /// The pointer is null: the capsule could not be imported.
    Null,
    /// The core has another version of the table, given here.
    Version(u32),
    /// The core's table has only so many bytes, given here.
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
    /// The table behind the capsule [`CAPSULE`], if it is one that this crate knows how to call.
    ///
    /// # Safety
    /// The pointer is null, or what `PyCapsule_Import` (or `PyCapsule_GetPointer`) gave for the capsule [`CAPSULE`]: it
    /// points to a table that is never changed or freed as long as the process lives.
    ///
    /// # Errors
    /// [`AbiError`] where the core's table is another version or shorter.
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
        // SAFETY: the caller's promise. Every version of the table begins with these two numbers; the rest may be missing
        // yet, so there is no reference to the whole before they were looked at.
        let [version, size] = unsafe { pointer.cast::<[u32; 2]>().read() };
        if version != ABI_VERSION {
            return Err(AbiError::Version(version));
        }
        if (size as usize) < size_of::<Self>() {
            return Err(AbiError::Size(size));
        }
        // SAFETY: the caller's promise; version and size say that all entries are there.
        Ok(unsafe { &*pointer.cast::<Self>() })
    }
}
