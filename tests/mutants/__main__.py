"""Show that the tests find mistakes: ``make mutants``.

Each mutant is our own code with one mistake in it, of a kind that is easily made, or that was made once. A copy of the
project is built with it, and the fuzzer, or the tests that are named for it, must find it; one that is not found makes this
fail. Words as arguments choose mutants by their names or files.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from everyone import MUTANTS
from mutant import COPY, ROOT, Mutant, Rust


@dataclass(frozen=True)
class Result:
    """The outcome of a mutant: what found it, if anything did."""

    name: str
    file: str
    # None where nothing found it.
    found_by: str | None
    build_seconds: float
    find_seconds: float
    # Why it was not even looked for.
    error: str | None = None


def refresh() -> None:
    """Bring the copy to what this checkout has. What is the same stays untouched, and what is built of it, too."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    said = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    names = {name for name in said.split("\0") if name and (ROOT / name).is_file()}
    for name in names:
        text, copied = (ROOT / name).read_bytes(), COPY / name
        if not copied.is_file() or copied.read_bytes() != text:
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(text)
    for folder in ("src_ext", "ztfast", "tests"):
        for file in (COPY / folder).rglob("*"):
            if file.is_file() and str(file.relative_to(COPY)) not in names:
                file.unlink()


def alarms(mutants: list[Mutant]) -> list[str]:
    """Return what finds a mistake where none was made: it says nothing about mutants."""
    found = []
    for finder, suffix in dict.fromkeys((mutant.finder, Path(mutant.file).suffix) for mutant in mutants):
        finder.build(f"ztfast/sound{suffix}")
        if by := finder.finds():
            found.append(by)
            print(f"the sound code is found, too: by {by}", flush=True)
    return found


def examine(mutant: Mutant) -> Result:
    """Build a mutant, and look for it."""
    file = mutant.place(COPY)
    sound = file.read_text()
    began = built = time.monotonic()
    found, error = None, None
    try:
        file.write_text(mutant.mutated(sound))
        mutant.finder.build(mutant.file)
        built = time.monotonic()
        found = mutant.finder.finds()
    except (ValueError, RuntimeError, subprocess.TimeoutExpired) as failure:
        error = str(failure)
    finally:
        file.write_text(sound)
    took = time.monotonic() - built
    return Result(mutant.name, mutant.file, found, round(built - began, 1), round(took, 1), error)


def is_quick(mutant: Mutant) -> bool:
    """Return whether a mutant is built in seconds: whatever needs Cedar, or the engine, is not."""
    rust = mutant.file.endswith(".rs")
    return not rust or (isinstance(mutant.finder, Rust) and mutant.finder.file.startswith(("live/", "loom/", "pages/")))


def chosen(options: argparse.Namespace) -> list[Mutant]:
    """Return the mutants that the arguments choose."""
    words = options.words
    some = [one for one in MUTANTS if not words or any(word in one.name or word in one.file for word in words)]
    if options.quick:
        some = [one for one in some if is_quick(one)]
    if options.sample is not None:
        some = random.Random(options.seed).sample(some, min(options.sample, len(some)))
    return some


def print_table(results: list[Result]) -> None:
    """Print what became of each."""
    print(f"\n{'build':>7} {'find':>7}  mutant: found by")
    for one in results:
        print(f"{one.build_seconds:5.1f} s {one.find_seconds:5.1f} s  {one.name}: {one.found_by or 'NOT FOUND'}")
    alive = sum(one.found_by is None for one in results)
    print(f"{len(results) - alive} of {len(results)} mutants found")


def main() -> int:
    """Build each chosen mutant and look for it; return 1 if one of them lives."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="part of a mutant's name or of its file's")
    parser.add_argument("--quick", action="store_true", help="those only that are built in seconds")
    parser.add_argument("--sound", action="store_true", help="first see that the tests find nothing in the sound code")
    parser.add_argument("--sample", type=int, metavar="N", help="so many, chosen at random")
    parser.add_argument("--seed", default="", help="what they are chosen by: any text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, after each mutant")
    parser.add_argument("--resume", action="store_true", help="leave out those that were found by what --json names")
    options = parser.parse_args()
    if options.resume and not options.json:
        parser.error("--resume needs --json")
    mutants = chosen(options)
    if options.sample is not None:
        print(f"mutants: --sample {options.sample} --seed {options.seed!r}", flush=True)
    results: list[Result] = []
    if options.resume and options.json.is_file():
        results = [Result(**one) for one in json.loads(options.json.read_text()) if one["found_by"]]
        known = {one.name for one in results}
        mutants = [one for one in mutants if one.name not in known]
    refresh()
    if options.sound and alarms(mutants):
        return 1
    for mutant in mutants:
        result = examine(mutant)
        results.append(result)
        shown = f"found in {result.find_seconds:5.1f} s" if result.found_by else "NOT FOUND"
        print(f"{shown}: {mutant.name}" + (f"\n{result.error}" if result.error else ""), flush=True)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps([asdict(one) for one in results], indent=1) + "\n")
    shutil.rmtree(COPY / "build" / "failures", ignore_errors=True)
    print_table(results)
    return 1 if not results or any(one.found_by is None for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
