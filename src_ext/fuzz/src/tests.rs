//! What the generators make: worlds in which every outcome is frequent, and texts that are read as the same values.

use crate::compare::compare;
use crate::counts::Counts;
use crate::generate::Generated;
use crate::literals::{address, scaled};
use crate::texts::{cedar_text, value_json};
use crate::types::Ty;
use fastrand::Rng;
use std::ops::RangeInclusive;
use ztfast_cedar::ir::Datum;

#[test]
fn trading_worlds_have_every_outcome_and_programs_beyond_ranges() {
    let mut counts = Counts::default();
    let worlds: Vec<_> = (0..100).map(Generated::new).filter(|world| world.trading).collect();
    assert_eq!(worlds.len(), 50);
    for world in &worlds {
        compare(&world.case(), &world.asks(), &[(None, false)], &mut counts).unwrap();
    }
    let Counts { requests, allowed, forbidden, step_ups, erring, erred, programs, .. } = counts;
    assert!(step_ups * 100 / requests >= 4, "{counts:?}");
    assert!(erred * 100 / requests >= 2, "{counts:?}");
    for part in [allowed, forbidden, requests - allowed - forbidden, erring] {
        assert!(part * 100 / requests >= 10, "{counts:?}");
    }
    // The interpreter alone decides the fewest programs, so that the others are tried.
    let plain = programs.all - programs.beyond_ranges;
    assert!(plain * 100 / programs.all >= 15, "{counts:?}");
    assert!((programs.beyond_ranges - programs.interpreted) * 100 / programs.all >= 30, "{counts:?}");
    assert!((5..25).contains(&(programs.interpreted * 100 / programs.all)), "{counts:?}");
}

#[test]
fn a_case_is_read_back_as_it_was_written() {
    for seed in (1..10).step_by(2) {
        let world = Generated::new(seed);
        let case = serde_json::to_string(&world.file("")).unwrap();
        let read: crate::case::Case = serde_json::from_str(&case).unwrap();
        let asked = |asks: Vec<Vec<crate::case::Ask>>| -> Vec<Datum> {
            asks.into_iter().flatten().map(|ask| ask.context).collect()
        };
        assert_eq!(asked(read.asks().unwrap()), asked(world.asks()));
    }
}

/// The instants of the years 0 to 9999, which Cedar reads.
const YEARS: RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

#[test]
fn numbers_are_written_as_cedar_reads_them() {
    let mut rng = Rng::with_seed(1);
    let mut values = vec![];
    for ty in [Ty::Decimal, Ty::Datetime, Ty::Duration] {
        // The last are 29 February 2000 and 1 March 2100.
        for number in [*YEARS.start(), *YEARS.end(), 0, i64::MAX, i64::MIN, 951_782_400_000, 4_107_542_400_000] {
            values.extend(
                [number, number.saturating_add(1), number.saturating_sub(1)].map(|number| scaled(&ty, number).unwrap()),
            );
        }
        values.extend((0..100).map(|_| scaled(&ty, rng.i64(-1 << 46..1 << 48)).unwrap()));
    }
    values.extend((0..100).map(|_| address(&mut rng)));
    for value in values {
        let kind = match value {
            Datum::Decimal(_) => "decimal",
            Datum::Datetime(_) => "datetime",
            Datum::Duration(_) => "duration",
            _ => "ip",
        };
        let json = value_json(&value).to_string();
        assert_eq!(ztfast_cedar::read_extension(kind, &json), Ok(value.clone()), "{json}");
        let text = cedar_text(&value);
        let called = text.strip_prefix(&format!("{kind}(\"")).and_then(|text| text.strip_suffix("\")"));
        if let Some(argument) = called {
            assert_eq!(ztfast_cedar::construct_extension(kind, argument), Ok(value), "{text}");
        } else {
            assert!(matches!(value, Datum::Datetime(ms) if !YEARS.contains(&ms)), "{text}");
        }
    }
}
