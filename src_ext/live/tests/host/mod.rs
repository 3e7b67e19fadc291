//! A shared state for tests that kill its processes: what a session of each principal holds, and what must be true of a
//! state whatever happened to its processes.
//!
//! All that a session holds follows from its principal, so that a session with parts of two is recognised.

pub mod child;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use zerocopy::FromZeros;
use ztfast_live::{
    AUTHORITY_GROUND, Admission, AdmitError, Capacity, Handle, Known, Place, Proof, Role, SessionId, SessionRecord,
    SessionStatus, Sessions, State,
};
use ztfast_pages::{Clock, Reading, Residence, monotonic_ns};

/// The slots of a state.
pub const SESSIONS: usize = 8;
/// The places of its register of uids.
pub const UIDS: usize = 64;
/// How long a process may refuse an admission although a slot has become free.
const PATIENT: Duration = Duration::from_secs(2);

const SECOND: i64 = 1_000_000_000;

/// When a session ends, by the wall clock: before this test, or long after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Over,
    Sooner,
    Later,
    Never,
}

impl End {
    pub const ALL: [Self; 4] = [Self::Over, Self::Sooner, Self::Later, Self::Never];

    /// Return the end of the session of a principal.
    pub fn of(self, principal: usize) -> i64 {
        let own = i64::try_from(principal).unwrap();
        match self {
            Self::Over => SECOND + own,
            Self::Sooner => 4_000_000_000 * SECOND + own,
            Self::Later => 5_000_000_000 * SECOND + own,
            Self::Never => i64::MAX,
        }
    }
}

/// Return how a principal proved who it is, at its first, second, ... proof.
pub fn proof(principal: usize, turn: u8, base_ns: i64) -> Proof {
    let mixed = (principal as u64 * 4 + u64::from(turn) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Proof {
        at_ns: base_ns + 16_000_000 * (1 + i64::try_from(mixed >> 40).unwrap()),
        factors: u32::try_from(mixed >> 16 & 0x7_FFFF).unwrap(),
        assurance: u8::try_from(mixed >> 8 & 7).unwrap(),
        risk: u8::try_from(mixed % 101).unwrap(),
    }
}

/// Return what else is known about the session of a principal.
pub fn known(principal: usize, base_ns: i64) -> Known {
    let own = u32::try_from(principal).unwrap();
    Known {
        proof: proof(principal, 0, base_ns),
        on_behalf_of: (!principal.is_multiple_of(3)).then_some(Place(principal + 1_000_000)),
        region: (!own.is_multiple_of(5)).then_some(own + 10),
        channel: Some(own + 20),
        // A session that rests on a credential gets no later end, and these do.
        grounds: std::array::from_fn(|at| if at == AUTHORITY_GROUND { 0 } else { (principal * 7919 + at) as u64 + 1 }),
    }
}

pub fn admit(sessions: &Sessions, principal: usize, end: End) -> Result<SessionId, AdmitError> {
    let (not_before_ns, not_after_ns) = (i64::try_from(principal).unwrap(), end.of(principal));
    let admission = Admission { principal: Handle(0), not_before_ns, not_after_ns };
    sessions.admit_with(Place(principal), &admission, &known(principal, sessions.state().base_ns()))
}

/// Return the time by which decisions compare a session's end.
fn monotonic(wall_ns: i64, now: &Reading) -> i64 {
    if wall_ns == i64::MAX { i64::MAX } else { now.monotonic.saturating_add(wall_ns.saturating_sub(now.wall)) }
}

/// Return what is wrong with a session that nobody half changed: its bounds and proofs must be those of its principal,
/// and its end one of these.
pub fn fault_of(record: &SessionRecord, ends: &[End], base_ns: i64) -> Option<String> {
    let principal = record.principal.0;
    let wanted = known(principal, base_ns);
    let now = Reading::now();
    let is_near = |end: End| record.to_ns.abs_diff(monotonic(end.of(principal), &now)) < SECOND.unsigned_abs();
    let ended = ends.iter().any(|end| record.not_after_ns == end.of(principal));
    let is_own = record.not_before_ns == i64::try_from(principal).unwrap()
        && ended
        && ends.iter().any(|&end| is_near(end))
        && record.grounds == wanted.grounds
        && record.live.on_behalf_of == wanted.on_behalf_of
        && record.live.region == wanted.region
        && record.live.channel == wanted.channel
        && (0..4).any(|turn| record.live.proof == proof(principal, turn, base_ns));
    (!is_own).then(|| format!("a session of several: {record:?}"))
}

/// Return whether a session is over by now.
pub fn is_over(record: &SessionRecord) -> bool {
    record.status == SessionStatus::Revoked || record.to_ns <= monotonic_ns()
}

/// Admit a session to a state that has room for it. A process that found the table full looks again after a while.
pub fn admit_soon(sessions: &Sessions, principal: usize) -> Result<SessionId, String> {
    let began = Instant::now();
    loop {
        match admit(sessions, principal, End::Never) {
            Err(AdmitError::Full(_)) if began.elapsed() < PATIENT => std::thread::sleep(Duration::from_millis(1)),
            done => return done.map_err(|error| format!("principal {principal}: {error}")),
        }
    }
}

/// Fill a state by one process, see that it is full, empty it by the other, and fill it again. `principal` is the first
/// of those that are admitted. Return what is wrong.
pub fn fill_and_empty(first: &Sessions, second: &Sessions, principal: usize) -> Result<(), String> {
    let capacity = first.state().capacity().sessions;
    let mut taken = first.all().iter().filter(|record| !is_over(record)).count();
    for (turn, (filling, emptying)) in [(first, second), (second, first)].into_iter().enumerate() {
        let from = principal + turn * capacity;
        let mut ids = Vec::new();
        for number in taken..capacity {
            let id = admit_soon(filling, from + number)?;
            ids.push((id, Place(from + number)));
        }
        if !matches!(admit(filling, from, End::Never), Err(AdmitError::Full(_))) {
            return Err(format!("more than {capacity} sessions"));
        }
        for &(id, place) in &ids {
            for sessions in [filling, emptying] {
                if sessions.valid(id, monotonic_ns()) != Some(place) {
                    return Err(format!("{id:?} of {place:?} is {:?}", sessions.record(id)));
                }
            }
        }
        for record in emptying.all().iter().filter(|record| !is_over(record)) {
            if !emptying.set(record.id, SessionStatus::Revoked) || filling.valid(record.id, monotonic_ns()).is_some() {
                return Err(format!("it cannot be revoked: {record:?}"));
            }
        }
        taken = 0;
    }
    Ok(())
}

/// Return what is wrong with the uids of a state.
pub fn fault_of_uids(sessions: &Sessions, registered: &[(String, usize)]) -> Option<String> {
    let uids = sessions.state().uids()?;
    for (id, place) in registered {
        if uids.find("User", id) != Some(*place) || uids.get(*place) != Some(("User", id)) {
            return Some(format!("{id} is {:?}, and was {place}", uids.find("User", id)));
        }
    }
    (0..uids.in_use().uids.0).find_map(|place| {
        // A place that was given out by a process that ended then has no uid, or one that has another place.
        let (ty, id) = uids.get(place)?;
        let other = uids.find(ty, id);
        let is_used_twice = other.is_some_and(|other| other != place && uids.get(other) != Some((ty, id)));
        (ty != "User" || is_used_twice).then(|| format!("place {place} is {ty}::{id:?}, found at {other:?}"))
    })
}

/// Make a value of zeros that this process and its children share. It is never removed.
pub fn shared<T: FromZeros>() -> &'static T {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: this makes a new mapping, which is never removed.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<T>(), access, kind, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED);
    // SAFETY: the mapping is large enough and aligned to pages, and zeros are a value of this type.
    unsafe { &*memory.cast::<T>() }
}

/// A directory of this test's own, in memory if there is such a filesystem, which is removed with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let memory = Path::new("/dev/shm");
        let within = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self(within.join(format!("ztfast-killed-{}-{number}", std::process::id())))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn open(&self, role: Role) -> Sessions {
        Sessions::of(Arc::new(self.state(role)))
    }

    pub fn state(&self, role: Role) -> State {
        let capacity = Some(Capacity { sessions: SESSIONS, uids: UIDS });
        State::open(&self.0, role, capacity, (None, None), None, Clock::Coarse, Residence::default()).unwrap()
    }

    /// Return the names of what is in the directory.
    pub fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
