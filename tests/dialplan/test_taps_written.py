"""``tap:`` as it is written, in a dialplan and in a configuration, and its mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from dialplan.test_plays import ALICE, AROUND

from softswitch.config import Tap
from softswitch.config.places import ConfigErrors
from softswitch.configuration import load_config
from softswitch.dialplan.loader import load_dialplan
from tests.signed import Authority

URL = "wss://agent.example/path?x=1"


def of_a_route(tmp_path: Path, settings: str) -> Tap | None:
    path = tmp_path / "dp.yaml"
    path.write_text(f"routes:\n  - {{match: '5', status: 404, tap: {settings}}}\n")
    route = load_dialplan(path, replace(AROUND, folder=tmp_path)).route("5", ALICE)
    assert route is not None
    return route.tap


def configured(tmp_path: Path, extension: str, more: str = "", trunk: str = "") -> Path:
    (tmp_path / "dp.yaml").write_text(
        "queues: {desk: {agents: ['101'], tap: wss://queue.example}}\n"
        "routes: [{match: '101', dial: extension}]\n"
    )
    path = tmp_path / "hq.yaml"
    path.write_text(
        "switch: {name: hq, listen: ['udp:127.0.0.1:5060']}\n"
        f"extensions: {{'101': {{password: change-me-101, tap: {extension}}}}}\n"
        f"trunks: {{pstn: {{to: 'sip:192.0.2.1'{trunk}}}}}\n"
        f"dialplan: dp.yaml\n{more}"
    )
    return path


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (f'"{URL}"', Tap(URL)),
        (f'{{url: "{URL}"}}', Tap(URL)),
        ('{url: "ws://x/", tracks: caller}', Tap("ws://x/", callee=False)),
        (
            '{url: "ws://x/", tracks: callee, format: l16}',
            Tap("ws://x/", caller=False, linear=True),
        ),
        (
            '{url: "ws://x/", headers: {Authorization: s3cret}, parameters: {n: 7}, connect: 2, '
            "ping: 0, backlog: 2, message: 4096}",
            Tap(
                "ws://x/",
                (("Authorization", "s3cret"),),
                (("n", "7"),),
                connect=2,
                ping=0,
                backlog=2,
                message=4096,
            ),
        ),
    ],
)
def test_as_written(tmp_path: Path, settings: str, found: Tap) -> None:
    assert of_a_route(tmp_path, settings) == found
    config = load_config(configured(tmp_path, settings, trunk=f", tap: {settings}"))
    assert config.extensions["101"].tap == found
    assert config.trunks["pstn"].tap == found
    assert Tap("wss://queue.example") in config.dialplan.taps()


def test_in_words(tmp_path: Path) -> None:
    """Without secrets."""
    tap = of_a_route(tmp_path, '{url: "wss://x.example:8/t0ken", tracks: caller}')
    assert tap is not None
    assert tap.told() == "tapped by x.example:8 (caller alone)"
    assert Tap(URL).told() == "tapped by agent.example"
    assert "t0ken" not in tap.key


def test_by_which_it_is_known_again() -> None:
    """Whatever may be changed while calls go on makes it no other one."""
    tap = Tap(URL, (("Authorization", "old"),))
    for same in ({"headers": ()}, {"ping": 3.0}, {"ca": "/x"}, {"backlog": 1.0}):
        assert msgspec.structs.replace(tap, **same).key == tap.key  # type: ignore[arg-type]
    for other in ({"url": URL + "1"}, {"parameters": (("a", "b"),)}, {"caller": False}):
        assert msgspec.structs.replace(tap, **other).key != tap.key  # type: ignore[arg-type]


MISTAKES = [
    ("http://x", "found `http://x`, expected a URL such as wss://agent.example/path (or ws://)"),
    ("wss://u:p@x", "found a user or password in the URL: expected them in `headers`"),
    ("true", "found `true`, expected the URL of a program"),
    ("[a]", "found a list, expected a mapping of keys"),
    ("{tracks: both}", "missing key `url`"),
    ("{url: ws://x, tracks: left}", "expected one of `both`, `caller`, `callee`"),
    ("{url: ws://x, buffer: 3}", "unknown key `buffer`"),
    ("{url: ws://x, ca: nope.pem}", "found `nope.pem`: No such file or directory"),
    ("{url: ws://x, ping: -1}", "`ping`: found `-1`, expected at least 0"),
    ("{url: ws://x, headers: {Host: x}}", "found `Host`, which the switch writes itself"),
]


@pytest.mark.parametrize(("settings", "said"), MISTAKES)
def test_mistakes(tmp_path: Path, settings: str, said: str) -> None:
    """Each at its place, in both files."""
    with pytest.raises(ConfigErrors) as wrong:
        of_a_route(tmp_path, settings)
    (one,) = wrong.value.mistakes
    assert said in str(one)
    assert "dp.yaml:2:" in str(one)
    with pytest.raises(ConfigErrors) as wrong:
        load_config(configured(tmp_path, settings))
    (one,) = wrong.value.mistakes
    assert said in str(one)
    assert "hq.yaml:2:" in str(one)


def test_authorities_are_beside_the_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    name = Path(authority.path).name
    settings = f"{{url: wss://x, ca: {name}}}"
    tap = load_config(configured(tmp_path, settings)).extensions["101"].tap
    assert tap is not None
    assert tap.ca == str((tmp_path / name).resolve())
    assert of_a_route(tmp_path, settings) == tap


def test_all_of_them(tmp_path: Path) -> None:
    more = "tapping: {announce: welcome, tries: 2, pause: 0.5, longest_pause: 3, most: 2}\n"
    tapping = load_config(configured(tmp_path, "ws://x", more)).tapping
    assert Path(tapping.announce).name == "welcome.wav"
    assert (tapping.tries, tapping.pause, tapping.longest_pause, tapping.most) == (2, 0.5, 3, 2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{announce: nothing-such}", "`announce`: "),
        ("{tries: 101}", "`tries`: found `101`, expected at most 100"),
        ("{pause: 0}", "`pause`: found `0`, expected more than 0"),
        ("{most: 0}", "`most`: found `0`, expected at least 1"),
    ],
)
def test_mistakes_of_all(tmp_path: Path, settings: str, said: str) -> None:
    with pytest.raises(ConfigErrors) as wrong:
        load_config(configured(tmp_path, "ws://x", f"tapping: {settings}\n"))
    (one,) = wrong.value.mistakes
    assert said in str(one)
    assert "hq.yaml:5:" in str(one)
