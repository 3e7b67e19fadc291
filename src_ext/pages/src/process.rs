//! Detection of forks. A child of `fork()` has a copy of its parent's engines, which the parent's revocations, swaps
//! and kill switch no longer reach: it must not decide by them.
//!
//! The table of sessions lies in pages that the system gives a child as zeros (`MADV_WIPEONFORK`), so that the check of
//! a slot, which every decision makes, fails in the child without an extra instruction. A page of the same kind holds
//! the process's nonce: an engine that was opened under another nonce was opened before a fork. Where the system has no
//! such pages, a handler registered by `pthread_atfork` wipes them.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use zerocopy::FromZeros;

/// The engine was opened in a process from which this one was forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this engine was opened before a fork, and is its parent's: open it anew in this process (ztfast.Engine(bundle))"
)]
pub struct Forked;

/// Pages of zeros, which become zeros again in a forked child. Never empty.
pub struct WipedPages<T> {
    start: NonNull<T>,
    len: usize,
    bytes: usize,
    listed: Option<&'static Listed>,
}

// SAFETY: the value owns its memory, and lends out only what `T` lets threads share.
unsafe impl<T: Sync> Sync for WipedPages<T> {}
// SAFETY: as above; nothing is bound to a thread.
unsafe impl<T: Send> Send for WipedPages<T> {}

impl<T: FromZeros> WipedPages<T> {
    /// Allocate `len` elements, all zeros.
    ///
    /// # Errors
    /// The system refuses the memory.
    pub fn new(len: usize) -> io::Result<Self> {
        let bytes = len.max(1).checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
        // SAFETY: this makes a new mapping at an address of the system's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) };
        let start = NonNull::new(start).filter(|start| start.as_ptr() != libc::MAP_FAILED);
        let start = start.ok_or_else(io::Error::last_os_error)?;
        let mut pages = Self { start: start.cast(), len, bytes, listed: None };
        // SAFETY: the pages were just mapped here.
        let wiped = unsafe { wipe_on_fork(start.as_ptr(), bytes) };
        if !wiped {
            pages.listed = Some(list(start.as_ptr().expose_provenance(), bytes)?);
        }
        Ok(pages)
    }

    /// Return all elements.
    pub const fn as_mut(&mut self) -> &mut [T] {
        // SAFETY: the mapping has this size, lives as long as `self`, is aligned to pages and began as zeros, which are
        // valid.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Deref for WipedPages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: as in `as_mut`; a child finds zeros instead, which are valid too.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for WipedPages<T> {
    fn drop(&mut self) {
        if let Some(listed) = self.listed {
            listed.start.store(0, Ordering::Release);
        }
        // SAFETY: `self` owns the mapping, and nothing borrows from it any more.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Ask the system to give a child zeros.
///
/// # Safety
/// The pages are a mapping of the caller's.
unsafe fn wipe_on_fork(start: *mut libc::c_void, bytes: usize) -> bool {
    // Miri does not fork.
    if cfg!(miri) {
        return true;
    }
    #[cfg(target_os = "linux")]
    // SAFETY: the caller owns the mapping; the advice changes nothing in this process.
    return unsafe { libc::madvise(start, bytes, libc::MADV_WIPEONFORK) } == 0;
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (start, bytes);
        false
    }
}

/// Pages that the handler wipes, or a file that it closes: an entry of a list that only grows, because the handler may
/// not take a lock.
struct Listed {
    /// The address of the pages; 0 once they are unmapped.
    start: AtomicUsize,
    bytes: usize,
    next: *mut Listed,
}

/// Makes a word 0 in forked children, until this is dropped.
pub struct WipedWord(&'static AtomicUsize);

impl WipedWord {
    /// Begin to do so for a word.
    ///
    /// # Errors
    /// The system refuses the handler that does it.
    ///
    /// # Safety
    /// The word neither moves nor is freed before the result is dropped.
    pub unsafe fn new(word: &AtomicU64) -> io::Result<Self> {
        list(ptr::from_ref(word).expose_provenance(), size_of::<AtomicU64>()).map(|listed| Self(&listed.start))
    }
}

impl Drop for WipedWord {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// An open file that forked children do not share: there it is closed before anything else runs. A lock on it ends with
/// its process, however long children live. (A child of a bare system call shares it, and so does one whose fork was
/// under way when the process opened its first one.)
#[derive(Debug)]
pub struct UnsharedFile {
    /// The entry's word, which is 0 in a child.
    listed: &'static AtomicUsize,
    file: ManuallyDrop<File>,
}

/// Stands for the length of pages in entries of files, whose addresses are their descriptors, and 1 more.
const FILE: usize = usize::MAX;

impl UnsharedFile {
    /// Open a file and keep it from children. Forks wait meanwhile, so `open` does nothing else.
    ///
    /// # Errors
    /// The system refuses the handler; within, those of `open`.
    #[allow(clippy::cast_sign_loss)] // an open file's descriptor is not negative
    pub fn open<E>(open: impl FnOnce() -> Result<File, E>) -> io::Result<Result<Self, E>> {
        let listed = &list(0, FILE)?.start;
        let _held = Held::take();
        Ok(open().map(|file| {
            listed.store(file.as_raw_fd() as usize + 1, Ordering::Release);
            Self { listed, file: ManuallyDrop::new(file) }
        }))
    }

    /// Return the file; `None` in a child, where its descriptor may be another file's.
    #[must_use]
    pub fn get(&self) -> Option<&File> {
        (self.listed.load(Ordering::Acquire) != 0).then_some(&*self.file)
    }
}

impl Drop for UnsharedFile {
    fn drop(&mut self) {
        // A fork between the two would leave the child with the file, or close another one there.
        let _held = Held::take();
        if self.listed.swap(0, Ordering::AcqRel) != 0 {
            // SAFETY: the file is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// Who opens or closes an unshared file just now, or forks: a process's number, and 1 more bit for forks; 0 for nobody.
static HOLDER: AtomicU64 = AtomicU64::new(0);
/// How often, and how many microseconds apart, whoever opens, closes or forks looks whether others do. A handler of a
/// signal that forks may wait for the thread that it interrupted, so this has an end. Then a child may share a file.
const LOOKS: (u32, u64) = (5_000, 200);

/// Holds forks back until it is dropped.
struct Held(Option<u64>);

impl Held {
    fn take() -> Self {
        Self(hold(0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.inspect(|&own| give_back(own));
    }
}

/// Wait until nobody else opens, closes or forks. Return what [`give_back`] wants; `None` if that took too long.
fn hold(forks: u64) -> Option<u64> {
    let own = u64::from(std::process::id()) << 1;
    for _ in 0..LOOKS.0 {
        match HOLDER.compare_exchange(0, own | forks, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(own | forks),
            Err(holder) if holder & !1 == own => std::thread::sleep(Duration::from_micros(LOOKS.1)),
            // It was forked by a bare system call, and the thread that held this is its parent's.
            Err(holder) => drop(HOLDER.compare_exchange(holder, 0, Ordering::AcqRel, Ordering::Acquire)),
        }
    }
    None
}

fn give_back(own: u64) {
    let _ = HOLDER.compare_exchange(own, 0, Ordering::AcqRel, Ordering::Acquire);
}

extern "C" fn before_fork() {
    let _ = hold(1);
}

extern "C" fn after_fork() {
    give_back(u64::from(std::process::id()) << 1 | 1);
}

static LIST: AtomicPtr<Listed> = AtomicPtr::new(ptr::null_mut());

fn list(start: usize, bytes: usize) -> io::Result<&'static Listed> {
    static HANDLER: Once = Once::new();
    static REFUSED: AtomicUsize = AtomicUsize::new(0);
    HANDLER.call_once(|| {
        // SAFETY: the handlers live as long as the process, and do only what handlers may do, in a child, too.
        let status = unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(wipe)) };
        REFUSED.store(usize::from(status != 0), Ordering::Release);
    });
    if REFUSED.load(Ordering::Acquire) != 0 {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let made =
        Box::leak(Box::new(Listed { start: AtomicUsize::new(start), bytes, next: LIST.load(Ordering::Acquire) }));
    let entry = ptr::from_mut(made);
    loop {
        // SAFETY: no other thread knows the entry before it is in the list.
        let before = unsafe { (*entry).next };
        match LIST.compare_exchange(before, entry, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: the entry was leaked, and is only read from now on.
            Ok(_) => return Ok(unsafe { &*entry }),
            // SAFETY: as above.
            Err(now) => unsafe { (*entry).next = now },
        }
    }
}

/// Wipe the listed pages in a child, and close the listed files. This takes no lock, allocates nothing, and calls only
/// what a handler may call.
extern "C" fn wipe() {
    let mut at = LIST.load(Ordering::Acquire);
    // SAFETY: entries of the list were leaked.
    while let Some(listed) = unsafe { at.as_ref() } {
        let start = listed.start.load(Ordering::Acquire);
        if start != 0 && listed.bytes == FILE {
            // From now on its owner neither uses nor closes it: the child may have another file there.
            listed.start.store(0, Ordering::Release);
            // SAFETY: no file was opened or closed during the fork, so the descriptor is the owner's, which no longer
            // uses it. The child has one thread only.
            unsafe { libc::close(i32::try_from(start - 1).unwrap_or(-1)) };
        } else if start != 0 {
            // SAFETY: the entry is zeroed before its pages are unmapped, and the child has one thread only. The pages
            // hold values for which zeros are valid.
            unsafe { ptr::with_exposed_provenance_mut::<u8>(start).write_bytes(0, listed.bytes) };
        }
        at = listed.next;
    }
    // Only the thread that forked is in the child.
    HOLDER.store(0, Ordering::Release);
}

/// A word that each process has for itself: 0 until it is set, and 0 again in a forked child.
struct Word(AtomicPtr<AtomicUsize>);

impl Word {
    const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Return the word's value; 0 if it was not set.
    #[inline]
    fn get(&self) -> usize {
        self.known().map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Set the word, unless another thread has set it. Return its value.
    fn set(&self, value: usize) -> io::Result<usize> {
        let before = self.page()?.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire);
        Ok(before.map_or_else(|known| known, |_| value))
    }

    #[inline]
    fn known(&self) -> Option<&'static AtomicUsize> {
        // SAFETY: null, or a page that `page` leaked.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Return the word, in a page that a fork wipes.
    fn page(&self) -> io::Result<&'static AtomicUsize> {
        if let Some(word) = self.known() {
            return Ok(word);
        }
        let made = WipedPages::<AtomicUsize>::new(1)?;
        let first = made.start.as_ptr();
        // Where another thread was first, no thread has seen this page, and it is dropped.
        if self.0.compare_exchange(ptr::null_mut(), first, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            std::mem::forget(made);
        }
        self.known().ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

/// A value that each process has for itself. A forked child makes its own.
pub struct PerProcess<T: 'static> {
    /// The address of the value, or 0.
    at: Word,
    of: PhantomData<&'static T>,
}

impl<T: 'static> PerProcess<T> {
    /// Create it without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self { at: Word::new(), of: PhantomData }
    }

    /// Return this process's value, and make it on first use.
    ///
    /// # Errors
    /// If the system gives no page.
    pub fn get_or_make(&self, make: impl FnOnce() -> T) -> io::Result<&'static T> {
        let mut known = self.at.get();
        if known == 0 {
            let made = Box::into_raw(Box::new(make()));
            known = self.at.set(made.expose_provenance()).inspect_err(|_| {
                // SAFETY: no thread has seen the value.
                drop(unsafe { Box::from_raw(made) });
            })?;
            if known != made.expose_provenance() {
                // SAFETY: another thread was first, and no thread has seen this value.
                drop(unsafe { Box::from_raw(made) });
            }
        }
        // SAFETY: a value was leaked there above, and its provenance was exposed.
        unsafe { ptr::with_exposed_provenance::<T>(known).as_ref() }.ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

impl<T: 'static> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The process's nonce: a random number that a process has from its first engine on.
static NONCE: Word = Word::new();

/// Return this process's nonce; 0 if no engine was opened in it.
#[inline]
#[must_use]
pub fn nonce() -> u64 {
    NONCE.get() as u64
}

/// Return this process's nonce, and make one if there is none.
///
/// # Errors
/// If the system gives no page, or no random number.
pub fn enter() -> io::Result<u64> {
    let known = nonce();
    if known != 0 {
        return Ok(known);
    }
    let mut random = [0; size_of::<usize>()];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    NONCE.set(usize::from_ne_bytes(random) | 1).map(|nonce| nonce as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    /// Run `job` in a forked child, and return its result.
    fn in_child(job: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child runs `job`, which takes no lock, and exits at once.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(i32::from(!job()));
            }
            let mut status = -1;
            libc::waitpid(child, &raw mut status, 0) == child && status == 0
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not fork")]
    fn a_child_has_no_mark_until_it_is_given_one_of_its_own() {
        let own = enter().unwrap();
        assert_eq!((nonce(), enter().unwrap()), (own, own));
        assert!(in_child(|| nonce() == 0
            && enter().is_ok_and(|nonce| nonce != 0 && nonce != own)
            && in_child(|| nonce() == 0)));
        assert_eq!(nonce(), own);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not fork")]
    fn pages_are_zeros_in_a_child_and_stay_what_they_are_here() {
        let pages = WipedPages::<AtomicU64>::new(5_000).unwrap();
        pages.iter().for_each(|word| word.store(7, Ordering::Release));
        assert!(in_child(|| pages.iter().all(|word| word.load(Ordering::Acquire) == 0)));
        assert!(pages.iter().all(|word| word.load(Ordering::Acquire) == 7));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not fork")]
    fn without_help_of_the_system_the_handler_wipes() {
        let words: Vec<AtomicU64> = (0..100).map(|_| AtomicU64::new(7)).collect();
        let (one, kept) = (AtomicU64::new(7), AtomicU64::new(7));
        // SAFETY: both words outlive what wipes them.
        let wiped = unsafe { (WipedWord::new(&one).unwrap(), WipedWord::new(&kept).unwrap()) };
        drop(wiped.1);
        let gone: Vec<AtomicU64> = (0..100).map(|_| AtomicU64::new(7)).collect();
        let listed = list(words.as_ptr().expose_provenance(), 800).unwrap();
        list(gone.as_ptr().expose_provenance(), 800).unwrap().start.store(0, Ordering::Release);
        let all = |words: &[AtomicU64], value| words.iter().all(|word| word.load(Ordering::Acquire) == value);
        assert!(in_child(|| all(&words, 0) && all(&gone, 7) && one.load(Ordering::Acquire) == 0));
        assert!(in_child(|| kept.load(Ordering::Acquire) == 7));
        assert!(all(&words, 7));
        listed.start.store(0, Ordering::Release);
    }

    /// Tests that hold forks back take turns.
    static TURN: Mutex<()> = Mutex::new(());

    fn null() -> io::Result<File> {
        File::open("/dev/null")
    }

    fn is_open(descriptor: i32) -> bool {
        // SAFETY: this only asks for the descriptor's flags.
        unsafe { libc::fcntl(descriptor, libc::F_GETFD) != -1 }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not fork")]
    fn a_child_neither_uses_nor_closes_another_file_with_the_number_of_one_that_it_does_not_share() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = UnsharedFile::open(null).unwrap().unwrap();
        let descriptor = ours.get().unwrap().as_raw_fd();
        assert!(in_child(|| {
            let closed = ours.get().is_none() && !is_open(descriptor);
            // SAFETY: the descriptor is free, and its file is nobody else's.
            let other = unsafe { libc::dup2(2, descriptor) };
            // SAFETY: the parent's value stays where it is; this is the child's copy.
            drop(unsafe { ptr::read(&raw const ours) });
            closed && other == descriptor && in_child(|| is_open(descriptor)) && is_open(descriptor)
        }));
        assert!(is_open(descriptor));
        drop(ours);
        assert!(in_child(|| true), "whoever closes a file lets forks go on");
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not fork")]
    fn a_fork_waits_for_a_thread_that_opens_a_file() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|threads| {
            let mut closed_there = None;
            let ours = UnsharedFile::open(|| {
                let file = null()?;
                let descriptor = file.as_raw_fd();
                closed_there = Some(threads.spawn(move || in_child(|| !is_open(descriptor))));
                // A fork that does not wait takes less.
                std::thread::sleep(Duration::from_millis(100));
                Ok::<_, io::Error>(file)
            });
            assert!(closed_there.unwrap().join().unwrap());
            assert!(ours.unwrap().unwrap().get().is_some());
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not fork")]
    fn a_thread_that_forks_while_it_opens_a_file_does_not_wait_for_itself_for_ever() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = UnsharedFile::open(|| if in_child(|| true) { null() } else { Err(io::ErrorKind::Other.into()) });
        assert!(ours.unwrap().unwrap().get().is_some());
    }

    #[test]
    fn a_child_of_a_bare_system_call_does_not_wait_for_its_parents_threads() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let own = hold(0).unwrap();
        HOLDER.store(own ^ 2, Ordering::Release);
        let again = hold(0);
        assert!(again.is_some());
        give_back(own);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not fork")]
    fn a_child_has_no_share_in_a_file_and_its_locks() {
        use crate::locks::{is_byte_locked, try_lock_byte};
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let path = std::env::temp_dir().join(format!("ztfast-unshared-{}", std::process::id()));
        let open = || File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let (ours, other) = (UnsharedFile::open(open).unwrap().unwrap(), open().unwrap());
        assert!(try_lock_byte(ours.get().unwrap(), 0).unwrap());
        let mut pipe = [0; 2];
        // SAFETY: the array has room for both descriptors.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        // SAFETY: the child only waits for the pipe to close, and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above.
            unsafe {
                libc::close(pipe[1]);
                libc::read(pipe[0], (&raw mut pipe).cast(), 1);
                libc::_exit(0);
            }
        }
        assert!(is_byte_locked(&other, 0).unwrap());
        drop(ours);
        // The handler runs before anything else of the child's, but may not have run yet.
        let free = (0..1_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            !is_byte_locked(&other, 0).unwrap()
        });
        assert!(free, "the child holds the lock");
        // SAFETY: the descriptor is the test's, and the child is its own.
        unsafe {
            libc::close(pipe[1]);
            libc::waitpid(child, ptr::null_mut(), 0);
        }
        std::fs::remove_file(path).unwrap();
    }
}
