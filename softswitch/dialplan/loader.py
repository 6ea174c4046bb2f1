"""The dialplan's YAML: what may be written, with every mistake at its place; and taking up changes.

The grammar is ``RouteModel``; ``docs/dialplan.md`` explains it to admins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationInfo,
    WithJsonSchema,
)

from softswitch.config.mistakes import check_model
from softswitch.config.places import (
    ConfigErrors,
    Mistake,
    Where,
    YamlFile,
    as_written,
    did_you_mean,
    read_yaml,
)
from softswitch.dialplan.patterns import PatternError, compile_pattern
from softswitch.dialplan.routing import (
    MAX_NUMBER,
    MAX_REMEMBERED,
    ActionTemplate,
    Admits,
    Dialplan,
    DialTemplate,
    Play,
    Reject,
    RouteTemplate,
    TargetTemplate,
    shadowed,
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a dialplan is checked against: the names it may use, and the switch's settings.

    ``trunks`` says of each trunk whether it is one of our switches. ``timeout`` (seconds) is for
    routes that name none.
    """

    extensions: frozenset[str]
    trunks: Mapping[str, bool]
    timeout: float = 180.0
    max_number: int = MAX_NUMBER
    max_remembered: int = MAX_REMEMBERED

    def party(self, text: str, kind: str, name: str) -> None:
        """Raises ValueError if there is no such extension or trunk."""
        known = self.trunks if kind == "trunk" else self.extensions
        if name not in known:
            hint = did_you_mean(name, sorted(known))
            if len(known) > 10 and not hint.startswith(":"):
                hint = f", expected one of the configuration's {kind}s"
            raise ValueError(f"found `{text}`: there is no {kind} `{name}`{hint}")


Text = Annotated[str, BeforeValidator(as_written)]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _surroundings(info: ValidationInfo) -> Surroundings | None:
    return info.context if isinstance(info.context, Surroundings) else None


def _pattern(text: str) -> str:
    try:
        compile_pattern(text)
    except PatternError as error:
        raise ValueError(f"found `{text}`: {error}") from None
    return text


def _source(text: str, info: ValidationInfo) -> str:
    if text in ("internal", "any"):
        return text
    kind, colon, name = text.partition(":")
    if not colon or kind not in ("trunk", "extension"):
        expected = "internal, any, trunk:NAME or extension:NUMBER"
        close = did_you_mean(text, ("internal", "any"))
        hint = close if close.startswith(":") else ""
        raise ValueError(f"found `{text}`, expected {expected}{hint}")
    if known := _surroundings(info):
        known.party(text, kind, name)
    return text


def _target(text: str, info: ValidationInfo) -> str:
    kind, name = _split_target(text)
    if name is not None and (known := _surroundings(info)):
        if kind == "extension" and ":" not in text and name not in known.extensions:
            if name in known.trunks:
                raise ValueError(f"found `{text}`, which is a trunk: write `trunk:{text}`")
            if did_you_mean(text, ("extension",)).startswith(":"):
                raise ValueError(f"found `{text}`: did you mean `extension`?")
        known.party(text, kind, name)
    return text


def _split_target(text: str) -> tuple[str, str | None]:
    kind, colon, name = text.partition(":")
    if not colon:
        return "extension", None if text == "extension" else text
    if kind not in ("extension", "trunk"):
        hint = did_you_mean(kind, ("extension", "trunk"))
        raise ValueError(f"found `{text}`: unknown kind `{kind}`{hint}")
    return kind, name


def _play(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"found `{text}`, expected a name such as echo")
    return text


def _prepend(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9*#+._-]*", text):
        raise ValueError(f"found `{text}`, expected digits, letters, `*`, `#`, `+`")
    return text


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _reason(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"found `{text}`, expected one line of text")
    return text


TargetText = Annotated[Text, AfterValidator(_target)]
SourceText = Annotated[Text, AfterValidator(_source)]
_SOURCES: dict[str, Any] = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
}


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AllModel(_Written):
    """A ring group: all at once."""

    TAG: ClassVar[str] = "<all>"
    all: Annotated[list[TargetText], Field(min_length=1, description="whom to ring at once")]


class OrderModel(_Written):
    """One after the other; a member may itself be a ring group."""

    TAG: ClassVar[str] = "<order>"
    order: Annotated[
        list[
            Annotated[
                Annotated[TargetText, Tag("<one>")] | Annotated[AllModel, Tag("<all>")],
                Discriminator(
                    lambda value: _dial_kind(value, ordered=True),
                    custom_error_type="dial",
                    custom_error_message=(
                        "Input should be NUMBER, extension, trunk:NAME or {all: [...]}"
                    ),
                ),
            ]
        ],
        Field(min_length=1, description="whom to ring, one after the other"),
    ]


def _dial_kind(value: Any, ordered: bool = False) -> str | None:
    if isinstance(value, dict | AllModel | OrderModel):
        order = isinstance(value, OrderModel) or (isinstance(value, dict) and "order" in value)
        return "<order>" if order and not ordered else "<all>"
    return "<one>" if isinstance(value, str | int | float) and not isinstance(value, bool) else None


DialModel = Annotated[
    Annotated[TargetText, Tag("<one>")]
    | Annotated[AllModel, Tag("<all>")]
    | Annotated[OrderModel, Tag("<order>")],
    Discriminator(
        _dial_kind,
        custom_error_type="dial",
        custom_error_message=(
            "Input should be extension, NUMBER, trunk:NAME, {all: [...]} or {order: [...]}"
        ),
    ),
]


class ActionModel(_Written):
    """What to do with a call: exactly one of ``dial``, ``play`` and ``status``."""

    dial: DialModel | None = Field(default=None, description="whom to ring")
    timeout: Annotated[float, Strict(), Field(gt=0, le=86400)] | None = Field(
        default=None, description="seconds to ring, each stage of an order by itself"
    )
    otherwise: ActionModel | None = Field(
        default=None, alias="else", description="what to do when nobody answered"
    )
    play: Annotated[Text, AfterValidator(_play)] | None = Field(
        default=None, description="what the switch itself plays: echo, voicemail..."
    )
    status: Annotated[int, Strict(), Field(ge=400, le=699)] | None = Field(
        default=None, description="SIP status to refuse the call with"
    )
    reason: Annotated[Text, AfterValidator(_reason)] | None = Field(
        default=None, description="phrase that goes with status"
    )


class RouteModel(ActionModel):
    """One route: an action for the numbers that match."""

    match: Annotated[Text, AfterValidator(_pattern)] = Field(
        description="the numbers, as a pattern such as 1XXX or a /regular expression/"
    )
    sources: Annotated[
        list[SourceText],
        BeforeValidator(_one_or_more),
        Field(min_length=1),
        WithJsonSchema(_SOURCES),
    ] = Field(default=["internal"], alias="from", description="who may take the route")
    strip: Annotated[int, Strict(), Field(ge=0)] = Field(
        default=0, description="characters to take off the front of the number"
    )
    prepend: Annotated[Text, AfterValidator(_prepend)] = Field(
        default="", description="what to put in front of the number, after strip"
    )
    properties: dict[str, Text] = Field(
        default={}, alias="set", description="properties of the call's data"
    )


class DialplanModel(_Written):
    """A dialplan file."""

    routes: list[RouteModel] = Field(description="the routes; the first that fits is taken")


def load_dialplan(path: Path, around: Surroundings) -> Dialplan:
    """Read and check a dialplan. Raises ConfigErrors with every mistake in it."""
    read = read_yaml(path)
    if read.mistakes and read.value is None:
        raise ConfigErrors(read.mistakes)
    model = check_model(DialplanModel, read, around)
    _check_actions(read)
    if read.mistakes or model is None:
        raise ConfigErrors(sorted(read.mistakes))
    plans = [_route_template(route, read, i, around) for i, route in enumerate(model.routes)]
    switches = frozenset(name for name, switch in around.trunks.items() if switch)
    unreachable = YamlFile(read.file, values=read.values, keys=read.keys)
    for later, earlier in shadowed(plans, switches):
        text, before = plans[later].pattern.text, plans[earlier]
        unreachable.at(
            ("routes", later, "match"),
            f"`{text}` is never reached: `{before.pattern.text}` in line {before.line} comes first "
            "and takes all of its calls",
        )
    return Dialplan(
        plans,
        around.extensions,
        file=str(path),
        warnings=unreachable.mistakes,
        max_number=around.max_number,
        max_remembered=around.max_remembered,
    )


def _check_actions(read: YamlFile) -> None:
    """What concerns several keys of one action; looked for whatever else is wrong with the file."""
    routes = read.value.get("routes") if isinstance(read.value, dict) else None
    for i, route in enumerate(routes if isinstance(routes, list) else ()):
        if not isinstance(route, dict):
            continue
        where: Where = ("routes", i)
        _check_action(read, route, where)
        strip, match = route.get("strip"), route.get("match")
        if isinstance(strip, int) and isinstance(match := as_written(match), str):
            try:
                pattern = compile_pattern(match)
            except PatternError:
                continue
            if pattern.places is not None and not pattern.open and strip > pattern.least():
                longest = pattern.least()
                read.at(
                    (*where, "strip"),
                    f"`strip`: found {strip}, expected at most {longest}: `{match}` matches no "
                    "longer number",
                )


def _check_action(read: YamlFile, action: dict[str, object], where: Where) -> None:
    given = [key for key in ("dial", "play", "status") if action.get(key) is not None]
    misspelt = any(
        did_you_mean(key, ("dial", "play", "status")).startswith(":")
        for key in action
        if key not in RouteModel.model_fields and key not in ("from", "set", "else")
    )
    if not given and not misspelt:
        read.at_key(where, "nothing to do: expected one of `dial`, `play`, `status`")
    for extra in given[1:]:
        read.at_key((*where, extra), f"`{extra}` beside `{given[0]}`: expected only one of them")
    for key, owner in (("timeout", "dial"), ("else", "dial"), ("reason", "status")):
        if action.get(key) is not None and given and owner not in given:
            read.at_key((*where, key), f"`{key}` goes with `{owner}`, not with `{given[0]}`")
    inner = action.get("else")
    if isinstance(inner, dict):
        _check_action(read, inner, (*where, "else"))


def _route_template(
    route: RouteModel, read: YamlFile, index: int, around: Surroundings
) -> RouteTemplate:
    named = {tuple(text.split(":", 1)) for text in route.sources if ":" in text}
    line = read.line(("routes", index))
    return RouteTemplate(
        pattern=compile_pattern(route.match),
        where=f"{Path(read.file).name}:{line}",
        line=line,
        admits=Admits(
            everyone="any" in route.sources,
            internal="internal" in route.sources,
            named=frozenset((kind, name) for kind, name in named),
        ),
        strip=route.strip,
        prepend=route.prepend,
        action=_action_template(route, around.timeout),
        properties=dict(route.properties),
    )


def _action_template(action: ActionModel, timeout: float) -> ActionTemplate:
    if action.play is not None:
        return Play(action.play)
    if action.status is not None:
        return Reject(action.status, action.reason or "")
    otherwise = None if action.otherwise is None else _action_template(action.otherwise, timeout)
    if isinstance(action.dial, OrderModel):
        groups = [item.all if isinstance(item, AllModel) else [item] for item in action.dial.order]
    elif isinstance(action.dial, AllModel):
        groups = [action.dial.all]
    else:
        groups = [[action.dial or ""]]
    stages = tuple(tuple(_target_template(text) for text in group) for group in groups)
    return DialTemplate(stages, action.timeout or timeout, otherwise)


def _target_template(text: str) -> TargetTemplate:
    kind, name = _split_target(text)
    return TargetTemplate("trunk" if kind == "trunk" else "extension", name)


Stamp = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """What changes when the file does: time (ns), size, inode; None if it is not there."""
    try:
        stat = path.stat()
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


@dataclass(slots=True)
class DialplanWatch:
    """Takes up a changed dialplan. Call ``reload_if_changed`` every few seconds: it costs one stat.

    ``seen`` is the stamp of the file when it was last loaded, taken before reading it, so that a
    change during the reading is seen the next time.
    """

    path: Path
    around: Surroundings
    seen: Stamp = field(default=None)

    def reload_if_changed(self) -> Dialplan | tuple[Mistake, ...] | None:
        """None if nothing changed; the new dialplan; or its mistakes, once: the old one stays."""
        now = stamp(self.path)
        if now == self.seen:
            return None
        self.seen = now
        try:
            return load_dialplan(self.path, self.around)
        except ConfigErrors as errors:
            return errors.mistakes
