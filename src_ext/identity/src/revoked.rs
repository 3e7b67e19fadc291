//! The list of revoked grounds: what must never be admitted again, also after a restart.
//!
//! It is a file to which lines are appended, one for each ground that is revoked or restored. A writer locks a byte of
//! it, cuts off what a writer that was killed left behind, writes its line by one call, waits for the disk, and
//! unlocks. So a line without a newline is the last one, and nobody was told that it was written: readers ignore it.
//! Every other line has to be whole; if one is not, the file was damaged, and nobody is admitted.
//!
//! Each admission asks whether the file has changed, which takes one call of the system, and reads what is new.

mod line;

pub use self::line::{Change, MAX_FIELD, NoLine, Revocation};

use self::line::MAX_LINE;
use crate::ground::number;
use arc_swap::ArcSwap;
use rustix::fs::Stat;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use ztfast_pages::{Directory, FileError, Forked, Opening, Role, UnsharedFile, lock_byte, monotonic_ns};

/// What the list says at a moment.
#[derive(Debug, Clone, Default)]
pub struct RevokedGrounds {
    numbers: HashSet<u64, BuildHasherDefault<AsIs>>,
    lines: u64,
    stamp: u64,
}

impl RevokedGrounds {
    /// Return whether the ground with a number is revoked.
    #[inline]
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.numbers.contains(&number)
    }

    /// Return the numbers of all grounds that are revoked.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.numbers.iter().copied()
    }

    /// Return the number of lines. It grows with each change.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.lines
    }

    /// Return whether nothing was ever revoked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Return a hash of all lines: lists with the same stamp say the same.
    #[inline]
    #[must_use]
    pub const fn stamp(&self) -> u64 {
        self.stamp
    }

    fn add(&mut self, line: &Revocation, check: [u8; 8]) {
        let ground = number(&line.digest);
        match line.what {
            Change::Revoked => self.numbers.insert(ground),
            Change::Restored => self.numbers.remove(&ground),
        };
        self.lines += 1;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.stamp.to_le_bytes()).update(&check);
        self.stamp = number(hasher.finalize().as_bytes());
    }
}

/// Hashes numbers that are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |word, &byte| word.rotate_left(8) ^ u64::from(byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// Why the list cannot be read or written. Nobody is admitted meanwhile.
#[derive(Debug, thiserror::Error)]
pub enum RevokedError {
    /// The file cannot be opened, read or written, or is refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A revocation does not fit a line.
    #[error(transparent)]
    NoLine(#[from] NoLine),
    /// This process may only read the list.
    #[error("this process may only read the list of revoked grounds: open the engine with role='authority'")]
    ReadOnly,
    /// Another process keeps the list locked.
    #[error(
        "{}: another process was stopped while it revoked something, so nothing was revoked here: let it go on (kill \
         -CONT), or end it (kill -KILL)", path.display()
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file is no longer the list that was opened.
    #[error(
        "{}: the list of revoked grounds was {what} while it was open, so nobody is admitted: put the whole list back, \
         and open the engine anew, in all processes", path.display()
    )]
    Gone {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        what: &'static str,
    },
    /// A line is damaged.
    #[error(
        "{}, line {line}: it {why}, so the list was damaged, and nobody is admitted: put a whole copy of the list back; \
         or remove the line, open the engine anew, and revoke again what it revoked", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The list was opened in a process from which this one was forked.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// How long another process that appends is waited for. It waits for its disk.
const PATIENT: Duration = Duration::from_secs(5);
/// The byte that writers lock lies behind all bytes of any file.
const LOCK_AT: i64 = 1 << 60;
/// How often it is looked whether the path still leads to the file, where nothing else tells that something happened.
const LOOK_APART_NS: i64 = 1_000_000_000;
/// How often a line that is not whole is read again: while a writer cuts off what another one left and writes its own
/// line, a reader may see parts of both.
const TRIES: usize = 4;
const AGAIN: Duration = Duration::from_millis(2);
/// The bytes that are read at once.
const CHUNK: usize = 1 << 16;

/// What was last seen.
struct Seen {
    grounds: Arc<RevokedGrounds>,
    /// The size and the time of the last change of the file for which this holds. No size if there is more to read.
    size: Option<i64>,
    changed: (i64, i64),
}

impl Seen {
    fn is_of(&self, about: &Stat) -> bool {
        self.size == Some(about.st_size) && self.changed == changed(about)
    }
}

#[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast)] // systems differ in the types of times
const fn changed(about: &Stat) -> (i64, i64) {
    (about.st_ctime as i64, about.st_ctime_nsec as i64)
}

/// What the file is, and how far it was read.
struct Read {
    /// The bytes of whole lines.
    bytes: u64,
    /// Where there is no file, the lines.
    kept: Vec<Revocation>,
}

/// The list of revoked grounds.
pub struct Revoked {
    /// The file, its path, and whether it may be written; none in memory.
    file: Option<(UnsharedFile, PathBuf, Role)>,
    seen: ArcSwap<Seen>,
    looked_ns: AtomicI64,
    read: Mutex<Read>,
    /// Threads that append exclude each other by this, because they share the file's lock. Readers do not wait for it.
    appending: Mutex<()>,
    /// What happened to the file. Nobody is admitted from then on, because what was missed is not caught up.
    fault: OnceLock<Fault>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Gone(&'static str),
    Damaged(u64, &'static str),
}

impl Revoked {
    /// Make a list that ends with this process.
    ///
    /// ```
    /// use ztfast_identity::{Change, Revocation, Revoked, number};
    ///
    /// let revoked = Revoked::in_memory();
    /// let text = |text: &str| text.to_owned();
    /// let (kind, digest, shown) = (text("key"), [7; 32], text("key of CN=algo-1"));
    /// let (by, reason, at) = (text("ann"), text("lost"), text("2026-01-02T03:04:05Z"));
    /// let line = Revocation { kind, digest, shown, by, reason, at, what: Change::Revoked };
    /// revoked.append(&line)?;
    /// assert!(revoked.current()?.contains(number(&digest)));
    /// revoked.append(&Revocation { what: Change::Restored, ..line })?;
    /// assert!(!revoked.current()?.contains(number(&digest)));
    /// # Ok::<(), ztfast_identity::RevokedError>(())
    /// ```
    #[must_use]
    pub fn in_memory() -> Self {
        Self::of(None)
    }

    /// Open the list in a file. An authority makes it if there is none; others only read it. It lies in a directory
    /// into which nobody else can write, and nobody else can open it.
    ///
    /// # Errors
    /// [`RevokedError`].
    pub fn open(path: &Path, role: Role) -> Result<Self, RevokedError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let at = Directory::open(folder, role, None, role == Role::Authority, NO_LIST)?;
        let no_name = || at.refused("the path of the list of revoked grounds names no file");
        let name = path.file_name().and_then(OsStr::to_str).ok_or_else(no_name)?;
        let how = if role == Role::Authority { Opening::Append } else { Opening::Read };
        let file = loop {
            match at.open_unshared(name, how, true)? {
                Some(file) => break file,
                None if role == Role::Authority => at.make(name, 0, true, |_| Ok::<_, FileError>(()))?,
                None => return Err(at.refused(NO_LIST).into()),
            }
        };
        let about = at.check_file(name, at.opened(name, &file)?)?;
        at.check_private(name, at.opened(name, &file)?)?;
        if about.nlink() != 1 {
            let why = "the list of revoked grounds has another name too (a hard link): remove that";
            return Err(at.refused_file(name, why).into());
        }
        if role == Role::Authority {
            at.sync()?;
        }
        // The process may go to another directory.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let list = Self::of(Some((file, path, role)));
        list.current()?;
        Ok(list)
    }

    fn of(file: Option<(UnsharedFile, PathBuf, Role)>) -> Self {
        let seen = Seen { grounds: Arc::default(), size: None, changed: (0, 0) };
        Self {
            file,
            seen: ArcSwap::from_pointee(seen),
            looked_ns: AtomicI64::new(0),
            read: Mutex::new(Read { bytes: 0, kept: Vec::new() }),
            appending: Mutex::new(()),
            fault: OnceLock::new(),
        }
    }

    /// Return what the list says now: everything that was appended, by whatever process, before this was called.
    ///
    /// # Errors
    /// [`RevokedError`]: nobody must be admitted.
    #[inline]
    pub fn current(&self) -> Result<Arc<RevokedGrounds>, RevokedError> {
        let Some((file, path, _)) = &self.file else { return Ok(self.seen.load().grounds.clone()) };
        self.check_fault(path)?;
        let file = file.get().ok_or(Forked)?;
        let about = rustix::fs::fstat(file).map_err(|error| unread(path)(error.into()))?;
        let seen = self.seen.load();
        let is_due = monotonic_ns().saturating_sub(self.looked_ns.load(Ordering::Relaxed)) > LOOK_APART_NS;
        if seen.is_of(&about) && !is_due {
            return Ok(seen.grounds.clone());
        }
        self.catch_up(&mut self.reading(), file, path)
    }

    /// Append a line, and return what the list says then. When this returns, the line is on its disk.
    ///
    /// # Errors
    /// [`RevokedError`]. If the disk failed, the line may count for now and be gone after a restart.
    pub fn append(&self, line: &Revocation) -> Result<Arc<RevokedGrounds>, RevokedError> {
        let text = line.to_line()?;
        let Some((file, path, role)) = &self.file else { return Ok(self.keep(line, &text)) };
        if *role != Role::Authority {
            return Err(RevokedError::ReadOnly);
        }
        let file = file.get().ok_or(Forked)?;
        let io = |what| move |source| FileError::Io { path: path.clone(), what, source };
        let _thread = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        let held = lock_byte(file, LOCK_AT, PATIENT).map_err(io("no byte of it can be locked"))?;
        let Some(_held) = held else { return Err(RevokedError::Busy { path: path.clone() }) };
        let whole = {
            let mut read = self.reading();
            self.catch_up(&mut read, file, path)?;
            read.bytes
        };
        if file.metadata().map_err(io(UNREAD))?.len() > whole {
            // Nobody was told that this was written, and no reader took it for a line.
            file.set_len(whole).map_err(io("what a killed process left in it cannot be cut off"))?;
        }
        let mut end: &File = file;
        let written = end.write(text.as_bytes()).map_err(io(UNWRITTEN))?;
        if written != text.len() {
            let _ = file.set_len(whole);
            return Err(io(UNWRITTEN)(io::ErrorKind::StorageFull.into()).into());
        }
        file.sync_data().map_err(io("it may not have reached the disk, so revoke again"))?;
        self.catch_up(&mut self.reading(), file, path)
    }

    /// Return whether the list outlives a restart of the machine: it lies in a file, and that not in memory.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        let file = self.file.as_ref().and_then(|(file, ..)| file.get());
        file.and_then(|file| rustix::fs::fstatfs(file).ok()).is_some_and(|about| !IN_MEMORY.contains(&about.f_type))
    }

    /// Return all lines, the oldest first.
    ///
    /// # Errors
    /// [`RevokedError`].
    pub fn lines(&self) -> Result<Vec<Revocation>, RevokedError> {
        self.current()?;
        let read = self.reading();
        let Some((file, path, _)) = &self.file else { return Ok(read.kept.clone()) };
        let mut all = Vec::new();
        let mut from = 0;
        let file = file.get().ok_or(Forked)?;
        let scanned = scan(file, &mut from, read.bytes, |line, _| all.push(line)).map_err(unread(path))?;
        match scanned {
            Ok(()) => Ok(all),
            Err(why) => Err(RevokedError::Damaged { path: path.clone(), line: all.len() as u64 + 1, why }),
        }
    }

    fn reading(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keep a line in memory.
    fn keep(&self, line: &Revocation, text: &str) -> Arc<RevokedGrounds> {
        let mut read = self.reading();
        let mut grounds = RevokedGrounds::clone(&self.seen.load().grounds);
        let check = Revocation::of_line(text.trim_end().as_bytes()).map_or([0; 8], |(_, check)| check);
        grounds.add(line, check);
        read.kept.push(line.clone());
        let grounds = Arc::new(grounds);
        self.seen.store(Arc::new(Seen { grounds: grounds.clone(), size: None, changed: (0, 0) }));
        grounds
    }

    fn check_fault(&self, path: &Path) -> Result<(), RevokedError> {
        let path = || path.to_owned();
        match self.fault.get() {
            None => Ok(()),
            Some(&Fault::Gone(what)) => Err(RevokedError::Gone { path: path(), what }),
            Some(&Fault::Damaged(line, why)) => Err(RevokedError::Damaged { path: path(), line, why }),
        }
    }

    fn fail(&self, path: &Path, fault: Fault) -> RevokedError {
        self.fault.get_or_init(|| fault);
        self.check_fault(path).err().unwrap_or(RevokedError::ReadOnly)
    }

    /// Read what is new.
    fn catch_up(&self, read: &mut Read, file: &File, path: &Path) -> Result<Arc<RevokedGrounds>, RevokedError> {
        let mut grounds = self.seen.load().grounds.clone();
        for turn in 1.. {
            self.check_fault(path)?;
            self.looked_ns.store(monotonic_ns(), Ordering::Relaxed);
            // What is changed after this is seen by the next look.
            let about = rustix::fs::fstat(file).map_err(|error| unread(path)(error.into()))?;
            if let Some(what) = what_happened(file, path) {
                return Err(self.fail(path, Fault::Gone(what)));
            }
            let size = u64::try_from(about.st_size).unwrap_or(0);
            if size < read.bytes {
                return Err(self.fail(path, Fault::Gone("cut")));
            }
            let add = |line: Revocation, check| Arc::make_mut(&mut grounds).add(&line, check);
            let scanned = scan(file, &mut read.bytes, size, add);
            let is_all = matches!(scanned, Ok(Ok(()))) && read.bytes == size;
            let size = is_all.then_some(about.st_size);
            self.seen.store(Arc::new(Seen { grounds: grounds.clone(), size, changed: changed(&about) }));
            // What was read is kept, whatever follows it.
            match scanned.map_err(unread(path))? {
                Ok(()) => break,
                Err(_) if turn < TRIES => std::thread::sleep(AGAIN),
                Err(why) => return Err(self.fail(path, Fault::Damaged(grounds.len() + 1, why))),
            }
        }
        Ok(grounds)
    }
}

/// The kinds of filesystems that are memory: tmpfs and ramfs.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58F6];
const NO_LIST: &str =
    "there is no list of revoked grounds here: open an engine with role='authority' first, which makes one";
const UNREAD: &str = "the list of revoked grounds cannot be read, so nobody is admitted";
const UNWRITTEN: &str = "the list of revoked grounds cannot be written, so nothing was revoked";

fn unread(path: &Path) -> impl Fn(io::Error) -> RevokedError {
    move |source| RevokedError::File(FileError::Io { path: path.to_owned(), what: UNREAD, source })
}

/// Return what happened to the file, if its path does not lead to it any more. Whoever opens the list next would open
/// another one.
fn what_happened(file: &File, path: &Path) -> Option<&'static str> {
    let own = file.metadata().ok()?;
    match std::fs::symlink_metadata(path) {
        _ if own.nlink() == 0 => Some("removed"),
        Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => None,
        Ok(_) => Some("replaced by another one"),
        Err(_) => Some("renamed, or put out of reach"),
    }
}

/// Read whole lines from a byte on, up to another one, and move the first behind each. Within, what is wrong with the
/// line that begins there.
fn scan(
    file: &File,
    from: &mut u64,
    to: u64,
    mut each: impl FnMut(Revocation, [u8; 8]),
) -> io::Result<Result<(), &'static str>> {
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        let known = bytes.len();
        let at = *from + known as u64;
        let wanted = usize::try_from(to.saturating_sub(at)).unwrap_or(CHUNK).min(CHUNK);
        bytes.resize(known + wanted, 0);
        let count = if wanted == 0 { 0 } else { file.read_at(bytes.get_mut(known..).unwrap_or_default(), at)? };
        bytes.truncate(known + count);
        let mut begin = 0;
        while let Some(len) = bytes.get(begin..).unwrap_or_default().iter().position(|&byte| byte == b'\n') {
            match Revocation::of_line(bytes.get(begin..begin + len).unwrap_or_default()) {
                Ok((line, check)) => each(line, check),
                Err(why) => return Ok(Err(why)),
            }
            begin += len + 1;
            *from += len as u64 + 1;
        }
        bytes.drain(..begin);
        if bytes.len() > MAX_LINE {
            return Ok(Err("is longer than ztfast writes one"));
        }
        if count == 0 {
            return Ok(Ok(()));
        }
    }
}

#[cfg(test)]
pub(crate) use self::line::tests::revocation;
#[cfg(test)]
mod tests;
