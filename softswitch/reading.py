"""A configuration read in a process of its own, so that a switch under load does not wait for it.

Thousands of routes take seconds to be read and checked, and Python's threads take turns: a thread
that reads would make every call late. So `read_beside` has another process do it. What that found
comes in pieces, each of which takes a few milliseconds to be taken up.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import BaseModel

from softswitch.config import ConfigErrors
from softswitch.configuration import Config, load_config
from softswitch.dialplan import RouteTemplate

_PIECE: Final = 50
"""Routes or extensions of one piece."""
_LENGTH: Final = 8
"""Bytes of a piece's length before it."""
BREATHER: Final = 0.005
"""Seconds between pieces, in which calls that came in meanwhile are dealt with."""
WITHIN: Final = 120.0
"""Seconds that a configuration may take to be read."""


class ReadError(Exception):
    """Nobody has read the configuration. The text says why, in one line."""


async def read_beside(path: Path, sections: Mapping[str, type[BaseModel]]) -> Config:
    """As `load_config`, in another process. Raises `ConfigErrors` and `ReadError`.

    A plugin's model that only this process has (it is in no module, or in a script) cannot be
    handed over: then the configuration is read here, and all waits for it.
    """
    try:
        asked = pickle.dumps(sys.path) + pickle.dumps((path, dict(sections)))
    except (pickle.PicklingError, AttributeError, TypeError):
        return load_config(path, sections)
    if any(model.__module__ == "__main__" for model in sections.values()):
        return load_config(path, sections)
    try:
        async with asyncio.timeout(WITHIN):
            return await _ask(asked)
    except TimeoutError:
        raise ReadError(f"it takes more than {WITHIN:g} s to be read") from None


async def _ask(asked: bytes) -> Config:
    # By a thread, and not by the event loop: that forks, and a large process is forked slowly.
    child = await asyncio.to_thread(_begin)
    try:
        answer, _ = await asyncio.to_thread(child.communicate, asked)
    finally:
        # Cancelled, or too slow: the thread hears of its end.
        child.kill()
    if child.returncode != 0:
        raise ReadError(f"the process that reads it ended with status {child.returncode}")
    pieces: list[object] = []
    at = 0
    while length := int.from_bytes(answer[at : at + _LENGTH], "big"):
        at += _LENGTH
        pieces.append(pickle.loads(memoryview(answer)[at : at + length]))
        at += length
        await asyncio.sleep(BREATHER)
    config = _put_together(pieces)
    del pieces
    await asyncio.sleep(BREATHER)
    return config


def _begin() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "softswitch.reading"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C is for the switch.
        start_new_session=True,
    )


def _put_together(pieces: list[object]) -> Config:
    config, *rest = pieces
    if isinstance(config, ConfigErrors):
        raise config
    assert isinstance(config, Config)
    extensions = dict(config.extensions)
    routes: list[RouteTemplate] = []
    for piece in rest:
        if isinstance(piece, dict):
            extensions.update(piece)
        else:
            assert isinstance(piece, tuple)
            routes.extend(piece)
    return replace(config, extensions=extensions, dialplan=config.dialplan.with_routes(routes))


def _take_apart(config: Config) -> list[object]:
    plan = config.dialplan
    items = list(config.extensions.items())
    return [
        replace(config, extensions={}, dialplan=plan.with_routes(())),
        *(dict(items[i : i + _PIECE]) for i in range(0, len(items), _PIECE)),
        *(plan.routes[i : i + _PIECE] for i in range(0, len(plan.routes), _PIECE)),
    ]


def _read(asked: BinaryIO, answer: BinaryIO) -> None:
    sys.path[:] = pickle.load(asked)
    path, sections = pickle.load(asked)
    try:
        pieces = _take_apart(load_config(path, sections))
    except ConfigErrors as errors:
        pieces = [errors]
    for piece in pieces:
        data = pickle.dumps(piece, pickle.HIGHEST_PROTOCOL)
        answer.write(len(data).to_bytes(_LENGTH, "big") + data)
    answer.write(bytes(_LENGTH))
    answer.flush()


if __name__ == "__main__":
    os.nice(10)
    _read(sys.stdin.buffer, sys.stdout.buffer)
