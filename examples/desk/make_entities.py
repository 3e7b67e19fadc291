"""Generator of ``desk.entities.json``: the people, programs and resources of the example desk.

The output is the same at each run. ``--check`` only says whether the file on disk is that output, by its exit code.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "desk.entities.json"

REGIONS = ("US", "EU", "UK", "APAC")
VENUES = {
    "XNAS": ("US", "open"), "XNYS": ("US", "open"), "XCME": ("US", "open"), "XETR": ("EU", "open"),
    "XPAR": ("EU", "auction"), "XLON": ("UK", "open"), "XTKS": ("APAC", "closed"), "XHKG": ("APAC", "halted"),
}  # fmt: skip
EQUITIES = {
    "XNAS": ("AAPL", "MSFT", "NVDA", "AMZN", "GOOG", "META", "TSLA", "INTC", "CSCO", "AMD"),
    "XNYS": ("IBM", "GE", "JPM", "KO", "DIS", "XOM", "WMT", "BA"),
    "XETR": ("SAP", "SIE", "ALV", "BMW", "DTE", "BAS"),
    "XPAR": ("MC", "OR", "AIR", "BNP"),
    "XLON": ("HSBA", "BP", "VOD", "GSK", "RIO", "AZN"),
    "XTKS": ("7203", "6758", "9984"),
    "XHKG": ("0700", "0005"),
}
BONDS = {"XNYS": ("UST2Y", "UST10Y", "UST30Y"), "XETR": ("BUND10Y", "SCHATZ"), "XLON": ("GILT10Y",)}
FUTURES = {"XCME": ("ESZ6", "NQZ6", "CLF7", "GCG7")}
STRATEGIES = {
    "eq-momentum-us": ("equity", "US", ("XNAS", "XNYS")),
    "eq-value-us": ("equity", "US", ("XNYS",)),
    "eq-stat-arb-eu": ("equity", "EU", ("XETR", "XPAR")),
    "eq-index-uk": ("equity", "UK", ("XLON",)),
    "eq-apac": ("equity", "APAC", ("XTKS", "XHKG")),
    "bond-curve-us": ("bond", "US", ("XNYS",)),
    "bond-bund-eu": ("bond", "EU", ("XETR",)),
    "fut-index-us": ("future", "US", ("XCME",)),
}
# What books and feeds are in, which lie in another segment.
HOLDERS = ("Strategy", "Venue")

Entity = dict[str, Any]


def uid(ty: str, name: str) -> dict[str, str]:
    return {"type": ty, "id": name}


def ref(ty: str, name: str) -> Entity:
    return {"__entity": uid(ty, name)}


def entity(ty: str, name: str, attrs: Entity | None = None, parents: list[dict[str, str]] | None = None) -> Entity:
    """Make an entity. It is in its segment, too."""
    own = (attrs or {}).get("segment")
    within = [] if own is None or ty in HOLDERS else [own["__entity"]]
    return {"uid": uid(ty, name), "attrs": attrs or {}, "parents": [*(parents or []), *within]}


def segment(name: str) -> Entity:
    return ref("Segment", name)


def market() -> list[Entity]:
    """Make venues, strategies, instruments, books and feeds."""
    made = []
    for venue, (region, phase) in VENUES.items():
        attrs = {"segment": segment("trading"), "region": ref("Region", region), "phase": phase}
        made.append(entity("Venue", venue, attrs))
    for strategy, (asset_class, region, venues) in STRATEGIES.items():
        attrs = {
            "segment": segment("trading"),
            "assetClass": asset_class,
            "region": ref("Region", region),
            "venues": [ref("Venue", venue) for venue in venues],
        }
        made.append(entity("Strategy", strategy, attrs))
    for asset_class, listed in (("equity", EQUITIES), ("bond", BONDS), ("future", FUTURES)):
        for venue, names in listed.items():
            strategies = [
                uid("Strategy", strategy)
                for strategy, (traded, _, venues) in STRATEGIES.items()
                if traded == asset_class and venue in venues
            ]
            for position, name in enumerate(names):
                made.extend(instrument(name, asset_class, venue, position, strategies))
    for venue, (region, _) in VENUES.items():
        parents = [uid("Strategy", name) for name, (_, _, venues) in STRATEGIES.items() if venue in venues]
        for level in (1, 2, 3):
            attrs = {"segment": segment("market-data"), "region": ref("Region", region), "level": level}
            # The consolidated top of book comes from many venues and names none.
            attrs |= {} if level == 1 else {"venue": ref("Venue", venue)}
            made.append(entity("Feed", f"{venue}.L{level}", attrs, parents))
    return made


def instrument(
    name: str, asset_class: str, venue: str, position: int, strategies: list[dict[str, str]]
) -> list[Entity]:
    attrs = {
        "segment": segment("trading"),
        "assetClass": asset_class,
        "region": ref("Region", VENUES[venue][0]),
        "venue": ref("Venue", venue),
        # The last name of a longer list is on an insider list, the one before under research.
        "restriction": 3 if position == 7 else 2 if position == 6 else 0,
        "maxQty": 50_000 if position < 4 else 5_000,
    }
    parents = [*strategies, uid("Venue", venue)]
    thing = entity("Instrument", name, attrs, parents)
    if position == 5:
        thing["tags"] = {"embargo": "all" if venue == "XLON" else "machines", "isin": f"ZZ{position:010d}"}
    book = {
        "segment": segment("market-data"),
        "venue": ref("Venue", venue),
        "instrument": ref("Instrument", name),
    }
    return [thing, entity("OrderBook", name, book, parents)]


def people(chance: random.Random) -> list[Entity]:
    """Make teams, humans, and the accounts and rules that they look after."""
    teams = {
        "traders": ("trading", 24), "quants": ("trading", 12), "risk": ("trading", 8), "operations": ("settlement", 10),
        "compliance": ("customer", 10), "advisors": ("customer", 16), "it": ("general-it", 14),
    }  # fmt: skip
    made = [entity("Team", team) for team in (*teams, "trading-agents", "research-agents")]
    number = 0
    for team, (lies_in, size) in teams.items():
        for place in range(size):
            number += 1
            attrs = {
                "segment": segment(lies_in),
                "region": ref("Region", REGIONS[place % 4]),
                "clearance": 3 if place == 0 else 1 + place % 3,
                "quarantined": place == size - 1,
            }
            made.append(entity("Human", f"h{number}", attrs, [uid("Team", team)]))
    advisors = [one["uid"]["id"] for one in made if {"type": "Team", "id": "advisors"} in one["parents"]]
    region_of = {one["uid"]["id"]: one["attrs"].get("region") for one in made}
    for place in range(80):
        advisor = advisors[place % len(advisors)]
        attrs = {
            "segment": segment("customer"),
            # A few accounts have moved to another region than their advisors.
            "region": region_of[advisor] if place % 5 else ref("Region", chance.choice(REGIONS)),
            "advisor": ref("Human", advisor),
        }
        # Every fourth advisor has the same region, so these are colleagues at the same office.
        office = [one for one in advisors if region_of[one] == region_of[advisor] and one != advisor]
        if place % 8:
            attrs["deputies"] = [ref("Human", deputy) for deputy in office]
        if place % 4 == 0:
            attrs["vip"] = place % 8 == 0
        made.append(entity("CustomerAccount", f"c{place + 1}", attrs))
    compliance = [one["uid"]["id"] for one in made if {"type": "Team", "id": "compliance"} in one["parents"]]
    for place, name in enumerate(("trading-rules", "customer-rules", "settlement-rules")):
        stewards = [ref("Human", steward) for steward in compliance[place : place + 3]]
        made.append(entity("PolicySet", name, {"segment": segment("general-it"), "stewards": stewards}))
    return made


def programs() -> list[Entity]:
    """Make algorithms, agents, services, contracts and repositories."""
    made = []
    strategies = list(STRATEGIES)
    for number in range(1, 49):
        # a7 is the algorithm in all documentation.
        strategy = "eq-momentum-us" if number == 7 else strategies[number % len(strategies)]
        attrs = {
            "strategy": ref("Strategy", strategy),
            "region": ref("Region", STRATEGIES[strategy][1]),
            "maxNotional": (250_000, 1_000_000, 2_500_000)[number % 3],
            "maxQty": (1_000, 10_000, 60_000)[number % 3],
            "quarantined": number % 16 == 0,
        }
        if number == 7:
            attrs |= {"maxNotional": 1_000_000, "maxQty": 10_000}
        made.append(entity("Algo", f"a{number}", attrs, [uid("Strategy", strategy), uid("Segment", "trading")]))
    for number in range(1, 17):
        trading = number % 2 == 1
        attrs = {
            "segment": segment("trading" if trading else "customer"),
            "region": ref("Region", REGIONS[number % 4]),
            "model": f"model-{number % 3}",
            "quarantined": number == 15,
        }
        teams = [uid("Team", "trading-agents"), uid("Team", "quants")] if trading else [uid("Team", "research-agents")]
        made.append(entity("Agent", f"g{number}", attrs, teams))
    for number, lies_in in enumerate(("trading", "market-data", "customer", "settlement", "general-it") * 5):
        attrs = {
            "segment": segment(lies_in),
            "region": ref("Region", REGIONS[number // 5 % 4]),
            "quarantined": number == 24,
        }
        made.append(entity("Service", f"s{number + 1}", attrs))
    for number in range(1, 13):
        attrs = {
            "region": ref("Region", REGIONS[number % 4]),
            "audited": number % 3 != 0,
            "quarantined": number == 11,
        }
        made.append(entity("Contract", f"k{number}", attrs))
    for strategy in strategies:
        attrs = {"segment": segment("trading"), "owner": ref("Team", "quants"), "strategy": ref("Strategy", strategy)}
        made.append(entity("AlgoRepository", strategy, attrs))
    return made


def settlement(chance: random.Random) -> list[Entity]:
    """Make settlement instructions, entered by a person or bound to a contract."""
    made = []
    for number in range(1, 61):
        attrs: Entity = {
            "segment": segment("settlement"),
            "region": ref("Region", REGIONS[number % 4]),
            "amount": chance.choice((50_000, 750_000, 4_000_000, 25_000_000)),
            # A few settle after the weekend.
            "valueDate": {"__extn": {"fn": "datetime", "arg": "2026-11-23" if number % 15 == 0 else "2026-11-20"}},
        }
        if number // 4 % 2:
            # Contracts k1 to k12 and instructions alternate over the regions in the same order, so their regions agree.
            # A few instructions name a contract of the next region by mistake.
            attrs["contract"] = ref("Contract", f"k{(number + (number % 10 == 0)) % 12 or 12}")
        else:
            # Operations are the humans h45 to h54.
            attrs["enteredBy"] = ref("Human", f"h{45 + number % 10}")
        made.append(entity("Settlement::Instruction", f"i{number}", attrs))
    return made


def main() -> int:
    chance = random.Random(20)
    entities = [*market(), *people(chance), *programs(), *settlement(chance)]
    text = "[\n" + ",\n".join(json.dumps(one, sort_keys=True) for one in entities) + "\n]\n"
    if "--check" in sys.argv[1:]:
        return 0 if OUTPUT.is_file() and OUTPUT.read_text() == text else 1
    OUTPUT.write_text(text)
    print(f"{OUTPUT.name}: {len(entities)} entities")
    return 0


if __name__ == "__main__":
    sys.exit(main())
