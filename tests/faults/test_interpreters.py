"""A second interpreter of a process cannot import ztfast and gets one sentence; the first interpreter goes on."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import sys
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    {first}
    second = interpreters.create()
    inside = '''
    import sys
    sys.path[:] = {path!r}
    for module in {modules!r}:
        try:
            __import__(module)
        except ImportError as error:
            print(module, "ImportError", error)
        else:
            print(module, "imported")
    '''
    import textwrap
    for _ in range(2):
        try:
            interpreters.run_string(second, textwrap.dedent(inside))
        except Exception as error:
            print(repr(error))
    sys.stdout.flush()
    interpreters.destroy(second)
    import ztfast
    engine = ztfast.Engine(ztfast.examples.tiny(), handles=64)
    print(engine.evaluate('User::"ann"', "view", 'Photo::"p1"').effect)
"""


@pytest.mark.parametrize("first", ["", "import ztfast"])
@pytest.mark.parametrize("modules", [["ztfast"], ["ztfast._core"], ["ztfast.gate"], ["ztfast.errors", "ztfast.uid"]])
def test_a_second_interpreter_is_refused_in_a_sentence(first: str, modules: list[str]) -> None:
    program = textwrap.dedent(PROGRAM).format(first=first, path=sys.path, modules=modules)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    *told, last = done.stdout.splitlines()
    assert last == "ALLOW"
    assert len(told) == 2 * len(modules), done.stdout
    for line in told:
        assert "ImportError" in line, told
        assert "interpreter" in line, told
