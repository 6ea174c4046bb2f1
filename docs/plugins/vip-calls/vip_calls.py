"""Marks the calls of important callers: a property, and lines in the call's log.

vip_calls: {callers: ["1001", "4930123456"]}
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, Field

from cdsplugin.local import Call, LocalStore, Log, NotStored, Property, hookimpl
from softswitch.config import Section, Text

log = logging.getLogger("vip_calls")


class VipCalls(Section):
    """``vip_calls``, whose calls are marked."""

    callers: tuple[Text, ...] = Field(description="numbers of important callers")


@hookimpl
def config_sections() -> Mapping[str, type[BaseModel]]:
    return {"vip_calls": VipCalls}


@hookimpl
def call_data(local: LocalStore, sections: Mapping[str, BaseModel]) -> None:
    section = sections.get("vip_calls")
    if isinstance(section, VipCalls):  # without a section there is nothing to do
        watch = Watch(local, section.callers)
        for call in local.register_all(watch):  # those that a restart has brought back
            watch.look(call)


class Watch:
    """A client of all calls: looks who calls."""

    def __init__(self, local: LocalStore, callers: Sequence[str]) -> None:
        self._local = local
        self._callers = callers
        self._marks = Marks(local)

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        if any(entry.name == "call" for entry in properties):
            self.look(call)

    def ended(self, call: Call) -> None:
        """There is nothing to give back."""

    def look(self, call: Call) -> None:
        about = call.data.value("call")
        caller = about.get("caller") if isinstance(about, dict) else None
        # At one server only, its owner, though others may run this plugin too.
        if caller in self._callers and call.owner == self._local.server:
            self._marks.take(call.call_id)


class Marks:
    """A client of single calls, of each until its hangup."""

    def __init__(self, local: LocalStore) -> None:
        self._local = local
        self._storing: set[asyncio.Task[None]] = set()

    def take(self, call_id: str) -> None:
        self._mark(self._local.register(self, call_id))  # the call, with all that is known of it

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        self._mark(call)  # entries have changed, and were not written here

    def ended(self, call: Call) -> None:
        """The server stops before the hangup."""

    def _mark(self, call: Call) -> None:
        answer = call.data.value("answer")
        mark = f"answered by {answer['callee']}" if isinstance(answer, dict) else "waits"
        if call.data.value("vip") != mark:  # after a restart it may be there
            self._local.update(self, call.call_id, {"vip": mark}, [f"an important caller: {mark}"])
            task = asyncio.create_task(self._stored(call.call_id, mark))
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)
        if call.data.value("end") is not None:
            self._local.unregister(self, call.call_id)

    async def _stored(self, call_id: str, mark: str) -> None:
        try:
            await self._local.stored()
            log.info("call %s: %s", call_id, mark)  # kill -9 does not undo it any more
        except NotStored as error:
            log.warning("call %s: not on disk: %s", call_id, error)
