"""Checks a YAML file against a pydantic model: every mistake with its place, found and expected."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from softswitch.config.places import Where, YamlFile, did_you_mean
from softswitch.config.yaml_hints import about_key

Model = TypeVar("Model", bound=BaseModel)


def check_model(model: type[Model], read: YamlFile, context: object = None) -> Model | None:
    """The model filled from ``read.value``, or None with all mistakes noted in ``read``.

    ``context`` is handed to the model's validators. A validator's ValueError is reported as it is.
    """
    value = {} if read.value is None else read.value
    if not isinstance(value, dict):
        read.at((), f"found {read.found[()]}, expected a mapping of keys")
        return None
    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        details = error.errors(include_url=False)
    unknown = {detail["loc"] for detail in details if detail["type"] == "extra_forbidden"}
    for detail in details:
        _note(model, read, detail, unknown)
    return None


def _note(
    model: type[BaseModel],
    read: YamlFile,
    detail: ErrorDetails,
    unknown: set[tuple[int | str, ...]],
) -> None:
    loc, kind = detail["loc"], detail["type"]
    where = read.nearest(loc)
    if kind == "extra_forbidden":
        known = [key for key, _ in _keys(model, loc[:-1])]
        key = str(loc[-1])
        read.at_key(where, f"unknown key `{key}`{about_key(key) or did_you_mean(key, known)}")
    elif kind == "missing":
        known = [key for key, _ in _keys(model, loc[:-1])]
        for other in unknown:
            # A misspelt key is one mistake, not two: unknown here and missing there.
            if other[:-1] == loc[:-1] and f"`{loc[-1]}`?" in did_you_mean(str(other[-1]), known):
                return
        about = next((f.description for k, f in _keys(model, loc[:-1]) if k == loc[-1]), None)
        read.at_key(where, f"missing key `{loc[-1]}`" + (f": {about}" if about else ""))
    elif loc and loc[-1] == "[key]":
        read.at_key(where, f"`{where[-1]}`: {_reason(detail, read, where)}")
    else:
        name = next((step for step in reversed(where) if isinstance(step, str)), "")
        read.at(where, (f"`{name}`: " if name else "") + _reason(detail, read, where))


EXPECTED = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a mapping of keys",
    "path_type": "a path",
    "tuple_type": "a list",
}

BOUNDS = {
    ("greater_than", "gt"): "more than",
    ("greater_than_equal", "ge"): "at least",
    ("less_than", "lt"): "less than",
    ("less_than_equal", "le"): "at most",
}


def _reason(detail: ErrorDetails, read: YamlFile, where: Where) -> str:
    kind, message = detail["type"], detail["msg"]
    expected: str | None
    found = f"found {read.found.get(where, 'this')}"
    if found.startswith("found nothing:"):
        return found
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "string_type":
        quote = found.startswith("found `")
        return f"{found}, expected text" + (": put it in quotes" if quote else "")
    if kind == "literal_error":
        known = detail["ctx"]["expected"].replace(" or ", ", ").split(", ")
        names = [name.strip("'") for name in known]
        hint = did_you_mean(found.removeprefix("found ").strip("`"), names)
        return found + (hint if hint.startswith(",") else f", expected {', '.join(names)}{hint}")
    if kind == "too_short":
        least = detail["ctx"]["min_length"]
        expected = "some text" if found.endswith("text") else f"at least {least}"
        return f"{found}, expected {expected}"
    expected = EXPECTED.get(kind)
    for bound, words in BOUNDS.items():
        if kind == bound[0]:
            expected = f"{words} {detail['ctx'][bound[1]]:g}"
    if expected is None and message.startswith(("Input should be ", "Input should ")):
        expected = message.removeprefix("Input should ").removeprefix("be ")
    return f"{found}, expected {expected}" if expected else f"{found}: {message}"


def _keys(model: type[BaseModel], loc: Iterable[int | str]) -> Iterator[tuple[str, FieldInfo]]:
    """The keys that the models reachable by ``loc`` know, with their fields."""
    for kind in _reached(model, tuple(loc)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for name, info in kind.model_fields.items():
                yield info.alias or name, info


def _reached(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[Any]:
    now: set[Any] = {model}
    for step in loc:
        onward: set[Any] = set()
        for kind in now:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                for name, info in kind.model_fields.items():
                    if (info.alias or name) == step:
                        onward |= _plain(info.annotation)
            elif isinstance(get_origin(kind), type):
                onward |= _plain(get_args(kind)[-1 if issubclass(get_origin(kind), Mapping) else 0])
        # A step that leads nowhere is a union's tag: the members are already in ``now``.
        now = onward or {kind for kind in now if _tagged(kind, step)} or now
    return now


def _tagged(kind: Any, tag: int | str) -> bool:
    return isinstance(kind, type) and getattr(kind, "TAG", None) == tag


def _plain(kind: Any) -> set[Any]:
    """The members of a union, without ``Annotated`` and None."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return set().union(*(_plain(member) for member in get_args(kind)))
    return set() if kind is type(None) else {kind}


def documented_keys(model: type[BaseModel], way: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to every key that may be written, ``*`` standing for names that the admin chooses."""
    yield from _walk({model}, way, frozenset())


def _walk(kinds: set[Any], way: tuple[str, ...], seen: frozenset[Any]) -> Iterator[tuple[str, ...]]:
    for kind in kinds - seen:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for name, info in kind.model_fields.items():
                key = (*way, info.alias or name)
                yield key
                yield from _walk(_plain(info.annotation), key, seen | {kind})
        elif isinstance(outer := get_origin(kind), type) and get_args(kind):
            mapping = issubclass(outer, Mapping)
            inner = _plain(get_args(kind)[-1 if mapping else 0])
            yield from _walk(inner, (*way, "*") if mapping else way, seen)


def resolve_paths(model: Model, folder: Path) -> Model:
    """A copy in which each relative ``Path``, at whatever depth, is resolved in ``folder``."""
    changed = {
        name: moved
        for name in type(model).model_fields
        if (moved := _resolved(value := getattr(model, name), folder)) is not value
    }
    return model.model_copy(update=changed) if changed else model


def _resolved(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return folder / value.expanduser()
    if isinstance(value, BaseModel):
        return resolve_paths(value, folder)
    if isinstance(value, dict):
        return {key: _resolved(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_resolved(item, folder) for item in value)
    return value
