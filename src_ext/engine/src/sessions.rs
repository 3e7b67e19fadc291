//! What changes sessions after they were admitted: proofs, renewals, revocations of many.
//!
//! All of it is for authorities. An engine that only decides can find a session that another process admitted.

use crate::registry::Registry;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use std::io;
use ztfast_codes::Code;
use ztfast_live::{
    Admission, AdmitError, ChangeSessionError, Deed, Grounds, Known, MAX_FACTORS, MAX_NAME, Note, Noted, OTHER_NAMES,
    OwnedUid, Place, Proof, Role, SessionId, SessionRecord, SessionStatus, StateGone, SwitchError, Wanted,
};
use ztfast_pages::{Clock, Forked};

/// What is known about a session besides its principal and its bounds; nothing, by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// The factors by which the principal proved who it is.
    pub factors: &'a [&'a str],
    /// When, in nanoseconds since the epoch; `None` for never.
    pub proved_ns: Option<i64>,
    /// How sure that is, from 0 to [`ztfast_live::MAX_ASSURANCE`].
    pub assurance: u8,
    /// From 0 to [`ztfast_live::MAX_RISK`].
    pub risk: u8,
    /// The type and id of the entity for which the principal acts.
    pub on_behalf_of: Option<(&'a str, &'a str)>,
    /// The region.
    pub region: Option<&'a str>,
    /// How the credential was proved.
    pub channel: Option<&'a str>,
    /// What the session rests on: it can be revoked by each of these numbers.
    pub grounds: Grounds,
}

/// What is proved anew in a session. What is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewProof<'a> {
    /// The factors, which replace those before.
    pub factors: Option<&'a [&'a str]>,
    /// When they were proved, in nanoseconds since the epoch.
    pub proved_ns: Option<i64>,
    /// How sure that is.
    pub assurance: Option<u8>,
    /// The risk.
    pub risk: Option<u8>,
}

impl NewProof<'_> {
    /// Return what is done: another risk or assurance alone is no new proof, and leaves the age of the one before.
    const fn deed(&self) -> Deed {
        if self.factors.is_none() && self.proved_ns.is_none() { Deed::Reassessed } else { Deed::Presented }
    }
}

/// Which sessions are meant.
#[derive(Debug, Clone, Copy)]
pub enum Chosen<'a> {
    /// Those of the principal with this type and id, and of all that are in it.
    Within(&'a str, &'a str),
    /// Those that rest on this.
    Ground(u64),
    /// This one.
    One(SessionId),
}

impl Chosen<'_> {
    /// Return whether a session is meant.
    fn has(&self, snapshot: &Snapshot, record: &SessionRecord) -> bool {
        match self {
            Self::Within(ty, id) => snapshot.is_within(record.principal, ty, id),
            // Places without a ground hold 0.
            Self::Ground(ground) => *ground != 0 && record.grounds.contains(ground),
            Self::One(session) => record.id == *session,
        }
    }
}

/// The sessions to list.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// All.
    All,
    /// Those of the principal with this type and id.
    Of(&'a str, &'a str),
    /// Those whose id, as a hexadecimal number, begins with these digits: their value, and how many they are.
    Beginning(u64, u32),
}

/// Return whether a number begins with these hexadecimal digits. No number begins with a 0.
const fn begins_with(number: u64, digits: u64, count: u32) -> bool {
    let len = (u64::BITS - number.leading_zeros()).div_ceil(4);
    count <= len && (count == 0 || number >> (4 * (len - count)) == digits)
}

/// Why sessions could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The session is over, or another process keeps it.
    #[error(transparent)]
    Change(#[from] ChangeSessionError),
    /// Another process was stopped while it wrote some of several sessions.
    #[error(
        "{changed} sessions were changed and {busy} were not, because another process was stopped while it wrote them: \
         let it go on, or end it, and repeat this"
    )]
    Busy {
        /// How many sessions were changed.
        changed: usize,
        /// How many were not.
        busy: usize,
    },
    /// Some of several sessions rest on credentials, and cannot be valid for longer.
    #[error(
        "{bound} sessions rest on credentials, which do not last that long, and were not renewed: admit the credentials \
         again; {changed} others were"
    )]
    Bound {
        /// How many sessions were changed.
        changed: usize,
        /// How many were not.
        bound: usize,
    },
    /// The session could not be admitted.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// The engine only decides.
    #[error("this engine was opened with role='decide', which may not {0}: let an authority do it")]
    Role(&'static str),
    /// There are too many factors.
    #[error("a state keeps {} names of factors, of at most {} bytes, and these would be more", MAX_FACTORS, MAX_NAME)]
    Factors,
    /// There are too many regions and channels.
    #[error("a state keeps {OTHER_NAMES} names of regions and channels, of at most {MAX_NAME} bytes, not one more")]
    Names,
    /// The system refused a lock.
    #[error("the state's file of owners cannot be locked: {0}")]
    Lock(#[from] io::Error),
    /// The engine belongs to another process.
    #[error(transparent)]
    Forked(#[from] Forked),
    /// The state's file is gone.
    #[error(transparent)]
    Gone(#[from] StateGone),
    /// A text is too long.
    #[error(transparent)]
    TooLong(#[from] SwitchError),
}

impl Shared {
    /// Admit a session as [`Self::admit_uid`] does, with what else is known about it. One that is refused takes nothing
    /// of the register that processes share, unless another admission takes its last room at this moment.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn admit_uid_with(
        &self,
        ty: &str,
        id: &str,
        (not_before_ns, not_after_ns): (i64, i64),
        attributes: &Attributes<'_>,
    ) -> Result<SessionId, SessionError> {
        self.check_process()?;
        if self.role() == Role::Decide {
            return Err(AdmitError::MayNotAdmit.into());
        }
        // Before names are registered in a file that nobody opens any more.
        self.sessions.check_file()?;
        let uids: Vec<(&str, &str)> = std::iter::once((ty, id)).chain(attributes.on_behalf_of).collect();
        self.check_uids(&uids)?;
        let vacancy = self.sessions.vacancy()?;
        let factors = self.factors(attributes.factors)?;
        let proof = Proof {
            at_ns: attributes.proved_ns.map_or(i64::MIN, |wall_ns| self.monotonic_of(wall_ns)),
            factors,
            assurance: attributes.assurance,
            risk: attributes.risk,
        };
        let region = attributes.region.map(|name| self.name(name)).transpose()?;
        let channel = attributes.channel.map(|name| self.name(name)).transpose()?;
        // The registry stays locked until the session exists: before that, nothing marks the places as used.
        let mut registry = self.registry();
        let (principal, on_behalf_of) = self.places(&mut registry, ty, id, attributes).map_err(AdmitError::from)?;
        let admission = Admission { principal: self.key.handle(principal), not_before_ns, not_after_ns };
        let grounds = attributes.grounds;
        let known = Known { proof, on_behalf_of, region, channel, grounds };
        Ok(vacancy.admit(principal, &admission, &known)?)
    }

    /// Refuse uids for which there is no place before anything is kept for them.
    pub(crate) fn check_uids(&self, wanted: &[(&str, &str)]) -> Result<(), AdmitError> {
        let registry = self.registry();
        Ok(registry.register.check(wanted, &self.snapshot().loaded.uids)?)
    }

    fn places(
        &self,
        registry: &mut Registry,
        ty: &str,
        id: &str,
        attributes: &Attributes<'_>,
    ) -> Result<(Place, Option<Place>), ztfast_live::HandleError> {
        let principal = self.place_of(registry, ty, id, Wanted::Session)?;
        let on_behalf_of = attributes.on_behalf_of;
        let on_behalf_of = on_behalf_of.map(|(ty, id)| self.place_of(registry, ty, id, Wanted::Session)).transpose()?;
        Ok((principal, on_behalf_of))
    }

    fn name(&self, name: &str) -> Result<u32, SessionError> {
        self.sessions.name(name)?.ok_or(SessionError::Names)
    }

    /// Return the time by the engine's wall clock, in nanoseconds since the epoch.
    #[must_use]
    pub fn wall_ns(&self) -> i64 {
        self.sessions.state().reading().wall
    }

    /// Convert a time of the wall clock to the clock of decisions. A time in the future is taken for now.
    fn monotonic_of(&self, wall_ns: i64) -> i64 {
        let now = self.sessions.state().reading();
        now.monotonic.saturating_add(wall_ns.saturating_sub(now.wall)).min(now.monotonic)
    }

    fn factors(&self, names: &[&str]) -> Result<u32, SessionError> {
        self.sessions.factors(names.iter().copied())?.ok_or(SessionError::Factors)
    }

    fn check_authority(&self, what: &'static str) -> Result<(), SessionError> {
        self.check_process()?;
        if self.role() == Role::Decide {
            return Err(SessionError::Role(what));
        }
        // What is changed in a file that is gone reaches nobody, so no change of it may seem done.
        Ok(self.sessions.check_file()?)
    }

    /// Give an engine whose clock is the caller's another time, in nanoseconds since the epoch. An earlier time than
    /// before changes nothing. Return the time that the clock shows; `None` if the clock is another one.
    ///
    /// # Errors
    /// [`SessionError::Forked`] and [`SessionError::Gone`].
    pub fn set_time(&self, ns: i64) -> Result<Option<i64>, SessionError> {
        self.check_process()?;
        self.sessions.check_file()?;
        Ok(self.sessions.state().set_time(ns))
    }

    /// Set a session's status. Return `false` if there is no such session, or it has the status already, or it is over.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn set_session(&self, session: SessionId, status: SessionStatus) -> Result<bool, SessionError> {
        self.check_authority("change sessions")?;
        Ok(self.sessions.set(session, status))
    }

    /// Give a session another end, in nanoseconds since the epoch. One that is over stays over. Who does it and why is
    /// kept for some time.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn renew(&self, session: SessionId, not_after_ns: i64, who: Option<(&str, &str)>) -> Result<(), SessionError> {
        self.check_authority("renew sessions")?;
        let note = self.note_about(Chosen::One(session), who)?;
        let done = self.sessions.renew(session, not_after_ns);
        self.keep_done(note, Deed::Renewed, done.map(|()| 1).map_err(SessionError::from)).map(|_| ())
    }

    /// Record what a session's principal has proved anew. Who says so and why is kept for some time.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn present(
        &self,
        session: SessionId,
        proof: &NewProof<'_>,
        who: Option<(&str, &str)>,
    ) -> Result<(), SessionError> {
        self.check_authority("change sessions")?;
        let note = self.note_about(Chosen::One(session), who)?;
        let done = self.sessions.present(session, self.proof_after(proof)?);
        self.keep_done(note, proof.deed(), done.map(|()| 1).map_err(SessionError::from)).map(|_| ())
    }

    /// Return what makes the proof of a session of the one before.
    fn proof_after(&self, proof: &NewProof<'_>) -> Result<impl Fn(Proof) -> Proof + Copy + use<>, SessionError> {
        let factors = proof.factors.map(|names| self.factors(names)).transpose()?;
        let at_ns = proof.proved_ns.map(|wall_ns| self.monotonic_of(wall_ns));
        let NewProof { assurance, risk, .. } = *proof;
        Ok(move |before: Proof| Proof {
            at_ns: at_ns.unwrap_or(before.at_ns),
            factors: factors.unwrap_or(before.factors),
            assurance: assurance.unwrap_or(before.assurance),
            risk: risk.unwrap_or(before.risk),
        })
    }

    /// Give sessions another end as [`Self::renew`] does. Return how many have it; those that are over stay over. Who
    /// does it and why is kept for some time.
    ///
    /// # Errors
    /// [`SessionError`]; only after [`SessionError::Busy`] and [`SessionError::Bound`] some sessions have changed.
    pub fn renew_sessions(
        &self,
        chosen: Chosen<'_>,
        not_after_ns: i64,
        who: Option<(&str, &str)>,
    ) -> Result<usize, SessionError> {
        self.check_authority("renew sessions")?;
        let note = self.note_about(chosen, who)?;
        let done = Self::change_each(&self.chosen(chosen), |session| self.sessions.renew(session, not_after_ns));
        self.keep_done(note, Deed::Renewed, done)
    }

    /// Record what the principals of sessions have proved anew. Return how many sessions have it. Who says so and why
    /// is kept for some time.
    ///
    /// # Errors
    /// [`SessionError`]; only after [`SessionError::Busy`] some sessions have changed.
    pub fn present_sessions(
        &self,
        chosen: Chosen<'_>,
        proof: &NewProof<'_>,
        who: Option<(&str, &str)>,
    ) -> Result<usize, SessionError> {
        self.check_authority("change sessions")?;
        let note = self.note_about(chosen, who)?;
        let sessions = self.chosen(chosen);
        if sessions.is_empty() {
            // Names of factors that no session has take no place.
            return Ok(0);
        }
        let after = self.proof_after(proof)?;
        let done = Self::change_each(&sessions, |session| self.sessions.present(session, after));
        self.keep_done(note, proof.deed(), done)
    }

    /// Keep a note of sessions that were changed, also if others were not.
    fn keep_done(
        &self,
        note: Option<Note>,
        deed: Deed,
        done: Result<usize, SessionError>,
    ) -> Result<usize, SessionError> {
        let changed = Self::changed_by(&done);
        // What changes nothing takes no note's place.
        if let Some(note) = note.filter(|_| changed > 0) {
            self.sessions.keep(&note, deed, changed as u64);
        }
        done
    }

    const fn changed_by(done: &Result<usize, SessionError>) -> usize {
        match done {
            Ok(changed) | Err(SessionError::Busy { changed, .. } | SessionError::Bound { changed, .. }) => *changed,
            Err(_) => 0,
        }
    }

    /// Return a note of who changes sessions now, and why; `None` if nobody is named.
    fn note_about(&self, chosen: Chosen<'_>, who: Option<(&str, &str)>) -> Result<Option<Note>, SessionError> {
        let Some((by, reason)) = who else { return Ok(None) };
        let of = match chosen {
            Chosen::One(session) => self.sessions.record(session).and_then(|record| self.uid_of(record.principal)),
            Chosen::Within(ty, id) => Some((ty.into(), id.into())),
            Chosen::Ground(_) => None,
        };
        let of = of.map(|(ty, id)| (ty.to_string(), id.to_string()));
        Ok(Some(Note { of, ..self.sessions.note(by, reason)? }))
    }

    fn chosen(&self, chosen: Chosen<'_>) -> Vec<SessionId> {
        if let Chosen::One(session) = chosen {
            return vec![session];
        }
        let snapshot = self.snapshot();
        self.sessions.records().filter(|record| chosen.has(&snapshot, record)).map(|record| record.id).collect()
    }

    fn change_each(
        sessions: &[SessionId],
        change: impl Fn(SessionId) -> Result<(), ChangeSessionError>,
    ) -> Result<usize, SessionError> {
        let (mut changed, mut busy, mut bound) = (0, 0, 0);
        for &session in sessions {
            match change(session) {
                Ok(()) => changed += 1,
                Err(ChangeSessionError::Over) => {}
                Err(ChangeSessionError::Busy) => busy += 1,
                Err(ChangeSessionError::Bound) => bound += 1,
            }
        }
        match (busy, bound) {
            (0, 0) => Ok(changed),
            (0, bound) => Err(SessionError::Bound { changed, bound }),
            (busy, _) => Err(SessionError::Busy { changed, busy }),
        }
    }

    /// Set the status of sessions. Return how many changed: not those that have it already or are over. Who does it and
    /// why is kept with them for some time.
    ///
    /// # Errors
    /// [`SessionError`]; nothing has changed then.
    pub fn set_sessions(
        &self,
        chosen: Chosen<'_>,
        status: SessionStatus,
        who: Option<(&str, &str)>,
    ) -> Result<usize, SessionError> {
        self.check_authority("revoke sessions")?;
        let note = self.note_about(chosen, who)?;
        let note = note.as_ref();
        if let Chosen::One(session) = chosen {
            return Ok(usize::from(self.sessions.set_noted(session, status, note)));
        }
        let snapshot = self.snapshot();
        Ok(self.sessions.set_all(status, note, |record| chosen.has(&snapshot, record)))
    }

    /// Return how many of the chosen sessions have a status and are not over.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn count_sessions(&self, chosen: Chosen<'_>, status: SessionStatus) -> Result<usize, SessionError> {
        self.check_process()?;
        self.sessions.check_file()?;
        let snapshot = self.snapshot();
        Ok(self.sessions.count(status, |record| chosen.has(&snapshot, record)))
    }

    /// Return who revoked a session or put it into quarantine, when and why, if that was said and is still kept.
    #[must_use]
    pub fn note_of(&self, record: &SessionRecord) -> Option<Note> {
        let is_told = record.status != SessionStatus::Active;
        if is_told { self.sessions.note_of(record) } else { None }
    }

    /// Return the principal of a session that this or another process admitted; `None` if there is none with this id.
    /// From now on this process decides for it as fast as for its own.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn find_session(&self, session: SessionId) -> Result<Option<(SessionRecord, OwnedUid)>, SessionError> {
        self.check_process()?;
        self.sessions.check_file()?;
        let Some(record) = self.sessions.record(session) else { return Ok(None) };
        let _registry = self.registry();
        let snapshot = self.snapshot();
        let Some((ty, id)) = snapshot.loaded.uids.get(record.principal) else { return Ok(None) };
        let uid: OwnedUid = (ty.into(), id.into());
        if record.principal.0 < snapshot.loaded.uids.shared() {
            snapshot.loaded.resolve_handle(record.principal, snapshot.changes.as_deref());
        }
        Ok(Some((record, uid)))
    }

    /// Return all sessions that have a slot, or those of a principal, or with an id that begins with these digits.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn list_sessions(&self, which: Which<'_>) -> Result<Vec<SessionRecord>, SessionError> {
        self.check_process()?;
        self.sessions.check_file()?;
        Ok(match which {
            Which::All => self.sessions.all(),
            Which::Of(ty, id) => {
                let snapshot = self.snapshot();
                self.sessions.chosen(|record| snapshot.loaded.uids.get(record.principal) == Some((ty, id)))
            }
            Which::Beginning(digits, count) => self.sessions.chosen(|record| begins_with(record.id.0, digits, count)),
        })
    }

    /// List who changed sessions, kills and markets, as far as that is kept, the oldest first.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn notes(&self) -> Result<Vec<Noted>, SessionError> {
        self.check_process()?;
        self.sessions.check_file()?;
        Ok(self.sessions.notes())
    }

    /// Return the address and the size of the live state's memory.
    #[must_use]
    pub fn state_memory(&self) -> (usize, usize) {
        self.sessions.state().range()
    }

    /// Return the name of a region or a channel; `None` if there is none with this number.
    #[must_use]
    pub fn name_of(&self, number: u32) -> Option<String> {
        self.sessions.state().name(number, &mut [0; MAX_NAME]).map(str::to_owned)
    }

    /// Return the names of factors, by number.
    #[must_use]
    pub fn factor_names(&self) -> Vec<String> {
        self.sessions.state().factor_names()
    }

    /// Return whether decisions go by the caller's clock.
    #[must_use]
    pub fn has_callers_clock(&self) -> bool {
        matches!(self.sessions.state().clock(), Clock::Caller(_))
    }

    /// Return the code with which a session is denied now, or [`Code::Allow`] if it is valid.
    #[must_use]
    pub fn session_code(&self, session: SessionId) -> Code {
        self.principal(session, self.now_ns(), false).map_or_else(|code| code, |_| Code::Allow)
    }

    /// Return the uid, or the text without a type, of a place.
    #[must_use]
    pub fn uid_of(&self, place: Place) -> Option<OwnedUid> {
        self.snapshot().loaded.uids.get(place).map(|(ty, id)| (ty.into(), id.into()))
    }
}

impl Snapshot {
    /// Return whether the entity of a place is the entity with this uid, or is in it.
    pub(crate) fn is_within(&self, place: Place, ty: &str, id: &str) -> bool {
        if self.loaded.uids.get(place) == Some((ty, id)) {
            return true;
        }
        let Some((entity, group)) = self.entity(place).zip(self.find(ty, id)) else { return false };
        self.with_entity(entity, |_, facts| facts.ancestors.contains(&group.index).then_some(())).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sessions_are_changed_before_busy_ones_are_reported() {
        let sessions: Vec<SessionId> = (1..=5).map(SessionId).collect();
        let changed = std::cell::RefCell::new(Vec::new());
        let outcome = |busy: u64| {
            changed.borrow_mut().clear();
            Shared::change_each(&sessions, |session| match session.0 {
                2 => Err(ChangeSessionError::Over),
                number if number == busy => Err(ChangeSessionError::Busy),
                number => {
                    changed.borrow_mut().push(number);
                    Ok(())
                }
            })
        };
        assert!(matches!(outcome(0), Ok(4)));
        assert!(matches!(outcome(3), Err(SessionError::Busy { changed: 3, busy: 1 })));
        assert_eq!(*changed.borrow(), [1, 4, 5]);
        // The note says of those that were changed, too.
        assert_eq!([0, 3].map(|busy| Shared::changed_by(&outcome(busy))), [4, 3]);
        assert_eq!(Shared::changed_by(&Err(SessionError::Factors)), 0);
    }
}
