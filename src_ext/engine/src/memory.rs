//! What is asked of memory beyond reading it: to be near soon, and to come in large pages.

/// Ask for an element to be brought near. It is only asked for: nothing happens where there is none.
#[inline]
pub(crate) fn prefetch<T>(all: &[T], at: usize) {
    let Some(element) = all.get(at) else { return };
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching reads nothing that the program could see, and the address is that of an element.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(element).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = element;
}

/// Ask for large pages under a table that is read at random: a processor knows the places of few small ones.
///
/// Best done before the table is first written. Where the system has none, nothing changes.
pub(crate) fn in_large_pages<T>(all: &[T]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let start = all.as_ptr().addr().next_multiple_of(PAGE);
        let end = (all.as_ptr().addr() + size_of_val(all)) / PAGE * PAGE;
        if let Some(len) = end.checked_sub(start).filter(|&len| len >= 2 << 20) {
            // SAFETY: the pages lie within the table, which is borrowed; MADV_HUGEPAGE changes no content.
            let _ = unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = all;
}
