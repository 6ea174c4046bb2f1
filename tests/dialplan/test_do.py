"""`do`: star codes, and the number that is dialled after them."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.dialplan import Dialplan, Do, Source, Surroundings, load_dialplan

ALICE = Source("extension", "1001")


@pytest.fixture
def plan(tmp_path: Path) -> Dialplan:
    file = tmp_path / "plan.yaml"
    file.write_text(
        """routes:
  - {match: "*72.", strip: 3, do: {forward: always}}
  - {match: "*72", do: {forward: always}}
  - {match: "*73", do: {forward: off}}
  - {match: "*78", do: {dnd: on}}
  - {match: "**.", strip: 2, do: pickup}
  - {match: "*8", do: pickup}
  - {match: "70X", do: park}
  - {match: "1XXX", dial: extension, else: {do: redial}}
  - {match: "77", from: "extension:1002", do: dnd}
"""
    )
    return load_dialplan(file, Surroundings(frozenset({"1001", "1002"}), {}))


@pytest.mark.parametrize(
    ("dialled", "what", "argument", "number", "told"),
    [
        ("*721002", "forward", "always", "1002", "do forward always (number 1002)"),
        ("*72", "forward", "always", "", "do forward always"),
        ("*73", "forward", "off", "", "do forward off"),
        ("*78", "dnd", "on", "", "do dnd on"),
        ("**1002", "pickup", "", "1002", "do pickup (number 1002)"),
        ("*8", "pickup", "", "", "do pickup"),
        ("701", "park", "", "701", "do park (number 701)"),
    ],
)
def test_a_code_and_its_number(
    plan: Dialplan, dialled: str, what: str, argument: str, number: str, told: str
) -> None:
    route = plan.route(dialled, ALICE)
    assert route is not None
    action = route.action
    assert isinstance(action, Do)
    assert (action.what, action.argument, action.number) == (what, argument, number)
    assert action.told() == [told]
    assert action.stages == ()


def test_where_a_number_leads(plan: Dialplan) -> None:
    assert plan.leads("1002", ALICE)
    assert plan.leads("*8", ALICE)
    assert not plan.leads("2002", ALICE)
    assert not plan.leads("77", ALICE)
    assert plan.leads("77", Source("extension", "1002"))
