"""Trunks are asked whether they are there (OPTIONS, RFC 3261 §11)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from softswitch.config import Trunk
from softswitch.parties.destinations import Destinations
from softswitch.parties.trunks import Trunks
from softswitch.sip import (
    Account,
    ClientRequest,
    Exchange,
    Flow,
    Response,
    Timers,
    Tokens,
    Transactions,
)


class TrunkChecks:
    """Asks by `transactions`, in the name of the switch, and tells `trunks` what they answered."""

    def __init__(
        self,
        name: str,
        trunks: Trunks,
        targets: Destinations,
        timers: Timers,
        tokens: Tokens,
        transactions: Transactions,
        accounts: Mapping[str, Account],
    ) -> None:
        self._name = name
        self._trunks = trunks
        self._targets = targets
        self._timers = timers
        self._tokens = tokens
        self._transactions = transactions
        self._accounts = accounts

    def ask(self) -> None:
        """Ask the trunks that are due. Call every second."""
        for trunk in self._trunks.due(self._timers.clock()):
            flows = self._targets.flows_to_trunk(trunk)
            if not flows:
                self._trunks.answered(trunk.name, 503)
            for flow in flows:
                self._ping(trunk, flow)

    def _ping(self, trunk: Trunk, flow: Flow) -> None:
        tag = self._tokens.token()
        uri = trunk.to.uri()
        request = ClientRequest(
            "OPTIONS",
            uri,
            self._tokens.branch(),
            f"<sip:{self._name}@{flow.sent_by}>;tag={tag}",
            f"<{uri}>",
            self._tokens.token(),
            1,
            extra=f"Contact: <sip:{flow.sent_by}>\r\nAccept: application/sdp\r\n",
        )
        account = self._accounts.get(f"trunk:{trunk.name}")
        if account is not None:
            request.authorizer = Exchange(account)
        self._transactions.send(request, flow, partial(self._pinged, trunk.name, flow.remote))

    def _pinged(self, trunk: str, address: tuple[str, int], response: Response) -> None:
        if response.status >= 200:
            self._trunks.answered(trunk, response.status, address)
