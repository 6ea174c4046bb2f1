"""What another switch may say to our SUBSCRIBEs, and when: nothing of that ends a lamp for good."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls.call_world import Agent, Line, Message, World
from calls.test_by_chance import BRANCH
from notifier.watchers import Watch, lamp

from softswitch.configuration import load_config

CONFIG = BRANCH.replace('5060", keepalive: 0}\ndial', '5060", switch: true, keepalive: 0}\ndial')
assert CONFIG.count("switch: true") == 2
PLAN = """
routes:
  - {match: "3XXX", from: internal, dial: "trunk:far", timeout: 20}
  - {match: "2XXX", from: any, dial: extension, timeout: 20}
"""
BUSY = (
    '<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{version}" state="full" '
    'entity="sip:3001@far"><dialog id="a" direction="recipient"><state>confirmed</state></dialog>'
    "</dialog-info>"
)


class Far(Agent):
    """The other switch. It grants `expires`, and answers by itself unless it is `silent`."""

    def __init__(self, world: World, host: str = "10.8.0.1") -> None:
        super().__init__(world, (host, 5060), "far")
        self.switch = ("10.0.0.2", 5060)
        self.expires = 600
        self.silent = False
        self.asked: list[Message] = []
        self.version = 0

    def receive(self, message: Message) -> None:
        self.inbox.append(message)
        if message.what != "SUBSCRIBE":
            return
        known = {one.branch for one in self.asked}
        if message.branch not in known:
            self.asked.append(message)
            if not self.silent:
                self.accept(message)

    def accept(self, message: Message, status: int = 200) -> None:
        line = Line(self, message["call-id"])
        line.tag = f"t{message['call-id']}"
        line.reply(status, extra=f"Expires: {self.expires}\r\n", to=message)

    def tell(self, message: Message, state: str, body: str = "") -> None:
        """A NOTIFY in the dialog of that SUBSCRIBE."""
        line = Line(self, message["call-id"])
        self.lines.append(line)
        line.local = f"{message['to'].split(';')[0]};tag=t{message['call-id']}"
        line.remote, line.uri = message["from"], message.target_uri
        self.version += 1
        line.cseq = 10 * self.version
        kind = "Content-Type: application/dialog-info+xml\r\n" if body else ""
        line.send(
            "NOTIFY",
            body.format(version=self.version),
            f"{line.contact}Event: dialog\r\nSubscription-State: {state}\r\n{kind}",
        )


class Place:
    """branch, with one who watches a number of the other switch."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.far = Far(world)
        self.branch = world.add_switch("branch", ("10.0.0.2", 5060), CONFIG, PLAN)
        self.branch.opened()
        self.watcher = Agent(world, ("10.8.0.9", 5060), "2001", "c")
        self.watcher.switch = ("10.0.0.2", 5060)
        assert self.watcher.register().status == 200
        self.watch = Watch(self.watcher, "3001", expires=7200)
        world.run(0.3)

    def is_told(self) -> bool:
        """Whether a change there is seen here."""
        self.far.tell(self.far.asked[-1], "active;expires=500", BUSY)
        self.world.run(0.3)
        return lamp(self.watch) == "busy"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(World(tmp_path))


def test_an_end_crosses_the_refresh(place: Place) -> None:
    """It ends what it has just refreshed: it is asked anew all the same."""
    far, world = place.far, place.world
    assert place.is_told()
    far.silent = True
    world.run(545)
    assert len(far.asked) == 2
    far.silent = False
    far.tell(far.asked[1], "terminated;reason=timeout")
    far.accept(far.asked[1])
    world.run(20)
    assert len(far.asked) == 3
    assert far.asked[2]["call-id"] != far.asked[1]["call-id"]
    assert place.is_told()
    world.run(500)
    assert len(far.asked) == 3


def test_a_refresh_lasts_as_long_as_it_says(place: Place) -> None:
    """It granted ten minutes first, and then one."""
    far, world = place.far, place.world
    far.expires = 60
    world.run(545)
    assert len(far.asked) == 2
    world.run(58)
    assert len(far.asked) == 3


def test_a_refresh_that_is_refused_after_the_end(place: Place) -> None:
    """481 to a refresh of what is over: asked anew once, not twice."""
    far, world = place.far, place.world
    far.silent = True
    world.run(545)
    far.silent = False
    far.tell(far.asked[1], "terminated;reason=noresource")
    far.accept(far.asked[1], 481)
    world.run(30)
    assert len(far.asked) == 3


def test_an_answer_to_the_subscription_before(place: Place) -> None:
    """It comes after that was ended and asked for anew."""
    far, world = place.far, place.world
    far.silent = True
    far.tell(far.asked[0], "terminated;reason=deactivated")
    world.run(2)
    assert len(far.asked) == 2
    far.tell(far.asked[1], "terminated;reason=deactivated")
    world.run(3)
    assert len(far.asked) == 3
    far.accept(far.asked[1])
    far.silent = False
    far.accept(far.asked[2])
    world.run(1)
    assert place.is_told()


def test_it_asks_for_longer(place: Place, tmp_path: Path) -> None:
    """423: as long as it says, and at once."""
    world = place.world
    far = place.far
    far.tell(far.asked[0], "terminated;reason=deactivated")
    far.silent = True
    world.run(2)
    line = Line(far, far.asked[1]["call-id"])
    line.tag = "x"
    line.reply(423, extra="Min-Expires: 5000\r\n", to=far.asked[1])
    far.silent = False
    world.run(3)
    assert far.asked[-1]["expires"] == "5000"
    assert place.is_told()


def test_the_other_switch_is_elsewhere(place: Place) -> None:
    """After a reload it is asked where it is, and not any more where it was."""
    world, far = place.world, place.far
    assert place.is_told()
    moved = Far(world, "10.8.0.2")
    folder = world.folder
    (folder / "plan.yaml").write_text(PLAN)
    (folder / "switch.yaml").write_text(CONFIG.replace("10.8.0.1", "10.8.0.2"))
    place.branch.take_up(load_config(folder / "switch.yaml"))
    world.run(1)
    assert far.asked[-1]["expires"] == "0"
    assert [one.uri for one in moved.asked] == ["sip:3001@10.8.0.2"]
    assert lamp(place.watch) == "idle", "nothing is known of it yet"
    place.far = moved
    assert place.is_told()
    place.branch.take_up(load_config(folder / "switch.yaml"))
    world.run(1)
    assert len(moved.asked) == 1
