//! A gate of one engine, and the arguments of its calls.

use std::collections::HashMap;
use std::sync::Arc;
use ztfast_bundle::{Bundle, ValueType};
use ztfast_engine::{
    Batch, Code, Column, Decision, Determining, Gate, Given, Handle, MOST_PASSED, Passed, Principals, SessionId, Source,
};

/// A length that exceeds the memory of a call.
const LONG: usize = 1 << 15;

/// The pairs of session and resource whose rows are decided together once more.
const PAIRS: usize = 4;

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
    pub tokens: Tokens,
}

#[derive(Clone, Debug)]
pub(crate) enum Argument {
    Number(i64),
    Text(Arc<str>),
    Entity(Handle),
    /// Elements that are texts, entities or numbers.
    Set(Vec<Self>),
    /// The bits of an address, whether it is one of IPv6, and the length of its prefix.
    Address(u128, bool, u8),
}

impl Argument {
    /// Return the value for a column.
    pub fn number(&self, batch: &mut Batch) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => batch.text(text),
            Self::Entity(handle) => Some(handle.0.cast_signed()),
            Self::Set(_) | Self::Address(..) => None,
        }
    }
}

/// Return an argument that is no set, as it is passed.
fn scalar<'a>(bundle: &Bundle, argument: &'a Argument) -> Option<Passed<'a>> {
    Some(match argument {
        Argument::Number(n) => Passed::Number(*n),
        Argument::Entity(handle) => Passed::Number(handle.0.cast_signed()),
        Argument::Address(bits, is_v6, prefix) => Passed::Address(*bits, *is_v6, *prefix),
        Argument::Text(text) => match bundle.find_string(text) {
            None => Passed::Unknown(text),
            // A caller may or may not know the number.
            Some(number) if text.len() % 2 == 0 => Passed::Number(i64::from(number)),
            Some(_) => Passed::Text(text),
        },
        Argument::Set(_) => return None,
    })
}

/// The tokens of texts and sets.
#[derive(Default)]
pub(crate) struct Tokens(HashMap<String, u64>);

impl Tokens {
    fn of(&mut self, argument: &Argument) -> u64 {
        match argument {
            Argument::Text(_) | Argument::Set(_) => {
                let next = self.0.len() as u64 + 1;
                *self.0.entry(format!("{argument:?}")).or_insert(next)
            }
            _ => 0,
        }
    }
}

/// A value with its token.
struct Named<S> {
    given: S,
    token: u64,
}

impl<'v, S: Source<'v>> Source<'v> for Named<S> {
    type Element = S::Element;

    fn number(self) -> Option<i64> {
        self.given.number()
    }

    fn text(self) -> Option<Passed<'v>> {
        self.given.text()
    }

    fn address(self) -> Option<(u128, bool, u8)> {
        self.given.address()
    }

    fn elements(self) -> Option<impl ExactSizeIterator<Item = Self::Element>> {
        self.given.elements()
    }

    fn handle(&self) -> Option<i64> {
        self.given.handle()
    }

    fn ip4(&self) -> Option<(u32, u8)> {
        self.given.ip4()
    }

    fn token(&self) -> u64 {
        self.token
    }
}

impl Ways {
    /// Return whether a batch takes the gate's arguments as columns.
    pub fn has_columns(&self) -> bool {
        !self.kinds.iter().any(|kind| matches!(kind, ValueType::Ip | ValueType::Set(_)))
    }

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
            Argument::Set(elements) => {
                let of = |element: &Argument| match element {
                    Argument::Number(n) => Some(*n),
                    Argument::Text(text) => gate.text(text),
                    Argument::Entity(handle) => Some(handle.0.cast_signed()),
                    Argument::Set(_) | Argument::Address(..) => None,
                };
                let elements: Option<Vec<i64>> = elements.iter().map(of).collect();
                gate.set(&elements?, place).ok()
            }
            Argument::Address(bits, is_v6, prefix) => gate.address(*bits, *is_v6, *prefix).ok(),
        };
        arguments
            .iter()
            .enumerate()
            .map(number)
            .collect::<Option<_>>()
            .ok_or_else(|| "no number for an argument".into())
    }

    /// Pass the arguments and decide in one step. `None` if there are too many.
    pub fn passed(
        &mut self,
        session: SessionId,
        resource: Handle,
        arguments: &[Argument],
        determining: Option<&mut Determining>,
    ) -> Result<Option<Code>, String> {
        if arguments.len() > MOST_PASSED {
            return Ok(None);
        }
        self.gate.refresh();
        let generation = self.gate.generation();
        let bundle = self.gate.snapshot().bundle().clone();
        let scalar = |argument| scalar(&bundle, argument);
        let given = || {
            arguments.iter().map(|argument| match argument {
                Argument::Set(elements) => Some(Given::Set(elements.iter().map(scalar))),
                other => scalar(other).map(Given::One),
            })
        };
        let by_answers = self.gate.allows_passed(generation, (session, resource), given());
        // What values answered when they were first passed with a token answers the second time.
        let tokens: Vec<u64> = arguments.iter().map(|argument| self.tokens.of(argument)).collect();
        for _ in 0..if tokens.iter().any(|token| *token != 0) { 2 } else { 0 } {
            let named = given().zip(&tokens).map(|(given, &token)| Named { given, token });
            let remembered = self.gate.allows_passed(generation, (session, resource), named);
            if remembered != by_answers {
                return Err(format!("values with tokens decide {remembered:?}, without {by_answers:?}"));
            }
        }
        let mut passed = self.gate.pass(generation).ok_or("values cannot be passed")?;
        for given in given() {
            passed.value(given).ok_or("a value cannot be passed")?;
        }
        let decided = match determining {
            Some(determining) => passed.decide(session, resource, determining),
            None => passed.allows(session, resource),
        };
        if let (Some(answered), Some(decided)) = (by_answers, decided)
            && answered != decided
        {
            return Err(format!("values that are not kept decide {answered:?}, and kept {decided:?}"));
        }
        decided.map(|decision| Some(decision.code())).ok_or_else(|| "values that were passed decide nothing".into())
    }

    /// Make a call fail half-way. The next decision is a denial, and those after it are as if the call had never been.
    pub fn fail(&mut self) -> Result<(), String> {
        self.gate.begin();
        match self.gate.text(&"x".repeat(LONG)) {
            None => Ok(()),
            Some(_) => Err("there is room for a text of 32 KiB".into()),
        }
    }

    /// Decide the rows that have their session and resource in common, for a few of those, with one number for all
    /// where all have the same. Return the number of decisions.
    pub fn compare_uniform(&self, batch: &Batch, columns: &[Vec<i64>]) -> Result<u64, String> {
        let mut pairs: Vec<(u64, u64)> = Vec::new();
        let mut decisions = 0;
        for pair in self.sessions.iter().copied().zip(self.resources.iter().copied()) {
            if pairs.contains(&pair) || pairs.len() == PAIRS {
                continue;
            }
            pairs.push(pair);
            let rows: Vec<usize> =
                (0..self.expected.len()).filter(|&row| (self.sessions[row], self.resources[row]) == pair).collect();
            let columns: Vec<Vec<i64>> =
                columns.iter().map(|column| rows.iter().map(|&row| column[row]).collect()).collect();
            let same = |column: &Vec<i64>| column.windows(2).all(|two| two[0] == two[1]);
            let laid_out: Vec<Column<'_, i64>> = columns
                .iter()
                .map(|column| if same(column) { Column::all(&column[..1]) } else { Column::each(column) })
                .collect();
            let principal = self.principals[rows[0]];
            for who in [Principals::Sessions(Column::all(&[pair.0])), Principals::Handles(Column::all(&[principal]))] {
                let mut out = vec![Decision::CORRUPT; rows.len()];
                let decided = batch.decide_many(who, Column::all(&[pair.1]), &laid_out, &mut out);
                decided.map_err(|_| "an entity that fits its argument is refused")?;
                for (&row, &code) in rows.iter().zip(&out) {
                    let expected = self.expected[row];
                    if code != expected {
                        return Err(format!("row {row} among rows of its session says {code:?}, Cedar {expected:?}"));
                    }
                }
                decisions += out.len() as u64;
            }
        }
        Ok(decisions)
    }

    /// Check the decision of a call that failed.
    pub fn denies_failed(&mut self, session: SessionId, resource: Handle) -> Result<(), String> {
        self.fail()?;
        let code = self.gate.allows(session, resource, &vec![0; self.kinds.len()]);
        if code == Code::Allow { Err("a call that failed half-way is allowed".into()) } else { Ok(()) }
    }
}
