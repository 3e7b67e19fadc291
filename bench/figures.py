"""Writes the desk's figures into README.md, from a result of ``ztfast bench --json``: ``make figures`` calls this.

What README.md shows of it is kept in ``docs/figures.json``, by which a test holds README.md.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

from ztfast.bench import BenchError, Report
from ztfast.bench.report import markdown

__all__ = ["KEPT", "README", "kept", "put", "refused", "section"]

ROOT = Path(__file__).parents[1]
README, KEPT = ROOT / "README.md", ROOT / "docs" / "figures.json"
BEGIN = "<!-- figures: begin (from docs/figures.json: `make figures` writes these lines) -->\n"
END = "<!-- figures: end -->\n"
FLOORS = ("c_call", "pointer_call")


def refused(report: Report) -> str | None:
    """Return why a run's figures are not shown to readers, if they are not."""
    if report.machine["build"] != "release":
        return "this is the run of a debug build: `make setup` installs the build that is shipped"
    if report.settings["quick"]:
        return "this is a quick run, whose figures are rough: leave out --quick"
    return None


def kept(report: Report) -> Report:
    """Return what README.md shows of a run, and what says how quiet the machine was."""
    system = re.sub(r"(\d+\.\d+)\S*", r"\1", report.machine["system"])
    return replace(
        report,
        machine={**report.machine, "system": system},
        floors=[of for of in report.floors if of.key in FLOORS],
        series=[of for of in report.series if of.workload == "desk"],
        tails=[],
        noise=replace(report.noise, curve=[]),
        marks=[],
    )


def section(report: Report) -> str:
    """Return the lines between the marks in README.md."""
    of, day = report.machine, report.machine["when"].partition("T")[0]
    return (
        f"{BEGIN}Measured on {day} with ztfast {of['ztfast']} and {of['python']}, on one of {of['cpus']} CPUs "
        f"({of['cpu']}, {of['system']}): medians of {report.settings['rounds']} rounds. The machine took "
        f"{report.noise.lost:.1%} of the time from a thread that only spins.\n\n{markdown(report)}{END}"
    )


def put(readme: str, lines: str) -> str:
    """Return a README.md with these lines in place of those from mark to mark.

    Raises:
        ValueError: if the marks are not there once.
    """
    start, end = readme.find(BEGIN), readme.find(END)
    if not 0 <= start < end or readme.count(BEGIN) > 1 or readme.count(END) > 1:
        raise ValueError(f"README.md: wanted, once and in this order:\n{BEGIN}{END}")
    return f"{readme[:start]}{lines}{readme[end + len(END) :]}"


def main() -> int:
    """Write the figures of a run into README.md and ``docs/figures.json``."""
    parser = argparse.ArgumentParser(prog="python -m bench.figures", description=__doc__)
    parser.add_argument("run", type=Path, metavar="FILE", help="a result of `ztfast bench --json`")
    try:
        report = Report.read(parser.parse_args().run)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    if why := refused(report):
        print(f"bench.figures: {why}", file=sys.stderr)
        return 1
    shown = kept(report)
    README.write_text(put(README.read_text(), section(shown)))
    KEPT.write_text(json.dumps(asdict(shown), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
