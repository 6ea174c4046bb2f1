"""Configuration as people write it: values, models, places in YAML, mistakes."""

from softswitch.config.addresses import Listen, parse_listen
from softswitch.config.clashes import trunk_clashes
from softswitch.config.mistakes import check_model, resolve_paths
from softswitch.config.models import (
    MAX_NUMBER,
    MAX_REMEMBERED,
    Area,
    ConfigModel,
    Extension,
    Level,
    Limits,
    Log,
    Media,
    SwitchSection,
    Timers,
    Trunk,
)
from softswitch.config.places import (
    ConfigErrors,
    Mistake,
    Stamp,
    Where,
    YamlFile,
    as_written,
    did_you_mean,
    read_yaml,
    stamp,
)
from softswitch.config.sections import SectionTaken, fill_empty_sections, with_sections
from softswitch.config.values import (
    IN_JSON_A_TEXT,
    Count,
    Seconds,
    SecondsOrOff,
    Section,
    Text,
    one_or_more,
)

__all__ = [
    "IN_JSON_A_TEXT",
    "MAX_NUMBER",
    "MAX_REMEMBERED",
    "Area",
    "ConfigErrors",
    "ConfigModel",
    "Count",
    "Extension",
    "Level",
    "Limits",
    "Listen",
    "Log",
    "Media",
    "Mistake",
    "Seconds",
    "SecondsOrOff",
    "Section",
    "SectionTaken",
    "Stamp",
    "SwitchSection",
    "Text",
    "Timers",
    "Trunk",
    "Where",
    "YamlFile",
    "as_written",
    "check_model",
    "did_you_mean",
    "fill_empty_sections",
    "one_or_more",
    "parse_listen",
    "read_yaml",
    "resolve_paths",
    "stamp",
    "trunk_clashes",
    "with_sections",
]
