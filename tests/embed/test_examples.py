"""The examples for embedders, built and run.

The C++ gateway, the Cython strategy and the Rust loop must decide as Python does on the same orders, also after
revocations, a quarantine, the kill switch and swaps. None of them may load with a core whose table differs.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import ztfast
from tests.racing import Repeat

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "embed"
NEEDS = {"cpp": "c++", "cython": "cc", "rust": "cargo"}
MODULES = {"cpp": "order_gateway", "cython": "strategy", "rust": "cancel_loop"}
COUNT = 20_000
Code = ztfast.Code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the examples, as an engineer would who starts from them; the Rust crate is named by its present path."""
    folder = tmp_path_factory.mktemp("embed")
    for name in MODULES:
        shutil.copytree(EXAMPLES / name, folder / name, ignore=shutil.ignore_patterns("build", "target"))
    manifest = folder / "rust" / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace("../../../src_ext", str(ROOT / "src_ext")))
    shutil.copy(EXAMPLES / "Makefile", folder)
    return folder


def environment(folder: Path) -> dict[str, str]:
    # The package under test, installed or not.
    package = str(Path(ztfast.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "built"), str(EXAMPLES), package])}


def built(name: str, folder: Path) -> None:
    for tool in ("make", NEEDS[name]):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here: the {name} example was neither built nor run")
    make = ["make", "-C", str(folder), name, f"PYTHON={sys.executable}", f"BUILD={folder / 'built'}"]
    # Its crates are the same each time.
    make.append(f"RUST_TARGET={ROOT / 'build' / 'embed' / 'rust'}")
    done = subprocess.run(make, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def load(name: str, folder: Path) -> ModuleType:
    built(name, folder)
    for path in (str(folder / "built"), str(EXAMPLES)):
        if path not in sys.path:
            sys.path.insert(0, path)
    return importlib.import_module(MODULES[name])


@pytest.fixture(scope="module")
def order_gateway(folder: Path) -> Any:
    return load("cpp", folder)


@pytest.fixture(scope="module")
def strategy(folder: Path) -> Any:
    return load("cython", folder)


@pytest.fixture(scope="module")
def cancel_loop(folder: Path) -> Any:
    return load("rust", folder)


@pytest.fixture(scope="module")
def orders(folder: Path) -> Any:
    sys.path.insert(0, str(EXAMPLES))
    return importlib.import_module("orders")


def through_changes(desk: Any, orders: Any) -> Any:
    """Give each stage of a day: nothing, revocations, another bundle, changed entities, the kill switch."""
    yield "at the beginning"
    for session in desk.traders[1::2]:
        session.revoke()
    for session in desk.agents[::4]:
        session.quarantine()
    yield "revoked"
    desk.engine.swap(orders.desk_bundle("AAPL", "SAP"))
    yield "swapped"
    desk.engine.remove([desk.instruments[3].uid, desk.instruments[7].uid])
    yield "removed"
    desk.engine.kill_switch(True, actions=ztfast.ALL_ACTIONS)
    yield "killed"
    desk.engine.kill_switch(False)


def test_the_cpp_gateway_decides_as_python(order_gateway: Any, orders: Any) -> None:
    desk = orders.open_desk()
    drawn = orders.draw(desk, COUNT)
    columns = (drawn.sessions, drawn.instruments, drawn.notional, drawn.quantity)
    seen = set()
    for stage in through_changes(desk, orders):
        wanted = desk.order_new.decide_many(*columns)
        for threads in (1, 3):
            answers, report = order_gateway.run(desk.order_new, *columns, threads)
            assert answers == wanted.tobytes(), stage
            assert report["codes"] == {Code(code).name: count for code, count in Counter(wanted.tolist()).items()}
            assert report["decisions"] == COUNT
            assert report["sent_usd"] == drawn.notional[wanted == Code.ALLOW].sum()
            assert 0 < report["p50_ns"] <= report["p99_ns"]
        seen |= set(report["codes"])
    assert {"ALLOW", "FORBID", "DEFAULT", "REVOKED", "KILLED"} <= seen


def test_the_cpp_gateway_runs_on_while_python_revokes_and_swaps(order_gateway: Any, orders: Any) -> None:
    desk, bundles = orders.open_desk(), (orders.desk_bundle("AAPL"), orders.desk_bundle())
    drawn = orders.draw(desk, 20 * COUNT)
    columns = (drawn.sessions, drawn.instruments, drawn.notional, drawn.quantity)
    wanted = []
    for bundle in bundles:
        desk.engine.swap(bundle)
        wanted.append(desk.order_new.decide_many(*columns))
    began = time.monotonic()
    order_gateway.run(desk.order_new, *columns, 2)
    whole, over = time.monotonic() - began, np.zeros(len(drawn.sessions), bool)

    def change(trader: ztfast.Session) -> None:
        trader.revoke()
        for at in range(5):
            desk.engine.swap(bundles[at % 2])

    swapped = revoked = False
    repeat = Repeat("a swap and a revocation in the middle of a run")
    while repeat.until(swapped and revoked):
        trader = desk.traders[repeat.turn]
        desk.engine.swap(bundles[1])
        timer = threading.Timer(whole * (repeat.turn % 6 + 1) / 8, change, (trader,))
        timer.start()
        codes = np.frombuffer(order_gateway.run(desk.order_new, *columns, 2)[0], np.uint8)
        timer.join()
        of_trader = drawn.sessions == trader.id
        # Each order was decided by one of the bundles, unless its trader was revoked already.
        gone = codes == Code.REVOKED
        assert ((codes == wanted[0]) | (codes == wanted[1]) | gone).all()
        assert not gone[~over & ~of_trader].any()
        assert gone[over].all()
        over |= of_trader
        other = (codes == wanted[0])[~over & (wanted[0] != wanted[1])]
        swapped |= other.any() and not other.all()
        revoked |= gone[of_trader].any() and not gone[of_trader].all()


def test_the_cpp_gateway_refuses_what_is_not_an_order(order_gateway: Any, orders: Any) -> None:
    desk = orders.open_desk()
    drawn = orders.draw(desk, 10)
    good = [drawn.sessions, drawn.instruments, drawn.notional, drawn.quantity]
    for at, bad in (
        (0, drawn.notional),
        (1, drawn.notional),
        (2, drawn.sessions),
        (3, drawn.quantity.astype(float)),
    ):
        with pytest.raises(TypeError, match="wanted a one-dimensional array of"):
            order_gateway.run(desk.order_new, *good[:at], bad, *good[at + 1 :], 1)
    with pytest.raises(ValueError, match="arrays of one length"):
        order_gateway.run(desk.order_new, *good[:3], drawn.quantity[:-1], 1)
    with pytest.raises(AttributeError):
        order_gateway.run(object(), *good, 1)
    assert order_gateway.run(desk.order_new, *(column[:0] for column in good), 1)[0] == b""


def test_the_cython_strategy_decides_as_python(strategy: Any, orders: Any) -> None:
    desk = orders.open_desk()
    instrument = next(resource for resource in desk.instruments if resource.uid.id == "AAPL")
    sessions = [session for session in desk.traders if session.principal.id in ("a7", "a8", "a16", "h1")]
    bots = [strategy.Momentum(desk.order_new, session, instrument, rise=50, quantity=20) for session in sessions]
    prices = 2_000_000 + np.cumsum(np.random.default_rng(2).integers(-300, 301, COUNT)) % 1_000_000
    notional, quantity = np.empty(COUNT, np.int64), np.empty(COUNT, np.int64)
    codes = np.empty(COUNT, np.uint8)
    seen = set()
    for stage in through_changes(desk, orders):
        for session, bot in zip(sessions, bots, strict=True):
            count, sent = bot.run(prices, notional, quantity, codes)
            assert COUNT / 4 < count < COUNT
            columns = (notional[:count], quantity[:count])
            wanted = desk.order_new.decide_many(session, instrument, *columns)
            assert codes[:count].tobytes() == wanted.tobytes(), (stage, session)
            assert sent == columns[1][wanted == Code.ALLOW].sum()
            seen |= set(wanted.tolist())
            for row in (0, 1, count - 1):
                one = (session, instrument, int(notional[row]), int(quantity[row]))
                assert bot.may(*one[2:]) == desk.order_new.allows(*one) == (wanted[row] == Code.ALLOW)
    assert {Code.ALLOW, Code.FORBID, Code.REVOKED, Code.KILLED} <= seen
    with pytest.raises(ValueError, match="at least as long as prices"):
        bots[0].run(prices, notional, quantity[:10], codes)
    with pytest.raises(TypeError):
        strategy.Momentum(object(), sessions[0], instrument, rise=1, quantity=1)


def test_the_rust_loop_decides_as_python(cancel_loop: Any, orders: Any) -> None:
    desk = orders.open_desk()
    loop = cancel_loop.CancelLoop(desk.order_cancel)
    drawn = orders.draw(desk, COUNT)
    columns = (drawn.agents, drawn.instruments, drawn.people)
    by_id = {session.id: session for session in desk.agents}
    by_handle = {resource.handle: resource for resource in (*desk.instruments, *desk.people)}
    seen = set()
    for stage in through_changes(desk, orders):
        wanted = desk.order_cancel.decide_many(*columns)
        outcome = loop.run(*columns)
        assert outcome.codes == wanted.tobytes(), stage
        assert loop.run_batch(*columns) == outcome.codes, stage
        assert outcome.pulled == (wanted == Code.ALLOW).sum()
        assert outcome.per_second > 0
        decisions = [
            desk.order_cancel.decide(by_id[agent], by_handle[instrument], by_handle[person])
            for agent, instrument, person in zip(*(column.tolist() for column in columns), strict=True)
        ]
        assert outcome.codes == bytes(decision.number for decision in decisions)
        reasons = Counter(reason for one in decisions if one.number == Code.FORBID for reason in one.reasons)
        assert outcome.forbidden_by == reasons
        seen |= set(wanted.tolist())
    assert {Code.ALLOW, Code.DEFAULT, Code.FORBID, Code.QUARANTINED, Code.KILLED} <= seen
    with pytest.raises(ValueError, match="arrays of one length"):
        loop.run(drawn.agents, drawn.instruments, drawn.people[:-1])


def test_a_gate_that_no_longer_fits_cannot_be_cloned(order_gateway: Any, strategy: Any, cancel_loop: Any) -> None:
    schema = (
        "entity User, Book; action order appliesTo { principal: User, resource: Book, context: { notional: Long%s } };"
    )

    def compiled(more: str) -> ztfast.Bundle:
        return ztfast.compile(
            ztfast.Text("permit (principal, action, resource);"), schema=ztfast.Text(schema % more, "s.cedarschema")
        )

    engine = ztfast.Engine(compiled(", qty: Long"))
    gate = engine.prepare("order", "notional", "qty")
    session = engine.admit(ztfast.Identity('User::"ann"', not_after=2e9))
    book = engine.resource('Book::"b1"')
    bot = strategy.Momentum(gate, session, book, rise=1, quantity=1)
    room = np.empty(2, np.int64), np.empty(2, np.int64), np.empty(2, np.uint8)
    engine.swap(compiled(", qty: Long, more: Bool"), allow_stale=True)
    assert bot.run(np.array([0, 10]), *room) == (1, 0)
    assert room[2][0] == Code.STALE_GATE
    one = [np.array([at], kind) for at, kind in ((session.id, "u8"), (book.handle, "u8"), (1, "i8"), (1, "i8"))]
    for clone in (
        lambda: strategy.Momentum(gate, session, book, rise=1, quantity=1),
        lambda: cancel_loop.CancelLoop(gate),
        lambda: order_gateway.run(gate, *one, 1),
    ):
        with pytest.raises(RuntimeError, match="no longer fits"):
            clone()


# Replaces the capsule by one with a patched copy of the table, then imports a module.
PATCHED = """\
import ctypes, importlib, importlib.util, sys
core_path, module, version, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if module == "strategy":
    # ztfast.gate, which it stands upon, is the one that looks: it must not be there yet.
    spec = importlib.util.spec_from_file_location("ztfast._core", core_path)
    core = sys.modules["ztfast._core"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
else:
    from ztfast import _core as core
get, new = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_New
get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
name = b"ztfast._core._C_API"
address = get(core._C_API, name)
whole = (ctypes.c_uint32 * 2).from_address(address)[1]
table = ctypes.create_string_buffer(ctypes.string_at(address, whole), 2 * whole)
head = (ctypes.c_uint32 * 2).from_buffer(table)
head[0], head[1] = head[0] + version, head[1] + size
core._C_API = new(ctypes.addressof(table), name, None)
try:
    importlib.import_module(module)
except ImportError as error:
    print("refused:", error)
else:
    print("loaded")
"""


@pytest.mark.parametrize("name", MODULES)
def test_another_version_or_a_shorter_table_is_refused(name: str, folder: Path) -> None:
    built(name, folder)

    def load_beside(version: int, size: int) -> str:
        core = ztfast._core.__file__
        arguments = [sys.executable, "-c", PATCHED, core, MODULES[name], str(version), str(size)]
        done = subprocess.run(arguments, env=environment(folder), capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert load_beside(0, 0) == "loaded"
    # A newer core whose table has grown.
    assert load_beside(0, 64) == "loaded"
    assert load_beside(1, 0).startswith("refused: ")
    assert "version" in load_beside(-1, 0)
    assert load_beside(0, -8).startswith("refused: ")
    assert load_beside(1, 64).startswith("refused: ")


def test_the_runner_shows_all_three(order_gateway: Any, strategy: Any, cancel_loop: Any, folder: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "run.py"), "--orders", "5000"]
    done = subprocess.run(command, env=environment(folder), capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    for expected in ("C++     5,000 orders", "Cython  5,000 ticks", "Rust    5,000 cancels", "forbidden by halt-AAPL"):
        assert expected in done.stdout
    assert done.stdout.count("REVOKED") >= 2
