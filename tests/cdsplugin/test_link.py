"""The link over real TCP on loopback: handshake, reconnect, nonsense, limits."""

from __future__ import annotations

import asyncio
import contextlib
from unittest.mock import Mock

import pytest
import uvloop
from link_net import Net, closed, framed

from cdsplugin.data.entries import Property
from cdsplugin.data.frames import Hello, Unregister, Update
from cdsplugin.link.handshake import LinkError
from cdsplugin.link.limits import LinkLimits
from cdsplugin.link.way import Way

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """uvloop is what servers run on."""
    return request.param()


@pytest.fixture
async def net():
    net = Net()
    yield net
    await net.stop()


async def test_both_directions_over_one_connection(net: Net) -> None:
    hq, at_hq = await net.link("hq")
    branch, at_branch = await net.link("branch", hq=hq.address())
    assert branch.knows("hq")
    assert not hq.knows("branch")
    branch.send("hq", Unregister("dropped: not connected"))
    branch.want("hq", True)
    await at_branch.until(lambda: at_branch.up)
    await at_hq.until(lambda: at_hq.up)
    assert hq.knows("branch")
    frames = [Update(f"c{n}", [Property("x", {"n": n}, n, "branch")], []) for n in range(50)]
    for frame in frames:
        branch.send("hq", frame)
    hq.send("branch", Unregister("c"))
    await at_hq.until(lambda: len(at_hq.frames) == 50)
    await at_branch.until(lambda: at_branch.frames)
    assert at_hq.frames == [("branch", frame) for frame in frames]
    assert at_branch.frames == [("hq", Unregister("c"))]


async def test_dialled_again_until_the_server_is_there(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    hq, _ = await net.link("hq")
    address = hq.address()
    await hq.stop()
    branch, at_branch = await net.link("branch", hq=address)
    branch.want("hq", True)
    branch.want("nobody", True)
    async with asyncio.timeout(10):
        while "cannot be reached" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    hq, at_hq = await net.link("hq", port=address[1])
    await at_branch.until(lambda: at_branch.up)
    assert caplog.text.count("cannot be reached") == 1
    # It is lost, and dialled again as long as it is wanted.
    await hq.stop()
    await at_branch.until(lambda: at_branch.down)
    hq, at_hq = await net.link("hq", port=address[1])
    branch.want("hq", True)
    await at_branch.until(lambda: len(at_branch.up) == 2)
    branch.want("hq", False)
    branch.drop("hq")
    branch.drop("nobody")
    await at_branch.until(lambda: len(at_branch.down) == 2)
    await at_hq.until(lambda: at_hq.down)


async def test_both_dial_at_once(net: Net) -> None:
    hq, at_hq = await net.link("hq")
    branch, at_branch = await net.link("branch", hq=hq.address())
    hq._ways["branch"] = Way("branch", branch.address())
    hq.want("branch", True)
    branch.want("hq", True)
    await at_hq.until(lambda: at_hq.up)
    await at_branch.until(lambda: at_branch.up)

    def settled() -> bool:
        return len(at_hq.up) == len(at_hq.down) + 1 and len(at_branch.up) == len(at_branch.down) + 1

    async with asyncio.timeout(10):
        while not settled() or len(hq._connections) != 1 or len(branch._connections) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    hq.send("branch", Unregister("h"))
    branch.send("hq", Unregister("b"))
    await at_hq.until(lambda: at_hq.frames)
    await at_branch.until(lambda: at_branch.frames)


async def test_a_restarted_server_takes_the_place_of_its_former_self(net: Net) -> None:
    hq, at_hq = await net.link("hq")
    first, at_first = await net.link("branch", hq=hq.address())
    first.want("hq", True)
    await at_first.until(lambda: at_first.up)
    second, at_second = await net.link("branch", hq=hq.address())
    second.want("hq", True)
    await at_second.until(lambda: at_second.up)
    await at_hq.until(lambda: len(at_hq.up) == 2)
    assert at_hq.down == ["branch"]
    hq.send("branch", Unregister("x"))
    await at_second.until(lambda: at_second.frames)
    assert at_first.frames == []


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "sent what is no greeting"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "speaks TLS, and there is no cds.tls here"),
        (b"\0\0\x10\x01", "sent what is no greeting: 4097 bytes"),
        (b"\0\0\0\x03abc", "sent what is no greeting"),
        (b"\0\0\0\x02\x92\x01", "sent what is no greeting"),
        (framed(Unregister("c")), "sent what is no greeting"),
        (framed(Hello("cds", 1, "branch", "i")) + b"\0\0\0\x03abc", "sent what is no frame"),
        (framed(Hello("cds", 99, "branch", "i")), "speaks version 99"),
        (framed(Hello("http", 1, "branch", "i")), "of 'http'"),
        (framed(Hello("cds", 1, "hq", "i")), "which is this server's name"),
        (framed(Hello("cds", 1, "branch", "i")) + b"\xff\xff\xff\xff", "server branch (tcp:"),
        (b"", "did not greet in time"),
    ],
)
async def test_a_peer_that_sends_nonsense_is_dropped_and_named(
    net: Net, caplog: pytest.LogCaptureFixture, sent: bytes, says: str
) -> None:
    hq, _ = await net.link("hq")
    reader, writer = await asyncio.open_connection(*hq.address())
    writer.write(sent)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(100):
                pass
    writer.close()
    assert says in caplog.text
    assert "127.0.0.1" in caplog.text
    assert hq.dropped_peers == 1


async def test_a_server_under_another_name_than_expected(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    hq, _ = await net.link("hq")
    branch, at_branch = await net.link("branch", head=hq.address())
    branch.want("head", True)
    async with asyncio.timeout(10):
        while "but cds.peers has it as head" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert "head" not in at_branch.up


async def test_frames_in_pieces(net: Net) -> None:
    hq, at_hq = await net.link("hq")
    _, writer = await asyncio.open_connection(*hq.address())
    data = framed(Hello("cds", 1, "branch", "i")) + framed(Unregister("c1")) * 3
    for n in range(len(data)):
        writer.write(data[n : n + 1])
        await writer.drain()
    await at_hq.until(lambda: len(at_hq.frames) == 3)
    writer.close()
    await at_hq.until(lambda: at_hq.down)


async def test_too_many_servers(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    hq, at_hq = await net.link("hq", LinkLimits(connections=1))
    _, first = await asyncio.open_connection(*hq.address())
    first.write(framed(Hello("cds", 1, "branch", "i")))
    await at_hq.until(lambda: at_hq.up)
    reader, second = await asyncio.open_connection(*hq.address())
    second.write(framed(Hello("cds", 1, "depot", "i")))
    await closed(reader)
    assert "(depot) is one too many (cds.limits.connections)" in caplog.text
    # The same server again takes its own place; when it is gone there is room for another.
    reader, again = await asyncio.open_connection(*hq.address())
    again.write(framed(Hello("cds", 1, "branch", "i")))
    await at_hq.until(lambda: at_hq.up == ["branch", "branch"])
    again.close()
    await at_hq.until(lambda: len(at_hq.down) == 2)
    _, third = await asyncio.open_connection(*hq.address())
    third.write(framed(Hello("cds", 1, "depot", "i")))
    await at_hq.until(lambda: at_hq.up[2:] == ["depot"])
    for writer in (first, second, third):
        writer.close()


async def test_strangers_who_only_hold_connections_keep_nobody_out(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    hq, at_hq = await net.link("hq", LinkLimits(strangers=3, handshake=60))
    held = [await asyncio.open_connection(*hq.address()) for _ in range(6)]
    for reader, _ in held[:3]:
        await closed(reader)
    branch, at_branch = await net.link("branch", hq=hq.address())
    branch.want("hq", True)
    await at_branch.until(lambda: at_branch.up)
    await at_hq.until(lambda: at_hq.up)
    assert "one of too many that did not greet" in caplog.text
    assert len(hq._strangers) == 2
    for _, writer in held:
        writer.close()


async def test_a_stranger_does_not_fill_the_log(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    hq, _ = await net.link("hq")
    for _ in range(30):
        reader, writer = await asyncio.open_connection(*hq.address())
        writer.write(b"\xff" * 10)
        await closed(reader)
        writer.close()
    assert hq.dropped_peers == 30
    assert caplog.text.count("no greeting") == 10
    assert "will not be named for a while" in caplog.text


async def test_a_peer_that_does_not_read_is_dropped(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    hq, at_hq = await net.link("hq", LinkLimits(buffer_bytes=100_000))
    _, writer = await asyncio.open_connection(*hq.address(), limit=1000)
    writer.write(framed(Hello("cds", 1, "branch", "i")))
    await at_hq.until(lambda: at_hq.up)
    frame = Update("c", [Property("x", "y" * 50_000, 1, "hq")], [])
    async with asyncio.timeout(10):
        while not at_hq.down:
            hq.send("branch", frame)
            await asyncio.sleep(0)
    assert "too slowly" in caplog.text
    writer.close()


async def test_what_cannot_be_encoded_or_taken_harms_no_connection(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    hq, at_hq = await net.link("hq")
    branch, at_branch = await net.link("branch", hq=hq.address())
    at_hq.fail = True
    branch.want("hq", True)
    await at_branch.until(lambda: at_branch.up)
    branch.send("hq", Unregister("\udcff"))
    branch.send("hq", Unregister("c1"))
    await at_hq.until(lambda: at_hq.frames)
    assert at_hq.frames == [("branch", Unregister("c1"))]
    assert "cannot be sent" in caplog.text
    assert "broken receiver" in caplog.text
    assert at_hq.down == []


async def test_a_port_in_use(net: Net) -> None:
    hq, _ = await net.link("hq")
    with pytest.raises(LinkError, match=r"cds\.listen: cannot listen on tcp:127\.0\.0\.1:\d+: "):
        await net.link("other", port=hq.address()[1])


async def test_one_write_for_all_frames_of_a_turn(net: Net) -> None:
    hq, at_hq = await net.link("hq")
    branch, at_branch = await net.link("branch", hq=hq.address())
    branch.want("hq", True)
    await at_branch.until(lambda: at_branch.up)
    connection = branch._ways["hq"].connection
    spy = Mock(wraps=connection._transport)
    connection._transport = spy
    for n in range(100):
        branch.send("hq", Unregister(f"c{n}"))
    await at_hq.until(lambda: len(at_hq.frames) == 100)
    assert spy.write.call_count == 1


async def test_other_addresses_while_it_runs(net: Net) -> None:
    hq, at_hq = await net.link("hq")
    depot, at_depot = await net.link("depot")
    nowhere = ("127.0.0.1", 1)
    branch, at_branch = await net.link("branch", hq=hq.address(), moved=nowhere)
    branch.want("hq", True)
    branch.want("moved", True)
    await at_branch.until(lambda: at_branch.up == ["hq"])
    branch.take_up({"depot": depot.address()})
    assert branch.connected("hq"), "who is connected has proved who it is"
    branch.want("depot", True)
    await at_branch.until(lambda: at_branch.up == ["hq", "depot"])
    # Wanted when it was not known yet where it is, and dialled as soon as that is known.
    late, at_late = await net.link("moved")
    branch.take_up({"depot": depot.address(), "moved": nowhere})
    branch.want("moved", True)
    await asyncio.sleep(0.02)
    branch.take_up({"depot": depot.address(), "moved": late.address()})
    await at_branch.until(lambda: at_branch.up == ["hq", "depot", "moved"])
    await at_late.until(lambda: at_late.up)
    # One that is no peer any more is not dialled when its connection is lost.
    branch.drop("hq")
    await at_hq.until(lambda: at_hq.down)
    await asyncio.sleep(0.05)
    assert at_hq.up == ["branch"]
    assert not branch.knows("hq")
    assert at_depot.up == ["branch"]
