//! Refusals that are remembered for a short time, so that a credential that is presented again costs a look-up.
//!
//! One refusal is kept for one authority and one whole chain: who adds or leaves out a certificate asks something else.

use crate::ground::Digest;
use crate::refusal::Refusal;
use std::collections::{HashMap, VecDeque};

/// The most refusals that are kept; the oldest go first.
pub const MAX_REFUSED: usize = 4096;
/// How many nanoseconds a refusal counts.
pub const REFUSED_NS: i64 = 5_000_000_000;

/// What is asked: the epoch of the configuration, and a digest over everything else.
pub(crate) type Question = (u64, Digest);

/// Refusals by what was asked.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    by_question: HashMap<Question, (Refusal, i64)>,
    /// The questions, the oldest first.
    in_order: VecDeque<Question>,
}

impl Refused {
    /// Return the refusal that still holds at this nanosecond of the caller's.
    pub fn get(&self, question: &Question, now_ns: i64) -> Option<Refusal> {
        let (refusal, since) = self.by_question.get(question)?;
        let age = now_ns.checked_sub(*since)?;
        // What another time may accept is asked again in another second, for that is what times are compared by.
        let is_same_second = now_ns.div_euclid(1_000_000_000) == since.div_euclid(1_000_000_000);
        let holds = (0..REFUSED_NS).contains(&age) && (is_same_second || !refusal.depends_on_time());
        holds.then(|| refusal.clone())
    }

    /// Keep a refusal.
    pub fn keep(&mut self, question: Question, refusal: Refusal, now_ns: i64) {
        if self.by_question.insert(question, (refusal, now_ns)).is_some() {
            return;
        }
        self.in_order.push_back(question);
        if self.in_order.len() > MAX_REFUSED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.by_question.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::At;

    #[test]
    fn a_refusal_counts_for_a_while() {
        let mut refused = Refused::default();
        refused.keep((1, [0; 32]), Refusal::Signature, 1_000);
        assert_eq!(refused.get(&(1, [0; 32]), 1_000 + REFUSED_NS - 1), Some(Refusal::Signature));
        assert_eq!(refused.get(&(1, [0; 32]), 1_000 + REFUSED_NS), None);
        assert_eq!(refused.get(&(1, [0; 32]), 999), None);
        assert_eq!(refused.get(&(2, [0; 32]), 1_000), None);
        assert_eq!(refused.get(&(1, [1; 32]), 1_000), None);
    }

    #[test]
    fn what_depends_on_the_time_counts_for_its_second() {
        let mut refused = Refused::default();
        refused.keep((1, [0; 32]), Refusal::NotYetValid(At::LEAF), 7_999_999_998);
        assert!(refused.get(&(1, [0; 32]), 7_999_999_999).is_some());
        assert!(refused.get(&(1, [0; 32]), 8_000_000_000).is_none());
    }

    #[test]
    fn the_oldest_make_room() {
        let mut refused = Refused::default();
        let question = |number: usize| (number as u64, [0; 32]);
        for number in 0..=MAX_REFUSED {
            refused.keep(question(number), Refusal::Signature, 0);
            refused.keep(question(number), Refusal::Algorithm, 0);
        }
        assert_eq!((refused.by_question.len(), refused.in_order.len()), (MAX_REFUSED, MAX_REFUSED));
        assert_eq!((refused.get(&question(0), 0), refused.get(&question(1), 0)), (None, Some(Refusal::Algorithm)));
    }
}
