//! What readers and writer of an engine share: sessions, the state word, the newest snapshot, and the registry of gates.
//!
//! A gate or a batch holds this, and nothing of the writer's.

use crate::kills::{Kill, Kills};
use crate::options::EngineOptions;
use crate::registry::Registry;
use crate::snapshot::{Base, Snapshot};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ztfast_codes::Code;
use ztfast_live::{
    Admission, AdmitError, Handle, HandleError, Key, OwnedUid, Place, SessionId, SessionStatus, Sessions, Wanted,
};
use ztfast_pages::Forked;

/// In [`Shared::state`]: the kill switch is on.
const KILLED: u64 = 1;

/// The state of an engine whose snapshot has this number, with the kill switch off.
pub(crate) const fn quiet(version: u64) -> u64 {
    version << 1
}

/// What all gates, batches and the writer of an engine have in common.
pub struct Shared {
    pub(crate) sessions: Sessions,
    pub(crate) current: ArcSwap<Snapshot>,
    /// What every decision looks at first: the current snapshot's version, above [`KILLED`].
    state: AtomicU64,
    pub(crate) key: Key,
    pub(crate) kills: Kills,
    /// The mark of the process that opened it.
    process: u64,
    /// Locked for moments only: whoever prepares a gate or asks for a handle waits for it. Taken after [`crate::Engine`]'s own.
    registry: Mutex<Registry>,
    pub(crate) options: EngineOptions,
}

impl Shared {
    /// Over a first snapshot, in the process with this mark.
    pub(crate) fn new(
        sessions: Sessions,
        snapshot: Snapshot,
        kills: Kills,
        process: u64,
        options: EngineOptions,
    ) -> Self {
        Self {
            sessions,
            state: AtomicU64::new(quiet(snapshot.version)),
            key: snapshot.base.key,
            current: ArcSwap::from_pointee(snapshot),
            kills,
            process,
            registry: Mutex::new(Registry::new(options.handles)),
            options,
        }
    }

    /// Whether this is a forked child of the process that opened the engine: then every decision is [`Code::Forked`].
    #[inline]
    #[must_use]
    pub fn is_forked(&self) -> bool {
        ztfast_pages::mark() != self.process
    }

    /// Before whatever changes something or takes a lock, which another thread may have held at the fork, so that nobody gives
    /// it back in the child. Whoever changes something also looks at the wall clock.
    pub(crate) fn own(&self) -> Result<(), Forked> {
        if self.is_forked() {
            return Err(Forked);
        }
        self.sessions.follow();
        Ok(())
    }

    /// The registry, locked.
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot that decisions go by now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The current snapshot's version, for gates to notice a swap by, and the kill switch.
    #[inline]
    pub(crate) fn state(&self) -> u64 {
        self.state.load(Ordering::Acquire)
    }

    /// The current snapshot's version.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.state() >> 1
    }

    /// Let readers see that there is another snapshot, which lies in their mailboxes. Only the writing side gets here, one at a
    /// time; the kill switch is left as it is.
    pub(crate) fn announce(&self) {
        self.state.fetch_add(quiet(1), Ordering::Release);
    }

    /// The handle of a uid. It is good for the life of the engine, whether or not a bundle knows the entity.
    ///
    /// # Errors
    /// [`HandleError`].
    pub fn handle(&self, ty: &str, id: &str) -> Result<Handle, HandleError> {
        self.own()?;
        let place = self.place_of(&mut self.registry(), ty, id, Wanted::Good)?;
        Ok(self.key.handle(place))
    }

    fn place_of(&self, registry: &mut Registry, ty: &str, id: &str, what_for: Wanted) -> Result<Place, HandleError> {
        let snapshot = self.snapshot();
        let (place, fresh) = registry.register.place(ty, id, &snapshot.base.uids, what_for)?;
        if fresh {
            snapshot.base.resolve_handle(place, snapshot.changes.as_deref());
        }
        Ok(place)
    }

    /// Open a session.
    ///
    /// # Errors
    /// [`AdmitError`].
    pub fn admit(&self, admission: &Admission) -> Result<SessionId, AdmitError> {
        self.own()?;
        let principal = self.key.place(admission.principal);
        let registry = self.registry();
        if !registry.register.is_given(principal, &self.snapshot().base.uids) {
            return Err(AdmitError::UnknownHandle);
        }
        self.sessions.admit(principal, admission)
    }

    /// Open a session for a uid, from `not_before_ns` to `not_after_ns` as [`Admission`] has them. Unlike that of
    /// [`Self::handle`], its place among the handles is released once no session needs it: by the next swap.
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
        self.own()?;
        // Resident until there is the session: before that nobody knows that the place is needed.
        let mut registry = self.registry();
        let principal = self.place_of(&mut registry, ty, id, Wanted::Session)?;
        let admission = Admission { principal: self.key.handle(principal), not_before_ns, not_after_ns };
        self.sessions.admit(principal, &admission)
    }

    /// Change a session's status; `false` where there is no such session, or it was revoked.
    ///
    /// # Errors
    /// [`Forked`].
    pub fn set_session(&self, session: SessionId, status: SessionStatus) -> Result<bool, Forked> {
        self.own()?;
        Ok(self.sessions.set(session, status))
    }

    /// Deny some actions, or no longer. To lift what is usually stopped, or everything, lifts all; to lift some actions lifts
    /// those that were stopped by these names.
    ///
    /// # Errors
    /// [`Forked`].
    pub fn kill_switch(&self, on: bool, what: Kill<'_>) -> Result<(), Forked> {
        self.own()?;
        self.kills.switch(on, what, self.snapshot().bundle(), |any| {
            if any {
                self.state.fetch_or(KILLED, Ordering::Release);
            } else {
                self.state.fetch_and(!KILLED, Ordering::Release);
            }
        });
        Ok(())
    }

    /// Whether the kill switch stops anything.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.state() & KILLED != 0
    }

    /// Whether the kill switch stops an action of a bundle.
    #[inline]
    pub(crate) fn stops(&self, base: &Base, action: Option<u32>) -> bool {
        self.is_killed() && self.kills.stop(action.and_then(|action| base.switches.get(action as usize)))
    }

    /// The place that a handle names, if it is one of this engine's.
    #[inline]
    pub(crate) fn place(&self, handle: Handle) -> Place {
        self.key.place(handle)
    }

    /// Where the session's principal is, or why it may nothing.
    #[inline]
    pub(crate) fn principal(&self, session: SessionId, now_ns: i64, killed: bool) -> Result<Place, Code> {
        if killed {
            return Err(if self.is_forked() { Code::Forked } else { Code::Killed });
        }
        self.sessions.valid(session, now_ns).ok_or_else(|| self.why(session, now_ns))
    }

    /// Why a session that was not good just now was not.
    #[cold]
    pub(crate) fn why(&self, session: SessionId, now_ns: i64) -> Code {
        if self.is_forked() { Code::Forked } else { self.sessions.why(session, now_ns) }
    }

    /// The uid of a handle; `None` where it is not one of this engine's.
    #[must_use]
    pub fn handle_uid(&self, handle: Handle) -> Option<OwnedUid> {
        self.snapshot().base.uids.get(self.key.place(handle)).map(|uid| (**uid).clone())
    }
    /// Bytes that the context of a request may take.
    #[must_use]
    pub const fn max_context(&self) -> usize {
        self.options.max_context
    }
}
