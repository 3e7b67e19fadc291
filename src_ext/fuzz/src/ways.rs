//! A gate of one engine, and the arguments of its calls.

use std::sync::Arc;
use ztfast_bundle::ValueType;
use ztfast_engine::{Batch, Code, Gate, Handle, SessionId};

/// A length that exceeds the memory of a call.
const LONG: usize = 1 << 15;

/// A gate, and rows that are later decided again, all at once.
pub(crate) struct Ways {
    pub gate: Gate,
    pub kinds: Vec<ValueType>,
    pub sessions: Vec<u64>,
    pub principals: Vec<u64>,
    pub resources: Vec<u64>,
    pub columns: Vec<Vec<Argument>>,
    pub expected: Vec<Code>,
    /// A batch taken when the step began, behind a call that had failed half-way before the store changed.
    pub early: Option<Batch>,
}

#[derive(Clone)]
pub(crate) enum Argument {
    Number(i64),
    Text(Arc<str>),
    Entity(Handle),
}

impl Argument {
    /// Return the value for a column.
    pub fn number(&self, batch: &mut Batch) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => batch.text(text),
            Self::Entity(handle) => Some(handle.0.cast_signed()),
        }
    }
}

impl Ways {
    pub fn values(&mut self, arguments: &[Argument]) -> Result<Vec<i64>, String> {
        if arguments.len() != self.kinds.len() {
            return Err("the gate takes another number of arguments".into());
        }
        // A call with numbers only is not begun: the decision itself then takes the newest snapshot.
        if arguments.iter().any(|argument| !matches!(argument, Argument::Number(_))) {
            self.gate.begin();
        }
        let gate = &mut self.gate;
        let number = |(place, argument): (usize, &Argument)| match argument {
            Argument::Number(n) => Some(*n),
            Argument::Text(text) => gate.text(text),
            Argument::Entity(handle) => gate.entity(*handle, place).ok(),
        };
        arguments
            .iter()
            .enumerate()
            .map(number)
            .collect::<Option<_>>()
            .ok_or_else(|| "no number for an argument".into())
    }

    /// Make a call fail half-way. The next decision is a denial, and those after it are as if the call had never been.
    pub fn fail(&mut self) -> Result<(), String> {
        self.gate.begin();
        match self.gate.text(&"x".repeat(LONG)) {
            None => Ok(()),
            Some(_) => Err("there is room for a text of 32 KiB".into()),
        }
    }

    /// Check the decision of a call that failed.
    pub fn denies_failed(&mut self, session: SessionId, resource: Handle) -> Result<(), String> {
        self.fail()?;
        let code = self.gate.allows(session, resource, &vec![0; self.kinds.len()]);
        if code == Code::Allow { Err("a call that failed half-way is allowed".into()) } else { Ok(()) }
    }
}
