//! Answering and measuring: the program writes one JSON line about the peer and its answers, and then answers each line
//! that it reads.
//!
//! An input line `{"budget_ms": 600, "samples": 20000}` asks it to measure for that long, or until there are so many
//! samples. The output line is `{"batch": 64, "ns": [...]}`: the time of each batch of requests, including the clock.
//! Requests are shuffled before each pass, so that no processor learns their order.

use crate::outcome::Outcome;
use serde::Deserialize;
use serde_json::json;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

/// The requests in a batch, if a single one is too short for the clock.
const BATCH: usize = 64;
/// A request is measured alone if it takes at least as long as so many readings of the clock.
const CLOCK_READINGS: u64 = 100;
/// The time for answering all requests.
const ANSWERING: Duration = Duration::from_secs(3);

/// An engine or a check that answers requests.
pub trait Peer {
    /// A request in the form that this peer reads, converted beforehand.
    type Request;

    /// Return whether a request is allowed.
    fn allows(&mut self, request: &Self::Request) -> bool;
}

#[derive(Deserialize)]
struct Order {
    budget_ms: u64,
    samples: usize,
}

/// Serve until the input ends.
pub fn serve<P: Peer>(mut peer: P, version: &str, mut requests: Vec<P::Request>) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    let clock_ns = clock_ns();
    let started = Instant::now();
    let (mut answers, mut taken) = (String::new(), Vec::new());
    for request in &requests {
        let began = Instant::now();
        let allowed = peer.allows(request);
        taken.push(nanoseconds(began.elapsed()));
        answers.push(if allowed { '1' } else { '0' });
        if started.elapsed() > ANSWERING {
            break;
        }
    }
    let batch = if median(taken) < CLOCK_READINGS * clock_ns { BATCH } else { 1 };
    writeln!(out, "{}", json!({"version": version, "answers": answers, "batch": batch, "clock_ns": clock_ns}))?;
    out.flush()?;
    // The order differs from pass to pass, but is the same in each run.
    let mut chance = fastrand::Rng::with_seed(1);
    for line in std::io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let taken = measure(&mut peer, &mut requests, batch, &order, &mut chance);
        writeln!(out, "{}", json!({"batch": batch, "ns": taken}))?;
        out.flush()?;
    }
    Ok(())
}

fn measure<P: Peer>(
    peer: &mut P,
    requests: &mut [P::Request],
    batch: usize,
    order: &Order,
    chance: &mut fastrand::Rng,
) -> Vec<u64> {
    let mut taken = Vec::with_capacity(order.samples);
    let end = Instant::now() + Duration::from_millis(order.budget_ms);
    loop {
        chance.shuffle(requests);
        for some in requests.chunks_exact(batch) {
            let began = Instant::now();
            let mut allowed = 0_usize;
            for request in some {
                allowed += usize::from(peer.allows(request));
            }
            black_box(allowed);
            let ended = Instant::now();
            taken.push(nanoseconds(ended - began));
            if taken.len() == order.samples || ended > end {
                return taken;
            }
        }
    }
}

/// Measure the median time between two readings of the clock.
fn clock_ns() -> u64 {
    let apart = (0..10_001).map(|_| {
        let began = Instant::now();
        nanoseconds(began.elapsed())
    });
    median(apart.collect())
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
