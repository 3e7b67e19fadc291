//! Runs the fuzzer's functions for certificates on a stable compiler. `make fuzz-certificates` writes the seeds by it.
#![cfg(not(miri))]

use fastrand::Rng;
use std::path::Path;
use std::time::{Duration, Instant};
use ztfast_libfuzzer::certificates::{Kind, join, mutate, split, verify};

#[path = "../../identity/tests/made/mod.rs"]
mod made;

use made::{certificate, crl};

/// Return inputs by name, each with whether its certificate is accepted.
fn seeds() -> Vec<(&'static str, Vec<u8>, bool)> {
    let anchor = certificate("root", None, None);
    let ca = certificate("desk", Some(&anchor), None);
    let leaf = certificate("algo", Some(&ca), Some("spiffe://desk.example/algo/a7"));
    let direct = certificate("direct", Some(&anchor), Some("spiffe://desk.example/algo/a8"));
    let of = |kind, der: &Vec<u8>| (kind, der.clone());
    let lists = [of(Kind::Crl, &crl(&anchor, &[], 1)), of(Kind::Crl, &crl(&ca, &[], 1))];
    let revoking = of(Kind::Crl, &crl(&ca, &[&leaf], 2));
    let path = [of(Kind::Anchor, &anchor.der), of(Kind::Presented, &leaf.der), of(Kind::Presented, &ca.der)];
    let configured = [of(Kind::Anchor, &anchor.der), of(Kind::Intermediate, &ca.der), of(Kind::Presented, &leaf.der)];
    vec![
        ("path", join(&path), true),
        ("configured", join(&configured), true),
        ("listed", join(&[&path[..], &lists].concat()), true),
        ("revoked", join(&[&path[..], &lists, &[revoking]].concat()), false),
        ("unlisted", join(&[&path[..], &lists[..1]].concat()), false),
        ("direct", join(&[of(Kind::Anchor, &anchor.der), of(Kind::Presented, &direct.der)]), false),
        ("stranger", join(&[of(Kind::Anchor, &ca.der), of(Kind::Presented, &direct.der)]), false),
    ]
}

fn verify_soon(input: &[u8], what: &str) -> Option<bool> {
    let began = Instant::now();
    let found = verify(input);
    assert!(began.elapsed() < Duration::from_secs(5), "{what}: {:?}", began.elapsed());
    found.map(|found| found.iter().all(Result::is_ok))
}

#[test]
fn seeds_are_accepted_or_refused() {
    for (name, input, accepted) in seeds() {
        assert_eq!(verify_soon(&input, name), Some(accepted), "{name}");
        assert_eq!(join(&split(&input)), input, "{name}");
        if let Some(folder) = std::env::var_os("ZTFAST_TEST_SEEDS") {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(Path::new(&folder).join(name), input).unwrap();
        }
    }
}

#[test]
fn no_mutation_makes_anything_panic_or_run_on() {
    let seeds = seeds();
    let mut rng = Rng::with_seed(1);
    let (mut accepted, mut refused, mut unusable) = (0, 0, 0);
    for round in 0..5_000 {
        let (name, seed, _) = &seeds[round % seeds.len()];
        let mut input = seed.clone();
        for _ in 0..rng.usize(1..=3) {
            let number = rng.u32(..);
            input = mutate(&input, 1 << 17, number, &mut |bytes, most| {
                for _ in 0..rng.usize(1..4) {
                    match rng.u8(..3) {
                        0 if bytes.len() < most => bytes.insert(rng.usize(..=bytes.len()), rng.u8(..)),
                        1 if !bytes.is_empty() => drop(bytes.remove(rng.usize(..bytes.len()))),
                        _ if !bytes.is_empty() => {
                            let at = rng.usize(..bytes.len());
                            bytes[at] = rng.u8(..);
                        }
                        _ => {}
                    }
                }
            });
        }
        match verify_soon(&input, name) {
            Some(true) => accepted += 1,
            Some(false) => refused += 1,
            None => unusable += 1,
        }
    }
    assert!(accepted > 0 && refused > 0 && unusable > 0, "{accepted} {refused} {unusable}");
}
