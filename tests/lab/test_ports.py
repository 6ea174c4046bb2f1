"""Free ports for programs that are told theirs before they start."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from softswitch.lab import ports as module
from softswitch.lab.children import LabError
from softswitch.lab.ports import HOST, bind, free_port


@pytest.mark.parametrize(
    ("said", "ports"),
    [
        ("32768\t60999\n", range(10_000, 32_000)),
        ("20000\t60999\n", range(10_000, 20_000)),
        ("1024\t50000\n", range(50_001, 65_500)),
        ("1024\t65535\n", range(10_000, 32_000)),
        ("nonsense", range(10_000, 32_000)),
        (None, range(10_000, 32_000)),
    ],
)
def test_none_is_given_to_outgoing_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, ports: range
) -> None:
    """But where the system has all of them for that."""
    file = tmp_path / "ip_local_port_range"
    if said is not None:
        file.write_text(said)
    monkeypatch.setattr(module, "EPHEMERAL", file)
    assert module._not_ephemeral() == ports


def test_another_one_each_time() -> None:
    assert len({free_port() for _ in range(50)}) == 50


def test_one_process_is_not_given_what_another_one_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as that lives, whether its port is bound or not."""
    told = "from softswitch.lab.ports import free_port; print(free_port(), flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other:
        port = int(other.stdout.readline())
        monkeypatch.setattr(module, "PORTS", range(port, port + 1))
        monkeypatch.setattr(module, "_next", module._cycle())
        with pytest.raises(LabError, match="no 1 free ports"):
            free_port()
        other.kill()
    assert free_port() == port
    assert free_port() == port, "it is its own"


def test_room_after_it() -> None:
    given = [free_port(3) for _ in range(10)]
    assert len({port + n for port in given for n in range(3)}) == 30


def test_room_for_each_of_several_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(free_port, [3] * 200))
    assert len({port + n for port in given for n in range(3)}) == 600


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_those_in_use_are_passed_over(
    kind: socket.SocketKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = free_port(5)
    monkeypatch.setattr(module, "PORTS", range(first, first + 5))
    monkeypatch.setattr(module, "_next", module._cycle())
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((HOST, first + 1))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        assert {free_port() for _ in range(8)} == {first, first + 2, first + 3, first + 4}
        assert free_port(3) == first + 2
        with pytest.raises(LabError, match="no 4 free ports"):
            free_port(4)


def test_a_port_that_only_awaits_its_last_segments_is_free() -> None:
    """A server binds it all the same."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((HOST, free_port())))
        port = server.getsockname()[1]
        client = stack.enter_context(socket.create_connection((HOST, port)))
        near, _ = server.accept()
        near.close()  # first, so its end waits
        client.close()
    with ExitStack() as stack:
        bind(stack, "tcp", HOST, port)
