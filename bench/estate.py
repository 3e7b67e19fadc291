"""Estates of any size: a firm's desks, algorithms, segments and instruments, and policies over them.

The policies are typical of a firm: most bind a desk to a segment with a limit, some name one algorithm, and some apply
to all principals and read attributes of either side. The same sizes always give the same estate.
"""

import random
from dataclasses import dataclass
from pathlib import Path

SCHEMA = """\
entity Desk;
entity Algo in [Desk] { region: String, level: Long };
entity Segment;
entity Instrument in [Segment] { region: String, sector: String, lot: Long };
action "order.new" appliesTo { principal: Algo, resource: Instrument, context: { qty: Long, notional: Long } };
action "order.cancel" appliesTo { principal: Algo, resource: Instrument, context: {} };
"""
REGIONS = ["emea", "amer", "apac"]
SECTORS = 40
#: The largest number of policies that apply to all principals: even a large firm has only hundreds of them.
GLOBAL = 200


@dataclass(frozen=True)
class Estate:
    """An estate, described by its sizes."""

    policies: int
    principals: int
    resources: int

    @property
    def desks(self) -> int:
        """The number of desks, for about ten policies each."""
        return max(1, min(self.policies // 10, self.principals))

    @property
    def segments(self) -> int:
        """The number of segments of the market."""
        return max(1, min(1_000, self.resources // 10))

    def algo(self, number: int) -> str:
        """Return the uid of an algorithm, by its number."""
        return f'Algo::"a{number}"'

    def instrument(self, number: int) -> str:
        """Return the uid of an instrument, by its number."""
        return f'Instrument::"i{number}"'

    def policy_text(self) -> str:
        """Write the policies in Cedar's syntax."""
        draw = random.Random(self.policies)
        shared = min(GLOBAL, self.policies // 10)
        single = self.policies // 10
        out = []
        for number in range(self.policies - shared - single):
            desk, segment = number % self.desks, draw.randrange(self.segments)
            action = "action" if number % 4 == 0 else 'action == Action::"order.new"'
            limit = f"context.qty <= {draw.randrange(1, 1_000) * 100}"
            when = "" if number % 4 == 0 else f" when {{ {limit} && context.notional < {draw.randrange(1, 50)}000000 }}"
            out.append(f'permit (principal in Desk::"d{desk}", {action}, resource in Segment::"s{segment}"){when};')
        for _ in range(single):
            algo, segment = draw.randrange(self.principals), draw.randrange(self.segments)
            out.append(
                f'permit (principal == {self.algo(algo)}, action == Action::"order.new", '
                f'resource in Segment::"s{segment}") when {{ context.qty <= {draw.randrange(1, 100)} }};'
            )
        for number in range(shared):
            sector, region = number % SECTORS, REGIONS[number % len(REGIONS)]
            when = [
                f'resource.sector == "sector{sector}" && principal.region == "{region}" && principal.level < 3',
                f'resource.sector == "sector{sector}" && context.qty > {50_000 + number}',
                f'resource.region == "{region}" && principal.level < {number % 3} && context.qty % 2 == 0',
                f"principal.level < 2 && resource.lot > {900 + number % 50}",
            ][number % 4].replace("context.qty % 2 == 0", "context.qty * 2 > 100000")
            out.append(f'forbid (principal, action == Action::"order.new", resource) when {{ {when} }};')
        return "\n".join(out) + "\n"

    def write_entities(self, path: Path) -> None:
        """Write the entities in Cedar's JSON."""
        draw = random.Random(self.principals)
        with path.open("w") as file:
            write = file.write
            write("[\n")
            for number in range(self.desks):
                write(f'{{"uid":{{"type":"Desk","id":"d{number}"}},"attrs":{{}},"parents":[]}},\n')
            for number in range(self.segments):
                write(f'{{"uid":{{"type":"Segment","id":"s{number}"}},"attrs":{{}},"parents":[]}},\n')
            for number in range(self.principals):
                write(
                    f'{{"uid":{{"type":"Algo","id":"a{number}"}},"attrs":{{"region":"{draw.choice(REGIONS)}",'
                    f'"level":{draw.randrange(10)}}},"parents":[{{"type":"Desk","id":"d{number % self.desks}"}}]}},\n'
                )
            for number in range(self.resources):
                end = "\n" if number == self.resources - 1 else ",\n"
                write(
                    f'{{"uid":{{"type":"Instrument","id":"i{number}"}},"attrs":{{"region":"{draw.choice(REGIONS)}",'
                    f'"sector":"sector{draw.randrange(SECTORS)}","lot":{draw.randrange(1000)}}},'
                    f'"parents":[{{"type":"Segment","id":"s{number % self.segments}"}}]}}{end}'
                )
            write("]\n")

    def write(self, folder: Path) -> None:
        """Write all three files, as ``ztfast compile`` reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "estate.cedarschema").write_text(SCHEMA)
        (folder / "estate.cedar").write_text(self.policy_text())
        self.write_entities(folder / "estate.entities.json")
