"""``play: {stream: ...}`` as it is written, and its mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from dialplan.test_plays import ALICE, AROUND

from softswitch.config.places import ConfigErrors
from softswitch.dialplan import Dialplan, Play, StreamPlay, Walk
from softswitch.dialplan.loader import load_dialplan
from softswitch.media import Stream
from softswitch.media.orders import LONGEST, encode
from tests.signed import Authority

URL = "wss://agent.example/path?x=1"


def plan(tmp_path: Path, settings: str) -> Dialplan:
    path = tmp_path / "dp.yaml"
    path.write_text(f"routes:\n  - {{match: '5', play: {{stream: {settings}}}}}\n")
    return load_dialplan(path, replace(AROUND, folder=tmp_path))


def what(tmp_path: Path, settings: str) -> StreamPlay:
    route = plan(tmp_path, settings).route("5", ALICE)
    assert route is not None
    assert isinstance(route.action, Play)
    assert isinstance(route.action.what, StreamPlay)
    return route.action.what


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (f'"{URL}"', StreamPlay(URL)),
        (f'{{url: "{URL}"}}', StreamPlay(URL)),
        ('"ws://127.0.0.1:8765"', StreamPlay("ws://127.0.0.1:8765")),
        ('"wss://[2001:db8::1]:8443/x"', StreamPlay("wss://[2001:db8::1]:8443/x")),
        (
            '{url: "ws://x/", headers: {Authorization: "Bearer s3cret"}, '
            "parameters: {lang: en, n: 7}}",
            StreamPlay(
                "ws://x/", (("Authorization", "Bearer s3cret"),), (("lang", "en"), ("n", "7"))
            ),
        ),
        (
            '{url: "ws://x/", format: l16, connect: 2, ping: 0, buffer: 30, backlog: 2, '
            "message: 4096}",
            StreamPlay("ws://x/", (), (), True, "", 2, 0, 30, 2, 4096),
        ),
    ],
)
def test_as_written(tmp_path: Path, settings: str, found: StreamPlay) -> None:
    assert what(tmp_path, settings) == found


def test_authorities_beside_the_dialplan(tmp_path: Path) -> None:
    Authority(tmp_path, "ours")
    found = what(tmp_path, f'{{url: "{URL}", ca: ours.pem}}')
    assert found.ca == str(tmp_path / "ours.pem")


def test_it_is_told_without_secrets(tmp_path: Path) -> None:
    settings = '{url: "wss://agent.example:8443/t0ken", headers: {Authorization: s3cret}}'
    assert what(tmp_path, settings).told() == "stream to agent.example:8443"
    dialplan = plan(tmp_path, settings)
    route = dialplan.route("5", ALICE)
    assert route is not None
    told = str(Walk(dialplan, ALICE, None).walk(route.action, ""))
    assert "hears stream to agent.example:8443" in told
    assert "s3cret" not in told
    assert "t0ken" not in told


MISTAKES = [
    ("{}", "missing key `url`"),
    ('"https://agent.example/"', "found `https://agent.example/`, expected a URL such as wss://"),
    ('"agent.example"', "expected a URL such as wss://agent.example/path"),
    ('"wss://agent.example/a b"', "expected a URL such as"),
    ('"wss://"', "expected a URL such as"),
    ('"wss://agent.example:99999/"', "found port 99999, expected 1 to 65535"),
    ('"wss://agent.example/#x"', "expected no `#`"),
    ('"wss://me:s3cret@agent.example/"', "found a user or password in the URL"),
    (f'"wss://x/{"y" * 2048}"', "found 2056 characters, expected at most 2048"),
    ('{url: "ws://x/", herders: {}}', "unknown key `herders`: did you mean `headers`?"),
    ('{url: "ws://x/", headers: {"a b": x}}', "expected the name of an HTTP header"),
    ('{url: "ws://x/", headers: {Host: x}}', "found `Host`, which the switch writes itself"),
    ('{url: "ws://x/", headers: {Sec-WebSocket-Key: x}}', "which the switch writes itself"),
    ('{url: "ws://x/", headers: {X: "s3cret\\r\\nY: z"}}', "expected one line of text"),
    ('{url: "ws://x/", headers: {X: "s3crét"}}', "expected one line of text, in ASCII"),
    ('{url: "ws://x/", headers: {X: a, x: b}}', "found a header twice"),
    (
        '{url: "ws://x/", headers: {' + ", ".join(f"X{n}: y" for n in range(9)) + "}}",
        "found 9 headers, expected at most 8",
    ),
    (
        '{url: "ws://x/", parameters: {' + ", ".join(f"x{n}: y" for n in range(17)) + "}}",
        "found 17 parameters, expected at most 16",
    ),
    ('{url: "ws://x/", parameters: {x: ' + "y" * 257 + "}}", "expected at most 256"),
    ('{url: "ws://x/", format: opus}', "`format`"),
    ('{url: "ws://x/", ca: nothing.pem}', "found `nothing.pem`: No such file or directory"),
    ('{url: "ws://x/", ca: dp.yaml}', "found `dp.yaml`: it has no certificate"),
    ('{url: "ws://x/", connect: 0}', "`connect`"),
    ('{url: "ws://x/", ping: -1}', "`ping`"),
    ('{url: "ws://x/", buffer: 0.5}', "`buffer`"),
    ('{url: "ws://x/", backlog: 61}', "`backlog`"),
    ('{url: "ws://x/", message: 5}', "`message`"),
]


@pytest.mark.parametrize(("settings", "told"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes(tmp_path: Path, settings: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        plan(tmp_path, settings)
    said = str(raised.value)
    assert told in said, said
    assert "dp.yaml:2:" in said, said
    assert "s3cr" not in said, "it is a secret"


def test_the_longest_fits_into_an_order(tmp_path: Path) -> None:
    """Whatever a dialplan and a caller may say."""
    headers = ", ".join(f"{'X' * 255}{n}: {'y' * 2048}" for n in range(8))
    parameters = ", ".join(f"{'ä' * 254}{n:02}: {'😀' * 256}" for n in range(16))
    settings = (
        f'{{url: "wss://x/{"y" * 2039}", headers: {{{headers}}}, parameters: {{{parameters}}}}}'
    )
    found = what(tmp_path, settings)
    more = tuple((name, "😀" * 256) for name in ("caller", "callerName", "callee"))
    order = Stream(1, 1, found.url, "x" * 200, "y" * 100, "z" * 100, found.headers)
    order = msgspec.structs.replace(order, parameters=(*more, *found.parameters))
    assert len(encode(order)) < LONGEST
