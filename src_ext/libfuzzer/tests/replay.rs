//! Runs the fuzzers' functions on a stable compiler, over the seeds, files that failed once, and a few thousand
//! mutations. `make fuzz-bundles` runs this to write the seeds for the fuzzers.

use fastrand::Rng;
use std::path::Path;
use std::time::{Duration, Instant};
use ztfast_engine::Code;
use ztfast_libfuzzer::{File, decide, mutate};

#[cfg(not(miri))]
mod seeds;

/// The variable that names the folder to which the seeds are written and from which Miri reads them.
const FOLDER: &str = "ZTFAST_TEST_SEEDS";

/// Return the seeds, by name.
fn seeds() -> Vec<(String, Vec<u8>)> {
    #[cfg(not(miri))]
    return seeds::seeds().into_iter().map(|(name, file)| (name.to_owned(), file)).collect();
    #[cfg(miri)]
    {
        let files = std::fs::read_dir(std::env::var_os(FOLDER).expect("the environment names the folder of the seeds"))
            .unwrap();
        let read = |path: std::path::PathBuf| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap())
        };
        let mut seeds: Vec<_> = files.map(|file| read(file.unwrap().path())).collect();
        seeds.sort();
        seeds
    }
}

/// Decide over a file, and fail if that takes long.
fn decide_soon(file: &[u8], what: &str) -> Option<Vec<Code>> {
    let began = Instant::now();
    let codes = decide(file);
    assert!(cfg!(miri) || began.elapsed() < Duration::from_secs(5), "{what}: {:?}", began.elapsed());
    codes
}

#[test]
#[cfg_attr(miri, ignore = "with the few entities that Miri tries, other codes come up")]
fn seeds_are_small_and_decide() {
    let folder = std::env::var_os(FOLDER).filter(|_| !cfg!(miri));
    let mut counts = [0_u32; 17];
    for (name, file) in seeds() {
        assert!(file.len() < 48 << 10, "{name} has {} bytes", file.len());
        let codes = decide_soon(&file, &name).unwrap();
        assert_eq!(codes.contains(&Code::Corrupt), name == "opaque", "{name}");
        for code in codes {
            counts[code as usize] += 1;
        }
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(Path::new(folder).join(&name), file).unwrap();
        }
    }
    for code in [Code::Allow, Code::Forbid, Code::Default, Code::Killed, Code::NotApplicable] {
        assert!(counts[code as usize] > 0, "{code:?} never came up: {counts:?}");
    }
}

#[test]
fn a_file_is_put_together_as_it_was() {
    for (name, file) in seeds() {
        let taken = File::read(&file).unwrap();
        assert_eq!(taken.write(), file, "{name}");
    }
}

#[test]
fn no_mutation_makes_anything_panic_or_run_on() {
    const ROUNDS: usize = if cfg!(miri) { 6 } else { 3_000 };
    let seeds = seeds();
    let mut rng = Rng::with_seed(1);
    let (mut taken, mut corrupt) = (0, 0);
    for round in 0..ROUNDS {
        let (name, seed) = &seeds[round % seeds.len()];
        let mut file = seed.clone();
        for _ in 0..rng.usize(1..=3) {
            let mut bytes = Rng::with_seed(rng.u64(..));
            file = mutate(&file, 1 << 17, rng.u32(..), &mut |all, _| {
                if let Some(byte) = bytes.choice(all) {
                    *byte ^= 1 << bytes.u8(..8);
                }
            });
        }
        let codes = decide_soon(&file, &format!("round {round}, {name}"));
        taken += usize::from(codes.is_some());
        corrupt += usize::from(codes.is_some_and(|codes| codes.contains(&Code::Corrupt)));
    }
    assert!(taken > ROUNDS / 3, "only {taken} files were taken: their hashes are not right");
    assert!(corrupt > ROUNDS / 50, "only {corrupt} files were noticed: mutations no longer change what is read");
}
