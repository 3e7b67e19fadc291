"""The trading workload that all peers answer, written in the form that each peer reads.

It has ten thousand algorithms and ten thousand instruments, and 10 to 10,000 policies. Desks and strategies may trade
books within limits. Firm-wide rules forbid restricted instruments, instruments of another region or of a venue without
access, and orders that are too large, for a dark pool or at all. Walls forbid a desk a list of instruments.
:func:`generate` draws everything from one seed, so a size gives the same workload on every machine.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ALGOS = 10_000
INSTRUMENTS = 10_000
REQUESTS = 2_000
SIZES = (10, 100, 1_000, 10_000)

# The venues of each region; the last is a dark pool.
VENUES = {"US": ("XNYS", "XNAS", "UBSA"), "EU": ("XLON", "XPAR", "TRQX"), "APAC": ("XTKS", "XHKG", "CHIX")}
DARK = frozenset(venues[-1] for venues in VENUES.values())
REGIONS = tuple(VENUES)
# The largest notional of an order, and the largest quantity of an order into a dark pool.
MAX_NOTIONAL = 50_000_000
MAX_DARK_QTY = 20_000
FIRM_RULES = 5
STRATEGIES_PER_DESK = 3
MAX_TRIES = 100_000


@dataclass(frozen=True, slots=True)
class Algo:
    """A principal: an algorithm of a strategy, which belongs to a desk."""

    id: str
    strategy: str
    desk: str
    region: str
    venues: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Instrument:
    """A resource: an instrument in a book, on the lists that name it."""

    id: str
    book: str
    region: str
    venue: str
    lists: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Permit:
    """A permit: a desk or strategy (``group``) may trade a book up to both limits."""

    group: str
    book: str
    notional: int
    qty: int


@dataclass(frozen=True, slots=True)
class Order:
    """A request: an order that an algorithm wants to send."""

    algo: str
    instrument: str
    notional: int
    qty: int


@dataclass(frozen=True, slots=True)
class Workload:
    """The requests, policies and entities of one size.

    Attributes:
        policies: The number of policies: permits, walls and the five firm-wide rules.
        algos: The principals.
        instruments: The resources.
        permits: The permits.
        walls: Pairs (desk, list): the desk may not trade the instruments on the list.
        orders: The requests, in random order; about half should be allowed.
    """

    policies: int
    algos: tuple[Algo, ...]
    instruments: tuple[Instrument, ...]
    permits: tuple[Permit, ...]
    walls: tuple[tuple[str, str], ...]
    orders: tuple[Order, ...]

    def write(self, folder: Path) -> None:
        """Write all forms into a folder, which is created if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files().items():
            (folder / name).write_text(text)

    def files(self) -> dict[str, str]:
        """Return the texts of all files, by name.

        >>> sorted(generate(10).files())
        ['casbin.conf', 'casbin.csv', 'data.json', 'entities.json', 'policies.cedar', 'policy.rego', 'requests.json',
         'schema.cedarschema', 'tables.json']
        """
        return {
            "schema.cedarschema": SCHEMA,
            "policies.cedar": self.cedar(),
            "entities.json": compact(self.entities()),
            "policy.rego": REGO,
            "data.json": compact(self.rego_data()),
            "casbin.conf": CASBIN_MODEL,
            "casbin.csv": self.casbin(),
            "tables.json": compact(self.tables()),
            "requests.json": compact([[one.algo, one.instrument, one.notional, one.qty] for one in self.orders]),
        }

    def cedar(self) -> str:
        """Write the policies in Cedar's syntax."""
        texts = [CEDAR_FIRM]
        for permit in self.permits:
            kind = "Desk" if permit.group in self.desks else "Strategy"
            texts.append(
                f'permit (principal in {kind}::"{permit.group}", action == Action::"order.new", '
                f'resource in Book::"{permit.book}")\n'
                f"when {{ context.notional <= {permit.notional} && context.qty <= {permit.qty} }};\n"
            )
        for desk, name in self.walls:
            texts.append(f'forbid (principal in Desk::"{desk}", action, resource in List::"{name}");\n')
        return "\n".join(texts)

    @property
    def desks(self) -> set[str]:
        """Return all desks that have an algorithm."""
        return {algo.desk for algo in self.algos}

    def entities(self) -> list[dict[str, Any]]:
        """Write the entities in Cedar's JSON."""

        def made(kind: str, name: str, parents: list[tuple[str, str]], **attrs: object) -> dict[str, Any]:
            above = [{"type": parent_kind, "id": parent} for parent_kind, parent in parents]
            return {"uid": {"type": kind, "id": name}, "attrs": attrs, "parents": above}

        found = [made("Desk", desk, []) for desk in sorted(self.desks)]
        strategies = sorted({(algo.strategy, algo.desk) for algo in self.algos})
        found += [made("Strategy", strategy, [("Desk", desk)]) for strategy, desk in strategies]
        found += [made("Book", book, []) for book in sorted({one.book for one in self.instruments})]
        found += [made("List", name, []) for name in sorted({name for one in self.instruments for name in one.lists})]
        for algo in self.algos:
            parents = [("Strategy", algo.strategy)]
            found.append(made("Algo", algo.id, parents, region=algo.region, venues=list(algo.venues)))
        for one in self.instruments:
            parents = [("Book", one.book), *(("List", name) for name in one.lists)]
            dark = one.venue in DARK
            found.append(made("Instrument", one.id, parents, region=one.region, venue=one.venue, dark=dark))
        return found

    def rego_data(self) -> dict[str, Any]:
        """Write the policies as data for Rego, by the keys that a request has: strategy and book, desk and instrument.

        Lists and desks are expanded here, so that a rule only goes through the limits of one strategy in one book.
        """
        limits: dict[str, dict[str, list[dict[str, int]]]] = {}
        for permit in self.permits:
            of_group = limits.setdefault(permit.group, {})
            of_group.setdefault(permit.book, []).append({"notional": permit.notional, "qty": permit.qty})
        permits: dict[str, dict[str, list[dict[str, int]]]] = {}
        for strategy, desk in {one.strategy: one.desk for one in self.algos}.items():
            permits[strategy] = {book: list(those) for book, those in limits.get(desk, {}).items()}
            for book, those in limits.get(strategy, {}).items():
                permits[strategy].setdefault(book, []).extend(those)
        walls: dict[str, dict[str, bool]] = {}
        for desk, name in self.walls:
            members = (one.id for one in self.instruments if name in one.lists)
            walls.setdefault(desk, {}).update(dict.fromkeys(members, True))
        algos = {}
        for algo in self.algos:
            venues = dict.fromkeys(algo.venues, True)
            algos[algo.id] = {"desk": algo.desk, "strategy": algo.strategy, "region": algo.region, "venues": venues}
        instruments: dict[str, dict[str, Any]] = {}
        for one in self.instruments:
            instruments[one.id] = {"book": one.book, "region": one.region, "venue": one.venue}
            if one.venue in DARK:
                instruments[one.id]["dark"] = True
        return {
            "algos": algos,
            "instruments": instruments,
            "permits": permits,
            "walls": walls,
            "restricted": {one.id: True for one in self.instruments if "restricted" in one.lists},
            "max_notional": MAX_NOTIONAL,
            "max_dark_qty": MAX_DARK_QTY,
        }

    def casbin(self) -> str:
        """Write permits and walls as casbin rules; the firm-wide rules are in the model's matcher."""
        rows = ["p, *, restricted, 0, 0, deny"]
        rows += [f"p, {one.group}, {one.book}, {one.notional}, {one.qty}, allow" for one in self.permits]
        rows += [f"p, {desk}, {name}, 0, 0, deny" for desk, name in self.walls]
        return "\n".join(rows) + "\n"

    def tables(self) -> dict[str, Any]:
        """Return plain tables, for the checks written by hand and for peers that take attributes with the request."""
        return {
            "algos": [[one.id, one.strategy, one.desk, one.region, one.venues] for one in self.algos],
            "instruments": [
                [one.id, one.book, one.region, one.venue, one.venue in DARK, one.lists] for one in self.instruments
            ],
            "permits": [[one.group, one.book, one.notional, one.qty] for one in self.permits],
            "walls": self.walls,
            "max_notional": MAX_NOTIONAL,
            "max_dark_qty": MAX_DARK_QTY,
        }


def generate(policies: int, *, seed: int = 5) -> Workload:
    """Generate the workload with a number of policies (at least 10).

    Raises:
        ValueError: if there are too few policies for the firm-wide rules, a wall and permits.

    >>> work = generate(100)
    >>> len(work.permits) + len(work.walls) + FIRM_RULES, len(work.orders)
    (100, 2000)
    """
    if policies < 10:
        raise ValueError(f"policies: wanted 10 or more (5 firm-wide rules, a wall, permits), got {policies}")
    chance = random.Random(f"{seed}/{policies}")
    desk_count = max(2, policies // 20)
    desks = [f"desk{number}" for number in range(desk_count)]
    books = [f"book{number}" for number in range(max(8, desk_count))]
    walls = tuple((desk, f"wall-{desk}") for desk in chance.sample(desks, max(1, desk_count // 5)))
    permits = draw_permits(chance, desks, books, policies - FIRM_RULES - len(walls))
    algos = draw_algos(chance, desks)
    instruments = draw_instruments(chance, books, permits, walls)
    orders = draw_orders(chance, algos, instruments, permits, walls)
    return Workload(policies, algos, instruments, permits, walls, orders)


def region_of(number: int) -> str:
    """Return the home region of a desk or book, by its number."""
    return REGIONS[number % len(REGIONS)]


def draw_permits(chance: random.Random, desks: list[str], books: list[str], count: int) -> tuple[Permit, ...]:
    """Make permits, desk by desk: for the desk in some books, and for its strategies in some of them."""
    at_home = {region: [book for at, book in enumerate(books) if region_of(at) == region] for region in REGIONS}
    found: dict[tuple[str, str], Permit] = {}
    turn = 0
    while len(found) < count:
        at = turn % len(desks)
        # Every second permit is for a strategy.
        by_strategy = (turn // len(desks)) % 2
        group = f"{desks[at]}-s{chance.randrange(STRATEGIES_PER_DESK)}" if by_strategy else desks[at]
        book = chance.choice(at_home[region_of(at)] if chance.random() < 0.8 else books)
        limits = chance.choice((500_000, 1_000_000, 5_000_000, 20_000_000)), chance.choice((500, 5_000, 50_000))
        found.setdefault((group, book), Permit(group, book, *limits))
        turn += 1
    return tuple(found.values())


def draw_algos(chance: random.Random, desks: list[str]) -> tuple[Algo, ...]:
    """Make algorithms. A few are in another region than their desk."""
    access: dict[str, tuple[str, ...]] = {}
    found = []
    for number in range(ALGOS):
        at = number % len(desks)
        strategy = f"{desks[at]}-s{chance.randrange(STRATEGIES_PER_DESK)}"
        home = region_of(at)
        if strategy not in access:
            abroad = chance.choice(VENUES[chance.choice(REGIONS)])
            some = chance.sample(VENUES[home], chance.choice((2, 3, 3)))
            access[strategy] = tuple(sorted({*some, abroad}))
        region = home if chance.random() < 0.97 else chance.choice(REGIONS)
        found.append(Algo(f"algo{number}", strategy, desks[at], region, access[strategy]))
    return tuple(found)


def draw_instruments(
    chance: random.Random, books: list[str], permits: tuple[Permit, ...], walls: tuple[tuple[str, str], ...]
) -> tuple[Instrument, ...]:
    """Make instruments. Most are listed in their book's region, some elsewhere; a few are on lists."""
    walled: dict[str, list[str]] = {}
    for desk, name in walls:
        for permit in permits:
            if permit.group.split("-")[0] == desk:
                walled.setdefault(permit.book, []).append(name)
    found = []
    for number in range(INSTRUMENTS):
        at = number % len(books)
        region = region_of(at) if chance.random() < 0.9 else chance.choice(REGIONS)
        lists = {"restricted"} if chance.random() < 0.03 else set()
        if books[at] in walled and chance.random() < 0.1:
            lists.add(chance.choice(walled[books[at]]))
        venue = chance.choice(VENUES[region])
        found.append(Instrument(f"instrument{number}", books[at], region, venue, tuple(sorted(lists))))
    return tuple(found)


def draw_orders(
    chance: random.Random,
    algos: tuple[Algo, ...],
    instruments: tuple[Instrument, ...],
    permits: tuple[Permit, ...],
    walls: tuple[tuple[str, str], ...],
) -> tuple[Order, ...]:
    """Make orders. Half are allowed; the others are too large, for an arbitrary instrument, or forbidden."""
    members: dict[str, list[Algo]] = {}
    listed: dict[str, list[Instrument]] = {}
    walled = set(walls)
    for algo in algos:
        members.setdefault(algo.desk, []).append(algo)
        members.setdefault(algo.strategy, []).append(algo)
    for one in instruments:
        listed.setdefault(one.book, []).append(one)
    found: list[Order] = []
    for _ in range(MAX_TRIES):
        if len(found) == REQUESTS:
            break
        permit = chance.choice(permits)
        algo, one = chance.choice(members[permit.group]), chance.choice(listed[permit.book])
        qty = chance.randrange(1, permit.qty + 1)
        notional = chance.randrange(1_000, permit.notional + 1)
        forbidden = (
            one.region != algo.region
            or one.venue not in algo.venues
            or (one.venue in DARK and qty > MAX_DARK_QTY)
            or any(name == "restricted" or (algo.desk, name) in walled for name in one.lists)
        )
        # In turn: permitted; too large; permitted; another instrument; ...
        turn = len(found) % 8
        if forbidden != (turn == 7):
            continue
        if turn == 1:
            qty = permit.qty * chance.randrange(2, 200)
        elif turn == 3:
            notional = permit.notional * chance.randrange(2, 200)
        elif turn == 5:
            one = chance.choice(instruments)
        found.append(Order(algo.id, one.id, notional, qty))
    if len(found) < REQUESTS:
        raise RuntimeError(f"{len(found)} of {REQUESTS} orders after {MAX_TRIES} tries: permits meet no instrument")
    chance.shuffle(found)
    return tuple(found)


def compact(value: object) -> str:
    """Write JSON without blanks."""
    return json.dumps(value, separators=(",", ":"))


SCHEMA = """\
entity Desk;
entity Strategy in [Desk];
entity Book;
entity List;
entity Algo in [Strategy] = { region: String, venues: Set<String> };
entity Instrument in [Book, List] = { region: String, venue: String, dark: Bool };
action "order.new" appliesTo { principal: Algo, resource: Instrument, context: { notional: Long, qty: Long } };
"""

CEDAR_FIRM = f"""\
forbid (principal, action, resource in List::"restricted");

forbid (principal, action, resource) unless {{ principal.region == resource.region }};

forbid (principal, action, resource) unless {{ principal.venues.contains(resource.venue) }};

forbid (principal, action == Action::"order.new", resource) when {{ context.notional > {MAX_NOTIONAL} }};

forbid (principal, action == Action::"order.new", resource)
when {{ resource.dark && context.qty > {MAX_DARK_QTY} }};
"""

# One body, cheapest conditions first: a separate rule for each forbid costs more than its condition.
REGO = """\
package trading

default allow := false

allow if {
    algo := data.algos[input.algo]
    instrument := data.instruments[input.instrument]
    algo.region == instrument.region
    algo.venues[instrument.venue]
    input.notional <= data.max_notional
    not data.restricted[input.instrument]
    not data.walls[algo.desk][input.instrument]
    not too_dark(instrument)
    some limit in data.permits[algo.strategy][instrument.book]
    input.notional <= limit.notional
    input.qty <= limit.qty
}

too_dark(instrument) if {
    instrument.dark
    input.qty > data.max_dark_qty
}
"""

# The cheapest and most selective conditions come first, because casbin evaluates them for every rule. within() parses
# the limits of a rule as numbers.
CASBIN_MODEL = f"""\
[request_definition]
r = desk, strategy, region, venues, book, listed, venue, dark, lists, notional, qty

[policy_definition]
p = sub, obj, notional, qty, eft

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = (p.sub == r.desk || p.sub == r.strategy || p.sub == "*") && (p.obj == r.book || p.obj in r.lists) && \
(p.eft == "deny" || (r.region == r.listed && r.venue in r.venues && r.notional <= {MAX_NOTIONAL} && \
(!r.dark || r.qty <= {MAX_DARK_QTY}) && within(r.notional, r.qty, p.notional, p.qty)))
"""
