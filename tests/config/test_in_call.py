"""`in_call`: the codes that phones may dial within a call, and what is said of what may not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.calls import InCallCodes
from softswitch.config import ConfigErrors
from softswitch.configuration import Config, load_config
from softswitch.settings import in_call_codes


def read(folder: Path, keys: str) -> Config:
    (folder / "plan.yaml").write_text('routes: [{match: "10XX", dial: extension}]\n')
    (folder / "hq.yaml").write_text(
        'switch: {name: hq, listen: ["udp:127.0.0.1:0"]}\n'
        f'extensions: {{"1001": {{password: a}}}}\nin_call: {keys}\n'
        "dialplan: plan.yaml\ntimers: {digits: 2}\n"
    )
    return load_config(folder / "hq.yaml")


@pytest.mark.parametrize(
    ("keys", "meanings"),
    [
        ('{transfer: "##", back: "*1"}', {"##": "transfer", "*1": "back"}),
        ("{consult: 12, complete: '*3'}", {"12": "consult", "*3": "complete"}),
        ("{}", {}),
    ],
)
def test_what_is_written(tmp_path: Path, keys: str, meanings: dict[str, str]) -> None:
    codes = in_call_codes(read(tmp_path, keys))
    assert codes == (InCallCodes(meanings, 2.0, 128) if meanings else None)


@pytest.mark.parametrize(
    ("keys", "column", "told"),
    [
        ('{transfer: "#a"}', 21, "found `#a`, expected a code of digits, `*` and `#`, such as *2"),
        ('{transfer: "123456789"}', 21, "expected a code of digits"),
        ('{transferr: "#1"}', 11, "did you mean `transfer`?"),
        ('{transfer: "*1", back: "*12"}', 33, "`back`: *12 begins with *1, which is `transfer`"),
        ('{transfer: "*12", back: "*1"}', 21, "`transfer`: *12 begins with *1, which is `back`"),
        ('{transfer: "*1", back: "*1"}', 33, "`back`: *1 is `transfer` already"),
    ],
)
def test_what_may_not_be(tmp_path: Path, keys: str, column: int, told: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        read(tmp_path, keys)
    said = str(raised.value)
    assert told in said, said
    assert f"hq.yaml:3:{column}" in said, said
