"""The control socket: who may ask, what is answered, and what becomes of bad questions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from softswitch.control import Asked, Control, ControlError, ControlTaken, Wrong, ask, open_control
from softswitch.control.listening import MAX_QUESTION


async def count(asked: Asked) -> AsyncIterator[Mapping[str, object]]:
    if not isinstance(asked.get("to"), int):
        raise Wrong("`to`: expected a number")
    for number in range(asked["to"]):
        yield {"number": number, "text": "x" * asked.get("size", 0)}


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    control = Control(tmp_path / "hq.sock", 3)
    control.verbs["count"] = count
    await control.open()
    yield control
    await control.close()


async def nobody_asks(control: Control) -> None:
    """Wait until the switch has seen that all are gone."""
    await asyncio.wait_for(asyncio.gather(*control._asking, return_exceptions=True), 5)
    assert not control._asking


def asked(path: Path, verb: str, **arguments: object) -> list[dict[str, Any]]:
    with open_control(path) as stream:
        return list(ask(stream, verb, **arguments))


async def beside(*arguments: Any, **more: Any) -> list[dict[str, Any]]:
    return await asyncio.to_thread(asked, *arguments, **more)


async def test_an_answer_in_pieces(control: Control) -> None:
    found = await beside(control.path, "count", to=3)
    assert [piece["number"] for piece in found] == [0, 1, 2]
    assert stat.S_IMODE(control.path.stat().st_mode) == 0o600


async def test_what_is_wrong_is_said(control: Control) -> None:
    with pytest.raises(ControlError, match="`to`: expected a number"):
        await beside(control.path, "count")
    with pytest.raises(ControlError, match="does not know `dance`: it knows count"):
        await beside(control.path, "dance")


async def test_a_connection_asks_again_after_a_mistake(control: Control) -> None:
    def talk() -> list[Any]:
        with open_control(control.path) as stream:
            for line in (b"nonsense\n", b"[1]\n", b'{"ask": 7}\n', b"[" * 5000 + b"\n"):
                stream.write(line)
            stream.flush()
            lines = [json.loads(stream.readline()) for _ in range(4)]
            return [*lines, *ask(stream, "count", to=1)]

    *mistakes, last = await asyncio.to_thread(talk)
    assert all("error" in mistake for mistake in mistakes)
    assert last["number"] == 0


async def test_a_question_without_end(control: Control) -> None:
    reader, writer = await asyncio.open_unix_connection(str(control.path))
    writer.write(b"x" * (MAX_QUESTION * 3))
    assert "bytes in a question" in json.loads(await reader.readline())["error"]
    assert await reader.read() == b""
    writer.close()


async def test_no_more_than_so_many_ask_at_once(control: Control) -> None:
    open_ones = [await asyncio.open_unix_connection(str(control.path)) for _ in range(3)]
    for reader, writer in open_ones:
        writer.write(b'{"ask":"count","to":0}\n')
        assert await reader.readline() == b'{"end":true}\n'
    reader, fourth = await asyncio.open_unix_connection(str(control.path))
    assert "limits.max_control" in json.loads(await reader.readline())["error"]
    fourth.close()
    for _, writer in open_ones:
        writer.close()
    await nobody_asks(control)
    assert len(await beside(control.path, "count", to=1)) == 1


async def _says_on_and_on(sock: socket.socket) -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            sock.send(b"x")
        await asyncio.sleep(0.005)


async def test_who_does_not_read_is_left(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """And holds up nobody meanwhile; nothing of it is kept."""
    monkeypatch.setattr("softswitch.control.listening.PATIENCE", 0.2)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(control.path))
        deaf.sendall(b'{"ask":"count","to":1000,"size":50000}\n')
        async with asyncio.timeout(5):
            while not control._asking:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert len(await beside(control.path, "count", to=2)) == 2
        await nobody_asks(control)
        deaf.setblocking(False)
        with pytest.raises(BrokenPipeError):
            await asyncio.wait_for(_says_on_and_on(deaf), 5)


async def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "hq.sock"
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))
    with pytest.raises(ControlError, match="not running: nobody listens"):
        asked(path, "count")
    control = Control(path, 1)
    await control.open()
    await control.close()
    assert not path.exists()
    with pytest.raises(ControlError, match="not running: there is no"):
        asked(path, "count")


async def test_the_socket_of_a_living_one_is_left_alone(control: Control, tmp_path: Path) -> None:
    other = Control(control.path, 1)
    with pytest.raises(ControlTaken, match="in use by another process"):
        await other.open()
    control.verbs["count"] = count
    assert len(await beside(control.path, "count", to=1)) == 1
    file = tmp_path / "file.sock"
    file.write_text("mine")
    with pytest.raises(ControlTaken, match="is no socket"):
        await Control(file, 1).open()
    assert file.read_text() == "mine"
    with pytest.raises(ControlTaken, match="longer than the 107 bytes"):
        await Control(tmp_path / ("x" * 108), 1).open()
    with pytest.raises(ControlTaken, match="No such file"):
        await Control(tmp_path / "nowhere" / "hq.sock", 1).open()


async def test_who_may_not() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        control = Control(Path(folder) / "hq.sock", 1)
        await control.open()
        os.seteuid(65534)
        try:
            with pytest.raises(ControlError, match="no permission for"):
                asked(control.path, "count")
        finally:
            os.seteuid(0)
            await control.close()
