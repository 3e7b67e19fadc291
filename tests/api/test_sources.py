"""Sources of a compilation: no file of a folder is skipped silently, and every other source is read or refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ztfast
from ztfast import sources

SCHEMA = "entity U; action a appliesTo { principal: U, resource: U };"
PERMIT = "permit (principal, action, resource);"
FORBID = "forbid (principal, action, resource);"
SCOPE = {"principal": {"op": "All"}, "action": {"op": "All"}, "resource": {"op": "All"}, "conditions": []}
JSON_FORBID = {"effect": "forbid", **SCOPE}
SLOTS = {"principal": {"op": "==", "slot": "?principal"}, "action": {"op": "All"}, "resource": {"op": "All"}}
TEMPLATE = "forbid (principal == ?principal, action, resource);"


def compiled(*policies: Any, schema: Any = None, **options: Any) -> ztfast.Bundle:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = policies[0] if len(policies) == 1 else policies
        return ztfast.compile(given, schema=ztfast.Text(SCHEMA) if schema is None else schema, **options)


def forbids(bundle: ztfast.Bundle) -> bool:
    return decided(bundle).code == "FORBID"


def decided(bundle: ztfast.Bundle) -> ztfast.Decision:
    return ztfast.Engine(bundle, sessions=8, handles=8).evaluate('U::"u"', "a", 'U::"v"')


def said(bundle: ztfast.Bundle) -> list[str]:
    """Return the messages of the warnings."""
    return [warning["rendered"] for warning in bundle.warnings]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with one policy, which permits everything."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "permit.cedar").write_text(PERMIT)
    return folder


@pytest.fixture
def nobody() -> Iterator[None]:
    """Become a user without privileges, because root may read everything."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


def test_links_to_folders_are_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "deny.cedar").write_text(FORBID)
    (folder / "shared").symlink_to(tmp_path / "shared")
    bundle = compiled(folder)
    assert forbids(bundle)
    assert [Path(policy.file).relative_to(folder).as_posix() for policy in bundle.policies] == [
        "permit.cedar",
        "shared/deny.cedar",
    ]
    assert bundle.warnings == ()


def circles() -> dict[str, Callable[[Path], str]]:
    def itself(folder: Path) -> str:
        (folder / "loop").symlink_to(".")
        return "loop"

    def above(folder: Path) -> str:
        (folder / "up").symlink_to("..")
        return "up"

    def root(folder: Path) -> str:
        (folder / "all").symlink_to("/")
        return "all"

    def each_other(folder: Path) -> str:
        (folder / "x").mkdir()
        (folder / "y").mkdir()
        (folder / "x" / "to").symlink_to("../y")
        (folder / "y" / "to").symlink_to("../x")
        return "to"

    def nowhere(folder: Path) -> str:
        (folder / "a.cedar").symlink_to("b.cedar")
        (folder / "b.cedar").symlink_to("a.cedar")
        return "a.cedar"

    return {make.__name__: make for make in (itself, above, root, each_other, nowhere)}


@pytest.mark.parametrize("make", circles().values(), ids=circles())
def test_circles_are_refused_and_their_link_is_named(folder: Path, make: Callable[[Path], str]) -> None:
    name = make(folder)
    with pytest.raises(ztfast.SourceError, match=rf"{name}.*circle"):
        compiled(folder)


def test_many_ways_to_one_folder_are_walked_once(folder: Path) -> None:
    for step in range(40):
        here = folder / f"d{step}"
        here.mkdir()
        if step < 39:
            (here / "a").symlink_to(f"../d{step + 1}")
            (here / "b").symlink_to(f"../d{step + 1}")
    (folder / "d39" / "deny.cedar").write_text(FORBID)
    bundle = compiled(folder)
    assert [policy.file for policy in bundle.policies] == [
        str(folder / "d39" / "deny.cedar"),
        str(folder / "permit.cedar"),
    ]


def test_a_config_map_is_read_each_file_once_by_its_visible_name(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    data = mount / "..2026_11_27_03_38_00.123"
    (data / "sub").mkdir(parents=True)
    for name, text in (("permit.cedar", PERMIT), ("deny.cedar", FORBID), ("sub/more.cedar", FORBID)):
        (data / name).write_text(text)
    (mount / "..data").symlink_to(data.name)
    for name in ("permit.cedar", "deny.cedar", "sub"):
        (mount / name).symlink_to(f"..data/{name}")
    bundle = compiled(mount, warnings="error")
    assert [policy.file for policy in bundle.policies] == [
        str(mount / name) for name in ("deny.cedar", "permit.cedar", "sub/more.cedar")
    ]
    # One that has no visible name is not read, and that is said.
    (data / "lost.cedar").write_text(FORBID)
    told = said(compiled(mount))
    assert any("not read" in text and "lost.cedar" in text for text in told)


def test_a_config_map_that_is_swapped_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = tmp_path / "mount"
    for version, policy in (("..1", PERMIT), ("..2", FORBID)):
        (mount / version).mkdir(parents=True)
        for name in ("a.cedar", "b.cedar"):
            (mount / version / name).write_text(policy)
    (mount / "..data").symlink_to("..1")
    for name in ("a.cedar", "b.cedar"):
        (mount / name).symlink_to(f"..data/{name}")
    read = sources._content

    def swapping(found: Any) -> Any:
        content = read(found)
        (mount / "..next").symlink_to("..2")
        os.replace(mount / "..next", mount / "..data")
        return content

    monkeypatch.setattr(sources, "_content", swapping)
    with pytest.raises(ztfast.SourceError, match=r"b\.cedar.*changed"):
        compiled(mount)


def between(folder: Path) -> dict[str, Callable[[], object]]:
    """Return the changes that may happen to a folder between its listing and its reading."""
    deny = folder / "sub" / "deny.cedar"
    return {
        "gone": deny.unlink,
        "moved": lambda: deny.rename(folder / "moved.cedar"),
        "cut": lambda: deny.write_text(""),
        "added": lambda: (folder / "new.cedar").write_text(FORBID),
    }


@pytest.mark.parametrize("change", ["gone", "moved", "cut", "added"])
def test_a_folder_that_changes_while_it_is_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "deny.cedar").write_text(FORBID)
    for path in (folder, folder / "sub"):
        os.utime(path, (1, 1))
    find = sources.find

    def changing(path: str) -> Any:
        found = find(path)
        between(folder)[change]()
        return found

    monkeypatch.setattr(sources, "find", changing)
    with pytest.raises(ztfast.SourceError, match="compile again"):
        compiled(folder)


def test_links_that_lead_nowhere_are_refused(folder: Path) -> None:
    (folder / "deny.cedar").symlink_to("gone.cedar")
    with pytest.raises(ztfast.SourceError, match=r"deny\.cedar: the link to gone\.cedar"):
        compiled(folder)
    (folder / "deny.cedar").unlink()
    (folder / "shared").symlink_to("/nonexistent/shared")
    with pytest.raises(ztfast.SourceError, match=r"shared: the link to /nonexistent/shared"):
        compiled(folder)


@pytest.mark.usefixtures("nobody")
def test_what_may_not_be_read_is_refused() -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        (folder / "permit.cedar").write_text(PERMIT)
        (folder / "closed").mkdir(0o000)
        with pytest.raises(ztfast.SourceError, match=r"closed: cannot read the folder: Permission denied"):
            compiled(folder)
        (folder / "closed").chmod(0o700)
        (folder / "closed" / "deny.cedar").write_text(FORBID)
        (folder / "closed").chmod(0o400)
        with pytest.raises(ztfast.SourceError, match=r"deny\.cedar: cannot read it: Permission denied"):
            compiled(folder)
        (folder / "closed").chmod(0o700)
        (folder / "closed" / "deny.cedar").chmod(0o000)
        with pytest.raises(ztfast.SourceError, match=r"deny\.cedar: cannot read it: Permission denied"):
            compiled(folder)
        (folder / "closed" / "deny.cedar").chmod(0o600)
        (folder / ".hidden").mkdir(0o000)
        assert any(".hidden" in text for text in said(compiled(folder)))
    finally:
        for path in (folder / "closed", folder / ".hidden"):
            if path.exists():
                path.chmod(0o700)
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["deny.cedar", "deny.cedar.json", "deny.links.json"])
@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_what_is_named_as_a_policy_and_is_no_file_is_refused(
    folder: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    if kind == "fifo":
        os.mkfifo(name)
    elif kind == "socket":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(name)
        listener.close()
    else:
        os.symlink("/dev/null", name)
    for source in (folder, folder / name):
        with pytest.raises(ztfast.SourceError, match=rf"(?i){name}: wanted a file; got a {kind}"):
            compiled(source)


NOT_READ = [
    "DENY.CEDAR",
    "Deny.Cedar",
    "deny.cedaR.json",
    "deny.LINKS.json",
    "deny.json",
    "DENY.JSON",
    "deny.cedar.txt",
    "deny.cedar.md",
    "deny.cedar~",
    "deny.cedar.bak",
    "deny.cedar.orig",
    "deny.cedar.disabled",
    "deny.cedar.swp",
    ".deny.cedar.swp",
    ".deny.cedar",
    ".deny.links.json",
    "#deny.cedar#",
    "deny.cedar ",
    "deny.ced\u0430r",  # a Cyrillic letter
    "deny.ceda",
    "deny.policy",
    "deny.txt",
    "deny",
    "cedar",
]


@pytest.mark.parametrize("name", NOT_READ)
def test_what_looks_like_a_policy_and_is_not_read_is_warned_of(folder: Path, name: str) -> None:
    (folder / name).write_text(FORBID)
    with pytest.warns(ztfast.PolicyWarning, match="not read"):
        bundle = ztfast.compile(folder, schema=ztfast.Text(SCHEMA))
    assert not forbids(bundle)
    (warning,) = bundle.warnings
    assert warning["severity"] == "warning"
    assert warning["file"] == str(folder / name)
    assert f"not read: {name}" in warning["rendered"]
    with pytest.raises(ztfast.PolicyError, match="not read") as refused:
        ztfast.compile(folder, schema=ztfast.Text(SCHEMA), warnings="error")
    assert refused.value.diagnostics == [warning]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ztfast.compile(folder, schema=ztfast.Text(SCHEMA), warnings="ignore").warnings == (warning,)


def test_what_is_obviously_no_policy_is_not_warned_of(folder: Path, tmp_path: Path) -> None:
    for name in (
        "README.md", "README", "LICENSE.txt", "desk.cedarschema", "desk.cedarschema.json", "desk.entities.json",
        "entities.json", "schema.json", ".gitignore", ".editorconfig", "Makefile", "limits.toml", "desk.ztb",
    ):  # fmt: skip
        (folder / name).write_text("something else")
    (folder / "my.schema").write_text(SCHEMA)
    (folder / "people.json").write_text("[]")
    bundle = ztfast.compile(folder, schema=folder / "my.schema", entities=str(folder / "people.json"), warnings="error")
    assert bundle.stats.policies == 1
    # A file that is named explicitly is read, whatever its suffix.
    (folder / "my.deny").write_text(FORBID)
    assert forbids(compiled(folder, folder / "my.deny", schema=folder / "my.schema", warnings="ignore"))


@pytest.mark.parametrize("hidden", [".git", ".history", ".ipynb_checkpoints", "..old"])
def test_hidden_folders_are_not_read_and_warned_of_if_they_hold_policies(folder: Path, hidden: str) -> None:
    (folder / hidden / "deep").mkdir(parents=True)
    (folder / hidden / "deep" / "config").write_text("nothing")
    assert compiled(folder).warnings == ()
    (folder / hidden / "deep" / "stale.cedar").write_text("@id('stale') permit (principal, action, resource);")
    bundle = compiled(folder)
    assert [policy.file for policy in bundle.policies] == [str(folder / "permit.cedar")]
    (text,) = said(bundle)
    assert f"not read: {hidden}/" in text
    assert "deep/stale.cedar" in text


def test_a_folder_without_policies_says_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "DENY.CEDAR").write_text(FORBID)
    with pytest.raises(ztfast.SourceError, match=r"the folder has no policies.*not read: .*DENY\.CEDAR"):
        compiled(tmp_path)


def test_json_is_read_from_a_folder_as_from_a_file(folder: Path) -> None:
    (folder / "one.cedar.json").write_text(json.dumps(JSON_FORBID))
    assert forbids(compiled(folder))
    assert forbids(compiled(folder / "one.cedar.json", folder / "permit.cedar"))
    policy_set = {
        "staticPolicies": {"deny": JSON_FORBID},
        "templates": {"t": {"effect": "forbid", **SLOTS, "conditions": []}},
        "templateLinks": [{"templateId": "t", "newId": "l", "values": {"?principal": {"type": "U", "id": "u"}}}],
    }
    (folder / "one.cedar.json").write_text(json.dumps(policy_set))
    for bundle in (
        compiled(folder, warnings="error"),
        compiled(folder / "permit.cedar", folder / "one.cedar.json"),
        compiled(ztfast.Text(PERMIT), policy_set),
    ):
        decision = decided(bundle)
        assert (bool(decision), decision.reasons) == (False, ("deny", "l"))
    (folder / "one.cedar.json").write_text(json.dumps({**policy_set, "staticPolicies": {}, "templateLinks": []}))
    (folder / "two.links.json").write_text(
        json.dumps([{"template_id": "t", "link_id": "l", "args": {"?principal": 'U::"u"'}}])
    )
    assert forbids(compiled(folder, warnings="error"))


def test_a_template_that_is_never_linked_is_warned_of(folder: Path) -> None:
    (folder / "deny.cedar").write_text(f'\n@id("deny-one")\n{TEMPLATE}')
    (warning,) = compiled(folder).warnings
    assert (warning["file"], warning["line"]) == (str(folder / "deny.cedar"), 2)
    assert "`deny-one` is never linked" in warning["message"]
    with pytest.raises(ztfast.PolicyError, match="never linked"):
        compiled(folder, warnings="error")
    (folder / "deny.cedar").write_text("// cut short")
    (warning,) = compiled(folder).warnings
    assert "no policy in this file" in warning["message"]


def test_warnings_are_errors_over_a_base_too(folder: Path) -> None:
    impossible = (
        "forbid (principal, action, resource) when { principal == resource && principal != resource && false };"
    )
    (folder / "deny.cedar").write_text(impossible)
    base = compiled(folder)
    assert base.warnings
    with pytest.raises(ztfast.PolicyError):
        compiled(folder, base=base, warnings="error")
    with pytest.raises(ztfast.ArgumentError, match="'error' or 'warn' or 'ignore'; got str 'loud'"):
        compiled(folder, warnings="loud")


def test_ids_used_in_two_files_are_refused(folder: Path) -> None:
    for name in ("a.cedar", "b.cedar"):
        (folder / name).write_text(f'@id("same") {FORBID}')
    with pytest.raises(ztfast.PolicyError) as refused:
        compiled(folder)
    (found,) = refused.value.diagnostics
    places = " and ".join(f"{folder / name}:1" for name in ("a.cedar", "b.cedar"))
    assert found["message"] == f"duplicate policy id `same`: {places}"


def test_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    names = ["z.cedar", "a/z.cedar", "a.cedar", "B.cedar", "a/b/c.cedar", "a-b.cedar"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'@id("{name}") {PERMIT}')
    expected = ["B.cedar", "a/b/c.cedar", "a/z.cedar", "a-b.cedar", "a.cedar", "z.cedar"]
    assert [policy.id for policy in compiled(tmp_path).policies] == expected
    given = {str(tmp_path / name) for name in names}
    assert [policy.id for policy in compiled(given).policies] == sorted(names)


def test_a_file_that_is_given_twice_is_read_once(folder: Path) -> None:
    (folder / "again").symlink_to("permit.cedar")
    (folder / "also.cedar").symlink_to("permit.cedar")
    bundle = compiled(folder, folder / "permit.cedar", folder, str(folder / "also.cedar"))
    assert [policy.file for policy in bundle.policies] == [str(folder / "permit.cedar")]


def test_file_names_that_are_no_text_are_read_and_shown(folder: Path) -> None:
    name = os.fsencode(folder) + b"/deny\xff\n\x1b[2J.cedar"
    with open(name, "wb") as file:
        file.write(FORBID.encode())
    bundle = compiled(folder)
    assert forbids(bundle)
    with open(name, "wb") as file:
        file.write(b"forbid (")
    with pytest.raises(ztfast.PolicyError, match=r"deny\\xff\\n\\u\{1b\}\[2J\.cedar"):
        compiled(folder)
    with open(name, "wb") as file:
        file.write(b"\xff")
    with pytest.raises(ztfast.SourceError, match=r"deny\\xff\\n\\x1b\[2J\.cedar: not UTF-8 at byte 0"):
        compiled(folder)


@pytest.mark.parametrize("written", [b"\xef\xbb\xbf", b"\r\n\r\n", b"// a\r", b"\xef\xbb\xbf// b\r\n"])
def test_marks_and_line_ends_of_other_systems_are_read_over(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "deny.cedar").write_bytes(written + FORBID.replace(" ", "\r\n").encode() + b"\r\n")
    (tmp_path / "s.cedarschema").write_bytes(written + SCHEMA.replace(" ", "\r\n").encode())
    (tmp_path / "e.json").write_bytes(b"\xef\xbb\xbf[]\r\n")
    assert forbids(compiled(tmp_path, schema=tmp_path / "s.cedarschema", entities=tmp_path / "e.json"))
    text = (tmp_path / "deny.cedar").read_bytes().decode()
    assert forbids(compiled(ztfast.Text(text)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_refused_with_a_hint(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "deny.cedar").write_bytes(FORBID.encode(encoding))
    with pytest.raises(ztfast.SourceError, match=r"deny\.cedar: the file looks like UTF-16: save it as UTF-8"):
        compiled(tmp_path)


class Odd(os.PathLike[Any]):
    def __init__(self, path: Any) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        return self.path


JSON_SCHEMA = {
    "": {
        "entityTypes": {"U": {}},
        "actions": {"a": {"appliesTo": {"principalTypes": ["U"], "resourceTypes": ["U"]}}},
    }
}


def test_sources_of_every_kind_are_taken(folder: Path) -> None:
    (folder / "permit.cedar").write_text(FORBID)
    path = folder / "permit.cedar"
    with path.open() as text, path.open("rb") as binary:
        for policies in (
            str(path), path, Odd(str(path)), Odd(os.fsencode(path)), [path], (str(path),), iter([path]), text, binary,
            io.StringIO(FORBID), io.BytesIO(FORBID.encode()), JSON_FORBID, [JSON_FORBID], ztfast.Text(FORBID),
        ):  # fmt: skip
            assert forbids(compiled(policies))
    user = {"uid": {"type": "U", "id": "u"}, "attrs": {}, "parents": []}
    for entities in (
        None, [], (), [user], (one for one in [user]), user, ztfast.Text(json.dumps([user])), io.StringIO("[]"),
    ):  # fmt: skip
        assert compiled(ztfast.Text(PERMIT), schema=JSON_SCHEMA, entities=entities).stats.policies == 1
    engine = ztfast.Engine(compiled(ztfast.Text(PERMIT), schema=io.StringIO(SCHEMA)), sessions=8, handles=8)
    engine.upsert(one for one in [user])
    engine.upsert(user)
    assert engine.resources("a") == [ztfast.Uid("U", "u")]


def used(text: str) -> io.StringIO:
    file = io.StringIO(text)
    file.read()
    return file


class Broken:
    def read(self) -> str:
        raise OSError(5, "the disk is gone")


def closed() -> io.StringIO:
    file = io.StringIO("")
    file.close()
    return file


def endless() -> list[Any]:
    loop: list[Any] = []
    loop.append({"uid": loop})
    return loop


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        (PERMIT, r"ztfast\.Text\(\.\.\.\)"),
        (PERMIT + "\n" * 5000, r"ztfast\.Text\(\.\.\.\)"),
        ([PERMIT], r"ztfast\.Text\(\.\.\.\)"),
        ("x" * 5000, "cannot read it: File name too long"),
        ("a\0b", "wanted"),
        ("", "wanted"),
        (b"permit (principal, action, resource);", r"ztfast\.Text\(text\.decode\(\)\)"),
        (bytearray(b""), "wanted"),
        (memoryview(b""), "wanted"),
        (None, "got None"),
        (5, "got int 5"),
        (1.5, "wanted"),
        (object(), "wanted"),
        ([None], "got None"),
        ([[PERMIT]], "wanted"),
        ([], "nothing to compile"),
        (Odd(5), "wanted"),
        (Odd(None), "wanted"),
        (ztfast.Text(b"permit"), "two str"),  # type: ignore[arg-type]
        (ztfast.Text(PERMIT, 5), "two str"),  # type: ignore[arg-type]
        (ztfast.Text("\ud800"), "surrogate"),
        (used(PERMIT), "seek"),
        (closed(), "cannot read the open file"),
        (Broken(), "the disk is gone"),
        (io.BytesIO(b"\xff"), "not UTF-8"),
        (io.BytesIO("permit".encode("utf-16")), "UTF-16"),
        ("nowhere/at/all.cedar", "No such file"),
        ({"a": object()}, "JSON"),
        ({"a": float("nan")}, "JSON"),
    ],
)
def test_policies_that_are_none_are_refused_in_a_sentence(policies: Any, says: str) -> None:
    with pytest.raises(ztfast.SourceError, match=says) as refused:
        compiled(policies)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400 or "name too long" in says


@pytest.mark.parametrize("schema", [SCHEMA, b"entity U;", 5, "", ["a", "b"], "a\0b", object(), "/", Odd(5)])
def test_schemas_that_are_none_are_refused_in_a_sentence(schema: Any) -> None:
    with pytest.raises(ztfast.SourceError) as refused:
        compiled(ztfast.Text(PERMIT), schema=schema)
    assert "\n" not in str(refused.value)
    with pytest.raises(ztfast.SourceError, match=r"schema: wanted .* got None"):
        ztfast.compile(ztfast.Text(PERMIT), schema=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "entities",
    [
        "[]", '[{"uid": 1}]', b"[]", 5, {}, {"a": 1}, [1], ["a.json"], [b"x"], [[]], object(), endless(), "", "/",
        [{"uid": {1, 2}}], [{"uid": float("inf")}], [None], Odd(5), closed(),
    ],
)  # fmt: skip
def test_entities_that_are_none_are_refused_in_a_sentence(entities: Any) -> None:
    with pytest.raises(ztfast.SourceError) as refused:
        compiled(ztfast.Text(PERMIT), entities=entities)
    assert "\n" not in str(refused.value)
    engine = ztfast.Engine(compiled(ztfast.Text(PERMIT)), sessions=8, handles=8)
    with pytest.raises(ztfast.SourceError):
        engine.upsert(entities)
    with pytest.raises(ztfast.SourceError, match="got None"):
        engine.upsert(None)  # type: ignore[arg-type]


def test_deep_json_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"uid": deep}
    with pytest.raises(ztfast.Error):
        compiled(ztfast.Text(PERMIT), entities=[deep])
    with pytest.raises(ztfast.Error):
        compiled(deep)
    # Taken apart by hand: some Pythons do so recursively.
    while deep:
        deep = deep["uid"]


def test_reading_leaves_no_file_open(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        compiled(folder)
    assert len(os.listdir("/proc/self/fd")) <= before
