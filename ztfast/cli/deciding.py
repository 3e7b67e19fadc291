"""``ztfast decide`` and ``ztfast explain``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.syntax import Syntax

from ztfast.bundle import Bundle
from ztfast.cli.contexts import read_context
from ztfast.cli.output import Json, block, console, json_out, say
from ztfast.engine import Engine
from ztfast.explanation import PolicyText
from ztfast.gate import Decision
from ztfast.uid import Uid

__all__ = ["decide_command", "explain_command"]

DENIED = 3

JUDGED = ("ALLOW", "FORBID", "STEP_UP", "DEFAULT")
"""The codes of decisions that policies made. Other requests are denied before any policy is judged."""

File = Annotated[Path, typer.Argument(help="The bundle (.ztb).", show_default=False)]
Principal = Annotated[str, typer.Argument(help="The principal's uid, for example 'Algo::\"a7\"'.", show_default=False)]
Action = Annotated[str, typer.Argument(help="The action, for example order.new.", show_default=False)]
ResourceUid = Annotated[str, typer.Argument(help="The resource's uid.", show_default=False)]
Context = Annotated[str | None, typer.Option("--context", help="The context, as JSON.")]
ContextFile = Annotated[
    Path | None, typer.Option("--context-file", help="A file with the context as JSON; - is standard input.")
]
Values = Annotated[
    list[str] | None,
    typer.Option(
        "-c",
        metavar="NAME=VALUE",
        help='An attribute of the context. The name is its path, as order.qty or exactly as ["order", "qty"]. '
        "A value that is not JSON is a text.",
    ),
]


def decide_command(
    bundle: File,
    principal: Principal,
    action: Action,
    resource: ResourceUid,
    context: Context = None,
    context_file: ContextFile = None,
    value: Values = None,
    as_json: Json = False,
) -> None:
    """Decide one request by policy alone. Exit code 0 is ALLOW, 3 is DENY or STEP_UP.

    [dim]ztfast decide desk.ztb 'Algo::"a7"' order.new 'Instrument::"AAPL"' -c notional=250000 -c qty=100[/]
    """
    engine = Engine(Bundle.load(bundle))
    values = read_context(engine, action, context, context_file, value)
    decision = engine.evaluate(principal, action, resource, values)
    problem = None if decision.code in JUDGED else engine.explain(principal, action, resource, values).problem
    if as_json:
        json_out({**shown(decision), "problem": problem, "missing": missing(engine, decision, principal, resource)})
    else:
        show(decision, problem, missing(engine, decision, principal, resource))
    raise typer.Exit(0 if decision else DENIED)


def explain_command(
    bundle: File,
    principal: Principal,
    action: Action,
    resource: ResourceUid,
    context: Context = None,
    context_file: ContextFile = None,
    value: Values = None,
    as_json: Json = False,
) -> None:
    """Explain a decision: show the engine's answer, Cedar's own answer, and the source of the determining policies.

    Exit code 0 is ALLOW, 3 is DENY or STEP_UP, and 1 is a disagreement between the two, which would be a bug.

    [dim]ztfast explain desk.ztb 'Algo::"a7"' order.new 'Instrument::"AAPL"' -c notional=9000000 -c qty=100[/]
    """
    engine = Engine(Bundle.load(bundle))
    told = engine.explain(principal, action, resource, read_context(engine, action, context, context_file, value))
    if as_json:
        json_out(
            {
                **shown(told.decision),
                "agrees": told.agrees,
                "cedar": {
                    "decision": "ALLOW" if told.allow else "DENY",
                    "reasons": [policy(text) for text in told.reasons],
                    "errors": [policy(text) for text in told.errors],
                },
                "problem": told.problem,
                "missing": missing(engine, told.decision, principal, resource),
            }
        )
    else:
        show(told.decision, told.problem, missing(engine, told.decision, principal, resource))
        judged = told.decision.code in JUDGED
        effect = "permits" if told.allow else "forbids"
        # With strict errors, forbids that erred are among those that determine the decision.
        determining = {text.policy.id for text in told.reasons}
        denying = [text for text in told.errors if text.policy.id in determining]
        skipped = [text for text in told.errors if text.policy.id not in determining]
        for heading, texts in (
            (f"Determining {effect}", told.reasons),
            ("Forbids with errors, which deny", denying),
            ("Policies with errors, which do not apply", skipped),
        ):
            if texts and judged:
                console.print()
                say((heading, "bold"))
                for text in texts:
                    show_policy(text)
        if not judged or not told.reasons:
            console.print()
            say("No permit applies, so the request is denied." if judged else "No policy was judged.")
        if told.agrees and judged:
            say(f"Cedar agrees: {'ALLOW' if told.allow else 'DENY'}.")
        if not told.agrees:
            say(("Cedar's decision differs. This is a bug in ztfast: please report it.", "bold red"))
    raise typer.Exit(1 if not told.agrees else 0 if told.decision else DENIED)


def shown(decision: Decision) -> dict[str, Any]:
    """Convert a decision for the JSON output."""
    advice = None if decision.advice is None else asdict(decision.advice)
    return {"decision": decision.effect, "code": decision.code, "reasons": list(decision.reasons), "advice": advice}


def missing(engine: Engine, decision: Decision, principal: str, resource: str) -> list[str]:
    """Return the uids of the request that the store lacks, which are often mistyped."""
    if decision.code == "NOT_APPLICABLE":
        return []
    return [str(uid) for uid in dict.fromkeys((Uid.parse(principal), Uid.parse(resource))) if not engine.knows(uid)]


def show(decision: Decision, problem: str | None, lacking: list[str]) -> None:
    """Print a decision, what the store lacks of the request, and why that does not fit the schema."""
    colour = "green" if decision else "yellow" if decision.advice is not None else "red"
    reasons = f"  {', '.join(decision.reasons)}" if decision.reasons else ""
    code = "" if decision.code == decision.effect else f"  {decision.code}"
    say((decision.effect, f"bold {colour}"), f"{code}{reasons}")
    for uid in lacking:
        say((f"The store has no {uid}.", "yellow"))
    if decision.advice is not None:
        factors = ", ".join(decision.advice.factors) or "any factor"
        age = "" if decision.advice.max_age is None else f", no longer than {decision.advice.max_age} s ago"
        say(("It would be ALLOW if the principal proved: ", "yellow"), f"{factors}{age}")
    if problem:
        say(("The request does not fit the schema: ", "yellow"), problem)


def policy(text: PolicyText) -> dict[str, Any]:
    """Convert a policy of an explanation for the JSON output."""
    return {**asdict(text.policy), "source": text.source, "error": text.error}


def show_policy(text: PolicyText) -> None:
    """Print a policy of an explanation, with its file, line and source."""
    say((text.policy.id, "cyan"), "  ", (f"{text.policy.file}:{text.policy.line}", "dim"))
    if text.error:
        say("  ", (text.error, "yellow"))
    # There is no highlighter for Cedar; its syntax is close to Rust's.
    source = block(text.source.strip())
    console.print(Syntax(source, "rust", theme="ansi_dark", background_color="default", word_wrap=True))
