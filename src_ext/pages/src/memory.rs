//! Control over memory: prefetching, prefaulting, locking, and large pages.

use crate::process::WipedPages;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use zerocopy::{FromZeros, KnownLayout};

/// How an engine holds the memory that decisions read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Residence {
    /// Prefault every page before the first decision, and those of a new bundle before it decides.
    pub prefault: bool,
    /// Lock the pages in memory, so that the system never takes one away. The engine then decides over a copy of the
    /// bundle: the system does not count locks, so an engine that unlocks shared pages would unlock them for all.
    pub locked: bool,
    /// Decide over a copy of the bundle in large pages.
    pub huge_pages: bool,
}

impl Default for Residence {
    fn default() -> Self {
        Self { prefault: true, locked: false, huge_pages: false }
    }
}

/// The system refused memory, or refused to lock it.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The system has too little memory.
    #[error("the system has no {bytes} bytes of memory for the {what}: {source}")]
    Missing {
        /// The purpose of the memory.
        what: &'static str,
        /// The bytes requested.
        bytes: usize,
        /// The system's error.
        source: io::Error,
    },
    /// The process may not lock this much.
    #[error(
        "the system does not lock the {bytes} bytes of the {what} in memory: {source}. This process may lock {limit} \
         bytes (RLIMIT_MEMLOCK): raise that (`ulimit -l`, LimitMEMLOCK= of a systemd unit), give the process \
         CAP_IPC_LOCK, or make a smaller engine (sessions=, handles=)"
    )]
    Unlocked {
        /// The purpose of the memory.
        what: &'static str,
        /// The size of the memory.
        bytes: usize,
        /// The bytes that the process may lock altogether.
        limit: u64,
        /// The system's error.
        source: io::Error,
    },
}

/// A type that consists of atomics only, for which zeros are valid at any time.
pub trait Clearable {}

/// How decisions use some memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// They read it.
    Read,
    /// They write it, and it is exclusively borrowed while it is made resident.
    Write,
    /// It consists of atomics, which others read and write meanwhile.
    Shared,
}

/// The pages of some memory, resident as requested until this is dropped. It must be dropped before the memory.
#[derive(Debug, Default)]
pub struct Resident {
    bytes: Range<usize>,
    locked: bool,
}

impl Resident {
    /// Make memory resident that decisions only read.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn read<T>(what: &'static str, all: &[T], residence: Residence) -> Result<Self, MemoryError> {
        // SAFETY: the memory is borrowed, and is not written.
        unsafe { Self::new(what, all.as_ptr().cast_mut().cast(), size_of_val(all), residence, Access::Read) }
    }

    /// Make memory resident that decisions also write.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn write<T>(what: &'static str, all: &mut [T], residence: Residence) -> Result<Self, MemoryError> {
        // SAFETY: the memory is exclusively borrowed.
        unsafe { Self::new(what, all.as_mut_ptr().cast(), size_of_val(all), residence, Access::Write) }
    }

    /// Make memory resident that consists of atomics, so that others may read and write it meanwhile.
    ///
    /// # Errors
    /// [`MemoryError`].
    ///
    /// # Safety
    /// There are `bytes` bytes at `start`, which hold atomics, and which this process may write if `write`.
    pub(crate) unsafe fn mapped(
        what: &'static str,
        start: *mut u8,
        bytes: usize,
        how: Residence,
        write: bool,
    ) -> Result<Self, MemoryError> {
        // SAFETY: the caller owns the memory. Locking and populating change no content, nor does touching it here.
        unsafe { Self::new(what, start, bytes, how, if write { Access::Shared } else { Access::Read }) }
    }

    /// # Safety
    /// There are `bytes` bytes at `start`, and they are borrowed as the access needs.
    unsafe fn new(
        what: &'static str,
        start: *mut u8,
        bytes: usize,
        how: Residence,
        access: Access,
    ) -> Result<Self, MemoryError> {
        let mut resident = Self { bytes: start.addr()..start.addr() + bytes, locked: false };
        if bytes == 0 {
            return Ok(resident);
        }
        if how.locked {
            let pages = resident.pages();
            // SAFETY: locking changes no content, and the pages contain memory that is borrowed.
            if unsafe { libc::mlock(pages.start as *const libc::c_void, pages.len()) } != 0 {
                let source = io::Error::last_os_error();
                return Err(MemoryError::Unlocked { what, bytes, limit: lock_limit(), source });
            }
            resident.locked = true;
        }
        if how.prefault {
            // SAFETY: the caller borrows these bytes.
            unsafe { resident.prefault(start, access) }.map_err(|source| MemoryError::Missing {
                what,
                bytes,
                source,
            })?;
        }
        Ok(resident)
    }

    /// # Safety
    /// The bytes are at `start`, and are borrowed as the access needs.
    unsafe fn prefault(&self, start: *mut u8, access: Access) -> io::Result<()> {
        // Miri knows no advice about memory, here and below.
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            let pages = self.pages();
            let is_read = access == Access::Read;
            let advice = if is_read { libc::MADV_POPULATE_READ } else { libc::MADV_POPULATE_WRITE };
            // SAFETY: the pages contain memory that the caller borrows; populating them changes no content.
            if unsafe { libc::madvise(pages.start as *mut libc::c_void, pages.len(), advice) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            // Kernels before 5.14 lack this advice, and some sandboxes refuse it: then each page is touched.
            if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EFAULT | libc::EHWPOISON)) {
                return Err(error);
            }
        }
        let offsets = (0..self.bytes.len()).step_by(page()).chain([self.bytes.len() - 1]);
        for offset in offsets {
            // SAFETY: the offset lies within the bytes at `start`, which are borrowed as this access needs. They hold a
            // value or are uninitialized, and the same byte is written back.
            unsafe {
                let byte = start.add(offset);
                if access == Access::Shared {
                    // Another process may store meanwhile, which must not be undone.
                    AtomicU8::from_ptr(byte).fetch_or(0, Ordering::Relaxed);
                    continue;
                }
                let byte = byte.cast::<std::mem::MaybeUninit<u8>>();
                let value = byte.read_volatile();
                if access == Access::Write {
                    byte.write_volatile(value);
                }
            }
        }
        Ok(())
    }

    /// Return the pages to the system, locked or not, and keep the addresses: from now on the memory reads as zeros.
    ///
    /// Other threads may read meanwhile: they read zeros or the old content.
    pub fn discard(&self, all: &[impl Clearable]) {
        debug_assert_eq!(self.bytes.start, all.as_ptr().addr());
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            let (start, end) = (self.bytes.start.next_multiple_of(page()), self.bytes.end / page() * page());
            if start < end {
                if self.locked {
                    // SAFETY: unlocking changes no content.
                    let _ = unsafe { libc::munlock(start as *const libc::c_void, end - start) };
                }
                // SAFETY: the pages lie within the slice, whose elements are atomics that may be zero at any time, so
                // pages of zeros are valid elements. Pages that the system does not take keep their content, which is
                // also valid.
                let _ = unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
            }
        }
    }

    /// Return the size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Return the number of locked bytes.
    #[must_use]
    pub fn locked(&self) -> usize {
        if self.locked { self.size() } else { 0 }
    }

    /// Return the pages that contain the bytes.
    fn pages(&self) -> Range<usize> {
        let page = page();
        self.bytes.start / page * page..self.bytes.end.next_multiple_of(page)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        if self.locked {
            // The first and the last page may contain other locked memory: these stay locked.
            let (start, end) = (self.bytes.start.next_multiple_of(page()), self.bytes.end / page() * page());
            if start < end {
                // SAFETY: unlocking changes no content. Pages that cannot be unlocked stay locked, which does no harm.
                let _ = unsafe { libc::munlock(start as *const libc::c_void, end - start) };
            }
        }
    }
}

fn page() -> usize {
    // SAFETY: the call has no arguments in memory.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn lock_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is exclusively borrowed during the call.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    if status == 0 { limit.rlim_cur } else { 0 }
}

/// Return how much of this memory is in large pages now, as far as the system tells.
pub fn in_huge_pages<'a>(all: impl Iterator<Item = &'a Resident>) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let ranges: Vec<Range<usize>> = all.map(|resident| resident.bytes.clone()).collect();
    let (mut huge, mut within) = (0, 0);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(first), second) = (words.next(), words.next()) else { continue };
        if let Some((start, end)) = first.split_once('-').and_then(|(start, end)| {
            Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
        }) {
            // A mapping may also contain other memory: at most the part that is ours counts.
            within = ranges.iter().map(|ours| ours.end.min(end).saturating_sub(ours.start.max(start))).sum();
        } else if matches!(first, "AnonHugePages:" | "Private_Hugetlb:") {
            let kib: usize = second.and_then(|number| number.parse().ok()).unwrap_or_default();
            huge += (kib << 10).min(within);
        }
    }
    huge
}

/// Fail if the system could not provide this much memory now. Callers check this before they make many small
/// allocations, which cannot fail gracefully.
///
/// # Errors
/// [`MemoryError`].
pub fn ensure_available(what: &'static str, bytes: usize) -> Result<(), MemoryError> {
    let missing = |_| MemoryError::Missing { what, bytes, source: io::ErrorKind::OutOfMemory.into() };
    let mut all = Vec::<u8>::new();
    all.try_reserve_exact(bytes).map_err(missing)?;
    // The compiler may remove an unused allocation and assume that it succeeded.
    std::hint::black_box(&mut all);
    Ok(())
}

/// Prefetch an element. This does nothing if there is no such element.
#[inline]
pub fn prefetch<T>(all: &[T], at: usize) {
    let Some(element) = all.get(at) else { return };
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching has no effect that the program could see, and the address is that of an element.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(element).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = element;
}

/// Allocate a table of zeros. Return it with its pages, which must be dropped before it.
///
/// Capacity that is not prefaulted takes no memory until it is used. Large pages are requested in any case, because a
/// table is read at random, and a processor caches the addresses of few small pages.
///
/// # Errors
/// [`MemoryError`].
pub fn table<T: FromZeros>(
    what: &'static str,
    capacity: usize,
    residence: Residence,
) -> Result<(Box<[T]>, Resident), MemoryError>
where
    [T]: KnownLayout<PointerMetadata = usize>,
{
    let bytes = capacity.saturating_mul(size_of::<T>());
    let mut slots = <[T]>::new_box_zeroed_with_elems(capacity).map_err(|_| MemoryError::Missing {
        what,
        bytes,
        source: io::ErrorKind::OutOfMemory.into(),
    })?;
    advise_huge_pages(&mut slots);
    let resident = Resident::write(what, &mut slots, residence)?;
    Ok((slots, resident))
}

/// Allocate a table of zeros as [`table`] does, in pages that become zeros in a forked child.
///
/// # Errors
/// [`MemoryError`].
pub fn wiped_table<T: FromZeros>(
    what: &'static str,
    capacity: usize,
    residence: Residence,
) -> Result<(WipedPages<T>, Resident), MemoryError> {
    let bytes = capacity.saturating_mul(size_of::<T>());
    let mut slots = WipedPages::new(capacity).map_err(|source| MemoryError::Missing { what, bytes, source })?;
    advise_huge_pages(slots.as_mut());
    let resident = Resident::write(what, slots.as_mut(), residence)?;
    Ok((slots, resident))
}

/// Advise the system to use large pages, where one fits. The system may ignore this.
fn advise_huge_pages<T>(table: &mut [T]) {
    advise_huge(table.as_mut_ptr().cast(), size_of_val(table));
}

/// As above, for some bytes. This changes no content.
pub(crate) fn advise_huge(start: *mut u8, bytes: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let (start, end) = (start.addr().next_multiple_of(page()), start.addr() + bytes);
        if let Some(len) = (end / page() * page()).checked_sub(start).filter(|&len| len >= 2 << 20) {
            // SAFETY: MADV_HUGEPAGE changes no content.
            let _ = unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(any(not(target_os = "linux"), miri))]
    let _ = (start, bytes);
}
