"""The command line with hostile arguments, files and outputs: it ends with one sentence and the right exit code.

No text from outside is interpreted as markup or as an escape sequence: no id, file name, argument or message.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ztfast
from tests.cli.running import here
from tests.racing import Repeat

SCHEMA = """
entity U;
action a appliesTo { principal: U, resource: U, context: { deep?: { a: Long }, note?: String, n?: Long, "x=y"?: Long } };
"""
PERMIT = '@id("all") permit (principal, action, resource);'
WHO = ['U::"u"', "a", 'U::"v"']
HOSTILE = "[green]ALLOW[/green] :smile: \x1b[2J\x1b]0;title\x07 \u202eevil\u202c\nALLOW  FORBID\r\x9b1m\u2028\ufeff"


def run(
    *arguments: str | bytes, env: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": os.pathsep.join(sys.path), **(env or {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run([sys.executable, "-m", "ztfast.cli", *arguments], env=environment, timeout=120, **options)


def run_here(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command of which only the messages matter, and not the streams of a process."""
    done = here(*arguments)
    return subprocess.CompletedProcess(arguments, done.returncode, done.stdout.encode(), done.stderr.encode())


def shell(script: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script in which ``ztfast`` is the command line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHON": sys.executable}
    script = 'set -o pipefail; ztfast() { "$PYTHON" -m ztfast.cli "$@"; }; ' + script
    command = ["bash", "-c", script, "bash", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, timeout=120)


def compiled(policies: str, path: Path) -> str:
    ztfast.compile(ztfast.Text(policies), schema=ztfast.Text(SCHEMA), warnings="ignore").save(path)
    return str(path)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(PERMIT, tmp_path_factory.mktemp("edges") / "b.ztb")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a bundle with one policy that denies, whose id contains escape sequences, controls and markup."""
    id = json.dumps(HOSTILE, ensure_ascii=False)[1:-1]
    for char in "\x1b\x07\u202e\u202c\x9b\u2028\ufeff":
        id = id.replace(f"\\u{ord(char):04x}", char).replace(char, f"\\u{{{ord(char):x}}}")
    text = f'@id("{id}") @note("\x1b[2J[red]x[/red]") forbid (principal, action, resource) // \x1b[31m\u202e\n;'
    path = compiled(text, tmp_path_factory.mktemp("edges") / "hostile.ztb")
    assert ztfast.Bundle.load(path).policies[0].id == HOSTILE
    return path


def sentence(done: subprocess.CompletedProcess[bytes], code: int = 1) -> str:
    """Check that standard error has one sentence, and return it."""
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert "Traceback" not in said
    assert "this is a bug in ztfast" not in said
    assert said.startswith("error: "), said
    assert said.count("\n") == 1, said
    return said


def harmless(output: bytes) -> str:
    """Check that a terminal shows a text literally, and return it."""
    text = output.decode()
    unprintable = sorted({char for char in text if not char.isprintable() and char not in "\n\t"})
    assert unprintable == []
    return text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-c", "deep=1", "-c", "deep.a=2"], "another -c gives"),
        (["-c", "deep.a=2", "-c", "deep=1"], "another -c gives"),
        (["-c", "n=1", "-c", "n=2"], "another -c gives"),
        (["--context", '{"deep": 1}', "-c", "deep.a=2"], "deep was already given"),
        (["--context", '{"n": 1, "n": 2}'], '"n" is there twice'),
        (["--context", '{"deep": {"a": 1, "\\u0061": 2}}'], '"a" is there twice'),
        (["--context", '{"n": NaN}'], "NaN is not a JSON number"),
        (["--context", '{"n": -Infinity}'], "-Infinity is not a JSON number"),
        (["--context", "[]"], "wanted a JSON object"),
        (["--context", "null"], "wanted a JSON object"),
        (["--context", ""], "not JSON"),
        (["--context", '{"n": ' + "9" * 5000 + "}"], "not JSON"),
        (["--context", '{"n": ' + "[" * 30_000 + "]" * 30_000 + "}"], "nested too deeply"),
        (["-c", "deep=" + '{"a":' * 20_000 + "1" + "}" * 20_000], "nested too deeply"),
        (["-c", "n=" + "9" * 5000], "-c n=999"),
        (["-c", "n"], "NAME=VALUE"),
        (["-c", "=" * 50_000], "context attribute"),
        (["-c", ".".join("a" * 30_000) + "=1"], "a.a.a"),
        (["-c", "deep..a=1"], "deep..a"),
        (["-c", "nothing=1"], "nothing"),
        (["--context", '{"nothing\\n\\u001b[2J": 1}'], "nothing"),
    ],
)
def test_contexts_that_make_no_sense(bundle: str, options: list[str], says: str) -> None:
    # Attributes that the schema lacks are errors; options that contradict each other or cannot be read are wrong usage.
    lacking = ("context attribute", "a.a.a", "deep..a", "nothing")
    for command in ("decide", "explain"):
        said = sentence(run_here(command, bundle, *WHO, *options), 1 if says in lacking else 2)
        assert says in said
        harmless(said.encode())


def context_files(folder: Path) -> dict[str, tuple[Path, str]]:
    (folder / "folder").mkdir()
    (folder / "latin").write_bytes(b'{"note": "caf\xe9"}')
    (folder / "wide").write_bytes('{"n": 1}'.encode("utf-16"))
    (folder / "deep").write_text("[" * 100_000 + "]" * 100_000)
    (folder / "deep objects").write_text('{"deep":' * 100_000 + "1" + "}" * 100_000)
    (folder / "list").write_text("[1]")
    (folder / "nan").write_text('{"n": NaN}')
    (folder / "twice").write_text('{"n": 1, "n": 2}')
    (folder / "empty").write_text("")
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    says = {
        "missing": "No such file", "folder": "got a folder", "latin": "not UTF-8 at byte 13", "wide": "UTF-16",
        "deep": "nested too deeply", "deep objects": "nested too deeply", "list": "wanted a JSON object",
        "nan": "NaN is not a JSON number", "twice": '"n" is there twice', "empty": "not JSON", "pipe": "got a FIFO",
        "loop": "symbolic links",
    }  # fmt: skip
    return {name: (folder / name, text) for name, text in says.items()}


def test_context_files_that_make_no_sense(bundle: str, tmp_path: Path) -> None:
    for name, (path, says) in context_files(tmp_path).items():
        said = sentence(run_here("decide", bundle, *WHO, "--context-file", str(path)))
        assert says in said, name
        assert name in said


def test_contexts_from_files_and_standard_input(bundle: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b'\xef\xbb\xbf{"n": 1,\r\n"deep": {"a": 1}}')
    assert run("decide", bundle, *WHO, "--context-file", str(tmp_path / "c.json"), "-c", "deep.a=2").returncode == 0
    assert shell(f"echo '{{\"n\": 1}}' | ztfast decide '{bundle}' \"$@\" --context-file -", *WHO).returncode == 0
    said = sentence(shell(f"ztfast decide '{bundle}' \"$@\" --context-file - <&-", *WHO))
    assert "standard input: cannot read it: it is closed" in said
    # A value that is not JSON is a text, even a word that JSON parsers accept as a number.
    assert run("decide", bundle, *WHO, "-c", "note=NaN").returncode == 0
    assert run("decide", bundle, *WHO, "-c", "x=y=5").returncode == 0


WRITING = {
    "check": "ztfast check $B",
    "decide": 'ztfast decide $B "$@"',
    "decide --json": 'ztfast decide $B "$@" --json',
    "explain": 'ztfast explain $B "$@"',
    "compile": "ztfast compile $D/p.cedar -s $D/s.cedarschema -o $D/out.ztb",
    "help": "ztfast --help",
    "version": "ztfast --version",
}


@pytest.fixture
def sources(bundle: str, tmp_path: Path) -> str:
    """Make the files for the commands of ``WRITING``."""
    (tmp_path / "p.cedar").write_text(PERMIT)
    (tmp_path / "s.cedarschema").write_text(SCHEMA)
    return f"B='{bundle}'; D='{tmp_path}'; "


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("output", [">/dev/full", ">&-", "| true"])
def test_an_output_that_cannot_be_written_is_a_failure(sources: str, command: str, output: str) -> None:
    if output == "| true":
        # The reader is gone before anything is written.
        done = shell(f"{sources} {{ sleep 0.1; {WRITING[command]}; }} | true", *WHO)
    else:
        done = shell(f"{sources} {WRITING[command]} {output}", *WHO)
    said = sentence(done)
    says = {">/dev/full": "No space left", ">&-": "standard output is closed", "| true": "its reader is gone"}
    assert says[output] in said


def test_long_outputs_to_readers_that_leave(bundle: str, tmp_path: Path) -> None:
    many = "\n".join(f'@id("{"x" * 500}{n}") {PERMIT[11:]}' for n in range(2_000))
    path = compiled(many, tmp_path / "many.ztb")
    for option in ("", "--json"):
        for unbuffered in ("", "1"):
            script = f"export PYTHONUNBUFFERED={unbuffered}; ztfast explain '{path}' \"$@\" {option} | head -c 100"
            assert "its reader is gone" in sentence(shell(script, *WHO))


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-", "2>/dev/full"])
def test_other_streams_may_be_closed(sources: str, closed: str) -> None:
    for command in ("decide", "decide --json", "check", "compile"):
        assert shell(f"{sources} {WRITING[command]} {closed}", *WHO).returncode == 0
    assert shell(f'{sources} ztfast decide $D/missing.ztb "$@" {closed}', *WHO).returncode == 1
    assert shell(f"ztfast nothing {closed}").returncode == 2


LOCALES = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "POSIX"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1:strict"},
]


@pytest.mark.parametrize("env", LOCALES)
def test_letters_beyond_the_locales(tmp_path: Path, env: dict[str, str]) -> None:
    path = compiled(f'@id("größe-限度-🚀") {PERMIT[11:]}', tmp_path / "b.ztb")
    for command in (["decide", path, *WHO], ["explain", path, *WHO], ["check", path]):
        done = run(*command, env=env)
        assert done.returncode == 0, done.stderr
        told = run(*command, "--json", env=env)
        assert told.returncode == 0
        if command[0] != "check":
            assert json.loads(told.stdout)["reasons"] == ["größe-限度-🚀"]
            assert b"gr" in done.stdout


def test_arguments_that_are_no_text(bundle: str, tmp_path: Path) -> None:
    bad = b"\xff\xfe"
    who, action, what = (os.fsencode(text) for text in WHO)
    for arguments in (
        ["decide", bad, who, action, what], ["decide", bundle, bad, action, what],
        ["decide", bundle, b'U::"' + bad + b'"', action, what], ["decide", bundle, who, bad, what],
        ["decide", bundle, who, action, b'U::"' + bad + b'"'],
        ["decide", bundle, who, action, what, "-c", bad + b"=1"],
        ["explain", bundle, b'U::"' + bad + b'"', action, what], ["explain", bundle, who, bad, what],
        ["check", bad, "-s", bad], ["check", bad + b".ztb"], ["compile", bad, "-s", bad],
    ):  # fmt: skip
        # A uid that cannot be read is wrong usage.
        is_uid = arguments[1] == bundle and any(bad in os.fsencode(uid) for uid in arguments[2:5:2])
        harmless(sentence(run(*arguments), 2 if is_uid else 1).encode())
    harmless(sentence(run("decide", bundle, who, action, what, "--context", bad), 2).encode())
    # A value that no attribute can have is one that is denied.
    for options in (
        ["-c", b"note=" + bad],
        ["--context", b'{"note": "' + bad + b'"}'],
        ["--context", '{"note": "\\ud800"}'],
    ):
        done = run("decide", bundle, who, action, what, *options)
        assert (done.returncode, done.stderr) == (3, b"")
        decision, *lacking, problem = harmless(done.stdout).splitlines()
        assert (decision, lacking) == ("DENY  BAD_VALUE", [f"The store has no {uid}." for uid in WHO[::2]])
        assert problem.startswith("The request does not fit the schema: ")
        assert "note" in problem
    for arguments in ([bad], ["decide", b"--" + bad], ["demo", "--requests", bad]):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in harmless(done.stderr)
    # A path need not be text.
    path = os.fsencode(tmp_path) + b"/" + bad + b".ztb"
    Path(bundle).rename(os.fsdecode(path))
    try:
        assert run("decide", path, *WHO).returncode == 0
        assert run("check", path).returncode == 0
    finally:
        Path(os.fsdecode(path)).rename(bundle)


def processor_time(process: int) -> float:
    """Return the processor time of a process in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("arguments", [["demo", "-n", "5000000"], ["bench"]], ids=["demo", "bench"])
def test_ctrl_c_ends_a_command(arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "ztfast.cli", *arguments]
    # Programs that a shell starts in the background ignore SIGINT, and so would the command.
    running = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    # Until it is at its work: by the time of a processor, since a busy machine takes longer to get there.
    repeat = Repeat("a command at its work", limit=180)
    while repeat.until(processor_time(running.pid) >= 2.5):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.decode().splitlines()[-1] == "stopped"
    assert b"Traceback" not in said


def test_a_terminal_is_told_nothing_by_a_bundle(hostile: str) -> None:
    shown = r"[green]ALLOW[/green] :smile: \x1b[2J\x1b]0;title\x07 \u202eevil\u202c\nALLOW  FORBID\r\x9b1m\u2028\ufeff"
    for command in ("decide", "explain"):
        done = run(command, hostile, *WHO)
        assert done.returncode == 3
        assert done.stdout.splitlines()[0].decode() == f"DENY  FORBID  {shown}"
        harmless(done.stdout + done.stderr)
        told = run(command, hostile, *WHO, "--json")
        assert json.loads(told.stdout)["reasons"] == [HOSTILE]
        harmless(told.stdout)
    assert shown in harmless(run("explain", hostile, *WHO).stdout)


def test_a_terminal_gets_its_own_colours_only(hostile: str) -> None:
    """On a real terminal, the only escape sequences are those of ztfast."""
    master, slave = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "200"}
    done = run("explain", hostile, *WHO, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    output = b""
    while True:
        try:
            read = os.read(master, 65536)
        except OSError:
            break
        output += read
    os.close(master)
    assert done.returncode == 3
    assert b"\x1b[" in output
    assert b"\x1b[2J" not in output
    assert b"\x1b]0;" not in output
    assert "\u202e".encode() not in output
    assert b"[green]ALLOW[/green]" in output


def test_names_and_messages_are_no_markup_either(tmp_path: Path) -> None:
    name = "[red]x[bold]\n\x1b[2J\u202e.cedar"
    (tmp_path / "p").mkdir()
    (tmp_path / "s.cedarschema").write_text(SCHEMA)
    (tmp_path / "p" / name).write_text(PERMIT)
    (tmp_path / "p" / f"{name}.bak").write_text(PERMIT)
    compiling = ["p", "-s", "s.cedarschema", "-o", f"{name}.ztb"]
    done = run("compile", *compiling, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert r"p/[red]x[bold]\n\x1b[2J\u202e.cedar.bak: not read" in harmless(done.stderr)
    assert r"[red]x[bold]\n\x1b[2J\u202e.cedar.ztb" in harmless(done.stdout).replace("\n", "")
    for arguments in (["check", f"{name}.ztb"], ["check", "p", "-s", "s.cedarschema"]):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        harmless(done.stdout + done.stderr)
    for text in ("permit (\x1b[2J", 'permit (principal == U::"\x1b[2J\u202e', f"@id({json.dumps(name)}) permit ();"):
        (tmp_path / "p" / name).write_text(text)
        done = run("compile", *compiling, cwd=tmp_path)
        assert done.returncode == 1
        assert "refused: " in harmless(done.stderr)
    (tmp_path / "p" / name).write_text(f"{PERMIT} @id({json.dumps('a' + chr(10) + 'error: b')}) {PERMIT[11:]}" * 2)
    done = run("compile", *compiling, cwd=tmp_path)
    assert done.returncode == 1
    assert r"a\nerror: b" in harmless(done.stderr)
    assert "\nerror: b" not in done.stderr.decode()


def test_messages_about_arguments_are_no_markup(bundle: str) -> None:
    bad = "[red]x[/red]\x1b[2J\u202e\nerror: y"
    for arguments in (
        ["decide", bad, *WHO], ["decide", bundle, bad, "a", 'U::"v"'], ["decide", bundle, 'U::"u"', bad, 'U::"v"'],
        ["decide", bundle, *WHO, "-c", f"{bad}=1"], ["decide", bundle, *WHO, "-c", f"n={bad}"],
        ["decide", bundle, *WHO, "--context", bad], ["decide", bundle, *WHO, "--context-file", bad],
        ["decide", bundle, *WHO, "--context", json.dumps({bad: 1})], ["decide", bundle, *WHO, "--context", json.dumps({"n": bad})],
        ["check", f"{bad}.ztb"], ["compile", bad, "-s", bad], ["bench", "--compare", bad],
    ):  # fmt: skip
        done = run_here(*arguments)
        unreadable = (bad in arguments and "--context" in arguments) or arguments[:3] == ["decide", bundle, bad]
        said = harmless(sentence(done, 2 if unreadable else 1).encode())
        assert "[red]" in said or "not JSON" in said
    for arguments in ([bad], ["decide", f"--{bad}"], ["demo", "-n", bad]):
        done = run_here(*arguments)
        assert done.returncode == 2
        assert "\nerror: " in harmless(done.stderr)
        assert b"\nerror: y" not in done.stderr


def test_paths_that_are_no_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ztb")
    (tmp_path / "folder.ztb").mkdir()
    (tmp_path / "empty.ztb").write_bytes(b"")
    for name in ("pipe.ztb", "folder.ztb", "empty.ztb", "missing.ztb", "folder.ztb/missing.ztb"):
        for command in (
            ["decide", str(tmp_path / name), *WHO],
            ["explain", str(tmp_path / name), *WHO],
            ["check", str(tmp_path / name)],
        ):
            assert name in sentence(run_here(*command))
