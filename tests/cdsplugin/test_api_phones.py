"""Programs set where calls go, and that a phone is not to be disturbed."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest
from api_sites import Site, sites
from calls.call_world import CONFIG, PLAN, World

from softswitch.features import WISHES
from tests.switch_process import Running


@pytest.fixture
async def hq(tmp_path: Path):
    async with sites(tmp_path, "hq") as (site,):
        yield site


@pytest.fixture
def world(tmp_path: Path) -> World:
    config = CONFIG.replace('"1003": {', '"1003": {forward: {busy: "1001"}, dnd: true, ')
    return World(tmp_path, config, PLAN, journal=True)


def both(hq: Site, world: World) -> None:
    """The switch and the API are of one process."""
    hq.api.phones.features = world.switch.phone_features


async def test_forward(hq: Site, world: World) -> None:
    both(hq, world)
    off = {
        "extension": "1002",
        "always": None,
        "busy": None,
        "no_answer": None,
        "unreachable": None,
        "after": None,
    }
    answer = await hq.reader.get("/extensions/1002/forward")
    assert (answer.status_code, answer.json()) == (200, off)
    answer = await hq.http.put(
        "/extensions/1002/forward", json={"busy": "1001", "no_answer": "1003", "after": 12}
    )
    assert answer.status_code == 200
    set_now = {**off, "busy": "1001", "no_answer": "1003", "after": 12}
    assert answer.json() == set_now
    assert world.rows is not None
    assert any(map(WISHES.is_one, world.rows.rows.values())), "it is on disk"
    assert (await hq.reader.get("/extensions/1002/forward")).json() == set_now
    forwarding = world.switch.forwardings["1002"]
    assert (forwarding.busy, forwarding.no_answer, forwarding.after) == ("1001", "1003", 12)
    answer = await hq.http.delete("/extensions/1002/forward")
    assert (answer.status_code, answer.json()) == (200, off)
    assert "1002" not in world.switch.forwardings


async def test_over_what_the_configuration_says(hq: Site, world: World) -> None:
    both(hq, world)
    of = "/extensions/1003/forward"
    assert (await hq.reader.get(of)).json()["busy"] == "1001"
    assert (await hq.http.put(of, json={})).json()["busy"] is None
    assert (await hq.http.delete(of)).json()["busy"] == "1001"
    of = "/extensions/1003/dnd"
    assert (await hq.reader.get(of)).json() == {"extension": "1003", "dnd": True}
    assert (await hq.http.put(of, json={"dnd": False})).json()["dnd"] is False
    assert not world.switch.forwardings["1003"].dnd
    assert (await hq.http.delete(of)).json()["dnd"] is True


async def test_follow(hq: Site, world: World) -> None:
    both(hq, world)
    of = "/extensions/1002/follow"
    off = {"extension": "1002", "follow": []}
    assert (await hq.reader.get(of)).json() == off
    steps = ["1002", {"to": "81", "timeout": 25}, {"all": ["1002", "1003"], "timeout": 7.5}]
    answer = await hq.http.put(of, json={"follow": steps})
    assert answer.status_code == 200, answer.text
    assert answer.json()["follow"] == [{"to": "1002", "timeout": None}, *steps[1:]]
    assert world.rows is not None
    assert any(map(WISHES.is_one, world.rows.rows.values())), "it is on disk"
    assert (await hq.reader.get(of)).json() == answer.json()
    again = await hq.http.put(of, json={"follow": answer.json()["follow"]})
    assert again.json() == answer.json(), "what is read can be written"
    assert [step.timeout for step in world.switch.forwardings["1002"].follow] == [0.0, 25.0, 7.5]
    assert (await hq.http.delete(of)).json() == off
    assert "1002" not in world.switch.forwardings
    assert (await hq.reader.put(of, json={"follow": []})).status_code == 403


async def test_agents(hq: Site, tmp_path: Path) -> None:
    plan = PLAN.replace(
        "routes:",
        'queues: {sales: {agents: ["1001", {extension: "1002", logged_in: false}]}}\nroutes:',
        1,
    )
    (tmp_path / "queues").mkdir()
    world = World(tmp_path / "queues", CONFIG, plan, journal=True)
    both(hq, world)
    of = "/extensions/1002/agent"
    off = {"extension": "1002", "logged_in": False, "paused": False}
    assert (await hq.reader.get(of)).json() == off
    on = {"extension": "1002", "logged_in": True, "paused": False}
    assert (await hq.http.put(of, json={"logged_in": True})).json() == on
    assert (await hq.http.put(of, json={"paused": True})).json() == {**on, "paused": True}
    assert world.rows is not None
    assert any(map(WISHES.is_one, world.rows.rows.values())), "it is on disk"
    assert world.switch.queues.is_logged_in(world.switch.dialplan.queues["sales"].agents[1])
    assert (await hq.http.delete(of)).json() == off
    assert (await hq.reader.put(of, json={"paused": True})).status_code == 403
    for method, body in (("GET", None), ("PUT", {"paused": True}), ("DELETE", None)):
        answer = await hq.http.request(method, "/extensions/1003/agent", json=body)
        assert answer.status_code == 404
        assert "an agent of no queue" in answer.text


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/extensions/1009/forward", {"busy": "1001"}, 404, "no extension `1009`"),
        ("/extensions/1002/forward", {"busy": "777"}, 422, "No Route To 777"),
        ("/extensions/1002/forward", {"busy": "1002"}, 422, "Not To Itself"),
        ("/extensions/1002/forward", {"busy": "a b"}, 422, "Not A Number"),
        ("/extensions/1002/forward", {"bussy": "1001"}, 422, "bussy"),
        ("/extensions/1002/forward", {"no_answer": "1001", "after": 0}, 422, "after"),
        ("/extensions/1009/follow", {"follow": []}, 404, "no extension `1009`"),
        ("/extensions/1002/follow", {"follow": ["777"]}, 422, "No Route To 777"),
        ("/extensions/1002/follow", {"follow": ["1"] * 11}, 422, "More Than 10 Numbers"),
        ("/extensions/1002/follow", {"follow": [{"to": "1003", "timeout": 0}]}, 422, "timeout"),
        ("/extensions/1002/follow", {"follow": [{"all": []}]}, 422, "all"),
        ("/extensions/1002/follow", {}, 422, "follow"),
        ("/extensions/1002/dnd", {"dnd": "perhaps"}, 422, "dnd"),
        ("/extensions/1009/dnd", {"dnd": True}, 404, "no extension `1009`"),
        ("/extensions/1009/agent", {"paused": True}, 404, "no extension `1009`"),
        ("/extensions/1002/agent", {"paused": "perhaps"}, 422, "paused"),
    ],
)
async def test_mistakes(
    hq: Site, world: World, path: str, body: dict, status: int, says: str
) -> None:
    both(hq, world)
    answer = await hq.http.put(path, json=body)
    assert answer.status_code == status
    assert says in answer.text
    assert world.switch.forwardings.keys() == {"1003"}


async def test_a_disk_that_refuses(hq: Site, world: World) -> None:
    both(hq, world)
    assert world.rows is not None
    world.rows.refuses = True
    # The first is in force already when it turns out.
    await hq.http.put("/extensions/1002/dnd", json={"dnd": True})
    deleted = [("DELETE", path) for path in ("dnd", "forward", "follow")]
    for method, path in (("PUT", "dnd"), *deleted):
        body = {"dnd": False} if method == "PUT" else None
        answer = await hq.http.request(method, f"/extensions/1002/{path}", json=body)
        assert answer.status_code == 503
        assert "nothing was changed" in answer.text
    assert world.switch.forwardings["1002"].dnd
    world.rows.refuses = False
    world.run(2)
    assert (await hq.http.delete("/extensions/1002/dnd")).json()["dnd"] is False


async def test_who_may(hq: Site, world: World) -> None:
    path = "/extensions/1002/dnd"
    for method in ("GET", "PUT", "DELETE"):
        body = {"dnd": True} if method == "PUT" else None
        answer = await hq.http.request(method, path, json=body)
        assert (answer.status_code, answer.json()["detail"]) == (
            503, "there is no switch in this process",
        )  # fmt: skip
    both(hq, world)
    assert (await hq.reader.put(path, json={"dnd": True})).status_code == 403
    assert (await hq.reader.delete(path)).status_code == 403
    async with httpx.AsyncClient(base_url=hq.url) as stranger:
        assert (await stranger.get(path)).status_code == 401
    assert "1002" not in world.switch.forwardings


def test_a_killed_process_keeps_it(tmp_path: Path) -> None:
    """A whole switch with its API: what it has answered outlives it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "hq.yaml"
    config.write_text(
        'switch: {name: hq, listen: ["udp:127.0.0.1:0"]}\n'
        'extensions: {"1001": {password: a}, "1002": {password: b}}\n'
        "dialplan: plan.yaml\n"
        f'cds: {{database: hq.db, api: {{listen: "127.0.0.1:{port}", tokens: [a-long-token]}}}}\n'
    )
    (tmp_path / "plan.yaml").write_text('routes: [{match: "1XXX", dial: extension}]\n')
    url = f"http://127.0.0.1:{port}/extensions/1001"
    bearer = {"Authorization": "Bearer a-long-token"}
    switch = Running(config)
    assert switch.port
    answer = httpx.put(f"{url}/forward", json={"busy": "1002"}, headers=bearer)
    assert answer.status_code == 200, answer.text
    assert httpx.put(f"{url}/dnd", json={"dnd": True}, headers=bearer).status_code == 200
    steps = {"follow": [{"to": "1001", "timeout": 15}, {"all": ["1001", "1002"], "timeout": None}]}
    assert httpx.put(f"{url}/follow", json=steps, headers=bearer).status_code == 200
    switch.kill()
    switch = Running(config)
    assert switch.port
    assert httpx.get(f"{url}/forward", headers=bearer).json()["busy"] == "1002"
    assert httpx.get(f"{url}/dnd", headers=bearer).json()["dnd"] is True
    assert httpx.get(f"{url}/follow", headers=bearer).json()["follow"] == steps["follow"]
    switch.process.terminate()
    assert switch.ends() == 0


async def test_mailbox(hq: Site, world: World) -> None:
    both(hq, world)
    of = "/extensions/1002/mailbox"
    none = {"extension": "1002", "new": 0, "old": 0}
    assert (await hq.reader.get(of)).json() == none
    answer = await hq.http.put(of, json={"new": 2, "old": 5})
    assert answer.json() == {"extension": "1002", "new": 2, "old": 5}
    assert world.rows is not None
    assert any(row.startswith(b"m") for row in world.rows.rows.values()), "it is on disk"
    assert (await hq.reader.get(of)).json() == answer.json()
    assert (await hq.reader.put(of, json={"new": 0})).status_code == 403
    for bad in ({"new": -1}, {"old": 1}, {"new": 1, "x": 1}, {"new": 10**9}):
        assert (await hq.http.put(of, json=bad)).status_code == 422, bad
    assert (await hq.http.put("/extensions/4711/mailbox", json={"new": 1})).status_code == 404
    assert (await hq.http.put(of, json={"new": 0})).json() == none
