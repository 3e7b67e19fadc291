"""Authorities: whose certificates are believed, and what is made of them."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from ztfast import _core, plain
from ztfast.errors import ConfigError, CredentialError, Error, ForkedError
from ztfast.gate import Session
from ztfast.identity import asn1, changes, forwarded, ocsp
from ztfast.identity.chain import certificate_of
from ztfast.identity.config import Authority, Config, Proxy, load, read, trust_domain_of
from ztfast.identity.credential import Credential, Verified
from ztfast.identity.grounds import Ground
from ztfast.identity.proved import Proved
from ztfast.identity.rules import Rule, map_proved
from ztfast.identity.sources import Taken, binding_of, others_of, plain_der, stapled, take
from ztfast.shown import brief, refused
from ztfast.uid import Uid

__all__ = ["Authorities", "Reloaded"]

_LOG = logging.getLogger("ztfast")

MOST_BUNDLES = 1024
"""The most trust domains that the Workload API may give."""

MOST_IN_BUNDLE = 256

SAID_AGAIN_S = 60.0
"""After how many seconds the logger is told again of a failure that stays."""

_Bundles = Mapping[tuple[str, str], tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a configuration that was read anew changed.

    Attributes:
        changed: Whether anything is different.
        epoch: The epoch of the authorities from now on.
        fell: The grounds that fell: sessions that rest on them must end.
    """

    changed: bool
    epoch: int
    fell: tuple[Ground, ...] = ()


@dataclass(frozen=True, slots=True)
class _State:
    """What a verification needs, swapped as a whole."""

    # With the bundles that the Workload API gave.
    config: Config
    verifier: _core.Verifier
    epoch: int
    rules: Mapping[str, tuple[Rule, ...]]
    proxies: Mapping[Uid, Proxy]
    serials: Mapping[bytes, frozenset[bytes]]
    issuers: Mapping[str, Mapping[bytes, tuple[bytes, ...]]]
    """The CAs of each authority, by the DER of their names."""


class Authorities:
    """The authorities of a configuration: they take credentials, and verify them when they are asked to.

    :meth:`load` and :meth:`from_dict` make them. One object serves all threads. It belongs to the process that made
    it: a forked child loads its own.

    >>> from ztfast.identity import Authorities
    >>> Authorities.from_dict({"authority": [{"name": "desk", "kind": "x509", "anchor": ["root.pem"]}]})
    Traceback (most recent call last):
    ztfast.errors.ConfigError: authority[0].anchor: there is no such key: did you mean anchors?
    """

    def __init__(self, source: Callable[[], Config], *, threads: int = 2, queue: int = 1024) -> None:
        """Read the configuration from where ``source`` says. Use :meth:`load` or :meth:`from_dict`."""
        self._threads = _bounded("threads", threads, 64)
        self._queue = _bounded("queue", queue, 1 << 20)
        self._source = source
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], Callable[[Reloaded], object] | None]] = []
        self._counted: dict[str, int] = {}
        self._bundles: dict[tuple[str, str], tuple[bytes, ...]] = {}
        self._base = source()
        self._state = self._prepare(self._base, self._bundles)
        self._closed = threading.Event()
        self._refreshes: threading.Thread | None = None
        self._follow()

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int = 2, queue: int = 1024) -> Self:
        """Load a configuration from a file of TOML, as ``ztfast.toml``.

        Args:
            path: The file. Paths in it are relative to its folder.
            threads: How many threads verify.
            queue: How many verifications may wait for one. Beyond that, they are refused at once.

        Raises:
            ConfigError: if a file cannot be read, or something is wrong; the message names the file, the line and what
                to do.
            ArgumentError: if a number is out of its range.
        """
        return cls(lambda: load(path), threads=threads, queue=queue)

    @classmethod
    def from_dict(
        cls, config: dict[str, Any], *, base: str | os.PathLike[str] = ".", threads: int = 2, queue: int = 1024
    ) -> Self:
        """Load a configuration that a program makes: what the file would say, as a dict.

        Args:
            config: The configuration.
            base: The folder that paths are relative to.
            threads: As for :meth:`load`.
            queue: As for :meth:`load`.

        Raises as :meth:`load` does.
        """
        return cls(lambda: read(config, base), threads=threads, queue=queue)

    @property
    def epoch(self) -> int:
        """64 bits that are others after each change of the configuration: what was proved before counts no more."""
        return self._state.epoch

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the authorities, in the order in which they are asked."""
        return tuple(one.name for one in self._state.config.authorities)

    @property
    def proxies(self) -> tuple[Uid, ...]:
        """Who may forward certificates."""
        return tuple(self._state.proxies)

    def x509(
        self,
        source: Any,
        *,
        chain: Any = (),
        authority: str | None = None,
        ocsp: bytes | None = None,
        binding: bytes | bool | None = None,
    ) -> Credential:
        """Take a certificate as a credential. It is not verified here: ``engine.admit(credential)`` does that.

        Args:
            source: The certificate as DER or PEM (the leaf first), an object of pyca ``cryptography``; or a connection
                on which the other side has shown it: an ``ssl.SSLSocket`` or ``SSLObject``, a transport or
                ``StreamWriter`` of asyncio, or a connection of pyOpenSSL. Before Python 3.13, ``ssl`` shows only the
                leaf: give the rest as ``chain``, or as ``intermediates`` of the configuration.
            chain: More certificates of the chain, in any order: a list, or PEM.
            authority: The name of the authority that has to prove it; by default, each is asked.
            ocsp: A stapled OCSP answer, as DER.
            binding: ``True`` to take the channel binding ``tls-exporter`` (RFC 9266) of the connection, or its 32
                bytes.

        Raises:
            ArgumentError: if an argument is of a wrong type, there is no such authority, or the connection cannot
                export the binding.
            CredentialError: with code "no-certificate" if there is none: the handshake is not done, the other side has
                shown none, or the connection is closed; "malformed", "private-key" or "too-large" for bad PEM.
            ImportError: if an OCSP answer is given, and pyca ``cryptography`` is missing.
        """
        # The usual one first: this is on the way of every admission.
        if not chain and authority is None and ocsp is None and binding is None:
            der = plain_der(source)
            if der is not None:
                return Credential(self, der)
        return self._credential(take(source), chain, authority, ocsp, binding)

    def _credential(self, taken: Taken, chain: Any, authority: Any, answer: Any, binding: Any) -> Credential:
        name = None
        if authority is not None:
            name = plain.text(authority)
            if name is None or name not in self.names:
                known = ", ".join(self.names)
                raise refused("authority", f"the name of an authority ({known})", authority)
        own_answer = stapled(answer)
        if own_answer is not None:
            ocsp.ready()
        others = taken.others if plain.is_a(chain, tuple) and not chain else (*taken.others, *others_of(chain))
        return Credential(self, taken.leaf, others, name, own_answer, binding_of(binding, taken))

    def forwarded(self, headers: Any, *, proxy: Session, authority: str | None = None) -> Credential:
        """Take the certificate that a proxy forwards in a header, as a credential of the proxy's client.

        The proxy has verified that its client has the key. All else of the certificate is verified as of any other.

        Args:
            headers: The headers of the request, all of them: a dict, a list of pairs, or the headers of a framework
                that keep what is there twice. It counts exactly one header: X-Forwarded-Client-Cert as Envoy writes it,
                or Client-Cert with Client-Cert-Chain (RFC 9440), whichever the configuration says that this proxy
                writes.
            proxy: The session of the proxy, which its own certificate opened on this very connection.
            authority: As for :meth:`x509`.

        Raises:
            ArgumentError: if these are no headers or no session, or there is no such authority.
            CredentialError: with code "proxy" if the session is over or its principal is no ``[[proxy]]``; with code
                "forwarded" if it is not certain which certificate the proxy means; "no-certificate" if there is none;
                "malformed", "private-key" or "too-large" if it cannot be read.
        """
        known = forwarded.check_proxy(proxy, self._state.proxies)
        sent = forwarded.read(headers, known)
        plainly = self._credential(Taken(sent.leaf, sent.others, None), (), authority, None, None)
        return Credential(self, plainly.leaf, plainly.others, plainly.authority, proxy=proxy)

    def check(self, credential: Credential) -> None:
        """Check what has to hold at each admission, also of a credential that was verified before: its proxy.

        Raises:
            CredentialError: with code "proxy" if a proxy forwarded it whose session is over, or that is none any more.
        """
        if credential.proxy is not None:
            forwarded.check_proxy(credential.proxy, self._state.proxies)

    def verify(self, credential: Credential, now_ns: int | None = None) -> Verified:
        """Verify a credential now, and map it. Nothing is remembered: ``engine.admit`` does that.

        Args:
            credential: The credential.
            now_ns: The time, in nanoseconds since the epoch; by default that of the call.

        Raises:
            ArgumentError: if it is no credential of these authorities, or no time.
            CredentialError: if it is refused; the code says why, "no-rule" that nothing maps it.
            ForkedError: in a child of the process that loaded the authorities.
        """
        self._check_process()
        if not plain.is_a(credential, Credential) or credential.authorities is not self:
            raise refused("verify", "a credential that these authorities took", credential)
        now = time.time_ns() if now_ns is None else plain.integer(now_ns)
        if now is None or not 0 <= now < 1 << 63:
            raise refused("now_ns", "nanoseconds since the epoch", now_ns)
        self.check(credential)
        state = self._state
        if credential.authority is not None and credential.authority not in state.rules:
            gone = f"authority {brief(credential.authority)} is not in the configuration any more"
            raise CredentialError("unknown-authority", gone)
        asked = [one for one in state.config.authorities if credential.authority in (None, one.name)]
        if not any(map(_has_anchors, asked)):
            why = "the Workload API has given no bundle yet"
            raise CredentialError("unknown-trust-domain", f"{', '.join(brief(one.name) for one in asked)}: {why}")
        staple = None
        if credential.ocsp is not None:
            name = asn1.certificate_fields(credential.leaf).issuer
            known = [der for one in asked for der in state.issuers[one.name].get(name, ())]
            staple = ocsp.check(credential.ocsp, credential.leaf, (*credential.others, *known), now)
        told = state.verifier.verify(credential.authority, [credential.leaf, *credential.others], now, staple)
        kind = next((one.kind for one in state.config.authorities if one.name == told["authority"]), "x509")
        proved = Proved.of(told, state.epoch, kind)
        return Verified(proved, map_proved(state.rules[proved.authority], proved))

    def reload(self) -> Reloaded:
        """Read the configuration and all its files anew. It is taken as a whole, or not at all.

        Raises:
            ConfigError: if a file cannot be read, something is wrong, or a CRL is older than one that was seen; all is
                as it was then.
            ForkedError: in a child of the process that loaded the authorities.
        """
        self._check_process()
        with self._lock:
            config = self._source()
            kept = {key: anchors for key, anchors in self._bundles.items() if _takes(config, *key)}
            return self._swap(config, kept)

    def set_trust_domain(self, authority: str, trust_domain: str, anchors: Iterable[bytes]) -> Reloaded:
        """Give a trust domain of a SPIFFE authority other anchors, as the Workload API tells them.

        Args:
            authority: The authority's name.
            trust_domain: The trust domain. If the configuration names trust domains, it must be one of them.
            anchors: Its anchors, as DER; none take the trust domain away.

        Raises:
            ArgumentError: if there is no such authority, or the anchors are no certificates.
            ConfigError: if the trust domain is not one that the authority takes, or an anchor cannot be used; all is
                as it was then.
            ForkedError: in a child of the process that loaded the authorities.
        """
        self._check_process()
        name, domain = plain.text(authority), plain.text(trust_domain)
        listed = plain.elements(anchors, MOST_IN_BUNDLE)
        if listed is None:
            raise refused("anchors", f"a list of at most {MOST_IN_BUNDLE} certificates", anchors)
        if name is None or domain is None:
            raise refused("set_trust_domain", "the names of an authority and a trust domain", (authority, trust_domain))
        try:
            ders = tuple(dict.fromkeys(certificate_of(each) for each in listed))
            for der in ders:
                asn1.certificate_fields(der)
        except CredentialError as error:
            raise ConfigError(f"trust domain {brief(domain)}: {error}") from error
        with self._lock:
            if name not in self.names:
                raise refused("authority", f"the name of an authority ({', '.join(self.names)})", authority)
            if not _takes(self._base, name, trust_domain_of(domain)):
                raise ConfigError(f"authority {brief(name)} takes no trust domain {brief(domain)}: name it there")
            bundles = {**self._bundles, (name, domain): ders}
            if not ders and not _has_file(self._base, name, domain):
                del bundles[name, domain]
            if len(bundles) > MOST_BUNDLES:
                raise ConfigError(f"more than {MOST_BUNDLES:,} trust domains")
            return self._swap(self._base, bundles)

    def listen(self, told: Callable[[Reloaded], object]) -> None:
        """Call a function after each change, with what fell, in the thread that made it.

        A method is held weakly: it is called as long as its object lives. What it raises is told to the logger.

        Raises:
            ForkedError: in a child of the process that loaded the authorities.
        """
        self._check_process()
        held: Callable[[], Callable[[Reloaded], object] | None]
        held = weakref.WeakMethod(told) if hasattr(told, "__self__") and hasattr(told, "__func__") else lambda: told
        with self._lock:
            self._listeners.append(held)

    def revoked(self) -> Iterator[Ground]:
        """Return the grounds of all serial numbers that the CRLs revoke."""
        for issuer, serials in self._state.serials.items():
            for serial in sorted(serials):
                yield Ground.revoked_serial(issuer, serial)

    def counters(self) -> dict[str, int]:
        """Return how many credentials were verified (``"verified"``), and how many were refused, by code.

        ``"remembered"`` are those that were refused again without a verification.

        Raises:
            ForkedError: in a child of the process that loaded the authorities.
        """
        self._check_process()
        with self._lock:
            counted, now = self._counted, self._state.verifier.counters()
        return {name: counted.get(name, 0) + now.get(name, 0) for name in {**counted, **now}}

    def close(self) -> None:
        """Stop reading the configuration anew. What was taken can still be verified."""
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ztfast.identity.Authorities {', '.join(map(brief, self.names))}>"

    def _check_process(self) -> None:
        # The threads that verify do not live on in a child.
        if os.getpid() != self._process:
            raise ForkedError("these authorities were loaded before the process forked: load them anew in the child")

    def _swap(self, base: Config, bundles: dict[tuple[str, str], tuple[bytes, ...]]) -> Reloaded:
        """Replace everything, under the lock, and tell the listeners what fell."""
        config = _with(base, bundles)
        old = self._state
        if config == old.config:
            self._base, self._bundles = base, bundles
            return Reloaded(False, old.epoch)
        new = self._prepare(base, bundles)
        for name, count in old.verifier.counters().items():
            self._counted[name] = self._counted.get(name, 0) + count
        self._base, self._bundles, self._state = base, bundles, new
        fell = changes.fallen(old.config, new.config, old.serials, new.serials)
        reloaded = Reloaded(True, new.epoch, fell)
        _LOG.info("authorities: the configuration changed; %d grounds fell", len(fell))
        for held in list(self._listeners):
            told = held()
            if told is None:
                self._listeners.remove(held)
                continue
            try:
                told(reloaded)
            except Exception:
                _LOG.exception("authorities: a listener failed")
        self._follow()
        return reloaded

    def _prepare(self, base: Config, bundles: _Bundles) -> _State:
        """Make the state of a configuration."""
        config = _with(base, bundles)
        try:
            serials = changes.serials_of(config)
        except CredentialError as error:
            raise ConfigError(": ".join(filter(None, (config.name, str(error)))), config.path) from error
        try:
            verifier = _core.Verifier(
                [_for_verifier(one) for one in config.authorities if _has_anchors(one)], **self._pool()
            )
        except ConfigError as error:
            raise _placed(error, config) from error
        rules = {
            one.name: tuple(rule for rule in config.rules if rule.authority == one.name) for one in config.authorities
        }
        proxies = {proxy.principal: proxy for proxy in config.proxies}
        issuers = {one.name: _by_name(one) for one in config.authorities}
        return _State(config, verifier, _epoch(verifier.epoch, config), rules, proxies, serials, issuers)

    def _pool(self) -> dict[str, int]:
        return {"threads": self._threads, "queue": self._queue}

    def _follow(self) -> None:
        """Begin to read the configuration anew, if that is asked for."""
        if self._base.refresh_s is None or self._closed.is_set():
            return
        if self._refreshes is None or not self._refreshes.is_alive():
            arguments = (weakref.ref(self), self._closed, self._base.refresh_s)
            self._refreshes = threading.Thread(target=_refresh, args=arguments, name="ztfast-identity", daemon=True)
            self._refreshes.start()


def _refresh(held: weakref.ref[Authorities], closed: threading.Event, wait_s: float) -> None:
    """Read the configuration anew from time to time, as long as somebody has the authorities."""
    said, said_at = "", 0.0
    while not closed.wait(wait_s):
        authorities = held()
        if authorities is None:
            return
        try:
            authorities.reload()
            said = ""
        except Exception as error:
            now = time.monotonic()
            if str(error) != said or now - said_at >= SAID_AGAIN_S:
                trace = None if isinstance(error, Error) else error
                _LOG.warning("authorities: all stays as it was: %s", error, exc_info=trace)
                said, said_at = str(error), now
        refresh_s = authorities._base.refresh_s
        if refresh_s is None:
            return
        wait_s = refresh_s
        del authorities


def _bounded(what: str, given: Any, most: int) -> int:
    number = plain.integer(given)
    if number is None or not 1 <= number <= most:
        raise refused(what, f"a number from 1 to {most:,}", given)
    return number


def _placed(error: ConfigError, config: Config) -> ConfigError:
    """Return an error of the verifier with the place of the authority that it names."""
    said = str(error)
    one = next((one for one in config.authorities if said.startswith(f"authority {one.name}: ")), None)
    line = None if one is None else one.line
    place = config.name if line is None else f"{config.name}:{line}"
    return ConfigError(": ".join(filter(None, (place, said))), config.path, line)


def _takes(config: Config, authority: str, trust_domain: str) -> bool:
    """Return whether an authority takes a trust domain from the Workload API."""
    one = next((one for one in config.authorities if one.name == authority), None)
    return one is not None and one.kind == "spiffe" and (one.any_trust_domain or trust_domain in one.trust_domains)


def _has_file(config: Config, authority: str, trust_domain: str) -> bool:
    """Return whether the configuration gives a trust domain's anchors itself, so that their end has to be kept."""
    return any(one.name == authority and one.trust_domains.get(trust_domain) for one in config.authorities)


def _with(config: Config, bundles: _Bundles) -> Config:
    """Return a configuration with the anchors that the Workload API gave."""
    if not bundles:
        return config
    authorities = tuple(
        dataclasses.replace(
            one,
            trust_domains={
                **one.trust_domains,
                **{domain: anchors for (name, domain), anchors in sorted(bundles.items()) if name == one.name},
            },
        )
        for one in config.authorities
    )
    return dataclasses.replace(config, authorities=authorities)


def _has_anchors(authority: Authority) -> bool:
    """Return whether an authority can prove anything yet: the Workload API may not have given its bundles."""
    return authority.kind == "x509" or any(authority.trust_domains.values())


def _for_verifier(authority: Authority) -> dict[str, Any]:
    return {
        "name": authority.name,
        "kind": authority.kind,
        "anchors": list(authority.anchors),
        "intermediates": list(authority.intermediates),
        "crls": list(authority.crls),
        "revocation": authority.revocation,
        "pins": list(authority.pins),
        "trust_domains": {name: list(anchors) for name, anchors in authority.trust_domains.items() if anchors},
        "max_age_s": authority.max_age_s,
    }


def _by_name(authority: Authority) -> dict[bytes, tuple[bytes, ...]]:
    """Return the certificates of an authority's CAs by the DER of their names."""
    found: dict[bytes, tuple[bytes, ...]] = {}
    for der in dict.fromkeys(changes.cas_of(authority)):
        name = asn1.certificate_fields(der).subject
        found[name] = (*found.get(name, ()), der)
    return found


def _epoch(verifier: int, config: Config) -> int:
    """Return 64 bits over all that decides what is proved, and what is made of it."""
    rules = [(rule.name, rule.authority, rule.written) for rule in config.rules]
    proxies = [(tuple(proxy.principal), proxy.header) for proxy in config.proxies]
    digest = sha256(repr((verifier, rules, proxies)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") or 1
