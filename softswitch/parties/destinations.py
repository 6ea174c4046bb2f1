"""Destinations: where a target of the dialplan is just now, where a 3xx may lead, and where what is
said goes when its connection has closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from softswitch.calls import FULL, Destination
from softswitch.config import Extension, Trunk
from softswitch.dialplan import Dialplan, Source, Stages, Target
from softswitch.parties.bindings import Binding
from softswitch.parties.lines import Lines
from softswitch.parties.registrar import Registrar
from softswitch.parties.trunks import Trunks
from softswitch.sip import (
    Flow,
    Network,
    Request,
    Response,
    Session,
    Uri,
    escape_user,
    parse,
    parse_address,
    parse_uri,
    split_list,
)


class Destinations:
    """What a switch knows of where phones and trunks are."""

    def __init__(
        self,
        extensions: Mapping[str, Extension],
        names: Mapping[str, Trunk],
        registrar: Registrar,
        trunks: Trunks,
        lines: Lines,
        network: Network,
    ) -> None:
        self._extensions = extensions
        self._names = names
        self._registrar = registrar
        self._trunks = trunks
        self._lines = lines
        self._network = network
        self.is_lost: Callable[[str, Binding], bool] | None = None
        """Whether a phone of an extension is not to be rung."""
        self.routes: Mapping[str, tuple[str, ...]] = {}
        """By trunk, the proxies that it has asked for (RFC 3608)."""

    def of(
        self, target: Target, holder: object, instance: str = ""
    ) -> list[Destination] | tuple[int, str]:
        """Where a target of the dialplan is just now, or the status and phrase of why nowhere.

        Each has its line taken, for `holder`. `instance` is of the one phone that is meant, if it
        is not all of an extension.
        """
        if target.kind == "trunk":
            return self._trunk_destination(target, holder)
        bindings = self._registrar.contacts(target.name)
        extension = self._extensions.get(target.name)
        if not bindings:
            return (480, "Not Registered") if extension else (404, "No Such Extension")
        if instance:
            bindings = [one for one in bindings if one.instance == instance]
        party = str(target)
        found: list[Destination] = []
        for binding, flow in self._there(target.name, bindings):
            if not self._lines.take(party, holder):
                return 486, "Busy Here"
            found.append(
                Destination(
                    party,
                    target.number or target.name,
                    # §19.1.5: header components of a Contact are not part of the Request-URI.
                    binding.uri.partition("?")[0],
                    flow,
                    line=party,
                    nat=True,
                    user_agent=binding.user_agent,
                    reliable=extension is None or extension.prack,
                    path=binding.path,
                )
            )
        return found or (480, "Unreachable")

    def phones(self, extension: str) -> list[tuple[str, Flow, tuple[str, ...]]]:
        """Where its phones are that can be reached: their URIs, the way there, and the proxies on
        it."""
        return [
            (binding.uri.partition("?")[0], flow, binding.path)
            for binding, flow in self._there(extension, self._registrar.contacts(extension))
        ]

    def _there(self, extension: str, bindings: list[Binding]) -> list[tuple[Binding, Flow]]:
        """Those of these phones that can be reached, and the way to each."""
        found: list[tuple[Binding, Flow]] = []
        instances: set[str] | None = None
        for binding in bindings:
            if binding.reg_id:
                # Several ways to one phone (RFC 5626): it is called once, by the newest that is
                # open.
                if instances is None:
                    instances = set()
                elif binding.instance in instances:
                    continue
            if self.is_lost is not None and self.is_lost(extension, binding):
                continue
            flow = self.flow_to_phone(binding)
            if flow is None:
                continue
            if instances is not None and binding.reg_id:
                instances.add(binding.instance)
            found.append((binding, flow))
        return found

    def flow_to_phone(self, binding: Binding) -> Flow | None:
        """A flow to where a phone is; None if nothing leads there: its connection is gone, and it
        does not say that it listens where that came from."""
        transport, host, port = binding.target
        if transport == "udp":
            return self._network.flow_to(transport, host, port, binding.listener)
        flow = self._network.connection(transport, host, port)
        if flow is not None:
            return flow
        uri = parse_uri(binding.uri)
        if uri.host.strip("[]") != host:
            return None
        return self._network.flow_to(transport, host, uri.port or 5060, binding.listener)

    def _trunk_destination(
        self, target: Target, holder: object
    ) -> list[Destination] | tuple[int, str]:
        trunk = self._names.get(target.name)
        if trunk is None:
            # The call began before the configuration was read again.
            return 503, "No Such Trunk"
        flow = self.flow_to_trunk(trunk)
        if flow is None:
            return 503, "Trunk Is Unreachable"
        found = self._at_trunk(trunk, target.number, flow, holder)
        return FULL if found is None else [found]

    def elsewhere(self, before: Destination, number: str, holder: object) -> Destination | None:
        """Another address of the trunk that did not take a call (RFC 3263 §4.3), with its line
        taken; None if all were tried."""
        trunk = self._names.get(before.party[6:])
        if trunk is None:
            return None
        tried = (*before.tried, before.flow.remote)
        address = self._trunks.elsewhere(trunk.name, tried)
        if address is None:
            return None
        flow = self._to_trunk(trunk, *address)
        found = None if flow is None else self._at_trunk(trunk, number, flow, holder)
        if found is not None:
            found.tried = tried
        return found

    def _at_trunk(
        self, trunk: Trunk, number: str, flow: Flow, holder: object
    ) -> Destination | None:
        """There, with its line taken; None if it has none."""
        party = f"trunk:{trunk.name}"
        if not self._lines.take(party, holder):
            return None
        return Destination(
            party,
            number,
            f"sip:{escape_user(number)}@{trunk.to.where}",
            flow,
            line=party,
            switch=trunk.switch,
            nat=trunk.nat,
            carrier=None if trunk.switch else trunk,
            reliable=trunk.prack,
            path=self.path_to(trunk),
        )

    def path_to(self, trunk: Trunk) -> tuple[str, ...]:
        """The proxies that a trunk's requests go by, as URIs: ours, and those that it has asked
        for."""
        if trunk.proxy is None and not self.routes:
            return ()
        return (*trunk.path, *self.routes.get(trunk.name, ()))

    def flow_to_trunk(self, trunk: Trunk) -> Flow | None:
        """A flow to where a trunk is; None if its name was not found, or nothing leads there."""
        addresses = self._trunks.addresses(trunk.name)
        if not addresses:
            return None
        return self._to_trunk(trunk, *addresses[0])

    def _to_trunk(self, trunk: Trunk, host: str, port: int) -> Flow | None:
        transport = self._trunks.transport(trunk.name)
        return self._network.flow_to(transport, host, port, trunk.listener, trunk.name)

    def other_flow(self, trunk: Trunk, tried: Flow, seconds: float) -> Flow | None:
        """A flow to another address of a trunk, as `tried` takes nothing: it is the last choice for
        so long. None if it has no other that is not."""
        self._trunks.failed_at(trunk.name, tried.remote, seconds)
        address = self._trunks.good(trunk.name)
        if address is None:
            return None
        return self._to_trunk(trunk, *address)

    def larger(self, flow: Flow) -> Flow | None:
        """A connection to where a datagram would go, for what is too large for one (RFC 3261
        §18.1.1); None: it goes there all the same."""
        trunk = self._trunks.takes_large(*flow.remote)
        if trunk is None:
            return None
        return self._network.flow_to("tcp", *flow.remote, trunk.listener)

    def small(self, flow: Flow) -> None:
        """There was no such connection."""
        self._trunks.takes_none(*flow.remote)

    def flows_to_trunk(self, trunk: Trunk) -> list[Flow]:
        """Flows to all of its addresses."""
        flows = [self._to_trunk(trunk, *at) for at in self._trunks.addresses(trunk.name)]
        return [flow for flow in flows if flow is not None]

    def redirected(
        self, party: str, number: str, uri: Uri, dialplan: Dialplan
    ) -> Stages | Destination | None:
        """Where a 3xx of `party`, called as `number`, may lead: a trunk to itself, all else by the
        dialplan.

        A phone that redirects is treated as calling the new number itself; so is a trunk, but for
        another address of the same trunk. So a redirect reaches nothing that its sender could not.
        """
        kind, _, name = party.partition(":")
        # "Contact: <sip:192.0.2.2>" names another place for the same number.
        number = uri.user or number
        if kind == "trunk":
            trunk = self._names.get(name)
            transport = (uri.params.get("transport") or "udp").lower()
            there = self._trunks.by_source(transport, uri.host.strip("[]"), uri.port or 5060)
            if trunk is not None and there is not None and there.name == name:
                host = uri.host.strip("[]")
                flow = self._network.flow_to(
                    transport, host, uri.port or 5060, trunk.listener, trunk.name
                )
                if flow is None:
                    return None
                port = f":{uri.port}" if uri.port else ""
                return Destination(
                    party,
                    number,
                    f"sip:{escape_user(number)}@{uri.host}{port}",
                    flow,
                    line=party,
                    switch=trunk.switch,
                    nat=trunk.nat,
                    carrier=None if trunk.switch else trunk,
                    reliable=trunk.prack,
                )
            source = Source("trunk", name, trunk.switch if trunk is not None else False)
        else:
            source = Source("extension", name)
        route = dialplan.route(number, source) if number else None
        return (route.action.stages or None) if route is not None else None

    def reconnect(
        self, data: bytes, flow: Flow, whose: Callable[[str], tuple[str, Session] | None]
    ) -> Flow | None:
        """Another connection to where this message goes, of which `flow` turned out to be closed.

        A response goes to the port that its Via names, at the address that its request came from
        (§18.2.2): a host that a Via names is never believed. A request goes to where its Route or
        Request-URI says, if that is where the connection led; else to where that was. None if that
        was tried just now. A phone that has registered by another connection since is there:
        `whose` finds the party and the session of a dialog, by its Call-ID and our tag.
        """
        try:
            message = parse(data, datagram=False)
            host, port = flow.remote
            if isinstance(message, Response):
                port = message.via.port or 5060
            else:
                found = self._registered_again(message, whose)
                if found is not None:
                    return found
                route = message.get("route")
                uri = parse_address(split_list(route)[0]).uri if route else message.uri
                hop = parse_uri(uri)
                if hop.host.strip("[]") == host:
                    port = hop.port or 5060
        except ValueError:
            return None
        if (host, port) == flow.remote and not getattr(flow, "made", True):
            return None
        return self._network.flow_to(flow.transport, host, port, flow.listener, flow.peer)

    def _registered_again(
        self, request: Request, whose: Callable[[str], tuple[str, Session] | None]
    ) -> Flow | None:
        """The connection by which the phone that this request of ours is for has registered."""
        found = whose(f"{request.headers['call-id'][0]} {request.from_tag}")
        return None if found is None else self.of_phone(*found)

    def of_phone(self, party: str, session: Session) -> Flow | None:
        """Where the phone of a dialog has registered, with the Contact that it has in that; None if
        it has not, or its connection is gone, or its requests do not follow where it speaks from.

        ValueError if a Contact is none.
        """
        kind, _, name = party.partition(":")
        if not session.nat or kind != "extension":
            return None
        there = parse_uri(session.dialog.target)
        for binding in self._registrar.contacts(name):
            uri = parse_uri(binding.uri)
            if (uri.user, uri.host, uri.port) == (there.user, there.host, there.port):
                transport = binding.target[0]
                if transport == "udp":
                    return self._network.flow_to(*binding.target, binding.listener)
                flow = self._network.connection(*binding.target)
                if flow is not None:
                    return flow
        return None
