"""Phones that watch: they subscribe, answer the NOTIFYs, and say what they were told."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from calls.call_world import Agent, Line, Message

from softswitch.sip.digest import answer

NS = "{urn:ietf:params:xml:ns:dialog-info}"


class Watch(Line):
    """One subscription. `answers` is what NOTIFYs get (0: nothing)."""

    def __init__(
        self,
        agent: Agent,
        number: str,
        package: str = "dialog",
        extra: str = "",
        expires: int = 600,
        to: str = "",
    ) -> None:
        super().__init__(agent, f"s{next(agent.world.serial)}@{agent.host_port}", number)
        agent.lines.append(self)
        self.package, self.extra = package, extra
        self.answers = 200
        self.notes: list[Message] = []
        self.uri = f"sip:{number}@{agent.switch[0]}:{agent.switch[1]}"
        self.remote = to or f"<sip:{number}@10.0.0.1>"
        self.local = f"<sip:{agent.name}@10.0.0.1>;tag=w{next(agent.world.serial)}"
        self.ask(expires)

    def ask(self, expires: int = 600) -> Message:
        """SUBSCRIBE, or refresh; with credentials if they are wanted. The final answer."""
        lines = f"{self.contact}Event: {self.package}\r\nExpires: {expires}\r\n{self.extra}"
        self.send("SUBSCRIBE", extra=lines)
        final = self.find_final()
        if final.status == 401:
            value = answer(
                final["www-authenticate"],
                "SUBSCRIBE",
                self.uri,
                self.agent.name,
                self.agent.password,
                "cn",
            )
            self.send("SUBSCRIBE", extra=f"{lines}Authorization: {value}\r\n")
            final = self.find_final()
        if final.status == 200 and ";tag=" not in self.remote:
            self.remote, self.uri = final["to"], final.target_uri
        return final

    def find_final(self) -> Message:
        return next(m for m in reversed(self.received) if m.method == "SUBSCRIBE" and m.status)

    @property
    def final(self) -> Message:
        return self.find_final()

    def receive(self, message: Message) -> None:
        self.received.append(message)
        if message.what == "NOTIFY":
            known = {(one["cseq"], one.branch) for one in self.notes}
            if (message["cseq"], message.branch) not in known:
                self.notes.append(message)
            if self.answers:
                self.reply(self.answers, to=message)

    @property
    def note(self) -> Message:
        """The newest NOTIFY."""
        return self.notes[-1]

    @property
    def states(self) -> list[tuple[str, str]]:
        """State and direction of each dialog of the newest document."""
        root = ElementTree.fromstring(self.note.body)
        assert root.get("state") == "full"
        return [
            (one.findtext(f"{NS}state") or "", one.get("direction") or "")
            for one in root.findall(f"{NS}dialog")
        ]

    @property
    def versions(self) -> list[int]:
        return [int(re.findall(r'version="(\d+)" state', one.body)[0]) for one in self.notes]


def lamp(watch: Watch) -> str:
    """What a lamp shows: `idle`, `ringing` or `busy`."""
    states = {state for state, _ in watch.states}
    ringing = ("early", "recipient") in watch.states or ("trying", "recipient") in watch.states
    if "confirmed" in states:
        return "busy"
    return "ringing" if ringing else "busy" if states else "idle"
