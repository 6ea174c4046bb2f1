"""Copies of recordings: in a folder, and in a store that speaks S3; what fails is tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from softswitch.config import CopyModel, RecordingModel
from softswitch.recordings import Copying, Recordings, finish
from softswitch.recordings.files import MARKER, begin, expired, parts
from softswitch.sip import Timers


class Bucket(BaseHTTPRequestHandler):
    """A store of objects: who has no right is refused."""

    kept: ClassVar[dict[str, bytes]] = {}
    refuses = False

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        allowed = "Credential=us/" in self.headers.get("Authorization", "")
        if allowed and not Bucket.refuses:
            Bucket.kept[self.path] = data
        self.send_response(200 if allowed and not Bucket.refuses else 403)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Be silent."""


@pytest.fixture
def bucket() -> Iterator[str]:
    Bucket.kept, Bucket.refuses = {}, False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def at_once(what: Callable[[], Any], then: Callable[[Any], None]) -> None:
    then(what())


class World:
    def __init__(self, folder: Path, settings: CopyModel) -> None:
        self.now = 0.0
        self.timers = Timers(lambda: self.now)
        self.folder = folder
        self.copying = Copying(folder, settings, at_once, self.timers.after)

    def recording(self, name: str) -> Path:
        path = self.folder / "2026-11-28" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        for part in parts(path):
            part.write_bytes(bytes(44) + b"\x01\x02" * 800)
        assert finish(path, copied=True) is not None
        assert path.with_suffix(MARKER).exists()
        return path

    def run(self, seconds: float) -> None:
        self.now += seconds
        self.timers.advance()


def test_to_a_folder(tmp_path: Path) -> None:
    world = World(tmp_path / "here", CopyModel(to=f"file://{tmp_path}/there", remove=True))
    first, second = world.recording("one"), world.recording("two")
    data = first.read_bytes()
    world.copying.look()
    assert (tmp_path / "there" / "2026-11-28" / "one.wav").read_bytes() == data
    assert (tmp_path / "there" / "2026-11-28" / "two.wav").exists()
    assert not first.exists()
    assert not list(second.parent.iterdir())


def test_to_a_store_that_is_not_always_there(
    tmp_path: Path, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings = CopyModel(
        to="s3://records/calls", endpoint=bucket, region="r", key="us", secret="s", retry=10
    )
    world = World(tmp_path, settings)
    path = world.recording("one")
    Bucket.refuses = True
    world.copying.look()
    world.run(10)
    assert caplog.text.count("recordings are not copied") == 1
    assert "secret" not in caplog.text
    assert path.with_suffix(MARKER).exists()
    assert expired(tmp_path, 2e9) == [], "not before it is copied"
    other = world.recording("two")
    Bucket.refuses = False
    world.run(10)
    assert "recordings are copied again" in caplog.text
    assert Bucket.kept == {
        "/records/calls/2026-11-28/one.wav": path.read_bytes(),
        "/records/calls/2026-11-28/two.wav": other.read_bytes(),
    }
    assert sorted(expired(tmp_path, 2e9)) == [path, other]
    world.copying.close()


def test_a_wrong_key(tmp_path: Path, bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = CopyModel(to="s3://records", endpoint=bucket, region="r", key="them", secret="xyzzy")
    world = World(tmp_path, settings)
    path = world.recording("one")
    world.copying.look()
    assert "recordings are not copied" in caplog.text
    assert "xyzzy" not in caplog.text
    assert path.exists()
    assert Bucket.kept == {}


def test_after_a_restart(tmp_path: Path) -> None:
    """What a killed process has left is made whole, and copied."""
    copied = CopyModel(to=f"file://{tmp_path}/there")
    settings = RecordingModel(folder=tmp_path / "here", copy=copied)
    world = World(settings.folder, copied)
    path = settings.folder / "2026-11-28" / "one.wav"
    begin(path, {"call_id": "x", "switch": "hq", "talk": "1"})
    parts(path)[0].write_bytes(bytes(44) + b"\x01\x02" * 800)
    told: list[object] = []
    kept = Recordings(
        "hq", settings, at_once, world.timers.after, lambda: 1e9, lambda: "token1", told.append
    )
    kept.on_finished = world.copying.look
    kept.open()
    assert len(told) == 1
    assert (tmp_path / "there" / "2026-11-28" / "one.wav").read_bytes() == path.read_bytes()
