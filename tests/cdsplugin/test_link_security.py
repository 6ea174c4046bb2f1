"""The link closed to strangers, on real sockets: TLS, a shared secret, and who tries without."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path

import msgspec
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from link_net import FAST, Ears, Net, closed, files, framed, make_certificates

from cdsplugin.config import CdsSection
from cdsplugin.data.entries import Property
from cdsplugin.data.frames import Hello, Unregister, Update
from cdsplugin.link.handshake import NONCE_BYTES, Handshake, LinkError, Proof
from cdsplugin.link.limits import LinkLimits
from cdsplugin.link.security import LinkSecurity, load_security
from cdsplugin.link.tcp import Link
from cdsplugin.link.tls import context
from cdsplugin.link.way import Way

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")

SECRET = LinkSecurity(b"a secret of some length")
SLOW = LinkLimits(reconnect_min=0.01)
"""With the handshake's usual 5 s, for what has to fail for another reason than the time."""


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """uvloop is what servers run on."""
    return request.param()


@pytest.fixture
async def net():
    net = Net()
    yield net
    await net.stop()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def tls(
    certificates: Path, name: str, authority: str = "right", trusted: str = "right"
) -> LinkSecurity:
    """As a server uses them, without the checks at its start: strangers make none."""
    folder = certificates / authority
    files = (str(folder / f"{name}.pem"), str(folder / f"{name}.key"))
    ca = str(certificates / trusted / "authority.pem")
    return LinkSecurity(None, context(*files, ca, True), context(*files, ca, False))


async def told(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def both_ways(hq: Link, at_hq: Ears, branch: Link, at_branch: Ears) -> None:
    branch.want("hq", True)
    await at_branch.until(lambda: at_branch.up)
    await at_hq.until(lambda: at_hq.up)
    big = Update("c", [Property("x", "y" * 300_000, 1, "hq")], [])
    frames = [Update(f"c{n}", [Property("x", n, n, "branch")], []) for n in range(200)]
    for frame in [*frames, big]:
        branch.send("hq", frame)
    hq.send("branch", big)
    hq.send("branch", Unregister("c"))
    await at_hq.until(lambda: len(at_hq.frames) == 201)
    await at_branch.until(lambda: len(at_branch.frames) == 2)
    assert [frame for _, frame in at_hq.frames] == [*frames, big]
    assert at_branch.frames == [("hq", big), ("hq", Unregister("c"))]


async def test_the_same_secret(net: Net) -> None:
    hq, at_hq = await net.link("hq", SLOW, security=SECRET)
    branch, at_branch = await net.link("branch", SLOW, security=SECRET, hq=hq.address())
    await both_ways(hq, at_hq, branch, at_branch)


async def test_certificates(net: Net, certificates: Path) -> None:
    hq, at_hq = await net.link("hq", SLOW, security=tls(certificates, "hq"))
    branch, at_branch = await net.link(
        "branch", SLOW, security=tls(certificates, "branch"), hq=hq.address()
    )
    await both_ways(hq, at_hq, branch, at_branch)
    # Both ends see the end of a connection that is closed in order.
    await branch.stop()
    await at_hq.until(lambda: at_hq.down)
    assert hq.dropped_peers == 0


async def test_certificates_and_a_secret(net: Net, certificates: Path) -> None:
    def both(name: str, secret: bytes) -> LinkSecurity:
        certified = tls(certificates, name)
        return LinkSecurity(secret, certified.listening, certified.dialling)

    hq, at_hq = await net.link("hq", SLOW, security=both("hq", b"x" * 16))
    branch, at_branch = await net.link(
        "branch", SLOW, security=both("branch", b"x" * 16), hq=hq.address()
    )
    await both_ways(hq, at_hq, branch, at_branch)


@pytest.mark.parametrize("secure", ["secret", "tls"])
async def test_both_dial_at_once_and_one_connection_stays(
    net: Net, certificates: Path, secure: str
) -> None:
    def security(name: str) -> LinkSecurity:
        return SECRET if secure == "secret" else tls(certificates, name)

    hq, at_hq = await net.link("hq", SLOW, security=security("hq"))
    branch, at_branch = await net.link("branch", SLOW, security=security("branch"), hq=hq.address())
    hq._ways["branch"] = Way("branch", branch.address())
    hq.want("branch", True)
    branch.want("hq", True)
    await at_hq.until(lambda: hq.connected("branch"))
    await at_branch.until(lambda: branch.connected("hq"))
    async with asyncio.timeout(10):
        while len(hq._connections) != 1 or len(branch._connections) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    hq.send("branch", Unregister("h"))
    await at_branch.until(lambda: at_branch.frames)
    assert hq._servers == branch._servers == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (SECRET, LinkSecurity(b"another one, as long"), "calls itself branch, but its proof"),
        (SECRET, LinkSecurity(), "(branch) has no cds.secret, and this server has one"),
        (LinkSecurity(), SECRET, "(branch) asks for a secret, and there is no cds.secret here"),
    ],
)
async def test_another_secret(
    net: Net,
    caplog: pytest.LogCaptureFixture,
    ours: LinkSecurity,
    theirs: LinkSecurity,
    says: str,
) -> None:
    hq, at_hq = await net.link("hq", SLOW, security=ours)
    branch, at_branch = await net.link("branch", SLOW, security=theirs, hq=hq.address())
    branch.want("hq", True)
    await told(caplog, says)
    await told(caplog, "server hq at tcp:127.0.0.1")
    branch.want("hq", False)
    assert at_hq.up == at_branch.up == []


@pytest.mark.parametrize(
    ("name", "authority", "trusted", "ours", "theirs"),
    [
        # What the log of the server that is dialled says, and that of the one that dials.
        ("branch", "other", "right", "not accepted: it is from another", "does not accept"),
        ("branch", "right", "other", "does not accept our certificate: it is from another",
         "not accepted: it is from another"),
        ("expired", "right", "right", "certificate has expired", "it has expired"),
        ("early", "right", "right", "certificate is not yet valid", "does not accept"),
        ("hq", "right", "right", "calls itself branch, but its certificate is that of hq",
         "cannot be reached"),
    ],
)  # fmt: skip
async def test_another_certificate(
    net: Net,
    certificates: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    authority: str,
    trusted: str,
    ours: str,
    theirs: str,
) -> None:
    hq, at_hq = await net.link("hq", SLOW, security=tls(certificates, "hq"))
    branch, at_branch = await net.link(
        "branch", SLOW, security=tls(certificates, name, authority, trusted), hq=hq.address()
    )
    branch.want("hq", True)
    await told(caplog, ours)
    await told(caplog, theirs)
    branch.want("hq", False)
    assert at_hq.up == at_branch.up == []
    assert "127.0.0.1" in caplog.text


async def test_a_server_with_another_s_certificate_is_not_told_anything(
    net: Net, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The one who listens is the wrong one: found out before we say more than our name."""
    wrong, _ = await net.link("hq", SLOW, security=tls(certificates, "branch"))
    security = tls(certificates, "branch")
    branch, at_branch = await net.link("branch", SLOW, security=security, hq=wrong.address())
    branch.want("hq", True)
    await told(caplog, "calls itself hq, but its certificate is that of branch")
    branch.want("hq", False)
    assert at_branch.up == []


async def test_tls_and_plain_mixed_up(
    net: Net, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certified, _ = await net.link("hq", SLOW, security=tls(certificates, "hq"))
    plain, _ = await net.link("branch", SLOW, security=SECRET, hq=certified.address())
    plain.want("hq", True)
    await told(caplog, "speaks no TLS, and cds.tls asks for it")
    plain.want("hq", False)
    caplog.clear()
    certified._ways["branch"] = Way("branch", plain.address())
    certified.want("branch", True)
    await told(caplog, "speaks TLS, and there is no cds.tls here")
    certified.want("branch", False)
    reader, writer = await asyncio.open_connection(*certified.address())
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await closed(reader)
    await told(caplog, "speaks no TLS but HTTP")
    writer.close()


async def test_an_old_tls_and_no_certificate(
    net: Net, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hq, _ = await net.link("hq", SLOW, security=tls(certificates, "hq"))
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    reader, _ = await asyncio.open_connection(*hq.address(), ssl=old)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.wait_for(reader.readexactly(1), 10)
    await told(caplog, "has no certificate")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(*hq.address(), ssl=old)
    await told(caplog, "speaks no TLS 1.3")


async def test_the_change_from_one_authority_to_another(
    net: Net, certificates: Path, tmp_path: Path
) -> None:
    """Both authorities in one file: servers with old and new certificates know each other."""
    both = tmp_path / "authority.pem"
    both.write_bytes(
        b"".join(
            (certificates / name / "authority.pem").read_bytes() for name in ("right", "other")
        )
    )

    def start(name: str, authority: str) -> LinkSecurity:
        own = {**files(certificates / authority, name), "authority": both}
        return load_security(
            name, CdsSection.model_validate({"database": "hq.db", "tls": own}).link_keys()
        )

    hq, at_hq = await net.link("hq", SLOW, security=start("hq", "right"))
    branch, at_branch = await net.link(
        "branch", SLOW, security=start("branch", "other"), hq=hq.address()
    )
    await both_ways(hq, at_hq, branch, at_branch)


async def test_what_was_overheard_is_of_no_use(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    """All that branch ever said, repeated byte for byte on a new connection."""
    hq, at_hq = await net.link("hq", SLOW, security=SECRET)
    heard = bytearray()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection(*hq.address())

        async def pass_on(
            source: asyncio.StreamReader, sink: asyncio.StreamWriter, note: bool
        ) -> None:
            while data := await source.read(65536):
                if note:
                    heard.extend(data)
                sink.write(data)
            sink.close()

        await asyncio.gather(pass_on(reader, here, True), pass_on(there, writer, False))

    middle = await asyncio.start_server(relay, "127.0.0.1", 0)
    address = middle.sockets[0].getsockname()[:2]
    branch, at_branch = await net.link("branch", SLOW, security=SECRET, hq=address)
    branch.want("hq", True)
    await at_branch.until(lambda: at_branch.up)
    branch.send("hq", Unregister("c1"))
    await at_hq.until(lambda: at_hq.frames)
    await branch.stop()
    await at_hq.until(lambda: at_hq.down)

    reader, writer = await asyncio.open_connection(*hq.address())
    writer.write(bytes(heard))
    await closed(reader)
    writer.close()
    assert "its proof is wrong" in caplog.text
    assert at_hq.up == ["branch"]
    assert at_hq.frames == [("branch", Unregister("c1"))]
    middle.close()


async def test_what_it_says_itself_is_of_no_use(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    """Everything that hq sends is sent back to it, under another name where it has to be."""
    hq, at_hq = await net.link("hq", SLOW, security=SECRET)
    reader, writer = await asyncio.open_connection(*hq.address())
    writer.write(framed(Hello("cds", 1, "branch", "i", b"n" * NONCE_BYTES)))
    size = int.from_bytes(await reader.readexactly(4), "big")
    hello = msgspec.msgpack.decode(await reader.readexactly(size), type=Hello | Proof)
    assert isinstance(hello, Hello)
    mirrored = Handshake("branch", "i", "hq", b"not the right secret", hello.nonce)
    mirrored.begin()
    writer.write(framed(Proof(b"\0" * 32)))
    await closed(reader)
    writer.close()
    reader, writer = await asyncio.open_connection(*hq.address())
    writer.write(framed(Hello("cds", 1, "branch", "i", b"n" * NONCE_BYTES)))
    while data := await reader.read(1000):
        writer.write(data)
    await told(caplog, "greets twice")
    assert at_hq.up == []


@pytest.mark.parametrize("secure", ["secret", "tls", "plain"])
async def test_slow_strangers(
    net: Net, certificates: Path, caplog: pytest.LogCaptureFixture, secure: str
) -> None:
    """A byte now and then, and never a whole greeting: the time is up all the same."""
    security = {"secret": SECRET, "tls": tls(certificates, "hq"), "plain": LinkSecurity()}[secure]
    hq, at_hq = await net.link("hq", FAST, security=security)
    reader, writer = await asyncio.open_connection(*hq.address())
    start = b"\x16\x03\x01\x02\x00\x01" if secure == "tls" else b"\0\0\x0f\xff\x96\xa5"
    for byte in start * 3:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.002)
    await closed(reader)
    writer.close()
    assert "did not greet in time" in caplog.text
    if secure == "secret":
        reader, writer = await asyncio.open_connection(*hq.address())
        writer.write(framed(Hello("cds", 1, "branch", "i", b"n" * NONCE_BYTES)))
        await closed(reader)
        writer.close()
        assert "did not prove in time" in caplog.text
    assert at_hq.up == []
    assert not hq._connections


async def test_a_server_that_passed_is_held_to_the_size_of_frames(
    net: Net, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = LinkLimits(frame_bytes=4096, reconnect_min=0.01)
    hq, at_hq = await net.link("hq", limits, security=tls(certificates, "hq"))
    branch, at_branch = await net.link(
        "branch", SLOW, security=tls(certificates, "branch"), hq=hq.address()
    )
    branch.want("hq", True)
    await at_branch.until(lambda: at_branch.up)
    branch.want("hq", False)
    branch.send("hq", Update("c", [Property("x", "y" * 5000, 1, "branch")], []))
    await at_hq.until(lambda: at_hq.down)
    assert "server branch (tcp:127.0.0.1" in caplog.text
    assert "(cds.limits.frame_bytes: 4096)" in caplog.text


@pytest.mark.parametrize("secure", ["secret", "tls", "plain"])
def test_garbage(certificates: Path, secure: str) -> None:
    """Whatever comes: dropped, nothing raised, and the next server is let in."""
    security = {"secret": SECRET, "tls": tls(certificates, "hq"), "plain": LinkSecurity()}[secure]
    greeting = framed(Hello("cds", 1, "branch", "i", b"n" * NONCE_BYTES))
    pieces = st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=60).map(lambda data: len(data).to_bytes(4, "big") + data),
        st.just(greeting),
        st.integers(0, len(greeting)).map(lambda n: greeting[:n]),
        st.just(framed(Proof(b"p" * 32))),
        st.binary(max_size=100).map(lambda data: b"\x16\x03\x01\x00" + data),
    )

    @settings(max_examples=60, deadline=None)
    @given(st.lists(pieces, max_size=4))
    def check(data: list[bytes]) -> None:
        asyncio.run(attack(data))

    async def attack(data: list[bytes]) -> None:
        trouble: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: trouble.append(what))
        net = Net()
        hq, at_hq = await net.link("hq", SLOW, security=security)
        reader, writer = await asyncio.open_connection(*hq.address())
        for piece in data:
            writer.write(piece)
            await asyncio.sleep(0)
        with contextlib.suppress(OSError):  # it has closed already
            writer.write_eof()
        await closed(reader)
        writer.close()
        if secure != "plain":
            assert at_hq.up == []
        known = tls(certificates, "branch") if secure == "tls" else security
        branch, at_branch = await net.link("branch", SLOW, security=known, hq=hq.address())
        branch.want("hq", True)
        await at_branch.until(lambda: at_branch.up)
        await net.stop()
        assert trouble == []

    logging.getLogger("cdsplugin.link").setLevel(logging.CRITICAL)
    try:
        check()
    finally:
        logging.getLogger("cdsplugin.link").setLevel(logging.NOTSET)


async def test_an_open_link_is_on_loopback_only(caplog: pytest.LogCaptureFixture) -> None:
    link = Link("hq", {})
    with pytest.raises(LinkError, match=r"tcp:0\.0\.0\.0:0 is open to the network"):
        await link.start(("0.0.0.0", 0))
    caplog.set_level(logging.INFO)
    await link.start(("127.0.0.1", 0))
    assert "the link is not secured" in caplog.text
    await link.stop()
    secured = Link("hq", {}, security=SECRET)
    await secured.start(("0.0.0.0", 0))
    await secured.stop()
