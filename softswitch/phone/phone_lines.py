"""The lines that ``softswitch phone`` reads (commands) and prints (events)."""

from __future__ import annotations

import json
import os
import select
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from softswitch.phone.settings import Answering, PhoneError, PhoneEvent
from softswitch.phone.softphone import Softphone
from softswitch.sip import printable

LONGEST_COMMAND = 4096  # bytes; a longer line is refused

COMMANDS = (
    "call X, answer [STATUS], hangup, hold, unhold, reinvite, transfer X, attended [CALL], "
    "dtmf DIGITS, tone HZ, echo on|off, auto on|off, quit"
)


@dataclass(frozen=True, slots=True)
class Command:
    """One line of standard input. ``call`` is a call's number, the newest call if None."""

    verb: str
    argument: str | None = None
    call: int | None = None


def parse_command(line: str) -> Command | None:
    """A command from words (``dtmf 123``) or JSON (``{"cmd": "dtmf", "arg": "123", "call": 1}``).

    None for an empty line; PhoneError for one that is neither.
    """
    line = line.strip()
    if not line:
        return None
    if line.startswith("{"):
        try:
            said: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError as error:
            raise PhoneError(f"not JSON: {error}") from None
        verb, argument, call = said.get("cmd"), said.get("arg"), said.get("call")
        if not isinstance(verb, str) or not isinstance(call, int | None):
            raise PhoneError('a command is {"cmd": VERB, "arg": ARGUMENT, "call": NUMBER}')
        return Command(verb, None if argument is None else str(argument), call)
    try:
        verb, *rest = shlex.split(line)
    except ValueError as error:
        raise PhoneError(f"{line}: {error}") from None
    if len(rest) > 1:
        raise PhoneError(f"{line}: too many words; commands are {COMMANDS}")
    return Command(verb, rest[0] if rest else None)


def _number(command: Command, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(command.argument or "")
    except ValueError:
        raise PhoneError(f"{command.verb}: {command.argument!r} is not a number") from None


def obey(phone: Softphone, command: Command) -> None:
    """Carry out any command but ``quit``. Raises PhoneError."""
    verb, argument, call = command.verb, command.argument, command.call
    if verb in ("call", "transfer", "dtmf", "tone") and not argument:
        raise PhoneError(f"{verb}: of what? Commands are {COMMANDS}")
    if verb == "call" and argument:
        phone.call(argument)
    elif verb == "answer":
        phone.answer(call, 200 if argument is None else _number(command, int))
    elif verb == "transfer" and argument:
        phone.transfer(argument, call)
    elif verb == "attended":
        phone.attended(call, None if argument is None else _number(command, int))
    elif verb == "dtmf" and argument:
        phone.dtmf(argument, call)
    elif verb == "tone":
        phone.tone(_number(command, float))
    elif verb in ("echo", "auto") and argument in ("on", "off"):
        if verb == "echo":
            phone.echo = argument == "on"
        else:
            phone.answering = Answering(after=0.0 if argument == "on" else None)
    elif verb in ("hangup", "hold", "unhold", "reinvite"):
        getattr(phone, verb)(call)
    else:
        raise PhoneError(f"{verb}: not a command; commands are {COMMANDS}")


class CommandLines:
    """Lines of standard input, without ever blocking."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""
        self.ended = False

    def read(self) -> list[str]:
        """What has come in; ``ended`` is set at end of file. PhoneError on an overlong line."""
        while not self.ended and select.select([self._descriptor], [], [], 0)[0]:
            chunk = os.read(self._descriptor, 65536)
            self.ended = not chunk
            self._buffer += chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        if any(len(line) > LONGEST_COMMAND for line in (*lines, self._buffer)):
            self._buffer = b""
            raise PhoneError(f"a command is at most {LONGEST_COMMAND} bytes")
        return [line.decode("utf-8", "replace") for line in lines]


def in_words(event: PhoneEvent) -> str:
    """An event for people: one line, whatever the other side calls itself."""
    f: Mapping[str, object] = event.facts
    who = f"call {event.call}: " if event.call is not None else ""
    match event.kind:
        case "ready":
            text = f"{f['uri']} listens on {f['address']}"
        case "registered":
            text = f"registered for {f['expires']} s"
        case "registration_failed":
            text = f"registration failed: {f['status']} {f['reason']}"
        case "incoming":
            text = f"from {f['from']}"
        case "calling":
            text = f"to {f['to']}"
        case "ringing":
            text = f"{f['status']} {f['reason']}"
        case "transfer":
            text = f"transfer: {f['status']} {f['reason']}"
        case "media":
            text = f"audio {f['state']}, {f['codec']} with {f['remote']}"
        case "dtmf":
            text = f"digit {f['digit']}"
        case "heard" if f["hz"] is not None:
            text = f"heard a tone of {f['hz']} Hz at {f['level_db']} dB"
        case "heard":
            text = "heard silence" if f["silent"] else f"heard sound at {f['level_db']} dB"
        case "quality":
            text = _quality_in_words(f)
        case "verdict":
            text = f"{'met' if f['met'] else 'NOT MET'} after {f['seconds']} s: {f['expected']}"
            text += "" if f["met"] else f"; found {f['found']}"
        case "ended":
            text = f"ended: {f['status']} {f['reason']} ({f['by']}, {f['seconds']} s)"
        case "error":
            text = f"{f['message']}"
        case _:
            text = event.kind
    return who + printable(text)


def _quality_in_words(f: Mapping[str, object]) -> str:
    text = f"{f['codec']}, {f['sent_packets']} packets sent, {f['received_packets']} received"
    text += f", {f['loss_percent']} % lost"
    for name, unit in (("jitter_ms", " ms"), ("rtt_ms", " ms"), ("mos", "")):
        if f[name] is not None:
            text += f", {name.removesuffix('_ms')} {f[name]}{unit}"
    return text


def in_json(event: PhoneEvent, at: float) -> str:
    """An event for programs: one JSON object; ``at`` in seconds since 1970, UTC."""
    call = {} if event.call is None else {"call": event.call}
    return json.dumps({"event": event.kind, "at": round(at, 3), **call, **event.facts})
