"""Limits of compiling: a schema that doubles, an endless hierarchy, a base with false data, a process without threads and
with little memory. Each is refused with a helpful message, or compiled, and the process can go on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time

import pytest

import ztfast

POLICY = ztfast.Text("permit (principal, action, resource);")


def doubling(steps: int) -> str:
    types = "".join(f"type T{n} = {{x: T{n + 1}, y: T{n + 1}}};" for n in range(steps))
    return f"{types} type T{steps} = {{x: Long}};"


def doubling_json(steps: int) -> str:
    def refer(n: int) -> dict[str, str]:
        return {"type": f"T{n}"}

    types = {
        f"T{n}": {"type": "Record", "attributes": {"x": refer(n + 1), "y": refer(n + 1)}} for n in range(steps)
    } | {f"T{steps}": {"type": "Long"}}
    return json.dumps({"": {"commonTypes": types, "entityTypes": {"E": {"shape": refer(0)}}, "actions": {}}})


ENTITY = "entity E; action go appliesTo {principal: E, resource: E};"
SCHEMAS = {
    "types": doubling(28) + ENTITY,
    "an-entity": doubling(25) + "entity E {a: T0, b: T0}; action go appliesTo {principal: E, resource: E};",
    "a-context": doubling(25) + "entity E; action go appliesTo {principal: E, resource: E, context: T0};",
    "tags": doubling(25) + "entity E tags T0; action go appliesTo {principal: E, resource: E};",
    "sets": "".join(f"type T{n} = {{x: Set<T{n + 1}>, y: Set<T{n + 1}>}};" for n in range(25))
    + f"type T25 = Long; {ENTITY}",
    "a-namespace": f"namespace A {{ {doubling(25)} }} {ENTITY}",
    "json": doubling_json(25),
    "json-without-end": doubling_json(4_000),
    "a-chain-of-types": "".join(f"type T{n} = {{x: T{n + 1}}};" for n in range(20_000))
    + f"type T20000 = Long; {ENTITY}",
    "entity-types": "".join(f"entity E{n} in [E{n + 1}];" for n in range(5_000)) + f"entity E5000; {ENTITY}",
    "action-groups": "".join(f"action a{n} in [a{n + 1}];" for n in range(5_000)) + f"action a5000; {ENTITY}",
}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schemas_that_become_too_large_are_refused_before_they_take_memory(kind: str) -> None:
    script = """
        import sys, time, ztfast
        text = sys.stdin.read()
        name = "s.json" if text.startswith("{") else "s.cedarschema"
        def peak():
            # Of this process alone: what getrusage says begins with the peak of the one that started it.
            return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
        before, began = peak(), time.process_time()
        try:
            ztfast.compile(ztfast.Text("permit (principal, action, resource);"), schema=ztfast.Text(text, name))
        except (ztfast.PolicyError, ztfast.CompileError) as error:
            print(error)
        else:
            raise SystemExit("compiled")
        assert time.process_time() - began < 20
        assert peak() - before < 300 << 10
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        input=SCHEMAS[kind],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "more than" in done.stdout
    assert "`" in done.stdout


def test_schemas_as_large_as_schemas_are_compile() -> None:
    schema = (
        doubling(9) + "entity E {a: T0}; action go appliesTo {principal: E, resource: E, context: {t: T2, u?: T3}};"
    )
    assert ztfast.compile(POLICY, schema=ztfast.Text(schema)).stats.policies == 1


def nested(depth: int) -> ztfast.Text:
    context = "{x: " * depth + "Long" + "}" * depth
    return ztfast.Text(f"entity E; action go appliesTo {{principal: E, resource: E, context: {context}}};")


@pytest.mark.parametrize("depth", [2, 20, 29])
def test_contexts_may_be_nested(depth: int) -> None:
    engine = ztfast.Engine(ztfast.compile(POLICY, schema=nested(depth)))
    value: object = 1
    for _ in range(depth):
        value = {"x": value}
    assert engine.evaluate('E::"a"', "go", 'E::"b"', value)


@pytest.mark.parametrize("depth", [32, 60, 200])
def test_contexts_nested_deeper_than_a_bundle_can_say_are_refused_by_the_compiler(depth: int) -> None:
    with pytest.raises(ztfast.CompileError, match="nested"):
        ztfast.compile(POLICY, schema=nested(depth))


def test_a_hierarchy_that_is_too_deep_takes_no_memory() -> None:
    script = """
        import resource, ztfast
        entities = [
            {"uid": {"type": "E", "id": f"{n}"}, "attrs": {}, "parents": [{"type": "E", "id": f"{n + 1}"}]}
            for n in range(60_000)
        ]
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
        try:
            ztfast.compile(
                ztfast.Text("permit (principal, action, resource);"),
                schema=ztfast.Text("entity E in [E]; action go appliesTo {principal: E, resource: E};"),
                entities=entities,
            )
        except ztfast.CompileError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120)
    assert "ancestors" in done.stdout, done.stderr[-2000:]


NO_THREADS = """
import os, resource, sys, ztfast
count, how = int(sys.argv[1]), sys.argv[2]
entities = [{"uid": {"type": "U", "id": f"{k}"}, "attrs": {}, "parents": []} for k in range(count)]
condition = "(" * 900 + "context.n > 1" + ")" * 900

def go():
    bundle = ztfast.compile(
        ztfast.Text(f"permit (principal, action, resource) when {{ {condition} }};"),
        schema=ztfast.Text("entity U; action go appliesTo { principal: U, resource: U, context: { n: Long } };"),
        entities=entities,
    )
    engine = ztfast.Engine(bundle, sessions=16, handles=16)
    engine.upsert([{"uid": {"type": "U", "id": f"{k}"}, "attrs": {}, "parents": []} for k in range(5_000)])
    assert engine.evaluate('U::"1"', "go", 'U::"2"', {"n": 2})
    assert engine.explain('U::"1"', "go", 'U::"2"', {"n": 2}).allow

if how == "threads":
    if os.geteuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    kind, less = resource.RLIMIT_NPROC, 0
else:
    size = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
    kind, less = resource.RLIMIT_AS, size + (150 << 20)
before = resource.getrlimit(kind)
resource.setrlimit(kind, (less, before[1]))
for _ in range(2):
    try:
        go()
        print("done")
    except ztfast.CompileError as error:
        print("refused:", error)
resource.setrlimit(kind, before)
go()
print("and again")
"""


@pytest.mark.parametrize("count", [3, 5_000, 60_000])
def test_without_threads_it_compiles_alike(count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_THREADS, str(count), "threads"], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split("\n")[:3] == ["done", "done", "and again"], done.stdout + done.stderr[-2000:]
    assert "panicked" not in done.stderr


def test_without_memory_for_a_stack_it_is_refused_and_goes_on_later() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_THREADS, "3", "memory"], capture_output=True, text=True, timeout=120
    )
    lines = done.stdout.split("\n")
    assert [line.split(":")[0] for line in lines[:3]] == ["refused", "refused", "and again"], done.stdout + done.stderr
    assert "stack" in lines[0]
    assert "panicked" not in done.stderr


def test_compiling_leaves_no_threads_behind(build) -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    build("permit (principal, action, resource);")
    before = threads()
    entities = [
        {"uid": {"type": "User", "id": f"{k}"}, "attrs": {"level": 1, "home": "z"}, "parents": []} for k in range(9_000)
    ]
    for _ in range(3):
        build("permit (principal, action, resource);", entities=entities)
    until = time.monotonic() + 5
    while threads() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threads() <= before


def test_an_action_that_applies_to_more_types_than_can_be_looked_at_is_refused() -> None:
    # Validation looks at each pair of types: two million took a gigabyte.
    names = [f"E{n}" for n in range(1_500)]
    every = ", ".join(names)
    schema = f"entity {every}; action view appliesTo {{ principal: [{every}], resource: [{every}] }};"
    with pytest.raises(ztfast.PolicyError, match=r"more than 1048576 pairs of a type of principals"):
        ztfast.compile(ztfast.Text("permit (principal, action, resource);"), schema=ztfast.Text(schema))
