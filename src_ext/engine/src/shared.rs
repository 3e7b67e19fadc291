//! The state that the readers and the writer of an engine share: sessions, the version, the switches, the newest
//! snapshot and the registry.
//!
//! A gate or a batch holds this, and nothing of the writer's.

use crate::options::EngineOptions;
use crate::registry::Registry;
use crate::snapshot::Snapshot;
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use ztfast_codes::Code;
use ztfast_live::{
    Admission, AdmitError, Handle, HandleError, Key, Known, Notice, OwnedUid, Place, Role, SessionId, Sessions,
    Switchboard, Wanted,
};
use ztfast_pages::{Forked, WipedWord};

/// The bit of [`Shared::version`] that is set while the bounds of sessions are behind the wall clock.
const BEHIND: u64 = 1 << 63;
/// The bit that is set once the state's file is gone.
const GONE: u64 = 1 << 62;

/// The state that the gates, the batches and the writer of an engine share.
pub struct Shared {
    pub(crate) sessions: Sessions,
    pub(crate) current: ArcSwap<Snapshot>,
    /// The current snapshot's version, with [`BEHIND`] and [`GONE`]. Every decision reads it first, and the kill word.
    version: AtomicU64,
    pub(crate) key: Key,
    pub(crate) switches: Switchboard,
    /// The nonce of the process that opened the engine.
    process: u64,
    /// Makes [`Self::version`] 0 in a forked child, whose copy of a shared state is its parent's.
    wiped: OnceLock<WipedWord>,
    /// Held for short times only: preparing a gate and asking for a handle wait for it. It is locked after
    /// [`crate::Engine`]'s own lock.
    registry: Mutex<Registry>,
    pub(crate) options: EngineOptions,
}

impl Shared {
    /// Start with a first snapshot, in the process with this nonce.
    pub(crate) fn new(
        (sessions, switches): (Sessions, Switchboard),
        snapshot: Snapshot,
        process: u64,
        options: EngineOptions,
    ) -> Self {
        Self {
            sessions,
            version: AtomicU64::new(snapshot.version),
            key: snapshot.loaded.key,
            current: ArcSwap::from_pointee(snapshot),
            switches,
            process,
            wiped: OnceLock::new(),
            registry: Mutex::new(Registry::new(options.handles)),
            options,
        }
    }

    /// Make the version 0 in forked children, so that no gate of theirs finds it as expected.
    ///
    /// # Errors
    /// The system refuses the handler that does it.
    pub(crate) fn wipe_in_children(self: &Arc<Self>) -> std::io::Result<()> {
        // SAFETY: the word lies in the allocation of an `Arc`, so it does not move, and `wiped` is dropped with it.
        let wiped = unsafe { WipedWord::new(&self.version) }?;
        let _ = self.wiped.set(wiped);
        Ok(())
    }

    /// Return whether this process is a forked child of the one that opened the engine. Then every decision is
    /// [`Code::Forked`].
    #[inline]
    #[must_use]
    pub fn is_forked(&self) -> bool {
        ztfast_pages::nonce() != self.process
    }

    /// Refuse to go on in a forked child, and let sessions follow the wall clock. Every method that changes something
    /// or takes a lock calls this first: another thread may have held the lock at the fork, and no thread of the child
    /// would release it.
    pub(crate) fn check_process(&self) -> Result<(), Forked> {
        if self.is_forked() {
            return Err(Forked);
        }
        self.sessions.follow();
        Ok(())
    }

    /// Lock the registry.
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Return the current snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Return the current snapshot's version, by which gates notice a swap.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire) & !(BEHIND | GONE)
    }

    /// Let decisions heed what was found out about the state.
    pub(crate) fn heed(&self, notice: Notice) {
        match notice {
            Notice::Behind(true) => self.version.fetch_or(BEHIND, Ordering::AcqRel),
            Notice::Behind(false) => self.version.fetch_and(!BEHIND, Ordering::AcqRel),
            Notice::Gone => self.version.fetch_or(GONE, Ordering::AcqRel),
        };
    }

    /// Return the denial of a session by the wall clock, where its bounds are behind that, or because the state's file
    /// is gone.
    #[inline]
    pub(crate) fn denied_by_state(&self, session: SessionId) -> Option<Code> {
        let version = self.version.load(Ordering::Acquire);
        if version & GONE != 0 {
            return Some(Code::StateGone);
        }
        if version & BEHIND != 0 { self.sessions.denied_by_wall(session) } else { None }
    }

    /// Return 0 if this is the current snapshot's version and nothing is killed.
    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    pub(crate) fn disquiet(&self, version: u64) -> u64 {
        // Relaxed loads become parts of other instructions. The fence orders what the decision reads after both.
        let found = (self.version.load(Ordering::Relaxed) ^ version) | self.switches.word_relaxed();
        fence(Ordering::Acquire);
        found
    }

    /// Raise the version, after the new snapshot was put into the mailboxes. Only the writer calls this, one call at a
    /// time.
    pub(crate) fn announce(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Return the handle of a uid. It is valid for the life of the engine, whether or not a bundle knows the entity.
    ///
    /// # Errors
    /// [`HandleError`].
    pub fn handle(&self, ty: &str, id: &str) -> Result<Handle, HandleError> {
        self.check_process()?;
        let place = self.place_of(&mut self.registry(), ty, id, Wanted::Handle)?;
        Ok(self.key.handle(place))
    }

    /// Give a uid a place. It is kept as long as sessions need it, or for ever.
    pub(crate) fn place_of(
        &self,
        registry: &mut Registry,
        ty: &str,
        id: &str,
        wanted: Wanted,
    ) -> Result<Place, HandleError> {
        let snapshot = self.snapshot();
        let (place, fresh) = registry.register.place(ty, id, &snapshot.loaded.uids, wanted)?;
        if fresh {
            snapshot.loaded.resolve_handle(place, snapshot.changes.as_deref());
        }
        Ok(place)
    }

    /// Admit a session.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn admit(&self, admission: &Admission) -> Result<SessionId, AdmitError> {
        self.check_process()?;
        self.sessions.check_file()?;
        let principal = self.key.place(admission.principal);
        let registry = self.registry();
        if !registry.register.is_given(principal, &self.snapshot().loaded.uids) {
            return Err(AdmitError::UnknownHandle);
        }
        self.sessions.admit(principal, admission)
    }

    /// Admit a session for a uid, valid from `not_before_ns` to `not_after_ns` as in [`Admission`]. Its place among the
    /// handles is released by the first swap after the session is over; a place from [`Self::handle`] is never
    /// released.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn admit_uid(
        &self,
        ty: &str,
        id: &str,
        not_before_ns: i64,
        not_after_ns: i64,
    ) -> Result<SessionId, AdmitError> {
        self.check_process()?;
        self.sessions.check_file()?;
        let vacancy = self.sessions.vacancy()?;
        // The registry stays locked until the session exists: before that, nothing marks the place as used.
        let mut registry = self.registry();
        let principal = self.place_of(&mut registry, ty, id, Wanted::Session)?;
        let admission = Admission { principal: self.key.handle(principal), not_before_ns, not_after_ns };
        vacancy.admit(principal, &admission, &Known::default())
    }

    /// Return the nanoseconds that decisions compare with a session's bounds.
    #[inline]
    #[must_use]
    pub fn now_ns(&self) -> i64 {
        self.sessions.state().now_ns()
    }

    /// Give an engine whose clock is the caller's another time, in nanoseconds since the epoch. An earlier time than
    /// before changes nothing. Return the time that the clock shows; `None` if the clock is another one, or in a forked
    /// child, whose time would be its parent's.
    #[inline]
    pub(crate) fn tick(&self, ns: i64) -> Option<i64> {
        if self.is_forked() { None } else { self.sessions.state().set_time(ns) }
    }

    /// Return whether decisions read the kernel's coarse clock.
    pub(crate) fn has_coarse_clock(&self) -> bool {
        self.sessions.state().clock().is_coarse()
    }

    /// Return the role in which the engine was opened.
    #[must_use]
    pub fn role(&self) -> Role {
        self.sessions.state().role()
    }

    /// Return the place that a handle names. A foreign handle gives a place outside of the table.
    #[inline]
    pub(crate) fn place(&self, handle: Handle) -> Place {
        self.key.place(handle)
    }

    /// Return the place of the session's principal, or the code of the session's denial.
    #[inline]
    pub(crate) fn principal(&self, session: SessionId, now_ns: i64, killed: bool) -> Result<Place, Code> {
        // The version is 0 in a forked child.
        let is_usual = self.version.load(Ordering::Acquire).wrapping_sub(1) < GONE - 1;
        if killed || !is_usual {
            self.unusual_denial(session, killed)?;
        }
        self.sessions.valid(session, now_ns).ok_or_else(|| self.why(session, now_ns))
    }

    #[cold]
    #[inline(never)]
    fn unusual_denial(&self, session: SessionId, killed: bool) -> Result<(), Code> {
        if self.is_forked() {
            return Err(Code::Forked);
        }
        if killed { Err(Code::Killed) } else { self.denied_by_state(session).map_or(Ok(()), Err) }
    }

    /// Return the code of the denial of a session that was found invalid.
    #[cold]
    #[inline(never)]
    pub(crate) fn why(&self, session: SessionId, now_ns: i64) -> Code {
        if self.is_forked() { Code::Forked } else { self.sessions.why(session, now_ns) }
    }

    /// Return the uid of a handle; `None` if the handle is not this engine's.
    #[must_use]
    pub fn handle_uid(&self, handle: Handle) -> Option<OwnedUid> {
        self.snapshot().loaded.uids.get(self.key.place(handle)).map(|(ty, id)| (ty.into(), id.into()))
    }

    /// Return the bytes that the context of a request may take.
    #[must_use]
    pub const fn max_context(&self) -> usize {
        self.options.max_context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_forked_child_and_one_that_is_behind_or_gone_are_unusual() {
        let is_usual = |version: u64| version.wrapping_sub(1) < GONE - 1;
        assert!(is_usual(1) && is_usual(2) && is_usual(GONE - 1));
        for unusual in [0, GONE, BEHIND, GONE | 7, BEHIND | 7, BEHIND | GONE | 7] {
            assert!(!is_usual(unusual), "{unusual:#x}");
        }
    }
}
