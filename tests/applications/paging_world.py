"""A world whose switch has pages: phones are called, at as many workers as it takes."""

from __future__ import annotations

from pathlib import Path

from applications.speaking_world import CONFIG
from applications.waiting_world import WaitingWorld
from calls.call_world import SDP, Agent, Line, Message

from softswitch.media.orders import Expect, File, Gone, Join, Play, Played, Release, Tone, Up

SPEAKS = SDP.replace("192.0.2.9", "127.0.0.1")
DESK = CONFIG.replace("{name: Bob,", "{name: Bob, pickup: [desk],").replace(
    "{name: Carol,", "{name: Carol, pickup: desk,"
)
PLAN = """
routes:
  - {match: "750", from: any, play: {page: ["1001", "1002", "1003", "1004"]}}
  - {match: "751", play: {page: {extensions: ["1002", "1003"], talk_back: true, tone: false}}}
  - match: "752"
    play: {page: {extensions: ["1002", "1003"], answer_after: 3, timeout: 5, busy: ring}}
    then: {dial: "1004"}
    else: {dial: "1004"}
  - {match: "753", play: {page: {extensions: ["1002"], seconds: 20}}}
  - {match: "*76", do: dnd}
  - {match: "*8.", strip: 2, do: pickup}
  - {match: "1XXX", dial: extension, timeout: 5}
"""


class PagingWorld(WaitingWorld):
    """`served` are the calls to workers that were answered, each with its port; `_said` what each
    was asked that it has answered."""

    def __init__(self, folder: Path, plan: str = PLAN) -> None:
        super().__init__(folder, plan, DESK)
        self.served: dict[Line, tuple[int, int]] = {}
        self._said: dict[Line, Message] = {}

    def serve(self) -> None:
        """Workers answer whatever they are asked, until nothing is."""
        while asked := self._asked():
            for number, line in asked:
                self.answer(number, line)
            self.settle()

    def _asked(self) -> list[tuple[int, Line]]:
        return [
            (number, line)
            for number, (_, agent) in enumerate(self.media)
            for line in agent.lines
            if line.last.what in ("INVITE", "BYE") and self._said.get(line) is not line.last
        ]

    def answer(self, number: int, line: Line) -> None:
        """One of them does."""
        way, _ = self.media[number]
        self._said[line] = line.last
        if line.last.what == "BYE":
            line.reply(200, to="BYE")
            if line in self.served:
                way.worker.said(Gone(self.served[line][1]))
            return
        known = line in self.served
        if not known:
            key = line.last.uri.removeprefix("sip:").partition("@")[0]
            ports = [o.port for o in way.orders if isinstance(o, Expect) and o.key == key]
            self.served[line] = number, ports[0]
        port = self.served[line][1]
        line.reply(200, SPEAKS.replace("40000", f"{30000 + 100 * number + port}"))
        if not known:
            way.worker.said(Up(port))

    def page(self, number: str = "750", caller: Agent | None = None) -> Line:
        """Somebody pages: the phones are called from here on."""
        line = (caller or self.alice).call(number)
        self.serve()
        line.ack()
        self.settle()
        self.serve()
        return line

    def picks_up(self, agent: Agent, body: str = SDP) -> Line:
        """It hears from here on."""
        line = agent.line
        line.reply(200, body)
        self.settle()
        self.serve()
        return line

    def port_of(self, line: Line) -> tuple[int, int]:
        """Where the worker's call is of which that phone has the description."""
        body = line.find("INVITE").body
        wanted = int(body.partition("m=audio ")[2].split()[0])
        number, port = divmod(wanted - 30000, 100)
        return number, port

    def tones(self, at: tuple[int, int]) -> int:
        """How many tones were played there."""
        way, _ = self.media[at[0]]
        return sum(
            1
            for order in way.orders
            if isinstance(order, Play)
            and order.port == at[1]
            and any(isinstance(sound, Tone) for sound in order.sounds)
        )

    def joined(self, at: tuple[int, int]) -> Join:
        """How that port was joined with others last."""
        way, _ = self.media[at[0]]
        found = [o for o in way.orders if isinstance(o, Join) and o.port == at[1]]
        return found[-1]

    def where(self, agent: Agent) -> int:
        """The worker at which what that phone hears is."""
        return self.port_of(agent.line)[0]

    def dies(self, number: int) -> None:
        """That worker is gone."""
        way, agent = self.media[number]
        way.worker.lost()
        for line in agent.lines:
            self._said[line] = line.last
        self.settle()

    def finishes(self) -> str:
        """What was played last is at its end; its name."""
        plays = [
            (way, order)
            for way, _ in self.media
            for order in way.orders
            if isinstance(order, Play) and isinstance(order.sounds[0], File)
        ]
        way, order = plays[-1]
        way.worker.said(Played(order.port, order.job))
        self.settle()
        sound = order.sounds[0]
        assert isinstance(sound, File)
        self.serve()
        return Path(sound.path).stem

    def hangs_up(self) -> None:
        """The worker of who pages, as it was told."""
        line = next(iter(self.served))
        number, port = self.served[line]
        assert Release(port) in self.media[number][0].orders
        line.bye()
        self._said[line] = line.last
        self.settle()
        self.serve()

    def paged(self) -> dict[str, str]:
        """What is known of the page."""
        return self.facts_of_last("page")

    def leaves(self, *agents: Agent) -> None:
        """These are hung up on, and say yes to it; then nothing may be left."""
        for agent in agents:
            assert agent.line.last.what == "BYE", agent.line.what
            agent.line.reply(200, to="BYE")
        self.settle()
        self.serve()
        self.over()
