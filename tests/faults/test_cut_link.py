"""The link between two sites is cut in mid load and healed: the copies merge, one row each call.

Two switches with their servers, each on a host of its own (a network namespace), joined by a cable.
It is pulled, or goes deaf in one direction, until both servers have reported each other's silence,
and is healed before `reregister_within`. SIP between the switches takes the same cable.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from bench.faults import Kill, launched, load, outcome, wait_for, wait_while
from bench.namespaces import Host, two_hosts
from bench.sipp import SCENARIOS, sipp_callee
from bench.sites import Site, Timing, make_sites
from softswitch.lab.ports import free_port

TIMING = Timing(alive_interval=0.25, dead_after=1.0, reregister_within=10.0, linger=0.5)
RATE = 40
CALLS = 120
Cut = Callable[[Host, Host], Callable[[], None]]
"""Cuts the cable between ``hq`` and ``branch``, and gives back what heals it."""


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    assert os.geteuid() == 0, "network namespaces need root: run this test as root (sudo)"
    assert shutil.which("tc"), "tc is not installed: apt-get install iproute2"
    with two_hosts() as made:
        yield made
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert not [host for host in made if host.namespace in left], "they are removed"


def _scenario(directory: Path) -> Path:
    """Calls of different lengths: some end during the cut, some outlive it."""
    text = (SCENARIOS / "uac-answered.xml").read_text()
    pause = '<pause distribution="uniform" min="300" max="3500" />'
    assert text.count("<pause />") == 1
    path = directory / "uac-lengths.xml"
    path.write_text(text.replace("<pause />", pause))
    return path


def _call(site: Site, call_id: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = site.get(f"/calls/{call_id}")
    except HTTPError as error:
        if error.code != 404:
            raise
        return None
    return found


def _texts(call: dict[str, Any]) -> list[str]:
    return sorted(line["text"] for line in call["logs"])


def _live(site: Site) -> set[str]:
    calls = site.get("/calls?state=live&limit=1000")["calls"]
    return {call["call_id"] for call in calls if call["answered_at"] is not None}


def _pull(hq: Host, branch: Host) -> Callable[[], None]:
    branch.pull()
    return branch.plug


def _mute(hq: Host, branch: Host) -> Callable[[], None]:
    """``hq`` hears nothing more of ``branch``, which still hears ``hq``."""
    branch.mute()
    return branch.unmute


@pytest.mark.parametrize("cut", [_pull, _mute], ids=["both ways", "one way"])
def test_the_copies_merge_and_each_call_has_one_row(
    tmp_path: Path, hosts: tuple[Host, Host], cut: Cut
) -> None:
    port = free_port()
    with hosts[1].inside(), sipp_callee("uas-answered", timeout=60, grace=1) as callee:
        hq, branch = make_sites(
            tmp_path,
            port,
            callee.port,
            TIMING,
            hosts=(hosts[0].address, hosts[1].address),
            inside=(hosts[0].inside, hosts[1].inside),
        )
        try:
            launched(branch, hq)
            _load_and_cut(tmp_path, hq, branch, port, cut, hosts)
            found = wait_for(lambda: outcome(tmp_path, hq, branch, Kill(())), TIMING)
        finally:
            branch.stop()
            hq.stop()
    found = outcome(tmp_path, hq, branch, Kill(()))
    assert len(found.told.answered) == len(found.told.invited) == CALLS, found
    assert found.recorded.keys() == found.told.invited.keys(), found
    assert not found.wrong(), found
    assert found.elsewhere == 0, "branch has no row left"
    owners = hq.query("SELECT DISTINCT owner, written_by FROM cdrs")
    assert owners == [("hq", "hq")]
    # A call that both knew has the legs of both switches.
    one_sided = hq.query("SELECT call_id FROM cdr_legs GROUP BY call_id HAVING count(*) != 4")
    assert not one_sided
    noted = hq.query("SELECT call_id FROM cdr_logs WHERE text LIKE 'typed at %'")
    assert len(noted) == 2 * len({call_id for (call_id,) in noted}) > 0


def _load_and_cut(
    directory: Path, hq: Site, branch: Site, port: int, cut: Cut, hosts: tuple[Host, Host]
) -> None:
    with load(directory, hq, port, calls=CALLS, rate=RATE, scenario=_scenario(directory)) as sipp:
        assert wait_while(lambda: len(_live(hq) & _live(branch)) < 25, 10), "calls through both"
        heal = cut(*hosts)
        shared = _live(hq) & _live(branch)
        noted = random.Random(7).sample(sorted(shared), 15)
        # Each side's applications go on while they do not hear of each other.
        noted = [i for i in noted if all(_note(site, i) for site in (hq, branch))]
        assert noted
        silent = wait_while(lambda: not (hq.servers_down() and branch.servers_down()), 5)
        assert silent, "both report the other's silence"
        alone = [call for i in noted if (call := _call(hq, i)) is not None]
        assert {line for call in alone for line in _texts(call)} == {"typed at hq"}, "it is cut"
        if cut is _mute:
            # Calls end at branch too: as nobody else is there, it takes care and writes records.
            written = wait_while(lambda: not branch.query("SELECT 1 FROM cdrs WHERE owner='hq'"), 5)
            assert written, "branch takes care"
        heal()
        again = wait_while(lambda: bool(hq.servers_down() or branch.servers_down()), 8)
        assert again, "both are back"
        assert wait_while(lambda: not _merged(hq, branch, noted), 5), "the copies are equal"
        assert wait_while(lambda: sipp.process.poll() is None, 12), "all calls end"


def _note(site: Site, call_id: str) -> bool:
    try:
        site.ask(f"/calls/{call_id}/log", {"text": f"typed at {site.name}"})
    except HTTPError as error:
        if error.code != 404:
            raise
        return False
    return True


def _merged(hq: Site, branch: Site, noted: list[str]) -> bool:
    """Whether the calls that both still have say the same at both, and there is one."""
    pairs = [(_call(hq, i), _call(branch, i)) for i in noted]
    both = [(one, other) for one, other in pairs if one is not None and other is not None]
    wanted = ["typed at branch", "typed at hq"]
    return bool(both) and all(
        _texts(one) == _texts(other) == wanted and one["properties"] == other["properties"]
        for one, other in both
    )
