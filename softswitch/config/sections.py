"""Sections of a file that belong to plugins, each checked by its plugin's model."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, Field, create_model

from softswitch.config.places import YamlFile

Model = TypeVar("Model", bound=BaseModel)


class SectionTaken(ValueError):
    """A plugin's section has the name of one that is there already. One line for the admin."""


def with_sections(
    name: str, base: type[Model], sections: Mapping[str, type[BaseModel]]
) -> type[Model]:
    """``base`` and these sections besides, as the model ``name``; what is not in the file is None.

    Raises ``SectionTaken`` if ``base`` has such a section.
    """
    if taken := sorted(set(sections) & set(base.model_fields)):
        raise SectionTaken(
            f"a plugin owns the section `{taken[0]}`, which is there already: remove that plugin"
        )
    fields: dict[str, Any] = {
        key: (model, Field(default=None, description=(model.__doc__ or key).split("\n")[0]))
        for key, model in sections.items()
    }
    return create_model(name, __base__=base, **fields)


def fill_empty_sections(read: YamlFile, but: Container[str] = ()) -> None:
    """``limits:`` with nothing under it, all of it commented out, say, is an empty section."""
    if isinstance(read.value, dict):
        for key, value in read.value.items():
            if value is None and key not in but:
                read.value[key] = {}
