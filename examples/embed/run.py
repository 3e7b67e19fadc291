"""Runner of the three examples over the example desk. It shows the effect of revocations, a quarantine and a swap.

make -C examples/embed run
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import order_gateway
import orders
import strategy
from cancel_loop import CancelLoop

import ztfast


def names(codes: bytes) -> str:
    """Count each code, by name."""
    counts = Counter(codes)
    return ", ".join(f"{ztfast.Code(code).name} {count:,}" for code, count in sorted(counts.items()))


def gateway(desk: orders.Desk, drawn: orders.Orders, threads: int) -> None:
    """Send the orders through the C++ gateway."""
    columns = (drawn.sessions, drawn.instruments, drawn.notional, drawn.quantity)
    _, report = order_gateway.run(desk.order_new, *columns, threads)
    codes = ", ".join(f"{name} {count:,}" for name, count in report["codes"].items())
    print(f"C++     {report['decisions']:,} orders, {threads} threads: {report['per_second']:,.0f} a second; {codes}")
    print(
        f"        a decision p50 {report['p50_ns']} ns, p99 {report['p99_ns']} ns, "
        f"of which the clock {report['clock_ns']} ns; {report['sent_usd']:,} USD sent"
    )


def momentum(desk: orders.Desk, ticks: int) -> None:
    """Run a random walk of prices through the Cython strategy."""
    session = next(session for session in desk.traders if str(session.principal) == 'Algo::"a7"')
    aapl = desk.engine.resource('Instrument::"AAPL"')
    bot = strategy.Momentum(desk.order_new, session, aapl, rise=50, quantity=20)
    steps = np.random.default_rng(1).integers(-300, 301, ticks)
    prices = 2_000_000 + np.cumsum(steps) % 1_000_000
    notional, quantity = np.empty(ticks, np.int64), np.empty(ticks, np.int64)
    codes = np.empty(ticks, np.uint8)
    count, sent = bot.run(prices, notional, quantity, codes)
    print(f"Cython  {ticks:,} ticks, {count:,} orders, {sent:,} pieces sent; {names(codes[:count].tobytes())}")


def cancels(desk: orders.Desk, drawn: orders.Orders) -> None:
    """Send the cancels through the Rust loop."""
    outcome = CancelLoop(desk.order_cancel).run(drawn.agents, drawn.instruments, drawn.people)
    print(f"Rust    {len(outcome.codes):,} cancels: {outcome.per_second:,.0f} a second; {names(outcome.codes)}")
    for policy, count in sorted(outcome.forbidden_by.items()):
        print(f"        forbidden by {policy}: {count:,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of the C++ gateway (default: %(default)s)")
    arguments = parser.parse_args()
    desk = orders.open_desk()
    drawn = orders.draw(desk, arguments.orders)

    def run_all() -> None:
        gateway(desk, drawn, arguments.threads)
        momentum(desk, arguments.orders)
        cancels(desk, drawn)

    run_all()
    print("\nEvery second trader's session is revoked, every fourth agent's is quarantined:")
    for session in desk.traders[1::2]:
        session.revoke()
    for session in desk.agents[::4]:
        session.quarantine()
    run_all()
    print("\nThe bundle is swapped for one that halts AAPL:")
    desk.engine.swap(orders.desk_bundle("AAPL"))
    run_all()


if __name__ == "__main__":
    main()
