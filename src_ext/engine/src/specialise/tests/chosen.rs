//! Policies that chance hardly makes: texts beside inequalities, times of the day, and conditions with very many cases.

use super::{Counts, check};
use proptest::prelude::*;
use std::cell::RefCell;
use std::time::{Duration, Instant};

#[test]
fn inequalities_beside_texts_are_decided_by_known_answers() {
    let counts = RefCell::new(Counts::default());
    // The first inequality is in 64 bits within the box; the second is in more.
    let policies = [
        (true, "context.a < -7 || context.a > 7 || context.b < -7 || context.b > 7"),
        (true, "context.a > context.b"),
        (true, "context.l.containsAll([\"x\", \"y\"])"),
        (false, "context.l.contains(\"x\")"),
        (false, "context.o == \"x\" && context.a < 5"),
    ];
    let wide = (true, "context.a + context.k.x > 9223372036854775806");
    for policies in [policies.to_vec(), [&[wide], &policies[..]].concat()] {
        let policies: Vec<_> = policies.into_iter().map(|(forbid, text)| (forbid, text.to_owned())).collect();
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 60,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let dice = proptest::collection::vec(any::<u64>(), 20 * 40);
        runner.run(&dice, |dice| check(&counts, &policies, 0, &dice)).unwrap();
    }
    let counts = counts.into_inner();
    assert!(counts.not_run > 100 && counts.walked == 0, "{counts:?}");
}

#[test]
fn times_of_the_day_are_compared_to_the_millisecond() {
    let counts = RefCell::new(Counts::default());
    let (time, limit) = ("context.t.toTime()", "duration(\"6h\")");
    for (one, other) in [(time, limit), (limit, time)] {
        for compare in ["<", "<=", ">", ">="] {
            let policies = [(false, format!("{one} {compare} {other}"))];
            let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
                cases: 20,
                failure_persistence: None,
                ..ProptestConfig::default()
            });
            // The limit and its neighbours are among the values of which these choose.
            let dice = proptest::collection::vec(any::<u64>(), 20 * 40);
            runner.run(&dice, |dice| check(&counts, &policies, 0, &dice)).unwrap();
        }
    }
    let counts = counts.into_inner();
    assert!(counts.single > 4_000 && counts.by_answers > 4_000, "{counts:?}");
}

#[test]
fn what_forks_too_often_is_left_to_the_walk_in_bounded_time() {
    let counts = RefCell::new(Counts::default());
    // Each choice doubles the cases, or takes them six times: within a condition, over its parts, and over policies.
    let either = |n: i64| format!("(context.a + context.b > {n} || context.a - context.k.x > {n})");
    let any = |n: i64| {
        let parts = ["context.a", "context.b", "context.c", "context.k.x", "context.k.y", "(-context.a)"];
        let sums: Vec<String> = parts.iter().map(|part| format!("{part} + context.b * 3 > {n}")).collect();
        format!("({})", sums.join(" || "))
    };
    let joined = |parts: Vec<String>, by: &str| parts.join(by);
    let within = joined((0..40).map(either).collect(), " && ");
    let over = format!("!({})", joined((0..30).map(any).collect(), " && "));
    let policies: Vec<(bool, String)> =
        (0..60).map(|n| (n % 2 == 0, joined(vec![any(n), any(n + 1)], " && "))).collect();
    let began = Instant::now();
    for policies in [vec![(false, within.clone())], vec![(true, over), (false, within)], policies] {
        let dice: Vec<u64> = (0..20 * 30_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)).collect();
        check(&counts, &policies, 0, &dice).unwrap();
    }
    let counts = counts.into_inner();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(counts.left > 0 && counts.walked > 0, "{counts:?}");
}
