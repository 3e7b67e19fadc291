//! Requests that must be denied, between valid ones: with another engine's sessions and handles, forged ones, entities
//! of wrong types, and calls that failed half-way. The valid ones must still be decided right.

use crate::counts::Counts;
use crate::desk::Desk;
use crate::ways::Ways;
use ztfast_bundle::ValueType;
use ztfast_engine::{Code, Column, Decision, Determining, Handle, Principals, SessionId};

/// The gates that are checked after a step, and the rows of each.
const GATES: usize = 4;
/// Ask one engine with another's sessions, and about another's entities.
pub(crate) fn ask(desks: &mut [Desk], counts: &mut Counts) -> Result<(), String> {
    let [desk, other, ..] = desks else { return Ok(()) };
    // These are sessions of the same principals, and the same entities: in two engines set up alike they have the same
    // places.
    let sessions: Vec<SessionId> = desk.sessions.keys().filter_map(|uid| other.sessions.get(uid).copied()).collect();
    let snapshot = desk.engine.snapshot();
    for &session in &sessions {
        if desk.engine.session_principal(&snapshot, 0, session) != Err(Code::UnknownSession) {
            return Err("another engine's session has a principal here".into());
        }
    }
    for ways in desk.gates.values_mut().take(GATES) {
        let Some(row) = ways.row(0) else { continue };
        let uid = |handle: u64| desk.engine.handle_uid(Handle(handle));
        let theirs = |handle: u64| {
            let (ty, id) = uid(handle).ok_or("a handle without a uid")?;
            other.engine.handle(&ty, &id).map_err(|e| e.to_string())
        };
        let (resource, principal) = (theirs(row.resource)?, theirs(row.principal)?);
        let foreign = sessions.first().copied().unwrap_or(SessionId(0));
        let made_up =
            [foreign, SessionId(0), SessionId(u64::MAX), SessionId(row.session ^ 1 << 32), SessionId(row.session + 1)];
        for session in made_up {
            ways.denies(session, Handle(row.resource), Code::UnknownSession)?;
        }
        for handle in [resource, Handle(row.resource ^ 1 << 40), Handle(row.resource ^ 1 << 62), Handle(u64::MAX)] {
            ways.denies(SessionId(row.session), handle, Code::UnknownHandle)?;
        }
        ways.denies_rows(foreign, resource, principal)?;
        ways.refuses_entities(resource, &[Handle(row.principal), Handle(row.resource)], uid)?;
        counts.decisions += 20;
    }
    Ok(())
}

/// A row that was decided.
pub(crate) struct Row {
    session: u64,
    principal: u64,
    resource: u64,
}

impl Ways {
    fn row(&self, at: usize) -> Option<Row> {
        let (session, principal) = (*self.sessions.get(at)?, *self.principals.get(at)?);
        Some(Row { session, principal, resource: *self.resources.get(at)? })
    }

    fn denies(&mut self, session: SessionId, resource: Handle, wanted: Code) -> Result<(), String> {
        let first: Vec<_> = self.columns.iter().filter_map(|column| column.first().cloned()).collect();
        let values = self.values(&first)?;
        let mut determining = Determining::default();
        let decided = self.gate.decide(session, resource, &values, &mut determining);
        let values = self.values(&first)?;
        let allowed = self.gate.allows(session, resource, &values);
        if decided != wanted || allowed != wanted {
            return Err(format!(
                "session {:#x}, resource {:#x}: {decided:?}, {allowed:?}, not {wanted:?}",
                session.0, resource.0
            ));
        }
        // The gate decides as before.
        let values = self.values(&first)?;
        let row = self.row(0).ok_or("no row")?;
        let code = self.gate.allows(SessionId(row.session), Handle(row.resource), &values);
        match self.expected.first() {
            Some(&expected) if code != expected => Err(format!("after strangers: {code:?}, Cedar {expected:?}")),
            _ => Ok(()),
        }
    }

    /// Check the same in a batch, beside a valid row.
    fn denies_rows(&mut self, session: SessionId, resource: Handle, principal: Handle) -> Result<(), String> {
        if !self.has_columns() {
            return Ok(());
        }
        let row = self.row(0).ok_or("no row")?;
        let mut batch = self.gate.batch();
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            columns.push(vec![
                column
                    .first()
                    .and_then(|argument| argument.number(&mut batch))
                    .ok_or("too many texts")?;
                4
            ]);
        }
        let laid_out: Vec<Column<'_, i64>> = columns.iter().map(|column| Column::each(column)).collect();
        let sessions = [row.session, session.0, row.session, session.0];
        let principals = [row.principal, principal.0, row.principal, principal.0];
        let resources = [row.resource, row.resource, resource.0, resource.0];
        let right = self.expected.first().copied().ok_or("no row")?;
        let (session, handle) = (Code::UnknownSession, Code::UnknownHandle);
        for (who, wanted) in [
            (Principals::Sessions(Column::each(&sessions)), [right, session, handle, session]),
            (Principals::Handles(Column::each(&principals)), [right, handle, handle, handle]),
        ] {
            let mut out = [Decision::CORRUPT; 4];
            let decided = batch.decide_many(who, Column::each(&resources), &laid_out, &mut out);
            decided.map_err(|_| "an entity that fits its argument is refused")?;
            if out != wanted {
                return Err(format!("rows of strangers: {out:?}, not {wanted:?}"));
            }
        }
        Ok(())
    }

    /// Check that arguments that are entities refuse another engine's, and those of a wrong type.
    fn refuses_entities(
        &mut self,
        foreign: Handle,
        own: &[Handle],
        uid: impl Fn(u64) -> Option<(Box<str>, Box<str>)>,
    ) -> Result<(), String> {
        let row = self.row(0).ok_or("no row")?;
        let kinds = self.kinds.clone();
        for (place, kind) in kinds.iter().enumerate() {
            let ValueType::Entity(wanted) = kind else { continue };
            let wrong = own.iter().copied().filter(|handle| uid(handle.0).is_some_and(|(ty, _)| *ty != **wanted));
            for handle in wrong.chain([foreign]) {
                self.gate.begin();
                if let Ok(number) = self.gate.entity(handle, place) {
                    return Err(format!("argument {place} takes the number {number:#x} for an entity of {wanted}"));
                }
                let code = self.gate.allows(SessionId(row.session), Handle(row.resource), &vec![0; kinds.len()]);
                if code == Code::Allow {
                    return Err(format!("argument {place}, of {wanted}, is refused, and the call allowed"));
                }
                if !self.has_columns() {
                    continue;
                }
                let mut batch = self.gate.batch();
                let mut columns = Vec::with_capacity(kinds.len());
                for column in &self.columns {
                    columns
                        .push(column.first().and_then(|argument| argument.number(&mut batch)).ok_or("too many texts")?);
                }
                columns[place] = handle.0.cast_signed();
                let laid_out: Vec<Column<'_, i64>> = columns.chunks(1).map(Column::each).collect();
                let mut out = [Decision::CORRUPT];
                let sessions = [row.session];
                let _ = batch.decide_many(
                    Principals::Sessions(Column::each(&sessions)),
                    Column::all(&[row.resource]),
                    &laid_out,
                    &mut out,
                );
                if out == [Code::Allow] {
                    return Err(format!("a row whose column {place}, of {wanted}, has another entity is allowed"));
                }
            }
        }
        Ok(())
    }
}
