//! Memory that engines of several processes may share: a mapped file, or private pages of the same layout.

use crate::memory::{MemoryError, Residence, Resident};
use crate::process::WipedPages;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64};
use zerocopy::FromZeros;

/// A type that other processes may change at any time, and that any bytes are a value of.
///
/// # Safety
/// The type consists of atomics, without padding.
pub unsafe trait Shareable {}

// SAFETY: an atomic, of which any bytes are a value.
unsafe impl Shareable for AtomicU8 {}
// SAFETY: as above.
unsafe impl Shareable for AtomicU32 {}
// SAFETY: as above.
unsafe impl Shareable for AtomicU64 {}
// SAFETY: as above.
unsafe impl Shareable for AtomicI64 {}
// SAFETY: elements of an array have no padding between them.
unsafe impl<T: Shareable, const LEN: usize> Shareable for [T; LEN] {}

/// A part of private pages.
#[derive(FromZeros)]
#[repr(C, align(4096))]
struct Page([AtomicU64; 512]);

/// Where the memory comes from.
enum Backing {
    /// Pages of this process, which become zeros in a forked child.
    Private { _pages: WipedPages<Page> },
    /// A file that processes share.
    File,
}

/// Memory that may be shared with other processes.
pub struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
    is_writable: bool,
    backing: Backing,
}

// SAFETY: the memory is lent out as atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Allocate pages of zeros for this process. In a forked child they become zeros again.
    ///
    /// # Errors
    /// The system refuses the memory.
    pub fn private(bytes: usize) -> io::Result<Self> {
        let pages = WipedPages::<Page>::new(bytes.div_ceil(size_of::<Page>()))?;
        let start = NonNull::from(&*pages).cast();
        Ok(Self { start, bytes, is_writable: true, backing: Backing::Private { _pages: pages } })
    }

    /// Map a file, whose pages other processes share. A mapping that is not writable cannot be made so later if the
    /// file was opened for reading only.
    ///
    /// # Errors
    /// The system refuses it.
    pub fn of_file(file: &File, bytes: usize, is_writable: bool) -> io::Result<Self> {
        let access = libc::PROT_READ | if is_writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: this makes a new mapping at an address of the system's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes.max(1), access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        let start = NonNull::new(start).filter(|start| start.as_ptr() != libc::MAP_FAILED);
        let start = start.ok_or_else(io::Error::last_os_error)?.cast();
        Ok(Self { start, bytes, is_writable, backing: Backing::File })
    }

    /// Return the elements from a byte on. `None` if they do not lie within the memory.
    #[must_use]
    pub fn slice<T: Shareable>(&self, offset: usize, len: usize) -> Option<&[T]> {
        let bytes = len.checked_mul(size_of::<T>())?;
        let is_within = offset.checked_add(bytes)? <= self.bytes;
        if !is_within || !offset.is_multiple_of(align_of::<T>()) || align_of::<T>() > size_of::<Page>() {
            return None;
        }
        // SAFETY: the elements lie within the mapping, which lives as long as `self` and begins at a page; they are
        // atomics of which any bytes are values, so that others may change them meanwhile.
        Some(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset).cast(), len) })
    }

    /// Return bytes that nobody changes any more. `None` if they do not lie within the memory.
    ///
    /// # Safety
    /// Whoever can write the memory has published these bytes, and never writes them again.
    #[must_use]
    pub unsafe fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        (offset.checked_add(len)? <= self.bytes)
            // SAFETY: the bytes lie within the mapping, and the caller says that they do not change.
            .then(|| unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), len) })
    }

    /// Return whether this process may write the memory.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// Return the address and the size.
    #[must_use]
    pub fn range(&self) -> (usize, usize) {
        (self.start.as_ptr().expose_provenance(), self.bytes)
    }

    /// Bring the pages into memory, as asked. The result must be dropped before the mapping.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn hold(&self, what: &'static str, residence: Residence) -> Result<Resident, MemoryError> {
        if matches!(self.backing, Backing::Private { .. }) {
            crate::memory::advise_huge(self.start.as_ptr(), self.bytes);
        }
        // SAFETY: the memory is this mapping's, and consists of atomics; to populate it changes no content.
        unsafe { Resident::mapped(what, self.start.as_ptr(), self.bytes, residence, self.is_writable) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if matches!(self.backing, Backing::File) {
            // SAFETY: `self` owns the mapping, and nothing borrows from it any more.
            let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes.max(1)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn slices_lie_within_the_memory_or_are_none() {
        let memory = Mapping::private(4096 + 16).unwrap();
        assert_eq!(memory.slice::<AtomicU64>(4096, 2).map(<[_]>::len), Some(2));
        for (offset, len) in [(4096, 3), (4100, 1), (usize::MAX - 7, 1), (8, usize::MAX / 4), (4112, 1)] {
            assert!(memory.slice::<AtomicU64>(offset, len).is_none(), "{offset} {len}");
        }
        memory.slice::<AtomicU64>(8, 1).unwrap()[0].store(7, Ordering::Relaxed);
        assert_eq!(memory.slice::<AtomicU8>(8, 1).unwrap()[0].load(Ordering::Relaxed), 7);
    }
}
