"""Every scenario against its counterpart, nothing in between: the scenarios are right."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path

import pytest

from bench.sipp import SCENARIOS
from tests.load.casts import CASTS
from tests.load.pairs import (
    FACE_TO_FACE,
    THROUGH_ANYTHING,
    UDP_ONLY,
    Outcome,
    Pair,
    face_to_face,
    outcome,
    run_all,
)
from tests.load.test_carrier_scenarios import SCENARIOS as CARRIER_SCENARIOS
from tests.load.test_ringing_scenarios import CASES

UDP = (*THROUGH_ANYTHING, *FACE_TO_FACE, *UDP_ONLY)
TCP = (*THROUGH_ANYTHING, *FACE_TO_FACE)
FILES = sorted(SCENARIOS.glob("*.xml"))


@pytest.fixture(scope="module")
def over_udp() -> dict[Pair, Outcome | BaseException]:
    return run_all(UDP, partial(face_to_face, transport="u1"))


@pytest.fixture(scope="module")
def over_tcp() -> dict[Pair, Outcome | BaseException]:
    return run_all(TCP, partial(face_to_face, transport="tn"))


@pytest.mark.parametrize("pair", UDP, ids=str)
def test_pair_over_udp(pair: Pair, over_udp: dict[Pair, Outcome | BaseException]) -> None:
    outcome(over_udp, pair).check(pair.calls)


@pytest.mark.parametrize("pair", TCP, ids=str)
def test_pair_over_tcp(pair: Pair, over_tcp: dict[Pair, Outcome | BaseException]) -> None:
    outcome(over_tcp, pair).check(pair.calls)


def test_a_wrong_pair_fails() -> None:
    """The caller that expects busy does not pass when the callee answers."""
    result = face_to_face(Pair("uac-busy", "uas-answered", calls=1), "u1")
    assert (result.caller.successful, result.caller.failed) == (0, 1)
    assert result.caller.exit_code == 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_file_says_how_to_run_it(file: Path) -> None:
    text = file.read_text()
    assert ElementTree.fromstring(text).get("name") == file.stem
    assert re.search(rf"^    sipp .*sipp-scenarios/{file.name} ", text, re.MULTILINE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_responses_are_tied_to_their_transaction(file: Path) -> None:
    """Else a 200 of the INVITE that comes again counts as the BYE's."""
    if file.stem == "uac-ack-never":  # SIPp wants an ACK for every INVITE that is named
        return
    for receive in ElementTree.parse(file).iter("recv"):
        if receive.get("response"):
            assert receive.get("response_txn"), ElementTree.tostring(receive)


def test_every_scenario_is_run() -> None:
    run = {name for pair in UDP for name in (pair.caller, pair.callee)}
    # Run through the switch alone: what gives up, or vanishes, is in between.
    through_a_switch = {"uac-no-answer", "uas-bye-unanswered", "uac-auth-refused", "uas-recalled"}
    through_a_switch |= set(CARRIER_SCENARIOS)
    through_a_switch |= {name for cast in CASTS for name in cast.scenarios}
    through_a_switch |= {name for case in CASES for name in (case.caller, case.callee)}
    assert {file.stem for file in FILES} == run | through_a_switch
