//! Kills and market states for Python.

use crate::action::{ActionName, switched};
use crate::errors::raise;
use crate::exceptions::{forked, kill_error};
use crate::sessions::session_error;
use crate::uid::some_of;
use pyo3::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use ztfast_cedar::ir::Uid;
use ztfast_engine::{
    Deed, Engine, Kill, KillRequest, MarketState, Noted, Released, Scope, SessionStatus, Stopped, ToStop,
};

/// The kills and the market states of an engine.
#[pyclass(frozen, module = "ztfast._core")]
pub(crate) struct Switches(pub Arc<Engine>);

type OwnedUid = (String, String);

/// A market that is not normal: uid, state, by, reason, and when it was set in nanoseconds since the epoch.
type ShownMarket = (OwnedUid, &'static str, String, String, i64);

/// A note as Python takes it.
type ShownNote = (&'static str, Option<OwnedUid>, u64, (String, String), i64);

const fn name_of(deed: Deed) -> &'static str {
    match deed {
        Deed::Set(SessionStatus::Active) => "released from quarantine",
        Deed::Set(SessionStatus::Revoked) => "revoked",
        Deed::Set(SessionStatus::Quarantined) => "quarantined",
        Deed::Killed => "killed",
        Deed::ReleaseAsked => "release asked for",
        Deed::ReleaseApproved => "release approved",
        Deed::Released => "released",
        Deed::Market(MarketState::Normal) => "market normal",
        Deed::Market(MarketState::Volatile) => "market volatile",
        Deed::Market(MarketState::Halted) => "market halted",
        Deed::Renewed => "renewed",
        Deed::Presented => "given a new proof",
        Deed::Reassessed => "reassessed",
    }
}

/// A kill as Python takes it: id, scope (`None` for the firm), what it stops (the names, or `None` with whether that is
/// everything), by, reason, begin and end in nanoseconds since the epoch, whether two persons must release it, who
/// asked for the release.
type Shown =
    (u64, Option<OwnedUid>, (Option<Vec<OwnedUid>>, bool), (String, String), (i64, Option<i64>), bool, Option<String>);

fn shown(kill: Kill) -> Shown {
    let scope = match kill.scope {
        Scope::Firm => None,
        Scope::Entity(ty, id) => Some((ty, id)),
    };
    let actions = match kill.actions {
        Stopped::Usual => (None, false),
        Stopped::Everything => (None, true),
        Stopped::Named(uids) => (Some(uids), false),
    };
    let until = kill.until_ns.map(|(until, _)| until);
    (kill.id, scope, actions, (kill.by, kill.reason), (kill.since_ns, until), kill.two_persons, kill.asked_by)
}

#[pymethods]
impl Switches {
    /// Kill actions, or all but the exempt ones, or all with `everything`. Returns the kill, and whether it was in
    /// force before.
    #[allow(clippy::too_many_arguments)] // keywords, in Python
    fn kill(
        &self,
        py: Python<'_>,
        scope: Option<OwnedUid>,
        everything: bool,
        actions: Option<Vec<ActionName>>,
        by: &str,
        reason: &str,
        until_ns: Option<i64>,
        two_persons: bool,
    ) -> PyResult<(Shown, bool)> {
        let snapshot = self.0.snapshot();
        let uids = actions.map(|actions| actions.iter().map(|one| switched(py, &snapshot, one, true)).collect());
        let uids: Option<Vec<OwnedUid>> = uids.transpose()?;
        let actions = match &uids {
            Some(uids) => ToStop::Named(uids),
            None if everything => ToStop::Everything,
            None => ToStop::Usual,
        };
        let scope = scope.as_ref().map(|(ty, id)| (&**ty, &**id));
        let request = KillRequest { scope, actions, by, reason, until_ns, two_persons };
        let (kill, was_in_force) = py.detach(|| self.0.kill(&request)).map_err(|error| kill_error(py, &error))?;
        Ok((shown(kill), was_in_force))
    }

    /// Raise for an entity that neither is a principal or a resource nor can have one in it, by its type. With
    /// `of_resources`, only resources are meant.
    fn check_scope(&self, py: Python<'_>, uid: OwnedUid, of_resources: bool) -> PyResult<()> {
        let snapshot = self.0.snapshot();
        let scopes = &snapshot.bundle().meta().scopes;
        let principals = if of_resources { &[][..] } else { &scopes.principals };
        let possible: BTreeSet<&str> = scopes.resources.iter().chain(principals).map(|name| &**name).collect();
        let (ty, id) = uid;
        if possible.contains(&*ty) {
            return Ok(());
        }
        let (who, result) =
            if of_resources { ("resource", "no decision") } else { ("principal or resource", "nothing") };
        let message = format!(
            "{}: by the schema, no {who} is of type {ty} or in one, so this would concern {result}: wanted one of {}",
            Uid::new(ty.as_str(), id),
            some_of(possible.into_iter())
        );
        Err(raise(py, "EntityError", &message))
    }

    /// Return how many principals and resources of the store are an entity or in it; with `of_resources`, how many
    /// resources.
    fn count_within(&self, py: Python<'_>, uid: OwnedUid, of_resources: bool) -> PyResult<usize> {
        py.detach(|| self.0.count_within(&uid.0, &uid.1, of_resources)).map_err(|_| forked(py))
    }

    /// Release a kill. Returns `False` if a second person must release it too.
    fn release(&self, py: Python<'_>, id: u64, by: &str, reason: &str, approved_by: Option<&str>) -> PyResult<bool> {
        let released = py.detach(|| self.0.release_kill(id, by, reason, approved_by));
        Ok(released.map_err(|error| kill_error(py, &error))? == Released::Done)
    }

    /// Return the kills in force.
    fn kills(&self, py: Python<'_>) -> PyResult<Vec<Shown>> {
        let kills = py.detach(|| self.0.kills()).map_err(|error| kill_error(py, &error))?;
        Ok(kills.into_iter().map(shown).collect())
    }

    /// Return who changed sessions, kills and markets, the oldest first: what was done, to what, how many sessions or
    /// which kill, by whom, why, and when in nanoseconds since the epoch.
    fn notes(&self, py: Python<'_>) -> PyResult<Vec<ShownNote>> {
        let notes = py.detach(|| self.0.notes()).map_err(|error| session_error(py, &error))?.into_iter();
        Ok(notes
            .map(|Noted { deed, note, detail }| (name_of(deed), note.of, detail, (note.by, note.reason), note.since_ns))
            .collect())
    }

    /// Set the state of a market: "normal", "volatile" or "halted". Returns the market as it was set.
    fn set_market(
        &self,
        py: Python<'_>,
        uid: OwnedUid,
        state: &str,
        by: &str,
        reason: &str,
    ) -> PyResult<Option<ShownMarket>> {
        let Some(state) = MarketState::of(state) else { return Ok(None) };
        let set = py.detach(|| self.0.set_market((&uid.0, &uid.1), state, by, reason));
        let since_ns = set.map_err(|error| kill_error(py, &error))?;
        Ok(Some((uid, state.name(), by.into(), reason.into(), since_ns)))
    }

    /// Return the state of a market, with those of everything that the resource is in.
    fn market(&self, py: Python<'_>, uid: OwnedUid) -> PyResult<&'static str> {
        let state = py.detach(|| self.0.market_of(&uid.0, &uid.1));
        state.map(MarketState::name).map_err(|error| kill_error(py, &error))
    }

    /// Return the markets that are not normal.
    fn markets(&self, py: Python<'_>) -> PyResult<Vec<ShownMarket>> {
        let markets = py.detach(|| self.0.markets()).map_err(|error| kill_error(py, &error))?.into_iter();
        Ok(markets.map(|one| (one.uid, one.state.name(), one.by, one.reason, one.since_ns)).collect())
    }
}
