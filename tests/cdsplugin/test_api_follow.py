"""Following calls: server-sent events and WebSockets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from api_sites import Site, sites, stream, until
from cds_calls import answered_call
from cds_fakes import Listener
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cdsplugin.config import Address
from softswitch.lab.ports import free_port


@pytest.fixture
async def hq(tmp_path: Path):
    async with sites(tmp_path, "hq", linger=0.05) as (site,):
        yield site


def ws(site: Site, token: str = "read-secret", **more):
    return connect(
        site.url.replace("http", "ws") + "/ws",
        additional_headers={"Authorization": f"Bearer {token}"},
        **more,
    )


async def test_one_call_from_its_first_event_to_its_end(hq: Site) -> None:
    hq.feed(answered_call("c1")[:2])
    async with stream(hq.reader, "/calls/c1/events") as screen:
        first = await screen.next()
        assert (first["event"], first["owner"], first["state"]) == ("call", "hq", "live")
        assert first["properties"]["call"]["value"]["caller"] == "1001"
        await hq.http.patch("/calls/c1", json={"account": "4711"})
        update = await screen.next()
        assert (update["event"], list(update["properties"])) == ("update", ["account"])
        hq.feed(answered_call("c1")[2:])
    assert (await hq.reader.get("/calls/none/events")).status_code == 404
    await until(lambda: not len(hq.server.store))


@pytest.mark.parametrize("at", ["hq", "branch"])
async def test_a_follower_holds_no_call(tmp_path: Path, at: str) -> None:
    """At the owner, and at a server without a part in it: the end comes, and the record is final,
    though everybody stays."""
    async with sites(tmp_path, "hq", "branch", linger=0.05) as (hq, branch):
        site = {"hq": hq, "branch": branch}[at]
        hq.feed(answered_call("c1")[:7])
        async with stream(site.reader, "/calls/c1/events?owner=hq") as screen, ws(site) as other:
            assert (await screen.next())["event"] == "call"
            await other.send(json.dumps({"follow": "c1"}))
            assert json.loads(await other.recv())["event"] == "call"
            await site.http.post("/calls/c1/log", json={"text": "followed"})
            hq.feed(answered_call("c1")[7:])
            end = await screen.until("end")
            assert end["properties"]["end"]["value"]["disposition"] == "answered"
            with pytest.raises(EOFError):
                await screen.next()
            while json.loads(await other.recv())["event"] != "end":
                pass
            record = await hq.recorded("c1")
            assert record["final"] == 1
            assert [line["text"] for line in record["logs"]] == ["followed"]
            assert not len(hq.server.store)
            assert not len(branch.server.store)


async def test_all_calls_and_servers(hq: Site) -> None:
    hq.feed(answered_call("c0")[:2])
    async with stream(hq.reader, "/events?snapshot=true") as screen:
        assert (await screen.next())["call_id"] == "c0"
        hq.feed(answered_call("c1"))
        assert (await screen.next())["properties"]["call"]["value"]["dialled"] == "2001"
        end = await screen.until("end")
        assert (end["call_id"], "end" in end["properties"]) == ("c1", True)
        for told in list(hq.server.on_health):
            told("branch", False)
        assert (await screen.next()) == {"event": "server_down", "server": "branch"}
        for told in list(hq.server.on_health):
            told("branch", True)
        assert (await screen.next())["event"] == "server_up"


async def test_a_server_is_down_until_it_is_back_whatever_was_given_up(tmp_path: Path) -> None:
    """Its registration is over by then, and no call is shared when it comes back."""
    fast = {"alive_interval": 0.05, "dead_after": 0.2, "reregister_within": 0.4}
    at = Address("127.0.0.1", free_port())
    hq = Site(tmp_path, "hq", {"branch": at}, **fast)
    await hq.start()
    try:
        branch = Site(tmp_path, "branch", {"hq": hq.address}, listen=at, **fast)
        await branch.start()
        hq.feed(answered_call("c1")[:7])
        branch.server.store.register(Listener(), "c1", "hq")
        call = hq.server.store.get("c1")
        await until(lambda: hq.server.proxy.participants(call) == ["branch"])
        async with stream(hq.reader, "/events") as screen:
            await branch.die()
            assert (await screen.until("server_down"))["server"] == "branch"
            await until(lambda: hq.server.proxy.participants(call) == [])
            await until(lambda: not hq.server.proxy.health.watches("branch"))
            assert (await hq.reader.get("/health")).json()["servers_down"] == 1
            again = Site(tmp_path, "branch", listen=at, database=tmp_path / "new.db", **fast)
            await again.start()
            assert (await screen.until("server_up"))["server"] == "branch"
            assert (await hq.reader.get("/health")).json()["servers_down"] == 0
        await again.stop()
    finally:
        await hq.stop()


async def test_a_websocket(hq: Site) -> None:
    hq.feed(answered_call("c1")[:2])
    async with ws(hq) as screen:

        async def asked(**what) -> dict:
            await screen.send(json.dumps(what))
            return json.loads(await screen.recv())

        assert (await asked(follow="c1"))["event"] == "call"
        assert (await asked(follow="c9"))["event"] == "unfollowed"
        assert (await asked(follow="c1", unfollow="c1"))["event"] == "error"
        assert (await asked(nonsense=1))["event"] == "error"
        hq.feed(answered_call("c1")[2:3])
        assert list(json.loads(await screen.recv())["properties"]) == ["leg/hq/1"]
        assert (await asked(unfollow="c1")) == {
            "event": "unfollowed", "call_id": "c1", "detail": "as asked",
        }  # fmt: skip
        assert (await asked(follow="*"))["event"] == "following"
        hq.feed(answered_call("c2")[:1])
        assert json.loads(await screen.recv())["call_id"] == "c2"
    await until(lambda: hq.server.store.get("c1").clients == (hq.tms._switches["hq"],))


async def test_a_websocket_needs_a_token(hq: Site) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with ws(hq, "wrong"):
            pass
    assert caught.value.response.status_code == 401
    # As browsers do it, which cannot set headers.
    url = hq.url.replace("http", "ws") + "/ws"
    async with connect(url, subprotocols=["bearer", "read-secret"]) as screen:
        assert screen.subprotocol == "bearer"


async def drained(screen) -> None:
    async with asyncio.timeout(10):
        while True:
            await screen.recv()


async def test_who_is_too_slow_is_dropped(tmp_path: Path) -> None:
    async with sites(tmp_path, "hq", api={"follower_queue": 20}) as (hq,):
        async with ws(hq, max_queue=1) as screen:
            await screen.send(json.dumps({"follow": "*"}))
            assert json.loads(await screen.recv())["event"] == "following"
            hq.feed([event for n in range(5) for event in answered_call(f"c{n}")])
            with pytest.raises(ConnectionClosed) as caught:
                await drained(screen)
        assert caught.value.rcvd.code == 1013
        assert (await hq.reader.get("/health")).status_code == 200


async def test_too_many_followers_and_the_end_of_the_server(tmp_path: Path) -> None:
    async with sites(tmp_path, "hq", api={"followers": 1}) as (hq,), ws(hq) as screen:
        await screen.send(json.dumps({"follow": "*"}))
        await screen.recv()
        assert (await hq.reader.get("/events")).status_code == 503
        await hq.stop()
        with pytest.raises(ConnectionClosed):
            await screen.recv()
