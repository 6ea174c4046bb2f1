"""The switch's side of the control socket (`softswitch.control`)."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

log = logging.getLogger(__name__)

MAX_QUESTION: Final = 65_536
"""Bytes of one question."""
PATIENCE: Final = 10.0
"""Seconds that who asked gets to read what it is answered."""
_LONGEST_PATH: Final = 107

Asked: TypeAlias = Mapping[str, Any]
"""A question, as it came: what is in it is for the verb to check."""
Verb: TypeAlias = Callable[[Asked], AsyncIterator[Mapping[str, object]]]
"""Answers a question, piece by piece. Raises `Wrong` if it cannot be answered."""


class Wrong(Exception):
    """Why a question is not answered, for who asked."""


class ControlTaken(OSError):
    """The socket cannot be had; the text is one line for the admin."""


class Control:
    """Listens at `path` and answers by `verbs`, which others may add to. `most` may ask at once."""

    def __init__(self, path: Path, most: int) -> None:
        self.path = path
        self.verbs: dict[str, Verb] = {}
        self.most = most
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._asking: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Raises `ControlTaken`."""
        bound = _bind(self.path)
        self._inode = self.path.stat().st_ino
        self._server = await asyncio.start_unix_server(
            self._entered, sock=bound, limit=MAX_QUESTION
        )

    async def close(self) -> None:
        """Answer nobody any more."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        with suppress(OSError):
            # Unless another one has been put there meanwhile.
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()

    async def _entered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        try:
            if len(self._asking) > self.most:
                await _write(writer, {"error": "too many ask at once (limits.max_control)"})
            else:
                await self._serve(reader, writer)
        except TimeoutError:
            # It does not read: a goodbye would wait for it as long.
            writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # gone, or the switch stops
        except Exception:
            log.exception("the control socket")
        finally:
            self._asking.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                await _write(writer, {"error": f"more than {MAX_QUESTION} bytes in a question"})
                return
            try:
                asked = json.loads(line)
            except (ValueError, RecursionError):
                asked = None
            if not isinstance(asked, dict):
                await _write(writer, {"error": 'expected a JSON object: {"ask": "status"}'})
                continue
            try:
                await self._answer(asked, writer)
            except Wrong as wrong:
                await _write(writer, {"error": str(wrong)})

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        name = asked.get("ask")
        verb = self.verbs.get(name) if isinstance(name, str) else None
        if verb is None:
            known = ", ".join(sorted(self.verbs))
            raise Wrong(f"this switch does not know `{str(name)[:100]}`: it knows {known}")
        async for piece in verb(asked):
            await _write(writer, piece)
            # What came for calls goes first.
            await asyncio.sleep(0)
        await _write(writer, {"end": True})


async def _write(writer: asyncio.StreamWriter, piece: Mapping[str, object]) -> None:
    writer.write(json.dumps(piece, separators=(",", ":")).encode() + b"\n")
    async with asyncio.timeout(PATIENCE):
        await writer.drain()


def _bind(path: Path) -> socket.socket:
    """A listening socket that its owner alone may use. Raises `ControlTaken`."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ControlTaken(
            f"{path} is longer than the {_LONGEST_PATH} bytes of a socket's path: "
            "name a shorter one (switch.control)"
        )
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        # From its first moment: between bind and chmod anybody could connect.
        before = os.umask(0o177)
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
        bound.listen(16)
        bound.setblocking(False)
    except ControlTaken:
        bound.close()
        raise
    except OSError as error:
        bound.close()
        raise ControlTaken(f"{path}: {error.strerror or error}") from error
    return bound


def _clear(path: Path) -> None:
    """Remove the socket of a process that is dead. Raises `ControlTaken`."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        raise ControlTaken(f"{path} is there, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise ControlTaken(f"{path} is in use: {error.strerror}") from error
        else:
            raise ControlTaken(f"{path} is in use by another process")
    path.unlink()
