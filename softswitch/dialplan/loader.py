"""The dialplan's YAML: what may be written, with every mistake at its place.

The grammar is ``RouteModel``; ``docs/dialplan.md`` explains it to admins.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from softswitch.config import (
    TEXTS,
    CallerIdModel,
    ConfigErrors,
    Flag,
    PatternError,
    PatternText,
    Section,
    TapModel,
    Text,
    Where,
    YamlFile,
    as_written,
    check_model,
    compile_pattern,
    one_or_more,
    read_yaml,
    text_then,
)
from softswitch.dialplan.actions import ActionModel, check_action, template
from softswitch.dialplan.conditions import (
    ConditionModel,
    asked_of,
    check_conditions,
    condition_name,
    holidays_of,
    read_condition,
)
from softswitch.dialplan.conferences import (
    ConferenceModel,
    check_conferences,
    read_conference,
)
from softswitch.dialplan.headers import HeadersMapping, RingText, header_lines
from softswitch.dialplan.menus import MenuModel, check_menus, menu_name, read_menu
from softswitch.dialplan.plays import MusicModel
from softswitch.dialplan.queues import (
    HOLD_MUSIC,
    QueueModel,
    check_queues,
    queue_skills,
    read_queue,
)
from softswitch.dialplan.routing import Admits, Dialplan, RouteTemplate, shadowed
from softswitch.dialplan.surroundings import Surroundings
from softswitch.dialplan.targets import SourceText


class RouteModel(ActionModel):
    """One route: an action for the numbers that match."""

    match: PatternText = Field(
        description="the numbers, as a pattern such as 1XXX or a /regular expression/"
    )
    sources: Annotated[
        list[SourceText],
        BeforeValidator(one_or_more),
        Field(min_length=1),
        TEXTS,
    ] = Field(default=["internal"], alias="from", description="who may take the route")
    properties: dict[str, Text] = Field(
        default={}, alias="set", description="properties of the call's data"
    )
    once: dict[str, Text] = Field(
        default={},
        alias="set_once",
        description="properties of the call's data, set where there is none of that name yet",
    )
    when: Annotated[
        list[Annotated[tuple[str, bool], text_then(asked_of, "a condition's name")]],
        BeforeValidator(one_or_more),
        Field(min_length=1),
        TEXTS,
    ] = Field(default=[], description="conditions of the time that all have to hold")
    ring: RingText | None = Field(
        default=None, description="how it rings: Alert-Info, by a name that phones know or a URI"
    )
    headers: HeadersMapping = Field(
        default={}, description="headers for those called, such as Subject"
    )
    caller: CallerIdModel | None = Field(
        default=None, description="whom those called are shown instead of the caller"
    )
    emergency: Flag = Field(
        default=False, description="a call for help, which no limit of the switch stops"
    )
    record: Flag = Field(default=False, description="what is said is recorded")
    tap: TapModel | None = Field(
        default=None, description="a program that hears what is said, by its URL"
    )


_KEYS = {field.alias or name for name, field in RouteModel.model_fields.items()}
_ACTION_KEYS = {field.alias or name for name, field in ActionModel.model_fields.items()}


class DialplanModel(Section):
    """A dialplan file."""

    conditions: dict[Annotated[str, AfterValidator(condition_name)], ConditionModel] = Field(
        default={}, description="times, by names that `when` of a route uses"
    )
    conferences: dict[Annotated[str, AfterValidator(menu_name)], ConferenceModel] = Field(
        default={}, description="rooms, by names that `play: {conference: NAME}` uses"
    )
    menus: dict[Annotated[str, AfterValidator(menu_name)], MenuModel] = Field(
        default={}, description="menus, by names that `play: {menu: NAME}` uses"
    )
    music: MusicModel | None = Field(
        default=None, description="what is heard on hold, and while a phone rings"
    )
    queues: dict[Annotated[str, AfterValidator(menu_name)], QueueModel] = Field(
        default={}, description="queues, by names that `play: {queue: NAME}` uses"
    )
    routes: list[RouteModel] = Field(description="the routes; the first that fits is taken")


def load_dialplan(path: Path, around: Surroundings) -> Dialplan:
    """Read and check a dialplan. Raises ConfigErrors with every mistake in it."""
    read = read_yaml(path)
    if read.mistakes and read.value is None:
        raise ConfigErrors(read.mistakes)
    queues = read.value.get("queues") if isinstance(read.value, dict) else None
    around = replace(
        around,
        menus=_names(read, "menus"),
        conferences=_names(read, "conferences"),
        queues=queue_skills(queues),
    )
    model = check_model(DialplanModel, read, around)
    _check_actions(read)
    check_menus(read, _ACTION_KEYS)
    check_queues(read, _ACTION_KEYS)
    check_conferences(read)
    check_conditions(read)
    holidays, files, wrong = holidays_of(read, path.parent)
    if read.mistakes or wrong or model is None:
        raise ConfigErrors(sorted(read.mistakes) + wrong, files)
    conditions = {
        name: read_condition(name, one, holidays.get(one.holidays or ""), around.time_zone)
        for name, one in model.conditions.items()
    }
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
        conditions=conditions,
        menus={
            name: read_menu(
                name,
                one,
                around.timeout,
                around.sounds.prompt("invalid") if around.sounds is not None else "",
            )
            for name, one in model.menus.items()
        },
        conferences={name: read_conference(name, one) for name, one in model.conferences.items()},
        hold_music=tuple((model.music.hold or ()) if model.music is not None else ()),
        ringing_music=tuple((model.music.ringing or ()) if model.music is not None else ()),
        queues={
            name: read_queue(
                name,
                one,
                around.timeout,
                around.sounds.prompt(HOLD_MUSIC) if around.sounds is not None else "",
            )
            for name, one in model.queues.items()
        },
        file=str(path),
        files=files,
        warnings=unreachable.mistakes,
        max_number=around.max_number,
        max_remembered=around.max_remembered,
    )


def _names(read: YamlFile, section: str) -> frozenset[str]:
    named = read.value.get(section) if isinstance(read.value, dict) else None
    return frozenset(named if isinstance(named, dict) else ())


def _check_actions(read: YamlFile) -> None:
    """What concerns several keys of one action; looked for whatever else is wrong with the file."""
    routes = read.value.get("routes") if isinstance(read.value, dict) else None
    for i, route in enumerate(routes if isinstance(routes, list) else ()):
        if not isinstance(route, dict):
            continue
        where: Where = ("routes", i)
        check_action(read, route, where, _KEYS)
        given = next(
            (kind for kind in ("do", "goto", "play", "status") if route.get(kind) is not None),
            None,
        )
        for key in ("ring", "headers", "caller", "emergency"):
            if given and route.get(key) is not None and route.get("dial") is None:
                read.at_key((*where, key), f"`{key}` goes with `dial`, not with `{given}`")
        headers = route.get("headers")
        if route.get("ring") is not None and isinstance(headers, dict):
            for name in headers:
                if name.lower() == "alert-info":
                    read.at_key(
                        (*where, "headers", name), f"`{name}` beside `ring`, which writes it"
                    )
        once, properties = route.get("set_once"), route.get("set")
        if isinstance(once, dict) and isinstance(properties, dict):
            for name in once:
                if name in properties:
                    read.at_key(
                        (*where, "set_once", name),
                        f"`{name}` is in `set` too: expected it in one of them",
                    )
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
        shape=route.shape,
        action=template(route, around.timeout),
        properties=dict(route.properties),
        once=dict(route.once),
        when=tuple(route.when),
        lines=header_lines(route.headers, route.ring),
        caller=None if route.caller is None else route.caller.read(),
        emergency=route.emergency,
        record=route.record,
        tap=None if route.tap is None else route.tap.read(),
    )
