"""``softswitch trace``: the messages of a call, over all its legs, as text, picture or capture."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from softswitch.console.finding import config_argument, socket_of
from softswitch.control import ControlError, ask, open_control
from softswitch.trace import Story, capture, svg_lines, text_lines


@click.command()
@click.argument("call")
@config_argument
@click.option("--bodies", is_flag=True, help="With the messages' bodies (SDP).")
@click.option("--whole", is_flag=True, help="With the whole messages.")
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="As a picture.")
@click.option(
    "--pcap", "file", type=click.Path(path_type=Path), metavar="FILE", help="For Wireshark."
)
@click.option(
    "--credentials",
    is_flag=True,
    help="Leave digest responses and media keys in the capture as they are.",
)
def trace(
    call: str,
    config_path: Path | None,
    bodies: bool,
    whole: bool,
    svg: Path | None,
    file: Path | None,
    credentials: bool,
) -> None:
    """The messages of a call that goes on, or went on minutes ago.

    CALL is the callID, as in the log and in the record, or the SIP Call-ID of any of its legs (also
    of a REGISTER). CONFIG is as for `softswitch status`. Secrets are crossed out. Exit status 1
    if the switch has no messages of it.
    """
    if credentials and file is None:
        raise click.UsageError("--credentials is for --pcap FILE alone")
    path = socket_of(config_path)
    try:
        with open_control(path) as stream:
            about: dict[str, Any] = {}
            messages: list[dict[str, Any]] = []
            for piece in ask(stream, "trace", call=call, credentials=credentials):
                about.update(piece.get("about", {}))
                messages += piece.get("messages", [])
    except ControlError as error:
        click.echo(f"softswitch trace: {error}", err=True)
        sys.exit(1)
    story = Story.of_json(about, messages)
    if not story.messages:
        click.echo(f"softswitch trace: {_nothing(story)}", err=True)
        sys.exit(1)
    try:
        if svg is not None:
            svg.write_text("\n".join(svg_lines(story)) + "\n", encoding="utf-8")
        if file is not None:
            file.write_bytes(b"".join(capture(story.messages)))
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    if svg is None and file is None:
        for line in text_lines(story, bodies, whole):
            click.echo(line)


def _nothing(story: Story) -> str:
    if story.since is None:
        return "the switch has kept no message yet"
    since = datetime.fromtimestamp(story.since, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"no message of {story.asked}: the switch has those since {since} UTC (trace.bytes)"
