"""A media worker for the calls of `call_world`: what it is ordered is kept, and a test says what it
tells and does."""

from __future__ import annotations

from calls.call_world import SDP, Agent, Line, World
from softswitch.media import MediaWorker, PoolSettings, Port, Workers
from softswitch.media.orders import (
    Ask,
    Digit,
    Gone,
    Here,
    Order,
    Play,
    Played,
    Prepare,
    Prepared,
    Ready,
    Release,
    Up,
)

SPEAKS = SDP.replace("40000", "30000").replace("192.0.2.9", "192.0.2.1")
SIP = 7000


class Way:
    """The way to a worker's process."""

    def __init__(self, player: Player, worker: MediaWorker) -> None:
        self._player, self._worker = player, worker

    def send(self, order: Order) -> None:
        """It does it, if a call is there."""
        if isinstance(order, Ask):
            self._worker.said(Here())
            return
        self._player.orders.append(order)
        if isinstance(order, Prepare):
            self._worker.said(Prepared(order.address))
        elif isinstance(order, Release):
            self._worker.said(Gone(order.port))
        else:
            self._player.takes_order(order)

    def close(self) -> None:
        """It ends."""

    def kill(self, pid: int) -> None:
        """It is ended."""


class Player:
    """Workers of a world's switch, one at a time: calls come to `agent`. It is `ready` at once, or
    later."""

    def __init__(self, world: World, *, ready: bool = True) -> None:
        self.world = world
        self.agent: Agent = world.agent("127.0.0.1", "media", SIP)
        self.orders: list[Order] = []
        self.started: list[MediaWorker] = []
        self.begin(ready=ready)

    def begin(self, *, ready: bool = True) -> None:
        """The switch has workers."""
        self._is_ready = False
        self.started.clear()
        switch = self.world.switch
        self.pool = Workers(
            PoolSettings(spare=1, addresses=("10.0.0.1",)),
            switch.timers,
            switch.tokens.token,
            self._start,
        )
        switch.spoken.workers = self.pool
        self.pool.look_ahead()
        if ready:
            self.ready()

    def takes_order(self, order: Order) -> None:
        """For those who do something with it."""

    def _start(self, worker: MediaWorker) -> Way:
        self.started.append(worker)
        if self._is_ready:
            self.world.at(self.world.now, self.ready)
        return Way(self, worker)

    def ready(self) -> None:
        """The newest process takes calls, and so does each after it."""
        self._is_ready = True
        self.worker.said(Ready(len(self.started), SIP, 20))
        self.world.settle()

    @property
    def worker(self) -> MediaWorker:
        """The newest."""
        return self.started[-1]

    @property
    def port(self) -> Port:
        """The newest port in use."""
        return [port for one in self.pool.workers for port in one.ports.values()][-1]

    @property
    def line(self) -> Line:
        """The newest call."""
        return self.agent.line

    def takes(self) -> Line:
        """The newest call is answered, and can be heard."""
        port = self.port
        line = self.line
        assert line.find("INVITE").uri == f"sip:{port.key}@10.0.0.1"
        line.reply(200, SPEAKS)
        self.says(port, Up(port.number))
        return line

    def says(self, port: Port, said: Up | Digit | Played | Gone) -> None:
        """The worker of that port tells something."""
        port.worker.said(said)
        self.world.settle()

    def key(self, digit: str) -> None:
        """The caller presses one."""
        self.says(self.port, Digit(self.port.number, digit))

    def finishes(self) -> None:
        """What is played last is at its end."""
        job = [order for order in self.orders if isinstance(order, Play)][-1].job
        self.says(self.port, Played(self.port.number, job))

    def gone(self, line: Line) -> None:
        """The switch has hung up."""
        assert line.last.what == "BYE"
        line.reply(200, to="BYE")
        if self.pool.busy:
            self.says(self.port, Gone(self.port.number))

    def released(self) -> list[int]:
        """The ports that were given back."""
        return [order.port for order in self.orders if isinstance(order, Release)]

    def dies(self) -> None:
        """The process is gone."""
        self.port.worker.lost()
        self.world.settle()

    def end(self) -> None:
        """The call is over: so is what was taken for it."""
        self.world.run(15)
        assert self.pool.busy == 0
        self.pool.close()
        self.world.end()
