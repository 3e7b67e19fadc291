"""``ztfast compile`` and ``ztfast check``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from ztfast.bundle import Bundle, compile
from ztfast.cli.output import (
    Json,
    UsageError,
    block,
    console,
    errors,
    finding,
    json_out,
    number,
    say,
    size,
    table,
    working,
)

__all__ = ["check_command", "compile_command", "totals"]

MOST = 20
"""The warnings that are printed, unless all are asked for."""

Schema = Annotated[Path | None, typer.Option("--schema", "-s", help="The schema, in Cedar's syntax or JSON.")]
Entities = Annotated[Path | None, typer.Option("--entities", "-e", help="The entities, in Cedar's JSON.")]
Permissive = Annotated[bool, typer.Option(help="Compile policies that strict validation refuses, with warnings.")]
StrictErrors = Annotated[
    bool, typer.Option("--strict-errors", help="Let a forbid whose evaluation errs deny; Cedar skips it.")
]
All = Annotated[bool, typer.Option("--all", help=f"Print all warnings, not the first {MOST} only.")]
DenyWarnings = Annotated[bool, typer.Option("--deny-warnings", help="Turn warnings into errors.")]


def compile_sources(
    policies: list[Path],
    schema: Path,
    entities: Path | None,
    permissive: bool,
    deny_warnings: bool,
    strict_errors: bool,
    every: bool,
    base: Path | None = None,
    exempt: str | None = None,
) -> Bundle:
    """Compile the sources that the command line names, and print the first warnings, or every, on standard error."""
    with working() as progress:
        bundle = compile(
            policies,
            schema=schema,
            entities=entities,
            validate="permissive" if permissive else "strict",
            warnings="error" if deny_warnings else "ignore",
            base=None if base is None else Bundle.load(base),
            progress=progress,
            exempt=exempt,
            strict_errors=strict_errors,
        )
    shown = bundle.warnings if every else bundle.warnings[:MOST]
    for warning in shown:
        errors.print(Text(block(warning["rendered"].rstrip())), soft_wrap=True)
    if more := len(bundle.warnings) - len(shown):
        say(
            f"and {number(more)} more warning{'s' if more != 1 else ''}: --all prints them, --json lists them",
            to=errors,
        )
    return bundle


def needed(schema: Path | None) -> Path:
    """Return the schema, which sources need and a bundle does not."""
    if schema is None:
        raise UsageError("compiling needs a schema: add --schema FILE")
    return schema


def compile_command(
    policies: Annotated[list[Path], typer.Argument(help="Policy folders and files.", show_default=False)],
    schema: Schema = None,
    entities: Entities = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")] = Path("policies.ztb"),
    base: Annotated[Path | None, typer.Option(help="An older bundle, of which the unchanged parts are reused.")] = None,
    exempt: Annotated[
        str | None,
        typer.Option(
            help="The actions that the kill switch does not stop: an action, or a group of actions, "
            "as 'Action::\"reduce-risk\"' or 'Action::\"order.cancel\"'."
        ),
    ] = None,
    permissive: Permissive = False,
    strict_errors: StrictErrors = False,
    deny_warnings: DenyWarnings = False,
    every: All = False,
    as_json: Json = False,
) -> None:
    """Compile policies, a schema and entities into a bundle.

    Folders are searched for *.cedar, *.cedar.json (policies in JSON) and *.links.json (links of templates). A warning
    names each other file that looks like a policy. The bundle is written atomically: programs that have the old file
    open keep it.

    [dim]ztfast compile policies/ --schema desk.cedarschema --entities desk.entities.json -o desk.ztb[/]
    """
    bundle = compile_sources(
        policies, needed(schema), entities, permissive, deny_warnings, strict_errors, every, base, exempt
    )
    bundle.save(output)
    if as_json:
        json_out({"output": str(output), **summary(bundle)})
        return
    console.print(totals(bundle, f"{output}"))
    if bundle.fallbacks:
        say(
            (f"{len(bundle.fallbacks)} policies are left to Cedar's own evaluator", "yellow"),
            f": ztfast check {output} lists them",
        )


def check_command(
    sources: Annotated[list[Path], typer.Argument(help="A bundle (.ztb), or policy folders and files.")],
    schema: Schema = None,
    entities: Entities = None,
    permissive: Permissive = False,
    strict_errors: StrictErrors = False,
    deny_warnings: DenyWarnings = False,
    every: All = False,
    as_json: Json = False,
) -> None:
    """Check a bundle or sources, and show how each action was compiled.

    A bundle is read completely and its hashes are checked. Options for sources are refused beside it; a bundle does not
    keep the warnings of its compilation. The output lists the policies that are left to Cedar's own evaluator. Warnings
    tell which conditions always err, or err for entities of the store.

    [dim]ztfast check desk.ztb[/]
    """
    compiled_before = len(sources) == 1 and sources[0].suffix == ".ztb"
    if compiled_before:
        given = {
            "--schema": schema is not None,
            "--entities": entities is not None,
            "--permissive": permissive,
            "--strict-errors": strict_errors,
            "--deny-warnings": deny_warnings,
            "--all": every,
        }
        for option in (name for name, is_given in given.items() if is_given):
            why = (
                "a bundle does not keep the warnings"
                if option in ("--deny-warnings", "--all")
                else "a bundle is compiled already"
            )
            raise UsageError(f"{option} is for sources, not for a bundle: {why}; give it to `ztfast compile`")
        bundle = Bundle.load(sources[0])
        # Loading does not check all sections of a large file.
        bundle.check()
    else:
        bundle = compile_sources(sources, needed(schema), entities, permissive, deny_warnings, strict_errors, every)
    if as_json:
        warnings = {"warnings": None} if compiled_before else {}
        json_out({**summary(bundle), **warnings, "actions": [asdict(action) for action in bundle.stats.actions]})
        return
    console.print(totals(bundle, str(sources[0])))
    console.print()
    actions = table("Actions", "", "policies", "classes", "cells", "programs", "resolved", "left")
    for action in bundle.stats.actions:
        actions.add_row(
            action.action,
            number(action.policies),
            f"{number(action.principal_classes)} x {number(action.resource_classes)}",
            number(action.cells),
            number(action.programs),
            number(action.tabulated),
            number(action.residual),
        )
    console.print(actions)
    console.print()
    layers = table("Tables", "", "form", "policies", "classes", "bytes", "dense would be", right=2)
    for action in bundle.stats.actions:
        for layer in action.layers:
            layers.add_row(
                action.action,
                layer.form,
                number(layer.policies),
                f"{number(layer.principals)} x {number(layer.resources)}",
                size(layer.bytes),
                size(layer.dense_bytes),
            )
    console.print(layers)
    memory = bundle.stats.memory
    for note in (
        f"bytes per principal {memory.per_principal:,.0f}, per resource {memory.per_resource:,.0f}, "
        f"per policy {memory.per_policy:,.0f}",
        "entities: with the actions; classes: of principals x of resources that get the same decisions;",
        "cells: a table's entries for pairs of classes, of which each side has one more, to which no policy applies;",
        "resolved: conditions on both that the table answers; left: conditions that are checked on each decision",
    ):
        say((note, "dim"))
    console.print()
    if not bundle.fallbacks:
        say("All policies are compiled; none is left to Cedar's own evaluator.")
        return
    fallbacks = table("Left to Cedar's own evaluator (right, but slow)", "policy", "where", "why", right=3)
    for policy in bundle.fallbacks:
        fallbacks.add_row(policy.id, f"{policy.file}:{policy.line}", policy.fallback or "")
    console.print(fallbacks)


def summary(bundle: Bundle) -> dict[str, Any]:
    """Return a bundle's part of the JSON output."""
    stats = asdict(bundle.stats)
    del stats["actions"]
    return {
        "hash": bundle.hash,
        "strict": bundle.strict,
        "strict_errors": bundle.strict_errors,
        "stats": stats,
        "fallbacks": [asdict(policy) for policy in bundle.fallbacks],
        "warnings": [finding(warning) for warning in bundle.warnings],
    }


def totals(bundle: Bundle, title: str) -> Any:
    """Make the table of a bundle's totals."""
    stats = bundle.stats
    made = table(title, "", "")
    for name, value in (
        ("policies", number(stats.policies)),
        ("entities", number(stats.entities)),
        ("classes", number(stats.classes)),
        ("cells", number(stats.cells)),
        ("programs", number(stats.programs)),
        ("conditions left for decision time", number(stats.residual)),
        ("policies left to Cedar's evaluator", number(stats.fallbacks)),
        ("size", size(stats.bytes)),
        ("validated", "strictly" if bundle.strict else "permissively"),
        ("a forbid that errs", "denies" if bundle.strict_errors else "is skipped"),
        ("hash", bundle.hash[:16]),
    ):
        made.add_row(name, value)
    return made
