"""The files of a first configuration, with comments for whoever goes on with them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from softswitch.beginning.answers import Answers
from softswitch.sip import host_port


def configuration(answers: Answers, dialplan: str) -> str:
    """The switch's; `dialplan` is the name of the other file."""
    return "\n".join(_configuration(answers, dialplan)) + "\n"


def plan(answers: Answers) -> str:
    """Its dialplan."""
    return "\n".join(_plan(answers)) + "\n"


def _configuration(answers: Answers, dialplan: str) -> Iterator[str]:
    where = host_port(*answers.listen)
    yield f"# The switch {answers.name}. All keys: docs/configuration.md. Saved, it is taken up."
    yield "# It has passwords: it is for the user that the switch runs as, and for nobody else."
    yield "switch:"
    yield f"  name: {_text(answers.name)}"
    if answers.site:
        yield f"  site: {_text(answers.site)}"
    yield f"  listen: [{_text('udp:' + where)}, {_text('tcp:' + where)}]"
    yield ""
    yield "# Phones: the number is the user name with which a phone registers."
    yield "extensions:"
    for number, password in answers.extensions.items():
        yield f"  {_text(number)}: {{password: {_text(password)}}}      # and name: Who It Is"
    if answers.carrier is not None:
        carrier = answers.carrier
        yield ""
        yield "# The way out and in: docs/carriers.md."
        yield "trunks:"
        yield f"  {carrier.name}:"
        yield f"    to: {_text('sip:' + carrier.host)}"
        if carrier.user:
            yield "    register: true"
            yield f"    user: {_text(carrier.user)}"
            yield f"    password: {_text(carrier.password)}"
        else:
            yield "    # from: 198.51.100.0/24     # if its calls come from other addresses"
        yield "    # max_calls: 4              # as many lines as you pay for"
    yield ""
    yield f"dialplan: {_text(dialplan)}"
    if answers.records:
        yield ""
        yield "# The call data server: a record for each call, in a SQLite database beside this."
        yield "cds:"
        yield f"  database: {_text(answers.name + '.db')}"
        if answers.api is not None:
            yield "  # HTTP for programs: docs/api.md. On 127.0.0.1 none but this machine's."
            yield "  api:"
            yield f"    listen: {_text(host_port(*answers.api))}"
            yield f"    tokens: [{_text(answers.token)}]"


def _plan(answers: Answers) -> Iterator[str]:
    numbers = list(answers.extensions)
    yield f"# The dialplan of {answers.name}: docs/dialplan.md. The first route that fits is taken."
    yield "routes:"
    carrier = answers.carrier
    outside = "any" if carrier is not None else "internal"
    yield "  # Phone to phone" + (", and from outside who dials an extension." if carrier else ".")
    for pattern in patterns(numbers):
        yield f"  - match: {_text(pattern)}"
        yield f"    from: {outside}"
        yield "    dial: extension"
        yield "    timeout: 30                 # seconds to ring"
    if carrier is None:
        return
    first = numbers[0]
    if carrier.user:
        yield ""
        yield "  # Calls from outside to the number that is registered: reception."
        yield f"  - match: {_text(carrier.user if carrier.user.isdecimal() else '/.*/')}"
        yield f"    from: {_text('trunk:' + carrier.name)}"
        yield f"    dial: {_text(first)}"
    else:
        yield ""
        yield "  # Calls from outside, whatever number was dialled: reception."
        yield '  - match: "/.*/"'
        yield f"    from: {_text('trunk:' + carrier.name)}"
        yield f"    dial: {_text(first)}"
    yield ""
    yield "  # 9 and a number: outside."
    yield '  - match: "9."'
    yield "    strip: 1"
    yield f"    dial: {_text('trunk:' + carrier.name)}"


def patterns(numbers: list[str]) -> list[str]:
    """Patterns for all of the numbers, and for those that may come to be beside them: 1XXX."""
    heads = {(number[0], len(number)) for number in numbers}
    return sorted(first + "X" * (length - 1) for first, length in heads)


def _text(text: str) -> str:
    """As YAML has it, quoted where it could be taken for something else."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


def write(path: Path, text: str, mode: int) -> None:
    """Put a file there as a whole, from its first moment for those alone who may read it. Raises
    OSError."""
    beside = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        beside.unlink()
    opened = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(opened, "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(path)
