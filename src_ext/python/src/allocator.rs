//! The allocator of this module.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// The allocator's: give pages that nobody uses back to the system.
    fn mi_collect(force: bool);
}

/// Give what was freed back to the system now, as far as this thread's memory goes; else it does so when it next needs
/// some.
pub(crate) fn give_back() {
    // SAFETY: the allocator above is linked, and any thread may ask this of it at any time.
    unsafe { mi_collect(true) };
}
