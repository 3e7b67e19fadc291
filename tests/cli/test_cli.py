"""The command line as a user runs it: real processes, their output and exit codes."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import ztfast
from tests.cli.running import Here
from tests.cli.running import here as run
from tests.cli.running import run as run_alone
from ztfast.bench.desk import DESK_MARKS, OTHER_GATES

ROOT = Path(__file__).resolve().parents[2]
DESK = ztfast.examples.desk()
SOURCES = [str(DESK / "policies"), "-s", str(DESK / "desk.cedarschema"), "-e", str(DESK / "desk.entities.json")]
BUY = ['Algo::"a7"', "order.new", 'Instrument::"AAPL"', "-c", "qty=100"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cli") / "desk.ztb"
    done = run("compile", *SOURCES, "-o", str(path))
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stdout.replace("\n", "")
    assert "policies left to Cedar's evaluator" in done.stdout
    return str(path)


def test_decide_tells_scripts_by_its_exit_code(bundle: str) -> None:
    allowed = run("decide", bundle, *BUY, "-c", "notional=250000")
    assert (allowed.returncode, allowed.stdout.split()[0]) == (0, "ALLOW")
    denied = run("decide", bundle, *BUY, "--context", '{"notional": 9000000}', "--json")
    assert denied.returncode == 3
    assert json.loads(denied.stdout)["reasons"] == ["firm-notional-cap", "algo-notional-cap", "implausible-price"]


def test_decimals_may_be_written_as_numbers(bundle: str) -> None:
    limits = ["-c", "notional=250000", "-c", "referencePrice=10.0", "-c"]
    assert run("decide", bundle, *BUY, *limits, "limitPrice=0.01").returncode == 0
    assert "no-penny-limits" in run("decide", bundle, *BUY, *limits, "limitPrice=0.0099").stdout


def test_explain_shows_the_policies_own_source(bundle: str) -> None:
    told = run("explain", bundle, *BUY, "-c", "notional=9000000")
    assert told.returncode == 3
    assert "limits.cedar" in told.stdout
    assert "context.notional > 5000000" in told.stdout
    told = run("explain", bundle, *BUY, "-c", "notional=250000", "--json")
    cedar = json.loads(told.stdout)
    assert told.returncode == 0
    assert cedar["agrees"] is True
    assert cedar["cedar"]["reasons"][0]["id"] == "algo-trades-its-strategy"
    assert "resource in principal.strategy" in cedar["cedar"]["reasons"][0]["source"]


def test_a_step_up_says_what_has_to_be_proved(bundle: str) -> None:
    proof = ["-c", "live.authAge=61s", "-c", 'live.factors=["fido2"]', "-c", "change.ticket=CHG-1"]
    request = [bundle, 'Human::"h55"', "rules.modify", 'PolicySet::"trading-rules"', *proof]
    for command in ("decide", "explain"):
        done = run(command, *request)
        assert done.returncode == 3
        first, second = done.stdout.splitlines()[:2]
        assert first == "STEP_UP  rules-need-a-fresh-key"
        assert second == "It would be ALLOW if the principal proved: fido2, no longer than 60 s ago"
        told = json.loads(run(command, *request, "--json").stdout)
        assert (told["decision"], told["advice"]) == ("STEP_UP", {"factors": ["fido2"], "max_age": 60})
    denied = run("decide", bundle, *BUY, "-c", "notional=9000000", "--json")
    assert json.loads(denied.stdout)["advice"] is None


def test_check_names_actions_and_what_is_left_to_cedar(bundle: str, tmp_path: Path) -> None:
    checked = run("check", bundle)
    assert checked.returncode == 0
    assert 'Action::"order.new"' in checked.stdout
    assert "none is left to Cedar" in checked.stdout
    (tmp_path / "slow.cedar").write_text(
        '@id("slow") permit (principal, action == Action::"repo.read", resource) when { ip(context.branch).isIpv4() };'
    )
    left = run("check", str(tmp_path / "slow.cedar"), "-s", str(DESK / "desk.cedarschema"), "--permissive", "--json")
    assert left.returncode == 0
    assert [policy["id"] for policy in json.loads(left.stdout)["fallbacks"]] == ["slow"]


def test_refused_policies_show_file_line_and_caret(tmp_path: Path) -> None:
    (tmp_path / "bad.cedar").write_text("permit (principal is Algo, action, resource)\nwhen { principal.cap > 1 };\n")
    done = run("compile", "bad.cedar", "-s", str(DESK / "desk.cedarschema"), "-o", "out.ztb", cwd=tmp_path)
    assert done.returncode == 1
    assert "bad.cedar:2" in done.stderr
    assert "^" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.ztb").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["decide", "missing.ztb", *BUY], 1, "missing.ztb"),
        (["decide", "README.md", *BUY], 1, "not a ztfast bundle"),
        (["compile", "nowhere.cedar", "-s", "x"], 1, "nowhere.cedar"),
        (["compile", "nowhere.cedar"], 2, "--schema"),
        (["check", "nowhere.cedar"], 2, "--schema"),
        (["decide", "{bundle}", 'Algo::"a7"', "order.nwe", 'Instrument::"AAPL"'], 1, "order.nwe"),
        (["decide", "{bundle}", *BUY], 1, "notional"),
        (["decide", "{bundle}", *BUY, "-c", "notional"], 2, "NAME=VALUE"),
        (["decide", "{bundle}", *BUY, "-c", "qty=2"], 2, "another -c"),
        (["decide", "{bundle}", *BUY, "--context", "{"], 2, "not JSON"),
        (["decide", "{bundle}", *BUY, "-c", "nothing=1"], 1, "nothing"),
        (["decide"], 2, "Missing argument"),
        (["nothing"], 2, "No such command"),
    ],
)
def test_what_fails_says_why_without_a_traceback(bundle: str, arguments: list[str], code: int, says: str) -> None:
    done = run(*(argument.replace("{bundle}", bundle) for argument in arguments), cwd=ROOT)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "option", [["-s", "x"], ["-e", "x"], ["--permissive"], ["--deny-warnings"]], ids=lambda option: option[0]
)
def test_options_for_sources_are_refused_beside_a_bundle(bundle: str, option: list[str]) -> None:
    done = run("check", bundle, *option)
    assert (done.returncode, done.stdout) == (2, "")
    assert "not for a bundle" in done.stderr


def test_a_bundle_does_not_seem_to_have_no_warnings(bundle: str) -> None:
    assert json.loads(run("check", bundle, "--json").stdout)["warnings"] is None
    assert json.loads(run("check", *SOURCES, "--json").stdout)["warnings"] == []


def test_errors_are_json_where_that_is_asked_for(bundle: str, tmp_path: Path) -> None:
    (tmp_path / "bad.cedar").write_text("permit (principal, action, resource)\nwhen { prncipal.cap > 1 };\n")
    sources = ["bad.cedar", "-s", str(DESK / "desk.cedarschema")]
    for command in (["compile", *sources], ["check", *sources]):
        done = run(*command, "--json", cwd=tmp_path)
        told = json.loads(done.stdout)
        assert (done.returncode, told["error"]["file"], told["error"]["line"]) == (1, "bad.cedar", 2)
        assert told["error"]["message"] == told["diagnostics"][0]["message"]
        assert told["error"]["message"] in done.stderr.replace("\n", "")
        assert "rendered" not in told["diagnostics"][0]
        assert run(*command, cwd=tmp_path).stdout == ""
    for arguments, code in (
        (["decide", bundle, *BUY, "-c", "notional=x"], 1),
        (["explain", bundle, *BUY, "-c", "notional"], 2),
        (["decide", bundle], 2),
        (["decide", bundle, *BUY, "--nothing"], 2),
        (["check", str(tmp_path / "missing.ztb")], 1),
    ):
        done = run(*arguments, "--json")
        told = json.loads(done.stdout)
        assert done.returncode == code
        assert done.stderr.endswith(f"error: {told['error']['message']}\n")
        assert (told["error"]["file"], told["error"]["line"], told["diagnostics"]) == (None, None, [])


def test_a_request_that_does_not_fit_says_why_and_no_policy_is_blamed(bundle: str) -> None:
    large = [bundle, *BUY, "-c", f"notional={10**20}"]
    other = [bundle, 'Venue::"XNAS"', *BUY[1:], "-c", "notional=1"]
    for request, code, says in ((large, "BAD_VALUE", "notional"), (other, "NOT_APPLICABLE", "Venue")):
        for command in ("decide", "explain"):
            done = run(command, *request)
            assert done.returncode == 3
            assert done.stdout.startswith(f"DENY  {code}\n")
            assert "does not fit the schema: " in done.stdout
            assert says in done.stdout
            assert "No permit applies" not in done.stdout
            assert "Determining" not in done.stdout
            told = json.loads(run(command, *request, "--json").stdout)
            assert told["code"] == code
            assert says in told["problem"]
        assert "No policy was judged" in run("explain", *request).stdout
    assert json.loads(run("decide", bundle, *BUY, "-c", "notional=1", "--json").stdout)["problem"] is None
    default = run("explain", bundle, 'Human::"nobody"', *BUY[1:], "-c", "notional=1")
    assert "No permit applies" in default.stdout


def test_what_the_store_lacks_is_said(bundle: str) -> None:
    mistyped = [bundle, *BUY[:2], 'Instrument::"APPL"', *BUY[3:], "-c", "notional=1"]
    nobody = [bundle, 'Human::"nobody"', *mistyped[2:]]
    for request, lacking in (
        ([bundle, *BUY, "-c", "notional=1"], []),
        (mistyped, ['Instrument::"APPL"']),
        (nobody, ['Human::"nobody"', 'Instrument::"APPL"']),
        ([bundle, 'Venue::"nowhere"', *BUY[1:], "-c", "notional=1"], []),
    ):
        for command in ("decide", "explain"):
            lines = run(command, *request).stdout.splitlines()
            assert lines[1 : 1 + len(lacking)] == [f"The store has no {uid}." for uid in lacking]
            assert sum("The store has no" in line for line in lines) == len(lacking)
            assert json.loads(run(command, *request, "--json").stdout)["missing"] == lacking


def test_explain_says_whether_cedar_agrees(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for notional, decision in ((1, "ALLOW"), (10**12, "DENY")):
        done = run("explain", bundle, *BUY, "-c", f"notional={notional}")
        assert done.stdout.endswith(f"Cedar agrees: {decision}.\n")
    assert "Cedar agrees" not in run("explain", bundle, 'Venue::"XNAS"', *BUY[1:], "-c", "notional=1").stdout
    monkeypatch.setattr(ztfast.Explanation, "agrees", False)
    done = run("explain", bundle, *BUY, "-c", "notional=1")
    assert done.returncode == 1
    assert "Cedar agrees" not in done.stdout
    assert "Cedar's decision differs" in done.stdout


def test_a_damaged_bundle_is_refused(bundle: str, tmp_path: Path) -> None:
    damaged = bytearray(Path(bundle).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.ztb").write_bytes(damaged)
    done = run("check", str(tmp_path / "damaged.ztb"))
    assert done.returncode == 1
    assert "damaged" in done.stderr


def test_the_demo_tells_its_story_and_measures() -> None:
    done = run("demo", "--requests", "5000", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert sum(row["count"] for row in told["segments"]) == 5000
    events = {event["event"].split()[0] + event["event"].split()[1]: event for event in told["events"]}
    assert events["swapto"]["before"].startswith("Decision(ALLOW")
    assert "incident-xnas" in events["swapto"]["then"]
    assert events["revokethe"]["then"] == events["revokethe"]["cancel"] == "Decision(DENY, REVOKED)"
    for scope in ('Venue::"XNAS"', 'Strategy::"eq-momentum-us"'):
        killed, released = events[f"kill{scope}"], events[f"release{scope}"]
        assert killed["then"] == released["before"] == "Decision(DENY, KILLED)"
        assert killed["before"].startswith("Decision(ALLOW")
        assert released["then"] == killed["before"]
        assert killed["cancel"].startswith("Decision(ALLOW")
    # The CA's new list ends a session; a renewed certificate opens another one beside the first, which ends by itself.
    listed = events["readCRL"]
    assert listed["principal"] == 'Algo::"a40"'
    assert listed["before"].startswith("Decision(ALLOW")
    assert listed["then"] == listed["cancel"] == "Decision(DENY, REVOKED)"
    identities = told["identities"]
    assert identities["admitted"] == 183
    assert 0 < identities["found_us"] < identities["verified_us"]
    assert [decision.split(",")[0] for decision in identities["while_both"]] == ["Decision(ALLOW"] * 2
    assert identities["after_the_first"][0] == "Decision(DENY, EXPIRED)"
    assert identities["after_the_first"][1].startswith("Decision(ALLOW")
    assert identities["refusal"].startswith("CredentialError revoked: ")
    assert sorted(told["latency"]["floors"]) == ["c_call_ns", "native_call_ns", "python_call_ns"]
    assert min(told["latency"]["floors"].values()) > 0
    decisions = {decision["key"]: decision["ns"] for decision in told["latency"]["decisions"]}
    assert {promise.series for promise in DESK_MARKS} <= set(decisions)
    assert min(decisions.values()) > 0
    assert told["latency"]["allows_ns"] == decisions["desk_order_2"]
    assert told["latency"]["single"]["p999_ns"] >= told["latency"]["single"]["p50_ns"] > 0
    text = run("demo", "--requests", "2000").stdout
    for shown in ("p99.9", "max", "empty C call", "empty Python call", "settlement", "algo-trades-its-strategy"):
        assert shown in text
    for shown in ("183 principals are admitted by their certificates", "EXPIRED", "it is not admitted any more: "):
        assert shown in text
    # Each gate's row has its figures from Python and natively.
    rows = {line.strip().split("  ")[0]: line.split()[-4:] for line in text.splitlines()}
    assert not any(row.startswith("native") for row in rows)
    for asked in OTHER_GATES:
        assert min(float(figure.replace(",", "")) for figure in rows[asked.name]) > 0


def test_the_readmes_commands_run_in_a_clean_checkout(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "build").mkdir()
    readme = (ROOT / "README.md").read_text()
    # The commands on a state act beside the authority that README.md shows, which starts when its bundle is there.
    authority = re.search(r"```python\n(import math\n.*?)```", readme, re.S)
    assert authority
    assert 'state="build/state"' in authority[1]
    (tmp_path / "authority.py").write_text(authority[1])
    running: list[subprocess.Popen[str]] = []
    said = ""
    blocks = re.findall(r"```console\n(.*?)```", readme, re.S)
    commands = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 5
    environment: dict[str, str] = {}
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "mkdir":
            subprocess.run([program, *arguments], cwd=tmp_path, check=True)
            continue
        if program == "export":
            environment |= [argument.split("=", 1) for argument in arguments]
            command_line = [sys.executable, "-u", "authority.py"]
            pipe = subprocess.PIPE
            running.append(subprocess.Popen(command_line, cwd=tmp_path, text=True, stdin=pipe, stdout=pipe))
            said = (running[0].stdout or io.StringIO()).readline()
            continue
        assert program == "ztfast"
        done = run_alone(*arguments, cwd=tmp_path, env=environment)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    bundle = ztfast.Bundle.load(tmp_path / "build" / "desk.ztb")
    engine = ztfast.Engine(bundle, state=tmp_path / "build" / "state", role="decide")
    with pytest.raises(ztfast.SessionError, match="revoked"):
        engine.session(int(said.rpartition(":")[2]))
    assert engine.kills() == []
    assert engine.market_state('Instrument::"AAPL"') == "halted"
    running[0].communicate("\n", timeout=60)
    assert running[0].returncode == 0


def test_the_example_entities_are_what_their_script_makes() -> None:
    script = ROOT / "examples" / "desk" / "make_entities.py"
    assert subprocess.run([sys.executable, str(script), "--check"]).returncode == 0


def test_a_base_makes_the_same_bundle(bundle: str, tmp_path: Path) -> None:
    again = tmp_path / "again.ztb"
    done = run("compile", *SOURCES, "-o", str(again), "--base", bundle)
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == Path(bundle).read_bytes()
    missing = run("compile", *SOURCES, "-o", str(again), "--base", str(tmp_path / "missing.ztb"))
    assert missing.returncode == 1
    assert "missing.ztb" in missing.stderr


def test_check_says_how_each_action_is_laid_out(bundle: str) -> None:
    told = run("check", bundle)
    assert told.returncode == 0
    assert "dense" in told.stdout
    assert "bytes per principal" in told.stdout
    actions = json.loads(run("check", bundle, "--json").stdout)["actions"]
    assert {action["action"] for action in actions} == set(ztfast.Bundle.load(bundle).actions)
    for action in actions:
        assert action["layers"], action
        assert {layer["form"] for layer in action["layers"]} <= {"dense", "rows", "sets"}


def test_a_forbid_that_errs_denies_if_that_is_wanted_and_check_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Here(monkeypatch, capsys).run
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.cedarschema").write_text(
        "entity User = { limit: Long };\n"
        "action go appliesTo { principal: User, resource: User, context: { qty: Long } };"
    )
    user = {"uid": {"type": "User", "id": "rich"}, "attrs": {"limit": 2**63 - 1}, "parents": []}
    (tmp_path / "e.json").write_text(json.dumps([user]))
    (tmp_path / "p.cedar").write_text(
        '@id("all") permit (principal, action, resource);\n'
        '@id("cap") forbid (principal, action, resource)\nwhen { context.qty > 5 && principal.limit * 2 < context.qty };\n'
    )
    sources = ["p.cedar", "-s", "s.cedarschema", "-e", "e.json"]
    request = ['User::"rich"', "go", 'User::"rich"', "-c", "qty=6"]
    message = 'policy `cap` errs for the principal User::"rich", if the conditions before are true'
    for flags, effect, row, code in ([], "is skipped", False, 0), (["--strict-errors"], "denies", True, 3):
        for command in (["compile", *sources, "-o", "b.ztb"], ["check", *sources]):
            done = run(*command, *flags)
            assert done.returncode == 0, done.stderr
            said = " ".join(done.stderr.split())
            assert message in said
            assert "p.cedar:3:27" in said
            assert "^^^^^^^^^^^^^^^^^^^" in said
            assert ("with strict errors, a forbid that errs denies" in said) == row
            assert re.search(f"a forbid that errs +{effect}", done.stdout), done.stdout
            told = json.loads(run(*command, *flags, "--json").stdout)
            assert told["strict_errors"] == row
            (warning,) = told["warnings"]
            assert (warning["message"], warning["line"], warning["column"]) == (message, 3, 27)
            assert run(*command, *flags, "--deny-warnings").returncode == 1
        assert json.loads(run("check", "b.ztb", "--json").stdout)["strict_errors"] == row
        assert re.search(f"a forbid that errs +{effect}", run("check", "b.ztb").stdout)
        assert run("decide", "b.ztb", *request).returncode == code
        explained = run("explain", "b.ztb", *request)
        assert "overflow" in explained.stdout
        assert ("Forbids with errors, which deny" in explained.stdout) == row
        assert ("Policies with errors, which do not apply" in explained.stdout) != row
    refused = run("check", "b.ztb", "--strict-errors")
    assert refused.returncode == 2
    assert "--strict-errors is for sources" in refused.stderr


def test_what_is_not_read_is_warned_of_and_may_be_denied(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "permit.cedar").write_text("permit (principal, action, resource);")
    (tmp_path / "policies" / "DENY.CEDAR").write_text("forbid (principal, action, resource);")
    sources = ["policies", "-s", str(DESK / "desk.cedarschema")]
    for command in (["compile", *sources, "-o", "out.ztb"], ["check", *sources]):
        done = run(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "policies/DENY.CEDAR: not read: DENY.CEDAR" in done.stderr
        told = run(*command, "--json", cwd=tmp_path)
        assert "not read: DENY.CEDAR" in told.stderr
        (warning,) = json.loads(told.stdout)["warnings"]
        assert (warning["file"], warning["severity"]) == ("policies/DENY.CEDAR", "warning")
        (tmp_path / "out.ztb").unlink(missing_ok=True)
        denied = run(*command, "--deny-warnings", cwd=tmp_path)
        assert denied.returncode == 1
        assert "policies/DENY.CEDAR: not read: DENY.CEDAR" in denied.stderr
        assert "refused: 1 warning" in denied.stderr
        assert not (tmp_path / "out.ztb").exists()
