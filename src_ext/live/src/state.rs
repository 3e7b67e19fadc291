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

mod files;
mod parts;

pub use self::parts::{Capacity, OTHER_NAMES, StateError};

use self::files::{FILE, NO_STATE, OWNERS, StateDirectory};
use self::parts::{CALLERS, Control, Layout, PAGE};
use crate::names::{MAX_NAME, NameKind, Names};
use crate::notes::Notes;
use crate::owners::Owners;
use crate::proof::{Scale, base_ns};
use crate::register::SharedUids;
use crate::slot::{SessionDetails, SessionSlot};
use crate::switches::Switches;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use ztfast_pages::{
    Clock, FileError, Mapping, MemoryError, Opening, Reading, Residence, Resident, Role, UnsharedFile, what_became_of,
};

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
        let at = StateDirectory::open(directory, role, group, capacity.is_some())?;
        let (file, header) = loop {
            match (at.open_state()?, capacity) {
                (Some(found), _) => break found,
                (None, Some(capacity)) => at.make(capacity, &clock)?,
                (None, None) => return Err(at.0.refused(NO_STATE).into()),
            }
        };
        let path = directory.join(FILE);
        let refused = |why: String| at.0.refused_file(FILE, why);
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let capacity = Capacity { sessions: count(header.sessions), uids: count(header.uids) };
        let layout =
            Layout::new(capacity).filter(|layout| layout.hash() == header.layout && layout.size as u64 == header.size);
        if (header.clock == CALLERS) != matches!(clock, Clock::Caller(_)) {
            let why = if header.clock == CALLERS { BY_CALLERS } else { BY_SYSTEM };
            return Err(StateError::Clock { path, why });
        }
        let layout = layout.ok_or_else(|| {
            refused(
                "another build of ztfast laid this state out: end its processes and remove the file, with which \
                its kills and markets go"
                    .to_owned(),
            )
        })?;
        for (name, wanted, has) in [("sessions", wanted.0, capacity.sessions), ("handles", wanted.1, capacity.uids)] {
            if let Some(wanted) = wanted.filter(|&wanted| wanted != has) {
                let why = format!(
                    "this state was made with {name}={has}, and {wanted} are wanted: leave {name}= out, or end its \
                     processes and remove the file, with which its kills and markets go"
                );
                return Err(refused(why).into());
            }
        }
        let io = |what| at.0.io(FILE, what);
        let mapping =
            Mapping::of_file(&file, layout.size, role == Role::Authority).map_err(io("it cannot be mapped"))?;
        let resident = mapping.hold("state", residence)?;
        let owners = match role {
            Role::Authority => {
                let file = UnsharedFile::open(|| at.open_owners(Opening::Write));
                let file = file.map_err(at.0.io(OWNERS, UNKEPT))??;
                if file.get().map(|file| at.check_owners(file)).transpose()? != Some(header.owners) {
                    let why = "this is not the file that was made with the state, so that its processes would not exclude \
                               each other: end them and remove both files, with which kills and markets go";
                    return Err(at.0.refused_file(OWNERS, why).into());
                }
                Owners::enter(file).map_err(at.0.io(OWNERS, "no byte of it can be locked"))?
            }
            Role::Decide => Owners::reader(),
        };
        let (key, scale) = (header.key, scale_of(&clock, header.base_ns));
        // The process may go to another directory.
        let path = std::path::absolute(&path).unwrap_or(path);
        let file = UnsharedFile::open(|| Ok::<_, FileError>(file)).map_err(io(UNKEPT))??;
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
        what_became_of(file, path)
            .map_or(Ok(()), |what| Err(self.gone.get_or_init(|| StateGone { path: path.clone(), what }).clone()))
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

/// Return how proofs are packed where decisions read a clock.
fn scale_of(clock: &Clock, base_ns: i64) -> Scale {
    match clock {
        Clock::Caller(_) => Scale::of_callers_clock(),
        Clock::Coarse | Clock::Tsc => Scale::of_state(base_ns),
    }
}

#[cfg(test)]
mod tests;
