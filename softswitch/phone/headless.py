"""``softswitch phone``: a headless softphone for people, scripts, tests and the lab.

It registers, calls, answers, plays, records, sends digits, and says which tone it hears. Each event
is a line of words or, with ``--json``, of JSON; with ``--stdin`` it takes commands, one a line.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import click

from softswitch.phone.errand import Errand, Run
from softswitch.phone.junit import junit, write_junit
from softswitch.phone.phone_lines import CommandLines, in_json, in_words
from softswitch.phone.settings import MOST_CALLS, Answering, PhoneError, PhoneEvent, PhoneSettings
from softswitch.phone.softphone import DIGITS
from softswitch.phone.verdicts import Digits, Expectation, Silence, Status, Tone

AUDIBLE_HZ = (110, 3780)  # tones that the phone can tell (tones.py)


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
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TLS: prove who the phone is by this certificate (PEM), if it is asked.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TLS: the certificate's key (PEM, without a passphrase).",
)
@click.option("--listen", metavar="HOST[:PORT]", help="Own address; the port is any free one.")
@click.option("--no-register", is_flag=True, help="Call and be called by address alone.")
@click.option("--call", metavar="NUMBER|URI", help="Place this call, and exit when it ends.")
@click.option(
    "--calls",
    type=click.IntRange(1, MOST_CALLS),
    metavar="N",
    help="Place so many at once; without --call: exit after so many that come in.",
)
@click.option("--answer", is_flag=True, help="Answer calls by itself.")
@click.option("--answer-after", type=float, metavar="SECONDS", help="Ring so long, then answer.")
@click.option("--intercom", is_flag=True, help="Answer calls that ask for it, such as pages.")
@click.option("--ring-only", is_flag=True, help="Ring, and never answer by itself (the default).")
@click.option("--reject", type=click.IntRange(300, 699), metavar="STATUS", help="Refuse calls.")
@click.option(
    "--max-calls", type=click.IntRange(1, MOST_CALLS), default=MOST_CALLS, show_default=True
)
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
@click.option(
    "--attended", metavar="NUMBER|URI", help="Then hold it, call there, and join the two."
)
@click.option(
    "--expect-audio",
    type=click.FloatRange(*AUDIBLE_HZ),
    multiple=True,
    metavar="HZ",
    help="A tone is heard (repeatable: each of them).",
)
@click.option("--expect-dtmf", metavar="DIGITS", help="These digits come, in this order.")
@click.option("--expect-silence", is_flag=True, help="Nothing but silence is heard.")
@click.option(
    "--expect-status",
    type=click.IntRange(200, 699),
    metavar="STATUS",
    help="The call is answered so: 200, or what it is refused with.",
)
@click.option(
    "--within",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long all of it may take, from the answer.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="How long it may take until all calls are answered.",
)
@click.option(
    "--junit",
    "report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.xml",
    help="Write what was expected, and found, as JUnit XML.",
)
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
    certificate: Path | None,
    key: Path | None,
    listen: str | None,
    no_register: bool,
    call: str | None,
    calls: int | None,
    answer: bool,
    answer_after: float | None,
    intercom: bool,
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
    attended: str | None,
    expect_audio: tuple[float, ...],
    expect_dtmf: str | None,
    expect_silence: bool,
    expect_status: int | None,
    within: float,
    wait: float | None,
    report: Path | None,
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

    Exit status: 0, or 1 when a call was not answered, something expected was not met, nothing
    came of a transfer, the registration failed or the phone could not start.
    """
    if no_register:
        registrar = None
    else:
        registrar = registrar or domain
        if registrar is None:
            raise click.UsageError("give --registrar HOST:PORT, or --no-register")
    if intercom and reject is not None:
        raise click.UsageError("--intercom and --reject exclude one another")
    if sum((answer or answer_after is not None, ring_only, reject is not None)) > 1:
        raise click.UsageError("--answer, --ring-only and --reject exclude one another")
    if tone is not None and play is not None:
        raise click.UsageError("--tone and --play exclude one another")
    if dtmf is not None and not DIGITS.fullmatch(dtmf):
        raise click.UsageError(f"--dtmf {dtmf}: digits are 0-9, A-D, * and #, with ',' for a pause")
    if transfer is not None and attended is not None:
        raise click.UsageError("--transfer and --attended exclude one another")
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key belong together")
    if calls is not None and calls * (2 if attended is not None else 1) > max_calls:
        more = ", with --attended two for each" if attended is not None else ""
        raise click.UsageError(f"--calls {calls}: at most --max-calls ({max_calls}) at once{more}")
    expected = _expected(expect_audio, expect_dtmf, expect_silence, expect_status)
    judged = report is not None or expected != [Status()]
    if judged and driven:
        raise click.UsageError("who drives the phone by --stdin judges what it hears, too")
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
        certificate=certificate,
        key=key,
        host=own_host,
        port=own_port,
        answering=Answering(
            after=0.0 if answer and answer_after is None else answer_after,
            status=reject,
            asked=intercom,
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
    errand = Errand(
        call,
        dtmf,
        duration,
        registers=registrar is not None,
        stays=driven,
        transfer=transfer,
        attended=attended,
        calls=calls or (1 if call is not None or judged else None),
        expected=expected,
        within=within,
        wait=wait,
        judged=judged,
    )
    began = time.time()
    with os.fdopen(_own_stdout(log_level), "w", buffering=1) as out:

        def say(event: PhoneEvent) -> None:
            print(in_json(event, time.time()) if as_json else in_words(event), file=out)

        run = Run(settings, errand, say)
        try:
            status = run.loop(CommandLines(0) if driven else None)
        except PhoneError as error:
            click.echo(f"softswitch phone: {error}", err=True)
            status = 1
        except BrokenPipeError:  # the reader of our lines went away: so do we
            status = 1
        if report is not None:
            try:
                write_junit(report, junit(_suite(errand, settings), run.verdicts, began))
            except PhoneError as error:
                click.echo(f"softswitch phone: {error}", err=True)
                status = 1
    sys.exit(status)


def _expected(
    tones: tuple[float, ...], digits: str | None, silence: bool, status: int | None
) -> list[Expectation]:
    """What each call is to bring: that it is answered, at least. Raises click.UsageError."""
    if digits is not None and (not DIGITS.fullmatch(digits) or "," in digits):
        raise click.UsageError(f"--expect-dtmf {digits}: digits are 0-9, A-D, * and #")
    if silence and tones:
        raise click.UsageError("--expect-audio and --expect-silence exclude one another")
    heard: list[Expectation] = [Tone(hz) for hz in dict.fromkeys(tones)]
    if digits is not None:
        heard.append(Digits(digits))
    if silence:
        heard.append(Silence())
    if status is not None and status >= 300 and heard:
        raise click.UsageError(f"nothing is heard in a call that is refused ({status})")
    answer = Status() if status is None else Status(status, asked=True)
    return [answer, *heard]


def _suite(errand: Errand, settings: PhoneSettings) -> str:
    return "softswitch phone " + (f"to {errand.call}" if errand.call else settings.user)


if __name__ == "__main__":
    command()
