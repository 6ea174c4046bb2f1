"""``softswitch phone``: a headless softphone for people, scripts, tests and the lab.

It registers, calls, answers, plays, records, sends digits, and says which tone it hears. Each event
is a line of words or, with ``--json``, of JSON; with ``--stdin`` it takes commands, one a line.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import cast

import click

from softswitch.phone.phone_lines import CommandLines, in_json, in_words, obey, parse_command
from softswitch.phone.settings import Answering, PhoneError, PhoneEvent, PhoneSettings
from softswitch.phone.softphone import Softphone


@dataclass(frozen=True, slots=True)
class Errand:
    """What one run of the command is for."""

    call: str | None
    dtmf: str | None
    duration: float | None
    registers: bool
    stays: bool  # until told to quit, whatever becomes of the call or of the registration
    transfer: str | None = None


class _Run:
    """Drives a softphone through an errand; ``status`` is the exit status in the end."""

    def __init__(self, settings: PhoneSettings, errand: Errand, say: Callable[[PhoneEvent], None]):
        self.errand = errand
        self.say = say
        self.status = 0
        self.done = False
        self.placed = False
        self.own: int | None = None
        """The errand's call; others may come and go meanwhile."""
        self.left_over = False
        """Nothing came of its transfer: it is hung up."""
        self.phone = Softphone(settings, self.event)

    def event(self, event: PhoneEvent) -> None:
        """Told by the phone: print it, and take the errand's next step."""
        self.say(event)
        errand, phone = self.errand, self.phone
        if event.kind == "registration_failed" and not errand.stays and not self.placed:
            self.finish(1)
        elif event.kind == "registered" and not self.placed:
            phone.after(0, self.place)
        elif event.kind == "calling" and self.placed and self.own is None:
            self.own = event.call
        elif event.kind == "answered":
            number = event.call
            if errand.dtmf:
                # A moment for the far end's media to be up: digits sent before it are lost.
                phone.after(0.5, lambda: self.send_digits(number))
            if errand.transfer is not None:
                phone.after(errand.duration or 0, lambda: self.transfer(number))
            elif errand.duration is not None:
                phone.after(errand.duration, lambda: self.hang_up(number))
        elif event.kind == "transfer" and event.call == self.own and not errand.stays:
            if event.facts["final"] and cast(int, event.facts["status"]) >= 300:
                self.left_over = True
                phone.after(0, lambda: self.hang_up(event.call))
        elif event.kind == "ended" and self.own is not None and event.call == self.own:
            self.finish(0 if event.facts["answered"] and not self.left_over else 1)

    def send_digits(self, number: int | None) -> None:
        if number in self.phone.calls:
            digits = self.errand.dtmf or ""
            self.attempt(lambda: self.phone.dtmf(digits, number))

    def hang_up(self, number: int | None) -> None:
        if number in self.phone.calls:
            self.attempt(lambda: self.phone.hangup(number))

    def transfer(self, number: int | None) -> None:
        target = self.errand.transfer or ""
        if number in self.phone.calls:
            self.attempt(lambda: self.phone.transfer(target, number))

    def place(self) -> None:
        """Place the errand's call, once."""
        if self.errand.call is not None and not self.placed:
            self.placed = True
            if not self.attempt(lambda: self.phone.call(self.errand.call or "")):
                self.finish(0 if self.errand.stays else 1)

    def attempt(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except PhoneError as error:
            self.say(PhoneEvent("error", None, {"message": str(error)}))
            return False
        return True

    def finish(self, status: int) -> None:
        if not self.errand.stays:
            self.done, self.status = True, status

    def take(self, lines: CommandLines) -> None:
        """Carry out the commands that have come in."""

        def each() -> None:
            for line in lines.read():
                self.attempt(lambda line=line: self.command(line))  # type: ignore[misc]

        self.attempt(each)
        if lines.ended:
            self.done = True

    def command(self, line: str) -> None:
        command = parse_command(line)
        if command is not None and command.verb == "quit":
            self.done = True
        elif command is not None:
            obey(self.phone, command)

    def loop(self, lines: CommandLines | None) -> int:
        """Until done. Signals end it too, and count as success."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            self.done = True  # raising here could pass through C++

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        try:
            self.phone.open()
            if not self.errand.registers:
                self.place()
            while not self.done:
                self.phone.poll()
                if lines is not None:
                    self.take(lines)
        finally:
            self.phone.close()
        return self.status


def _split(text: str, port: int) -> tuple[str, int]:
    host, colon, digits = text.rpartition(":")
    if not colon:
        return text, port
    if not digits.isdecimal() or int(digits) > 65535:
        raise click.BadParameter(f"{text}: not HOST:PORT")
    return host, int(digits)


def _address_towards(host: str, port: int) -> str:
    """This machine's address on the way to ``host``; nothing is sent."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise click.BadParameter(f"{host}:{port}: {error.strerror or error}") from None


def _own_stdout(log_level: int) -> int:
    """A descriptor for our lines alone; C's standard output, where pjsua2 logs, goes elsewhere."""
    sys.stdout.flush()
    ours = os.dup(1)
    elsewhere = 2 if log_level else os.open(os.devnull, os.O_WRONLY)
    os.dup2(elsewhere, 1)
    return ours


@click.command(short_help="A headless softphone: register, call, answer, play, record.")
@click.option("--user", default="phone", help="User name, as in sip:USER@DOMAIN.")
@click.option("--password", default="", envvar="SOFTSWITCH_PHONE_PASSWORD")
@click.option("--name", default="", help="Name shown to the called.")
@click.option("--registrar", metavar="HOST[:PORT]", help="Where to register.")
@click.option("--domain", metavar="HOST[:PORT]", help="SIP domain, if it is not the registrar.")
@click.option("--expires", default=300, show_default=True, help="Seconds a registration holds.")
@click.option(
    "--transport", type=click.Choice(["udp", "tcp", "tls"]), default="udp", show_default=True
)
@click.option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TLS: believe the registrar by these authorities (PEM); without, whoever it is.",
)
@click.option("--listen", metavar="HOST[:PORT]", help="Own address; the port is any free one.")
@click.option("--no-register", is_flag=True, help="Call and be called by address alone.")
@click.option("--call", metavar="NUMBER|URI", help="Place this call, and exit when it ends.")
@click.option("--answer", is_flag=True, help="Answer calls by itself.")
@click.option("--answer-after", type=float, metavar="SECONDS", help="Ring so long, then answer.")
@click.option("--ring-only", is_flag=True, help="Ring, and never answer by itself (the default).")
@click.option("--reject", type=click.IntRange(300, 699), metavar="STATUS", help="Refuse calls.")
@click.option("--max-calls", type=click.IntRange(1, 4), default=4, show_default=True)
@click.option("--prack", type=click.Choice(["use", "require"]), help="RFC 3262.")
@click.option("--codec", "codecs", multiple=True, help="PCMU/8000, G722/16000, … (repeatable).")
@click.option("--play", type=click.Path(path_type=Path), metavar="FILE.wav")
@click.option("--tone", type=float, metavar="HZ", help="Play a tone.")
@click.option("--echo", is_flag=True, help="Send back what is heard.")
@click.option("--record", type=click.Path(path_type=Path), metavar="FILE.wav")
@click.option("--dtmf", metavar="DIGITS", help="Send these digits once a call is answered.")
@click.option(
    "--dtmf-method",
    type=click.Choice(["rfc4733", "info"]),
    default="rfc4733",
    help="How digits are sent: in the audio, or by SIP INFO.",
)
@click.option("--duration", type=float, metavar="SECONDS", help="Hang up so long after an answer.")
@click.option("--transfer", metavar="NUMBER|URI", help="Then transfer it, instead of hanging up.")
@click.option("--json", "as_json", is_flag=True, help="Each event a line of JSON.")
@click.option("--stdin", "driven", is_flag=True, help="Take commands; the end of input quits.")
@click.option("--log-level", type=click.IntRange(0, 6), default=0, help="pjsua2's log, to stderr.")
def command(
    user: str,
    password: str,
    name: str,
    registrar: str | None,
    domain: str | None,
    expires: int,
    transport: str,
    ca: Path | None,
    listen: str | None,
    no_register: bool,
    call: str | None,
    answer: bool,
    answer_after: float | None,
    ring_only: bool,
    reject: int | None,
    max_calls: int,
    prack: str | None,
    codecs: tuple[str, ...],
    play: Path | None,
    tone: float | None,
    echo: bool,
    record: Path | None,
    dtmf: str | None,
    dtmf_method: str,
    duration: float | None,
    transfer: str | None,
    as_json: bool,
    driven: bool,
    log_level: int,
) -> None:
    """A softphone without a sound card.

    \b
    softswitch phone --registrar 127.0.0.1:5060 --user 1001 --password alice-secret --call 2001
    softswitch phone --no-register --listen 127.0.0.1:5090 --answer --tone 660

    Commands with --stdin: call X, answer [STATUS], hangup, hold, unhold, reinvite, transfer X,
    attended [CALL], dtmf DIGITS, tone HZ, echo on|off, auto on|off (answer calls), quit; or JSON:
    {"cmd": "dtmf", "arg": "12", "call": 1}.

    Exit status: 0, or 1 when the call was not answered, nothing came of the transfer, the
    registration failed or the phone could not start.
    """
    if no_register:
        registrar = None
    else:
        registrar = registrar or domain
        if registrar is None:
            raise click.UsageError("give --registrar HOST:PORT, or --no-register")
    if sum((answer or answer_after is not None, ring_only, reject is not None)) > 1:
        raise click.UsageError("--answer, --ring-only and --reject exclude one another")
    if tone is not None and play is not None:
        raise click.UsageError("--tone and --play exclude one another")
    own_host, own_port = _split(listen, 0) if listen else ("", 0)
    if not own_host:
        towards = _split(registrar, 5060) if registrar else ("127.0.0.1", 5060)
        own_host = _address_towards(*towards)
    settings = PhoneSettings(
        user=user,
        password=password,
        name=name,
        registrar=registrar,
        domain=domain,
        expires=expires,
        transport=transport,
        ca=ca,
        host=own_host,
        port=own_port,
        answering=Answering(
            after=0.0 if answer and answer_after is None else answer_after, status=reject
        ),
        max_calls=max_calls,
        prack=prack or "",
        dtmf_method=dtmf_method,
        play=play,
        tone=tone,
        echo=echo,
        record=record,
        log_level=log_level,
        codecs=codecs or PhoneSettings().codecs,
    )
    errand = Errand(call, dtmf, duration, registrar is not None, driven, transfer)
    with os.fdopen(_own_stdout(log_level), "w", buffering=1) as out:

        def say(event: PhoneEvent) -> None:
            print(in_json(event, time.time()) if as_json else in_words(event), file=out)

        try:
            run = _Run(settings, errand, say)
            status = run.loop(CommandLines(0) if driven else None)
        except PhoneError as error:
            click.echo(f"softswitch phone: {error}", err=True)
            status = 1
        except BrokenPipeError:  # the reader of our lines went away: so do we
            status = 1
    sys.exit(status)


if __name__ == "__main__":
    command()
