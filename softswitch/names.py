"""Names of trunks looked up (RFC 3263): side by side, and nothing waits for a DNS that does not
answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from softswitch.config import AVAILABLE, Trunk
from softswitch.sip import Located, Naptr, NoSuchName, NotUnderstood, Srv, is_numeric, locate
from softswitch.switch import Switch

log = logging.getLogger("softswitch.parties.trunks")

AGAIN_AFTER: Final = 5.0
"""Seconds until a name that was not found is looked up again."""
AT_START: Final = 0.2
"""Seconds that a start waits for names, so that the first calls find them where DNS is well."""
LIFETIME: Final = 10.0
"""Seconds that one question may take, with all that is tried again."""
_SYSTEM_TTL: Final = 60.0
"""Seconds for which what the system says without a time of its own (its hosts file) is good."""

Found: TypeAlias = Located | Exception
"""Where a trunk is; or why nobody knows."""


class Resolver:
    """`softswitch.sip.Dns`, by way of these servers (address and port); none: the system's, and
    what else the system knows (its hosts file)."""

    def __init__(self, servers: Sequence[tuple[str, int]] = ()) -> None:
        self._system = not servers
        self._resolver: dns.resolver.Resolver | None = None
        with contextlib.suppress(dns.exception.DNSException, OSError):
            self._resolver = dns.resolver.Resolver(configure=self._system)
            self._resolver.lifetime = LIFETIME
            if servers:
                self._resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(host, port) for host, port in servers
                ]

    def _is_systems(self, name: str) -> bool:
        """Whether the system knows a name, and no DNS: a host of this network, or of a container's.
        `name` may be that of a service there."""
        host = name.split("._udp.")[-1].split("._tcp.")[-1]
        return self._system and ("." not in host or host.endswith((".local", ".localhost")))

    def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> dns.resolver.Answer:
        if self._is_systems(name):
            raise NoSuchName(f"{name}: asked of the system")
        if self._resolver is None:
            raise NoSuchName(f"{name}: this machine has no DNS")
        try:
            return self._resolver.resolve(name, kind, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as error:
            raise NoSuchName(f"{name}: no such name") from error
        except dns.resolver.NoNameservers as error:
            raise NotUnderstood(str(error)) from error
        except (dns.exception.DNSException, ValueError, UnicodeError) as error:
            # A label of more than 63 characters, a server that fails, none that answers.
            raise OSError(str(error) or type(error).__name__) from error

    def naptr(self, name: str) -> tuple[list[Naptr], float]:
        """See `Dns`."""
        answer = self._ask(name, dns.rdatatype.NAPTR)
        return [
            Naptr(
                one.order,
                one.preference,
                one.flags.decode("ascii", "replace"),
                one.service.decode("ascii", "replace"),
                one.replacement.to_text(omit_final_dot=True),
            )
            for one in answer
        ], float(answer.rrset.ttl if answer.rrset is not None else 0)

    def srv(self, name: str) -> tuple[list[Srv], float]:
        """See `Dns`."""
        answer = self._ask(name, dns.rdatatype.SRV)
        return [
            Srv(one.priority, one.weight, one.port, one.target.to_text(omit_final_dot=True))
            for one in answer
        ], float(answer.rrset.ttl if answer.rrset is not None else 0)

    def addresses(self, name: str) -> tuple[list[str], float]:
        """See `Dns`."""
        if is_numeric(name):
            return [name.strip("[]")], _SYSTEM_TTL
        if self._is_systems(name):
            return self._of_the_system(name)
        found: list[str] = []
        ttl = 86_400.0
        why: OSError | None = None
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                answer = self._ask(name, kind)
            except OSError as error:
                # That there is none of one kind says nothing of the other.
                why = error if why is None or isinstance(why, NoSuchName) else why
                continue
            found += [one.address for one in answer]
            ttl = min(ttl, float(answer.rrset.ttl if answer.rrset is not None else 0))
        if found:
            return found, ttl
        if self._system:
            with contextlib.suppress(OSError):
                return self._of_the_system(name)
        raise why or NoSuchName(f"{name}: no such name")

    def _of_the_system(self, name: str) -> tuple[list[str], float]:
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
        except UnicodeError as error:
            raise OSError(str(error)) from error
        return list(dict.fromkeys(str(one[4][0]) for one in found)), _SYSTEM_TTL


def look_up(trunk: Trunk, servers: Sequence[tuple[str, int]] = (), lost: bool = True) -> Found:
    """Ask where a trunk is; may take as long as DNS does. `lost`: nobody knows where it was."""
    to = trunk.hop
    try:
        return locate(
            to.host,
            to.port if to.said_port else None,
            to.transport if to.said_transport else None,
            Resolver(servers),
            AVAILABLE,
            random.random,
            lost,
        )
    except OSError as error:
        return error


class Names:
    """Keeps the addresses of trunks that are named, not numbered, as DNS has them.

    Each look-up has a thread of its own, which nobody waits for: also not the end of the process.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        switch: Switch,
        ask: Callable[[Trunk], Found] | None = None,
    ) -> None:
        self._loop = loop
        self._switch = switch
        self._ask = ask or self._look_up
        self._asking: set[Trunk] = set()
        self._due: dict[str, float] = {}
        self._unknown: set[str] = set()
        self._answered = asyncio.Event()

    def _look_up(self, trunk: Trunk) -> Found:
        lost = not self._switch.trunks.addresses(trunk.name)
        return look_up(trunk, self._switch.config.switch.resolver, lost)

    def look_up(self) -> None:
        """Look up what is due. Call it every second, and when there are other trunks."""
        now = self._loop.time()
        trunks = self._switch.trunk_entries
        for name in [name for name in self._due if name not in trunks]:
            del self._due[name]
            self._unknown.discard(name)
        for trunk in trunks.values():
            if is_numeric(trunk.hop.host) or trunk in self._asking:
                continue
            if self._switch.trunks.addresses(trunk.name) and now < self._due.get(trunk.name, now):
                continue
            if trunk.name in self._unknown and now < self._due[trunk.name]:
                continue
            self._asking.add(trunk)
            thread = threading.Thread(target=self._run, args=(trunk,), daemon=True, name="names")
            thread.start()

    async def begin(self) -> None:
        """Look up all, and wait a moment for the answers."""
        self.look_up()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AT_START):
                while self._asking:
                    self._answered.clear()
                    await self._answered.wait()

    def _run(self, trunk: Trunk) -> None:
        found = self._ask(trunk)
        with contextlib.suppress(RuntimeError):  # the switch has stopped
            self._loop.call_soon_threadsafe(partial(self._take, trunk, found))

    def _take(self, trunk: Trunk, found: Found) -> None:
        self._asking.discard(trunk)
        self._answered.set()
        if self._switch.trunk_entries.get(trunk.name) != trunk:
            return  # it is another by now
        name = trunk.name
        if isinstance(found, Exception):
            self._due[name] = self._loop.time() + AGAIN_AFTER
            if name not in self._unknown:
                self._unknown.add(name)
                stays = ""
                if self._switch.trunks.addresses(name):
                    stays = "; it stays where it was"
                why = str(found)
                if trunk.hop.host not in why:
                    why = f"{trunk.hop.host}: {why}"
                log.warning("trunk %s: %s%s", name, why, stays)
            return
        timers = self._switch.config.timers
        ttl = min(max(found.ttl, timers.dns_least), timers.dns_longest)
        self._due[name] = self._loop.time() + ttl
        if name in self._unknown:
            self._unknown.discard(name)
            log.info("trunk %s: %s is found again", name, trunk.hop.host)
        self._switch.trunks.set_addresses(name, found.addresses, found.transport)
