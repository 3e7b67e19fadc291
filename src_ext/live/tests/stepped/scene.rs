//! A state before a change, and what processes must find in it when the one that made the change was killed.

use super::change::{ADMITTED, Change, OTHER, TARGET};
use super::memory::{Copies, Part};
use super::stage::Stage;
use crate::host::child::{Child, Step, stop};
use crate::host::{End, Folder, SESSIONS, admit, admit_soon, fault_of, fault_of_uids, fill_and_empty, is_over};
use std::sync::atomic::{AtomicI64, Ordering};
use ztfast_live::{Role, SessionId, SessionRecord, SessionStatus, Sessions};
use ztfast_pages::monotonic_ns;

/// The principals of a session in quarantine and of one that was revoked.
const QUARANTINED: usize = 3;
const REVOKED: usize = 4;
/// The principals that a process admits while the child stands still, when the child has just ended, and after all.
const MEANWHILE: usize = 51;
const AFTERWARDS: usize = 52;
const LATER: usize = 100;

/// Where the memory has the difference of the clocks.
const OFFSET_AT: usize = 4096;

/// Return a session with the end that it had before, if it ends a moment sooner now. A process that is stepped reads
/// two clocks some ticks apart and takes the wall clock to have been set, and then a session can only end sooner.
fn sooner(after: &SessionRecord, before: &SessionRecord) -> SessionRecord {
    let is_sooner = after.to_ns <= before.to_ns && before.to_ns.saturating_sub(after.to_ns) < 1_000_000_000;
    SessionRecord { to_ns: if is_sooner { before.to_ns } else { after.to_ns }, ..*after }
}

/// A state before a change, and its processes.
pub struct Scene {
    change: Change,
    folder: Folder,
    /// A process that was there before, and one that only decides; none where the change makes the state.
    there: Option<(Sessions, Sessions)>,
    target: SessionId,
    before: Vec<SessionRecord>,
    /// Sessions that were revoked.
    revoked: Vec<SessionId>,
    uids: Vec<(String, usize)>,
}

impl Scene {
    pub fn new(change: Change) -> Self {
        let folder = Folder::new();
        if change == Change::Make {
            let (before, revoked, uids) = (Vec::new(), Vec::new(), Vec::new());
            return Self { change, folder, there: None, target: SessionId(0), before, revoked, uids };
        }
        let (own, reader) = (folder.open(Role::Authority), folder.open(Role::Decide));
        let state = own.state();
        let uids: Vec<(String, usize)> =
            ["ann", "bob"].map(|id| (id.to_owned(), state.uids().unwrap().register("User", id).unwrap())).into();
        assert_eq!(own.factors(["x509", "totp"]).unwrap(), Some(3));
        assert_eq!(own.name("us").unwrap(), Some(0));
        let end = if change == Change::RenewLater { End::Sooner } else { End::Later };
        let [_, target, quarantined, revoked] =
            [OTHER, TARGET, QUARANTINED, REVOKED].map(|principal| admit(&own, principal, end).unwrap());
        assert!(own.set(quarantined, SessionStatus::Quarantined));
        let target = if change == Change::Lift { quarantined } else { target };
        let revoked = vec![revoked];
        let fill = |from: usize| {
            for turn in from..SESSIONS {
                admit(&own, 10 + turn, End::Later).unwrap();
            }
        };
        match change {
            Change::AdmitAfterRevoked | Change::Open => fill(4),
            Change::AdmitAfterExpired => {
                admit(&own, 20, End::Over).unwrap();
                fill(5);
            }
            Change::Follow => fill(6),
            _ if change.is_full() => fill(4),
            _ => {}
        }
        if change == Change::RevokeNoted {
            let note = own.note("own", "why").unwrap();
            assert!(own.set_noted(target, SessionStatus::Quarantined, Some(&note)));
        }
        assert!(own.set(revoked[0], SessionStatus::Revoked));
        if change == Change::AdmitAfterExpired || change.is_full() {
            admit(&own, 21, End::Later).unwrap();
        }
        if change.is_full() {
            assert!(admit(&own, LATER, End::Never).is_err(), "the table has room");
        }
        let scene = Self { change, before: own.all(), folder, there: Some((own, reader)), target, revoked, uids };
        scene.prepare();
        scene
    }

    /// Do what must be done last: set the clock, or leave a claim.
    fn prepare(&self) {
        let (change, Some((own, _))) = (self.change, &self.there) else { return };
        if change == Change::Follow {
            let (start, _) = own.state().range();
            let offset = std::ptr::with_exposed_provenance::<AtomicI64>(start + OFFSET_AT);
            // SAFETY: the mapping lives, is aligned to pages, and has the clocks' difference here.
            unsafe { &*offset }.fetch_add(1_000_000_000, Ordering::SeqCst);
        }
        if change == Change::Open {
            let child = self.child_of(Change::AdmitAfterRevoked).unwrap();
            let mut memory = Copies::of(own, Part::Rest).changed().of(own);
            while !memory.renew() {
                assert_eq!(child.step(), Step::Made, "the child claimed no slot");
            }
            child.kill();
        }
    }

    fn child_of(&self, change: Change) -> Option<Child> {
        Child::stepped(|| {
            let sessions = (!matches!(change, Change::Open | Change::Make)).then(|| self.folder.open(Role::Authority));
            let own = self.there.as_ref().map(|(own, _)| own);
            stop();
            match sessions.as_ref().or(own) {
                Some(sessions) => change.make(sessions, self.target, &self.folder),
                None => drop(self.folder.open(Role::Authority)),
            }
            stop();
        })
    }

    fn look_at_uids(&self, sessions: &Sessions) -> Result<(), String> {
        fault_of_uids(sessions, &self.uids).map_or(Ok(()), Err)
    }

    fn look_at(&self, sessions: &Sessions, reader: &Sessions) -> Result<(), String> {
        let (change, base_ns, now_ns) = (self.change, sessions.state().base_ns(), monotonic_ns());
        let after = sessions.all();
        if after != reader.all() {
            return Err("two processes see different sessions".to_owned());
        }
        for before in &self.before {
            let found = after.iter().find(|record| record.id == before.id).map(|record| sooner(record, before));
            let found = found.as_ref();
            let is_target = before.id == self.target || change == Change::RevokeMany && before.principal.0 != OTHER;
            let gives_way = change.admits() || change == Change::Open;
            let fault = match found {
                // The child may have had the slot of a session that is over.
                None if gives_way && is_over(before) => None,
                found if is_target => change.fault_of_target(before, found, base_ns),
                found => (found != Some(before)).then(|| format!("{found:?} was {before:?}")),
            };
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
        for record in &after {
            let is_known = self.before.iter().any(|before| before.id == record.id);
            let is_new = change.admits() && [ADMITTED, MEANWHILE].contains(&record.principal.0);
            let end = if record.principal.0 == ADMITTED { End::Sooner } else { End::Never };
            let fault = if is_new { fault_of(record, &[end], base_ns) } else { None };
            if fault.is_some() || !is_known && !is_new {
                return Err(fault.unwrap_or_else(|| format!("nobody admitted this: {record:?}")));
            }
            let wanted = (!is_over(record) && record.status == SessionStatus::Active).then_some(record.principal);
            let by = Change::noted(record);
            if [sessions, reader].iter().any(|sessions| sessions.note_of(record).map(|note| note.by).as_deref() != by) {
                return Err(format!("another note than of {by:?}: {record:?}"));
            }
            if [sessions, reader].iter().any(|sessions| sessions.valid(record.id, now_ns) != wanted) {
                return Err(format!("decisions disagree: {record:?}"));
            }
        }
        if let Some(id) = self.revoked.iter().find(|&&id| sessions.valid(id, now_ns).is_some()) {
            return Err(format!("{id:?} was revoked, and is valid"));
        }
        self.look_at_uids(sessions)
    }
}

impl Stage for Scene {
    fn own(&self) -> Option<&Sessions> {
        self.there.as_ref().map(|(own, _)| own)
    }

    fn child(&self) -> Option<Child> {
        self.child_of(self.change)
    }

    fn meanwhile(&self, turn: usize) {
        if let Some((own, _)) = self.there.as_ref().filter(|_| self.change.admits() && turn % 4 > 1) {
            // This takes the slot that the child wants, or finds the table full.
            let _ = admit(own, MEANWHILE, End::Never);
        }
    }

    /// Look by a process that was there before and by one that comes now.
    fn look(&self, turn: usize) -> Result<(), String> {
        let by_newest_first = turn.is_multiple_of(2);
        let Some((own, reader)) = &self.there else {
            let (first, second) = (self.folder.open(Role::Authority), self.folder.open(Role::Authority));
            return fill_and_empty(&first, &second, LATER);
        };
        let newest = by_newest_first.then(|| self.folder.open(Role::Authority));
        self.look_at(own, reader)?;
        let newest = newest.unwrap_or_else(|| self.folder.open(Role::Authority));
        self.look_at(&newest, reader)?;
        if own.all().iter().filter(|record| !is_over(record)).count() < SESSIONS {
            admit_soon(own, AFTERWARDS)?;
        }
        let (first, second) = if by_newest_first { (&newest, own) } else { (own, &newest) };
        first.follow();
        let factors = first.factors(["fido2"]).map_err(|error| error.to_string())?;
        let region = second.name("eu").map_err(|error| error.to_string())?;
        if (factors, region) != (Some(4), Some(1)) || newest.state().factor_names() != ["x509", "totp", "fido2"] {
            return Err(format!("{factors:?} {region:?} {:?}", newest.state().factor_names()));
        }
        for (sessions, id) in [(first, "new"), (second, "new"), (second, "newer")] {
            let place = sessions.state().uids().and_then(|uids| uids.register("User", id).ok());
            let place = place.ok_or("the register is full")?;
            if reader.state().uids().and_then(|uids| uids.get(place)) != Some(("User", id)) {
                return Err(format!("{id} is not at {place}"));
            }
        }
        for record in first.all().iter().filter(|record| !is_over(record)) {
            let again = second.present(record.id, |before| before).is_ok() && first.renew(record.id, i64::MAX).is_ok();
            if !again || reader.record(record.id).is_none_or(|record| record.to_ns != i64::MAX) {
                return Err(format!("it cannot be changed: {record:?}"));
            }
        }
        fill_and_empty(first, second, LATER)?;
        self.look_at_uids(&newest)?;
        let revived = self.revoked.iter().find(|&&id| reader.valid(id, monotonic_ns()).is_some());
        revived.map_or(Ok(()), |id| Err(format!("{id:?} was revoked, and is valid")))
    }
}
