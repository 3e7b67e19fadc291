//! The certificate-validation table: credentials that were verified, found again by their SHA-256.
//!
//! A row counts until the shortest of its bounds, for the authorities' epoch under which it was verified, and while
//! none of its grounds fell. What is not in the table is only verified again: rows may be lost at any time, and a row
//! that is half written is not there.
//!
//! A key has one set of eight rows. Readers take no lock and call no system. Writers of a set exclude each other by a
//! lock on a byte of the file, which the system takes back when a process ends, and threads by a mutex.

mod files;
mod parts;
mod row;
mod slot;

pub use self::parts::MAX_ROWS;
pub use self::row::{MAX_GROUNDS, MAX_TEXT, NoRow, Row, RowGround};

use self::files::{FILE, NO_TABLE, REMOVE};
use self::parts::{CONTROL, COUNTERS, GROUPS, Layout, Line, WAYS};
use self::slot::{Holds, KeyWords, Slot, Words, words_of};
use crate::revoked::RevokedGrounds;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use ztfast_pages::{
    Directory, FileError, Forked, LockedByte, Mapping, MemoryError, Residence, Resident, Role, UnsharedFile, lock_byte,
    what_became_of,
};

/// The rows of a table, if nothing else is said.
pub const DEFAULT_ROWS: usize = 4096;
/// How long another process's writer is waited for. It writes a kilobyte, so only a process that the system stopped
/// takes longer.
const PATIENT: Duration = Duration::from_millis(50);
/// The bytes that writers lock, one for each group, lie behind all bytes of any file.
const LOCKS_AT: i64 = 1 << 60;

/// Why a table could not be opened, or a row not be kept.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be opened or made, or is refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system refused memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// No table has so many rows.
    #[error("a validation table has 1 to {MAX_ROWS} rows; {0} are wanted")]
    Rows(usize),
    /// This process may only read the table.
    #[error("this process may only read the credentials: open the engine with role='authority'")]
    ReadOnly,
    /// Another process keeps the lock of the row's set.
    #[error(
        "{}: another process was stopped while it wrote a row, so this one is not kept: let it go on (kill -CONT), or \
         end it (kill -KILL)", path.display()
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The system does not lock the file.
    #[error("{}: no byte of it can be locked: {source}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file was removed, or replaced by another one.
    #[error("{}: the file was {what} while it was open: open the engine anew, in all processes", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        what: &'static str,
    },
}

/// What was found for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// A row that counts now.
    Found,
    /// No row of this epoch: the credential has to be verified.
    Missing,
    /// A row that does not count yet.
    NotYet,
    /// A row whose time is over.
    Expired,
    /// A row of which this ground fell. Whether the credential may be admitted again is for the list of revoked grounds
    /// and another verification to say.
    Fallen(u64),
}

/// What became of a row that was put into a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is found from now on.
    Kept,
    /// It is not kept: this ground of it is revoked.
    Revoked(u64),
    /// It is not kept: something fell since its verification began, and it may rest on that.
    Late,
}

/// A moment at which a verification began ([`Table::begin`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun(u64);

/// How often the processes of a table found rows and did not, and how many rows that counted made room for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Rows that were found.
    pub hits: u64,
    /// Look-ups that found no row that counts.
    pub misses: u64,
    /// Rows that counted, and made room for others.
    pub evictions: u64,
}

const HITS: usize = 0;
const MISSES: usize = 1;
const EVICTIONS: usize = 2;

/// An open validation table.
pub struct Table {
    /// The pages of the mapping. The field stands before it, so that it is dropped before it.
    resident: Resident,
    mapping: Mapping,
    layout: Layout,
    seed: u64,
    role: Role,
    /// The file whose bytes are locked, and its path; none in private memory. A forked child closes it at once, and with
    /// it the share in its locks.
    file: Option<(UnsharedFile, PathBuf)>,
    /// Threads of this process exclude each other by these, because they share the file's locks.
    writing: [Mutex<()>; GROUPS],
    gone: OnceLock<&'static str>,
}

impl Table {
    /// Make a table in private memory. A forked child finds it empty.
    ///
    /// # Errors
    /// [`TableError`].
    ///
    /// ```
    /// use ztfast_identity::{Kept, Lookup, Revoked, Row, RowGround, Table};
    /// use ztfast_pages::Residence;
    ///
    /// let (table, revoked) = (Table::private(64, Residence::default())?, Revoked::in_memory());
    /// let (begun, list) = (table.begin(), revoked.current()?);
    /// let row = Row::new([7; 32], 1, (0, 100), 5, &[RowGround { kind: 0, number: 42 }], b"User::ann")?;
    /// assert_eq!(table.put(&row, begun, 5, &list)?, Kept::Kept);
    /// let mut found = Row::empty();
    /// assert_eq!(table.get(&[7; 32], 1, 99, &list, &mut found), Lookup::Found);
    /// assert_eq!(found.text(), b"User::ann");
    /// assert_eq!(table.get(&[7; 32], 1, 100, &list, &mut found), Lookup::Expired);
    /// assert_eq!(table.fall(42), [[7; 32]]);
    /// assert_eq!(table.get(&[7; 32], 1, 99, &list, &mut found), Lookup::Fallen(42));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn private(rows: usize, residence: Residence) -> Result<Self, TableError> {
        let layout = Layout::new(rows).ok_or(TableError::Rows(rows))?;
        let missing = |source| MemoryError::Missing { what: WHAT, bytes: layout.size, source };
        let mapping = Mapping::private(layout.size).map_err(missing)?;
        let seed = ztfast_pages::enter().map_err(missing)?;
        Self::of(mapping, layout, seed, Role::Authority, None, residence)
    }

    /// Open the table of a directory. An authority makes it if there is none, with `rows` rows or [`DEFAULT_ROWS`]; a
    /// table that exists must have these many, where a number is given. Others only read it.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn open(directory: &Path, role: Role, rows: Option<usize>, residence: Residence) -> Result<Self, TableError> {
        let wanted = rows.unwrap_or(DEFAULT_ROWS);
        let wanted_layout = Layout::new(wanted).ok_or(TableError::Rows(wanted))?;
        let at = Directory::open(directory, role, None, role == Role::Authority, NO_TABLE)?;
        let (file, header) = loop {
            match files::open(&at)? {
                Some(found) => break found,
                None if role == Role::Authority => files::make(&at, wanted_layout)?,
                None => return Err(at.refused(NO_TABLE).into()),
            }
        };
        let has = usize::try_from(header.rows).unwrap_or(0);
        let layout = Layout::new(has).ok_or(TableError::Rows(has))?;
        if rows.is_some() && layout != wanted_layout {
            let why = format!("the validation table has {has} rows, and {wanted} are wanted: {REMOVE}");
            return Err(at.refused_file(FILE, why).into());
        }
        let mapping = files::map(&at, &file, layout)?;
        // The process may go to another directory.
        let path = directory.join(FILE);
        let path = std::path::absolute(&path).unwrap_or(path);
        Self::of(mapping, layout, header.seed, role, Some((file, path)), residence)
    }

    fn of(
        mapping: Mapping,
        layout: Layout,
        seed: u64,
        role: Role,
        file: Option<(UnsharedFile, PathBuf)>,
        residence: Residence,
    ) -> Result<Self, TableError> {
        let resident = mapping.hold(WHAT, residence)?;
        let writing = [const { Mutex::new(()) }; GROUPS];
        Ok(Self { resident, mapping, layout, seed, role, file, writing, gone: OnceLock::new() })
    }

    /// Look a credential up, by a list of revoked grounds that is current. `out` holds its row if that was found, or
    /// does not count now. `now_ns` is the wall clock's time, in nanoseconds.
    #[inline]
    pub fn get(&self, key: &[u8; 32], epoch: u64, now_ns: i64, revoked: &RevokedGrounds, out: &mut Row) -> Lookup {
        let words = words_of(key);
        let set = self.set_of(&words);
        let found = self.look_up(set, &words, epoch, now_ns, revoked, out);
        let counter = if found == Lookup::Found { HITS } else { MISSES };
        self.count(set, counter);
        found
    }

    #[inline]
    fn look_up(
        &self,
        set: usize,
        key: &KeyWords,
        epoch: u64,
        now_ns: i64,
        revoked: &RevokedGrounds,
        out: &mut Row,
    ) -> Lookup {
        let Some(tags) = self.tags(set) else { return Lookup::Missing };
        if self.gone.get().is_some() {
            return Lookup::Missing;
        }
        for (way, tag) in tags.iter().enumerate() {
            if tag.load(Ordering::Acquire) != tag_of(key) {
                continue;
            }
            let Some(slot) = self.slot(set, way) else { continue };
            slot.prefetch();
            let Some(seen) = slot.read(Some((key, epoch)), out) else { continue };
            if let Some(ground) = out.fallen {
                return Lookup::Fallen(ground);
            }
            if !seen.is_checked(revoked.stamp()) {
                if let Some(ground) = out.grounds().iter().find(|ground| revoked.contains(ground.number)) {
                    return Lookup::Fallen(ground.number);
                }
                if self.mapping.is_writable() {
                    slot.note_checked(seen, revoked.stamp());
                }
            }
            if now_ns < out.not_before_ns {
                return Lookup::NotYet;
            }
            if now_ns >= out.not_after_ns {
                return Lookup::Expired;
            }
            if self.mapping.is_writable() {
                slot.note_use(out.used_ns, now_ns);
            }
            return Lookup::Found;
        }
        Lookup::Missing
    }

    /// Return the present moment, for whoever begins to verify a credential.
    #[must_use]
    pub fn begin(&self) -> Begun {
        Begun(self.falls().map_or(0, |falls| falls.load(Ordering::SeqCst)))
    }

    /// Return whether something fell since a moment: what was verified since then may rest on it.
    #[must_use]
    pub fn has_fallen_since(&self, begun: Begun) -> bool {
        self.begin() != begun
    }

    /// Keep a credential whose verification began at a moment, by a list of revoked grounds that is current. It
    /// replaces the row of the same key and epoch, or else takes the place of a row of its set: an empty one, one that
    /// fell, one whose time is over, or the one that was used least recently.
    ///
    /// # Errors
    /// [`TableError`]: the row is not kept, and its credential will be verified again.
    pub fn put(&self, row: &Row, begun: Begun, now_ns: i64, revoked: &RevokedGrounds) -> Result<Kept, TableError> {
        if !self.mapping.is_writable() {
            return Err(TableError::ReadOnly);
        }
        self.check_file()?;
        let key = words_of(&row.key);
        let set = self.set_of(&key);
        let _held = self.hold(set)?;
        if self.has_fallen_since(begun) {
            return Ok(Kept::Late);
        }
        if let Some(ground) = row.grounds().iter().find(|ground| revoked.contains(ground.number)) {
            return Ok(Kept::Revoked(ground.number));
        }
        let slots = || (0..WAYS).filter_map(|way| Some((way, self.slot(set, way)?)));
        let own = slots().find(|(_, slot)| slot.is_of(&key, row.epoch));
        let place = own.or_else(|| slots().min_by_key(|(_, slot)| slot.holds(now_ns)));
        let Some((way, slot)) = place else { return Err(TableError::Rows(0)) };
        if own.is_none() && slot.holds(now_ns).0 == Holds::Row {
            self.count(set, EVICTIONS);
        }
        slot.write(row, now_ns, revoked.stamp(), || {
            if let Some(tag) = self.tags(set).and_then(|tags| tags.get(way)) {
                tag.store(tag_of(&key), Ordering::Release);
            }
        });
        // Whoever makes rows fall counts before it looks at them, and this looks at the count after it wrote the row:
        // one of the two sees the other.
        fence(Ordering::SeqCst);
        let is_kept = !self.has_fallen_since(begun) && slot.confirm();
        Ok(if is_kept { Kept::Kept } else { Kept::Late })
    }

    /// Make every row fall, for ever, that rests on a ground. Return the keys of those that fell now. This takes no
    /// lock and waits for nobody; a row that is written meanwhile is not kept.
    ///
    /// A process that only reads the table makes nothing fall, and finds nothing.
    #[must_use]
    pub fn fall(&self, ground: u64) -> Vec<[u8; 32]> {
        self.fall_where(|row| row.rests_on(ground).then_some(ground))
    }

    /// Make every row fall, for ever, for which `falls` names the ground by which it does. Return the keys of those
    /// that fell now.
    #[must_use]
    pub fn fall_where(&self, falls: impl Fn(&Row) -> Option<u64>) -> Vec<[u8; 32]> {
        let Some(count) = self.falls().filter(|_| self.mapping.is_writable()) else { return Vec::new() };
        count.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut row = Row::empty();
        self.slots().filter_map(|slot| slot.fall(&mut row, &falls)).collect()
    }

    /// List the rows, with those that fell or do not count now.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.slots().filter_map(|slot| {
            let mut row = Row::empty();
            slot.read(None, &mut row).map(|_| row)
        })
    }

    /// Return the number of rows, counted one by one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows().count()
    }

    /// Return whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows().next().is_none()
    }

    /// Return how many rows there can be.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.layout.rows
    }

    /// Return the counts of all processes since the table was made. Look-ups of processes that only read it are not
    /// among them.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let sum = |of: usize| {
            let lines = self.mapping.slice::<Line>(COUNTERS, GROUPS).unwrap_or_default();
            lines.iter().filter_map(|line| line.get(of)).map(|count| count.load(Ordering::Relaxed)).sum()
        };
        Counters { hits: sum(HITS), misses: sum(MISSES), evictions: sum(EVICTIONS) }
    }

    /// Return the pages of the table.
    #[must_use]
    pub const fn resident(&self) -> &Resident {
        &self.resident
    }

    /// Return what this process may do with the table.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Refuse a table whose file was removed or replaced, so that rows no longer fall for all processes. From then on
    /// no row is found. Whoever has a thread that looks after files calls this each second.
    ///
    /// # Errors
    /// [`TableError::Gone`].
    pub fn check_file(&self) -> Result<(), TableError> {
        let Some((file, path)) = self.file.as_ref().and_then(|(file, path)| Some((file.get()?, path))) else {
            return Ok(());
        };
        let what = self.gone.get().copied().or_else(|| what_became_of(file, path));
        what.map_or(Ok(()), |what| Err(TableError::Gone { path: path.clone(), what: self.gone.get_or_init(|| what) }))
    }

    /// Return the set of a key.
    #[inline]
    fn set_of(&self, key: &KeyWords) -> usize {
        let mixed = (key[0] ^ self.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // The upper half of the product is below the number of sets.
        usize::try_from((u128::from(mixed) * self.layout.sets as u128) >> 64).unwrap_or(0)
    }

    #[inline]
    fn tags(&self, set: usize) -> Option<&Line> {
        self.mapping.slice::<Line>(self.layout.tags, self.layout.sets)?.get(set)
    }

    #[inline]
    fn slot(&self, set: usize, way: usize) -> Option<Slot<'_>> {
        self.words().get(set * WAYS + way).map(Slot)
    }

    #[inline]
    fn words(&self) -> &[Words] {
        self.mapping.slice::<Words>(self.layout.first_row, self.layout.rows).unwrap_or_default()
    }

    fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        self.words().iter().map(Slot)
    }

    fn falls(&self) -> Option<&AtomicU64> {
        self.mapping.slice::<AtomicU64>(CONTROL, 1)?.first()
    }

    #[inline]
    fn count(&self, set: usize, counter: usize) {
        let line = self.mapping.slice::<Line>(COUNTERS, GROUPS).and_then(|lines| lines.get(set % GROUPS));
        if let Some(counter) = line.and_then(|line| line.get(counter)).filter(|_| self.mapping.is_writable()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Exclude other writers of a set.
    fn hold(&self, set: usize) -> Result<Held<'_>, TableError> {
        let group = set % GROUPS;
        let mutex = self.writing.get(group).ok_or(TableError::Rows(0))?;
        let thread = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((file, path)) = &self.file else { return Ok(Held { _byte: None, _thread: thread }) };
        let lock = |source| TableError::Lock { path: path.clone(), source };
        let file: &File = file.get().ok_or_else(|| lock(io::Error::other(Forked)))?;
        let at = LOCKS_AT + i64::try_from(group).unwrap_or(0);
        match lock_byte(file, at, PATIENT).map_err(lock)? {
            Some(byte) => Ok(Held { _byte: Some(byte), _thread: thread }),
            None => Err(TableError::Busy { path: path.clone() }),
        }
    }
}

/// The purpose of the memory, for messages.
const WHAT: &str = "validation table";

/// What a writer holds. The byte is unlocked before the mutex is.
struct Held<'t> {
    _byte: Option<LockedByte<'t>>,
    _thread: MutexGuard<'t, ()>,
}

/// Return the word by which readers find a row. It is another word of the key than the set's.
#[inline]
const fn tag_of(key: &KeyWords) -> u64 {
    key[1]
}

#[cfg(test)]
mod tests;
