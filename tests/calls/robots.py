"""User agents with a will of their own, for tests by chance.

A `Robot` keeps the rules of RFC 3261 that hold on a bad network (it sends again, answers again,
acknowledges every 2xx, gives up after 64*T1) and does within them whatever its dice say.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from calls.call_world import ANSWER, HOLD, SDP, T1, Address, Agent, Line, Message, World

GIVE_UP = 64 * T1


class Robot(Agent):
    """An agent that acts by itself. `vanishes` is the chance that a call of it goes dead."""

    def __init__(self, world: World, address: Address, name: str, dice: random.Random) -> None:
        super().__init__(world, address, name)
        self.dice = dice
        self.vanishes = 0.03
        self.transfers: tuple[str, ...] = ()  # numbers that it transfers to
        self.codes: tuple[str, ...] = ()  # that it dials within calls, each with a number perhaps
        self.answers: dict[tuple[str, str], tuple[str, str]] = {}
        self.heard: set[tuple[str, str]] = set()
        self.waiting: dict[tuple[str, str], Callable[[Message | None], bool]] = {}

    def after(self, low: float, high: float, what: Callable[[], object]) -> None:
        self.world.at(self.world.now + self.dice.uniform(low, high), lambda: what() and None)

    def send(self, text: str, body: str = "") -> None:
        """As an agent sends, but what was sent is not delivered from within."""
        data = f"{text}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()
        self.world.carry(data, self.address, self.switch)
        lines = text.split("\r\n")
        if lines[0].startswith("SIP/2.0 "):
            message = Message(data, self.address, self.switch, self.world.now)
            self.answers[message.branch, message.method] = (text, body)

    def ask(
        self,
        line: RobotLine,
        method: str,
        then: Callable[[Message | None], bool],
        body: str = "",
        extra: str = "",
    ) -> None:
        """A request, sent again until `then` says of a response that it is enough; None: nobody."""
        line.send(method, body, extra)
        branch, cseq = line.branch, line.cseq
        self.waiting[branch, method] = then
        sent_at = self.world.now

        def again(wait: float) -> None:
            if (branch, method) not in self.waiting or line.dead:
                return
            if method == "INVITE" and (branch, method) in self.heard:
                return
            if self.world.now - sent_at >= GIVE_UP:
                del self.waiting[branch, method]
                then(None)
                return
            line.send(method, body, extra, cseq=cseq, branch=branch)
            self.world.at(self.world.now + wait, lambda: again(min(wait * 2, 4.0)))

        self.world.at(sent_at + T1, lambda: again(2 * T1))

    def receive(self, message: Message) -> None:
        line = next((one for one in self.lines if one.call_id == message["call-id"]), None)
        if line is not None and line.dead:
            return
        if message.status:
            key = (message.branch, message.method)
            self.heard.add(key)
            if key in self.waiting:
                if self.waiting[key](message):
                    self.waiting.pop(key, None)
            elif message.what == "200 INVITE" and line is not None:
                line.ack()
            return
        answered = self.answers.get((message.branch, message.method))
        if answered is not None:
            self.send(*answered)
        elif line is None:
            if message.method == "INVITE" and not message.tag("to"):
                self.lines.append(self.called(message))
            elif message.method != "ACK":
                stray = RobotLine(self, message["call-id"])
                stray.tag = "stray"
                stray.reply(481, to=message)
        else:
            line.asked(message)

    lines: list[RobotLine]  # type: ignore[assignment]

    def called(self, invite: Message) -> RobotLine:
        """Somebody calls."""
        return RobotLine.called(self, invite)

    def calling(self, number: str) -> RobotLine:
        """A call that is about to begin."""
        return RobotLine(self, f"r{next(self.world.serial)}@{self.host_port}", number)

    def place(self, number: str) -> None:
        """A call to `number`, whatever becomes of it."""
        line = self.calling(number)
        self.lines.append(line)
        line.uri = f"sip:{number}@{self.switch[0]}:{self.switch[1]}"
        line.remote = f"<{line.uri}>"
        line.local = f"<sip:{self.name}@{self.host_port}>;tag=r{next(self.world.serial)}"
        line.begin()


class RobotLine(Line):
    """`state` is what the robot believes: trying, up, over. `outcome`: the final status."""

    agent: Robot

    def __init__(self, agent: Robot, call_id: str, number: str = "") -> None:
        super().__init__(agent, call_id, number)
        self.state = "trying"
        self.outcome = 0
        self.proceeding = False
        self.dead = False
        self.unacked = 0  # serial of the 2xx of ours that is sent again until its ACK

    # --- as a caller -----------------------------------------------------------------------------

    def begin(self) -> None:
        agent, dice = self.agent, self.agent.dice
        offer = "" if dice.random() < 0.1 else SDP
        uri = self.uri
        agent.ask(self, "INVITE", self._invited, offer, self.contact)
        self.invite_branch, self.invite_cseq, self.invite_uri = self.branch, self.cseq, uri
        if dice.random() < 0.25:
            agent.after(0.0, 12.0, self._give_up)
        agent.after(60.0, 61.0, self._give_up)

    def _give_up(self) -> None:
        if self.state == "trying" and self.proceeding and not self.dead:
            self.cancel()
            self.agent.after(0.5, 0.6, self._give_up)

    def _invited(self, message: Message | None) -> bool:
        if message is None:
            self.state, self.outcome = "over", 408
            return True
        if message.status < 200:
            self.proceeding = True
            return False
        if message.status >= 300:
            if self.state == "trying":
                self.state, self.outcome = "over", message.status
            self.acknowledge(message)
            return False
        self.remote, self.uri = message["to"], message.target_uri
        self.ack("" if self.received else ANSWER)
        if self.state == "trying":
            self.state, self.outcome = "up", 200
            self._talk()
        return False

    # --- as a callee -----------------------------------------------------------------------------

    @classmethod
    def called(cls, agent: Agent, invite: Message) -> RobotLine:
        line = super().called(agent, invite)
        assert isinstance(line, RobotLine)
        line.received.append(invite)
        agent, dice = line.agent, line.agent.dice
        if dice.random() < 0.05:
            line.dead = True
            line.state = "over"
            return line
        if dice.random() < 0.8:
            line.reply(100)
        for _ in range(dice.randrange(3)):
            media = dice.random() < 0.3
            agent.after(0, 5, lambda media=media: line._rings(media))
        fate = dice.random()
        if fate < 0.6:
            agent.after(0, 10, line._answers)
        elif fate < 0.9:
            status = dice.choice([302, 404, 480, 486, 500, 503, 603])
            agent.after(0, 6, lambda: line._refuses(status))
        return line

    def _rings(self, media: bool) -> None:
        if self.state == "trying" and not self.dead:
            self.reply(183 if media else 180, SDP if media else "", to=self.received[0])

    def _answers(self) -> None:
        if self.state == "trying":
            self.state, self.outcome = "up", 200
            self._accept(self.received[0])
            self._talk()

    def _refuses(self, status: int) -> None:
        if self.state == "trying" and not self.dead:
            self.state, self.outcome = "over", status
            number = self.agent.dice.choice(["1001", "1002", "600", "5"])
            where = f"Contact: <sip:{number}@{self.agent.host_port}>\r\n" if status == 302 else None
            self._finally(self.received[0], status, where)

    def _finally(self, request: Message, status: int, contact: str | None = None) -> None:
        """A final response other than 2xx, again until its ACK or 64*T1."""
        self.reply(status, to=request, contact=contact)
        key = (request.branch, "INVITE")

        def again(times: int) -> None:
            if times and not self.dead and (request.branch, "acked") not in self.agent.answers:
                self.agent.send(*self.agent.answers[key])
                self.agent.after(4, 4, lambda: again(times - 1))

        self.agent.after(T1, T1, lambda: again(8))

    def _accept(self, request: Message, body: str = ANSWER) -> None:
        """A 2xx to an INVITE, again until its ACK; without one the call is over (§13.3.1.4)."""
        self.unacked = serial = next(self.agent.world.serial)
        self.reply(200, body, to=request)
        key = (request.branch, "INVITE")

        def again(left: float, wait: float) -> None:
            if self.unacked != serial or self.dead:
                return
            if left <= 0:
                self.unacked = 0
                self._hang_up()
                return
            self.agent.send(*self.agent.answers[key])
            self.agent.after(wait, wait, lambda: again(left - wait, min(2 * wait, 4.0)))

        self.agent.after(T1, T1, lambda: again(GIVE_UP - T1, 2 * T1))

    # --- while it is up --------------------------------------------------------------------------

    def _talk(self) -> None:
        agent, dice = self.agent, self.agent.dice
        agent.after(0, 40, self._hang_up)
        for _ in range(dice.randrange(4)):
            agent.after(0, 30, dice.choice([self._reinvite, self._reinvite, self._info]))
        if agent.transfers and dice.random() < 0.5:
            agent.after(0, 30, self._refer)
        for _ in range(dice.randrange(4) if agent.codes else 0):
            agent.after(0, 30, self._dial)
        if dice.random() < agent.vanishes:
            agent.after(0, 20, self._vanish)

    def _vanish(self) -> None:
        self.dead = True
        self.state = "over"

    def _hang_up(self) -> None:
        if self.state == "up" and not self.dead:
            if self.unacked:
                # §15: the callee's BYE waits for the ACK; its own timer ends it otherwise.
                self.agent.after(1, 2, self._hang_up)
                return
            self.state = "over"
            self.agent.ask(self, "BYE", lambda message: message is None or message.status >= 200)

    def _refer(self) -> None:
        """Transfer: to whom it talks with in another call, or to a number; and then it stays, or
        does not."""
        agent, dice = self.agent, self.agent.dice
        if self.state != "up" or self.dead:
            return
        others = [line for line in agent.lines if line is not self and line.state == "up"]
        to = f"<sip:{dice.choice(agent.transfers)}@10.0.0.1>"
        if others and dice.random() < 0.6:
            other = dice.choice(others)
            tags = (other.remote.partition(";tag=")[2], other.local.partition(";tag=")[2])
            dialog = f"{other.call_id}%3Bto-tag%3D{tags[0]}%3Bfrom-tag%3D{tags[1]}"
            to = f"<sip:x@10.0.0.1?Replaces={dialog}>"
        done = lambda m: m is None or m.status >= 200  # noqa: E731
        agent.ask(self, "REFER", done, extra=f"{self.contact}Refer-To: {to}\r\n")
        if dice.random() < 0.3:
            agent.after(0, 0.1, self._hang_up)

    def _dial(self, digits: str = "") -> None:
        """A code, digit by digit."""
        digits = digits or self.agent.dice.choice(self.agent.codes)
        if self.state == "up" and not self.dead:
            body = f"Signal={digits[0]}\r\nDuration=160"
            kind = "Content-Type: application/dtmf-relay\r\n"
            self.agent.ask(self, "INFO", lambda m: m is None or m.status >= 200, body, kind)
            if len(digits) > 1:
                self.agent.after(0.05, 0.6, lambda: self._dial(digits[1:]))

    def _info(self) -> None:
        if self.state == "up" and not self.dead:
            self.agent.ask(self, "INFO", lambda m: m is None or m.status >= 200, "Signal=1")

    def _reinvite(self) -> None:
        if self.state != "up" or self.dead or self.unacked:
            return
        offer = self.agent.dice.choice([HOLD, SDP, ""])
        acked: list[int] = []

        def then(message: Message | None) -> bool:
            if message is None:
                return True
            self.invite_branch, self.invite_cseq = branch, cseq
            if 200 <= message.status < 300:
                self.ack("" if offer else ANSWER)
            elif message.status >= 300:
                self.invite_uri = self.uri
                self.acknowledge(message)
                if message.status in (408, 481):
                    self._hang_up()
            acked.append(message.status)
            return False

        self.agent.ask(self, "INVITE", then, offer, self.contact)
        branch, cseq = self.branch, self.cseq

    def asked(self, request: Message) -> None:
        """A request within the dialog, seen for the first time."""
        dice = self.agent.dice
        method = request.method
        if method == "ACK":
            self.agent.answers[request.branch, "acked"] = ("", "")
            self.unacked = 0
        elif method == "CANCEL":
            self.reply(200, to=request)
            if self.state == "trying":
                self.state, self.outcome = "over", 487
                self._finally(self.received[0], 487)
        elif method == "BYE":
            self.reply(200, to=request)
            self.state = "over"
            self.unacked = 0
        elif method == "INVITE":
            if not request.tag("to"):
                return
            if self.state != "up":
                self._finally(request, 481)
            elif self.unacked:
                self._finally(request, 500)
            else:
                fate = dice.random()
                if fate < 0.7:
                    self._accept(request)
                elif fate < 0.75:
                    self.reply(100, to=request)  # and nothing more
                else:
                    self._finally(request, dice.choice([488, 491, 500]))
        else:
            self.reply(200 if self.state == "up" else 481, to=request)
