"""Phones that come and go, in the log: what an admin looks for first when one cannot be called.

A refresh is not said. What a phone says of itself is quoted: it may be any text.
"""

from __future__ import annotations

import logging
from typing import Final

from softswitch.parties.bindings import Binding
from softswitch.sip import Flow, readable

log = logging.getLogger(__name__)

_TOO_BRIEF: Final = 423


def say_registered(extension: str, binding: Binding) -> None:
    """A phone is new, or has moved: where it is called from now on."""
    log.info(
        "extension:%s is registered at %s, %r",
        *(extension, _at(binding), readable(binding.user_agent)),
    )


def say_unregistered(extension: str, binding: Binding, why: str) -> None:
    """A phone is gone. `why` is the registrar's; one that has moved is said as registered alone."""
    if why == "replaced":
        return
    log.info("extension:%s is not registered at %s any more: %s", extension, _at(binding), why)


def say_refused(extension: str, flow: Flow, status: int, why: str) -> None:
    """A phone that proved its password may not register. After a 423 it asks again by itself."""
    level = logging.INFO if status == _TOO_BRIEF else logging.WARNING
    host, port = flow.remote
    log.log(
        level,
        "a registration of extension:%s (%s) is refused: %d %s",
        *(extension, _address(flow.transport, host, port), status, readable(why)),
    )


def _at(binding: Binding) -> str:
    """Where it is called, as in the lines of calls."""
    return _address(*binding.target)


def _address(transport: str, host: str, port: int) -> str:
    return f"{transport}:[{host}]:{port}" if ":" in host else f"{transport}:{host}:{port}"
