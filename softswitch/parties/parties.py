"""All parties of a switch, put together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from softswitch.calls import PASSED, TO_CARRIERS, Caller, Journal, KnownParties
from softswitch.config import CallerId, NumberForm
from softswitch.configuration import Config
from softswitch.dialplan import Source
from softswitch.parties.authentication import Authentication
from softswitch.parties.bans import BanLimits, Bans
from softswitch.parties.bindings import Binding
from softswitch.parties.callers import Callers
from softswitch.parties.destinations import Destinations
from softswitch.parties.enrolments import Enrolments
from softswitch.parties.gruus import Gruus
from softswitch.parties.lines import Lines
from softswitch.parties.qualifying import Qualifying
from softswitch.parties.registered import say_registered, say_unregistered
from softswitch.parties.registering import Registering
from softswitch.parties.registrar import Gone, Registrar, Settings
from softswitch.parties.registrations import Registrations
from softswitch.parties.screening import Guesses, GuessLimits
from softswitch.parties.sources import Sources
from softswitch.parties.trunk_checks import TrunkChecks
from softswitch.parties.trunks import Trunks
from softswitch.sip import Account, Digest, Network, Timers, Tokens, Transactions, Uri

log = logging.getLogger(__name__)

_Table = TypeVar("_Table")


def ban_limits(config: Config) -> BanLimits:
    """What a stranger at one address may send."""
    limits, timers = config.limits, config.timers
    return BanLimits(
        limits.stranger_rate,
        limits.stranger_burst,
        limits.ban_guesses,
        timers.ban_first,
        timers.ban_longest,
        limits.max_bans,
    )


def _replace(table: dict[str, _Table], entries: Mapping[str, _Table]) -> None:
    table.clear()
    table.update(entries)


def forms_of(config: Config) -> dict[str, tuple[NumberForm, ...]]:
    """What becomes of callers' numbers, by the trunk from which they come."""
    return {name: trunk.caller_forms for name, trunk in config.trunks.items() if trunk.caller_forms}


class Parties(KnownParties):
    """Each of them, and the tables that they share.

    `journal` gives the journal, if there is one; `now_us` is the time of day, in microseconds, and
    `ahead` by how many seconds it is ahead of the clock of `timers`. `boot` is that of
    `Registrations`.
    """

    def __init__(
        self,
        config: Config,
        settings: Settings,
        guess_limits: GuessLimits,
        network: Network,
        timers: Timers,
        tokens: Tokens,
        transactions: Transactions,
        journal: Callable[[], Journal | None],
        now_us: Callable[[], int],
        ahead: Callable[[], float],
        boot: str,
    ) -> None:
        switch, clock = config.switch, timers.clock
        self.on_registered: Callable[[str], None] | None = None
        """Called with an extension of which a phone is new, or has moved."""
        self.on_unregistered: Callable[[str], None] | None = None
        """Called with an extension of which a phone is gone."""
        # The same tables for all who look into them, so that they can be changed (`take_up`).
        self.extensions = dict(config.extensions)
        self.trunk_entries = dict(config.trunks)
        self.digest = Digest(
            switch.name,
            clock,
            bytes.fromhex(tokens.token(64)),
            nonce_lifetime=config.timers.nonce_lifetime,
            algorithms=switch.digest,
            any_uri=switch.digest_any_uri,
        )
        self.guesses = Guesses(clock, guess_limits)
        self.registrar = Registrar(
            clock,
            settings,
            wall=lambda: now_us() / 1e6,
            token=tokens.token,
            registered=self._registered,
            unregistered=self._unregistered,
        )
        self.gruus = Gruus(self.registrar)
        self._transactions = transactions
        self.registrar.on_gruu = self._has_gruus
        self.registrations = Registrations(
            self.registrar, self.extensions, timers, journal, ahead, boot
        )
        self.trunks = Trunks(self.trunk_entries.values(), clock=clock)
        self.bans = Bans(clock, self._is_there, ban_limits(config), config.switch.allow)
        self.authentication = Authentication(
            self.digest,
            self.guesses,
            self.registrar,
            self.extensions,
            timers,
            transactions.refuse,
            self.bans,
        )
        self.registering = Registering(self.registrar, self.guesses)
        self.callers = Callers(self.extensions, config.limits.max_text, forms_of(config))
        self.sources = Sources(self.trunks, self.trunk_entries)
        self.lines = Lines(self.extensions, self.trunks)
        self.targets = Destinations(
            self.extensions, self.trunk_entries, self.registrar, self.trunks, self.lines, network
        )
        self.qualifying = Qualifying(
            switch.name,
            config.timers.qualify,
            self.registrar,
            self.targets.flow_to_phone,
            timers,
            tokens,
            transactions,
        )
        self.targets.is_lost = self.qualifying.is_lost
        self.accounts: dict[str, Account] = {}
        self.enrolments = Enrolments(
            self.accounts, self.targets, timers, tokens, transactions, "softswitch"
        )
        self.targets.routes = self.enrolments.routes
        self.enrolments.take_up(self.trunk_entries)
        self.sources.contacts = self.enrolments.contacts
        self.trunks.on_found = self._trunk_found
        self.trunk_checks = TrunkChecks(
            switch.name, self.trunks, self.targets, timers, tokens, transactions, self.accounts
        )

    def _is_there(self, network: str) -> bool:
        """Whether a trunk or a registered phone is at an address."""
        return self.registrar.is_at(network) or self.trunks.may_be_from(network)

    def _has_gruus(self) -> None:
        """Until then no message is looked at."""
        self._transactions.translate = self.gruus.translate

    def _trunk_found(self, name: str) -> None:
        for host, _ in self.trunks.addresses(name):
            if self.bans.lift(host):
                log.info("%s is banned no more: trunk %s is there now", host, name)
        self.enrolments.found(name)

    def _registered(self, extension: str, binding: Binding) -> None:
        say_registered(extension, binding)
        if self.on_registered is not None:
            self.on_registered(extension)

    def _unregistered(self, extension: str, binding: Binding, why: Gone) -> None:
        say_unregistered(extension, binding, why)
        if self.on_unregistered is not None:
            self.on_unregistered(extension)

    def passes(self, party: str) -> frozenset[str]:
        """The headers that may go to and come from a party (`softswitch.calls.passing`)."""
        kind, _, name = party.partition(":")
        if kind == "extension":
            extension = self.extensions.get(name)
            own = extension.pass_headers if extension is not None else None
            return PASSED if own is None else own
        trunk = self.trunk_entries.get(name)
        if trunk is None:
            return TO_CARRIERS
        if trunk.pass_headers is not None:
            return trunk.pass_headers
        return PASSED if trunk.switch else TO_CARRIERS

    def switch_at(self, uri: Uri) -> str:
        """The trunk that leads to another of our switches, if this is its address; else empty."""
        there = (uri.host.strip("[]"), uri.port or 5060)
        for name, trunk in self.trunk_entries.items():
            if trunk.switch and there in self.trunks.addresses(name):
                return name
        return ""

    def source_of(self, party: str) -> Source:
        """Who a party is to the dialplan."""
        kind, _, name = party.partition(":")
        if kind == "extension":
            return Source("extension", name)
        trunk = self.trunk_entries.get(name)
        return Source("trunk", name, trunk is not None and trunk.switch)

    def may_refer(self, party: str) -> bool:
        """Whether a party may transfer whom it talks with."""
        return party.startswith("extension:") or party[6:] in self.sources.refer

    def may_prack(self, party: str) -> bool:
        """Whether a party may have and give reliable provisional responses."""
        kind, _, name = party.partition(":")
        known = self.extensions.get(name) if kind == "extension" else self.trunk_entries.get(name)
        return known is None or known.prack

    def may_pick_up(self, party: str, other: str) -> bool:
        """Whether a party may take calls that ring at another: they share a group."""
        one = self.extensions.get(party.removeprefix("extension:"))
        two = self.extensions.get(other.removeprefix("extension:"))
        return one is not None and two is not None and not one.pickup.isdisjoint(two.pickup)

    def named(self, party: str, number: str) -> Caller:
        """How a party that was called is shown to whom it is to talk with next."""
        kind, _, name = party.partition(":")
        extension = self.extensions.get(name) if kind == "extension" else None
        return Caller(number, extension.name if extension is not None else "")

    def is_ours(self, party: str) -> bool:
        """Whether a party is a phone or one of our switches."""
        return party not in self.sources.outside

    def caller_id(self, party: str) -> CallerId | None:
        """What carriers are shown of a party, if it is an extension that has it set."""
        kind, _, name = party.partition(":")
        extension = self.extensions.get(name) if kind == "extension" else None
        return extension.caller_id if extension is not None else None

    def passes_more(self) -> bool:
        """Whether some party's has more than the usual ones."""
        own = [one.pass_headers for one in self.extensions.values()]
        own += [one.pass_headers for one in self.trunk_entries.values()]
        return any(names - PASSED for names in own if names is not None)

    def take_up(self, config: Config, settings: Settings, guess_limits: GuessLimits) -> None:
        """Go on by another configuration. Registrations and what is known of trunks stay."""
        _replace(self.extensions, config.extensions)
        _replace(self.trunk_entries, config.trunks)
        switch = config.switch
        self.digest.take_up(config.timers.nonce_lifetime, switch.digest, switch.digest_any_uri)
        self.guesses.limits = guess_limits
        self.registrar.settings = settings
        self.qualifying.take_up(config.timers.qualify)
        self.callers.max_text = config.limits.max_text
        self.callers.forms = forms_of(config)
        self.trunks.take_up(self.trunk_entries.values())
        self.sources.take_up(self.trunk_entries)
        self.bans.take_up(ban_limits(config), config.switch.allow)
        self.enrolments.take_up(self.trunk_entries)
