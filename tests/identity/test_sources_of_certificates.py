"""Where certificates are taken from: bytes, objects of pyca, and real connections of TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

import ztfast
from tests.identity import pki
from ztfast.identity import CredentialError
from ztfast.identity.sources import Taken, binding_of, others_of, stapled, take

ROOT = pki.root()
CA = ROOT.issue(pki.name(CN="Desk CA"), ca=True)
LEAF = CA.issue()
SERVER = ROOT.issue(pki.name(CN="localhost"), dns=["localhost"], uses=[])


def refusal(source: Any) -> str:
    with pytest.raises(CredentialError) as raised:
        take(source)
    return raised.value.code


def test_bytes_texts_and_objects_are_taken_as_der() -> None:
    for source in (LEAF.der, LEAF.pem, LEAF.pem.decode(), LEAF.certificate, b"\n" + LEAF.pem + b"\r\n \n"):
        assert take(source) == Taken(LEAF.der, (), None)
    assert take(LEAF.pem + CA.pem + ROOT.pem) == Taken(LEAF.der, (CA.der, ROOT.der), None)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (b"", "no-certificate"),
        ("", "no-certificate"),
        (" \n", "no-certificate"),
        (LEAF.pem + LEAF.key_pem, "private-key"),
        (LEAF.key_pem + LEAF.pem, "private-key"),
        (LEAF.key_pem.decode(), "private-key"),
        (CA.crl(), "malformed"),
        (LEAF.pem + b"x", "malformed"),
        (b"x" + LEAF.pem, "malformed"),
        (LEAF.pem + b"x" + CA.pem, "malformed"),
        (LEAF.pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), "malformed"),
        (LEAF.pem[:-5], "malformed"),
        (LEAF.pem[:-40], "malformed"),
        (LEAF.pem.replace(b"\n", b"\n ", 1).replace(b"M", b"-", 1), "malformed"),
        (LEAF.pem * 17, "too-many-certificates"),
        (b"0" * (2 << 20), "too-large"),
        (b"-----BEGIN CERTIFICATE-----\n" + b"A" * (2 << 20), "too-large"),
    ],
)
def test_what_is_nearly_a_certificate_is_refused_with_its_code(source: Any, code: str) -> None:
    assert refusal(source) == code


class Lying(bytes):
    """Bytes that say that they are others."""

    def __len__(self) -> int:
        return 0

    def __bytes__(self) -> bytes:
        return b"lied"

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = bytes.__hash__


class LyingText(str):
    def encode(self, *_: Any, **__: Any) -> bytes:
        return b"lied"

    def __str__(self) -> str:
        return "lied"


def test_bytes_of_classes_that_lie_are_taken_for_what_they_are() -> None:
    for source in (Lying(LEAF.der), Lying(LEAF.pem), LyingText(LEAF.pem.decode())):
        taken = take(source).leaf
        assert type(taken) is bytes
        assert taken == LEAF.der


class Broken:
    def get_extra_info(self, name: str) -> Any:
        raise RuntimeError("no transport")


class Odd:
    def get_extra_info(self, name: str) -> Any:
        return object()


def test_what_holds_no_certificate_is_refused() -> None:
    mocks = [Mock(spec=kind) for kind in (bytes, str, ssl.SSLSocket, ssl.SSLObject)]
    keys = [LEAF.private, LEAF.certificate.public_key()]
    for source in (
        *(None, 5, "x", "é", [], [LEAF.der], object(), bytearray(LEAF.der), memoryview(LEAF.der), socket.socket),
        *(Broken(), Odd(), *mocks, *keys),
    ):
        with pytest.raises(ztfast.ArgumentError):
            take(source)


@given(st.binary(max_size=200) | st.text(max_size=100))
def test_any_bytes_are_taken_or_refused(source: bytes | str) -> None:
    try:
        leaf = take(source).leaf
    except (CredentialError, ztfast.ArgumentError):
        return
    # DER is looked at by the verifier.
    assert leaf == source


def test_further_certificates_are_taken_in_every_form() -> None:
    assert others_of(()) == others_of([]) == ()
    assert others_of([CA.der, ROOT.pem, CA.certificate]) == (CA.der, ROOT.der, CA.der)
    assert others_of(CA.pem + ROOT.pem) == others_of((CA.pem + ROOT.pem).decode()) == (CA.der, ROOT.der)
    for wrong in (None, 5, CA.der, [5], [CA.der] * 17, CA.certificate):
        with pytest.raises(ztfast.ArgumentError):
            others_of(wrong)
    for refused in ([CA.key_pem], [CA.pem * 2], CA.pem * 17, [b"0" * 600_000] * 2):
        with pytest.raises(CredentialError):
            others_of(refused)


def test_answers_and_bindings_are_checked_for_their_form() -> None:
    taken = take(LEAF.der)
    assert stapled(None) is None
    assert stapled(Lying(b"0\x00")) == b"0\x00"
    for wrong in (b"", "x", 5, bytearray(b"x"), Lying(b"")):
        with pytest.raises(ztfast.ArgumentError, match="ocsp"):
            stapled(wrong)
    with pytest.raises(CredentialError, match="65,536"):
        stapled(b"0" * 70_000)
    assert binding_of(None, taken) is binding_of(False, taken) is None
    assert binding_of(Lying(b"x" * 32), taken) == b"x" * 32
    for wrong in (b"", b"x" * 31, "x" * 32, 1, []):
        with pytest.raises(ztfast.ArgumentError, match="binding: wanted True, or 32 bytes"):
            binding_of(wrong, taken)
    with pytest.raises(ztfast.ArgumentError, match="exports no keying material"):
        binding_of(True, taken)


@pytest.mark.parametrize("exported", [b"", b"x" * 31, "x" * 32, None, RuntimeError("not now")])
def test_connections_that_export_something_else_are_refused(exported: Any) -> None:
    def export(*_: Any) -> Any:
        if isinstance(exported, Exception):
            raise exported
        return exported

    with pytest.raises(ztfast.ArgumentError, match="binding: the connection"):
        binding_of(True, Taken(LEAF.der, (), export))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    for name, holders in (("server", (SERVER,)), ("client", (LEAF, CA))):
        (folder / f"{name}.pem").write_bytes(holders[0].key_pem + b"".join(each.pem for each in holders))
    (folder / "root.pem").write_bytes(ROOT.pem)
    return folder


def contexts(files: Path, *, shows: bool = True, asks: ssl.VerifyMode = ssl.CERT_REQUIRED) -> tuple[Any, Any]:
    """Make the contexts of a server and of a client, which may show a certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files / "server.pem")
    server.load_verify_locations(files / "root.pem")
    server.verify_mode = asks
    client = ssl.create_default_context(cafile=str(files / "root.pem"))
    if shows:
        client.load_cert_chain(files / "client.pem")
    return server, client


@contextlib.contextmanager
def connected(files: Path, **options: Any) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """Connect a client to a server, and yield both ends."""
    server, client = contexts(files, **options)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ends: list[ssl.SSLSocket] = []

        def accept() -> None:
            raw, _ = listening.accept()
            ends.append(server.wrap_socket(raw, server_side=True))

        accepting = threading.Thread(target=accept)
        accepting.start()
        raw = socket.create_connection(listening.getsockname(), timeout=10)
        with client.wrap_socket(raw, server_hostname="localhost") as near:
            accepting.join(10)
            [far] = ends
            with far:
                far.settimeout(10)
                near.sendall(b"x")
                assert far.recv(1) == b"x"
                yield far, near


def test_a_socket_shows_the_certificate_of_the_other_side(files: Path) -> None:
    with connected(files) as (far, near):
        taken = take(far)
        assert taken.leaf == LEAF.der
        # Before Python 3.13, ssl shows only the leaf.
        assert taken.others == ((CA.der,) if hasattr(far, "get_unverified_chain") else ())
        assert take(near).leaf == SERVER.der
        with pytest.raises(ztfast.ArgumentError, match="pyOpenSSL with TLS 1"):
            binding_of(True, taken)
    assert refusal(far) == "no-certificate"


def test_from_python_3_13_on_a_socket_shows_the_whole_chain(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sent(source: Any) -> list[bytes]:
        # What Python 3.13 has made public. 2 stands for DER.
        return [each.public_bytes(2) for each in source._sslobj.get_unverified_chain() or ()]

    monkeypatch.setattr(ssl.SSLSocket, "get_unverified_chain", sent, raising=False)
    with connected(files) as (far, near):
        assert take(far) == Taken(LEAF.der, (CA.der,), None)
        assert take(near).leaf == SERVER.der
    with connected(files, shows=False, asks=ssl.CERT_OPTIONAL) as (far, _):
        assert refusal(far) == "no-certificate"


@pytest.mark.parametrize("asks", [ssl.CERT_NONE, ssl.CERT_OPTIONAL])
def test_a_client_that_shows_none_is_refused(files: Path, asks: ssl.VerifyMode) -> None:
    with connected(files, shows=False, asks=asks) as (far, _):
        assert refusal(far) == "no-certificate"


def test_a_connection_before_its_handshake_is_refused(files: Path) -> None:
    server, client = contexts(files)
    one, other = socket.socketpair()
    with one, other:
        early = server.wrap_socket(one, server_side=True, do_handshake_on_connect=False)
        assert refusal(early) == "no-certificate"
        early.close()
    with ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(socket.socket(), server_hostname="localhost") as idle:
        assert refusal(idle) == "no-certificate"
    held = client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
    assert refusal(held) == "no-certificate"


def test_an_object_over_memory_shows_the_certificate(files: Path) -> None:
    server, client = contexts(files)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    far = server.wrap_bio(there, back, server_side=True)
    near = client.wrap_bio(back, there, server_hostname="localhost")
    for _ in range(10):
        for end in (near, far):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    assert take(far).leaf == LEAF.der


def test_transports_and_writers_of_asyncio_show_the_certificate(files: Path) -> None:
    seen: list[Any] = []

    async def run(server_context: Any, client_context: Any) -> Any:
        served: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(take(writer).leaf if server_context else refusal(writer))
            seen.append(take(writer.transport).leaf if server_context else refusal(writer.transport))
            served.set_result(writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
        host, port = server.sockets[0].getsockname()
        named = {"server_hostname": "localhost"} if client_context else {}
        _, writer = await asyncio.open_connection(host, port, ssl=client_context, **named)
        far = await asyncio.wait_for(served, 10)
        for each in (writer, far):
            each.close()
        server.close()

    asyncio.run(run(*contexts(files)))
    assert seen == [LEAF.der, LEAF.der]
    seen.clear()
    # A connection without TLS.
    asyncio.run(run(None, None))
    assert seen == ["no-certificate", "no-certificate"]


def pyopenssl(files: Path, version: int, *, shows: bool = True) -> tuple[SSL.Connection, SSL.Connection]:
    """Connect two ends of pyOpenSSL over memory."""
    ends = []
    for name, held in (("server", SERVER), ("client", LEAF)):
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        if name == "server" or shows:
            context.use_certificate(held.certificate)
            context.use_privatekey(held.private)  # type: ignore[arg-type]
            if name == "client":
                context.add_extra_chain_cert(CA.certificate)
        context.load_verify_locations(str(files / "root.pem"))
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        ends.append(SSL.Connection(context, None))
    far, near = ends
    far.set_accept_state()
    near.set_connect_state()
    return far, near


def shake(far: SSL.Connection, near: SSL.Connection) -> None:
    for _ in range(10):
        for one, other in ((near, far), (far, near)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(1 << 16))


def test_pyopenssl_shows_the_whole_chain_and_exports_the_binding(files: Path) -> None:
    far, near = pyopenssl(files, SSL.TLS1_3_VERSION)
    assert refusal(far) == "no-certificate"
    shake(far, near)
    taken = take(far)
    assert (taken.leaf, taken.others) == (LEAF.der, (CA.der,))
    exported = binding_of(True, taken)
    assert exported == near.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    other_far, other_near = pyopenssl(files, SSL.TLS1_3_VERSION)
    shake(other_far, other_near)
    assert binding_of(True, take(other_far)) != exported


def test_pyopenssl_before_tls_1_3_exports_no_binding(files: Path) -> None:
    far, near = pyopenssl(files, SSL.TLS1_2_VERSION)
    shake(far, near)
    taken = take(far)
    assert (taken.leaf, taken.others) == (LEAF.der, (CA.der,))
    with pytest.raises(ztfast.ArgumentError, match="exports no keying material"):
        binding_of(True, taken)


def test_pyopenssl_without_a_certificate_is_refused(files: Path) -> None:
    far, near = pyopenssl(files, SSL.TLS1_3_VERSION, shows=False)
    shake(far, near)
    assert refusal(far) == "no-certificate"
    closed = SSL.Connection(SSL.Context(SSL.TLS_METHOD), socket.socket())
    closed.close()
    assert refusal(closed) == "no-certificate"
