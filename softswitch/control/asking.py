"""The side of who asks at a control socket (`softswitch.control`): blocking, for a command."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

PATIENCE: Final = 10.0
"""Seconds that a switch gets for the next line of an answer."""
_MOST: Final = 16 * 1024 * 1024


def put_together(told: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Add a piece of an answer to what came before: rows to their rows."""
    for name, value in piece.items():
        if isinstance(value, list):
            told.setdefault(name, []).extend(value)
        else:
            told[name] = value


class ControlError(Exception):
    """Nothing was answered; the text is one line that says why and what to do."""


@contextmanager
def open_control(path: Path) -> Iterator[IO[bytes]]:
    """A connection to the switch whose socket that is. Raises `ControlError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(str(path))
        except OSError as error:
            raise ControlError(_why(path, error)) from error
        with connection.makefile("rwb") as stream:
            yield cast(IO[bytes], stream)


def ask(stream: IO[bytes], verb: str, **arguments: object) -> Iterator[dict[str, Any]]:
    """Ask one question; the pieces of its answer as they come. Raises `ControlError`."""
    try:
        stream.write(json.dumps({"ask": verb, **arguments}).encode() + b"\n")
        stream.flush()
        while True:
            line = stream.readline(_MOST)
            if not line.endswith(b"\n"):
                raise ControlError("the switch has closed the connection: it may have stopped")
            piece = json.loads(line)
            if "error" in piece:
                raise ControlError(str(piece["error"]))
            if "end" in piece:
                return
            yield piece
    except TimeoutError as error:
        raise ControlError(
            f"the switch does not answer within {PATIENCE:g} s: is its process stopped?"
        ) from error
    except (OSError, ValueError) as error:
        raise ControlError(f"the switch's answer broke off: {error}") from error


def _why(path: Path, error: OSError) -> str:
    number = error.errno
    if number == errno.ENOENT:
        return f"not running: there is no {path}"
    if number == errno.ECONNREFUSED:
        return f"not running: nobody listens at {path}, which a switch has left behind"
    if number in (errno.EACCES, errno.EPERM):
        return f"no permission for {path}: ask as the user that the switch runs as, or as root"
    return f"{path}: {error.strerror or error}"
