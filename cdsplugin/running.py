"""What a process runs of call data: a server, its TMS, the switches elsewhere, and the API.

``plugin`` runs one beside a switch, ``serve`` one without.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from cdsplugin.config import CdsSection
from cdsplugin.programs import Programs
from cdsplugin.server import CallDataServer, StartError
from cdsplugin.tms import SwitchLink, SwitchLinkSettings, Tms
from softswitch.hookspecs import Features, LiveCalls, Views

if TYPE_CHECKING:
    from cdsplugin.api import Api

log = logging.getLogger("cdsplugin")


class Running:
    """The server ``name`` and all that goes with it. To be made in a running event loop.

    ``soon`` is who calls the TMS back to write what it was told.
    """

    def __init__(
        self, name: str, section: CdsSection, soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self.section = section
        """What is in force."""
        self.server = server = CallDataServer(name, section)
        self.tms = Tms(server.store, server.clock, soon)
        self.switches: SwitchLink | None = None
        self.api: Api | None = None
        self.api_port: int | None = None
        if section.switches:
            self.switches = SwitchLink(
                self.tms,
                section.switches,
                server.beside(".switches"),
                server.link,
                server.proxy,
                server.timers,
                stored=server.journal.after_commit,
                reported=server.recovery.reported,
                settings=SwitchLinkSettings(
                    section.alive_interval, section.dead_after, section.reregister_within
                ),
            )
            server.untold = self.switches.untold

    async def start(self, programs: Programs) -> None:
        """Raises ``StartError``; then nothing is left open.

        Programs are handed the store before anybody else can reach it.
        """
        server = self.server
        try:
            if self.switches is not None:
                self.switches.start()
            try:
                await server.open()
                await self._let_in(programs)
            except BaseException:
                if self.switches is not None:
                    self.switches.stop()
                raise
        except OSError as error:
            raise StartError(str(error)) from error

    async def _let_in(self, programs: Programs) -> None:
        server = self.server
        try:
            await programs.start(server)
            await server.listen()
            section = server.section.api
            if section is not None:
                # Imported here: a server without an API need not carry FastAPI.
                from cdsplugin.api import Api

                api = Api(server, section)
                self.api_port = await api.start()
                self.api = api
        except BaseException:
            await server.close()
            raise

    def offer(self, features: Features) -> None:
        """The switch in this process lets programs set what its phones may."""
        if self.api is not None:
            self.api.phones.features = features

    def show(self, views: Views) -> None:
        """The switch in this process tells programs of itself."""
        if self.api is not None:
            self.api.viewed.views = views

    def lend(self, calls: LiveCalls) -> None:
        """The switch in this process lets programs do something with its calls."""
        if self.api is not None:
            self.api.viewed.calls = calls

    def take_up(self, section: CdsSection) -> CdsSection:
        """Go on with the peers of another section. Returns what is in force then."""
        self.server.link.take_up(
            {peer: (address.host, address.port) for peer, address in section.peers.items()}
        )
        self.section = self.section.model_copy(update={"peers": section.peers})
        return self.section

    async def stop(self) -> None:
        """Write what was told, end or keep the calls, close everything.

        Calls in progress at switches elsewhere do not end with their server: they stay in its
        journal, and it takes them up again when it is back.
        """
        server, tms = self.server, self.tms
        tms.flush()
        if self.api is not None:
            await self.api.stop()
        if self.switches is None:
            await server.stop()
            return
        if tms.live():
            log.warning("%d calls go on at their switches; they are in the journal", tms.live())
            try:
                await server.stored(server.section.stop_within or 2.0)
            except OSError as error:
                log.error("the journal: %s", error)
            await server.close()
        else:
            await server.stop()
        self.switches.stop()

    def tidy(self) -> None:
        """Give back the room of empty tables."""
        self.tms.tidy()
        self.server.tidy()
