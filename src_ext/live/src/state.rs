//! The state of a host: sessions, switches and uids, in one file that its processes map, or in private memory of the
//! same layout.
//!
//! ```text
//! header      what the file is; it never changes
//! control     counters, the clocks' difference, the time that users give, names of factors
//! slots       a line for each session, which decisions read
//! details     a line for each session, which writers read
//! switches    kills and market states
//! notes       who changed sessions, kills and markets, when and why
//! uids        the register of uids
//! ```
//!
//! The file is made whole before it gets its name, so no process sees it half made. A process with the role
//! [`Role::Decide`] opens the file for reading only, so that no code in it can make the mapping writable.

use crate::names::{MAX_NAME, NameKind, NameSlot, Names};
use crate::notes::Notes;
use crate::owners::Owners;
use crate::ownership::{check_owner, check_user, effective_user};
use crate::proof::{MAX_FACTORS, Scale, base_ns};
use crate::register::{SharedUids, sizes};
use crate::slot::{LAYOUT, SessionDetails, SessionSlot};
use crate::switches::{SWITCHES_LAYOUT, Switches};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, RenameFlags};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use ztfast_pages::{Clock, Mapping, MemoryError, Reading, Residence, Resident, Shareable, UnsharedFile};

/// What a process may do with a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Admit, revoke and change sessions; kill and release.
    #[default]
    Authority,
    /// Decide. The state is mapped for reading only.
    Decide,
}

/// How many sessions and uids a state holds. It is chosen when the state is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// The sessions that can be live at once.
    pub sessions: usize,
    /// The uids that can have a number in all processes; 0 in private memory, where numbers are an engine's own.
    pub uids: usize,
}

/// A shared state is another one by now: engines that are opened from now on do not see this one, nor this one them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}: the file of this state was {what} while the engine was open, so nothing that is changed here reaches other \
     processes: every decision for a session is DENY with code STATE_GONE; open the engine anew, in all processes",
    path.display()
)]
pub struct StateGone {
    path: PathBuf,
    what: &'static str,
}

/// Why a state could not be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused something.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not what it should be, or may be changed by others.
    #[error("{}: {why}", path.display())]
    Refused {
        /// The file or directory.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The state goes by another clock: its bounds would mean other times.
    #[error("{}: {why}", path.display())]
    Clock {
        /// The file.
        path: PathBuf,
        /// Which clock it goes by, and what to do.
        why: &'static str,
    },
    /// The system refused memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers, without which handles and sessions could be guessed: {0}")]
    NoRandomness(#[from] getrandom::Error),
}

const MAGIC: [u8; 8] = *b"ZTFSTATE";
/// The version of the layout of the whole state.
const VERSION: u32 = 2;
const FILE: &str = "state";
const OWNERS: &str = "owners";
const PAGE: usize = 4096;

/// What the file is. It is written before any process can see the file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: u32,
    slot_layout: u32,
    /// The sizes and places of all parts, hashed: another build may lay them out otherwise.
    layout: u64,
    size: u64,
    /// The boot in which the state was made: its times are of that boot's clock.
    boot: [u8; 16],
    id: [u8; 16],
    inode: u64,
    /// The inode of the file of owners: those who lock another one do not exclude these.
    owners: u64,
    sessions: u64,
    uids: u64,
    /// The key that converts places to handles, the same in all processes.
    key: u64,
    /// The time that proofs call 0.
    base_ns: i64,
    /// Whose clock bounds sessions and kills: [`SYSTEMS`] or [`CALLERS`].
    clock: u64,
    /// BLAKE3 of all fields before this one.
    hash: [u8; 32],
}

const SYSTEMS: u64 = 0;
const CALLERS: u64 = 1;

const HASHED: usize = size_of::<Header>() - 32;

/// The part that processes change besides sessions.
#[repr(C, align(4096))]
pub(crate) struct Control {
    /// [`Reading::offset`], and how long the machine had slept, when the bounds were last computed.
    pub offset: AtomicI64,
    pub slept: AtomicI64,
    /// How many slots were ever given out.
    pub fresh: AtomicU64,
    /// How often a session was revoked, or all bounds were computed again: slots may be free since.
    pub ended: AtomicU64,
    factor_count: AtomicU32,
    name_count: AtomicU32,
    /// The number of the process that changes switches or names now, as it sees itself; 0 for none.
    writer_process: AtomicU64,
    /// The latest time that an authority gave, where the clock is the callers'.
    callers_ns: AtomicI64,
    unused: AtomicU64,
    factors: [NameSlot; MAX_FACTORS],
    names: [NameSlot; OTHER_NAMES],
}

const CONTROL: usize = 4 * PAGE;
/// How many channels and regions have a name.
pub const OTHER_NAMES: usize = 255 - MAX_FACTORS;
const _: () = assert!(size_of::<Control>() == CONTROL && size_of::<NameSlot>() == 64);

// SAFETY: atomics without padding, as the size shows.
unsafe impl Shareable for Control {}
// SAFETY: atomics without padding.
unsafe impl Shareable for SessionSlot {}
// SAFETY: atomics without padding.
unsafe impl Shareable for SessionDetails {}
// SAFETY: atomics without padding, as its file shows.
unsafe impl Shareable for Switches {}
// SAFETY: atomics without padding, as its file shows.
unsafe impl Shareable for Notes {}

/// Where the parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    slots: usize,
    details: usize,
    switches: usize,
    notes: usize,
    uids: usize,
    size: usize,
}

impl Layout {
    fn new(capacity: Capacity) -> Option<Self> {
        let page = |at: usize| at.checked_next_multiple_of(PAGE);
        let slots = PAGE + CONTROL;
        let details = page(slots.checked_add(capacity.sessions.checked_mul(size_of::<SessionSlot>())?)?)?;
        let switches = page(details.checked_add(capacity.sessions.checked_mul(size_of::<SessionDetails>())?)?)?;
        let notes = page(switches.checked_add(size_of::<Switches>())?)?;
        let uids = page(notes.checked_add(size_of::<Notes>())?)?;
        let size = page(uids.checked_add(sizes(capacity.uids)?.total)?)?;
        Some(Self { slots, details, switches, notes, uids, size })
    }

    fn hash(&self) -> u64 {
        let parts = [self.slots, self.details, self.switches, self.notes, self.uids, self.size];
        let words = [&parts[..], &[size_of::<Header>(), size_of::<Control>(), SWITCHES_LAYOUT as usize]].concat();
        let bytes: Vec<u8> = words.iter().flat_map(|word| (*word as u64).to_le_bytes()).collect();
        first_word(&blake3::hash(&bytes))
    }
}

/// An open state.
pub struct State {
    /// The pages of the mapping. The field stands before it, so that it is dropped before it.
    resident: Resident,
    mapping: Mapping,
    layout: Layout,
    capacity: Capacity,
    key: u64,
    scale: Scale,
    pub(crate) owners: Owners,
    role: Role,
    /// The file of a shared state, and its path. A child closes it at once, so that it does not close another one with
    /// the same number later.
    file: Option<(UnsharedFile, PathBuf)>,
    gone: OnceLock<StateGone>,
    clock: Clock,
}

impl State {
    /// Make a state in private memory.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn private(sessions: usize, clock: Clock, residence: Residence) -> Result<Self, StateError> {
        let capacity = Capacity { sessions, uids: 0 };
        let what = "table of sessions";
        let missing = |bytes, source| MemoryError::Missing { what, bytes, source };
        let layout = Layout::new(capacity).ok_or_else(|| missing(usize::MAX, io::ErrorKind::OutOfMemory.into()))?;
        let mapping = Mapping::private(layout.size).map_err(|source| missing(layout.size, source))?;
        let resident = mapping.hold(what, residence)?;
        let key = getrandom::u64()? >> 1;
        let scale = scale_of(&clock, base_ns(clock.reading().monotonic));
        let (owners, role) = (Owners::private(), Role::Authority);
        Ok(Self {
            resident,
            mapping,
            layout,
            capacity,
            key,
            scale,
            owners,
            role,
            file: None,
            gone: OnceLock::new(),
            clock,
        })
    }

    /// Open the state in a directory. An authority makes it, if there is none and `capacity` says how large.
    ///
    /// For a state that exists, `wanted` must be its own capacity where given, and the clock must be the callers' if
    /// and only if it was when the state was made. Then the time is the latest that an authority gave, or this process.
    /// `group` is the directory's group, if its members may read the state, which may then belong to another user.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(
        directory: &Path,
        role: Role,
        capacity: Option<Capacity>,
        wanted: (Option<usize>, Option<usize>),
        group: Option<u32>,
        clock: Clock,
        residence: Residence,
    ) -> Result<Self, StateError> {
        let capacity = capacity.filter(|_| role == Role::Authority);
        let at = Directory::open(directory, role, group, capacity.is_some())?;
        let (file, header) = loop {
            match (at.open_state()?, capacity) {
                (Some(found), _) => break found,
                (None, Some(capacity)) => at.make(capacity, &clock)?,
                (None, None) => return Err(at.refused(NO_STATE)),
            }
        };
        let path = directory.join(FILE);
        let refused = |why: String| StateError::Refused { path: path.clone(), why };
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let capacity = Capacity { sessions: count(header.sessions), uids: count(header.uids) };
        let layout =
            Layout::new(capacity).filter(|layout| layout.hash() == header.layout && layout.size as u64 == header.size);
        if (header.clock == CALLERS) != matches!(clock, Clock::Caller(_)) {
            let why = if header.clock == CALLERS { BY_CALLERS } else { BY_SYSTEM };
            return Err(StateError::Clock { path, why });
        }
        let layout = layout.ok_or_else(|| {
            refused("another build of ztfast laid this state out: end its processes and remove the file, with which its kills and markets go".to_owned())
        })?;
        for (name, wanted, has) in [("sessions", wanted.0, capacity.sessions), ("handles", wanted.1, capacity.uids)] {
            if let Some(wanted) = wanted.filter(|&wanted| wanted != has) {
                let why = format!(
                    "this state was made with {name}={has}, and {wanted} are wanted: leave {name}= out, or end its \
                     processes and remove the file, with which its kills and markets go"
                );
                return Err(refused(why));
            }
        }
        let io = |what| move |source| StateError::Io { path: directory.join(FILE), what, source };
        let mapping =
            Mapping::of_file(&file, layout.size, role == Role::Authority).map_err(io("it cannot be mapped"))?;
        let resident = mapping.hold("state", residence)?;
        let owners = match role {
            Role::Authority => {
                let path = directory.join(OWNERS);
                let file = UnsharedFile::open(|| at.open_owners(OFlags::empty()));
                let file = file.map_err(at.io(OWNERS, UNKEPT))??;
                if file.get().map(|file| at.check_owners(file)).transpose()? != Some(header.owners) {
                    let why =
                        "this is not the file that was made with the state, so that its processes would not exclude \
                               each other: end them and remove both files, with which kills and markets go"
                            .to_owned();
                    return Err(StateError::Refused { path, why });
                }
                let what = "no byte of it can be locked";
                Owners::enter(file).map_err(|source| StateError::Io { path, what, source })?
            }
            Role::Decide => Owners::reader(),
        };
        let (key, scale) = (header.key, scale_of(&clock, header.base_ns));
        // The process may go to another directory.
        let path = std::path::absolute(&path).unwrap_or(path);
        let file = UnsharedFile::open(|| Ok::<_, StateError>(file)).map_err(io(UNKEPT))??;
        let file = Some((file, path));
        let gone = OnceLock::new();
        let state = Self { resident, mapping, layout, capacity, key, scale, owners, role, file, gone, clock };
        if role == Role::Authority {
            // Claims under this number are those of a process that ended: nobody else can have locked its byte.
            state.notes().writers().for_each(|writer| state.owners.forget_claim(writer));
            state.details().iter().for_each(|details| state.owners.forget_claim(&details.writer));
        }
        Ok(state)
    }

    /// Return what this process may do.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Return whether other processes can see the state.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.file.is_some()
    }

    /// Refuse a state whose file was removed, or replaced by another one. One that was only renamed, or lies where this
    /// process sees it no longer, is taken for the state until another file has its name.
    ///
    /// # Errors
    /// [`StateGone`].
    pub fn check_file(&self) -> Result<(), StateGone> {
        self.check_known()?;
        let Some((file, path)) = self.file.as_ref().and_then(|(file, path)| Some((file.get()?, path))) else {
            return Ok(());
        };
        let gone = |what| Err(self.gone.get_or_init(|| StateGone { path: path.clone(), what }).clone());
        // What the system does not tell is no reason to deny everything.
        let Ok(own) = file.metadata() else { return Ok(()) };
        if own.nlink() == 0 {
            return gone("removed");
        }
        match std::fs::symlink_metadata(path) {
            Ok(there) if (there.dev(), there.ino()) != (own.dev(), own.ino()) => gone("replaced by another one"),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Refuse a state whose file was found to be gone before.
    pub(crate) fn check_known(&self) -> Result<(), StateGone> {
        self.gone.get().map_or(Ok(()), |gone| Err(gone.clone()))
    }

    /// Return how many sessions and uids the state holds.
    #[must_use]
    pub const fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Return the nanoseconds that decisions compare with a session's bounds.
    #[inline]
    #[must_use]
    pub fn now_ns(&self) -> i64 {
        match &self.clock {
            Clock::Caller(own) => self.callers_ns(own),
            clock => clock.now_ns(),
        }
    }

    /// Read the clocks at one moment. The callers' clock is wall clock and monotonic clock in one.
    #[must_use]
    pub fn reading(&self) -> Reading {
        match &self.clock {
            Clock::Caller(own) => Reading::of_one_clock(self.callers_ns(own)),
            clock => clock.reading(),
        }
    }

    /// Return the nanoseconds since the epoch by the wall clock.
    #[must_use]
    pub fn wall_ns(&self) -> i64 {
        match &self.clock {
            Clock::Caller(own) => self.callers_ns(own),
            clock => clock.wall_ns(),
        }
    }

    /// Give the callers' clock another time, unless that would set it back. What an authority gives is the time of all
    /// processes. Return the time that the clock shows; `None` if it is another clock.
    pub fn set_time(&self, ns: i64) -> Option<i64> {
        self.clock.set(ns)?;
        if self.role == Role::Authority {
            self.control().callers_ns.fetch_max(ns, Ordering::AcqRel);
        }
        Some(self.now_ns())
    }

    fn callers_ns(&self, own: &AtomicI64) -> i64 {
        own.load(Ordering::Acquire).max(self.control().callers_ns.load(Ordering::Acquire))
    }

    /// Return the kind of clock that decisions read.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Return the key of handles, which all processes share.
    #[must_use]
    pub const fn key(&self) -> u64 {
        self.key
    }

    /// Return the pages of the state.
    #[must_use]
    pub const fn resident(&self) -> &Resident {
        &self.resident
    }

    /// Return the time, by the clock of decisions, that packed proofs call 0.
    #[must_use]
    pub const fn base_ns(&self) -> i64 {
        self.scale.base_ns
    }

    /// Return how proofs are packed.
    #[must_use]
    pub const fn scale(&self) -> Scale {
        self.scale
    }

    /// Return the address and the size of the memory.
    #[must_use]
    pub fn range(&self) -> (usize, usize) {
        self.mapping.range()
    }

    #[allow(clippy::expect_used)] // the layout has the control's page, or the state could not be opened
    pub(crate) fn control(&self) -> &Control {
        self.mapping.slice(PAGE, 1).and_then(<[Control]>::first).expect("every layout has this part")
    }

    #[allow(clippy::expect_used)] // as above
    pub(crate) fn switches(&self) -> &Switches {
        self.mapping.slice(self.layout.switches, 1).and_then(<[Switches]>::first).expect("every layout has this part")
    }

    #[allow(clippy::expect_used)] // as above
    pub(crate) fn notes(&self) -> &Notes {
        self.mapping.slice(self.layout.notes, 1).and_then(<[Notes]>::first).expect("every layout has this part")
    }

    /// Run `job` while no other thread, of no process, runs one. A process that ends meanwhile lets the next one run,
    /// also while a child that it forked lives on.
    ///
    /// # Errors
    /// The system does not lock the file, or another process keeps it locked for a second.
    pub(crate) fn alone<T>(&self, job: impl FnOnce() -> T) -> io::Result<T> {
        match self.owners.alone(|| self.as_writer(job))? {
            Some(done) => Ok(done),
            None => Err(io::Error::new(io::ErrorKind::TimedOut, self.who_writes())),
        }
    }

    /// Run `job` as [`Self::alone`] does, if nobody else does just now.
    pub(crate) fn alone_at_once<T>(&self, job: impl FnOnce() -> T) -> Option<T> {
        self.owners.alone_at_once(|| self.as_writer(job))
    }

    fn as_writer<T>(&self, job: impl FnOnce() -> T) -> T {
        let writer = &self.control().writer_process;
        writer.store(std::process::id().into(), Ordering::Relaxed);
        let done = job();
        writer.store(0, Ordering::Relaxed);
        done
    }

    /// Say who keeps others from changing switches and names, and what to do. If the system does not tell, that is
    /// whoever began last, as far as it came to say so.
    fn who_writes(&self) -> String {
        let (found, last) = (self.owners.writers(), self.control().writer_process.load(Ordering::Relaxed));
        let process = match (found.as_slice(), last) {
            ([], 0) => "another process".to_owned(),
            ([], number) => format!("process {number} (as it counts processes)"),
            (found, _) => format!("process {}", found.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
        };
        format!(
            "{process} keeps the first byte of the file `owners` locked: it was stopped while it changed switches or \
             names; let it go on (kill -CONT), or end it (kill -KILL)"
        )
    }

    pub(crate) fn slots(&self) -> &[SessionSlot] {
        self.mapping.slice(self.layout.slots, self.capacity.sessions).unwrap_or_default()
    }

    pub(crate) fn details(&self) -> &[SessionDetails] {
        self.mapping.slice(self.layout.details, self.capacity.sessions).unwrap_or_default()
    }

    /// Return the register of uids; `None` in private memory.
    #[must_use]
    pub fn uids(&self) -> Option<SharedUids<'_>> {
        self.is_shared().then(|| SharedUids::new(&self.mapping, self.layout.uids, self.capacity.uids, self.key))?
    }

    /// Return the names of factors, by number.
    #[must_use]
    pub fn factor_names(&self) -> Vec<String> {
        self.names(NameKind::Factor).all()
    }

    /// Return how many names of factors there are. A session that was read before has no others.
    #[inline]
    #[must_use]
    pub fn factor_count(&self) -> u32 {
        self.control().factor_count.load(Ordering::Acquire)
    }

    /// Return the number of the name of a factor, if it has one.
    #[must_use]
    pub fn factor_number(&self, name: &str) -> Option<u32> {
        self.names(NameKind::Factor).find(name)
    }

    /// Read the name of a factor into some bytes; `None` if there is none with this number.
    #[must_use]
    pub fn factor_name<'b>(&self, number: u32, into: &'b mut [u8; MAX_NAME]) -> Option<&'b str> {
        self.names(NameKind::Factor).read(number, into)
    }

    /// Read the name of a region or a channel into some bytes; `None` if there is none with this number.
    #[must_use]
    pub fn name<'b>(&self, number: u32, into: &'b mut [u8; MAX_NAME]) -> Option<&'b str> {
        self.names(NameKind::Other).read(number, into)
    }

    pub(crate) fn names(&self, kind: NameKind) -> Names<'_> {
        let control = self.control();
        match kind {
            NameKind::Factor => Names { count: &control.factor_count, slots: &control.factors },
            NameKind::Other => Names { count: &control.name_count, slots: &control.names },
        }
    }
}

const UNKEPT: &str = "it cannot be kept from forked children";
const BY_CALLERS: &str = "this state goes by the time that its engines are given: open it with clock='caller'";
const BY_SYSTEM: &str = "this state goes by the system's clock: open it without clock='caller', or make one in another \
                         directory";
const NO_STATE: &str = "there is no state here: open an engine with role='authority' first, which makes one";

/// The directory of a state. Everything in it is opened by the directory's descriptor, so that a path that changes
/// meanwhile leads nowhere else.
struct Directory<'a> {
    path: &'a Path,
    file: File,
    role: Role,
    group: Option<u32>,
}

impl Directory<'_> {
    fn open(path: &Path, role: Role, group: Option<u32>, makes: bool) -> Result<Directory<'_>, StateError> {
        let io = |what| move |source: io::Error| StateError::Io { path: path.to_owned(), what, source };
        let made = if makes { std::fs::create_dir(path) } else { Err(io::ErrorKind::AlreadyExists.into()) };
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io("the directory of the state cannot be made")(error));
            }
            Ok(()) => {
                let mode = if group.is_some() { 0o750 } else { 0o700 };
                let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
                std::fs::set_permissions(path, permissions).map_err(io("its permissions cannot be set"))?;
                if let Some(group) = group {
                    std::os::unix::fs::chown(path, None, Some(group)).map_err(io("it cannot be given to the group"))?;
                }
            }
            Err(_) => {}
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty());
        if !makes && matches!(file, Err(rustix::io::Errno::NOENT)) {
            return Err(StateError::Refused { path: path.to_owned(), why: NO_STATE.to_owned() });
        }
        let file = File::from(file.map_err(|error| io("it cannot be opened")(error.into()))?);
        let about = file.metadata().map_err(io("its owner cannot be read"))?;
        check_owner(&about, role == Role::Decide, group).map_err(refused_at(path))?;
        Ok(Directory { path, file, role, group })
    }

    fn refused(&self, why: impl Into<String>) -> StateError {
        StateError::Refused { path: self.path.to_owned(), why: why.into() }
    }

    fn io(&self, name: &str, what: &'static str) -> impl FnOnce(io::Error) -> StateError {
        let path = self.path.join(name);
        move |source| StateError::Io { path, what, source }
    }

    fn mode(&self) -> Mode {
        Mode::from_raw_mode(if self.group.is_some() { 0o640 } else { 0o600 })
    }

    fn open_file(&self, name: &str, flags: OFlags) -> Result<Option<File>, StateError> {
        // Without `NONBLOCK`, a pipe in the file's place would be waited for.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = if name == OWNERS { Mode::from_raw_mode(0o600) } else { self.mode() };
        match rustix::fs::openat(&self.file, name, flags, mode) {
            Ok(file) => Ok(Some(file.into())),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => {
                let owner = rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW).map(|about| about.st_uid);
                if self.role == Role::Authority && error == rustix::io::Errno::ACCESS {
                    check_user(owner.unwrap_or_else(|_| effective_user()))
                        .map_err(refused_at(&self.path.join(name)))?;
                }
                Err(self.io(name, "it cannot be opened")(error.into()))
            }
        }
    }

    fn open_owners(&self, flags: OFlags) -> Result<File, StateError> {
        let file = self.open_file(OWNERS, OFlags::RDWR | flags)?;
        file.ok_or_else(|| {
            self.refused(
                "the file `owners` of this state is gone: end its processes and remove the file `state`, with which its \
                 kills and markets go",
            )
        })
    }

    /// Check that nobody else can open the file of owners, and return its inode.
    fn check_owners(&self, file: &File) -> Result<u64, StateError> {
        let about = file.metadata().map_err(self.io(OWNERS, "its owner cannot be read"))?;
        check_owner(&about, false, None).map_err(refused_at(&self.path.join(OWNERS)))?;
        // Who can read it can lock it, and so keep others from killing and admitting.
        if about.mode() & 0o077 != 0 {
            let why = format!("others than its owner may read it (mode {:o}): chmod 600", about.mode() & 0o7777);
            return Err(StateError::Refused { path: self.path.join(OWNERS), why });
        }
        Ok(about.ino())
    }

    /// Open the file, and check that it is a whole state of this boot.
    fn open_state(&self) -> Result<Option<(File, Header)>, StateError> {
        let flags = if self.role == Role::Authority { OFlags::RDWR } else { OFlags::RDONLY };
        let Some(file) = self.open_file(FILE, flags)? else { return Ok(None) };
        let path = self.path.join(FILE);
        let refused = |why: &str| Err(StateError::Refused { path: path.clone(), why: why.to_owned() });
        let about = file.metadata().map_err(self.io(FILE, "its size cannot be read"))?;
        check_owner(&about, self.role == Role::Decide, self.group).map_err(refused_at(&path))?;
        if !about.is_file() {
            return refused("wanted a file: remove it");
        }
        let mut bytes = [0; size_of::<Header>()];
        let read = std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0);
        let header = Header::read_from_bytes(&bytes).ok().filter(|header| read.is_ok() && header.magic == MAGIC);
        let Some(header) = header else {
            return refused("this is not a state of ztfast: give another directory");
        };
        if header.version != VERSION || header.slot_layout != LAYOUT {
            return refused(
                "another version of ztfast made this state: end its processes and remove the file, with which its kills and markets go",
            );
        }
        if header.hash != hash(&header) {
            return refused(
                "the state's header was changed: end its processes and remove the file, with which its kills and markets go",
            );
        }
        if about.len() != header.size {
            return refused(
                "the state is not as long as when it was made: end its processes and remove the file, with which its kills and markets go",
            );
        }
        if about.nlink() != 1 {
            return refused("the file has another name too (a hard link): give the directory in which it was made");
        }
        if about.ino() != header.inode {
            return refused("this is a copy of a state, whose processes do not see it: remove it");
        }
        if header.boot == [0; 16] {
            return refused("the system does not tell which boot this is (/proc/sys/kernel/random/boot_id)");
        }
        if header.boot != boot() {
            return refused(
                "the state was made before the machine started, and its sessions, kills and markets ended with that: remove the \
                 file, and make kills again that are still needed",
            );
        }
        Ok(Some((file, header)))
    }

    /// Make the state, unless another process does it first.
    fn make(&self, capacity: Capacity, clock: &Clock) -> Result<(), StateError> {
        let layout = Layout::new(capacity).ok_or_else(|| self.refused("the state would be too large"))?;
        let mut random = [0; 8 + 16];
        getrandom::fill(&mut random)?;
        let (name, id) = random.split_at(8);
        let owners = self.check_owners(&self.open_owners(OFlags::CREATE)?)?;
        if let Some(file) = self.open_nameless()? {
            self.fill(&file, layout, capacity, clock, (id, owners))?;
            let own = format!("/proc/self/fd/{}", file.as_raw_fd());
            // A state that exists already is left as it is.
            match rustix::fs::linkat(rustix::fs::CWD, own, &self.file, FILE, AtFlags::SYMLINK_FOLLOW) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => return Ok(()),
                // Without /proc, a file that has no name gets none.
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(self.io(FILE, "it cannot get its name")(error.into())),
            }
        }
        let number = name.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let temporary = format!("{FILE}.{number:016x}");
        let file = self.open_file(&temporary, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        let file = file.ok_or_else(|| self.refused("the directory is gone"))?;
        let made = self.fill(&file, layout, capacity, clock, (id, owners)).and_then(|()| {
            let (from, flags) = (temporary.as_str(), RenameFlags::NOREPLACE);
            match rustix::fs::renameat_with(&self.file, from, &self.file, FILE, flags) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(error) => Err(self.io(FILE, "it cannot be renamed")(error.into())),
            }
        });
        let _ = rustix::fs::unlinkat(&self.file, temporary.as_str(), AtFlags::empty());
        made
    }

    /// Open a file that has no name yet, so that nothing is left of it if this process is killed. `None` where the
    /// filesystem has no such files.
    fn open_nameless(&self) -> Result<Option<File>, StateError> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.file, ".", flags, self.mode()) {
            Ok(file) => Ok(Some(file.into())),
            // Old kernels take the flag for that of a directory.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => Ok(None),
            Err(error) => Err(self.io(FILE, "it cannot be made")(error.into())),
        }
    }

    fn fill(
        &self,
        file: &File,
        layout: Layout,
        capacity: Capacity,
        clock: &Clock,
        (id, owners): (&[u8], u64),
    ) -> Result<(), StateError> {
        let size = layout.size as u64;
        // A file with holes would end its processes when a filesystem is full and a page is needed.
        rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size)
            .map_err(|error| self.io(FILE, "the system has no room for it")(error.into()))?;
        if let Some(group) = self.group {
            std::os::unix::fs::fchown(file, None, Some(group))
                .map_err(self.io(FILE, "it cannot be given to the group"))?;
            // The process's mask may have taken the group's right away.
            rustix::fs::fchmod(file, self.mode())
                .map_err(|error| self.io(FILE, "its permissions cannot be set")(error.into()))?;
        }
        let about = file.metadata().map_err(self.io(FILE, "its number cannot be read"))?;
        let now = clock.reading();
        let mut header = Header {
            magic: MAGIC,
            version: VERSION,
            slot_layout: LAYOUT,
            layout: layout.hash(),
            size,
            boot: boot(),
            id: id.try_into().unwrap_or_default(),
            inode: about.ino(),
            owners,
            sessions: capacity.sessions as u64,
            uids: capacity.uids as u64,
            key: getrandom::u64()? >> 1,
            base_ns: base_ns(now.monotonic),
            clock: if matches!(clock, Clock::Caller(_)) { CALLERS } else { SYSTEMS },
            hash: [0; 32],
        };
        header.hash = hash(&header);
        let mapping = Mapping::of_file(file, layout.size, true).map_err(self.io(FILE, "it cannot be mapped"))?;
        if let Some([control]) = mapping.slice::<Control>(PAGE, 1) {
            control.offset.store(now.offset(), Ordering::Relaxed);
            control.slept.store(now.boottime.saturating_sub(now.monotonic), Ordering::Relaxed);
        }
        std::os::unix::fs::FileExt::write_all_at(file, header.as_bytes(), 0)
            .map_err(self.io(FILE, "it cannot be written"))
    }
}

fn refused_at(path: &Path) -> impl FnOnce(String) -> StateError {
    move |why| StateError::Refused { path: path.to_owned(), why }
}

fn hash(header: &Header) -> [u8; 32] {
    *blake3::hash(header.as_bytes().get(..HASHED).unwrap_or_default()).as_bytes()
}

/// Return how proofs are packed where decisions read a clock.
fn scale_of(clock: &Clock, base_ns: i64) -> Scale {
    match clock {
        Clock::Caller(_) => Scale::of_callers_clock(),
        Clock::Coarse | Clock::Tsc => Scale::of_state(base_ns),
    }
}

fn first_word(hash: &blake3::Hash) -> u64 {
    hash.as_bytes().iter().take(8).fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Return the id of the boot; zeros where the system does not tell it.
fn boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| Some(u8::try_from(digit.to_digit(16)?).unwrap_or(0))).collect();
    let mut id = [0; 16];
    for (to, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *to = pair[0] << 4 | pair[1];
    }
    id
}

#[cfg(test)]
mod tests;
