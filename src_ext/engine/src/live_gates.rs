//! Decisions of gates whose actions have live attributes.

use crate::checks::Answers;
use crate::decide::{EffectByAnswers, EffectOnly, Sink};
use crate::gate::Gate;
use crate::live::{Filler, MOST_VALUES};
use crate::live_attributes::{FEW, LivePath};
use std::sync::atomic::{Ordering, compiler_fence};
use ztfast_codes::Code;
use ztfast_live::{Handle, LiveFields, Place, SessionId};
use ztfast_pages::monotonic_ns;

/// What a decision needs of the live attributes: they are numbers of the proof; those of which only checks ask are
/// there as answers; or all are there as programs read them.
const NUMBERS: u8 = 0;
const ANSWERS: u8 = 1;
const KEPT: u8 = 2;

impl Gate {
    /// Decide by the usual clock where the live attributes are numbers.
    #[inline(always)]
    #[allow(clippy::inline_always)] // for few callers
    pub(crate) fn decide_live_now(&mut self, session: SessionId, resource: Handle, values: &[i64]) -> Code {
        self.by_live::<FEW, NUMBERS, _>(monotonic_ns(), session, resource, values, &mut EffectOnly)
    }

    /// Decide for a session by the caller's values and the live attributes. The session's slot is read once, and once
    /// more if the gate's table leaves the decision to a walk.
    #[inline(never)]
    pub(crate) fn decide_live<N: Sink>(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        if let Some(binding) = &self.binding {
            if binding.live_path == LivePath::Numbers {
                return self.by_numbers(session, resource, values, sink);
            }
            if N::BY_ANSWERS && binding.live_path == LivePath::Few {
                return self.by_few_answers(session, resource, values, sink);
            }
        }
        self.by_texts(session, resource, values, sink)
    }

    /// Decide where the live attributes are numbers, which name policies as a caller's do.
    #[inline(never)]
    fn by_numbers<N: Sink>(&mut self, session: SessionId, resource: Handle, values: &[i64], sink: &mut N) -> Code {
        self.by_live::<FEW, NUMBERS, N>(self.live_now_ns(), session, resource, values, sink)
    }

    /// Decide where some live attributes are texts or sets, or the gate has no table, or does not fit the bundle.
    #[inline(never)]
    fn by_texts<N: Sink>(&mut self, session: SessionId, resource: Handle, values: &[i64], sink: &mut N) -> Code {
        // Where checks ask, a walk may name policies, which reads all values.
        let path = self.binding.as_ref().map(|binding| binding.live_path).filter(|_| !N::ALL);
        let mut answered = EffectByAnswers::default();
        let code = match path {
            Some(_) if N::BY_ANSWERS => return self.by_many_answers(session, resource, values, sink),
            Some(LivePath::Few) => self.by_few_answers(session, resource, values, &mut answered),
            Some(LivePath::Many) => self.by_many_answers(session, resource, values, &mut answered),
            _ => return self.by_live_values(session, resource, values, sink),
        };
        if answered.needs_values { self.by_live_values(session, resource, values, sink) } else { code }
    }

    /// Decide by the answers of live attributes, where no more is asked of them.
    #[inline(never)]
    fn by_few_answers<N: Sink>(&mut self, session: SessionId, resource: Handle, values: &[i64], sink: &mut N) -> Code {
        self.by_live::<FEW, ANSWERS, N>(self.live_now_ns(), session, resource, values, sink)
    }

    #[inline(never)]
    fn by_many_answers<N: Sink>(&mut self, session: SessionId, resource: Handle, values: &[i64], sink: &mut N) -> Code {
        self.by_live::<MOST_VALUES, ANSWERS, N>(self.live_now_ns(), session, resource, values, sink)
    }

    /// Decide by all values, as programs read them.
    #[cold]
    #[inline(never)]
    fn by_live_values<N: Sink>(&mut self, session: SessionId, resource: Handle, values: &[i64], sink: &mut N) -> Code {
        self.by_live::<MOST_VALUES, KEPT, N>(self.live_now_ns(), session, resource, values, sink)
    }

    /// Return the time of the decision. The usual clock is read in place, which takes less than a call.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    fn live_now_ns(&self) -> i64 {
        if self.has_coarse_clock { monotonic_ns() } else { self.shared.now_ns() }
    }

    /// Decide where the caller's values and the live attributes are at most `MOST`. `HOW` says in which way the live
    /// attributes are needed.
    #[inline(always)]
    #[allow(clippy::inline_always)] // one function for each size
    fn by_live<const MOST: usize, const HOW: u8, N: Sink>(
        &mut self,
        now_ns: i64,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        let Some((principal, fields)) = self.shared.sessions.valid_live(session, now_ns) else {
            return self.shared.why(session, now_ns);
        };
        if HOW != NUMBERS {
            self.forget_the_decision_before();
        }
        let Some(binding) = &self.binding else { return Code::StaleGate };
        if values.len() != binding.callers {
            return Code::Corrupt;
        }
        let mut numbers = [0; MOST];
        let Some(numbers) = numbers.get_mut(..binding.types.len()) else { return Code::TooLarge };
        copy(numbers, values);
        self.with_live::<HOW, N>(now_ns, (principal, fields), resource, numbers, sink)
    }

    /// Decide by the numbers of values that were passed in one step, behind which there is room for the live attributes
    /// and 0.
    #[inline(never)]
    pub(crate) fn by_few_passed(
        &mut self,
        session: SessionId,
        resource: Handle,
        numbers: &mut [i64],
        answered: &mut EffectByAnswers,
    ) -> Code {
        let now_ns = self.live_now_ns();
        match self.shared.sessions.valid_live(session, now_ns) {
            Some(valid) => self.with_live::<ANSWERS, _>(now_ns, valid, resource, numbers, answered),
            None => self.shared.why(session, now_ns),
        }
    }

    /// Put the live attributes behind the caller's numbers, and decide.
    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    fn with_live<const HOW: u8, N: Sink>(
        &mut self,
        now_ns: i64,
        (principal, fields): (Place, LiveFields),
        resource: Handle,
        numbers: &mut [i64],
        sink: &mut N,
    ) -> Code {
        let Self { shared, snapshot, binding: Some(binding), brought, memo, .. } = self else { return Code::StaleGate };
        let (sessions, asks, live) = (&shared.sessions, &binding.table.asks, &binding.table.live);
        binding.numbers.put(|| sessions.proved_ms(&fields, now_ns), || sessions.proof(&fields), numbers);
        if HOW != NUMBERS {
            let mut none = Answers::default();
            let answers = sink.answers_mut().unwrap_or(&mut none);
            let filled = if HOW == ANSWERS
                && live.is_quick
                && let Some(asked) = &live.factors
            {
                let (factors, given) = (sessions.proof(&fields).factors, (&*snapshot.loaded.bundle, sessions.state()));
                live.put_factors(asks, asked, factors, given, memo.as_mut(), (numbers, answers))
            } else {
                let snapshot = &**snapshot;
                let resource = move || snapshot.entity(snapshot.loaded.key.place(resource));
                let live = sessions.live_attributes(&fields);
                let filler = Filler { shared, snapshot, binding, live, now_ns, resource: &resource };
                filler.fill_others(HOW == KEPT, brought, numbers, answers)
            };
            if let Err(code) = filled {
                return code;
            }
        }
        self.decide_for(principal, resource, numbers, sink)
    }
}

/// Copy a caller's values. Most are three at most, for which this takes less than a call.
///
/// They were stored one by one, just before. A load of two at once would wait until both stores are in the cache, so
/// fences keep the compiler from joining the loads.
#[inline(always)]
#[allow(clippy::inline_always)] // as above
fn copy(numbers: &mut [i64], values: &[i64]) {
    match (values, &mut *numbers) {
        (&[a], [x, ..]) => *x = a,
        ([a, b], [x, y, ..]) => {
            *x = *a;
            compiler_fence(Ordering::SeqCst);
            *y = *b;
        }
        ([a, b, third], [x, y, to, ..]) => {
            *x = *a;
            compiler_fence(Ordering::SeqCst);
            *y = *b;
            compiler_fence(Ordering::SeqCst);
            *to = *third;
        }
        _ => {
            for (number, value) in numbers.iter_mut().zip(values) {
                *number = *value;
                compiler_fence(Ordering::SeqCst);
            }
        }
    }
}
