"""A SPIFFE agent for tests that says whatever a test wants, and CAs of trust domains that issue what it says."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Agent", "Domain", "Recorder", "message", "shake", "until"]

Key = ec.EllipticCurvePrivateKey
HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


def until(what: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"this did not come true within {seconds} s"
        time.sleep(0.005)


class Recorder:
    """Stands in for authorities: it keeps the anchors of each trust domain, and whatever it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, list[bytes]]] = []
        self.anchors: dict[str, list[bytes]] = {}
        self.refuses: set[str] = set()

    def set_trust_domain(self, authority: str, trust_domain: str, anchors: list[bytes]) -> None:
        if trust_domain in self.refuses:
            raise ValueError(f"no such trust domain: {trust_domain}")
        self.told.append((authority, trust_domain, anchors))
        self.anchors[trust_domain] = anchors


def shake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Shake hands in memory."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    at_client, at_server = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    for side in (at_client, at_server, at_client, at_server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return at_client, at_server


def usage(**bits: bool) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    )
    return x509.KeyUsage(**(dict.fromkeys(names.split(), False) | bits))


def pkcs8(key: Key) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


class Domain:
    """A trust domain with a CA, which may be under another.

    Args:
        name: The name of the trust domain.
        days: For how many days the CA is valid.
        above: The CA that signed this one; by default itself.
    """

    def __init__(self, name: str = "bank.example", days: float = 1.0, above: Domain | None = None) -> None:
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        # Each has a name of its own.
        names = [x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {id(self.key)}")]
        self.subject = x509.Name(names)
        signer, issuer = (self.key, self.subject) if above is None else (above.key, above.subject)
        extensions = [(x509.BasicConstraints(True, None), True), (usage(key_cert_sign=True, crl_sign=True), True)]
        self.der = _certificate(self.subject, self.key, issuer, signer, days * 86_400, extensions)

    def issue(self, path: str = "/algo/a7", seconds: float = 3600.0, **changed: Any) -> bytes:
        """Issue an SVID, as the field of an answer. What is changed of it may break any rule."""
        spiffe_id = changed.get("spiffe_id", f"spiffe://{self.name}{path}")
        key: Key = changed.get("key") or ec.generate_private_key(ec.SECP256R1())
        uris = changed.get("uris", [spiffe_id])
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(changed.get("ca", False), None), True),
            (usage(**changed.get("usage", {"digital_signature": True})), changed.get("critical", True)),
            (x509.ExtendedKeyUsage(changed.get("purposes", both)), False),
        ]
        if uris:
            extensions.append((x509.SubjectAlternativeName(list(map(x509.UniformResourceIdentifier, uris))), False))
        empty, begin = x509.Name([]), changed.get("begin", -60.0)
        leaf = changed.get("leaf") or _certificate(empty, key, self.subject, self.key, seconds, extensions, begin)
        chain, bundle = changed.get("chain", b""), changed.get("bundle", self.der)
        return _field(
            1,
            _field(1, changed.get("says", spiffe_id).encode())
            + _field(2, leaf + chain)
            + _field(3, changed.get("key_der", pkcs8(key)))
            + _field(4, bundle),
        )


def _certificate(
    subject: x509.Name,
    key: Key,
    issuer: x509.Name,
    signer: Key,
    seconds: float,
    extensions: list[Any],
    begin: float = -60.0,
) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(seconds=begin))
        .not_valid_after(now + datetime.timedelta(seconds=seconds))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*octets, number])


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def message(*issued: bytes, federated: dict[str, bytes] | None = None, crl: bytes | None = None) -> bytes:
    """Return the message X509SVIDResponse."""
    crls = b"" if crl is None else _field(2, crl)
    bundles = [_field(3, _field(1, name.encode()) + _field(2, der)) for name, der in (federated or {}).items()]
    return b"".join(issued) + crls + b"".join(bundles)


class Agent:
    """An agent on a UNIX socket. What it is told to do holds for open streams and for those to come.

    Attributes:
        asked: How often it was asked.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "agent.sock"
        self.endpoint = f"unix://{self.path}"
        self.asked = 0
        self.open = 0
        self._do: list[tuple[str, Any]] = [("wait", None)]
        self._listener: socket.socket | None = None
        self.start()

    def start(self) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """Close the socket and all streams, as when the agent ends."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self.path.unlink()
        until(lambda: self.open == 0)

    def say(self, message: bytes) -> None:
        self._do.append(("say", b"\0" + len(message).to_bytes(4, "big") + message))

    def frame(self, data: bytes) -> None:
        """Say something in gRPC's frames or not."""
        self._do.append(("say", data))

    def refuse(self, code: int, words: str = "no identity issued") -> None:
        self._do.append(("refuse", (code, words)))

    def headers(self, *headers: tuple[str, str]) -> None:
        self._do.append(("headers", list(headers)))

    def raw(self, data: bytes) -> None:
        """Send bytes instead of HTTP/2."""
        self._do.append(("raw", data))

    def wait(self) -> None:
        """Answer nothing more."""
        self._do.append(("wait", None))

    def drop(self) -> None:
        """Break all streams off, and then do as before."""
        self._do += [("drop", None), self._do[-1]]

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.asked += 1
                self.open += 1
                threading.Thread(target=self._serve, args=(connection, listener), daemon=True).start()

    def _serve(self, connection: socket.socket, listener: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError, h2.exceptions.H2Error):
                self._talk(connection, listener)
        finally:
            self.open -= 1

    def _talk(self, connection: socket.socket, listener: socket.socket) -> None:
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        connection.settimeout(0.01)
        done, asked, began = len(self._do) - 1, False, False
        while self._listener is listener:
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65_536)
                if not received:
                    return
                for event in http.receive_data(received):
                    asked = asked or isinstance(event, h2.events.StreamEnded)
                    if isinstance(event, h2.events.RequestReceived):
                        wanted = dict(event.headers)
                        assert wanted[":path"] == "/SpiffeWorkloadAPI/FetchX509SVID"
                        assert wanted["workload.spiffe.io"] == "true"
            while asked and done < len(self._do):
                what, given = self._do[done]
                done += 1
                if what == "drop":
                    return
                if what == "raw":
                    connection.sendall(given)
                    continue
                if what == "wait":
                    continue
                if what == "headers":
                    http.send_headers(1, given)
                    began = True
                    continue
                if not began:
                    http.send_headers(1, HEADERS)
                    began = True
                if what == "refuse":
                    http.send_headers(1, [("grpc-status", str(given[0])), ("grpc-message", given[1])], end_stream=True)
                    connection.sendall(http.data_to_send())
                    return
                self._send(http, connection, given)
            connection.sendall(http.data_to_send())

    def _send(self, http: h2.connection.H2Connection, connection: socket.socket, data: bytes) -> None:
        while data:
            size = min(http.local_flow_control_window(1), http.max_outbound_frame_size, len(data))
            http.send_data(1, data[:size])
            data = data[size:]
            connection.sendall(http.data_to_send())
            while data and not http.local_flow_control_window(1):
                with contextlib.suppress(TimeoutError):
                    http.receive_data(connection.recv(65_536))
