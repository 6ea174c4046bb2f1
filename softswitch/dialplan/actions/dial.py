"""``dial:``, whom to ring: at once, one after the other, for how long, and what then."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
from pydantic import Discriminator, Field, Tag

from softswitch.config import NumberKeys, Section, StepSeconds
from softswitch.dialplan.actions.kind import Action, Asked, Template
from softswitch.dialplan.actions.reject import Reject
from softswitch.dialplan.targets import (
    Stage,
    Stages,
    TargetTemplate,
    TargetText,
    target_template,
)


class Dial(msgspec.Struct, frozen=True):
    """Ring each stage's targets at once, one stage after the other, ``timeout`` seconds each that
    has no time of its own.

    ``otherwise`` is what to do when nobody answered; None passes the failure on to the caller.
    """

    stages: Stages
    timeout: float
    otherwise: Action | None = None

    def act(self, asked: Asked) -> None:
        """Ring them."""
        asked.ring(self.stages, self.timeout, self.otherwise)

    def told(self) -> list[str]:
        """A line a stage."""
        lines = []
        for i, stage in enumerate(self.stages, 1):
            parties = ", ".join(
                f"{target} (number {target.number})" if target.kind == "trunk" else str(target)
                for target in stage.targets
            )
            together = " at once" if len(stage.targets) > 1 else ""
            lines.append(f"{i}. dial {parties}{together}, {stage.timeout or self.timeout:g} s")
        if self.otherwise is not None:
            lines.append("else, when nobody answered:")
            lines += [f"  {line}" for line in self.otherwise.told()]
        return lines


class DialTemplate(NamedTuple):
    """``Dial`` before the number is known. Each stage is its targets and its time, if any."""

    stages: tuple[tuple[tuple[TargetTemplate, ...], float], ...]
    timeout: float
    otherwise: Template | None

    def of(self, number: str, extensions: frozenset[str]) -> Action:
        """Whom this number rings. Nobody has it: 404, and no ``else`` either: there is no phone,
        and no voicemail of it."""
        if not number:
            return Reject(484, "Address Incomplete")
        stages = []
        for templates, timeout in self.stages:
            found = tuple(
                target
                for template in templates
                if (target := template.of(number, extensions)) is not None
            )
            if found:
                stages.append(Stage(found, timeout))
        if not stages:
            return Reject(404, "Not Found")
        otherwise = None if self.otherwise is None else self.otherwise.of(number, extensions)
        return Dial(tuple(stages), self.timeout, otherwise)


# How it is written


class ToModel(NumberKeys):
    """One target, with the number in a form of its own."""

    to: TargetText = Field(description="whom to ring: NUMBER, extension or trunk:NAME")


One = Annotated[
    Annotated[TargetText, Tag("<one>")] | Annotated[ToModel, Tag("<to>")],
    Discriminator(
        lambda value: _kind(value, ("to",)),
        custom_error_type="dial",
        custom_error_message="Input should be NUMBER, extension, trunk:NAME or {to: ...}",
    ),
]


class AllModel(Section):
    """A ring group: all at once."""

    all: Annotated[list[One], Field(min_length=1, description="whom to ring at once")]


class ToStepModel(ToModel):
    """A step of an order: one target."""

    timeout: StepSeconds | None = Field(default=None, description="seconds to ring in this step")


class AllStepModel(AllModel):
    """A step of an order: a ring group."""

    timeout: StepSeconds | None = Field(default=None, description="seconds to ring in this step")


class OrderModel(Section):
    """One after the other; a member may itself be a ring group."""

    order: Annotated[
        list[
            Annotated[
                Annotated[TargetText, Tag("<one>")]
                | Annotated[ToStepModel, Tag("<to>")]
                | Annotated[AllStepModel, Tag("<all>")],
                Discriminator(
                    lambda value: _kind(value, ("all", "to")),
                    custom_error_type="dial",
                    custom_error_message=(
                        "Input should be NUMBER, extension, trunk:NAME, {to: ...} or {all: [...]}"
                    ),
                ),
            ]
        ],
        Field(min_length=1, description="whom to ring, one after the other"),
    ]


_MODELS = {"all": AllModel, "order": OrderModel, "to": ToModel}


def _kind(value: Any, known: tuple[str, ...] = ("order", "all", "to")) -> str | None:
    """The tag of a value: for a mapping that whose key it has, else that of a group."""
    for key in known:
        if isinstance(value, _MODELS[key]) or (isinstance(value, dict) and key in value):
            return f"<{key}>"
    if isinstance(value, dict):
        return "<all>" if "all" in known else None
    return "<one>" if isinstance(value, str | int | float) and not isinstance(value, bool) else None


DialModel = Annotated[
    Annotated[TargetText, Tag("<one>")]
    | Annotated[ToModel, Tag("<to>")]
    | Annotated[AllModel, Tag("<all>")]
    | Annotated[OrderModel, Tag("<order>")],
    Discriminator(
        _kind,
        custom_error_type="dial",
        custom_error_message=(
            "Input should be extension, NUMBER, trunk:NAME, {to: ...}, {all: [...]} or "
            "{order: [...]}"
        ),
    ),
]


class DialKeys(Section):
    """``dial`` and what goes with it."""

    KEY: ClassVar[str] = "dial"
    WITH: ClassVar[tuple[str, ...]] = ("timeout", "else")

    dial: DialModel | None = Field(default=None, description="whom to ring")
    timeout: StepSeconds | None = Field(
        default=None,
        description="seconds to ring; in an order, for each step that has no timeout of its own",
    )


def read_dial(keys: DialKeys, timeout: float, otherwise: Template | None) -> DialTemplate:
    """As written. ``timeout`` (seconds) is for who names none."""
    dial = keys.dial
    steps = dial.order if isinstance(dial, OrderModel) else [dial or ""]
    stages = tuple(_read_step(step) for step in steps)
    return DialTemplate(stages, keys.timeout or timeout, otherwise)


def _read_step(step: str | ToModel | AllModel) -> tuple[tuple[TargetTemplate, ...], float]:
    group = step.all if isinstance(step, AllModel) else [step]
    timeout = step.timeout if isinstance(step, ToStepModel | AllStepModel) else None
    return tuple(_read_one(one) for one in group), timeout or 0.0


def _read_one(one: str | ToModel) -> TargetTemplate:
    if isinstance(one, str):
        return target_template(one)
    return target_template(one.to)._replace(shape=one.shape)
