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
from softswitch.config.numbers import AS_IT_IS, NumberKeys, Shape
from softswitch.config.patterns import Characters, Pattern, PatternError, compile_pattern
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
    "AS_IT_IS",
    "IN_JSON_A_TEXT",
    "MAX_NUMBER",
    "MAX_REMEMBERED",
    "Area",
    "Characters",
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
    "NumberKeys",
    "Pattern",
    "PatternError",
    "Seconds",
    "SecondsOrOff",
    "Section",
    "SectionTaken",
    "Shape",
    "Stamp",
    "SwitchSection",
    "Text",
    "Timers",
    "Trunk",
    "Where",
    "YamlFile",
    "as_written",
    "check_model",
    "compile_pattern",
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
