//! Random worlds, decided by the engine and by Cedar. A world has a random schema, entities, policies and requests. The
//! fuzzer compares the decisions, the determining policies, and the policies that err.
//!
//! ```text
//! ztfast-fuzz [--seconds N] [--requests N] [--seed N] [--threads N] [--failures FOLDER] [--first]
//! ztfast-fuzz replay FILE...
//! ```
//! `--first` stops at the first failure and does not shrink it: this measures how long it takes to find one.
//!
//! The exit status is 0 if nothing differs, 1 if something does (each failure is shrunk and left as a file that
//! `replay` and the tests read), and 2 for wrong arguments.
#![forbid(unsafe_code)]

mod case;
mod compare;
mod counts;
mod desk;
mod dice;
mod exprs;
mod generate;
mod literals;
mod policies;
mod programs;
mod shrink;
mod strangers;
mod terms;
#[cfg(test)]
mod tests;
mod texts;
mod trade;
mod tree;
mod types;
mod ways;
mod world;

use case::Case;
use compare::compare;
use counts::Counts;
use generate::Generated;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ztfast_bundle::Form;

// Cedar allocates all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of failures after which the fuzzer stops.
const ENOUGH: usize = 5;

struct Options {
    seconds: u64,
    requests: u64,
    seed: u64,
    threads: usize,
    failures: PathBuf,
    /// Whether to stop at the first failure.
    first: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("replay").is_some() {
        return replay(&arguments.map(PathBuf::from).collect::<Vec<_>>());
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures = PathBuf::from("fuzz-failures");
    let mut options = Options { seconds: u64::MAX, requests: u64::MAX, seed: 1, threads, failures, first: false };
    while let Some(name) = arguments.next() {
        if name == "--first" {
            options.first = true;
            continue;
        }
        let value = arguments.next().unwrap_or_default();
        let number = value.parse::<u64>();
        match (name.as_str(), number) {
            ("--seconds", Ok(n)) => options.seconds = n,
            ("--requests", Ok(n)) => options.requests = n,
            ("--seed", Ok(n)) => options.seed = n,
            ("--threads", Ok(n)) if n > 0 => options.threads = usize::try_from(n).unwrap_or(1),
            ("--failures", _) if !value.is_empty() => options.failures = value.into(),
            _ => {
                eprintln!(
                    "{name} {value}: wanted --seconds, --requests, --seed or --threads with a number, or --failures FOLDER"
                );
                return ExitCode::from(2);
            }
        }
    }
    if options.seconds == u64::MAX && options.requests == u64::MAX {
        options.seconds = 60;
    }
    fuzz(&options)
}

/// Return the forms to which a world is compiled: the first that fits, and one more, which for many policies is sets.
/// Each comes with whether its policies are split into layers even if they are few.
fn forms(seed: u64, policies: usize) -> [(Option<Form>, bool); 2] {
    let forced = [Form::Dense, Form::Rows, Form::Sets];
    let at = if policies > 50 { 2 } else { usize::try_from(seed % 3).unwrap_or(0) };
    [(None, seed % 5 < 2), (Some(forced[at]), seed % 5 > 1)]
}

/// Return how a case fails, if it does.
fn failure(generated: &Generated, seed: u64, counts: &mut Counts) -> Option<String> {
    let compared = catch_unwind(AssertUnwindSafe(|| {
        let mut own = Counts::default();
        let result = compare(&generated.case(), &generated.asks(), &forms(seed, generated.policies.len()), &mut own);
        (own, result)
    }));
    match compared {
        Ok((own, result)) => {
            counts.add(&own);
            result.err()
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Some(format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
        }
    }
}

fn fuzz(options: &Options) -> ExitCode {
    let began = Instant::now();
    let total = Mutex::new((Counts::default(), Counts::default()));
    let failures = Mutex::new(Vec::<PathBuf>::new());
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let lock = || total.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            // Each world follows from one number, so that a failure can be repeated.
            let seed = options.seed.wrapping_mul(1 << 40).wrapping_add(next.fetch_add(1, Ordering::Relaxed));
            let mut counts = Counts::default();
            let generated = Generated::new(seed);
            let trading = generated.trading;
            if let Some(found) = failure(&generated, seed, &mut counts) {
                stop.fetch_or(options.first, Ordering::Relaxed);
                let file = leave(generated, seed, &found, options);
                let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                failures.push(file);
                stop.fetch_or(failures.len() >= ENOUGH, Ordering::Relaxed);
            }
            let mut totals = lock();
            let (total, of_trading) = &mut *totals;
            total.add(&counts);
            if trading {
                of_trading.add(&counts);
            }
            let over = total.requests >= options.requests || began.elapsed().as_secs() >= options.seconds;
            stop.fetch_or(over, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.threads).map(|_| scope.spawn(worker)).collect();
        let shown = std::io::stderr().is_terminal();
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(200));
            if shown {
                eprint!("\r{}", line(&lock().0, began));
            }
        }
    });
    let (total, of_trading) = *lock();
    println!("{}", line(&total, began));
    println!(
        "{} worlds, {} of them strictly valid; {} requests allowed, {} with policies that err; {} explanations; \
         {} policies of other worlds left to Cedar",
        total.worlds, total.strict, total.allowed, total.erring, total.explained, total.fallbacks
    );
    println!("{} worlds with strict errors, {} requests denied by forbids that err", total.strict_errors, total.erred);
    println!("{} trading worlds: {}", of_trading.worlds, shares(&of_trading));
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    for file in &failures {
        println!("MISMATCH: {}", file.display());
    }
    println!("{} mismatches", failures.len());
    ExitCode::from(u8::from(!failures.is_empty()))
}

fn line(counts: &Counts, began: Instant) -> String {
    let seconds = began.elapsed().as_secs().max(1);
    format!(
        "{} requests answered by Cedar, {} decisions compared in {seconds} s ({} requests a second)",
        counts.requests,
        counts.decisions,
        counts.requests / seconds
    )
}

/// Describe the outcomes of requests, and what the programs are made of.
fn shares(counts: &Counts) -> String {
    let Counts { requests, allowed, forbidden, step_ups, erring, programs, .. } = *counts;
    let percent = |part: u64, all: u64| part * 100 / all.max(1);
    format!(
        "{requests} requests, {} % allowed, {} % forbidden ({} step-ups), {} % denied by default, {} % with policies \
         that err; \
         {} programs, {} % beyond ranges, {} % for the interpreter alone",
        percent(allowed, requests),
        percent(forbidden, requests),
        step_ups,
        percent(requests - allowed - forbidden, requests),
        percent(erring, requests),
        programs.all,
        percent(programs.beyond_ranges, programs.all),
        percent(programs.interpreted, programs.all),
    )
}

/// Shrink a failing case, and leave it as a file.
fn leave(generated: Generated, seed: u64, found: &str, options: &Options) -> PathBuf {
    eprintln!("\nworld {seed}: {found}");
    if !options.first {
        eprintln!("making it small ...");
    }
    let fails = |case: &Generated| {
        let found = failure(case, seed, &mut Counts::default())?;
        // A case that does not compile any more fails for another reason.
        (!found.starts_with("refused") && !found.starts_with("Cedar refuses")).then_some(found)
    };
    let small = if options.first { generated } else { shrink::shrink(generated, &fails) };
    let found = fails(&small).unwrap_or_else(|| found.to_owned());
    let folder: &Path = &options.failures;
    let file = folder.join(format!("world-{seed}.json"));
    let text = serde_json::to_string_pretty(&small.file(&found)).unwrap_or_default();
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, text));
    if let Err(error) = written {
        eprintln!("{}: {error}", file.display());
    }
    if !options.first {
        eprintln!("{found}\n{}\n", small.case().policies);
    }
    file
}

/// Compare the cases in files, in all forms.
fn replay(files: &[PathBuf]) -> ExitCode {
    let mut counts = Counts::default();
    let mut failed = 0;
    for file in files {
        let compared = std::fs::read_to_string(file).map_err(|e| e.to_string()).and_then(|text| {
            let case: Case = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            let asks = case.asks()?;
            let forms = [None, Some(Form::Dense), Some(Form::Rows), Some(Form::Sets)];
            let forms: Vec<_> = forms.into_iter().flat_map(|form| [(form, false), (form, true)]).collect();
            catch_unwind(AssertUnwindSafe(|| compare(&case, &asks, &forms, &mut counts)))
                .unwrap_or_else(|_| Err("panic".to_owned()))
        });
        if let Err(what) = compared {
            println!("MISMATCH: {}: {what}", file.display());
            failed += 1;
        }
    }
    println!("{} files, {} decisions compared, {failed} mismatches", files.len(), counts.decisions);
    ExitCode::from(u8::from(failed > 0))
}
