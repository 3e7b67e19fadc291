"""Headers by which proxies forward certificates: what a client sends itself must never choose an identity."""

from __future__ import annotations

import base64
import string
from email.message import Message
from hashlib import sha256
from typing import Any
from urllib.parse import quote
from wsgiref.headers import Headers

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ztfast
from tests.identity import pki
from ztfast.identity import CredentialError
from ztfast.identity.config import Proxy
from ztfast.identity.forwarded import Sent, read

EDGE = Proxy(ztfast.Uid("Service", "edge"), "x-forwarded-client-cert")
PLAIN = Proxy(ztfast.Uid("Service", "plain"), "client-cert")
CA = pki.root()
LEAF = CA.issue(pki.name(CN='a "quoted", name; x=y'))
EVIL = CA.issue(pki.name(CN="evil"))
XFCC = "X-Forwarded-Client-Cert"


def escaped(*holders: pki.Holder) -> str:
    return quote(b"".join(each.pem for each in holders), safe="")


def binary(holder: pki.Holder) -> str:
    return f":{base64.b64encode(holder.der).decode()}:"


CERT = f'Hash={sha256(LEAF.der).hexdigest()};Cert="{escaped(LEAF)}"'
ONE = {XFCC: CERT}


def refusal(headers: Any, proxy: Proxy = EDGE) -> str:
    with pytest.raises(CredentialError) as raised:
        read(headers, proxy)
    return raised.value.code


@pytest.mark.parametrize(
    "value",
    [
        CERT,
        f"Cert={escaped(LEAF)}",
        f'By=spiffe://desk.example/edge;{CERT};Subject="CN=\\"x, y\\"";URI=spiffe://a;URI=spiffe://b;DNS=a;DNS=b',
        f'cert="{escaped(LEAF)}"',
        f'Subject="";URI=;{CERT}',
        f'Subject="/CN=x,Cert=y;Cert=z";{CERT}',
        f'Chain="{escaped(LEAF)}"',
    ],
)
def test_what_envoy_writes_is_read(value: str) -> None:
    assert read({XFCC: value}, EDGE) == Sent(LEAF.der, ())


def test_the_chain_is_read_and_must_begin_with_the_certificate() -> None:
    for value in (f'{CERT};Chain="{escaped(LEAF, CA)}"', f'Chain="{escaped(LEAF, CA)}"'):
        assert read({XFCC: value}, EDGE) == Sent(LEAF.der, (CA.der,))
    assert refusal({XFCC: f'{CERT};Chain="{escaped(CA, LEAF)}"'}) == "forwarded"
    assert refusal({XFCC: f'{CERT};Chain="{escaped(EVIL, CA)}"'}) == "forwarded"


def test_the_fields_of_rfc_9440_are_read() -> None:
    assert read({"Client-Cert": binary(LEAF)}, PLAIN) == Sent(LEAF.der, ())
    chain = {"client-cert": binary(LEAF), "Client-Cert-Chain": f"{binary(CA)}, {binary(EVIL)}"}
    assert read(chain, PLAIN) == Sent(LEAF.der, (CA.der, EVIL.der))


# How a client adds its own certificate to what the proxy says, or in its place.
SPOOFED: list[tuple[Any, Proxy]] = [
    ({XFCC: f"{CERT},Cert={escaped(EVIL)}"}, EDGE),
    ({XFCC: f"Cert={escaped(EVIL)},{CERT}"}, EDGE),
    ({XFCC: f"Cert={escaped(EVIL)}, {CERT}"}, EDGE),
    ({XFCC: f"{CERT};Cert={escaped(EVIL)}"}, EDGE),
    ({XFCC: f"{CERT};cert={escaped(EVIL)}"}, EDGE),
    ({XFCC: f"Hash={'0' * 64};{CERT}"}, EDGE),
    ({XFCC: f"Hash={'0' * 64};Cert={escaped(LEAF)}"}, EDGE),
    ({XFCC: f"Hash={'0' * 63};Cert={escaped(LEAF)}"}, EDGE),
    ({XFCC: f"Hash=;Cert={escaped(LEAF)}"}, EDGE),
    ({XFCC: CERT, XFCC.lower(): CERT}, EDGE),
    ({XFCC: CERT, XFCC.upper(): f"Cert={escaped(EVIL)}"}, EDGE),
    ({XFCC: CERT, "X_Forwarded_Client_Cert": f"Cert={escaped(EVIL)}"}, EDGE),
    ({"X-Forwarded_Client-Cert": CERT}, EDGE),
    ({f"{XFCC} ": CERT}, EDGE),
    ({f" {XFCC}": CERT, XFCC: CERT}, EDGE),
    ({XFCC: [CERT, f"Cert={escaped(EVIL)}"]}, EDGE),
    ({XFCC: [CERT, CERT]}, EDGE),
    ({XFCC: []}, EDGE),
    ([(XFCC, CERT), (XFCC, CERT)], EDGE),
    ([(XFCC, CERT), (XFCC, "")], EDGE),
    ([(XFCC.lower().encode(), CERT.encode()), (XFCC, f"Cert={escaped(EVIL)}")], EDGE),
    ({XFCC: CERT, "Client-Cert": binary(EVIL)}, EDGE),
    ({XFCC: CERT, "Client-Cert-Chain": binary(EVIL)}, EDGE),
    # This proxy writes the other header, so it removes the other one only.
    ({"Client-Cert": binary(EVIL)}, EDGE),
    ({XFCC: f"Cert={escaped(EVIL)}"}, PLAIN),
    ({"Client-Cert": binary(LEAF), XFCC: f"Cert={escaped(EVIL)}"}, PLAIN),
    ({"Client-Cert": f"{binary(LEAF)}, {binary(EVIL)}"}, PLAIN),
    ({"Client-Cert": binary(LEAF), "client-cert": binary(EVIL)}, PLAIN),
    ({"Client-Cert": binary(LEAF), "Client_Cert": binary(EVIL)}, PLAIN),
    ([("Client-Cert", binary(LEAF)), ("Client-Cert-Chain", binary(CA)), ("Client-Cert-Chain", binary(CA))], PLAIN),
    ({"Client-Cert-Chain": binary(CA)}, PLAIN),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "proxy"), SPOOFED)
def test_what_could_be_two_certificates_is_none(headers: Any, proxy: Proxy) -> None:
    assert refusal(headers, proxy) == "forwarded"


@pytest.mark.parametrize(
    ("headers", "proxy", "code"),
    [
        ({}, EDGE, "no-certificate"),
        ({"Host": "a"}, PLAIN, "no-certificate"),
        ({XFCC: "Hash=" + "0" * 64}, EDGE, "no-certificate"),
        ({XFCC: "By=spiffe://a;URI=spiffe://desk.example/algo/a7;Subject=x"}, EDGE, "no-certificate"),
        ({XFCC: "Cert="}, EDGE, "no-certificate"),
        ({"HTTP_X_FORWARDED_CLIENT_CERT": CERT}, EDGE, "no-certificate"),
        ({XFCC: ""}, EDGE, "malformed"),
        ({XFCC: f"{CERT};"}, EDGE, "malformed"),
        ({XFCC: f"{CERT};Evil=1"}, EDGE, "malformed"),
        ({XFCC: f'Cert="{escaped(LEAF)}'}, EDGE, "malformed"),
        ({XFCC: f'Cert="{escaped(LEAF)}"x'}, EDGE, "malformed"),
        ({XFCC: "Cert=" + LEAF.pem.decode().replace("\n", " ")}, EDGE, "malformed"),
        ({XFCC: f"Cert={escaped(LEAF)[:-4]}"}, EDGE, "malformed"),
        ({XFCC: f"Cert={escaped(LEAF)}%"}, EDGE, "malformed"),
        ({XFCC: f"Cert={escaped(LEAF)}x"}, EDGE, "malformed"),
        ({XFCC: f"Cert={escaped(LEAF, EVIL)}"}, EDGE, "too-many-certificates"),
        ({XFCC: "Cert=" + quote(LEAF.key_pem)}, EDGE, "private-key"),
        ({XFCC: f"{CERT}\r\nX: y"}, EDGE, "malformed"),
        ({XFCC: f"{CERT}\0"}, EDGE, "malformed"),
        ({XFCC: f"{CERT}é"}, EDGE, "malformed"),
        ({XFCC: "Cert=" + "a" * 200_000}, EDGE, "too-large"),
        ({"Client-Cert": ""}, PLAIN, "malformed"),
        ({"Client-Cert": "::"}, PLAIN, "malformed"),
        ({"Client-Cert": base64.b64encode(LEAF.der).decode()}, PLAIN, "malformed"),
        ({"Client-Cert": binary(LEAF) + ";a=b"}, PLAIN, "malformed"),
        ({"Client-Cert": binary(LEAF)[:-1]}, PLAIN, "malformed"),
        ({"Client-Cert": ":AR==:"}, PLAIN, "malformed"),
        ({"Client-Cert": ":AQ:"}, PLAIN, "malformed"),
        ({"Client-Cert": binary(LEAF), "Client-Cert-Chain": ""}, PLAIN, "malformed"),
        ({"Client-Cert": binary(LEAF), "Client-Cert-Chain": f"{binary(CA)},"}, PLAIN, "malformed"),
        ({"Client-Cert": binary(LEAF), "Client-Cert-Chain": ",".join([":AQ==:"] * 17)}, PLAIN, "too-many-certificates"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_code(headers: Any, proxy: Proxy, code: str) -> None:
    assert refusal(headers, proxy) == code


class Starlette:
    """Headers as ASGI frameworks hold them: items() and raw show all that was sent."""

    def __init__(self, *raw: tuple[bytes, bytes]) -> None:
        self._raw = list(raw)

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        return self._raw

    def items(self) -> list[tuple[str, str]]:
        return []


class Multi:
    """Headers of which multi_items() shows all, and items() the last of a name."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self.pairs = pairs

    def multi_items(self) -> Any:
        return iter(self.pairs)

    def items(self) -> Any:
        return dict(self.pairs).items()


def test_headers_of_every_kind_are_read_and_none_hides_one_of_two() -> None:
    message, twice = Message(), Message()
    message[XFCC] = twice[XFCC] = CERT
    twice["X-Other"] = "y"
    twice[XFCC.lower()] = f"Cert={escaped(EVIL)}"
    pair, evil = (XFCC.encode(), CERT.encode()), (XFCC.lower().encode(), f"Cert={escaped(EVIL)}".encode())
    text, evil_text = (XFCC, CERT), (XFCC.lower(), f"Cert={escaped(EVIL)}")
    for headers, more in (
        (message, twice),
        ([pair], [pair, evil]),
        ((text,), (text, evil_text)),
        ([list(pair)], [list(pair), list(evil)]),
        (iter([text]), iter([text, evil_text])),
        (Starlette(pair), Starlette(pair, evil)),
        (Multi(text), Multi(text, evil_text)),
        (Headers([text]), Headers([text, evil_text])),
        ({XFCC: CERT.encode()}, {XFCC: [CERT, evil_text[1]]}),
        ({XFCC.encode(): CERT.encode()}, {XFCC.encode(): CERT, XFCC: CERT}),
        ({XFCC: [CERT]}, {XFCC: (CERT, CERT)}),
    ):
        assert read(headers, EDGE) == Sent(LEAF.der, ())
        assert refusal(more) == "forwarded"


class Lying(dict):  # type: ignore[type-arg]
    """A dict that shows its second header only."""

    def items(self) -> Any:
        return [(XFCC, f"Cert={escaped(EVIL)}")]

    def __iter__(self) -> Any:
        return iter([XFCC])


class LyingName(str):
    """A name that says that it is the header's when it is compared."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def lower(self) -> str:
        return "x-forwarded-client-cert"

    def strip(self, *_: Any) -> str:
        return XFCC


def test_objects_that_lie_are_taken_for_what_they_are() -> None:
    assert read(Lying(ONE), EDGE) == Sent(LEAF.der, ())
    assert refusal({LyingName("X-Evil"): CERT}) == "no-certificate"
    assert read({LyingName(XFCC): LyingName(CERT)}, EDGE) == Sent(LEAF.der, ())


class Broken:
    def items(self) -> Any:
        raise RuntimeError("no headers")


@pytest.mark.parametrize("headers", [None, 5, "x", b"x", object(), [5], ["ab"], [b"ab"], [()], [("a",)], [("a", "b", "c")],
    {5: "x"}, {XFCC: 5}, {XFCC: None}, {XFCC: [5]}, Broken(), [(XFCC, CERT)] * 1001, [(None, "x")]])  # fmt: skip
def test_what_is_no_headers_is_refused(headers: Any) -> None:
    with pytest.raises(ztfast.ArgumentError, match="headers"):
        read(headers, EDGE)


NAME = st.sampled_from([XFCC, XFCC.lower(), "Client-Cert", "Client-Cert-Chain", "client_cert", "Host", ""]) | st.text(
    max_size=8
)
PIECES = st.sampled_from(["Cert=", "Chain=", "Hash=", "By=", ";", ",", '"', "\\", "=", "%", "%2", ":", escaped(LEAF), binary(LEAF),
    escaped(EVIL), " ", "\t", "Subject=", "é", "\0"])  # fmt: skip
VALUE = st.lists(PIECES | st.text(string.printable, max_size=5), max_size=8).map("".join)


@given(st.lists(st.tuples(NAME, VALUE), max_size=4), st.sampled_from([EDGE, PLAIN]))
@example([(XFCC, f"{CERT},")], EDGE)
def test_any_headers_give_one_certificate_or_a_refusal(headers: list[tuple[str, str]], proxy: Proxy) -> None:
    try:
        sent = read(headers, proxy)
    except CredentialError as error:
        said = error.code
        sent = None
    else:
        said = ""
    assert said in ("", "forwarded", "malformed", "no-certificate", "private-key", "too-large", "too-many-certificates")
    if sent is not None:
        # Whatever else was there, the certificate stands in the one header of this proxy.
        [value] = [value for name, value in headers if name.lower() == proxy.header]
        assert sent.leaf in (LEAF.der, EVIL.der)
        holder = LEAF if sent.leaf == LEAF.der else EVIL
        other = EVIL if holder is LEAF else LEAF
        assert (escaped(holder) if proxy is EDGE else binary(holder)) in value
        assert "Cert=" + escaped(other) not in value


@given(st.text(string.ascii_letters + ' "\\,;=', max_size=30))
def test_a_value_in_quotes_is_read_as_envoy_writes_it(subject: str) -> None:
    written = subject.replace("\\", "\\\\").replace('"', '\\"')
    assert read({XFCC: f'Subject="{written}";{CERT}'}, EDGE) == Sent(LEAF.der, ())


def test_long_values_are_read_in_bounded_time() -> None:
    for value in (
        'By="' + '\\"' * 60_000,
        "By=" + "a" * 130_000,
        ";" * 100_000,
        "By=a;" * 25_000,
        "Cert=" + "%2D" * 40_000,
    ):
        assert refusal({XFCC: value}) in ("malformed", "too-large", "no-certificate")
