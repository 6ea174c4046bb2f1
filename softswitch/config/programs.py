"""A program that hears calls by a WebSocket: its URL, and how it is reached."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from softswitch.config.values import Seconds, SecondsOrOff, Section, Text

MAX_URL: Final = 2048
"""Characters."""
MAX_HEADERS: Final = 8
MAX_HEADER: Final = 2048
"""Characters of a header's value: tokens are long."""
MAX_PARAMETERS: Final = 16
MAX_PARAMETER: Final = 256
"""Characters of a parameter's name, and of its value."""
CONNECT: Final = 5.0
PING: Final = 10.0
BACKLOG: Final = 5.0
MESSAGE: Final = 1_048_576
"""Bytes: a minute and a half of μ-law in one."""

_URL: Final = re.compile(
    r"(wss?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?(/[!-~]*)?"
)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN: Final = frozenset(
    (
        "host",
        "upgrade",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "expect",
    )
)
"""What the switch writes itself, or does not speak."""


def _url(text: str) -> str:
    if len(text) > MAX_URL:
        raise ValueError(f"found {len(text)} characters, expected at most {MAX_URL}")
    found = _URL.fullmatch(text)
    if found is None:
        if "@" in text.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "found a user or password in the URL: expected them in `headers`, as Authorization"
            )
        if "#" in text:
            raise ValueError(f"found `{text}`, expected no `#` in the URL")
        raise ValueError(
            f"found `{text}`, expected a URL such as wss://agent.example/path (or ws://)"
        )
    if "#" in text:
        raise ValueError(f"found `{text}`, expected no `#` in the URL")
    port = found["port"]
    if port is not None and not 0 < int(port) < 65536:
        raise ValueError(f"found port {port}, expected 1 to 65535")
    return text


def _ca(text: str, info: ValidationInfo) -> str:
    """Its path, if it is known from where."""
    folder = getattr(info.context, "folder", None)
    if not isinstance(folder, Path):
        return text
    path = Path(folder, Path(text).expanduser()).resolve()
    try:
        ssl.create_default_context(cafile=str(path))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) if not isinstance(error, ssl.SSLError) else None
        raise ValueError(
            f"found `{text}`: {why or 'it has no certificate'}, expected a file with certificates "
            f"of authorities (PEM)"
        ) from None
    return str(path)


def _header(name: str) -> str:
    if not _TOKEN.fullmatch(name) or len(name) > MAX_PARAMETER:
        raise ValueError(f"found `{name}`, expected the name of an HTTP header")
    if name.lower() in _OWN or name.lower().startswith("sec-websocket-"):
        raise ValueError(f"found `{name}`, which the switch writes itself")
    return name


def _header_value(text: str) -> str:
    # What it is may be a secret.
    if not text.strip() or not text.isprintable() or not text.isascii():
        raise ValueError("expected one line of text, in ASCII")
    if len(text) > MAX_HEADER:
        raise ValueError(f"found {len(text)} characters, expected at most {MAX_HEADER}")
    return text.strip()


def _parameter(text: str) -> str:
    if len(text) > MAX_PARAMETER or "\0" in text:
        raise ValueError(f"found {len(text)} characters, expected at most {MAX_PARAMETER}")
    return text


def _few_headers(headers: dict[str, str]) -> dict[str, str]:
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"found {len(headers)} headers, expected at most {MAX_HEADERS}")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("found a header twice")
    return headers


def _few_parameters(parameters: dict[str, str]) -> dict[str, str]:
    if len(parameters) > MAX_PARAMETERS:
        raise ValueError(f"found {len(parameters)} parameters, expected at most {MAX_PARAMETERS}")
    return parameters


def host_of(url: str) -> str:
    """Where a program is, without what may be secret in a path."""
    return url.partition("://")[2].partition("/")[0]


@dataclass(frozen=True, slots=True)
class Beside:
    """The context of a model whose paths begin in that ``folder``."""

    folder: Path


class ProgramModel(Section):
    """What all such programs have. Where the context (`check_model`) has a ``folder``, its paths
    begin there."""

    ALONE: ClassVar[str] = "url"

    url: Annotated[Text, AfterValidator(_url)] = Field(
        description="the program's WebSocket: wss://HOST/PATH, or ws:// without encryption"
    )
    headers: Annotated[
        dict[
            Annotated[str, AfterValidator(_header)],
            Annotated[Text, AfterValidator(_header_value)],
        ],
        AfterValidator(_few_headers),
    ] = Field(default={}, description="headers of the request, such as Authorization")
    parameters: Annotated[
        dict[
            Annotated[str, AfterValidator(_parameter)], Annotated[Text, AfterValidator(_parameter)]
        ],
        AfterValidator(_few_parameters),
    ] = Field(default={}, description="what the program is told in `customParameters` besides")
    format: Literal["mulaw", "l16"] = Field(
        default="mulaw", description="μ-law, or samples of 16 bits (little-endian); 8000 a second"
    )
    ca: Annotated[Text, AfterValidator(_ca)] | None = Field(
        default=None,
        description="a file of authorities for the program's certificate; without: the system's",
    )
    connect: Annotated[Seconds, Field(le=60)] = Field(
        default=CONNECT, description="seconds within which the program has to be there"
    )
    ping: Annotated[SecondsOrOff, Field(le=3600)] = Field(
        default=PING,
        description="seconds between pings, and for each to be answered; 0: there are none",
    )
    backlog: Annotated[Seconds, Field(ge=1, le=60)] = Field(
        default=BACKLOG, description="seconds of audio that may wait to be sent to the program"
    )
    message: Annotated[int, Field(ge=1024, le=16_777_216)] = Field(
        default=MESSAGE, description="bytes of a message of the program at most"
    )
