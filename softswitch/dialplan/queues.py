"""``queues:``, where callers wait for an agent, and who the agents are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from softswitch.config import (
    TEXTS,
    Count,
    Flag,
    Seconds,
    SecondsOrOff,
    Section,
    Tap,
    TapModel,
    Text,
    Where,
    YamlFile,
    as_written,
    one_or_more,
)
from softswitch.dialplan.actions import ActionModel, Template, check_action, shaped
from softswitch.dialplan.sounds import SoundText
from softswitch.dialplan.surroundings import surroundings
from softswitch.dialplan.targets import Stage, Target

RING_ALL: Final = "ring-all"
LONGEST_IDLE: Final = "longest-idle"
ROUND_ROBIN: Final = "round-robin"
FEWEST_CALLS: Final = "fewest-calls"
IN_ORDER: Final = "in-order"
WAIT: Final = "wait"

HOLD_MUSIC: Final = "hold-music"
"""The prompt that is heard by who waits, unless a queue says otherwise."""

Strategy = Literal["ring-all", "longest-idle", "round-robin", "fewest-calls", "in-order"]

_KEY: Final = re.compile(r"[0-9A-D*#]")


class QueueAgent(msgspec.Struct, frozen=True):
    """An extension that is rung for those who wait. Of two who are free the one with the lesser
    ``penalty`` is rung. ``logged_in``: as long as it has said nothing else itself."""

    extension: str
    penalty: int = 0
    skills: frozenset[str] = frozenset()
    logged_in: bool = True

    def told(self) -> str:
        """It in words."""
        more = [f"penalty {self.penalty}"] if self.penalty else []
        more += sorted(self.skills)
        more += [] if self.logged_in else ["once logged in"]
        return self.extension + (f" ({', '.join(more)})" if more else "")


class Queue(msgspec.Struct, frozen=True):
    """Callers hear ``say`` once and then ``music`` (paths) until one of ``agents`` answers, and
    every ``announce`` seconds (0: never) their place, with the ``estimate`` of how long it takes.

    An agent is rung for ``ring`` seconds; one that has not answered is not rung again for ``retry``
    seconds, one that has talked for ``wrap_up`` seconds. After ``longest_wait`` seconds (0: no
    limit), where ``most`` wait already, and while nobody is logged in, unless it ``waits``, it is
    ``otherwise`` (None: what the route says). ``choices`` are what keys stand for meanwhile.
    ``record``: what callers say to agents is recorded; ``tap`` hears it.
    """

    name: str
    agents: tuple[QueueAgent, ...]
    strategy: str = LONGEST_IDLE
    say: tuple[str, ...] = ()
    music: tuple[str, ...] = ()
    announce: float = 60.0
    estimate: bool = True
    ring: float = 15.0
    retry: float = 5.0
    wrap_up: float = 0.0
    longest_wait: float = 0.0
    most: int = 100
    waits: bool = False
    record: bool = False
    tap: Tap | None = None
    choices: Mapping[str, Template] = {}
    otherwise: Template | None = None

    def stage(self) -> Stage:
        """All its agents."""
        names = [agent.extension for agent in self.agents]
        return Stage(tuple([Target("extension", name, name) for name in names]))

    def told(self) -> str:
        """It in words."""
        listed = ", ".join(agent.told() for agent in self.agents)
        more = ", recorded" if self.record else ""
        if self.tap is not None:
            more += f", {self.tap.told()}"
        return f"queue {self.name}: {self.strategy} of {listed}, {self.ring:g} s each{more}"


# How it is written


def _agent(text: str, info: ValidationInfo) -> str:
    around = surroundings(info)
    if around is not None:
        around.party(text, "extension", text)
    return text


class QueueAgentModel(Section):
    """An agent: its extension alone, or with what else is to be said."""

    extension: Annotated[Text, AfterValidator(_agent)] = Field(description="one of `extensions`")
    penalty: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="of agents that are free, those with the least are rung"
    )
    skills: Annotated[list[Text], BeforeValidator(one_or_more), TEXTS] = Field(
        default=[], description="what callers may ask for"
    )
    logged_in: Flag = Field(
        default=True, description="from the beginning, without having dialled a code"
    )

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, value: Any) -> Any:
        value = as_written(value)
        return value if isinstance(value, dict) else {"extension": value}

    def read(self) -> QueueAgent:
        """As written."""
        return QueueAgent(self.extension, self.penalty, frozenset(self.skills), self.logged_in)


def _one_each(agents: list[QueueAgentModel]) -> list[QueueAgentModel]:
    names = [agent.extension for agent in agents]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"found `{name}` more than once")
    return agents


def _key(text: Any) -> str:
    text = as_written(text)
    if not isinstance(text, str) or not _KEY.fullmatch(text):
        raise ValueError("expected one key: 0-9, *, # or A-D")
    return text


_Sounds = Annotated[list[SoundText], BeforeValidator(one_or_more), Field(min_length=1), TEXTS]


class QueueModel(Section):
    """A queue."""

    agents: Annotated[list[QueueAgentModel], Field(min_length=1), AfterValidator(_one_each)] = (
        Field(description="the extensions that are rung")
    )
    strategy: Strategy = Field(
        default="longest-idle", description="which of the agents that are free is rung"
    )
    say: _Sounds | None = Field(
        default=None, description="what callers hear first: prompts by name, or WAV files"
    )
    music: _Sounds | None = Field(
        default=None, description="what they hear then, over and over; without: `hold-music`"
    )
    announce: SecondsOrOff = Field(
        default=60.0, description="seconds between two times that they hear their place; 0: never"
    )
    estimate: Flag = Field(
        default=True, description="with their place they hear how long it may take"
    )
    ring: Seconds = Field(default=15.0, description="seconds that an agent is rung")
    retry: Seconds = Field(
        default=5.0, description="seconds until an agent that did not answer is rung again"
    )
    wrap_up: SecondsOrOff = Field(
        default=0.0, description="seconds that an agent has to itself after a call"
    )
    longest_wait: SecondsOrOff = Field(
        default=0.0, description="seconds after which it is `else`; 0: no limit"
    )
    most: Annotated[Count, Field(le=10_000)] = Field(
        default=100, description="callers that may wait; for another one it is `else`"
    )
    empty: Literal["else", "wait"] = Field(
        default="else", description="what it is while no agent is logged in"
    )
    record: Flag = Field(default=False, description="what callers say to agents is recorded")
    tap: TapModel | None = Field(
        default=None, description="a program that hears what callers say to agents, by its URL"
    )
    choices: dict[Annotated[str, AfterValidator(_key)], ActionModel] = Field(
        default={}, description="by the key that who waits no longer presses, what it stands for"
    )
    otherwise: ActionModel | None = Field(
        default=None,
        alias="else",
        description="what to do with who finds no agent; without: what the route says",
    )


def read_queue(name: str, model: QueueModel, timeout: float, music: str) -> Queue:
    """As written. ``timeout`` (seconds) is for who dials and names none, ``music`` the file that is
    heard where none is named (empty: there is none)."""
    return Queue(
        name,
        tuple([agent.read() for agent in model.agents]),
        model.strategy,
        tuple(model.say or ()),
        tuple(model.music or ([music] if music else [])),
        model.announce,
        model.estimate,
        model.ring,
        model.retry,
        model.wrap_up,
        model.longest_wait,
        model.most,
        model.empty == WAIT,
        model.record,
        None if model.tap is None else model.tap.read(),
        {key: shaped(action, timeout) for key, action in model.choices.items()},
        None if model.otherwise is None else shaped(model.otherwise, timeout),
    )


def queue_skills(value: object) -> dict[str, frozenset[str]]:
    """The names of queues as they are written, each with the skills that its agents have."""
    found: dict[str, frozenset[str]] = {}
    for name, queue in value.items() if isinstance(value, dict) else ():
        agents = queue.get("agents") if isinstance(queue, dict) else None
        skills: set[str] = set()
        for agent in agents if isinstance(agents, list) else ():
            if isinstance(agent, dict):
                skills.update(str(as_written(one)) for one in one_or_more(agent.get("skills", [])))
        found[str(as_written(name))] = frozenset(skills)
    return found


def check_queues(read: YamlFile, known: set[str]) -> None:
    """Note what concerns several keys of an action in a queue; see `check_action`."""
    for where, action in _actions(read):
        check_action(read, action, where, known)


def _actions(read: YamlFile) -> Iterator[tuple[Where, dict[str, object]]]:
    queues = read.value.get("queues") if isinstance(read.value, dict) else None
    for name, queue in queues.items() if isinstance(queues, dict) else ():
        if not isinstance(queue, dict):
            continue
        choices = queue.get("choices")
        for key, action in choices.items() if isinstance(choices, dict) else ():
            if isinstance(action, dict):
                yield ("queues", name, "choices", key), action
        otherwise = queue.get("else")
        if isinstance(otherwise, dict):
            yield ("queues", name, "else"), otherwise
