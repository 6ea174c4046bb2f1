"""A carrier that wants to know who calls: it challenges, and takes registrations.

Its digest is its own on purpose: it shares no code with what it tests.
"""

from __future__ import annotations

import hashlib
import re

from calls.call_world import CONFIG, Address, Agent, Line, Message, World

ACCOUNT = CONFIG.replace(
    'pstn: {to: "sip:10.2.0.1:5060", from: "10.2.0.0/24", max_calls: 5, keepalive: 0}',
    'pstn: {to: "sip:10.2.0.1:5060", from: "10.2.0.0/24", max_calls: 5, keepalive: 0, '
    "user: acme, password: s3cret}",
)
REGISTERED = ACCOUNT.replace("password: s3cret", "password: s3cret, register: true")

_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


class Carrier(Agent):
    """`asks` are the methods that it challenges, with `status` (401 or 407). A nonce is good for
    `uses` requests; then it is stale. `algorithms` are what it offers, the one it prefers first."""

    def __init__(self, world: World, address: Address = ("10.2.0.1", 5060)) -> None:
        super().__init__(world, address, "pstn")
        self.asks = {"INVITE", "BYE", "REGISTER", "UPDATE", "REFER", "INFO", "OPTIONS", "MESSAGE"}
        self.status = 401
        self.uses = 1000
        self.realm = "carrier.example"
        self.password = ""
        self.secret = "s3cret"
        self.algorithms = ("MD5",)
        self.qop = 'qop="auth", '
        self.nonces: dict[str, int] = {}
        self.passed: list[Message] = []
        self.challenged: list[Message] = []
        self.registered: list[str] = []  # Contacts, the newest last
        self.answers: dict[str, tuple[int, str]] = {}  # status and lines instead, by method
        self.expires = 600
        self.trying = False  # says so before it challenges

    def receive(self, message: Message) -> None:
        if message.status or message.method in ("ACK", "CANCEL", "PRACK"):
            super().receive(message)
            return
        if message.method in self.asks and not self.proved(message):
            self.challenged.append(message)
            if self.trying and message.method == "INVITE":
                self.answer(message, 100)
            self.challenge(message)
            return
        self.passed.append(message)
        if message.method in self.answers:
            status, lines = self.answers[message.method]
            self.answer(message, status, lines)
        elif message.method == "REGISTER":
            self.registered.append(message["contact"])
            lines = f"Contact: {message['contact']};expires={self.expires}\r\n"
            self.answer(message, 200, lines if message["expires"] != "0" else "")
        elif message.method in ("OPTIONS", "MESSAGE"):
            self.answer(message, 200)
        else:
            super().receive(message)

    def answer(self, message: Message, status: int, lines: str = "") -> None:
        line = Line(self, message["call-id"])
        line.tag = "carrier"
        line.reply(status, extra=lines, to=message)

    def challenge(self, message: Message, stale: bool = False) -> None:
        nonce = f"n{next(self.world.serial)}"
        self.nonces[nonce] = 0
        name = "WWW-Authenticate" if self.status == 401 else "Proxy-Authenticate"
        given = message.headers.get("authorization", message.headers.get("proxy-authorization"))
        was = re.search(r'nonce="([^"]*)"', given[0]) if given else None
        used = was is not None and self.nonces.get(was[1], 0) >= self.uses
        lines = "".join(
            f'{name}: Digest realm="{self.realm}", {self.qop}algorithm={algorithm}, '
            f'nonce="{nonce}"{", stale=true" if stale or used else ""}\r\n'
            for algorithm in self.algorithms
        )
        self.answer(message, self.status, lines)

    def proved(self, message: Message) -> bool:
        header = "authorization" if self.status == 401 else "proxy-authorization"
        if header not in message:
            return False
        told = dict(re.findall(r'(\w+)=(?:"([^"]*)"|[\w.-]+)', message[header]))
        bare = dict(re.findall(r"(\w+)=([\w.-]+)", message[header]))
        nonce = told["nonce"]
        if self.nonces.get(nonce, 10**9) >= self.uses or told["realm"] != self.realm:
            return False
        made = _HASHES[bare.get("algorithm", "MD5")]

        def hashed(text: str) -> str:
            return made(text.encode()).hexdigest()

        one = hashed(f"acme:{self.realm}:{self.secret}")
        two = hashed(f"{message.method}:{told['uri']}")
        middle = f"{nonce}:{bare['nc']}:{told['cnonce']}:auth" if self.qop else nonce
        assert told["uri"] == message.uri
        if told["response"] != hashed(f"{one}:{middle}:{two}"):
            return False
        if self.qop:
            assert int(bare["nc"], 16) == self.nonces[nonce] + 1, "each count once, in order"
        self.nonces[nonce] += 1
        return True
