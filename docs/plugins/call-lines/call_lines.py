"""Adds a line of JSON to a file when a call is answered and when it ends.

call_lines: {file: calls.jsonl}     # relative to the configuration
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy
from pydantic import BaseModel, Field

from softswitch.config import Section
from softswitch.events import CallEnded, Event, LegAnswered
from softswitch.hookspecs import hookimpl

if TYPE_CHECKING:
    from softswitch.configuration import Config


class CallLines(Section):
    """``call_lines``, a line of JSON for each call that is answered or ends."""

    file: Path = Field(description="the file that lines are added to")


@hookimpl
def config_sections() -> Mapping[str, type[BaseModel]]:
    return {"call_lines": CallLines}


@hookimpl
def start(config: Config, plugins: pluggy.PluginManager) -> None:
    section = config.sections.get("call_lines")
    if isinstance(section, CallLines):  # without a section there is nothing to do
        plugins.register(Lines(section.file), name="call_lines file")


class Lines:
    """What has state is an object of its own: its hooks are called once it is registered."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1, encoding="utf-8")

    @hookimpl
    def call_event(self, event: Event) -> None:
        match event:
            case LegAnswered():
                self._add(event, what="answered", callee=event.callee)
            case CallEnded():
                self._add(event, what="ended", how=event.disposition, by=event.hangup_by)

    @hookimpl
    def stop(self) -> None:
        self._file.close()

    def _add(self, event: Event, **more: str) -> None:
        line = {"call_id": event.call_id, "at": event.at, "switch": event.switch, **more}
        self._file.write(json.dumps(line) + "\n")
