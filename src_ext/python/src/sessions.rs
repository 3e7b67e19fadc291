//! Sessions for Python: what an identity says of one, and what a list of sessions shows.

use crate::errors::raise;
use crate::exceptions::{admit_error, forked};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::{Path, PathBuf};
use ztfast_engine::{
    Attributes, Capacity, Chosen, Clock, ClockKind, Code, Known, NewProof, Residence, Role, SessionError, SessionId,
    SessionRecord, SessionStatus, State, StateError, Which,
};

/// What an identity says besides principal and bounds: factors, the time of the proof in nanoseconds since the epoch,
/// assurance, risk, for whom the principal acts, region, channel, ground.
#[derive(FromPyObject)]
pub(crate) struct Given(
    Vec<String>,
    Option<i64>,
    u8,
    u8,
    Option<(String, String)>,
    Option<String>,
    Option<String>,
    u64,
);

impl Given {
    /// Return the number of what the session rests on.
    pub(crate) const fn ground(&self) -> u64 {
        self.7
    }

    /// Admit a session with these attributes.
    pub(crate) fn admit(
        &self,
        engine: &ztfast_engine::Engine,
        (ty, id): (&str, &str),
        bounds: (i64, i64),
    ) -> Result<SessionId, SessionError> {
        let Self(factors, proved_ns, assurance, risk, on_behalf_of, region, channel, ground) = self;
        let factors: Vec<&str> = factors.iter().map(String::as_str).collect();
        let attributes = Attributes {
            factors: &factors,
            proved_ns: *proved_ns,
            assurance: *assurance,
            risk: *risk,
            on_behalf_of: on_behalf_of.as_ref().map(|(ty, id)| (&**ty, &**id)),
            region: region.as_deref(),
            channel: channel.as_deref(),
            grounds: Known::one_ground(*ground),
        };
        engine.admit_uid_with(ty, id, bounds, &attributes)
    }
}

/// Where an engine's state is, and what it may do with it: the directory, the role, the numbers of sessions and handles
/// that were asked for, the group that may read it, and whether it is made if there is none.
#[derive(FromPyObject)]
pub(crate) struct Place(PathBuf, String, Option<usize>, Option<usize>, Option<u32>, bool);

impl Place {
    /// Return the directory of the state.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    /// Return whether the state is made if there is none.
    pub(crate) const fn makes(&self) -> bool {
        self.5
    }

    /// Open the state; where it is made, it has room for so many sessions and handles.
    pub(crate) fn open(&self, capacity: Capacity, clock: Clock, residence: Residence) -> Result<State, StateError> {
        let Self(directory, role, sessions, handles, group, makes) = self;
        let role = if role == "decide" { Role::Decide } else { Role::Authority };
        let capacity = makes.then_some(capacity);
        State::open(directory, role, capacity, (*sessions, *handles), *group, clock, residence)
    }
}

/// Return the clock with a name that Python has checked.
pub(crate) fn clock_of(name: &str) -> ClockKind {
    match name {
        "caller" => ClockKind::Caller,
        "tsc" => ClockKind::Tsc,
        _ => ClockKind::Coarse,
    }
}

/// Return the exception for a session that could not be changed.
pub(crate) fn session_error(py: Python<'_>, error: &SessionError) -> PyErr {
    let class = match error {
        SessionError::Forked(_) => return forked(py),
        SessionError::Admit(error) => return admit_error(py, error),
        SessionError::Change(_) | SessionError::Busy { .. } | SessionError::Bound { .. } => "SessionError",
        SessionError::Role(_) => "RoleError",
        SessionError::Factors | SessionError::Names => "CapacityError",
        SessionError::Lock(_) | SessionError::Gone(_) => "StateError",
        SessionError::TooLong(_) => "ArgumentError",
    };
    raise(py, class, &error.to_string())
}

/// Give a session another end.
pub(crate) fn renew(
    py: Python<'_>,
    engine: &ztfast_engine::Engine,
    session: u64,
    not_after_ns: i64,
    who: Option<&Who>,
) -> PyResult<()> {
    let renewed = py.detach(|| engine.renew(SessionId(session), not_after_ns, told(who)));
    renewed.map_err(|error| session_error(py, &error))
}

/// Record what a session's principal has proved anew.
pub(crate) fn present(
    py: Python<'_>,
    engine: &ztfast_engine::Engine,
    session: u64,
    factors: Option<&[String]>,
    (proved_ns, assurance, risk): (Option<i64>, Option<u8>, Option<u8>),
    who: Option<&Who>,
) -> PyResult<()> {
    let names: Option<Vec<&str>> = factors.map(|names| names.iter().map(String::as_str).collect());
    let proof = NewProof { factors: names.as_deref(), proved_ns, assurance, risk };
    let done = py.detach(|| engine.present(SessionId(session), &proof, told(who)));
    done.map_err(|error| session_error(py, &error))
}

/// Who changes sessions, and why.
pub(crate) type Who = (String, String);

fn told(who: Option<&Who>) -> Option<(&str, &str)> {
    who.map(|(by, reason)| (&**by, &**reason))
}

/// Give sessions another end. Return how many have it.
pub(crate) fn renew_all(
    py: Python<'_>,
    engine: &ztfast_engine::Engine,
    meant: &Meant,
    not_after_ns: i64,
    who: Option<&Who>,
) -> PyResult<usize> {
    let done = py.detach(|| engine.renew_sessions(meant.chosen(), not_after_ns, told(who)));
    done.map_err(|error| session_error(py, &error))
}

/// Record what the principals of sessions have proved anew. Return how many sessions have it.
pub(crate) fn present_all(
    py: Python<'_>,
    engine: &ztfast_engine::Engine,
    meant: &Meant,
    factors: Option<&[String]>,
    (proved_ns, assurance, risk): (Option<i64>, Option<u8>, Option<u8>),
    who: Option<&Who>,
) -> PyResult<usize> {
    let names: Option<Vec<&str>> = factors.map(|names| names.iter().map(String::as_str).collect());
    let proof = NewProof { factors: names.as_deref(), proved_ns, assurance, risk };
    let done = py.detach(|| engine.present_sessions(meant.chosen(), &proof, told(who)));
    done.map_err(|error| session_error(py, &error))
}

/// Which sessions are meant: the one with an id, those within a uid, or those that rest on a ground.
#[derive(FromPyObject)]
pub(crate) struct Meant(Option<u64>, Option<(String, String)>, u64);

impl Meant {
    fn chosen(&self) -> Chosen<'_> {
        match self {
            Self(Some(session), ..) => Chosen::One(SessionId(*session)),
            Self(None, Some((ty, id)), _) => Chosen::Within(ty, id),
            Self(None, None, ground) => Chosen::Ground(*ground),
        }
    }
}

/// Revoke, quarantine or release sessions. Return how many changed.
pub(crate) fn set_all(
    py: Python<'_>,
    engine: &ztfast_engine::Engine,
    meant: &Meant,
    status: u8,
    who: Option<&Who>,
) -> PyResult<usize> {
    let done = py.detach(|| engine.set_sessions(meant.chosen(), status_of(status), told(who)));
    done.map_err(|error| session_error(py, &error))
}

/// Return how many sessions have a status and are not over.
pub(crate) fn count(py: Python<'_>, engine: &ztfast_engine::Engine, meant: &Meant, status: u8) -> PyResult<usize> {
    let counted = py.detach(|| engine.count_sessions(meant.chosen(), status_of(status)));
    counted.map_err(|error| session_error(py, &error))
}

/// Return the status that Python's number stands for.
pub(crate) const fn status_of(status: u8) -> SessionStatus {
    match status {
        1 => SessionStatus::Active,
        3 => SessionStatus::Quarantined,
        _ => SessionStatus::Revoked,
    }
}

/// Return a session that some process admitted, as a dict.
pub(crate) fn find<'py>(
    py: Python<'py>,
    engine: &ztfast_engine::Engine,
    session: u64,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let found = py.detach(|| engine.find_session(SessionId(session))).map_err(|error| session_error(py, &error))?;
    found.map(|(record, _)| shown(py, engine, &record)).transpose().map(Option::flatten)
}

/// Return all sessions that have a slot, or those of a principal, or with an id that begins with these hexadecimal
/// digits, as dicts.
pub(crate) fn list<'py>(
    py: Python<'py>,
    engine: &ztfast_engine::Engine,
    principal: Option<&(String, String)>,
    digits: Option<(u64, u32)>,
) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let which = match (principal, digits) {
        (Some((ty, id)), _) => Which::Of(ty, id),
        (None, Some((digits, count))) => Which::Beginning(digits, count),
        (None, None) => Which::All,
    };
    let all = py.detach(|| engine.list_sessions(which)).map_err(|error| session_error(py, &error))?;
    all.iter().filter_map(|record| shown(py, engine, record).transpose()).collect()
}

fn shown<'py>(
    py: Python<'py>,
    engine: &ztfast_engine::Engine,
    record: &SessionRecord,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some((ty, id)) = engine.uid_of(record.principal) else { return Ok(None) };
    let uid = |place: Option<_>| place.and_then(|place| engine.uid_of(place));
    let (now_ns, proof) = (engine.now_ns(), record.live.proof);
    let status = match record.status {
        SessionStatus::Revoked => "revoked",
        _ if now_ns >= record.to_ns => "expired",
        SessionStatus::Quarantined => "quarantined",
        SessionStatus::Active => "active",
    };
    let names = engine.factor_names();
    let factors: Vec<&String> =
        names.iter().enumerate().filter(|(at, _)| proof.factors >> at & 1 == 1).map(|(_, name)| name).collect();
    let age_ms = proof.age_ms(now_ns);
    let dict = PyDict::new(py);
    dict.set_item("id", record.id.0)?;
    dict.set_item("principal", (&*ty, &*id))?;
    dict.set_item("status", status)?;
    dict.set_item("not_before_ns", record.not_before_ns)?;
    dict.set_item("not_after_ns", record.not_after_ns)?;
    dict.set_item("admitted_ns", record.admitted_ns)?;
    dict.set_item("left_ns", record.to_ns.saturating_sub(now_ns))?;
    dict.set_item("factors", factors)?;
    dict.set_item("auth_age_ms", if age_ms == i64::MAX { None } else { Some(age_ms) })?;
    dict.set_item("assurance", proof.assurance)?;
    dict.set_item("risk", proof.risk)?;
    dict.set_item("on_behalf_of", uid(record.live.on_behalf_of).map(|(ty, id)| (ty.to_string(), id.to_string())))?;
    dict.set_item("region", record.live.region.and_then(|name| engine.name_of(name)))?;
    dict.set_item("channel", record.live.channel.and_then(|name| engine.name_of(name)))?;
    dict.set_item("grounds", record.grounds)?;
    // Of one that expired in quarantine, nobody ended the validity.
    let note = if status == "expired" { None } else { engine.note_of(record) };
    dict.set_item("note", note.map(|note| (note.by, note.reason, note.since_ns)))?;
    Ok(Some(dict))
}

/// Return the code with which a session is denied, or `ALLOW` if it is valid now.
pub(crate) fn code(engine: &ztfast_engine::Engine, session: u64) -> Code {
    engine.session_code(SessionId(session))
}
