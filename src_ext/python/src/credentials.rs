//! Sessions by credentials: the validation table of an engine, and the list of what must never be admitted again.
//!
//! An admission asks the list before its session exists and once more afterwards, and whoever revokes writes the list
//! before looking for sessions: one of the two sees the other (`ztfast_identity`).

use crate::errors::raise;
use crate::exceptions::forked;
use crate::identity::credential_error;
use crate::sessions::session_error;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use ztfast_engine::{
    AUTHORITY_GROUND, AdmitError, Attributes, Chosen, Engine, Grounds, HandleError, MAX_GROUNDS, Residence, Role,
    SessionError, SessionId, SessionStatus, Which,
};
use ztfast_identity::{
    Begun, Change, Digest, Ground, GroundKind, Kept, Lookup, Revocation, Revoked, RevokedError, RevokedGrounds, Row,
    RowGround, Table, TableError, number, sha256,
};

/// The file of the list in the directory of a state.
const LIST: &str = "revoked";
/// The file of the table there.
const TABLE: &str = "credentials";
/// Where the principal stands in a row: behind the grounds of its sessions.
const PRINCIPAL: usize = MAX_GROUNDS;

/// Why a credential is not admitted.
pub(crate) enum Refused {
    /// This ground of it is revoked.
    Revoked(GroundKind),
    /// Something fell while it was verified, and it may rest on that: it has to be verified again.
    Late,
    /// It rests on more than a session keeps.
    Grounds,
    /// Its principal's names are too long for a row.
    Long,
    Table(TableError),
    List(RevokedError),
    Session(SessionError),
}

impl From<TableError> for Refused {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

impl From<RevokedError> for Refused {
    fn from(error: RevokedError) -> Self {
        Self::List(error)
    }
}

impl From<SessionError> for Refused {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl Refused {
    /// Return whether there is no handle left for the principal.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Session(SessionError::Admit(AdmitError::NoHandle(HandleError::Full(_)))))
    }

    /// Return the exception.
    pub(crate) fn raised(&self, py: Python<'_>) -> PyErr {
        match self {
            Self::Revoked(kind) => credential_error(py, "revoked", &format!("its {} is revoked", kind.name())),
            Self::Late => credential_error(
                py,
                "late",
                "something that it may rest on fell while it was verified: present it again",
            ),
            Self::Grounds => credential_error(py, "path-too-long", "it rests on more keys than a session keeps"),
            Self::Long => {
                credential_error(py, "too-long", "the names of its principal, factors, region and channel are too long")
            }
            Self::Table(error) => table_error(py, error),
            Self::List(error) => list_error(py, error),
            Self::Session(error) => session_error(py, error),
        }
    }
}

fn table_error(py: Python<'_>, error: &TableError) -> PyErr {
    let class = match error {
        TableError::Rows(_) => "ArgumentError",
        TableError::Memory(_) => "CapacityError",
        TableError::ReadOnly => "RoleError",
        _ => "StateError",
    };
    raise(py, class, &error.to_string())
}

/// Return the exception for a list that cannot be read or written.
pub(crate) fn list_error(py: Python<'_>, error: &RevokedError) -> PyErr {
    let class = match error {
        RevokedError::Forked(_) => return forked(py),
        RevokedError::ReadOnly => "RoleError",
        RevokedError::NoLine(_) => "ArgumentError",
        _ => "StateError",
    };
    raise(py, class, &error.to_string())
}

/// What a row holds besides bounds and grounds: what a session is made of, and what lists show.
///
/// The first byte is the assurance. Texts follow, each behind two bytes of its length: type and id of the principal,
/// region and channel (empty for none), what lists show, and the factors.
struct Holds<'r> {
    assurance: u8,
    principal: (&'r str, &'r str),
    region: Option<&'r str>,
    channel: Option<&'r str>,
    shown: &'r str,
    factors: Vec<&'r str>,
}

impl<'r> Holds<'r> {
    fn of(text: &'r [u8]) -> Option<Self> {
        let (&assurance, mut rest) = text.split_first()?;
        let mut next = || {
            let (len, after) = rest.split_first_chunk::<2>()?;
            let (text, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            rest = after;
            std::str::from_utf8(text).ok()
        };
        let principal = (next()?, next()?);
        let [region, channel] = [next()?, next()?].map(|name| Some(name).filter(|name| !name.is_empty()));
        let shown = next()?;
        Some(Self { assurance, principal, region, channel, shown, factors: std::iter::from_fn(next).collect() })
    }

    /// `None` if a text is too long for any row.
    fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![self.assurance];
        let [region, channel] = [self.region, self.channel].map(Option::unwrap_or_default);
        let texts = [self.principal.0, self.principal.1, region, channel, self.shown];
        for text in texts.iter().chain(&self.factors) {
            bytes.extend(u16::try_from(text.len()).ok()?.to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        Some(bytes)
    }
}

/// What was verified of a credential, and who that is: the certificate's digest, the epoch of its authorities, bounds,
/// grounds by kind, principal, factors, assurance, region, channel, and what lists show of it.
#[derive(FromPyObject)]
pub(crate) struct Verified(
    [u8; 32],
    u64,
    (i64, i64),
    Vec<(String, [u8; 32])>,
    (String, String),
    Vec<String>,
    u8,
    Option<String>,
    Option<String>,
    String,
);

/// A principal, by type and id.
pub(crate) type Principal = (String, String);

/// A line of the list: kind, digest, what people call it, by whom, why, when, and whether it was revoked or restored.
type ShownLine = (String, [u8; 32], String, String, String, String, bool);

/// A moment at which a verification began.
#[pyclass(frozen, module = "ztfast._core")]
pub(crate) struct Moment(pub Begun);

/// The credentials of an engine.
pub(crate) struct Store {
    engine: Arc<Engine>,
    directory: Option<PathBuf>,
    rows: Option<usize>,
    residence: Residence,
    /// It is opened when it is first used: most engines need none.
    table: OnceLock<Table>,
    /// The list of what is revoked: none in memory.
    list: Option<PathBuf>,
    revoked: OnceLock<Revoked>,
}

impl Store {
    /// Open the list of what is revoked: in a file, in the state's directory, or in memory.
    ///
    /// Who makes no state, as a command does not, makes no list in its directory either: the state's engines may keep
    /// theirs elsewhere. It opens one when it first asks it, so that a list that was damaged keeps nobody from a kill.
    pub fn new(
        engine: Arc<Engine>,
        directory: Option<PathBuf>,
        list: Option<PathBuf>,
        rows: Option<usize>,
        residence: Residence,
        makes: bool,
    ) -> Result<Self, RevokedError> {
        let role = engine.role();
        // Those that only decide admit nobody, and show what there is.
        let makes_list = role == Role::Authority && (makes || list.is_some());
        let is_wanted = |path: &PathBuf| makes_list || path.symlink_metadata().is_ok();
        let list = list.or_else(|| Some(directory.as_ref()?.join(LIST))).filter(is_wanted);
        let (table, revoked) = (OnceLock::new(), OnceLock::new());
        let store = Self { engine, directory, rows, residence, table, list, revoked };
        if makes && role == Role::Authority {
            store.revoked()?;
        }
        Ok(store)
    }

    fn revoked(&self) -> Result<&Revoked, RevokedError> {
        if let Some(revoked) = self.revoked.get() {
            return Ok(revoked);
        }
        let revoked = match &self.list {
            Some(path) => Revoked::open(path, self.engine.role())?,
            None => Revoked::in_memory(),
        };
        Ok(self.revoked.get_or_init(|| revoked))
    }

    /// End what rests on revoked grounds: whoever revoked them may have been killed before that. An authority does this
    /// when it begins.
    pub fn end_revoked(&self) -> Result<(), Refused> {
        // Those that only decide need not be able to read the list.
        if self.engine.role() == Role::Decide {
            return Ok(());
        }
        let list = self.revoked()?.current()?;
        if list.is_empty() {
            return Ok(());
        }
        let who = Some(("ztfast", "what it rests on is revoked for ever"));
        self.fall(list.numbers().collect(), who)?;
        self.end_principals(|digest| list.contains(number(digest)), who).map(|_| ())
    }

    fn table(&self) -> Result<&Table, TableError> {
        if let Some(table) = self.table.get() {
            return Ok(table);
        }
        let table = match &self.directory {
            Some(directory) => Table::open(directory, self.engine.role(), self.rows, self.residence)?,
            None => Table::private(self.rows.unwrap_or(ztfast_identity::DEFAULT_ROWS), self.residence)?,
        };
        Ok(self.table.get_or_init(|| table))
    }

    /// Return the table, unless no process has made one.
    fn table_if_any(&self) -> Result<Option<&Table>, TableError> {
        let is_there = self.table.get().is_some()
            || self.directory.as_ref().is_some_and(|directory| directory.join(TABLE).symlink_metadata().is_ok());
        is_there.then(|| self.table()).transpose()
    }

    /// Admit somebody by trusted code's word, unless the principal, or what the session rests on, is revoked.
    pub fn admit_trusted(
        &self,
        (ty, id): (&str, &str),
        ground: u64,
        admit: impl FnOnce() -> Result<SessionId, SessionError>,
    ) -> Result<SessionId, Refused> {
        let hit = |list: &RevokedGrounds| {
            // Most lists are empty, and a digest takes longer than to see that.
            if list.is_empty() {
                None
            } else if list.contains(Ground::principal(ty, id).number()) {
                Some(GroundKind::Principal)
            } else {
                (ground != 0 && list.contains(ground)).then_some(GroundKind::Certificate)
            }
        };
        self.admit(&self.revoked()?.current()?, hit, admit)
    }

    /// Admit somebody, unless the list of what is revoked is hit, as it was before this or as it is afterwards.
    fn admit(
        &self,
        before: &Arc<RevokedGrounds>,
        hit: impl Fn(&RevokedGrounds) -> Option<GroundKind>,
        admit: impl FnOnce() -> Result<SessionId, SessionError>,
    ) -> Result<SessionId, Refused> {
        if let Some(kind) = hit(before) {
            return Err(Refused::Revoked(kind));
        }
        let session = admit()?;
        let refused = match self.revoked().and_then(Revoked::current) {
            Ok(after) if Arc::ptr_eq(before, &after) => return Ok(session),
            Ok(after) => match hit(&after) {
                None => return Ok(session),
                Some(kind) => Refused::Revoked(kind),
            },
            Err(error) => Refused::List(error),
        };
        // Nobody has its id yet.
        self.engine.set_session(session, SessionStatus::Revoked)?;
        Err(refused)
    }

    /// Find the row of a certificate, and return the list by which it counts. `authority` is the ground of the
    /// authority that has to have verified it, or 0 for any.
    pub fn look_up(
        &self,
        leaf: &[u8],
        epoch: u64,
        authority: u64,
        row: &mut Row,
    ) -> Result<Option<Arc<RevokedGrounds>>, Refused> {
        let revoked = self.revoked()?.current()?;
        let found = self.table()?.get(&sha256(leaf), epoch, self.engine.wall_ns(), &revoked, row);
        let by = row.grounds().get(AUTHORITY_GROUND).map_or(0, |ground| ground.number);
        let is_known = found == Lookup::Found && (authority == 0 || authority == by);
        Ok(is_known.then_some(revoked))
    }

    /// Admit the principal of a row, by a list that was current before.
    pub fn admit_row(&self, row: &Row, revoked: &Arc<RevokedGrounds>) -> Result<(SessionId, Principal), Refused> {
        let hit =
            |list: &RevokedGrounds| row.grounds().iter().find(|ground| list.contains(ground.number)).and_then(kind_of);
        let holds = Holds::of(row.text()).ok_or(Refused::Late)?;
        let mut grounds: Grounds = [0; MAX_GROUNDS];
        for (to, ground) in grounds.iter_mut().zip(row.grounds()) {
            *to = ground.number;
        }
        let (ty, id) = holds.principal;
        let attributes = Attributes {
            factors: &holds.factors,
            // The credential was proved when it was presented, which is now.
            proved_ns: Some(i64::MAX),
            assurance: holds.assurance,
            risk: 0,
            on_behalf_of: None,
            region: holds.region,
            channel: holds.channel,
            grounds,
        };
        let bounds = (row.not_before_ns, row.not_after_ns);
        let session = self.admit(revoked, hit, || self.engine.admit_uid_with(ty, id, bounds, &attributes))?;
        Ok((session, (ty.to_owned(), id.to_owned())))
    }
}

impl Store {
    /// Keep what was verified since a moment, and admit its principal.
    pub fn keep(&self, verified: &Verified, begun: Begun) -> Result<(SessionId, Principal), Refused> {
        let now_ns = self.engine.wall_ns();
        let row = row_of(verified, now_ns)?;
        let (table, revoked) = (self.table()?, self.revoked()?.current()?);
        match table.put(&row, begun, now_ns, &revoked) {
            Ok(Kept::Kept) => {}
            Ok(Kept::Late) => return Err(Refused::Late),
            Ok(Kept::Revoked(number)) => {
                let ground = row.grounds().iter().find(|ground| ground.number == number);
                return Err(Refused::Revoked(ground.and_then(kind_of).unwrap_or(GroundKind::Certificate)));
            }
            // Another process keeps the row's place: the credential will be verified again.
            Err(TableError::Busy { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let (session, principal) = self.admit_row(&row, &revoked)?;
        if self.ends_if_something_fell(session, begun)? { Err(Refused::Late) } else { Ok((session, principal)) }
    }

    /// Return the present moment, for whoever looks a credential up and admits it.
    pub fn begin(&self) -> Result<Begun, Refused> {
        Ok(self.table()?.begin())
    }

    /// End a session that nobody has yet, if something fell since a moment: whoever made it fall may have looked for
    /// sessions before this one was live. Return whether it ended.
    pub fn ends_if_something_fell(&self, session: SessionId, begun: Begun) -> Result<bool, Refused> {
        let has_fallen = self.table()?.has_fallen_since(begun);
        if has_fallen {
            self.engine.set_session(session, SessionStatus::Revoked)?;
        }
        Ok(has_fallen)
    }

    /// Make rows fall that rest on grounds, and revoke their sessions. Return how many rows and sessions that were.
    fn fall(&self, mut grounds: Vec<u64>, who: Option<(&str, &str)>) -> Result<(usize, usize), Refused> {
        grounds.sort_unstable();
        let has = |ground: &&RowGround| ground.number != 0 && grounds.binary_search(&ground.number).is_ok();
        let falls = |row: &Row| row.grounds().iter().find(has).map(|ground| ground.number);
        let fallen = self.table_if_any()?.map_or(0, |table| table.fall_where(falls).len());
        let ended = self.engine.set_sessions(Chosen::Grounds(&grounds), SessionStatus::Revoked, who)?;
        Ok((fallen, ended))
    }

    /// Revoke the sessions of principals, by the digests of their grounds. Sessions do not keep these.
    fn end_principals(&self, is_meant: impl Fn(&Digest) -> bool, who: Option<(&str, &str)>) -> Result<usize, Refused> {
        let mut ended = 0;
        for session in self.engine.list_sessions(Which::All)? {
            let uid = self.engine.uid_of(session.principal);
            if uid.is_some_and(|(ty, id)| is_meant(&Ground::principal(&ty, &id).digest)) {
                ended += self.engine.set_sessions(Chosen::One(session.id), SessionStatus::Revoked, who)?;
            }
        }
        Ok(ended)
    }

    /// Write down that a ground is revoked, and end what rests on it.
    fn revoke(&self, line: &Revocation) -> Result<(usize, usize), Refused> {
        let written = self.revoked().and_then(|list| list.append(line));
        if let Err(error @ (RevokedError::NoLine(_) | RevokedError::ReadOnly | RevokedError::Forked(_))) = written {
            return Err(error.into());
        }
        // What is live ends, also if the disk failed.
        let who = Some((&*line.by, &*line.reason));
        let (fallen, mut ended) = self.fall(vec![number(&line.digest)], who)?;
        if line.kind == GroundKind::Principal.name() {
            ended += self.end_principals(|digest| *digest == line.digest, who)?;
        }
        written?;
        Ok((fallen, ended))
    }
}

/// Return what a ground of a row is.
fn kind_of(ground: &RowGround) -> Option<GroundKind> {
    GroundKind::ALL.get(usize::from(ground.kind)).copied()
}

/// Make a row of what was verified. Where its texts are too long for one, lists show nothing of it.
fn row_of(verified: &Verified, now_ns: i64) -> Result<Row, Refused> {
    let Verified(key, epoch, bounds, grounds, (ty, id), factors, assurance, region, channel, shown) = verified;
    let mut own = [RowGround::default(); MAX_GROUNDS + 1];
    let mut keys = [2].into_iter().chain(AUTHORITY_GROUND + 1..MAX_GROUNDS);
    let principal = (GroundKind::Principal.name(), Ground::principal(ty, id).digest);
    let all = grounds.iter().map(|(kind, digest)| (&**kind, *digest)).chain([principal]);
    for (kind, digest) in all {
        let place = match kind {
            "certificate" => Some(0),
            "serial" => Some(1),
            "key" => keys.next(),
            "issuer" => Some(3),
            "authority" => Some(AUTHORITY_GROUND),
            "principal" => Some(PRINCIPAL),
            _ => None,
        };
        let kind = GroundKind::ALL.iter().position(|known| known.name() == kind);
        let (Some(to), Some(kind)) = (place.and_then(|place| own.get_mut(place)), kind) else {
            return Err(Refused::Grounds);
        };
        *to = RowGround { kind: u8::try_from(kind).unwrap_or(u8::MAX), number: number(&digest) };
    }
    let make = |shown| {
        let holds = Holds {
            assurance: *assurance,
            principal: (ty, id),
            region: region.as_deref(),
            channel: channel.as_deref(),
            shown,
            factors: factors.iter().map(String::as_str).collect(),
        };
        Row::new(*key, *epoch, *bounds, now_ns, &own, &holds.to_bytes()?).ok()
    };
    make(shown).or_else(|| make("")).ok_or(Refused::Long)
}

/// The credentials of an engine, for Python.
#[pyclass(frozen, module = "ztfast._core")]
pub(crate) struct Credentials(pub Arc<Store>);

#[pymethods]
impl Credentials {
    /// Return the present moment, for whoever begins to verify a credential.
    fn begin(&self, py: Python<'_>) -> PyResult<Moment> {
        let begun = self.0.table().map(Table::begin).map_err(|error| table_error(py, &error))?;
        Ok(Moment(begun))
    }

    /// Make rows fall that rest on grounds, by number, and revoke their sessions. Returns how many these were.
    fn fall(&self, py: Python<'_>, grounds: Vec<u64>, by: &str, reason: &str) -> PyResult<(usize, usize)> {
        py.detach(|| self.0.fall(grounds, Some((by, reason)))).map_err(|refused| refused.raised(py))
    }

    /// Revoke a ground for ever, with all rows and sessions that rest on it. Returns how many these were.
    fn revoke(
        &self,
        py: Python<'_>,
        ground: (String, [u8; 32]),
        shown: String,
        by: String,
        reason: String,
        at: String,
    ) -> PyResult<(usize, usize)> {
        let (kind, digest) = ground;
        let line = Revocation { kind, digest, shown, by, reason, at, what: Change::Revoked };
        py.detach(|| self.0.revoke(&line)).map_err(|refused| refused.raised(py))
    }

    /// Let a ground count again that was revoked by mistake. Returns whether it was revoked.
    fn restore(
        &self,
        py: Python<'_>,
        ground: (String, [u8; 32]),
        shown: String,
        by: String,
        reason: String,
        at: String,
    ) -> PyResult<bool> {
        let (kind, digest) = ground;
        let line = Revocation { kind, digest, shown, by, reason, at, what: Change::Restored };
        let done = py.detach(|| {
            let list = self.0.revoked()?;
            let was = list.current()?.contains(number(&line.digest));
            if was {
                list.append(&line)?;
            }
            Ok(was)
        });
        done.map_err(|error: RevokedError| list_error(py, &error))
    }

    /// Return all lines of the list of what is revoked.
    fn revoked(&self, py: Python<'_>) -> PyResult<Vec<ShownLine>> {
        let lines = py.detach(|| self.0.revoked().and_then(Revoked::lines)).map_err(|error| list_error(py, &error))?;
        Ok(lines
            .into_iter()
            .map(|line| {
                (line.kind, line.digest, line.shown, line.by, line.reason, line.at, line.what == Change::Revoked)
            })
            .collect())
    }

    /// Return the rows of the table as dicts.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let Some(table) = self.0.table_if_any().map_err(|error| table_error(py, &error))? else {
            return Ok(Vec::new());
        };
        table.rows().filter_map(|row| shown(py, &row).transpose()).collect()
    }

    /// Return how often rows were found and not found, how many made room for others, and how many there can be.
    fn counters(&self, py: Python<'_>) -> PyResult<Option<(u64, u64, u64, usize)>> {
        let table = self.0.table_if_any().map_err(|error| table_error(py, &error))?;
        Ok(table.map(|table| {
            let counters = table.counters();
            (counters.hits, counters.misses, counters.evictions, table.capacity())
        }))
    }
}

fn shown<'py>(py: Python<'py>, row: &Row) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(holds) = Holds::of(row.text()) else { return Ok(None) };
    let name_of = |ground: &RowGround| kind_of(ground).map_or("", GroundKind::name);
    let grounds: Vec<_> = row
        .grounds()
        .iter()
        .filter(|ground| ground.number != 0)
        .map(|ground| (name_of(ground), ground.number))
        .collect();
    let dict = PyDict::new(py);
    dict.set_item("key", row.key)?;
    dict.set_item("epoch", row.epoch)?;
    dict.set_item("not_before_ns", row.not_before_ns)?;
    dict.set_item("not_after_ns", row.not_after_ns)?;
    dict.set_item("verified_ns", row.verified_ns)?;
    dict.set_item("used_ns", row.used_ns)?;
    dict.set_item("fallen", row.fallen)?;
    dict.set_item("grounds", grounds)?;
    dict.set_item("principal", holds.principal)?;
    dict.set_item("factors", holds.factors)?;
    dict.set_item("assurance", holds.assurance)?;
    dict.set_item("region", holds.region)?;
    dict.set_item("channel", holds.channel)?;
    dict.set_item("shown", holds.shown)?;
    Ok(Some(dict))
}
