//! Owners: the processes that may write a shared state, each with a number. A process shows that it lives by a lock on
//! the byte of its number, which the system takes back when the process ends.
//!
//! A writer claims a session's slot by one compare-and-swap of its number and a random number into the slot. A claim of
//! a process that ended is taken over by the next writer: what it left half-written is written anew.

use crate::claims;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};
use ztfast_pages::{Forked, UnsharedFile, is_byte_locked, lock_byte, try_lock_byte};

/// How many processes may be authorities of a state at once.
pub const MAX_OWNERS: u16 = 4096;
/// The byte that whoever changes switches, or names factors, locks meanwhile.
const WRITER_BYTE: i64 = 0;
/// How long a writer waits for another one that changes switches or names, which takes microseconds.
const ALONE: Duration = Duration::from_secs(1);
/// The bits of a claim that hold the owner's number.
const NUMBER_SHIFT: u32 = 48;
/// How long a slot that a living writer holds is waited for. Its holder writes a few words, so only a process that the
/// system stopped keeps it for longer, or one that admits and waits for whoever adds a name.
pub(crate) const PATIENT: Duration = Duration::from_millis(50);

/// This process as an owner.
pub(crate) struct Owners {
    /// The file whose bytes are locked; none in private memory, whose only owner is this process.
    file: Option<UnsharedFile>,
    number: u16,
    /// The lower bits of the next claim. They differ from claim to claim, so that a claim is not taken for another one
    /// in the same slot.
    next: AtomicU64,
    /// Threads of this process exclude each other by this, because they share the file's locks.
    writing: Mutex<()>,
}

impl Owners {
    /// Be the only owner.
    pub const fn private() -> Self {
        Self { file: None, number: 1, next: AtomicU64::new(1), writing: Mutex::new(()) }
    }

    /// Be no owner.
    pub const fn reader() -> Self {
        Self { file: None, number: 0, next: AtomicU64::new(1), writing: Mutex::new(()) }
    }

    /// Take a number that no living process has.
    pub fn enter(file: UnsharedFile) -> io::Result<Self> {
        for number in 1..=MAX_OWNERS {
            if try_lock_byte(own(&file)?, i64::from(number))? {
                let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
                let next = AtomicU64::new(random >> 17);
                return Ok(Self { file: Some(file), number, next, writing: Mutex::new(()) });
            }
        }
        Err(io::Error::other(format!("all {MAX_OWNERS} numbers of authorities are taken")))
    }

    /// Claim a slot. `None` if a living writer holds it for so long.
    pub fn claim(&self, writer: &AtomicU64, patience: Duration) -> Option<Claim> {
        let low = self.next.fetch_add(1, Ordering::Relaxed) & ((1 << NUMBER_SHIFT) - 1);
        let claim = u64::from(self.number) << NUMBER_SHIFT | low;
        let mut since: Option<Instant> = None;
        loop {
            if claims::take(writer, claim, |held| self.has_ended(held)) {
                return Some(Claim(claim));
            }
            if since.get_or_insert_with(Instant::now).elapsed() >= patience {
                return None;
            }
            std::thread::yield_now();
        }
    }

    /// Give a claim back.
    #[allow(clippy::needless_pass_by_value)] // a claim is given back once
    pub fn release(writer: &AtomicU64, claim: Claim) {
        // Nobody else changes the word while the owner lives.
        claims::give_back(writer, claim.0);
    }

    /// Forget a claim under this process's number, which it did not make itself.
    pub fn forget_claim(&self, writer: &AtomicU64) {
        let held = writer.load(Ordering::Acquire);
        if held != 0 && held >> NUMBER_SHIFT == u64::from(self.number) {
            let _ = writer.compare_exchange(held, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Return whether the process that made a claim has ended.
    fn has_ended(&self, claim: u64) -> bool {
        let number = claim >> NUMBER_SHIFT;
        let Some(file) = self.file.as_ref().and_then(UnsharedFile::get) else { return false };
        if number == u64::from(self.number) {
            return false;
        }
        let Ok(at) = i64::try_from(number) else { return true };
        // If the system does not tell, the process is taken to live.
        number > u64::from(MAX_OWNERS) || is_byte_locked(file, at).is_ok_and(|is_locked| !is_locked)
    }

    /// Run `job` while no other thread, of no process, runs one. `None` if another one does for [`ALONE`].
    ///
    /// # Errors
    /// The system does not lock the file.
    pub fn alone<T>(&self, job: impl FnOnce() -> T) -> io::Result<Option<T>> {
        self.alone_within(ALONE, job)
    }

    /// Return the processes that have the writers' byte locked, as far as this one may know.
    pub fn writers(&self) -> Vec<u32> {
        let Some(own) = self.file.as_ref().and_then(|file| file.get()?.metadata().ok()) else { return Vec::new() };
        let list = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
        // The system's list of locks does not tell whose these are, but that of each process's files does.
        let has_it = |process: &Path, descriptor: &OsStr| {
            let text = std::fs::read_to_string(process.join("fdinfo").join(descriptor)).unwrap_or_default();
            text.lines().any(|line| is_writers_lock(line, own.ino()))
                && is_file(&process.join("fd").join(descriptor), &own)
        };
        let holds = |process: &Path| list(&process.join("fdinfo")).any(|file| has_it(process, &file.file_name()));
        let processes = list(Path::new("/proc")).filter(|process| holds(&process.path()));
        let mut found: Vec<u32> = processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect();
        found.sort_unstable();
        found
    }

    /// Run `job` as [`Self::alone`] does, if nobody else does just now.
    pub fn alone_at_once<T>(&self, job: impl FnOnce() -> T) -> Option<T> {
        self.alone_within(Duration::ZERO, job).ok().flatten()
    }

    fn alone_within<T>(&self, patience: Duration, job: impl FnOnce() -> T) -> io::Result<Option<T>> {
        // The time counts from here: each thread of this process that waits for the file keeps the others waiting.
        let since = Instant::now();
        let is_over = || {
            let over = since.elapsed() >= patience;
            if !over {
                std::thread::sleep(Duration::from_micros(200));
            }
            over
        };
        let _guard = loop {
            match self.writing.try_lock() {
                Ok(guard) => break guard,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if is_over() => return Ok(None),
                Err(TryLockError::WouldBlock) => {}
            }
        };
        let Some(file) = &self.file else { return Ok(Some(job())) };
        let file = own(file)?;
        let left = patience.saturating_sub(since.elapsed());
        let Some(_held) = lock_byte(file, WRITER_BYTE, left)? else { return Ok(None) };
        Ok(Some(job()))
    }
}

/// Return the file of owners, if it is this process's.
fn own(file: &UnsharedFile) -> io::Result<&File> {
    file.get().ok_or_else(|| io::Error::other(Forked))
}

/// Return whether a path leads to this file. Files of two filesystems may have the same inode, and the device that
/// `fdinfo` shows is not always the one that the file itself says.
fn is_file(path: &Path, file: &Metadata) -> bool {
    std::fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino()))
}

/// Return whether a line of a file's `fdinfo` tells of a lock on the writers' byte of a file with this inode, as in
/// `lock: 1: OFDLCK ADVISORY WRITE -1 00:1f:4711 0 1`. The system joins locks on bytes side by side.
fn is_writers_lock(line: &str, node: u64) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["lock:", _, "OFDLCK", _, "WRITE", _, file, first, last] => {
            let begins = first.parse::<i64>().is_ok_and(|first| first <= WRITER_BYTE);
            let ends = *last == "EOF" || last.parse::<i64>().is_ok_and(|last| last >= WRITER_BYTE);
            begins && ends && file.rsplit(':').next().is_some_and(|of| of == node.to_string())
        }
        _ => false,
    }
}

/// A claim on a slot.
pub(crate) struct Claim(u64);
