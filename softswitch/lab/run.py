"""``softswitch lab``: two switches, their call data servers, and a call through both."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from softswitch.lab.children import LabError
from softswitch.lab.course import Lab, Narrator, invitation
from softswitch.lab.sites import check_ports, example_folder, prepare

PLAIN_WIDTH = 120  # of tables where there is no terminal to ask


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(lab: Lab, once: bool) -> int:
    """The exit status. Ctrl-C and SIGTERM end the lab; after the call that is no failure."""
    narrator = lab.narrator
    called = False
    try:
        lab.start_switches()
        lab.call()
        called = True
        if narrator.failures:
            narrator.step(f"{narrator.failures} of the checks failed")
        if not once:
            text = invitation(lab.sites)
            narrator.console.print(text, highlight=False, markup=False, soft_wrap=True)
            lab.stay()
    except LabError as error:
        narrator.check(False, "the lab cannot go on", str(error))
    except KeyboardInterrupt:
        narrator.step("interrupted")
        if not called:
            return 130
    finally:
        # From here on nothing may interrupt: a second Ctrl-C would leave processes behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        narrator.step("stopping phones and switches")
        lab.close()
        narrator.step("all stopped")
    return 1 if narrator.failures else 0


@click.command(short_help="Run two switches, their servers, and a call through both.")
@click.option("--once", is_flag=True, help="End after the call; exit status 0 only if all held.")
@click.option(
    "--config-dir",
    type=click.Path(path_type=Path),
    help="Folder with lab-hq.yaml and lab-branch.yaml, if not the checkout's dialplans.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep databases and configurations in this folder; else they go when the lab ends.",
)
@click.option(
    "--base-port",
    type=click.IntRange(0, 65535),
    help="Use ports from this one on instead of those in the files; 0: any free ones.",
)
@click.option("--talk", default=3.0, show_default=True, help="Seconds the call lasts on show.")
def command(
    once: bool, config_dir: Path | None, data: Path | None, base_port: int | None, talk: float
) -> None:
    """Two switches with their call data servers, two phones, and a call with audio through both.

    Shows the live call data of both servers while the call lasts, then the one record of it; then
    stays up for phones of yours until Ctrl-C. Every check that fails is said, and makes the exit
    status 1.
    """
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    signal.signal(signal.SIGTERM, _interrupt)
    # Also where its parent ignores Ctrl-C, as scripts do for what they put in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = data or Path(tempfile.mkdtemp(prefix="softswitch-lab-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sites = prepare(example_folder(config_dir), folder.resolve(), base_port)
        if base_port != 0:
            check_ports(sites)
        status = _run(Lab(sites, Narrator(console), talk), once)
    except (LabError, OSError) as error:
        click.echo(f"softswitch lab: {error}", err=True)
        status = 1
    finally:
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status)
