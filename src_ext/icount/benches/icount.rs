//! The number of instructions that a decision takes, under valgrind: `make bench-instructions`.
//!
//! A count does not depend on other work of the machine, so a change that makes the hot path longer fails here, however
//! noisy the CI is. Only the decision is counted; the engine and its sessions are set up before.
#![allow(missing_docs, clippy::must_use_candidate)] // for the macros' output
#![allow(clippy::unnecessary_box_returns)] // a measured function takes and returns a pointer

use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use std::hint::black_box;
use ztfast_engine::{Batch, Code, Column, Determining, Principals};
use ztfast_icount::{Hot, VALUES};

// The limits: the counts when they were last renewed, and 3 % above. To renew them, after a change that is worth its
// instructions or saves some (or with another compiler), run `make bench-instructions` and put the new counts
// (`SimdLevel`, on the left) here.
const ALLOWS_CELL: u64 = limit(144);
const ALLOWS_TWO_COMPARISONS: u64 = limit(212);
const ALLOWS_REFUSED: u64 = limit(101);
const DECIDE_TWO_COMPARISONS: u64 = limit(242);
const DECIDE_MANY_1_000_ROWS: u64 = limit(28_498);

const fn limit(counted: u64) -> u64 {
    counted + counted * 3 / 100
}

fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::default().hard_limits([(EventKind::Ir, instructions)]));
    config
}

const ROWS: usize = 1_000;

struct Rows {
    hot: Hot,
    batch: Batch,
    columns: [Vec<i64>; 2],
    codes: Vec<u8>,
}

fn decided(mut rows: Box<Rows>) -> Box<Rows> {
    let columns = rows.columns.each_ref().map(|column| Column::each(column));
    let (session, resource) = ([rows.hot.session.0], [rows.hot.resource.0]);
    // As through the C API, nothing is known about the columns at compile time.
    let (principals, resources, columns) =
        black_box((Principals::Sessions(Column::all(&session)), Column::all(&resource), &columns[..]));
    rows.batch.decide_many(principals, resources, columns, &mut rows.codes).expect("there are no entities");
    rows
}

// Everything is boxed, so that a pointer is passed. It is returned too, because freeing it is not part of the decision.

fn cancel() -> Box<Hot> {
    Box::new(Hot::new("order.cancel", &[]))
}

fn order() -> Box<Hot> {
    Box::new(Hot::new("order.new", &["notional", "qty"]))
}

fn order_and_policies() -> Box<(Hot, Determining)> {
    Box::new((*order(), Determining::default()))
}

fn revoked() -> Box<Hot> {
    Box::new(Hot::refused("order.new", &["notional", "qty"]))
}

fn rows() -> Box<Rows> {
    let hot = *order();
    let batch = hot.gate.batch();
    let rows = Rows { hot, batch, columns: VALUES.map(|value| vec![value; ROWS]), codes: vec![0; ROWS] };
    // Memory that a batch requests is zeroed if it was used before, so this makes sure that it was.
    let rows = decided(Box::new(rows));
    assert!(rows.codes.iter().all(|&code| code == Code::Allow as u8), "the counted rows must be allowed");
    rows
}

#[library_benchmark(config = at_most(ALLOWS_CELL), setup = cancel)]
#[bench::hot()]
fn allows_cell(mut hot: Box<Hot>) -> (Box<Hot>, Code) {
    let code = hot.gate.allows(hot.session, hot.resource, black_box(&[]));
    (hot, code)
}

#[library_benchmark(config = at_most(ALLOWS_TWO_COMPARISONS), setup = order)]
#[bench::hot()]
fn allows_two_comparisons(mut hot: Box<Hot>) -> (Box<Hot>, Code) {
    let code = hot.gate.allows(hot.session, hot.resource, black_box(&VALUES));
    (hot, code)
}

#[library_benchmark(config = at_most(ALLOWS_REFUSED), setup = revoked)]
#[bench::hot()]
fn allows_session_revoked(mut hot: Box<Hot>) -> (Box<Hot>, Code) {
    let code = hot.gate.allows(hot.session, hot.resource, black_box(&VALUES));
    (hot, code)
}

#[library_benchmark(config = at_most(DECIDE_TWO_COMPARISONS), setup = order_and_policies)]
#[bench::hot()]
fn decide_two_comparisons(mut given: Box<(Hot, Determining)>) -> (Box<(Hot, Determining)>, Code) {
    let (hot, determining) = &mut *given;
    let code = hot.gate.decide(hot.session, hot.resource, black_box(&VALUES), determining);
    (given, code)
}

#[library_benchmark(config = at_most(DECIDE_MANY_1_000_ROWS), setup = rows)]
#[bench::hot()]
fn decide_many_1_000_rows(rows: Box<Rows>) -> Box<Rows> {
    decided(rows)
}

library_benchmark_group!(
    name = decisions,
    benchmarks =
        [allows_cell, allows_two_comparisons, allows_session_revoked, decide_two_comparisons, decide_many_1_000_rows]
);
main!(library_benchmark_groups = decisions);
