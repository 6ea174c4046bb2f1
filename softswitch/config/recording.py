"""``recording:``, what is said in calls, in files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from softswitch.config.values import Section, Text


class RecordingModel(Section):
    """``recording:``."""

    folder: Path = Field(
        default=Path("recordings"), description="where files are kept: a folder for each day"
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
