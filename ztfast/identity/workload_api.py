"""The stream of a SPIFFE Workload API, gRPC over HTTP/2 on a UNIX socket, and its one answer.

Source: the SPIFFE standards Workload API, sections 4 and 5, and Workload Endpoint, sections 3, 4 and 6; gRPC over
HTTP/2. It is written upon h2, which has neither threads nor descriptors, so a fork leaves only a descriptor to close.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from ztfast.errors import ArgumentError
from ztfast.shown import brief, given, one_line

__all__ = ["Answer", "Broken", "Issued", "Refused", "Stream", "answer", "socket_path"]

METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
MAX_MESSAGE = 4 << 20
"""The most bytes of one answer: gRPC's own default."""

INVALID_ARGUMENT, PERMISSION_DENIED, UNIMPLEMENTED = 3, 7, 12
_OK = 0
_STATUS = {
    1: "CANCELLED",
    2: "UNKNOWN",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    10: "ABORTED",
    11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    15: "DATA_LOSS",
    16: "UNAUTHENTICATED",
}
_MAX_PATH = 107
_SENDING = 2.0
"""An agent that takes nothing for so many seconds has stopped."""


class Broken(Exception):
    """The stream ended, or the agent sent what is no answer; the message says what."""


class Refused(Exception):
    """The agent refused to answer.

    Attributes:
        code: gRPC's number of the status, for example :data:`PERMISSION_DENIED`.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{_STATUS.get(code, f'status {code}')}: {message or 'no reason given'}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Issued:
    """An SVID as the agent sent it, unchecked: the message X509SVID.

    Attributes:
        spiffe_id: The SPIFFE id that the agent says it has.
        certificates: The leaf and its intermediates in DER, one after another.
        key: The private key, PKCS#8 in DER.
        bundle: The trust anchors of its trust domain in DER, one after another.
    """

    spiffe_id: str
    certificates: bytes
    key: bytes
    bundle: bytes

    def __repr__(self) -> str:
        return f"<Issued {one_line(self.spiffe_id)}>"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the agent answered, unchecked: the message X509SVIDResponse.

    Attributes:
        issued: Our SVIDs; the first is the default one.
        federated: Trust anchors of other trust domains, as in :class:`Issued`, by the domain's name or SPIFFE id.
        crls: The number of CRLs that the answer holds.
    """

    issued: tuple[Issued, ...]
    federated: dict[str, bytes]
    crls: int


def socket_path(endpoint: object) -> str:
    """Return the path of a Workload API's endpoint (SPIFFE Workload Endpoint, section 4).

    TCP endpoints are refused: anyone who can take the port could hand us an identity.

    >>> socket_path("unix:///run/spire/agent.sock")
    '/run/spire/agent.sock'

    Raises:
        ArgumentError: if it is not ``unix://`` and an absolute path that the system can take.
    """
    wanted = "wanted unix:// and an absolute path, as 'unix:///run/spire/agent.sock'"
    if type(endpoint) is not str or not endpoint.startswith(("unix:///", "unix:/")):
        raise ArgumentError(f"socket: {wanted}; got {given(endpoint)}")
    parts = urllib.parse.urlsplit(endpoint)
    if parts.netloc or parts.query or parts.fragment or "%" in endpoint or not parts.path.isprintable():
        raise ArgumentError(f"socket: {wanted}, without query, fragment or escapes; got {given(endpoint)}")
    if len(parts.path.encode("utf-8", "replace")) > _MAX_PATH:
        raise ArgumentError(f"socket: the system takes paths of at most {_MAX_PATH} bytes; got {given(endpoint)}")
    return parts.path


class Stream:
    """One call of FetchX509SVID. One thread reads it; others may only :meth:`interrupt` it.

    Args:
        path: The path of the agent's socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._data = bytearray()
        self._ended = ""
        self._refusal: Refused | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def ask(self, within: float) -> None:
        """Connect and ask, within so many seconds.

        Raises:
            Broken: if the agent cannot be reached.
        """
        self._http.initiate_connection()
        # Agents refuse calls without workload.spiffe.io, which no request that a victim is made to send has.
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", METHOD),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "ztfast"),
            ("workload.spiffe.io", "true"),
        ]
        self._http.send_headers(1, headers)
        # The question has no field: no compression, length 0.
        self._http.send_data(1, bytes(5), end_stream=True)
        try:
            self._socket.settimeout(within)
            self._socket.connect(self._path)
            self._socket.sendall(self._http.data_to_send())
        except OSError as error:
            raise Broken(f"cannot reach the agent at {one_line(self._path)}: {_words(error)}") from None

    def next(self, until: float) -> Answer | None:
        """Wait for the next answer until this time of :func:`time.monotonic`; ``None`` means that none came.

        Raises:
            Refused: if the agent ended the call with a status.
            Broken: if the stream ended or is no gRPC.
        """
        while True:
            message = self._message()
            if message is not None:
                return answer(message)
            if self._refusal is not None:
                raise self._refusal
            if self._ended:
                raise Broken(self._ended)
            left = until - time.monotonic()
            if left <= 0:
                return None
            try:
                self._socket.settimeout(left)
                received = self._socket.recv(65_536)
            except TimeoutError:
                return None
            except OSError as error:
                raise Broken(f"the stream broke: {_words(error)}") from None
            self._take(received)

    def interrupt(self) -> None:
        """End the wait of the thread that reads."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # It has ended already.

    def close(self) -> None:
        """Close this process's descriptor. A parent's stream goes on where its child calls this."""
        self._socket.close()

    def _take(self, received: bytes) -> None:
        if not received:
            raise Broken("the agent closed the stream")
        try:
            for event in self._http.receive_data(received):
                self._on(event)
        except (h2.exceptions.H2Error, UnicodeDecodeError) as error:
            raise Broken(f"the agent does not speak HTTP/2: {brief(str(error)) or type(error).__name__}") from None
        # An agent may say why it refuses, and close the stream before it is thanked: what it said counts.
        with contextlib.suppress(OSError):
            self._socket.settimeout(_SENDING)
            self._socket.sendall(self._http.data_to_send())

    def _on(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self._data += event.data
            self._http.acknowledge_received_data(event.flow_controlled_length, 1)
            # A whole message may be followed by the beginning of another.
            if len(self._data) > 2 * (MAX_MESSAGE + 5):
                raise Broken(f"the agent sent an answer of more than {MAX_MESSAGE} bytes")
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self._headers({str(name): str(value) for name, value in event.headers})
        elif isinstance(event, h2.events.StreamEnded):
            self._ended = self._ended or "the agent ended the stream without a status"
        elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
            self._ended = self._ended or f"the agent broke the stream off (HTTP/2 error {event.error_code})"

    def _headers(self, headers: dict[str, str]) -> None:
        if headers.get(":status", "200") != "200":
            self._ended = f"the agent answered HTTP status {brief(headers[':status'])}, so it is no Workload API"
        if "grpc-status" not in headers:
            return
        text = headers["grpc-status"]
        code = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 2
        if code == _OK:
            self._ended = "the agent ended the stream"
        else:
            self._refusal = Refused(code, brief(urllib.parse.unquote(headers.get("grpc-message", "")[:400])))

    def _message(self) -> bytes | None:
        if len(self._data) < 5:
            return None
        size = int.from_bytes(self._data[1:5], "big")
        if self._data[0] != 0:
            raise Broken("the agent sent an answer that is compressed, which nobody asked for")
        if size > MAX_MESSAGE:
            raise Broken(f"the agent sent an answer of more than {MAX_MESSAGE} bytes")
        if len(self._data) < 5 + size:
            return None
        message = bytes(self._data[5 : 5 + size])
        del self._data[: 5 + size]
        return message


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "it takes nothing"
    return os.strerror(error.errno) if error.errno else str(error)


def answer(message: bytes) -> Answer:
    r"""Read the message X509SVIDResponse (workload.proto). Fields that it does not name are passed over.

    >>> answer(b"\n\x0f\n\rspiffe://td/a").issued
    (<Issued spiffe://td/a>,)

    Raises:
        Broken: if it is no such message.
    """
    issued: list[Issued] = []
    federated: dict[str, bytes] = {}
    crls = 0
    for number, value in _fields(message):
        if number == 1:
            issued.append(_issued(value))
        elif number == 2:
            crls += 1
        elif number == 3:
            entry = dict(_fields(value))
            name = _text(entry.get(1, b""))
            if name in federated:
                raise Broken("the agent sent two bundles of one trust domain")
            federated[name] = entry.get(2, b"")
    return Answer(tuple(issued), federated, crls)


def _issued(message: bytes) -> Issued:
    fields = dict(_fields(message))
    return Issued(_text(fields.get(1, b"")), fields.get(2, b""), fields.get(3, b""), fields.get(4, b""))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Broken("the agent sent a text that is not UTF-8") from None


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """List the fields of a message that are texts, bytes or messages, with their numbers (protobuf's wire format)."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, at = _varint(message, at)
            continue
        if kind == 2:
            size, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}.get(kind, -1)
        if number == 0 or size < 0 or at + size > len(message):
            raise Broken("the agent sent an answer that is cut off or no protobuf")
        if kind == 2:
            yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise Broken("the agent sent an answer that is cut off or no protobuf")
