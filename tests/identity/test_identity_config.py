"""Configurations of authorities: what is taken, and that each mistake is told with its file, its line and what to do."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from hypothesis import given
from hypothesis import strategies as st

import ztfast
from tests.identity import pki
from ztfast.identity import config

PINS = [base64.b64encode(sha256(bytes([n])).digest()).decode() for n in range(2)]
AUTHORITY = '[[authority]]\nname = "desk"\nkind = "x509"\nanchors = ["pki/root.pem"]\n'
RULE = '[[rule]]\nauthority = "desk"\nmatch = { "subject.OU" = "algo" }\nprincipal = \'Algo::"{subject.CN}"\'\n'

Write = Callable[[str], Path]


@pytest.fixture(scope="module")
def root() -> pki.Holder:
    return pki.root()


@pytest.fixture
def write(tmp_path: Path, root: pki.Holder) -> Write:
    """Write a configuration beside a small PKI."""
    folder = tmp_path / "pki"
    folder.mkdir()
    (folder / "root.pem").write_bytes(root.pem)
    (folder / "root.der").write_bytes(root.der)
    (folder / "root.key").write_bytes(root.key_pem)
    (folder / "a.crl").write_bytes(root.crl(5))
    (folder / "b.crl").write_bytes(root.crl(6, number=2))
    jwk = {"use": "x509-svid", "kty": "EC", "x5c": [base64.b64encode(root.der).decode()]}
    other = {"use": "jwt-svid", "kid": "k1", "kty": "EC"}
    (folder / "desk.example.json").write_text(json.dumps({"keys": [other, jwk], "spiffe_refresh_hint": 60}))

    def put(text: str) -> Path:
        path = tmp_path / "ztfast.toml"
        path.write_text(text)
        return path

    return put


def test_all_that_a_configuration_may_say_is_taken(write: Write, root: pki.Holder, tmp_path: Path) -> None:
    pins = ", ".join(f'"sha256/{pin}"' for pin in PINS)
    read = config.load(
        write(
            f"""
            refresh = "10s"
            [[authority]]
            name = "desk"
            kind = "x509"
            anchors = ["pki/root.pem", "{tmp_path}/pki/root.der"]
            intermediates = []
            crls = ["pki/*.crl"]
            revocation = "required"
            max_age = "12h"
            pins = [{pins}]
            [[authority]]
            name = "mesh"
            kind = "spiffe"
            trust_domains = {{ "desk.example" = "pki/desk.example.json", "partner.example" = "pki/root.pem",
              "later.example" = "workload-api" }}
            [[rule]]
            name = "algorithms"
            authority = "desk"
            match = {{ "subject.OU" = "algo", "uri" = "spiffe://desk.example/algo/*" }}
            principal = 'Algo::"{{spiffe.path[1]}}"'
            factors = ["x509"]
            assurance = 3
            region = "{{subject.C}}"
            attributes = {{ desk = "{{subject.OU}}" }}
            [[proxy]]
            principal = 'Service::"edge"'
            [[proxy]]
            principal = 'Service::"other"'
            header = "client-cert"
            """.replace(",\n              ", ", ")
        )
    )
    desk, mesh = read.authorities
    # The same certificate as PEM and as DER is one anchor.
    assert desk.anchors == (root.der,)
    assert len(desk.crls) == 2
    assert (desk.revocation, desk.max_age_s, desk.pins) == ("required", 43_200, tuple(map(base64.b64decode, PINS)))
    assert dict(mesh.trust_domains) == {
        "desk.example": (root.der,),
        "partner.example": (root.der,),
        "later.example": None,
    }
    assert not mesh.any_trust_domain
    assert [rule.name for rule in read.rules] == ["algorithms"]
    assert [(str(proxy.principal), proxy.header) for proxy in read.proxies] == [
        ('Service::"edge"', "x-forwarded-client-cert"),
        ('Service::"other"', "client-cert"),
    ]
    assert read.refresh_s == 10


def test_the_example_of_the_document_is_taken(write: Write, root: pki.Holder) -> None:
    document = (Path(__file__).parents[2] / "docs/identity.md").read_text()
    text = document.split("```toml\n")[1].split("```")[0]
    for pin in PINS:
        text = text.replace("sha256/BASE64", f"sha256/{pin}", 1)
    path = write(text)
    folder = path.parent / "pki"
    (folder / "desk-ca.pem").write_bytes(root.issue(ca=True).pem)
    (folder / "desk.example.json").rename(folder / "partner.json")
    read = config.load(path)
    assert [one.name for one in read.authorities] == ["desk", "mesh"]
    assert read.authorities[1].trust_domains == {"desk.example": None, "partner.example": (root.der,)}
    assert len(read.rules) == len(read.proxies) == 1


# Each with the line that the message must name, and words that it must have.
MISTAKES: list[tuple[str, int, str]] = [
    ('x = 1\n' + AUTHORITY, 1, r"x: there is no such key: there are authority, rule, proxy, refresh"),
    (AUTHORITY + 'pin = []\n', 5, r"authority\.pin: there is no such key: did you mean pins\?"),
    (AUTHORITY + 'crl = ["x"]\n', 5, "did you mean crls"),
    (AUTHORITY + 'max_age = 43200\n', 5, r'authority\.max_age: wanted a duration as "90s", "15m", "12h" or "7d"; got int 43200'),
    (AUTHORITY + 'max_age = "12"\n', 5, "wanted a duration"),
    (AUTHORITY + 'max_age = "0s"\n', 5, "from 1s to ten years"),
    (AUTHORITY + 'max_age = "999999999d"\n', 5, "from 1s to ten years"),
    (AUTHORITY + 'revocation = "none"\n', 5, 'wanted "required" or "if-present"'),
    (AUTHORITY + 'crls = ["pki/*.pem2"]\n', 5, r"no file is pki/\*\.pem2"),
    (AUTHORITY + 'crls = [\n  "pki/a.crl",\n  "pki/none.crl",\n]\n', 7, "none.crl: cannot read it: No such file"),
    (AUTHORITY + 'crls = ["pki/root.pem"]\n', 5, "wanted blocks BEGIN X509 CRL; got BEGIN CERTIFICATE"),
    (AUTHORITY + 'crls = "pki/a.crl"\n', 5, "wanted a list of paths"),
    (AUTHORITY + 'intermediates = ["pki"]\n', 5, "wanted a file; got a folder"),
    (AUTHORITY + 'intermediates = [""]\n', 5, "wanted a path, of 1 to"),
    (AUTHORITY + 'intermediates = ["a\\u0000b"]\n', 5, "a path with NUL in it"),
    (AUTHORITY + f'pins = ["sha256/{PINS[0]}"]\n', 5, "at least two pins: one in use, and a backup"),
    (AUTHORITY + f'pins = ["sha256/{PINS[0]}", "sha256/{PINS[0]}"]\n', 5, "this pin is there already"),
    (AUTHORITY + f'pins = ["sha256/{PINS[0]}",\n "sha1/{PINS[1]}"]\n', 6, "wanted a pin: sha256/"),
    (AUTHORITY + f'pins = ["sha256/{PINS[0][:-1]}", "x"]\n', 5, "wanted a pin: sha256/"),
    (AUTHORITY + 'trust_domains = { "a.example" = "pki/root.pem" }\n', 5, 'only kind = "spiffe" has them'),
    (AUTHORITY + AUTHORITY, 5, "another authority 'desk'"),
    (AUTHORITY.replace('"pki/root.pem"', '"pki/root.key"'), 4, "root.key: PEM: a private key: keep it elsewhere"),
    (AUTHORITY.replace('"pki/root.pem"', ""), 4, "at least one file of anchors"),
    (AUTHORITY.replace('anchors = ["pki/root.pem"]\n', ""), 1, "at least one file of anchors"),
    (AUTHORITY.replace('name = "desk"\n', ""), 1, "an authority needs name"),
    (AUTHORITY.replace('"desk"', '"de\\nsk"'), 2, "characters that can be printed"),
    (AUTHORITY.replace('"x509"', '"x.509"'), 3, 'wanted "x509" or "spiffe"'),
    (AUTHORITY.replace('"x509"', '"spiffe"'), 4, "its anchors are in trust_domains"),
    ('[[authority]]\nname = "m"\nkind = "spiffe"\ntrust_domains = {}\n', 4, "at least one trust domain"),
    ('[[authority]]\nname = "m"\nkind = "spiffe"\n[authority.trust_domains]\n"Desk.example" = "pki/root.pem"\n', 5, "no trust domain: wanted small letters"),
    ('[authority]\nname = "desk"\n', 1, r"wanted a list: write \[\[authority\]\]"),
    ('refresh = 10\n' + AUTHORITY, 1, "wanted a duration"),
    ('refresh = "10s"\n', 1, r"wanted at least one \[\[authority\]\]"),
    (AUTHORITY + RULE.replace('"desk"', '"dusk"'), 6, 'rule.authority: wanted "desk"; got str'),
    (AUTHORITY + RULE + "assurance = 8\n", 9, "wanted a number from 0 to 7"),
    (AUTHORITY + RULE + "assurance = true\n", 9, "wanted a number from 0 to 7"),
    (AUTHORITY + RULE + "factor = []\n", 9, "did you mean factors"),
    (AUTHORITY + RULE + 'factors = ["x509", 5]\n', 9, "wanted a list of up to 64 names"),
    (AUTHORITY + RULE + 'attributes = { a = 1.5 }\n', 9, r"rule\.attributes\.a: wanted a text, a whole number, a bool"),
    (AUTHORITY + RULE + 'attributes = { a = { __extn = { fn = "ip", arg = "10.0.0.1" } } }\n', 9, "there is no such key: there are __entity"),
    (AUTHORITY + RULE + 'attributes = { __entity = "x" }\n', 9, "does not begin with __"),
    (AUTHORITY + RULE + 'attributes = { a = { __entity = { type = "D::", id = "x" } } }\n', 9, "is no entity type"),
    (AUTHORITY + RULE + "[[rule.attributes.a]]\n[rule.attributes.a.b]\n", 10, "there is no such key"),
    (AUTHORITY + RULE.replace("subject.CN", "subject_CN"), 8, r"\{subject_CN\}: there is nothing of this name"),
    (AUTHORITY + RULE.replace('{subject.CN}"', '{subject.CN"'), 8, r"a single \{: write \{\{"),
    (AUTHORITY + RULE.replace("{subject.CN}", "{subject.CN}{serial}"), 8, r"write something between \{serial\} and"),
    (AUTHORITY + RULE.replace("Algo::", "{subject.OU}::"), 8, "wanted a type and an id"),
    (AUTHORITY + RULE.replace("Algo::", ""), 8, "wanted a type and an id"),
    (AUTHORITY + RULE.replace("Algo::", "Al go::"), 8, "is no entity type"),
    (AUTHORITY + RULE.replace("{subject.CN}", 'a" , "b'), 8, "no quotes and no backslashes in the id"),
    (AUTHORITY + RULE.replace('"subject.OU" = "algo"', '"subject.OU" = "a*b*"'), 7, r"at most one \* in a segment"),
    (AUTHORITY + RULE.replace('"subject.OU" = "algo"', '"subjects" = "a"'), 7, "there is nothing of this name to match"),
    (AUTHORITY + RULE.replace('"subject.OU" = "algo"', ""), 7, "wanted what must match"),
    (AUTHORITY + RULE.replace('"subject.OU" = "algo"', '"uri" = "spiffe://d.example/algo/*"').replace("subject.CN", "spiffe.path[2]"), 8,
     r"has 2 segments, counted from 0: the last one is spiffe\.path\[1\]"),
    (AUTHORITY + '[[rule]]\nname = "a"\n' + RULE[9:] + '[[rule]]\nname = "a"\n' + RULE[9:], 10, "another rule 'a'"),
    (AUTHORITY + "[[proxy]]\nprincipal = \"Service::edge\"\n", 6, r"proxy\.principal: .*uid"),
    (AUTHORITY + "[[proxy]]\n", 5, "a proxy needs principal"),
    (AUTHORITY + "[[proxy]]\nprincipal = 'S::\"e\"'\nheader = \"x-client\"\n", 7, 'wanted "x-forwarded-client-cert" or "client-cert"'),
    (AUTHORITY + "[[proxy]]\nprincipal = 'S::\"e\"'\n" * 2, 7, "is a proxy already"),
    (AUTHORITY + "name = \"again\"\n", 5, "not TOML: Cannot overwrite a value"),
    (AUTHORITY + 'max_age = "12h', 5, "not TOML: "),
    (AUTHORITY + "\n\nmax_age = \n", 7, "not TOML: Invalid value"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), MISTAKES)
def test_each_mistake_is_told_with_its_line(write: Write, text: str, line: int, words: str) -> None:
    path = write(text)
    with pytest.raises(ztfast.ConfigError, match=words) as raised:
        config.load(path)
    assert str(raised.value).startswith(f"{path}:{line}: ")
    assert (raised.value.path, raised.value.line) == (str(path), line)
    assert "\n" not in str(raised.value)


def test_a_dict_is_checked_alike_and_its_places_are_named(write: Write, tmp_path: Path) -> None:
    write("")
    told: dict[str, Any] = {"authority": [{"name": "desk", "kind": "x509", "anchors": ["pki/root.pem"]}]}
    assert config.read(told, tmp_path).authorities[0].name == "desk"
    told["authority"][0]["max_age"] = 5
    with pytest.raises(ztfast.ConfigError, match=r"^authority\[0\]\.max_age: wanted a duration") as raised:
        config.read(told, tmp_path)
    assert (raised.value.path, raised.value.line) == (None, None)


def test_lines_are_counted_as_editors_count_them(write: Write) -> None:
    path = write("")
    path.write_bytes((AUTHORITY + "max_age = 5\n").replace("\n", "\r\n").encode())
    with pytest.raises(ztfast.ConfigError, match=r"ztfast\.toml:5: "):
        config.load(path)
    path.write_bytes(b"\xef\xbb\xbf" + (AUTHORITY + "max_age = 5\n").encode())
    with pytest.raises(ztfast.ConfigError, match=r"ztfast\.toml:5: "):
        config.load(path)


def test_private_keys_of_every_form_are_refused_and_not_shown(write: Write, root: pki.Holder) -> None:
    path = write(AUTHORITY)
    key: Any = root.private
    forms = [
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        serialize_key_and_certificates(b"x", key, root.certificate, None, NoEncryption()),
        root.pem + root.key_pem,
        root.key_pem + root.pem,
    ]
    for form in forms:
        (path.parent / "pki/root.pem").write_bytes(form)
        with pytest.raises(ztfast.ConfigError, match="a private key") as raised:
            config.load(path)
        assert root.key_pem.split(b"\n")[1].decode()[:20] not in str(raised.value)


def test_what_tools_write_around_blocks_is_passed_over_in_files(write: Write, root: pki.Holder) -> None:
    path = write(AUTHORITY)
    (path.parent / "pki/root.pem").write_bytes(
        b"# Desk Root\nsubject=CN = Desk Root\n" + root.pem + b"\n\xc3\xa9\n" + root.pem
    )
    assert config.load(path).authorities[0].anchors == (root.der,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"x", "cut off at byte 0"),
        (b"-----BEGIN CERTIFICATE-----\n", "has no END"),
        (b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "is not base64"),
        (b"-----BEGIN CERTIFICATE-----\nAgEB\n-----END CERTIFICATE-----\n", "wanted a SEQUENCE at byte 0"),
        (b"-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n", "private key or a PKCS12"),
        (b"-----BEGIN TRUSTED CERTIFICATE-----\nMAMCAQE=\n-----END TRUSTED CERTIFICATE-----\n", "got BEGIN TRUSTED CERT"),
        (b"0" * (5 << 20), "larger than 4,194,304 bytes"),
    ],
)  # fmt: skip
def test_files_that_are_no_certificates_are_refused(write: Write, content: bytes, words: str) -> None:
    path = write(AUTHORITY)
    (path.parent / "pki/root.pem").write_bytes(content)
    with pytest.raises(ztfast.ConfigError, match=words):
        config.load(path)


def test_bytes_after_a_certificate_in_der_are_refused(write: Write, root: pki.Holder) -> None:
    path = write(AUTHORITY)
    (path.parent / "pki/root.pem").write_bytes(root.der + b"\0")
    with pytest.raises(ztfast.ConfigError, match="1 byte follows the end"):
        config.load(path)


def test_pipes_devices_and_sockets_are_refused_at_once(write: Write) -> None:
    path = write(AUTHORITY)
    place = path.parent / "pki/root.pem"
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(ztfast.ConfigError, match="wanted a file; got a FIFO"):
        config.load(path)
    place.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        with pytest.raises(ztfast.ConfigError, match="cannot read it"):
            config.load(path)
    place.unlink()
    place.symlink_to("/dev/zero")
    with pytest.raises(ztfast.ConfigError, match="wanted a file; got a device"):
        config.load(path)
    place.unlink()
    place.symlink_to(place)
    with pytest.raises(ztfast.ConfigError, match="cannot read it"):
        config.load(path)


@pytest.mark.parametrize(
    ("bundle", "words"),
    [
        ({}, 'no list "keys"'),
        ({"keys": {}}, 'no list "keys"'),
        ({"keys": []}, 'no key with "use": "x509-svid"'),
        ({"keys": [{"use": "jwt-svid", "x5c": ["AQ=="]}, {"x5c": ["AQ=="]}, 5]}, 'no key with "use": "x509-svid"'),
        ({"keys": [{"use": "x509-svid"}]}, "needs x5c with exactly one certificate"),
        ({"keys": [{"use": "x509-svid", "x5c": ["AQ==", "AQ=="]}]}, "needs x5c with exactly one certificate"),
        ({"keys": [{"use": "x509-svid", "x5c": ["AQ==\n"]}]}, "is not base64"),
        ({"keys": [{"use": "x509-svid", "x5c": ["AQ=="], "kid": "a"}]}, "has a kid"),
        ({"keys": [{"use": "x509-svid", "x5c": ["AQ=="]}]}, "cut off at byte 0"),
    ],
)  # fmt: skip
def test_bundles_of_trust_domains_are_read_strictly(write: Write, bundle: Any, words: str) -> None:
    path = write(
        '[[authority]]\nname = "m"\nkind = "spiffe"\ntrust_domains = { "a.example" = "pki/desk.example.json" }\n'
    )
    (path.parent / "pki/desk.example.json").write_text(json.dumps(bundle))
    with pytest.raises(ztfast.ConfigError, match=words):
        config.load(path)


@pytest.mark.parametrize(
    "text", ['{"keys": [], "keys": []}', "{", '{"keys": ' + "[" * 100_000, '{"a": 1e999, "keys": 1}']
)
def test_bundles_that_are_no_json_are_refused(write: Write, text: str) -> None:
    path = write(
        '[[authority]]\nname = "m"\nkind = "spiffe"\ntrust_domains = { "a.example" = "pki/desk.example.json" }\n'
    )
    (path.parent / "pki/desk.example.json").write_text(text)
    with pytest.raises(ztfast.ConfigError, match=r"ztfast\.toml:4: .*the bundle"):
        config.load(path)


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfea\0", b"a\xff", b"a = " + b"[" * 50_000, b"x = " + b"{y=" * 50_000, b"a" * (1 << 20) + b"=1", b"=" * (2 << 20)],
)  # fmt: skip
def test_files_that_are_no_configuration_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ztfast.toml"
    path.write_bytes(content)
    with pytest.raises(ztfast.ConfigError, match=r"ztfast\.toml"):
        config.load(path)


@pytest.mark.parametrize("path", [None, 5, "\0", b"a\0b", "", "/none/ztfast.toml", object(), "\ud800"])
def test_paths_that_lead_to_no_file_are_refused(path: Any) -> None:
    with pytest.raises(ztfast.ConfigError):
        config.load(path)
    if isinstance(path, str | bytes):
        return
    with pytest.raises(ztfast.ConfigError):
        config.read({"authority": []}, path)


class Liar(dict):  # type: ignore[type-arg]
    """A dict that says that it is empty."""

    def __iter__(self) -> Any:
        return iter(())

    def items(self) -> Any:
        return ()

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("told", [None, 5, "x", [], {"authority": 5}, {5: 6}, {"authority": [5]}, {"authority": []},
    {"\ud800": 1}, Liar({"x": 1}), {"authority": [{"name": "\ud800", "kind": "x509"}]}])  # fmt: skip
def test_dicts_that_are_no_configuration_are_refused(told: Any) -> None:
    with pytest.raises(ztfast.ConfigError):
        config.read(told, ".")


WORDS = st.sampled_from([
    "name", "kind", "anchors", "crls", "pins", "max_age", "authority", "rule", "proxy", "match", "principal", "region", "attributes",
    "x509", "spiffe", "trust_domains", "refresh", "10s", "*", "/dev/zero", "..", "**", "[", "Algo::\"{subject.CN}\"", "subject.CN", "__entity",
])  # fmt: skip
TOLD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
WHOLE = {"name": "desk", "kind": "spiffe", "trust_domains": {"a.example": "workload-api"}}


@given(TOLD, st.dictionaries(WORDS, TOLD, max_size=3), st.dictionaries(WORDS, TOLD, max_size=3))
def test_any_dict_is_a_configuration_or_one_sentence_about_it(told: Any, authority: Any, rule: Any) -> None:
    for given_dict in (
        told,
        {"authority": [authority]},
        {"authority": [{**WHOLE, **authority}]},
        {"authority": [WHOLE], "rule": [rule]},
        {"authority": [WHOLE], "rule": [{"authority": "desk", "match": {"dns": "*"}, "principal": 'A::"x"', **rule}]},
        {"authority": [WHOLE], "proxy": told},
    ):
        try:
            said = config.read(given_dict, "/none").authorities[0].name
        except ztfast.ConfigError as error:
            said = str(error)
        assert said
        assert "\n" not in said
