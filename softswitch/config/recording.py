"""``recording:``, what is said in calls, in files."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from softswitch.config.values import Flag, Seconds, Section, Text


def _target(text: str) -> str:
    if not re.fullmatch(r"(s3://[a-z0-9][a-z0-9.-]{1,62}|file:///)[^\s?#]*", text):
        raise ValueError(f"found `{text}`, expected s3://BUCKET/FOLDER")
    return text


class CopyModel(Section):
    """``recording: copy``, where files are copied to."""

    to: Annotated[Text, AfterValidator(_target)] = Field(
        description="s3://BUCKET/FOLDER, or file:///FOLDER"
    )
    endpoint: Text = Field(default="", description="address of a store other than Amazon's")
    region: Text = Field(default="", description="its region")
    key: Text = Field(
        default="", description="access key; without, the environment's, or the machine's"
    )
    secret: Text = Field(default="", description="its secret", repr=False)
    remove: Flag = Field(default=False, description="a file that was copied is deleted here")
    retry: Seconds = Field(default=60.0, description="seconds until what has failed is tried again")
    timeout: Seconds = Field(default=60.0, description="seconds that one request may take")

    @field_validator("to", mode="after")
    @classmethod
    def _has_library(cls, to: str) -> str:
        if importlib.util.find_spec("obstore") is None:
            raise ValueError("obstore is missing: pip install 'softswitch[s3]'")
        return to


class RecordingModel(Section):
    """``recording:``."""

    folder: Path = Field(
        default=Path("recordings"), description="where files are kept: a folder for each day"
    )
    copy_: CopyModel | None = Field(
        default=None, alias="copy", description="where each file is copied to, after the call"
    )
    keep: Annotated[float, Field(ge=0, le=36_500)] = Field(
        default=0.0, description="days until a file is deleted; 0: never"
    )
    announce: Text = Field(
        default="",
        description="a prompt or WAV file that both hear when it begins, such as `recorded`",
    )
    seconds: Annotated[float, Field(ge=1, le=86_400)] = Field(
        default=14_400.0, description="of one talk, at most"
    )
