"""The way to media workers' processes: socket pairs, and the nursery from which they are forked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from typing import Final

import msgspec

from softswitch.media.orders import LONGEST, Order, encode, said_of
from softswitch.media.pool import MediaWorker

log = logging.getLogger(__name__)

_MOST_WAITING: Final = 1000
"""Orders that a worker does not take: then it is taken for dead."""


class WorkerLine:
    """The switch's end of a worker's socket pair."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ours: socket.socket, worker: MediaWorker
    ) -> None:
        ours.setblocking(False)
        self._loop = loop
        self._socket = ours
        self._worker = worker
        self._waiting: deque[bytes] = deque()
        self._open = True
        loop.add_reader(ours, self._read)

    def send(self, order: Order) -> None:
        """Order something. It goes at once, and before all that is sent later in any other way."""
        if not self._open:
            return
        data = encode(order)
        if self._waiting:
            self._waiting.append(data)
            if len(self._waiting) > _MOST_WAITING:
                log.error("%r does not take orders", self._worker)
                self.kill(self._worker.pid)
            return
        try:
            self._socket.send(data)
        except BlockingIOError:
            self._waiting.append(data)
            self._loop.add_writer(self._socket, self._write)
        except OSError:
            self._loop.call_soon(self._lost)

    def _write(self) -> None:
        try:
            while self._waiting:
                self._socket.send(self._waiting[0])
                self._waiting.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._lost()
            return
        self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        while self._open:
            try:
                data = self._socket.recv(LONGEST)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            try:
                said = said_of(data)
            except msgspec.MsgspecError as error:
                log.error("%r: %s", self._worker, error)
                continue
            self._worker.said(said)

    def _lost(self) -> None:
        if self._open:
            self.close()
            self._worker.lost()

    def close(self) -> None:
        """It ends."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._waiting.clear()

    def kill(self, pid: int) -> None:
        """It does not answer."""
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._loop.call_soon(self._lost)


class Nursery:
    """The process from which workers are forked; started when the first is wanted, and again if it
    is gone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted: socket.socket | None = None

    def start(self, worker: MediaWorker) -> WorkerLine | None:
        """A process for a worker, and the way to it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            for _ in range(2):
                try:
                    socket.send_fds(self._open(), [b"w"], [theirs.fileno()])
                    break
                except OSError as error:
                    failure: OSError = error
                    self.close()
            else:
                log.error("no media worker can be started: %s", failure)
                ours.close()
                return None
        finally:
            theirs.close()
        return WorkerLine(self._loop, ours, worker)

    def _open(self) -> socket.socket:
        if self._wanted is not None and self._process is not None and self._process.poll() is None:
            return self._wanted
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "softswitch.media.nursery", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # pjsua2 greets there
            )
        finally:
            theirs.close()
        ours.setblocking(False)
        self._wanted = ours
        return ours

    def close(self) -> None:
        """It ends; its workers do not."""
        if self._wanted is not None:
            self._wanted.close()
            self._wanted = None
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
