//! What is asked of memory beyond reading it: to be near soon, to be there at all, to stay, and to come in large pages.

use crate::process::WipedPages;
use std::io;
use std::ops::Range;
use zerocopy::{FromZeros, KnownLayout};

/// How an engine holds the memory that decisions read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Residence {
    /// Have every page there before the first decision, and of a bundle that is swapped in before it decides.
    pub prefault: bool,
    /// Lock the pages in memory, so that the system never takes one away. The engine then decides over a copy of the
    /// bundle, because the system does not count locks: whoever gives up another engine's would give up these.
    pub locked: bool,
    /// Decide over a copy of the bundle in large pages.
    pub huge_pages: bool,
}

impl Default for Residence {
    fn default() -> Self {
        Self { prefault: true, locked: false, huge_pages: false }
    }
}

/// The system refused memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// There is not so much.
    #[error("the system has no {bytes} bytes of memory for the {what}: {source}")]
    Missing {
        /// What it was wanted for.
        what: &'static str,
        /// How much was wanted.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
    /// So much must not be locked.
    #[error(
        "the system does not lock the {bytes} bytes of the {what} in memory: {source}. This process may lock {limit} \
         bytes (RLIMIT_MEMLOCK): raise that (`ulimit -l`, LimitMEMLOCK= of a systemd unit), give the process \
         CAP_IPC_LOCK, or make a smaller engine (sessions=, handles=)"
    )]
    Unlocked {
        /// What was to be locked.
        what: &'static str,
        /// How much of it there is.
        bytes: usize,
        /// What the process may lock altogether.
        limit: u64,
        /// What the system said.
        source: io::Error,
    },
}

/// Nothing but atomics for which zeros are good at any time.
pub trait Clearable {}

/// The pages of some memory, held as it was asked for until this is dropped: which must be before the memory is.
#[derive(Debug, Default)]
pub struct Resident {
    bytes: Range<usize>,
    locked: bool,
}

impl Resident {
    /// Hold memory that decisions only read.
    pub fn read<T>(what: &'static str, all: &[T], residence: Residence) -> Result<Self, MemoryError> {
        // SAFETY: the memory is borrowed, and is not to be written.
        unsafe { Self::new(what, all.as_ptr().cast_mut().cast(), size_of_val(all), residence, false) }
    }

    /// Hold memory that decisions also write.
    pub fn write<T>(what: &'static str, all: &mut [T], residence: Residence) -> Result<Self, MemoryError> {
        // SAFETY: the memory is exclusively borrowed.
        unsafe { Self::new(what, all.as_mut_ptr().cast(), size_of_val(all), residence, true) }
    }

    /// # Safety
    /// There are so many bytes at `start`, and they are borrowed, exclusively if `write`.
    unsafe fn new(
        what: &'static str,
        start: *mut u8,
        bytes: usize,
        how: Residence,
        write: bool,
    ) -> Result<Self, MemoryError> {
        let mut held = Self { bytes: start.addr()..start.addr() + bytes, locked: false };
        if bytes == 0 {
            return Ok(held);
        }
        if how.locked {
            let pages = held.pages();
            // SAFETY: locking changes no content, and the pages hold memory that is borrowed.
            if unsafe { libc::mlock(pages.start as *const libc::c_void, pages.len()) } != 0 {
                let source = io::Error::last_os_error();
                return Err(MemoryError::Unlocked { what, bytes, limit: lock_limit(), source });
            }
            held.locked = true;
        }
        if how.prefault {
            // SAFETY: the caller's borrow is of these bytes.
            unsafe { held.prefault(start, write) }.map_err(|source| MemoryError::Missing { what, bytes, source })?;
        }
        Ok(held)
    }

    /// # Safety
    /// The bytes are at `start`, and are borrowed, exclusively if `write`.
    unsafe fn prefault(&self, start: *mut u8, write: bool) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            let pages = self.pages();
            let advice = if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
            // SAFETY: the pages hold memory that the caller borrows; populating them changes no content.
            if unsafe { libc::madvise(pages.start as *mut libc::c_void, pages.len(), advice) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            // Kernels before 5.14 do not know it, and some sandboxes refuse it: then each page is touched.
            if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EFAULT | libc::EHWPOISON)) {
                return Err(error);
            }
        }
        let offsets = (0..self.bytes.len()).step_by(page()).chain([self.bytes.len() - 1]);
        for offset in offsets {
            // SAFETY: the offset lies within the bytes at `start`, which are borrowed as it is needed here; they hold a
            // value or are room for one, and get back what they held.
            unsafe {
                let byte = start.add(offset).cast::<std::mem::MaybeUninit<u8>>();
                let value = byte.read_volatile();
                if write {
                    byte.write_volatile(value);
                }
            }
        }
        Ok(())
    }

    /// Give the memory back, locked or not, but keep the room for it: from now on it reads as zeros.
    ///
    /// It may be read meanwhile: what is read is then a zero or what was there.
    pub fn give_up(&self, all: &[impl Clearable]) {
        debug_assert_eq!(self.bytes.start, all.as_ptr().addr());
        #[cfg(target_os = "linux")]
        {
            let (start, end) = (self.bytes.start.next_multiple_of(page()), self.bytes.end / page() * page());
            if start < end {
                if self.locked {
                    // SAFETY: unlocking changes no content.
                    let _ = unsafe { libc::munlock(start as *const libc::c_void, end - start) };
                }
                // SAFETY: the pages lie within the slice, whose elements are nothing but atomics that may be zero at any
                // time: pages that read as zeros are such elements. What the system refuses stays there, which harms nobody.
                let _ = unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
            }
        }
    }

    /// How many bytes are held.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many of them are locked.
    pub fn locked(&self) -> usize {
        if self.locked { self.len() } else { 0 }
    }

    /// The pages that the bytes touch.
    fn pages(&self) -> Range<usize> {
        let page = page();
        self.bytes.start / page * page..self.bytes.end.next_multiple_of(page)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        if self.locked {
            // The first and the last page may hold something else that is locked: these stay.
            let (start, end) = (self.bytes.start.next_multiple_of(page()), self.bytes.end / page() * page());
            if start < end {
                // SAFETY: unlocking changes no content. What cannot be unlocked stays locked, which harms nobody.
                let _ = unsafe { libc::munlock(start as *const libc::c_void, end - start) };
            }
        }
    }
}

fn page() -> usize {
    // SAFETY: a call without arguments in memory.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn lock_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is exclusively borrowed during the call.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    if status == 0 { limit.rlim_cur } else { 0 }
}

/// How much of this memory is in large pages now, as far as the system tells.
pub fn in_huge_pages<'a>(all: impl Iterator<Item = &'a Resident>) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let ranges: Vec<Range<usize>> = all.map(|held| held.bytes.clone()).collect();
    let (mut huge, mut within) = (0, 0);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(first), second) = (words.next(), words.next()) else { continue };
        if let Some((start, end)) = first.split_once('-').and_then(|(start, end)| {
            Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
        }) {
            // Neighbours share a mapping: it counts for no more than is ours of it.
            within = ranges.iter().map(|ours| ours.end.min(end).saturating_sub(ours.start.max(start))).sum();
        } else if matches!(first, "AnonHugePages:" | "Private_Hugetlb:") {
            let kib: usize = second.and_then(|number| number.parse().ok()).unwrap_or_default();
            huge += (kib << 10).min(within);
        }
    }
    huge
}

/// Whether there is memory for what is about to be allocated in small pieces, none of which can be refused: where there is
/// none for so much at once, this is an error, and what the pieces would have been is none.
pub fn ensure_available(what: &'static str, bytes: usize) -> Result<(), MemoryError> {
    let missing = |_| MemoryError::Missing { what, bytes, source: io::ErrorKind::OutOfMemory.into() };
    let mut all = Vec::<u8>::new();
    all.try_reserve_exact(bytes).map_err(missing)?;
    // The compiler may leave out what is allocated for nothing, and then takes it for had.
    std::hint::black_box(&mut all);
    Ok(())
}

/// Ask for an element to be brought near. It is only asked for: nothing happens where there is none.
#[inline]
pub fn prefetch<T>(all: &[T], at: usize) {
    let Some(element) = all.get(at) else { return };
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching reads nothing that the program could see, and the address is that of an element.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(element).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = element;
}

/// A table of zeros, and its pages, which are to be dropped before it.
///
/// Room that no page was asked for takes no memory. Large pages are wished for whatever was asked, because a table is read
/// at random, and a processor knows the places of few small ones.
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
    wish_for_large_pages(&mut slots);
    let held = Resident::write(what, &mut slots, residence)?;
    Ok((slots, held))
}

/// The same, of pages that are zeros again in a forked child.
pub fn wiped_table<T: FromZeros>(
    what: &'static str,
    capacity: usize,
    residence: Residence,
) -> Result<(WipedPages<T>, Resident), MemoryError> {
    let bytes = capacity.saturating_mul(size_of::<T>());
    let mut slots = WipedPages::new(capacity).map_err(|source| MemoryError::Missing { what, bytes, source })?;
    wish_for_large_pages(slots.as_mut());
    let held = Resident::write(what, slots.as_mut(), residence)?;
    Ok((slots, held))
}

/// Only a wish, and only where a large page fits.
fn wish_for_large_pages<T>(table: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        let (start, end) = (table.as_ptr().addr().next_multiple_of(page()), table.as_ptr().addr() + size_of_val(table));
        if let Some(len) = (end / page() * page()).checked_sub(start).filter(|&len| len >= 2 << 20) {
            // SAFETY: the pages lie within the table, which is exclusively borrowed; MADV_HUGEPAGE changes no content.
            let _ = unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = table;
}
