//! The number of instructions that a decision takes, under valgrind: `make bench-instructions`.
//!
//! A count does not depend on other work of the machine, so a change that makes the hot path longer fails here, however
//! noisy the CI is. Only the decision is counted; the engine and its sessions are set up before.
#![allow(missing_docs, clippy::must_use_candidate)] // for the macros' output
#![allow(clippy::unnecessary_box_returns)] // a measured function takes and returns a pointer

use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use std::hint::black_box;
use ztfast_engine::{Batch, Code, Column, Decision, Determining, Principals};
use ztfast_icount::{
    CANCEL, Counted, DESK_AGENT, DESK_CANCEL, DESK_DENIED, DESK_EXPORT, DESK_ORDER, DESK_ORDER_OF_NINE, Hot,
    HotPassing, Killed, LIVE_ORDER, LIVE_REPLACE, ORDER,
};

// The limits: the counts when they were last renewed, and 3 % above. To renew them, after a change that is worth its
// instructions or saves some (or with another compiler), run `make bench-instructions` and put the new counts
// (`SimdLevel`, on the left) here.
const ALLOWS_CELL: u64 = limit(121);
const ALLOWS_TWO_COMPARISONS: u64 = limit(149);
const ALLOWS_REFUSED: u64 = limit(100);
const DECIDE_TWO_COMPARISONS: u64 = limit(179);
const DECIDE_MANY_1_000_ROWS: u64 = limit(21_914);
const DESK_CANCEL_ALLOWED: u64 = limit(121);
const DESK_ORDER_ALLOWED: u64 = limit_within(174, 220);
const DESK_ORDER_OF_NINE_ALLOWED: u64 = limit_within(353, 360);
const DESK_ORDER_DENIED: u64 = limit(144);
const DESK_ORDER_DECIDED: u64 = limit(209);
const DESK_ORDER_DENIED_DECIDED: u64 = limit_within(2_195, 2_208);
const DESK_CANCEL_BY_AGENT: u64 = limit(409);
const DESK_EXPORT_BY_COMPLIANCE: u64 = limit(1_127);
const DESK_1_000_ROWS: u64 = limit(61_062);

/// While an entity is killed whose bit is none of the request's; while one is whose bit is; and while the firm is, and
/// the action is exempt.
const DESK_ORDER_WHILE_ANOTHER_IS_KILLED: u64 = limit(515);
const DESK_ORDER_WHILE_ANOTHER_OF_ITS_BIT_IS_KILLED: u64 = limit(1_503);
const DESK_CANCEL_WHILE_THE_FIRM_IS_KILLED: u64 = limit(429);

/// By sessions in a state that processes share, and with live attributes: when a session was proved, and its risk; and
/// besides, one of its factors.
const LIVE_TWO_COMPARISONS: u64 = limit_within(250, 300);
const LIVE_FACTOR: u64 = limit(520);

const fn limit(counted: u64) -> u64 {
    counted + counted * 3 / 100
}

/// Return the limit of a decision that may never take more than `most`, whatever it took when that was last counted.
const fn limit_within(counted: u64, most: u64) -> u64 {
    if limit(counted) < most { limit(counted) } else { most }
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
    codes: Vec<Decision>,
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

fn hot(of: &Counted) -> Box<Hot> {
    Box::new(Hot::new(of, Code::Allow))
}

fn cancel() -> Box<Hot> {
    hot(&CANCEL)
}

fn order() -> Box<Hot> {
    hot(&ORDER)
}

fn with_policies(hot: Box<Hot>) -> Box<(Hot, Determining)> {
    Box::new((*hot, Determining::default()))
}

fn order_and_policies() -> Box<(Hot, Determining)> {
    with_policies(order())
}

fn revoked() -> Box<Hot> {
    Box::new(Hot::refused(&ORDER))
}

fn desk_cancel() -> Box<Hot> {
    hot(&DESK_CANCEL)
}

fn desk_order() -> Box<Hot> {
    hot(&DESK_ORDER)
}

fn while_another_is_killed() -> Box<Hot> {
    Box::new(Hot::while_killed(&DESK_ORDER, Killed::Another))
}

fn while_another_of_its_bit_is_killed() -> Box<Hot> {
    Box::new(Hot::while_killed(&DESK_ORDER, Killed::AnotherOfItsBit))
}

fn while_the_firm_is_killed() -> Box<Hot> {
    Box::new(Hot::while_killed(&DESK_CANCEL, Killed::Firm))
}

fn desk_order_of_nine() -> Box<Hot> {
    hot(&DESK_ORDER_OF_NINE)
}

fn desk_denied() -> Box<Hot> {
    Box::new(Hot::new(&DESK_DENIED, Code::Forbid))
}

fn desk_order_and_policies() -> Box<(Hot, Determining)> {
    with_policies(desk_order())
}

fn desk_denied_and_policies() -> Box<(Hot, Determining)> {
    with_policies(desk_denied())
}

fn desk_agent() -> Box<HotPassing> {
    Box::new(HotPassing::new(&DESK_AGENT))
}

fn desk_export() -> Box<HotPassing> {
    Box::new(HotPassing::new(&DESK_EXPORT))
}

fn live_order() -> Box<Hot> {
    Box::new(Hot::on_shared_state(&LIVE_ORDER))
}

fn live_replace() -> Box<Hot> {
    Box::new(Hot::on_shared_state(&LIVE_REPLACE))
}

fn rows() -> Box<Rows> {
    rows_of(*order())
}

fn desk_rows() -> Box<Rows> {
    rows_of(*desk_order())
}

fn rows_of(hot: Hot) -> Box<Rows> {
    let batch = hot.gate.batch();
    let columns = [hot.values[0], hot.values[1]].map(|value| vec![value; ROWS]);
    let rows = Rows { hot, batch, columns, codes: vec![Decision::CORRUPT; ROWS] };
    // Memory that a batch requests is zeroed if it was used before, so this makes sure that it was.
    let rows = decided(Box::new(rows));
    assert!(rows.codes.iter().all(|&code| code == Code::Allow), "the counted rows must be allowed");
    rows
}

#[inline(always)]
#[allow(clippy::inline_always)] // what is counted must not differ by a call
fn allowed(mut hot: Box<Hot>) -> (Box<Hot>, Decision) {
    let code = hot.gate.allows(hot.session, hot.resource, black_box(hot.values));
    (hot, code)
}

#[inline(always)]
#[allow(clippy::inline_always)] // as above
fn determined(mut given: Box<(Hot, Determining)>) -> (Box<(Hot, Determining)>, Decision) {
    let (hot, determining) = &mut *given;
    let code = hot.gate.decide(hot.session, hot.resource, black_box(hot.values), determining);
    (given, code)
}

#[library_benchmark(config = at_most(ALLOWS_CELL), setup = cancel)]
#[bench::hot()]
fn allows_cell(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(config = at_most(ALLOWS_TWO_COMPARISONS), setup = order)]
#[bench::hot()]
fn allows_two_comparisons(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(config = at_most(ALLOWS_REFUSED), setup = revoked)]
#[bench::hot()]
fn allows_session_revoked(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(config = at_most(DESK_CANCEL_ALLOWED), setup = desk_cancel)]
#[bench::hot()]
fn desk_cancel_allowed(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(config = at_most(DESK_ORDER_ALLOWED), setup = desk_order)]
#[bench::hot()]
fn desk_order_allowed(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(config = at_most(DESK_ORDER_WHILE_ANOTHER_IS_KILLED), setup = while_another_is_killed)]
#[bench::hot()]
fn desk_order_while_another_is_killed(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(
    config = at_most(DESK_ORDER_WHILE_ANOTHER_OF_ITS_BIT_IS_KILLED),
    setup = while_another_of_its_bit_is_killed
)]
#[bench::hot()]
fn desk_order_while_another_of_its_bit_is_killed(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(config = at_most(DESK_CANCEL_WHILE_THE_FIRM_IS_KILLED), setup = while_the_firm_is_killed)]
#[bench::hot()]
fn desk_cancel_while_the_firm_is_killed(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(config = at_most(LIVE_TWO_COMPARISONS), setup = live_order)]
#[bench::hot()]
fn live_two_comparisons(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(config = at_most(LIVE_FACTOR), setup = live_replace)]
#[bench::hot()]
fn live_factor(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(config = at_most(DESK_ORDER_OF_NINE_ALLOWED), setup = desk_order_of_nine)]
#[bench::hot()]
fn desk_order_of_nine_allowed(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(config = at_most(DESK_ORDER_DENIED), setup = desk_denied)]
#[bench::hot()]
fn desk_order_denied(hot: Box<Hot>) -> (Box<Hot>, Decision) {
    allowed(hot)
}

#[library_benchmark(config = at_most(DECIDE_TWO_COMPARISONS), setup = order_and_policies)]
#[bench::hot()]
fn decide_two_comparisons(given: Box<(Hot, Determining)>) -> (Box<(Hot, Determining)>, Decision) {
    determined(given)
}

#[library_benchmark(config = at_most(DESK_ORDER_DECIDED), setup = desk_order_and_policies)]
#[bench::hot()]
fn desk_order_decided(given: Box<(Hot, Determining)>) -> (Box<(Hot, Determining)>, Decision) {
    determined(given)
}

#[library_benchmark(config = at_most(DESK_ORDER_DENIED_DECIDED), setup = desk_denied_and_policies)]
#[bench::hot()]
fn desk_order_denied_decided(given: Box<(Hot, Determining)>) -> (Box<(Hot, Determining)>, Decision) {
    determined(given)
}

#[library_benchmark(config = at_most(DESK_CANCEL_BY_AGENT), setup = desk_agent)]
#[bench::hot()]
fn desk_cancel_by_agent(mut passing: Box<HotPassing>) -> (Box<HotPassing>, Option<Decision>) {
    let code = passing.decide();
    (passing, code)
}

#[library_benchmark(config = at_most(DESK_EXPORT_BY_COMPLIANCE), setup = desk_export)]
#[bench::hot()]
fn desk_export_by_compliance(mut passing: Box<HotPassing>) -> (Box<HotPassing>, Option<Decision>) {
    let code = passing.decide();
    (passing, code)
}

#[library_benchmark(config = at_most(DECIDE_MANY_1_000_ROWS), setup = rows)]
#[bench::hot()]
fn decide_many_1_000_rows(rows: Box<Rows>) -> Box<Rows> {
    decided(rows)
}

#[library_benchmark(config = at_most(DESK_1_000_ROWS), setup = desk_rows)]
#[bench::hot()]
fn desk_1_000_rows(rows: Box<Rows>) -> Box<Rows> {
    decided(rows)
}

library_benchmark_group!(
    name = decisions,
    benchmarks = [
        allows_cell,
        allows_two_comparisons,
        allows_session_revoked,
        desk_cancel_allowed,
        desk_order_allowed,
        desk_order_while_another_is_killed,
        desk_order_while_another_of_its_bit_is_killed,
        desk_cancel_while_the_firm_is_killed,
        live_two_comparisons,
        live_factor,
        desk_order_of_nine_allowed,
        desk_order_denied,
        decide_two_comparisons,
        desk_order_decided,
        desk_order_denied_decided,
        desk_cancel_by_agent,
        desk_export_by_compliance,
        decide_many_1_000_rows,
        desk_1_000_rows,
    ]
);
main!(library_benchmark_groups = decisions);
