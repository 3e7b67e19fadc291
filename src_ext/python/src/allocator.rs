//! The allocator of this module.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// Give pages that are not in use back to the system. mimalloc defines this function.
    fn mi_collect(force: bool);
}

/// Give this thread's freed memory back to the system now. Without this call, the allocator does so when the thread
/// next needs memory.
pub(crate) fn give_back() {
    // SAFETY: the allocator above is linked, and any thread may call this function at any time.
    unsafe { mi_collect(true) };
}
