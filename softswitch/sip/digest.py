"""Digest authentication (RFC 7616, 2617, 8760; in SIP RFC 3261 §22): both sides, no I/O.

The server side keeps no table of nonces: a nonce says when it was made and carries a keyed hash
that only this server can make. What is kept is which counts (`nc`) of a nonce were used, so that an
overheard request cannot be sent again; that memory is bounded.

Parameters are parsed as phones send them: commas inside quotes, an unquoted `uri`, a comma at the
end.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from softswitch.sip.header_values import parse_uri
from softswitch.sip.message import Request

MAX_CREDENTIALS: Final = 4096
"""Characters of an Authorization value that are looked at; a longer one is malformed."""
MAX_NONCES: Final = 100_000
"""Nonces whose used counts are remembered (about 200 bytes each)."""
MAX_CACHED: Final = 100_000
"""Users whose hashed password is kept ready, times algorithms."""

ALGORITHMS: Final = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}

# As IPsec does it (RFC 4303 §3.4.3): over UDP two requests may overtake each other, so a count that
# is lower than the highest is good if it was not used yet and is not too far behind.
_WINDOW: Final = 64
_STAMP: Final = 24  # hex digits of a nonce before its hash: 12 milliseconds, 12 serial number
_MAC_BYTES: Final = 12

# One parameter and the comma after it or, in the last group, all from what is out of place: nothing
# is tried twice, so that the time is linear.
_PARAM_RE = re.compile(
    r"([A-Za-z0-9\-.!%*_+`'~]++)\s*+=\s*+"
    r"(?:\"([^\"\\]*+(?:\\.[^\"\\]*+)*+)\"|([^\s,\"]++))\s*+(?:,[\s,]*+|\Z)"
    r"|([^\s,].*+)",
    re.S,
)
_SCHEME_RE = re.compile(r"\s*([A-Za-z0-9\-.!%*_+`'~]+)(?:\s+|\Z)")
_NC_RE = re.compile(r"[0-9A-Fa-f]{1,8}\Z")
_QUOTED_PAIR_RE = re.compile(r"\\(.)", re.S)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The request comes from one who knows the password of `username`.

    `nonce` numbers the challenge that was answered, greater for a later one. `other_uri` is what
    the credentials are for, if that is not the request's URI; else empty.
    """

    username: str
    nonce: int = field(default=0, compare=False)
    other_uri: str = ""


@dataclass(frozen=True, slots=True)
class Unauthenticated:
    """No credentials that this server could check: challenge.

    `stale`: the password was right, but the nonce is used up.
    """

    stale: bool


@dataclass(frozen=True, slots=True)
class WrongPassword:
    """The password is not that of `username`, or nobody has that name; nothing here tells which."""

    username: str


@dataclass(frozen=True, slots=True)
class MalformedCredentials:
    """Credentials that no right client sends; `reason` is fit for the phrase of a 400."""

    reason: str


Secret: TypeAlias = str | Mapping[str, str]
"""A password, or what is kept in its place: HA1 (RFC 7616 §3.4.2) in hex, by algorithm."""
Outcome: TypeAlias = Authenticated | Unauthenticated | WrongPassword | MalformedCredentials

_CHALLENGE: Final = Unauthenticated(stale=False)
_STALE: Final = Unauthenticated(stale=True)


def parse_credentials(value: str) -> tuple[str, dict[str, str]]:
    """The scheme, in lower case, and the unquoted parameters of a challenge or of credentials.

    Parameter names are in lower case. Of a scheme other than Digest the parameters are not read.
    ValueError if `value` is neither.
    """
    match = _SCHEME_RE.match(value)
    if match is None or len(value) > MAX_CREDENTIALS:
        raise ValueError("no authentication scheme" if match is None else "credentials too long")
    scheme = match.group(1).lower()
    params: dict[str, str] = {}
    if scheme != "digest":
        return scheme, params
    for name, quoted, token, wrong in _PARAM_RE.findall(value, match.end()):
        if wrong:
            raise ValueError("bad parameters")
        name = name.lower()
        if name in params:
            raise ValueError(f"several {name}")  # RFC 7616 §3.4
        params[name] = token or (_QUOTED_PAIR_RE.sub(r"\1", quoted) if "\\" in quoted else quoted)
    return scheme, params


def claimed_user(request: Request, header: str) -> str | None:
    """For whom the credentials of a request are, true or not; None if there are none to read."""
    for value in request.headers.get(header, ()):
        try:
            scheme, params = parse_credentials(value)
        except ValueError:
            continue
        if scheme == "digest" and "username" in params:
            return params["username"].partition("@")[0]
    return None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _response(algorithm: str, ha1: str, method: str, uri: str, nonce: str, qop_part: str) -> str:
    """RFC 7616 §3.4.1; `qop_part` is `nc:cnonce:qop:`, or empty for a client without qop."""
    make = ALGORITHMS[algorithm]
    ha2 = make(_bytes(f"{method}:{uri}")).hexdigest()
    return make(_bytes(f"{ha1}:{nonce}:{qop_part}{ha2}")).hexdigest()


class Digest:
    """The server side for one realm.

    `clock` returns seconds and never goes back. `key` is at least 16 random bytes, new with each
    start; nonces made with another key are stale. `nonce_lifetime` is in seconds. `algorithms` are
    offered in that order, best first (RFC 8760 §2.3); some clients look at the first only, and SIPp
    3.6 gives up if that is not MD5. `any_uri`: credentials may be for another URI than that of
    their request, as those of PyVoIP and of SIPp are; method and nonce they are for in any case.
    ValueError for a realm or algorithm that cannot be offered.
    """

    def __init__(
        self,
        realm: str,
        clock: Callable[[], float],
        key: bytes,
        nonce_lifetime: float,
        *,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
        any_uri: bool = False,
        max_nonces: int = MAX_NONCES,
        max_cached: int = MAX_CACHED,
    ) -> None:
        if not realm.isprintable() or '"' in realm or "\\" in realm:
            raise ValueError(f"realm {realm!r} has quotes, backslashes or control characters")
        if len(key) < 16:
            raise ValueError("key of less than 16 bytes")
        self.realm = realm
        self.take_up(nonce_lifetime, algorithms, any_uri)
        self._clock = clock
        self._key = hashlib.blake2b(key).digest()
        self._max_nonces = max_nonces
        self._max_cached = max_cached
        self._serial = 0
        # Serial number of a nonce: when it was made (ms), the highest count used, and a bit for
        # that and each of the counts below it.
        self._used: dict[int, tuple[int, int, int]] = {}
        # Nonces up to this serial number that are not in _used were forgotten: they count as used
        # up.
        self._forgotten = -1
        self._ha1: dict[tuple[str, str], tuple[str, str]] = {}
        # Stands in for the hash of a user that does not exist; same length, same work after it.
        self._nobody = {
            name: ALGORITHMS[name](self._key + name.encode()).hexdigest() for name in ALGORITHMS
        }

    def take_up(self, nonce_lifetime: float, algorithms: tuple[str, ...], any_uri: bool) -> None:
        """Challenge by other settings from now on. ValueError for an unknown algorithm."""
        unknown = [name for name in algorithms if name not in ALGORITHMS]
        if unknown or not algorithms:
            raise ValueError(f"algorithms {algorithms}: choose from {', '.join(ALGORITHMS)}")
        self.nonce_lifetime = nonce_lifetime
        self.algorithms = algorithms
        self._any_uri = any_uri

    # --- challenging

    def challenge(self, stale: bool = False) -> list[str]:
        """The values for WWW-Authenticate or Proxy-Authenticate, one header each."""
        stamp = f"{int(self._clock() * 1000) & 0xFFFFFFFFFFFF:012x}{self._serial:012x}"
        self._serial += 1
        nonce = stamp + self._mac(stamp)
        tail = ", stale=true" if stale else ""
        return [
            f'Digest realm="{self.realm}", nonce="{nonce}", algorithm={name}, qop="auth"{tail}'
            for name in self.algorithms
        ]

    def _mac(self, stamp: str) -> str:
        return hashlib.blake2b(
            stamp.encode(), digest_size=_MAC_BYTES, key=self._key, person=b"sip-nonce"
        ).hexdigest()

    # --- verifying

    def verify(
        self, request: Request, header: str, password_of: Callable[[str], Secret | None]
    ) -> Outcome:
        """What the credentials of `request` are worth.

        `header` is "authorization" or "proxy-authorization"; `password_of` gives the password of a
        user name, None for an unknown one. A name may come with a domain behind it (`1001@pbx`), as
        many phones send it: whichever that is, as there is one realm. The answer to
        `Unauthenticated` and to `WrongPassword` is the same 401 or 407 with `challenge`, so that a
        stranger learns no names.
        """
        for value in request.headers.get(header, ()):
            try:
                scheme, params = parse_credentials(value)
            except ValueError as error:
                return MalformedCredentials(f"Bad Credentials, {error}")
            # Other schemes (RFC 4475 §3.3.7) and credentials for other realms on the way (§22.3).
            if scheme != "digest" or params.get("realm", self.realm) != self.realm:
                continue
            algorithm = params.get("algorithm", "MD5").upper()
            if algorithm in self.algorithms:
                return self._check(request, algorithm, params, password_of)
        return _CHALLENGE

    def _check(
        self,
        request: Request,
        algorithm: str,
        params: dict[str, str],
        password_of: Callable[[str], Secret | None],
    ) -> Outcome:
        try:
            username, nonce, uri = params["username"], params["nonce"], params["uri"]
            response = params["response"].lower()
        except KeyError as error:
            return MalformedCredentials(f"Credentials Without {error.args[0]}")
        count = 1
        qop_part = ""
        if "qop" in params:
            nc = params.get("nc", "")
            if params["qop"].lower() != "auth":
                return MalformedCredentials("Credentials With Another qop")
            if _NC_RE.match(nc) is None or "cnonce" not in params:
                return MalformedCredentials("Credentials With Bad nc Or cnonce")
            count = int(nc, 16)
            qop_part = f"{nc}:{params['cnonce']}:{params['qop']}:"
        other_uri = "" if _same_resource(uri, request.uri) else uri
        if other_uri and not self._any_uri:
            return MalformedCredentials("Credentials For Another URI")
        user = username
        password = password_of(user)
        if password is None and "@" in username:
            user = username.partition("@")[0]
            password = password_of(user)
            # Known or not, with the same work; not kept, as there is no end of such names.
            if password is None or isinstance(password, str):
                ha1 = self._ha1_of(username, password or "", algorithm)
            else:
                # A hash has the name in it, and that is the one without a domain.
                ha1 = self._nobody[algorithm]
        elif isinstance(password, str):
            ha1 = self._hashed(username, password, algorithm)
        elif password is not None:
            ha1 = password.get(algorithm) or self._nobody[algorithm]
        else:
            ha1 = self._nobody[algorithm]
        wanted = _response(algorithm, ha1, request.method, uri, nonce, qop_part)
        right = hmac.compare_digest(_bytes(wanted), _bytes(response))
        if not right or password is None:
            return WrongPassword(user)
        # Only now the nonce: stale=true says that the password was right (RFC 7616 §3.3).
        if not self._use(nonce, count):
            return _STALE
        return Authenticated(user, int(nonce[12:_STAMP], 16), other_uri)

    def _hashed(self, username: str, password: str, algorithm: str) -> str:
        """HA1 of RFC 7616 §3.4.2; kept, because a user seldom changes the password."""
        kept = self._ha1.get((username, algorithm))
        if kept is not None and kept[0] == password:
            return kept[1]
        ha1 = self._ha1_of(username, password, algorithm)
        if len(self._ha1) >= self._max_cached:
            self._ha1.clear()
        self._ha1[username, algorithm] = (password, ha1)
        return ha1

    def _ha1_of(self, username: str, password: str, algorithm: str) -> str:
        return ALGORITHMS[algorithm](_bytes(f"{username}:{self.realm}:{password}")).hexdigest()

    def _use(self, nonce: str, count: int) -> bool:
        """Whether `nonce` is ours and in time, and `count` (1 and up) was not used with it before.

        A client without qop has no count, so for it a nonce is good for one request.
        """
        stamp = nonce[:_STAMP]
        if not hmac.compare_digest(_bytes(self._mac_of(stamp)), _bytes(nonce[_STAMP:])):
            return False
        made = int(stamp[:12], 16)
        if self._age(made) > self.nonce_lifetime:
            return False
        serial = int(stamp[12:], 16)
        used = self._used.get(serial)
        if used is None:
            if serial <= self._forgotten or count == 0:
                return False
            self.expire()
            if len(self._used) >= self._max_nonces:
                oldest = next(iter(self._used))
                del self._used[oldest]
                self._forgotten = max(self._forgotten, oldest)
            self._used[serial] = (made, count, 1)
            return True
        _, highest, mask = used
        if count > highest:
            shift = count - highest
            mask = ((mask << shift) | 1) & ((1 << _WINDOW) - 1) if shift < _WINDOW else 1
            self._used[serial] = (made, count, mask)
            return True
        bit = 1 << (highest - count) if highest - count < _WINDOW else 0
        if count == 0 or not bit or mask & bit:
            return False
        self._used[serial] = (made, highest, mask | bit)
        return True

    def expire(self) -> None:
        """Forgets the nonces that are out of time; every new one does it, so call it when idle."""
        while self._used:
            serial = next(iter(self._used))
            if self._age(self._used[serial][0]) <= self.nonce_lifetime:
                return
            del self._used[serial]

    def _age(self, made: int) -> float:
        """Seconds since a nonce was made; the milliseconds in it count modulo 2**48."""
        return ((int(self._clock() * 1000) - made) & 0xFFFFFFFFFFFF) / 1000

    def _mac_of(self, stamp: str) -> str:
        # Text that is not ASCII cannot be ours, and its hash matches nothing it could bring along.
        return self._mac(stamp) if stamp.isascii() else self._mac("")


def hashes(username: str, realm: str, password: str) -> dict[str, str]:
    """HA1 of all algorithms that there are (RFC 7616 §3.4.2), to be kept in a password's place."""
    text = _bytes(f"{username}:{realm}:{password}")
    return {name: make(text).hexdigest() for name, make in ALGORITHMS.items()}


def _same_resource(uri: str, request_uri: str) -> bool:
    """Whether the `uri` of credentials means the Request-URI (RFC 7616 §3.4.6).

    Phones and the proxies before them differ in parameters, port and case, so user and host decide.
    """
    if uri == request_uri:
        return True
    try:
        one, other = parse_uri(uri), parse_uri(request_uri)
    except ValueError:
        return False
    return one.user == other.user and one.host == other.host


# --- the client's side


def answer(
    challenge_value: str,
    method: str,
    uri: str,
    username: str,
    password: str,
    cnonce: str,
    nc: int = 1,
) -> str:
    """The Authorization or Proxy-Authorization value that answers one challenge value.

    `nc` counts the requests answered with this challenge's nonce, from 1. ValueError for a
    challenge that is malformed or asks for what is not known here: the caller takes the next one
    (RFC 8760 §2.4).
    """
    scheme, params = parse_credentials(challenge_value)
    if scheme != "digest" or "realm" not in params or "nonce" not in params:
        raise ValueError(f"no digest challenge: {challenge_value[:80]!r}")
    algorithm = params.get("algorithm", "MD5").upper()
    if algorithm not in ALGORITHMS:
        raise ValueError(f"digest algorithm {algorithm!r} is not supported")
    qop_part = qop_params = ""
    if "qop" in params:
        if "auth" not in [name.strip().lower() for name in params["qop"].split(",")]:
            raise ValueError(f"digest qop {params['qop']!r} is not supported")
        qop_part = f"{nc:08x}:{cnonce}:auth:"
        qop_params = f', qop=auth, nc={nc:08x}, cnonce="{cnonce}"'
    realm, nonce = params["realm"], params["nonce"]
    ha1 = ALGORITHMS[algorithm](_bytes(f"{username}:{realm}:{password}")).hexdigest()
    response = _response(algorithm, ha1, method, uri, nonce, qop_part)
    # Echoed only if it came: servers of RFC 2069 know no such parameter.
    echoed = f", algorithm={params['algorithm']}" if "algorithm" in params else ""
    opaque = f", opaque={_quoted(params['opaque'])}" if "opaque" in params else ""
    return (
        f"Digest username={_quoted(username)}, realm={_quoted(realm)}, nonce={_quoted(nonce)}, "
        f'uri="{uri}", response="{response}"{echoed}{qop_params}{opaque}'
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
